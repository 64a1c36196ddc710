"""``RemoteEngram``: an engram of a service, with verbs of :class:`engramdb.Engram`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engramdb.client.cycle import Cycle
from engramdb.client.history import History
from engramdb.client.job import Job
from engramdb.client.memories import Memories
from engramdb.client.questions import Questions
from engramdb.client.shapes import named, numbers, run_of
from engramdb.client.stream import Event, events
from engramdb.client.transport import Transport
from engramdb.naming import Ids

if TYPE_CHECKING:
    from engramdb.run import Run
    from engramdb.stimuli.command import Stimulus
    from engramdb.store.compaction import Compacted
    from engramdb.store.upkeep.gc import Collected


class RemoteEngram(Questions, Memories, History):
    """An engram of a service: ``service["name"]``. What it returns is what a local one returns.

    It is open as long as the service has it open; there is nothing to close. Several programs may use it at once.
    """

    def __init__(self, transport: Transport, name: str, description: Mapping[str, Any]) -> None:
        self.transport, self.name = transport, name
        self._path = f"/v1/engrams/{quote(name, safe='')}"
        self.dt_ms = float(description["dt_ms"])
        self._projections: dict[str, int] = {one["name"]: i for i, one in enumerate(description["projections"])}
        self._models: dict[str, str] = {layer["name"]: layer["model"] for layer in description["layers"]}

    def __repr__(self) -> str:
        return f"<RemoteEngram {self.name!r} at {self.transport.url}>"

    # ---- what it is

    def describe(self) -> dict[str, Any]:
        """All that the service says of it: layers, states, tick, branch, commit, memory, what runs."""
        said: dict[str, Any] = self.transport.get(self._path)
        return said

    @property
    def tick(self) -> int:
        """The last tick completed."""
        return int(self.describe()["tick"])

    def __len__(self) -> int:
        return int(self.describe()["neurons"])

    def stats(self) -> dict[str, Any]:
        """Where the memory is; see :meth:`engramdb.Engram.stats`."""
        stats: dict[str, Any] = self.describe()["stats"]
        return stats

    # ---- changing

    def connect(self, pre: Ids, post: Ids, weight: Any, delay_ms: Any = None) -> int:
        """Make synapses, or give existing ones a weight (mV), and say how many; see :meth:`engramdb.Engram.connect`."""
        delays = {} if delay_ms is None else {"delay_ms": numbers(delay_ms)}
        return self._synapses(pre, post, weight, **delays)

    def set_weight(self, pre: Ids, post: Ids, weight: Any) -> int:
        """Set the weight (mV) of existing synapses; NotFound if a pair has none."""
        return self._synapses(pre, post, weight, create=False)

    def _synapses(self, pre: Ids, post: Ids, weight: Any, **more: Any) -> int:
        body = {"pre": named(pre), "post": named(post), "weight": numbers(weight), **more}
        return int(self.transport.post(f"{self._path}/synapses", body)["synapses"])

    # ---- driving

    def stimulate(self, ids: Ids, amplitude: Any, *, at: int | None = None, duration: int | None = 1) -> int:
        """Add ``amplitude`` mV to the input of ``ids`` in each tick of ``duration``; returns the stimulus's number."""
        return self._stimulus(ids, kind="pulse", amplitude=numbers(amplitude), at=at, duration=duration)

    def poisson(
        self, ids: Ids, rate_hz: Any, amplitude: Any, *, at: int | None = None, duration: int | None = None
    ) -> int:
        """Give each of ``ids`` random spikes of its own: a Poisson train of ``rate_hz``, ``amplitude`` mV a spike."""
        return self._stimulus(
            ids, kind="poisson", amplitude=numbers(amplitude), rate_hz=numbers(rate_hz), at=at, duration=duration
        )

    def play(self, ids: Ids, ticks: Any, amplitude: Any) -> int:
        """Give ``ids[i]`` a spike of ``amplitude`` mV in ``ticks[i]``."""
        return self._stimulus(ids, kind="play", amplitude=numbers(amplitude), ticks=numbers(ticks))

    def _stimulus(self, ids: Ids, **body: Any) -> int:
        return int(self.transport.post(f"{self._path}/stimuli", {"ids": named(ids), **body})["number"])

    def stimuli(self) -> list[Stimulus]:
        """What input is still to come, by number."""
        from engramdb.stimuli.command import Stimulus

        found = self.transport.get(f"{self._path}/stimuli")["stimuli"]
        return [Stimulus(one["number"], one["kind"], one["neurons"], one["start"], one["stop"]) for one in found]

    def stop_stimuli(self, *chosen: int) -> int:
        """End stimuli by their numbers, or all that are not over; returns how many."""
        wanted = chosen or tuple(one.number for one in self.stimuli())
        for number in wanted:
            self.transport.delete(f"{self._path}/stimuli/{int(number)}")
        return len(wanted)

    def reward(self, value: float) -> None:
        """Reward what was done up to now; see :meth:`engramdb.Engram.reward`."""
        self.transport.post(f"{self._path}/rewards", {"value": value})

    def start(
        self, ticks: int, record: Sequence[str] = (), *, to: str | None = None, pace_hz: float | None = None,
        topology: int | None = None,
    ) -> Job | Run:  # fmt: skip
        """Begin a run: a :class:`Job` where it takes longer than a second or so, else the :class:`Run` it was.

        ``to``: a name, under which the service keeps the spikes as Parquet; see :meth:`Job.fetch`. ``topology``: take a
        reading in the ticks that it divides; a run has the last in its ``stats``, :meth:`stream` tells of each.
        """
        what = [record] if isinstance(record, str) else [*dict.fromkeys((*record, "counts"))]
        body = {"ticks": int(ticks), "record": what, "to": to, "hz": pace_hz, "topology": topology}
        answer = self.transport.post(f"{self._path}/ticks", {k: v for k, v in body.items() if v is not None})
        if "elapsed_s" in answer:
            return run_of(answer, self.dt_ms)
        return Job.of(answer, self.transport)

    def run(
        self, ticks: int, record: Sequence[str] = (), *, pace_hz: float | None = None, topology: int | None = None,
        progress: Callable[[Job], None] | None = None,
    ) -> Run:  # fmt: skip
        """Run ``ticks`` ticks and wait for the end; ``progress(job)`` is called meanwhile, where it takes a while.

        ``record``: "spikes", and "rates", the spikes of each layer in each tick. Ctrl-C cancels the run at a tick
        boundary.
        """
        started = self.start(ticks, record, pace_hz=pace_hz, topology=topology)
        if not isinstance(started, Job):
            return started
        try:
            done = started.wait(progress=progress)
        except KeyboardInterrupt:
            started.cancel()
            raise
        return run_of(done.result, self.dt_ms)

    def stream(self, *, spikes: int = 0, every: int = 1) -> Iterator[Event]:
        """What happens, while it happens: see :class:`Event`. Close the iterator, or leave the loop, to end it.

        ``spikes``: at most so many of each event, evenly taken. ``every``: one event for so many ticks. Who reads
        slowly loses detail, which ``dropped`` counts, and never holds the engine up.
        """
        return events(self.transport, f"{self._path}/stream", spikes=spikes, every=every)

    # ---- growing, and whole files

    def grow(self, layer: str, neurons: int, k: int | None = None, *, materialize: bool = False) -> dict[str, Any]:
        """Add ``neurons`` to the last segment of ``layer``; waits until their rows are written."""
        body = {"layer": layer, "neurons": int(neurons), "materialize": materialize, **({} if k is None else {"k": k})}
        return self._through(self.transport.post(f"{self._path}/growth", body))

    @property
    def cycle(self) -> Cycle:
        """The growth cycle; see :class:`engramdb.client.cycle.Cycle`."""
        return Cycle(self.transport, self._path)

    # ---- upkeep

    def prune(self, below: float, layer: str | int | None = None) -> int:
        """Take away all synapses weaker than ``below`` mV of stored rows; see :meth:`engramdb.Engram.prune`."""
        body = {"below": numbers(below), **({} if layer is None else {"layer": layer})}
        return int(self._through(self.transport.post(f"{self._path}/prune", body))["synapses"])

    def index(self, *, drop: bool = False) -> int:
        """Build the reverse index, or ``drop`` it; returns its entries. See :meth:`engramdb.Engram.index`."""
        return int(self._through(self.transport.post(f"{self._path}/index", {"drop": drop}))["pairs"])

    def compact(self) -> Compacted:
        """Write the leaves whose changes lie apart whole again; see :meth:`engramdb.Engram.compact`."""
        from engramdb.store.compaction import Compacted

        return Compacted(**self._through(self.transport.post(f"{self._path}/compact")))

    def gc(self, *, keep_last: int = 10, keep_days: float = 7.0, dry_run: bool = False) -> Collected:
        """Thin out commits without a name; see :meth:`engramdb.Engram.gc`. Where there are keys it needs an admin's."""
        from engramdb.store.upkeep.gc import Collected

        body = {"keep_last": keep_last, "keep_days": keep_days, "dry_run": dry_run}
        return Collected(**self._through(self.transport.post(f"{self._path}/gc", body)))

    def verify(self) -> dict[str, Any]:
        """Check everything stored; waits for the report."""
        return self._through(self.transport.post(f"{self._path}/verify"))

    def _through(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The result, whether it came at once or comes of a job."""
        if "state" not in answer or "kind" not in answer:
            return answer
        result: dict[str, Any] = Job.of(answer, self.transport).wait().result
        return result

    def export(self, format: str, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the engram to the file ``path``: ``format`` and options as of the command ``engramdb export``.

        Whole or not at all; waits where the service makes a job of it. Returns the path.
        """
        target = Path(path)
        job = self.transport.download(f"{self._path}/export", target, format=format, **options)
        return target if job is None else Job.of(job, self.transport).wait().fetch(target)
