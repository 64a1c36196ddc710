"""Ends of ticks that a run tells of: what is asked there changes nothing, and a run can end there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb.run import Boundary


def random_spec(seed: int) -> engramdb.Spec:
    """A network that fires; every other learns."""
    learning = [engramdb.STDP(a_plus=0.1, a_minus=0.1, w_max=10.0)] if seed % 2 else []
    wiring = engramdb.SmallWorld(k=6, span=20, weight=(2.0, 6.0))
    layers = [
        engramdb.Layer("a", segments=[200], wiring=wiring, plasticity=learning),
        engramdb.Layer("b", segments=[50]),
    ]
    joined = engramdb.Projection("a", "b", engramdb.FixedOutdegree(k=3), weight=5.0, delay_ms=2.0)
    return engramdb.Spec(seed=seed, layers=layers, projections=[joined])


def driven(path: Path, seed: int) -> engramdb.Engram:
    engram = engramdb.create(path, random_spec(seed))
    ids = engram.select(columns=["id"], limit=40).ids
    engram.poisson(ids, 300.0, 20.0)
    return engram


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_asked_at_boundaries_changes_nothing(tmp_path: Path, seed: int) -> None:
    told: list[Boundary] = []
    spikes = []
    with driven(tmp_path / "a.engram", seed) as quiet, driven(tmp_path / "b.engram", seed) as asked:
        ids = quiet.select(columns=["id"], limit=50).ids

        def between(boundary: Boundary) -> bool:
            told.append(boundary)
            spikes.append(boundary.spikes())
            assert asked.tick == boundary.tick
            asked.neurons(ids)
            asked.synapses(ids[0])
            asked.count(where="spike_count > 1")
            return False

        expected = quiet.run(150, record=("spikes",))
        found = asked.run(150, record=("spikes",), between=between)
        assert np.array_equal(found.spikes[0], expected.spikes[0])
        assert np.array_equal(found.spikes[1], expected.spikes[1])
        assert found.counts.sum() > 0
        assert np.array_equal(np.concatenate([boundary.counts for boundary in told]), expected.counts)
        assert np.array_equal(np.concatenate([ids for _, ids in spikes]), expected.spikes[1])
        assert np.array_equal(np.concatenate([ticks for ticks, _ in spikes]), expected.spikes[0])
        for one, other in zip(quiet.neurons(ids).fields.values(), asked.neurons(ids).fields.values(), strict=True):
            assert np.array_equal(one, other, equal_nan=True)


def test_a_run_ends_at_the_boundary_that_says_so(tmp_path: Path) -> None:
    with driven(tmp_path / "a.engram", 1) as engram:
        run = engram.run(10**9, between=lambda boundary: boundary.tick >= 20)
        assert run.ticks == engram.tick >= 20
        assert not run.interrupted


def test_a_quiet_run_is_told_in_bounded_parts(tmp_path: Path) -> None:
    told: list[int] = []
    with engramdb.create(tmp_path / "a.engram", engramdb.Spec(layers=[engramdb.Layer("a", segments=[10])])) as engram:
        engram.run(1 << 20, between=lambda boundary: bool(told.append(len(boundary.counts))))
    assert sum(told) == 1 << 20
    assert max(told) <= 1 << 16


def test_neurons_in_ram_are_what_the_store_says_once_it_knows(tmp_path: Path) -> None:
    with driven(tmp_path / "a.engram", 2) as engram:
        engram.run(100)
        ids = engram.select(columns=["id"], limit=None).ids
        live = engram.neurons(ids)
        engram.checkpoint()
        with engramdb.open(tmp_path / "a.engram") as stored:
            kept = stored.neurons(ids)
        assert np.array_equal(live.out_degree, kept.out_degree)
        for name, values in live.fields.items():
            assert np.array_equal(values, kept.fields[name], equal_nan=True), name
        assert "active" in live.state


def test_many_rows_are_those_of_each(tmp_path: Path) -> None:
    with driven(tmp_path / "a.engram", 3) as engram:
        ids = engram.select(columns=["id"], limit=20).ids
        rows = engram.rows(ids[::-1])
        for place, neuron in enumerate(np.sort(ids).tolist()):
            row = engram.synapses(neuron)
            part = slice(int(rows.indptr[place]), int(rows.indptr[place + 1]))
            assert sorted(rows.target[part].tolist()) == sorted(row.targets.tolist())
        assert engram.declares(np.array([ids[0], 1 << 63], dtype=np.uint64)).tolist() == [True, False]


def test_a_handle_says_where_it_stands(tmp_path: Path) -> None:
    with driven(tmp_path / "a.engram", 1) as engram:
        assert (engram.branch_name, engram.commit.number, engram.uncommitted, engram.closed) == ("main", 1, True, False)
        engram.checkpoint("now")
        assert (engram.commit.message, engram.uncommitted, engram.has_labels) == ("now", False, False)
    assert engram.closed
