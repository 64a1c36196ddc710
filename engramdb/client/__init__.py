"""The client of the HTTP service: engrams on another machine, with the verbs and the types of those on this one.

>>> with engramdb.connect("http://127.0.0.1:8000") as service:              # doctest: +SKIP
...     worm = service["celegans"]
...     worm.stimulate(["ALML", "ALMR"], 20.0)
...     worm.run(100, record=("spikes",)).rates()

It needs httpx (extra ``client``), and none of the engine: nothing here opens an engram or loads Numba.
"""

from __future__ import annotations

from engramdb.client.engram import RemoteEngram
from engramdb.client.job import Job
from engramdb.client.problems import Forbidden, ServiceError
from engramdb.client.service import Listed, Service
from engramdb.client.stream import Event
from engramdb.client.transport import Transport

__all__ = ["Event", "Forbidden", "Job", "Listed", "RemoteEngram", "Service", "ServiceError", "connect"]


def connect(url: str, key: str | None = None, *, timeout: float = 30.0, tries: int = 4) -> Service:
    """The service at ``url``, such as ``http://127.0.0.1:8000``.

    ``key``: sent with every request; None where the service wants none. ``timeout``: seconds that it may be silent.
    ``tries``: of each request that gets no answer, or is told to come again; writes are done once all the same.
    Nothing is asked yet. Raises InvalidInput where the URL is none, or httpx is not installed.
    """
    return Service(Transport(url, key, timeout=timeout, tries=tries))
