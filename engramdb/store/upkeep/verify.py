"""verify: read everything that any commit names, check it, and say what is wrong where.

Works beside a running writer, changes nothing, and never stops at damage.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engramdb.errors import Damaged, EngramError, FormatTooNew, JournalDamaged, NotAnEngram, Unreachable
from engramdb.growth.bundle import Bundles
from engramdb.spec import Spec
from engramdb.store import labels as label_runs
from engramdb.store import reverse
from engramdb.store.catalog import Catalog
from engramdb.store.directory import Directory
from engramdb.store.files import OS_FILES, Files
from engramdb.store.history import Branch, Commit, History
from engramdb.store.journal import ADVICE as ADVICE_ON_JOURNALS
from engramdb.store.journal import JournalReader, frames_behind_header, journal_path
from engramdb.store.leftovers import leftovers
from engramdb.store.opening import expected_head
from engramdb.store.pack import Packs
from engramdb.store.reader import LeafReader
from engramdb.store.state import ADVICE, read_state
from engramdb.store.traces import TraceRef, read_trace
from engramdb.store.upkeep.presence import Presence
from engramdb.store.upkeep.problem import Problem, Report
from engramdb.store.upkeep.recordcheck import Sizes
from engramdb.store.upkeep.versioncheck import VersionCheck, stored
from engramdb.url import as_url, options_of

_CACHE_BYTES = 16 << 20  # for what deltas lie on
_TRIES = 3
_PAST = "no branch needs it now, and gc frees it when no snapshot does"
_INDEX_ANEW = "it only says again what the rows say: build it anew with engramdb index"
_FROM_A_COPY = "; restore it from a copy"  # says what the remedy says
_OLDER = (
    "restore the engram from a copy, or let verify --repair take older versions of what it held; what has none is "
    "told, and given up with --drop-lost"
)
_HEADER = "verify --repair writes its header anew, and nothing is lost"
_FOLDER = (
    "restore the engram from a copy, or go on from these commits with verify --repair --drop-lost, which makes it anew"
)
_GIVE_UP = "restore the engram from a copy, or give up what is lost with verify --repair --drop-lost"


def verify(path: str | Path, *, files: Files = OS_FILES) -> Report:
    """Check every row of the catalog, record, column, journal frame and label of the engram at ``path``.

    Damage comes back in the report; only NotAnEngram, FormatTooNew and Unreachable are raised. ``path`` may be the URL
    of a published engram.
    """
    if (url := as_url(path)) is not None:
        from engramdb.store.remote.files import verified

        return verified(url, options_of(path, None), verify)
    path = Path(path)
    report = Report()
    try:
        with contextlib.closing(Catalog(path, write=False)) as catalog:
            for _ in range(_TRIES):
                before, report = catalog.rows("PRAGMA data_version"), _empty()
                _Verifier(path, catalog, files, report).run()
                if report.ok or catalog.rows("PRAGMA data_version") == before:
                    break  # else a writer has moved or freed something meanwhile, and that may be all
    except (NotAnEngram, FormatTooNew, Unreachable):
        raise
    except EngramError as error:
        report.problems.append(Problem(str(error).removesuffix(_FROM_A_COPY), "catalog.sqlite"))
    return report


def _empty() -> Report:
    report = Report()
    counts = ("commits", "packs", "leaves", "deltas", "neurons", "synapses", "states", "labels", "journal_frames")
    report.count(**dict.fromkeys(counts, 0))
    return report


class _Verifier:
    def __init__(self, path: Path, catalog: Catalog, files: Files, report: Report) -> None:
        self._path, self._catalog, self._files, self._report = path, catalog, files, report
        self._history = History(catalog)
        self._names: dict[int, str] = {}
        self._packs = Packs(files, path / "packs", lambda pack: self._names.get(pack, f"number {pack}"))
        self._leaves = LeafReader(catalog, self._packs, _CACHE_BYTES)
        self._sizes: dict[int, Sizes] = {}
        self._presence = Presence(catalog, self._leaves)
        self._check = VersionCheck(catalog, self._leaves, report, self._names)

    def run(self) -> None:
        with contextlib.closing(self._packs):
            for check in (
                self._integrity, self._spec, self._pack_files, self._tree, self._versions,
                self._heads, self._states, self._labels, self._traces, self._reverse, self._journals, self._left_over,
            ):  # fmt: skip
                with self._reported("catalog.sqlite"):
                    check()

    @contextlib.contextmanager
    def _reported(self, where: str) -> Iterator[None]:
        try:
            yield
        except Unreachable:
            raise  # it says nothing of what is stored
        except EngramError as error:
            self._add(str(error), where)

    def _add(self, what: str, where: str, heads: list[str] | None = None, remedy: str = _GIVE_UP) -> None:
        """``heads``: the branches whose present state needs it, where that can be told; [] is damage of the past.

        ``remedy``: where a branch needs it.
        """
        problem = Problem(what.removesuffix(_FROM_A_COPY), where)
        if heads is not None:
            problem = replace(problem, heads=heads, past=not heads, remedy=remedy if heads else _PAST)
        if problem not in self._report.problems:
            self._report.problems.append(problem)

    def _integrity(self) -> None:
        for text in self._catalog.integrity_problems():
            self._add(f"SQLite finds: {text}", "catalog.sqlite")

    def _spec(self) -> None:
        self._check.projections = len(Spec.from_json(self._catalog.meta("spec")).all_projections)
        for key in ("engram", "next_leaf"):
            self._catalog.meta(key)

    def _pack_files(self) -> None:
        for pack, name, nbytes in self._catalog.select("packs"):
            self._names[pack] = name
            self._report.count(packs=1)
            file = self._path / "packs" / f"{name}.pack"
            try:
                handle = self._files.open(file)
            except FileNotFoundError:
                heads = self._presence.of_pack(pack)
                self._add("a pack that commits name is missing", f"packs/{name}.pack", heads, _OLDER)
                continue
            size = self._files.size(handle)
            self._files.close(handle)
            if size < nbytes:
                heads = self._presence.of_pack(pack)
                self._add(f"a pack ends after {size} of its {nbytes} bytes", f"packs/{name}.pack", heads, _OLDER)

    def _tree(self) -> None:
        """Commits, lines, branches and snapshots refer to each other; bundles can be read."""
        commits: dict[int, Commit] = {}
        for commit, _ in self._history.commits():
            commits[commit.number] = commit
            self._report.count(commits=1)
            if commit.parent is not None and commit.parent not in commits:
                self._add(f"commit {commit.number} follows commit {commit.parent}, which is missing", "catalog.sqlite")
            with self._reported("catalog.sqlite"):
                self._sizes[commit.number] = sizes = self._sizes_at(commit)
                self._check.know(commit, sizes)
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
        for row in stored(self._catalog):
            with self._reported("catalog.sqlite"):
                self._check.check(row)

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
                try:
                    read_state(self._packs, commit, ref)
                except Damaged as error:
                    self._lost_state(str(error).removesuffix(ADVICE), commit.number, ref.pack)

    def _lost_state(self, what: str, number: int, pack: int) -> None:
        heads = self._presence.of_commit(number)
        snapshots = [snapshot.name for snapshot in self._history.snapshots() if snapshot.commit == number]
        remedy = _GIVE_UP if heads else _PAST
        if snapshots:
            names = ", ".join(f'"{name}"' for name in snapshots)
            remedy = (
                f"snapshot{'s' * (len(snapshots) > 1)} {names} can be asked for rows and records, but not restored: "
                "make a branch there, and verify --repair --drop-lost lets all neurons of it be at rest"
            )
            remedy += f"; branch {', '.join(heads)} needs it too" if heads else "; or delete the name, and gc frees it"
        where = f"packs/{self._names.get(pack)}.pack"
        self._report.problems.append(
            Problem(what, where, heads=heads, past=not heads, snapshots=snapshots, remedy=remedy)
        )

    def _labels(self) -> None:
        before: label_runs.BlockRef | None = None
        for row in self._catalog.select("labels", "ORDER BY run, block"):
            ref = label_runs.BlockRef.of_row(row)
            self._report.count(labels=ref.labels)
            try:
                block = label_runs.read_block(self._packs, ref)
            except Damaged as error:
                place = f"packs/{self._names.get(ref.pack)}.pack"
                self._add(str(error), place, self._presence.of_labels(ref))
            else:
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

    def _traces(self) -> None:
        for row in self._catalog.select("traces"):
            ref = TraceRef(*row)
            if ref.neurons:
                self._report.count(traces=1)
                try:
                    read_trace(self._packs, ref)
                except Damaged as error:
                    self._add(str(error), f"packs/{self._names.get(ref.pack or 0)}.pack", self._presence.of_trace(ref))

    def _reverse(self) -> None:
        """Every block can be read, and those of a run follow one another."""
        before: reverse.BlockRef | None = None
        for row in self._catalog.select("reverse", "ORDER BY run, block"):
            ref = reverse.BlockRef.of_row(row)
            self._report.count(reverse_entries=ref.entries)
            same_run = before is not None and before.run == ref.run
            if ref.block != (before.block + 1 if same_run and before is not None else 0) or (
                same_run and before is not None and before.last > ref.first
            ):
                self._damaged_reverse(f"block {ref.block} of run {ref.run} of the reverse index is out of place",
                                      "catalog.sqlite")  # fmt: skip
            before = ref
            if ref.entries:
                try:
                    reverse.read_block(self._packs, ref)
                except Damaged as error:
                    self._damaged_reverse(str(error), f"packs/{self._names.get(ref.pack or 0)}.pack")

    def _damaged_reverse(self, what: str, where: str) -> None:
        """Nothing is lost by it, whoever sees it."""
        self._report.problems.append(Problem(what, where, heads=[], past=False, remedy=_INDEX_ANEW))

    def _journals(self) -> None:
        if not (self._path / "journal").is_dir():
            branches = self._history.branches()
            since = ", ".join(f"{branch.name} (after commit {branch.head})" for branch in branches)
            what = f"the folder of the journals is missing, with what was done on the branches {since}"
            self._add(what, "journal/", [branch.name for branch in branches], _FOLDER)
            return
        for branch in self._history.branches():
            try:
                self._journal(branch)
            except JournalDamaged as error:
                path = journal_path(self._path, branch.line, branch.head)
                expected = expected_head(self._catalog, branch)
                remedy = _GIVE_UP if frames_behind_header(self._files, path, expected) is None else _HEADER
                self._add(str(error).removesuffix(ADVICE_ON_JOURNALS), f"journal/{path.name}", [branch.name], remedy)

    def _journal(self, branch: Branch) -> None:
        path = journal_path(self._path, branch.line, branch.head)
        try:
            reader = JournalReader(self._files, path)
        except FileNotFoundError:
            if self._history.branch(branch.name) == branch:  # else the writer has just committed
                self._add(
                    f"the journal of branch {branch.name} is missing; what happened after commit {branch.head} is lost",
                    f"journal/{path.name}",
                    [branch.name],
                )
            return
        with contextlib.closing(reader):
            if reader.head.engram.hex() != self._catalog.meta("engram"):
                self._add("a journal of another engram", f"journal/{path.name}", [branch.name])
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
