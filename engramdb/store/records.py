"""Records: materialized neurons of one layer as arrays, the store's only currency.

A record is a neuron's id, its state columns, and its row of outgoing synapses in CSR form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.delays import DelayArray, chosen, end_to_end
from engramdb.errors import InvalidInput

KEEP, STORED, GENERATED, FORGOTTEN = 0, 1, 2, 3
"""Row kinds. STORED: the row given here. GENERATED: the row that the layer's wiring rule generates; no synapse is
stored. In changes only: KEEP: leave the stored row as it is (a neuron not yet stored becomes GENERATED); FORGOTTEN:
the neuron has no record any more."""

OWN = "param."
"""Names of state columns that hold a parameter of each neuron begin with it: float64, NaN where it has none of its own.
A neuron that is not stored yet and is given no such value gets NaN."""

FIELD = "field."
"""Names of state columns that hold what a model keeps of each neuron begin with it. A neuron that is not stored yet and
is given no such value gets a blank: NaN, or in a column wider than (n,) zeros."""

Array = npt.NDArray[Any]
IndexArray = npt.NDArray[np.int64]
Columns = dict[str, tuple[str, tuple[int, ...]]]


@dataclass
class Records:
    """``n`` neurons of one layer with ``nnz`` synapses.

    - ``ids``: uint64 (n,), strictly increasing
    - ``state``: columns (n, ...) of the layer's model; {} where there are no neurons
    - ``row_kind``: uint8 (n,), one of KEEP, STORED, GENERATED
    - ``indptr``: int64 (n + 1,), non-decreasing from 0; rows that are not STORED have length zero
    - ``projection``: uint16 (nnz,); ``target``: uint64 (nnz,); ``weight``: float32 (nnz,), finite.
      Within a row the order is the caller's, and is kept.
    - ``delay``: uint16 (nnz,), ticks, at least 1, where synapses of a projection can differ in theirs: in the records
      of an engram either all with synapses have it, or none; None where every synapse has that of its projection.
    - ``kept``: bool (n,) for some state columns, in changes only: the neurons that keep the value they have. A column
      that is not in ``state`` at all is kept by every neuron. A neuron that is not stored yet needs all columns.
    """

    ids: IdArray
    state: dict[str, Array]
    row_kind: npt.NDArray[np.uint8]
    indptr: IndexArray
    projection: npt.NDArray[np.uint16]
    target: IdArray
    weight: npt.NDArray[np.float32]
    kept: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    delay: DelayArray | None = None

    def __len__(self) -> int:
        return int(self.ids.size)

    @property
    def synapses(self) -> int:
        return int(self.indptr[-1] - self.indptr[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        own = (self.ids, self.row_kind, self.indptr, self.projection, self.target, self.weight)
        delays = 0 if self.delay is None else self.delay.nbytes
        return sum(a.nbytes for a in own) + sum(a.nbytes for a in self.state.values()) + delays

    @classmethod
    def empty(cls) -> Records:
        return cls.of_state(np.empty(0, np.uint64), {})

    @classmethod
    def of_state(cls, ids: IdArray, state: Mapping[str, Array], row_kind: int = KEEP) -> Records:
        """Records without synapses, such as a change of state columns only."""
        return cls(
            ids=ids,
            state=dict(state),
            row_kind=np.full(ids.size, row_kind, np.uint8),
            indptr=np.zeros(ids.size + 1, np.int64),
            projection=np.empty(0, np.uint16),
            target=np.empty(0, np.uint64),
            weight=np.empty(0, np.float32),
        )

    def part(self, start: int, stop: int) -> Records:
        """Neurons ``start`` (included) to ``stop`` (excluded); shares memory except ``indptr``."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        return Records(
            ids=self.ids[start:stop],
            state={name: column[start:stop] for name, column in self.state.items()},
            row_kind=self.row_kind[start:stop],
            indptr=self.indptr[start : stop + 1] - low,
            projection=self.projection[low:high],
            target=self.target[low:high],
            weight=self.weight[low:high],
            kept={name: mask[start:stop] for name, mask in self.kept.items()},
            delay=None if self.delay is None else self.delay[low:high],
        )

    def copy(self) -> Records:
        """The same in arrays of their own."""
        return Records(**{one.name: _copied(getattr(self, one.name)) for one in fields(self)})

    def take(self, index: IndexArray) -> Records:
        """The neurons at ``index`` (int64 (m,), increasing), copied."""
        if index.size == 1:  # what a fault most often is after
            return self.part(int(index[0]), int(index[0]) + 1).copy()
        indptr, synapse = gather(self.indptr, index)
        return Records(
            ids=self.ids[index],
            state={name: column[index] for name, column in self.state.items()},
            row_kind=self.row_kind[index],
            indptr=indptr,
            projection=self.projection[synapse],
            target=self.target[synapse],
            weight=self.weight[synapse],
            kept={name: mask[index] for name, mask in self.kept.items()},
            delay=chosen(self.delay, synapse),
        )


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: column.copy() for name, column in value.items()}
    return None if value is None else value.copy()


def gather(indptr: IndexArray, index: IndexArray) -> tuple[IndexArray, IndexArray]:
    """CSR row selection: ``(indptr of the rows at index, position of each of their synapses)``."""
    lengths = indptr[index + 1] - indptr[index]
    chosen = np.zeros(index.size + 1, np.int64)
    np.cumsum(lengths, out=chosen[1:])
    return chosen, np.repeat(indptr[index] - chosen[:-1], lengths) + np.arange(chosen[-1], dtype=np.int64)


def picked(parts: Sequence[tuple[Records, IndexArray]]) -> Records:
    """As :func:`concatenate` of the neurons at the places (int64, increasing) in each, but that all is copied once.

    Of whole records. Of a few neurons in each of many leaves that takes a fraction of the time.
    """
    if len(parts) < 2:
        return parts[0][0].take(parts[0][1]) if parts else Records.empty()
    first = parts[0][0]
    columns = columns_of(first)
    for part, _ in parts[1:]:
        if columns_of(part) != columns:
            check_same_columns(first, part)
    starts = [part.indptr[place].tolist() for part, place in parts]
    stops = [part.indptr[place + 1].tolist() for part, place in parts]
    spans = [
        (part, slice(start, stop))
        for (part, _), low, high in zip(parts, starts, stops, strict=True)
        for start, stop in zip(low, high, strict=True)
    ]
    return Records(
        ids=np.concatenate([part.ids[place] for part, place in parts]),
        state={name: np.concatenate([part.state[name][place] for part, place in parts]) for name in first.state},
        row_kind=np.concatenate([part.row_kind[place] for part, place in parts]),
        indptr=np.cumsum([0, *(span.stop - span.start for _, span in spans)], dtype=np.int64),
        projection=np.concatenate([part.projection[span] for part, span in spans]),
        target=np.concatenate([part.target[span] for part, span in spans]),
        weight=np.concatenate([part.weight[span] for part, span in spans]),
        delay=end_to_end([None if part.delay is None else part.delay[span] for part, span in spans]),
    )


def concatenate(parts: Sequence[Records]) -> Records:
    """The whole records of ``parts`` one after the other; ids must increase over all of them."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Records.empty()
    if len(parts) == 1:
        return parts[0]
    for part in parts[1:]:
        check_same_columns(parts[0], part)
    starts = np.cumsum([0] + [part.synapses for part in parts])
    return Records(
        ids=np.concatenate([part.ids for part in parts]),
        state={name: np.concatenate([part.state[name] for part in parts]) for name in parts[0].state},
        row_kind=np.concatenate([part.row_kind for part in parts]),
        indptr=np.concatenate(
            [parts[0].indptr[:1], *(part.indptr[1:] + start for part, start in zip(parts, starts[:-1], strict=True))]
        ),
        projection=np.concatenate([part.projection for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        delay=end_to_end([part.delay for part in parts]),
    )


def columns_of(records: Records) -> Columns:
    """Type and width of each state column."""
    return {name: (column.dtype.str, column.shape[1:]) for name, column in records.state.items()}


def blank(column: Array, n: int) -> Array:
    """What ``n`` neurons have in a column like ``column`` that they are given nothing for; not to be written to."""
    fill = np.nan if column.ndim == 1 and column.dtype.kind == "f" else 0
    return np.broadcast_to(np.full((1, *column.shape[1:]), fill, column.dtype), (n, *column.shape[1:]))


def check_same_columns(one: Records, other: Records) -> None:
    """Raise InvalidInput unless both have the same state columns, dtypes and widths."""
    left, right = columns_of(one), columns_of(other)
    if left != right:
        raise InvalidInput(f"state columns differ within one layer: {left} and {right}")


def validate(changes: Records, projections: int, *, delays: bool = False) -> None:
    """Raise InvalidInput, naming the first neuron that is wrong, unless every promise of :class:`Records` holds.

    ``projections``: how many the engram has; projection numbers lie in 0..projections - 1. ``delays``: whether its
    synapses have delays of their own.
    """
    n, nnz = len(changes), int(changes.target.size)
    for name, array, dtype, shape in (
        ("ids", changes.ids, np.uint64, (n,)),
        ("row_kind", changes.row_kind, np.uint8, (n,)),
        ("indptr", changes.indptr, np.int64, (n + 1,)),
        ("projection", changes.projection, np.uint16, (nnz,)),
        ("target", changes.target, np.uint64, (nnz,)),
        ("weight", changes.weight, np.float32, (nnz,)),
        *(() if changes.delay is None else [("delay", changes.delay, np.uint16, (nnz,))]),
    ):
        if array.dtype != dtype or array.shape != shape:
            raise InvalidInput(f"{name} must be {np.dtype(dtype)} {shape}, not {array.dtype} {array.shape}")
    for name, column in changes.state.items():
        if column.shape[:1] != (n,) or column.dtype.kind not in "biufc" or not column.dtype.isnative:
            raise InvalidInput(
                f"state column {name} must be a numeric array of {n} neurons, not {column.dtype} {column.shape}"
            )
    for name, mask in changes.kept.items():
        if name not in changes.state or mask.dtype != np.bool_ or mask.shape != (n,):
            raise InvalidInput(f"kept[{name!r}] must be bool ({n},) for a state column that is given")
    if n == 0:
        return
    _refuse(changes, changes.ids[1:] <= changes.ids[:-1], "ids must increase strictly", offset=1)
    if changes.ids[0] >> np.uint64(48) != changes.ids[-1] >> np.uint64(48):
        raise InvalidInput(
            f"ids of two layers in one write: {format_id(int(changes.ids[0]))} and {format_id(int(changes.ids[-1]))}"
        )
    lengths = np.diff(changes.indptr)
    _refuse(changes, lengths < 0, "indptr must not decrease")
    if changes.indptr[0] != 0 or changes.indptr[-1] != nnz:
        raise InvalidInput(f"indptr must run from 0 to {nnz}, not from {changes.indptr[0]} to {changes.indptr[-1]}")
    _refuse(changes, changes.row_kind > FORGOTTEN, "row_kind must be 0, 1, 2 or 3")
    _refuse(changes, (lengths > 0) & (changes.row_kind != STORED), "only a STORED row has synapses")
    _refuse(changes, lengths >= 1 << 32, "a row holds fewer than 2^32 synapses")
    if nnz and int(changes.projection.max()) >= projections:
        raise InvalidInput(f"projection {int(changes.projection.max())} is not one of the engram's {projections}")
    if nnz and (changes.delay is not None) != delays:
        has = "have delays of their own" if delays else "have the delays of their projections"
        raise InvalidInput(f"synapses of this engram {has}: delay {'is missing' if delays else 'must be None'}")
    if changes.delay is not None and nnz and not changes.delay.min():
        neuron = int(changes.ids[np.searchsorted(changes.indptr, int(np.argmin(changes.delay)), side="right") - 1])
        raise InvalidInput(f"a synapse of neuron {format_id(neuron)} has delay 0; the least is one tick")
    if not np.isfinite(changes.weight).all():
        at = int(np.flatnonzero(~np.isfinite(changes.weight))[0])
        neuron = int(changes.ids[np.searchsorted(changes.indptr, at, side="right") - 1])
        raise InvalidInput(f"weight {changes.weight[at]} of neuron {format_id(neuron)} is not finite")


def _refuse(changes: Records, wrong: npt.NDArray[np.bool_], problem: str, offset: int = 0) -> None:
    if wrong.any():
        raise InvalidInput(f"{problem}: neuron {format_id(int(changes.ids[int(np.argmax(wrong)) + offset]))}")
