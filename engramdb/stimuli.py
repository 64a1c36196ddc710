"""Input from outside: what is still to come, and what of it arrives in a tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import deliver, slots
from engramdb.state import joined
from engramdb.workingset import Int64Array, WorkingSet

EVER = 1 << 62  # a tick that never comes


@dataclass
class Stimulus:
    """``amplitude`` (int64, 2^-32 mV) into ``ids`` (uint64) at each tick from ``start`` to ``stop``, both included."""

    ids: IdArray
    amplitude: Int64Array
    start: int
    stop: int
    held: Int64Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    epoch: int = -1


class Stimuli:
    """All input that is still to come."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set
        self._pulses: list[Stimulus] = []

    def __len__(self) -> int:
        return len(self._pulses)

    def add(self, ids: IdArray, amplitude_mv: npt.NDArray[np.float32], start: int, duration: int) -> None:
        """Add input to ``ids`` at ticks ``start`` .. ``start + duration - 1``, all after the present one."""
        fixed = np.rint(amplitude_mv.astype(np.float64) * deliver.UNIT).astype(np.int64)
        self._pulses.append(Stimulus(ids, fixed, start, start + duration - 1))

    def apply(self, tick: int) -> None:
        """Add what arrives in ``tick`` to the input of its targets."""
        working_set = self._working_set
        for pulse in self._pulses:
            if not pulse.start <= tick <= pulse.stop:
                continue
            if pulse.epoch != working_set.epoch:
                pulse.held = working_set.hold(pulse.ids)
                pulse.epoch = working_set.epoch
            slots.add_input(working_set.slots, pulse.held, pulse.amplitude)

    def steady(self, tick: int) -> tuple[Int64Array, Int64Array, int]:
        """Slots and their input (int64, 2^-32 mV) in ``tick``, and the last tick until which it stays the same."""
        working_set = self._working_set
        active = [pulse for pulse in self._pulses if pulse.start <= tick <= pulse.stop]
        for pulse in active:
            if pulse.epoch != working_set.epoch:
                pulse.held = working_set.hold(pulse.ids)
                pulse.epoch = working_set.epoch
        ends = [pulse.stop for pulse in active] + [pulse.start - 1 for pulse in self._pulses if pulse.start > tick]
        held = [np.empty(0, dtype=np.int64), *(pulse.held for pulse in active)]
        amplitude = [np.empty(0, dtype=np.int64), *(pulse.amplitude for pulse in active)]
        return np.concatenate(held), np.concatenate(amplitude), min(ends, default=EVER)

    def next_tick(self, after: int) -> int | None:
        """The first tick after ``after`` in which any input arrives; None where none ever does."""
        coming = [max(pulse.start, after + 1) for pulse in self._pulses if pulse.stop > after and len(pulse.ids)]
        return min(coming, default=None)

    def settle(self, tick: int) -> None:
        """Forget what is over after ``tick``."""
        self._pulses = [pulse for pulse in self._pulses if pulse.stop > tick]

    def held(self) -> list[Int64Array]:
        """Slots that must stay where they are."""
        return [pulse.held for pulse in self._pulses if pulse.epoch == self._working_set.epoch]

    def freeze(self) -> Sequence[Stimulus]:
        """A copy of the present, for :func:`state_of`."""
        return list(self._pulses)

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        start, stop = state["stimulus_start"], state["stimulus_stop"]
        cuts = np.flatnonzero((np.diff(start) != 0) | (np.diff(stop) != 0)) + 1
        for part in np.split(np.arange(len(start)), cuts):
            if len(part):
                arrays = state["stimulus_id"][part], state["stimulus_amplitude"][part]
                self._pulses.append(Stimulus(*arrays, int(start[part[0]]), int(stop[part[0]])))


def state_of(pulses: Sequence[Stimulus]) -> dict[str, npt.NDArray[Any]]:
    """``stimulus_start``, ``_stop`` int64, ``_id`` uint64, ``_amplitude`` int64 (2^-32 mV), in the order given."""
    return {
        "stimulus_start": joined(np.int64, (np.full(len(s.ids), s.start) for s in pulses)),
        "stimulus_stop": joined(np.int64, (np.full(len(s.ids), s.stop) for s in pulses)),
        "stimulus_id": joined(np.uint64, (s.ids for s in pulses)),
        "stimulus_amplitude": joined(np.int64, (s.amplitude for s in pulses)),
    }
