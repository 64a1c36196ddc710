"""Poisson input: each neuron gets a train of its own, a function of (seed, number of the stimulus, id, time)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import poisson, slots
from engramdb.state import joined
from engramdb.stimuli.coming import NONE, Events
from engramdb.stimuli.command import one
from engramdb.stimuli.pulse import fixed
from engramdb.workingset import Int64Array, WorkingSet

KIND = "poisson"
_FEWEST_LISTS, _MOST_LISTS = 64, 1 << 16
_MOST_EVENTS = 1 << 16  # that are drawn ahead

Float64Array = npt.NDArray[np.float64]


class Poisson:
    """Events from ``start`` to ``stop``; see :mod:`engramdb.kernels.poisson`.

    ``ids``: uint64 (n,), distinct, sorted. ``rates``: float64, events a tick; ``amplitude_mv``: float32; both (n,) or,
    where all are the same, (1,). ``tick``: the last one completed. Only neurons that get an event need a slot.
    """

    def __init__(
        self, seed: int, number: int, ids: IdArray, rates: Float64Array, amplitude_mv: npt.NDArray[np.float32],
        start: int, stop: int, tick: int,
    ) -> None:  # fmt: skip
        self.number, self.start, self.stop = number, start, stop
        self.rates, self.amplitude_mv = one(rates), one(amplitude_mv)
        self._seed, self._key = np.uint64(seed), np.uint64(number)
        self._fixed = fixed(self.amplitude_mv)
        self._wheel = poisson.Wheel(
            head=np.empty(_lists(rates), dtype=np.int32),
            link=np.empty(len(ids), dtype=np.int32),
            target=np.zeros(len(ids), dtype=poisson.TARGET),
            counters=np.zeros(2, dtype=np.int64),
        )
        self._wheel.target["id"] = ids
        self._slots, self._epoch = np.empty(len(ids), dtype=np.int32), -1
        # events of the ticks _first to _drawn: drawn once, whether those ticks run now, later or again
        self._drawn = max(tick, start - 1)
        self._first = self._drawn + 1
        self._ends: Int64Array = np.zeros(1, dtype=np.int64)
        self._places = self._events = NONE
        poisson.start(self._seed, self._key, self.rates, self._drawn, self._wheel)

    @property
    def ids(self) -> IdArray:
        return self._wheel.target["id"]

    @property
    def nbytes(self) -> int:
        wheel = self._wheel
        drawn = self._ends.nbytes + self._places.nbytes + self._events.nbytes
        return nbytes_of(len(wheel.target), len(self.rates), len(self.amplitude_mv)) + wheel.head.nbytes + drawn

    def apply(self, tick: int, working_set: WorkingSet) -> None:
        if tick > self._drawn:
            self._draw(tick, tick, 0)
        part = self._part(tick, tick)
        if part.stop > part.start:
            slots.add_input(working_set.slots, self._held(self._places[part], working_set), self._amounts(part))

    def events(self, first: int, last: int, working_set: WorkingSet) -> Events:
        """What it adds in the ticks ``first`` to ``last``, or in as many of them as are drawn at once."""
        last = min(last, self.stop)
        if last > self._drawn and first > self._drawn:
            self._draw(first, last, min(_MOST_EVENTS, working_set.budget_bytes // 4096))
        last = min(last, self._drawn)
        part = self._part(first, last)
        ticks = np.repeat(np.arange(first, last + 1), np.diff(self._ends)[first - self._first : last + 1 - self._first])
        return Events(last, ticks, self._known(self._places[part], working_set), self._amounts(part))

    def _part(self, first: int, last: int) -> slice:
        """Where the events of the ticks ``first`` to ``last`` lie, which are drawn."""
        return slice(int(self._ends[first - self._first]), int(self._ends[last + 1 - self._first]))

    def _amounts(self, part: slice) -> Int64Array:
        amplitude = self._fixed[self._places[part]] if len(self._fixed) > 1 else self._fixed
        return amplitude * self._events[part]

    def _known(self, places: Int64Array, working_set: WorkingSet) -> Int64Array:
        """The slots of targets, -1 where they have none; known ones are not looked up again while none is freed."""
        if self._epoch != working_set.epoch:
            self._slots[:], self._epoch = -1, working_set.epoch
        held = self._slots[places].astype(np.int64)
        unknown = np.flatnonzero(held < 0)
        if len(unknown):
            held[unknown] = working_set.lookup(self._wheel.target["id"][places[unknown]])
            self._slots[places] = held
        return held

    def _held(self, places: Int64Array, working_set: WorkingSet) -> Int64Array:
        """The slots of targets, taken where they have none."""
        held = self._known(places, working_set)
        if (held < 0).any():
            held = working_set.hold(self._wheel.target["id"][places])
            if self._epoch != working_set.epoch:
                self._slots[:], self._epoch = -1, working_set.epoch
            self._slots[places] = held
        return held

    def _draw(self, first: int, last: int, room: int) -> None:
        """Draw the events of the ticks ``first`` to ``last``, those of the first or more, if there are ``room``."""
        poisson.turn(self._wheel, first)
        most = max(room, int(poisson.due(self._wheel, first, NONE)))
        places, events = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
        ends = np.zeros(last - first + 2, dtype=np.int64)
        ticks = poisson.draw_ahead(self._seed, self._key, self.rates, self._wheel, first, last, places, events, ends)
        n = int(ends[ticks])
        self._first, self._drawn, self._ends = first, first + ticks - 1, ends[: ticks + 1]
        self._places, self._events = (drawn if n == most else drawn[:n].copy() for drawn in (places, events))

    def next_tick(self, after: int) -> int | None:
        if after < self._drawn:
            some = np.flatnonzero(np.diff(self._ends[max(0, after + 1 - self._first) :]))
            if len(some):
                first = max(self._first, after + 1) + int(some[0])
                return first if first <= self.stop else None
        first = int(poisson.next_due(self._wheel, max(after, self._drawn)))
        return first if 0 <= first <= self.stop else None


def nbytes_of(neurons: int, rates: int, amplitudes: int) -> int:
    """Bytes of a stimulus of so many neurons, rates and amplitudes, but for its lists."""
    return neurons * (poisson.TARGET.itemsize + 8) + 8 * rates + 12 * amplitudes


def _lists(rates: Float64Array) -> int:
    """Lists of the wheel: most targets should be due before it has turned, or it moves them again at each turn."""
    mean = float(rates.mean()) if len(rates) else 0.0
    wanted = 2 / mean if mean > 2 / _MOST_LISTS else _MOST_LISTS
    return int(min(max(wanted, _FEWEST_LISTS), _MOST_LISTS, max(64 * len(rates), _FEWEST_LISTS)))


def state_of(sources: Iterable[Poisson]) -> dict[str, npt.NDArray[Any]]:
    """For each source ``poisson_number``, ``_start``, ``_stop``, ``_neurons``; for each neuron ``_id``, ``_rate``,
    ``_amplitude``. Where the processes stand is not kept: it follows from the tick."""
    sources = list(sources)

    def wide(values: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
        return np.broadcast_to(values, (n,))

    return {
        "poisson_number": np.array([s.number for s in sources], dtype=np.int64),
        "poisson_start": np.array([s.start for s in sources], dtype=np.int64),
        "poisson_stop": np.array([s.stop for s in sources], dtype=np.int64),
        "poisson_neurons": np.array([len(s.ids) for s in sources], dtype=np.int64),
        "poisson_id": joined(np.uint64, (s.ids for s in sources)),
        "poisson_rate": joined(np.float64, (wide(s.rates, len(s.ids)) for s in sources)),
        "poisson_amplitude": joined(np.float32, (wide(s.amplitude_mv, len(s.ids)) for s in sources)),
    }


def of_state(state: Mapping[str, npt.NDArray[Any]], seed: int, tick: int) -> Iterable[Poisson]:
    """The sources that :func:`state_of` gave, standing at ``tick``."""
    ends = np.cumsum(state.get("poisson_neurons", np.empty(0, dtype=np.int64)))
    for i, end in enumerate(ends):
        part = slice(int(end - state["poisson_neurons"][i]), int(end))
        ids, rates, amplitude = (state[f"poisson_{name}"][part] for name in ("id", "rate", "amplitude"))
        number, start, stop = (int(state[f"poisson_{name}"][i]) for name in ("number", "start", "stop"))
        yield Poisson(seed, number, ids, rates, amplitude, start, stop, tick)
