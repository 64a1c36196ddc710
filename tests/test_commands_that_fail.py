"""A command that fails: refused before it is journaled and nothing has changed, or journaled and then completed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb import Engram, Explicit, Layer, Projection, SmallWorld, Spec, engram
from engramdb.errors import DiskFull, EngramError, HandleClosed, NotFound
from engramdb.store import Store
from engramdb.testing import FaultyFiles
from tests.networks import edges_of, ids_of, make

_SPEC = Spec(
    seed=4,
    layers=[
        Layer("a", segments=[60], wiring=SmallWorld(k=4, span=9, weight=(1.0, 9.0))),
        Layer("b", index=40000, segments=[30]),
    ],
    projections=[Projection("b", "a", Explicit()), Projection("a", "b", Explicit(), delay_ms=3.0)],
)
_B = 40000 << 48


def opened(path: Path, files: FaultyFiles) -> Engram:
    return Engram(Store.open(path, "r+", files=files), memory="64MiB", threads=1)


def fire(e: Engram) -> None:
    """Let there be counts that the store does not know yet."""
    e.stimulate([1, 2, 30], 16.0)
    e.run(2)


def everything(e: Engram) -> list[np.ndarray]:
    """Sizes, fields and synapses."""
    ids = ids_of(e)
    return [ids, *e.neurons(ids).fields.values(), *edges_of(e)]


def same(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, some, others))


def outcome_of(e: Engram, command: Callable[[Engram], object]) -> str:
    """``done``, ``refused``, ``closed`` after it was journaled, or ``unknown``: the journal could not be synced."""
    try:
        command(e)
    except DiskFull:
        if e._closed:
            return "closed"
        try:
            e.log()
        except HandleClosed:
            return "unknown"
        return "refused"
    return "done"  # what failed only tidied up


COMMANDS: dict[str, Callable[[Engram], object]] = {
    "connect": lambda e: e.connect([3, 5, _B | 7], [_B | 2, 9, 1], 2.5),
    "set_weight": lambda e: e.set_weight(7, int(e.synapses(7).targets[0]), 0.5),
    "grow": lambda e: e.grow("a", 20),
    "grow_written": lambda e: e.grow("a", 20, materialize=True),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_in_a_command_never_parts_what_is_in_memory_from_the_journal(tmp_path: Path, name: str) -> None:
    command = COMMANDS[name]
    with make(tmp_path, _SPEC) as e:
        e.stimulate([0, 7, 20], 16.0)
        e.run(3)
        e.set_weight(20, e.synapses(20).targets[0], 4.0)
    fresh = e.location
    files = FaultyFiles()
    e = opened(shutil.copytree(fresh, tmp_path / "whole.engram"), files)
    fire(e)
    before, begun = everything(e), files.operation
    command(e)
    after, operations = everything(e), files.operation - begun
    e._shut()
    outcomes = []
    for full_at in range(operations):
        path = shutil.copytree(fresh, tmp_path / f"{full_at}.engram")
        files = FaultyFiles()
        e = opened(path, files)
        fire(e)
        files.full_at = files.operation + full_at
        outcome = outcome_of(e, command)
        files.full_at = None
        if outcome in ("refused", "done"):
            assert same(everything(e), after if outcome == "done" else before)
            e._shut()  # as after a kill: the journal must say the same
        else:
            with pytest.raises(HandleClosed, match="open"):
                e.run(1)
        with engramdb.open(path, "r+") as e:
            found = everything(e)
        if outcome == "unknown":
            assert same(found, before) or same(found, after)
        else:
            assert same(found, before if outcome == "refused" else after)
        assert engramdb.verify(path).ok
        outcomes.append(outcome)
    # a small change writes nothing behind the journal: it waits in RAM for a checkpoint
    assert set(outcomes) - {"unknown", "done"} == {
        "refused",
        *(["closed"] if name in ("connect", "grow_written") else []),
    }


def test_a_journaled_command_that_fails_says_that_the_journal_completes_it(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        pass
    files = FaultyFiles()
    e = opened(e.location, files)
    files.full_at = files.operation + 2  # the journal's write and sync are done by then
    kept = "this command is kept: do not give it again, the next opening to write completes it"
    with pytest.raises(DiskFull, match=f"free some space; {kept}$"):
        e.connect(1, 2, 3.0)
    files.full_at = None
    with engramdb.open(e.location) as reader:
        assert 2 not in reader.synapses(1).targets or reader.synapses(1).weights[0] != 3.0
    with engramdb.open(e.location, "r+") as e:
        row = e.synapses(1)
        assert row.weights[row.targets == 2].tolist() == [3.0]


def test_a_full_disk_at_closing_says_that_what_was_done_is_kept(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        pass
    files = FaultyFiles()
    e = opened(e.location, files)
    bundle = e.grow("a", 20)
    files.full_at = files.operation
    with pytest.raises(DiskFull, match=r"free some space; what was done is kept: do not give it again"):
        e.close()
    files.full_at = None
    with engramdb.open(e.location, "r+") as e:
        assert len(e) == 60 + 30 + bundle.neurons


def test_a_command_that_was_not_journaled_is_to_be_repeated(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        pass
    files = FaultyFiles()
    with opened(e.location, files) as e:
        files.full_at = files.operation
        with pytest.raises(DiskFull, match=r"the journal are whole: free some space and repeat$"):
            e.grow("a", 20)
        files.full_at = None
        e.grow("a", 20)
        assert len(e) == 110


def test_without_a_journal_a_command_that_fails_is_to_be_repeated(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        pass
    files = FaultyFiles()
    store = Store.open(e.location, "r+", durability="checkpoint", files=files)
    e = Engram(store, memory="64MiB", threads=1)
    files.full_at = files.operation
    with pytest.raises(DiskFull, match=r"free some space; this command is not kept.*open the engram again and repeat$"):
        e.grow("a", 20, materialize=True)
    files.full_at = None
    with engramdb.open(e.location, "r+") as e:
        assert len(e) == 90


def test_the_first_missing_pair_asked_for_is_named_whatever_its_layer(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        e.connect([_B | 1], [5], 1.0)
        there = int(e.synapses(0).targets[0])
        absent = next(i for i in range(60) if i not in e.synapses(50).targets)
        pre, post = [0, _B | 1, _B | 1, 50, _B | 1], [there, 5, 6, absent, 6]
        for order, missing in ((slice(None), "40000/0/1 -> 0/0/6"), (slice(None, None, -1), "40000/0/1 -> 0/0/6")):
            with pytest.raises(NotFound, match=f"no synapse {missing}; use connect"):
                e.set_weight(pre[order], post[order], 2.0)
        with pytest.raises(NotFound, match=f"no synapse 0/0/50 -> 0/0/{absent}; use connect"):
            e.set_weight([0, 50, _B | 1], [there, absent, 6], 2.0)
        assert e.synapses(_B | 1).weights.tolist() == [1.0]
        assert e.set_weight([0, _B | 1, 0], [there, 5, there], [7.0, 8.0, 9.0]) == 3
        assert e.synapses(_B | 1).weights.tolist() == [8.0]
        row = e.synapses(0)
        assert row.weights[row.targets == there].tolist() == [9.0], "the last of equal pairs counts"


def test_a_refused_change_leaves_what_is_in_memory(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        e.stimulate([0, 1, 2], 16.0)
        e.run(2)
        before = everything(e)
        with pytest.raises(EngramError):
            e.set_weight(0, 0, 1.0)
        assert same(everything(e), before)
        e._shut()
    with engramdb.open(e.location, "r+") as e:
        assert same(everything(e), before)


def test_ticks_are_journaled_however_short_they_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock may not have moved between two looks at it."""
    monkeypatch.setattr("engramdb.run.time.perf_counter", lambda: 5.0)
    with make(tmp_path, _SPEC) as e:
        e.run(3)
        e._shut()
    with engramdb.open(e.location, "r+") as e:
        assert e.tick == 3


def test_restoring_begins_to_count_the_time_to_the_next_checkpoint_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(tmp_path, _SPEC) as e:
        e.snapshot("start")
        e.run(1)
        e._seconds_since_checkpoint = 29.0
        e.checkpoint()  # so that restoring finds nothing to checkpoint
        e._seconds_since_checkpoint = 29.0
        e.restore("start")
        monkeypatch.setattr(engram, "_REPLAY_SECONDS", 20.0)
        commits = len(e.log())
        e.run(1)
        assert len(e.log()) == commits
