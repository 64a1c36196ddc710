"""A run of ticks as the work of a desk: in slices, between which others come in; recorded while it goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engramdb.engram import Engram
from engramdb.errors import BudgetExceeded
from engramdb.run import Boundary
from engramdb.server.jobs import Cancelled, Job, Jobs
from engramdb.server.jobwork import JobWork

if TYPE_CHECKING:
    import pyarrow.parquet

    from engramdb.topology import Tracker

_SLICE_S = 1.0  # of a run, at the end of which it is journaled
_BEHIND_S = 1.0  # so much of what a paced run could not keep is made up for
_READINGS = 10_000  # of the topology, the newest, in an answer
RECORDS = ("spikes", "counts", "rates")


class Recording:
    """What is kept of a run: spikes in memory up to ``most``, or in a Parquet file; counts; spikes by layer."""

    def __init__(self, record: Sequence[str], path: Path | None, most: int) -> None:
        self._record, self._path, self._most = frozenset(record), path, most
        self._ticks: list[Any] = []
        self._ids: list[Any] = []
        self._kept = 0
        self.truncated = False
        self.total = 0
        self._counts: list[Any] = []
        self._layers: list[Any] = []
        self._counted = 0
        self._writer: pyarrow.parquet.ParquetWriter | None = None

    def add(self, boundary: Boundary) -> None:
        """Take in a stretch of ticks."""
        counts = boundary.counts
        self.total += int(counts.sum())
        if "counts" in self._record and self._counted < self._most:
            self._counts.append(np.array(counts))
            self._counted += len(counts)
        if not self._record & {"spikes", "rates"} and self._path is None:
            return
        ticks, ids = boundary.spikes()
        if "rates" in self._record and self._counted < self._most:
            first = boundary.tick - len(counts) + 1
            self._layers.append((len(counts), ticks - first, (ids >> np.uint64(48)).astype(np.int64)))
        if self._path is not None:
            self._stream(ticks, ids)
        elif "spikes" in self._record:
            room = self._most - self._kept
            self.truncated |= len(ids) > room
            self._ticks.append(ticks[:room])
            self._ids.append(ids[:room])
            self._kept += min(room, len(ids))

    def _stream(self, ticks: Any, ids: Any) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"tick": ticks, "id": ids})
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._path, table.schema, compression="zstd")
        if len(ids):
            self._writer.write_table(table)

    def close(self) -> None:
        """The file is whole from now on."""
        if self._path is not None and self._writer is None:
            self._stream(np.empty(0, np.int64), np.empty(0, np.uint64))
        if self._writer is not None:
            self._writer.close()

    def result(self, ticks: int, dt_ms: float, layers: dict[int, str]) -> dict[str, Any]:
        """What is shown of it."""
        content: dict[str, Any] = {"spike_count": self.total}
        if "counts" in self._record:
            content["counts"] = np.concatenate([np.empty(0, np.int64), *self._counts])
        if "rates" in self._record:
            content["rates"] = {
                name: np.concatenate([
                    np.empty(0, np.int64),
                    *(np.bincount(at[of == index], minlength=n) for n, at, of in self._layers),
                ])
                for index, name in layers.items()
            }  # fmt: skip
        if "spikes" in self._record and self._path is None:
            ids = np.concatenate([np.empty(0, np.uint64), *self._ids])
            content["spikes"] = {
                "tick": np.concatenate([np.empty(0, np.int64), *self._ticks]),
                "id": [str(one) for one in ids.tolist()],
            }
            content["truncated"] = self.truncated
        return content


class TickRun(JobWork):
    """So many ``ticks``, paced by ``hz`` where it is given, and what is recorded and measured of them."""

    def __init__(
        self, job: Job, jobs: Jobs, *, ticks: int, hz: float | None, record: Sequence[str], file: Path | None,
        most: int, topology: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(job, jobs)
        self._ticks, self._hz = ticks, hz
        self._recording = Recording(record, file, most)
        self._records = bool(record) or file is not None
        self._file = file
        self._first: int | None = None
        self._done = 0
        self._began = 0.0
        self._already = 0
        self._busy_s = 0.0
        self._layers: dict[int, str] = {}
        self._dt_ms = 1.0
        self._tick = 0
        self._every = topology  # ticks from one reading to the next
        self._tracker: Tracker | None = None
        self._readings: deque[dict[str, Any]] = deque(maxlen=_READINGS)

    def step(self, engram: Engram, let_in: Callable[[Boundary], bool]) -> float | None:
        """See :class:`~engramdb.server.desk.Work`."""
        job = self.record_of
        if job.cancel_asked.is_set():
            raise Cancelled
        if self._first is None:
            self._first = job.request.setdefault("first", engram.tick)
            self._done = max(0, engram.tick - self._first)  # what an earlier start has done
            self._layers = {layer.index: layer.name for layer in engram.spec.layers}
            self._dt_ms = engram.spec.dt_ms
            self._began = time.monotonic()
            self._already = self._done
            self.jobs.began(job)
        left = self._ticks - self._done
        if self._hz is not None:
            due = self._began + (self._done - self._already) / self._hz
            now = time.monotonic()
            if due > now:
                return min(due - now, 0.5)
            if now - due > _BEHIND_S:
                self._began += now - due - _BEHIND_S
            left = min(left, max(1, int((now - due) * self._hz)))
        if left > 0:
            ends = time.monotonic() + _SLICE_S

            def between(boundary: Boundary) -> bool:
                if self._records:
                    self._recording.add(boundary)
                return let_in(boundary) or job.cancel_asked.is_set() or time.monotonic() > ends

            tick, started = engram.tick, time.perf_counter()
            if self._every is not None and self._tracker is None:
                from engramdb.topology import Settings, Tracker

                # as GET topology measures by default: one of its own for all slices, which must not matter
                self._tracker = Tracker(Settings(clusters="components"), every=self._every)
            try:
                run = engram.run(left, between=between, topology=self._tracker)
                self._readings += [reading.row() for reading in run.topology]
            except BudgetExceeded:
                self._done += engram.tick - tick
                raise
            self._busy_s += time.perf_counter() - started
            self._done += engram.tick - tick
        self._tick = engram.tick
        job.message = f"tick {engram.tick}, {self._done} of {self._ticks}"
        job.percent = round(100.0 * self._done / self._ticks, 1) if self._ticks else 100.0
        job.version += 1
        return None if self._done >= self._ticks else 0.0

    def result(self) -> dict[str, Any]:
        """What has come of it up to now; the recording is closed."""
        self._recording.close()
        result = {
            "ticks": self._done,
            "tick": self._tick,
            "elapsed_s": round(self._busy_s, 6),
            **self._recording.result(self._done, self._dt_ms, self._layers),
        }
        if self._every is not None:
            result["topology"] = list(self._readings)
        if self._file is not None:
            result["file"] = f"/v1/jobs/{self.job}/result"
        return result
