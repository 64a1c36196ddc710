"""What Zarr shows of a segment is what a scan of the store gives: values, metadata, at every commit, from anywhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

import engramdb
from engramdb import Explicit, Layer, Projection, SmallWorld, Spec, ZarrStore
from engramdb.errors import LeafDamaged
from engramdb.growth.bundle import Bundles
from engramdb.store import GENERATED, LeafPolicy, Records, Store
from engramdb.store.files import OsFiles
from engramdb.store.zarrview.root import Root
from engramdb.store.zarrview.segment import NEURONS_A_CHUNK, SYNAPSES_A_CHUNK
from engramdb.store.zarrview.tree import DOCUMENT, find, keys, keys_of
from tests.stores import commit, neurons, state_change, writing
from tests.wholes import assert_shows, opened, whole, write_changed


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_changed(tmp_path_factory.mktemp("changed") / "changed.engram")


@pytest.mark.parametrize("at", ["first", "second", 4, None])
def test_every_commit_is_shown_as_a_scan_reads_it(changed: Path, at: str | int | None) -> None:
    with ZarrStore(changed, at=at) as view, Store.open(changed, at=at) as store:
        group = opened(view)
        for segment in (0, 1):
            assert_shows(group[f"first/{segment}"], whole(store, 0, segment))
        assert (group.attrs["commit"], group.attrs["tick"]) == (store.commit.number, store.commit.tick)


def test_leaves_under_deltas_are_among_what_is_tested(changed: Path) -> None:
    with Store.open(changed) as store:
        assert {ref.depth for ref in store.directory.leaves()} >= {0, 1, 2}


def test_a_run_and_its_past_are_shown(tmp_path: Path) -> None:
    layers = [
        Layer("exc", index=40000, segments=[200, 100], wiring=SmallWorld(k=6, span=20, weight=(6.0, 9.0))),
        Layer("inh", index=65535, segments=[50]),
    ]
    spec = Spec(seed=3, name="net", layers=layers, projections=[Projection("inh", "exc", Explicit())])
    with engramdb.create(tmp_path / "net.engram", spec) as e:
        e.stimulate(e.resolve(["40000/0/1", "40000/1/5"]), amplitude=30.0, duration=5)
        e.run(20)
        e.snapshot("before")
        e.set_weight("40000/0/1", e.synapses("40000/0/1").targets[0], -2.5)
        e.stimulate("40000/0/7", amplitude=30.0)
        e.run(20)
        present = e.zarr()
        assert present.commit == e.log()[0].number
        for view in (present, e.zarr("before")):
            with view, Store.open(e.location, at=view.commit) as store:
                for segment in (0, 1):
                    shown = opened(view)[f"exc/{segment}"]
                    assert_shows(shown, whole(store, 40000, segment))
                    assert 0 < shown["id"].shape[0] <= shown.attrs["neurons"]
        with e.zarr() as present:
            assert np.any(opened(present)["exc/0/weight"][:] == np.float32(-2.5))
            assert opened(present)["inh/0/id"].shape == (0,)


def test_an_engram_open_to_write_shows_the_present_and_leaves_it_running(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "n.engram", Spec(layers=[Layer("a", segments=[9])])) as e:
        with e.zarr() as view:
            assert opened(view)["a/0/id"].shape == (0,)
            e.stimulate(4, amplitude=30.0)
            e.run(3)
            with e.zarr() as later:
                assert opened(later)["a/0/id"][:].tolist() == [4]
                assert opened(later)["a/0/spike_count"][:].tolist() == [1]
            assert opened(view)["a/0/id"].shape == (0,)
        commits = len(e.log())
        e.zarr().close()
        assert len(e.log()) == commits
    with engramdb.open(tmp_path / "n.engram") as reader, reader.zarr() as view:
        assert view.commit == reader.log()[0].number


def test_segments_larger_than_a_chunk_are_cut_into_chunks_and_the_last_is_filled_up(tmp_path: Path) -> None:
    ids = np.arange(NEURONS_A_CHUNK + 4464, dtype=np.uint64)
    with writing(tmp_path / "a.engram", policy=LeafPolicy()) as store:
        store.write(neurons(ids, degree=16))
        commit(store)
        store.write(state_change(ids[65000:66000], 5))
        commit(store)
    with ZarrStore(tmp_path / "a.engram") as view, Store.open(tmp_path / "a.engram") as store:
        shown = opened(view)["first/0"]
        for name, chunk, length in (
            ("id", NEURONS_A_CHUNK, ids.size), ("spike_count", NEURONS_A_CHUNK, ids.size),
            ("indptr", NEURONS_A_CHUNK, ids.size + 1), ("weight", SYNAPSES_A_CHUNK, 16 * ids.size),
        ):  # fmt: skip
            assert (shown[name].chunks, shown[name].shape) == ((chunk,), (length,))
        expected = whole(store, 0, 0)
        assert_shows(shown, expected)
        for cut in (slice(65530, 65540), slice(65536, None), slice(-1, None), slice(0, 0)):
            np.testing.assert_array_equal(shown["spike_count"][cut], expected["spike_count"][cut])
        last = asyncio.run(view.get("first/0/id/c/1", default_buffer_prototype()))
        assert last is not None
        values = np.frombuffer(last.to_bytes(), np.uint64)
        np.testing.assert_array_equal(values, np.concatenate([ids[NEURONS_A_CHUNK:], np.zeros(61072, np.uint64)]))


@pytest.mark.parametrize("n", [NEURONS_A_CHUNK - 1, NEURONS_A_CHUNK])
def test_the_last_edge_of_the_rows_is_there_wherever_the_last_chunk_ends(tmp_path: Path, n: int) -> None:
    with writing(tmp_path / "a.engram", policy=LeafPolicy()) as store:
        store.write(neurons(np.arange(n), degree=1))
        commit(store)
    with ZarrStore(tmp_path / "a.engram") as view:
        np.testing.assert_array_equal(opened(view)["first/0/indptr"][:], np.arange(n + 1))


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "f2", "f8", "c8", "c16"])
@pytest.mark.parametrize("width", [(), (3,), (2, 5), (0,)])
def test_state_columns_of_any_type_and_width_are_shown(tmp_path: Path, dtype: str, width: tuple[int, ...]) -> None:
    ids = np.arange(0, 4000, 7, dtype=np.uint64)
    size = ids.size * int(np.prod(width)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(1).integers(0, 2 if dtype == "?" else 256, size, np.uint8)
    with writing(tmp_path / "a.engram") as store:
        values = raw.view(dtype).reshape(ids.size, *width)
        store.write(Records.of_state(ids, {"field/of it": values, "id": np.arange(ids.size)}, GENERATED))
        commit(store)
    with ZarrStore(tmp_path / "a.engram") as view:
        shown = opened(view)["first/0"]
        array = shown["field%2Fof%20it"]
        assert array.dtype == np.dtype(dtype)
        assert array.attrs["field"] == "field/of it"
        assert array[:].tobytes() == values.tobytes()
        np.testing.assert_array_equal(shown["%69d"][:], np.arange(ids.size))
        np.testing.assert_array_equal(shown["id"][:], ids)


def test_wide_columns_get_fewer_neurons_a_chunk_and_all_arrays_over_neurons_agree(tmp_path: Path) -> None:
    ids = np.arange(3000, dtype=np.uint64)
    wide = np.random.default_rng(2).normal(size=(3000, 1600)).astype(np.float32)
    with writing(tmp_path / "a.engram", policy=LeafPolicy()) as store:
        store.write(Records.of_state(ids, {"wide": wide, "narrow": np.arange(3000)}, GENERATED))
        commit(store)
    with ZarrStore(tmp_path / "a.engram") as view:
        shown = opened(view)["first/0"]
        assert shown["wide"].chunks == (1024, 1600)
        assert {shown[name].chunks[0] for name in ("id", "row_kind", "narrow", "indptr", "wide")} == {1024}
        np.testing.assert_array_equal(shown["wide"][1000:1100, 7:9], wide[1000:1100, 7:9])


@given(st.data())
def test_a_range_of_a_chunk_is_that_part_of_it(changed: Path, data: st.DataObject) -> None:
    prototype = default_buffer_prototype()
    with ZarrStore(changed) as view:
        key = data.draw(st.sampled_from([*sorted(keys(view._root(), "first/0/")), "leaves/1/weight/c/0"]))
        chunk = asyncio.run(view.get(key, prototype))
        assert chunk is not None
        everything = chunk.to_bytes()
        at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(everything) + 9)] * 2)))
        for request, expected in (
            (RangeByteRequest(at, end), everything[at:end]),
            (OffsetByteRequest(at), everything[at:]),
            (SuffixByteRequest(at), everything[-at:] if at else b""),
        ):
            (part,) = asyncio.run(view.get_partial_values(prototype, [(key, request)]))
            assert part is not None
            assert part.to_bytes() == expected


# what it says about itself


def test_attributes_say_what_and_when_and_how_to_read_it(changed: Path) -> None:
    with ZarrStore(changed, at="second") as view:
        group = opened(view)
        segment = group["first/1"]
        assert {"engram": "changed", "commit": 3, "tick": 2, "dt_ms": 1.0}.items() <= dict(segment.attrs).items()
        assert {"layer": "first", "layer_index": 0, "segment": 1, "model": "lif"}.items() <= dict(segment.attrs).items()
        assert (segment.attrs["neurons"], segment.attrs["stored_neurons"]) == (1 << 32, 500)
        assert "virtual" in str(segment.attrs["virtual"])
        assert "indptr[i + 1]" in str(segment.attrs["join"])
        assert segment["last_spike"].attrs["units"] == "tick"
        assert segment["weight"].attrs["units"] == "mV"
        assert all("description" in array.attrs for _, array in segment.arrays())
        assert {name: array.metadata.dimension_names for name, array in segment.arrays()} == {
            **dict.fromkeys(("id", "row_kind", "spike_count", "last_spike"), ("neuron",)),
            **dict.fromkeys(("target", "weight", "projection"), ("synapse",)),
            "indptr": ("neuron+1",),
        }
        assert Spec.from_document(group.attrs["spec"]).layers[0].name == "first"
        assert group.attrs["projections"][0]["name"] == "first->first"  # type: ignore[index, call-overload]


def test_a_virtual_neuron_does_not_appear_and_a_generated_row_is_empty(changed: Path) -> None:
    with ZarrStore(changed) as view:
        shown = opened(view)["first/0"]
        ids, kinds, lengths = shown["id"][:], shown["row_kind"][:], np.diff(shown["indptr"][:])
        assert 5 not in ids
        assert set(kinds[np.isin(ids, [900, 901, 904])]) == {GENERATED}
        assert set(lengths[kinds == GENERATED]) == {0}
        assert shown["row_kind"].attrs["flag_meanings"] == "stored generated"


ODD = [
    "leaves", "Leaves", "zarr.json", ".", "..", "__x", "a b", "é", "É", "A", "a", "c", "%41", " ", "back\\slash", "x:*?"
]  # fmt: skip


def test_layers_of_any_name_have_keys_that_differ_also_where_case_does_not_count(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer(name, segments=[3]) for name in ODD if name.strip()])
    Store.create(tmp_path / "odd.engram", spec, Bundles.initial(spec))
    with ZarrStore(tmp_path / "odd.engram") as view:
        group = opened(view)
        shown = [key for key in group.group_keys() if key != "leaves"]
        assert {group[key].attrs["layer"] for key in shown} == {layer.name for layer in spec.layers}
        assert len({key.lower() for key in [*shown, "leaves", DOCUMENT]}) == len(spec.layers) + 2
        assert {about["group"]: about["name"] for about in group.attrs["layers"]} == {  # type: ignore[union-attr, index, call-overload]
            key: group[key].attrs["layer"] for key in shown
        }


@given(st.lists(st.text(max_size=6) | st.sampled_from(ODD), unique=True, max_size=12))
def test_keys_of_names_are_valid_and_tell_the_names_apart(names: list[str]) -> None:
    found = keys_of(names, ("leaves",))
    assert list(found.values()) == names
    assert len({key.lower() for key in found}) == len(names)
    for key in found:
        assert key
        assert key.strip(".")
        assert key.isascii()
        assert not set(key) & set("/\\ :*?")
        assert not key.startswith("__")
        assert key.lower() not in ("leaves", DOCUMENT)


# damage, and what reading costs


def test_a_damaged_leaf_is_an_error_and_never_a_fill_value(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(100), degree=5))
        commit(store)
        (ref, *_) = store.directory.leaves()
    (pack,) = (tmp_path / "a.engram" / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[ref.offset + ref.length - 9] ^= 1  # weights are last
    pack.write_bytes(content)
    with ZarrStore(tmp_path / "a.engram") as view:
        group = opened(view)
        for array in (group["first/0/weight"], group[f"leaves/{ref.leaf}/weight"]):
            with pytest.raises(LeafDamaged, match="weight fails its checksum; no snapshot has a good copy"):
                array[:]
        assert group["first/0/id"][:].tolist() == list(range(100))


class Reads(OsFiles):
    """The real file system, counting reads."""

    def __init__(self) -> None:
        self.number = 0

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        self.number += 1
        return super().pread(handle, nbytes, offset)


def test_metadata_and_listings_read_one_leaf_a_segment_and_a_range_only_its_own(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(16 * 200), degree=5))
        commit(store)
    files = Reads()
    with Store.open(tmp_path / "a.engram", files=files, cache_bytes=0) as store:
        root = Root(store)
        documents = [find(root, f"first/0/{name}/zarr.json") for name in ("id", "weight", "spike_count", "indptr")]
        assert [json.loads(d.read(0, d.nbytes))["shape"] for d in documents if d is not None] == [
            [3200], [16000], [3200], [3201]
        ]  # fmt: skip
        assert len(list(root.leaves.names())) == 200
        groups, arrays, chunks, of_the_empty_segment = 3, 8, 8, 6 + 1
        assert sum(1 for _ in keys(root, "first/")) == groups + arrays + chunks + of_the_empty_segment
        assert files.number <= 2
        files.number = 0
        weights = find(root, "first/0/weight/c/0")
        assert weights is not None
        assert weights.nbytes == 64000
        assert files.number == 0
        weights.read(4 * 80 * 7, 4 * 80 * 9)
        assert files.number == 2
