"""Memory traces belong to history, recall completes them without changing anything, and chance is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import Engram, Explicit, Layer, Projection, SmallWorld, Spec
from engramdb.errors import AlreadyExists, BudgetExceeded, Damaged, InvalidInput, NotFound, ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.query.trace import Trace, match
from engramdb.store import Store
from tests.networks import make

SIZE = 60


@pytest.fixture
def learned(tmp_path: Path) -> Iterator[Engram]:
    """400 neurons, two patterns of 60 in which everybody is joined to everybody, 10 shared."""
    spec = Spec(layers=[Layer("a", segments=[400])], projections=[Projection("a", "a", Explicit())])
    with make(tmp_path, spec) as e:
        for first in (0, 50):
            pattern = np.arange(first, first + SIZE)
            pre, post = np.meshgrid(pattern, pattern, indexing="ij")
            away = pre != post
            e.connect(pre[away], post[away], 0.7)
        e.imprint("A", range(SIZE))
        e.imprint("B", range(50, 50 + SIZE))
        yield e


def test_a_part_of_a_trace_completes_it(learned: Engram) -> None:
    found = learned.recall(range(30), 10)
    assert found.best is not None
    assert (found.best.name, found.best.overlap, found.best.completed) == ("A", 1.0, 1.0)
    other = found.traces[1]
    assert other.name == "B"
    assert other.overlap == 10 / SIZE
    assert other.chance == len(found.active) / 400
    assert found.counts[0] == 30
    assert found.spike_count.sum() == found.counts.sum()
    assert learned.recall(range(5), 10).best.completed == 0.0  # type: ignore[union-attr]
    assert learned.recall([300], 10).best is None


def test_recall_changes_nothing_unless_it_is_kept(learned: Engram) -> None:
    learned.stimulate(range(200, 220), 9.0)
    learned.run(2)
    before = learned.neurons(range(400)).fields
    state, log, tick = learned._live.state(), learned.log(), learned.tick
    sequence = learned._store.stamp
    first = learned.recall(range(30), 10)
    again = learned.recall(range(30), 10)
    assert first.active.tolist() == again.active.tolist()
    assert (learned.tick, learned.log(), learned._store.stamp) == (tick, log, sequence)
    for name, column in learned.neurons(range(400)).fields.items():
        np.testing.assert_array_equal(column, before[name])
    after = learned._live.state()
    assert {n: a.tobytes() for n, a in state.items()} == {n: a.tobytes() for n, a in after.items()}
    learned.checkpoint()
    with engramdb.open(learned.location) as reader:  # and for a reader too
        assert reader.recall(range(30), 10).active.tolist() == first.active.tolist()
        with pytest.raises(ReadOnly, match="keep needs mode"):
            reader.recall(range(30), 10, keep=True)
    kept = learned.recall(range(30), 10, keep=True)
    assert kept.kept
    assert learned.tick == tick + 10
    assert learned.neuron(5).fields["spike_count"] > 0


def test_recall_in_the_present_is_what_would_happen(learned: Engram) -> None:
    learned.stimulate(range(20), 30.0, duration=3)
    learned.run(1)
    present = learned.recall(range(20, 30), 8, present=True)
    kept = learned.recall(range(20, 30), 8, keep=True)
    assert present.counts.tolist() == kept.counts.tolist()
    assert present.active.tolist() == kept.active.tolist()
    assert present.spike_count.tolist() == kept.spike_count.tolist()


def test_recall_depends_on_neither_budget_nor_threads(tmp_path: Path) -> None:
    wiring = SmallWorld(k=12, span=40, long_fraction=0.1, weight=(3.0, 9.0))
    spec = Spec(seed=4, layers=[Layer("a", segments=[20_000], wiring=wiring)])
    found = []
    for number, options in enumerate(({}, {"memory": "8MiB"}, {"threads": 2})):
        (tmp_path / str(number)).mkdir()
        with make(tmp_path / str(number), spec, **options) as e:
            e.connect(range(100), 5, 2.0)
            recall = e.recall(range(40), 15)
            found.append((recall.active.tolist(), recall.counts.tolist()))
    assert found[0] == found[1] == found[2]
    with engramdb.open(tmp_path / "0" / "net.engram", memory="300kB") as e, pytest.raises(BudgetExceeded):
        e.recall(range(5000), 15)


def test_who_never_rests_is_awake_when_all_else_rests(tmp_path: Path) -> None:
    layer = Layer("a", segments=[50], materialize=True, columns=["bias"], params={"bias": 0.0})
    with make(tmp_path, Spec(layers=[layer])) as e:
        assert len(e.recall([1], 40).active) == 1
        e.set_parameters([7, 9], bias=20.0)  # above threshold: they fire by themselves
        e.run(3)
        recall = e.recall([1], 40)
        assert recall.active.tolist() == [1, 7, 9]
        assert recall.spike_count.tolist()[0] == 1


def test_traces_belong_to_history(learned: Engram) -> None:
    learned.snapshot("two")
    learned.imprint("C", [1, 2, 3])
    learned.forget_trace("A")
    learned.imprint("B", range(10), replace=True)
    assert [trace.name for trace in learned.traces()] == ["B", "C"]
    assert [trace.name for trace in learned.traces(at="two")] == ["A", "B"]
    learned.branch("other")
    learned.checkpoint()
    assert len(learned.trace("B", at="two")) == SIZE
    learned.restore("two")
    assert [len(trace) for trace in learned.traces()] == [SIZE, SIZE]
    with pytest.raises(NotFound, match='there is no trace "C"; known: A, B'):
        learned.trace("C")
    learned.imprint("D", [7])
    learned.delete_snapshot("two")
    learned.gc(keep_last=0, keep_days=0)
    path = learned.location
    learned.close()
    with engramdb.open(path) as main, engramdb.open(path, branch="other") as other:
        assert [trace.name for trace in main.traces()] == ["A", "B", "D"]
        assert [trace.name for trace in other.traces()] == ["B", "C"]
    assert engramdb.verify(path).ok


def test_a_diff_names_the_traces_that_differ(learned: Engram) -> None:
    learned.snapshot("then")
    assert learned.diff("then").traces.same
    learned.imprint("A", range(SIZE), replace=True)  # the same neurons again
    assert learned.diff("then").same
    learned.imprint("C", [1])
    learned.imprint("A", [1, 2], replace=True)
    learned.forget_trace("B")
    found = learned.diff("then")
    assert not found.same
    assert (found.traces.added, found.traces.removed, found.traces.changed) == (("C",), ("B",), ("A",))


def test_an_imprint_is_durable_when_it_is_acknowledged(learned: Engram) -> None:
    learned.checkpoint()
    made = learned.imprint("late", [3, 2, 2])
    learned.forget_trace("A")
    path = learned.location
    learned._shut()  # as by a kill
    with engramdb.open(path, "r+") as e:
        assert [trace.name for trace in e.traces()] == ["B", "late"]
        again = e.trace("late")
        assert (again.ids.tolist(), again.tick, again.created) == ([2, 3], made.tick, made.created)


def test_wrong_imprints_are_refused(learned: Engram) -> None:
    with pytest.raises(AlreadyExists, match='there is a trace "A" already'):
        learned.imprint("A", [1])
    for name, ids, problem in (("", [1], "cannot name a trace"), ("x", [], "has no neurons")):
        with pytest.raises(InvalidInput, match=problem):
            learned.imprint(name, ids)
    with pytest.raises(NotFound):
        learned.forget_trace("nobody")
    for options, problem in (
        ({"ticks": 0}, "ticks=0"),
        ({"duration": 9, "ticks": 3}, "duration=9"),
        ({"at": 1, "keep": True}, "the past"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            learned.recall([1], **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="the cue has no neurons"):
        learned.recall([])


def test_a_damaged_trace_is_told_and_can_be_given_up(learned: Engram) -> None:
    learned.checkpoint()
    path = learned.location
    learned.close()
    with Store.open(path) as store:
        ref = store.traces.ref("A")
        pack = store._packs.path(ref.pack or 0)
    with pack.open("r+b") as file:
        file.seek((ref.offset or 0) + (ref.length or 0) - 2)
        file.write(b"\xff\xfe")
    assert any('trace "A"' in str(problem) for problem in engramdb.verify(path).problems)
    with engramdb.open(path) as e:
        with pytest.raises(Damaged, match='trace "A" in packs/'):
            e.trace("A")
        assert len(e.trace("B")) == SIZE
    assert "--drop-lost" in engramdb.repair(path).refused[0]
    assert engramdb.repair(path, drop_lost=True).dropped[0].startswith('trace "A" of 60 neurons')
    assert engramdb.verify(path).ok
    with engramdb.open(path) as e:
        assert [trace.name for trace in e.traces()] == ["B"]


def test_drift_says_what_has_changed(learned: Engram) -> None:
    learned.snapshot("then")
    same = learned.drift("A", "then")
    assert (same.shared, same.added, same.removed, same.weight_change, same.activity) == (SIZE, 0, 0, 0.0, 1.0)
    learned.set_weight(0, range(1, 60), 0.0)
    learned.connect(1, 1, 2.0)
    learned.imprint("A", range(5, SIZE + 5), replace=True)
    drift = learned.drift("A", "then")
    assert (drift.shared, drift.gained, drift.lost) == (55, 5, 5)
    learned.snapshot("now")
    between = learned.drift("B", "then", "now", cue_ids=range(50, 90))
    assert between.activity == 1.0
    assert between.weight == pytest.approx((0.7, 0.7))


@given(st.sets(st.integers(0, 50), min_size=1), st.sets(st.integers(0, 50), min_size=1))
def test_traces_are_sets(one: set[int], other: set[int]) -> None:
    a, b = (Trace("t", np.array(sorted(ids), np.uint64), 0, "") for ids in (one, other))
    assert ((a & b).tolist(), (a | b).tolist(), (a - b).tolist()) == (
        sorted(one & other),
        sorted(one | other),
        sorted(one - other),
    )
    assert a.overlap(b) == len(one & other) / len(one | other)


@given(st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99), min_size=1), st.sets(st.integers(0, 99), min_size=1))
def test_a_match_counts_what_it_says(fired: set[int], cue: set[int], of: set[int]) -> None:
    bundles = Bundles.initial(Spec(layers=[Layer("a", segments=[100]), Layer("b", index=1, segments=[50])]))
    arrays = [np.array(sorted(ids), np.uint64) for ids in (fired, cue, of)]
    (found,) = match(arrays[0], arrays[1], [Trace("t", arrays[2], 0, "")], bundles)
    assert found.overlap == len(fired & of) / len(of)
    assert found.chance == len(fired) / 100
    assert found.in_cue == len(cue & of)
    if of - cue:
        assert found.completed == len((fired & of) - cue) / len(of - cue)
    else:
        assert np.isnan(found.completed)
    if len(cue) < 100:
        assert found.completed_chance == len(fired - cue) / (100 - len(cue))
    assert found.share == (len(fired & of) / len(fired) if fired else 0.0)
