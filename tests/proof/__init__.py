"""What a stranger may check: long runs that try to break the promises, counted as they go."""
