"""Pulses and constant currents: the same amplitude into the same neurons, tick after tick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import deliver, slots
from engramdb.state import joined
from engramdb.workingset import Int64Array, WorkingSet

KIND = "current"


def fixed(amplitude_mv: npt.NDArray[np.floating[Any]]) -> Int64Array:
    """int64 in units of 2^-32 mV, rounded half to even."""
    return np.rint(amplitude_mv.astype(np.float64) * deliver.UNIT).astype(np.int64)


@dataclass
class Pulse:
    """``amplitude`` (int64, 2^-32 mV) into ``ids`` (uint64) at each tick from ``start`` to ``stop``, both included."""

    number: int
    ids: IdArray
    amplitude: Int64Array
    start: int
    stop: int
    held: Int64Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    epoch: int = -1

    @property
    def nbytes(self) -> int:
        """Not counted: pulses are small beside the slots of their neurons."""
        return 0

    def apply(self, tick: int, working_set: WorkingSet) -> None:
        slots.add_input(working_set.slots, self.slots(working_set), self.amplitude)

    def slots(self, working_set: WorkingSet) -> Int64Array:
        """Those of its neurons, taken where they have none; they stay while the pulse lasts."""
        if self.epoch != working_set.epoch:
            self.held = working_set.hold(self.ids)
            self.epoch = working_set.epoch
        return self.held

    def next_tick(self, after: int) -> int | None:
        return max(self.start, after + 1) if after < self.stop and len(self.ids) else None


def state_of(pulses: Iterable[Pulse]) -> dict[str, npt.NDArray[Any]]:
    """One entry for each neuron of each pulse: ``stimulus_start``, ``_stop``, ``_number``, ``_id``, ``_amplitude``."""
    pulses = list(pulses)
    return {
        "stimulus_start": joined(np.int64, (np.full(len(p.ids), p.start) for p in pulses)),
        "stimulus_stop": joined(np.int64, (np.full(len(p.ids), p.stop) for p in pulses)),
        "stimulus_number": joined(np.int64, (np.full(len(p.ids), p.number) for p in pulses)),
        "stimulus_id": joined(np.uint64, (p.ids for p in pulses)),
        "stimulus_amplitude": joined(np.int64, (p.amplitude for p in pulses)),
    }


def of_state(state: Mapping[str, npt.NDArray[Any]]) -> Iterable[Pulse]:
    """The pulses that :func:`state_of` gave; engrams written before pulses had numbers give them 0."""
    start, stop = state["stimulus_start"], state["stimulus_stop"]
    number = state.get("stimulus_number", np.zeros(len(start), dtype=np.int64))
    cuts = np.flatnonzero((np.diff(start) != 0) | (np.diff(stop) != 0) | (np.diff(number) != 0)) + 1
    for part in np.split(np.arange(len(start)), cuts):
        if len(part):
            first = part[0]
            ids, amplitude = state["stimulus_id"][part], state["stimulus_amplitude"][part]
            yield Pulse(int(number[first]), ids, amplitude, int(start[first]), int(stop[first]))
