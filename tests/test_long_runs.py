"""Long runs: late ticks are like early ones, memory stays flat, and a day is replayed exactly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from tests.networks import ids_of, make

DAY = 86_400_000  # ticks of a millisecond


def network(strongest: float = 7.0) -> Spec:
    """Two layers, three delays; activity goes on for ever, or dies out where the ``strongest`` weight (mV) is small."""
    wiring = SmallWorld(k=8, span=12, long_fraction=0.2, weight=(1.0, strongest))
    return Spec(
        seed=6,
        layers=[Layer("a", segments=[300], wiring=wiring, delay_ms=2.0), Layer("b", segments=[40])],
        projections=[
            Projection("a", "b", FixedOutdegree(k=2), weight=5.0, delay_ms=7.0),
            Projection("b", "a", FixedOutdegree(k=3), weight=(-6.0, 6.0), delay_ms=1.0),
        ],
    )


def drive(e: Engram, after: int) -> None:
    ids = ids_of(e)
    for at, width, duration in ((1, 40, 3), (30, 90, 1), (41, 12, 20)):
        e.stimulate(ids[:width], 16.0, at=after + at, duration=duration)


@pytest.mark.parametrize("late", [2**31 - 40, 2**32 - 40, 2**40 - 1], ids=["2^31", "2^32", "2^40"])
def test_spikes_late_in_the_life_of_an_engram_are_those_of_its_youth(tmp_path: Path, late: int) -> None:
    results = []
    for start in (0, late):
        (tmp_path / str(start)).mkdir()
        e = make(tmp_path / str(start), network())
        assert e.run(start).ticks == start
        drive(e, start)
        ticks, ids = e.run(50, record=("spikes",)).spikes
        e.snapshot("amid")
        e._shut()  # a crash
        with engramdb.open(e.location, "r+") as e:
            more = e.run(100, record=("spikes",)).spikes
            fields = e.neurons(ids_of(e)).fields
            fields["last_spike"] = np.where(fields["last_spike"] > 0, fields["last_spike"] - start, 0)
            spikes = [np.concatenate([ticks, more[0]]) - start, np.concatenate([ids, more[1]])]
            results.append([*spikes, *fields.values()])
    assert len(results[0][0]) > 200
    for early, later in zip(*results, strict=True):
        np.testing.assert_array_equal(early, later)


@pytest.mark.parametrize("late", [2**53 + 1, 2**62 - 200], ids=["2^53", "2^62"])
def test_ticks_are_64_bits_wide_throughout(tmp_path: Path, late: int) -> None:
    results = []
    for start in (0, late):
        (tmp_path / str(start)).mkdir()
        with make(tmp_path / str(start), network()) as e:
            e._live.tick = start
            drive(e, start)
            ticks, ids = e.run(120, record=("spikes",)).spikes
            assert e.tick == start + 120
            results.append((ticks - start, ids))
        with engramdb.open(tmp_path / str(start) / "net.engram") as e:
            assert e.tick == start + 120
            assert e.neurons(ids).fields["last_spike"].max() == ticks[-1]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_a_day_with_little_input_equals_its_busy_hours_alone(tmp_path: Path) -> None:
    """Ten thousand ticks after each stimulus all is quiet, so a day of five of them is five short runs."""
    starts = (0, 7_000_000, 30_000_001, 55_555_555, DAY - 10_000)
    for name in ("day", "hours"):
        (tmp_path / name).mkdir()
    with make(tmp_path / "day", network(2.0)) as e:
        for start in starts:
            drive(e, start)
        day = e.run(DAY, record=("spikes",))
        assert len(day.counts) == DAY
        assert day.counts[day.spikes[0] - 1].min() > 0
        path = e.location
        e._shut()
    with make(tmp_path / "hours", network(2.0)) as e:
        spikes = []
        for start in starts:
            first = e.tick
            drive(e, first)
            ticks, ids = e.run(10_000, record=("spikes",)).spikes
            spikes.append((ticks - first + start, ids))
    np.testing.assert_array_equal(day.spikes[0], np.concatenate([ticks for ticks, _ in spikes]))
    np.testing.assert_array_equal(day.spikes[1], np.concatenate([ids for _, ids in spikes]))
    with engramdb.open(path, "r+") as e:  # replayed from the journal
        assert e.tick == DAY
        assert e.neurons(ids_of(e)).fields["spike_count"].sum() == len(day.spikes[0])


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    "ticks", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)], ids=["quick", "a million ticks"]
)
def test_many_ticks_take_no_more_memory_and_are_replayed_exactly(tmp_path: Path, ticks: int) -> None:
    params = {"bias": (12.0, 30.0), "v_init": (-70.0, -55.0)}
    layer = Layer("a", segments=[100], params=params, wiring=FixedOutdegree(k=10, weight=0.1), materialize=True)
    spec = Spec(seed=9, layers=[layer])
    with make(tmp_path, spec) as e:
        e.run(1000)
        before = e.stats()
        resident = _resident_bytes() if sys.platform == "linux" else 0
        spikes = e.run(ticks // 2).counts.sum() + e.run(ticks // 2).counts.sum()
        grown = (_resident_bytes() if sys.platform == "linux" else 0) - resident
        after = e.stats()
        assert after["used_bytes"] <= before["used_bytes"] + (64 << 10)
        assert grown < 24 * ticks + (32 << 20), "counts of the spikes of each tick are all that may grow"
        fields = e.neurons(np.arange(100)).fields
        path = e.location
        e._shut()  # a crash
    assert spikes > ticks
    with engramdb.open(path, "r+") as e:
        assert e.tick == ticks + 1000
        for name, column in e.neurons(np.arange(100)).fields.items():
            np.testing.assert_array_equal(column, fields[name])
