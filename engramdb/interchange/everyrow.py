"""Rows of all neurons of a layer, those that only a wiring rule knows written out, for formats that know no rules."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.degrees import generated_synapses
from engramdb.errors import DiskFull
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.layer import Layer
from engramdb.query.synapses import whole_rows
from engramdb.store import Records, Store
from engramdb.wiring import Wiring

_SYNAPSES_A_PIECE, _NEURONS_A_PIECE = 1 << 19, 1 << 15


class Positions:
    """Neurons of layers counted through, segments end to end: the n-th neuron of a layer has the position n.

    ``layers``: one, or several one behind the other.
    """

    def __init__(self, bundles: Bundles, layers: list[Layer]) -> None:
        named = [
            (layer.index << 16 | segment, size) for layer in layers for segment, size in bundles.domain_of(layer.index)
        ]
        self._places = np.array([place for place, _ in named], dtype=np.uint64)
        self._starts = np.cumsum([0, *(size for _, size in named)], dtype=np.int64)
        self._order = np.argsort(self._places)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def of(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """The position of each id (uint64, of these layers); -1 where it is of none of them."""
        place = ids >> np.uint64(32)
        found = np.searchsorted(self._places, place, sorter=self._order)
        at = self._order[np.minimum(found, len(self._order) - 1)]
        position = self._starts[at] + (ids & np.uint64(0xFFFFFFFF)).astype(np.int64)
        return np.where(self._places[at] == place, position, -1)

    def all_ids(self) -> IdArray:
        """The ids of all positions."""
        return self.ids(0, len(self))

    def ids(self, start: int, stop: int) -> IdArray:
        """The ids of positions ``start`` to ``stop`` (excluded)."""
        position = np.arange(start, stop, dtype=np.int64)
        at = np.searchsorted(self._starts, position, side="right") - 1
        return self._places[at] << np.uint64(32) | (position - self._starts[at]).astype(np.uint64)


def every_row(store: Store, layer: Layer) -> Iterator[Records]:
    """Records with the whole row of every neuron of ``layer`` that has one, by id, in pieces. Raises LeafDamaged.

    State columns are those of neurons that have none only where the piece was stored.
    """
    bundles = store.bundles
    own = sorted((b for b in bundles.bundles if b.layer == layer.index), key=lambda b: (b.segment, b.lo))
    if not any(bundle.wires for bundle in own):
        yield from store.scan(layer.index)
        return
    wiring = cache(lambda: Wiring(store.spec, bundles))
    for bundle in own:
        degree = max(1, generated_synapses(bundle, bundles) // bundle.neurons)
        step = min(max(_SYNAPSES_A_PIECE // degree, 1), _NEURONS_A_PIECE)
        for ids in _ids(bundle, step):
            yield whole_rows(ids, store, wiring)


def _ids(bundle: Bundle, step: int) -> Iterator[IdArray]:
    first = np.uint64(bundle.layer << 48 | bundle.segment << 32)
    for lo in range(bundle.lo, bundle.hi, step):
        yield np.arange(lo, min(lo + step, bundle.hi), dtype=np.uint64) | first


def most_synapses(store: Store, layers: list[Layer]) -> int:
    """How many synapses the rows of ``layers`` have at most: those that are stored, and those that rules give."""
    indices = {layer.index for layer in layers}
    stored = sum(leaf.synapses for index in sorted(indices) for leaf in store.directory.leaves(index))
    rules = (b for b in store.bundles.bundles if b.layer in indices)
    return stored + sum(generated_synapses(bundle, store.bundles) for bundle in rules)


def check_room(store: Store, layers: list[Layer], out: Path, synapse_bytes: int) -> None:
    """DiskFull where rows that rules give would clearly not fit, before hours are spent on writing them."""
    generated = sum(
        generated_synapses(b, store.bundles) for b in store.bundles.bundles if b.layer in {x.index for x in layers}
    )
    needed, free = generated * synapse_bytes, shutil.disk_usage(out.parent if out.parent.is_dir() else ".").free
    if needed > free:
        raise DiskFull(
            f"{out.parent} has {free:,} bytes free, and the {generated:,} synapses that wiring rules give take about"
            f" {needed:,}: export one layer, or as hdf5 or zarr, which keep the rules"
        )
