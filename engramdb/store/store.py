"""Store: one open engram on disk, for one reader or the one writer.

>>> store = Store.open("brain.engram", "r+")              # doctest: +SKIP
>>> store.write(changes)                                  # doctest: +SKIP
>>> store.commit_state(tick=400, state={}, bundles=store.bundles)  # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from engramdb.address import IdArray
from engramdb.errors import DiskFull, EngramError, HandleClosed, InvalidInput, NotAnEngram, ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.kernels import KERNEL_VERSION
from engramdb.spec import Spec
from engramdb.store.catalog import FILE_NAME, Catalog
from engramdb.store.column import load_codecs
from engramdb.store.creation import create_engram
from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files, is_disk_full
from engramdb.store.history import Branch, Commit, History, Snapshot
from engramdb.store.journal import Frame, JournalHead, JournalReader, journal_path
from engramdb.store.labels import Batches
from engramdb.store.leaf import LeafPolicy
from engramdb.store.leftovers import remove_leftovers
from engramdb.store.opening import head_of, pack_name, pinned, take_lock
from engramdb.store.pack import Array, Packs
from engramdb.store.place import Place
from engramdb.store.reader import LeafReader
from engramdb.store.records import Records, concatenate, validate
from engramdb.store.state import read_state
from engramdb.store.writer import Durability, NoWayBack, Writer

Mode = Literal["r", "r+"]


class Store:
    """An engram's records, history, journal and labels. Use :meth:`create` and :meth:`open`.

    ``spec`` never changes; ``bundles`` and ``commit`` are those the handle stands at. Reading methods may be
    called from several threads at once; a writing one by one thread while no other uses the handle. A handle
    does not survive a fork.
    """

    path: Path
    mode: Mode
    spec: Spec

    @classmethod
    def create(cls, path: str | Path, spec: Spec, bundles: Bundles, *, files: Files = OS_FILES) -> None:
        """A new engram at ``path``, with one commit at tick 0: there whole and durable on return, or not at all.

        Raises AlreadyExists, NotFound where the parent folder is missing, DiskFull.
        """
        create_engram(Path(path), spec.to_json(), bundles.to_json(), files)

    @classmethod
    def open(
        cls, path: str | Path, mode: Mode = "r", *, at: str | int | None = None, branch: str = "main",
        durability: Durability = "journal", cache_bytes: int = 64 << 20, files: Files = OS_FILES,
        policy: LeafPolicy | None = None,
    ) -> Self:  # fmt: skip
        """The engram at ``path``.

        ``mode``: "r" reads and never disturbs the writer; "r+" takes the writer's lock, drops what a killed
        writer left over, and stands at the branch's head. ``at``: a snapshot's name or a commit's number, for
        "r" only; ``branch`` is not looked at then. ``durability``: how far an appended journal frame is on its
        way when it is acknowledged: "journal" on stable storage, "process" with the operating system,
        "checkpoint" nowhere. ``cache_bytes``: for decoded leaves; 0 keeps none. ``policy``: when a leaf is full.

        Raises NotAnEngram, Locked, NotFound (branch, snapshot or commit), FormatTooNew, KernelMismatch,
        CatalogDamaged, JournalDamaged, ReadOnly where "r+" is asked and the folder cannot be written.
        """
        if mode not in ("r", "r+"):
            raise InvalidInput(f'mode is "r" or "r+", not {mode!r}')
        if durability not in ("journal", "process", "checkpoint"):
            raise InvalidInput(f'durability is "journal", "process" or "checkpoint", not {durability!r}')
        if mode == "r+" and at is not None:
            raise InvalidInput(
                "the past cannot be written to: open without at=, then restore it, or make a branch there"
            )
        path = Path(path)
        if not (path / FILE_NAME).is_file():
            raise NotAnEngram(
                f"{path} is not an engram: " + (f"it has no {FILE_NAME}" if path.exists() else "there is nothing")
            )
        load_codecs()
        return cls(path, mode, at, branch, durability, cache_bytes, files, policy or LeafPolicy())

    def __init__(
        self, path: Path, mode: Mode, at: str | int | None, branch: str, durability: Durability,
        cache_bytes: int, files: Files, policy: LeafPolicy,
    ) -> None:  # fmt: skip
        self.path, self.mode, self._branch_name, self._files = path, mode, branch, files
        self._pid = os.getpid()
        self._closed: str | None = None
        self._live = at is None
        self._writer: Writer | None = None
        with contextlib.ExitStack() as opened:
            if mode == "r+":
                opened.callback(take_lock(files, path).close)
            self._catalog = Catalog(path, write=mode == "r+")
            opened.callback(self._catalog.close)
            self.spec = Spec.from_json(self._catalog.meta("spec"))
            self._history = History(self._catalog)
            self._packs = Packs(files, path / "packs", functools.partial(pack_name, self._catalog))
            opened.callback(self._packs.close)
            self._leaves = LeafReader(self._catalog, self._packs, cache_bytes)
            if mode == "r+":
                remove_leftovers(files, path, self._catalog)
                self._writer = Writer(
                    files, path, self._catalog, self._packs, self._leaves,
                    branch=head_of(self._catalog, branch), durability=durability, policy=policy,
                )  # fmt: skip
                opened.callback(self._writer.abandon)
            else:
                line, number, pin = pinned(files, path, self._catalog, at, branch)
                opened.callback(pin.close)
                self._reader_place = Place.at(self._catalog, self._packs, line, number)
            self._parsed = self._place.bundles, Bundles.from_json(self._place.bundles)
            self._finalizer = weakref.finalize(self, _give_back, self._pid, opened.pop_all())

    # where the handle stands

    @property
    def _place(self) -> Place:
        return self._writer.place if self._writer is not None else self._reader_place

    @property
    def branch_name(self) -> str:
        return self._branch_name

    @property
    def commit(self) -> Commit:
        """The commit that the handle stands at: for the writer, the last one it made."""
        return self._place.commit

    @property
    def directory(self) -> Directory:
        """The leaves of the commit; for the writer, with those written since."""
        return self._place.directory

    @property
    def bundles(self) -> Bundles:
        """As of the commit."""
        if self._parsed[0] != self._place.bundles:
            self._parsed = self._place.bundles, Bundles.from_json(self._place.bundles)
        return self._parsed[1]

    @property
    def cache_bytes(self) -> int:
        """Bytes that decoded leaves may take; may be set at any time."""
        return self._leaves.cache.budget_bytes

    @cache_bytes.setter
    def cache_bytes(self, nbytes: int) -> None:
        self._leaves.cache.budget_bytes = nbytes

    @property
    def cached_bytes(self) -> int:
        """Bytes that decoded leaves take now."""
        return self._leaves.cache.nbytes

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise HandleClosed(
                f"this handle on {self.path} was opened before a fork: open the engram anew in the child"
            )
        if self._closed is not None:
            raise HandleClosed(f"this handle on {self.path} is closed{self._closed}; open the engram again")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Writer]:
        self._check_open()
        if self._writer is None:
            raise ReadOnly(f'{self.path} was opened for reading: open it with mode "r+" to change it')
        try:
            yield self._writer
        except NoWayBack as error:
            cause = error.__cause__ or error
            self._closed = f" since a write failed ({cause})"
            self._finalizer()
            if not isinstance(cause, OSError):
                raise cause from None
            kind, remedy = (DiskFull, "free some space") if is_disk_full(cause) else (EngramError, "check the disk")
            raise kind(
                f"{self.path} could not be written: {cause.strerror}; what was acknowledged is whole, "
                f"and this handle is closed: {remedy} and open the engram again"
            ) from cause

    # records

    def find(self, ids: IdArray) -> Records:
        """Those of ``ids`` (uint64, strictly increasing, of one layer) that are materialized, in arrays of their own.

        Each leaf is decoded once at most. Raises InvalidInput, LeafDamaged.
        """
        self._check_open()
        if ids.size and (bool((ids[1:] <= ids[:-1]).any()) or int(ids[0]) >> 48 != int(ids[-1]) >> 48):
            raise InvalidInput("the ids to find must increase strictly and belong to one layer")
        found = []
        for ref, start, stop in self.directory.locate(ids):
            wanted = ids[start:stop]
            if int(wanted[-1]) < ref.first or int(wanted[0]) > ref.last:
                continue
            leaf = self._leaves.read(ref)
            place = np.searchsorted(leaf.ids, wanted)
            there = leaf.ids[np.minimum(place, len(leaf) - 1)] == wanted
            if there.any():
                found.append(leaf.take(place[there]))
        return concatenate(found)

    def scan(self, layer: int | None = None) -> Iterator[Records]:
        """All materialized neurons of one layer, or of all, by id and leaf by leaf. Raises LeafDamaged.

        Beside writes on the same handle, each segment is seen as it is when the scan gets there.
        """
        self._check_open()
        for ref in self.directory.leaves(layer):
            self._check_open()
            yield self._leaves.read(ref, cached=False)

    def write(self, changes: Records) -> None:
        """Merge ``changes`` into their leaves: visible through this handle at once, durable with the next commit.

        All of it or, when an exception leaves, nothing. Raises InvalidInput, LeafDamaged, DiskFull.
        """
        with self._writing() as writer:
            validate(changes, len(self.spec.all_projections))
            if len(changes):
                writer.write(changes)

    # commits and their state

    def commit_state(self, tick: int, state: Mapping[str, Array], bundles: Bundles, message: str = "") -> Commit:
        """Everything written since the last commit, the in-flight ``state`` and ``bundles``: durable on return.

        A new journal begins. After DiskFull the last commit and the journal are whole, nothing written is
        lost, and the call may be repeated.
        """
        with self._writing() as writer:
            return writer.commit_state(int(tick), state, bundles.to_json(), message)

    def read_state(self) -> dict[str, Array]:
        """The arrays that the commit was given as state. Raises Damaged."""
        self._check_open()
        ref = self._history.state_ref(self.commit.number)
        if ref is None:
            return {}
        return read_state(self._packs, self.commit, ref)

    # journal

    def journal_append(self, kind: str, tick: int, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> int:
        """Add a frame and return its sequence, when it is as durable as the handle's ``durability`` says.

        ``meta`` is anything that JSON can hold; ``arrays`` are numbers. Raises DiskFull, the journal being as before.
        """
        with self._writing() as writer:
            return writer.journal_append(kind, int(tick), meta, arrays)

    def journal_frames(self) -> Iterator[Frame]:
        """The frames after the commit, in order; none for a handle opened with ``at``.

        A reader sees what has been acknowledged up to now. Raises JournalDamaged, KernelMismatch.
        """
        self._check_open()
        if not self._live:
            return
        path = journal_path(self.path, self._place.line, self.commit.number)
        engram = bytes.fromhex(self._catalog.meta("engram"))
        head = JournalHead(KERNEL_VERSION, self._place.line, self.commit.number, self.commit.sequence, engram)
        try:
            reader = JournalReader(self._files, path)
        except FileNotFoundError:
            return  # the writer has committed in the meantime; its frames are in that commit
        with contextlib.closing(reader):
            yield from reader.frames(head)

    # history

    def snapshot(self, name: str) -> Snapshot:
        """Name the commit that the handle stands at. Durable on return. Raises AlreadyExists, InvalidInput."""
        with self._writing():
            return self._history.add_snapshot(name, self.commit)

    def snapshots(self) -> list[Snapshot]:
        """Oldest commit first."""
        self._check_open()
        return self._history.snapshots()

    def delete_snapshot(self, name: str) -> None:
        """Forget a name; its commit stays in the log. Raises NotFound."""
        with self._writing():
            self._history.delete_snapshot(name)

    def resolve(self, at: str | int) -> int:
        """The number of the commit that a snapshot's name or a commit's number means. Raises NotFound."""
        self._check_open()
        return self._history.resolve(at)

    def restore(self, at: str | int) -> None:
        """Go back to a snapshot or commit: a new line begins there, and the branch's head moves to it.

        The old line stays readable. What was written or journaled since the last commit is dropped: commit
        first to keep it. Durable on return. Raises NotFound, DiskFull.
        """
        with self._writing() as writer:
            writer.restore(self._history.resolve(at))

    def branch(self, name: str, at: str | int | None = None) -> Branch:
        """A new branch at a snapshot or commit, or where the handle stands; the handle stays on its own.

        Durable on return. Raises AlreadyExists, NotFound, DiskFull.
        """
        with self._writing() as writer:
            return writer.add_branch(name, self.commit.number if at is None else self._history.resolve(at))

    def branches(self) -> list[Branch]:
        self._check_open()
        return self._history.branches()

    def log(self) -> list[Commit]:
        """The commit and its ancestors up to the root, newest first."""
        self._check_open()
        return self._history.log(self.commit.number)

    # labels

    def write_labels(self, layer_index: int, batches: Batches) -> None:
        """Label neurons of a layer; visible and durable with the next commit.

        ``batches``: (labels, ids), labels being text or an int64 or uint64 array. Labels increase strictly over
        all batches (text by code point), and so do ids. Raises InvalidInput, DiskFull.
        """
        with self._writing() as writer:
            writer.write_labels(layer_index, batches)

    @property
    def has_labels(self) -> bool:
        self._check_open()
        return bool(self._place.labels)

    def label_ids(self, labels: Iterable[str | int]) -> IdArray:
        """The neurons with these labels, in the order given. Raises NotFound for the first that is no label."""
        self._check_open()
        return self._place.labels.ids(labels)

    def labels_of(self, ids: IdArray) -> list[str | None]:
        """The label of each neuron as text, None where it has none; any order."""
        self._check_open()
        return self._place.labels.of(ids)

    # closing

    def close(self) -> None:
        """Give everything back; what was written but not committed is dropped. In a forked child this does nothing."""
        if self._closed is not None or os.getpid() != self._pid:
            return
        self._closed = ""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _give_back(pid: int, resources: contextlib.ExitStack) -> None:
    """Close everything, also of a handle that was forgotten; but not in a forked child, where it is the parent's."""
    if os.getpid() == pid:
        resources.close()
