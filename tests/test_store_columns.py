"""Columns, records of a pack, and leaves: what goes in comes out, bit for bit, or is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.store import LeafPolicy, Records, column
from engramdb.store.leaf import decode_leaf, encode_leaf
from engramdb.store.pack import STATE, BadRecord, Identity, encode_record, parse_record
from engramdb.store.records import concatenate, merge
from engramdb.testing import DictStore, neurons_of, records
from tests.stores import neurons

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", "?"]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any bit pattern (NaN payloads included), constants, ranges and low-entropy numbers, of any shape."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 40), max_size=3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = int(np.prod(shape, dtype=np.int64))
    match draw(st.sampled_from(["bits", "constant", "range", "few"])):
        case "bits":
            if dtype.kind == "b":
                return random.integers(0, 2, shape).astype(bool)
            return np.frombuffer(random.bytes(size * dtype.itemsize), dtype).reshape(shape)
        case "constant":
            one = np.frombuffer(random.bytes(dtype.itemsize), dtype) if dtype.kind != "b" else np.ones(1, bool)
            return np.tile(one.view(f"V{dtype.itemsize}"), size).view(dtype).reshape(shape)
        case "range":
            start, step = random.integers(-(2**40), 2**40, 2)
            with np.errstate(all="ignore"):
                return (start + step * np.arange(size)).astype(dtype).reshape(shape)
        case _:
            return random.integers(0, 3, shape).astype(dtype)


@given(arrays(), st.sampled_from(["weight", "id", "target_offset", "degree", "anything"]))
def test_any_array_comes_back_bit_for_bit(array: np.ndarray, name: str) -> None:
    codec, data = column.encode(name, np.ascontiguousarray(array).reshape(array.shape))
    decoded = column.decode(codec, data, array.dtype, array.shape)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()
    assert decoded.flags.writeable


def test_noise_is_stored_as_it_is_and_costs_nothing_more() -> None:
    noise = np.random.default_rng(0).integers(0, 2**64, 4096, dtype=np.uint64)
    codec, data = column.encode("noise", noise)
    assert (codec, len(data)) == (column.RAW, noise.nbytes)


def test_equal_and_equally_spaced_values_take_no_room() -> None:
    assert column.encode("c", np.full((1000, 3), np.nan, np.float32))[0] == column.CONSTANT
    ids = np.arange(2**64 - 5000, 2**64 - 3000, dtype=np.uint64)
    codec, data = column.encode("id", ids)
    assert (codec, len(data)) == (column.RANGE, 16)
    np.testing.assert_array_equal(column.decode(codec, data, ids.dtype, ids.shape), ids)


@given(st.dictionaries(st.text(max_size=12), arrays(), max_size=4))
def test_a_record_of_any_arrays_comes_back(state: dict[str, np.ndarray]) -> None:
    data, crc = encode_record(Identity(STATE, 1, 2**62), state)
    record = parse_record(data, crc)
    assert record.identity.commit == 2**62
    assert list(record.columns) == list(state)
    for name, array in state.items():
        assert record.column(name).tobytes() == array.tobytes()
        assert record.column(name).shape == array.shape


def test_every_flipped_bit_of_a_record_is_noticed() -> None:
    whole, crc = encode_leaf(neurons(range(0, 60, 3)), line=1, commit=2, leaf=3, low=0)
    expected = decode_leaf(parse_record(whole, crc))
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadRecord, match=r"\S"):
            decode_leaf(parse_record(bytes(damaged), crc))
    assert neurons_of(decode_leaf(parse_record(whole))) == neurons_of(expected)


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_record_reader(data: bytes) -> None:
    with pytest.raises(BadRecord):
        parse_record(data)


@given(st.integers(0, 3), st.binary(min_size=0, max_size=64), st.sampled_from(DTYPES), st.integers(0, 40))
def test_no_bytes_crash_a_codec(codec: int, data: bytes, dtype: str, size: int) -> None:
    try:
        decoded = column.decode(codec, data, np.dtype(dtype), (size,))
    except column.BadColumn:
        return
    assert decoded.shape == (size,)


def test_a_record_cut_short_at_any_byte_is_refused() -> None:
    whole, crc = encode_record(Identity(STATE, 1, 2), {"a": np.arange(30.0)})
    for length in range(len(whole)):
        with pytest.raises(BadRecord):
            parse_record(whole[:length], crc)


def test_another_record_than_the_catalog_names_is_refused() -> None:
    whole, _ = encode_record(Identity(STATE, 1, 2), {})
    _, other = encode_record(Identity(STATE, 1, 3), {})
    with pytest.raises(BadRecord, match="another record"):
        parse_record(whole, other)


@given(records(layer=65535))
def test_a_leaf_comes_back_bit_for_bit(changes: Records) -> None:
    if not len(changes):
        return
    leaf = merge(Records.empty(), changes)
    data, crc = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    assert neurons_of(decode_leaf(parse_record(data, crc))) == neurons_of(leaf)


@pytest.mark.parametrize("spread", [1, 100, 10_000, 2**31, 2**40])
def test_targets_at_any_distance_come_back(spread: int) -> None:
    random = np.random.default_rng(spread)
    leaf = neurons(np.arange(500) + 2**50, degree=4)
    leaf.target = np.repeat(leaf.ids, 4) + random.integers(-spread, spread + 1, 2000).astype(np.uint64)
    data, _ = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    np.testing.assert_array_equal(decode_leaf(parse_record(data)).target, leaf.target)


def test_a_small_world_leaf_takes_at_most_60_bytes_a_neuron() -> None:
    random = np.random.default_rng(0)
    ids = np.arange(400_000, 408_192, dtype=np.uint64)
    near = ids[:, None].astype(np.int64) + random.permuted(np.tile(np.r_[-50:0, 1:51], (ids.size, 1)), axis=1)[:, :12]
    far = random.random(near.shape) < 0.1
    target = np.sort(np.where(far, random.integers(0, 1_000_000, near.shape), near), axis=1)
    leaf = neurons(ids, degree=12)
    leaf.target = target.reshape(-1).astype(np.uint64)
    leaf.weight = random.uniform(0.5, 1.5, target.size).astype(np.float32)
    data, _ = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    assert len(data) / ids.size <= 60


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200))
def test_pieces_of_a_leaf_fit_and_lose_nobody(costs: list[int]) -> None:
    policy = LeafPolicy(rows=50, nbytes=400)
    for edges in (policy.fill(np.array(costs)), policy.halve(np.array(costs))):
        assert edges == sorted(set(edges))
        assert (edges[0], edges[-1]) == (0, len(costs))
        for start, stop in itertools.pairwise(edges):
            assert sum(costs[start:stop]) <= policy.nbytes or stop == start + 1


def test_a_row_larger_than_a_leaf_has_one_to_itself() -> None:
    policy = LeafPolicy(rows=100, nbytes=1000)
    leaf = neurons(range(10), degree=1)
    leaf.indptr = np.array([0, 1, 2, 3, 503, 504, 505, 506, 507, 508, 509])
    assert policy.fill(policy.costs(leaf)) == [0, 3, 4, 10]


@given(records(), records())
def test_merging_is_what_a_dict_does(first: Records, second: Records) -> None:
    model = DictStore()
    stored = Records.empty()
    for changes in (first, second):
        before = neurons_of(stored)
        merged = merge(stored, changes)
        assert neurons_of(stored) == before, "a merge must not change what it merges"
        stored = merged
        model.write(changes)
    assert neurons_of(stored) == model.neurons
    assert (stored.ids[1:] > stored.ids[:-1]).all()


@given(records(most=60), st.integers(0, 60), st.integers(0, 60))
def test_parts_laid_end_to_end_are_the_whole(changes: Records, one: int, other: int) -> None:
    first, second = sorted((min(one, len(changes)), min(other, len(changes))))
    parts = [changes.part(0, first), changes.part(first, second), changes.part(second, len(changes))]
    assert neurons_of(concatenate(parts)) == neurons_of(changes)
    index = np.arange(first, second)
    assert neurons_of(changes.take(index)) == neurons_of(parts[1])
