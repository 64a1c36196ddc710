"""Column codecs: one array to bytes and back, bit for bit.

A few codecs, fastest to decode first, are tried on the beginning of a column; the first whose result is no more than an
eighth larger than the smallest is taken for all of it. Which are tried was decided by ``engramdb bench codecs`` on
leaves of 8192 neurons; ``docs/measured.md`` keeps its table (bytes a value, millions of values decoded a second):

- random weights: planes of bytes 3.00, 2000, which can be read one by one; zstd 2.98, 860, and pcodec 2.95, 520, win
  next to nothing; where no byte is the same in all of them, lz4 with byte shuffle 3.04, 1900;
- weights rounded to float16: lz4 with bit shuffle 1.39, 780; planes 2.00; pcodec 1.32, 490;
- at most 256 different weights, such as int8 ones: a palette, 0.89, 390; pcodec 1.05, 310;
- weights partly learned: pcodec 1.08, 500; zstd 1.39, 130; lz4 2.21, 570;
- steps between targets in int8: zstd without shuffle 0.62, 1100; lz4 finds nothing to match. So zstd saves 0.4 GB/s,
  less than a drive reads: steps are kept as they are unless far more can be saved;
- wider integers (ids, ticks, counts, degrees, far targets): pcodec takes 10 to 80 % less than lz4 with byte shuffle and
  decodes as fast, two to four times as fast as zstd, which stays for what repeats itself;
- zstd is not tried on floats: of none of those measured would it be taken, and trials are half of what encoding costs;
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
from engramdb.store.compiled import kernels

RAW, CONSTANT, RANGE, BLOSC, PCODEC, PALETTE, PLANES = range(7)
"""Codec numbers, fixed for ever. RAW: the array's bytes, little-endian, C order. CONSTANT: one element. RANGE:
first value and step, two int64 or uint64, integers modulo 2^64. BLOSC: one Blosc 1 frame, which describes itself.
PCODEC: one standalone pcodec file. PALETTE: up to 256 different elements, and for each element its place among them.
PLANES: all first bytes of the elements, all second ones and so on, each plane RAW or CONSTANT."""

_BLOSC_LIMIT = (1 << 31) - 32  # a Blosc frame holds less than 2 GiB
_SAMPLE_BYTES = 1 << 14
_TOLERANCE = 1.125  # a codec that decodes faster may give a column this much larger
_USELESS = 0.95  # above it decoding costs more than it saves
_USELESS_STEPS = 0.6  # of int8: only zstd finds anything in them, and reading what it saves is faster than zstd
_PALETTE = struct.Struct("<BB")  # colors - 1, codec of the places
_FRAME = struct.Struct("<4xI4xI")  # what a Blosc frame begins with: bytes decoded, and of the frame
_MOST_COLORS = 256
_BATCH = 256  # elements that pcodec decodes together
_BITS = {nbytes: np.dtype(f"<u{nbytes}") for nbytes in (1, 2, 4, 8)}

Array = npt.NDArray[Any]


class Choice(NamedTuple):
    """A codec that compresses, and how: with Blosc the compressor's name and what is shuffled; its level."""

    codec: int
    compressor: str = ""
    shuffle: int = 0  # 0 nothing, 1 bytes, 2 bits
    level: int = 1


LZ4, LZ4_BYTES, LZ4_BITS, ZSTD, ZSTD_BYTES, ZSTD_BITS = (
    Choice(BLOSC, compressor, shuffle) for compressor in ("lz4", "zstd") for shuffle in range(3)
)
PCO, COLORS, SPLIT = (
    Choice(PCODEC, level=4),
    Choice(PALETTE),
    Choice(PLANES),
)  # level 8 of pcodec takes thrice the time to save 1 to 3 %


def choices(dtype: np.dtype[Any]) -> tuple[Choice, ...]:
    """What is tried for a column of this type, fastest to decode, or to read a part of, first."""
    if dtype.itemsize == 1:
        return LZ4, ZSTD
    if dtype.kind in "iu":
        return LZ4_BYTES, PCO, ZSTD_BYTES
    if dtype.kind == "f":
        return SPLIT, LZ4_BYTES, LZ4_BITS, COLORS, PCO
    return LZ4_BYTES, ZSTD_BYTES


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


@functools.cache
def _pcodec() -> Any:
    import pcodec

    return pcodec


def load_codecs() -> None:
    """Import the codecs, and use them once, now (0.2 s the first time) instead of in the first read."""
    _warm()


@functools.cache
def _warm() -> None:
    # 2 ms that zstd takes to set up in a process would be a tenth of what a cold question may take
    few = np.arange(_BATCH, dtype=np.uint16)
    for choice in (ZSTD_BYTES, PCO):
        decode(choice.codec, compress(choice, few) or b"", few.dtype, few.shape)


def encode(array: Array) -> tuple[int, bytes]:
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
    codec, encoded = _compressed(flat, choices(flat.dtype))
    useless = _USELESS_STEPS if array.dtype == np.int8 else _USELESS
    return (codec, encoded) if len(encoded) < useless * array.nbytes else (RAW, array.tobytes())


def _compressed(flat: Array, tried: tuple[Choice, ...]) -> tuple[int, bytes]:
    sample = flat[: _SAMPLE_BYTES // flat.itemsize]
    results = {choice: encoded for choice in tried if (encoded := compress(choice, sample)) is not None}
    smallest = min(len(encoded) for encoded in results.values())
    if sample.size < flat.size and flat.dtype == np.int8 and smallest >= _USELESS_STEPS * sample.nbytes:
        return RAW, flat.tobytes()  # as it would be in the end; zstd is most of what encoding costs
    limit = _TOLERANCE * smallest
    best = next(choice for choice, encoded in results.items() if len(encoded) <= limit)
    if sample.size == flat.size:
        return best.codec, results[best]
    whole = compress(best, flat)
    if whole is None:  # the rest of the column has more colors than its beginning
        return _compressed(flat, tuple(choice for choice in tried if choice != best))
    return best.codec, whole


def compress(choice: Choice, flat: Array) -> bytes | None:
    """``flat`` in that codec; None where a palette would be too large."""
    if choice.codec == PCODEC:
        pcodec = _pcodec()
        packed: bytes = pcodec.standalone.simple_compress(flat, pcodec.ChunkConfig(compression_level=choice.level))
        return packed
    if choice.codec == PALETTE:
        return _paint(flat)
    if choice.codec == PLANES:
        return _split(flat)
    # zstd gains by larger blocks, in size and in speed
    block = flat.nbytes if choice.compressor == "zstd" else 0
    framed: bytes = _blosc().compress(flat, choice.compressor.encode(), choice.level, choice.shuffle, block)
    return framed


def _paint(flat: Array) -> bytes | None:
    """The palette of ``flat`` and each element's place in it; None where it has more than 256 different elements."""
    bits = flat.view(f"u{flat.itemsize}")
    ordered = np.sort(bits)
    fresh = ordered[1:] != ordered[:-1]
    if np.count_nonzero(fresh) >= _MOST_COLORS:
        return None
    palette = np.concatenate([ordered[:1], ordered[1:][fresh]])
    places = _places(palette, bits)
    codec, encoded = encode(places)
    return _PALETTE.pack(palette.size - 1, codec) + palette.tobytes() + encoded


def _places(palette: Array, bits: Array) -> npt.NDArray[np.uint8]:
    """The place of each of ``bits`` in ``palette`` (both unsigned), by a hash without clashes where one is found."""
    table = np.zeros(1 << 16, np.uint8)
    for attempt in range(32):
        factor = np.array((0x9E3779B97F4A7C15 + 2 * attempt * 0xD1B54A32D192ED03) & (1 << 64) - 1).astype(bits.dtype)
        hashes = _hash(palette, factor)
        if np.unique(hashes).size == palette.size:
            table[hashes] = np.arange(palette.size, dtype=np.uint8)
            return table[_hash(bits, factor)]
    return np.searchsorted(palette, bits).astype(np.uint8)


def _hash(bits: Array, factor: Array) -> npt.NDArray[np.uint16]:
    return (bits * factor >> bits.dtype.type(8 * bits.itemsize - 16)).astype(np.uint16)


def _split(flat: Array) -> bytes:
    """The planes of ``flat``."""
    planes = np.ascontiguousarray(flat.view(np.uint8).reshape(-1, flat.itemsize).T)
    equal = [bool(plane[0] == plane[-1]) and bool((plane == plane[0]).all()) for plane in planes]
    bodies = [plane[: 1 if same else None].tobytes() for same, plane in zip(equal, planes, strict=True)]
    return b"".join([bytes(CONSTANT if same else RAW for same in equal), *bodies])


def _range(dtype: np.dtype[Any], first: int, step: int, size: int) -> Array:
    if step == 1 and 0 <= first < (1 << 63) - size:
        return np.arange(first, first + size, dtype=np.uint64).astype(dtype, copy=False)
    mask = (1 << 64) - 1
    values = np.arange(size, dtype=np.uint64)
    if step != 1:
        values *= np.uint64(step & mask)
    values += np.uint64(first & mask)
    return values.astype(dtype, copy=False)


def decode(codec: int, data: bytes | npt.NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The array of ``dtype`` and ``shape`` that :func:`encode` was given, in memory of its own.

    Lengths are checked before anything is decoded; raises :class:`BadColumn`. The caller has checked the CRC.
    """
    if codec == CONSTANT:
        return _constant(data, dtype, shape)
    size = math.prod(shape)
    nbytes = size * dtype.itemsize
    if codec == RAW:
        _require(len(data), nbytes)
        return np.frombuffer(bytearray(data), dtype).reshape(shape)
    if codec == RANGE:
        _require(len(data), 16)
        first, step = struct.unpack("<QQ", bytes(data))
        return _range(dtype, first, step, size).reshape(shape)
    if codec == PALETTE:
        return _painted(data, dtype, size).reshape(shape)
    if codec == PLANES:
        return _joined(_planes(np.frombuffer(data, np.uint8), dtype, size), dtype, size).reshape(shape)
    out = np.empty(size, dtype)
    if codec == BLOSC:
        if len(data) < _FRAME.size:
            raise BadColumn(f"a Blosc frame of {len(data)} bytes")
        decoded_bytes, frame_bytes = _FRAME.unpack_from(np.frombuffer(data, np.uint8).data)
        _require(decoded_bytes, nbytes)
        _require(len(data), frame_bytes)
        try:
            _blosc().decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise BadColumn(str(error)) from error
    elif codec == PCODEC:
        if not _unpack(data, out):
            raise BadColumn(f"more than the {size} values that were expected")
    else:
        raise BadColumn(f"its codec is {codec}, and this EngramDB knows {RAW} to {PLANES}")
    return out.reshape(shape)


def decode_first(
    codec: int, data: bytes | npt.NDArray[np.uint8], dtype: np.dtype[Any], size: int, wanted: int
) -> Array:
    """The first ``wanted`` of ``size`` elements and perhaps more, as :func:`decode` would give them.

    Pcodec stops behind them; with other codecs they are all. Raises :class:`BadColumn`.
    """
    stop = -(-wanted // _BATCH) * _BATCH
    if codec != PCODEC or stop >= size:
        return decode(codec, data, dtype, (size,))
    out = np.empty(stop, dtype)
    _unpack(data, out)
    return out


def _unpack(data: bytes | npt.NDArray[np.uint8], out: Array) -> bool:
    """Fill ``out`` from a pcodec file; whether that was all of it. As long as the whole, or a multiple of _BATCH."""
    try:
        progress = _pcodec().standalone.simple_decompress_into(bytes(data), out)
    except (RuntimeError, TypeError) as error:
        raise BadColumn(str(error)) from error
    _require(progress.n_processed, out.size)
    finished: bool = progress.finished
    return finished


def _constant(data: bytes | npt.NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    _require(len(data), dtype.itemsize)
    bits = _BITS.get(dtype.itemsize)
    if bits is None:
        return np.frombuffer(data, f"V{dtype.itemsize}").repeat(math.prod(shape)).view(dtype).reshape(shape)
    array = np.empty(shape, bits)
    array.fill(int.from_bytes(data, "little"))  # faster than to repeat an element
    return array.view(dtype)


def _painted(data: bytes | npt.NDArray[np.uint8], dtype: np.dtype[Any], size: int) -> Array:
    if len(data) < _PALETTE.size:
        raise BadColumn(f"a palette of {len(data)} bytes")
    last, codec = _PALETTE.unpack(bytes(data[: _PALETTE.size]))
    begin = _PALETTE.size + (last + 1) * dtype.itemsize
    if len(data) < begin or codec == PALETTE:
        raise BadColumn("a palette that is cut short, or a palette of places")
    palette = np.frombuffer(data, dtype, last + 1, _PALETTE.size)
    places = decode(codec, data[begin:], np.dtype(np.uint8), (size,))
    if size and int(places.max()) > last:
        raise BadColumn(f"place {places.max()} in a palette of {last + 1}")
    return palette.take(places)


def picker(
    codec: int, data: bytes | npt.NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[Callable[[Array], Array], int]:
    """``(pick, bytes)``: ``pick(index)`` gives the elements at ``index`` (int64, (m,)), in memory of its own.

    Where the codec has a way to single elements, nothing else is decoded; else all of the column is, now, and takes
    that many bytes. Raises :class:`BadColumn`.
    """
    if codec == CONSTANT:
        _require(len(data), dtype.itemsize)
        return lambda index: _constant(data, dtype, (index.size, *shape[1:])), 0
    if codec == RAW:
        _require(len(data), math.prod(shape) * dtype.itemsize)
        stored = np.frombuffer(data, dtype).reshape(shape)
        return lambda index: stored[index], 0
    if codec == PLANES and len(shape) == 1:
        planes = _planes(np.frombuffer(data, np.uint8), dtype, shape[0])
        return lambda index: _picked(planes, dtype, index), 0
    whole = decode(codec, data, dtype, shape)
    return lambda index: whole[index], whole.nbytes


class _Planes(NamedTuple):
    """The planes of a column that vary lie in ``data`` from ``at`` on, and move up by ``shift`` bits; ``base``: what
    the others come to."""

    data: npt.NDArray[np.uint8]
    at: list[int]
    shift: list[int]
    base: int


def _planes(data: npt.NDArray[np.uint8], dtype: np.dtype[Any], size: int) -> _Planes:
    begin = dtype.itemsize
    if dtype.itemsize not in (2, 4, 8) or len(data) < begin:
        raise BadColumn(f"planes of {len(data)} bytes for elements of {dtype.itemsize}")
    codecs = data[:begin].tolist()
    _require(len(data), begin + sum(1 if codec == CONSTANT else size for codec in codecs))
    base = 0
    at: list[int] = []
    shift: list[int] = []
    for place, codec in enumerate(codecs):
        if codec == CONSTANT:
            base |= int(data[begin]) << 8 * place
            begin += 1
        elif codec == RAW:
            at.append(begin)
            shift.append(8 * place)
            begin += size
        else:
            raise BadColumn(f"a plane in codec {codec}")
    return _Planes(data, at, shift, base)


def _joined(planes: _Planes, dtype: np.dtype[Any], size: int) -> Array:
    out = np.empty(size, _BITS[dtype.itemsize])
    kernel = kernels("planes")
    if kernel is None:
        _join(planes.data, planes.at, planes.shift, planes.base, out)
    else:
        at, shift = np.array(planes.at, np.int64), np.array(planes.shift, out.dtype)
        kernel.join(planes.data, at, shift, out.dtype.type(planes.base), out)
    return out.view(dtype)


def _picked(planes: _Planes, dtype: np.dtype[Any], index: Array) -> Array:
    out = np.full(index.size, planes.base, _BITS[dtype.itemsize])
    for start, shift in zip(planes.at, planes.shift, strict=True):
        out |= planes.data[index + start].astype(out.dtype) << out.dtype.type(shift)
    return out.view(dtype)


def _join(data: npt.NDArray[np.uint8], at: list[int], shift: list[int], base: int, out: Array) -> None:
    """What the kernel does, in NumPy."""
    out.fill(base)
    planes = out.view(np.uint8).reshape(-1, out.itemsize)
    for start, places in zip(at, shift, strict=True):
        planes[:, places // 8] = data[start : start + out.size]


def _require(found: int, expected: int) -> None:
    if found != expected:
        raise BadColumn(f"{found} bytes where {expected} were expected")
