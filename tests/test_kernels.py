"""Engine kernels against plain NumPy or Python on random input."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels import bits, deliver, rows, slots
from engramdb.kernels.compiled import njit
from engramdb.outbox import Outbox


def make_slots(n_blocks: int, *, layers: int = 1, aux: int = 0, param: int = 0, apart: bool = False) -> slots.Slots:
    """Empty slots, nothing limited but the blocks."""
    n = n_blocks * slots.BLOCK
    counters = np.zeros(slots.N_COUNTERS, dtype=np.int64)
    counters[slots.FREE_BLOCK] = counters[slots.FREE_RECORD] = -1
    counters[slots.BLOCK_LIMIT], counters[slots.INDEX_LIMIT] = n_blocks, n
    return slots.Slots(
        id=np.zeros(n, np.uint64),
        used=np.zeros(n, np.uint8),
        u=np.zeros(n, np.float32),
        refractory=np.zeros(n, np.int32),
        input=np.zeros(n, np.int64),
        record=np.zeros(n, np.int32),
        inhibition=np.zeros(n if apart else 0, np.int64),
        aux=np.zeros((n_blocks, aux, slots.BLOCK), np.float32),
        param=np.zeros((n_blocks, param, slots.BLOCK), np.float32),
        block_layer=np.full(n_blocks, -1, np.int32),
        block_awake=np.zeros(n_blocks, np.uint8),
        block_flags=np.zeros(n_blocks, np.uint8),
        layer_flags=np.full(layers, slots.USED, np.uint8),
        index_table=np.zeros(1 << int(2 * n).bit_length(), np.uint32),
        free_slot=np.full(layers, -1, np.int64),
        counters=counters,
    )


@given(ids=st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=300), data=st.data())
def test_slots_keep_who_they_must_and_find_them_again(ids: list[int], data: st.DataObject) -> None:
    held = make_slots(8, layers=2)
    wanted = np.array(ids, dtype=np.uint64)
    layer = np.array([i % 2 for i in range(len(ids))], dtype=np.int32)
    got = np.empty(len(ids), np.int64)
    assert slots.take_many(held, layer, wanted, 0, got) == len(ids)
    assert len(set(got.tolist())) == len(ids)
    assert (held.block_layer[got >> slots.BLOCK_SHIFT] == layer).all(), "a block has one layer"
    awake = np.array(data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool)
    held.u[got[awake]] = 1.5
    freed = slots.release(held, np.sort(got[kept]))
    stay = awake | kept
    assert freed == int((~stay).sum())
    again = np.empty(len(ids), np.int64)
    slots.find_many(held, wanted, again)
    np.testing.assert_array_equal(again, np.where(stay, got, -1))
    assert slots.take_many(held, layer, wanted, 0, again) == len(ids)
    np.testing.assert_array_equal(again[stay], got[stay])
    np.testing.assert_array_equal(held.id[again], wanted)
    assert not held.u[again[~stay]].any(), "a slot taken anew is at rest"


def test_taking_slots_stops_at_the_limit_and_goes_on_behind_it() -> None:
    held = make_slots(3)
    held.counters[slots.BLOCK_LIMIT] = 1
    ids, out = np.arange(100, dtype=np.uint64), np.empty(100, np.int64)
    layers = np.zeros(100, np.int32)
    assert slots.take_many(held, layers, ids, 0, out) == slots.BLOCK
    held.counters[slots.BLOCK_LIMIT] = 3
    assert slots.take_many(held, layers, ids, slots.BLOCK, out) == 100
    np.testing.assert_array_equal(held.id[out], ids)


@given(seed=st.integers(0, 2**32), n=st.integers(2, 60), delays=st.integers(1, 3), dropped=st.floats(0, 1))
def test_rows_survive_dropping_compacting_and_closing_up_and_deliver_what_add_at_adds(
    seed: int, n: int, delays: int, dropped: float
) -> None:
    random = np.random.default_rng(seed)
    held, records = make_slots(4), np.zeros(200, rows.RECORD)
    arena = rows.Arena(*(np.zeros(4000, t) for t in (np.uint32, np.uint16, rows.LINK)))
    codes = rows.Codes(
        prefix=np.zeros(delays, np.uint64),
        delay=np.arange(1, delays + 1, dtype=np.int32),
        layer=np.zeros(delays, np.int32),
        pair=np.arange(delays, dtype=np.uint16),
        made=np.array([delays]),
        table=np.zeros(1, np.uint32),
        of=np.arange(delays, dtype=np.uint16).reshape(delays, 1),
    )
    ids = np.arange(n, dtype=np.uint64)
    place = np.empty(n, np.int64)
    slots.take_many(held, np.zeros(n, np.int32), ids, 0, place)
    degree = random.integers(0, 15, n)
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    row_of = np.repeat(np.arange(n), degree)
    projection = random.integers(0, delays, indptr[-1])
    target = random.integers(0, n, indptr[-1])
    order = np.lexsort((target, projection, row_of))
    projection, target = projection[order].astype(np.uint16), target[order].astype(np.uint64)
    weight = random.normal(0, 3, indptr[-1]).astype(np.float32)

    rows.attach(held, records, place, rows.WARM | rows.ON_TOP, np.uint32(1), 9)
    rows.add_base(records, held.record[place], np.arange(n, dtype=np.uint32), np.zeros(n, np.int64))
    rows.add_base(records, held.record[place], np.full(n, 7, np.uint32), np.zeros(n, np.int64))  # they have it already
    columns = projection, target, weight, np.empty(0, np.uint16)
    assert rows.install(held, records, arena, codes, place, indptr, *columns, 4000) == n
    records["flags"][:n] &= ~rows.WARM
    chosen = np.empty(n, dtype=np.int64)
    n_chosen, _ = rows.choose_rows(held, records, int(random.integers(0, n)), False, int(indptr[-1] * dropped), chosen)
    rows.drop_rows(held, records, chosen[:n_chosen])
    loaded = np.flatnonzero(records["offset"][:n] >= 0)
    rows.compact(held, records, arena, loaded[np.argsort(records["offset"][loaded], kind="stable")])
    assert held.counters[slots.ARENA_END] == records["length"][loaded].sum()
    without = np.flatnonzero(records["offset"][:n] < 0).astype(np.int64)
    gone = without[: len(without) // 2]
    gone_neurons = held.id[records["slot"][gone]].astype(np.int64)
    rows.detach(held, records, gone)
    rows.close_up(held, records)
    assert held.counters[slots.N_RECORDS] == n - len(gone)
    for neuron in range(n):
        record = held.record[place[neuron]]
        assert (record < 0) == (neuron in gone_neurons)
        if record >= 0:
            assert records["slot"][record] == place[neuron]
            assert records["spike_count"][record] == neuron + 1
            assert records["last_spike"][record] == 9

    fired = np.array(
        [p for p in place if held.record[p] >= 0 and records["offset"][held.record[p]] >= 0], dtype=np.int64
    )
    missing = np.empty(n, np.int64)
    records["flags"][held.record[fired[::2]]] |= rows.AHEAD
    n_missing, first_used = deliver.rowless(held, records, place, missing)
    assert set(missing[:n_missing]) == set(place) - set(fired)
    assert first_used == len(fired[::2])
    assert not (records["flags"] & rows.AHEAD).any()
    for delay in range(1, delays + 1):
        offsets, lengths, count = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(1, np.int64)
        ages, following = np.full(len(fired), delay, np.int32), np.empty(n, np.int32)
        arrays = fired, ages, 0, offsets, lengths, count, following
        assert deliver.gather(held, records, arena, codes, *arrays) == len(fired)
        for at, slot in enumerate(fired):
            later = projection[row_of == np.flatnonzero(place == slot)[0]] + 1
            assert following[at] == min(later[later > delay], default=0)
        offsets, lengths = offsets[: count[0]], lengths[: count[0]]
        events = deliver.deliver(offsets, lengths, arena.link, held.input, held.block_awake, seed % 2 == 0)
        arriving = np.isin(place[row_of], fired) & (projection + 1 == delay)
        expected = np.zeros(n, np.int64)
        fixed = np.rint(weight[arriving].astype(np.float64) * 2**32).astype(np.int64)
        np.add.at(expected, target[arriving].astype(np.int64), fixed)
        np.testing.assert_array_equal(held.input[place], expected)
        assert events == arriving.sum()
        slots.clear_input(held)

    counts = records["spike_count"].copy()
    offsets, lengths, left, without = (np.full(n, -1, np.int64) for _ in range(4))
    found, n_left, n_without = deliver.fire(held.record, records, place, 12, 1, offsets, lengths, left, without)
    of_one_delay = [p for p in fired if not (projection[row_of == np.flatnonzero(place == p)[0]] > 0).any()]
    expected_rows = [held.record[p] for p in of_one_delay if records["length"][held.record[p]]]
    np.testing.assert_array_equal(offsets[:found], records["offset"][expected_rows])
    np.testing.assert_array_equal(lengths[:found], records["length"][expected_rows])
    np.testing.assert_array_equal(left[:n_left], [p for p in place if p not in set(of_one_delay)])
    np.testing.assert_array_equal(without[:n_without], place[held.record[place] < 0])
    having = held.record[place][held.record[place] >= 0]
    assert (records["spike_count"][having] == counts[having] + 1).all()
    assert (records["last_spike"][having] == 12).all()


@given(
    seed=st.integers(0, 2**32), lengths=st.lists(st.sampled_from([0, 1, 12, 300]), max_size=40), apart=st.booleans(),
    threads=st.integers(2, 4), again=st.booleans(),
)  # fmt: skip
def test_threads_that_add_each_to_its_own_slots_deliver_what_add_at_adds(
    seed: int, lengths: list[int], apart: bool, threads: int, again: bool
) -> None:
    random, blocks = np.random.default_rng(seed), 6
    length = np.array(lengths, dtype=np.int64)
    link = np.zeros(int(length.sum()), dtype=rows.LINK)
    link["slot"] = random.integers(0, (blocks - again) * slots.BLOCK, len(link))
    link["weight"] = random.normal(0, 3, len(link))
    offset = np.cumsum(length) - length
    plus, minus = np.zeros(blocks * slots.BLOCK, np.int64), np.zeros(blocks * slots.BLOCK * apart, np.int64)
    block_awake = np.zeros(blocks, np.uint8)
    outboxes = [Outbox() for _ in range(threads)]
    parts = np.array_split(np.arange(len(length)), threads * (1 + again))
    for turn in range(1 + again):  # a block more when more is delivered: the cuts lie elsewhere
        cuts = np.arange(threads + 1) * (blocks - again + turn) // threads * slots.BLOCK
        for thread, outbox in enumerate(outboxes):
            mine = parts[turn * threads + thread]
            outbox.deliver(offset[mine], length[mine], link, plus, minus, block_awake, cuts[thread], cuts[thread + 1])
    for first, last in zip(cuts, [*cuts[1:-1], blocks * slots.BLOCK], strict=False):
        for outbox in outboxes:
            outbox.take(plus, minus, block_awake, int(first), int(last))

    fixed = np.rint(link["weight"].astype(np.float64) * 2**32).astype(np.int64)
    expected, below = np.zeros_like(plus), np.zeros_like(plus)
    up = fixed >= 0 if apart else np.ones(len(fixed), bool)
    np.add.at(expected, link["slot"][up], fixed[up])
    np.add.at(below, link["slot"][~up], fixed[~up])
    np.testing.assert_array_equal(plus, expected)
    np.testing.assert_array_equal(minus, below[: len(minus)])
    np.testing.assert_array_equal(np.flatnonzero(block_awake), np.unique(link["slot"] >> slots.BLOCK_SHIFT))


@njit()
def _bits_of(words: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    for i in range(len(words)):
        places[i] = bits.lowest_bit(words[i])
        values[i] = bits.as_float64(words[i])


@given(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=50))
def test_the_lowest_bit_of_a_word_and_the_number_that_has_its_bits(given_words: list[int]) -> None:
    words = np.array(given_words, dtype=np.uint64)
    places, values = np.empty(len(words), dtype=np.int64), np.empty(len(words))
    _bits_of(words, places, values)
    assert places.tolist() == [(word & -word).bit_length() - 1 for word in given_words]
    np.testing.assert_array_equal(values.view(np.uint64), words)
