"""A leaf that stays as it is stored: verified, and decoded only where somebody wants a row of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engramdb.address import IdArray
from engramdb.store import column
from engramdb.store.leaf import FLOAT32, STATE_PREFIX, UINT8, UINT16, UINT64, decode_indptr
from engramdb.store.pack import BadRecord, Record
from engramdb.store.records import Array, IndexArray, Records, gather
from engramdb.store.targets import from_steps

Pick = Callable[[IndexArray], Array]


class StoredLeaf:
    """A whole version of a leaf. A fault is after one row of thousands: the others need not be put together for it.

    Takes a half to a third of the memory of :class:`Records` of the same leaf.
    """

    def __init__(self, record: Record) -> None:
        """Checks what :func:`~engramdb.store.leaf.decode_leaf` checks, but for targets. Raises BadRecord."""
        rows, synapses = record.identity.rows, record.identity.synapses
        self.nbytes = record.data.nbytes
        self.ids: IdArray = record.column("id", UINT64, (rows,))
        self._indptr = decode_indptr(record, rows, synapses)
        self._far, self._step = _Beginning(record, "target_far"), _Beginning(record, "target_step")
        if self._far.dtype != UINT64:
            raise BadRecord(f"column target_far is {self._far.dtype}")
        if self._step.size != synapses or self._step.dtype.kind != "i":
            raise BadRecord(f"column target_step is {self._step.dtype} ({self._step.size},)")
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
        """The neurons at ``index`` (int64 (m,), increasing, few), in arrays of their own.

        Raises BadRecord where their targets, which are decoded only now, are not what they should be.
        """
        if index.size == 1:  # most often, and with caches that know nothing of it: fewer steps
            start, stop = self._indptr[index[0] : index[0] + 2].tolist()
            indptr, synapse = np.array([0, stop - start]), np.arange(start, stop)
        else:
            indptr, synapse = gather(self._indptr, index)
        ids = self.ids[index]
        step = self._step.upto(int(self._indptr[index[-1] + 1]) if index.size else 0)
        return Records(
            ids=ids,
            state={name: pick(index) for name, pick in self._state.items()},
            row_kind=self._row_kind(index),
            indptr=indptr,
            projection=self._projection(synapse),
            target=from_steps(ids, indptr, step[synapse], self._far_of(index, step)),
            weight=self._weight(synapse),
            delay=None if self._delay is None else self._delay(synapse),
        )

    def _far_of(self, index: IndexArray, step: Array) -> IdArray:
        """The far targets of these rows: how many the rows before them have is counted in their steps."""
        edges = []
        seen = zeros = 0
        for start, stop in zip(self._indptr[index].tolist(), self._indptr[index + 1].tolist(), strict=True):
            before = zeros + start - seen - int(np.count_nonzero(step[seen:start]))
            seen, zeros = stop, before + stop - start - int(np.count_nonzero(step[start:stop]))
            edges.append((before, zeros))
        if zeros > self._far.size:
            raise BadRecord(f"{zeros} far targets are announced and {self._far.size} are there")
        far = self._far.upto(zeros)
        return np.concatenate([far[:0], *(far[before:after] for before, after in edges)])


class _Beginning:
    """A column decoded as far as somebody wanted it, and from the second time on wholly.

    What is in the middle of it cannot be had alone, but half of it is spared on average where one row is wanted.
    """

    def __init__(self, record: Record, name: str) -> None:
        """Raises BadRecord."""
        self._name, self._data = name, record.encoded(name)
        entry = record.columns[name]
        if len(entry.shape) != 1:
            raise BadRecord(f"column {name} has shape {entry.shape}")
        self._codec, self.dtype, self.size = entry.codec, entry.dtype, entry.shape[0]
        self._decoded: Array = np.empty(0, self.dtype)
        as_it_is = self._codec == column.RAW and len(self._data) == self.size == self.size * self.dtype.itemsize
        if as_it_is:
            self._decoded = self._data.view(self.dtype)
        self.nbytes = 0 if as_it_is else self.size * self.dtype.itemsize
        """When it is decoded wholly."""

    def upto(self, stop: int) -> Array:
        """The first ``stop`` elements, and perhaps more; not to be changed. Raises BadRecord."""
        decoded = self._decoded
        if decoded.size < stop:
            wanted = self.size if decoded.size else stop
            try:
                decoded = column.decode_first(self._codec, self._data, self.dtype, self.size, wanted)
            except column.BadColumn as error:
                raise BadRecord(f"column {self._name} cannot be decoded: {error}") from error
            self._decoded = decoded
        return decoded
