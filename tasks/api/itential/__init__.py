"""The face of Itential's Operations Manager: log-in, who one is, and its task routes."""
