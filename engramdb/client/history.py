"""The history of a remote engram: snapshots, branches, commits, and what differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engramdb.client import shapes
from engramdb.store.history import Branch, Commit, Snapshot

if TYPE_CHECKING:
    from engramdb.client.transport import Transport
    from engramdb.difference import Diff

_PAGE = 1000


class History:
    """See :class:`engramdb.client.RemoteEngram`."""

    transport: Transport
    name: str
    _path: str
    describe: Callable[[], dict[str, Any]]

    def checkpoint(self, message: str = "") -> int:
        """Commit the present; returns the number of the commit."""
        return int(self.transport.post(f"{self._path}/checkpoint", {"message": message} if message else {})["commit"])

    def snapshot(self, name: str) -> Snapshot:
        """Name the present; a checkpoint is made first if it has changed. Raises AlreadyExists."""
        return _snapshot(self.transport.post(f"{self._path}/snapshots", {"name": name}))

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, by name."""
        return [_snapshot(one) for one in self.transport.get(f"{self._path}/snapshots")["snapshots"]]

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot's name."""
        self.transport.delete(f"{self._path}/snapshots/{quote(name, safe='')}")

    def restore(self, name: str) -> None:
        """Go back to a snapshot, on a new line of history; the present is committed first if it has changed."""
        self.transport.post(f"{self._path}/snapshots/{quote(name, safe='')}/restore")

    def branch(self, name: str, at: str | int | None = None) -> Branch:
        """Make a branch at a snapshot or commit, or at the present."""
        body: dict[str, Any] = {"name": name, **({} if at is None else {"from": at})}
        return _branch(self.transport.post(f"{self._path}/branches", body))

    def branches(self) -> list[Branch]:
        """All branches, by name."""
        return [_branch(one) for one in self.transport.get(f"{self._path}/branches")["branches"]]

    def delete_branch(self, name: str) -> None:
        """Forget a branch; not the one that the service goes on with."""
        self.transport.delete(f"{self._path}/branches/{quote(name, safe='')}")

    def checkout(self, name: str) -> None:
        """Have the service go on with a branch, for all who use this engram."""
        self.transport.post(f"{self._path}/branches/{quote(name, safe='')}/checkout")

    def log(self) -> list[Commit]:
        """Commits, newest first, along the line of history that the service stands on."""
        found: dict[int, Commit] = {}
        cursor: str | None = None
        while True:
            page = self.transport.get(f"{self._path}/log", limit=_PAGE, cursor=cursor)
            found |= {int(one["id"]): _commit(one) for one in page["commits"]}
            if (cursor := page.get("cursor")) is None:
                break
        line = [found[int(self.describe()["commit"])]]
        while (parent := line[-1].parent) in found:
            line.append(found[parent])
        return line

    def diff(self, a: str | int, b: str | int | None = None) -> Diff:
        """What differs from ``a`` to ``b``, or to the present; see :func:`engramdb.diff`."""
        return shapes.diff_of(
            self.transport.get(f"{self._path}/diff", **{"from": a, "to": "live" if b is None else b}), Path(self.name)
        )


def _snapshot(one: dict[str, Any]) -> Snapshot:
    return Snapshot(one["name"], int(one["commit"]), int(one["tick"]), one["created"])


def _branch(one: dict[str, Any]) -> Branch:
    return Branch(one["name"], int(one["line"]), int(one["commit"]))


def _commit(one: dict[str, Any]) -> Commit:
    parents = one["parents"]
    return Commit(
        int(one["id"]), int(one["line"]), int(parents[0]) if parents else None, int(one["tick"]), one["created"],
        one["message"], int(one["neurons"]), int(one["synapses"]), int(one["sequence"]),
    )  # fmt: skip
