"""SONATA in: a network of nodes and edges as an engram.

Each population becomes a layer, in which node n is the n-th neuron; one of several models becomes several layers,
``population.model``, whose neurons keep their node ids. Each population of edges becomes a projection.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, as_ids
from engramdb.bulk import Progress, rows_of
from engramdb.bulk import behind as left_of
from engramdb.errors import NotFound
from engramdb.growth.bundle import Bundles
from engramdb.interchange.everyrow import Positions
from engramdb.interchange.origin import Imported, check_source, import_origin
from engramdb.interchange.sonataconfig import Input, SonataConfig
from engramdb.interchange.sonataedges import Part, read_edges
from engramdb.interchange.sonatanodes import NODE_ID, read_populations
from engramdb.interchange.sorter import EdgeSorter
from engramdb.layer import Layer, Projection
from engramdb.rules import Explicit
from engramdb.spec import Spec
from engramdb.store import OWN, Records, Store
from engramdb.store.labels import Batches
from engramdb.url import located

DEFAULT_DT_MS = 0.1
_IDS_A_BATCH = 1 << 17
_LAYER = np.uint64(48)


@dataclass(frozen=True)
class SonataImported(Imported):
    """``layers``: those that each population became. ``inputs``: spike files that the simulation plays, and to whom."""

    layers: Mapping[str, tuple[str, ...]] = None  # type: ignore[assignment]  # behind fields that have defaults
    inputs: tuple[Input, ...] = ()


def import_sonata(
    src: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    components: str | os.PathLike[str] | None = None,
    dt_ms: float | None = None,
    seed: int = 0,
    memory: str | int = "1GiB",
    progress: Progress | None = None,
) -> SonataImported:
    """Make a new engram at ``path`` of the SONATA network ``src``: its configuration, or the folder that has it.

    - ``components``: a folder with files of parameters (or with folders of them) that the configuration names and that
      are not where it says.
    - ``dt_ms``: length of a tick; by default that of the simulation, or 0.1. Delays are rounded to whole ticks.
    - ``memory``: what the process may take; edges are sorted on disk.
    - ``progress("write", synapses, total)``.

    Model templates ``nrn:IntFire1``, ``nest:iaf_psc_delta``, ``nest:iaf_psc_exp``, ``engramdb:<model>`` and virtual
    nodes have counterparts; weights are syn_weight times nsyns times the sign of the synapse. Whole or not at all;
    killed, the same one goes on behind the last million neurons. Raises NotFound (files), InvalidInput (what has no
    counterpart), AlreadyExists, DiskFull.
    """
    src = Path(src)
    config = SonataConfig(src, None if components is None else Path(components))
    network = SonataNetwork(config, dt_ms or config.dt_ms or DEFAULT_DT_MS, seed, src.stem)
    purpose = {
        **check_source(config.path.parent),
        "components": str(components),
        "dt_ms": network.spec.dt_ms,
        "seed": seed,
    }
    done = import_origin(network, src, Path(path), purpose, memory=memory, progress=progress)
    layers = {p.name: tuple(own.layer.name for own in p.layers) for p in network.populations.values()}
    return SonataImported(**vars(done), layers=layers, inputs=config.inputs())


def sonata_ids(path: str | os.PathLike[str], population: str, *, at: str | int | None = None) -> IdArray:
    """The neuron of each node of a population that :func:`import_sonata` read into ``path``: uint64 ids by node id.

    What ``play_file(mapping=)`` takes. Neurons that were grown later are no nodes where the population became several
    layers. NotFound where there is no such population.
    """
    with Store.open(located(path), at=at, cache_bytes=0) as store:
        names = [layer.name for layer in store.spec.layers]
        if population in names:
            return Positions(store.bundles, [store.spec.layer(population)]).all_ids()
        ids, nodes = [as_ids([])], [np.empty(0)]
        for name in names:
            for records in store.scan(store.spec.layer(name).index) if name.startswith(f"{population}.") else ():
                if OWN + NODE_ID in records.state:
                    ids.append(records.ids)
                    nodes.append(records.state[OWN + NODE_ID])
    node, neuron = np.concatenate(nodes), np.concatenate(ids)
    known = ~np.isnan(node)
    if not known.any():
        raise NotFound(f"{path} has no population {population}; layers: {', '.join(names)}")
    found = np.zeros(int(known.sum()), dtype=np.uint64)
    found[node[known].astype(np.int64)] = neuron[known]
    return found


class _Joined:
    """Which projection joins two layers by one population of edges, and from which to which tick its delays go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.least, self.longest = 1 << 16, 0

    def note(self, delay: npt.NDArray[np.uint16]) -> None:
        self.least, self.longest = min(self.least, int(delay.min())), max(self.longest, int(delay.max()))


class SonataNetwork:
    """A configuration's nodes and edges as what an engram is made of; see :class:`~engramdb.interchange.origin.Origin`.

    The edges are read twice: for delays and which layers they join, and to be sorted.
    """

    tick = 0

    def __init__(self, config: SonataConfig, dt_ms: float, seed: int, name: str) -> None:
        self.populations = read_populations(config)
        self._edges = read_edges(config, self.populations)
        self._nodes = [own for population in self.populations.values() for own in population.layers]
        layers = [replace(own.layer, index=index) for index, own in enumerate(self._nodes)]
        self._dt_ms = dt_ms
        self._numbers: dict[tuple[int, int, int], int] = {}
        projections = self._joined(layers)
        about = f"imported from SONATA, {config.path.name}"
        self.spec = Spec(seed, layers, projections, dt_ms, name=name, description=about)
        self.bundles = Bundles.initial(self.spec)
        self.synapses: int | None = sum(edges.count for edges in self._edges)
        self.notes = tuple(self._notes())

    def _notes(self) -> Iterator[str]:
        rounded = sum(edges.rounded for edges in self._edges)
        if rounded:
            yield f"{rounded:,} delays were rounded to whole ticks of {self._dt_ms:g} ms"
        for population in self.populations.values():
            if population.left_out:
                columns = ", ".join(population.left_out)
                yield f"columns of node types of {population.name} that say nothing of dynamics: {columns}"
            if population.attributes:
                yield f"attributes of each node of {population.name} stayed behind: {', '.join(population.attributes)}"
        for edges in self._edges:
            if edges.attributes:
                yield f"attributes of each edge of {edges.name} stayed behind: {', '.join(edges.attributes)}"

    def _joined(self, layers: list[Layer]) -> list[Projection]:
        found: dict[tuple[int, int, int], _Joined] = {}
        for at, edges in enumerate(self._edges):
            for part in edges.parts(self._dt_ms):
                for pair, own in _by_pair(part):
                    found.setdefault((at, *pair), _Joined(edges.name)).note(part.delay[own])
        projections = []
        for number, (key, joined) in enumerate(sorted(found.items())):
            self._numbers[key] = number
            least, longest = (round(ticks * self._dt_ms, 9) for ticks in (joined.least, joined.longest))
            pre, post = layers[key[1]], layers[key[2]]
            alone = sum(other[0] == key[0] for other in found) == 1
            projections.append(
                Projection(
                    pre.name, post.name, Explicit(), delay_ms=least if least == longest else (least, longest),
                    name=joined.name if alone else f"{joined.name}.{pre.name}->{post.name}",
                )
            )  # fmt: skip
        return projections

    def records(self, behind: int, work: Path, room_bytes: int) -> Iterator[Records]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        spec, sizes = self.spec, self.bundles.sizes
        ranges = [spec.delay_range(projection) for projection in spec.all_projections]
        varying = (min(ranges)[0], max(longest for _, longest in ranges)) if spec.varying_delays else None
        ids = (population_ids for index in range(len(self._nodes)) for population_ids in self._ids_of(index))
        if not ranges:
            batches: Iterable[Any] = ()
            yield from self._written(left_of(batches, ids, behind))
            return
        with EdgeSorter(room_bytes, work, sizes, sizes, delays=spec.delays.tolist(), delay_range=varying) as sorter:
            for at, edges in enumerate(self._edges):
                for part in edges.parts(self._dt_ms):
                    number = np.empty(len(part.pre), dtype=np.uint16)
                    for pair, own in _by_pair(part):
                        number[own] = self._numbers[at, *pair]
                    sorter.add(part.pre, part.post, part.weight, number, part.delay if varying else None)
            yield from self._written(left_of(sorter.batches(), ids, behind))

    def _ids_of(self, index: int) -> Iterator[IdArray]:
        n = self.bundles.sizes[index, 0]
        for start in range(0, n, _IDS_A_BATCH):
            yield np.arange(start, min(start + _IDS_A_BATCH, n), dtype=np.uint64) | np.uint64(index) << _LAYER

    def _written(self, rows: tuple[Iterable[Any], Iterable[IdArray]]) -> Iterator[Records]:
        for records in rows_of(*rows, self.spec):
            own = self._nodes[int(records.ids[0]) >> 48]
            local = (records.ids & np.uint64(0xFFFFFFFF)).astype(np.int64)
            state = {**records.state, **{OWN + name: values[local] for name, values in own.values.items()}}
            if own.nodes is not None:
                state[OWN + NODE_ID] = own.nodes[local].astype(np.float64)
            yield replace(records, state=state)

    def labels(self) -> Iterator[tuple[int, Batches]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        return iter(())

    def inflight(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        return {}


def _by_pair(part: Part) -> Iterator[tuple[tuple[int, int], Any]]:
    """Edges of a part by the layers that they join: ``((pre, post), which)``."""
    if not len(part.pre):
        return
    pairs = (part.pre >> _LAYER) << np.uint64(16) | part.post >> _LAYER
    unique = np.unique(pairs)
    for pair in unique.tolist():
        yield (pair >> 16, pair & 0xFFFF), slice(None) if len(unique) == 1 else pairs == pair
