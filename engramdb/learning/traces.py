"""Eligibilities of synapses in RAM: beside the arena while the row is there, and aside while it is not.

A commit keeps them with what is in flight. So a row can be dropped and read again, and its eligibilities stay; they
take memory for as long as there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import re_vgsp as kernel
from engramdb.reservation import Reservation
from engramdb.state import State, joined
from engramdb.store import Records

Int64Array = npt.NDArray[np.int64]

TRACE_BYTES = kernel.TRACE.itemsize
_ASIDE_BYTES = 200  # of a row that is aside, with its key, beyond its synapses


class Traces:
    """``array``: TRACE by synapse of the arena, of ``capacity`` synapses."""

    def __init__(self, capacity: int) -> None:
        self._memory = Reservation(capacity, kernel.TRACE)
        self.array = self._memory.array
        self._aside: dict[int, npt.NDArray[Any]] = {}
        self.nbytes = 0  # of what is aside

    def installed(self, ids: IdArray, offset: Int64Array, length: Int64Array) -> None:
        """Rows of ``ids`` have been put into the arena at ``offset``."""
        for i in range(len(ids)):
            part = self.array[offset[i] : offset[i] + length[i]]
            kept = self._aside.pop(int(ids[i]), None) if self._aside else None
            part[:] = 0
            if kept is not None:
                part[: len(kept)] = kept
                self.nbytes -= kept.nbytes + _ASIDE_BYTES

    def put_aside(self, ids: IdArray, offset: Int64Array, length: Int64Array) -> None:
        """Rows of ``ids`` are about to go from the arena."""
        for i in range(len(ids)):
            part = self.array[offset[i] : offset[i] + length[i]]
            if part["eligibility"].any():
                self.keep(int(ids[i]), part.copy())

    def keep(self, neuron_id: int, trace: npt.NDArray[Any]) -> None:
        """Keep ``trace`` for a neuron whose row is not in RAM."""
        gone = self._aside.pop(neuron_id, None)
        self.nbytes -= 0 if gone is None else gone.nbytes + _ASIDE_BYTES
        if trace["eligibility"].any():
            self._aside[neuron_id] = trace
            self.nbytes += trace.nbytes + _ASIDE_BYTES

    def aside(self, neuron_id: int) -> npt.NDArray[Any] | None:
        """What is kept for a neuron whose row is not in RAM."""
        return self._aside.get(neuron_id)

    @property
    def ids_aside(self) -> IdArray:
        """Whose rows have eligibilities and are not in RAM, sorted."""
        return np.sort(np.fromiter(self._aside, dtype=np.uint64, count=len(self._aside)))

    def follow(self, before: Records, after: Records) -> None:
        """Rows that are aside are written anew: each synapse of ``after`` has the trace of the one it was ``before``.

        Whole rows of the same neurons. A synapse is known by its target, its projection and its place among those that
        share both.
        """
        for i, neuron_id in enumerate(after.ids.tolist()):
            kept = self._aside.get(neuron_id)
            if kept is None:
                continue
            at = int(np.searchsorted(before.ids, after.ids[i]))
            known = dict(zip(_synapses(before, at), kept, strict=True))
            trace = np.zeros(int(after.indptr[i + 1] - after.indptr[i]), dtype=kernel.TRACE)
            for place, synapse in enumerate(_synapses(after, i)):
                if synapse in known:
                    trace[place] = known[synapse]
            self.keep(neuron_id, trace)

    def moved(self, before: Int64Array, after: Int64Array, length: Int64Array, end: int) -> None:
        """Rows were moved in the arena from ``before`` to ``after``, both rising; it ends at ``end`` now."""
        kernel.move(self.array, before, after, length)
        self._memory.trim(end)

    def all_met(self, end: int) -> None:
        """All synapses, of the arena up to ``end`` and aside, have met all outcomes, which are counted anew."""
        self.array["outcomes"][:end] = 0
        for trace in self._aside.values():
            trace["outcomes"] = 0

    def freeze(self, ids: IdArray, offset: Int64Array, length: Int64Array) -> State:
        """All eligibilities: of the rows of ``ids`` that are in the arena, and aside.

        ``eligible_id`` uint64 sorted, ``eligible_synapses`` int64, the length of its row, and ``eligible_value``
        float32, by synapse.
        """
        found = {
            int(ids[i]): self.array["eligibility"][offset[i] : offset[i] + length[i]].copy() for i in range(len(ids))
        }
        found |= {neuron_id: trace["eligibility"] for neuron_id, trace in self._aside.items()}
        order = sorted(found)
        return {
            "eligible_id": np.array(order, dtype=np.uint64),
            "eligible_synapses": np.array([len(found[neuron_id]) for neuron_id in order], dtype=np.int64),
            "eligible_value": joined(np.float32, (found[neuron_id] for neuron_id in order)),
        }

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        if "eligible_id" not in state:
            return
        stops = np.cumsum(state["eligible_synapses"])
        for i, neuron_id in enumerate(state["eligible_id"].tolist()):
            trace = np.zeros(int(state["eligible_synapses"][i]), dtype=kernel.TRACE)
            trace["eligibility"] = state["eligible_value"][stops[i] - len(trace) : stops[i]]
            self.keep(neuron_id, trace)


def _synapses(rows: Records, row: int) -> list[tuple[int, int, int]]:
    """Target, projection, and place among those that share both, of each synapse of a row."""
    part = slice(int(rows.indptr[row]), int(rows.indptr[row + 1]))
    seen: dict[tuple[int, int], int] = {}
    found = []
    for target, projection in zip(rows.target[part].tolist(), rows.projection[part].tolist(), strict=True):
        place = seen[target, projection] = seen.get((target, projection), -1) + 1
        found.append((target, projection, place))
    return found
