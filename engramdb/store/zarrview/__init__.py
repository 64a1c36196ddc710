"""The Zarr view: an engram at one commit, seen as Zarr groups and arrays. Only ``view`` imports zarr."""
