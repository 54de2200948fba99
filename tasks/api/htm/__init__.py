"""The face of IBM's Human Task Manager: its REST interface below /rest/bpm/htm/."""
