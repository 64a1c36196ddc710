"""Edges in the order of rows, however many there are: an external sort in bounded memory.

An edge is kept as one 64-bit key and its weight. Edges are collected until the budget is full, sorted and written out
as a *run*; at the end all runs are merged. The result is a function of the edges alone, not of the order in which they
came nor of the budget.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from engramdb.address import SEGMENT_BITS, IdArray
from engramdb.delays import DelayArray, end_to_end
from engramdb.errors import InvalidInput
from engramdb.kernels import edges as kernel
from engramdb.workers import Workers

_HELD_BYTES = 12  # key and weight
_SORT_BYTES = 2 * _HELD_BYTES  # sorting and merging go from one place to another
_FEWEST = 1 << 10
_SLICE = 1 << 20
_LEAST_SORT = 1 << 16  # edges that are worth a thread

Sizes = Mapping[tuple[int, int], int]  # neurons of each (layer index, segment)


class Edges(NamedTuple):
    """``n`` edges end to end: ``pre`` and ``post`` uint64, ``weight`` float32 (mV), ``projection`` uint16, all (n,).

    ``delay``: uint16 (n,), ticks; None where every edge has that of its projection.
    """

    pre: IdArray
    post: IdArray
    weight: npt.NDArray[np.float32]
    projection: npt.NDArray[np.uint16]
    delay: DelayArray | None = None

    @classmethod
    def room(cls, n: int, *, delays: bool = False) -> Edges:
        """Room for ``n`` edges, with ``delays`` of their own; memory is taken as it is filled."""
        delay = np.empty(n, np.uint16) if delays else None
        return cls(
            np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.float32), np.empty(n, np.uint16), delay
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Edges]) -> Edges:
        """The edges of all ``parts``, of which there is at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.pre for part in parts]),
            np.concatenate([part.post for part in parts]),
            np.concatenate([part.weight for part in parts]),
            np.concatenate([part.projection for part in parts]),
            end_to_end([part.delay for part in parts]),
        )

    def part(self, start: int, stop: int) -> Edges:
        """Edges ``start`` (included) to ``stop`` (excluded), sharing memory."""
        there = slice(start, stop)
        delay = None if self.delay is None else self.delay[there]
        return Edges(self.pre[there], self.post[there], self.weight[there], self.projection[there], delay)


class _Keyed(NamedTuple):
    """Edges as keys (uint64) and weights (float32)."""

    key: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float32]

    @classmethod
    def room(cls, n: int) -> _Keyed:
        return cls(np.empty(n, np.uint64), np.empty(n, np.float32))

    def part(self, start: int, stop: int) -> _Keyed:
        return _Keyed(self.key[start:stop], self.weight[start:stop])


class EdgeSorter:
    """Takes edges with :meth:`add`, gives them with :meth:`batches` in order of (pre, delay, post, projection, weight).

    - ``memory_bytes``: of all that it holds; a row longer than that is still held whole.
    - ``folder``: where runs are written; each sorter needs its own. :meth:`close` removes them.
    - ``pre``, ``post``: where ids may lie: neurons of each (layer index, segment).
    - ``delays``: ticks of each projection, by number. ``delay_range``: least and longest of edges that have their own;
      then all have.
    - ``duplicates``: ``"keep"``, or ``"sum"`` to make one edge of those equal in all but the weight; its weight is
      their sum, taken in float64 from the smallest up.
    - ``threads``: how many may sort.

    Raises :class:`InvalidInput` where an edge needs more than 64 bits: pre and post each 2^32 neurons, say, and more
    than one projection.
    """

    def __init__(
        self,
        memory_bytes: int,
        folder: Path,
        pre: Sizes,
        post: Sizes,
        *,
        delays: Sequence[int] = (1,),
        delay_range: tuple[int, int] | None = None,
        duplicates: str = "keep",
        threads: int = 1,
    ) -> None:
        if duplicates not in ("keep", "sum"):
            raise InvalidInput(f'duplicates="{duplicates}": expected "sum" or "keep"')
        self._folder = folder
        self._capacity = max(memory_bytes // _SORT_BYTES, _FEWEST)
        self._sum = duplicates == "sum"
        self._layout, self._bits = _layout(pre, post, delays, delay_range)
        self.own_delays = delay_range is not None
        self._row_shift = self._layout.delay_bits + self._layout.post_bits + self._layout.projection_bits
        self._held = self._spare = _Keyed.room(0)
        self._filled = 0
        self._workers = Workers(threads)
        self._runs: list[_Run | _Sorted] = []
        self.count = 0  # edges added

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runs(self) -> int:
        """How many runs were written."""
        return len(self._runs)

    def add(
        self,
        pre: IdArray,
        post: IdArray,
        weight: npt.NDArray[np.float32],
        projection: npt.NDArray[np.uint16] | None = None,
        delay: DelayArray | None = None,
    ) -> None:
        """Take in n edges (arrays of (n,), copied) whose ids lie where they may; all of projection 0 by default."""
        assert (delay is not None) == self.own_delays or not len(pre), "all have delays of their own, or none has"
        own = np.empty(0, dtype=np.uint16) if delay is None else delay
        if projection is None:
            projection = np.zeros(len(pre), dtype=np.uint16)
        start = 0
        while start < len(pre):
            if not len(self._held.key):
                self._held, self._spare = _Keyed.room(self._capacity), _Keyed.room(self._capacity)
            elif self._filled == self._capacity:
                self._write_run()
            stop = min(start + self._capacity - self._filled, len(pre))
            room = self._held.part(self._filled, self._filled + stop - start)
            given = slice(start, stop)
            kernel.encode_edges(pre[given], post[given], projection[given], own[given], self._layout, room.key)
            # -0.0 and 0.0 are the same weight: adding 0 leaves one of them, so that order cannot show
            np.add(weight[given], np.float32(0), out=room.weight)
            self._filled += stop - start
            start = stop
        self.count += len(pre)

    def _sort(self) -> list[_Keyed]:
        """All that is held as sorted lists, one a thread."""

        def sort(_: int, start: int, stop: int) -> _Keyed:
            held, spare = self._held.part(start, stop), self._spare.part(start, stop)
            return spare if kernel.sort_keys(*held, *spare, self._bits) else held

        return self._workers.each(sort, self._filled, _LEAST_SORT)

    def _write_run(self) -> None:
        for part in self._sort():
            self._runs.append(_Run(self._folder / f"run-{len(self._runs)}", part))
        self._filled = 0

    def batches(self, edges: int = _SLICE) -> Iterator[Edges]:
        """All edges in order, in batches of about ``edges`` that never part a row. Can be asked for once."""
        if self._runs and self._filled:
            self._write_run()
        if self._runs:
            self._held = self._spare = _Keyed.room(0)
            # what is read is held three times: as read, and from and to while merging
            block = 2 * self._capacity // 3 // len(self._runs)
        else:
            self._runs = [_Sorted(part) for part in self._sort()]
            block = _SLICE
        for run in self._runs:
            run.open(max(block, 16))
        while any(len(run.held.key) for run in self._runs):
            yield from self._settled(_merged(self._complete_rows()), edges)
        self.close()

    def close(self) -> None:
        """Drop everything held and remove the runs."""
        self._held = self._spare = _Keyed.room(0)
        self._filled = 0
        for run in self._runs:
            run.remove()
        self._runs = []
        self._workers.close()

    def _complete_rows(self) -> list[_Keyed]:
        """The next rows of which every run holds all there is on disk; takes them out of the runs."""
        while True:
            for run in self._runs:
                if not len(run.held.key):
                    run.fill()
            open_rows = [run.held.key[-1] >> self._row_shift for run in self._runs if not run.ended]
            if not open_rows:
                return [run.take(len(run.held.key)) for run in self._runs]
            limit = min(open_rows)  # this row may go on on disk
            counts = [int(np.searchsorted(run.held.key, limit << self._row_shift)) for run in self._runs]
            if any(counts):
                return [run.take(count) for run, count in zip(self._runs, counts, strict=True)]
            for run in self._runs:
                if not run.ended and run.held.key[-1] >> self._row_shift == limit:
                    run.fill()

    def _settled(self, sorted_edges: _Keyed, about: int) -> Iterator[Edges]:
        """Sorted edges with duplicates settled, cut into parts of about that many between rows, and decoded."""
        kept = kernel.settle_equal(*sorted_edges, self._sum)
        key, weight = sorted_edges.part(0, kept)
        start = 0
        while start < kept:
            stop = min(start + about, kept)
            if stop < kept:
                row = key[stop] >> self._row_shift
                stop = int(np.searchsorted(key, row << self._row_shift))
                if stop <= start:  # a row longer than a batch
                    at_end = row == key[-1] >> self._row_shift
                    stop = kept if at_end else int(np.searchsorted(key, (row + np.uint64(1)) << self._row_shift))
            edges = Edges.room(stop - start, delays=self.own_delays)
            own = np.empty(0, dtype=np.uint16) if edges.delay is None else edges.delay
            kernel.decode_edges(key[start:stop], self._layout, edges.pre, edges.post, edges.projection, own)
            edges.weight[:] = weight[start:stop]
            yield edges
            start = stop


class _Run:
    """Sorted edges on disk, read forward in blocks: first all keys, then all weights."""

    def __init__(self, path: Path, edges: _Keyed) -> None:
        self._path = path
        self._length = len(edges.key)
        self._read = self._block = 0
        self.held = _Keyed.room(0)
        with path.open("wb") as file:
            for column in edges:
                file.write(column.data)

    def open(self, block: int) -> None:
        """Begin to read, ``block`` edges at a time."""
        self._block = block
        self.fill()

    @property
    def ended(self) -> bool:
        """Whether nothing is left on disk."""
        return self._read == self._length

    def fill(self) -> None:
        """Read one more block behind what is held."""
        count = min(self._block, self._length - self._read)
        more = _Keyed.room(len(self.held.key) + count)
        with self._path.open("rb") as file:
            _read_behind(file, self._read * 8, self.held.key, more.key)
            _read_behind(file, self._length * 8 + self._read * 4, self.held.weight, more.weight)
        self.held = more
        self._read += count

    def take(self, n: int) -> _Keyed:
        """Give away the first ``n`` edges held."""
        given, self.held = self.held.part(0, n), self.held.part(n, len(self.held.key))
        return given

    def remove(self) -> None:
        self.held = _Keyed.room(0)
        self._path.unlink(missing_ok=True)


class _Sorted:
    """Sorted edges in memory, given away in blocks as those of a run are."""

    def __init__(self, edges: _Keyed) -> None:
        self._edges = edges
        self._given = self._stop = self._block = 0

    def open(self, block: int) -> None:
        """Begin, ``block`` edges at a time."""
        self._block = block
        self.fill()

    @property
    def held(self) -> _Keyed:
        return self._edges.part(self._given, self._stop)

    @property
    def ended(self) -> bool:
        """Whether nothing is left behind what is held."""
        return self._stop == len(self._edges.key)

    def fill(self) -> None:
        """Hold one more block."""
        self._stop = min(self._stop + self._block, len(self._edges.key))

    def take(self, n: int) -> _Keyed:
        """Give away the first ``n`` edges held."""
        self._given += n
        return self._edges.part(self._given - n, self._given)

    def remove(self) -> None:
        self._edges = _Keyed.room(0)
        self._given = self._stop = 0


def _read_behind(file: io.BufferedReader, offset: int, old: npt.NDArray[Any], new: npt.NDArray[Any]) -> None:
    """Fill ``new`` with ``old`` and, behind it, with what is in ``file`` from ``offset`` bytes on."""
    new[: len(old)] = old
    file.seek(offset)
    file.readinto(new[len(old) :].data)


def _merged(parts: Sequence[_Keyed]) -> _Keyed:
    """Sorted lists as one, two by two."""
    parts = [part for part in parts if len(part.key)]
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [_merged_pair(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


def _merged_pair(one: _Keyed, other: _Keyed) -> _Keyed:
    both = _Keyed.room(len(one.key) + len(other.key))
    kernel.merge_sorted(*one, *other, *both)
    return both


def _layout(
    pre: Sizes, post: Sizes, delays: Sequence[int], delay_range: tuple[int, int] | None
) -> tuple[kernel.Layout, int]:
    """How to put an edge in one integer, and how many bits that takes."""
    place_of = {delay: place for place, delay in enumerate(sorted(set(delays)))}
    pre_upper, pre_start, pre_count = _space(pre)
    post_upper, post_start, post_count = _space(post)
    least, longest = delay_range or (0, len(place_of) - 1)
    counts = (pre_count, longest - least + 1, post_count, len(delays))
    widths = [(count - 1).bit_length() for count in counts]
    if sum(widths) > 64:
        raise InvalidInput(
            f"{pre_count} neurons with synapses onto {post_count} in {len(delays)} projections are too many to sort:"
            f" they take {sum(widths)} bits, and there are 64"
        )
    layout = kernel.Layout(
        pre_upper,
        pre_start,
        post_upper,
        post_start,
        np.array([place_of[delay] for delay in delays], dtype=np.uint64),
        np.uint64(least),
        *(np.uint64(width) for width in widths[1:]),
    )
    return layout, sum(widths)


def _space(sizes: Sizes) -> tuple[IdArray, IdArray, int]:
    """Upper halves of the ids of each segment, numbers of their first neurons, and how many neurons there are."""
    ordered = sorted(sizes.items())
    upper = np.array([layer << SEGMENT_BITS | segment for (layer, segment), _ in ordered], dtype=np.uint64)
    ends = np.cumsum([0, *(size for _, size in ordered)], dtype=np.uint64)
    return upper, ends[:-1], int(ends[-1])
