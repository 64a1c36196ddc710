"""Pairs of (target, source) in order, however many: an external sort in bounded memory.

Pairs come by source. They are collected until the budget is full, sorted by target and written out as a *run*; at the
end the runs are merged. Runs lie in files in the folder of packs that no commit names: should the process be killed,
the next writer removes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from engramdb.address import IdArray
from engramdb.store.files import Files
from engramdb.store.pack import PackWriter
from engramdb.store.reverse import Pairs

_PAIR_BYTES = 16
_SORT_FACTOR = 3  # what is held, its order, and the sorted copy
_FEWEST = 1 << 12


class PairSorter:
    """Takes pairs with :meth:`add`, gives them with :meth:`batches`, sorted by target and then by source, each once.

    ``memory_bytes``: of all that it holds, but never less than the sources of one target take.
    """

    def __init__(self, files: Files, folder: Path, memory_bytes: int) -> None:
        self._files, self._folder = files, folder
        self._capacity = max(memory_bytes // (_PAIR_BYTES * _SORT_FACTOR), _FEWEST)
        self._held: list[Pairs] = []
        self._count = 0
        self._runs: list[_Run] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> int:
        """How many runs were written."""
        return len(self._runs)

    def add(self, target: IdArray, source: IdArray) -> None:
        """Take in pairs whose sources do not decrease, over all calls."""
        start = 0
        while start < target.size:
            stop = min(target.size, start + self._capacity - self._count)
            self._held.append((target[start:stop].copy(), source[start:stop].copy()))
            self._count += stop - start
            start = stop
            if self._count == self._capacity:
                self._runs.append(_Run(self._files, PackWriter(self._files, self._folder), self._sorted()))

    def _sorted(self) -> Pairs:
        """All that is held; then nothing is any more."""
        if not self._held:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        target, source = (np.concatenate(column) for column in zip(*self._held, strict=True))
        self._held, self._count = [], 0
        return _in_order(target, source)

    def batches(self) -> Iterator[Pairs]:
        """All pairs in order, in batches that never part a target. Can be asked for once."""
        last = self._sorted()
        if not self._runs:
            if last[0].size:
                yield last
            return
        if last[0].size:
            self._runs.append(_Run(self._files, PackWriter(self._files, self._folder), last))
        del last
        block = max(self._capacity // len(self._runs), 64)
        for run in self._runs:
            run.fill(block)
        while any(run.target.size for run in self._runs):
            # of a target with which a run's block ends there may be more on disk
            limit = min((int(run.target[-1]) for run in self._runs if not run.ended), default=None)
            parts = [run.take(limit) for run in self._runs]
            if any(part[0].size for part in parts):
                # runs were made one after the other: of each target, sources increase from run to run
                yield _in_order(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            for run in self._runs:
                if not run.ended and int(run.target[-1]) == limit:  # one that has not ended holds at least this target
                    run.fill(block)
        self.close()

    def close(self) -> None:
        """Drop everything held and remove the runs."""
        self._held, self._count = [], 0
        for run in self._runs:
            run.close()
        self._runs = []


class _Run:
    """Sorted pairs on disk, read forward: first all targets, then all sources."""

    def __init__(self, files: Files, file: PackWriter, pairs: Pairs) -> None:
        self._files, self._file = files, file
        self._length, self._read = pairs[0].size, 0
        self.target, self._source = np.empty(0, np.uint64), np.empty(0, np.uint64)
        try:
            for column in pairs:
                file.append(column.tobytes())
        except BaseException:
            self.close()
            raise

    @property
    def ended(self) -> bool:
        """Whether all of it has been read."""
        return self._read == self._length

    def fill(self, pairs: int) -> None:
        """Read so many more behind those that are held."""
        count = min(pairs, self._length - self._read)
        if count:
            parts = [
                np.frombuffer(self._files.pread(self._file.handle, 8 * count, 8 * (place + self._read)), np.uint64)
                for place in (0, self._length)
            ]
            self._read += count
            self.target = np.concatenate([self.target, parts[0]])
            self._source = np.concatenate([self._source, parts[1]])

    def take(self, limit: int | None) -> Pairs:
        """Those held of targets below ``limit``, or all; they are held no more."""
        count = self.target.size if limit is None else int(np.searchsorted(self.target, np.uint64(limit)))
        taken = self.target[:count], self._source[:count]
        self.target, self._source = self.target[count:], self._source[count:]
        return taken

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._file.unlink()


def _in_order(target: IdArray, source: IdArray) -> Pairs:
    """By target, keeping the order of sources; equal pairs once."""
    order = np.argsort(target, kind="stable")
    target, source = target[order], source[order]
    again = (target[1:] == target[:-1]) & (source[1:] == source[:-1])
    if again.any():
        first = np.append(True, ~again)
        return target[first], source[first]
    return target, source
