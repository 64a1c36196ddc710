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

import bisect
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.errors import EngramError, FormatTooNew, InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.interchange.exported import Exported
from engramdb.interchange.newfile import new_folder
from engramdb.interchange.origin import Imported, check_source, import_origin
from engramdb.layer import Layer
from engramdb.spec import Spec
from engramdb.store import Records, Store
from engramdb.store.labels import Batches
from engramdb.url import located

NEURONS, SYNAPSES = "neurons.parquet", "synapses.parquet"
INFLIGHT, LABELS = "inflight.parquet", "labels.parquet"
KEY = b"engramdb"
LAYOUT = 1
_ROWS_A_GROUP = 1 << 20
_ROWS_A_BATCH = 1 << 16
_SYNAPSES_A_PIECE = 1 << 20
_FIXED = ("id", "layer", "label", "row_kind", "out_degree")

Progress = Callable[[str, int, int | None], None]
Columns = dict[str, tuple[str, tuple[int, ...]]]
"""State column -> type as NumPy writes it, and shape of one neuron's value."""


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


class ParquetFolder:
    """A folder of :func:`export_parquet`, read; InvalidInput where it is none, or damaged, FormatTooNew."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        for name in (NEURONS, SYNAPSES, INFLIGHT):
            if not (path / name).is_file():
                raise NotFound(
                    f"{path} has no {name}: it is no folder of export parquet; a table of synapses is for import edges"
                )
        with self._in_words():
            with pq.ParquetFile(path / NEURONS) as file:
                about = json.loads((file.schema_arrow.metadata or {}).get(KEY, b"null"))
            if about is None:
                raise InvalidInput(
                    f"{path / NEURONS} has no metadata of EngramDB; a table of synapses is for import edges"
                )
            if about["layout"] > LAYOUT:
                raise FormatTooNew(f"{path} has layout {about['layout']}; this EngramDB reads up to {LAYOUT}")
            self.spec = Spec.from_json(about["spec"])
            self.bundles = Bundles.from_json(about["bundles"])
            self.tick = int(about["tick"])
            self._columns: dict[str, Columns] = about["columns"]
            with pq.ParquetFile(path / SYNAPSES) as file:
                self.synapses: int | None = file.metadata.num_rows

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except EngramError:
            raise
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, StopIteration) as error:
            said = " ".join(str(error).split())
            raise InvalidInput(f"{self._path} is damaged: {said}; export it anew") from None

    def records(self, behind: int, work: Path, room_bytes: int) -> Iterator[Records]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        synapses = _Synapses(self._path / SYNAPSES, self.spec.varying_delays)
        neurons = self._neurons([*_FIXED[:2], *_FIXED[3:]])
        while True:
            with self._in_words():
                batch = next(neurons, None)
                if batch is None:
                    synapses.check_end()
                    return
            pieces = self._of_batch(batch, synapses)
            while True:
                with self._in_words():
                    records = next(pieces, None)
                if records is None:
                    break
                skipped = min(behind, len(records))
                behind -= skipped
                if skipped < len(records):
                    yield records.part(skipped, len(records))

    def _neurons(self, fixed: list[str]) -> Iterator[Any]:
        import pyarrow.parquet as pq

        state = dict.fromkeys(name for own in self._columns.values() for name in own)
        with pq.ParquetFile(self._path / NEURONS, page_checksum_verification=True) as file:
            yield from file.iter_batches(_ROWS_A_BATCH, columns=[*fixed, *state])

    def _of_batch(self, batch: Any, synapses: _Synapses) -> Iterator[Records]:
        """The neurons of a batch with their rows, in pieces of one layer and about a million synapses."""
        column = {name: batch.column(name) for name in batch.schema.names}
        ids, degree = column["id"].to_numpy(), column["out_degree"].to_numpy().astype(np.int64)
        # spec order need not be that of ids
        borders = [*(np.flatnonzero(np.diff(ids >> np.uint64(48))) + 1).tolist(), len(ids)]
        start = 0
        while start < len(ids):
            index = int(ids[start]) >> 48
            stop = borders[bisect.bisect_right(borders, start)]
            total = np.cumsum(degree[start:stop])
            stop = start + max(int(np.searchsorted(total, _SYNAPSES_A_PIECE, side="right")), 1)
            length = degree[start:stop]
            indptr = np.concatenate([np.zeros(1, np.int64), total[: stop - start]])
            pre, post, weight, delay, projection = synapses.take(int(indptr[-1]))
            if not np.array_equal(pre, np.repeat(ids[start:stop], length)):
                raise ValueError(f"the rows of {SYNAPSES} do not follow those of {NEURONS}")
            state = {
                name: _values(column[name].slice(start, stop - start), dtype, shape)
                for name, (dtype, shape) in self._columns[self.spec.layer(index).name].items()
            }
            kind = column["row_kind"].to_numpy()[start:stop]
            yield Records(ids[start:stop], state, kind, indptr, projection, post, weight, delay=delay)
            start = stop

    def labels(self) -> Iterator[tuple[int, Batches]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        import pyarrow.parquet as pq

        if not (self._path / LABELS).is_file():
            return
        with self._in_words(), pq.ParquetFile(self._path / LABELS, page_checksum_verification=True) as file:
            # a run lies in row groups of its own
            groups = range(file.num_row_groups)
            run_of = [file.read_row_group(group, columns=["run"]).column("run")[0].as_py() for group in groups]
            for run in dict.fromkeys(run_of):
                own = [group for group in groups if run_of[group] == run]
                layer = file.read_row_group(own[0], columns=["layer_index"]).column("layer_index")[0].as_py()
                yield int(layer), self._run(file, own)

    def _run(self, file: Any, groups: list[int]) -> Iterator[tuple[Any, npt.NDArray[np.uint64]]]:
        for group in groups:
            with self._in_words():
                table = file.read_row_group(group)
                kind = table.column("kind")[0].as_py()
                if kind == "text":
                    labels: Any = [text.decode("utf-8", "surrogatepass") for text in table.column("text").to_pylist()]
                else:
                    labels = table.column("number").to_numpy().view(kind)
                ids = table.column("id").to_numpy()
            yield labels, ids

    def inflight(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        import pyarrow.parquet as pq

        with self._in_words():
            rows = pq.read_table(self._path / INFLIGHT, page_checksum_verification=True).to_pylist()
            return {row["name"]: np.frombuffer(row["data"], row["type"]).reshape(row["shape"]).copy() for row in rows}


def _values(array: Any, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    n = len(array)
    for _ in shape:
        array = array.flatten()
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(dtype, copy=False).reshape(n, *shape)


class _Synapses:
    """The table of synapses, taken from the front."""

    def __init__(self, path: Path, delays: bool) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path, page_checksum_verification=True)
        self._batches = self._file.iter_batches(
            _ROWS_A_BATCH, columns=["pre", "post", "weight", "delay_ticks", "projection"]
        )
        self._delays = delays
        self._held: list[list[npt.NDArray[Any]]] = []
        self._rows = 0

    def take(self, n: int) -> tuple[Any, ...]:
        """The next ``n``: pre, post, weight, delay (None where synapses have none of their own), projection."""
        while self._rows < n:
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError(f"{SYNAPSES} ends too early")
            self._held.append([np.asarray(column) for column in batch.columns])
            self._rows += len(batch)
        kinds = (np.uint64, np.uint64, np.float32, np.uint16, np.uint16)
        held = [np.concatenate([np.empty(0, kind), *(part[i] for part in self._held)]) for i, kind in enumerate(kinds)]
        self._held, self._rows = [[column[n:] for column in held]], self._rows - n
        pre, post, weight, delay, projection = (column[:n] for column in held)
        return pre, post, weight, delay if self._delays else None, projection

    def check_end(self) -> None:
        """ValueError where rows are left; closes the file."""
        left = self._rows + sum(len(batch) for batch in self._batches)
        self._file.close()
        if left:
            raise ValueError(f"{SYNAPSES} has {left} rows more than {NEURONS} tells of")
