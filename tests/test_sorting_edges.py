from __future__ import annotations

import csv
import io
import itertools
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engramdb.errors import InvalidInput
from engramdb.interchange.ahead import ahead
from engramdb.interchange.labeltable import AnyIntegers, AnyTexts, NotIntegers, SmallIntegers, TooManyLabels
from engramdb.interchange.sorter import Edges, EdgeSorter
from engramdb.interchange.source import Texts
from engramdb.kernels import edges as edge_kernel
from engramdb.kernels import labels as label_kernel
from engramdb.kernels import lines as line_kernel
from tests.edgelists import is_integer

# ---- the external sort


def random_edges(sizes: dict[tuple[int, int], int], n: int, projections: int, seed: int) -> Edges:
    random = np.random.default_rng(seed)
    places = list(sizes)

    def ids() -> np.ndarray:
        chosen = random.integers(0, len(places), n)
        upper = np.array([layer << 16 | segment for layer, segment in places], dtype=np.uint64)[chosen]
        size = np.array([sizes[place] for place in places])[chosen]
        # half of all on a few neurons, so that there are hubs and duplicates
        local = np.where(random.random(n) < 0.5, random.integers(0, 3, n) % size, random.integers(0, size))
        return (upper << np.uint64(32)) | local.astype(np.uint64)

    weight = random.integers(-4, 5, n).astype(np.float32) / 2
    return Edges(ids(), ids(), weight, random.integers(0, projections, n).astype(np.uint16))


def twin_sort(edges: Edges, delays: Sequence[int], duplicates: str) -> Edges:
    delay = np.array(delays)[edges.projection]
    order = np.lexsort((edges.weight, edges.projection, edges.post, delay, edges.pre))
    edges = Edges(*(column[order] for column in edges[:4]))
    if duplicates == "keep":
        return edges
    sums: dict[tuple[int, int, int], float] = {}
    for pre, post, weight, projection in zip(*(column.tolist() for column in edges[:4]), strict=True):
        sums[pre, post, projection] = sums.get((pre, post, projection), 0.0) + weight
    pre, post, projection = zip(*sums, strict=True)
    columns = (pre, np.uint64), (post, np.uint64), (list(sums.values()), np.float32), (projection, np.uint16)
    return Edges(*(np.array(column, dtype=dtype) for column, dtype in columns))


SIZES = {(0, 0): 1000, (0, 3): 1 << 24, (7, 1): 5, (65535, 65535): 200}


@settings(max_examples=max(1, settings().max_examples // 2))
@given(
    n=st.sampled_from([1, 900, 4000, 9000]),
    delays=st.sampled_from([[1], [3, 1, 3], [2, 2]]),
    duplicates=st.sampled_from(["sum", "keep"]),
    sizes=st.sampled_from([SIZES, {(0, 0): 50}, {(9, 9): 1}]),
    batch=st.sampled_from([1, 300, 1 << 20]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_edges_come_out_in_the_order_of_rows_however_often_the_memory_was_full(
    n: int, delays: list[int], duplicates: str, sizes: dict[tuple[int, int], int], batch: int, threads: int, seed: int
) -> None:
    edges = random_edges(sizes, n, len(delays), seed)
    expected = twin_sort(edges, delays, duplicates)
    options = {"delays": delays, "duplicates": duplicates}
    for memory_bytes in (1 << 10, 1 << 24):
        with (
            tempfile.TemporaryDirectory() as folder,
            EdgeSorter(memory_bytes, Path(folder), sizes, sizes, threads=threads, **options) as sorter,
        ):
            for start in range(0, n, 700):
                sorter.add(*edges.part(start, start + 700))
            assert (sorter.runs > 0) == (n > 1024 and memory_bytes == 1 << 10)
            batches = list(sorter.batches(batch))
            assert list(Path(folder).iterdir()) == []
        for one, other in itertools.pairwise(batches):
            assert one.pre[-1] < other.pre[0], "a row was parted"
        for column, twin in zip(Edges.concatenate(batches), expected, strict=True):
            np.testing.assert_array_equal(column, twin)


def test_threads_share_the_sorting(tmp_path: Path) -> None:
    sizes = {(0, 0): 1000}
    edges = random_edges(sizes, 300_000, 1, 1)
    expected = twin_sort(edges, [1], "sum")
    for threads in (1, 3):
        for memory_bytes in (1 << 22, 1 << 24):
            with EdgeSorter(memory_bytes, tmp_path, sizes, sizes, duplicates="sum", threads=threads) as sorter:
                sorter.add(*edges)
                assert (sorter.runs > 0) == (memory_bytes == 1 << 22)
                for column, twin in zip(Edges.concatenate(list(sorter.batches())), expected, strict=True):
                    np.testing.assert_array_equal(column, twin)


def test_an_edge_that_no_key_can_hold_is_refused(tmp_path: Path) -> None:
    sizes = {(0, 0): 1 << 32, (0, 1): 1}
    with pytest.raises(InvalidInput, match="66 bits"):
        EdgeSorter(1 << 20, tmp_path, sizes, sizes)


@given(st.lists(st.integers(0, 2**40 - 1)), st.integers(40, 64))
def test_the_radix_sort_sorts_stably(keys: list[int], bits: int) -> None:
    key, place = np.array(keys, dtype=np.uint64), np.arange(len(keys), dtype=np.float32)
    spare_key, spare_place = np.empty_like(key), np.empty_like(place)
    if edge_kernel.sort_keys(key, place, spare_key, spare_place, bits):
        key, place = spare_key, spare_place
    order = np.argsort(np.array(keys, dtype=np.uint64), kind="stable")
    assert key.tolist() == sorted(keys)
    assert place.astype(int).tolist() == order.tolist()


# ---- fields and numbers

fields = st.text(st.sampled_from('ab ,;"7é\t'), max_size=6)


@given(st.lists(st.lists(fields, min_size=3, max_size=3), min_size=1, max_size=8), st.sampled_from(",;"))
@example([["", "", ""]], ",")
def test_lines_are_cut_as_the_csv_module_writes_them(rows: list[list[str]], delimiter: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    data = np.frombuffer(text.getvalue().encode(), dtype=np.uint8).copy()
    begin, end = (np.empty(len(rows) + 1, dtype=np.int64) for _ in range(2))
    first, last = (np.empty((2, len(rows) + 1), dtype=np.int64) for _ in range(2))
    status = np.empty(len(rows) + 1, dtype=np.uint8)
    n, at, high = line_kernel.split_lines(
        data,
        0,
        len(data),
        np.uint8(ord(delimiter)),
        np.uint8(ord('"')),
        3,
        np.array([0, 2]),
        begin,
        end,
        status,
        first,
        last,
    )
    assert (n, at, high) == (len(rows), len(data), "é" in text.getvalue())
    for i, row in enumerate(rows):
        assert status[i] in (line_kernel.GOOD, line_kernel.DOUBLED_QUOTE)
        assert (status[i] == line_kernel.DOUBLED_QUOTE) == any('"' in field for field in row)
        for slot, place in enumerate((0, 2)):
            field = data[first[slot, i] : last[slot, i]].tobytes().decode().replace('""', '"')
            assert field == row[place]


numbers = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.text(st.sampled_from("0123456789+-.eE_ xn"), max_size=9),
    st.from_regex(r"\A[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?\Z"),
)


@given(st.lists(numbers, min_size=1))
@example(
    ["1e22", "1e23", "9007199254740993", "0.1", "-0", ".5", "5.", ".", "1e", "1e+", "00000000000000000000000001.5"]
)
@example(["1e99999999999", "123456789012345678901234567890e-30", "1e-400", "nan", "inf", ""])
def test_numbers_are_read_as_python_reads_them(texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    last = np.cumsum([len(text) for text in encoded])
    first = last - [len(text) for text in encoded]
    value, state = np.empty(len(texts)), np.empty(len(texts), dtype=np.uint8)
    data = np.frombuffer(b"".join(encoded) + b" ", dtype=np.uint8).copy()
    line_kernel.read_numbers(data, first, last, value, state)
    for text, number, kind in zip(texts, value.tolist(), state.tolist(), strict=True):
        if kind == line_kernel.NO_NUMBER:
            assert not _is_decimal(text), text
        else:
            assert _is_decimal(text), text
        if kind == line_kernel.NUMBER:
            assert struct.pack("d", number) == struct.pack("d", float(text)), text


def _is_decimal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return all(c in "0123456789+-.eE" for c in text)


# ---- numbering


def texts_of(labels: Sequence[str]) -> Texts:
    encoded = [label.encode() for label in labels]
    last = np.cumsum([len(label) for label in encoded], dtype=np.int64)
    first = last - np.array([len(label) for label in encoded], dtype=np.int64)
    return Texts(np.frombuffer(b"".join(encoded) + b"\0", dtype=np.uint8).copy(), first, last)


small = st.integers(0, 4000).map(str)
integers = st.one_of(small, st.integers(0, 2**64 - 1).map(str))
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.one_of(
    st.tuples(st.just(SmallIntegers), st.lists(st.lists(small))),
    st.tuples(st.just(AnyIntegers), st.lists(st.lists(integers))),
    st.tuples(st.just(AnyTexts), st.lists(st.lists(texts))),
))  # fmt: skip
def test_a_table_numbers_labels_in_their_order(case: tuple[type, list[list[str]]]) -> None:
    kind, batches = case
    table = kind(1 << 17)
    codes = [table.codes(texts_of(batch)) for batch in batches]
    number = table.finish()
    labels = [str(label) for label in table.labels(0, table.count)]
    distinct = {label for batch in batches for label in batch}
    assert labels == sorted(distinct, key=str.encode if kind is AnyTexts else int)
    for batch, given_out in zip(batches, codes, strict=True):
        assert [labels[number[code]] for code in given_out] == batch


@pytest.mark.parametrize("kind", [SmallIntegers, AnyIntegers, AnyTexts])
def test_a_table_takes_many_labels_and_says_when_it_is_full(kind: type) -> None:
    labels = texts_of([str(i) for i in np.random.default_rng(3).permutation(40_000)])
    table = kind(1 << 24)
    codes = table.codes(labels)
    number = table.finish()
    assert table.count == 40_000
    assert sorted(number[codes]) == list(range(40_000))
    with pytest.raises(TooManyLabels):
        kind(1 << 10).codes(labels)


@given(st.one_of(integers, st.text(st.sampled_from("0123456789 +-._e"), max_size=22)))
@example("18446744073709551616")
@example("18446744073709551615")
@example("99999999999999999999")
def test_only_the_shortest_form_of_an_integer_is_one(label: str) -> None:
    table = AnyIntegers(1 << 17)
    if is_integer(label):
        table.codes(texts_of([label]))
        table.finish()
        assert table.labels(0, 1).tolist() == [int(label)]
    else:
        with pytest.raises(NotIntegers):
            table.codes(texts_of([label]))


@given(st.lists(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9)), min_size=1))
def test_every_key_is_picked_at_its_first_coming(batches: list[list[int]]) -> None:
    recent = np.zeros(16, dtype=np.uint64)
    seen: set[int] = set()
    for batch in batches:
        out = np.empty(len(batch), dtype=np.int64)
        picked = out[: label_kernel.pick_unseen(np.array(batch, dtype=np.uint64), recent, out)].tolist()
        assert picked == sorted(picked)
        seen.update(batch[i] for i in picked)
        assert seen >= set(batch)
    before = recent.copy()
    last = int(recent[-1])
    assert label_kernel.pick_unseen(np.array([last] * 3, dtype=np.uint64), recent, np.empty(3, dtype=np.int64)) <= 1
    assert (recent != before).sum() <= 1


def test_texts_too_long_for_the_table_are_too_many() -> None:
    table = AnyTexts(1 << 13)
    table.codes(texts_of(["a" * 5000]))
    with pytest.raises(TooManyLabels):
        table.codes(texts_of(["b" * 5000]))


# ---- working ahead


def test_items_come_in_order_and_some_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            if i == 1:
                second.set()
            yield i

    coming = ahead(items())
    assert next(coming) == 0
    assert second.wait(10), "the next item is made while the first is used"
    assert [0, *coming] == list(range(100))
    assert made == list(range(100))


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(KeyError, match="two"):
        next(coming)


def test_nothing_goes_on_when_the_items_are_no_longer_wanted() -> None:
    before = threading.active_count()
    coming = ahead(itertools.count())
    assert next(coming) == 0
    assert threading.active_count() == before + 1
    coming.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
