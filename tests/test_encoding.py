"""Encoders and decoders: each on what is known, and there and back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb import decoding, encoding
from engramdb.encoding import SymbolGroups, latency, rate
from engramdb.errors import InvalidInput, NotFound
from tests.networks import make
from tests.test_poisson import twin_train
from tests.test_stimuli import PLAIN


def spikes(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([t for t, _ in pairs], dtype=np.int64), np.array([i for _, i in pairs], dtype=np.uint64)


def test_a_regular_rate_spreads_its_spikes_evenly() -> None:
    found = rate([0.5, 0.0, 2.0], [7, 8, 9], ticks=100, hz=(0.0, 200.0), at=11, amplitude=3.0)
    assert found.ticks[found.ids == 7].tolist() == [16, 26, 36, 46, 56, 66, 76, 86, 96, 106]
    assert (found.ids == 8).sum() == 0
    assert (found.ids == 9).sum() == 20, "values above hi count as hi"
    assert set(found.amplitudes.tolist()) == {3.0}
    assert (np.diff(found.ticks) >= 0).all()


def test_a_poisson_rate_is_a_function_of_seed_id_and_tick() -> None:
    found = rate([0.3, 1.0], [7, 9], ticks=200, hz=(0.0, 500.0), at=101, seed=4)
    for neuron, share in ((7, 0.3), (9, 1.0)):
        expected = [t for t in twin_train(4, 0, neuron, share * 500.0 * 0.001, 300) if t > 100]
        assert found.ticks[found.ids == neuron].tolist() == expected


def test_latency_sends_the_largest_first() -> None:
    found = latency([1.0, 0.5, 0.0, 9.0, 0.01], [1, 2, 3, 4, 5], ticks=11, at=5)
    assert dict(zip(found.ids.tolist(), found.ticks.tolist(), strict=True)) == {1: 5, 2: 10, 4: 5, 5: 15}


@given(seed=st.integers(0, 2**64 - 1), size=st.integers(1, 30), symbol=st.one_of(st.text(max_size=3), st.integers()))
def test_a_group_is_distinct_neurons_of_the_pool_and_always_the_same(seed: int, size: int, symbol: str | int) -> None:
    pool = np.arange(100, 130, dtype=np.uint64)
    group = SymbolGroups(pool, size, seed).group(symbol)
    assert len(np.unique(group)) == size
    assert set(group.tolist()) <= set(pool.tolist())
    np.testing.assert_array_equal(group, SymbolGroups(pool[::-1], size, seed).group(symbol))


FROZEN = [2314, 4430, 4613, 5549, 8322, 8401, 8499, 8539, 8581, 8875]


def test_groups_differ_between_symbols_kinds_and_seeds_and_reach_everyone() -> None:
    groups = SymbolGroups(range(10_000), 10, seed=1)
    several = [tuple(groups.group(s).tolist()) for s in ("1", b"1", 1, "2", "", "11")]
    several.append(tuple(SymbolGroups(range(10_000), 10, seed=2).group("1").tolist()))
    assert len(set(several)) == 7
    assert groups.group("1").tolist() == FROZEN, "stored work may depend on it"
    chosen = np.bincount(np.concatenate([groups.group(n) for n in range(4000)]).astype(int), minlength=10_000)
    assert abs(chosen.var() / 4 - 1) < 0.1, "as if each had been drawn"


def test_symbols_come_in_time_order() -> None:
    groups = SymbolGroups(range(1000), 5)
    found = groups.encode("aba", ticks_per_symbol=10, pulses=2, at=100, amplitude=7.0)
    assert sorted(set(found.ticks.tolist())) == [100, 101, 110, 111, 120, 121]
    for tick, symbol in ((100, "a"), (101, "a"), (110, "b"), (121, "a")):
        np.testing.assert_array_equal(found.ids[found.ticks == tick], groups.group(symbol))
    assert len(groups.encode(b"ab").ids) == len(groups.encode([97, "ab"]).ids) == 10
    assert len(groups.encode("").ids) == 0


def test_counts_rates_and_groups() -> None:
    given = spikes([(1, 5), (2, 5), (2, 9), (7, 5), (9, 4)])
    assert decoding.counts(given, [9, 5, 1]).tolist() == [1, 3, 0]
    assert decoding.counts(given, [9, 5, 1], window=(2, 7)).tolist() == [1, 2, 0]
    assert decoding.rates(given, [5], window=(1, 10)).tolist() == [300.0]
    assert decoding.group_counts(given, {"a": [5, 9], "b": [4], "c": [1]}) == {"a": 4, "b": 1, "c": 0}
    assert decoding.first_spikes(given, [5, 4, 9, 1]).tolist() == [1, 9, 2, -1]
    assert decoding.first_spikes(given, [5, 5], window=(2, 9)).tolist() == [2, 2]
    assert decoding.counts(spikes([]), [1]).tolist() == [0]
    assert decoding.counts(given, []).tolist() == []


def test_population_vectors() -> None:
    angles = np.array([0.0, math.pi / 2, math.pi, -math.pi / 2])
    given = spikes([(1, 0), (1, 1), (2, 1), (3, 0)])
    angle, length = decoding.population_angle(given, range(4), angles)
    assert angle == pytest.approx(math.pi / 4)
    assert length == pytest.approx(math.sqrt(0.5))
    assert decoding.population_mean(given, range(4), [10.0, 20.0, 0.0, 0.0]) == 15.0
    assert math.isnan(decoding.population_mean(spikes([]), [1], [2.0]))
    assert decoding.population_angle(spikes([]), [1], [2.0])[1] == 0.0


def test_a_transducer_says_what_was_said() -> None:
    transducer = decoding.Transducer({"a": [1, 2, 3, 4], "b": [4, 5, 6, 7]}, ticks_per_symbol=5, threshold=0.5)
    given = spikes([(10, 1), (11, 2), (14, 4), (15, 4), (19, 4), (20, 5), (21, 6), (22, 6), (24, 7), (24, 99)])
    events = transducer.decode(given, first_tick=10, symbols=4)
    assert [(e.tick, e.symbol, e.score, e.margin) for e in events] == [(10, "a", 0.75, 0.5), (20, "b", 0.75, 0.75)]


def test_a_text_goes_through_an_engram_and_back(tmp_path: Path) -> None:
    groups = SymbolGroups(range(40), 6, seed=1)
    text = "abcacb"
    with make(tmp_path, PLAIN) as e:
        e.play(*groups.encode(text, ticks_per_symbol=5, at=e.tick + 1))
        e.run(30, to=tmp_path / "s.parquet")
    transducer = decoding.Transducer({s: groups.group(s) for s in "abc"}, ticks_per_symbol=5, threshold=0.9)
    assert "".join(str(e.symbol) for e in transducer.decode(tmp_path / "s.parquet", 1, 6)) == text


def test_recordings_are_read_as_runs_are(tmp_path: Path) -> None:
    with make(tmp_path, PLAIN) as e:
        e.poisson(range(20), 300.0, 20.0)
        run = e.run(50, record=("spikes",))
    table = pa.table({"tick": run.spikes[0], "id": run.spikes[1]})
    pq.write_table(table, tmp_path / "s.parquet", row_group_size=37)
    with pa.OSFile(str(tmp_path / "s.arrow"), "w") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=41)
    for source in (run, run.spikes, tmp_path / "s.parquet", str(tmp_path / "s.arrow")):
        assert decoding.counts(source, range(20), (5, 30)).sum() == ((run.spikes[0] >= 5) & (run.spikes[0] <= 30)).sum()


def test_wrong_codes_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    for call, error, words in (
        (lambda: rate([1.0], [1, 2], ticks=5), InvalidInput, "1 values and 2 ids"),
        (lambda: rate([math.nan], [1], ticks=5), InvalidInput, "must be finite"),
        (lambda: rate([1.0], [1], ticks=5, hz=(0, 1e9)), InvalidInput, "rates must be from 0 to 1e[+]06 Hz"),
        (lambda: latency([1.0], [1], ticks=0), InvalidInput, "both from 1"),
        (lambda: latency([1.0], [1], ticks=5, lo=1.0, hi=1.0), InvalidInput, "lo must be smaller"),
        (lambda: SymbolGroups([1, 2], 3), InvalidInput, "size=3: give 1 to 2"),
        (lambda: SymbolGroups([1, 2], 1).group(1.5), InvalidInput, "1.5 is no symbol"),
        (lambda: SymbolGroups([1, 2], 1).encode("a", pulses=0), InvalidInput, "pulses=0"),
        (lambda: decoding.counts(spikes([]), [1, 1]), InvalidInput, "each only once"),
        (lambda: decoding.rates(spikes([]), [1], (5, 4)), InvalidInput, "its first and its last tick"),
        (lambda: decoding.population_mean(spikes([]), [1], [1.0, 2.0]), InvalidInput, "1 ids and 2 preferred"),
        (lambda: decoding.Transducer({"a": []}), InvalidInput, "'a' has no neurons"),
        (lambda: decoding.Transducer({}), InvalidInput, "give groups"),
        (lambda: decoding.counts("no.parquet", [1]), NotFound, "no such recording"),
        (lambda: decoding.counts(tmp_path / "x.parquet", [1]), InvalidInput, "expected columns tick and id; it has x"),
    ):
        with pytest.raises(error, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_rooms_say_what_is_in_them() -> None:
    assert set(encoding.__all__) == {"Spikes", "SymbolGroups", "latency", "rate"}
    assert all(callable(getattr(decoding, name)) for name in decoding.__all__)
