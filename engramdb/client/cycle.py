"""The growth cycle of a remote engram, see :mod:`engramdb.growth.cycle`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engramdb.client.job import Job

if TYPE_CHECKING:
    from engramdb.client.transport import Transport
    from engramdb.growth.status import Status


class Cycle:
    """``remote.cycle``: begun, run and ended there. Cancelling the job of a run pauses it; :meth:`run` goes on."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport, self._path = transport, f"{path}/cycle"

    def status(self) -> Status:
        """Where it stands, and why. Raises :class:`NotFound` where no cycle was ever started."""
        return _status(self._transport.get(self._path))

    def start(self, **settings: Any) -> Status:
        """Begin a new cycle; see :class:`engramdb.growth.settings.Settings`. It does not run yet."""
        self._job({**settings, "ticks": 0}).wait()
        return self.status()

    def run(
        self, ticks: int | None = None, cycles: int | None = None, *, progress: Callable[[Job], None] | None = None
    ) -> Status:
        """Run on for ``ticks`` ticks, or until so many ``cycles`` more are over; without either until it is done.

        One that is paused is resumed. ``progress(job)`` is called now and then. Ctrl-C pauses it at a tick boundary.
        """
        given = {"ticks": ticks, "run_cycles": cycles}
        job = self._job({name: value for name, value in given.items() if value is not None})
        try:
            job.wait(progress=progress)
        except KeyboardInterrupt:
            job.cancel()
            raise
        return self.status()

    def stop(self) -> Status:
        """End it. What it has done stays; another one may be started."""
        self._transport.delete(self._path)
        return self.status()

    def _job(self, body: dict[str, Any]) -> Job:
        return Job.of(self._transport.post(self._path, body), self._transport)


def _status(document: dict[str, Any]) -> Status:
    from engramdb.growth.progress import Counts, Gates, Read, Summary
    from engramdb.growth.settings import Settings
    from engramdb.growth.status import Status

    given = {
        **document, "gates": Gates(**document["gates"]), "settings": Settings(**document["settings"]),
        "readings": tuple(Read(**one) for one in document["readings"]),
        "history": tuple(Summary(**one) for one in document["history"]),
        **{name: Counts(**document[name]) for name in ("counts", "totals")},
    }  # fmt: skip
    return Status(**given)
