"""Neuron models: every kernel is its NumPy reference, bit for bit; rest is rest; constants are what they should be."""

from __future__ import annotations

import inspect
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engramdb
from engramdb import Layer, Spec, models
from engramdb.errors import InvalidInput, InvalidSpec
from engramdb.kernels import intfire1, lif, slots
from engramdb.kernels.compiled import njit
from engramdb.kernels.exponential import exp32
from engramdb.kernels.stepping import stepper
from engramdb.models import agreement, exponential, registry, tables
from engramdb.models.agreement import by_kernel, by_reference, check_model, constants_of, random_block
from engramdb.models.model import Model

MODELS = [models.get(name) for name in models.names() if "." not in name]
OF_LAYERS = {"substeps"}  # constants that no model has by neuron


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@given(data=st.data())
def test_a_kernel_is_its_reference_bit_for_bit(model: Model, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    constants = constants_of(model, {}, data.draw(st.sampled_from([0.1, 1.0, 2.2])))
    own = data.draw(st.lists(st.sampled_from([name for name in constants if name not in OF_LAYERS]), unique=True))
    for name in own:
        spread = random.uniform(0.8, 1.2, slots.BLOCK).astype(np.float32)
        constants[name] = constants[name] * spread
        if name == "refractory_ticks":
            constants[name] = np.rint(constants[name])
    scale = data.draw(st.sampled_from([1e-3, 1.0, 20.0, 1e4]))
    state, left, sums = random_block(model, random, scale)
    fields, expected_left, fires, awake = by_reference(model, state, left, sums, constants)
    stepped, stepped_left, fired, still_awake = by_kernel(model, state, left, sums, constants, own)
    np.testing.assert_array_equal(fired, fires)
    np.testing.assert_array_equal(stepped_left, expected_left)
    for name, values in fields.items():
        assert values.dtype == np.float32, name
        np.testing.assert_array_equal(stepped[name].view(np.uint32), values.view(np.uint32), err_msg=name)
    assert still_awake == awake


@pytest.mark.parametrize("left_over", [0.0, -1000.0, 1000.0])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_free_slots_stay_as_they_are_whatever_their_constants_were(model: Model, left_over: float) -> None:
    nothing = {field.name: np.zeros(slots.BLOCK, np.float32) for field in model.state}
    left = np.where(np.arange(slots.BLOCK) % 2, 0, -1).astype(np.int32)
    constants = constants_of(model, {}, 0.1)
    own = [name for name in constants if name not in OF_LAYERS]
    for name in own:
        constants[name] = np.where(left < 0, left_over, constants[name]).astype(np.float32)
    silence = np.zeros((2, slots.BLOCK), np.int64)
    _, after_left, fires, awake = by_kernel(model, nothing, left, silence, constants, own)
    assert not fires.any()
    assert not awake
    np.testing.assert_array_equal(after_left, left)


LARGE = ("adex", "lif_cond", "lif_exp")
# what each takes to compile is most of it; test_model_networks.py holds all models against their references too
SOME = [pytest.param(m, id=m.name, marks=[pytest.mark.slow] if m.name in LARGE else []) for m in MODELS]


@pytest.mark.parametrize("model", SOME)
def test_the_check_for_users_models_passes_ours_and_sees_a_difference(model: Model) -> None:
    check_model(model, dt_ms=0.1, rounds=6)

    def wrong(state, refractory, input, constants):  # type: ignore[no-untyped-def]
        after, fires = model.reference(state, refractory, input, constants)
        name = model.state[-1].name
        return {**after, name: np.nextafter(after[name], np.float32(1e9))}, fires

    with pytest.raises(AssertionError, match=f"{model.name}: {model.state[-1].name} is"):
        check_model(replace(model, reference=wrong), dt_ms=0.1, rounds=6)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_constants_are_the_same_for_a_neuron_of_its_own_as_for_a_layer(model: Model) -> None:
    random = np.random.default_rng(1)
    values = model.values({})
    for name, parameter in model.parameters.items():
        if parameter.distribution and not parameter.initial and values[name] is not None:
            values[name] = np.clip(values[name] * random.uniform(0.9, 1.1, 20), parameter.minimum, parameter.maximum)
    together = model.constants(values, 0.1)
    for i in range(20):
        alone = model.constants({n: float(v[i]) if np.ndim(v) else v for n, v in values.items()}, 0.1)
        assert set(alone) == set(together)
        for name, value in alone.items():
            both = np.float32([value, np.broadcast_to(together[name], (20,))[i]])
            assert both[0].tobytes() == both[1].tobytes(), name


@given(dt=st.floats(0.01, 10), tau=st.floats(0.1, 1000))
def test_decays_are_rounded_correctly(dt: float, tau: float) -> None:
    exact = (-Decimal(dt) / Decimal(tau)).exp()
    got = np.float32(exponential.exp(-dt / tau))
    assert got == np.float32(float(exact)) or abs(float(got) - float(exact)) < 6e-8 * float(exact)
    assert np.float32(exponential.exp(-1.0 / 20.0)) == np.float32(0.9512294245007140)
    assert np.float32(exponential.exp(-0.1 / 20.0)) == np.float32(0.9950124791926823)


def test_the_exponential_of_kernels_is_accurate_and_that_of_the_references() -> None:
    @njit(cache=False)
    def fill(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            out[i] = exp32(x[i])

    x = np.concatenate([np.linspace(-87, 88, 200_001), [0.0, -0.0, 1e-30, -1e9, 1e9]]).astype(np.float32)
    out = np.empty_like(x)
    fill(x, out)
    np.testing.assert_array_equal(out.view(np.uint32), exponential.exp32(x).view(np.uint32))
    assert exponential.exp32(np.zeros(1, np.float32))[0] == 1
    exact = np.exp(np.clip(x.astype(np.float64), -87, 88))
    assert np.abs(out / exact - 1).max() < 2.5e-7


def test_phi_is_smooth_where_its_two_ways_meet() -> None:
    x = np.linspace(-2, 2, 4001)
    with np.errstate(invalid="ignore"):
        expected = np.where(x == 0, 1.0, np.expm1(x) / x)
    np.testing.assert_allclose(exponential.phi(x), expected, rtol=1e-14)


def run_one(model: str, params: dict[str, float], ticks: int, dt_ms: float, amplitude: float) -> list[dict[str, float]]:
    """Fields of one neuron after each tick of a constant stimulus, by the reference."""
    one = models.get(model)
    constants = constants_of(one, params, dt_ms)
    state = {field.name: np.zeros(1, np.float32) for field in one.state}
    left, trace = np.zeros(1, np.int32), []
    incoming = np.zeros((one.inputs, 1), np.float32)
    for tick in range(ticks):
        incoming[0] = amplitude if tick == 0 else 0
        state, fires = one.reference(state, left, incoming, constants)
        left = np.where(fires, constants["refractory_ticks"], np.maximum(left - 1, 0)).astype(np.int32)
        trace.append({name: float(values[0]) for name, values in state.items()} | {"fires": bool(fires[0])})
    return trace


@pytest.mark.parametrize("tau_syn", [5.0, 20.0, 19.999])
def test_lif_exp_is_the_exact_solution(tau_syn: float) -> None:
    trace = run_one("lif_exp", {"tau_syn": tau_syn}, 400, 0.1, 20.0)
    t = np.arange(400) * 0.1
    tau = 20.0
    if tau_syn == tau:
        expected = 20 * t / tau * np.exp(-t / tau)
    else:
        expected = 20 * tau_syn / (tau_syn - tau) * (np.exp(-t / tau_syn) - np.exp(-t / tau))
    np.testing.assert_allclose([step["u"] for step in trace], expected, atol=2e-3 if tau_syn == 19.999 else 2e-4)


def finely(model: str, dt_ms: float) -> np.ndarray:
    """u over 20 ms after an input that fires nobody."""
    amplitude = {"lif_cond": 3.0, "adex": 300.0}[model]
    return np.array([step["u"] for step in run_one(model, {}, round(20 / dt_ms), dt_ms, amplitude)])


@pytest.mark.parametrize(("model", "tolerance"), [("lif_cond", 0.02), ("adex", 0.02)])
def test_longer_ticks_give_nearly_the_same_solution(model: str, tolerance: float) -> None:
    fine = finely(model, 0.01)
    coarse = finely(model, 0.1)
    assert np.abs(fine).max() > 1
    # the input arrives at the end of the first tick
    assert np.abs(coarse[:-1] - fine[::10][: len(coarse) - 1]).max() < tolerance * np.abs(fine).max() + 0.05


def test_izhikevich_fires_as_published() -> None:
    """Regular spiking, I = 10 from rest at 1 ms, the published loop beside the model."""
    v, u, published = -70.0, -14.0, []
    for t in range(500):
        if v >= 30:
            v, u = -65.0, u + 8.0
            published.append(t - 1)
        for _ in range(2):
            v += 0.5 * (0.04 * v * v + 5 * v + 140 - u + 10.0)
        u += 0.02 * (0.2 * v - u)
    one = models.get("izhikevich")
    constants = constants_of(one, {}, 1.0)
    state, fired = {name: np.zeros(1, np.float32) for name in ("u", "w")}, []
    for t in range(500):
        state, fires = one.reference(state, np.zeros(1, np.int32), np.full((1, 1), 10, np.float32), constants)
        if fires[0]:
            fired.append(t)
    assert len(fired) == len(published) == 10
    assert fired[:7] == published[:7], "later float32 and float64 drift apart by what they make of the upstroke"


def test_lif_shiu_stands_still_as_long_as_the_published_program_lets_it() -> None:
    one = models.get("lif_shiu")
    trace = run_one("lif_shiu", {}, 60, 0.1, 2000.0)
    assert [step["fires"] for step in trace].index(True) == 1, "in the tick behind a large input"
    assert trace[1]["g"] == trace[1]["u"] == 0
    assert int(constants_of(one, {}, 0.1)["refractory_ticks"]) == 21
    assert int(constants_of(one, {"refractory": 0.0}, 0.1)["refractory_ticks"]) == 0


RELATIONS = [
    ("lif_exp", {"v_threshold": -80.0}, "v_threshold", "above v_rest"),
    ("lif_shiu", {"v_reset": -40.0}, "v_threshold", "above v_reset"),
    ("lif_shiu", {"refractory": 0.25}, "refractory", "whole number of ticks"),
    ("lif_cond", {"v_threshold": (-70.0, -50.0)}, "v_threshold", "above v_rest"),
    ("lif_cond", {"i_e": 200.0}, "i_e", "never rests"),
    ("lif_cond", {"capacitance": 0.0}, "capacitance", "outside"),
    ("izhikevich", {"v_peak": -66.0}, "v_peak", "above c"),
    ("izhikevich", {"i_e": 10.0}, "i_e", "never rests"),
    ("izhikevich", {"b": (0.2, 0.3)}, "i_e", "never rests"),
    ("adex", {"v_peak": -60.0}, "v_peak", "above v_threshold"),
    ("adex", {"a": -40.0}, "a", "greater than -g_leak"),
    ("adex", {"i_e": 1000.0}, "i_e", "never rests"),
    ("adex", {"substeps": 1.5}, "substeps", "whole number"),
    ("adex", {"v_init": -60.0}, "v_init", "materialize = true"),
    ("intfire1", {"tau": -1.0}, "tau", "outside"),
]


@pytest.mark.parametrize(("model", "params", "name", "words"), RELATIONS)
def test_parameters_that_do_not_fit_are_refused_by_name(model: str, params: dict, name: str, words: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Spec(dt_ms=0.1, layers=[Layer("a", model=model, params=params, segments=[10])])
    assert str(caught.value).startswith(f"layers[0].params.{name}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("izhikevich", {"i_e": 10.0}),
        pytest.param("adex", {"i_e": (900.0, 1200.0)}, marks=pytest.mark.slow),  # its kernels take long to compile
    ],
)
def test_neurons_that_never_rest_are_born_awake_and_fire_for_ever(model: str, params: dict, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.modeltwin import assert_same_fields, model_twin_of

    layer = Layer("a", model=model, params=params, segments=[100], materialize=True)
    with engramdb.create(tmp_path / "net.engram", Spec(seed=5, layers=[layer], dt_ms=0.5)) as e:
        twin = model_twin_of(e)
        run, expected = e.run(600, record=("spikes",)), twin.run(600)
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])
        assert len(np.unique(run.spikes[1][run.spikes[0] > 400])) == 100
        assert_same_fields(e, twin)


def test_models_that_cannot_be_are_refused_by_the_registry() -> None:
    lif = models.get("lif")
    for changes, words in (
        ({"name": "mine"}, "name it after its module"),
        ({"name": "my module.x"}, "name it after its module"),
        ({"name": "m.x", "kernel": "somewhere"}, "module:function"),
        ({"name": "m.x", "state": ()}, "at least one field"),
        ({"name": "m.x", "state": (models.Field("spike_count", "float32", "1", ""),)}, "spike_count"),
        ({"name": "m.x", "inputs": 3}, "1 or 2"),
        ({"name": "m.x", "kernel_constants": ("refractory_ticks",)}, "leave it out"),
    ):
        with pytest.raises(InvalidInput, match=words):
            models.register(replace(lif, **changes))  # type: ignore[arg-type]
    assert "m.x" not in models.names()


def test_an_unknown_model_says_what_to_import_or_what_there_is() -> None:
    with pytest.raises(InvalidSpec, match=r"layers\[0\].model: .*import my_lab.neurons, the module that registers it"):
        Spec(layers=[Layer("a", model="my_lab.neurons.bursting", segments=[1])])
    with pytest.raises(InvalidInput, match="known: adex"):
        models.get("quadratic")


def test_the_tables_in_the_document_are_those_of_the_models() -> None:
    assert tables.DOCUMENT.read_text(encoding="utf-8") == tables.text()


def test_machine_code_is_kept_between_processes_and_compiled_for_models_in_use_only() -> None:
    check_model(models.get("lif"), rounds=1)
    again = stepper(lif.block, "lif", fields=0, constants=5, inputs=1)
    assert not again.stats.cache_hits, "nothing is loaded or compiled before it is called"
    agreement.step_of(models.get("lif"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "step_of", lambda _: again)
        check_model(models.get("lif"), rounds=1)
    assert again.stats.cache_hits
    assert not again.stats.cache_misses


def test_a_block_typed_into_a_shell_works_too() -> None:
    namespace: dict = {}
    exec(inspect.getsource(intfire1).replace("from __future__ import annotations", ""), namespace)
    own = replace(models.get("intfire1"), name="shell.intfire1", kernel=namespace["block"])
    check_model(own, rounds=6)


def test_an_engram_of_a_model_that_is_not_registered_says_what_to_import(tmp_path: Path) -> None:
    models.register(replace(models.get("lif"), name="my_lab.leaky"))
    try:
        with engramdb.create(
            tmp_path / "net.engram", Spec(layers=[Layer("a", model="my_lab.leaky", segments=[9])])
        ) as e:
            e.stimulate([1], 20.0)
            assert e.run(2).counts.tolist() == [1, 0]
    finally:
        registry._REGISTRY.pop("my_lab.leaky")
    with pytest.raises(InvalidSpec, match=r'unknown neuron model "my_lab\.leaky"; import my_lab, the module') as caught:
        engramdb.open(tmp_path / "net.engram")
    assert "\n" not in str(caught.value)


def test_a_model_of_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_models.py").write_text(
        "from dataclasses import replace\nfrom engramdb import models\n"
        "SLOW = replace(models.get('lif'), name='lab_models.slow')\n"
    )
    about = tmp_path / "lab_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-models\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[engramdb.models]\nlab_models.slow = lab_models:SLOW\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._installed.cache_clear()
    try:
        assert Spec(layers=[Layer("a", model="lab_models.slow", segments=[9])]).layers[0].model == "lab_models.slow"
        assert "lab_models.slow" in models.names()
    finally:
        registry._REGISTRY.pop("lab_models.slow", None)
        registry._installed.cache_clear()
