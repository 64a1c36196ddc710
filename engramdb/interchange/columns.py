"""Edge lists in Parquet, read in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.bulk import Progress
from engramdb.errors import InvalidInput
from engramdb.interchange.ahead import ahead
from engramdb.interchange.source import Batch, Chunk, Columns, Floats, Labels, Tally, Texts, judge

SUFFIXES = (".parquet", ".pq")
_ROWS = 1 << 17


class ColumnSource:
    """A Parquet file. Labels are integers where both columns have an integer type, texts otherwise.

    Columns called ``pre``, ``post``, ``weight``, ``sign`` and ``delay`` may be of any integer, float or text type that
    makes sense, dictionary-encoded or not. Raises :class:`InvalidInput` for a file or a column that cannot be read so.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow
        from pyarrow import parquet, types

        self._path = path
        self._columns = columns
        try:
            file = parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise InvalidInput(f"{path} is no readable Parquet file: {_first_line(error)}") from None
        with file:
            schema = file.schema_arrow
            self._rows = file.metadata.num_rows
        self._names = list(schema.names)
        self._places = columns.find(path, self._names)
        labels = [_value_type(schema.field(place).type) for place in self._places[:2]]
        for place, kind in zip(self._places[:2], labels, strict=True):
            if not (types.is_integer(kind) or _is_text(kind)):
                raise InvalidInput(f"{path}: column {self._names[place]} holds {kind}; labels are integers or texts")
        for column in (self._places.weight, self._places.sign, self._places.delay):
            if column is not None:
                kind = _value_type(schema.field(column).type)
                if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or _is_text(kind)):
                    raise InvalidInput(f"{path}: column {self._names[column]} holds {kind}, no numbers")
        self.integers: bool | None = all(types.is_integer(kind) for kind in labels)

    def chunks(self, tally: Tally, progress: Progress) -> Iterator[Chunk]:
        """All accepted edges in the order of the file."""
        import pyarrow
        from pyarrow import parquet

        needed = [self._names[place] for place in self._places.needed]
        try:
            # read column by column through small buffers: a row group may be larger than the memory there is
            options = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}
            with parquet.ParquetFile(self._path, **options) as file:
                done = 0
                for rows in ahead(file.iter_batches(batch_size=_ROWS, columns=needed)):
                    yield judge(self._batch(rows, done), self._columns, tally)
                    done += len(rows)
                    progress("read", done, self._rows)
        except (pyarrow.ArrowException, OSError) as error:
            raise InvalidInput(f"{self._path} is damaged: {_first_line(error)}") from None

    def _batch(self, rows: Any, before: int) -> Batch:
        names = self._names
        pre, post, weight, sign, delay, where = self._places
        labels: list[Labels] = [_texts(rows.column(names[place])) for place in (pre, post)] if not self.integers else []
        broken = np.zeros(len(rows), dtype=bool)
        if self.integers:
            for place in (pre, post):
                values, wrong = _integers(rows.column(names[place]))
                labels.append(values)
                broken |= wrong
        numbers = None if weight is None else _weights(rows.column(names[weight]))

        def why(i: int) -> str:
            for name in (names[pre], names[post]):
                value = rows.column(name)[i].as_py()
                if value is None or value < 0:
                    return f"{name} is empty" if value is None else f"{name} {value} is negative"
            raise AssertionError("only rows with such a label are broken")

        def text(i: int) -> str:
            return ",".join("" if value is None else str(value) for value in rows.slice(i, 1).to_pylist()[0].values())

        return Batch(
            n=len(rows),
            pre=labels[0],
            post=labels[1],
            weight=numbers,
            delay=None if delay is None else _weights(rows.column(names[delay])),
            sign=None if sign is None else _texts(rows.column(names[sign])),
            where=[_texts(rows.column(names[place])) for place in where],
            broken=broken if broken.any() else None,
            why=why,
            line=lambda i: before + 1 + i,
            text=text,
        )


def _value_type(kind: Any) -> Any:
    from pyarrow import types

    return kind.value_type if types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _plain(array: Any) -> Any:
    from pyarrow import types

    return array.dictionary_decode() if types.is_dictionary(array.type) else array


def _integers(array: Any) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Labels as uint64, and which of them are null or negative."""
    array = _plain(array)
    missing = np.asarray(array.is_null())
    values = np.asarray(array.fill_null(0) if array.null_count else array)
    return values.astype(np.uint64), missing | (values < 0)


def _weights(array: Any) -> Texts | Floats:
    import pyarrow

    array = _plain(array)
    if _is_text(array.type):
        return _texts(array)
    return np.array(array.cast(pyarrow.float64()).to_numpy(zero_copy_only=False))  # null becomes NaN


def _texts(array: Any) -> Texts:
    """A column as texts; null becomes empty."""
    import pyarrow

    array = _plain(array).cast(pyarrow.large_string())
    if array.null_count:
        array = array.fill_null("")
    if not len(array):
        nothing = np.empty(0, dtype=np.int64)
        return Texts(np.empty(0, dtype=np.uint8), nothing, nothing)
    _, bounds, data = array.buffers()
    offsets = np.frombuffer(bounds, dtype=np.int64, count=len(array) + 1, offset=8 * array.offset)
    # copied: a kernel compiled for arrays that may be written does not take those that may not
    text = np.frombuffer(data, dtype=np.uint8).copy() if data is not None else np.empty(0, dtype=np.uint8)
    return Texts(text, offsets[:-1].copy(), offsets[1:].copy())


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
