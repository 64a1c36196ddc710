"""A folder of ``export parquet``, read: neurons with their rows, labels, and what is in flight."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.errors import EngramError, FormatTooNew, InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.spec import Spec
from engramdb.store import Records
from engramdb.store.labels import Batches

NEURONS, SYNAPSES = "neurons.parquet", "synapses.parquet"
INFLIGHT, LABELS = "inflight.parquet", "labels.parquet"
KEY = b"engramdb"
LAYOUT = 1
_ROWS_A_BATCH = 1 << 16
_SYNAPSES_A_PIECE = 1 << 20
_FIXED = ("id", "layer", "label", "row_kind", "out_degree")

Columns = dict[str, tuple[str, tuple[int, ...]]]
"""State column -> type as NumPy writes it, and shape of one neuron's value."""


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
