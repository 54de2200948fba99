"""The faces: each translates one dialect into calls of the core and knows no other face."""

RETRY_SECONDS = 5
"""When to come back after the database was away, which it recovers from by itself."""
