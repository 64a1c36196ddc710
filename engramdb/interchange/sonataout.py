"""SONATA out: nodes, edges with both indices, types, parameters and spikes, for libsonata, bmtk and others.

Each layer becomes a population, in which the n-th neuron is node n; a projection becomes a population of edges. SONATA
knows no rules: rows that only a wiring rule gives are written out. Nothing is compressed: the HDF5 library that
libsonata brings has no filters.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.bulk import Progress
from engramdb.distribution import Distribution
from engramdb.interchange.everyrow import Positions, check_room, every_row
from engramdb.interchange.exported import Exported
from engramdb.interchange.newfile import new_folder
from engramdb.interchange.sonatamodels import OWN, outgoing
from engramdb.interchange.sonatarun import new_sonata, write_config, write_spikes
from engramdb.interchange.sorter import EdgeSorter
from engramdb.layer import Layer, Projection
from engramdb.parameters import given, parameters_of_layer
from engramdb.store import Store
from engramdb.store.zarrview.tree import keys_of
from engramdb.url import located

_CHUNK = 1 << 14
_EDGE_BYTES = 64  # of an edge in the files, about: its columns and its places in both indices
_ROOM_BYTES = 256 << 20
_TYPE = 100  # number of the one type of each population


def export_sonata(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    spikes: str | Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the engram at ``path`` as a SONATA network into the new folder ``out``, whole and durable, or not at all.

    ``spikes``: a Parquet file that ``run --record`` wrote (columns tick, id), to become ``spikes.h5``. Edges are
    streamed and sorted on disk for the second index. What SONATA has no place for stays behind: potentials, spikes in
    flight, history. ``progress("edges", done, None)``. Raises as :func:`engramdb.export_hdf5`, and DiskFull before it
    begins where rows by rule would never fit.
    """
    started, out = time.perf_counter(), Path(out)
    with ExitStack() as stack:
        store = stack.enter_context(
            Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=1 << 24)
        )
        spec = store.spec
        check_room(store, list(spec.layers), out, _EDGE_BYTES)
        made = stack.enter_context(new_folder(out))
        names = {name: key for key, name in keys_of([layer.name for layer in spec.layers]).items()}
        (made / "network").mkdir()
        nodes = [_write_nodes(made, store, layer, names[layer.name]) for layer in spec.layers]
        edges, synapses = _write_edges(made, store, names, progress)
        if spikes is not None:
            write_spikes(made / "spikes.h5", Path(spikes), store, names)
        write_config(made, spec, nodes, edges, spikes is not None)
        left = list(_left_behind(store))
        sizes = [file.stat().st_size for file in made.rglob("*") if file.is_file()]
    return Exported(
        path=out,
        commit=store.commit.number,
        layers=tuple(layer.name for layer in spec.layers),
        neurons=sum(store.bundles.sizes.values()),
        synapses=synapses,
        files=len(sizes),
        nbytes=sum(sizes),
        elapsed_s=time.perf_counter() - started,
        notes=tuple(left),
    )


def _left_behind(store: Store) -> Iterator[str]:
    """What of this engram SONATA has no place for, or others no model."""
    spec = store.spec
    own = [f"{layer.name} ({layer.model})" for layer in spec.layers if outgoing(layer.model)[0].startswith(OWN)]
    if own:
        yield f"layers whose model has no counterpart, and went out as engramdb:<model>: {', '.join(own)}"
    for layer in spec.layers:
        known = models.get(layer.model)
        kept = [field.name for field in known.kept]
        kept += [name for name in layer.columns if name not in known.parameters or known.parameters[name].initial]
        if kept:
            yield f"what neurons of {layer.name} keep of their own stayed behind: {', '.join(kept)}"
    learning = [projection.name for projection in spec.all_projections if projection.plasticity]
    if learning:
        yield f"learning rules stayed behind, the weights of this moment went out: {', '.join(learning)}"
    if store.has_labels:
        yield "labels stayed behind: nodes have engramdb_id, the ids here"
    if store.traces.refs():
        yield "named traces stayed behind"


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of types: blanks between columns, NULL where there is nothing."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [" ".join(columns)]
    lines += [" ".join(_cell(row.get(name)) for name in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    text = "NULL" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if " " in text or '"' in text else text


# nodes


def _write_nodes(folder: Path, store: Store, layer: Layer, name: str) -> dict[str, Any]:
    """The nodes of a layer; the entry of the configuration."""
    positions = Positions(store.bundles, [layer])
    n = len(positions)
    template, known = outgoing(layer.model)
    shared, own = _parameters(store, layer, positions)
    constants = {k: v for k, v in known.outward({**shared, **own}).items() if v is not None}
    varying = {k: v for k, v in constants.items() if np.ndim(v)}
    folder_of = folder / "components" / "point_neuron_models"
    folder_of.mkdir(parents=True, exist_ok=True)
    parameters = f"{name}.json"
    plain = {key: float(value) for key, value in constants.items() if key not in varying}
    (folder_of / parameters).write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    with new_sonata(folder / "network" / f"{name}_nodes.h5") as (file, check):
        group = file.create_group(f"nodes/{name}")
        for dataset, dtype, value in (
            ("node_type_id", "<u8", lambda a, b: np.full(b - a, _TYPE, np.uint64)),
            ("node_group_id", "<u4", lambda a, b: np.zeros(b - a, np.uint32)),
            ("node_group_index", "<u8", lambda a, b: np.arange(a, b, dtype=np.uint64)),
            ("node_id", "<u8", lambda a, b: np.arange(a, b, dtype=np.uint64)),
            ("0/engramdb_id", "<u8", positions.ids),
        ):
            made = group.create_dataset(dataset, (n,), dtype, chunks=(min(n, _CHUNK),))
            for start in range(0, n, _CHUNK):
                made[start : start + _CHUNK] = value(start, min(start + _CHUNK, n))
                check()
        for key, values in varying.items():
            group.create_dataset(f"0/dynamics_params/{key}", data=np.broadcast_to(values, (n,)))
    row = {
        "node_type_id": _TYPE, "model_type": "point_neuron" if template.startswith("nest:") else "point_process",
        "model_template": template, "dynamics_params": parameters, "layer": layer.name, "model_name": layer.model,
    }  # fmt: skip
    _table(folder / "network" / f"{name}_node_types.csv", [row])
    return {
        "nodes_file": f"$NETWORK_DIR/{name}_nodes.h5", "node_types_file": f"$NETWORK_DIR/{name}_node_types.csv",
        "populations": {name: {"type": row["model_type"]}},
    }  # fmt: skip


def _parameters(store: Store, layer: Layer, positions: Positions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of a layer: those that all share (None where one is not given), and float64 (n,) of each neuron."""
    model = models.get(layer.model)
    own = parameters_of_layer(layer, store.spec)
    shared: dict[str, Any] = {}
    varying: dict[str, npt.NDArray[np.float64]] = {}
    for name, value in model.values(layer.params).items():
        if model.parameters[name].initial:
            continue
        if name in layer.columns or isinstance(value, Distribution):
            varying[name] = np.empty(len(positions))
        else:
            shared[name] = value
    if varying:
        for start in range(0, len(positions), _CHUNK):
            ids = positions.ids(start, min(start + _CHUNK, len(positions)))
            values = own.values(ids, given(store, own.columns, ids))
            for name, column in varying.items():
                column[start : start + len(ids)] = values[name]
    return shared, varying


# edges


def _write_edges(
    folder: Path, store: Store, names: Mapping[str, str], progress: Progress | None
) -> tuple[list[dict[str, Any]], int]:
    """The edges of every projection; the entries of the configuration, and how many edges there are."""
    spec = store.spec
    keys = list(keys_of([f"{number}" for number in range(len(spec.all_projections))]))
    used: dict[str, int] = {}
    for number, projection in enumerate(spec.all_projections):
        key = next(iter(keys_of([projection.name.replace("->", "_to_")])))
        if key in used:  # names may repeat
            key = f"{key}_{number}"
        used[key] = number
        keys[number] = key
    done = 0
    with ExitStack() as opened:
        files = [
            _Edges(folder, keys[number], projection, store, names, opened)
            for number, projection in enumerate(spec.all_projections)
        ]
        for layer in spec.layers:
            source = Positions(store.bundles, [layer])
            for records in every_row(store, layer):
                pre = np.repeat(source.of(records.ids), np.diff(records.indptr))
                ticks = spec.ticks_of(records.projection, records.delay)
                for number in np.unique(records.projection).tolist():
                    own = records.projection == number
                    files[number].add(pre[own], records.target[own], records.weight[own], ticks[own])
                done += records.synapses
                if progress is not None:
                    progress("edges", done, None)
        return [entry for file in files if (entry := file.finish()) is not None], done


class _Edges:
    """One file of edges, written by source; the index by target is made at the end."""

    def __init__(
        self,
        folder: Path,
        key: str,
        projection: Projection,
        store: Store,
        names: Mapping[str, str],
        opened: ExitStack,
    ) -> None:
        self._folder, self._key = folder, key
        spec = store.spec
        self._dt_ms = spec.dt_ms
        self._post = Positions(store.bundles, [spec.layer(projection.post)])
        self._pre_count = len(Positions(store.bundles, [spec.layer(projection.pre)]))
        self._path = folder / "network" / f"{key}_edges.h5"
        self._opened = opened.enter_context(ExitStack())
        self._file, self._check = self._opened.enter_context(new_sonata(self._path))
        group = self._group = self._file.create_group(f"edges/{key}")
        self._columns = {
            name: group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,))
            for name, dtype in (
                ("source_node_id", "<u8"), ("target_node_id", "<u8"), ("edge_type_id", "<u4"), ("edge_group_id", "<u2"),
                ("edge_group_index", "<u8"), ("0/syn_weight", "<f4"), ("0/delay", "<f8"),
            )
        }  # fmt: skip
        for side, layer in (("source", projection.pre), ("target", projection.post)):
            self._columns[f"{side}_node_id"].attrs["node_population"] = names[layer]
        self._table = {
            "edge_type_id": _TYPE,
            "dynamics_params": "static_synapse.json",
            "model_template": "static_synapse",
        }
        self._waiting: list[tuple[npt.NDArray[Any], ...]] = []
        self._held = 0
        self.count = 0

    def add(self, pre: Any, target: Any, weight: Any, ticks: Any) -> None:
        """Edges by source: positions, ids of targets, mV, ticks."""
        self._waiting.append((pre, self._post.of(target), weight, np.round(ticks * self._dt_ms, 9)))
        self._held += len(pre)
        if self._held >= 64 * _CHUNK:
            self._flush(self._held // _CHUNK * _CHUNK)

    def _flush(self, n: int) -> None:
        if not n:
            return
        pre, post, weight, delay = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        start, stop = self.count, self.count + n
        values = {
            "source_node_id": pre, "target_node_id": post, "edge_type_id": np.full(n, _TYPE),
            "edge_group_id": np.zeros(n),
            "edge_group_index": np.arange(start, stop), "0/syn_weight": weight, "0/delay": delay,
        }  # fmt: skip
        for name, column in self._columns.items():
            column.resize((stop,))
            column[start:stop] = values[name][:n]
        self._check()
        self._waiting, self._held, self.count = [(pre[n:], post[n:], weight[n:], delay[n:])], self._held - n, stop

    def finish(self) -> dict[str, Any] | None:
        """Write what waits and the indices; None, and no file, where there is no edge."""
        self._flush(self._held)
        if not self.count:
            self._opened.close()
            self._path.unlink()
            return None
        for name, index in (("source_to_target", self._by_source), ("target_to_source", self._by_target)):
            self._index(name, *index())
        self._opened.close()
        table = self._folder / "network" / f"{self._key}_edge_types.csv"
        _table(table, [self._table])
        return {
            "edges_file": f"$NETWORK_DIR/{self._path.name}", "edge_types_file": f"$NETWORK_DIR/{table.name}",
            "populations": {self._key: {"type": "chemical"}},
        }  # fmt: skip

    def _by_source(self) -> tuple[int, Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]]:
        sources = self._columns["source_node_id"]

        def parts() -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
            for start in range(0, self.count, 64 * _CHUNK):
                node = sources[start : start + 64 * _CHUNK].astype(np.int64)
                yield node, np.arange(start, start + len(node), dtype=np.int64)

        return self._pre_count, parts()

    def _by_target(self) -> tuple[int, Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]]:
        """Edges sorted by target, on disk if need be: a target's number stands for a source, an edge's for a target."""
        n = len(self._post)
        targets = self._columns["target_node_id"]

        def parts() -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
            work = self._folder / "sorting"
            work.mkdir()
            with EdgeSorter(_ROOM_BYTES, work, _space(n), _space(self.count)) as sorter:
                for start in range(0, self.count, 64 * _CHUNK):
                    node = targets[start : start + 64 * _CHUNK]
                    edge = np.arange(start, start + len(node), dtype=np.uint64)
                    sorter.add(node, edge, np.zeros(len(node), np.float32))
                for edges in sorter.batches():
                    yield edges.pre.astype(np.int64), edges.post.astype(np.int64)
            work.rmdir()

        return n, parts()

    def _index(self, name: str, nodes: int, parts: Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> None:
        """Where the edges of each node lie: node -> ranges of ranges of edges. ``parts``: (node, edge) by both."""
        group = self._group.create_group(f"indices/{name}")
        ranges = group.create_dataset("range_to_edge_id", (0, 2), "<u8", maxshape=(None, 2), chunks=(_CHUNK, 2))
        first = np.zeros(nodes, dtype=np.int64)  # ranges of each node
        written = 0
        last: tuple[int, int, int] | None = None  # node, begin and end of the range that may go on
        for node, edge in parts:
            starts = np.flatnonzero(np.concatenate([[True], (node[1:] != node[:-1]) | (edge[1:] != edge[:-1] + 1)]))
            ends = np.append(edge[starts[1:] - 1] + 1, edge[-1] + 1)
            owner, begin = node[starts], edge[starts]
            if last is not None:
                if last[0] == owner[0] and last[2] == begin[0]:
                    begin[0] = last[1]
                else:
                    owner, begin, ends = (
                        np.concatenate([[value], array])
                        for value, array in zip(last, (owner, begin, ends), strict=True)
                    )
            last = int(owner[-1]), int(begin[-1]), int(ends[-1])
            written = self._append(ranges, written, begin[:-1], ends[:-1])
            self._check()
            first += np.bincount(owner[:-1], minlength=nodes)
        assert last is not None, "there is at least one edge"
        self._append(ranges, written, np.array([last[1]]), np.array([last[2]]))
        first[last[0]] += 1
        end = np.cumsum(first)
        group.create_dataset("node_id_to_ranges", data=np.stack([end - first, end], axis=1).astype("<u8"))
        # the specification says ranges, its examples range: readers look for either
        group["node_id_to_range"] = group["node_id_to_ranges"]

    @staticmethod
    def _append(ranges: Any, written: int, begin: npt.NDArray[Any], end: npt.NDArray[Any]) -> int:
        ranges.resize((written + len(begin), 2))
        if len(begin):
            ranges[written:] = np.stack([begin, end], axis=1)
        return written + len(begin)


def _space(count: int) -> dict[tuple[int, int], int]:
    from engramdb.interchange.numbering import sizes_of

    return sizes_of(count)
