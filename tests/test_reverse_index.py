"""The reverse index says who projects where, survives what the store survives, and can always be built anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, Explicit, Layer, Projection, SmallWorld, Spec
from engramdb.errors import Damaged
from engramdb.handle import questions
from engramdb.store import Store, reverse
from engramdb.store.files import OS_FILES
from engramdb.store.pairsorter import PairSorter
from engramdb.store.reverse import DROPPED, RUN, TOUCHES, resolve, unseen
from tests.networks import edges_of, ids_of, make

SPEC = Spec(
    seed=5,
    layers=[
        Layer("a", segments=[400], wiring=SmallWorld(k=6, span=20, long_fraction=0.3, weight=2.0)),
        Layer("b", index=7, segments=[300]),
    ],
    projections=[Projection("a", "b", Explicit()), Projection("b", "b", Explicit())],
)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2**63)), max_size=300), st.integers(1, 3))
def test_pairs_are_sorted_whatever_the_memory(tmp_path_factory: pytest.TempPathFactory, given: list, size: int) -> None:
    given = sorted(given, key=lambda pair: pair[1])
    folder = tmp_path_factory.mktemp("sorter")
    with PairSorter(OS_FILES, folder, 0) as sorter:
        sorter._capacity = 7 * size  # so small that runs have to be merged
        for start in range(0, len(given), 11):
            target, source = np.array(given[start : start + 11], np.uint64).T
            sorter.add(target, source)
        found = [(t, s) for batch in sorter.batches() for t, s in zip(*(c.tolist() for c in batch), strict=True)]
    assert found == sorted(set(given))
    assert list(folder.iterdir()) == []


def test_what_is_visible_follows_the_runs_back_to_a_whole_one() -> None:
    whole, list_, later, list_2 = (4, 1, RUN, 0, 9), (5, 2, TOUCHES, 0, 3), (8, 3, RUN, 4, 2), (9, 4, TOUCHES, 0, 1)
    assert resolve([]) == ([], [])
    assert resolve([whole, list_]) == ([(1, 9)], [2])
    assert resolve([list_2, later, list_, whole]) == ([(3, 2), (1, 9)], [4])
    assert resolve([whole, later, (10, 5, DROPPED, 0, 0)]) == ([], [])
    assert resolve([whole, (10, 5, DROPPED, 0, 0), (11, 6, RUN, 0, 7)]) == ([(6, 7)], [])
    assert resolve([later]) == ([], []), "it says nothing of what came before"


def test_what_no_kept_commit_sees_can_go() -> None:
    rows = {1: (1, 4, RUN, 0), 2: (1, 5, TOUCHES, 0), 3: (1, 8, RUN, 4), 4: (1, 12, RUN, 0), 5: (2, 20, TOUCHES, 0)}
    everything = {1: np.arange(30), 2: np.arange(30)}
    assert unseen(rows, everything) == set()
    assert unseen(rows, {1: np.array([13])}) == {1, 2, 3, 5}
    assert unseen(rows, {1: np.array([6, 13])}) == {3, 5}
    assert unseen(rows, {1: np.array([9]), 2: np.array([25])}) == {2, 4}


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Engram]:
    """With synapses that no rule knows, in both layers."""
    random = np.random.default_rng(1)
    b = np.uint64(7 << 48)
    with make(tmp_path, SPEC) as e:
        e.connect(random.integers(0, 400, 300), random.integers(0, 300, 300).astype(np.uint64) + b, 3.0)
        e.connect(random.integers(0, 300, 200).astype(np.uint64) + b, np.full(200, 5, np.uint64) + b, 1.0)
        yield e


def agrees(e: Engram) -> bool:
    """Whether it says of everybody what a look at all rows says."""
    pre, post, _, _ = edges_of(e)
    order = np.argsort(post, kind="stable")
    return all(
        sorted(e.synapses(int(neuron), "in").sources.tolist()) == sorted(pre[order][post[order] == neuron].tolist())
        for neuron in ids_of(e)[::7]
    )


def test_an_index_holds_only_what_cannot_be_computed(joined: Engram) -> None:
    pre, post, _, _ = edges_of(joined)
    beyond = len({(p, q) for p, q in zip(pre.tolist(), post.tolist(), strict=True) if q >> 48 == 7})
    assert joined.index() == beyond
    assert agrees(joined)
    joined.grow("a", 50, materialize=True)
    joined.set_weight(7, joined.synapses(7).targets, 0.5)
    assert len(joined._store.touched()) == 0, "the wiring rules know these"
    joined.connect(11, 300, 1.0)
    assert joined._store.touched().tolist() == [11]
    assert agrees(joined)


def test_an_index_of_many_blocks_and_runs_counts_all_of_them(joined: Engram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "BLOCK_ENTRIES", 16)
    monkeypatch.setattr(questions, "_LEAST_EXTENSION", 10)
    entries = joined.index()
    assert entries == joined._store.reverse.entries > 10 * 16
    joined.connect(range(20, 60), (7 << 48) + 250, 2.0)
    joined.checkpoint()
    joined.connect(11, (7 << 48) + 20, 1.0)
    joined.checkpoint()
    assert joined._store.reverse.runs == 2
    assert joined._store.reverse.entries >= entries + 40
    assert joined._store.touched().tolist() == [11]
    assert agrees(joined)
    with engramdb.open(joined.location) as reader:
        assert reader._store.reverse.runs == 2
        assert agrees(reader)


def test_an_index_follows_history(joined: Engram) -> None:
    joined.snapshot("before")
    joined.index()
    joined.snapshot("indexed")
    joined.connect(range(20), (7 << 48) + 9, 2.0)
    joined.snapshot("more")
    assert agrees(joined)
    for name, there in (("indexed", True), ("before", False), ("more", True)):
        joined.restore(name)
        assert bool(joined._store.reverse) == there
        assert agrees(joined)
    with engramdb.open(joined.location, at="indexed") as reader:
        assert reader._store.reverse
        assert agrees(reader)


def test_checkpoints_give_what_was_touched_a_run_of_its_own(joined: Engram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_LEAST_EXTENSION", 10)
    monkeypatch.setattr(questions, "_MOST_RUNS", 3)
    joined.index()
    runs = []
    for start in range(0, 200, 20):
        joined.connect(range(start, start + 20), (7 << 48) + start, 2.0)
        joined.checkpoint()
        runs.append(joined._store.reverse.runs)
        assert len(joined._store.touched()) == 0
        assert agrees(joined)
    assert max(runs) == 3
    assert min(runs[3:]) == 1, "many small ones become a whole one"


def test_gc_keeps_what_is_seen_and_frees_the_rest(joined: Engram) -> None:
    joined.index()
    for at in range(4):
        joined.connect(range(at, at + 30), (7 << 48) + at, 2.0)
        joined.checkpoint()
    joined.index()
    joined.connect(3, (7 << 48) + 200, 1.0)
    joined.checkpoint()
    before = len(joined._store._catalog.select("reverse"))
    joined.gc(keep_last=0, keep_days=0)
    left = joined._store._catalog.select("reverse")
    assert len(left) < before
    assert agrees(joined)
    joined.gc(keep_last=0, keep_days=0)
    assert joined._store._catalog.select("reverse") == left
    assert engramdb.verify(joined.location).ok


def damage(path: Path) -> int:
    """Flip a byte in the newest block of the index."""
    with Store.open(path) as store:
        row = store._catalog.select("reverse", "WHERE kind = 'run' ORDER BY run DESC LIMIT 1")[0]
        pack = store._packs.path(row[9])
        offset, length = row[10], row[11]
    with pack.open("r+b") as file:
        file.seek(offset + length - 3)
        byte = file.read(1)
        file.seek(offset + length - 3)
        file.write(bytes([byte[0] ^ 1]))
    return int(row[0])


def test_a_damaged_index_is_told_and_given_up(joined: Engram) -> None:
    joined.index()
    path = joined.location
    joined.close()
    damage(path)
    report = engramdb.verify(path)
    assert len(report.problems) == 1
    assert "build it anew with engramdb index" in str(report.problems[0])
    with engramdb.open(path) as reader, pytest.raises(Damaged, match="nothing is lost: build it anew"):
        reader._store.reverse.pairs(ids_of(reader))
    done = engramdb.repair(path)
    assert done.mended == ["the reverse index is dropped; engramdb index builds it anew"]
    assert engramdb.verify(path).ok
    with engramdb.open(path, "r+") as e:
        assert not e._store.reverse
        assert agrees(e)
        e.index()
        assert agrees(e)


_CHILD = """
import sys, engramdb
with engramdb.open(sys.argv[1], "r+") as e:
    print("begin", flush=True)
    while True:
        e.index()
        e.connect(range(50), (7 << 48) + 9, 2.0)
        e.checkpoint()
"""


def test_a_kill_while_it_is_built_leaves_the_old_one_or_the_new_one(joined: Engram) -> None:
    joined.index()
    path = joined.location
    joined.close()
    random = np.random.default_rng(os.getpid())
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(float(random.uniform(0.0, 0.3)))
            child.send_signal(signal.SIGKILL)
        with engramdb.open(path, "r+") as e:
            assert e._store.reverse
            assert agrees(e)
        assert engramdb.verify(path).problems == []
