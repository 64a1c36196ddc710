"""What one can do with an open engram, a class for each kind of it."""
