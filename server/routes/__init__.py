"""The routes of the service: each file translates between HTTP and what an engram can do."""
