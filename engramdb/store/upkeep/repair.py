"""repair: where the present state of a branch is damaged, take the newest good version of what is, in a new commit.

History is not rewritten: the damaged versions stay where they are, and listed by verify, until gc frees them. What has
no good version anywhere is given up only when that is asked for. A catalog that is damaged cannot be repaired: it is
what says which records make up which commit, so it has to come from a copy.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engramdb.address import IdArray, format_id
from engramdb.errors import CatalogDamaged, Damaged, JournalDamaged, ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.spec import Spec
from engramdb.store import labels as label_runs
from engramdb.store import reverse
from engramdb.store.catalog import FORMAT_2_TABLES, TABLES, Catalog
from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files
from engramdb.store.history import Branch, Commit, History, StateRef, commit_row, now
from engramdb.store.journal import ADVICE as ADVICE_ON_JOURNALS
from engramdb.store.journal import (
    JournalHead,
    JournalReader,
    copied,
    create_journal,
    frames_behind_header,
    journal_path,
)
from engramdb.store.leaf import encode_leaf, encode_tombstone
from engramdb.store.leftovers import remove_leftovers
from engramdb.store.opening import expected_head, pack_name, take_lock
from engramdb.store.pack import DELTA, LEAF, TOMBSTONE, Array, BadRecord, Packs, PackWriter
from engramdb.store.reader import LeafReader, describe
from engramdb.store.state import ADVICE, encode_state, read_state
from engramdb.store.traces import TraceRef, read_trace
from engramdb.store.upkeep.presence import Presence
from engramdb.store.upkeep.recordcheck import check_records
from engramdb.store.upkeep.salvage import Salvage, Salvaged, Source
from engramdb.store.versions import LeafRef, row_of
from engramdb.url import as_url

_LOCAL_MASK = (1 << 32) - 1
_FLAG = "--drop-lost gives it up"


@dataclass(frozen=True)
class RepairedLeaf:
    """A leaf that was damaged at the head of ``branch``.

    ``neurons`` of it were taken from ``sources``. ``lost``: so many that it had are virtual again, with the rows that
    their rule generates; ``lost_ids`` names them as ranges where the damage does not hide which they were.
    """

    branch: str
    leaf: int
    ids: str
    where: str
    problem: str
    neurons: int
    lost: int
    lost_ids: list[str] | None
    sources: list[Source]

    def __str__(self) -> str:
        whence = "; ".join(
            f"{source.neurons} neurons as of commit {source.number}"
            + ("" if source.tick is None else f" (tick {source.tick}, {source.created})")
            for source in self.sources
        )
        lost = f", {self.lost} lost" if self.lost else ""
        if self.lost and self.lost_ids is not None:
            lost += f": {', '.join(self.lost_ids[:8])}{', ...' * (len(self.lost_ids) > 8)}"
        return f"leaf {self.leaf} of branch {self.branch} (ids {self.ids}): {whence or 'no good version'}{lost}"


@dataclass
class Repaired:
    """What repair did.

    ``commits``: the new head of each branch that got one. ``mended``: what was put right without any loss, ``dropped``:
    what was given up, ``refused``: what is still damaged, and why; one line each.
    """

    leaves: list[RepairedLeaf] = field(default_factory=list)
    commits: dict[str, int] = field(default_factory=dict)
    mended: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def repair(path: str | Path, *, drop_lost: bool = False, files: Files = OS_FILES) -> Repaired:
    """Repair the heads of all branches of the engram at ``path``, which nobody may be writing.

    ``drop_lost``: where no good version is left, let neurons be virtual again, in-flight state be that of rest, labels
    be forgotten, and commands of the journal behind the damage be dropped. Raises Locked, NotAnEngram, DiskFull, and
    CatalogDamaged: the catalog itself cannot be repaired.
    """
    if as_url(path) is not None:
        raise ReadOnly(f"{path} is published, and not repaired where it is: repair the engram and publish it anew")
    path = Path(path)
    with contextlib.ExitStack() as opened:
        catalog = opened.enter_context(contextlib.closing(Catalog(path, write=True)))
        opened.enter_context(contextlib.closing(take_lock(files, path)))
        try:
            for text in catalog.integrity_problems():
                raise CatalogDamaged(f"{catalog.path} is damaged: {text}")
            for table in (*TABLES, *FORMAT_2_TABLES):
                catalog.select(table)
            remove_leftovers(files, path, catalog)
            return _Repair(path, catalog, files, drop_lost=drop_lost).run()
        except CatalogDamaged as error:
            known = str(error).removesuffix("; restore it from a copy")
            raise CatalogDamaged(
                f"{known}; repair needs a whole catalog, and nothing else says which records make up which commit: "
                "restore the whole engram from a copy"
            ) from error


class _Repair:
    def __init__(self, path: Path, catalog: Catalog, files: Files, *, drop_lost: bool) -> None:
        self._path, self._catalog, self._files, self._drop_lost = path, catalog, files, drop_lost
        self._history = History(catalog)
        self._packs = Packs(files, path / "packs", lambda pack: pack_name(catalog, pack))
        self._reader = LeafReader(catalog, self._packs, 0)
        self._engram = bytes.fromhex(catalog.meta("engram"))
        self._projections = len(Spec.from_json(catalog.meta("spec")).all_projections)
        self._done = Repaired()
        self._good: set[tuple[int, int, int]] = set()

    def run(self) -> Repaired:
        with contextlib.closing(self._packs):
            for branch in self._history.branches():
                self._branch(branch)
            self._labels()
            self._traces()
            self._reverse()
        return self._done

    # a branch

    def _branch(self, branch: Branch) -> None:
        commit, state_ref = self._history.commits("WHERE number = ?", (branch.head,))[0]
        journal = self._journal(branch, commit)
        state = self._state(branch, commit, state_ref)
        if journal is None or state is None:
            return
        chain = self._history.chain(branch.line, branch.head)
        sizes = Bundles.from_json(self._history.bundles(chain)).sizes
        directory = Directory(self._catalog, chain)
        damaged = [found for found in self._leaves(directory) if found[2] is not None]
        salvage = Salvage(self._catalog, self._reader, sizes, self._projections)
        found = [(ref, last, str(problem), salvage.of(ref, chain, last)) for ref, last, problem in damaged]
        repairable = []
        for ref, last, problem, salvaged in found:
            if salvaged.uncovered and not self._drop_lost:
                where = ", ".join(f"{format_id(low)}-{format_id(high)}" for low, high in salvaged.uncovered)
                self._done.refused.append(
                    f"{describe(ref)} of branch {branch.name}: {problem}; no version of ids {where} is whole; {_FLAG}"
                )
            else:
                repairable.append((ref, last, problem, salvaged))
        lost_state = state_ref is not None and not state
        if repairable or lost_state:
            self._commit(branch, commit, state, journal, directory, repairable)

    def _leaves(self, directory: Directory) -> Iterator[tuple[LeafRef, int, str | None]]:
        """``(leaf, last id that it may hold, what is wrong)`` of all leaves of a head."""
        for segment in directory.segments():
            table = directory.table(segment)
            lows = [*table.rows["low"].tolist(), (segment + 1) << 32]
            for place in range(len(table)):
                ref = table[place]
                yield ref, lows[place + 1] - 1, self._problem(ref)

    def _problem(self, ref: LeafRef) -> str | None:
        key = ref.line, ref.low, ref.commit
        if key not in self._good:  # branches share most of their leaves
            try:
                check_records(ref, self._reader.check(ref), None, self._projections)
            except BadRecord as error:
                return str(error)
            self._good.add(key)
        return None

    def _state(self, branch: Branch, commit: Commit, ref: StateRef | None) -> dict[str, Array] | None:
        """The in-flight state of a head; {} where it is given up, None where it is not to be."""
        try:
            return {} if ref is None else read_state(self._packs, commit, ref)
        except Damaged as error:
            if self._drop_lost:
                self._done.dropped.append(
                    f"the in-flight state of branch {branch.name} (commit {commit.number}, tick {commit.tick}): all "
                    "neurons are at rest, no spike is under way, no stimulus is to come"
                )
                return {}
            problem = str(error).removesuffix(ADVICE)
            self._done.refused.append(f"branch {branch.name}: {problem}; {_FLAG}, and all neurons are at rest then")
            return None

    # the new commit

    def _commit(
        self, branch: Branch, head: Commit, state: dict[str, Array], journal: tuple[JournalHead, bytes],
        directory: Directory, repairable: list[tuple[LeafRef, int, str, Salvaged]],
    ) -> None:  # fmt: skip
        number = self._catalog.unused("commits")
        pack_number = self._catalog.unused("packs")
        neurons = sum(ref.rows for ref in directory.leaves())
        synapses = sum(ref.synapses for ref in directory.leaves())
        pack = PackWriter(self._files, self._path / "packs")
        try:
            fresh = []
            for ref, _, problem, salvaged in repairable:
                fresh.append(_written(pack, pack_number, ref, salvaged, branch.line, number))
                neurons += fresh[-1].rows - ref.rows
                synapses += fresh[-1].synapses - ref.synapses
                self._done.leaves.append(self._told(branch, ref, problem, salvaged))
            place: StateRef | None = None
            if state:
                data, crc = encode_state(state, line=branch.line, commit=number)
                place = StateRef(pack_number, pack.append(data), len(data), crc)
            pack.finish()
            old, frames = journal
            made = Commit(
                number, branch.line, head.number, head.tick, now(), _message(len(repairable)), neurons,
                synapses, head.sequence,
            )  # fmt: skip
            path = journal_path(self._path, branch.line, number)
            # the frames go on from here: they are durable under the new head's name before it is one
            create_journal(
                self._files, path, JournalHead(old.kernel, branch.line, number, head.sequence, self._engram),
                copied(frames),
            )  # fmt: skip
            # rows of another time may have targets that it does not know
            end = reverse.dropped(run=self._unused_run, line=branch.line, commit=number)
            with self._catalog.transaction():
                if self._catalog.has("reverse"):
                    self._catalog.put("reverse", end.row())
                if pack.end:
                    self._catalog.put("packs", (pack_number, pack.name, pack.end))
                self._catalog.put("commits", commit_row(made, place))
                self._catalog.put_versions(row_of(ref) for ref in fresh)
                self._catalog.put("branches", (branch.name, branch.line, number))
        finally:
            pack.close()  # if no commit names it now, the next writer removes it
        if not pack.end:
            pack.unlink()
        self._done.commits[branch.name] = number
        with contextlib.suppress(OSError):  # the next writer removes it
            self._files.unlink(journal_path(self._path, branch.line, branch.head))

    @property
    def _unused_run(self) -> int:
        if not self._catalog.has("reverse"):
            return 1
        (run,) = self._catalog.rows("SELECT coalesce(max(run), 0) + 1 FROM reverse")[0]
        return int(run)

    def _told(self, branch: Branch, ref: LeafRef, problem: str, salvaged: Salvaged) -> RepairedLeaf:
        lost = salvaged.lost
        return RepairedLeaf(
            branch=branch.name,
            leaf=ref.leaf,
            ids=f"{format_id(ref.first)}-{format_id(ref.last)}",
            where=self._reader.where(self._root(ref)),
            problem=problem,
            neurons=len(salvaged.records),
            lost=max(ref.rows - len(salvaged.records), 0) if lost is None else int(lost.size),
            lost_ids=None if lost is None else _ranges(lost),
            sources=list(salvaged.sources),
        )

    def _root(self, ref: LeafRef) -> LeafRef:
        """The version whose own record is damaged: ``ref``, or one beneath it."""
        below: LeafRef | None = ref
        while below is not None:
            try:
                record, now = self._reader.record(below)
                for name in record.columns:
                    record.encoded(name)
            except BadRecord:
                return below
            below = self._reader.beneath(now) if now.kind == DELTA else None
        return ref

    # the journal

    def _journal(self, branch: Branch, commit: Commit) -> tuple[JournalHead, bytes] | None:
        """The head of a branch's journal and its whole frames, put right if it was damaged; None where it is not."""
        path = journal_path(self._path, branch.line, branch.head)
        expected = expected_head(self._catalog, branch)
        try:
            return self._frames(path, branch, expected)
        except FileNotFoundError:
            problem = f"journal/{path.name} is missing"
        except JournalDamaged as error:
            frames = frames_behind_header(self._files, path, expected)
            if frames is not None:
                create_journal(self._files, path, expected, frames)
                self._done.mended.append(f"journal/{path.name}: its header, which follows from the catalog")
                return self._frames(path, branch, expected)
            problem = str(error).removesuffix(ADVICE_ON_JOURNALS)
        what = f"all commands of branch {branch.name} since commit {branch.head}"
        if not self._drop_lost:
            self._done.refused.append(f"{problem}; {_FLAG}, with {what}")
            return None
        if not path.parent.is_dir():
            self._files.mkdir(path.parent)
            self._files.fsync_dir(self._path)
        create_journal(self._files, path, expected)
        self._done.dropped.append(f"{what}: {problem}")
        return expected, b""

    def _frames(self, path: Path, branch: Branch, expected: JournalHead) -> tuple[JournalHead, bytes] | None:
        """Raises FileNotFoundError, and JournalDamaged where not even the header can be believed."""
        begin = len(expected.encode())
        with contextlib.closing(JournalReader(self._files, path)) as reader:
            head = reader.head
            if (head.engram, head.sequence) != (expected.engram, expected.sequence):
                raise JournalDamaged(f"journal {path} belongs to another engram or another commit")
            problem: JournalDamaged | None = None
            try:
                for _ in reader.frames(head):
                    pass
            except JournalDamaged as error:
                problem = error
            frames = reader.bytes_between(begin, reader.end)
            whole, behind = reader.sequence - head.sequence, reader.whole_behind()
        if problem is None:
            return head, frames
        what = f"{behind} whole commands behind a damaged one in journal/{path.name} of branch {branch.name}"
        if not self._drop_lost:
            told = str(problem).removesuffix(ADVICE_ON_JOURNALS)
            self._done.refused.append(f"{told}; {_FLAG} and keeps the {whole} before it, but loses {what}")
            return None
        create_journal(self._files, path, head, frames)
        self._done.dropped.append(f"a damaged command and {what}; the {whole} before it are kept")
        return head, frames

    # labels

    def _labels(self) -> None:
        """A block of labels has one version. Of a damaged one the first label is known, from the catalog."""
        presence = Presence(self._catalog, self._reader)
        for row in self._catalog.select("labels", "ORDER BY run, block"):
            block = label_runs.BlockRef.of_row(row)
            try:
                label_runs.read_block(self._packs, block)
            except Damaged as error:
                if not presence.of_labels(block):
                    continue
                if not self._drop_lost:
                    self._done.refused.append(f"{error}; {_FLAG}, all {block.labels} of them but the first")
                    continue
                self._first_label(block)
                self._done.dropped.append(
                    f"{block.labels - 1} labels of {format_id(block.first)}-{format_id(block.last)}: {error}"
                )

    # traces and the reverse index

    def _traces(self) -> None:
        """A trace has one version; of a damaged one only the name is left."""
        presence = Presence(self._catalog, self._reader)
        for row in self._catalog.select("traces"):
            ref = TraceRef(*row)
            if not ref.neurons:
                continue
            try:
                read_trace(self._packs, ref)
            except Damaged as error:
                if not presence.of_trace(ref):
                    continue
                if not self._drop_lost:
                    self._done.refused.append(f"{error}; {_FLAG}, all {ref.neurons} neurons of it")
                    continue
                with self._catalog.transaction():
                    self._catalog.put("traces", TraceRef(ref.line, ref.commit, ref.name, ref.tick, ref.created, 0))
                self._done.dropped.append(f'trace "{ref.name}" of {ref.neurons} neurons: {error}')

    def _reverse(self) -> None:
        """Damaged, it is given up: it only says again what the rows say."""
        for row in self._catalog.select("reverse", "WHERE pack IS NOT NULL"):
            try:
                reverse.read_block(self._packs, reverse.BlockRef.of_row(row))
            except Damaged:
                with self._catalog.transaction():
                    self._catalog.delete("reverse", "", ())
                self._done.mended.append("the reverse index is dropped; engramdb index builds it anew")
                return

    def _first_label(self, block: label_runs.BlockRef) -> None:
        number = self._catalog.unused("packs")
        pack = PackWriter(self._files, self._path / "packs")
        try:
            only = label_runs.first_of(block)
            data, crc = label_runs.encode_block(only, line=block.line, commit=block.commit)
            kept = block._replace(
                labels=1, last=block.first, pack=number, offset=pack.append(data), length=len(data), header_crc=crc
            )
            pack.finish()
            with self._catalog.transaction():
                self._catalog.put("packs", (number, pack.name, pack.end))
                self._catalog.put("labels", kept.row())
        finally:
            pack.close()


def _message(leaves: int) -> str:
    if not leaves:
        return "repaired: the in-flight state was lost"
    return f"repaired {leaves} {'leaf' if leaves == 1 else 'leaves'}"


def _written(
    pack: PackWriter, pack_number: int, damaged: LeafRef, salvaged: Salvaged, line: int, number: int
) -> LeafRef:
    """A new version of a leaf, or its end where nothing is left of it."""
    records, low, leaf = salvaged.records, damaged.low, damaged.leaf
    kind = LEAF if len(records) else TOMBSTONE
    if len(records):
        data, crc = encode_leaf(records, line=line, commit=number, leaf=leaf, low=low)
    else:
        data, crc = encode_tombstone(line=line, commit=number, leaf=leaf, low=low)
    return LeafRef(
        line=line, low=low, commit=number, leaf=leaf,
        first=int(records.ids[0]) if len(records) else low, last=int(records.ids[-1]) if len(records) else low,
        kind=kind, base_line=0, base=0, depth=0,
        pack=pack_number, offset=pack.append(data), length=len(data), header_crc=crc,
        rows=len(records), synapses=records.synapses,
    )  # fmt: skip


def _ranges(ids: IdArray) -> list[str]:
    """Sorted ids as ranges for people."""
    if not ids.size:
        return []
    edges = [0, *(np.flatnonzero(np.diff(ids) != 1) + 1).tolist(), ids.size]
    spans = [(int(ids[start]), int(ids[stop - 1])) for start, stop in itertools.pairwise(edges)]
    return [format_id(one) if one == other else f"{format_id(one)}-{format_id(other)}" for one, other in spans]
