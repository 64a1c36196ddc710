"""The two files of the VDM runtime, HDF5 and npz, read and written in parts."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from engramdb.bulk import Progress
from engramdb.errors import InvalidInput, NotFound
from engramdb.interchange.hdf5sink import new_hdf5

Array = npt.NDArray[Any]
Take = Callable[[int], Array]
"""Gives the next so many entries, or rows, of an array."""

_ENTRIES_A_CHUNK = 1 << 17
_GZIP: dict[str, Any] = {"compression": "gzip"}


class VdmArrays(Protocol):
    """A VDM engram, opened. ``sparse``: with row_ptr and col_idx, not with A and E."""

    sparse: bool
    attributes: dict[str, Any]
    adc_json: str | None

    def shape(self, name: str) -> tuple[int, ...]: ...

    def stream(self, name: str) -> Take: ...


class Content(Protocol):
    """What is written: see :func:`engramdb.interchange.vdm.export_vdm`."""

    n: int
    sparse: bool
    attributes: dict[str, Any]
    adc_json: str | None

    def w(self) -> Iterator[Array]: ...

    def rows(self) -> Iterator[tuple[int, Array, Array, Array]]: ...


class _File:
    """What both kinds have in common."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(f"{path}: there is no such file")
        self.path = path
        self.attributes: dict[str, Any] = {}
        self.adc_json: str | None = None
        self.sparse = True

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            said = " ".join(str(error).split())
            raise InvalidInput(f"{self.path} is no readable VDM engram: {said}") from None

    def close(self) -> None:
        """Give the file back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Hdf5Arrays(_File):
    """``state_<step>.h5``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        import h5py

        with self._in_words():
            self._h5 = h5py.File(path, "r")
        groups = [name for name in ("sparse", "dense") if name in self._h5]
        if len(groups) != 1:
            self._h5.close()
            raise InvalidInput(f"{path} is no VDM engram: it has no group sparse or dense")
        self.sparse = groups == ["sparse"]
        self._group = self._h5[groups[0]]
        self.attributes = {name: _plain(value) for name, value in self._h5.attrs.items() if name not in _ABOUT}
        if "adc_json" in self._h5:
            self.adc_json = str(_plain(self._h5["adc_json"][()]))

    def shape(self, name: str) -> tuple[int, ...]:
        with self._in_words():
            return tuple(self._group[name].shape)

    def stream(self, name: str) -> Take:
        done = 0

        def take(n: int) -> Array:
            nonlocal done
            with self._in_words():
                part: Array = self._group[name][done : done + n]
            done += n
            return part

        return take

    def close(self) -> None:
        self._h5.close()


class NpzArrays(_File):
    """``state_<step>.npz``: arrays are read from their beginning to their end without being held whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._in_words():
            self._zip = zipfile.ZipFile(path)
            self._streams: list[Any] = []
            names = {name.removesuffix(".npy") for name in self._zip.namelist()}
            self.sparse = "row_ptr" in names
            for name in names - {"W", "A", "E", "row_ptr", "col_idx"}:
                value = _plain(self._whole(name))
                if name == "adc_json":
                    self.adc_json = str(value)
                elif name not in _ABOUT:
                    self.attributes[name] = value

    def _whole(self, name: str) -> Array:
        with self._zip.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def _open(self, name: str) -> tuple[Any, tuple[int, ...], np.dtype[Any]]:
        file = self._zip.open(f"{name}.npy")
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if fortran and len(shape) > 1:
            raise InvalidInput(f"{self.path}: {name} is stored column by column; save it in C order")
        return file, shape, dtype

    def shape(self, name: str) -> tuple[int, ...]:
        with self._in_words():
            file, shape, _ = self._open(name)
            file.close()
            return shape

    def stream(self, name: str) -> Take:
        with self._in_words():
            file, shape, dtype = self._open(name)
        self._streams.append(file)

        def take(n: int) -> Array:
            with self._in_words():
                nbytes = n * dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
                data = file.read(nbytes)
                if len(data) != nbytes:
                    raise EOFError(f"{name} ends too early")
            return np.frombuffer(data, dtype).reshape(n, *shape[1:])

        return take

    def close(self) -> None:
        for file in self._streams:
            file.close()
        self._zip.close()


_ABOUT = ("backend", "dtype")


def write_hdf5(path: Path, content: Content, progress: Progress | None) -> int:
    """Write ``state_<step>.h5``; how many synapses."""
    import h5py

    with new_hdf5(path) as (file, check):
        file.attrs.update(
            {"backend": "sparse" if content.sparse else "dense", "dtype": "float32", **content.attributes}
        )
        group = file.create_group("sparse" if content.sparse else "dense")
        w = _growing(group, "W", np.float32)
        for part in content.w():
            _append(w, part)
            check()
        synapses = 0
        if content.sparse:
            # newer runtimes refuse a file without
            file.create_dataset("adc_json", data=content.adc_json or "{}", dtype=h5py.string_dtype("utf-8"))
            bounds, columns = _growing(group, "row_ptr", np.int64), _growing(group, "col_idx", np.int32)
            _append(bounds, np.zeros(1, np.int64))
            for _, indptr, target, _ in content.rows():
                _append(bounds, indptr[1:] + synapses)
                _append(columns, target)
                check()
                synapses = _told(progress, synapses, target)
            return synapses
        shape = (content.n, content.n)
        chunks = (1, min(content.n, _ENTRIES_A_CHUNK))
        adjacency = group.create_dataset("A", shape, np.int8, chunks=chunks, **_GZIP)
        weights = group.create_dataset("E", shape, np.float32, chunks=chunks, **_GZIP)
        for first, a, e in _dense(content):
            adjacency[first : first + len(a)], weights[first : first + len(a)] = a, e
            check()
            synapses = _told(progress, synapses, np.flatnonzero(a))
        if content.adc_json is not None:
            file.create_dataset("adc_json", data=content.adc_json, dtype=h5py.string_dtype("utf-8"))
    return synapses


def _told(progress: Progress | None, synapses: int, more: Array) -> int:
    if progress is not None:
        progress("synapses", synapses + len(more), None)
    return synapses + len(more)


def _dense(content: Content) -> Iterator[tuple[int, Array, Array]]:
    """``(first, A, E)`` of some rows."""
    step = max(1, (1 << 22) // content.n)
    for first, indptr, target, weight in content.rows():
        for start in range(0, len(indptr) - 1, step):
            stop = min(start + step, len(indptr) - 1)
            own = slice(int(indptr[start]), int(indptr[stop]))
            row = np.repeat(np.arange(stop - start), np.diff(indptr[start : stop + 1]))
            a, e = np.zeros((stop - start, content.n), np.int8), np.zeros((stop - start, content.n), np.float32)
            a[row, target[own]] = 1
            np.add.at(e, (row, target[own]), weight[own])
            yield first + start, a, e


def _growing(group: Any, name: str, dtype: npt.DTypeLike) -> Any:
    return group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_ENTRIES_A_CHUNK,), **_GZIP)


def _append(dataset: Any, values: Array) -> None:
    before = len(dataset)
    dataset.resize((before + len(values),))
    dataset[before:] = values


def write_npz(path: Path, content: Content, progress: Progress | None) -> int:
    """Write ``state_<step>.npz``; how many synapses. Arrays whose length is not known before are gone through twice."""
    synapses = sum(len(target) for _, _, target, _ in content.rows())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1, allowZip64=True) as archive:
        about = {"backend": "sparse" if content.sparse else "dense", **content.attributes}
        if content.adc_json is not None:
            about["adc_json"] = content.adc_json
        for name, value in about.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
        _write(archive, "W", np.float32, (content.n,), content.w())
        if content.sparse:
            _write(archive, "row_ptr", np.int64, (content.n + 1,), _bounds(content))
            _write(archive, "col_idx", np.int32, (synapses,), (target for _, _, target, _ in content.rows()))
        else:
            _write(archive, "A", np.int8, (content.n, content.n), (a for _, a, _ in _dense(content)))
            _write(archive, "E", np.float32, (content.n, content.n), (e for _, _, e in _dense(content)))
    if progress is not None:
        progress("synapses", synapses, synapses)
    return synapses


def _bounds(content: Content) -> Iterator[Array]:
    yield np.zeros(1, np.int64)
    done = 0
    for _, indptr, target, _ in content.rows():
        yield indptr[1:] + done
        done += len(target)


def _write(
    archive: zipfile.ZipFile, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...], parts: Iterator[Array]
) -> None:
    kind = np.dtype(dtype).newbyteorder("<")
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        head = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=kind).data)
