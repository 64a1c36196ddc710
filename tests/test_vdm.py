"""Engrams of the Prometheus VDM runtime: in, run, out, and loaded there."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import engramdb
from engramdb import Layer, SmallWorld, Spec
from engramdb.errors import AlreadyExists, InvalidInput, NotFound
from engramdb.interchange.vdm import FIELDS
from engramdb.store import Store

SUFFIXES = pytest.mark.parametrize("suffix", [".h5", ".npz"])
META = {"k": 12, "threshold": 0.15, "lambda_omega": 0.1}
ADC = json.dumps({"id_seq": 4, "territories": [{"key": ["α", 2], "id": 3, "mass": 1.5}], "boundaries": []})


class Connectome:
    """What the runtime holds: W, and neighbour lists or A and E."""

    def __init__(self, w: np.ndarray, adj: list[np.ndarray] | None = None, a: Any = None, e: Any = None) -> None:
        self.W, self.adj, self.A, self.E = w, adj, a, e
        self.meta: dict[str, float] = {}


def some(n: int = 60, seed: int = 1, dense: bool = False) -> Connectome:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=n).astype(np.float32)
    if dense:
        a = (rng.random((n, n)) < 0.1).astype(np.int8)
        return Connectome(w, a=a, e=(rng.random((n, n)) * a).astype(np.float32))
    return Connectome(w, [rng.permutation(n)[: rng.integers(0, 9)].astype(np.int32) for _ in range(n)])


def save(path: Path, connectome: Connectome, adc: str | None = None) -> Path:
    """As the runtime saves it."""
    meta = {"backend": "dense" if connectome.adj is None else "sparse", "N": len(connectome.W), **META}
    if connectome.adj is None:
        arrays = {"W": connectome.W, "A": connectome.A, "E": connectome.E}
    else:
        row_ptr = np.cumsum([0, *map(len, connectome.adj)]).astype(np.int64)
        arrays = {"W": connectome.W, "row_ptr": row_ptr, "col_idx": np.concatenate(connectome.adj).astype(np.int32)}
    if path.suffix == ".npz":
        np.savez_compressed(path, **meta, **arrays)
        return path
    with h5py.File(path, "w") as file:
        file.attrs.update({**meta, "dtype": "float32"})
        for name, values in arrays.items():
            file.create_dataset(f"{meta['backend']}/{name}", data=values, compression="gzip")
        if adc is not None:
            file.create_dataset("adc_json", data=adc, dtype=h5py.string_dtype("utf-8"))
    return path


def load(path: Path) -> Connectome:
    """As the runtime loads it: the checks of its strictest version."""
    if path.suffix == ".npz":
        data = np.load(path, allow_pickle=False)
        backend, meta, arrays = str(data["backend"]), dict(data), dict(data)
    else:
        with h5py.File(path) as file:
            backend, meta = file.attrs["backend"], dict(file.attrs)
            arrays = {name: values[...] for name, values in file[backend].items()}
            if backend == "sparse":
                json.loads(file["adc_json"][()])
    n = int(meta["N"])
    found = Connectome(arrays["W"].astype(np.float32, copy=False))
    assert found.W.shape == (n,)
    if backend == "dense":
        found.A, found.E = arrays["A"].astype(np.int8, copy=False), arrays["E"].astype(np.float32, copy=False)
    else:
        bounds = arrays["row_ptr"]
        found.adj = [arrays["col_idx"][bounds[i] : bounds[i + 1]].astype(np.int32) for i in range(n)]
    found.meta = {name: float(meta[name]) for name in META}
    return found


def assert_same(one: Connectome, other: Connectome) -> None:
    np.testing.assert_array_equal(one.W.view(np.uint32), other.W.view(np.uint32))
    assert (one.adj is None) == (other.adj is None)
    if one.adj is not None:
        assert [row.tolist() for row in one.adj] == [row.tolist() for row in other.adj]
    else:
        np.testing.assert_array_equal(one.A, other.A)
        np.testing.assert_array_equal(one.E.view(np.uint32), other.E.view(np.uint32))


@SUFFIXES
@pytest.mark.parametrize("dense", [False, True])
def test_what_the_runtime_saved_it_loads_again(tmp_path: Path, suffix: str, dense: bool) -> None:
    before = some(dense=dense)
    source = save(tmp_path / f"state_400{suffix}", before)
    done = engramdb.import_vdm(source, tmp_path / "a.engram")
    engramdb.export_vdm(tmp_path / "a.engram", tmp_path / f"state_401{suffix}")
    after = load(tmp_path / f"state_401{suffix}")
    assert_same(before, after)
    assert after.meta == pytest.approx(META)
    assert done.synapses == (int(before.A.sum()) if dense else sum(map(len, before.adj or ())))
    with engramdb.open(tmp_path / "a.engram") as e:
        assert e.tick == 400


def test_the_cartographer_s_state_is_kept_word_for_word(tmp_path: Path) -> None:
    engramdb.import_vdm(save(tmp_path / "state_7.h5", some(), ADC), tmp_path / "a.engram")
    engramdb.export_vdm(tmp_path / "a.engram", tmp_path / "state_8.h5")
    with h5py.File(tmp_path / "state_8.h5") as file:
        assert file["adc_json"][()].decode() == ADC


@given(
    w=hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    seed=st.integers(0, 99),
    dense=st.booleans(),
    suffix=st.sampled_from([".h5", ".npz"]),
    to=st.sampled_from([".h5", ".npz"]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_connectome_comes_back(
    tmp_path_factory: pytest.TempPathFactory, w: np.ndarray, seed: int, dense: bool, suffix: str, to: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    before = some(len(w), seed, dense)
    before.W = w
    engramdb.import_vdm(save(folder / f"in{suffix}", before), folder / "a.engram")
    engramdb.export_vdm(folder / "a.engram", folder / f"out{to}")
    assert_same(before, load(folder / f"out{to}"))


def test_w_stays_with_its_neurons_while_the_engram_lives(tmp_path: Path) -> None:
    """Runs, changes, new neurons, forgotten ones, deltas and compaction leave the column alone."""
    before = some(200)
    path = tmp_path / "a.engram"
    engramdb.import_vdm(save(tmp_path / "state_0.h5", before), path)
    with engramdb.open(path, "r+") as e:
        e.stimulate(range(100), 30.0, duration=3)
        e.run(10)
        e.connect([5, 6], [7, 8], 1.0)
        e.grow("vdm", 20)
        e.stimulate(range(195, 215), 30.0, duration=2)
        e.run(5)
        e.checkpoint()
        e.compact()
        assert e.verify().ok
        e.forget(range(200, 210))
    engramdb.export_vdm(path, tmp_path / "state_15.h5")
    after = load(tmp_path / "state_15.h5")
    np.testing.assert_array_equal(after.W, np.concatenate([before.W, np.zeros(20, np.float32)]))
    assert after.adj is not None
    assert set(after.adj[5].tolist()) == {*before.adj[5].tolist(), 7}  # type: ignore[index]
    with Store.open(path) as store:
        assert all(FIELDS[0] in records.state for records in store.scan())


def test_values_of_e_without_a_synapse_are_left_and_told(tmp_path: Path) -> None:
    before = some(dense=True)
    before.E[before.A == 0] = 0.5
    done = engramdb.import_vdm(save(tmp_path / "a.npz", before), tmp_path / "a.engram")
    assert done.notes[1:] == (
        f"{int((before.A == 0).sum()):,} values of E lie where A joins no pair, and were left behind",
    )


def test_a_neuron_without_w_is_no_vdm_neuron(tmp_path: Path) -> None:
    engramdb.create(
        tmp_path / "a.engram", Spec(layers=[Layer("a", segments=[99], wiring=SmallWorld(k=2, span=5))])
    ).close()
    with pytest.raises(InvalidInput, match="have no W"):
        engramdb.export_vdm(tmp_path / "a.engram", tmp_path / "state_1.h5")
    with pytest.raises(InvalidInput, match=r"ends in \.h5 or \.npz"):
        engramdb.export_vdm(tmp_path / "a.engram", tmp_path / "state_1.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.engram"]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"row_ptr": np.array([0, 2, 1, 3])}, "decreases"),
        ({"row_ptr": np.array([1, 1, 1, 3])}, "begins with 1"),
        ({"row_ptr": np.array([0, 3])}, "row_ptr has shape"),
        ({"col_idx": np.array([0, 1, 3])}, "outside 0..2"),
        ({"N": 7}, "N is 7"),
        ({"row_ptr": np.array([0, 1, 2, 9])}, "passes the end"),
    ],
)
@SUFFIXES
def test_what_does_not_fit_together_is_refused(tmp_path: Path, broken: dict[str, Any], words: str, suffix: str) -> None:
    arrays = {"W": np.zeros(3, np.float32), "row_ptr": np.array([0, 1, 2, 3]), "col_idx": np.array([1, 2, 0]), **broken}
    n = arrays.pop("N", 3)
    if suffix == ".npz":
        np.savez(tmp_path / "a.npz", N=n, backend="sparse", **arrays)
    else:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.attrs["N"] = n
            for name, values in arrays.items():
                file[f"sparse/{name}"] = values
    with pytest.raises(InvalidInput, match=words):
        engramdb.import_vdm(tmp_path / f"a{suffix}", tmp_path / "a.engram")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_what_is_no_vdm_engram_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        engramdb.import_vdm(tmp_path / "a.h5", tmp_path / "a.engram")
    for name in ("a.h5", "a.npz"):
        (tmp_path / name).write_bytes(b"nothing at all")
        with pytest.raises(InvalidInput, match="no readable VDM engram"):
            engramdb.import_vdm(tmp_path / name, tmp_path / "a.engram")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InvalidInput, match="no group sparse or dense"):
        engramdb.import_vdm(tmp_path / "b.h5", tmp_path / "a.engram")
    save(tmp_path / "c.h5", some())
    (tmp_path / "a.engram").mkdir()
    with pytest.raises(AlreadyExists):
        engramdb.import_vdm(tmp_path / "c.h5", tmp_path / "a.engram")


@SUFFIXES
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    n, k = 120_000, 12
    rng = np.random.default_rng(0)
    adj = list(rng.integers(0, n, (n, k)).astype(np.int32))
    source = save(tmp_path / f"state_1{suffix}", Connectome(rng.normal(size=n).astype(np.float32), adj))
    del adj
    tracemalloc.start()
    try:
        engramdb.import_vdm(source, tmp_path / "a.engram")
        engramdb.export_vdm(tmp_path / "a.engram", tmp_path / f"state_2{suffix}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n * k * 14 * 2  # bytes of the synapses, as they are read and as they are written


@SUFFIXES
def test_w_within_its_range_is_the_field_of_a_void_layer(tmp_path: Path, suffix: str) -> None:
    before = some()
    before.W = np.random.default_rng(3).random(len(before.W)).astype(np.float32)
    before.W[:2] = 0, 1
    engramdb.import_vdm(save(tmp_path / f"state_400{suffix}", before), tmp_path / "a.engram")
    engramdb.export_vdm(tmp_path / "a.engram", tmp_path / f"state_401{suffix}")
    assert_same(before, load(tmp_path / f"state_401{suffix}"))
    with engramdb.open(tmp_path / "a.engram", "r+") as e:
        assert e.spec.layers[0].model == "void"
        found = e.neurons(range(len(before.W))).fields
        assert np.array_equal(found["W"], before.W)
        assert np.array_equal(found["prev_W"], before.W)
        assert not found["mu"].any()
        e.stimulate(range(20), 1.0)
        e.run(5)
        now = e.neurons(range(len(before.W))).fields["W"]
    assert not np.array_equal(now, before.W)
    engramdb.export_vdm(tmp_path / "a.engram", tmp_path / f"state_405{suffix}")
    assert np.array_equal(load(tmp_path / f"state_405{suffix}").W, now)


def test_a_void_layer_of_any_origin_goes_out_as_it_is(tmp_path: Path) -> None:
    layer = Layer("v", model="void", segments=[100], wiring=SmallWorld(k=4, span=5), params={"w_init": (0.2, 0.8)})
    with engramdb.create(tmp_path / "v.engram", Spec(seed=2, layers=[layer])) as e:
        e.stimulate(range(40, 50), 1.0)
        e.run(3)
        expected = e.neurons(range(100)).fields["W"]
    engramdb.export_vdm(tmp_path / "v.engram", tmp_path / "state_3.h5")
    with h5py.File(tmp_path / "state_3.h5") as found:
        assert np.array_equal(found["sparse/W"][:], expected)
