"""How an engram grows: bundles of neurons that came into being together."""
