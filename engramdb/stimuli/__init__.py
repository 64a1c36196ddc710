"""Input from outside: commands that drive an engram, and what of them is still to come."""
