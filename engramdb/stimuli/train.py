"""Given trains: spikes whose ticks are known beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import slots
from engramdb.state import joined
from engramdb.stimuli.coming import Events
from engramdb.stimuli.pulse import fixed
from engramdb.workingset import Int64Array, WorkingSet

KIND = "train"
_MOST_EVENTS = 1 << 16  # that are looked up ahead

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Train:
    """Spikes by tick; a long train comes in parts of one number, each sorted by itself.

    ``ticks``: int64 (k,), increasing; ``sizes``: int64 (k,), spikes in each, one after the other in ``ids`` (uint64
    (n,), sorted within a tick, repeats allowed). ``amplitude_mv``: float32 (n,), or (1,) where all are the same.
    """

    number: int
    ticks: Int64Array
    sizes: Int64Array
    ids: IdArray
    amplitude_mv: npt.NDArray[np.float32]

    @cached_property
    def _begins(self) -> Int64Array:
        """Where the spikes of each tick begin; at the end, how many there are in all."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.sizes)])

    @property
    def start(self) -> int:
        return int(self.ticks[0])

    @property
    def stop(self) -> int:
        return int(self.ticks[-1])

    @property
    def nbytes(self) -> int:
        return 3 * self.ticks.nbytes + self.ids.nbytes + self.amplitude_mv.nbytes

    def apply(self, tick: int, working_set: WorkingSet) -> None:
        place = int(np.searchsorted(self.ticks, tick))
        if place == len(self.ticks) or self.ticks[place] != tick:
            return
        part = slice(int(self._begins[place]), int(self._begins[place + 1]))
        slots.add_input(working_set.slots, working_set.hold(self.ids[part]), self._amounts(part))

    def events(self, first: int, last: int, working_set: WorkingSet) -> Events:
        """What it adds in the ticks ``first`` to ``last``, or in the first of them where that is much."""
        begin, end = (int(place) for place in np.searchsorted(self.ticks, (first, last + 1)))
        most = int(np.searchsorted(self._begins, self._begins[begin] + _MOST_EVENTS, side="right")) - 1
        if most < end:
            end = max(most, begin + 1)
            last = int(self.ticks[end]) - 1 if end < len(self.ticks) else last
        part = slice(int(self._begins[begin]), int(self._begins[end]))
        ticks = np.repeat(self.ticks[begin:end], self.sizes[begin:end])
        return Events(last, ticks, working_set.lookup(self.ids[part]), self._amounts(part))

    def _amounts(self, part: slice) -> Int64Array:
        if len(self.amplitude_mv) == 1:
            return np.full(part.stop - part.start, fixed(self.amplitude_mv)[0])
        return fixed(self.amplitude_mv[part])

    def next_tick(self, after: int) -> int | None:
        place = int(np.searchsorted(self.ticks, after, side="right"))
        return int(self.ticks[place]) if place < len(self.ticks) else None

    def rest(self, tick: int) -> Train:
        """What is still to come after ``tick``."""
        place = int(np.searchsorted(self.ticks, tick, side="right"))
        first = int(self._begins[place])
        amplitude = self.amplitude_mv if len(self.amplitude_mv) == 1 else self.amplitude_mv[first:]
        return Train(self.number, self.ticks[place:], self.sizes[place:], self.ids[first:], amplitude)


def of_arrays(number: int, arrays: Mapping[str, npt.NDArray[Any]]) -> Train:
    """The train that has these ``tick``, ``size``, ``id``, ``amplitude``."""
    return Train(number, arrays["tick"], arrays["size"], arrays["id"], arrays["amplitude"])


def state_of(trains: Sequence[Train], tick: int) -> Arrays:
    """What comes after ``tick``: for each part ``train_number``, ``_ticks``, ``_spikes``, ``_amplitudes`` (how many),
    and end to end ``train_tick``, ``_size``, ``_id``, ``_amplitude``."""
    left = [rest for train in trains if len((rest := train.rest(tick)).ticks)]
    return {
        "train_number": np.array([t.number for t in left], dtype=np.int64),
        "train_ticks": np.array([len(t.ticks) for t in left], dtype=np.int64),
        "train_spikes": np.array([len(t.ids) for t in left], dtype=np.int64),
        "train_amplitudes": np.array([len(t.amplitude_mv) for t in left], dtype=np.int64),
        "train_tick": joined(np.int64, (t.ticks for t in left)),
        "train_size": joined(np.int64, (t.sizes for t in left)),
        "train_id": joined(np.uint64, (t.ids for t in left)),
        "train_amplitude": joined(np.float32, (t.amplitude_mv for t in left)),
    }


def of_state(state: Mapping[str, npt.NDArray[Any]]) -> Iterable[Train]:
    """The trains that :func:`state_of` gave."""
    none = np.empty(0, dtype=np.int64)
    counts = [state.get(f"train_{name}", none) for name in ("ticks", "ticks", "spikes", "amplitudes")]
    ends = [np.cumsum(count) for count in counts]
    for i, number in enumerate(state.get("train_number", none)):
        parts = [slice(int(end[i] - count[i]), int(end[i])) for end, count in zip(ends, counts, strict=True)]
        columns = [
            state[f"train_{name}"][part] for name, part in zip(("tick", "size", "id", "amplitude"), parts, strict=True)
        ]
        yield Train(int(number), *columns)
