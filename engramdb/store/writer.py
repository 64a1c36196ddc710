"""The writer's half of a store: leaves into the private pack, commits, new lines, the journal.

The order of a commit is what makes it whole or absent: pack synced, its folder synced, next journal
created, then one catalog transaction that names it all, and only then is the old journal dropped.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Literal

import numpy as np

from engramdb.address import IdArray
from engramdb.errors import DiskFull, InvalidInput
from engramdb.kernels import KERNEL_VERSION
from engramdb.store import labels as label_runs
from engramdb.store import reverse as reverse_index
from engramdb.store.background import Stopped
from engramdb.store.catalog import Catalog
from engramdb.store.compaction import Compacted, Progress, bytes_of, compact, with_deltas
from engramdb.store.files import Files
from engramdb.store.history import Branch, Commit, History, StateRef, check_name, commit_row, now
from engramdb.store.journal import JournalHead, JournalReader, JournalWriter, copied, create_journal, journal_path
from engramdb.store.leaf import LeafPolicy
from engramdb.store.leafwriter import LeafWriter
from engramdb.store.pack import Array, Packs, PackWriter
from engramdb.store.pairsorter import PairSorter
from engramdb.store.place import Place
from engramdb.store.reader import LeafReader
from engramdb.store.records import STORED, Records
from engramdb.store.state import encode_state
from engramdb.store.traces import TraceIndex, TraceRef, encode_trace
from engramdb.store.upkeep.gc import Collected, Collector
from engramdb.store.upkeep.retention import Policy
from engramdb.store.versions import LeafRef, row_of

Durability = Literal["journal", "process", "checkpoint"]
COMPACTION_SLACK = 1 << 28
"""Compaction lets the packs grow to twice what the head needs and so many bytes more, no further: then gc must run."""
_SPILL_SLACK = 1 << 16  # bytes that may be wasted in a private pack before it is written anew


@dataclasses.dataclass(frozen=True)
class JournalMark:
    """A place between two frames: the last sequence before it, and its byte."""

    sequence: int
    end: int


class Writer:
    """What a handle that may write has more than one that may not. It stands at ``commit`` of ``branch``."""

    def __init__(
        self, files: Files, path: Path, catalog: Catalog, packs: Packs, reader: LeafReader,
        *, branch: Branch, durability: Durability, policy: LeafPolicy,
    ) -> None:  # fmt: skip
        self._files, self._path, self._catalog, self._packs, self._reader = files, path, catalog, packs, reader
        self._durability, self._policy = durability, policy
        self._history = History(catalog)
        self._engram = bytes.fromhex(catalog.meta("engram"))
        self._closed = False
        self._numbers = Lock()
        self._journaling = RLock()  # a commit in the background and frames meanwhile
        self._next_pack = 1
        self._stand(branch)
        self._journal = self._open_journal()

    def _stand(self, branch: Branch) -> None:
        """Stand at the head of ``branch`` with nothing written since."""
        self.branch = branch
        self.place = Place.at(self._catalog, self._packs, branch.line, branch.head)
        self._next_pack = max(self._next_pack, self._catalog.unused("packs"))
        newest_label = self._catalog.select("labels", "ORDER BY run DESC LIMIT 1")
        self._next_run = 1 + (newest_label[0][0] if newest_label else 0)
        self._labels: list[label_runs.BlockRef] = []
        self._next_reverse = 1
        if self._catalog.has("reverse"):
            (self._next_reverse,) = self._catalog.rows("SELECT coalesce(max(run), 0) + 1 FROM reverse")[0]
        self._chain = self._history.chain(branch.line, branch.head)
        self._traces: list[TraceRef] = []
        self._reverse: list[reverse_index.BlockRef] = []
        self._touched: list[IdArray] = []
        self._stand_indices()
        self._reader.unnamed = self.place.directory.unnamed
        self._leaves = LeafWriter(
            self.place.directory, self._reader, self._policy, self._private_pack, branch.line,
            number=self._catalog.unused("commits"),
            next_leaf=int(self._catalog.meta("next_leaf")),
            neurons=self.place.commit.neurons, synapses=self.place.commit.synapses,
        )  # fmt: skip

    def _stand_indices(self) -> None:
        """Let traces and the reverse index be seen with what no commit names yet."""
        traces = TraceIndex(self._catalog, self._packs, self._chain, self._traces)
        reverse = reverse_index.ReverseIndex(self._catalog, self._packs, self._chain, self._reverse)
        self.place = dataclasses.replace(self.place, traces=traces, reverse=reverse)

    # journal

    def _head(self, branch: Branch, commit: Commit) -> JournalHead:
        return JournalHead(KERNEL_VERSION, branch.line, branch.head, commit.sequence, self._engram)

    def _open_journal(self) -> JournalWriter:
        path = journal_path(self._path, self.branch.line, self.branch.head)
        head = self._head(self.branch, self.place.commit)
        if not path.exists():
            create_journal(self._files, path, head)
        with contextlib.closing(JournalReader(self._files, path)) as reader:
            for _ in reader.frames(head):
                pass
        if reader.head != head:  # another kernel's, without frames
            create_journal(self._files, path, head)
        return JournalWriter(
            self._files, path, end=reader.end, sequence=reader.sequence, sync=self._durability == "journal"
        )

    def journal_append(self, kind: str, tick: int, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> int:
        with self._journaling:
            if self._durability == "checkpoint":
                self._journal.sequence += 1
                return self._journal.sequence
            try:
                return self._journal.append(kind, tick, meta, arrays)
            except OSError as error:  # after a failed sync nobody knows what the disk holds
                raise NoWayBack from error

    def journal_mark(self) -> JournalMark:
        """Up to here: for a commit that is made while the journal goes on."""
        return JournalMark(self._journal.sequence, self._journal.end)

    # leaves

    def accepts(self, changes: Records) -> bool:
        """Whether :meth:`write` can take ``changes`` later. Raises InvalidInput, LeafDamaged; see LeafWriter."""
        return self._leaves.accepts(changes)

    def write(self, changes: Records) -> None:
        """Merge into leaves; all of it or, when an exception leaves, nothing."""
        self._leaves.write(changes)

    def retarget(self, changes: Records) -> None:
        """Note, where there is a reverse index, that stored rows in ``changes`` may have targets that it lacks."""
        if self.place.reverse:
            stored = changes.ids[changes.row_kind == STORED]
            if stored.size:
                self._touched.append(stored.copy())

    def _private_pack(self) -> tuple[int, PackWriter]:
        if self._packs.private is None:
            self._packs.begin(*self._new_pack())
        assert self._packs.private is not None
        return self._packs.private

    def _new_pack(self) -> tuple[int, PackWriter]:
        pack = PackWriter(self._files, self._path / "packs")
        with self._numbers:
            number, self._next_pack = self._next_pack, self._next_pack + 1
        return number, pack

    def compact(self, depth: int, stopped: Stopped, progress: Progress | None = None, *, whole: bool) -> Compacted:
        """Write leaves with at least ``depth`` deltas anew, as far as COMPACTION_SLACK leaves room."""
        directory = self.place.directory
        needed = bytes_of(directory, self._reader)
        (packed,) = self._catalog.rows("SELECT coalesce(sum(bytes), 0) FROM packs")[0]
        room = max(0, 2 * needed + COMPACTION_SLACK - packed)
        return compact(
            with_deltas(directory, depth), directory, self._reader, self._catalog, self._new_pack, room,
            stopped, progress, whole=whole,
        )  # fmt: skip

    # labels

    def write_labels(self, layer: int, batches: label_runs.Batches) -> None:
        """One run; all of it or, when an exception leaves, nothing."""
        pack_number, pack = self._private_pack()
        end = pack.end
        try:
            written = label_runs.write_run(
                pack, batches, pack_number=pack_number, run=self._next_run,
                line=self.branch.line, commit=self._leaves.number, layer=layer,
            )  # fmt: skip
        except BaseException:
            pack.rewind(end)
            raise
        self._labels += written
        self._next_run += 1

    # traces

    def write_trace(self, name: str, ids: IdArray, tick: int, created: str) -> None:
        """Give a set of neurons a name, or with no ids take it away."""
        line, commit = self.branch.line, self._leaves.number
        ref = TraceRef(line, commit, name, tick, created, 0)
        if ids.size:
            number, pack = self._private_pack()
            data, crc = encode_trace(ids, line=line, commit=commit)
            place = number, pack.append(data), len(data), crc
            ref = TraceRef(line, commit, name, tick, created, ids.size, *place)
        self._traces.append(ref)

    # reverse index

    def touched(self) -> IdArray:
        """Sources whose rows have got targets that no run of the reverse index has, sorted."""
        return np.unique(np.concatenate([self.place.reverse.touched(), *self._touched]))

    def write_reverse(self, pairs: Iterator[reverse_index.Pairs], memory_bytes: int, *, whole: bool) -> int:
        """One run of ``pairs``, which come by source: of everything, or of what is touched. Returns how many there are.

        All of it or, when an exception leaves, nothing. The next commit names it.
        """
        newest = self.place.reverse.newest
        pack_number, pack = self._private_pack()
        end = pack.end
        try:
            with PairSorter(self._files, self._path / "packs", memory_bytes) as sorter:
                for target, source in pairs:
                    sorter.add(target, source)
                written = reverse_index.write_run(
                    pack, sorter.batches(), pack_number=pack_number, run=self._next_reverse,
                    line=self.branch.line, commit=self._leaves.number, since=0 if whole else newest,
                )  # fmt: skip
        except BaseException:
            pack.rewind(end)
            raise
        self._put_reverse(written)
        self._touched.clear()
        return sum(ref.entries for ref in written)

    def drop_reverse(self) -> None:
        """End the reverse index, with the next commit."""
        ended = reverse_index.dropped(run=self._next_reverse, line=self.branch.line, commit=self._leaves.number)
        self._put_reverse([ended])
        self._touched.clear()

    def _put_reverse(self, refs: list[reverse_index.BlockRef]) -> None:
        self._reverse += refs
        self._next_reverse += 1
        self._stand_indices()

    def _listed_touched(self) -> list[reverse_index.BlockRef]:
        """Append the list of what is touched since the last commit."""
        if not self._touched:
            return []
        pack_number, pack = self._private_pack()
        return reverse_index.write_touched(
            pack, np.unique(np.concatenate(self._touched)), pack_number=pack_number, run=self._next_reverse,
            line=self.branch.line, commit=self._leaves.number,
        )  # fmt: skip

    # commits

    def commit_state(
        self, tick: int, state: Mapping[str, Array], bundles: str, message: str, upto: JournalMark | None = None
    ) -> Commit:
        """Everything written since the last commit, durable and named on return.

        ``upto``: the frames that the commit covers; later ones go on in the next journal. All of them by default.
        """
        line, number = self.branch.line, self._leaves.number
        place: StateRef | None = None
        with contextlib.suppress(DiskFull):  # without room for it, all of the pack is kept
            self._repack()
        end = self._packs.private[1].end if self._packs.private else 0
        if state:
            data, crc = encode_state(state, line=line, commit=number)
            pack_number, pack = self._private_pack()
            place = StateRef(pack_number, pack.append(data), len(data), crc)
        branch = Branch(self.branch.name, line, number)
        versions = self.place.directory.to_name()
        try:
            reverse = self._reverse + self._listed_touched()
            if self._packs.private:
                with no_way_back():
                    self._packs.private[1].finish()
            with self._journaling:
                upto = upto or self.journal_mark()
                commit = Commit(
                    number=number, line=line, parent=self.place.commit.number, tick=tick, created=now(),
                    message=message, neurons=self._leaves.neurons, synapses=self._leaves.synapses,
                    sequence=upto.sequence,
                )  # fmt: skip
                with no_way_back():
                    later = copied(self._journal.frames_after(upto.end))
                journal = self._fresh_journal(branch, commit, later, self._journal.sequence)
                with self._dropped(journal), self._catalog.transaction():
                    self._name(commit, place, branch, bundles, versions, reverse)
                with no_way_back():
                    self._after_commit(commit, branch, bundles)
                    self._switch_journal(journal)
        except DiskFull:
            if self._packs.private:
                self._packs.private[1].rewind(end)
            raise
        return commit

    def _repack(self) -> None:
        """Leave behind what was written to the private pack and then again, when that is the most of it."""
        if self._packs.private is None:
            return
        number, pack = self._packs.private
        here = [ref for ref in self.place.directory.to_name() if ref.pack == number]
        lengths = [[block.length for block in self._labels], [trace.length or 0 for trace in self._traces],
                   [block.length or 0 for block in self._reverse]]  # fmt: skip
        used = sum(ref.length for ref in here) + sum(map(sum, lengths))
        if pack.end <= 2 * used + _SPILL_SLACK:
            return
        fresh_number, fresh = self._new_pack()

        def moved(offset: int, length: int) -> int:
            return fresh.append(self._files.pread(pack.handle, length, offset))

        try:
            refs = [ref._replace(pack=fresh_number, offset=moved(ref.offset, ref.length))
                    for ref in sorted(here, key=lambda ref: ref.offset)]  # fmt: skip
            labels = [
                block._replace(pack=fresh_number, offset=moved(block.offset, block.length)) for block in self._labels
            ]
            traces = [
                trace if trace.offset is None or trace.length is None
                else trace._replace(pack=fresh_number, offset=moved(trace.offset, trace.length))
                for trace in self._traces
            ]  # fmt: skip
            reverse = [
                block if block.offset is None or block.length is None
                else block._replace(pack=fresh_number, offset=moved(block.offset, block.length))
                for block in self._reverse
            ]  # fmt: skip
        except BaseException:
            fresh.close()
            fresh.unlink()
            raise
        self._labels = labels
        self._packs.begin(fresh_number, fresh)  # before anyone is sent there
        self._traces, self._reverse = traces, reverse
        self._stand_indices()
        self.place.directory.moved(refs)
        self._packs.discard(number, pack)

    def _name(
        self, commit: Commit, state: StateRef | None, branch: Branch, bundles: str, versions: Sequence[LeafRef],
        reverse: Sequence[reverse_index.BlockRef],
    ) -> None:  # fmt: skip
        catalog = self._catalog
        for table, rows in (("traces", self._traces), ("reverse", [ref.row() for ref in reverse])):
            if rows:
                catalog.make(table)
            for row in rows:
                catalog.put(table, row)
        if self._packs.private:
            number, pack = self._packs.private
            catalog.put("packs", (number, pack.name, pack.end))
        catalog.put("commits", commit_row(commit, state))
        catalog.put_versions(row_of(ref) for ref in versions)
        for block in self._labels:
            catalog.put("labels", block.row())
        if bundles != self.place.bundles:
            catalog.put("bundles", (commit.line, commit.number, bundles))
        catalog.put("meta", ("next_leaf", str(self._leaves.next_leaf)))
        catalog.put("branches", (branch.name, branch.line, branch.head))

    def _after_commit(self, commit: Commit, branch: Branch, bundles: str) -> None:
        self._packs.end()
        self.place.directory.named()
        self.place = dataclasses.replace(self.place, commit=commit, bundles=bundles)
        if self._labels:
            labels = Place.at(self._catalog, self._packs, branch.line, branch.head).labels
            self.place = dataclasses.replace(self.place, labels=labels)
            self._labels.clear()
        self.branch = branch
        if self._traces or self._reverse or self._touched:
            self._traces, self._reverse, self._touched = [], [], []
            self._next_reverse += 1  # there may have been a list
            self._chain = self._history.chain(branch.line, branch.head)
            self._stand_indices()
        self._leaves.number += 1

    # lines and branches

    def restore(self, at: int) -> None:
        """Move the branch to a new line that begins at commit ``at``; what no commit names is dropped."""
        planned = self._history.planned_fork(self.branch.name, at)
        journal = self._fresh_journal(planned, self._history.commit(at))
        with self._dropped(journal):
            branch = self._history.fork(planned.name, at)
        with no_way_back():
            self._discard_pack()
            self._stand(branch)
            self._switch_journal(journal)

    def add_branch(self, name: str, at: int) -> Branch:
        check_name(name, "branch")
        self._history.check_free(name)
        journal = self._fresh_journal(self._history.planned_fork(name, at), self._history.commit(at))
        with self._dropped(journal):
            branch = self._history.fork(name, at)
        journal.close(mark=False)
        return branch

    def delete_branch(self, name: str) -> None:
        branch = self._history.branch(name)
        if name == "main":
            raise InvalidInput('branch "main" is the one that opens when none is named: restore it to another commit')
        if name == self.branch.name:
            raise InvalidInput(f'branch "{name}" is the one that is open: open another one to delete it')
        with self._catalog.transaction():
            self._catalog.delete("branches", "WHERE name = ?", (name,))
        with contextlib.suppress(OSError):  # the next opening deletes left-overs
            self._files.unlink(journal_path(self._path, branch.line, branch.head))

    def collect(self, policy: Policy, stop: Callable[[], bool]) -> Collected:
        """Thin history and free space; see :mod:`engramdb.store.upkeep.gc`."""
        collector = Collector(
            self._files, self._path, self._catalog, self._packs, policy=policy, dry_run=False,
            new_pack=self._new_pack, stop=stop,
        )  # fmt: skip
        try:
            return collector.run()
        except OSError as error:
            raise NoWayBack from error
        finally:
            if self._packs.private is None and not self.place.directory.unnamed:
                self._stand(self.branch)  # records have moved: readers would find them, but with a detour

    def _fresh_journal(
        self, branch: Branch, commit: Commit, frames: bytes = b"", sequence: int | None = None
    ) -> JournalWriter:
        """The journal of a head that is about to be: without the catalog's word it is only a left-over.

        ``frames``: copies of those after the commit's, up to ``sequence``.
        """
        path = journal_path(self._path, branch.line, branch.head)
        head = self._head(branch, commit)
        create_journal(self._files, path, head, frames)
        return JournalWriter(
            self._files, path, end=len(head.encode()) + len(frames),
            sequence=commit.sequence if sequence is None else sequence, sync=self._durability == "journal", fresh=True,
        )  # fmt: skip

    @contextlib.contextmanager
    def _dropped(self, journal: JournalWriter) -> Iterator[None]:
        """After DiskFull the fresh journal is gone; after any other failure it may be the right one, and stays."""
        try:
            yield
        except BaseException as error:
            journal.close(mark=False)
            if not isinstance(error, DiskFull):
                raise NoWayBack from error
            with contextlib.suppress(OSError):  # the next opening deletes left-overs
                self._files.unlink(journal.path)
            raise

    def _switch_journal(self, journal: JournalWriter) -> None:
        old, self._journal = self._journal, journal
        old.close(mark=False)
        with contextlib.suppress(OSError):  # the next opening deletes left-overs
            self._files.unlink(old.path)

    def _discard_pack(self) -> None:
        if self._packs.private is not None:
            self._packs.discard(*self._packs.private)

    def close(self) -> None:
        """Drop what no commit names, and mark the journal's end."""
        self._closed = True
        try:
            self._discard_pack()
        finally:
            self._journal.close(mark=True)

    def abandon(self) -> None:
        """Close the files as they are, unless :meth:`close` has: a commit may or may not name them."""
        if not self._closed:
            self._closed = True
            self._packs.end()  # a commit may name it
            self._journal.close(mark=False)


class NoWayBack(Exception):
    """RAM and disk may disagree from here on: the handle must be closed. The cause is what happened."""


@contextlib.contextmanager
def no_way_back() -> Iterator[None]:
    """Whatever goes wrong inside is NoWayBack."""
    try:
        yield
    except BaseException as error:
        raise NoWayBack from error
