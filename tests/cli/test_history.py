"""History on the command line: branches, the tree of commits, diffs, and gc."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from engramdb.cli import main
from engramdb.cli.collecting import gc
from engramdb.store.upkeep.retention import KEEP_DAYS, KEEP_LAST
from tests.cli.terminal import Cli, refused


@pytest.fixture(scope="module")
def two_futures(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """brain.engram with a snapshot ``start``, a branch ``what-if`` that ran on from it, and main, restored to it."""
    import shutil

    folder = shutil.copytree(grown, tmp_path_factory.mktemp("futures"), dirs_exist_ok=True)
    path = str(folder / "brain.engram")
    for words in (
        ("snapshot", path, "start"),
        ("run", path, "--ticks", "20"),
        ("branch", path, "what-if", "--at", "start"),
        ("run", path, "--ticks", "5", "--stimulate", "0/0/0-9:30@11+1", "--branch", "what-if"),
        ("restore", path, "start"),
        ("run", path, "--ticks", "3"),
    ):
        assert main([*words]) == 0
    return folder / "brain.engram"


@pytest.fixture
def engram(two_futures: Path, tmp_path: Path) -> Path:
    import shutil

    return shutil.copytree(two_futures, tmp_path / "brain.engram")


def test_branches_go_their_own_ways(cli: Cli, engram: Path) -> None:
    listed = cli("branches", engram, "--json").document["branches"]
    assert [(one["name"], one["tick"]) for one in listed] == [("main", 13), ("what-if", 15)]
    text = cli("branches", engram).out
    assert "what-if" in text
    made = cli("branch", engram, "third", "--json").document
    assert (made["branch"], made["head"]) == ("third", listed[0]["head"])
    refused(cli("branch", engram, "third"), 1, 'a branch "third" already')
    shown = cli("query", engram, "neuron", "0/0/3", "--at", "what-if", "--json").document
    assert shown["tick"] == 15
    assert cli("snapshot", engram, "there", "--branch", "what-if", "--json").document["tick"] == 15
    assert cli("restore", engram, "start", "--branch", "what-if", "--json").document["tick"] == 10
    assert cli("restore", engram, "what-if", "--json").document["tick"] == 10


def test_a_branch_or_snapshot_can_be_deleted(cli: Cli, engram: Path) -> None:
    deleted = cli("branch", engram, "what-if", "--delete", "--json").document
    assert (deleted["deleted"], deleted["commands_lost"]) == ("what-if", 0)
    assert [b["name"] for b in cli("branches", engram, "--json").document["branches"]] == ["main"]
    refused(cli("branch", engram, "what-if", "--delete"), 1, 'no branch "what-if"; known: main')
    refused(cli("branch", engram, "main", "--delete"), 2, 'branch "main" is the one that opens when none is named')
    refused(cli("branch", engram, "x", "--delete", "--at", "start"), 2, "--delete takes no --at")
    assert "deleted snapshot start" in cli("snapshot", engram, "start", "--delete").out
    assert cli("snapshots", engram, "--json").document["snapshots"] == []
    assert cli("verify", engram).code == 0


def test_the_log_of_everything_is_a_tree_with_all_names(cli: Cli, engram: Path) -> None:
    document = cli("log", engram, "--all", "--json").document
    commits = {one["commit"]: one for one in document["commits"]}
    assert sorted(commits, reverse=True) == [one["commit"] for one in document["commits"]]
    own = [one["commit"] for one in cli("log", engram, "--json").document["commits"]]
    assert set(own) < set(commits)
    start = next(one for one in commits.values() if one["snapshots"] == ["start"])
    assert {name for one in commits.values() for name in one["branches"]} == {"main", "what-if"}
    assert [line["fork"] for line in document["lines"]] == [None, start["commit"], start["commit"]]
    lines = cli("log", engram, "--all").out.splitlines()
    assert "brain.engram" in lines[0]
    beginning = next(i for i, line in enumerate(lines) if "start" in line)
    inside = [line for line in lines[beginning:] if "line 2" in line or "line 3" in line]
    assert len(inside) == 2
    assert all(line.index("line") > lines[beginning].index(str(start["commit"])) for line in inside)
    assert any("branch what-if" in line for line in lines)
    few = cli("log", engram, "--all", "--limit", 2)
    assert few.code == 0
    other = cli("log", engram, "--branch", "what-if", "--json").document["commits"]
    assert other[0]["branches"] == ["what-if"]


def test_a_diff_says_what_differs(cli: Cli, engram: Path) -> None:
    found = cli("diff", engram, "start", "what-if", "--ids", 3, "--json").document
    assert (found["before"]["tick"], found["after"]["tick"], found["same"]) == (10, 15, False)
    layer = found["layers"]["exc"]
    assert layer["added"] + layer["changed"] > 0
    assert len(found["neurons"]) == 3
    assert {word for one in found["neurons"] for word in one["what"]} <= {"added", "state", "row", "removed"}
    text = cli("diff", engram, "start", "what-if").out
    assert text.startswith("start to what-if")
    assert "records" in text
    only = cli("diff", engram, "start", "what-if", "--layer", "exc", "--json").document
    assert list(only["layers"]) == ["exc"]
    assert "nothing differs" in cli("diff", engram, "start", "start").out
    looked_for = 'no snapshot "never", nor a branch of that name or a commit of that number'
    refused(cli("diff", engram, "start", "never"), 1, f"{looked_for}; snapshots: start; branches: main, what-if")
    said = cli("restore", engram, "x" * 5000)
    refused(said, 1, looked_for.split(",")[1])
    assert len(said.err) < 400
    refused(cli("diff", engram, "start", "99"), 1, "no commit 99")
    refused(cli("diff", engram, "start", "main", "--layer", "never"), 1, 'no layer "never"')


def test_gc_frees_what_nothing_needs(cli: Cli, engram: Path) -> None:
    nothing = cli("gc", engram, "--json").document
    assert (nothing["dropped"], nothing["dry_run"]) == ([], False)
    planned = cli("gc", engram, "--dry-run", "--keep-last", 0, "--keep-days", 0, "--json").document
    assert planned["dry_run"]
    assert planned["bytes_freed"] > 0
    before = cli("log", engram, "--all", "--json").document["commits"]
    assert "would free" in cli("gc", engram, "--dry-run", "--keep-last", 0, "--keep-days", 0).out
    done = cli("gc", engram, "--keep-last", 0, "--keep-days", 0, "--json").document
    assert done["dropped"] == planned["dropped"]
    assert done["bytes_freed"] >= planned["bytes_freed"]
    after = {one["commit"] for one in cli("log", engram, "--all", "--json").document["commits"]}
    assert after == {one["commit"] for one in before} - set(done["dropped"])
    gone = done["dropped"][-1]
    refused(cli("query", engram, "neuron", "0/0/3", "--at", gone), 1, f"no commit {gone} any more: gc thinned it out")
    assert cli("verify", engram).code == 0
    assert cli("run", engram, "--ticks", 2).code == 0
    refused(cli("gc", engram, "--keep-last", -1), 2, "keep-last")
    refused(cli("gc", engram, "--keep-days", "nan"), 2, "keep-days")


def test_compact_puts_changes_together_and_changes_no_content(cli: Cli, engram: Path) -> None:
    # each run changes a few of the neurons, so their leaves get deltas
    cli("run", engram, "--ticks", 3, "--stimulate", "0/0/0-3:30@4+1")
    before = cli("query", engram, "neuron", "0/0/0", "0/0/1", "--json").document
    done = cli("compact", engram, "--json").document
    assert done["leaves"] == done["of"]
    assert not done["stopped"]
    assert cli("compact", engram, "--json").document["of"] == 0
    assert cli("query", engram, "neuron", "0/0/0", "0/0/1", "--json").document == before
    assert cli("verify", engram).code == 0


def test_gc_keeps_by_default_what_it_keeps_from_python() -> None:
    """The command line has its own defaults: it starts without loading the store."""
    given = inspect.signature(gc).parameters
    assert (given["keep_last"].default, given["keep_days"].default) == (KEEP_LAST, KEEP_DAYS)


def test_names_that_mean_something_else_are_refused(cli: Cli, engram: Path) -> None:
    refused(cli("snapshot", engram, "live"), 2, '"live" cannot name a snapshot: it means the present')
    refused(cli("branch", engram, "live"), 2, '"live" cannot name a branch: it means the present')
    refused(cli("snapshot", engram, "what-if"), 1, 'there is a branch "what-if" already; choose another name')
    refused(cli("branch", engram, "start", "--at", "start"), 1, 'there is a snapshot "start" already')
