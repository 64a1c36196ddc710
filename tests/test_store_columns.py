"""Columns, records of a pack, and leaves: what goes in comes out, bit for bit, or is refused."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numba  # noqa: F401  # with it the compiled kernels are used
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.errors import EngramError
from engramdb.kernels.planes import join
from engramdb.kernels.targets import PLACES, add_up, walk
from engramdb.layer import Layer
from engramdb.store import LeafPolicy, Records, column, pack, targets
from engramdb.store.changes import apply
from engramdb.store.leaf import decode_leaf, encode_leaf
from engramdb.store.pack import STATE, BadRecord, Identity, encode_record, parse_record
from engramdb.store.records import concatenate
from engramdb.store.storedleaf import StoredLeaf
from engramdb.store.versions import LeafRef, ref_from, ref_of, row_of, table_of
from engramdb.testing import DictStore, neurons_of, records
from engramdb.weights import on_grid
from tests.stores import neurons

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", "?"]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any bit pattern (NaN payloads included), constants, ranges and low-entropy numbers, of any shape."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 40), max_size=3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = int(np.prod(shape, dtype=np.int64))
    match draw(st.sampled_from(["bits", "constant", "range", "few", "colors"])):
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
        case "colors":
            colors = np.frombuffer(random.bytes(draw(st.integers(2, 300)) * dtype.itemsize), f"V{dtype.itemsize}")
            if dtype.kind == "b":
                return random.integers(0, 2, shape).astype(bool)
            return random.choice(colors, size).view(dtype).reshape(shape)
        case _:
            return random.integers(0, 3, shape).astype(dtype)


@given(arrays())
def test_any_array_comes_back_bit_for_bit(array: np.ndarray) -> None:
    codec, data = column.encode(np.ascontiguousarray(array).reshape(array.shape))
    decoded = column.decode(codec, data, array.dtype, array.shape)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()
    assert decoded.flags.writeable


@given(arrays(), st.data())
def test_the_first_elements_of_a_column_are_those_of_all_of_it(array: np.ndarray, data: st.DataObject) -> None:
    flat = np.ascontiguousarray(array).reshape(-1)
    codec, encoded = column.encode(flat)
    wanted = data.draw(st.integers(0, flat.size))
    found = column.decode_first(codec, encoded, flat.dtype, flat.size, wanted)
    assert found.size >= wanted
    assert found.tobytes() == flat[: found.size].tobytes()


def test_pcodec_stops_behind_the_elements_that_are_wanted() -> None:
    numbers = np.random.default_rng(1).integers(0, 10**6, 5000)
    packed = column.compress(column.PCO, numbers)
    assert packed is not None
    for wanted in (1, 256, 257, 4999):
        found = column.decode_first(column.PCODEC, packed, numbers.dtype, 5000, wanted)
        assert wanted <= found.size <= min(wanted + 255, 5000)
        assert found.tolist() == numbers[: found.size].tolist()
    with pytest.raises(column.BadColumn):
        column.decode_first(column.PCODEC, packed[: len(packed) // 8], numbers.dtype, 5000, 4000)


@given(arrays(), st.data())
def test_damaged_bytes_are_refused_or_give_an_array_of_that_shape(array: np.ndarray, data: st.DataObject) -> None:
    codec, encoded = column.encode(np.ascontiguousarray(array).reshape(array.shape))
    damaged = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.sampled_from([len(damaged), len(damaged) // 2]))
    try:
        decoded = column.decode(codec, bytes(damaged[:cut]), array.dtype, array.shape)
    except column.BadColumn:
        return
    assert (decoded.dtype, decoded.shape) == (array.dtype, array.shape)


KEPT = {
    column.RAW: ("<u2", (3,), "010002000300"),
    column.CONSTANT: ("<f4", (2, 2), "0000c07f"),
    column.RANGE: ("<i8", (4,), "fbffffffffffffff0300000000000000"),
    column.BLOSC: (
        "<i4",
        (60,),
        (
            "02013104f0000000f0000000a10000001400000089000000fc6c00010409101924314051647990a9c4e10021446990b9"
            "e4114071a4d9104984c1004184c91059a4f14091e43990e944a10061c42990f964d140b1249900000000000000000000"
            "00000000000001010101010101020202020203030303040404040505050506060607070708080909090a0a0a0b0b0c0c"
            "0d0d0000003f000f02004d500000000000"
        ),
    ),
    column.PCODEC: ("<i4", (60,), ("70636f210300050f0401033b0000100201000100004000000000800100000000")),
    column.PALETTE: ("<f4", (5,), "0100" + "0000003f" + "000080bf" + "0001000100"),
    column.PLANES: (
        "<f4",
        (3,),
        "01010001" + "00" + "00" + "80c0e0" + "3f",
    ),
}
"""Bytes that earlier versions wrote: type, shape, hex."""


@pytest.mark.parametrize("codec", KEPT)
def test_what_earlier_versions_wrote_is_read_for_ever(codec: int) -> None:
    dtype, shape, text = KEPT[codec]
    expected = {
        column.RAW: [1, 2, 3], column.CONSTANT: [[np.nan] * 2] * 2, column.RANGE: [-5, -2, 1, 4],
        column.BLOSC: np.arange(60) ** 2, column.PCODEC: np.arange(60) ** 2, column.PALETTE: [0.5, -1, 0.5, -1, 0.5],
        column.PLANES: [1, 1.5, 1.75],
    }[codec]  # fmt: skip
    np.testing.assert_array_equal(column.decode(codec, bytes.fromhex(text), np.dtype(dtype), shape), expected)


def test_a_column_with_more_colors_than_its_beginning_comes_back() -> None:
    random = np.random.default_rng(0)
    few, many = random.choice(random.random(200, np.float32), 50_000), random.random(50_000, np.float32)
    assert column.encode(few)[0] == column.PALETTE
    both = np.concatenate([few, many])
    codec, data = column.encode(both)
    assert codec != column.PALETTE
    assert len(data) < both.nbytes
    np.testing.assert_array_equal(column.decode(codec, data, both.dtype, both.shape), both)


@pytest.mark.parametrize("bad", ["00", "0000000000", "0005" + "0000003f" + "00" * 5, "0000" + "0000003f" + "01" * 5])
def test_a_palette_that_makes_no_sense_is_refused(bad: str) -> None:
    with pytest.raises(column.BadColumn, match=r"palette|bytes"):
        column.decode(column.PALETTE, bytes.fromhex(bad), np.dtype("<f4"), (5,))


@pytest.mark.parametrize(
    ("bad", "dtype"),
    [
        ("00", "<f4"),
        ("00" + "0101", "<u1"),
        ("0001" + "010101ff", "<u2"),
        ("0001" + "01", "<u2"),
        ("0300" + "01" * 4, "<u2"),
    ],
)
def test_planes_that_make_no_sense_are_refused(bad: str, dtype: str) -> None:
    with pytest.raises(column.BadColumn, match=r"plane|bytes"):
        column.decode(column.PLANES, bytes.fromhex(bad), np.dtype(dtype), (2,))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["u2", "u4", "u8"]), st.integers(0, 300), st.data())
def test_planes_are_joined_with_and_without_compiled_kernels(
    seed: int, kind: str, size: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    dtype = np.dtype(kind)
    places = data.draw(st.lists(st.integers(0, dtype.itemsize - 1), unique=True))
    stored = random.integers(0, 256, size * (len(places) + 1), dtype=np.uint8)
    at = [int(start) for start in random.integers(0, stored.size - size + 1, len(places))]
    base = sum(int(random.integers(256)) << 8 * place for place in range(dtype.itemsize) if place not in places)
    compiled, plain = np.empty(size, dtype), np.empty(size, dtype)
    shift = [8 * place for place in places]
    join(stored, np.array(at, np.int64), np.array(shift, dtype), dtype.type(base), compiled)
    column._join(stored, at, shift, base, plain)
    np.testing.assert_array_equal(compiled, plain)


@given(arrays(), st.data())
def test_elements_picked_from_a_column_are_those_of_the_whole(array: np.ndarray, data: st.DataObject) -> None:
    whole = np.ascontiguousarray(array).reshape(array.shape)
    if not whole.ndim:
        return
    rows = len(whole)
    index = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=9)) if rows else [], np.int64)
    encodings = [column.encode(whole)]
    if whole.dtype.kind in "iuf" and whole.itemsize > 1 and whole.size:
        encodings.append((column.PLANES, column.compress(column.SPLIT, whole.reshape(-1)) or b""))
    for codec, encoded in encodings:
        pick, nbytes = column.picker(codec, encoded, whole.dtype, whole.shape)
        found = pick(index)
        assert (found.dtype, found.shape) == (whole.dtype, (index.size, *whole.shape[1:]))
        assert found.tobytes() == whole[index].tobytes()
        assert 0 <= nbytes <= 2 * whole.nbytes


@pytest.mark.parametrize("size", [59, 61])
def test_more_or_fewer_values_than_announced_are_refused(size: int) -> None:
    for codec in (column.BLOSC, column.PCODEC):
        with pytest.raises(column.BadColumn):
            column.decode(codec, bytes.fromhex(KEPT[codec][2]), np.dtype("<i4"), (size,))


def test_noise_is_stored_as_it_is_and_costs_nothing_more() -> None:
    noise = np.random.default_rng(0).integers(0, 2**64, 4096, dtype=np.uint64)
    codec, data = column.encode(noise)
    assert (codec, len(data)) == (column.RAW, noise.nbytes)


def test_equal_and_equally_spaced_values_take_no_room() -> None:
    assert column.encode(np.full((1000, 3), np.nan, np.float32))[0] == column.CONSTANT
    ids = np.arange(2**64 - 5000, 2**64 - 3000, dtype=np.uint64)
    codec, data = column.encode(ids)
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


@given(st.integers(0, 7), st.binary(min_size=0, max_size=64), st.sampled_from(DTYPES), st.integers(0, 40))
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


@given(st.one_of(records(layer=65535), records(layer=65535, delays=True)))
def test_a_leaf_comes_back_bit_for_bit(changes: Records) -> None:
    leaf = apply(Records.empty(), changes)
    if not len(leaf):
        return
    data, crc = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    assert neurons_of(decode_leaf(parse_record(data, crc))) == neurons_of(leaf)


@given(st.one_of(records(layer=65535), records(layer=65535, delays=True)), st.data())
def test_rows_taken_from_a_leaf_as_it_is_stored_are_those_of_the_decoded_one(
    changes: Records, data: st.DataObject
) -> None:
    leaf = apply(Records.empty(), changes)
    if not len(leaf):
        return
    record = parse_record(encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)[0])
    index = np.array(sorted(data.draw(st.sets(st.integers(0, len(leaf) - 1)))), np.int64)
    stored = StoredLeaf(record)
    np.testing.assert_array_equal(stored.ids, leaf.ids)
    assert neurons_of(stored.take(index)) == neurons_of(decode_leaf(record).take(index))


def test_a_large_leaf_as_it_is_stored_gives_every_row_and_takes_less_memory() -> None:
    leaf = neurons(np.arange(5000) + 2**50, degree=12)
    random = np.random.default_rng(3)
    near = np.repeat(leaf.ids, 12) + random.integers(1, 60, 60_000).astype(np.uint64)
    far = random.integers(0, 2**40, near.size, dtype=np.uint64)
    leaf.target = np.where(random.random(near.size) < 0.1, far, near)
    leaf.weight = random.uniform(0.5, 1.5, near.size).astype(np.float32)
    record = parse_record(encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)[0])
    assert (record.columns["target_step"].codec, record.columns["weight"].codec) == (column.RAW, column.PLANES)
    stored, decoded = StoredLeaf(record), decode_leaf(record)
    assert stored.nbytes < 0.6 * decoded.nbytes
    for first in range(0, 5000, 500):
        index = np.arange(first, first + 500, 3)
        assert neurons_of(stored.take(index)) == neurons_of(decoded.take(index))


def _anywhere(first: int) -> Records:
    """4000 neurons with 12 targets each among 10^6, sorted."""
    leaf = neurons(np.arange(4000) + first, degree=12)
    targets = np.random.default_rng(5).integers(0, 10**6, (4000, 12))
    leaf.target = np.sort(targets, axis=1).ravel().astype(np.uint64)
    return leaf


@pytest.mark.parametrize(("first", "packed"), [(2000, "target_step"), (996_000, "target_far")])
def test_rows_whose_targets_are_packed_are_had_in_any_order(first: int, packed: str) -> None:
    record = parse_record(encode_leaf(_anywhere(first), line=1, commit=2, leaf=3, low=0)[0])
    assert record.columns[packed].codec == column.PCODEC
    decoded = decode_leaf(record)
    for order in ([[0], [3999], [1700]], [[2500, 2501], [3, 3998]], [[3999], [0]]):
        stored = StoredLeaf(record)
        nbytes = stored.nbytes
        for index in order:
            assert neurons_of(stored.take(np.array(index))) == neurons_of(decoded.take(np.array(index)))
        assert stored.nbytes == nbytes, "it was counted as it can become"


def test_rows_with_more_far_targets_than_there_are_are_refused() -> None:
    record = parse_record(encode_leaf(_anywhere(996_000), line=1, commit=2, leaf=3, low=0)[0])
    columns = {name: record.column(name) for name in record.columns}
    columns["target_far"] = columns["target_far"][:40_000]
    stored = StoredLeaf(parse_record(encode_record(record.identity, columns)[0]))
    assert len(stored.take(np.array([10]))) == 1
    with pytest.raises(BadRecord, match="far targets are announced and 40000 are there"):
        stored.take(np.array([3999]))


def test_every_flipped_bit_of_a_leaf_is_noticed_where_a_single_row_is_wanted() -> None:
    whole, crc = encode_leaf(neurons(range(0, 60, 3)), line=1, commit=2, leaf=3, low=0)
    for bit in range(0, 8 * len(whole), 7):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadRecord, match=r"\S"):
            StoredLeaf(parse_record(bytes(damaged), crc))


@given(st.lists(st.integers(0, 2**20), max_size=300))
def test_spans_are_sums_of_degrees_with_and_without_compiled_kernels(degrees: list[int]) -> None:
    degree = np.array(degrees, np.uint32)
    expected = [0, *itertools.accumulate(degrees)]
    assert targets.spans(degree).tolist() == expected
    compiled = np.empty(degree.size + 1, np.int64)
    add_up(degree, compiled)
    assert compiled.tolist() == expected


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, indptr, targets): near, far, equal and own targets, sorted or not, around the ends of the numbers too."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(0, 30))
    base = draw(st.sampled_from([0, 2**32 - 5, 2**63 - 100, 2**64 - 100_000]))
    ids = np.uint64(base) + np.sort(random.choice(1000 * n, n, replace=False)).astype(np.uint64)
    degree = random.integers(0, draw(st.integers(1, 40)), n)
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    spread = draw(st.sampled_from([1, 10, 100, 40_000, 2**33, 2**62]))
    target = np.repeat(ids, degree) + random.integers(-spread, spread + 1, indptr[-1]).astype(np.uint64)
    anywhere = random.integers(0, 2**64 - 1, indptr[-1], dtype=np.uint64, endpoint=True)
    target = np.where(random.random(indptr[-1]) < draw(st.sampled_from([0.0, 0.1, 0.9])), anywhere, target)
    if draw(st.booleans()):
        target = target[np.lexsort((target, np.repeat(np.arange(n), degree)))]
    return ids, indptr, target


@given(rows())
def test_steps_lead_back_to_the_targets_with_and_without_compiled_kernels(
    given_rows: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    ids, indptr, target = given_rows
    assert "numba" in sys.modules
    compiled = targets.to_steps(ids, indptr, target)
    np.testing.assert_array_equal(targets.from_steps(ids, indptr, *compiled), target)
    with pytest.MonkeyPatch.context() as patched:
        patched.delitem(sys.modules, "numba")
        plain = targets.to_steps(ids, indptr, target)
        np.testing.assert_array_equal(targets.from_steps(ids, indptr, *plain), target)
    assert plain[0].dtype == compiled[0].dtype
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["i1", "i2", "i4", "i8"]), st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    st.lists(st.sampled_from([0, 1, 3, 7, 8, 9, 12, 16, 40, 600]), max_size=12), st.integers(-300, 3),
)  # fmt: skip
def test_any_steps_are_walked_as_without_compiled_kernels(
    seed: int, dtype: str, share: float, degrees: list[int], missing: int
) -> None:
    """Those too whose sums no step could hold, and where far targets are missing or too many."""
    random = np.random.default_rng(seed)
    ids = np.sort(random.integers(0, 2**64 - 1, len(degrees), dtype=np.uint64, endpoint=True))
    indptr = np.array([0, *itertools.accumulate(degrees)], np.int64)
    limits = np.iinfo(dtype)
    step = random.integers(limits.min, limits.max, indptr[-1], dtype=dtype, endpoint=True)
    step[random.random(step.size) < share] = 0
    zeros = int(np.count_nonzero(step == 0))
    far = random.integers(0, 2**64 - 1, zeros, dtype=np.uint64, endpoint=True)
    target = np.full(step.size + 2, 7, np.uint64)
    assert walk(ids, indptr, step, far, np.empty(PLACES, np.int64), target[1:-1]) == zeros
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(targets, "kernels", lambda _: None)
        np.testing.assert_array_equal(targets.from_steps(ids, indptr, step, far), target[1:-1])
    assert target[0] == target[-1] == 7, "nothing else is written"
    wrong = far[:missing] if missing < 0 else np.concatenate([far, far[:1].repeat(missing)])
    if wrong.size != zeros:
        with pytest.raises(ValueError, match=f"{zeros} far targets are announced and {wrong.size} are there"):
            targets.from_steps(ids, indptr, step, wrong)


@pytest.mark.parametrize(
    ("layer", "spread", "far", "dtype"),
    [(1, 40, 0.1, "i1"), (1, 5000, 0.1, "i2"), (1, 10**7, 0.0, "i4"), (7, 2000, 0.0, "i8")],
)
def test_steps_have_the_narrowest_type_that_suits_the_leaf(layer: int, spread: int, far: float, dtype: str) -> None:
    random = np.random.default_rng(1)
    ids = np.arange(200, dtype=np.uint64) + np.uint64(2**48)
    target = np.uint64((layer - 1) << 48) + ids[:, None] + random.integers(0, spread, (200, 100)).astype(np.uint64)
    anywhere = np.uint64(2**48) + random.integers(0, 2**31, target.shape, dtype=np.uint64)
    target = np.sort(np.where(random.random(target.shape) < far, anywhere, target), axis=1).reshape(-1)
    step, _ = targets.to_steps(ids, np.arange(0, 20_001, 100), target)
    assert step.dtype == dtype


@pytest.mark.parametrize("spread", [1, 100, 10_000, 2**31, 2**40])
def test_targets_at_any_distance_come_back(spread: int) -> None:
    random = np.random.default_rng(spread)
    leaf = neurons(np.arange(500) + 2**50, degree=4)
    leaf.target = np.repeat(leaf.ids, 4) + random.integers(-spread, spread + 1, 2000).astype(np.uint64)
    data, _ = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    np.testing.assert_array_equal(decode_leaf(parse_record(data)).target, leaf.target)


@pytest.mark.parametrize(("kind", "most"), [("float32", 54), ("float16", 34), ("int8", 27)])
def test_a_small_world_leaf_takes_few_bytes_a_neuron(kind: str, most: int) -> None:
    random = np.random.default_rng(0)
    ids = np.arange(400_000, 408_192, dtype=np.uint64)
    near = ids[:, None].astype(np.int64) + random.permuted(np.tile(np.r_[-50:0, 1:51], (ids.size, 1)), axis=1)[:, :12]
    far = random.random(near.shape) < 0.1
    target = np.sort(np.where(far, random.integers(0, 1_000_000, near.shape), near), axis=1)
    leaf = neurons(ids, degree=12)
    leaf.target = target.reshape(-1).astype(np.uint64)
    layer = Layer("a", segments=[1], weights=kind, weight_step=0.01 if kind == "int8" else None)
    leaf.weight = on_grid(random.uniform(0.5, 1.5, target.size).astype(np.float32), layer)
    data, _ = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    assert len(data) / ids.size <= most


numbers = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(numbers, min_size=16, max_size=16), st.integers(0, 2**64 - 300), st.integers(-1, 6), st.booleans())
def test_one_version_in_the_catalog_is_read_as_many_are(values: list[int], low: int, kind: int, whole: bool) -> None:
    ref = LeafRef(*values)._replace(low=low, first=low + values[0] % 50, last=low + values[1] % 90, kind=kind)
    row = row_of(ref) if whole else (*row_of(ref)[:-1], "1")

    def said(read: Callable[[], LeafRef]) -> object:
        try:
            return read()
        except EngramError as error:
            return type(error), str(error)

    assert said(lambda: ref_from(row)) == said(lambda: ref_of(table_of([row])[0]))


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


@given(st.booleans().flatmap(lambda delays: st.tuples(records(delays=delays), records(delays=delays))))
def test_merging_is_what_a_dict_does(changes_made: tuple[Records, Records]) -> None:
    model = DictStore()
    stored = Records.empty()
    for changes in changes_made:
        before = neurons_of(stored)
        merged = apply(stored, changes)
        assert neurons_of(stored) == before, "a merge must not change what it merges"
        stored = merged
        model.write(changes)
    assert neurons_of(stored) == model.neurons
    assert (stored.ids[1:] > stored.ids[:-1]).all()


@given(st.booleans().flatmap(lambda delays: records(most=60, delays=delays)), st.integers(0, 60), st.integers(0, 60))
def test_parts_laid_end_to_end_are_the_whole(changes: Records, one: int, other: int) -> None:
    first, second = sorted((min(one, len(changes)), min(other, len(changes))))
    parts = [changes.part(0, first), changes.part(first, second), changes.part(second, len(changes))]
    assert neurons_of(concatenate(parts)) == neurons_of(changes)
    index = np.arange(first, second)
    assert neurons_of(changes.take(index)) == neurons_of(parts[1])


def test_a_checksum_is_the_same_of_bytes_and_of_an_array_compiled_or_not() -> None:
    data = np.arange(700).astype(np.uint8)
    assert {pack.crc32c(data), pack.crc32c(data.tobytes()), pack.crc32c(data[::1].copy())} == {pack._of_bytes(data)}
    assert pack.crc32c(np.frombuffer(b"123456789", np.uint8)) == pack._of_bytes(b"123456789") == 0xE3069283
