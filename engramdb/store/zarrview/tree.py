"""A Zarr v3 hierarchy: groups, arrays, the documents that describe them, and the keys under which all of it is found.

Plain values and lazy walks; nothing here knows an engram or the zarr library. ::

    Group              zarr.json with attributes; children by name
    +-- Group
    +-- Array          zarr.json with shape, type, codecs; chunks under c/<i>/<j>...
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

DOCUMENT = "zarr.json"
CHUNKS = "c"
PLAIN = ({"name": "bytes", "configuration": {"endian": "little"}},)
"""The codec of chunks that are an array's bytes, little-endian, C order."""

Bytes: TypeAlias = "bytes | memoryview"
Codecs: TypeAlias = Sequence[Mapping[str, Any]]


class Group(ABC):
    """A node that holds others. What it holds is looked up or walked, never kept."""

    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """Plain values for people and programs."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Names of all children, lazily; each is a valid part of a key."""

    @abstractmethod
    def child(self, name: str) -> Node | None:
        """The child of that name; None where there is none."""

    def document(self) -> bytes:
        return _json({"zarr_format": 3, "node_type": "group", "attributes": self.attributes()})


@dataclass(frozen=True)
class Form:
    """What an array is, but for its values. ``chunks`` is the shape of one chunk, ``fill`` a JSON value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    dimensions: tuple[str, ...]
    fill: Any = 0
    codecs: Codecs = PLAIN
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def grid(self) -> tuple[int, ...]:
        """How many chunks there are in each direction."""
        return tuple(-(-n // chunk) for n, chunk in zip(self.shape, self.chunks, strict=True))

    def document(self) -> bytes:
        return _json(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self.shape),
                "data_type": self.dtype.name,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.chunks)}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": self.fill,
                "codecs": list(self.codecs),
                "dimension_names": list(self.dimensions),
                "attributes": dict(self.attributes),
            }
        )


class Array(ABC):
    """A node whose chunks are made on demand."""

    @property
    @abstractmethod
    def form(self) -> Form: ...

    @abstractmethod
    def has(self, chunk: tuple[int, ...]) -> bool:
        """Whether a chunk of the grid is there; one that is not holds the fill value only."""

    @abstractmethod
    def nbytes(self, chunk: tuple[int, ...]) -> int:
        """Encoded bytes of a chunk that is there."""

    @abstractmethod
    def read(self, chunk: tuple[int, ...], start: int, stop: int) -> Bytes:
        """Encoded bytes ``start`` (included) to ``stop`` (excluded) of a chunk that is there."""


Node: TypeAlias = "Group | Array"


@dataclass(frozen=True)
class Value:
    """What a key holds: a document, or a chunk that has not been read yet."""

    source: bytes | Array
    chunk: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.nbytes(self.chunk)

    def read(self, start: int, stop: int) -> Bytes:
        return self.source[start:stop] if isinstance(self.source, bytes) else self.source.read(self.chunk, start, stop)


def find(root: Group, key: str) -> Value | None:
    """What ``key`` holds; None where it names nothing, or a group."""
    *path, last = key.split("/")
    node: Node | None = root
    for depth, name in enumerate(path):
        if isinstance(node, Array):
            chunk = _numbers([*path[depth + 1 :], last]) if name == CHUNKS else None
            return Value(node, chunk) if chunk is not None and _in_grid(node, chunk) and node.has(chunk) else None
        node = None if node is None else node.child(name)
    if node is None or last != DOCUMENT:
        return None
    return Value(node.form.document() if isinstance(node, Array) else node.document())


def names(root: Group, path: str) -> Iterator[str]:
    """Names directly below ``path`` ("" is the root; a last "/" does not matter): of documents, nodes and chunks."""
    parts = path.rstrip("/").split("/") if path.strip("/") else []
    node: Node | None = root
    for depth, name in enumerate(parts):
        if isinstance(node, Array):
            if name == CHUNKS:
                yield from _chunk_names(node, parts[depth + 1 :])
            return
        node = None if node is None else node.child(name)
    if isinstance(node, Group):
        yield DOCUMENT
        yield from node.names()
    elif node is not None:
        yield DOCUMENT
        if next(_chunk_keys(node), None) is not None:
            yield CHUNKS


def keys(root: Group, prefix: str) -> Iterator[str]:
    """All keys that begin with ``prefix``, lazily, node by node."""
    *folders, start = prefix.split("/")
    node: Node | None = root
    path = ""
    for name in folders:
        if isinstance(node, Array):
            start = ""  # within its chunks, of which there are few enough to look at each
            break
        node = None if node is None else node.child(name)
        path += f"{name}/"
    if node is not None:
        yield from (key for key in _below(node, path, start) if key.startswith(prefix))


def _below(node: Node, path: str, start: str) -> Iterator[str]:
    """Keys of ``node``, whose own path ends in "/"; children whose names do not begin with ``start`` are passed by."""
    if DOCUMENT.startswith(start):
        yield path + DOCUMENT
    if isinstance(node, Array):
        if CHUNKS.startswith(start):
            yield from (f"{path}{CHUNKS}/{chunk}" for chunk in _chunk_keys(node))
        return
    for name in node.names():
        child = node.child(name) if name.startswith(start) else None
        if child is not None:
            yield from _below(child, f"{path}{name}/", "")


def number_of(part: str) -> int | None:
    """Part of a key as the number it is; None unless it is one of up to 18 digits, and written as keys write it."""
    if not (part.isascii() and part.isdigit() and len(part) < 19 and (part == "0" or part[0] != "0")):
        return None
    return int(part)


def _numbers(parts: Sequence[str]) -> tuple[int, ...] | None:
    """Parts of a chunk's key as its place in the grid."""
    numbers = tuple(number for number in map(number_of, parts) if number is not None)
    return numbers if len(numbers) == len(parts) else None


def _in_grid(array: Array, chunk: tuple[int, ...]) -> bool:
    grid = array.form.grid()
    return len(chunk) == len(grid) and all(at < n for at, n in zip(chunk, grid, strict=True))


def _chunk_keys(array: Array) -> Iterator[str]:
    yield from ("/".join(map(str, chunk)) for chunk in np.ndindex(*array.form.grid()) if array.has(chunk))


def _chunk_names(array: Array, parts: Sequence[str]) -> Iterator[str]:
    """Names below ``c/<parts>``: the next number of each chunk there."""
    grid = array.form.grid()
    given = _numbers(parts)
    if given is None or len(given) >= len(grid) or any(at >= n for at, n in zip(given, grid, strict=False)):
        return
    for at in range(grid[len(given)]):
        if any(array.has((*given, at, *rest)) for rest in np.ndindex(*grid[len(given) + 1 :])):
            yield str(at)


# names and values as the format writes them


def keys_of(names_: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """Key -> name of siblings: names as one part of a key each, none of which is one of those ``taken``.

    Letters, digits and ``_.-~`` stay as they are, the rest becomes %XX of its UTF-8. A file system may not tell ``A``
    from ``a``: where names differ in case only, their capitals become %XX too. So does the first character of what
    Zarr or ``taken`` reserves; ``%`` stands for no name at all.
    """
    plain = [quote(name, safe="") for name in names_]
    alike = Counter(key.lower() for key in plain)
    found = {}
    for name, key in zip(names_, plain, strict=True):
        if alike[key.lower()] > 1:
            key = "".join(f"%{ord(c):02X}" if "A" <= c <= "Z" else quote(c, safe="") for c in name)
        if key.lower() in (DOCUMENT, *taken) or key.startswith("__") or not key.strip("."):
            key = f"%{ord(key[0]):02X}{key[1:]}" if key else "%"
        found[key] = name
    return found


def fill_of(value: npt.NDArray[Any]) -> Any:
    """The JSON of a single value, from which exactly its bits can be made again; None where JSON has none."""
    if value.dtype.kind == "c":
        parts = [fill_of(value.real), fill_of(value.imag)]
        return None if None in parts else parts
    number = value.item()
    if value.dtype.kind != "f" or math.isfinite(number):
        return number
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return "NaN" if value.tobytes() == np.array(math.nan, value.dtype).tobytes() else None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
