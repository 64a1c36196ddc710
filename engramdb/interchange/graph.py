"""An engram as a matrix of SciPy or a graph of NetworkX, and small parts of it as GraphML."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from engramdb.address import format_id
from engramdb.errors import BudgetExceeded, InvalidInput, NotFound
from engramdb.extras import extra
from engramdb.interchange.everyrow import Positions, every_row, most_synapses
from engramdb.interchange.exported import Exported
from engramdb.interchange.newfile import new_file
from engramdb.layer import Layer
from engramdb.spec import Spec
from engramdb.store import Store
from engramdb.store.zarrview.root import LEAVES
from engramdb.store.zarrview.tree import keys_of
from engramdb.url import located

_ENTRY_BYTES = 16  # of a synapse while a matrix is put together: weight and column, and the parts they come from
LIMIT = 100_000


def to_scipy(store: Store, layer: str | int | None, post: str | int | None, budget_bytes: int) -> Any:
    """A ``scipy.sparse.csr_array`` of weights (float32, mV), row = source, column = target; see Engram.to_scipy."""
    sparse = extra("scipy.sparse", "scipy")
    sources = list(store.spec.layers) if layer is None else [store.spec.layer(layer)]
    targets = sources if post is None else [store.spec.layer(post)]
    needed = _ENTRY_BYTES * most_synapses(store, sources) + 8 * sum(len(Positions(store.bundles, [s])) for s in sources)
    if needed > budget_bytes:
        raise BudgetExceeded(
            f"a matrix of {store.path.name} takes up to {needed:,} bytes, and the memory budget is {budget_bytes:,}:"
            " open the engram with more memory=, or ask for one layer"
        )
    pre, columns = Positions(store.bundles, sources), Positions(store.bundles, targets)
    degree = np.zeros(len(pre) + 1, dtype=np.int64)
    weights: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)]
    places: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    kind = np.int32 if max(len(columns), needed // _ENTRY_BYTES) < 1 << 31 else np.int64
    for source in sources:
        for records in every_row(store, source):
            place = columns.of(records.target)
            inside = place >= 0
            row = np.repeat(pre.of(records.ids), np.diff(records.indptr))[inside]
            np.add.at(degree, row + 1, 1)
            weights.append(records.weight[inside])
            places.append(place[inside].astype(kind))
    indptr = np.cumsum(degree).astype(kind)
    return sparse.csr_array(
        (np.concatenate(weights), np.concatenate(places).astype(kind, copy=False), indptr),
        shape=(len(pre), len(columns)),
    )


def to_networkx(store: Store, layer: str | int | None, limit: int) -> Any:
    """A ``networkx.MultiDiGraph``; see Engram.to_networkx."""
    networkx = extra("networkx", "networkx")
    layers = list(store.spec.layers) if layer is None else [store.spec.layer(layer)]
    _check_neurons(store, layers, limit)
    graph = networkx.MultiDiGraph(name=store.spec.name or store.path.stem, tick=store.commit.tick)
    graph.add_nodes_from(_nodes(store, layers))
    for edges in _edges(store, layers, limit):
        graph.add_edges_from(edges)
    return graph


def export_graphml(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    layer: str | None = None,
    limit: int = LIMIT,
    storage_options: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a small engram, or one small ``layer``, as GraphML to the new file ``out``, whole or not at all.

    Nodes are called like their ids and have ``layer``, ``label``, ``spike_count``; edges ``weight`` (mV), ``delay``
    (ms), ``projection``. InvalidInput above ``limit`` neurons or synapses: programs that read GraphML hold all of it.
    """
    started, out = time.perf_counter(), Path(out)
    neurons = synapses = 0
    with ExitStack() as stack:
        store = stack.enter_context(
            Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=1 << 24)
        )
        layers = list(store.spec.layers) if layer is None else [store.spec.layer(layer)]
        _check_neurons(store, layers, limit)
        made = stack.enter_context(new_file(out))
        with made.open("w", encoding="utf-8") as file:
            file.write(_HEAD)
            for name, attributes in _nodes(store, layers):
                neurons += 1
                file.write(f"<node id={quoteattr(name)}>{_data('n', attributes)}</node>\n")
            for edges in _edges(store, layers, limit):
                synapses += len(edges)
                for pre, post, attributes in edges:
                    ends = f"source={quoteattr(pre)} target={quoteattr(post)}"
                    file.write(f"<edge {ends}>{_data('e', attributes)}</edge>\n")
            file.write("</graph>\n</graphml>\n")
        nbytes = made.stat().st_size
    names = tuple(one.name for one in layers)
    return Exported(out, store.commit.number, names, neurons, synapses, 1, nbytes, time.perf_counter() - started)


_KINDS = {
    "n": {"layer": "string", "label": "string", "spike_count": "long"},
    "e": {"weight": "double", "delay": "double", "projection": "string"},
}
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    + "".join(
        f'<key id="{part}_{name}" for="{"node" if part == "n" else "edge"}" attr.name="{name}" attr.type="{kind}"/>\n'
        for part, kinds in _KINDS.items()
        for name, kind in kinds.items()
    )
    + '<graph edgedefault="directed">\n'
)


def _data(part: str, attributes: Mapping[str, Any]) -> str:
    return "".join(f'<data key="{part}_{name}">{escape(_text(value))}</data>' for name, value in attributes.items())


def _text(value: Any) -> str:
    """``value`` without the control characters that XML cannot have at all."""
    return "".join(c if c >= " " or c in "\t\n\r" else "�" for c in str(value).encode("utf-8", "replace").decode())


def _check_neurons(store: Store, layers: list[Layer], limit: int) -> None:
    neurons = len(Positions(store.bundles, layers))
    if neurons > limit:
        raise InvalidInput(
            f"{store.path.name} has {neurons:,} neurons there, above the limit of {limit:,}: take one layer, raise the"
            " limit, or export edges, parquet or hdf5"
        )


def _nodes(store: Store, layers: list[Layer]) -> Iterator[tuple[str, dict[str, Any]]]:
    for layer in layers:
        positions = Positions(store.bundles, [layer])
        counts = np.zeros(len(positions), np.int64)
        for records in store.scan(layer.index):
            counts[positions.of(records.ids)] = records.state["spike_count"]
        ids = positions.ids(0, len(positions))
        labels = store.labels_of(ids) if store.has_labels else [None] * len(ids)
        for number, label, count in zip(ids.tolist(), labels, counts.tolist(), strict=True):
            named = {} if label is None else {"label": label}
            yield format_id(number), {"layer": layer.name, **named, "spike_count": count}


def _edges(store: Store, layers: list[Layer], limit: int) -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """Edges whose both ends are in ``layers``."""
    spec, inside, done = store.spec, Positions(store.bundles, layers), 0
    names = [projection.name for projection in spec.all_projections]
    for layer in layers:
        for records in every_row(store, layer):
            there = inside.of(records.target) >= 0
            done += int(there.sum())
            if done > limit:
                raise InvalidInput(
                    f"{store.path.name} has more than {limit:,} synapses there: take one layer, raise limit, or export"
                    " edges, parquet or hdf5"
                )
            pre = np.repeat(records.ids, np.diff(records.indptr))[there]
            delay = np.round(spec.ticks_of(records.projection, records.delay)[there] * spec.dt_ms, 9)
            columns = (pre, records.target[there], records.weight[there], delay, records.projection[there])
            yield [
                (format_id(a), format_id(b), {"weight": w, "delay": d, "projection": names[p]})
                for a, b, w, d, p in zip(*(column.tolist() for column in columns), strict=True)
            ]


def to_xarray(view: Any, spec: Spec, sizes: Mapping[tuple[int, int], int], layer: str | None, segment: int) -> Any:
    """A segment of a Zarr view as an ``xarray.Dataset``, or all as an ``xarray.DataTree``; see Engram.to_xarray."""
    xarray = extra("xarray", "xarray")
    keys = {name: key for key, name in keys_of([one.name for one in spec.layers], (LEAVES,)).items()}

    def dataset(name: str, number: int) -> Any:
        return xarray.open_zarr(view, group=f"{keys[name]}/{number}", consolidated=False)

    if layer is not None:
        index = spec.layer(layer).index
        if (index, segment) not in sizes:
            raise NotFound(f"layer {layer} has no segment {segment}")
        return dataset(layer, segment)
    names = {one.index: one.name for one in spec.layers}
    places = [(names[index], number) for index, number in sorted(sizes)]
    return xarray.DataTree.from_dict({f"{keys[name]}/{number}": dataset(name, number) for name, number in places})
