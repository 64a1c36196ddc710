"""Leaves: records of one segment as the columns of one pack record, and where to cut them.

A target is kept as the offset to its source in the narrowest type that suits the leaf; one that does not
fit takes the type's smallest value there, and its full id goes to a second array, in order.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.store.pack import LEAF, BadRecord, Identity, Record, encode_record
from engramdb.store.records import Records

STATE_PREFIX = "state."
_NEURON_BYTES = 12  # id and degree
_SYNAPSE_BYTES = 8  # weight and target
_FAR_BYTES = 5.0  # what an escape costs on disk, about


@dataclass(frozen=True)
class LeafPolicy:
    """When a leaf is full: at ``rows`` neurons or ``nbytes`` (12 + 8 per synapse + state), whichever is first."""

    rows: int = 8192
    nbytes: int = 1 << 20

    def costs(self, records: Records) -> npt.NDArray[np.int64]:
        """What each neuron takes of ``nbytes``; never less than a ``rows``-th."""
        state = sum(column.nbytes for column in records.state.values()) // max(len(records), 1)
        costs = _NEURON_BYTES + state + _SYNAPSE_BYTES * np.diff(records.indptr)
        return np.maximum(costs, -(-self.nbytes // self.rows))

    def fill(self, costs: npt.NDArray[np.int64]) -> list[int]:
        """Edges of pieces, each as full as it can be; a neuron too large for a leaf has one to itself."""
        total = np.cumsum(costs)
        edges = [0]
        while edges[-1] < costs.size:
            before = int(total[edges[-1] - 1]) if edges[-1] else 0
            edges.append(max(edges[-1] + 1, int(np.searchsorted(total, before + self.nbytes, side="right"))))
        return edges

    def halve(self, costs: npt.NDArray[np.int64]) -> list[int]:
        """Edges of pieces of about equal cost, as few as it takes, so that each has room to grow."""
        total = np.cumsum(costs)
        pieces = -(-int(total[-1]) // self.nbytes)
        targets = total[-1] * np.arange(1, pieces, dtype=np.int64) // pieces
        cuts = sorted({0, int(costs.size), *np.searchsorted(total, targets, side="left").tolist()})
        edges = [0]
        for start, stop in itertools.pairwise(cuts):
            edges += [start + edge for edge in self.fill(costs[start:stop])[1:]]
        return edges


def encode_leaf(records: Records, *, line: int, commit: int, leaf: int, low: int) -> tuple[bytes, int]:
    """``(record, CRC of its header)`` of a base version; ``records`` must not be empty."""
    identity = Identity(
        kind=LEAF, line=line, commit=commit, leaf=leaf, content=commit, low=low,
        first=int(records.ids[0]), last=int(records.ids[-1]), rows=len(records), synapses=records.synapses,
    )  # fmt: skip
    degree = np.diff(records.indptr).astype(np.uint32)
    offset, far = _encode_targets(records.ids, degree, records.target)
    columns: dict[str, npt.NDArray[Any]] = {
        "id": records.ids,
        "row_kind": records.row_kind,
        **{STATE_PREFIX + name: column for name, column in records.state.items()},
        "degree": degree,
        "projection": records.projection,
        "target_offset": offset,
        "target_far": far,
        "weight": records.weight,
    }
    return encode_record(identity, columns)


def decode_leaf(record: Record) -> Records:
    """The records of a base version. Raises :class:`~engramdb.store.pack.BadRecord`."""
    identity = record.identity
    if identity.kind != LEAF:
        raise BadRecord(f"it is a record of kind {identity.kind}, not a leaf")
    rows, synapses = (identity.rows,), (identity.synapses,)
    ids = _column(record, "id", np.uint64, rows)
    degree = _column(record, "degree", np.uint32, rows)
    indptr = np.zeros(ids.size + 1, np.int64)
    np.cumsum(degree, out=indptr[1:])
    if indptr[-1] != identity.synapses:
        raise BadRecord(f"its degrees add up to {indptr[-1]}, not to {identity.synapses}")
    state = {}
    for name, entry in record.columns.items():
        if name.startswith(STATE_PREFIX):
            if entry.shape[:1] != rows:
                raise BadRecord(f"column {name} has shape {entry.shape} for {rows[0]} neurons")
            state[name.removeprefix(STATE_PREFIX)] = record.column(name)
    return Records(
        ids=ids,
        state=state,
        row_kind=_column(record, "row_kind", np.uint8, rows),
        indptr=indptr,
        projection=_column(record, "projection", np.uint16, synapses),
        target=_decode_targets(record, ids, degree),
        weight=_column(record, "weight", np.float32, synapses),
    )


def _column(record: Record, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    entry = record.columns.get(name)
    if entry is not None and (entry.dtype != dtype or entry.shape != shape):
        raise BadRecord(f"column {name} is {entry.dtype} {entry.shape}, not {np.dtype(dtype)} {shape}")
    return record.column(name)


def _encode_targets(ids: IdArray, degree: npt.NDArray[np.uint32], target: IdArray) -> tuple[npt.NDArray[Any], IdArray]:
    offset = (target - np.repeat(ids, degree)).view(np.int64)  # modulo 2^64, and so is the way back
    best: tuple[float, type[np.signedinteger[Any]], npt.NDArray[np.bool_]] | None = None
    for width, dtype in ((1, np.int8), (2, np.int16), (4, np.int32)):
        reach = (1 << 8 * width - 1) - 1
        far = (offset > reach) | (offset < -reach)
        escapes = int(np.count_nonzero(far))
        cost = width * target.size + _FAR_BYTES * escapes
        if best is None or cost < best[0]:
            best = cost, dtype, far
        if _FAR_BYTES * escapes <= width * target.size:
            break  # a wider type would cost more than all escapes
    assert best is not None
    _, dtype, far = best
    near = offset.astype(dtype)
    near[far] = np.iinfo(dtype).min
    return near, target[far]


def _decode_targets(record: Record, ids: IdArray, degree: npt.NDArray[np.uint32]) -> IdArray:
    near = record.column("target_offset")
    far = record.column("target_far")
    if near.shape != (record.identity.synapses,) or near.dtype.kind != "i" or near.dtype.itemsize > 4:
        raise BadRecord(f"column target_offset is {near.dtype} {near.shape}")
    target = np.repeat(ids, degree)
    target += near.astype(np.int64).view(np.uint64)
    place = np.flatnonzero(near == np.iinfo(near.dtype).min)
    if far.dtype != np.uint64 or far.shape != place.shape:
        raise BadRecord(f"{place.size} far targets are announced and {far.size} are there")
    target[place] = far
    return target
