"""Numbering neurons: labels of any kind become 0, 1, 2, ... in their order.

Integers are ordered by value, texts by their UTF-8 bytes. Edges pass through once, to a file, as soon as they are read;
when all labels are known they come back numbered. Two ways: a table in memory as long as the labels fit the budget (it
is only they that count, not the edges), and DuckDB's external sort and join when they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import MAX_LOCAL, IdArray
from engramdb.delays import DelayArray
from engramdb.errors import BudgetExceeded, DiskFull
from engramdb.interchange.labeltable import LabelTable, TooManyLabels, as_integers, as_texts
from engramdb.interchange.source import Chunk, Labels
from engramdb.kernels import labels as kernel

LabelBatch = tuple[IdArray | list[str], IdArray]
_BATCH = 1 << 16
_LEAST_DUCKDB_BYTES = 128 << 20


class NumberedEdges(NamedTuple):
    """Edges: numbers ``pre`` and ``post`` (uint64), ``weight`` (float32, mV), each (n,); ``delay`` as in Chunk."""

    pre: IdArray
    post: IdArray
    weight: npt.NDArray[np.float32]
    delay: DelayArray | None = None


class Numbering(Protocol):
    """Takes in edges with :meth:`add`; :meth:`finish` when there are no more; then the rest may be asked for."""

    def add(self, chunk: Chunk) -> None:
        """Take in edges, copied. May raise TooManyLabels or NotIntegers: then it has to be closed."""

    def finish(self) -> int:
        """Put the labels in order; how many there are. May raise TooManyLabels."""

    def labels(self) -> Iterator[LabelBatch]:
        """All labels in order (uint64 array or list of str) with their numbers (uint64), in batches."""

    def edges(self) -> Iterator[NumberedEdges]:
        """All edges, in any order."""

    def integers(self) -> IdArray:
        """All labels in order, where they are integers; not all of it need be in memory."""

    def label(self, number: int) -> str:
        """The label with that number."""

    @property
    def held_bytes(self) -> int:
        """Memory in use after :meth:`finish`, about."""

    def close(self) -> None:
        """Remove what was written."""


def sizes_of(count: int) -> dict[tuple[int, int], int]:
    """Neurons of each (layer, segment) of layer 0 when the ids 0..count-1 are taken: then a number is an id."""
    whole, rest = divmod(count, MAX_LOCAL + 1)
    sizes = dict.fromkeys(((0, segment) for segment in range(whole)), MAX_LOCAL + 1)
    return {**sizes, (0, whole): rest} if rest else sizes


class MemoryNumbering:
    """Labels in a ``table`` of ``memory_bytes``; edges as pairs of 32-bit codes in a file in ``folder``."""

    def __init__(self, folder: Path, table: Callable[[int], LabelTable], memory_bytes: int) -> None:
        self._path = folder / "edges"
        self._file = self._path.open("wb")
        self._table = table(memory_bytes)
        self._lengths: list[int] = []
        self._number = np.empty(0, dtype=np.uint32)
        self._delays = False

    def add(self, chunk: Chunk) -> None:
        """See :class:`Numbering`."""
        for column in (self._table.codes(chunk.pre), self._table.codes(chunk.post), chunk.weight):
            self._file.write(np.ascontiguousarray(column).data)
        if chunk.delay is not None:  # of all edges of a source, or of none
            self._file.write(np.ascontiguousarray(chunk.delay).data)
            self._delays = True
        self._lengths.append(len(chunk.weight))

    def finish(self) -> int:
        """See :class:`Numbering`."""
        self._file.close()
        self._number = self._table.finish()
        return self._table.count

    def labels(self) -> Iterator[LabelBatch]:
        """See :class:`Numbering`."""
        for start in range(0, self._table.count, _BATCH):
            stop = min(start + _BATCH, self._table.count)
            yield self._table.labels(start, stop), np.arange(start, stop, dtype=np.uint64)

    def edges(self) -> Iterator[NumberedEdges]:
        """See :class:`Numbering`; in the order in which they came."""
        with self._path.open("rb") as file:
            for n in self._lengths:
                numbers = [np.empty(n, dtype=np.uint64) for _ in range(2)]
                for number in numbers:
                    kernel.look_up(self._number, np.fromfile(file, dtype=np.uint32, count=n), number)
                weight = np.fromfile(file, dtype=np.float32, count=n)
                delay = np.fromfile(file, dtype=np.uint16, count=n) if self._delays else None
                yield NumberedEdges(numbers[0], numbers[1], weight, delay)

    def integers(self) -> IdArray:
        """See :class:`Numbering`."""
        labels = self._table.labels(0, self._table.count)
        assert isinstance(labels, np.ndarray), "these labels are texts"
        return labels

    def label(self, number: int) -> str:
        """See :class:`Numbering`."""
        return str(self._table.labels(number, number + 1)[0])

    @property
    def held_bytes(self) -> int:
        """See :class:`Numbering`."""
        return self._table.nbytes

    def close(self) -> None:
        """See :class:`Numbering`."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class DiskNumbering:
    """Any number of labels: DuckDB sorts them and joins edges to them in ``memory_bytes``, with files in ``folder``.

    An edge is kept as the keys of its labels: an integer is its own, a text has a hash. Should two texts have the same
    one, :meth:`finish` raises TooManyLabels, and another ``salt`` has to be tried.
    """

    def __init__(self, folder: Path, memory_bytes: int, *, integers: bool, salt: int = 0) -> None:
        import duckdb

        self._folder = folder
        self._integers = integers
        self._salt = np.uint64(salt)
        self._memory_bytes = max(memory_bytes, _LEAST_DUCKDB_BYTES)
        self._recent = np.zeros(1 << max((self._memory_bytes // 64).bit_length(), 4), dtype=np.uint64)
        self._edges, self._seen = (folder / name for name in ("edges", "labels"))
        self._files = [path.open("wb") for path in (self._edges, self._seen)]
        self._edge_counts: list[int] = []
        self._delays = False
        self._label_counts: list[tuple[int, int]] = []
        settings: dict[str, Any] = {
            "memory_limit": f"{(self._memory_bytes - self._recent.nbytes) >> 20}MiB",
            "temp_directory": str(folder / "spill"),
            "threads": 1,  # each would need memory of its own
            "preserve_insertion_order": False,
        }
        self._database_path = folder / "labels.duckdb"
        self._database = duckdb.connect(str(self._database_path), config=settings)

    def add(self, chunk: Chunk) -> None:
        """See :class:`Numbering`."""
        edges, seen = self._files
        for labels in (chunk.pre, chunk.post):
            keys = self._keys(labels, self._salt)
            edges.write(keys.data)
            # other hashes than the keys, or of two texts with one key the second would never be seen
            unlike = keys if self._integers else self._keys(labels, ~self._salt)
            unseen = np.empty(len(keys), dtype=np.int64)
            unseen = unseen[: kernel.pick_unseen(unlike, self._recent, unseen)]
            seen.write(keys[unseen].data)
            nbytes = 0
            if not self._integers:
                texts = as_texts(labels).take(unseen)
                lengths = texts.last - texts.first
                nbytes = int(lengths.sum())
                packed = np.empty(nbytes, dtype=np.uint8)
                kernel.pack_spans(texts.data, texts.first, texts.last, packed)
                seen.write(lengths.data)
                seen.write(packed.data)
            self._label_counts.append((len(unseen), nbytes))
        edges.write(np.ascontiguousarray(chunk.weight).data)
        if chunk.delay is not None:  # of all edges of a source, or of none
            edges.write(np.ascontiguousarray(chunk.delay).data)
            self._delays = True
        self._edge_counts.append(len(chunk.weight))

    def _keys(self, labels: Labels, salt: np.uint64) -> IdArray:
        if self._integers:
            return np.ascontiguousarray(as_integers(labels))
        texts = as_texts(labels)
        keys = np.empty(len(texts), dtype=np.uint64)
        kernel.hash_spans(texts.data, texts.first, texts.last, salt, keys)
        return keys

    def finish(self) -> int:
        """See :class:`Numbering`."""
        for file in self._files:
            file.close()
        self._recent = np.zeros(0, dtype=np.uint64)
        label = "key" if self._integers else "key, label"
        order = "key" if self._integers else "label"
        self._run(
            f"CREATE TABLE label AS SELECT {label}, row_number() OVER () - 1 AS number"
            f" FROM (SELECT DISTINCT {label} FROM seen ORDER BY {order})",
            seen=self._seen_batches(),
        )
        count, keys = self._run("SELECT count(*), count(DISTINCT key) FROM label")[0]
        if count != keys:
            raise TooManyLabels
        return int(count)

    def _seen_batches(self) -> Any:
        import pyarrow

        columns = [("key", pyarrow.uint64())]
        if not self._integers:
            columns.append(("label", pyarrow.large_binary()))
        schema = pyarrow.schema(columns)

        def batches() -> Iterator[Any]:
            with self._seen.open("rb") as file:
                for n, nbytes in self._label_counts:
                    arrays = [pyarrow.array(np.fromfile(file, dtype=np.uint64, count=n))]
                    if not self._integers:
                        bounds = np.zeros(n + 1, dtype=np.int64)
                        np.cumsum(np.fromfile(file, dtype=np.int64, count=n), out=bounds[1:])
                        packed = np.fromfile(file, dtype=np.uint8, count=nbytes)
                        buffers = [None, pyarrow.py_buffer(bounds), pyarrow.py_buffer(packed)]
                        arrays.append(pyarrow.LargeBinaryArray.from_buffers(pyarrow.large_binary(), n, buffers))
                    yield pyarrow.record_batch(arrays, schema=schema)

        return pyarrow.RecordBatchReader.from_batches(schema, batches())

    def _edge_batches(self) -> Any:
        import pyarrow

        types = {
            "pre": np.uint64,
            "post": np.uint64,
            "weight": np.float32,
            **({"delay": np.uint16} if self._delays else {}),
        }
        schema = pyarrow.schema([(name, pyarrow.from_numpy_dtype(dtype)) for name, dtype in types.items()])

        def batches() -> Iterator[Any]:
            with self._edges.open("rb") as file:
                for n in self._edge_counts:
                    columns = [np.fromfile(file, dtype=dtype, count=n) for dtype in types.values()]
                    yield pyarrow.record_batch([pyarrow.array(column) for column in columns], schema=schema)

        return pyarrow.RecordBatchReader.from_batches(schema, batches())

    def labels(self) -> Iterator[LabelBatch]:
        """See :class:`Numbering`."""
        column = "key" if self._integers else "label"
        for label, number in self._select(f"SELECT {column}, number FROM label ORDER BY number"):
            numbers = np.asarray(number).astype(np.uint64)
            yield (np.asarray(label) if self._integers else [text.decode() for text in label.to_pylist()]), numbers

    def edges(self) -> Iterator[NumberedEdges]:
        """See :class:`Numbering`; in no particular order."""
        columns = "a.number, b.number, weight, delay" if self._delays else "a.number, b.number, weight"
        query = f"SELECT {columns} FROM edge JOIN label a ON a.key = pre JOIN label b ON b.key = post"
        for pre, post, *values in self._select(query, edge=self._edge_batches()):
            one, other = (np.asarray(number).astype(np.uint64) for number in (pre, post))
            yield NumberedEdges(one, other, *(np.asarray(value) for value in values))

    def integers(self) -> IdArray:
        """See :class:`Numbering`; as a file that is mapped, not read."""
        assert self._integers, "these labels are texts"
        path = self._folder / "integers"
        if not path.exists():
            with path.open("wb") as file:
                for labels, _ in self.labels():
                    file.write(np.asarray(labels, dtype=np.uint64).data)
        return np.memmap(path, dtype=np.uint64, mode="r")

    def label(self, number: int) -> str:
        """See :class:`Numbering`."""
        column = "key" if self._integers else "label"
        label = self._run(f"SELECT {column} FROM label WHERE number = {number}")[0][0]
        return label.decode() if isinstance(label, bytes) else str(label)

    def _run(self, query: str, **tables: Any) -> list[Any]:
        with self._in_words():
            for name, table in tables.items():
                self._database.register(name, table)
            return self._database.execute(query).fetchall()

    def _select(self, query: str, **tables: Any) -> Iterator[Sequence[Any]]:
        with self._in_words():
            # a cursor of its own: while its rows come, the connection takes no other query
            cursor = self._database.cursor()
            for name, table in tables.items():
                cursor.register(name, table)
            for batch in cursor.sql(query).to_arrow_reader(_BATCH):
                yield batch.columns

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise BudgetExceeded("so many labels cannot be sorted in so little memory: give the import more") from error
        except duckdb.IOException as error:
            if "No space left" not in str(error):
                raise
            raise DiskFull(f"disk full: {self._folder} has no room to sort the labels; free some space") from error

    @property
    def held_bytes(self) -> int:
        """See :class:`Numbering`."""
        return self._memory_bytes

    def close(self) -> None:
        """See :class:`Numbering`."""
        self._database.close()
        for file in self._files:
            file.close()
        for path in (self._edges, self._seen, self._folder / "integers", self._database_path):
            path.unlink(missing_ok=True)
