"""``engramdb snapshot``, ``snapshots``, ``restore`` and ``log``: history."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import engramdb
from engramdb.cli import output

if TYPE_CHECKING:
    from engramdb.store import Store

EngramPath = Annotated[Path, typer.Argument(metavar="PATH", help="The engram.")]
SnapshotName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the snapshot.")]
Restored = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Name of the snapshot, or number of a commit (see log).")
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="SNAPSHOT", help="As of a snapshot, or of a commit by its number; default: the last."),
]


def commit_at(at: str | None) -> str | int | None:
    """What ``--at`` names: digits are a commit's number, which no snapshot can be called."""
    return int(at) if at is not None and at.isascii() and at.isdigit() else at


def _snapshot(snapshot: Any) -> dict[str, Any]:
    return {"name": snapshot.name, "commit": snapshot.commit, "tick": snapshot.tick, "created": snapshot.created}


def _commit(commit: Any) -> dict[str, Any]:
    return {
        "commit": commit.number,
        "line": commit.line,
        "parent": commit.parent,
        "tick": commit.tick,
        "created": commit.created,
        "message": commit.message,
        "records": commit.neurons,
        "synapses": commit.synapses,
    }


def _reading(path: Path) -> closing[Store]:
    """The store alone: history is asked without compiling anything."""
    from engramdb.store import Store

    return closing(Store.open(path, "r"))


def snapshot(path: EngramPath, name: SnapshotName, as_json: output.AsJson = False) -> None:
    """Give the present state a name.

    \b
    Example:
      engramdb snapshot brain.engram trained
    """
    with engramdb.open(path, "r+") as engram:
        made = _snapshot(engram.snapshot(name))
    where = f"tick {output.count(made['tick'])}, commit {made['commit']}"
    output.show(made, as_json, lambda: [output.line(f"snapshot {name}", where)])


def snapshots(path: EngramPath, as_json: output.AsJson = False) -> None:
    """List the named states.

    \b
    Example:
      engramdb snapshots brain.engram
    """
    with _reading(path) as store:
        found = [_snapshot(item) for item in store.snapshots()]
    rows = [(s["name"], output.count(s["tick"]), str(s["commit"]), output.when(s["created"])) for s in found]
    output.show(
        {"snapshots": found},
        as_json,
        lambda: [
            output.columns(("snapshot", "tick", "commit", "made"), rows, right=("tick", "commit"))
            if rows
            else output.line("no snapshots", f"make one with: engramdb snapshot {path} NAME")
        ],
    )


def restore(path: EngramPath, name: Restored, as_json: output.AsJson = False) -> None:
    """Go back to a snapshot, exactly.

    What was done since stays readable in the history.

    \b
    Example:
      engramdb restore brain.engram trained
    """
    with engramdb.open(path, "r+") as engram:
        commit = engram.restore(commit_at(name) or name)
    document = {"restored": name, "tick": commit.tick, "commit": commit.number}
    output.show(
        document,
        as_json,
        lambda: [output.line(f"restored {name}", f"tick {output.count(commit.tick)}, commit {commit.number}")],
    )


def log(
    path: EngramPath,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest so many.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """List the commits, newest first.

    \b
    Example:
      engramdb log brain.engram --limit 10
    """
    with _reading(path) as store:
        commits = [_commit(item) for item in store.log()[:limit]]
        names: dict[int, list[str]] = {}
        for item in store.snapshots():
            names.setdefault(item.commit, []).append(item.name)
    for commit in commits:
        commit["snapshots"] = names.get(commit["commit"], [])
    rows = [
        (
            str(c["commit"]),
            str(c["line"]),
            output.count(c["tick"]),
            output.count(c["records"]),
            output.when(c["created"]),
            ", ".join(c["snapshots"]),
            c["message"],
        )
        for c in commits
    ]
    headers = ("commit", "line", "tick", "records", "made", "snapshots", "message")
    output.show(
        {"commits": commits},
        as_json,
        lambda: [output.columns(headers, rows, right=("commit", "line", "tick", "records"))],
    )
