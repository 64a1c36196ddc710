"""Snapshots, branches and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engramdb.handle.handle import Handle
from engramdb.run import interruptible
from engramdb.store import Branch, Commit, Snapshot
from engramdb.store.upkeep.retention import KEEP_DAYS, KEEP_LAST

if TYPE_CHECKING:
    from engramdb.difference import Diff
    from engramdb.store.compaction import Compacted
    from engramdb.store.upkeep.gc import Collected


class History(Handle):
    """The history of :class:`engramdb.Engram`."""

    _write_out: Callable[[], None]

    def snapshot(self, name: str) -> Snapshot:
        """Name the present; a checkpoint is made first if anything has changed since the last."""
        self._check_writable()
        self._store.check_name(name, "snapshot")
        if self._changed:
            self.checkpoint(f"snapshot {name}")
        return self._store.snapshot(name)

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return self._store.snapshots()

    def restore(self, name: str | int) -> Commit:
        """Return to a snapshot, or to a commit by its number, on a new line of history.

        The present is checkpointed first if it has changed, so nothing is lost: :meth:`log` of that commit has it.
        """
        self._check_writable()
        self._check_between_runs("restore")
        self._store.resolve(name)
        if self._changed:
            self.checkpoint(f"before restoring {name}")
        self._store.restore(name)
        self._reload()
        self._seconds_since_checkpoint = 0.0
        self._write_out()
        return self._store.commit

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot's name. Its commit stays in the log until :meth:`gc` thins it out."""
        self._check_writable()
        self._store.delete_snapshot(name)

    def branch(self, name: str, at: str | int | None = None) -> Branch:
        """Make a branch at a snapshot or commit, or at the present; a checkpoint is made first if that has changed.

        This handle stays on its own branch: ``engramdb.open(path, "r+", branch=name)`` goes on with the new one.
        """
        self._check_writable()
        self._store.check_name(name, "branch")
        if at is None and self._changed:
            self.checkpoint(f"branch {name}")
        return self._store.branch(name, at)

    def branches(self) -> list[Branch]:
        """All branches, by name."""
        return self._store.branches()

    def delete_branch(self, name: str) -> None:
        """Forget a branch, with the commands since its last commit; not the one that is open here.

        Its commits stay readable by number until :meth:`gc` thins them out.
        """
        self._check_writable()
        self._store.delete_branch(name)

    def gc(self, *, keep_last: int = KEEP_LAST, keep_days: float = KEEP_DAYS, dry_run: bool = False) -> Collected:
        """Thin out commits without a name, and free the space of what no other commit sees.

        Branches' heads, snapshots, what living readers stand at, the ``keep_last`` newest commits of each branch and
        all younger than ``keep_days`` stay. ``dry_run``: only say what would go, for which any mode will do. Ctrl-C
        ends it between two steps; it can be repeated.
        """
        self._forget_past()  # what questions had open is no reader that lives
        with interruptible() as caught:
            return self._store.gc(keep_last=keep_last, keep_days=keep_days, dry_run=dry_run, stop=lambda: bool(caught))

    def compact(self, progress: Callable[[int, int], None] | None = None) -> Compacted:
        """Write the leaves whose changes lie apart whole again, so that reading each takes one record.

        Runs do it by themselves after checkpoints. The content of no commit changes. ``progress(done, leaves)``.
        """
        self._check_writable()
        return self._store.compact(progress)

    def log(self) -> list[Commit]:
        """Commits, newest first, along this line of history."""
        return self._store.log()

    def diff(self, a: str | int, b: str | int | None = None, *, layer: str | None = None, ids: bool = False) -> Diff:
        """What differs from ``a`` to ``b``; see :func:`engramdb.diff`. Without ``b``: to the present.

        The present is checkpointed first if it has changed.
        """
        from engramdb.difference import diff

        if b is None and self._changed:
            self.checkpoint(f"diff with {a}")
        return diff(self._store, a, self._store.commit.number if b is None else b, layer=layer, ids=ids)
