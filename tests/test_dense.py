"""Receptive vectors: currents and learning bit for bit as they are written, whatever the memory and the threads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import FixedOutdegree, Layer, Normal, Projection, Spec
from engramdb.cli import main
from engramdb.errors import BudgetExceeded, InvalidInput, InvalidSpec, NotFound
from engramdb.kernels import dense, rng
from engramdb.store import Store
from tests.voidtwin import hash_of, hash_step

F = np.float32
TYPES = ("float32", "float16", "int8")
STEP = 0.01


# NumPy twins


def added_up(terms: np.ndarray) -> np.ndarray:
    """The sum of each row of float32 ``terms``, (n, D), in 32 lanes and then a tree."""
    rows = -(-terms.shape[1] // 32)
    lanes = np.zeros((len(terms), rows * 32), F)
    lanes[:, : terms.shape[1]] = terms
    total = np.zeros((len(terms), 32), F)
    for r in range(rows):
        total = total + lanes[:, 32 * r : 32 * r + 32]
    while total.shape[1] > 1:
        half = total.shape[1] // 2
        total = total[:, :half] + total[:, half:]
    return total[:, 0]


def forward_twin(w: np.ndarray, x: np.ndarray, step: float = 1.0) -> np.ndarray:
    return F(step) * added_up(w.astype(F) * x.astype(F))


def learn_twin(w: np.ndarray, factor: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """New vectors of the type of ``w``, and the lengths of the changes."""
    wanted = w.astype(F) + factor[:, None] * x
    if w.dtype == np.float16:
        wanted = np.clip(wanted, F(-65504), F(65504))
    after = wanted.astype(w.dtype)
    change = after.astype(F) - w.astype(F)
    return after, np.sqrt(added_up(change * change))


def learn_int8_twin(
    w: np.ndarray, ids: np.ndarray, factor: np.ndarray, x: np.ndarray, seed: int, update: int
) -> np.ndarray:
    after = w.copy()
    for i, neuron in enumerate(ids.tolist()):
        drawn = hash_of(seed, neuron, update, int(rng.RECEPTIVE_ROUNDING))
        for j in np.flatnonzero(x):
            unit = (hash_step(drawn, int(j)) >> 11) * 2.0**-53
            wanted = float(w[i, j]) + float(factor[i] * x[j]) / STEP
            after[i, j] = min(max(np.floor(wanted + unit), -127), 127)
    return after


def bits(w: np.ndarray) -> np.ndarray:
    return w.view(np.uint16) if w.dtype == np.float16 else w


@given(st.integers(1, 100), st.sampled_from(TYPES), st.integers(0, 99))
def test_currents_are_added_up_in_lanes(dimension: int, kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    w = (random.normal(0, 40, (7, dimension))).astype(kind)
    x = random.normal(0, 2, (3, dimension)).astype(F)
    out = np.zeros((3, 7), F)
    dense.forward(bits(w), x, F(0.5), 1, 6, out)
    for k in range(3):
        np.testing.assert_array_equal(out[k, 1:6], forward_twin(w[1:6], x[k], 0.5))
    assert not out[:, [0, 6]].any()


@given(
    st.integers(1, 100), st.sampled_from(["float32", "float16"]), st.sampled_from([1e-3, 1.0, 1e5]), st.integers(0, 99)
)
def test_learning_adds_the_input_and_says_how_far_it_moved(dimension: int, kind: str, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    w = random.normal(0, 1, (9, dimension)).astype(kind)
    x = random.normal(0, 1, (1, dimension)).astype(F)
    rows = random.permutation(9)[:5]
    factor = random.normal(0, scale, 5).astype(F)
    expected, lengths = learn_twin(w[rows], factor, x[0])
    left = np.setdiff1d(np.arange(9), rows)
    before, norm = w.copy(), np.zeros(5, F)
    dense.learn(bits(w), rows, factor, x, 0, 5, norm)
    np.testing.assert_array_equal(w[rows], expected)
    np.testing.assert_array_equal(norm, lengths)
    np.testing.assert_array_equal(w[left], before[left])


@given(st.integers(1, 150), st.sampled_from([1e-3, 1.0, 1e5]), st.sampled_from([0.0, 0.05, 1.0]), st.integers(0, 99))
def test_learning_where_an_input_shows_leaves_the_rest(dimension: int, scale: float, shown: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    w = random.normal(0, 1, (9, dimension)).astype(np.float16)
    w[:, ::7] = -0.0
    x = (random.normal(0, 1, (1, dimension)) * (random.random(dimension) < shown)).astype(F)
    rows, factor = random.permutation(9)[:5], random.normal(0, scale, 5).astype(F)
    after, lengths = learn_twin(w[rows], factor, x[0])
    expected, norm = w.copy(), np.zeros(5, F)
    expected[rows] = np.where(x != 0, after, w[rows])
    blocks, n = np.empty((4, dimension // 32), np.int64), np.empty(4, np.int64)
    whole = x[0, : dimension // 32 * 32].reshape(-1, 8).any(axis=1)
    assert dense.blocks_shown(x, blocks, n) == whole.sum()
    dense.learn_where(bits(w), rows, factor, x, blocks, n, 0, 5, norm)
    np.testing.assert_array_equal(w.view(np.uint16), expected.view(np.uint16))  # the signs of zeros too
    np.testing.assert_array_equal(norm, lengths)


@given(st.integers(1, 40), st.integers(0, 2**64 - 1), st.integers(0, 5))
def test_int8_weights_are_rounded_by_the_chance_of_seed_id_and_place(dimension: int, seed: int, update: int) -> None:
    random = np.random.default_rng(dimension)
    w = random.integers(-127, 128, (6, dimension)).astype(np.int8)
    ids = np.arange(100, 106, dtype=np.uint64)
    x = (random.normal(0, 1, (1, dimension)) * (random.random(dimension) < 0.7)).astype(F)
    factor, rows, norm = random.normal(0, 0.05, 4).astype(F), np.array([5, 0, 3, 2]), np.zeros(4, F)
    expected = learn_int8_twin(w[rows], ids[rows], factor, x[0], seed, update)
    before = w.copy()
    dense.learn_int8(
        w, ids, rows, factor, STEP, x, np.uint64(seed), np.uint64(update), rng.RECEPTIVE_ROUNDING, 0, 4, norm
    )
    np.testing.assert_array_equal(w[rows], expected)
    moved = np.linalg.norm((expected.astype(float) - before[rows]) * STEP, axis=1)
    np.testing.assert_allclose(norm, moved, rtol=1e-5, atol=1e-7)


def test_what_int8_weights_learn_is_right_on_average() -> None:
    w, n = np.zeros((2000, 4), np.int8), 2000
    x, norm = np.ones((1, 4), F), np.zeros(n, F)
    for update in range(30):
        dense.learn_int8(
            w, np.arange(n, dtype=np.uint64), np.arange(n), np.full(n, 0.1 * STEP, F), STEP, x, np.uint64(1),
            np.uint64(update), rng.RECEPTIVE_ROUNDING, 0, n, norm,
        )  # fmt: skip
    assert w.mean() == pytest.approx(3.0, abs=0.06)  # rounded to the nearest it would still be 0


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 99))
def test_sparse_vectors_have_distinct_places_and_only_those_count(dimension: int, width: int, seed: int) -> None:
    width = min(width, dimension)
    random = np.random.default_rng(seed)
    ids = random.integers(0, 2**63, 5, dtype=np.uint64)
    at = np.zeros((5, width), np.int64)
    dense.places(ids, np.uint64(seed), rng.RECEPTIVE_PLACE, dimension, at)
    assert (np.diff(at, axis=1) > 0).all()
    assert 0 <= at.min() <= at.max() < dimension
    w, x, out = (
        random.normal(size=(5, width)).astype(F),
        random.normal(size=(2, dimension)).astype(F),
        np.zeros((2, 5), F),
    )
    dense.forward_sparse(w, ids, x, np.uint64(seed), rng.RECEPTIVE_PLACE, dimension, 0, 5, out)
    for k in range(2):
        expected = np.zeros(5, F)
        for s in range(width):
            expected = expected + w[:, s] * x[k, at[:, s]]
        np.testing.assert_array_equal(out[k], expected)
    factor, norm, before = random.normal(size=5).astype(F), np.zeros(5, F), w.copy()
    dense.learn_sparse(w, ids, np.arange(5), factor, x[:1], np.uint64(seed), rng.RECEPTIVE_PLACE, dimension, 0, 5, norm)
    np.testing.assert_array_equal(w, before + factor[:, None] * x[0, at])
    np.testing.assert_allclose(norm, np.linalg.norm((w - before).astype(float), axis=1), rtol=1e-5, atol=1e-6)


# layers


def dense_layer(kind: str = "float32", neurons: int = 300, dimension: int = 40, **more: object) -> Layer:
    params = {"dimension": dimension, **more.pop("params", {})}  # type: ignore[arg-type]
    steps = {"weight_step": STEP} if kind == "int8" else {}
    return Layer("dense", model="dense_lif", segments=[neurons], weights=kind, params=params, **steps, **more)


@pytest.mark.parametrize("kind", TYPES)
def test_a_forward_is_a_tick_of_lif_neurons_with_these_currents(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(1)
    with engramdb.create(tmp_path / "d.engram", Spec(seed=4, layers=[dense_layer(kind)])) as e:
        layer, ids = e.layer("dense"), np.arange(0, 300, 2)
        assert e.activate(ids, w=Normal(0.1, 0.2)) == 150
        w = layer.vectors(ids)
        u, left = np.zeros(150, F), np.zeros(150, np.int64)
        decay = F(np.exp(-1 / 20))
        for _ in range(25):
            x = (random.random(40) < 0.5).astype(F)
            shown = layer.forward(x)
            stored = np.rint(w / STEP).astype(np.int8) if kind == "int8" else w
            current = forward_twin(stored, x, STEP if kind == "int8" else 1.0)
            np.testing.assert_array_equal(shown.currents, current[current != 0])
            np.testing.assert_array_equal(shown.ids, ids[current != 0])
            incoming = (np.rint(current.astype(float) * 2**32) / 2**32).astype(F)
            free = left == 0
            u = np.where(free, u * decay + incoming, u)
            fires = free & (u >= 15)
            left = np.where(fires, 2, np.maximum(left - 1, 0))
            u = np.where(fires, F(0), u)
            np.testing.assert_array_equal(shown.fired, ids[fires])
            error = random.normal(0, 1, len(shown.fired)).astype(F)
            learned = layer.backward(x, error, eta=0.1)
            np.testing.assert_array_equal(learned.ids, shown.fired)
            if kind != "int8":
                typed, lengths = learn_twin(w[fires].astype(kind), F(0.1) * error, x)
                w[fires] = typed
                np.testing.assert_array_equal(learned.norms, lengths)
                np.testing.assert_array_equal(layer.vectors(ids), w)
            w = layer.vectors(ids)
        assert e.tick == 25
        assert len(learned.ids) == 0 or learned.mean <= learned.p95 * 1.5
        assert int(e.neurons(ids).fields["spike_count"].sum()) > 100


def test_many_inputs_at_once_are_as_one_by_one(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    inputs = (random.random((8, 40)) < 0.6).astype(F)
    seen = []
    for together in (True, False):
        with engramdb.create(tmp_path / f"{together}.engram", Spec(seed=4, layers=[dense_layer()])) as e:
            e.activate(range(300), w=(0.0, 0.6))
            layer = e.layer("dense")
            if together:
                shown = layer.forward(inputs, ticks=2)
                currents, spikes = shown.currents, shown.spikes
            else:
                parts = [layer.forward(inputs[k // 2]) for k in range(16)]
                currents = np.stack([parts[2 * k].currents for k in range(8)])
                spikes = tuple(np.concatenate(column) for column in zip(*(p.spikes for p in parts), strict=True))
            seen.append((currents.tolist(), [column.tolist() for column in spikes], e.tick))
            seen[-1] += (layer.forward(inputs[0]).fired.tolist(),)
    assert seen[0] == seen[1]
    assert len(seen[0][1][0]) > 50


def lived(path: Path, kind: str, memory: int, threads: int, cut: str) -> dict[str, object]:
    """A story of a dense layer that others drive; how it ends. Its vectors take 48 kB as float32."""
    layers = [
        Layer("cells", segments=[60]),
        dense_layer(kind, 400, params={"eta": 0.02, "density": 0.1 if kind == "sparse" else 1.0})
        if kind != "sparse"
        else dense_layer("float32", 400, 400, params={"density": 0.1}),
    ]
    spec = Spec(seed=11, layers=layers, projections=[
        Projection("cells", "dense", FixedOutdegree(k=4), weight=6.0),
        Projection("dense", "cells", FixedOutdegree(k=3), weight=1.0 if kind == "int8" else 8.0),
    ])  # fmt: skip
    dimension = 400 if kind == "sparse" else 40
    random = np.random.default_rng(7)
    e = engramdb.create(path, spec, memory=memory, threads=threads)
    seen: list[object] = [e.activate([f"1/0/{i}" for i in range(0, 300)], w=(0.0, 0.8))]
    for round_ in range(5):
        e.stimulate(range(30), 9.0, duration=4)
        seen.append(e.run(3).counts.tolist())
        for _ in range(3):
            x = (random.random(dimension) < 0.5).astype(F)
            shown = e.layer("dense").forward(x)
            seen.append((shown.ids.tolist(), shown.currents.tolist(), shown.fired.tolist()))
            error = random.normal(0, 1, 400).astype(F)
            learned = e.layer("dense").backward(x, error, ids=[f"1/0/{i}" for i in range(400)])
            seen.append(learned.norms.tolist())
        if round_ == 1:
            e.activate([f"1/0/{i}" for i in range(290, 320)], w=0.3)
            e.connect("1/0/3", "0/0/5", 1.2)
        if round_ == 2:
            seen.append(e.forget([f"1/0/{i}" for i in range(400)]))
        if cut == "crash":
            shutil.copytree(path, path.with_name(f"{path.name}{round_}"))
            e.close()
            path = path.with_name(f"{path.name}{round_}")
        if cut == "close":
            e.close()
        if cut in ("crash", "close"):
            e = engramdb.open(path, "r+", memory=memory, threads=threads)
        if cut == "restore":
            e.snapshot(f"s{round_}")
            e.layer("dense").forward(np.ones(dimension))
            e.layer("dense").backward(np.ones(dimension), -3.0)
            e.restore(f"s{round_}")
        if cut == "behind":
            e.checkpoint(wait=False)
        # who fired before is known after any of these
        seen.append(e.layer("dense").backward(np.full(dimension, 0.5), 0.1).ids.tolist())
    ids = [f"1/0/{i}" for i in range(400)]
    found = e.neurons(ids)
    last = {name: found.fields[name].tobytes() for name in ("u", "refractory", "spike_count", "last_spike", "w")}
    vectors = e.layer("dense").vectors(ids).tobytes()
    streamed = e._live.receptive["dense"]._evicted or e._live.receptive["dense"]._resident is None
    e.close()
    assert engramdb.verify(path).problems == []
    with engramdb.open(path) as reader:
        assert reader.neurons(ids).fields["w"].tobytes() == last["w"]
        assert reader.layer("dense").vectors(ids).tobytes() == vectors
    return {"seen": seen, "last": last, "vectors": vectors, "tick": e.tick, "streamed": streamed}


@pytest.mark.parametrize("kind", [*TYPES, "sparse"])
def test_a_dense_layer_never_depends_on_memory_threads_or_how_it_is_cut(tmp_path: Path, kind: str) -> None:
    whole = lived(tmp_path / "whole", kind, 1 << 28, 1, "")
    assert not whole.pop("streamed")
    ways = [(90_000, 1, ""), (1 << 28, 3, "close"), (90_000, 2, "crash"), (1 << 28, 1, "restore"),
            (1 << 28, 2, "behind"), (1 << 28, 1, "crash")]  # fmt: skip
    for number, (memory, threads, cut) in enumerate(ways if kind == "float32" else [ways[0], ways[5], ways[3]]):
        way = lived(tmp_path / f"way{number}", kind, memory, threads, cut)
        assert way.pop("streamed") == (memory == 90_000 and kind in ("float32", "sparse"))
        for name, value in whole.items():
            assert way[name] == value, (name, memory, threads, cut)


def test_a_virtual_neurons_vector_is_zero_and_never_computed(tmp_path: Path) -> None:
    layers = [Layer("dense", model="dense_lif", segments=[4_000_000_000] * 25)]
    with engramdb.create(tmp_path / "d.engram", Spec(layers=layers), memory="32MiB") as e:
        layer = e.layer("dense")
        assert len(layer) == 100_000_000_000
        assert len(layer.forward(np.ones(768)).ids) == 0
        far = ["0/24/3999999999", "0/3/17"]
        assert e.activate(far, w=0.05) == 2
        assert e.activate(far) == 0
        assert layer.forward(np.ones(768)).fired.tolist() == sorted(e.resolve(far).tolist())
        assert not layer.vectors("0/0/0").any()
        # one that fires by another's doing learns from nothing
        e.stimulate("0/9/9", 20.0)
        e.run(1)
        assert layer.backward(np.ones(768), 2.0, eta=0.5).ids.tolist() == e.resolve("0/9/9").tolist()
        assert layer.vectors("0/9/9").tolist() == [[1.0] * 768]
        assert e.stats()["kept_bytes"] < 20_000
    assert sum(f.stat().st_size for f in (tmp_path / "d.engram").rglob("*") if f.is_file()) < 1 << 20


def test_wide_vectors_make_leaves_of_about_a_megabyte_that_split_and_join(tmp_path: Path) -> None:
    path = tmp_path / "d.engram"
    with engramdb.create(path, Spec(layers=[dense_layer(neurons=4000, dimension=768)])) as e:
        e.activate(range(0, 4000, 2), w=(-0.1, 0.1))  # 6 MB, beyond what the journal takes: in it is only the command
        e.activate(range(1, 4000, 4), w=np.random.default_rng(0).normal(size=(1000, 768)))
    with Store.open(path) as store:
        sizes = [ref.rows * 768 * 4 for ref in store.directory.leaves(0)]
        assert sum(ref.rows for ref in store.directory.leaves(0)) == 3000
    assert max(sizes) <= 1 << 20
    assert np.median(sizes) > 1 << 18


def test_vectors_show_in_queries_zarr_inspect_and_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d.engram"
    with engramdb.create(path, Spec(layers=[dense_layer("int8")])) as e:
        w = np.linspace(-1, 1, 80).reshape(2, 40)
        e.activate([7, 3], w=w)
        layer = e.layer("dense")
        np.testing.assert_allclose(layer.vectors([7, 3, 7]), w[[0, 1, 0]], atol=STEP / 2 + 1e-6)
        assert e.neuron(7).fields["w"] == pytest.approx(np.linalg.norm(w[0]), rel=0.01)
        e.snapshot("before")
        assert layer.forward(np.sign(w[0]) * 3).fired.tolist() == [7]
        assert layer.backward(np.ones(40), 1.0).mean > 0
        diff = e.diff("before", ids=True).by_layer["dense"]
        assert diff.ids is not None
        assert diff.ids.state_changed.tolist() == [7]
    segment = zarr.open_group(engramdb.ZarrStore(path), mode="r")["dense/0"]
    assert segment["w"].shape == (2, 40)
    assert segment["w"].dtype == np.int8
    assert segment["w"].attrs["scale_factor"] == STEP
    assert segment["w"].metadata.dimension_names == ("neuron", "w_1")
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["kept"]["w"]["count"] == 80


def test_a_neuron_with_a_vector_is_not_forgotten(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "d.engram", Spec(layers=[dense_layer()])) as e:
        e.activate(range(10))
        e.activate([4], w=0.5)
        e.layer("dense").forward(np.zeros(40))
        assert e.forget(range(10)) == 9
        assert e.neuron(4).state == "dormant"
        assert e.layer("dense").vectors([4]).tolist() == [[0.5] * 40]


def test_a_forward_that_does_not_fit_leaves_the_state_whole(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "d.engram", Spec(layers=[dense_layer(neurons=4000, dimension=4)])) as e:
        e.activate(range(4000), w=1.0)
    with engramdb.open(tmp_path / "d.engram", "r+", memory=60_000) as e:
        with pytest.raises(BudgetExceeded, match="the state is whole"):
            e.layer("dense").forward(np.ones(4))
        assert e.tick == 0
    with engramdb.open(tmp_path / "d.engram", "r+") as e:
        assert len(e.layer("dense").forward(np.full(4, 4.0)).fired) == 4000


def test_what_is_wrong_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="dimension: must be a whole number"):
        Spec(layers=[dense_layer(params={"dimension": 3.5})])
    with pytest.raises(InvalidSpec, match="density: sparse receptive vectors are float32"):
        Spec(layers=[dense_layer("float16", params={"density": 0.5})])
    layers = [dense_layer("int8"), Layer("a", segments=[5])]
    with engramdb.create(tmp_path / "d.engram", Spec(layers=layers)) as e:
        layer = e.layer("dense")
        for x, problem in (
            (np.ones(39), r"x: expected \(40,\)"), ([[[1.0]]], "x: expected"),
            (np.full(40, np.nan), "x: must be finite"), (["a"] * 40, "x: expected"), (np.zeros((0, 40)), "x: expected"),
        ):  # fmt: skip
            with pytest.raises(InvalidInput, match=problem):
                layer.forward(x)
        with pytest.raises(InvalidInput, match=r"it reaches 1\.27"):
            e.activate([1], w=1.3)
        with pytest.raises(InvalidInput, match=r"it reaches 1\.27"):
            e.activate([1], w=(0.0, 5.0))
        with pytest.raises(InvalidInput, match="only neurons of one layer of model dense_lif"):
            e.activate(["1/0/1"], w=1.0)
        with pytest.raises(InvalidInput, match="expected a number, a distribution or an array"):
            e.activate([1, 2], w=np.ones((2, 3)))
        with pytest.raises(InvalidInput, match="given twice"):
            e.activate([1, 1], w=0.1)
        e.activate([1, 2], w=1.0)
        with pytest.raises(InvalidInput, match="the most is"):
            layer.forward(np.full(40, 1e9))
        with pytest.raises(InvalidInput, match="x: give one input"):
            layer.backward(np.ones((2, 40)), 1.0)
        layer.forward(np.ones(40))
        with pytest.raises(InvalidInput, match="error: expected a number or 2 numbers"):
            layer.backward(np.ones(40), [1.0, 2.0, 3.0])
        with pytest.raises(InvalidInput, match="must be finite"):
            layer.backward(np.ones(40), np.inf)
        with pytest.raises(InvalidInput, match='not of layer "dense"'):
            layer.vectors(["1/0/1"])
        with pytest.raises(NotFound, match='there is no layer "nobody"'):
            e.layer("nobody")
        assert e.tick == 1
        assert e.activate(["1/0/1"]) == 1
