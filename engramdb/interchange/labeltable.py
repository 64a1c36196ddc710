"""Tables in memory that give each distinct label a code as it comes and, when all have come, its number in order.

Integers are ordered by value, texts by their UTF-8 bytes. Codes and numbers are uint32.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.interchange.source import Labels, Texts
from engramdb.kernels import labels as kernel
from engramdb.kernels.lines import read_integers

Codes = npt.NDArray[np.uint32]

_FEWEST = 64
_MOST = 1 << 31
_SLOTS = 1 << 14
_TEXT_BYTES = 48  # place, slots, order and number of a text


class TooManyLabels(Exception):
    """The table has no room for a label; the labels have to be numbered in another way, from the start."""


class NotIntegers(Exception):
    """A label, given as the argument, is text after all; all have to be numbered as texts, from the start."""


class LabelTable(Protocol):
    """Distinct labels. ``count``: how many, right after :meth:`finish`."""

    count: int

    def codes(self, labels: Labels) -> Codes:
        """The code of each label, given out to those that are new. Raises TooManyLabels, NotIntegers."""

    def finish(self) -> Codes:
        """The number of each code. No more codes can be asked for."""

    def labels(self, start: int, stop: int) -> IdArray | list[str]:
        """The labels numbered ``start`` (included) to ``stop`` (excluded)."""

    @property
    def nbytes(self) -> int:
        """Memory in use after :meth:`finish`."""


def as_integers(labels: Labels) -> IdArray:
    """Labels as uint64; :class:`NotIntegers` where one is no integer below 2^64 in its shortest form."""
    if not isinstance(labels, Texts):
        return labels
    value = np.empty(len(labels), dtype=np.uint64)
    read = read_integers(labels.data, labels.first, labels.last, value)
    if read < len(labels):
        raise NotIntegers(labels.text(read))
    return value


def as_texts(labels: Labels) -> Texts:
    """Labels that are texts by their kind."""
    assert isinstance(labels, Texts), "a source of integers is numbered as integers"
    return labels


class SmallIntegers:
    """Integers of which none is large: a bit for each that could be, and the integer itself is the code."""

    def __init__(self, memory_bytes: int) -> None:
        # a bit, later a number of 32 bits, and the label itself
        self._present = np.zeros(min(max(memory_bytes // 16, _FEWEST), _MOST) // 64, dtype=np.uint64)
        self._labels: IdArray = np.empty(0, dtype=np.uint64)
        self._codes = 0
        self.count = 0

    def codes(self, labels: Labels) -> Codes:
        """See :class:`LabelTable`."""
        keys = as_integers(labels)
        out = np.empty(len(keys), dtype=np.uint32)
        if kernel.mark_integers(keys, self._present, out) < len(keys):
            raise TooManyLabels
        return out

    def finish(self) -> Codes:
        """See :class:`LabelTable`."""
        used = np.flatnonzero(self._present)
        present = self._present[: used[-1] + 1 if len(used) else 0]
        self.count = kernel.count_marked(present)
        self._labels = np.empty(self.count, dtype=np.uint64)
        self._codes = 64 * len(present)
        number = np.empty(self._codes, dtype=np.uint32)
        kernel.list_marked(present, number, self._labels)
        self._present = np.zeros(0, dtype=np.uint64)
        return number

    def labels(self, start: int, stop: int) -> IdArray:
        """See :class:`LabelTable`."""
        return self._labels[start:stop]

    @property
    def nbytes(self) -> int:
        """See :class:`LabelTable`."""
        return self._labels.nbytes + 4 * self._codes


class AnyIntegers:
    """Integers below 2^64. At most about 48 bytes each, in passing."""

    def __init__(self, memory_bytes: int) -> None:
        self._limit = min(max(memory_bytes // 48, _FEWEST), _MOST)
        self._known = np.empty(self._limit, dtype=np.uint64)
        self._slots = np.zeros(_SLOTS, dtype=np.uint32)
        self.count = 0

    def codes(self, labels: Labels) -> Codes:
        """See :class:`LabelTable`."""
        keys = as_integers(labels)
        out = np.empty(len(keys), dtype=np.uint32)
        at = 0
        while True:
            room = min(self._limit, len(self._slots) // 2)
            at, self.count = kernel.number_integers(keys, self._slots, self._known, self.count, room, at, out)
            if at == len(keys):
                return out
            if room == self._limit:
                raise TooManyLabels
            self._slots = np.zeros(2 * len(self._slots), dtype=np.uint32)
            kernel.place_integers(self._known, self.count, self._slots)

    def finish(self) -> Codes:
        """See :class:`LabelTable`."""
        self._slots = np.zeros(0, dtype=np.uint32)
        order = np.argsort(self._known[: self.count])
        self._known = self._known[order]
        return _inverse(order)

    def labels(self, start: int, stop: int) -> IdArray:
        """See :class:`LabelTable`."""
        return self._known[start:stop]

    @property
    def nbytes(self) -> int:
        """See :class:`LabelTable`."""
        return 12 * self.count


class AnyTexts:
    """Texts. At most about 48 bytes each beside their own, in passing."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = max(memory_bytes, 1 << 13)
        self._limit = min(self._memory_bytes // _TEXT_BYTES, _MOST)
        self._bounds = np.zeros(self._limit + 1, dtype=np.int64)
        self._text = np.empty(self._memory_bytes, dtype=np.uint8)
        self._slots = np.zeros(_SLOTS, dtype=np.uint64)
        self._order = np.empty(0, dtype=np.int64)
        self.count = 0

    def codes(self, labels: Labels) -> Codes:
        """See :class:`LabelTable`."""
        texts = as_texts(labels)
        spans = (texts.data, texts.first, texts.last)
        hashes = np.empty(len(texts), dtype=np.uint64)
        kernel.hash_spans(*spans, np.uint64(0), hashes)
        out = np.empty(len(texts), dtype=np.uint32)
        at = 0
        while True:
            room = min(self._limit, len(self._slots) // 2)
            table = (self._slots, self._text, self._bounds)
            at, self.count = kernel.number_texts(*spans, hashes, *table, self.count, room, at, out)
            held = int(self._bounds[self.count]) + _TEXT_BYTES * self.count
            if held > self._memory_bytes or (at < len(texts) and (room == self._limit or self.count < room)):
                raise TooManyLabels  # of them, or of their bytes
            if at == len(texts):
                return out
            self._slots = np.zeros(2 * len(self._slots), dtype=np.uint64)
            kernel.place_texts(self._text, self._bounds, self.count, self._slots)

    def finish(self) -> Codes:
        """See :class:`LabelTable`."""
        from pyarrow import compute

        self._slots = np.zeros(0, dtype=np.uint64)
        self._order = np.asarray(compute.sort_indices(self._arrow())).astype(np.int64)
        return _inverse(self._order)

    def _arrow(self) -> Any:
        """The texts in the order of their codes; UTF-8 all of them, and compared byte by byte."""
        import pyarrow

        buffers = pyarrow.py_buffer(self._bounds), pyarrow.py_buffer(self._text)
        return pyarrow.LargeStringArray.from_buffers(self.count, *buffers)

    def labels(self, start: int, stop: int) -> list[str]:
        """See :class:`LabelTable`."""
        import pyarrow

        labels: list[str] = self._arrow().take(pyarrow.array(self._order[start:stop])).to_pylist()
        return labels

    @property
    def nbytes(self) -> int:
        """See :class:`LabelTable`."""
        return 20 * self.count + int(self._bounds[self.count])


def _inverse(order: npt.NDArray[Any]) -> Codes:
    number = np.empty(len(order), dtype=np.uint32)
    number[order] = np.arange(len(order), dtype=np.uint32)
    return number
