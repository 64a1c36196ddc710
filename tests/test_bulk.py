"""Rows on their way to the store: one layer at a time, in whole leaves, in parts that do not depend on the pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb import Explicit, Layer, Spec, bulk
from engramdb.bulk import in_leaves, rows_of, write_records
from engramdb.growth.bundle import Bundles
from engramdb.interchange.sorter import Edges
from engramdb.store import LeafPolicy, Records, Store
from engramdb.store.records import concatenate
from engramdb.testing import merged, neurons_of
from tests.stores import neurons

_POLICY = LeafPolicy(rows=8, nbytes=1024)


def test_records_are_of_one_layer_and_part_no_row() -> None:
    spec = Spec(layers=[Layer("a", segments=[9]), Layer("b", segments=[9])])
    pre = np.array([1, 1, 2, 1 << 48, 1 << 48], dtype=np.uint64)
    edges = Edges(pre, pre, np.ones(5, dtype=np.float32), np.zeros(5, dtype=np.uint16))
    found = list(rows_of([edges.part(0, 2), edges.part(2, 5)], (), spec))
    assert [records.ids.tolist() for records in found] == [[1], [2], [1 << 48]]
    assert [records.indptr.tolist() for records in found] == [[0, 2], [0, 1], [0, 2]]


@st.composite
def pieces(draw: st.DrawFn) -> list[Records]:
    """Records of two segments with rows of very different lengths, cut anywhere."""
    lengths = draw(st.lists(st.sampled_from([0, 1, 3, 20, 200]), min_size=1, max_size=120))
    split = draw(st.integers(0, len(lengths)))
    made = []
    for number, degree in enumerate(lengths):
        neuron = number if number < split else (1 << 32) + number
        made.append(neurons([neuron], degree=degree, seed=number))
    cuts = sorted(draw(st.sets(st.integers(0, len(lengths)), max_size=10)) | {0, len(lengths)})
    return [concatenate(made[start:stop]) for start, stop in itertools.pairwise(cuts)]


@given(given_=pieces(), part_leaves=st.integers(1, 5))
def test_where_leaves_and_parts_end_depends_on_the_rows_alone(given_: list[Records], part_leaves: int) -> None:
    whole = concatenate(given_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "PART_LEAVES", part_leaves)
        found = list(in_leaves(given_, _POLICY, _nothing))
        once = list(in_leaves([whole], _POLICY, _nothing))
    assert neurons_of(concatenate([records for records, _ in found])) == neurons_of(whole)
    leaves, parts = _ends(whole)
    ends = np.cumsum([len(records) for records, _ in found]).tolist()
    assert set(ends) <= set(leaves), "no leaf is parted"
    expected = [end for number, end in enumerate(leaves, 1) if number % part_leaves == 0]
    for cut in (found, once):
        ends = np.cumsum([len(records) for records, _ in cut]).tolist()
        assert [end for end, (_, ends_part) in zip(ends, cut, strict=True) if ends_part] == expected
    assert parts == 2 or len({int(records.ids[0]) >> 32 for records, _ in found}) == 1


def _nothing(_: int) -> Records:
    return Records.empty()


def _ends(whole: Records) -> tuple[list[int], int]:
    """Where each leaf of ``whole`` ends, if all is written at once; and how many segments there are."""
    second = int(np.searchsorted(whole.ids, np.uint64(1 << 32)))
    parts = [(start, stop) for start, stop in ((0, second), (second, len(whole))) if start < stop]
    ends = []
    for start, stop in parts:
        ends += [start + edge for edge in _POLICY.fill(_POLICY.costs(whole.part(start, stop)))[1:]]
    return ends, len(parts)


@given(given_=pieces())
def test_leaves_on_disk_do_not_depend_on_the_pieces(
    given_: list[Records], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bulk")
    spec = Spec(layers=[Layer("a", segments=[1 << 20, 1 << 20], wiring=Explicit())])
    found = []
    for name, some in (("pieces", given_), ("whole", [concatenate(given_)])):
        path = folder / name
        Store.create(path, spec, Bundles.initial(spec))
        with Store.open(path, "r+", policy=_POLICY, durability="checkpoint") as store:
            write_records(store, some)
            found.append([(ref.low, ref.first, ref.last, ref.rows, ref.synapses) for ref in store.directory.leaves()])
    assert found[0] == found[1]


@given(there=st.integers(0, 9), lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_a_leaf_that_has_room_is_filled_before_the_next_begins(
    there: int, lengths: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bulk") / "net"
    spec = Spec(layers=[Layer("a", segments=[1 << 20], wiring=Explicit())])
    Store.create(path, spec, Bundles.initial(spec))
    before = neurons(range(there))
    ends = [1000 + end for end in np.cumsum([8, *lengths]).tolist()]
    after = [neurons(range(start, stop)) for start, stop in itertools.pairwise([1000, *ends])]
    with Store.open(path, "r+", policy=_POLICY, durability="checkpoint") as store:
        store.write(before)
        write_records(store, after)
        assert merged(store.scan()) == neurons_of(concatenate([before, *after]))
        full = [ref.rows for ref in store.directory.leaves()][:-1]
        assert full == [8] * len(full)
