"""Engine kernels against plain NumPy or Python on random input."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels import deliver, lif, rows, slots


def make_slots(n_blocks: int, *, layers: int = 1, threads: int = 1, bias: bool = False) -> slots.Slots:
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
        input=np.zeros((threads, n), np.int64),
        record=np.zeros(n, np.int32),
        bias=np.zeros(n if bias else 1, np.float32),
        block_layer=np.full(n_blocks, -1, np.int32),
        block_awake=np.zeros(n_blocks, np.uint8),
        index_table=np.zeros(1 << int(2 * n).bit_length(), np.uint32),
        free_slot=np.full(layers, -1, np.int64),
        bias_table=np.empty(0),
        bias_start=np.zeros(layers + 1, np.int64),
        counters=counters,
    )


SEED = np.uint64(1)


@given(
    totals=st.lists(st.integers(-(2**62), 2**62) | st.integers(-(2**36), 2**36) | st.just(0), min_size=64, max_size=64),
    seed=st.integers(0, 2**32),
    constants=st.tuples(
        st.sampled_from([0.0, 0.5, 0.951229]), st.sampled_from([15.0, 0.25]), st.floats(-5, 0, width=32)
    ),
    refractory=st.integers(0, 3),
    threads=st.integers(1, 3),
    biased=st.booleans(),
)
def test_the_lif_step_equals_its_numpy_twin(
    totals: list[int], seed: int, constants: tuple[float, float, float], refractory: int, threads: int, biased: bool
) -> None:
    random = np.random.default_rng(seed)
    n = slots.BLOCK
    held = make_slots(1, threads=threads, bias=biased)
    held.block_layer[0], held.block_awake[0], held.counters[slots.N_BLOCKS] = 0, 1, 1
    held.u[:] = np.where(random.random(n) < 0.3, 0, random.normal(0, 0.02, n)).astype(np.float32)
    held.refractory[:] = random.integers(-2, 4, n).clip(0)
    if biased:
        held.bias[:] = random.uniform(0, 30, n).astype(np.float32)
    total = np.array(totals, dtype=np.int64)
    shares = random.integers(-(2**40), 2**40, (threads, n))
    held.input[:] = shares
    held.input[-1] = total - shares[:-1].sum(axis=0)
    decay, theta, reset = (np.float32(c) for c in constants)
    epsilon = np.float32(0.0009)

    u, left = held.u.copy(), held.refractory.copy()
    bias = held.bias.copy() if biased else np.zeros(n, np.float32)
    own_theta, own_reset = theta - bias, reset - bias
    free = left == 0
    driven = u * decay + (total.astype(np.float64) / 2**32).astype(np.float32)
    fires = free & (driven >= own_theta)
    rests = free & ~fires & (total == 0) & (np.abs(driven) < epsilon) & (own_theta > 0)
    after = np.where(free, driven, u)
    after = np.where(fires, own_reset, np.where(rests, np.float32(0), after))
    left = np.where(fires, refractory, np.maximum(left - 1, 0))

    fired, count = np.zeros(2 * n, np.int64), np.zeros(1, np.int64)
    table = np.array([[decay, theta, reset, epsilon]], np.float32)
    assert lif.step(held, table, np.array([refractory], np.int32), 0, 1, fired, count) == 1
    np.testing.assert_array_equal(fired[: count[0]], np.flatnonzero(fires))
    np.testing.assert_array_equal(held.u, after)
    np.testing.assert_array_equal(held.refractory, left)
    assert not held.input.any()
    assert bool(held.block_awake[0]) == bool((after != 0).any() or left.any() or (own_theta <= 0).any())


def test_a_neuron_at_rest_is_not_changed_by_stepping() -> None:
    held = make_slots(1)
    held.block_layer[0], held.counters[slots.N_BLOCKS] = 0, 1
    table = np.array([[0.95, 15.0, -5.0, 0.001]], np.float32)
    for awake in (0, 1):
        held.block_awake[0] = awake
        count = np.zeros(1, np.int64)
        lif.step(held, table, np.array([2], np.int32), 0, 1, np.zeros(64, np.int64), count)
        assert count[0] == 0
        assert not held.u.view(np.uint32).any()
        assert not held.block_awake[0]


@given(ids=st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=300), data=st.data())
def test_slots_keep_who_they_must_and_find_them_again(ids: list[int], data: st.DataObject) -> None:
    held = make_slots(8, layers=2)
    wanted = np.array(ids, dtype=np.uint64)
    layer = np.array([i % 2 for i in range(len(ids))], dtype=np.int32)
    got = np.empty(len(ids), np.int64)
    assert slots.take_many(held, SEED, layer, wanted, 0, got) == len(ids)
    assert len(set(got.tolist())) == len(ids)
    assert (held.block_layer[got >> slots.BLOCK_SHIFT] == layer).all(), "a block has one layer"
    awake = np.array(data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))), dtype=bool)
    held.u[got[awake]] = 1.5
    constants = np.full((2, 4), 15.0, np.float32)
    freed = slots.release(held, np.sort(got[kept]), constants)
    stay = awake | kept
    assert freed == int((~stay).sum())
    again = np.empty(len(ids), np.int64)
    slots.find_many(held, wanted, again)
    np.testing.assert_array_equal(again, np.where(stay, got, -1))
    assert slots.take_many(held, SEED, layer, wanted, 0, again) == len(ids)
    np.testing.assert_array_equal(again[stay], got[stay])
    np.testing.assert_array_equal(held.id[again], wanted)
    assert not held.u[again[~stay]].any(), "a slot taken anew is at rest"


def test_taking_slots_stops_at_the_limit_and_goes_on_behind_it() -> None:
    held = make_slots(3)
    held.counters[slots.BLOCK_LIMIT] = 1
    ids, out = np.arange(100, dtype=np.uint64), np.empty(100, np.int64)
    layers = np.zeros(100, np.int32)
    assert slots.take_many(held, SEED, layers, ids, 0, out) == slots.BLOCK
    held.counters[slots.BLOCK_LIMIT] = 3
    assert slots.take_many(held, SEED, layers, ids, slots.BLOCK, out) == 100
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
    slots.take_many(held, SEED, np.zeros(n, np.int32), ids, 0, place)
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
    records["flags"][:n] = 0
    rows.drop_rows(held, records, int(random.integers(0, n)), False, int(indptr[-1] * dropped))
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
        assert deliver.gather(held, records, arena, codes, SEED, *arrays) == len(fired)
        for at, slot in enumerate(fired):
            later = projection[row_of == np.flatnonzero(place == slot)[0]] + 1
            assert following[at] == min(later[later > delay], default=0)
        offsets, lengths = offsets[: count[0]], lengths[: count[0]]
        events = deliver.deliver(offsets, lengths, arena.link, held.input[0], held.block_awake)
        arriving = np.isin(place[row_of], fired) & (projection + 1 == delay)
        expected = np.zeros(n, np.int64)
        fixed = np.rint(weight[arriving].astype(np.float64) * 2**32).astype(np.int64)
        np.add.at(expected, target[arriving].astype(np.int64), fixed)
        np.testing.assert_array_equal(held.input[0][place], expected)
        assert events == arriving.sum()
        slots.clear_input(held)
