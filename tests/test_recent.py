"""The last spikes of slots as vectors: as NumPy has them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels import history
from engramdb.kernels.compiled import njit
from engramdb.kernels.recent import RECENT, ages, ages_of_row, push, younger
from engramdb.kernels.rows import LINK


@njit()
def _ages_of(
    recent: np.ndarray, held: np.ndarray, now: int, most: int, young: int, out: np.ndarray, n: np.ndarray
) -> None:
    for i in range(held.shape[0]):
        ages(recent, held[i], np.uint32(now), np.uint32(most), out, i)
        n[i] = younger(out, i, np.uint32(young))


@njit()
def _ages_of_row(
    recent: np.ndarray, link: np.ndarray, begin: int, n: int, now: int, most: int, out: np.ndarray
) -> None:
    ages_of_row(recent, link, begin, n, np.uint32(now), np.uint32(most), out, n)


@njit()
def _push_all(recent: np.ndarray, held: np.ndarray, ticks: np.ndarray) -> None:
    for i in range(held.shape[0]):
        push(recent, held[i], ticks[i])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**31), st.integers(0, 2**31))
def test_spikes_are_pushed_and_their_ages_counted_as_numpy_does(seed: int, now: int, most: int, young: int) -> None:
    random = np.random.default_rng(seed)
    recent = np.uint32(now) - random.integers(0, 2 * most + 2, 5 * RECENT).astype(np.uint32)
    held, ticks = random.permutation(5)[:3].astype(np.int64), random.integers(0, 2**32, 3, dtype=np.uint32)
    expected = recent.reshape(5, RECENT).copy()
    expected[held, 1:] = expected[held, :-1]
    expected[held, 0] = ticks
    _push_all(recent, held, ticks)
    np.testing.assert_array_equal(recent.reshape(5, RECENT), expected)
    out, n = np.zeros((3, RECENT), dtype=np.uint32), np.zeros(3, dtype=np.int64)
    _ages_of(recent, held, now, most, young, out.reshape(-1), n)
    found = np.minimum(np.uint32(now) - expected[held], np.uint32(most))
    np.testing.assert_array_equal(out, found)
    np.testing.assert_array_equal(n, (found <= young).sum(axis=1))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**31), st.integers(0, 9))
def test_the_ages_of_a_row_are_those_of_its_targets_and_the_least_of_all(
    seed: int, now: int, most: int, n: int
) -> None:
    random = np.random.default_rng(seed)
    recent = np.uint32(now) - random.integers(0, 2 * most + 2, 5 * RECENT).astype(np.uint32)
    link = np.zeros(12, dtype=LINK)
    link["slot"] = random.integers(0, 5, 12)
    out = np.zeros((n + 1, RECENT), dtype=np.uint32)
    _ages_of_row(recent, link, 2, n, now, most, out.reshape(-1))
    found = np.minimum(np.uint32(now) - recent.reshape(5, RECENT)[link["slot"][2 : 2 + n]], np.uint32(most))
    np.testing.assert_array_equal(out[:n], found)
    np.testing.assert_array_equal(out[n], np.vstack([found, np.full(RECENT, most, dtype=np.uint32)]).min(axis=0))


@given(st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=60), st.data())
def test_histories_are_the_ticks_in_which_slots_fired(fired: list[set[int]], data: st.DataObject) -> None:
    words, tick = 3, 0
    bits, recent = np.zeros(6 * (words + 1), dtype=np.uint64), np.zeros(6 * RECENT, dtype=np.uint32)
    layer, noted, ticks = np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.uint8), [[0] for _ in range(6)]
    for some in fired:
        tick += data.draw(st.sampled_from([1, 2, 30, 63, 64, 65, 150, 192, 1000]))
        slots = np.array(sorted(some), dtype=np.int64)
        history.fire(bits, recent, words + 1, slots, tick, layer, noted)
        for slot in some:
            ticks[slot].append(tick)
    for slot, own in enumerate(ticks):
        expected = [0] * (64 * words)
        for at in own[1:]:
            if own[-1] - at < 64 * words:
                expected[64 * words - 1 - (own[-1] - at)] = 1
        words_of = bits[slot * (words + 1) :][: words + 1]
        assert int(words_of[0]) == own[-1]
        np.testing.assert_array_equal(np.unpackbits(words_of[1:].view(np.uint8), bitorder="little"), expected)
    out = np.empty(6, dtype=np.int64)
    n = history.last_in(bits, words + 1, np.arange(6), tick, out)
    assert out[:n].tolist() == [slot for slot, own in enumerate(ticks) if own[-1] == tick]
