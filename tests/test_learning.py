"""Learning: weights are those of a twin that looks at every synapse in every tick, and those of the papers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engramdb
from engramdb import (
    STDP,
    Engram,
    Explicit,
    FixedOutdegree,
    Hebbian,
    Layer,
    Projection,
    ReVGSP,
    Scaling,
    SmallWorld,
    Spec,
)
from engramdb.cli import main
from engramdb.difference import Diff
from engramdb.errors import BudgetExceeded, InvalidInput, InvalidSpec
from engramdb.inspect.summary import summarize
from engramdb.learning import LEARNING, LearningRule
from tests.modeltwin import assert_same_fields, twin_now
from tests.networks import edges_of, ids_of

SHORT = {"tau_plus_ms": 5.0, "tau_minus_ms": 7.0}
RULES: dict[str, list[LearningRule]] = {
    "additive": [STDP(w_max=10.0, a_plus=0.05, a_minus=0.06, **SHORT)],
    "multiplicative": [STDP(w_max=10.0, a_plus=0.3, a_minus=0.2, update="multiplicative", **SHORT)],
    "hebbian, scaled": [Hebbian(w_max=10.0, eta=0.1, window_ms=9.0), Scaling(mean=5.0)],
    "re_vgsp": [ReVGSP(w_max=10.0, eta=1.0, decay=0.05, interval_ms=13.0, **SHORT)],
}


def network(plasticity: list[LearningRule], delay_ms: Any = 1.0, **options: Any) -> Spec:
    """A small world that learns, and a layer of inhibitory neurons that learns with a sign."""
    return Spec(
        seed=3,
        layers=[
            Layer("a", segments=[90], wiring=SmallWorld(k=8, span=9, weight=(2.0, 9.0)), delay_ms=delay_ms,
                  plasticity=plasticity, **options),
            Layer("b", segments=[30]),
        ],
        projections=[
            Projection("a", "b", FixedOutdegree(k=4), weight=(1.0, 6.0)),
            Projection("b", "a", FixedOutdegree(k=3), weight=(0.5, 4.0), sign=-1, delay_ms=delay_ms,
                       plasticity=plasticity),
        ],
    )  # fmt: skip


def drive(e: Engram, random: np.random.Generator, ticks: int) -> tuple[np.ndarray, np.ndarray]:
    who, at = random.choice(ids_of(e), 60), e.tick + random.integers(1, ticks, 60)
    e.play(who, at, 16.0)
    return who, at


@pytest.mark.parametrize("delay_ms", [1.0, (1.0, 12.0)], ids=["one delay", "delays"])
@pytest.mark.parametrize("rule", RULES)
def test_weights_are_those_of_a_twin_that_looks_at_every_synapse_in_every_tick(
    tmp_path: Path, rule: str, delay_ms: Any
) -> None:
    random = np.random.default_rng(1)
    with engramdb.create(tmp_path / "net.engram", network(RULES[rule], delay_ms)) as e:
        twin = twin_now(e)
        before = twin.weight.copy()
        for turn in range(2):
            for who, at in zip(*drive(e, random, 40), strict=True):
                twin.stimulate(np.searchsorted(twin.ids, [who]), np.array([16.0], np.float32), int(at))
            run, expected = e.run(40, record=("spikes",)), twin.run(40)
            np.testing.assert_array_equal(run.spikes, expected)
            assert_same_fields(e, twin)
            if rule == "re_vgsp":
                e.reward((1.0, -0.5)[turn % 2])
                twin.learner.reward(twin, (1.0, -0.5)[turn % 2])  # type: ignore[union-attr]
                assert_same_fields(e, twin)
        assert (twin.weight != before).mean() > 0.2
        assert run.spikes[0].size > 20


def reweighted(diff: Diff) -> int:
    return sum(layer.synapses_reweighted for layer in diff.by_layer.values())


def trains(spec: Spec, path: Path, pre: list[int], post: list[int], ticks: int) -> float:
    """The weight of a synapse 0 -> 1 after two neurons were made to fire in given ticks."""
    with engramdb.create(path, spec) as e:
        e.connect(0, 1, 0.5)
        for who, at in ((0, pre), (1, post)):
            e.play(np.full(len(at), who), at, 100.0)
        run = e.run(ticks, record=("spikes",))
        for who, at in ((0, pre), (1, post)):
            assert run.spikes[0][run.spikes[1] == who].tolist() == sorted(at)
        return float(e.synapses(0).weights[0])


@pytest.mark.parametrize("update", ["additive", "multiplicative"])
@pytest.mark.parametrize("seed", [1, 2])
def test_stdp_is_the_sum_over_all_pairs_of_the_papers(tmp_path: Path, update: str, seed: int) -> None:
    """In float64, without tables and without an end of the window; spikes that meet in one tick do nothing."""
    random = np.random.default_rng(seed)
    delay, ticks = 3, 400
    pre, post = (np.sort(random.choice(np.arange(1, ticks // 4), 25, replace=False)) * 4 for _ in range(2))
    rule = STDP(w_max=1.0, a_plus=0.02, a_minus=0.015, tau_plus_ms=17.0, tau_minus_ms=34.0, update=update)
    spec = Spec(layers=[Layer("a", segments=[2], wiring=Explicit(), delay_ms=float(delay), plasticity=rule)])
    found = trains(spec, tmp_path / "net.engram", pre.tolist(), post.tolist(), ticks)
    weight = 0.5
    arrivals = pre[pre + delay <= ticks] + delay
    for tick in range(1, ticks + 1):
        if tick in arrivals:
            earlier = post[post < tick]
            amount = rule.a_minus * np.exp((earlier - tick) / rule.tau_minus_ms).sum()
            weight = max(0.0, weight - amount * (weight if update == "multiplicative" else 1.0))
        if tick in post:
            earlier = arrivals[arrivals < tick]
            amount = rule.a_plus * np.exp((earlier - tick) / rule.tau_plus_ms).sum()
            weight = min(1.0, weight + amount * (1.0 - weight if update == "multiplicative" else 1.0))
    assert abs(found - weight) < 1e-4  # what pairs beyond the window add up to
    assert abs(found - 0.5) > 0.01


def test_the_pair_of_an_arrival_and_a_spike_in_the_same_tick_does_nothing(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[2], wiring=Explicit(), plasticity=STDP(w_max=1.0))])
    assert trains(spec, tmp_path / "same.engram", [10], [11], 400) == 0.5
    assert trains(spec, tmp_path / "later.engram", [10], [12], 400) > 0.5
    assert trains(spec, tmp_path / "earlier.engram", [10], [9], 400) < 0.5


@pytest.mark.parametrize("rule", RULES)
def test_signs_and_bounds_are_kept(tmp_path: Path, rule: str) -> None:
    random = np.random.default_rng(2)
    with engramdb.create(tmp_path / "net.engram", network(RULES[rule])) as e:
        for _ in range(3):
            drive(e, random, 60)
            e.run(60)
            if rule == "re_vgsp":
                e.reward(random.normal())
        pre, post, weight, _ = edges_of(e)
        inhibitory = pre >= np.uint64(1 << 48)
        assert (weight[inhibitory] <= 0).all()
        assert (weight[~inhibitory] >= 0).all()
        assert np.abs(weight[inhibitory | (post < np.uint64(1 << 48))]).max() <= 10.0


def test_a_reward_of_zero_changes_nothing_and_silence_costs_nothing(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "net.engram", network(RULES["re_vgsp"])) as e:
        e.reward(1.0)
        e.run(100_000)
        e.reward(-1.0)
        e.checkpoint()
        assert e.stats()["resident"] == 0
        assert e._store.find(ids_of(e)[:90]).ids.size == 0
        drive(e, np.random.default_rng(3), 50)
        e.run(60)
        commit = e.checkpoint()
        e.reward(0.0)
        assert e.checkpoint().number == commit.number or not reweighted(e.diff(commit.number))


def test_rewards_of_a_void_layer_are_those_that_a_user_would_give_at_the_end_of_each_interval(tmp_path: Path) -> None:
    """However the runs are cut: with restarts amid an interval, and over ticks that pass at once."""
    ends = {"by hand": range(13, 313, 13), "in one": [312], "cut": [5, 13, 60, 61, 200, 312]}
    weights, given = {}, {}
    for name, cuts in ends.items():
        rules = [replace(RULES["re_vgsp"][0], **({} if name == "by hand" else {"reward_from": "mood"}))]
        a, b = network(RULES["re_vgsp"]).layers
        to_b, back = network(RULES["re_vgsp"]).projections
        mood = Layer("mood", model="void", segments=[50], wiring=FixedOutdegree(k=3))
        layers = [replace(a, plasticity=rules), b, mood]
        spec = Spec(seed=3, layers=layers, projections=[to_b, replace(back, plasticity=rules)])
        path = tmp_path / f"{name}.engram"
        engramdb.create(path, spec).close()
        e, random = engramdb.open(path, "r+"), np.random.default_rng(8)
        ids = ids_of(e)
        e.play(random.choice(ids[:120], 400), random.integers(1, 200, 400), 16.0)
        e.stimulate(ids[120:140], 0.5, duration=30)
        e.stimulate(ids[130:150], 0.5, at=70, duration=3)
        rewards = []
        for end in cuts:
            run = e.run(end - e.tick, record=("sie",))
            if name == "by hand":
                rewards.append(sum(run.sie["mood"]["reward"].tolist()) / 13)
                e.reward(rewards[-1])
            elif name == "cut":
                e.close()
                e = engramdb.open(path, "r+")
        given[name] = rewards
        weights[name] = edges_of(e)[2]
        e.close()
    assert len(set(given["by hand"])) > 5
    assert (weights["by hand"] != edges_of(engramdb.create(tmp_path / "born.engram", spec))[2]).sum() > 50
    np.testing.assert_array_equal(weights["in one"], weights["by hand"])
    np.testing.assert_array_equal(weights["cut"], weights["by hand"])


def test_what_is_learned_survives_restore_fork_and_diff(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    with engramdb.create(path, network(RULES["re_vgsp"])) as e:
        drive(e, np.random.default_rng(4), 80)
        e.run(90)
        e.snapshot("trained")
        e.branch("praised")
        e.branch("blamed")
    weights = {}
    for branch, reward in (("praised", 2.0), ("blamed", -2.0)):
        with engramdb.open(path, "r+", branch=branch) as e:
            e.reward(reward)
            weights[branch] = edges_of(e)[2]
            assert reweighted(e.diff("trained")) > 50
    assert (weights["praised"] != weights["blamed"]).sum() > 50
    with engramdb.open(path, "r+") as e:
        e.restore("trained")
        e.reward(2.0)
        np.testing.assert_array_equal(edges_of(e)[2], weights["praised"])


@pytest.mark.parametrize("rule", ["additive", "re_vgsp"])
def test_a_tick_that_does_not_fit_leaves_the_weights_as_they_were(tmp_path: Path, rule: str) -> None:
    """The run ends in the middle of deliveries, and goes on in more memory as if nothing had been."""
    ends = {}
    for memory in (1 << 28, 30_000):
        path = tmp_path / f"{memory}.engram"
        exceeded = 0
        engramdb.create(path, network(RULES[rule], (1.0, 12.0))).close()
        e = engramdb.open(path, "r+", memory=memory)
        random = np.random.default_rng(5)
        while e.tick < 50:
            try:
                if e.tick == 0:
                    drive(e, random, 30)
                e.run(50 - e.tick)
            except BudgetExceeded:
                exceeded += 1
                e._engine.working_set.budget_bytes += 1500  # type: ignore[union-attr]
        e._engine.working_set.budget_bytes = 1 << 28  # type: ignore[union-attr]
        ends[memory] = edges_of(e)[2]
        assert exceeded > 3 or memory > 1 << 20
        e._shut()
    np.testing.assert_array_equal(*ends.values())


def test_long_silence_is_no_recent_spike(tmp_path: Path) -> None:
    """Ticks are kept modulo 2^32 where they must be read fast."""
    spec = Spec(layers=[Layer("a", segments=[2], wiring=Explicit(), plasticity=STDP(w_max=1.0))])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        e.connect(0, 1, 0.5)
        e.stimulate(1, 100.0)
        e.run(1 << 32)
        e.stimulate(0, 100.0)
        e.run(1000)
        assert e.synapses(0).weights[0] == 0.5


def test_errors_steer_hebbian_learning(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[3], wiring=Explicit(), plasticity=Hebbian(w_max=1.0, eta=0.1))])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        e.connect([0, 0], [1, 2], 0.5)
        e.set_error([1, 2], [-1.0, 0.5])
        e.play([0, 1, 2], [5, 8, 9], 100.0)
        e.run(50)
        np.testing.assert_allclose(e.synapses(0).weights, [0.4, 0.55], atol=1e-6)
        with pytest.raises(InvalidInput, match="error nan must be finite"):
            e.set_error(1, float("nan"))
        with pytest.raises(InvalidInput, match='no projection has the learning rule "re_vgsp"'):
            e.reward(1.0)


@pytest.mark.parametrize(
    ("rules", "field", "problem"),
    [
        ([STDP(w_max=0.5)], "plasticity[0].w_max", "leaves out weights"),
        ([STDP(w_max=2.0, w_min=3.0)], "plasticity[0].w_max", "must lie above w_min"),
        ([STDP(w_max=2.0, tau_plus_ms=0.0)], "plasticity[0].tau_plus_ms", "greater than 0"),
        ([STDP(w_max=2.0, tau_minus_ms=1e5)], "plasticity[0].tau_minus_ms", "its window of 970406 ticks"),
        ([STDP(w_max=2.0, update="cubic")], "plasticity[0].update", "additive"),
        ([STDP(w_max=2.0), Hebbian(w_max=2.0)], "plasticity[1]", "hebbian beside stdp"),
        ([Scaling(mean=1.0)], "plasticity", "stands beside a rule for pairs"),
        ([Hebbian(w_max=2.0, window_ms=1.5)], "plasticity[0].window_ms", "whole ticks"),
        ([ReVGSP(w_max=2.0, interval_ms=1000.0)], "plasticity[0].interval_ms", "1..512 whole ticks"),
        ([ReVGSP(w_max=2.0, eta=float("nan"))], "plasticity[0].eta", "must be a number"),
        ([ReVGSP(w_max=2.0, reward_from="b")], "plasticity[0].reward_from", "a void layer, not 'b'; the spec has none"),
        (["stdp"], "plasticity[0]", "must be a learning rule like STDP"),
    ],
)  # fmt: skip
def test_what_cannot_learn_is_refused_in_one_line(rules: list[Any], field: str, problem: str) -> None:
    layers = [Layer("a", segments=[9]), Layer("b", segments=[9])]
    with pytest.raises(InvalidSpec, match=problem) as caught:
        Spec(layers=layers, projections=[Projection("a", "b", FixedOutdegree(k=2), weight=1.0, plasticity=rules)])
    assert caught.value.field == f"projections[0].{field}"


def test_narrow_weights_do_not_learn() -> None:
    layer = Layer("a", segments=[9], wiring=FixedOutdegree(k=2), weights="float16", plasticity=STDP(w_max=2.0))
    with pytest.raises(InvalidSpec, match="its weights are float16"):
        Spec(layers=[layer])
    assert Spec(layers=[replace(layer, weights="float32")]).learns


@pytest.mark.parametrize("rule", RULES)
def test_rules_survive_being_written_down(rule: str) -> None:
    spec = network(RULES[rule])
    assert Spec.from_json(spec.to_json()) == spec
    assert {r.rule for r in RULES[rule]} <= LEARNING.keys()


def test_inspect_shows_weights_and_eligibilities_by_projection(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    with engramdb.create(path, network(RULES["re_vgsp"])) as e:
        drive(e, np.random.default_rng(6), 40)
        e.run(50)
    assert main(["run", str(path), "--ticks", "1", "--reward", "0.5"]) == 0
    wired, plain, _ = summarize(path).projections
    assert plain.learning is None
    assert wired.learning is not None
    assert wired.learning.eligibility is not None
    assert wired.learning.rules[0].startswith("re_vgsp(w_max=10")
    assert 0 < wired.learning.eligibility.count <= wired.learning.weights.count == wired.stored_synapses
    assert main(["inspect", str(path)]) == 0


def test_a_reward_that_nobody_learns_from_is_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.engram"
    engramdb.create(path, network(RULES["additive"])).close()
    assert main(["run", str(path), "--ticks", "5", "--reward", "1"]) == 2
    assert "nothing learns from rewards" in capsys.readouterr().err
    with engramdb.open(path) as e:
        assert e.tick == 0
