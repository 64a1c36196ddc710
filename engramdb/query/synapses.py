"""Rows of synapses, out of a neuron and into it, virtual ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb import timelimit
from engramdb.address import IdArray, by_layer
from engramdb.delays import DelayArray, chosen, end_to_end
from engramdb.spec import Spec
from engramdb.store import STORED, Records, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring

_ROWS_AT_ONCE = 1 << 14  # of a question through the reverse index


@dataclass(frozen=True)
class Synapses:
    """Synapses of one neuron: arrays of equal length, sorted by delay and then by the other end's id.

    Of direction ``out`` ``targets`` holds the other ends, of direction ``in`` ``sources``; weights are in mV (float32),
    delays in ticks; ``projections`` names the projection of each.
    """

    id: int
    direction: str
    partners: IdArray
    weights: npt.NDArray[np.float32]
    delays: npt.NDArray[np.int64]
    projections: list[str]

    @property
    def targets(self) -> IdArray:
        return self.partners if self.direction == "out" else np.full(len(self.partners), self.id, dtype=np.uint64)

    @property
    def sources(self) -> IdArray:
        return self.partners if self.direction == "in" else np.full(len(self.partners), self.id, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.partners)


def whole_rows(ids: IdArray, store: Store, wiring: Callable[[], Wiring]) -> Records:
    """Records of ``ids`` (sorted, distinct, one layer) with every row written out.

    Neurons without a record get the state of one that never fired; rows that only a wiring rule knows are computed.
    """
    found = store.find(ids, query=True)
    known = np.isin(ids, found.ids)
    written = np.zeros(len(ids), dtype=bool)
    written[known] = found.row_kind == STORED
    length = np.zeros(len(ids), dtype=np.int64)
    length[known] = np.diff(found.indptr)
    made = None if written.all() else wiring().rows(ids[~written])
    if made is not None:
        length[~written] = np.diff(made.indptr)
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(length)])
    of_store = np.repeat(written, length)
    projection = np.empty(indptr[-1], dtype=np.uint16)
    target = np.empty(indptr[-1], dtype=np.uint64)
    weight = np.empty(indptr[-1], dtype=np.float32)
    projection[of_store], target[of_store], weight[of_store] = found.projection, found.target, found.weight
    if made is not None:
        projection[~of_store], target[~of_store], weight[~of_store] = made.projection, made.target, made.weight
    delay = None
    if found.delay is not None or (made is not None and made.delay is not None):
        delay = np.empty(indptr[-1], dtype=np.uint16)
        if found.delay is not None:
            delay[of_store] = found.delay
        if made is not None:
            delay[~of_store] = made.delay
    state: dict[str, npt.NDArray[Any]] = {
        "spike_count": np.zeros(len(ids), dtype=np.uint32),
        "last_spike": np.zeros(len(ids), dtype=np.int64),
    }
    if len(found.ids):
        for name, column in state.items():
            column[known] = found.state[name]
    kind = np.full(len(ids), STORED, dtype=np.uint8)
    return Records(ids, state, kind, indptr, projection, target, weight, delay=delay)


def outgoing(neuron_id: int, spec: Spec, store: Store, wiring: Callable[[], Wiring]) -> Synapses:
    """The row of ``neuron_id``, as the store has it or as its wiring rule gives it."""
    row = whole_rows(np.array([neuron_id], dtype=np.uint64), store, wiring)
    return _synapses(neuron_id, "out", spec, row.target, row.weight, row.projection, row.delay)


@dataclass(frozen=True)
class Incoming:
    """Synapses onto some neurons, in no order: arrays of equal length. ``delay`` as in :class:`Records`."""

    target: IdArray
    source: IdArray
    weight: npt.NDArray[np.float32]
    projection: npt.NDArray[np.uint16]
    delay: DelayArray | None


def incoming(neuron_id: int, spec: Spec, store: Store, wiring: Callable[[], Wiring]) -> Synapses:
    """All synapses onto ``neuron_id``; see :func:`onto`."""
    found = onto(np.array([neuron_id], dtype=np.uint64), spec, store, wiring)
    return _synapses(neuron_id, "in", spec, found.source, found.weight, found.projection, found.delay)


def onto(targets: IdArray, spec: Spec, store: Store, wiring: Callable[[], Wiring]) -> Incoming:
    """All synapses onto ``targets`` (uint64, sorted, distinct).

    Virtual ones by inverting their rules. Stored ones through the reverse index, which names the sources whose rows are
    read then; without one, by a scan of every stored row of the layers that project here, leaf by leaf.
    """
    parts: list[Incoming] = []
    named: list[IdArray] = [np.empty(0, dtype=np.uint64)]
    for target in targets.tolist():
        timelimit.check()
        source, projection, weight, delay = wiring().sources(target)
        parts.append(Incoming(np.full(len(source), target, np.uint64), source, weight, projection, delay))
        named.append(source)
    virtual = _end_to_end(parts)
    if store.reverse:
        named += [store.reverse.pairs(targets)[1], store.touched()]
        stored, hits = _of_rows(np.unique(np.concatenate(named)), targets, store)
    else:
        ruled = np.unique(virtual.source)
        hits = [_hits(records, targets) for records in _scanned(targets, spec, store)]
        found = (store.find(ruled[part], query=True) for _, part in by_layer(ruled))
        stored = np.concatenate([np.empty(0, np.uint64), *(r.ids[r.row_kind == STORED] for r in found)])
    rest = np.flatnonzero(~np.isin(virtual.source, stored))
    return _end_to_end([_taken(virtual, rest), *hits])


def _of_rows(sources: IdArray, targets: IdArray, store: Store) -> tuple[IdArray, list[Incoming]]:
    """Which of ``sources`` have a stored row, and the synapses of those rows onto ``targets``."""
    stored, hits = [np.empty(0, dtype=np.uint64)], []
    for _, part in by_layer(sources):
        for start in range(part.start, part.stop, _ROWS_AT_ONCE):
            timelimit.check()
            records = store.find(sources[start : min(start + _ROWS_AT_ONCE, part.stop)], query=True)
            stored.append(records.ids[records.row_kind == STORED])
            hits.append(_hits(records, targets))
    return np.concatenate(stored), hits


def _scanned(targets: IdArray, spec: Spec, store: Store) -> Iterator[Records]:
    """All stored rows of the layers that project to ``targets``."""
    onto_layers = {spec.layer(layer).name for layer, _ in by_layer(targets)}
    for name in dict.fromkeys(p.pre for p in spec.all_projections if p.post in onto_layers):
        for records in store.scan(spec.layer(name).index):
            timelimit.check()
            yield records


def _hits(records: Records, targets: IdArray) -> Incoming:
    """The synapses of ``records`` onto ``targets``."""
    if len(targets) == 1:
        hit = np.flatnonzero(records.target == targets[0])
    else:
        place = np.minimum(np.searchsorted(targets, records.target), len(targets) - 1)
        hit = np.flatnonzero(targets[place] == records.target)
    row = np.searchsorted(records.indptr, hit, side="right") - 1
    return Incoming(
        records.target[hit], records.ids[row], records.weight[hit], records.projection[hit], chosen(records.delay, hit)
    )


def _taken(synapses: Incoming, index: npt.NDArray[np.intp]) -> Incoming:
    return Incoming(
        synapses.target[index], synapses.source[index], synapses.weight[index], synapses.projection[index],
        chosen(synapses.delay, index),
    )  # fmt: skip


def _end_to_end(parts: list[Incoming]) -> Incoming:
    return Incoming(
        np.concatenate([np.empty(0, np.uint64), *(part.target for part in parts)]),
        np.concatenate([np.empty(0, np.uint64), *(part.source for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.weight for part in parts)]),
        np.concatenate([np.empty(0, np.uint16), *(part.projection for part in parts)]),
        end_to_end([part.delay for part in parts]),
    )


def _synapses(
    neuron_id: int,
    direction: str,
    spec: Spec,
    partners: IdArray,
    weight: npt.NDArray[np.float32],
    projection: npt.NDArray[np.uint16],
    delay: DelayArray | None,
) -> Synapses:
    delays = spec.ticks_of(projection, delay)
    order = np.lexsort((projection, partners, delays))
    names = [spec.all_projections[p].name or "" for p in projection[order]]
    return Synapses(int(neuron_id), direction, partners[order], weight[order], delays[order], names)
