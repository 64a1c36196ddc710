"""gc: thin history, and give back the space of what no kept commit can see.

Every step is one catalog transaction that leaves a whole engram, and files are deleted after the transaction that
stops naming them: a gc that was killed or stopped can simply be repeated.

1. The commits to go are marked, so that no reader comes to stand at one; then the living readers are counted.
2. Commits, and lines that nothing follows, are deleted in one transaction, and parents are linked anew.
3. Leaf versions, bundles and labels that nothing needs are deleted, a range of ids at a time.
4. Packs in which nothing is needed are deleted.
5. Packs in which less than half is needed are copied, what is needed of them, to new ones: the copy is synced, then
   one transaction lets the rows name it instead, then the old file is deleted. A reader that still holds the old place
   looks the record up again by its line, low and number, which stay.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engramdb.errors import DiskFull, EngramError
from engramdb.store import reverse
from engramdb.store.catalog import FORMAT_2_TABLES, Catalog
from engramdb.store.files import Files
from engramdb.store.history import Commit, History, StateRef, commit_row
from engramdb.store.labels import BlockRef
from engramdb.store.leftovers import leftovers
from engramdb.store.lock import living_pins
from engramdb.store.pack import BadRecord, Packs, PackWriter
from engramdb.store.traces import TraceRef
from engramdb.store.upkeep.retention import THINNING, Lines, Plan, Policy, plan
from engramdb.store.upkeep.visibility import Numbers, Versions, versions

_COPIED_BYTES = 1 << 26  # of packs that are copied together: as much space is needed meanwhile
_PACKS_AT_ONCE = 500  # the most values in one SQL statement, with room to spare
_VACUUM_PAGES = 256  # free pages of the catalog that are worth giving back, if they are a quarter of it


@dataclass
class Collected:
    """What gc did, or would do with ``dry_run``.

    ``kept`` counts commits by the reason they stay; ``dropped`` are the numbers of those that go. ``bytes_freed`` is of
    packs and catalog; ``bytes_kept`` of packs. ``damaged`` packs were not copied, because records in them fail their
    checks: see verify. ``stopped``: it was interrupted, and can be repeated.
    """

    dry_run: bool
    kept: dict[str, int] = field(default_factory=dict)
    dropped: list[int] = field(default_factory=list)
    lines_dropped: list[int] = field(default_factory=list)
    versions_kept: int = 0
    versions_dropped: int = 0
    packs_kept: int = 0
    packs_dropped: int = 0
    packs_copied: int = 0
    bytes_kept: int = 0
    bytes_freed: int = 0
    damaged: list[str] = field(default_factory=list)
    stopped: bool = False


class Stopped(Exception):
    """The caller asked to stop, between two steps."""


@dataclass(frozen=True)
class _Pack:
    number: int
    name: str
    nbytes: int


class Collector:
    """One gc, under the writer's lock. ``new_pack`` begins a pack, and is needed unless ``dry_run``."""

    def __init__(
        self, files: Files, path: Path, catalog: Catalog, packs: Packs, *, policy: Policy, dry_run: bool,
        new_pack: Callable[[], tuple[int, PackWriter]] | None = None, stop: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._files, self._path, self._catalog, self._packs = files, path, catalog, packs
        self._history = History(catalog)
        self._policy, self._new_pack, self._stop = policy, new_pack, stop
        self._done = Collected(dry_run)
        self._live: dict[int, int] = {}  # bytes that are needed of each pack
        self._pinned: set[int] = set()
        self._now = datetime.datetime.now(datetime.UTC)

    def run(self) -> Collected:
        """Raises CatalogDamaged, having changed nothing, and DiskFull, after which the engram is whole."""
        with contextlib.suppress(Stopped):
            done = self._done
            lines = self._lines()
            commits = {commit.number: (commit, state) for commit, state in self._history.commits()}
            chosen = self._plan(commits, lines)
            if not done.dry_run:
                self._remove_journals()
                chosen = self._mark(chosen, commits, lines)
                self._thin(chosen, commits)
            done.kept = dict(Counter(chosen.kept.values()))
            done.dropped = list(chosen.dropped)
            done.lines_dropped = sorted(lines.keys() - chosen.lines)
            self._collect(chosen, commits, lines)
            self._clear_packs()
            self._shrink_catalog()
            return done
        self._done.stopped = True
        return self._done

    def _between_steps(self) -> None:
        if self._stop():
            raise Stopped

    # commits

    def _lines(self) -> Lines:
        return {line: (parent, fork) for line, parent, fork in self._history.lines()}

    def _plan(self, commits: dict[int, tuple[Commit, StateRef | None]], lines: Lines) -> Plan:
        self._pinned |= living_pins(self._files, self._path)
        return plan(
            {number: commit for number, (commit, _) in commits.items()}, lines,
            self._history.branches(), self._history.snapshots(), self._pinned, self._policy, self._now,
        )  # fmt: skip

    def _remove_journals(self) -> None:
        """Journals of no head: once their commit is thinned, they would look as if the catalog had lost it."""
        for path in leftovers(self._path, self._catalog):
            if path.parent.name == "journal":
                self._files.unlink(path)
        self._files.fsync_dir(self._path / "journal")  # those that were removed before, too, stay away for good

    def _mark(self, chosen: Plan, commits: dict[int, tuple[Commit, StateRef | None]], lines: Lines) -> Plan:
        """Keep new readers away from what goes, and then see who is there already."""
        if chosen.dropped:
            with self._catalog.transaction():
                self._catalog.put("meta", (THINNING, json.dumps(chosen.dropped, separators=(",", ":"))))
        self._between_steps()
        return self._plan(commits, lines)

    def _thin(self, chosen: Plan, commits: dict[int, tuple[Commit, StateRef | None]]) -> None:
        catalog = self._catalog
        with catalog.transaction():
            catalog.remember_numbers()
            for number in chosen.dropped:
                catalog.delete("commits", "WHERE number = ?", (number,))
            for number, parent in chosen.parents.items():
                commit, state = commits[number]
                catalog.put("commits", commit_row(replace(commit, parent=parent), state))
            for line in self._lines().keys() - chosen.lines:
                catalog.delete("lines", "WHERE line = ?", (line,))
            catalog.delete("meta", "WHERE key = ?", (THINNING,))
        self._between_steps()

    # what commits see

    def _collect(self, chosen: Plan, commits: dict[int, tuple[Commit, StateRef | None]], lines: Lines) -> None:
        bounds = _bounds(chosen, commits)
        parents = {line: lines[line][0] for line in chosen.lines}
        for parts in versions(self._catalog, bounds, parents):
            for part in parts:
                kept = int(np.count_nonzero(part.kept))
                self._done.versions_kept += kept
                self._done.versions_dropped += part.kept.size - kept
                self._count(part.pack[part.kept], part.length[part.kept])
            self._delete([part for part in parts if not part.kept.all()])
        self._drop_rows("bundles", ("line", "number"), _unseen(self._rows("bundles"), bounds))
        labels = [BlockRef.of_row(row) for row in self._catalog.select("labels")]
        unseen = [ref for ref in labels if not _any_from(bounds, ref.line, ref.commit)]
        self._drop_rows("labels", ("run", "block"), [(ref.run, ref.block) for ref in unseen])
        for ref in set(labels) - set(unseen):
            self._count(np.array([ref.pack]), np.array([ref.length]))
        self._collect_traces(bounds)
        self._collect_reverse(bounds)
        for number in chosen.kept:
            state = commits[number][1]
            if state is not None:
                self._count(np.array([state.pack]), np.array([state.length]))

    def _collect_traces(self, bounds: dict[int, Numbers]) -> None:
        refs = [TraceRef(*row) for row in self._catalog.select("traces")]
        by_name: dict[str, list[TraceRef]] = {}
        for ref in refs:
            by_name.setdefault(ref.name, []).append(ref)
        gone = []
        for name, own in by_name.items():
            unseen = set(_unseen([(ref.line, ref.commit) for ref in own], bounds))
            gone += [(line, number, name) for line, number in unseen]
            self._count_placed(ref for ref in own if (ref.line, ref.commit) not in unseen)
        self._drop_rows("traces", ("line", "number", "name"), gone)

    def _collect_reverse(self, bounds: dict[int, Numbers]) -> None:
        if not self._catalog.has("reverse"):
            return
        rows = self._catalog.rows("SELECT DISTINCT run, line, number, kind, since FROM reverse")
        gone = reverse.unseen({run: (line, number, kind, since) for run, line, number, kind, since in rows}, bounds)
        self._count_placed(
            ref for ref in map(reverse.BlockRef.of_row, self._catalog.select("reverse")) if ref.run not in gone
        )
        self._drop_rows("reverse", ("run",), [(run,) for run in gone])

    def _count_placed(self, refs: Iterable[TraceRef | reverse.BlockRef]) -> None:
        """Count records that lie somewhere, which not all do."""
        places = [(ref.pack, ref.length) for ref in refs if ref.pack is not None]
        if places:
            packs, lengths = np.array(places, np.int64).T
            self._count(packs, lengths)

    def _count(self, pack: Numbers, length: Numbers) -> None:
        numbers, place = np.unique(pack, return_inverse=True)
        for number, nbytes in zip(numbers.tolist(), np.bincount(place, weights=length).tolist(), strict=True):
            self._live[number] = self._live.get(number, 0) + int(nbytes)

    def _delete(self, parts: Sequence[Versions]) -> None:
        if not parts or self._done.dry_run:
            return
        with self._catalog.transaction():
            for part in parts:
                if part.kept.any():
                    gone = ~part.kept
                    keys = zip(part.low[gone].tolist(), part.number[gone].tolist(), strict=True)
                    self._catalog.change(
                        "DELETE FROM versions WHERE line = ? AND low = ? AND number = ?",
                        ((part.line, low, number) for low, number in keys),
                    )
                else:
                    self._catalog.delete("versions", "WHERE line = ? AND low BETWEEN ? AND ?",
                                         (part.line, part.begin, part.end))  # fmt: skip
        self._between_steps()

    def _rows(self, table: str) -> list[tuple[int, int]]:
        return [(line, number) for line, number in self._catalog.rows(f"SELECT line, number FROM {table}")]

    def _drop_rows(self, table: str, key: Sequence[str], gone: Iterable[tuple[Any, ...]]) -> None:
        rows = list(gone)
        if rows and not self._done.dry_run:
            with self._catalog.transaction():
                self._catalog.change(f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}", rows)
            self._between_steps()

    # packs

    def _clear_packs(self) -> None:
        all_packs = [_Pack(*row) for row in self._catalog.select("packs", "ORDER BY pack")]
        dead = [pack for pack in all_packs if not self._live.get(pack.number)]
        sparse = [pack for pack in all_packs if 0 < self._live.get(pack.number, 0) < pack.nbytes / 2]
        self._done.packs_kept = len(all_packs) - len(dead)
        self._done.bytes_kept = sum(pack.nbytes for pack in all_packs)
        self._drop_packs(dead)
        for batch in self._batches(sparse):
            self._copy(batch)
            self._between_steps()

    def _freed(self, nbytes: int) -> None:
        self._done.bytes_freed += nbytes
        self._done.bytes_kept -= nbytes

    def _drop_packs(self, dead: Sequence[_Pack]) -> None:
        if not dead:
            return
        if not self._done.dry_run:
            with self._catalog.transaction():
                self._catalog.remember_numbers()
                self._forget(dead)
            self._unlink(dead)
        self._done.packs_dropped += len(dead)
        self._freed(sum(pack.nbytes for pack in dead))
        self._between_steps()

    @property
    def _later_tables(self) -> list[str]:
        return [table for table in FORMAT_2_TABLES if self._catalog.has(table)]

    def _forget(self, packs: Sequence[_Pack]) -> None:
        """Stop naming packs, in a transaction; that any row still does is looked for once more."""
        gone = {pack.number for pack in packs}
        named = {number for (number,) in self._catalog.rows(
            "SELECT DISTINCT pack FROM versions UNION SELECT pack FROM labels "
            "UNION SELECT state_pack FROM commits WHERE state_pack IS NOT NULL"
            + "".join(f" UNION SELECT pack FROM {table} WHERE pack IS NOT NULL" for table in self._later_tables)
        )}  # fmt: skip
        if gone & named:
            raise EngramError(f"packs {sorted(gone & named)} are still needed, and gc would delete them: report this")
        self._catalog.change("DELETE FROM packs WHERE pack = ?", ((number,) for number in gone))

    def _unlink(self, packs: Iterable[_Pack]) -> None:
        for pack in packs:
            self._packs.forget(pack.number)
            with contextlib.suppress(OSError):  # missing, or the next opening deletes it as left over
                self._files.unlink(self._path / "packs" / f"{pack.name}.pack")

    def _batches(self, sparse: Sequence[_Pack]) -> Iterator[list[_Pack]]:
        batch: list[_Pack] = []
        nbytes = 0
        for pack in sparse:
            live = self._live[pack.number]
            if batch and (nbytes + live > _COPIED_BYTES or len(batch) == _PACKS_AT_ONCE):
                yield batch
                batch, nbytes = [], 0
            batch.append(pack)
            nbytes += live
        if batch:
            yield batch

    def _copy(self, batch: Sequence[_Pack]) -> None:
        """Copy what is needed of some packs into a new one, and delete them."""
        if self._done.dry_run or self._new_pack is None:
            self._copied(batch)
            return
        number, fresh = self._new_pack()
        copied: list[_Pack] = []
        moved: dict[tuple[int, int], int] = {}
        try:
            records = self._records([pack.number for pack in batch])
            for pack in batch:
                end = fresh.end
                places: dict[tuple[int, int], int] = {}
                try:
                    for offset, length, crc in sorted(records.get(pack.number, ())):
                        places[pack.number, offset] = fresh.append(self._packs.whole(pack.number, offset, length, crc))
                except BadRecord:
                    fresh.rewind(end)
                    self._done.damaged.append(pack.name)
                    continue
                copied.append(pack)
                moved |= places
            if copied:
                fresh.finish()
                self._rename(number, fresh, copied, moved)
        except BaseException as error:
            fresh.close()
            if isinstance(error, (DiskFull, OSError)):  # else nobody knows whether it is named: the next opening does
                fresh.unlink()
            raise
        fresh.close()
        if not copied:
            fresh.unlink()
        self._unlink(copied)
        self._copied(copied)

    def _copied(self, packs: Sequence[_Pack]) -> None:
        self._done.packs_copied += len(packs)
        self._freed(sum(pack.nbytes - self._live[pack.number] for pack in packs))

    def _records(self, packs: Sequence[int]) -> dict[int, set[tuple[int, int, int]]]:
        """``(offset, length, CRC of the header)`` of all that is needed of each pack."""
        found: dict[int, set[tuple[int, int, int]]] = {}
        marks = ", ".join("?" * len(packs))
        places = "SELECT pack, offset, length, header_crc FROM {} WHERE pack IN ({})"
        states = "SELECT state_pack, state_offset, state_length, state_crc FROM commits WHERE state_pack IN ({})"
        tables = ("versions", "labels", *self._later_tables)
        for sql in (*(places.format(table, marks) for table in tables), states.format(marks)):
            for pack, offset, length, crc in self._catalog.rows(sql, packs):
                found.setdefault(pack, set()).add((offset, length, crc))
        return found

    def _rename(
        self, number: int, fresh: PackWriter, copied: Sequence[_Pack], moved: dict[tuple[int, int], int]
    ) -> None:
        """Let all rows name the copies."""
        catalog = self._catalog
        packs = [pack.number for pack in copied]
        marks = ", ".join("?" * len(packs))
        with catalog.transaction():
            catalog.remember_numbers()
            catalog.put("packs", (number, fresh.name, fresh.end))
            rows = catalog.rows(f"SELECT line, low, number, pack, offset FROM versions WHERE pack IN ({marks})", packs)
            catalog.change(
                "UPDATE versions SET pack = ?, offset = ? WHERE line = ? AND low = ? AND number = ?",
                ((number, moved[pack, offset], *key) for *key, pack, offset in rows),
            )
            for row in catalog.select("labels", f"WHERE pack IN ({marks})", packs):
                block = BlockRef.of_row(row)
                at = moved[block.pack, block.offset]
                catalog.put("labels", block._replace(pack=number, offset=at).row())
            for row in catalog.select("traces", f"WHERE pack IN ({marks})", packs):
                trace = TraceRef(*row)
                assert trace.pack is not None
                assert trace.offset is not None
                catalog.put("traces", trace._replace(pack=number, offset=moved[trace.pack, trace.offset]))
            for row in catalog.select("reverse", f"WHERE pack IN ({marks})", packs):
                part = reverse.BlockRef.of_row(row)
                assert part.pack is not None
                assert part.offset is not None
                catalog.put("reverse", part._replace(pack=number, offset=moved[part.pack, part.offset]).row())
            for commit, state in self._history.commits(f"WHERE state_pack IN ({marks})", packs):
                assert state is not None
                at = moved[state.pack, state.offset]
                catalog.put("commits", commit_row(commit, replace(state, pack=number, offset=at)))
            self._forget(copied)

    def _shrink_catalog(self) -> None:
        """Give back pages of the catalog that nothing is in any more, where they are many."""
        if self._done.dry_run:
            return
        ((pages,),), ((free,),), ((size,),) = (
            self._catalog.rows(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
        )
        if free >= max(_VACUUM_PAGES, pages / 4):
            with contextlib.suppress(DiskFull):  # it needs space for a second catalog; all else is done
                self._catalog.rows("VACUUM")
                self._catalog.rows("PRAGMA wal_checkpoint(TRUNCATE)")
                self._done.bytes_freed += free * size


def _bounds(chosen: Plan, commits: dict[int, tuple[Commit, StateRef | None]]) -> dict[int, Numbers]:
    """Of each line: the numbers of its kept commits, sorted."""
    found: dict[int, list[int]] = {}
    for number in sorted(chosen.kept):
        found.setdefault(commits[number][0].line, []).append(number)
    return {line: np.array(numbers, np.int64) for line, numbers in found.items()}


def _any_from(bounds: dict[int, Numbers], line: int, number: int) -> bool:
    """Whether a kept commit of the line has ``number`` or a larger one."""
    return line in bounds and int(bounds[line][-1]) >= number


def _unseen(rows: Sequence[tuple[int, int]], bounds: dict[int, Numbers]) -> list[tuple[int, int]]:
    """Of (line, number), those that no kept commit sees: each is seen until the next one of its line."""
    unseen = []
    for line in {line for line, _ in rows}:
        numbers = sorted(number for own, number in rows if own == line)
        for number, until in zip(numbers, [*numbers[1:], None], strict=True):
            seen = bounds.get(line, np.empty(0, np.int64))
            if not ((seen >= number) & (True if until is None else seen < until)).any():
                unseen.append((line, number))
    return unseen
