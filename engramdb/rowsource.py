"""Where rows come from: the store, where they have been written, and the wiring rules otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.delays import DelayArray
from engramdb.store import STORED, Store
from engramdb.store.changes import find_in
from engramdb.store.records import gather
from engramdb.wiring import Wiring

_OF_PROJECTION = np.empty(0, dtype=np.uint16)


@dataclass(frozen=True)
class Rows:
    """Rows of ``n`` neurons and what the store counts of them, in arrays of their own.

    - ``ids``: uint64 (n,), strictly increasing, of one layer
    - ``spike_count``: uint32 (n,), ``last_spike``: int64 (n,); zero where there is no record
    - ``indptr``: int64 (n + 1,); ``projection``: uint16, ``target``: uint64, ``weight``: float32 (nnz,), each row
      sorted by delay; ``delay``: uint16 (nnz,) ticks, or empty where every synapse has that of its projection
    """

    ids: IdArray
    spike_count: npt.NDArray[np.uint32]
    last_spike: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    projection: npt.NDArray[np.uint16]
    target: IdArray
    weight: npt.NDArray[np.float32]
    delay: npt.NDArray[np.uint16]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(array.nbytes for array in vars(self).values())

    def take(self, index: npt.NDArray[np.int64]) -> Rows:
        """Those at ``index`` (int64, increasing)."""
        indptr, synapse = gather(self.indptr, index)
        return Rows(
            self.ids[index], self.spike_count[index], self.last_spike[index],
            indptr, self.projection[synapse], self.target[synapse], self.weight[synapse],
            self.delay[synapse] if len(self.delay) else self.delay,
        )  # fmt: skip


class RowSource:
    """Rows of ``store`` and ``wiring``; threads may share it while nobody writes to the store."""

    def __init__(self, store: Store, wiring: Wiring) -> None:
        self._store, self._wiring = store, wiring

    def read(self, ids: IdArray) -> Iterator[Rows]:
        """The rows of ``ids`` (uint64, strictly increasing), in parts that are wholly stored or wholly of a rule.

        Raises LeafDamaged, NotFound.
        """
        for _, part in by_layer(ids):
            yield from self._of_layer(ids[part])

    def counts(self, ids: IdArray) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """``(spike_count, last_spike)`` of ``ids`` (uint64, strictly increasing) in the store, or zero."""
        spike_count, last_spike = np.zeros(len(ids), np.uint32), np.zeros(len(ids), np.int64)
        for _, part in by_layer(ids):
            stored = self._store.find(ids[part])
            at = part.start + np.searchsorted(ids[part], stored.ids)
            if len(at):
                spike_count[at], last_spike[at] = stored.state["spike_count"], stored.state["last_spike"]
        return spike_count, last_spike

    def _of_layer(self, ids: IdArray) -> Iterator[Rows]:
        stored = self._store.find(ids)
        place, known = find_in(stored.ids, ids)
        spike_count, last_spike = np.zeros(len(ids), np.uint32), np.zeros(len(ids), np.int64)
        written = np.zeros(len(ids), dtype=bool)
        if known.any():
            at = place[known]
            spike_count[known], last_spike[known] = stored.state["spike_count"][at], stored.state["last_spike"][at]
            written[known] = stored.row_kind[at] == STORED
        generated = np.flatnonzero(~written)
        if len(generated):
            made = self._wiring.rows(ids[generated])
            yield Rows(
                ids[generated], spike_count[generated], last_spike[generated],
                made.indptr, made.projection, made.target, made.weight, _given(made.delay),
            )  # fmt: skip
        chosen = np.flatnonzero(written)
        if len(chosen):
            own = stored if len(chosen) == len(stored) else stored.take(place[chosen])
            yield Rows(
                ids[chosen], spike_count[chosen], last_spike[chosen],
                own.indptr, own.projection, own.target, own.weight, _given(own.delay),
            )  # fmt: skip


def _given(delay: DelayArray | None) -> DelayArray:
    return _OF_PROJECTION if delay is None else delay
