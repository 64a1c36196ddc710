"""What verify says: problems, and the report of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    ``ids`` is a range of neurons as text; ``good_in`` names snapshots with a whole copy. ``beneath``: the version that
    a damaged delta lies on, if that is whole, by its number. ``above``: versions, by number, that lie on the damaged
    one and cannot be read either. ``heads``: the branches whose present state needs it. ``past``: none does, and no
    new commit will; gc can thin it out. ``snapshots``: those that cannot be restored because of it.
    """

    what: str
    where: str
    pack: str | None = None
    offset: int | None = None
    leaf: int | None = None
    ids: str | None = None
    good_in: list[str] = field(default_factory=list)
    beneath: int | None = None
    above: list[int] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    past: bool = False
    snapshots: list[str] = field(default_factory=list)
    remedy: str = "restore the engram from a copy"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass
class Report:
    """What verify found. ``checked`` counts what was read; ``notes`` are remarks that are no damage."""

    problems: list[Problem] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def present_ok(self) -> bool:
        """Whether the present state of every branch is whole, whatever is wrong with the past."""
        return all(problem.past for problem in self.problems)

    def count(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self.checked[name] = self.checked.get(name, 0) + amount
