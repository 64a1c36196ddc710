"""Sizing: what the engine and the store cost on this machine, each figure beside the bound that physics sets."""
