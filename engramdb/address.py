"""Neuron ids: 64 bits, ``layer`` (16) | ``segment`` (16) | ``local`` (32).

>>> pack(10, 5, 2147483649)
2814773389426689
>>> format_id(parse("0x000A000580000001"))
'10/5/2147483649'

A neuron keeps its id for ever, and ids are never reused. In text an id is ``layer/segment/local``
in decimal, or 16 hex digits after ``0x``; in JSON it is always a string, because JavaScript loses
integers above 2^53.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable
from typing import NoReturn, overload

import numpy as np
import numpy.typing as npt

from engramdb.errors import InvalidId

LAYER_BITS, SEGMENT_BITS, LOCAL_BITS = 16, 16, 32
MAX_LAYER = (1 << LAYER_BITS) - 1
MAX_SEGMENT = (1 << SEGMENT_BITS) - 1
MAX_LOCAL = (1 << LOCAL_BITS) - 1
MAX_ID = (1 << 64) - 1

IdArray = npt.NDArray[np.uint64]


def _part(value: object, top: int, name: str) -> IdArray:
    # through object, because NumPy makes float64 of [1, 2**63] and of []
    array = value if isinstance(value, np.ndarray) else np.array(value, dtype=object)
    if array.dtype.kind == "O":
        whole = [operator.index(v) if _is_whole(v) else _refuse(name, v) for v in array.flat]
        beyond = [v for v in whole if not 0 <= v <= top]
        if beyond:
            raise InvalidId(f"{name} {beyond[0]} is outside 0..{top}")
        return np.array(whole, dtype=np.uint64).reshape(array.shape)
    if array.dtype.kind not in "iu":
        raise InvalidId(f"{name} must be whole numbers, not {array.dtype}")
    if array.size and (int(array.min()) < 0 or int(array.max()) > top):
        wrong = int(array.min()) if int(array.min()) < 0 else int(array.max())
        raise InvalidId(f"{name} {wrong} is outside 0..{top}")
    return array.astype(np.uint64, copy=False)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _refuse(name: str, value: object) -> NoReturn:
    raise InvalidId(f"{name} must be a whole number, not {value!r}")


# mypy objects that an int is an object too: the first overload that fits is the one that counts
@overload
def pack(layer: int, segment: int, local: int) -> int: ...  # type: ignore[overload-overlap]
@overload
def pack(layer: object, segment: object, local: object) -> IdArray: ...
def pack(layer: object, segment: object, local: object) -> int | IdArray:
    """One id, or a uint64 array of ids, from its parts; arrays broadcast.

    ``layer`` and ``segment`` lie in 0..65535, ``local`` in 0..4294967295; anything else raises
    :class:`InvalidId`. Three plain integers give a plain integer.
    """
    packed = (
        (_part(layer, MAX_LAYER, "layer") << np.uint64(48))
        | (_part(segment, MAX_SEGMENT, "segment") << np.uint64(32))
        | _part(local, MAX_LOCAL, "local")
    )
    if packed.ndim == 0:
        return int(packed)
    return packed


@overload
def unpack(neuron_id: int) -> tuple[int, int, int]: ...  # type: ignore[overload-overlap]
@overload
def unpack(neuron_id: object) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16], npt.NDArray[np.uint32]]: ...
def unpack(neuron_id: object) -> tuple[object, object, object]:
    """``(layer, segment, local)`` of one id, or three arrays (uint16, uint16, uint32) of many."""
    ids = _part(neuron_id, MAX_ID, "id")
    layer, segment, local = (
        ids >> np.uint64(48),
        (ids >> np.uint64(32)) & np.uint64(MAX_SEGMENT),
        ids & np.uint64(MAX_LOCAL),
    )
    if ids.ndim == 0:
        return int(layer), int(segment), int(local)
    return layer.astype(np.uint16), segment.astype(np.uint16), local.astype(np.uint32)


def parse(text: str) -> int:
    """The id written as ``layer/segment/local`` or as ``0x`` and up to 16 hex digits.

    Raises :class:`InvalidId` for any other text, and for parts that do not fit their field.
    """
    stripped = text.strip()
    if stripped[:2].lower() == "0x":
        digits = stripped[2:]
        if not 1 <= len(digits) <= 16 or any(c not in "0123456789abcdefABCDEF" for c in digits):
            raise InvalidId(f'"{text}" is not a neuron id: expected 0x and up to 16 hex digits')
        return int(digits, 16)
    parts = stripped.split("/")
    # ten digits hold any part; Python refuses to read some thousands of them
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) <= 10 for p in parts):
        expected = "layer/segment/local, such as 0/0/42, or 0x and hex digits"
        raise InvalidId(f'"{text}" is not a neuron id: expected {expected}')
    layer, segment, local = (int(p) for p in parts)
    try:
        return pack(layer, segment, local)
    except InvalidId as error:
        raise InvalidId(f'"{text}" is not a neuron id: {error}') from None


def format_id(neuron_id: int) -> str:
    """``layer/segment/local`` in decimal: the text form people read."""
    layer, segment, local = unpack(neuron_id)
    return f"{layer}/{segment}/{local}"


def format_hex(neuron_id: int) -> str:
    """``0x`` and 16 hex digits."""
    return f"0x{int(_part(neuron_id, MAX_ID, 'id')):016X}"


def by_layer(ids: IdArray) -> list[tuple[int, slice]]:
    """``(layer, where)`` of each layer that has some of the sorted ``ids``: ``ids[where]`` are those."""
    if not len(ids):
        return []
    first, last = int(ids[0]) >> 48, int(ids[-1]) >> 48
    if first == last:
        return [(first, slice(0, len(ids)))]
    layers = ids >> np.uint64(48)
    edges = [0, *(np.flatnonzero(layers[1:] != layers[:-1]) + 1).tolist(), len(ids)]
    return [(int(layers[start]), slice(start, stop)) for start, stop in itertools.pairwise(edges)]


def as_ids(values: object) -> IdArray:
    """A one-dimensional uint64 array from an id, a text id, or any array or iterable of either.

    Raises :class:`InvalidId` for negative or fractional numbers and for text that is no id.
    """
    if isinstance(values, str):
        return np.array([parse(values)], dtype=np.uint64)
    if isinstance(values, np.ndarray) and values.dtype.kind in "UO":
        values = values.ravel().tolist()
    if isinstance(values, Iterable) and not isinstance(values, (np.ndarray, bytes)):
        values = np.array([parse(v) if isinstance(v, str) else v for v in values], dtype=object)
    return _part(values, MAX_ID, "id").ravel()
