"""Types of weights: the grid on which the weights of a layer lie, wherever they come from."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import import_edges, weights
from engramdb.errors import InvalidInput, InvalidSpec
from engramdb.growth.bundle import Bundles
from engramdb.kernels import weights as kernel
from engramdb.schemas import spec as schema
from engramdb.spec import (
    Bernoulli,
    Explicit,
    FixedIndegree,
    FixedOutdegree,
    Layer,
    Normal,
    OneToOne,
    Projection,
    Rule,
    SmallWorld,
    Spec,
)
from engramdb.wiring import Wiring
from tests.networks import edges_of, make
from tests.simulator import narrowed

steps = st.floats(1e-6, 100.0)
float32s = st.floats(-16384, 16384, width=32)


def layer(kind: str, step: float | None = None, **more: Any) -> Layer:
    return Layer("a", 0, segments=[300], weights=kind, weight_step=step, **more)


@given(st.lists(float32s, min_size=1, max_size=40), steps)
def test_kernels_and_numpy_round_to_the_same_bits_and_rounding_again_changes_nothing(
    values: list[float], step: float
) -> None:
    weight = np.array(values, np.float32)
    for kind in (layer("float32"), layer("float16"), layer("int8", step)):
        expected = weights.on_grid(weight, kind)
        got = np.array([kernel.on_grid(value, weights.grid(kind)) for value in weight], np.float32)
        assert got.tobytes() == expected.tobytes()
        assert weights.on_grid(expected, kind).tobytes() == expected.tobytes()


def test_every_tie_between_two_float16_is_rounded_as_numpy_does() -> None:
    halves = np.arange(0x7400, dtype=np.uint16).view(np.float16)  # all up to 16384
    between = (halves[:-1].astype(np.float64) + halves[1:].astype(np.float64)) / 2
    for values in (halves.astype(np.float32), between.astype(np.float32), -between.astype(np.float32)):
        got = np.array([kernel.on_grid(value, kernel.HALF) for value in values], np.float32)
        assert got.tobytes() == values.astype(np.float16).astype(np.float32).tobytes()


@given(float32s, steps)
def test_an_int8_weight_is_the_nearest_of_255_or_is_refused(value: float, step: float) -> None:
    pre, weight = np.zeros(1, np.uint64), np.array([value], np.float32)
    spec = Spec(layers=[layer("int8", step)])
    levels = np.arange(-127, 128) * step
    if np.rint(abs(value) / step) > 127:
        with pytest.raises(InvalidInput, match=r"mV of neuron 0/0/0 is too large: .* reach"):
            weights.rounded(pre, weight, spec)
        return
    (got,) = weights.rounded(pre, weight, spec)
    assert np.float32(got) in levels.astype(np.float32)
    assert abs(got - value) <= np.abs(levels - value).min() + 1e-6 * abs(value)


def test_each_weight_is_rounded_by_the_layer_of_its_source() -> None:
    spec = Spec(layers=[layer("int8", 0.5), Layer("b", segments=[9], weights="float16"), Layer("c", segments=[9])])
    pre = np.array([2 << 48, 1 << 48, 0, 1 << 48, 2 << 48], np.uint64)
    weight = np.full(5, 0.3, np.float32)
    half = np.float32(np.float16(0.3))
    np.testing.assert_array_equal(weights.rounded(pre, weight, spec), [weight[0], half, 0.5, half, weight[0]])
    np.testing.assert_array_equal(weight, np.full(5, 0.3, np.float32))


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"weights": "float61"}, "layers[0].weights", 'did you mean "float16"'),
    ({"weights": None}, "layers[0].weights", "unknown type"),
    ({"weights": "int8"}, "layers[0].weight_step", "missing"),
    ({"weights": "float16", "weight_step": 1}, "layers[0].weight_step", "int8 weights only"),
    ({"weight_step": 1}, "layers[0].weight_step", "int8 weights only"),
    ({"weights": "int8", "weight_step": 0}, "layers[0].weight_step", "must be a number of mV"),
    ({"weights": "int8", "weight_step": float("nan")}, "layers[0].weight_step", "must be a number of mV"),
    ({"weights": "int8", "weight_step": "1"}, "layers[0].weight_step", "must be a number of mV"),
    ({"weights": "int8", "weight_step": 200}, "layers[0].weight_step", "must be a number of mV"),
    (
        {"weights": "int8", "weight_step": 0.01, "wiring": SmallWorld(k=3, weight=1.28)},
        "layers[0].wiring.weight",
        'too large for layer "a": weights = "int8" of 0.01 mV reach 1.27 mV',
    ),
    (
        {"weights": "int8", "weight_step": 0.1, "wiring": SmallWorld(k=3, weight=Normal(0.0, 4.0))},
        "layers[0].wiring.weight",
        "reach 12.7 mV",
    ),
]


@pytest.mark.parametrize(("fields", "field", "problem"), REFUSED)
def test_types_that_cannot_be_are_refused_by_field(fields: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Spec(layers=[Layer("a", segments=[300], **fields)])
    assert caught.value.field == field
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_projection_is_bound_by_the_type_of_the_layer_it_comes_from() -> None:
    layers = [layer("int8", 0.01), Layer("b", segments=[300])]
    Spec(layers=layers, projections=[Projection("b", "a", OneToOne(), weight=100.0)])
    Spec(layers=layers, projections=[Projection("a", "b", Explicit(), weight=100.0)])  # draws none
    with pytest.raises(InvalidSpec, match="too large"):
        Spec(layers=layers, projections=[Projection("a", "b", OneToOne(), weight=100.0)])


@pytest.mark.parametrize("kind", [layer("float32"), layer("float16"), layer("int8", 0.25)])
def test_the_written_form_says_the_type_and_leaves_float32_out(kind: Layer) -> None:
    spec = Spec(layers=[kind])
    document = spec.to_document()
    schema.Spec.model_validate(document)
    assert Spec.from_json(spec.to_json()) == spec
    # so that engrams with float32 weights stay readable to the first versions
    assert ("weights" in document["layers"][0]) == (kind.weights != "float32")
    assert ("weight_step" in document["layers"][0]) == (kind.weights == "int8")


# ---- in an engram

KINDS = [layer("float32"), layer("float16"), layer("int8", 0.11)]
RULES = [SmallWorld(k=6, span=20, long_fraction=0.3, weight=(-4.0, 12.0)), FixedOutdegree(k=3, weight=Normal(5.0, 1.0)),
         FixedIndegree(k=4, weight=(1.0, 9.0)), Bernoulli(p=0.02, weight=7.77), OneToOne(weight=0.05)]  # fmt: skip


def assert_on_grid(weight: np.ndarray, kind: Layer) -> None:
    assert weight.dtype == np.float32
    assert weight.tobytes() == np.array([narrowed(value, kind) for value in weight], np.float32).tobytes()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.weights)
def test_a_row_is_the_same_virtual_and_written_and_lies_on_the_grid(kind: Layer, rule: Rule, tmp_path: Path) -> None:
    found = []
    for written in (False, True):
        with make(tmp_path, Spec(seed=3, layers=[replace(kind, wiring=rule, materialize=written)])) as e:
            assert_on_grid(edges_of(e)[2], kind)
        with engramdb.open(tmp_path / "net.engram") as e:
            found.append([column.tobytes() for column in edges_of(e)])
            found[-1].append(e.synapses(7, direction="in").weights.tobytes())
        shutil.rmtree(tmp_path / "net.engram")
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.weights)
def test_changed_weights_lie_on_the_grid_in_the_journal_and_after(kind: Layer, tmp_path: Path) -> None:
    spec = Spec(seed=3, layers=[replace(kind, wiring=SmallWorld(k=6, span=20, weight=(1.0, 9.0)))])
    values = np.linspace(-13.9, 13.9, 40).astype(np.float32)
    with make(tmp_path, spec) as e:
        e.connect(5, np.arange(200, 240), values)
        target = e.synapses(9).targets[0]
        e.set_weight(9, target, 0.777)
        seen = [column.tobytes() for column in edges_of(e)]
        assert_on_grid(edges_of(e)[2], kind)
        assert narrowed(0.777, kind) in e.synapses(9).weights
        e._shut()  # as after a kill
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert [column.tobytes() for column in edges_of(e)] == seen
    with engramdb.open(tmp_path / "net.engram") as e:
        assert [column.tobytes() for column in edges_of(e)] == seen


def test_a_weight_too_large_for_its_type_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with make(tmp_path, Spec(layers=[replace(KINDS[2], wiring=OneToOne(weight=3.3))])) as e:
        for change in (e.set_weight, e.connect):
            with pytest.raises(
                InvalidInput, match=r'14.1 mV of neuron 0/0/8 is too large: weights = "int8" of 0.11 mV'
            ):
                change([7, 8], [7, 8], [13.9, 14.1])
        assert_on_grid(edges_of(e)[2], KINDS[2])
        assert set(edges_of(e)[2].tolist()) == {float(np.float32(30 * 0.11))}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.weights)
def test_imported_weights_are_summed_and_then_rounded(kind: Layer, tmp_path: Path) -> None:
    table = tmp_path / "edges.csv"
    table.write_text("pre,post,weight\n0,1,0.05\n0,1,0.05\n1,2,-3.3333\n2,0,1e-4\n")
    import_edges(table, tmp_path / "i.engram", weights=kind.weights, weight_step=kind.weight_step)
    with engramdb.open(tmp_path / "i.engram") as e:
        expected = [narrowed(weight, kind) for weight in (np.float32(0.05) + np.float32(0.05), -3.3333, 1e-4)]
        np.testing.assert_array_equal(edges_of(e)[2], expected)


def test_an_import_of_weights_too_large_for_their_type_leaves_nothing_behind(tmp_path: Path) -> None:
    table = tmp_path / "edges.csv"
    table.write_text("pre,post,weight\n0,1,0.05\n0,2,20\n")
    with pytest.raises(InvalidInput, match=r"20 mV of neuron 0/0/0 is too large: .* reach 12.7 mV"):
        import_edges(table, tmp_path / "i.engram", weights="int8", weight_step=0.1)
    with pytest.raises(InvalidSpec, match="unknown type of weights"):
        import_edges(table, tmp_path / "i.engram", weights="int4")
    assert [path.name for path in tmp_path.iterdir()] == ["edges.csv"]


def test_rows_with_float32_weights_are_those_of_generator_1_bit_for_bit() -> None:
    """Stored engrams depend on it: their virtual rows are nowhere else."""
    spec = Spec(
        seed=99,
        layers=[
            Layer("a", segments=[5000, 3000], wiring=SmallWorld(k=9, long_fraction=0.2, span=40, weight=(-1.5, 2.5))),
            Layer("b", segments=[700]),
        ],
        projections=[
            Projection("a", "b", FixedOutdegree(k=5), weight=Normal(2.0, 0.5), sign=-1, delay_ms=2.0),
            Projection("b", "a", FixedOutdegree(k=3), weight=0.3),
        ],
    )
    wiring, digest = Wiring(spec, Bundles.initial(spec)), hashlib.sha256()
    for prefix, size in ((0, 5000), (1 << 32, 3000), (1 << 48, 700)):
        rows = wiring.rows(np.arange(size, dtype=np.uint64) | np.uint64(prefix))
        for column in (rows.indptr, rows.projection, rows.target, rows.weight):
            digest.update(column.tobytes())
    for target in (0, 77, 1 << 32 | 5):
        for column in wiring.sources(target)[:3]:
            digest.update(column.tobytes())
    assert digest.hexdigest()[:24] == "abb4fa5fdf9db85d345e9764"
