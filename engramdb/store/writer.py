"""The writer's half of a store: leaves into the private pack, commits, new lines, the journal.

The order of a commit is what makes it whole or absent: pack synced, its folder synced, next journal
created, then one catalog transaction that names it all, and only then is the old journal dropped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engramdb.errors import AlreadyExists, DiskFull
from engramdb.kernels import KERNEL_VERSION
from engramdb.store import labels as label_runs
from engramdb.store.catalog import Catalog
from engramdb.store.directory import by_segment
from engramdb.store.files import Files
from engramdb.store.history import Branch, Commit, History, StateRef, check_name, commit_row, now
from engramdb.store.journal import JournalHead, JournalReader, JournalWriter, create_journal, journal_path
from engramdb.store.leaf import LeafPolicy, encode_leaf
from engramdb.store.pack import Array, Packs, PackWriter
from engramdb.store.place import Place
from engramdb.store.reader import LeafReader
from engramdb.store.records import Records, concatenate, merge, settle
from engramdb.store.state import encode_state
from engramdb.store.versions import LeafRef, row_of

Durability = Literal["journal", "process", "checkpoint"]


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
        self._stand(branch)
        self._journal = self._open_journal()

    def _stand(self, branch: Branch) -> None:
        """Stand at the head of ``branch`` with nothing written since."""
        self.branch = branch
        self.place = Place.at(self._catalog, self._packs, branch.line, branch.head)
        self._neurons, self._synapses = self.place.commit.neurons, self.place.commit.synapses
        self._next_commit = 1 + int(self._catalog.rows("SELECT max(number) FROM commits")[0][0])
        self._next_pack = 1 + int(self._catalog.rows("SELECT coalesce(max(pack), 0) FROM packs")[0][0])
        newest_label = self._catalog.select("labels", "ORDER BY run DESC LIMIT 1")
        self._next_run = 1 + (newest_label[0][0] if newest_label else 0)
        self._next_leaf = int(self._catalog.meta("next_leaf"))
        self._labels: list[label_runs.BlockRef] = []

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
        if self._durability == "checkpoint":
            self._journal.sequence += 1
            return self._journal.sequence
        try:
            return self._journal.append(kind, tick, meta, arrays)
        except OSError as error:  # after a failed sync nobody knows what the disk holds
            raise NoWayBack from error

    # leaves

    def write(self, changes: Records) -> None:
        """Merge into leaves; all of it or, when an exception leaves, nothing."""
        _, pack = self._private_pack()
        end, next_leaf = pack.end, self._next_leaf
        written: list[LeafRef] = []
        neurons = synapses = 0
        try:
            for segment, start, stop in by_segment(changes.ids):
                for old, part in self._by_leaf(segment, changes.part(start, stop)):
                    fresh = list(self._write_leaf(segment, old, part))
                    written += fresh
                    neurons += sum(ref.rows for ref in fresh)
                    synapses += sum(ref.synapses for ref in fresh)
                    if old is not None and fresh[0].low == old.low:
                        neurons -= old.rows
                        synapses -= old.synapses
        except BaseException:
            pack.rewind(end)
            self._next_leaf = next_leaf
            raise
        self.place.directory.put(written)
        self._neurons += neurons
        self._synapses += synapses

    def _by_leaf(self, segment: int, changes: Records) -> Iterator[tuple[LeafRef | None, Records]]:
        table = self.place.directory.table(segment)
        if not len(table):
            yield None, changes
            return
        position = table.locate(changes.ids)
        edges = [0, *(np.flatnonzero(np.diff(position)) + 1).tolist(), len(changes)]
        for start, stop in itertools.pairwise(edges):
            yield table[int(position[start])], changes.part(start, stop)

    def _write_leaf(self, segment: int, old: LeafRef | None, changes: Records) -> Iterator[LeafRef]:
        """A new version of ``old`` with ``changes`` in it, and the leaves that split off."""
        low: int | None = segment << 32 if old is None else old.low
        leaf: int | None = None if old is None else old.leaf
        for piece in self._pieces(old, changes):
            if piece is None:  # the old leaf has no room for what comes behind it, and stays as it is
                low = leaf = None
                continue
            if low is None:
                low = int(piece.ids[0])
            if leaf is None:
                leaf, self._next_leaf = self._next_leaf, self._next_leaf + 1
            data, crc = encode_leaf(piece, line=self.branch.line, commit=self._next_commit, leaf=leaf, low=low)
            pack_number, pack = self._private_pack()
            yield LeafRef(
                line=self.branch.line, low=low, commit=self._next_commit, leaf=leaf,
                first=int(piece.ids[0]), last=int(piece.ids[-1]), kind=1,
                pack=pack_number, offset=pack.append(data), length=len(data), header_crc=crc,
                rows=len(piece), synapses=piece.synapses,
            )  # fmt: skip
            low = leaf = None

    def _pieces(self, old: LeafRef | None, changes: Records) -> Iterator[Records | None]:
        """What the leaf becomes, piece by piece. None: the old leaf stays as it is."""
        if old is not None and int(changes.ids[0]) <= old.last:
            merged = merge(self._reader.read(old), changes)
            edges = self._policy.halve(self._policy.costs(merged))
            for start, stop in itertools.pairwise(edges):
                yield merged.part(start, stop)
            return
        changes = settle(changes)
        stored = Records.empty() if old is None else self._reader.read(old)
        costs = np.concatenate([self._policy.costs(stored), self._policy.costs(changes)])
        edges, size = self._policy.fill(costs), len(stored)
        for start, stop in itertools.pairwise(edges):
            if stop == size and start == 0:
                yield None
            elif start >= size:
                yield changes.part(start - size, stop - size)
            else:
                yield concatenate([stored.part(start, min(stop, size)), changes.part(0, max(stop - size, 0))])

    def _private_pack(self) -> tuple[int, PackWriter]:
        if self._packs.private is None:
            self._packs.private = self._next_pack, PackWriter(self._files, self._path / "packs")
        return self._packs.private

    # labels

    def write_labels(self, layer: int, batches: label_runs.Batches) -> None:
        """One run; all of it or, when an exception leaves, nothing."""
        pack_number, pack = self._private_pack()
        end = pack.end
        try:
            written = label_runs.write_run(
                pack, batches, pack_number=pack_number, run=self._next_run,
                line=self.branch.line, commit=self._next_commit, layer=layer,
            )  # fmt: skip
        except BaseException:
            pack.rewind(end)
            raise
        self._labels += written
        self._next_run += 1

    # commits

    def commit_state(self, tick: int, state: Mapping[str, Array], bundles: str, message: str) -> Commit:
        """Everything written since the last commit, durable and named on return."""
        line, number = self.branch.line, self._next_commit
        place: StateRef | None = None
        end = self._packs.private[1].end if self._packs.private else 0
        if state:
            data, crc = encode_state(state, line=line, commit=number)
            pack_number, pack = self._private_pack()
            place = StateRef(pack_number, pack.append(data), len(data), crc)
        commit = Commit(
            number=number, line=line, parent=self.place.commit.number, tick=tick, created=now(), message=message,
            neurons=self._neurons, synapses=self._synapses, sequence=self._journal.sequence,
        )  # fmt: skip
        branch = Branch(self.branch.name, line, number)
        try:
            if self._packs.private:
                with no_way_back():
                    self._packs.private[1].finish()
            journal = self._fresh_journal(branch, commit)
            with self._dropped(journal), self._catalog.transaction():
                self._name(commit, place, branch, bundles)
        except DiskFull:
            if self._packs.private:
                self._packs.private[1].rewind(end)
            raise
        with no_way_back():
            self._after_commit(commit, branch, bundles)
            self._switch_journal(journal)
        return commit

    def _name(self, commit: Commit, state: StateRef | None, branch: Branch, bundles: str) -> None:
        catalog = self._catalog
        if self._packs.private:
            number, pack = self._packs.private
            catalog.put("packs", (number, pack.name, pack.end))
        catalog.put("commits", commit_row(commit, state))
        catalog.put_versions(row_of(ref) for ref in self.place.directory.unnamed)
        for block in self._labels:
            catalog.put("labels", block.row())
        if bundles != self.place.bundles:
            catalog.put("bundles", (commit.line, commit.number, bundles))
        catalog.put("meta", ("next_leaf", str(self._next_leaf)))
        catalog.put("branches", (branch.name, branch.line, branch.head))

    def _after_commit(self, commit: Commit, branch: Branch, bundles: str) -> None:
        if self._packs.private:
            self._packs.private[1].close()
            self._packs.private = None
            self._next_pack += 1
        self.place.directory.named()
        self.place = dataclasses.replace(self.place, commit=commit, bundles=bundles)
        if self._labels:
            labels = Place.at(self._catalog, self._packs, branch.line, branch.head).labels
            self.place = dataclasses.replace(self.place, labels=labels)
            self._labels.clear()
        self.branch = branch
        self._next_commit += 1

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
        if name in (branch.name for branch in self._history.branches()):
            raise AlreadyExists(f'there is a branch "{name}" already; choose another name')
        journal = self._fresh_journal(self._history.planned_fork(name, at), self._history.commit(at))
        with self._dropped(journal):
            branch = self._history.fork(name, at)
        journal.close(mark=False)
        return branch

    def _fresh_journal(self, branch: Branch, commit: Commit) -> JournalWriter:
        """The journal of a head that is about to be: without the catalog's word it is only a left-over."""
        path = journal_path(self._path, branch.line, branch.head)
        head = self._head(branch, commit)
        create_journal(self._files, path, head)
        return JournalWriter(
            self._files, path, end=len(head.encode()), sequence=commit.sequence,
            sync=self._durability == "journal", fresh=True,
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
        private, self._packs.private = self._packs.private, None
        self._reader.cache.clear()  # the next private pack has the same number
        if private:
            private[1].discard()

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
            if self._packs.private:
                self._packs.private[1].close()
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
