"""Engrams in object stores: publishing them, fetching them, and reading their packs by ranges."""
