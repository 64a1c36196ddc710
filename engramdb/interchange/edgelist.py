"""Edge lists out: one row a synapse, CSV or Parquet, as :func:`engramdb.import_edges` and every other program reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engramdb.address import IdArray
from engramdb.bulk import Progress
from engramdb.errors import InvalidInput
from engramdb.interchange.everyrow import check_room, every_row
from engramdb.interchange.exported import Exported
from engramdb.interchange.newfile import new_file
from engramdb.store import Records, Store
from engramdb.url import located

COLUMNS = ("pre", "post", "weight", "delay", "projection")
_CSV = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_CSV_BYTES, _PARQUET_BYTES = 24, 12  # of a synapse, at the least
_ROWS_A_GROUP = 1 << 20


def export_edges(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    layer: str | None = None,
    ids: str = "label",
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the synapses of the engram at ``path`` as a table to the new file ``out``, whole and durable or not at all.

    ``out``: .csv, .tsv, .txt, each also with .gz, or .parquet. Columns: ``pre``, ``post``, ``weight`` (mV), ``delay``
    (ms), ``projection`` (name). ``ids``: "label" names neurons by their labels where they have one, "id" always by
    their ids as numbers, which ``import_edges(ids="keep")`` takes. Rows that wiring rules give are written out too, so
    that it is the whole network; ``layer``: rows of one only. ``progress("synapses", done, None)``.

    Raises as :func:`engramdb.export_hdf5`, and DiskFull before it begins where rows by rule would never fit.
    """
    started, out = time.perf_counter(), Path(out)
    kind = _kind(out)
    if ids not in ("label", "id"):
        raise InvalidInput(f'ids="{ids}": expected "label" or "id"')
    neurons = synapses = 0
    with ExitStack() as stack:
        store = stack.enter_context(
            Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=1 << 24)
        )
        layers = list(store.spec.layers) if layer is None else [store.spec.layer(layer)]
        check_room(store, layers, out, _PARQUET_BYTES if kind in _PARQUET else _CSV_BYTES)
        made = stack.enter_context(new_file(out))
        labelled = ids == "label" and store.has_labels
        with _writer(made, kind, _schema(labelled)) as write:
            for own in layers:
                for records in every_row(store, own):
                    write(_table(records, store, labelled))
                    neurons, synapses = neurons + len(records), synapses + records.synapses
                    if progress is not None:
                        progress("synapses", synapses, None)
        nbytes = made.stat().st_size
    return Exported(
        path=out,
        commit=store.commit.number,
        layers=tuple(one.name for one in layers),
        neurons=neurons,
        synapses=synapses,
        files=1,
        nbytes=nbytes,
        elapsed_s=time.perf_counter() - started,
    )


def _kind(out: Path) -> str:
    suffix = out.with_suffix("").suffix if out.suffix == ".gz" else out.suffix
    if suffix.lower() not in _CSV and (suffix.lower() not in _PARQUET or out.suffix == ".gz"):
        known = " ".join((*_CSV, *_PARQUET))
        raise InvalidInput(f"{out}: cannot tell the format from its name; known: {known}, text also with .gz")
    return suffix.lower()


def _schema(labelled: bool) -> Any:
    import pyarrow as pa

    name = pa.string() if labelled else pa.uint64()
    return pa.schema(
        [("pre", name), ("post", name), ("weight", pa.float32()), ("delay", pa.float64()), ("projection", pa.string())]
    )


def _table(records: Records, store: Store, labelled: bool) -> Any:
    import pyarrow as pa

    spec = store.spec
    pre: Any = np.repeat(records.ids, np.diff(records.indptr))
    post: Any = records.target
    if labelled:
        pre, post = (_names(ids, store) for ids in (pre, post))
    # a number of ticks times dt is not always the number that was meant: 3 x 0.1 is 0.30000000000000004
    delay = np.round(spec.ticks_of(records.projection, records.delay) * spec.dt_ms, 9)
    names = pa.array([projection.name for projection in spec.all_projections], pa.string())
    projection = names.take(pa.array(records.projection)) if len(names) else pa.array([], pa.string())
    return pa.record_batch([pa.array(pre), pa.array(post), records.weight, delay, projection], schema=_schema(labelled))


def _names(ids: IdArray, store: Store) -> Any:
    """Labels of ``ids``; the id as a number where there is none."""
    import pyarrow as pa

    unique, back = np.unique(ids, return_inverse=True)
    labels = store.labels_of(unique)
    names = [str(number) if label is None else label for number, label in zip(unique.tolist(), labels, strict=True)]
    return pa.array(names, pa.string()).take(pa.array(back))


@contextmanager
def _writer(path: Path, kind: str, schema: Any) -> Iterator[Callable[[Any], None]]:
    import pyarrow as pa

    if kind in _PARQUET:
        import pyarrow.parquet as pq

        waiting: list[Any] = []

        def flush() -> None:
            if waiting:
                file.write_table(pa.Table.from_batches(waiting))
                waiting.clear()

        def gather(batch: Any) -> None:
            waiting.append(batch)
            if sum(map(len, waiting)) >= _ROWS_A_GROUP:
                flush()

        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as file:
            yield gather
            flush()
        return
    import pyarrow.csv as csv

    options = csv.WriteOptions(delimiter="," if kind == ".csv" else "\t", quoting_style="needed")
    compression = "gzip" if path.suffix == ".gz" else None
    with (
        pa.output_stream(str(path), compression=compression) as stream,
        csv.CSVWriter(stream, schema, write_options=options) as file,
    ):
        yield file.write_batch
