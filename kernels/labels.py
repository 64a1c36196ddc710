"""Tables that number labels in the order in which they first come.

Open addressing: ``slots`` has a power of two of entries and is kept at most half full by the caller. Numbers are
uint32; in ``slots`` they are stored one higher, 0 means empty.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.memory import prefetch
from engramdb.kernels.rng import mix64

_ONE32, _TAG_SHIFT = np.uint32(1), np.uint64(32)
_ONE, _LOW_MASK = np.uint64(1), np.uint64(0xFFFFFFFF)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_FAR, _NEAR = 24, 12  # keys ahead of the one looked at: when its slot, and what that names, is asked for


@njit(cache=True, nogil=True)
def number_integers(keys, slots, known, count, limit, begin, out):
    """``out[i]`` (uint32) = the number of ``keys[i]`` (uint64) from ``begin`` on; new keys are appended to ``known``.

    ``slots``: uint32; ``known``: uint64, of which ``count`` are taken. Stops before a new key would make more than
    ``limit``. Returns ``(next, count)``: the first key not numbered, and how many are known.
    """
    mask = np.uint64(slots.shape[0] - 1)
    n = keys.shape[0]
    for i in range(begin, n):
        if i + _FAR < n:
            prefetch(slots, np.int64(mix64(keys[i + _FAR]) & mask))
            number = slots[mix64(keys[i + _NEAR]) & mask]
            prefetch(known, np.int64(max(number, _ONE32) - _ONE32))
        key = keys[i]
        at = mix64(key) & mask
        while True:
            number = slots[at]
            if number == 0:
                if count >= limit:
                    return i, count
                known[count] = key
                count += 1
                slots[at] = np.uint32(count)
                out[i] = np.uint32(count - 1)
                break
            if known[number - _ONE32] == key:
                out[i] = number - _ONE32
                break
            at = (at + _ONE) & mask
    return n, count


@njit(cache=True, nogil=True)
def place_integers(known, count, slots):
    """Enter the first ``count`` keys of ``known`` in the empty table ``slots``."""
    mask = np.uint64(slots.shape[0] - 1)
    for number in range(count):
        at = mix64(known[number]) & mask
        while slots[at] != 0:
            at = (at + _ONE) & mask
        slots[at] = np.uint32(number + 1)


@njit(cache=True, nogil=True)
def mark_integers(keys, present, out):
    """Set bit ``keys[i]`` of ``present`` (uint64, 64 bits each); ``out[i]`` (uint32) = ``keys[i]`` (uint64).

    Returns how many leading keys have a bit there; the others are left alone.
    """
    limit = np.uint64(present.shape[0]) << np.uint64(6)
    for i in range(keys.shape[0]):
        key = keys[i]
        if key >= limit:
            return i
        present[key >> np.uint64(6)] |= _ONE << (key & np.uint64(63))
        out[i] = np.uint32(key)
    return keys.shape[0]


@njit(cache=True, nogil=True)
def list_marked(present, number, marked):
    """``marked`` (uint64) = the set bits of ``present`` in order; ``number[bit]`` (uint32) = the place of each."""
    count = 0
    for word in range(present.shape[0]):
        bits = present[word]
        bit = np.uint64(word) << np.uint64(6)
        while bits != 0:
            if bits & _ONE:
                marked[count] = bit
                number[bit] = count
                count += 1
            bits >>= _ONE
            bit += _ONE


@njit(cache=True, nogil=True)
def count_marked(present):
    """How many bits of ``present`` (uint64) are set."""
    count = 0
    for word in range(present.shape[0]):
        bits = present[word]
        while bits != 0:
            bits &= bits - _ONE
            count += 1
    return count


@njit(cache=True, nogil=True)
def look_up(table, places, out):
    """``out[i]`` (uint64) = ``table[places[i]]``; both uint32."""
    for i in range(places.shape[0]):
        out[i] = table[places[i]]


@njit(cache=True, nogil=True)
def _hash_bytes(data, start, stop, salt):
    h = np.uint64(stop - start) + salt
    word = np.uint64(0)
    filled = 0
    for p in range(start, stop):
        word = (word << np.uint64(8)) | np.uint64(data[p])
        filled += 1
        if filled == 8:
            h = mix64((h + word) * _PRIME)
            word = np.uint64(0)
            filled = 0
    return mix64((h + word) * _PRIME)


@njit(cache=True, nogil=True)
def hash_spans(data, first, last, salt, out):
    """``out[i]`` (uint64) = a hash of the bytes ``data[first[i]:last[i]]``; another one for each ``salt`` (uint64)."""
    for i in range(first.shape[0]):
        out[i] = _hash_bytes(data, first[i], last[i], salt)


@njit(cache=True, nogil=True)
def number_texts(data, first, last, hashes, slots, text, bounds, count, limit, begin, out):
    """As :func:`number_integers` for the texts ``data[first[i]:last[i]]`` with their ``hashes`` (of salt 0).

    ``slots``: uint64, the upper 32 bits of a text's hash above its number plus one. ``text``: uint8, the known texts
    end to end; text j is ``text[bounds[j]:bounds[j + 1]]`` (int64). Stops also where ``text`` is full.
    """
    mask = np.uint64(slots.shape[0] - 1)
    n = first.shape[0]
    for i in range(begin, n):
        if i + _FAR < n:
            prefetch(slots, np.int64(hashes[i + _FAR] & mask))
            prefetch(bounds, np.int64(slots[hashes[i + _NEAR] & mask] & _LOW_MASK))
            prefetch(text, bounds[slots[hashes[i + _NEAR // 2] & mask] & _LOW_MASK])
        h = hashes[i]
        a = first[i]
        length = last[i] - a
        tag = h >> _TAG_SHIFT
        at = h & mask
        while True:
            slot = slots[at]
            if slot == 0:
                start = bounds[count]
                if count >= limit or start + length > text.shape[0]:
                    return i, count
                for j in range(length):
                    text[start + j] = data[a + j]
                count += 1
                bounds[count] = start + length
                slots[at] = (tag << _TAG_SHIFT) | np.uint64(count)
                out[i] = np.uint32(count - 1)
                break
            if slot >> _TAG_SHIFT == tag:
                number = np.int64(slot & _LOW_MASK) - 1
                start = bounds[number]
                same = bounds[number + 1] - start == length
                if same:
                    for j in range(length):
                        if text[start + j] != data[a + j]:
                            same = False
                            break
                if same:
                    out[i] = np.uint32(number)
                    break
            at = (at + _ONE) & mask
    return n, count


@njit(cache=True, nogil=True)
def place_texts(text, bounds, count, slots):
    """Enter the first ``count`` texts in the empty table ``slots``."""
    mask = np.uint64(slots.shape[0] - 1)
    for number in range(count):
        h = _hash_bytes(text, bounds[number], bounds[number + 1], np.uint64(0))
        at = h & mask
        while slots[at] != 0:
            at = (at + _ONE) & mask
        slots[at] = ((h >> _TAG_SHIFT) << _TAG_SHIFT) | np.uint64(number + 1)


@njit(cache=True, nogil=True)
def pick_unseen(keys, recent, out):
    """Places of the ``keys`` (uint64) that ``recent`` does not hold, into ``out`` (int64); returns how many.

    ``recent``: uint64, a power of two of entries, zeroed before its first use; the last key of each entry is kept, so
    every key is picked at its first coming, and now and then again.
    """
    mask = np.uint64(recent.shape[0] - 1)
    home = mix64(np.uint64(0)) & mask
    if recent[home] == 0:  # an empty entry, which key 0 would be taken for
        recent[home] = _ONE
    count = 0
    for i in range(keys.shape[0]):
        at = mix64(keys[i]) & mask
        if recent[at] != keys[i]:
            recent[at] = keys[i]
            out[count] = i
            count += 1
    return count


@njit(cache=True, nogil=True)
def pack_spans(data, first, last, out):
    """Lay the bytes ``data[first[i]:last[i]]`` end to end in ``out`` (uint8)."""
    at = 0
    for i in range(first.shape[0]):
        for p in range(first[i], last[i]):
            out[at] = data[p]
            at += 1
