"""Rows of synapses, out of a neuron and into it, virtual ones included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.delays import DelayArray, chosen, end_to_end
from engramdb.spec import Spec
from engramdb.store import STORED, Records, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring


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


def incoming(neuron_id: int, spec: Spec, store: Store, wiring: Callable[[], Wiring]) -> Synapses:
    """All synapses onto ``neuron_id``: virtual ones by inverting their rules, stored ones by a scan of the rows.

    The scan reads every stored row of the layers that project here, leaf by leaf.
    """
    sources, projection, weight, delay = wiring().sources(neuron_id)
    virtual = np.ones(len(sources), dtype=bool)
    for _, part in by_layer(sources):
        found = store.find(np.unique(sources[part]), query=True)
        virtual[part] = ~np.isin(sources[part], found.ids[found.row_kind == STORED])
    parts = [(sources[virtual], weight[virtual], projection[virtual])]
    delays = [chosen(delay, virtual)]
    post = spec.layer(int(neuron_id) >> 48)
    for name in dict.fromkeys(p.pre for p in spec.all_projections if p.post == post.name):
        for records in store.scan(spec.layer(name).index):
            hit = np.flatnonzero(records.target == np.uint64(neuron_id))
            if len(hit):
                row = np.searchsorted(records.indptr, hit, side="right") - 1
                parts.append((records.ids[row], records.weight[hit], records.projection[hit]))
                delays.append(chosen(records.delay, hit))
    partners, weight, projection = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _synapses(neuron_id, "in", spec, partners, weight, projection, end_to_end(delays))


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
