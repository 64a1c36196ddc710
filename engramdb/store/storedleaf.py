"""A leaf that stays as it is stored: verified, and decoded only where somebody wants a row of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engramdb.address import IdArray
from engramdb.store.leaf import FLOAT32, STATE_PREFIX, UINT8, UINT16, UINT64, decode_indptr, decode_steps
from engramdb.store.pack import BadRecord, Record
from engramdb.store.records import Array, IndexArray, Records, gather
from engramdb.store.targets import from_steps

Pick = Callable[[IndexArray], Array]


class StoredLeaf:
    """A whole version of a leaf. A fault is after one row of thousands: the others need not be put together for it.

    Takes a half to a third of the memory of :class:`Records` of the same leaf.
    """

    def __init__(self, record: Record) -> None:
        """Checks all that :func:`~engramdb.store.leaf.decode_leaf` checks. Raises BadRecord."""
        rows, synapses = record.identity.rows, record.identity.synapses
        self.nbytes = record.data.nbytes
        self.ids: IdArray = record.column("id", UINT64, (rows,))
        self._indptr = decode_indptr(record, rows, synapses)
        self._step, self._far = decode_steps(record, synapses)
        zeros = synapses - int(np.count_nonzero(self._step))
        if zeros != self._far.size:
            raise BadRecord(f"{zeros} far targets are announced and {self._far.size} are there")
        self.nbytes += sum(array.nbytes for array in (self.ids, self._indptr, self._step, self._far))

        def picker(name: str, dtype: np.dtype[np.generic], size: int) -> Pick:
            pick, nbytes = record.picker(name, dtype, (size,))
            self.nbytes += nbytes
            return pick

        self._state: dict[str, Pick] = {}
        for name, entry in record.columns.items():
            if name.startswith(STATE_PREFIX):
                if entry.shape[:1] != (rows,):
                    raise BadRecord(f"column {name} has shape {entry.shape} for {rows} neurons")
                self._state[name.removeprefix(STATE_PREFIX)], nbytes = record.picker(name)
                self.nbytes += nbytes
        self._row_kind = picker("row_kind", UINT8, rows)
        self._projection = picker("projection", UINT16, synapses)
        self._weight = picker("weight", FLOAT32, synapses)
        self._delay = picker("delay", UINT16, synapses) if "delay" in record.columns else None

    def take(self, index: IndexArray) -> Records:
        """The neurons at ``index`` (int64 (m,), increasing, few), in arrays of their own."""
        if index.size == 1:  # most often, and with caches that know nothing of it: fewer steps
            start, stop = self._indptr[index[0] : index[0] + 2].tolist()
            indptr, synapse = np.array([0, stop - start]), np.arange(start, stop)
        else:
            indptr, synapse = gather(self._indptr, index)
        ids = self.ids[index]
        return Records(
            ids=ids,
            state={name: pick(index) for name, pick in self._state.items()},
            row_kind=self._row_kind(index),
            indptr=indptr,
            projection=self._projection(synapse),
            target=from_steps(ids, indptr, self._step[synapse], self._far_of(index)),
            weight=self._weight(synapse),
            delay=None if self._delay is None else self._delay(synapse),
        )

    def _far_of(self, index: IndexArray) -> IdArray:
        """The far targets of these rows: how many the rows before them have is counted in their steps."""
        parts = []
        seen = zeros = 0
        for start, stop in zip(self._indptr[index].tolist(), self._indptr[index + 1].tolist(), strict=True):
            zeros += start - seen - int(np.count_nonzero(self._step[seen:start]))
            own = stop - start - int(np.count_nonzero(self._step[start:stop]))
            parts.append(self._far[zeros : zeros + own])
            seen, zeros = stop, zeros + own
        return np.concatenate(parts) if parts else self._far[:0]
