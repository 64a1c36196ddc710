"""Invariants, made testable: a file layer that fails on purpose, a store in a dict, and strategies.

For this project's own tests and for those of programs that build on :mod:`engramdb.store`. Hypothesis is
needed only here.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from engramdb.store import GENERATED, KEEP, STORED, Records
from engramdb.store.files import OsFiles


class PowerCut(BaseException):
    """The machine is gone. No handler in the store may outlive it, so it is no Exception."""


@dataclass
class _File:
    """What a file holds on stable storage, and what was written since."""

    synced: bytes
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, data); (-1 - length, b"") truncates


class FaultyFiles(OsFiles):
    """The real file system with a switch.

    Calls that change something are numbered from 0 (``operation`` is the next). At ``cut_at`` power fails: that
    call raises :class:`PowerCut`, perhaps with a part of it done, and so does every later one.
    :meth:`survivors` then builds what a machine could find after power comes back. At ``full_at`` the disk is
    full: writing calls raise ENOSPC from there on, after writing half, until ``full_at`` is set to None.
    """

    def __init__(self, *, cut_at: int | None = None, full_at: int | None = None) -> None:
        self.cut_at, self.full_at = cut_at, full_at
        self.operation = 0
        self.calls: list[str] = []
        self._files: dict[Path, _File] = {}
        self._handles: dict[int, Path] = {}
        self._synced_names: dict[Path, dict[Path, _File]] = {}

    def create(self, path: Path) -> int:
        self._names(path.parent)
        self._step("create", grows=True)
        handle = super().create(path)
        self._handles[handle], self._files[path] = path, _File(b"")
        return handle

    def open(self, path: Path, *, write: bool = False) -> int:
        self._alive()
        handle = super().open(path, write=write)
        self._handles[handle] = path
        if path not in self._files:
            self._files[path] = _File(path.read_bytes())
        return handle

    def write(self, handle: int, data: bytes, offset: int) -> None:
        pending = self._files[self._handles[handle]].pending
        try:
            self._step("write", grows=True)
        except (PowerCut, OSError):
            half = data[: len(data) // 2]
            super().write(handle, half, offset)
            pending.append((offset, half))
            raise
        super().write(handle, data, offset)
        pending.append((offset, data))

    def truncate(self, handle: int, nbytes: int) -> None:
        self._step("truncate")
        super().truncate(handle, nbytes)
        self._files[self._handles[handle]].pending.append((-1 - nbytes, b""))

    def fsync(self, handle: int) -> None:
        self._step("fsync", grows=True)
        path = self._handles[handle]
        self._files[path].synced = path.read_bytes()
        self._files[path].pending.clear()

    def fsync_dir(self, path: Path) -> None:
        self._step("fsync_dir")
        self._synced_names[path] = {name: file for name, file in self._files.items() if name.parent == path}

    def replace(self, source: Path, target: Path) -> None:
        self._names(target.parent)
        self._step("replace")
        super().replace(source, target)
        if source in self._files:
            self._files[target] = self._files.pop(source)
        for handle, path in self._handles.items():
            if path == source:
                self._handles[handle] = target

    def unlink(self, path: Path) -> None:
        self._names(path.parent)
        self._step("unlink")
        super().unlink(path)
        self._files.pop(path, None)

    def mkdir(self, path: Path) -> None:
        self._step("mkdir", grows=True)
        super().mkdir(path)

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)
        super().close(handle)

    def _alive(self) -> None:
        if self.cut_at is not None and self.operation > self.cut_at:
            raise PowerCut

    def _step(self, call: str, *, grows: bool = False) -> None:
        number, self.operation = self.operation, self.operation + 1
        self.calls.append(call)
        if self.cut_at is not None and number >= self.cut_at:
            raise PowerCut
        if grows and self.full_at is not None and number >= self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _names(self, folder: Path) -> None:
        """Before the first change of a folder's names: all that it has now are durable."""
        if folder not in self._synced_names and folder.is_dir():
            for path in folder.iterdir():
                if path.is_file() and path not in self._files:
                    self._files[path] = _File(path.read_bytes())
            self._synced_names[folder] = {path: file for path, file in self._files.items() if path.parent == folder}

    def survivors(self, engram: Path, target: Path, seed: int) -> None:
        """Copy the engram as one possible disk after the cut.

        Names that were not synced with their folder, and writes that were not synced with their file, are each
        kept, lost or torn, by ``seed``: 0 loses all of them, 1 keeps all of them. SQLite's files are copied
        as they are: it writes past this layer, and syncs by itself.
        """
        chance = random.Random(seed)

        def keep() -> bool:
            return seed == 1 or (seed > 1 and chance.random() < 0.5)

        shutil.copytree(engram, target)
        for folder, synced in self._synced_names.items():
            if engram not in folder.parents:
                continue
            place = target / folder.relative_to(engram)
            now = {path: file for path, file in self._files.items() if path.parent == folder}
            for path in now.keys() | synced.keys():
                kept = now.get(path) if now.get(path) is synced.get(path) or keep() else synced.get(path)
                (place / path.name).unlink(missing_ok=True)
                if kept is not None:
                    (place / path.name).write_bytes(_after_cut(kept, keep, chance))


def _after_cut(file: _File, keep: Callable[[], bool], chance: random.Random) -> bytes:
    content = bytearray(file.synced)
    for offset, data in file.pending:
        if not keep():
            continue
        if offset < 0:
            del content[-1 - offset :]
            continue
        if not keep():
            data = data[: chance.randrange(len(data) + 1)]
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
    return bytes(content)


State = tuple[tuple[str, bytes], ...]
Row = tuple[tuple[int, int, bytes], ...]
Neuron = tuple[State, int, Row]


class DictStore:
    """What a store must behave like: neurons in a dict, commits as copies of it."""

    def __init__(self) -> None:
        self.neurons: dict[int, Neuron] = {}
        self.commits: dict[int, dict[int, Neuron]] = {1: {}}

    def write(self, changes: Records) -> None:
        for neuron, (state, kind, row) in neurons_of(changes).items():
            if kind == KEEP:
                _, kind, row = self.neurons.get(neuron, (state, GENERATED, ()))
            self.neurons[neuron] = state, kind, row

    def commit(self, number: int) -> None:
        self.commits[number] = dict(self.neurons)

    def restore(self, number: int) -> None:
        self.neurons = dict(self.commits[number])


def neurons_of(records: Records) -> dict[int, Neuron]:
    """Records as a dict that compares bit for bit."""
    found: dict[int, Neuron] = {}
    for i, neuron in enumerate(records.ids.tolist()):
        state = tuple((name, column[i].tobytes()) for name, column in sorted(records.state.items()))
        start, stop = records.indptr[i : i + 2].tolist()
        row = tuple(
            (int(records.projection[j]), int(records.target[j]), records.weight[j].tobytes())
            for j in range(start, stop)
        )
        found[neuron] = state, int(records.row_kind[i]), row
    return found


def merged(parts: Iterator[Records]) -> dict[int, Neuron]:
    """All neurons of a scan."""
    found: dict[int, Neuron] = {}
    for part in parts:
        found.update(neurons_of(part))
    return found


@st.composite
def records(
    draw: st.DrawFn,
    *,
    layer: int = 0,
    locals_: st.SearchStrategy[int] = st.integers(0, 300),  # noqa: B008
    segments: tuple[int, ...] = (0, 1),
    most: int = 40,
    longest_row: int = 6,
    projections: int = 1,
) -> Records:
    """Changes to neurons of one layer: any kinds of rows, near and far targets, weights with odd bit patterns."""
    pairs = draw(st.sets(st.tuples(st.sampled_from(segments), locals_), max_size=most))
    ids = np.array(sorted(layer << 48 | segment << 32 | local for segment, local in pairs), np.uint64)
    random_ = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = random_.choice([KEEP, STORED, STORED, GENERATED], ids.size).astype(np.uint8)
    lengths = np.where(kinds == STORED, random_.integers(0, longest_row + 1, ids.size), 0)
    indptr = np.zeros(ids.size + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    nnz = int(indptr[-1])
    near = np.repeat(ids, lengths) + random_.integers(0, 140, nnz).astype(np.uint64)
    far = random_.integers(0, 2**64 - 1, nnz, dtype=np.uint64, endpoint=True)
    weights = np.where(random_.random(nnz) < 0.5, np.float32(1.0), random_.normal(size=nnz).astype(np.float32))
    return Records(
        ids=ids,
        state={
            "spike_count": random_.integers(0, 3, ids.size).astype(np.uint32),
            "last_spike": random_.integers(-5, 2**62, ids.size),
            "trace": random_.integers(0, 2**32, (ids.size, 2), dtype=np.uint32).view(np.float32),
        },
        row_kind=kinds,
        indptr=indptr,
        projection=random_.integers(0, projections, nnz).astype(np.uint16),
        target=np.where(random_.random(nnz) < 0.7, near, far),
        weight=weights,
    )
