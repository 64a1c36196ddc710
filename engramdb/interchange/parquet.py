"""Parquet out and in: a folder with a table of neurons, one of synapses, and what else an engram has.

- ``neurons.parquet``: ``id``, ``layer`` (name), ``label``, ``row_kind`` (1 stored, 2 given by the wiring rule),
  ``out_degree`` (stored synapses), and the state columns of all layers, null where a neuron's layer has no such.
- ``synapses.parquet``: ``pre``, ``post``, ``weight`` (float32, mV), ``delay_ticks``, ``projection`` (its number), in
  the order of ``pre``.
- ``inflight.parquet``: who is awake, spikes under way, input to come: one array a row, as bytes.
- ``labels.parquet``, where there are labels: those of all neurons, as they are kept.

The metadata of the first, under ``engramdb``, is a JSON document with spec, bundles and tick: enough to make the same
engram again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.bulk import Progress
from engramdb.errors import InvalidInput
from engramdb.interchange.exported import Exported
from engramdb.interchange.newfile import new_folder
from engramdb.interchange.origin import Imported, check_source, import_origin
from engramdb.interchange.parquetfolder import (
    INFLIGHT,
    KEY,
    LABELS,
    LAYOUT,
    NEURONS,
    SYNAPSES,
    Columns,
    ParquetFolder,
)
from engramdb.layer import Layer
from engramdb.spec import Spec
from engramdb.store import Records, Store
from engramdb.url import located

_ROWS_A_GROUP = 1 << 20


def export_parquet(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the engram at ``path`` as tables into the new folder ``out``, whole and durable, or not at all.

    Arguments and errors are those of :func:`engramdb.export_hdf5`; only records appear, not virtual neurons.
    """
    started, out = time.perf_counter(), Path(out)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=0))
        made = stack.enter_context(new_folder(out))
        neurons, synapses = _write_tables(made, store, progress)
        _write_inflight(made / INFLIGHT, store.read_state())
        if store.has_labels:
            _write_labels(made / LABELS, store)
        sizes = [file.stat().st_size for file in made.iterdir()]
    return Exported(
        path=out,
        commit=store.commit.number,
        layers=tuple(layer.name for layer in store.spec.layers),
        neurons=neurons,
        synapses=synapses,
        files=len(sizes),
        nbytes=sum(sizes),
        elapsed_s=time.perf_counter() - started,
    )


def import_parquet(
    src: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    memory: str | int = "1GiB",
    progress: Progress | None = None,
) -> Imported:
    """Make a new engram at ``path`` of the folder ``src`` that :func:`export_parquet` wrote: the same, bit by bit.

    Arguments and errors are those of :func:`engramdb.import_hdf5`. Tables of synapses from elsewhere are for
    :func:`engramdb.import_edges`.
    """
    purpose = check_source(Path(src))
    folder = ParquetFolder(Path(src))
    return import_origin(folder, Path(src), Path(path), purpose, memory=memory, progress=progress)


def _write_tables(folder: Path, store: Store, progress: Progress | None) -> tuple[int, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec = store.spec
    columns = {layer.name: _columns(store, layer) for layer in spec.layers}
    about = {
        "layout": LAYOUT,
        "software": f"EngramDB {engramdb.__version__}",
        "commit": store.commit.number,
        "tick": store.commit.tick,
        "spec": spec.to_json(),
        "bundles": store.bundles.to_json(),
        "projections": [projection.name for projection in spec.all_projections],
        "columns": columns,
    }
    merged: Columns = {}
    for own in columns.values():
        for name, kind in own.items():
            if merged.setdefault(name, kind) != kind:
                raise InvalidInput(
                    f"state column {name} has several types in {store.path.name}: export it as hdf5 or zarr"
                )
    fields = [("id", pa.uint64()), ("layer", pa.string()), ("label", pa.string()), ("row_kind", pa.uint8()),
              ("out_degree", pa.uint32()), *((name, _arrow(*kind)) for name, kind in merged.items())]  # fmt: skip
    about_neurons = pa.schema(fields, {KEY: json.dumps(about)})
    about_synapses = pa.schema(
        [("pre", pa.uint64()), ("post", pa.uint64()), ("weight", pa.float32()), ("delay_ticks", pa.uint16()),
         ("projection", pa.uint16())], {b"engramdb.projections": json.dumps(about["projections"])},
    )  # fmt: skip
    # dictionaries would be tried on each group, for nothing: ids and weights hardly repeat
    plain = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}
    with (
        pq.ParquetWriter(folder / NEURONS, about_neurons, use_dictionary=["layer"], **plain) as neurons,
        pq.ParquetWriter(folder / SYNAPSES, about_synapses, use_dictionary=False, **plain) as synapses,
    ):
        groups = _Groups(neurons), _Groups(synapses)
        for layer in spec.layers:
            for records in store.scan(layer.index):
                groups[0].add(_neuron_table(records, layer, store, merged, about_neurons))
                groups[1].add(_synapse_table(records, spec, about_synapses))
                if progress is not None:
                    progress("neurons", groups[0].rows, store.commit.neurons)
        for group in groups:
            group.finish()
    return groups[0].rows, groups[1].rows


class _Groups:
    """Batches gathered into row groups of a million rows or so."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._waiting: list[Any] = []
        self._held = 0
        self.rows = 0

    def add(self, batch: Any) -> None:
        self._waiting.append(batch)
        self._held += len(batch)
        self.rows += len(batch)
        if self._held >= _ROWS_A_GROUP:
            self.finish()

    def finish(self) -> None:
        import pyarrow as pa

        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=self._held)
        self._waiting, self._held = [], 0


def _columns(store: Store, layer: Layer) -> Columns:
    """The state columns of a layer's records; none where it has no records."""
    for records in store.scan(layer.index):
        if len(records):
            return {name: (values.dtype.str, values.shape[1:]) for name, values in records.state.items()}
    return {}


def _arrow(dtype: str, shape: tuple[int, ...]) -> Any:
    import pyarrow as pa

    kind = pa.from_numpy_dtype(np.dtype(dtype))
    for width in reversed(shape):
        kind = pa.list_(kind, width)
    return kind


def _neuron_table(records: Records, layer: Layer, store: Store, merged: Columns, schema: Any) -> Any:
    import pyarrow as pa

    n = len(records)
    labels = store.labels_of(records.ids) if store.has_labels else [None] * n
    arrays = [
        pa.array(records.ids), pa.array([layer.name] * n, pa.string()), pa.array(map(_clean, labels), pa.string()),
        pa.array(records.row_kind), pa.array(np.diff(records.indptr).astype(np.uint32)),
    ]  # fmt: skip
    for name, (dtype, shape) in merged.items():
        kind, values = _arrow(dtype, shape), records.state.get(name)
        if values is None:
            arrays.append(pa.nulls(n, kind))
            continue
        array = pa.array(np.ascontiguousarray(values).reshape(-1))
        for width in reversed(shape):
            array = pa.FixedSizeListArray.from_arrays(array, width)
        arrays.append(array)
    return pa.record_batch(arrays, schema=schema)


def _clean(label: str | None) -> str | None:
    """Parquet's text is UTF-8, which has no lone surrogates; the labels that come back are those of the metadata."""
    return None if label is None else label.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _synapse_table(records: Records, spec: Spec, schema: Any) -> Any:
    import pyarrow as pa

    pre = np.repeat(records.ids, np.diff(records.indptr))
    ticks = spec.ticks_of(records.projection, records.delay).astype(np.uint16)
    columns = (pre, records.target, records.weight, ticks, records.projection)
    return pa.record_batch([pa.array(column) for column in columns], schema=schema)


def _write_labels(path: Path, store: Store) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("run", pa.uint32()), ("layer_index", pa.uint16()), ("kind", pa.string()), ("id", pa.uint64()),
         ("text", pa.large_binary()), ("number", pa.uint64())]
    )  # fmt: skip
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as file:
        for run, (layer_index, batches) in enumerate(store.label_runs()):
            for labels, ids in batches:
                n = len(ids)
                texts: list[bytes | None] = [None] * n
                numbers, kind = np.zeros(n, np.uint64), "text"
                if isinstance(labels, np.ndarray):
                    numbers, kind = labels.view(np.uint64), labels.dtype.name
                else:
                    texts = [label.encode("utf-8", "surrogatepass") for label in labels]
                run_of, layer_of = np.full(n, run, np.uint32), np.full(n, layer_index, np.uint16)
                columns = (run_of, layer_of, [kind] * n, ids, texts, numbers)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                file.write_batch(pa.record_batch(arrays, schema=schema))


def _write_inflight(path: Path, state: Mapping[str, npt.NDArray[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "name": pa.array(list(state), pa.string()),
            "type": pa.array([array.dtype.newbyteorder("<").str for array in state.values()], pa.string()),
            "shape": pa.array([list(array.shape) for array in state.values()], pa.list_(pa.int64())),
            "data": pa.array([array.tobytes() for array in state.values()], pa.large_binary()),
        }
    )
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
