"""New HDF5 files whose disk may be full.

The HDF5 library keeps what it has not written yet until a file is closed, and where it cannot write that then, it may
take the process down with it. So it writes to a file object that fails on its own account: what cannot be written is
dropped, and said when it is asked for, at the latest when the file is closed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def new_hdf5(path: Path, **options: Any) -> Iterator[tuple[Any, Callable[[], None]]]:
    """``(file, check)``: an ``h5py.File`` to be filled, and what raises the OSError of a write that failed, if one has.

    ``check`` spares the work that would be in vain; it is called at the end in any case. ``options`` are h5py's.
    """
    import h5py

    with _Sink(path) as sink:
        try:
            with h5py.File(sink, "w", **options) as file:
                yield file, sink.check
        except Exception:
            sink.check()  # what else was raised follows from it
            raise
        sink.check()


class _Sink(io.FileIO):
    """A file that remembers the first error of writing to it, and takes everything afterwards."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while self._error is None and written < len(view):
            try:
                written += super().write(view[written:]) or 0
            except OSError as error:
                self._error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self._error is None else size or 0
        except OSError as error:
            self._error = error
            return size or 0

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error
