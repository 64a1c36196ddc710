"""xarray and dask read the view; zarr and an implementation that is not in Python read what is exported."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray
import zarr

import engramdb
from engramdb import ZarrStore, export_zarr
from engramdb.errors import AlreadyExists, DiskFull, LeafDamaged, NotFound
from engramdb.interchange import zarr as exchange
from engramdb.store import LeafPolicy, Store
from engramdb.store.zarrview.segment import NEURONS_A_CHUNK
from tests.stores import commit, create, neurons, state_change, writing
from tests.wholes import assert_shows, whole

WORM = Path(engramdb.__file__).parent / "data" / "celegans" / "connectome.csv"


@pytest.fixture(scope="module")
def worm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The connectome of a worm, touched and run, with a snapshot of before."""
    path = tmp_path_factory.mktemp("worm") / "worm.engram"
    engramdb.import_edges(WORM, path, where=["kind=chemical"], weight_scale=0.5)
    with engramdb.open(path, "r+") as e:
        e.snapshot("before")
        e.stimulate(["PLML", "PLMR"], amplitude=4.0, duration=100)
        e.run(200)
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More neurons than two chunks hold, a part of them under deltas, with a wide column; and a second segment."""
    path = tmp_path_factory.mktemp("large") / "large.engram"
    ids = np.arange(2 * NEURONS_A_CHUNK + 500, dtype=np.uint64)
    with writing(path, policy=LeafPolicy()) as store:
        made = neurons(ids, degree=9)
        made.state["wide"] = np.random.default_rng(5).normal(size=(ids.size, 3)).astype(np.float16)
        store.write(made)
        few = neurons(np.array([7, 8]) + (1 << 32), degree=2)
        few.state["wide"] = np.zeros((2, 3), np.float16)
        store.write(few)
        commit(store)
        store.write(state_change(ids[100::2000], 3))
        commit(store)
    return path


def test_xarray_opens_a_segment_as_a_dataset(worm: Path) -> None:
    with ZarrStore(worm) as view, Store.open(worm) as store:
        expected = whole(store, 0, 0)
        with xarray.open_zarr(view, group="neurons/0", consolidated=False) as lazy:
            assert lazy.sizes == {"neuron": len(expected["id"]), "neuron+1": len(expected["indptr"]),
                                  "synapse": len(expected["target"])}  # fmt: skip
            assert list(lazy.coords) == ["id"]
            assert lazy.weight.attrs["units"] == "mV"
            assert lazy.attrs["layer"] == "neurons"
            for name, values in expected.items():
                np.testing.assert_array_equal(lazy[name].values, values)
                assert lazy[name].dtype == values.dtype
        with xarray.open_dataset(view, engine="zarr", group="neurons/0", consolidated=False, chunks=None) as eager:
            busiest = eager.spike_count.argmax("neuron")
            assert int(eager.id[busiest]) == expected["id"][expected["spike_count"].argmax()]


def test_dask_reads_chunk_by_chunk_in_several_threads(large: Path) -> None:
    with ZarrStore(large) as view, Store.open(large) as store:
        group = zarr.open_group(view, mode="r")
        expected = whole(store, 0, 0)
        for name, values in expected.items():
            array = dask.array.from_zarr(group[f"first/0/{name}"])
            assert array.numblocks[0] == -(-len(values) // group[f"first/0/{name}"].chunks[0])  # type: ignore[union-attr, operator]
            np.testing.assert_array_equal(array.compute(scheduler="threads"), values)
        with xarray.open_zarr(view, group="first/0", consolidated=False) as lazy:
            assert lazy.chunks["neuron"] == (NEURONS_A_CHUNK, NEURONS_A_CHUNK, 500)
            assert int(lazy.spike_count.sum()) == int(expected["spike_count"].sum())


def test_a_published_engram_is_shown_from_where_it_lies(worm: Path, tmp_path: Path) -> None:
    url = (tmp_path / "there" / "worm.engram").as_uri()
    engramdb.publish(worm, url)
    with ZarrStore(url, at="before") as view, Store.open(worm, at="before") as store:
        assert repr(view) == f"ZarrStore({url!r}, at={store.commit.number})"
        with pickle.loads(pickle.dumps(view)) as copy:
            assert copy == view
            assert_shows(zarr.open_group(copy, mode="r")["neurons/0"], whole(store, 0, 0))
        assert view != ZarrStore(worm, at="before")


# export


def read_by_another(path: Path) -> Any:
    """An array of an exported folder, by TensorStore, which is C++."""
    tensorstore = pytest.importorskip("tensorstore")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(spec, open=True, read=True).result()


def assert_exported(out: Path, expected: dict[str, Any], group: str) -> None:
    exported = zarr.open_group(str(out), mode="r")[group]
    assert isinstance(exported, zarr.Group)
    assert_shows(exported, expected)
    for name, values in expected.items():
        array = read_by_another(out / group / name)
        assert array.shape == values.shape
        assert array.domain.labels[0] == exported[name].metadata.dimension_names[0]  # type: ignore[union-attr, index]
        np.testing.assert_array_equal(np.asarray(array.read().result()).view(values.dtype), values)


@pytest.mark.parametrize("at", [None, "before"])
def test_an_export_is_read_by_zarr_and_by_an_implementation_in_another_language(
    worm: Path, tmp_path: Path, at: str | None
) -> None:
    done = export_zarr(worm, tmp_path / "worm.zarr", at=at)
    with Store.open(worm, at=at) as store:
        expected = whole(store, 0, 0)
        assert_exported(tmp_path / "worm.zarr", expected, "neurons/0")
        assert (done.commit, done.neurons, done.synapses) == (
            store.commit.number, store.commit.neurons, store.commit.synapses
        )  # fmt: skip
    files = [path for path in (tmp_path / "worm.zarr").rglob("*") if path.is_file()]
    assert (done.files, done.nbytes) == (len(files), sum(path.stat().st_size for path in files))
    with ZarrStore(worm, at=at) as view:
        exported, shown = (zarr.open_group(one, mode="r") for one in (str(tmp_path / "worm.zarr"), view))
        for path in ("", "neurons", "neurons/0", "neurons/0/weight", "neurons/0/last_spike"):
            assert dict((exported[path] if path else exported).attrs) == dict((shown[path] if path else shown).attrs)


def test_chunks_of_a_large_array_share_files(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_CHUNKS_WITHOUT_SHARDS", 1)
    monkeypatch.setattr(exchange, "SHARD_BYTES", 16 << 20)
    told: list[tuple[str, int, int | None]] = []
    done = export_zarr(large, tmp_path / "out.zarr", layer="first", progress=lambda *what: told.append(what))
    with Store.open(large) as store:
        for segment in (0, 1):
            assert_exported(tmp_path / "out.zarr", whole(store, 0, segment), f"first/{segment}")
        total = store.commit.neurons
    assert (done.layers, done.neurons) == (("first",), total)
    assert told[-1] == ("neurons", total, total)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    first = tmp_path / "out.zarr" / "first" / "0"
    assert json.loads((first / "id" / "zarr.json").read_text())["codecs"][0]["name"] == "sharding_indexed"
    assert [path.name for path in (first / "id" / "c").iterdir()] == ["0"]
    assert not (tmp_path / "out.zarr" / "second").exists()
    names = [about["name"] for about in zarr.open_group(str(tmp_path / "out.zarr"), mode="r").attrs["layers"]]  # type: ignore[union-attr, index, call-overload]
    assert names == ["first"]


def test_leaves_are_exported_with_codecs_that_every_implementation_has(large: Path, tmp_path: Path) -> None:
    done = export_zarr(large, tmp_path / "out.zarr", leaves=True)
    exported = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")["leaves"]
    assert isinstance(exported, zarr.Group)
    with Store.open(large) as store:
        refs = list(store.directory.leaves())
        assert set(exported.group_keys()) == {str(ref.leaf) for ref in refs}
        assert done.leaves == len(refs)
        whole_ones = [ref for ref in refs if ref.depth == 0]
        assert whole_ones
        assert len(whole_ones) < len(refs)
        for ref in whole_ones[:3]:
            record, _ = store.reader.record(ref)
            for name in record.columns:
                array = read_by_another(tmp_path / "out.zarr" / "leaves" / str(ref.leaf) / name)
                assert np.asarray(array.read().result()).tobytes() == record.column(name).tobytes()


def test_an_engram_of_virtual_neurons_exports_to_empty_arrays(tmp_path: Path) -> None:
    create(tmp_path / "a.engram")
    done = export_zarr(tmp_path / "a.engram", tmp_path / "out.zarr")
    assert (done.neurons, done.synapses) == (0, 0)
    group = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")["first/1"]
    assert group["id"].shape == (0,)
    assert group["indptr"][:].tolist() == [0]


def test_what_cannot_be_exported_leaves_nothing_behind(worm: Path, tmp_path: Path) -> None:
    for options, error, says in (
        ({"layer": "none"}, NotFound, 'no layer "none"'),
        ({"at": "never"}, NotFound, 'no snapshot "never"'),
    ):
        with pytest.raises(error, match=says):
            export_zarr(worm, tmp_path / "out.zarr", **options)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="is not a folder"):
        export_zarr(worm, tmp_path / "nowhere" / "out.zarr")
    (tmp_path / "taken").mkdir()
    with pytest.raises(AlreadyExists, match="exists already"):
        export_zarr(worm, tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(1000), degree=5))
        commit(store)
        *_, ref = store.directory.leaves()
    (pack,) = (tmp_path / "a.engram" / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[ref.offset + ref.length - 9] ^= 1
    pack.write_bytes(content)
    with pytest.raises(LeafDamaged):
        export_zarr(tmp_path / "a.engram", tmp_path / "out.zarr")
    assert sorted(os.listdir(tmp_path)) == ["a.engram"]


@pytest.fixture
def stopped() -> Iterator[Any]:
    """A progress function that raises Ctrl-C when it has been called a few times."""
    calls = []

    def stop(*what: Any) -> None:
        calls.append(what)
        if len(calls) == 3:
            raise KeyboardInterrupt

    yield stop
    assert len(calls) == 3


def test_an_interrupted_export_leaves_nothing_behind(large: Path, tmp_path: Path, stopped: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        export_zarr(large, tmp_path / "out.zarr", progress=stopped)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_said_to_be_one(large: Path, tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow larger
    try:
        with pytest.raises(DiskFull, match="more bytes are needed"):
            export_zarr(large, tmp_path / "out.zarr")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []
