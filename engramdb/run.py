"""A run: what came out of a stretch of ticks, and recording while it goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.cards import card, pairs
from engramdb.errors import BudgetExceeded, DiskFull
from engramdb.reservation import Reservation
from engramdb.stretch import Stretch

if TYPE_CHECKING:
    from engramdb.engine import Engine
    from engramdb.pace import Pace
    from engramdb.recording.recorder import Recorder, Traces
    from engramdb.topology import Reading
    from engramdb.topology.watch import Watch

Int64Array = npt.NDArray[np.int64]

MOST_TICKS = 1 << 40  # of one run: their counts still fit into the address space
_SPARSE_FROM_BYTES = 1 << 24
_SECONDS_AT_STAKE = 1.0  # of a run, should it be killed before it has returned
_SECONDS_BETWEEN = 0.006  # about, from one boundary that is told to the next
_TICKS_BETWEEN = 1 << 16  # at the most: their counts are told too


@dataclass(frozen=True)
class Run:
    """Ticks ``first_tick`` .. ``first_tick + ticks - 1``.

    ``counts``: int64 (ticks,), spikes in each. ``spikes``: (tick int64, id uint64) arrays sorted by tick and id, if
    they were recorded to memory, else empty. ``population``: spikes in each tick by layer, int64 (ticks,), and
    ``traces``: state variables, both where they were recorded to memory. ``sie``: of each void layer, by name,
    "active", "W", "reward" and "valence", (ticks,), if recorded to memory. ``topology``: readings, unless they went
    into a file. ``interrupted``: stopped at a tick boundary by ctrl-C.
    """

    first_tick: int
    ticks: int
    dt_ms: float
    counts: Int64Array
    spikes: tuple[Int64Array, IdArray]
    elapsed: float
    interrupted: bool = False
    stats: dict[str, Any] = field(default_factory=dict)
    population: dict[str, Int64Array] = field(default_factory=dict)
    traces: Traces | None = None
    sie: dict[str, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)
    topology: tuple[Reading, ...] = ()

    def rates(self) -> dict[int, float]:
        """Mean rate in Hz of every neuron that spiked, by id; needs ``record=("spikes",)``."""
        ids, counts = np.unique(self.spikes[1], return_counts=True)
        seconds = self.ticks * self.dt_ms / 1000.0
        return {int(i): float(n) / seconds for i, n in zip(ids, counts, strict=True)}

    def _repr_html_(self) -> str:
        seconds = len(self.counts) and self.elapsed
        rows = [("spikes", int(self.counts.sum())), ("elapsed", f"{seconds:.3g} s")]
        rows += [(name, self.stats[name]) for name in ("synaptic_events", "active", "charged") if name in self.stats]
        rows += [(f"spikes of {name}", int(counts.sum())) for name, counts in self.population.items()]
        rows += [("recorded spikes", len(self.spikes[0]))] if len(self.spikes[0]) else []
        note = f"ticks {self.first_tick:,} to {self.first_tick + self.ticks - 1:,}"
        return card("run", note + ("; interrupted" if self.interrupted else ""), pairs(rows))

    def __repr__(self) -> str:
        return f"<Run: ticks {self.first_tick}..{self.first_tick + self.ticks - 1}, {int(self.counts.sum())} spikes>"


@dataclass(frozen=True)
class Boundary:
    """The end of a tick within a run: ``tick``, and what happened since the boundary that was told before.

    ``counts``: int64 (n,), spikes in each of the last n ticks. ``spikes()``: their (tick int64, id uint64), sorted;
    only while this boundary lasts, and so ``layers()``: of each spike the index of its layer (uint16), by tick.
    """

    tick: int
    counts: Int64Array
    spikes: Callable[[], tuple[Int64Array, IdArray]]
    layers: Callable[[], npt.NDArray[np.uint16]]


class SpikeCounts:
    """Spikes of each tick of a run; ticks in which nobody fires take no memory."""

    def __init__(self) -> None:
        self.ticks = 0
        self._at: list[Int64Array] = []
        self._counts: list[Int64Array] = []

    def add(self, stretch: Stretch) -> None:
        if stretch.counts is not None:
            at = np.flatnonzero(stretch.counts)
            if len(at):
                self._at.append(at + self.ticks)
                self._counts.append(stretch.counts[at])
        self.ticks += stretch.ticks

    def array(self) -> Int64Array:
        """int64 (ticks,); pages of it without a spike take no memory until they are written to."""
        if self.ticks * 8 < _SPARSE_FROM_BYTES:
            array = np.zeros(self.ticks, dtype=np.int64)
        else:
            array = Reservation(self.ticks, np.int64, huge=False).array
        for at, counts in zip(self._at, self._counts, strict=True):
            array[at] = counts
        return array


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Collect ctrl-C instead of raising it, so that a tick is never cut in two; yields the list it lands in.

    A second ctrl-C is collected too. Only the main thread can take signals; elsewhere this does nothing.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


def _by_tick(engine: Engine, stretch: Stretch) -> tuple[Int64Array, IdArray]:
    """(tick, id) of the spikes of the stretch that was just run, sorted."""
    ids = engine.working_set.slots.id[stretch.fired]
    if stretch.counts is None or len(ids) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
    ticks = np.repeat(np.arange(engine.tick - stretch.ticks + 1, engine.tick + 1), stretch.counts)
    order = np.argsort(ids) if stretch.ticks == 1 else np.lexsort((ids, ticks))
    return ticks[order], ids[order]


def _layers(engine: Engine, stretch: Stretch) -> npt.NDArray[np.uint16]:
    return (engine.working_set.slots.id[stretch.fired] >> np.uint64(48)).astype(np.uint16)


def _boundary(engine: Engine, stretch: Stretch) -> Boundary:
    counts = np.zeros(stretch.ticks, dtype=np.int64) if stretch.counts is None else stretch.counts
    return Boundary(engine.tick, counts, lambda: _by_tick(engine, stretch), lambda: _layers(engine, stretch))


def _next(ticks: int, seconds: float) -> int:
    """How many ticks to run in one go, when so many took so long."""
    fitting = ticks * _SECONDS_BETWEEN / max(seconds, 1e-9)
    return max(1, min(2 * ticks, int(fitting), _TICKS_BETWEEN))


def run_ticks(
    engine: Engine,
    ticks: int,
    dt_ms: float,
    recorder: Recorder | None,
    until: Callable[[int, IdArray], bool] | None,
    progress: Callable[[int, int, dict[str, Any]], None] | None,
    done: Callable[[float], None],
    pace: Pace | None = None,
    watch: Watch | None = None,
    between: Callable[[Boundary], bool] | None = None,
) -> Run:
    """Run up to ``ticks`` ticks; see :meth:`engramdb.engram.Engram.run`.

    ``done(seconds)`` is called at tick boundaries, about once a second and at the end, with the time the ticks since
    its last call took: it makes them durable.
    """
    first, events = engine.tick + 1, engine.delivery.events
    counts = SpikeCounts()
    failed: BudgetExceeded | DiskFull | None = None
    over = False
    at_once = 1  # ticks, where somebody waits for boundaries
    began = acknowledged = shown = time.perf_counter()
    with interruptible() as caught, recorder if recorder is not None else nullcontext():
        try:
            while counts.ticks < ticks and not caught and failed is None and not over:
                most = ticks - counts.ticks
                if until is not None or pace is not None:
                    most = 1
                elif recorder is not None:
                    most = min(most, recorder.most_ticks(engine.tick))
                if watch is not None:
                    most = min(most, watch.most_ticks(engine.tick))
                if between is not None:
                    most = min(most, at_once)
                started = time.perf_counter()
                stretch = engine.advance(most)
                failed = stretch.exceeded
                counts.add(stretch)
                if recorder is not None or until is not None:
                    fired_in, ids = _by_tick(engine, stretch)
                    if recorder is not None and stretch.ticks:
                        try:
                            recorder.add(
                                engine.tick - stretch.ticks + 1, engine.tick, fired_in, ids, engine.working_set
                            )
                        except DiskFull as error:
                            failed = error
                        engine.working_set.recording_bytes = recorder.nbytes
                    if until is not None and stretch.ticks:
                        over = until(engine.tick, ids)
                if watch is not None and stretch.ticks and watch.due(engine.tick):
                    engine.settle()  # reading ahead, for the store is about to be asked
                    reading = watch.take()
                    if recorder is not None:
                        recorder.add_reading(reading)
                    engine.working_set.recording_bytes = (recorder.nbytes if recorder else 0) + watch.nbytes
                if pace is not None:
                    pace.wait(lambda: bool(caught))
                now = time.perf_counter()
                if between is not None and stretch.ticks:
                    at_once = _next(at_once, now - started)
                    over |= between(_boundary(engine, stretch))
                if progress is not None and now - shown > 0.1:
                    shown = now
                    progress(counts.ticks, ticks, {**engine.stats(), **(watch.stats() if watch is not None else {})})
                if now - acknowledged > _SECONDS_AT_STAKE:
                    done(now - acknowledged)
                    acknowledged = time.perf_counter()
        finally:
            engine.settle()
            engine.working_set.recording_bytes = 0
            if counts.ticks:
                done(time.perf_counter() - acknowledged)
        if failed is None:
            try:
                engine.working_set.check_budget()  # a checkpoint that has begun takes memory too
            except BudgetExceeded as error:
                failed = error
        if recorder is not None:
            try:
                recorder.close()
            except DiskFull as error:
                failed = failed or error
        elapsed = time.perf_counter() - began
    stats = {
        "ticks_per_second": counts.ticks / elapsed if elapsed else 0.0,
        "synaptic_events": engine.delivery.events - events,
        **engine.stats(),
        **(pace.stats() if pace is not None else {}),
        **(watch.stats() if watch is not None else {}),
    }
    spikes = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64))
    run = Run(first, counts.ticks, dt_ms, counts.array(), spikes, elapsed, bool(caught), stats)
    if recorder is not None:
        recorded = recorder.population(), recorder.traces(), recorder.sie()
        run = replace(run, spikes=recorder.spikes(), population=recorded[0], traces=recorded[1], sie=recorded[2])
    if watch is not None:
        run = replace(run, topology=tuple(watch.readings))
    if failed is not None:
        failed.run = run
        raise failed
    return run
