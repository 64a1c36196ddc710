"""The groups above: the engram at one commit, and its layers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from threading import Lock
from typing import Any

import engramdb
from engramdb.layer import Layer
from engramdb.store.store import Store
from engramdb.store.zarrview.leaf import Leaves
from engramdb.store.zarrview.segment import Segment
from engramdb.store.zarrview.tree import Group, keys_of, number_of

LEAVES = "leaves"
VIEW_VERSION = 1
"""Of the hierarchy's layout: names, dimensions, attributes. A reader that knows 1 can read all views that say 1."""


class Root(Group):
    """An engram at one commit: its layers by name, and all leaves."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.leaves = Leaves(store)
        self._segments: dict[tuple[int, int], Segment] = {}
        self._lock = Lock()

    def attributes(self) -> dict[str, Any]:
        spec, commit = self._store.spec, self._store.commit
        return {
            "zarr_view": VIEW_VERSION,
            "software": f"EngramDB {engramdb.__version__}",
            **self.about,
            "description": spec.description,
            "created": commit.created,
            "message": commit.message,
            "stored_neurons": commit.neurons,
            "stored_synapses": commit.synapses,
            "layers": [
                {"group": key, "name": name, "index": spec.layer(name).index, "model": spec.layer(name).model}
                for key, name in self.layers.items()
            ],
            "projections": [
                {
                    "name": projection.name,
                    "pre": projection.pre,
                    "post": projection.post,
                    # None where each synapse has its own, in the array ``delay``
                    "delay_ms": None if spec.varying_delays else projection.delay_ms,
                    "sign": projection.sign,
                }
                for projection in spec.all_projections
            ],
            "spec": spec.to_document(),
        }

    @cached_property
    def about(self) -> dict[str, Any]:
        """What every group says of the engram and the commit."""
        store = self._store
        return {
            "engram": store.spec.name or store.path.stem,
            "commit": store.commit.number,
            "tick": store.commit.tick,
            "dt_ms": store.spec.dt_ms,
        }

    @cached_property
    def layers(self) -> dict[str, str]:
        """Key -> name of every layer."""
        return keys_of([layer.name for layer in self._store.spec.layers], (LEAVES,))

    def names(self) -> Iterator[str]:
        yield from self.layers
        yield LEAVES

    def child(self, name: str) -> LayerGroup | Leaves | None:
        if name == LEAVES:
            return self.leaves
        return LayerGroup(self, self._store, self._store.spec.layer(self.layers[name])) if name in self.layers else None

    def segment(self, layer: Layer, segment: int) -> Segment:
        """Always the same object, so that its leaves are counted once."""
        with self._lock:
            key = layer.index, segment
            if key not in self._segments:
                self._segments[key] = Segment(self._store, layer, segment, self.about)
            return self._segments[key]


class LayerGroup(Group):
    """One layer: its segments by number."""

    def __init__(self, root: Root, store: Store, layer: Layer) -> None:
        self._root, self._store, self._layer = root, store, layer

    def attributes(self) -> dict[str, Any]:
        layer = self._layer
        sizes = self._store.bundles.sizes
        return {
            **self._root.about,
            "layer": layer.name,
            "layer_index": layer.index,
            "model": layer.model,
            "neurons": sum(size for (index, _), size in sizes.items() if index == layer.index),
        }

    def segments(self) -> list[int]:
        """Those declared, sorted; also where nothing is stored."""
        return sorted(segment for index, segment in self._store.bundles.sizes if index == self._layer.index)

    def names(self) -> Iterator[str]:
        return map(str, self.segments())

    def child(self, name: str) -> Segment | None:
        segment = number_of(name)
        if segment is None or (self._layer.index, segment) not in self._store.bundles.sizes:
            return None
        return self._root.segment(self._layer, segment)
