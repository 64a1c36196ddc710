"""A table that grows while a run goes on: kept in memory, or streamed to a Parquet or Arrow file."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.errors import DiskFull, EngramError
from engramdb.store.files import is_disk_full

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather")
_ROWS_A_GROUP = 1 << 20


class Table:
    """``columns``: name -> dtype, or str for texts. A file gets its name only when it is complete.

    ``to``: the file, Parquet unless its suffix is one of ARROW; None keeps the rows in memory. About ``buffer_bytes``
    wait for writing. In memory and in the buffer a row takes its bytes, and as many again while arrays are joined.
    """

    def __init__(self, columns: Mapping[str, Any], to: Path | None, buffer_bytes: int) -> None:
        self._columns = columns
        self._row_bytes = sum(8 if kind is str else np.dtype(kind).itemsize for kind in columns.values())
        self._rows_a_group = min(_ROWS_A_GROUP, max(64, buffer_bytes // (2 * self._row_bytes)))
        self._parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in columns}
        self._waiting = 0
        self._to = to
        self._writer: Any = None
        if to is not None:
            self._open(to)

    def _open(self, to: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {
            name: pa.string() if kind is str else pa.from_numpy_dtype(kind) for name, kind in self._columns.items()
        }
        self._schema = pa.schema(list(kinds.items()))
        self._part = to.with_name(to.name + ".part")
        try:
            if to.suffix.lower() in ARROW:
                self._writer = pa.ipc.new_file(str(self._part), self._schema)
            else:
                self._writer = pq.ParquetWriter(self._part, self._schema)
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> EngramError:
        kind = DiskFull if is_disk_full(error) else EngramError
        return kind(f"cannot record to {self._to}: {error.strerror or error}; what was run is kept in the engram")

    @property
    def nbytes(self) -> int:
        return 2 * self._waiting * self._row_bytes

    def add(self, **columns: npt.NDArray[Any]) -> None:
        """Rows, as arrays of one length."""
        for name, values in columns.items():
            self._parts[name].append(values)
        self._waiting += len(next(iter(columns.values())))
        if self._writer is not None and self._waiting >= self._rows_a_group:
            self._write()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The rows that are in memory."""
        empty = {name: np.empty(0, dtype=object if kind is str else kind) for name, kind in self._columns.items()}
        return {name: np.concatenate([empty[name], *parts]) for name, parts in self._parts.items()}

    def _write(self) -> None:
        import pyarrow as pa

        try:
            self._writer.write_table(pa.table(list(self.arrays().values()), schema=self._schema))
        except OSError as error:
            self._give_up()
            raise self._unwritten(error) from error
        self._parts = {name: [] for name in self._columns}
        self._waiting = 0

    def close(self) -> None:
        """Write what waits, and give the file its name."""
        if self._writer is None or self._to is None:
            return
        self._write()
        try:
            self._writer.close()
            self._part.replace(self._to)
        except OSError as error:
            self._give_up()
            raise self._unwritten(error) from error
        self._writer = None

    def _give_up(self) -> None:
        """Leave nothing half-written: what was recorded so far is not a file that anybody could read."""
        with contextlib.suppress(Exception):  # it may try to write once more
            self._writer.close()
        self._writer = None
        with contextlib.suppress(OSError):
            self._part.unlink()
