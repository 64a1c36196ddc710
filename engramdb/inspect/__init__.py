"""Looking at an engram offline: read only, beside a writer."""

from engramdb.inspect.summary import Summary, summarize

__all__ = ["Summary", "summarize"]
