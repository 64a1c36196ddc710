"""verify: read everything that any commit names, check it, and say what is wrong where.

Works beside a running writer, changes nothing, and never stops at damage.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engramdb.address import MAX_LOCAL, format_id
from engramdb.errors import EngramError, FormatTooNew, NotAnEngram
from engramdb.growth.bundle import Bundles
from engramdb.spec import Spec
from engramdb.store import labels as label_runs
from engramdb.store.catalog import Catalog
from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files
from engramdb.store.history import Branch, Commit, History
from engramdb.store.journal import JournalReader, journal_path
from engramdb.store.leftovers import leftovers
from engramdb.store.pack import BadRecord, Packs
from engramdb.store.reader import LeafReader, describe, good_copies_text
from engramdb.store.records import GENERATED, KEEP, STORED, Records
from engramdb.store.state import read_state
from engramdb.store.versions import SELECTED, LeafRef, ref_of, table_of

_PAGE = 4096

Sizes = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``ids`` is a range of neurons as text; ``good_in`` names snapshots with a whole copy."""

    what: str
    where: str
    pack: str | None = None
    offset: int | None = None
    leaf: int | None = None
    ids: str | None = None
    good_in: list[str] = field(default_factory=list)
    remedy: str = "restore the engram from a copy"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass
class Report:
    """What :func:`verify` found. ``checked`` counts what was read; ``notes`` are remarks that are no damage."""

    problems: list[Problem] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def count(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self.checked[name] = self.checked.get(name, 0) + amount


def verify(path: str | Path, *, files: Files = OS_FILES) -> Report:
    """Check every row of the catalog, record, column, journal frame and label of the engram at ``path``.

    Damage comes back in the report; only NotAnEngram and FormatTooNew are raised.
    """
    path = Path(path)
    report = Report()
    counts = ("commits", "packs", "leaves", "neurons", "synapses", "states", "labels", "journal_frames")
    report.count(**dict.fromkeys(counts, 0))
    try:
        with contextlib.closing(Catalog(path, write=False)) as catalog:
            _Verifier(path, catalog, files, report).run()
    except (NotAnEngram, FormatTooNew):
        raise
    except EngramError as error:
        report.problems.append(Problem(str(error), "catalog.sqlite"))
    return report


class _Verifier:
    def __init__(self, path: Path, catalog: Catalog, files: Files, report: Report) -> None:
        self._path, self._catalog, self._files, self._report = path, catalog, files, report
        self._history = History(catalog)
        self._names: dict[int, str] = {}
        self._packs = Packs(files, path / "packs", lambda pack: self._names.get(pack, f"number {pack}"))
        self._leaves = LeafReader(catalog, self._packs, 0)
        self._sizes: dict[int, Sizes] = {}
        self._projections = 1 << 16

    def run(self) -> None:
        with contextlib.closing(self._packs):
            for check in (
                self._integrity, self._spec, self._pack_files, self._tree, self._versions,
                self._heads, self._states, self._labels, self._journals, self._left_over,
            ):  # fmt: skip
                with self._reported("catalog.sqlite"):
                    check()

    @contextlib.contextmanager
    def _reported(self, where: str) -> Iterator[None]:
        try:
            yield
        except EngramError as error:
            self._add(str(error), where)

    def _add(self, what: str, where: str) -> None:
        problem = Problem(what, where)
        if problem not in self._report.problems:
            self._report.problems.append(problem)

    def _integrity(self) -> None:
        for text in self._catalog.integrity_problems():
            self._add(f"SQLite finds: {text}", "catalog.sqlite")

    def _spec(self) -> None:
        self._projections = len(Spec.from_json(self._catalog.meta("spec")).all_projections)
        for key in ("engram", "next_leaf"):
            self._catalog.meta(key)

    def _pack_files(self) -> None:
        for pack, name, nbytes in self._catalog.select("packs"):
            self._names[pack] = name
            self._report.count(packs=1)
            file = self._path / "packs" / f"{name}.pack"
            if not file.is_file():
                self._add("a pack that commits name is missing", f"packs/{name}.pack")
            elif file.stat().st_size < nbytes:
                self._add(f"a pack ends after {file.stat().st_size} of its {nbytes} bytes", f"packs/{name}.pack")

    def _tree(self) -> None:
        """Commits, lines, branches and snapshots refer to each other; bundles can be read."""
        commits: dict[int, Commit] = {}
        for commit, _ in self._history.commits():
            commits[commit.number] = commit
            self._report.count(commits=1)
            if commit.parent is not None and commit.parent not in commits:
                self._add(f"commit {commit.number} follows commit {commit.parent}, which is missing", "catalog.sqlite")
            with self._reported("catalog.sqlite"):
                self._sizes[commit.number] = self._sizes_at(commit)
        for line, parent, fork in self._catalog.select("lines"):
            if parent is not None and fork not in commits:
                self._add(f"line {line} begins at commit {fork}, which is missing", "catalog.sqlite")
        for branch in self._history.branches():
            if branch.head not in commits:
                self._add(f"branch {branch.name} stands at commit {branch.head}, which is missing", "catalog.sqlite")
        for name, number, _ in self._catalog.select("snapshots"):
            if number not in commits:
                self._add(f'snapshot "{name}" names commit {number}, which is missing', "catalog.sqlite")

    def _sizes_at(self, commit: Commit) -> Sizes:
        document = self._history.bundles(self._history.chain(commit.line, commit.number))
        previous = self._sizes.get(commit.parent or 0)
        if previous is not None and commit.parent is not None:
            parent = self._history.commit(commit.parent)
            if document == self._history.bundles(self._history.chain(parent.line, parent.number)):
                return previous
        return Bundles.from_json(document).sizes

    def _versions(self) -> None:
        condition = f"WHERE (line, low, number) > (?, ?, ?) ORDER BY line, low, number LIMIT {_PAGE}"
        after: tuple[int, int, int] = (-(1 << 63), -(1 << 63), -(1 << 63))
        while True:
            rows = self._catalog.rows(f"SELECT {SELECTED} FROM versions {condition}", after)
            for row in rows:
                with self._reported("catalog.sqlite"):
                    self._version(ref_of(table_of([row])[0]))
            if len(rows) < _PAGE:
                return
            after = rows[-1][:3]

    def _version(self, ref: LeafRef) -> None:
        self._report.count(leaves=1)
        try:
            records = self._leaves.check(ref)
            sizes = self._sizes.get(ref.commit)
            if sizes is not None:
                self._check_records(ref, records, sizes)
            self._report.count(neurons=len(records), synapses=records.synapses)
        except BadRecord as error:
            good = self._leaves.good_copies(ref)
            problem = Problem(
                what=f"{describe(ref)} of commit {ref.commit} is damaged: {error}",
                where=self._leaves.where(ref),
                pack=self._names.get(ref.pack),
                offset=ref.offset,
                leaf=ref.leaf,
                ids=f"{format_id(ref.first)}-{format_id(ref.last)}",
                good_in=good,
                remedy=good_copies_text(good) + ("" if good else ": restore the engram from a copy"),
            )
            self._report.problems.append(problem)

    def _check_records(self, ref: LeafRef, records: Records, sizes: Sizes) -> None:
        """Raise BadRecord where values that pass their checksums cannot be."""
        ids = records.ids
        if (ids[1:] <= ids[:-1]).any():
            raise BadRecord("its ids do not increase")
        if (
            int(ids[0]) != ref.first
            or int(ids[-1]) != ref.last
            or ref.first < ref.low
            or ref.low >> 32 != ref.last >> 32
        ):
            raise BadRecord("its ids are not those that the catalog names")
        if not _exist(ids, sizes):
            raise BadRecord("it holds ids that its segment does not have")
        if ((records.row_kind == KEEP) | (records.row_kind > GENERATED)).any():
            raise BadRecord("a row is neither stored nor generated")
        if ((np.diff(records.indptr) > 0) & (records.row_kind != STORED)).any():
            raise BadRecord("a generated row has synapses")
        if not _exist(records.target, sizes):
            raise BadRecord("a synapse leads to a neuron that does not exist")
        if records.projection.size and int(records.projection.max()) >= self._projections:
            raise BadRecord("a synapse belongs to a projection that does not exist")
        if not np.isfinite(records.weight).all():
            raise BadRecord("a weight is not finite")

    def _heads(self) -> None:
        """At every head and snapshot, leaves do not overlap and add up to what the commit says."""
        places = {(branch.line, branch.head) for branch in self._history.branches()}
        for snapshot in self._history.snapshots():
            places.add((self._history.commit(snapshot.commit).line, snapshot.commit))
        for line, number in sorted(places):
            commit = self._history.commit(number)
            neurons = synapses = 0
            last = -1
            for ref in Directory(self._catalog, self._history.chain(line, number)).leaves():
                if ref.low <= last:
                    self._add(
                        f"leaf {ref.leaf} overlaps the one before it at commit {number} of line {line}",
                        "catalog.sqlite",
                    )
                last = max(last, ref.last)
                neurons += ref.rows
                synapses += ref.synapses
            if (neurons, synapses) != (commit.neurons, commit.synapses):
                self._add(
                    f"commit {number} has {commit.neurons} neurons and {commit.synapses} synapses, "
                    f"and its leaves {neurons} and {synapses}",
                    "catalog.sqlite",
                )

    def _states(self) -> None:
        for commit, ref in self._history.commits():
            if ref is not None:
                self._report.count(states=1)
                with self._reported(f"packs/{self._names.get(ref.pack)}.pack"):
                    read_state(self._packs, commit, ref)

    def _labels(self) -> None:
        before: label_runs.BlockRef | None = None
        for row in self._catalog.select("labels", "ORDER BY run, block"):
            ref = label_runs.BlockRef.of_row(row)
            self._report.count(labels=ref.labels)
            with self._reported(f"packs/{self._names.get(ref.pack)}.pack"):
                block = label_runs.read_block(self._packs, ref)
                keys = [label_runs.sortable(key) for key in block.keys]
                increasing = all(one < other for one, other in itertools.pairwise(keys))
                if not increasing or (block.ids[1:] <= block.ids[:-1]).any() or keys[0] != ref.first_key:
                    self._add(
                        "labels that are not sorted, or not those that the catalog names",
                        f"packs/{self._names.get(ref.pack)}.pack",
                    )
            same_run = before is not None and before.run == ref.run
            if ref.block != (before.block + 1 if same_run and before is not None else 0):
                self._add(
                    f"block {ref.block} of label run {ref.run} does not follow the one before it", "catalog.sqlite"
                )
            before = ref

    def _journals(self) -> None:
        for branch in self._history.branches():
            with self._reported(f"journal/{branch.line}-{branch.head}"):
                self._journal(branch)

    def _journal(self, branch: Branch) -> None:
        path = journal_path(self._path, branch.line, branch.head)
        try:
            reader = JournalReader(self._files, path)
        except FileNotFoundError:
            if self._history.branch(branch.name) == branch:  # else the writer has just committed
                self._add(
                    f"the journal of branch {branch.name} is missing; what happened after commit {branch.head} is lost",
                    f"journal/{path.name}",
                )
            return
        with contextlib.closing(reader):
            if reader.head.engram.hex() != self._catalog.meta("engram"):
                self._add("a journal of another engram", f"journal/{path.name}")
            for _ in reader.frames(reader.head):
                self._report.count(journal_frames=1)
            if reader.torn:
                self._report.notes.append(
                    f"journal/{path.name} ends in a part of a frame, never acknowledged or being written now"
                )

    def _left_over(self) -> None:
        for path in leftovers(self._path, self._catalog):
            self._report.notes.append(
                f"{path.parent.name}/{path.name} is named by no commit: a writer uses it, or the next one removes it"
            )


def _exist(ids: npt.NDArray[np.uint64], sizes: Sizes) -> bool:
    """Whether all ids lie below the sizes of their segments."""
    if not ids.size:
        return True
    segments = ids >> np.uint64(32)
    kinds = segments[:1] if bool((segments == segments[0]).all()) else np.unique(segments)
    for segment in kinds.tolist():
        local = ids[segments == np.uint64(segment)] & np.uint64(MAX_LOCAL)
        if int(local.max()) >= sizes.get((segment >> 16, segment & 0xFFFF), 0):
            return False
    return True
