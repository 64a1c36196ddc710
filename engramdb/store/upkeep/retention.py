"""Retention: which commits stay when gc thins history, and why.

Kept for good: the beginning of history, the head of every branch, every snapshot, what a living reader stands at, and
every commit at which a kept line begins. Of the others those that the policy keeps: by default the last 10 of each
branch, and all younger than 7 days, also on lines that no branch follows any more. Everything else goes.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from engramdb.errors import InvalidInput
from engramdb.store.catalog import Catalog
from engramdb.store.history import Branch, Commit, Snapshot

KEEP_LAST, KEEP_DAYS = 10, 7.0
THINNING = "thinning"
"""Key of the table ``meta``: the commits that a gc is about to delete, as JSON. No reader comes to stand there."""

Lines = dict[int, tuple[int | None, int | None]]
"""Of each line: its parent and the commit at which it begins; (None, None) for the first."""

BEGINNING, BRANCH, SNAPSHOT, READER, NEWEST, YOUNG, FORK = (
    "beginning", "heads of branches", "snapshots", "living readers", "newest of a branch", "young", "forks",
)  # fmt: skip
"""Why a commit stays."""


def thinning(catalog: Catalog) -> set[int]:
    """The commits that a gc is about to delete."""
    rows = catalog.select("meta", "WHERE key = ?", (THINNING,))
    return set(json.loads(rows[0][1])) if rows else set()


@dataclass(frozen=True)
class Policy:
    """``keep_last``: unnamed commits of each branch, the newest. ``keep_days``: all that are younger, in days."""

    keep_last: int = KEEP_LAST
    keep_days: float = KEEP_DAYS

    def __post_init__(self) -> None:
        if not 0 <= self.keep_last < 1 << 31:
            raise InvalidInput(f"keep_last={self.keep_last}: give a whole number from 0")
        if not (math.isfinite(self.keep_days) and self.keep_days >= 0):
            raise InvalidInput(f"keep_days={self.keep_days}: give a number of days from 0")


@dataclass(frozen=True)
class Plan:
    """``kept`` maps commits to the first reason to keep them, ``dropped`` are the others, by number.

    ``parents``: the kept commits whose parent goes, and the nearest of its ancestors that stays. ``lines`` stay.
    """

    kept: dict[int, str]
    dropped: tuple[int, ...]
    parents: dict[int, int | None]
    lines: frozenset[int]


def plan(
    commits: dict[int, Commit], lines: Lines, branches: Collection[Branch], snapshots: Collection[Snapshot],
    pinned: Collection[int], policy: Policy, now: datetime.datetime,
) -> Plan:  # fmt: skip
    """What stays and what goes. ``pinned``: commits of living readers; ``now`` has a time zone."""
    kept: dict[int, str] = {}

    def keep(number: int | None, why: str) -> None:
        if number in commits:
            kept.setdefault(number, why)

    for commit in commits.values():
        if commit.parent is None:
            keep(commit.number, BEGINNING)
    for branch in branches:
        keep(branch.head, BRANCH)
    for snapshot in snapshots:
        keep(snapshot.commit, SNAPSHOT)
    for number in pinned:
        keep(number, READER)
    named = set(kept)
    for branch in branches:
        for number in _newest(branch, commits, named, policy.keep_last):
            keep(number, NEWEST)
    horizon = now - datetime.timedelta(days=min(policy.keep_days, 1e6))
    for commit in commits.values():
        if _younger(commit, horizon):
            keep(commit.number, YOUNG)
    stay = {commits[number].line for number in kept} | {branch.line for branch in branches}
    for line in sorted(lines, reverse=True):  # a line's parent is older
        parent, fork = lines[line]
        if line in stay and parent is not None:
            stay.add(parent)
            keep(fork, FORK)
    dropped = tuple(sorted(commits.keys() - kept.keys()))
    return Plan(kept, dropped, _relinked(commits, kept), frozenset(stay & lines.keys()))


def _newest(branch: Branch, commits: dict[int, Commit], named: set[int], count: int) -> Iterator[int]:
    """The last ``count`` commits of a branch that have no name."""
    step = commits.get(branch.head)
    while step is not None and count:
        if step.number not in named:
            yield step.number
            count -= 1
        step = None if step.parent is None else commits.get(step.parent)


def _younger(commit: Commit, horizon: datetime.datetime) -> bool:
    try:
        created = datetime.datetime.fromisoformat(commit.created)
    except ValueError:
        return True  # nobody knows how old it is
    return created.replace(tzinfo=created.tzinfo or datetime.UTC) > horizon


def _relinked(commits: dict[int, Commit], kept: Collection[int]) -> dict[int, int | None]:
    parents: dict[int, int | None] = {}
    nearest: dict[int, int | None] = {}  # of commits that go: the nearest ancestor that stays
    for number in sorted(commits):  # a parent comes before its children
        parent = commits[number].parent
        standing = nearest.get(parent, parent) if parent is not None else None
        if number not in kept:
            nearest[number] = standing
        elif standing != parent:
            parents[number] = standing
    return parents
