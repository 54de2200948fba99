"""The bench: our server beside the least that could do the same, and beside the usual way."""
