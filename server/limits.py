"""What the service is bounded by: sizes, counts and times. Every limit answers with a problem that names it."""

from __future__ import annotations

from dataclasses import dataclass

MEBI = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bytes, counts and seconds.

    - ``body_bytes``: of a request's body; ``upload_bytes``: of one that is imported.
    - ``ids``: in one request. ``page``: rows in one answer. ``walk``: neurons that a walk may look at.
    - ``spikes``: that a run keeps in memory for its answer; more go to a file with ``to``.
    - ``requests``: at work at once; ``streams``: open at once; ``readers``: threads for snapshots; ``waiting``: how
      many may wait for these, and for the writer of one engram.
    - ``query_seconds``: for a question: about a snapshot since it came, about the present since its turn has come.
    - ``patience_seconds``: until a run becomes a job.
    - ``idle_seconds``: until an engram that nobody asks for is closed.
    - ``header_bytes``: of all headers, ``path_bytes``: of a path with its query.
    """

    body_bytes: int = 8 * MEBI
    upload_bytes: int = 1 << 40
    ids: int = 100_000
    page: int = 10_000
    walk: int = 1_000_000
    spikes: int = 1_000_000
    requests: int = 256
    streams: int = 64
    readers: int = 2
    waiting: int = 512
    query_seconds: float = 30.0
    patience_seconds: float = 1.0
    export_patience_seconds: float = 20.0
    idle_seconds: float = 300.0
    path_bytes: int = 8192
