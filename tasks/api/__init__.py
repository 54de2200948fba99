"""The faces: each translates one dialect into calls of the core and knows no other face."""
