"""Neuron ids: every boundary of every field, in numbers, arrays and text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.address import (
    MAX_ID,
    MAX_LAYER,
    MAX_LOCAL,
    MAX_SEGMENT,
    as_ids,
    by_layer,
    format_hex,
    format_id,
    pack,
    parse,
    unpack,
)
from engramdb.errors import InvalidId

layers = st.integers(0, MAX_LAYER)
segments = st.integers(0, MAX_SEGMENT)
locals_ = st.integers(0, MAX_LOCAL)
ids = st.integers(0, MAX_ID)


def test_the_source_example_is_packed_by_its_own_field_widths() -> None:
    assert pack(10, 5, 2147483649) == 0x000A000580000001
    assert format_hex(0x000A000580000001) == "0x000A000580000001"
    assert format_id(0x000A000580000001) == "10/5/2147483649"
    assert parse("10/5/2147483649") == parse("0x000A000580000001") == 0x000A000580000001


@pytest.mark.parametrize(
    ("parts", "packed"),
    [
        ((0, 0, 0), 0),
        ((0, 0, 1), 1),
        ((0, 0, MAX_LOCAL), 0xFFFFFFFF),
        ((0, 1, 0), 0x1_0000_0000),
        ((0, MAX_SEGMENT, 0), 0xFFFF_0000_0000),
        ((1, 0, 0), 0x1_0000_0000_0000),
        ((32767, MAX_SEGMENT, MAX_LOCAL), 2**63 - 1),
        ((32768, 0, 0), 2**63),
        ((MAX_LAYER, 0, 0), 0xFFFF_0000_0000_0000),
        ((MAX_LAYER, MAX_SEGMENT, MAX_LOCAL), MAX_ID),
    ],
)
def test_boundaries_of_every_field(parts: tuple[int, int, int], packed: int) -> None:
    assert pack(*parts) == packed
    assert unpack(packed) == parts
    assert parse(format_id(packed)) == parse(format_hex(packed)) == packed


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ((MAX_LAYER + 1, 0, 0), "layer 65536"),
        ((0, MAX_SEGMENT + 1, 0), "segment 65536"),
        ((0, 0, MAX_LOCAL + 1), "local 4294967296"),
        ((-1, 0, 0), "layer -1"),
        ((0, -1, 0), "segment -1"),
        ((0, 0, -1), "local -1"),
        ((0, 0, 2**80), "local 1208925819614629174706176"),
        ((np.int64(-5), 0, 0), "layer -5"),
        (([1, 70000], 0, 0), "layer 70000"),
        ((0, 0, np.array([1, -2])), "local -2"),
    ],
)
def test_parts_outside_their_field_are_refused_by_name(parts: tuple[object, ...], named: str) -> None:
    with pytest.raises(InvalidId, match=named):
        pack(*parts)


@pytest.mark.parametrize("wrong", [1.0, True, None, "1", [1.5, 2], [True], np.array([1.0]), np.array([True]), [None]])
def test_only_whole_numbers_are_parts_and_ids(wrong: object) -> None:
    with pytest.raises(InvalidId, match="whole number"):
        pack(0, 0, wrong)
    with pytest.raises(InvalidId, match="whole number"):
        unpack(wrong)


@given(layers, segments, locals_)
def test_packing_and_text_lose_nothing(layer: int, segment: int, local: int) -> None:
    neuron_id = pack(layer, segment, local)
    assert isinstance(neuron_id, int)
    assert unpack(neuron_id) == (layer, segment, local)
    assert format_id(neuron_id) == f"{layer}/{segment}/{local}"
    assert parse(format_id(neuron_id)) == neuron_id
    assert parse(format_hex(neuron_id)) == neuron_id
    assert int(format_hex(neuron_id), 16) == neuron_id


@given(st.lists(st.tuples(layers, segments, locals_), min_size=1))
def test_arrays_are_packed_like_their_elements(parts: list[tuple[int, int, int]]) -> None:
    layer, segment, local = (list(column) for column in zip(*parts, strict=True))
    packed = pack(layer, segment, local)
    assert packed.dtype == np.uint64
    assert packed.tolist() == [pack(*part) for part in parts]
    columns = unpack(packed)
    assert [column.dtype for column in columns] == [np.uint16, np.uint16, np.uint32]
    assert [column.tolist() for column in columns] == [layer, segment, local]
    narrow = pack(np.array(layer, np.uint16), np.array(segment, np.uint16), np.array(local, np.uint32))
    assert narrow.tolist() == packed.tolist()


def test_arrays_broadcast() -> None:
    assert pack(1, [[0], [1]], [0, 5]).tolist() == [
        [pack(1, 0, 0), pack(1, 0, 5)],
        [pack(1, 1, 0), pack(1, 1, 5)],
    ]
    assert pack([], 0, 0).tolist() == []


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint32, np.int64, np.uint64])
def test_numpy_scalars_are_whole_numbers(kind: type) -> None:
    assert pack(kind(3), kind(2), kind(1)) == pack(3, 2, 1)
    assert unpack(kind(7)) == (0, 0, 7)


@given(st.lists(ids))
def test_any_listing_of_ids_becomes_the_same_array(numbers: list[int]) -> None:
    expected = np.array(numbers, dtype=np.uint64)
    text = [format_id(number) for number in numbers]
    mixed = [format_hex(number) if i % 2 else np.uint64(number) for i, number in enumerate(numbers)]
    for listed in (
        numbers,
        tuple(numbers),
        iter(numbers),
        expected,
        expected.astype(">u8"),
        text,
        mixed,
        np.array(text, object),
    ):
        found = as_ids(listed)
        assert found.dtype == np.uint64
        assert found.shape == (len(numbers),)
        assert found.tolist() == numbers
    if numbers:
        assert as_ids(np.array(text)).tolist() == numbers


def test_one_id_becomes_an_array_of_one() -> None:
    for one in (5, np.int8(5), np.uint64(5), "0/0/5", "0x5", np.array(5), np.array("0/0/5")):
        assert as_ids(one).tolist() == [5]
    assert as_ids(np.array([[1, 2], [3, 4]], dtype=np.uint64)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [-1, 2**64, [1, -1], [0, 2**64], 0.5, True, [True], None, [None], b"ab", {"a"}, [[1], [2, 3]], np.array([1.0])],
)
def test_what_is_no_id_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidId):
        as_ids(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "0/0",
        "0/0/0/0",
        "0/0/",
        "-1/0/0",
        "+1/0/0",
        "1.0/0/0",
        "1_0/0/0",
        "²/0/0",
        "٣/0/0",
        "a/b/c",
        "0x",
        "0x00000000000000001",
        "0xg",
        "0x-1",
        "0x_1",
        "65536/0/0",
        "0/65536/0",
        "0/0/4294967296",
        "0/0/" + "9" * 5000,
    ],
)
def test_text_that_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidId, match="is not a neuron id"):
        parse(text)
    with pytest.raises(InvalidId, match="is not a neuron id"):
        as_ids([text])


def test_text_may_have_blanks_around_and_any_case() -> None:
    assert parse(" 10/5/2147483649\n") == parse("0X000a000580000001") == parse("0xA000580000001")


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.5, True, None, "5"])
def test_only_ids_are_formatted(wrong: object) -> None:
    for write in (format_id, format_hex):
        with pytest.raises(InvalidId):
            write(wrong)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_sorted_ids_are_told_apart_by_layer(values: list[int]) -> None:
    ids = np.array(sorted(values), dtype=np.uint64)
    parts = by_layer(ids)
    assert [layer for layer, _ in parts] == sorted({value >> 48 for value in values})
    assert all((ids[where] >> np.uint64(48) == layer).all() for layer, where in parts)
    np.testing.assert_array_equal(np.concatenate([ids[:0], *(ids[where] for _, where in parts)]), ids)
