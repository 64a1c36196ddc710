"""History: lines, commits, branches, snapshots, and what is visible where.

History is a tree of lines. A leaf at (line, commit) is its newest version in that line not after the
commit, else in the parent line not after the fork. Commit numbers grow over all lines, so along a chain of
lines "newest" is simply the largest visible number.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engramdb.errors import AlreadyExists, CatalogDamaged, InvalidInput, NotFound
from engramdb.store.catalog import Catalog, Row


@dataclass(frozen=True)
class Commit:
    """One durable state. ``neurons`` and ``synapses`` count what is materialized, ``created`` is ISO 8601 in UTC.

    ``sequence`` is that of the last journal frame that the commit covers.
    """

    number: int
    line: int
    parent: int | None
    tick: int
    created: str
    message: str
    neurons: int
    synapses: int
    sequence: int


@dataclass(frozen=True)
class StateRef:
    """Where the in-flight state of a commit lies."""

    pack: int
    offset: int
    length: int
    header_crc: int


@dataclass(frozen=True)
class Branch:
    """A name for the head of a line. The head may still lie in an ancestor of ``line``, right after a fork."""

    name: str
    line: int
    head: int


@dataclass(frozen=True)
class Snapshot:
    """A name for a commit."""

    name: str
    commit: int
    tick: int
    created: str


_QUOTED = 80  # characters of a name, at most

_ANCESTORS = (
    "WHERE line IN (WITH RECURSIVE up(line) AS (VALUES(?) UNION ALL "
    "SELECT lines.parent FROM up JOIN lines ON lines.line = up.line WHERE lines.parent < up.line) SELECT line FROM up)"
)
"""The condition for a line and all before it; those that are damaged end it."""

Chain = tuple[tuple[int, int], ...]
"""``((line, newest visible commit of it), ...)``: a line, its parent up to the fork, and so on to the root."""


def now() -> str:
    """This moment, ISO 8601 in UTC with milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


PRESENT = "live"
"""What asks for the present where a snapshot, a branch or a commit can be asked for."""


def check_name(name: str, kind: str) -> str:
    """``name`` if it can name a snapshot or branch: 1 to 200 printable characters, not only digits, not ``live``."""
    if name == PRESENT and kind != "trace":  # of traces nobody asks for the present
        raise InvalidInput(f'"{name}" cannot name a {kind}: it means the present; choose another name')
    if not 1 <= len(name) <= 200 or not name.isprintable() or name != name.strip() or name.isdigit():
        raise InvalidInput(
            f"{shortened(name)!r} cannot name a {kind}: "
            "use 1 to 200 printable characters, no space at the ends, not only digits"
        )
    return name


def shortened(name: str) -> str:
    """``name`` as an error quotes it."""
    return name if len(name) <= _QUOTED else f"{name[: _QUOTED - 3]}..."


class History:
    """Reads the tree; the changes are made by the store inside its own transactions."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def commit(self, number: int) -> Commit:
        """Raises NotFound."""
        return self._commit(number)[0]

    def state_ref(self, number: int) -> StateRef | None:
        """None where the state is empty."""
        return self._commit(number)[1]

    def _commit(self, number: int) -> tuple[Commit, StateRef | None]:
        if not 0 < number < 1 << 63:
            raise NotFound(f"there is no commit {number}")
        rows = self._catalog.select("commits", "WHERE number = ?", (number,))
        if not rows:
            gone = number < self._catalog.unused("commits")
            raise NotFound(
                f"there is no commit {number}"
                + (" any more: gc thinned it out; log --all lists those that are kept" if gone else "")
            )
        return _parse_commit(rows[0])

    def commits(
        self, condition: str = "ORDER BY number", parameters: Sequence[Any] = ()
    ) -> list[tuple[Commit, StateRef | None]]:
        """All commits of all lines, by number; or those of an SQL condition."""
        return [_parse_commit(row) for row in self._catalog.select("commits", condition, parameters)]

    def lines(self) -> list[tuple[int, int | None, int | None]]:
        """``(line, parent, fork)`` of each; None for the first."""
        return [(line, parent, fork) for line, parent, fork in self._catalog.select("lines", "ORDER BY line")]

    def log(self, number: int) -> list[Commit]:
        """The commit and its ancestors, newest first."""
        found = []
        step: int | None = number
        while step is not None:
            commit = self.commit(step)
            found.append(commit)
            if commit.parent is not None and commit.parent >= step:
                raise CatalogDamaged(
                    f"{self._catalog.path} is damaged: commit {step} names {commit.parent} as its parent"
                )
            step = commit.parent
        return found

    def chain(self, line: int, commit: int) -> Chain:
        """What is visible at (line, commit), nearest line first."""
        chain = [(line, commit)]
        # all ancestors at once: thousands of restores make thousands of lines
        known = {row[0]: row for row in self._catalog.select("lines", _ANCESTORS, (line,))}
        while True:
            if line not in known:
                raise CatalogDamaged(f"{self._catalog.path} is damaged: line {line} is missing; restore it from a copy")
            _, parent, fork = known[line]
            if parent is None:
                return tuple(chain)
            if parent >= line:
                raise CatalogDamaged(f"{self._catalog.path} is damaged: line {line} names {parent} as its parent")
            chain.append((parent, min(fork, chain[-1][1])))
            line = parent

    def branch(self, name: str) -> Branch:
        """Raises NotFound, naming the branches that exist."""
        rows = self._catalog.select("branches", "WHERE name = ?", (name,))
        if not rows:
            known = ", ".join(branch.name for branch in self.branches())
            raise NotFound(f'there is no branch "{shortened(name)}"; known: {known}')
        return Branch(*rows[0])

    def branches(self) -> list[Branch]:
        return [Branch(*row) for row in self._catalog.select("branches", "ORDER BY name")]

    def snapshots(self) -> list[Snapshot]:
        """Oldest commit first."""
        rows = self._catalog.select("snapshots", "ORDER BY number, name")
        return [Snapshot(name, number, self.commit(number).tick, created) for name, number, created in rows]

    def resolve(self, at: str | int) -> int:
        """The commit that a snapshot, a branch's head or a commit's number stands for. Raises NotFound, InvalidInput.

        Of a snapshot and a branch of the same name, as older engrams may have them, the snapshot is meant.
        """
        if isinstance(at, bool) or not (isinstance(at, str) or hasattr(at, "__index__")):
            raise InvalidInput(
                f"at={at!r} is no place in history: give the name of a snapshot or branch, or the number of a commit"
            )
        if not isinstance(at, str):
            try:
                number = operator.index(at)
            except TypeError:
                raise InvalidInput(f"at={at!r}: give the name of a snapshot or branch, or a commit's number") from None
            return self.commit(number).number
        rows = self._catalog.select("snapshots", "WHERE name = ?", (at,))
        if not rows:
            rows = [(branch.name, branch.head) for branch in self.branches() if branch.name == at]
        if not rows:
            known = ", ".join(snapshot.name for snapshot in self.snapshots()) or "none"
            branches = ", ".join(branch.name for branch in self.branches())
            raise NotFound(
                f'there is no snapshot "{shortened(at)}", nor a branch of that name or a commit of that number; '
                f"snapshots: {known}; branches: {branches}"
            )
        found: int = rows[0][1]
        return self.commit(found).number

    def add_snapshot(self, name: str, commit: Commit) -> Snapshot:
        """Durable on return. Raises AlreadyExists, InvalidInput."""
        check_name(name, "snapshot")
        snapshot = Snapshot(name, commit.number, commit.tick, now())
        with self._catalog.transaction():
            self.check_free(name)
            self._catalog.put("snapshots", (name, commit.number, snapshot.created))
        return snapshot

    def check_free(self, name: str) -> None:
        """Raises AlreadyExists where a snapshot or a branch has the name: who asks for it has to get what is meant."""
        if self._catalog.select("snapshots", "WHERE name = ?", (name,)):
            raise AlreadyExists(f'there is a snapshot "{name}" already; delete it first or choose another name')
        if self._catalog.select("branches", "WHERE name = ?", (name,)):
            raise AlreadyExists(f'there is a branch "{name}" already; choose another name')

    def delete_snapshot(self, name: str) -> None:
        """Forget the name; the commit stays. Raises NotFound."""
        self.resolve(name)
        with self._catalog.transaction():
            self._catalog.delete("snapshots", "WHERE name = ?", (name,))

    def fork(self, branch: str, at: int) -> Branch:
        """Point ``branch``, new or old, at the head of a new line that begins at commit ``at``. Durable on return."""
        with self._catalog.transaction():
            planned = self.planned_fork(branch, at)
            self._catalog.put("lines", (planned.line, self.commit(at).line, at))
            self._catalog.put("branches", (planned.name, planned.line, planned.head))
        return planned

    def planned_fork(self, branch: str, at: int) -> Branch:
        """What :meth:`fork` would make; true while this writer changes nothing else."""
        return Branch(branch, self._catalog.unused("lines"), at)

    def bundles(self, chain: Chain) -> str:
        """The bundles document visible along ``chain``."""
        having = {line for (line,) in self._catalog.rows("SELECT DISTINCT line FROM bundles")}
        for line, commit in chain:
            rows = line in having and self._catalog.select(
                "bundles", "WHERE line = ? AND number <= ? ORDER BY number DESC LIMIT 1", (line, commit)
            )
            if rows:
                document: str = rows[0][2]
                return document
        raise CatalogDamaged(
            f"{self._catalog.path} is damaged: no bundles at commit {chain[0][1]}; restore it from a copy"
        )


def _parse_commit(row: Row) -> tuple[Commit, StateRef | None]:
    commit = Commit(*row[:9])
    return commit, None if row[9] is None else StateRef(*row[9:13])


def commit_row(commit: Commit, state: StateRef | None) -> Row:
    """The two as a row of the table ``commits``."""
    place = (None,) * 4 if state is None else (state.pack, state.offset, state.length, state.header_crc)
    return (
        commit.number, commit.line, commit.parent, commit.tick, commit.created, commit.message,
        commit.neurons, commit.synapses, commit.sequence, *place,
    )  # fmt: skip
