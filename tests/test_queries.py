"""Questions give what looking at every neuron and every synapse gives, now and in the past, and change nothing."""

from __future__ import annotations

import contextlib
import heapq
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import Bernoulli, Engram, Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.engine import Engine
from engramdb.errors import BudgetExceeded, EngramError, InvalidInput, NotFound
from engramdb.handle import questions
from engramdb.query import indegree, strength
from engramdb.query.predicate import read
from tests.networks import edges_of, ids_of, make, specs

FEW = settings(max_examples=settings().max_examples // 2)


@pytest.fixture(scope="module", autouse=True)
def _windows_are_small() -> Iterator[None]:
    """So that in-degrees of small engrams are counted in several passes, and of some neurons one by one."""
    before = indegree._FEW, indegree._WINDOW, indegree._ROWS_AT_ONCE
    indegree._FEW, indegree._WINDOW, indegree._ROWS_AT_ONCE = 20, 64, 50
    yield
    indegree._FEW, indegree._WINDOW, indegree._ROWS_AT_ONCE = before


@pytest.fixture(scope="module", autouse=True)
def _turns_are_short() -> Iterator[None]:
    """So that the search for a strong path has many in small engrams, and goes one way only where much is stored."""
    before = strength._AT_ONCE, strength._SCANNED
    strength._AT_ONCE, strength._SCANNED = 3, 60
    yield
    strength._AT_ONCE, strength._SCANNED = before


@pytest.fixture(scope="module", autouse=True)
def _runs_of_the_index_are_short() -> Iterator[None]:
    """So that checkpoints of small engrams extend the index, and build it anew."""
    before = questions._LEAST_EXTENSION, questions._MOST_RUNS
    questions._LEAST_EXTENSION, questions._MOST_RUNS = 6, 3
    yield
    questions._LEAST_EXTENSION, questions._MOST_RUNS = before


class Whole:
    """An engram as arrays over all neurons and all synapses."""

    def __init__(self, engram: Engram) -> None:
        self.ids = ids_of(engram)
        self.neurons = engram.neurons(self.ids)
        self.pre, self.post, self.weight, self.delay = edges_of(engram)
        names = {layer.index: layer.name for layer in engram.spec.layers}
        self.layer = np.array([names[i] for i in (self.ids >> np.uint64(48)).tolist()])

    def column(self, name: str) -> Any:
        if name in ("id", "layer"):
            return self.ids if name == "id" else self.layer
        if name == "state":
            return np.array(self.neurons.state)
        if name == "in_degree":
            return np.bincount(np.searchsorted(self.ids, self.post), minlength=len(self.ids))
        return self.neurons.out_degree if name == "out_degree" else self.neurons.fields[name]

    def hops(self, start: int, backwards: bool = False) -> dict[int, int]:
        """The distance of everyone within reach."""
        near, far = (self.post, self.pre) if backwards else (self.pre, self.post)
        found = {start: 0}
        ring = np.array([start], dtype=np.uint64)
        while len(ring):
            fresh = np.setdiff1d(far[np.isin(near, ring)], np.array(sorted(found), dtype=np.uint64))
            found |= dict.fromkeys(fresh.tolist(), max(found.values()) + 1)
            ring = fresh
        return found

    def strength(self, a: int, b: int, full: float) -> float:
        """Of the strongest way, by Bellman's and Ford's algorithm; 0 where there is none."""
        places = np.searchsorted(self.ids, self.pre), np.searchsorted(self.ids, self.post)
        passing = np.minimum(1.0, np.abs(self.weight.astype(np.float64)) / full)
        best = np.zeros(len(self.ids))
        best[np.searchsorted(self.ids, np.uint64(a))] = 1.0
        while True:
            after = best.copy()
            np.maximum.at(after, places[1], best[places[0]] * passing)
            if np.allclose(after, best, rtol=1e-12, atol=0):
                return float(best[np.searchsorted(self.ids, np.uint64(b))])
            best = after

    def strongest(self, a: int, b: int, full: float) -> list[int]:
        """The way of that strength: of equal ones the one of the fewest hops, and then, from its end, of the least ids.

        One neuron after another, by Dijkstra's algorithm, over costs in units of 2^-44.
        """
        with np.errstate(divide="ignore"):
            cost = -np.log(np.minimum(1.0, np.abs(self.weight.astype(np.float64)) / full)) * 2.0**44
        best, waiting, done = {a: (0, 0, a)}, [(0, 0, a)], set()
        while waiting:
            so_far, hops, neuron = heapq.heappop(waiting)
            if neuron in done:
                continue
            done.add(neuron)
            row = np.flatnonzero((self.pre == np.uint64(neuron)) & np.isfinite(cost))
            for other, step in zip(self.post[row].tolist(), np.rint(cost[row]).tolist(), strict=True):
                label = so_far + int(step), hops + 1, neuron
                if other not in done and (other not in best or label < best[other]):
                    best[other] = label
                    heapq.heappush(waiting, (*label[:2], other))
        way = [b]
        while way[-1] != a:
            way.append(best[way[-1]][2])
        return way[::-1]


def change(e: Engram, random: np.random.Generator) -> None:
    """Something of everything that can happen to an engram."""
    ids = ids_of(e)

    def some(n: int) -> Any:
        return random.choice(ids, n)

    what = random.choice(["run", "connect", "connect", "set", "forget", "grow", "checkpoint", "restore", "parameters"])
    layer = e.spec.layers[0]
    of_first = ids[ids >> np.uint64(48) == layer.index]
    if what == "run":
        e.stimulate(some(20), 40.0, duration=2)
        e.run(int(random.integers(1, 12)))
    elif what == "connect":
        e.connect(random.choice(of_first, 15), random.choice(of_first, 15), random.uniform(0.5, 9.0, 15))
    elif what == "set":
        pre = int(random.choice(of_first))
        row = e.synapses(pre)
        same_layer = row.targets >> np.uint64(48) == layer.index
        if same_layer.any():
            e.set_weight(pre, row.targets[same_layer][:3], 2.5)
    elif what == "forget":
        e.forget(ids)
    elif what == "grow" and len(ids) < 900:
        e.grow(layer.name, int(random.integers(1, 40)), materialize=bool(random.integers(2)))
    elif what == "checkpoint":
        e.checkpoint()
    elif what == "restore" and e.snapshots():
        e.restore(str(random.choice([s.name for s in e.snapshots()])))


def check_synapses(e: Engram, whole: Whole, at: str | None, random: np.random.Generator) -> None:
    for neuron in random.choice(whole.ids, 6).tolist():
        for direction, mine, other in (("in", whole.post, whole.pre), ("out", whole.pre, whole.post)):
            here = mine == np.uint64(neuron)
            found = e.synapses(neuron, direction, at=at)
            expected = sorted(zip(whole.delay[here], other[here], whole.weight[here], strict=True))
            assert sorted(zip(found.delays, found.partners, found.weights, strict=True)) == expected


def check_walks(e: Engram, whole: Whole, at: str | None, random: np.random.Generator) -> None:
    center, other = random.choice(whole.ids, 2).tolist()
    for direction in ("out", "in"):
        expected = {n: h for n, h in whole.hops(center, direction == "in").items() if h <= 2}
        found = e.ego(center, 2, direction=direction, at=at)
        assert dict(zip(found.ids.tolist(), found.hop.tolist(), strict=True)) == expected
        few = e.ego(center, 2, limit=5, direction=direction, at=at)
        assert few.truncated == (len(expected) > 5)
        assert few.ids.tolist() == found.ids.tolist()[: len(few)]
        for one in (found, few):
            among = np.isin(whole.pre, one.ids) & np.isin(whole.post, one.ids)
            columns = whole.pre[among], whole.post[among], whole.delay[among], whole.weight[among]
            assert sorted(zip(one.pre, one.post, one.delay, one.weight, strict=True)) == sorted(
                zip(*columns, strict=True)
            )
    distance = whole.hops(center).get(other)
    strength = whole.strength(center, other, 9.0)
    if distance is None:
        with pytest.raises(NotFound, match="there is no path"):
            e.path(center, other, at=at)
        with pytest.raises(NotFound, match="there is no path"):
            e.path(center, other, by="strength", at=at)
        return
    shortest = e.path(center, other, at=at)
    assert shortest.hops == distance
    for pre, post, weight in zip(shortest.ids, shortest.ids[1:], shortest.weights, strict=False):
        assert weight in whole.weight[(whole.pre == pre) & (whole.post == post)]
    if strength:
        strongest = e.path(center, other, by="strength", full=9.0, at=at)
        assert strongest.strength == pytest.approx(strength, rel=1e-6)
        assert strongest.ids.tolist() == whole.strongest(center, other, 9.0)


conditions = st.sampled_from(
    [
        None,
        "spike_count > 0",
        "state = virtual",
        "not state in (virtual, dormant)",
        "u != 0 or refractory > 0",
        "v >= -65.5 and layer = exc",
        "out_degree > 5",
        "(spike_count >= 1 and last_spike < 9) or degree = 1",
        "id >= 100 and local <= 250",
        "0 = spike_count and (layer != exc or v < -66)",
        "last_spike >= spike_count",
        "in_degree < out_degree and spike_count = 0",
    ]
)


def brute(text: str | None, whole: Whole) -> Any:
    """Who satisfies a condition, by Python's own operators."""
    if text is None:
        return np.ones(len(whole.ids), dtype=bool)
    c = whole.column
    local = (whole.ids & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return {
        "spike_count > 0": c("spike_count") > 0,
        "state = virtual": c("state") == "virtual",
        "not state in (virtual, dormant)": ~np.isin(c("state"), ["virtual", "dormant"]),
        "u != 0 or refractory > 0": (c("u") != 0) | (c("refractory") > 0),
        "v >= -65.5 and layer = exc": (c("v") >= -65.5) & (c("layer") == "exc"),
        "out_degree > 5": c("out_degree") > 5,
        "(spike_count >= 1 and last_spike < 9) or degree = 1": (
            ((c("spike_count") >= 1) & (c("last_spike") < 9)) | (c("out_degree") == 1)
        ),
        "id >= 100 and local <= 250": (whole.ids >= 100) & (local <= 250),
        "0 = spike_count and (layer != exc or v < -66)": (
            (c("spike_count") == 0) & ((c("layer") != "exc") | (c("v") < -66))
        ),
        "last_spike >= spike_count": c("last_spike") >= c("spike_count"),
        "in_degree < out_degree and spike_count = 0": ((c("in_degree") < c("out_degree")) & (c("spike_count") == 0)),
    }[text]


def pages(e: Engram, at: str | None, **question: Any) -> Iterator[Any]:
    page = e.select(at=at, **question)
    yield page
    while page.cursor is not None:
        page = e.select(at=at, cursor=page.cursor, **question)
        yield page


def check_selection(e: Engram, whole: Whole, at: str | None, text: str | None, order: str | None) -> None:
    true = np.flatnonzero(brute(text, whole))
    assert e.count(where=text, at=at) == len(true)
    if order is not None:
        values = whole.column(order.lstrip("-")).astype(np.float64)[true]
        true = true[np.lexsort((true, -values if order.startswith("-") else values))]
    shown = ["id", "layer", "state", "out_degree", "in_degree", "spike_count", "v", "refractory"]
    found = list(pages(e, at, where=text, order=order, columns=shown, limit=max(1, len(true) // 3)))
    assert np.concatenate([page.ids for page in found]).tolist() == whole.ids[true].tolist()
    for name in shown:
        np.testing.assert_array_equal(np.concatenate([page[name] for page in found]), whole.column(name)[true])
    layer = whole.layer[0]
    inside = whole.ids[true][whole.layer[true] == layer]
    assert e.select(str(layer), text, ["id"], order, None, at=at).ids.tolist() == inside.tolist()


@FEW
@given(
    specs(150), st.integers(0, 2**32), conditions,
    st.sampled_from([None, "id", "-v", "-spike_count", "out_degree", "-in_degree"]),
)  # fmt: skip
def test_questions_agree_with_looking_at_everything(spec: Spec, seed: int, text: str | None, order: str | None) -> None:
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, make(Path(folder), spec) as e:
        steps = int(random.integers(2, 9))
        indexed = random.integers(0, steps + 2)  # at some step, or never
        for step in range(steps):
            if step == indexed:
                e.index()
            if step == steps // 2:
                e.snapshot("then")
            change(e, random)
        with engramdb.open(e.location, at="then") as then:
            past = Whole(then)
        for at, whole in ((None, Whole(e)), ("then", past)):
            check_synapses(e, whole, at, random)
            check_walks(e, whole, at, random)
            check_selection(e, whole, at, text, order)
            for field in ("spike_count", "in_degree"):
                top = e.top(field, 7, at=at)
                counts = whole.column(field).astype(np.int64)
                first = np.lexsort((whole.ids, -counts))[:7]
                assert (top.ids.tolist(), top.values.tolist()) == (whole.ids[first].tolist(), counts[first].tolist())


def test_untouched_neurons_are_counted_without_looking_at_each(tmp_path: Path) -> None:
    layer = Layer("cortex", segments=[4_000_000_000] * 25, wiring=SmallWorld(k=12, span=50, weight=(3.0, 5.0)))
    with make(tmp_path, Spec(seed=7, layers=[layer]), memory="64MiB") as e:
        e.stimulate([5, "0/24/7"], 20.0)
        e.run(2)
        e.forget(range(100))
        assert e.count() == 100_000_000_000
        fired = e.count(where="spike_count > 0")
        assert fired == 2
        assert e.count(where="state = virtual and degree = 12") < 100_000_000_000
        assert e.select(where="spike_count > 0", columns=["id"]).ids.tolist() == [5, (24 << 32) + 7]
        assert e.select(where="state = virtual", columns=["id"], limit=3, order="-spike_count").ids.tolist() == [
            0,
            1,
            2,
        ]
        assert e.top("spike_count", 3).ids.tolist() == [5, (24 << 32) + 7, 0]


def test_in_degrees_are_counted_where_that_takes_minutes_and_refused_where_it_takes_days(tmp_path: Path) -> None:
    wiring = SmallWorld(k=12, span=50, weight=(3.0, 5.0))
    layers = [Layer("cortex", segments=[4_000_000_000] * 25, wiring=wiring), Layer("few", index=1, segments=[30])]
    joins = [Projection("few", "few", FixedOutdegree(k=3), weight=1.0)]
    with make(tmp_path, Spec(seed=7, layers=layers, projections=joins), memory="64MiB") as e:
        e.connect(range(40), 50, 2.0)
        with pytest.raises(
            InvalidInput, match=r"in_degree of layer cortex: 1,200,000,000,\d+ synapses .* select by id$"
        ):
            e.top("in_degree", 3)
        assert e.top("in_degree", 30, layer="few").values.sum() == 90
        page = e.select(where="id >= 40", columns=["id", "in_degree"], limit=20)  # these few are looked up one by one
        assert page["in_degree"][10] == len(e.synapses(50, "in")) >= 40
        assert "in_degree" not in e.select(limit=1).columns


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Engram]:
    wiring = SmallWorld(k=6, span=20, long_fraction=0.2, weight=(1.0, 5.0))
    with make(tmp_path, Spec(seed=3, layers=[Layer("a", segments=[300], wiring=wiring)])) as e:
        e.stimulate(range(50), 20.0)
        e.run(5)
        yield e


def test_a_cursor_holds_for_one_state_and_one_question(small: Engram) -> None:
    page = small.select(where="spike_count > 0", limit=5)
    assert page.cursor is not None
    small.checkpoint()  # the same state
    again = small.select(where="spike_count > 0", limit=5, cursor=page.cursor)
    assert again.ids[0] > page.ids[-1]
    with pytest.raises(InvalidInput, match="another question"):
        small.select(where="spike_count > 1", limit=5, cursor=page.cursor)
    with pytest.raises(InvalidInput, match="none that a selection gave"):
        small.select(where="spike_count > 0", cursor=page.cursor[:-4] + "AAAA")
    small.snapshot("then")
    then = small.select(where="spike_count > 0", limit=5, at="then")
    small.run(1)
    with pytest.raises(InvalidInput, match="the engram has moved on; take a snapshot"):
        small.select(where="spike_count > 0", limit=5, cursor=page.cursor)
    small.select(where="spike_count > 0", limit=5, cursor=then.cursor, at="then")
    with engramdb.open(small.location, at="then") as reader:  # in another process as well
        assert reader.select(where="spike_count > 0", limit=5, cursor=then.cursor).ids.tolist() == again.ids.tolist()


def test_a_selection_is_a_table(small: Engram) -> None:
    table = small.select(columns=["id", "state", "v"], limit=3).arrow()
    assert table.column_names == ["id", "state", "v"]
    assert table["id"].to_pylist() == [0, 1, 2]


def test_a_missing_library_is_named(small: Engram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(EngramError, match="pip install pandas"):
        small.select(limit=3).pandas()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spikecount > 3", r'character 1: no field is called "spikecount"; did you mean spike_count\?'),
        ("u >", "character 4: it ends here"),
        ("(u > 1", r'character 7: expected "\)"'),
        ("u > 1 u", 'character 7: expected "and", "or" or the end'),
        ("state > active", "character 9: state is a text"),
        ("state = sleepy", 'character 9: there is no state "sleepy"'),
        ("layer = b", 'character 9: there is no layer "b"; known: a'),
        ("u = abc", 'character 5: no field is called "abc"'),
        ("u = 'abc'", "character 5: u is a number"),
        ("1 = 2", "character 1: no field is compared"),
        ("u # 3", "character 3: '#' is not expected here"),
        ("u > 1 and __import__('os')", "character 21: expected a comparison"),
        ("not " * 200 + "u > 1", "more than 100 within one another"),
        ("id = '0/0'", "character 6: .* is not a neuron id"),
        ("u > 1 or " * 2000 + "u > 2", "18,005 characters are too many"),
    ],
)
def test_a_wrong_condition_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read(text, {"id", "layer", "state", "u", "spike_count"}, ["a"])


@given(st.text(alphabet="ustate_id()<>=!, 'andornotin0129.-\"", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    fields = {"id": np.arange(3, dtype=np.uint64), "u": np.zeros(3, np.float32), "state": "virtual", "layer": "a"}
    try:
        predicate = read(text, fields, ["a"])
    except InvalidInput:
        return
    assert np.shape(predicate.holds(fields)) in ((), (3,))


def test_numbers_beyond_a_field_compare_as_numbers_do(small: Engram) -> None:
    assert small.count(where="spike_count > -1") == small.count(where="spike_count < 1e30") == 300
    assert small.count(where="spike_count < 99999999999999999999") == small.count(where="id >= -5") == 300


def test_a_field_of_another_model_is_never_compared(tmp_path: Path) -> None:
    layers = [Layer("a", segments=[10]), Layer("b", index=1, model="lif_exp", segments=[10])]
    with make(tmp_path, Spec(layers=layers)) as e:
        assert e.count(where="g = 0") == e.count(where="g >= 0 or g < 0") == 10
        assert e.count(where="g != 1") == 10
        assert np.isnan(e.select(where="layer = a")["g"]).all()
        assert len(e.top("g", 50)) == 10


@settings(max_examples=settings().max_examples // 8)
@given(st.integers(0, 2**32))
def test_questions_change_nothing_and_evict_nothing(seed: int) -> None:
    """The same commands on two engrams that can hold little, one of which is asked about everything in between."""
    wiring = SmallWorld(k=12, span=40, long_fraction=0.3, weight=(2.0, 9.0))
    spec = Spec(seed=seed, layers=[Layer("a", segments=[1500], wiring=wiring, materialize=True)])
    results = []
    before, Engine.reading_threads = Engine.reading_threads, 0  # what a thread reads in time is no matter of results
    try:
        for asked in (False, True):
            random = np.random.default_rng(seed)
            with tempfile.TemporaryDirectory() as folder, make(Path(folder), spec, memory=350_000) as e:
                counts = []
                for step in range(6):
                    e.stimulate(random.choice(1500, 40), 30.0)
                    e.run(3)
                    stats = e.stats()
                    counts.append(
                        {name: stats[name] for name in ("evictions", "rows_dropped", "slots_freed", "rows_loaded")}
                    )
                    if step == 2:
                        e.snapshot("then")
                    if asked:
                        ask_everything(e, "then" if step >= 2 else None, step)
                state = e._live.state()
                fields = e.neurons(np.arange(1500)).fields
                results.append((counts, {n: a.tobytes() for n, a in {**state, **fields}.items()}, e.log()[0].sequence))
    finally:
        Engine.reading_threads = before
    assert results[0] == results[1]
    assert results[0][0][-1]["rows_dropped"] > 0


def ask_everything(e: Engram, at: str | None, neuron: int) -> None:
    e.neurons(np.arange(0, 1500, 3), at=at)
    e.synapses(neuron, "in", at=at)
    e.ego(neuron, 2, at=at)
    e.path(neuron, 1499 - neuron, at=at)
    e.path(neuron, neuron + 70, by="strength", at=at)
    e.select(where="spike_count >= 0 and u > 0", at=at)
    e.top("last_spike", at=at)
    e.count(where="degree = 12", at=at)
    with contextlib.suppress(BudgetExceeded):  # it has a quarter of what is little already
        e.recall([neuron, neuron + 1], 5, at=at)
    e.traces(at=at)


def test_past_and_present_do_not_mix(small: Engram) -> None:
    small.snapshot("then")
    before = small.neurons(range(300))
    small.grow("a", 50)
    small.connect(3, 320, 4.0)
    assert small.synapses(320, "in").sources.tolist()[-1:] != []
    with pytest.raises(NotFound, match="does not exist at that commit"):
        small.neuron(320, at="then")
    small.stimulate(range(300), 30.0)
    small.run(2)
    np.testing.assert_array_equal(small.neurons(range(300), at="then").fields["u"], before.fields["u"])
    assert small.count(at="then") == 300
    assert small.count() == 350


def test_a_past_that_was_asked_about_can_be_collected(small: Engram) -> None:
    small.snapshot("then")
    number = small.snapshots()[0].commit
    small.run(1)
    small.checkpoint()
    assert small.count(at="then") == 300
    small.delete_snapshot("then")
    assert number in small.gc(keep_last=0, keep_days=0).dropped
    with pytest.raises(NotFound, match="no commit"):
        small.count(at=number)


def test_wrong_requests_say_what_is_wrong(small: Engram) -> None:
    for ask, problem in (
        (lambda: small.ego(1, -1), "hops=-1"),
        (lambda: small.ego(1, limit=0), "limit=0"),
        (lambda: small.ego(1, direction="up"), 'direction="up"'),  # type: ignore[arg-type]
        (lambda: small.path(1, 2, by="luck"), 'by="luck"'),  # type: ignore[arg-type]
        (lambda: small.path(1, 2, full=0.0), "full=0.0"),
        (lambda: small.select(order="state"), "state is a text"),
        (lambda: small.select(columns=["w"]), 'columns: no field is called "w"'),
        (lambda: small.select(limit=0), "limit=0"),
        (lambda: small.top("spikes"), "order: no field is called"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            ask()
    with pytest.raises(NotFound, match="give a larger limit"):
        small.path(0, 299, limit=3)


@pytest.mark.parametrize("weight", [3.0, 20.0, (0.1, 20.0)], ids=["equal", "all of it", "drawn"])
def test_of_equally_strong_paths_always_the_same_is_found(tmp_path: Path, weight: Any) -> None:
    wiring = SmallWorld(k=4, long_fraction=0.3, span=4, weight=weight)
    random = np.random.default_rng(4)
    with make(tmp_path, Spec(seed=5, layers=[Layer("a", segments=[120], wiring=wiring)])) as e:
        pairs = random.integers(0, 120, (6, 2)).tolist()
        for written in ("nothing", "some", "all", "indexed"):
            if written == "some":
                e.connect(random.integers(0, 120, 12), random.integers(0, 120, 12), 3.0)
            elif written == "all":
                ids = np.arange(120)
                e.connect(ids, (ids + 7) % 120, 0.0)
            elif written == "indexed":
                e.index()
            whole = Whole(e)
            for a, b in pairs:
                assert e.path(a, b, by="strength").ids.tolist() == whole.strongest(a, b, 15.0)


def test_the_strongest_path_is_searched_for_from_both_ends(tmp_path: Path) -> None:
    wiring = SmallWorld(k=10, long_fraction=0.1, span=50, weight=(0.5, 6.0))
    random = np.random.default_rng(5)
    with make(tmp_path, Spec(seed=3, layers=[Layer("a", segments=[30_000], wiring=wiring)])) as e:
        for a, b in random.integers(0, 30_000, (5, 2)).tolist():
            assert e.path(a, b, by="strength").visited < 3000  # of 30,000, most of whom are nearer to a than b is


def test_surroundings_have_the_synapses_within_the_last_hop(tmp_path: Path) -> None:
    with make(tmp_path, Spec(layers=[Layer("a", segments=[9])], projections=[Projection("a", "a", Explicit())])) as e:
        e.connect([0, 0, 1, 2, 2, 3], [1, 2, 2, 1, 3, 0], 1.0)
        assert list(zip(e.ego(0, 1).pre, e.ego(0, 1).post, strict=True)) == [(0, 1), (0, 2), (1, 2), (2, 1)]
        onto = e.ego(2, 1, direction="in")
        assert list(zip(onto.pre, onto.post, strict=True)) == [(0, 1), (0, 2), (1, 2), (2, 1)]
        assert len(e.ego(0, 0).pre) == 0


def test_rows_of_built_rules_are_walked_too(tmp_path: Path) -> None:
    layers = [Layer("a", segments=[60]), Layer("b", index=2, segments=[60])]
    joins = [
        Projection("a", "b", Bernoulli(p=0.1), weight=(1.0, 3.0)),
        Projection("b", "a", Bernoulli(p=0.1), weight=2.0),
    ]
    with make(tmp_path, Spec(seed=2, layers=layers, projections=joins)) as e:
        whole = Whole(e)
        for indexed in (False, True):
            if indexed:
                assert e.index() == len(whole.pre)
            random = np.random.default_rng(1)
            for _ in range(5):
                check_synapses(e, whole, None, random)
                check_walks(e, whole, None, random)


@pytest.mark.parametrize("at", [True, False, 1.0, b"one", ["one"]])
def test_a_place_in_history_is_a_name_or_a_number(tmp_path: Path, at: Any) -> None:
    with engramdb.create(tmp_path / "a.engram", Spec(layers=[Layer("a", segments=[3])])) as e:
        e.snapshot("one")
        for ask in (e.select, e.count, lambda at: e.neuron(1, at=at), lambda at: e.branch("b", at=at), e.restore):
            with pytest.raises(InvalidInput, match="no place in history"):
                ask(at=at) if ask != e.restore else e.restore(at)
        with pytest.raises(InvalidInput, match="no place in history"):
            engramdb.open(tmp_path / "a.engram", at=at)
        assert e.count(at=np.int64(1)) == 3
