"""The HTTP service over a folder of engrams: installed as ``engramdb.server``, started by the command line only."""
