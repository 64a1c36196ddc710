"""In-degrees: how many synapses a neuron receives, generated ones included.

Of few neurons each synapse is looked up, through the reverse index. Of many, all rows that project to their layer are
passed over once for each *window* of neurons, and every target is counted: a reverse index names candidates, without
those that the rules generate and with some that are gone, so that its rows would have to be read all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engramdb import timelimit
from engramdb.address import IdArray, by_layer
from engramdb.degrees import generated_synapses
from engramdb.errors import InvalidInput
from engramdb.growth.bundle import Bundle
from engramdb.layer import Layer
from engramdb.query.synapses import onto
from engramdb.query.view import View
from engramdb.store import STORED

IN_DEGREE = "in_degree"
"""The field: not among those that are shown by default, for its cost."""

_FEW = 10_000  # neurons whose synapses are looked up one by one
_WINDOW = 1 << 24  # neurons that are counted together, in 4 bytes each
_MOST = 1 << 32  # synapses that one question passes over, each window's anew: some minutes
_ROWS_AT_ONCE = 1 << 14


def in_degrees(view: View, ids: IdArray) -> npt.NDArray[np.int64]:
    """In-degrees (n,) of ``ids`` (uint64 (n,), sorted, distinct, all declared). Raises as :meth:`InDegrees.of`."""
    if not len(ids):
        return np.empty(0, np.int64)
    if len(ids) <= _FEW:
        found = onto(ids, view.spec, view.store, view.wiring)
        return np.bincount(np.searchsorted(ids, found.target), minlength=len(ids)).astype(np.int64)
    found_parts = [InDegrees(view, view.spec.layer(index)).of(ids[part]) for index, part in by_layer(ids)]
    return np.concatenate(found_parts)


class InDegrees:
    """In-degrees of the neurons of one layer, for a scan by id: what was counted last is kept, up to 64 MiB."""

    def __init__(self, view: View, layer: Layer) -> None:
        self._view, self._layer = view, layer
        pre = {p.pre for p in view.spec.all_projections if p.post == layer.name}
        self._sources = [one for one in view.spec.layers if one.name in pre]
        domain = view.bundles.domain_of(layer.index)
        self._first = np.array([layer.index << 48 | segment << 32 for segment, _ in domain], dtype=np.uint64)
        self._size = np.array([size for _, size in domain], dtype=np.int64)
        self._begin = np.cumsum(self._size) - self._size  # the place of the first neuron of each segment in the layer
        self._counted = -1
        self._counts = np.empty(0, np.int32)

    def of(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """Of ``ids`` (uint64 (n,), sorted, all of this layer).

        Raises :class:`InvalidInput` where more synapses would have to be passed over than minutes allow.
        """
        places = self._places(ids)
        found = np.zeros(len(ids), dtype=np.int64)
        edges = np.flatnonzero(np.diff(places // _WINDOW)) + 1
        for part in np.split(np.arange(len(ids)), edges):
            if len(part):
                window = int(places[part[0]]) // _WINDOW
                if window != self._counted:
                    self._counts, self._counted = self._count(window), window
                found[part] = self._counts[places[part] - window * _WINDOW]
        return found

    def _places(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """The place of each of ``ids`` in the layer, its segments end to end; negative for those of other layers."""
        segment = np.searchsorted(self._first, ids, side="right") - 1
        local = ids - self._first[segment]
        inside = (segment >= 0) & (local < self._size[segment].astype(np.uint64))
        return np.where(inside, self._begin[segment] + local.astype(np.int64), np.int64(-1))

    def _count(self, window: int) -> npt.NDArray[np.int32]:
        neurons = int(self._size.sum())
        self._check(-(-neurons // _WINDOW))
        low = window * _WINDOW
        counts = np.zeros(min(_WINDOW, neurons - low), dtype=np.int32)
        for source in self._sources:
            for targets in self._targets(source):
                timelimit.check()
                places = self._places(targets) - low
                np.add.at(counts, places[(places >= 0) & (places < len(counts))], np.int32(1))
        return counts

    def _check(self, windows: int) -> None:
        bundles, store = self._view.bundles, self._view.store
        synapses = sum(generated_synapses(bundle, bundles) for bundle in self._generating())
        synapses += sum(ref.synapses for source in self._sources for ref in store.directory.leaves(source.index))
        if synapses * windows > _MOST:
            again = f", {windows:,} times over," if windows > 1 else ""
            raise InvalidInput(
                f"in_degree of layer {self._layer.name}: {synapses:,} synapses would have to be passed over{again} and "
                f"{_MOST:,} is the most; ask of some neurons: synapses with direction in, or columns of a select by id"
            )

    def _generating(self, source: Layer | None = None) -> list[Bundle]:
        """The bundles of ``source``, or of all, by id, some of whose rows are generated and may end in this layer."""
        # of materialized ones too: forgotten, a row is the generated one again
        indices = {one.index for one in self._sources} if source is None else {source.index}
        projections = self._view.spec.all_projections
        here = [
            bundle
            for bundle in self._view.bundles.bundles
            if bundle.layer in indices
            and any(projections[wire.projection].post == self._layer.name for wire in bundle.wires)
        ]
        return sorted(here, key=lambda bundle: (bundle.layer, bundle.segment, bundle.lo))

    def _targets(self, source: Layer) -> Iterator[IdArray]:
        """The targets of all rows of ``source``, stored and generated, some rows at a time."""
        ranges = [
            [source.index << 48 | bundle.segment << 32 | edge for edge in (bundle.lo, bundle.hi)]
            for bundle in self._generating(source)
        ]
        for records in self._view.store.scan(source.index):
            written = records.ids[records.row_kind == STORED]
            yield records.target
            yield from self._generated(ranges, int(records.ids[-1]) + 1, written)
        yield from self._generated(ranges, 1 << 64, np.empty(0, np.uint64))

    def _generated(self, ranges: list[list[int]], end: int, written: IdArray) -> Iterator[IdArray]:
        """Targets that the rules give to who is in ``ranges`` below ``end``, but for ``written``; ranges shrink."""
        while ranges and ranges[0][0] < end:
            lo, hi = ranges[0]
            stop = min(hi, end, lo + _ROWS_AT_ONCE)
            ids = np.setdiff1d(np.arange(lo, stop, dtype=np.uint64), written, assume_unique=True)
            if len(ids):
                yield self._view.wiring().rows(ids).target
            ranges[0][0] = stop
            if stop == hi:
                ranges.pop(0)
