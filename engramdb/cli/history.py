"""``engramdb snapshot``, ``snapshots``, ``restore``, ``branch``, ``branches`` and ``log``: history."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from engramdb.cli import output
from engramdb.cli.writing import open_to_write
from engramdb.errors import InvalidInput
from engramdb.url import located

if TYPE_CHECKING:
    from engramdb.store import Store

EngramPath = Annotated[
    Path, typer.Argument(metavar="PATH", help="The engram; to read a published one, its URL.", parser=located)
]
SnapshotName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the snapshot.")]
Restored = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="A snapshot, a branch, or the number of a commit (see log).")
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="SNAPSHOT", help="As of a snapshot, a branch, or a commit by its number; default: the last."
    ),
]
OnBranch = Annotated[str, typer.Option("--branch", metavar="NAME", help="The branch to work on.")]
MAIN = "main"


def commit_at(at: str | None) -> str | int | None:
    """What ``--at`` names: digits are a commit's number, which no snapshot can be called."""
    return int(at) if at is not None and at.isascii() and at.isdigit() else at


def _snapshot(snapshot: Any) -> dict[str, Any]:
    return {"name": snapshot.name, "commit": snapshot.commit, "tick": snapshot.tick, "created": snapshot.created}


def _commit(commit: Any, snapshots: dict[int, list[str]], branches: dict[int, list[str]]) -> dict[str, Any]:
    return {
        "commit": commit.number,
        "line": commit.line,
        "parent": commit.parent,
        "tick": commit.tick,
        "created": commit.created,
        "message": commit.message,
        "records": commit.neurons,
        "synapses": commit.synapses,
        "snapshots": snapshots.get(commit.number, []),
        "branches": branches.get(commit.number, []),
    }


def _reading(path: Path, branch: str = MAIN) -> closing[Store]:
    """The store alone: history is asked without compiling anything."""
    from engramdb.store import Store

    return closing(Store.open(path, "r", branch=branch))


def _writing(path: Path) -> closing[Store]:
    """The store alone, for names that need no replay."""
    from engramdb.store import Store

    return closing(Store.open(path, "r+"))


def snapshot(
    path: EngramPath,
    name: SnapshotName,
    delete: Annotated[
        bool, typer.Option("--delete", help="Forget the name instead; the commit stays until gc thins it out.")
    ] = False,
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Give the present state a name.

    \b
    Example:
      engramdb snapshot brain.engram trained
    """
    if delete:
        with _writing(path) as store:
            commit = store.resolve(name)
            store.delete_snapshot(name)
        deleted = {"deleted": name, "commit": commit}
        output.show(
            deleted, as_json, lambda: [output.line(f"deleted snapshot {name}", f"commit {commit} stays for now")]
        )
        return
    with open_to_write(path, branch=branch) as engram:
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


def restore(path: EngramPath, name: Restored, branch: OnBranch = MAIN, as_json: output.AsJson = False) -> None:
    """Go back to a snapshot, exactly.

    What was done since stays readable in the history: see log --all.

    \b
    Example:
      engramdb restore brain.engram trained
    """
    with open_to_write(path, branch=branch) as engram:
        commit = engram.restore(commit_at(name) or name)
    document = {"restored": name, "tick": commit.tick, "commit": commit.number}
    output.show(
        document,
        as_json,
        lambda: [output.line(f"restored {name}", f"tick {output.count(commit.tick)}, commit {commit.number}")],
    )


def branch(
    path: EngramPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the branch.")],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="SNAPSHOT", help="Begin at a snapshot, branch or commit; default: the present."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Forget the branch instead, with what was done since its last commit.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Make a branch: a second future, beside the one that goes on.

    Other commands work on it with --branch NAME.

    \b
    Example:
      engramdb branch brain.engram what-if --at trained
    """
    if delete:
        if at is not None:
            raise InvalidInput("--delete takes no --at: the branch goes, wherever it stands")
        _delete_branch(path, name, as_json)
        return
    if at is None:
        with open_to_write(path) as engram:
            made = engram.branch(name)
    else:
        with _writing(path) as store:
            made = store.branch(name, commit_at(at))
    document = {"branch": made.name, "line": made.line, "head": made.head}
    output.show(document, as_json, lambda: [output.line(f"branch {name}", f"line {made.line}, at commit {made.head}")])


def _delete_branch(path: Path, name: str, as_json: bool) -> None:
    with _writing(path) as store:
        with _reading(path, name) as gone:
            lost = sum(1 for _ in gone.journal_frames())
            head = gone.commit.number
        store.delete_branch(name)
    document = {"deleted": name, "head": head, "commands_lost": lost}
    since = f"with {output.many(lost, 'command')} since its last commit" if lost else ""
    where = f"commit {head} stays for now"
    output.show(document, as_json, lambda: [output.line(f"deleted branch {name}", where, since)])


def branches(path: EngramPath, as_json: output.AsJson = False) -> None:
    """List the branches.

    \b
    Example:
      engramdb branches brain.engram
    """
    found: list[dict[str, Any]] = []
    with _reading(path) as store:
        ticks = {commit.number: commit.tick for commit in store.commits()}
        for item in store.branches():
            found.append({"name": item.name, "line": item.line, "head": item.head, "tick": ticks[item.head]})
    rows = [(b["name"], str(b["head"]), str(b["line"]), output.count(b["tick"])) for b in found]
    output.show(
        {"branches": found},
        as_json,
        lambda: [output.columns(("branch", "commit", "line", "tick"), rows, right=("commit", "line", "tick"))],
    )


def log(
    path: EngramPath,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the newest so many.")] = None,
    branch: OnBranch = MAIN,
    everything: Annotated[
        bool, typer.Option("--all", help="All commits of all lines, as a tree, also those no branch follows any more.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """List the commits, newest first.

    \b
    Example:
      engramdb log brain.engram --limit 10
    """
    with _reading(path, branch) as store:
        found = store.commits() if everything else store.log()
        snapshots_at, branches_at = _names(store)
        lines = store.lines()
    commits = [_commit(item, snapshots_at, branches_at) for item in sorted(found, key=lambda c: -c.number)]
    document: dict[str, Any] = {"commits": commits[:limit]}
    if everything:
        document["lines"] = [{"line": line, "parent": parent, "fork": fork} for line, parent, fork in lines]
        output.show(document, as_json, lambda: [_tree(path, document)])
    else:
        output.show(document, as_json, lambda: [_table(document["commits"])])


def _names(store: Store) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Snapshots and branches by the commit at which they stand."""
    snapshots_at: dict[int, list[str]] = {}
    branches_at: dict[int, list[str]] = {}
    for item in store.snapshots():
        snapshots_at.setdefault(item.commit, []).append(item.name)
    for head in store.branches():
        branches_at.setdefault(head.head, []).append(head.name)
    return snapshots_at, branches_at


def _table(commits: Iterable[dict[str, Any]]) -> RenderableType:
    rows = [
        (
            str(c["commit"]),
            str(c["line"]),
            output.count(c["tick"]),
            output.count(c["records"]),
            output.when(c["created"]),
            ", ".join([*c["snapshots"], *(f"branch {name}" for name in c["branches"])]),
            c["message"],
        )
        for c in commits
    ]
    headers = ("commit", "line", "tick", "records", "made", "names", "message")
    return output.columns(headers, rows, right=("commit", "line", "tick", "records"))


def _tree(path: Path, document: dict[str, Any]) -> RenderableType:
    """Commits of a line below one another, oldest first; a line begins below the commit at which it does."""
    shown = {commit["commit"]: commit for commit in document["commits"]}
    of_line: dict[int, list[int]] = {}
    for number in sorted(shown):
        of_line.setdefault(shown[number]["line"], []).append(number)
    begins: dict[int, list[int]] = {}
    for line in document["lines"]:
        if line["fork"] is not None and line["line"] in of_line:
            begins.setdefault(line["fork"], []).append(line["line"])
    root = Tree(Text(f"{path.name}", style="bold"))
    trees: dict[int, Tree] = {}

    def add(tree: Tree, line: int) -> None:
        waiting = [(tree, line)]
        while waiting:  # lines may lie on lines, more than a stack would hold
            parent, one = waiting.pop()
            for number in of_line.pop(one):
                trees[number] = parent.add(_leaf(shown[number]))
                waiting += [(trees[number].add(Text(f"line {child}", style="dim")), child)
                            for child in begins.get(number, ())]  # fmt: skip

    for line in sorted(of_line):
        if line in of_line:  # its beginning is beyond --limit, or it is the first
            add(root, line)
    return root


def _leaf(commit: dict[str, Any]) -> Text:
    text = Text(f"{commit['commit']}", style="bold")
    text.append(f"  tick {output.count(commit['tick'])}  {output.many(commit['records'], 'record')}", "not bold")
    text.append(f"  {output.when(commit['created'])}", "not bold dim")
    if commit["message"]:
        text.append(f"  {commit['message']}", "not bold")
    for kind, style in (("snapshots", "green"), ("branches", "cyan")):
        for name in commit[kind]:
            text.append(f"  {'branch ' * (kind == 'branches')}{name}", f"bold {style}")
    return text
