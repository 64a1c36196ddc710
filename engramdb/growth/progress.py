"""Where a growth cycle stands: a state machine of three phases, as a value that JSON can hold.

    grow -> stabilize (until readings are flat, or patience ends) -> optimize (for a number of ticks) -> grow ...

Steps fall due at ticks. What a step has read and decided makes the next value of :class:`Progress`; no clock is asked.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from engramdb.errors import Damaged, FormatTooNew
from engramdb.growth.settings import (
    ADAPTIVE,
    GROW,
    LEAST_FACTOR,
    MOST_FACTOR,
    OPTIMIZE,
    STABILIZE,
    Settings,
)

RUNNING, PAUSED, STOPPED, DONE = "running", "paused", "stopped", "done"
_FORMAT = 1


class Readings(NamedTuple):
    """``mean_dw``: by what part mean W differs from the reading before; ``clusters``, ``b1``: of the sample."""

    mean_dw: float
    clusters: float
    b1: float


class Shape(NamedTuple):
    """What a sample of the graph looks like; ``complexity`` is no gate, but kept with the readings."""

    clusters: float
    b1: float
    complexity: float = 0.0


class Read(NamedTuple):
    """Readings at the end of ``tick``; ``level``: mean W, or spikes a tick, at that time."""

    tick: int
    level: float
    mean_dw: float
    clusters: float
    b1: float
    complexity: float


class Gates(NamedTuple):
    """How far readings drift: from the mean of the earlier half of the window to that of the later, as a part of it.

    ``mean_w`` (spikes a tick where there is no W), ``clusters``, ``b1``: what each gate holds against its setting.
    ``readings``: how many the window has yet; it is ``open`` when it is full and all three are small enough.
    """

    readings: int
    mean_w: float
    clusters: float
    b1: float
    open: bool


@dataclass(frozen=True)
class Summary:
    """One cycle: ``neurons`` that came in tick ``grown``; from ``began`` to ``ended``.

    ``stable``: the tick in which its readings were flat, or, where ``converged`` is false, patience ended.
    """

    cycle: int
    began: int
    neurons: int
    grown: int
    stable: int
    converged: bool
    ended: int
    pruned: int
    promoted: int
    bridged: int
    mean_dw: float
    clusters: float
    b1: float
    complexity: float


class Counts(NamedTuple):
    """Synapses pruned, promoted and bridged; weak ones for whose timers there was no room."""

    pruned: int = 0
    promoted: int = 0
    bridged: int = 0
    untimed: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


_NONE = Counts()


@dataclass(frozen=True)
class Progress:
    """``state``: running, paused, stopped or done; ``phase`` since tick ``since``; the next step is ``due`` at a tick.

    ``cycle`` counts from 1. ``bundle``: neurons of the next one. ``window``: the latest readings. ``level`` and
    ``spikes``: mean W, or spikes a tick, at the last reading, and the engine's count of spikes. ``cursor``: id at which
    the walk over rows goes on; ``laps``: rounds it has made. ``owed``: synapses that may be promoted for those pruned.
    ``suspects``: who has lost synapses in the last step.
    """

    settings: Settings
    state: str
    phase: str
    cycle: int
    began: int
    since: int
    due: int
    bundle: int
    grown: int = 0
    neurons: int = 0
    stable: int = 0
    converged: bool = False
    window: tuple[Read, ...] = ()
    level: float | None = None
    spikes: int = 0
    cursor: int = 0
    laps: int = 0
    owed: int = 0
    suspects: tuple[int, ...] = ()
    own: Counts = _NONE
    totals: Counts = _NONE

    @classmethod
    def started(cls, settings: Settings, tick: int) -> Progress:
        """At its beginning, in ``tick``."""
        due = tick if settings.first == GROW else tick + settings.every
        return cls(settings, RUNNING, settings.first, 1, tick, tick, due, settings.bundle)

    # ---- what happens

    def has_grown(self, neurons: int, tick: int) -> Progress:
        """The bundle is there: readings begin anew."""
        due = tick + self.settings.every
        return replace(self, phase=STABILIZE, since=tick, due=due, grown=tick, neurons=neurons, window=())

    def has_read(self, tick: int, level: float | None, shape: Shape, spikes: int) -> Progress:
        """A step has taken its readings; without a ``level``, where nobody is active, W does not move."""
        level = self.level if level is None else level
        readings = Readings(_change(self.level, level), float(shape.clusters), float(shape.b1))
        window = (*self.window, Read(tick, level or 0.0, *readings, shape.complexity))[-self.settings.window :]
        return replace(self, window=window, level=level, spikes=spikes, due=tick + self.settings.every)

    def has_changed(self, counts: Counts, suspects: tuple[int, ...]) -> Progress:
        """A step has pruned, promoted and bridged so many synapses."""
        owed = self.owed + counts.pruned - counts.promoted - counts.bridged
        return replace(self, owed=owed, suspects=suspects, own=self.own.plus(counts), totals=self.totals.plus(counts))

    def moved_on(self, tick: int) -> tuple[Progress, Summary | None]:
        """In the phase that follows, if this one is over at ``tick``; and a summary, if with it the cycle is."""
        if self.phase == STABILIZE:
            gates = self.gates
            if not gates.open and tick - self.since < self.settings.patience:
                return self, None
            return replace(self, phase=OPTIMIZE, since=tick, stable=tick, converged=gates.open), None
        if self.phase == OPTIMIZE and tick - self.since >= self.settings.optimize:
            last, own = self.window[-1], self.own
            summary = Summary(
                self.cycle, self.began, self.neurons, self.grown, self.stable, self.converged, tick,
                own.pruned, own.promoted, own.bridged, last.mean_dw, last.clusters, last.b1, last.complexity,
            )  # fmt: skip
            over = self.settings.cycles is not None and self.cycle >= self.settings.cycles
            following = replace(
                self, state=DONE if over else self.state, phase=GROW, cycle=self.cycle + (not over), began=tick,
                since=tick, due=tick, bundle=self.next_bundle, own=_NONE, neurons=0,
            )  # fmt: skip
            return following, summary
        return self, None

    @property
    def factor(self) -> float:
        """By which the next bundle is larger: 1.5 after the fastest convergence there can be, 1.2 after the slowest."""
        if self.settings.growth != ADAPTIVE or not self.neurons:
            return 1.0
        if not self.converged:
            return LEAST_FACTOR
        least = self.settings.window * self.settings.every
        late = (self.stable - self.grown - least) / max(1, self.settings.patience - least)
        return MOST_FACTOR - (MOST_FACTOR - LEAST_FACTOR) * min(1.0, max(0.0, late))

    @property
    def next_bundle(self) -> int:
        return min(self.settings.most_bundle, round(self.bundle * self.factor))

    # ---- what it says

    @property
    def gates(self) -> Gates:
        """How the window stands."""
        if not self.window:
            return Gates(0, 0.0, 0.0, 0.0, False)
        s, full = self.settings, len(self.window) == self.settings.window
        mean_w = _drift([read.level for read in self.window])
        clusters = _drift([read.clusters for read in self.window])
        b1 = _drift([read.b1 for read in self.window])
        small = mean_w <= s.flat_w and clusters <= s.flat_clusters and b1 <= s.flat_b1
        return Gates(len(self.window), mean_w, clusters, b1, full and small)

    @property
    def why(self) -> str:
        """Why it is where it is, in a sentence."""
        s, gates = self.settings, self.gates
        if self.state == DONE:
            return f"done: {s.cycles} cycle{'s' * (s.cycles != 1)} as set, the last ended in tick {self.began}"
        where = {
            GROW: f"growing: a bundle of {self.bundle:,} neurons comes with the next step",
            OPTIMIZE: f"optimizing since tick {self.since}: {_stability(self)}; until tick {self.since + s.optimize}"
            f" synapses weaker than {s.below:g} for {s.persist} ticks are pruned, and promoted in their place;"
            f" {self.own.pruned} pruned, {self.own.promoted} promoted, {self.own.bridged} bridged so far",
            STABILIZE: f"stabilizing since tick {self.since}: {_waiting(gates, s)}",
        }[self.phase]
        return where if self.state == RUNNING else f"{self.state}; {where}"

    # ---- kept

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_json` makes an equal one."""
        return {"format": _FORMAT, **asdict(self), "window": [list(read) for read in self.window],
                "own": list(self.own), "totals": list(self.totals)}  # fmt: skip

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Progress:
        given = {name: value for name, value in document.items() if name != "format"}
        return cls(**{
            **given,
            "settings": Settings(**given["settings"]),
            "window": tuple(Read(*read) for read in given["window"]),
            "suspects": tuple(given["suspects"]),
            "own": Counts(*given["own"]),
            "totals": Counts(*given["totals"]),
        })  # fmt: skip


def _change(before: float | None, level: float | None) -> float:
    """By what part ``level`` differs from that of the reading before; 1 for the first."""
    if before is None or level is None:
        return 0.0 if level is None else 1.0
    return 0.0 if level == before else abs(level - before) / max(abs(level), abs(before))


def dumped(progress: Progress, history: tuple[Summary, ...]) -> str:
    """One line of JSON."""
    return json.dumps({"progress": progress.to_json(), "history": [asdict(one) for one in history]})


def loaded(text: str) -> tuple[Progress, tuple[Summary, ...]]:
    """What :func:`dumped` was given; :class:`Damaged`, or :class:`FormatTooNew`, where it cannot be read."""
    try:
        content = json.loads(text)
        written = content["progress"]["format"]
        if written <= _FORMAT:
            return Progress.from_json(content["progress"]), tuple(Summary(**one) for one in content["history"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"the growth cycle in the state cannot be read ({error!r}); verify the engram") from None
    raise FormatTooNew(f"the growth cycle has format {written}; this EngramDB reads up to {_FORMAT}: use a newer one")


def _drift(values: list[float]) -> float:
    """From the mean of the earlier half of ``values`` to that of the later half, as a part of the larger one."""
    half = len(values) // 2
    if not half:
        return 0.0
    before, after = sum(values[:half]) / half, sum(values[-half:]) / half
    return 0.0 if before == after else abs(after - before) / max(abs(before), abs(after))


def _stability(progress: Progress) -> str:
    ticks = progress.stable - progress.grown if progress.neurons else progress.stable - progress.began
    return (
        f"stable after {ticks} ticks" if progress.converged else f"not stable, but patience ended after {ticks} ticks"
    )


def _waiting(gates: Gates, settings: Settings) -> str:
    if gates.readings < settings.window:
        return f"{gates.readings} of the {settings.window} readings are there that must be flat"
    parts = [
        f"{name} drifts by {value:.3g} {'>' if value > most else '<='} {most:g}"
        for name, value, most in (
            ("mean W", gates.mean_w, settings.flat_w),
            ("clusters", gates.clusters, settings.flat_clusters),
            ("B1", gates.b1, settings.flat_b1),
        )
    ]
    return f"over the last {settings.window} readings {', '.join(parts)}"
