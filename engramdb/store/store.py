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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Literal, Self, cast

import numpy as np

from engramdb.address import IdArray
from engramdb.errors import Damaged, DiskFull, EngramError, HandleClosed, InvalidInput, NotAnEngram, ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.kernels import KERNEL_VERSION
from engramdb.spec import Spec
from engramdb.store.background import Background, Stopped
from engramdb.store.catalog import FILE_NAME, Catalog
from engramdb.store.changes import apply, find_in, with_own
from engramdb.store.column import load_codecs
from engramdb.store.columns import ColumnReader
from engramdb.store.compaction import DUE, Compacted, Progress
from engramdb.store.creation import create_engram
from engramdb.store.diff import NO_RULES, Changes, Rules, differences
from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files, is_disk_full
from engramdb.store.history import Branch, Commit, History, Snapshot, check_name
from engramdb.store.journal import Frame, JournalHead, JournalReader, journal_path
from engramdb.store.labels import Batches
from engramdb.store.leaf import LeafPolicy
from engramdb.store.leftovers import remove_leftovers
from engramdb.store.opening import check_journals, head_of, pack_name, pinned, take_lock
from engramdb.store.optional import optional_columns
from engramdb.store.pack import Array, Packs
from engramdb.store.pending import SMALL_BYTES, Pending
from engramdb.store.place import Place
from engramdb.store.readahead import read_few, read_leaves
from engramdb.store.reader import LeafReader
from engramdb.store.records import Records, concatenate, picked, validate
from engramdb.store.reverse import Pairs, ReverseIndex
from engramdb.store.state import LostState, read_state
from engramdb.store.traces import TraceIndex
from engramdb.store.upkeep.gc import Collected, Collector
from engramdb.store.upkeep.retention import KEEP_DAYS, KEEP_LAST, Policy
from engramdb.store.versions import LeafRef
from engramdb.store.writer import Durability, NoWayBack, Writer
from engramdb.url import as_url, options_of

Mode = Literal["r", "r+"]
_WAITING_SHARE = 4  # of cache_bytes, what small changes take at most before they are written
_FEW = 16  # rows that are taken from a leaf without decoding the others


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
        """The engram at ``path``, which to read may be the URL of a published one.

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
        if (url := as_url(path)) is not None:
            from engramdb.store.remote.files import open_remote

            options = options_of(path, None)
            store = open_remote(url, mode, options, at=at, branch=branch, cache_bytes=cache_bytes)
            return cast("Self", store)
        path = Path(path)
        if not (path / FILE_NAME).is_file():
            raise NotAnEngram(
                f"{path} is not an engram: " + (f"it has no {FILE_NAME}" if path.exists() else "there is nothing")
            )
        load_codecs()
        try:
            return cls(path, mode, at, branch, durability, cache_bytes, files, policy or LeafPolicy())
        except OSError as error:
            kind, remedy = (DiskFull, "free some space") if is_disk_full(error) else (EngramError, "check the disk")
            raise kind(f"{path} cannot be opened: {error.strerror}; {remedy} and open it again") from error

    def __init__(
        self, path: Path, mode: Mode, at: str | int | None, branch: str, durability: Durability,
        cache_bytes: int, files: Files, policy: LeafPolicy,
    ) -> None:  # fmt: skip
        self.path, self.mode, self._branch_name, self._files = path, mode, branch, files
        self.policy, self._durability = policy, durability
        self._pid = os.getpid()
        self._closed: str | None = None
        self._live = at is None
        self._background = Background()
        self._behind: Future[Sequence[Records]] | None = None
        self._behind_retargeted = True
        self._cache_bytes = cache_bytes
        self._pending = Pending(self.completed)
        self._flushing = RLock()  # threads that read may all want it
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
            self.columns = ColumnReader(self._leaves)
            """Single columns of leaves, read apart from ``cache_bytes``."""
            self.query_cache_bytes = cache_bytes // 4
            if mode == "r+":
                check_journals(path)
                remove_leftovers(files, path, self._catalog)
                self._writer = Writer(
                    files, path, self._catalog, self._packs, self._leaves,
                    branch=head_of(self._catalog, branch), durability=durability, policy=policy,
                )  # fmt: skip
                opened.callback(self._writer.abandon)
                opened.callback(self._background.abandon)
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
    def durability(self) -> Durability:
        """How far a frame of the journal is on its way when it is acknowledged; see :meth:`open`."""
        return self._durability

    @property
    def closed(self) -> bool:
        """Whether it was closed, by :meth:`close` or because nobody knew any more what the disk holds."""
        return self._closed is not None

    @property
    def stamp(self) -> tuple[int, int]:
        """Line and last acknowledged frame of the state that the handle sees: equal only where that is the same."""
        commit = self._place.commit
        if self._writer is None:
            return commit.line, commit.sequence
        sequence = self._writer.journal_mark().sequence
        return (commit.line if sequence == commit.sequence else self._place.line), sequence

    @property
    def directory(self) -> Directory:
        """The leaves of the commit; for the writer, with those written since: what waits in RAM is written now."""
        if self._pending:
            with self._writing():
                pass
        return self._place.directory

    @property
    def reader(self) -> LeafReader:
        """Leaf versions as they are stored."""
        return self._leaves

    @property
    def bundles(self) -> Bundles:
        """As of the commit."""
        if self._parsed[0] != self._place.bundles:
            self._parsed = self._place.bundles, Bundles.from_json(self._place.bundles)
        return self._parsed[1]

    @property
    def cache_bytes(self) -> int:
        """Bytes that decoded leaves may take, and small changes that wait to be written; may be set at any time."""
        return self._cache_bytes

    @cache_bytes.setter
    def cache_bytes(self, nbytes: int) -> None:
        self._cache_bytes = nbytes
        if self._pending and self._pending.nbytes > nbytes // _WAITING_SHARE:
            with self._writing():
                pass
        self._share_cache()
        if nbytes == 0:  # memory is short: queries give theirs back too
            self._leaves.queries.clear()
            self.columns.cache.clear()

    def _share_cache(self) -> None:
        self._leaves.cache.budget_bytes = max(0, self._cache_bytes - self._pending.nbytes)

    @property
    def query_cache_bytes(self) -> int:
        """Bytes that decoded leaves may take that only queries asked for, and as many again single columns of leaves.

        May be set at any time.
        """
        return self._leaves.queries.budget_bytes

    @query_cache_bytes.setter
    def query_cache_bytes(self, nbytes: int) -> None:
        self._leaves.queries.budget_bytes = self.columns.cache.budget_bytes = nbytes

    @property
    def cached_bytes(self) -> int:
        """Bytes that decoded leaves take now, and changes that wait in RAM or are being written in the background.

        Without what queries keep: that is ``query_bytes``.
        """
        behind = self._behind
        waiting = behind.result() if behind is not None and behind.done() else ()
        return self._leaves.cache.nbytes + self._pending.nbytes + sum(changes.nbytes for changes in waiting)

    @property
    def gathering(self) -> bool:
        """Whether changes that are to be written in the background are being put together: they count once they are."""
        behind = self._behind
        return behind is not None and not behind.done()

    def wait_for_gathering(self) -> None:
        """Until they are, or it has failed, which whoever writes next is told."""
        behind = self._behind
        if behind is not None:
            wait_for((behind,))

    @property
    def query_bytes(self) -> int:
        """Bytes that queries keep now."""
        return self._leaves.queries.nbytes + self.columns.cache.nbytes

    @property
    def changing(self) -> Sequence[Records]:
        """Changes that wait in RAM or are being written in the background, on top of what the leaves hold."""
        behind = self._behind
        return (*(() if behind is None else behind.result()), *self._pending.all())

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise HandleClosed(
                f"this handle on {self.path} was opened before a fork: open the engram anew in the child"
            )
        if self._closed is not None:
            raise HandleClosed(f"this handle on {self.path} is closed{self._closed}; open the engram again")

    @contextlib.contextmanager
    def _writing(self, *, settled: bool = True, flushed: bool = True) -> Iterator[Writer]:
        """``settled``: nothing is going on in the background any more. ``flushed``: nothing waits in RAM either."""
        self._check_open()
        if self._writer is None:
            raise ReadOnly(f'{self.path} was opened for reading: open it with mode "r+" to change it')
        try:
            if settled:
                self._settle(self._writer)
            if settled and flushed and self._pending:
                self._flush(self._writer)
            yield self._writer
        except NoWayBack as error:
            cause = error.__cause__ or error
            self._closed = f" since a write failed ({cause})"
            self._finalizer()
            if not isinstance(cause, OSError):
                raise cause from None
            raise self._unwritten(cause, "is whole, and it is closed", "open the engram again") from cause
        except OSError as error:  # nothing has changed
            raise self._unwritten(error, "is whole", "repeat") from error

    def _unwritten(self, error: OSError, but: str, then: str) -> EngramError:
        kind, remedy = (DiskFull, "free some space") if is_disk_full(error) else (EngramError, "check the disk")
        what = f"{self.path} could not be written: {error.strerror}; what was acknowledged {but}"
        return kind(f"{what}: {remedy} and {then}")

    def _settle(self, writer: Writer) -> None:
        self._background.wait()
        if self._behind is not None:  # a full disk kept them from being committed
            for changes in self._behind.result():
                writer.write(changes)
                if self._behind_retargeted:
                    writer.retarget(changes)
            self._behind = None

    def _flush(self, writer: Writer) -> None:
        """Write what waits in RAM."""
        with self._flushing:
            for changes in self._pending.written():
                writer.write(changes)
            self._share_cache()

    def settle(self) -> None:
        """Wait until nothing goes on in the background, and write what waits in RAM.

        Raises what went wrong there: DiskFull, LeafDamaged. After DiskFull nothing is lost: the next call that writes
        tries again.
        """
        with self._writing():
            pass

    @property
    def has_uncommitted(self) -> bool:
        """Whether the writer's journal has frames that no commit covers; a commit in the background is waited for."""
        if self._writer is None:
            return False
        with self._writing(flushed=False):
            pass
        return self._writer.journal_mark().sequence != self.commit.sequence

    # records

    def find(self, ids: IdArray, *, query: bool = False) -> Records:
        """Those of ``ids`` (uint64, strictly increasing, of one layer) that are materialized, in arrays of their own.

        Each leaf is decoded once at most. ``query``: what is read may be kept in ``query_cache_bytes``, and takes no
        room from ``cache_bytes``. Raises InvalidInput, LeafDamaged.
        """
        self._check_open()
        if ids.size and (bool((ids[1:] <= ids[:-1]).any()) or int(ids[0]) >> 48 != int(ids[-1]) >> 48):
            raise InvalidInput("the ids to find must increase strictly and belong to one layer")
        # taken first: once they are gone, their changes are in the leaves
        behind, waiting = self._behind, self._pending.of(int(ids[0]) >> 48) if ids.size else ()
        directory = self._place.directory
        located = directory.locate(ids)
        while True:
            try:
                records = self._read_located(ids, located, query=query)
                break
            except Damaged:
                before, located = located, directory.locate(ids)
                if located == before:  # else a commit in the background packed away what it had replaced
                    raise
        for changes in (*(() if behind is None else behind.result()), *waiting):
            if ids.size < len(changes):
                place, there = find_in(changes.ids, ids)
                asked = place[there]
            else:
                _, there = find_in(ids, changes.ids)
                asked = np.flatnonzero(there)
            if asked.size:
                records = apply(records, changes.take(asked))
        return records

    def _read_located(self, ids: IdArray, located: list[tuple[LeafRef, int, int]], *, query: bool) -> Records:
        parts = [
            (ref, ids[start:stop])
            for ref, start, stop in located
            if ref.first <= int(ids[stop - 1]) and int(ids[start]) <= ref.last
        ]
        if len(parts) == 1 and parts[0][1].size <= _FEW:  # a fault
            return self._leaves.read_few(*parts[0], query=query)
        if query and len(ids) <= _FEW * len(parts):  # who projects to a few
            return picked([(leaf, place) for leaf, place in read_few(self._leaves, parts) if place.size])
        if len(parts) == 1:  # nothing comes next
            leaves: Iterable[Records] = [self._leaves.read(parts[0][0], query=query)]
        else:
            read = read_leaves(self._leaves, (ref for ref, _ in parts), cached=True, query=query)
            leaves = (leaf for _, leaf in read)
        found = []
        for (_, wanted), leaf in zip(parts, leaves, strict=True):
            place, there = find_in(leaf.ids, wanted)
            if there.any():
                found.append(leaf.take(place[there]))
        return concatenate(found)

    def last_leaf(self, segment: int) -> Records:
        """The neurons in the last leaf of a segment (layer << 16 | segment); none where it has none.

        Beside a commit in the background it may lack what that one brings: :meth:`settle` first. Raises LeafDamaged.
        """
        self._check_open()
        table = self.directory.table(segment)
        return self._leaves.read(table[len(table) - 1]) if len(table) else Records.empty()

    def scan(self, layer: int | None = None) -> Iterator[Records]:
        """All materialized neurons of one layer, or of all, by id and leaf by leaf. Raises LeafDamaged.

        Beside writes on the same handle, each segment is seen as it is when the scan gets there.
        """
        self._check_open()
        if self._writer is not None:
            self.settle()
        for _, records in read_leaves(self._leaves, self.directory.leaves(layer), cached=False):
            self._check_open()
            yield records

    def differences(self, before: Store, layer: int | None = None, rules: Rules = NO_RULES) -> Iterator[Changes]:
        """What is different here from ``before``, another handle on this engram: by id, in memory for a few leaves.

        ``layer``: the index of one, or None for all. ``rules``: what rows are that are not stored. Leaves that are the
        same version in both are not read. Raises LeafDamaged.
        """
        self._check_open()
        before._check_open()
        yield from differences(before.directory, self.directory, self._leaves, layer, rules)

    def write(self, changes: Records, *, retargeted: bool = True) -> None:
        """Merge ``changes`` into their leaves: visible through this handle at once, durable with the next commit.

        ``retargeted``: whether a row may have a target that it did not have before, stored or generated; where not, the
        reverse index need not know. All of it or, when an exception leaves, nothing. Small changes wait in RAM, within
        ``cache_bytes``, and are written together: damage or a full disk may show only then. Raises InvalidInput,
        LeafDamaged, DiskFull.
        """
        # a thread that reads ahead may want what waits to be written meanwhile
        with self._writing(flushed=False) as writer, self._flushing:
            validate(changes, len(self.spec.all_projections), delays=self.spec.varying_delays)
            if not len(changes):
                return
            changes = self.completed(changes)
            waits = changes.nbytes <= SMALL_BYTES and writer.accepts(changes)
            if not waits or self._pending.nbytes + changes.nbytes > self._cache_bytes // _WAITING_SHARE:
                self._flush(writer)
                waits = waits and changes.nbytes <= self._cache_bytes // _WAITING_SHARE
            if waits:
                self._pending.add(changes)
                self._share_cache()
            else:
                writer.write(changes)
            if retargeted:
                writer.retarget(changes)

    def completed(self, changes: Records) -> Records:
        """``changes`` with all columns that their layer has, of parameters and of what its model keeps."""
        index = int(changes.ids[0]) >> 48
        columns = {
            name: column
            for layer in self.spec.layers
            if layer.index == index
            for name, column in optional_columns(layer).items()
        }
        return with_own(changes, np.zeros(len(changes), bool), columns)

    # commits and their state

    def commit_state(self, tick: int, state: Mapping[str, Array], bundles: Bundles, message: str = "") -> Commit:
        """Everything written since the last commit, the in-flight ``state`` and ``bundles``: durable on return.

        A new journal begins. After DiskFull the last commit and the journal are whole, nothing written is
        lost, and the call may be repeated.
        """
        with self._writing() as writer:
            return writer.commit_state(int(tick), state, bundles.to_json(), message)

    def commit_behind(
        self, changes: Callable[[], Sequence[Records]], tick: int, state: Callable[[], Mapping[str, Array]],
        bundles: Bundles, message: str = "", *, retargeted: bool = True,
    ) -> None:  # fmt: skip
        """As :meth:`write` of each of ``changes`` and :meth:`commit_state`, in a thread, and return at once.

        Reading sees the changes at once, and the journal goes on; any other call that writes waits until the commit
        is done and raises what went wrong there, as does :meth:`settle`. ``changes`` and ``state`` are called in the
        thread, the arrays they give belong to the store. Leaves with many deltas are compacted afterwards, while
        nothing else writes.
        """
        with self._writing() as writer:
            mark, document = writer.journal_mark(), bundles.to_json()
            behind: Future[Sequence[Records]] = Future()
            self._behind, self._behind_retargeted = behind, retargeted

            def work(stopped: Stopped) -> None:
                try:
                    found = [self.completed(part) for part in changes() if len(part)]
                    for part in found:
                        validate(part, len(self.spec.all_projections), delays=self.spec.varying_delays)
                except BaseException as error:
                    behind.set_exception(error)
                    raise
                behind.set_result(found)
                for part in found:
                    writer.write(part)
                    if retargeted:
                        writer.retarget(part)
                writer.commit_state(int(tick), state(), document, message, mark)
                self._behind = None
                with contextlib.suppress(EngramError, OSError):  # nothing depends on it, and verify finds damage
                    writer.compact(DUE, stopped, whole=False)

            self._background.start(work)

    def idle(self) -> bool:
        """Whether nothing goes on in the background; if something does, it is told to leave what can be left."""
        return self._background.idle()

    def compact(self, progress: Progress | None = None, stop: Stopped = lambda: False) -> Compacted:
        """Write every leaf that has deltas whole again, so that reading it takes one record; ``stop`` ends it early.

        Each batch of 64 MiB is durable by itself. What lay beneath is freed by gc, if no other commit sees it;
        compaction stops where the packs would hold more than twice what the head needs and 256 MiB. Raises DiskFull,
        LeafDamaged.
        """
        with self._writing() as writer:
            return writer.compact(1, stop, progress, whole=True)

    def read_state(self) -> dict[str, Array]:
        """The arrays that the commit was given as state. Raises Damaged."""
        self._check_open()
        return self._state_of(self.commit)

    def _state_of(self, commit: Commit) -> dict[str, Array]:
        ref = self._history.state_ref(commit.number)
        while ref is not None:
            try:
                return read_state(self._packs, commit, ref)
            except Damaged:
                moved, ref = ref, self._history.state_ref(commit.number)
                if moved == ref:
                    raise  # else gc has moved it
        return {}

    def state_to_ask(self) -> Mapping[str, Array]:
        """As :meth:`read_state` for a handle that reads; of a damaged state, one that raises when it is asked."""
        try:
            return self.read_state()
        except Damaged as error:
            if self._writer is not None:
                raise
            return LostState(error)

    # journal

    def journal_append(self, kind: str, tick: int, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> int:
        """Add a frame and return its sequence, when it is as durable as the handle's ``durability`` says.

        ``meta`` is anything that JSON can hold; ``arrays`` are numbers. Raises DiskFull, the journal being as before.
        """
        with self._writing(settled=False) as writer:
            return writer.journal_append(kind, int(tick), meta, arrays)

    def journal_frames(self) -> Iterator[Frame]:
        """The frames after the commit, in order; none for a handle opened with ``at``.

        A reader sees what has been acknowledged up to now. Raises JournalDamaged, KernelMismatch.
        """
        self._check_open()
        if not self._live:
            return
        if self._writer is not None:
            self.settle()
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

    def check_name(self, name: str, kind: str) -> None:
        """Raises InvalidInput where ``name`` cannot name a snapshot or a branch, AlreadyExists where it names one."""
        self._check_open()
        check_name(name, kind)
        self._history.check_free(name)

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
        first to keep it. Durable on return. Raises NotFound, DiskFull, and Damaged where its state cannot be read.
        """
        with self._writing(flushed=False) as writer:
            number = self._history.resolve(at)
            self._state_of(self._history.commit(number))
            writer.restore(number)
            self._pending.clear()
            self._share_cache()

    def branch(self, name: str, at: str | int | None = None) -> Branch:
        """A new branch at a snapshot or commit, or where the handle stands; the handle stays on its own.

        Durable on return. Raises AlreadyExists, NotFound, DiskFull.
        """
        with self._writing() as writer:
            return writer.add_branch(name, self.commit.number if at is None else self._history.resolve(at))

    def branches(self) -> list[Branch]:
        """By name."""
        self._check_open()
        return self._history.branches()

    def delete_branch(self, name: str) -> None:
        """Forget a branch, with the journal since its head; its commits stay until gc. Durable on return.

        Raises NotFound, and InvalidInput for the branch that the handle stands on.
        """
        with self._writing() as writer:
            writer.delete_branch(name)

    def gc(
        self, *, keep_last: int = KEEP_LAST, keep_days: float = KEEP_DAYS, dry_run: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Collected:  # fmt: skip
        """Thin out commits without a name, and free the space of what none of the others sees.

        Branches' heads, snapshots, what living readers stand at and the beginnings of lines stay; so do the
        ``keep_last`` newest of each branch and all younger than ``keep_days``. What was written since the commit stays.
        ``dry_run``: only say what would go; a handle open for reading can too. ``stop`` is asked between steps, each
        of which leaves a whole engram. Raises DiskFull, CatalogDamaged.
        """
        policy = Policy(keep_last, keep_days)
        if not dry_run:
            with self._writing() as writer:
                return writer.collect(policy, stop)
        self._check_open()
        return Collector(
            self._files, self.path, self._catalog, self._packs, policy=policy, dry_run=True, stop=stop
        ).run()

    def commits(self) -> list[Commit]:
        """All commits of all lines, by number."""
        self._check_open()
        return [commit for commit, _ in self._history.commits()]

    def lines(self) -> list[tuple[int, int | None, int | None]]:
        """``(line, parent, fork)`` of each: the commit of its parent at which it begins; None for the first."""
        self._check_open()
        return self._history.lines()

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

    def label_runs(self) -> Iterator[tuple[int, Batches]]:
        """``(layer index, batches)`` of every run of labels, oldest first: given to :meth:`write_labels` in this order,
        they name the same neurons again. Raises Damaged."""
        self._check_open()
        return self._place.labels.runs()

    def label_ids(self, labels: Iterable[str | int]) -> IdArray:
        """The neurons with these labels, in the order given. Raises NotFound for the first that is no label."""
        self._check_open()
        return self._place.labels.ids(labels)

    def labels_of(self, ids: IdArray) -> list[str | None]:
        """The label of each neuron as text, None where it has none; any order."""
        self._check_open()
        return self._place.labels.of(ids)

    # traces

    def write_trace(self, name: str, ids: IdArray, tick: int, created: str) -> None:
        """Give a set of neurons (uint64, strictly increasing) a name, or with none of them take it away.

        Visible at once, durable with the next commit. Raises InvalidInput, DiskFull.
        """
        with self._writing() as writer:
            writer.write_trace(check_name(name, "trace"), ids, tick, created)

    @property
    def traces(self) -> TraceIndex:
        """The named traces."""
        self._check_open()
        return self._place.traces

    # reverse index

    @property
    def reverse(self) -> ReverseIndex:
        """Who projects to a neuron, of stored rows; false where there is no index."""
        self._check_open()
        return self._place.reverse

    def touched(self) -> IdArray:
        """Sources, sorted, whose rows have got targets that the reverse index does not know. Raises Damaged."""
        self._check_open()
        return self._writer.touched() if self._writer is not None else self._place.reverse.touched()

    def write_reverse(self, pairs: Iterator[Pairs], memory_bytes: int, *, whole: bool = True) -> int:
        """Index ``pairs`` (target, source), which come by source: of all stored rows, or only of the touched ones.

        Visible at once, durable with the next commit, before which no row may change. Returns how many there are.
        ``memory_bytes``: for sorting them. Raises LeafDamaged, DiskFull.
        """
        with self._writing() as writer:
            return writer.write_reverse(pairs, memory_bytes, whole=whole)

    def drop_reverse(self) -> None:
        """Do without the reverse index from now on; durable with the next commit."""
        with self._writing() as writer:
            writer.drop_reverse()

    # closing

    def close(self) -> None:
        """Give everything back; what was written but not committed is dropped. In a forked child this does nothing."""
        if self._closed is not None or os.getpid() != self._pid:
            return
        self._closed = ""
        try:
            failed = self._background.abandon()
            if self._writer is not None and not isinstance(failed, NoWayBack):  # else a commit may name its pack
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
