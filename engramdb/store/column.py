"""Column codecs: one array to bytes and back, bit for bit.

Which codec a column gets was measured on leaves of 8192 small-world neurons (k = 12, random float32
weights) with ``tests/benchmarks/bench_store.py``:

- random weights: lz4 with byte shuffle, 3.0 bytes each, decodes at 9 GB/s. zstd wins nothing there, but does
  on few distinct values or many exponents, so a sample of each column decides;
- target offsets in int8: zstd 1, 0.81 bytes each; lz4 finds nothing to match;
- far targets: lz4 with byte shuffle, within 8 % of zstd and ten times as fast;
- counts, ticks, degrees: zstd 1 with byte shuffle;
- all values equal, or equally spaced: 1 value or 16 bytes, whatever the length.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.errors import InvalidInput

RAW, CONSTANT, RANGE, BLOSC = 0, 1, 2, 3
"""Codec numbers, fixed for ever. RAW: the array's bytes, little-endian, C order. CONSTANT: one element. RANGE:
first value and step, two int64 or uint64, integers modulo 2^64. BLOSC: one Blosc 1 frame, which describes itself."""

_BLOSC_LIMIT = (1 << 31) - 32  # a Blosc frame holds less than 2 GiB
_SAMPLE_BYTES = 1 << 15
_WORTH = 0.9  # a later choice must beat the first, faster one by this
_USELESS = 0.98  # above it decoding costs more than it saves

Array = npt.NDArray[Any]


class _Choice(NamedTuple):
    compressor: str
    level: int
    shuffle: int  # 0 none, 1 bytes


_LZ4_SHUFFLED, _ZSTD_SHUFFLED, _ZSTD = _Choice("lz4", 1, 1), _Choice("zstd", 1, 1), _Choice("zstd", 1, 0)
_CHOICES: dict[str, tuple[_Choice, ...]] = {
    "id": (_LZ4_SHUFFLED,),
    "target_far": (_LZ4_SHUFFLED,),
    "target_offset": (_ZSTD_SHUFFLED,),
    "label_text": (_ZSTD,),
}


def storable(name: str, array: Array) -> Array:
    """``array`` as it is stored: little-endian, C-contiguous. Raises InvalidInput where it cannot be."""
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16 or array.dtype.name in ("longdouble", "float128"):
        raise InvalidInput(f"array {name!r} cannot be stored: its type is {array.dtype}, not booleans or plain numbers")
    if len(name.encode()) > 255:
        raise InvalidInput(f"array {name[:20]!r}... cannot be stored: its name is longer than 255 bytes")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


class BadColumn(Exception):
    """Encoded bytes that do not decode to what their column table entry says."""


@functools.cache
def _blosc() -> Any:
    import numcodecs.blosc

    # its global thread pool gains nothing on columns this small, and would not survive a fork
    numcodecs.blosc.use_threads = False
    return numcodecs.blosc


def load_codecs() -> None:
    """Import the codecs now (0.2 s the first time) instead of in the first read."""
    _blosc()


def encode(name: str, array: Array) -> tuple[int, bytes]:
    """``(codec, bytes)`` of a little-endian, C-contiguous array of booleans or numbers."""
    if array.size == 0:
        return RAW, b""
    flat = array.reshape(-1)
    bits = flat.view(f"V{flat.itemsize}") if flat.itemsize not in (1, 2, 4, 8) else flat.view(f"u{flat.itemsize}")
    if flat.size > 1 and bits[0] == bits[-1] and bool((bits == bits[0]).all()):
        return CONSTANT, bits[:1].tobytes()
    if array.ndim == 1 and array.dtype.kind in "iu" and flat.size > 2:
        first, step = int(flat[0]), int(flat[1]) - int(flat[0])
        if first + step * (flat.size - 1) == int(flat[-1]) and bool(
            (flat == _range(flat.dtype, first, step, flat.size)).all()
        ):
            return RANGE, struct.pack("<QQ", first & (1 << 64) - 1, step & (1 << 64) - 1)
    if not 128 <= array.nbytes < _BLOSC_LIMIT:
        return RAW, array.tobytes()
    encoded = _compressor(name, flat)(flat)
    return (BLOSC, encoded) if len(encoded) < _USELESS * array.nbytes else (RAW, array.tobytes())


def _compressor(name: str, flat: Array) -> Callable[[Array], bytes]:
    choices = _CHOICES.get(name)
    if choices is None:
        choices = (_LZ4_SHUFFLED, _ZSTD, _ZSTD_SHUFFLED) if flat.dtype.kind in "fc" else (_ZSTD_SHUFFLED,)

    def compress(choice: _Choice, values: Array) -> bytes:
        encoded: bytes = _blosc().compress(values, choice.compressor.encode(), choice.level, choice.shuffle, 0)
        return encoded

    best = choices[0]
    if len(choices) > 1:
        sample = flat[: _SAMPLE_BYTES // flat.itemsize]
        sizes = [len(compress(choice, sample)) for choice in choices]
        smallest = min(range(len(sizes)), key=sizes.__getitem__)
        if sizes[smallest] < _WORTH * sizes[0]:
            best = choices[smallest]
    return lambda values: compress(best, values)


def _range(dtype: np.dtype[Any], first: int, step: int, size: int) -> Array:
    mask = (1 << 64) - 1
    with np.errstate(over="ignore"):
        values = np.uint64(first & mask) + np.uint64(step & mask) * np.arange(size, dtype=np.uint64)
    return values.astype(dtype)


def decode(codec: int, data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The array of ``dtype`` and ``shape`` that :func:`encode` was given, in memory of its own.

    Lengths are checked before anything is decoded; raises :class:`BadColumn`. The caller has checked the CRC.
    """
    size = math.prod(shape)
    nbytes = size * dtype.itemsize
    if codec == RAW:
        _require(len(data), nbytes)
        return np.frombuffer(bytearray(data), dtype).reshape(shape)
    if codec == CONSTANT:
        _require(len(data), dtype.itemsize)
        return np.frombuffer(data, f"V{dtype.itemsize}").repeat(size).view(dtype).reshape(shape)
    if codec == RANGE:
        _require(len(data), 16)
        first, step = struct.unpack("<QQ", data)
        return _range(dtype, first, step, size).reshape(shape)
    if codec == BLOSC:
        if len(data) < 16:
            raise BadColumn(f"a Blosc frame of {len(data)} bytes")
        decoded_bytes, _, frame_bytes = struct.unpack_from("<III", data, 4)
        _require(decoded_bytes, nbytes)
        _require(len(data), frame_bytes)
        out = np.empty(size, dtype)
        try:
            _blosc().decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise BadColumn(str(error)) from error
        return out.reshape(shape)
    raise BadColumn(f"codec {codec} is unknown")


def _require(found: int, expected: int) -> None:
    if found != expected:
        raise BadColumn(f"{found} bytes where {expected} were expected")
