"""Neuron models: every kernel is its NumPy reference, bit for bit, and rest is rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb import models
from engramdb.kernels import slots
from engramdb.models.kernel import step_of
from engramdb.models.model import Model
from tests.test_kernels import make_slots

MODELS = [models.get(name) for name in models.names() if "." not in name]

OF_LAYERS = {"substeps"}  # constants that no model has by neuron


def constants_of(model: Model, params: dict[str, object], dt_ms: float) -> dict[str, np.ndarray]:
    """Constants by name as kernels and references take them: float32."""
    values = model.constants(model.values(params), dt_ms)
    return {name: np.float32(values[name]) for name in (*model.kernel_constants, "refractory_ticks")}


def stepped(
    model: Model, state: dict, left: np.ndarray, shares: np.ndarray, constants: dict, rows: list[str]
) -> tuple[dict, np.ndarray, np.ndarray, bool]:
    """One tick of one block by the kernel: fields, refractory ticks, who fires, and whether the block stays awake.

    ``shares``: int64 (threads, 2, BLOCK), input of either sign; ``rows``: the constants (BLOCK,) given by neuron.
    """
    names = [field.name for field in model.state]
    threads = len(shares)
    apart = shares[:, 1].any() or model.inputs == 2
    held = make_slots(1, threads=threads, aux=len(names) - 1, param=len(rows), apart=apart)
    held.block_layer[0], held.block_awake[0], held.counters[slots.N_BLOCKS] = 0, 1, 1
    held.used[:] = slots.USED
    held.refractory[:] = left
    held.u[:] = state[names[0]]
    for place, name in enumerate(names[1:]):
        held.aux[0, place] = state[name]
    held.input[:] = shares[:, 0]
    if len(held.inhibition):
        held.inhibition[:] = shares[:, 1]
    order = (*model.kernel_constants, "refractory_ticks")
    table = np.zeros((1, len(order)), np.float32)
    where = np.full((1, len(order)), -1, np.int32)
    for k, name in enumerate(order):
        if name in rows:
            where[0, k] = rows.index(name)
            held.param[0, rows.index(name)] = constants[name]
        else:
            table[0, k] = constants[name]
    fired, count = np.zeros(2 * slots.BLOCK, np.int64), np.zeros(1, np.int64)
    step = step_of(model)
    assert step(held, table, where, np.ones(1, np.uint8), 0, 1, fired, count) == 1
    assert not held.input.any()
    assert not held.inhibition.any()
    after = {names[0]: held.u.copy()} | {name: held.aux[0, place].copy() for place, name in enumerate(names[1:])}
    who = np.zeros(slots.BLOCK, bool)
    who[fired[: count[0]]] = True
    return after, held.refractory.copy(), who, bool(held.block_awake[0])


def inputs_of(model: Model, shares: np.ndarray) -> np.ndarray:
    """What :func:`stepped` makes of ``shares``, as references take it: float32 (inputs, BLOCK)."""
    plus, minus = shares.sum(axis=0)
    sums = [plus + minus] if model.inputs == 1 else [plus, -minus]
    return np.array([(total.astype(np.float64) / 2**32).astype(np.float32) for total in sums])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@given(data=st.data())
def test_a_kernel_is_its_reference_bit_for_bit(model: Model, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, threads, dt_ms = slots.BLOCK, data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.1, 1.0]))
    constants = constants_of(model, {}, dt_ms)
    rows = data.draw(st.lists(st.sampled_from([name for name in constants if name not in OF_LAYERS]), unique=True))
    for name in rows:
        spread = random.uniform(0.8, 1.2, n).astype(np.float32)
        constants[name] = np.rint(constants[name] * spread) if name == "refractory_ticks" else constants[name] * spread
    scale = data.draw(st.sampled_from([1e-3, 1.0, 20.0]))
    state = {
        field.name: np.where(random.random(n) < 0.3, 0, random.normal(0, scale, n)).astype(np.float32)
        for field in model.state
    }
    left = random.integers(-2, 4, n).clip(0).astype(np.int32)
    some = random.random((threads, 2, n)) < 0.5
    shares = (random.normal(0, scale * 2**32, (threads, 2, n)) * some).astype(np.int64)
    shares[:, 0] = abs(shares[:, 0])
    shares[:, 1] = -abs(shares[:, 1]) * data.draw(st.sampled_from([0, 1]))

    expected, fires = model.reference(state, left, inputs_of(model, shares), constants)
    ticks = np.broadcast_to(constants["refractory_ticks"], (n,)).astype(np.int32)
    expected_left = np.where(fires, ticks, np.maximum(left - 1, 0))
    after, after_left, who, awake = stepped(model, state, left, shares, constants, rows)
    np.testing.assert_array_equal(who, fires)
    np.testing.assert_array_equal(after_left, expected_left)
    for name, values in expected.items():
        assert values.dtype == np.float32, name
        np.testing.assert_array_equal(after[name].view(np.uint32), values.view(np.uint32), err_msg=name)
    assert awake == bool(expected_left.any() or any(values.any() for values in expected.values()))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_stepping_changes_neither_a_neuron_at_rest_nor_a_free_slot(model: Model) -> None:
    nothing = np.zeros(slots.BLOCK, np.float32)
    state = {field.name: nothing for field in model.state}
    left = np.where(np.arange(slots.BLOCK) % 2, 0, -1).astype(np.int32)  # every other slot is free
    constants, silence = constants_of(model, {}, 0.1), np.zeros((1, 2, slots.BLOCK), np.int64)
    after, after_left, who, awake = stepped(model, state, left, silence, constants, [])
    assert not who.any()
    assert not awake
    np.testing.assert_array_equal(after_left, left)
    for values in after.values():
        assert not values.view(np.uint32).any()
    # whatever its own constants are, a free slot stays as it is
    rows = [name for name in constants if name not in OF_LAYERS]
    for name in rows:
        constants[name] = np.where(left < 0, -1000, constants[name]).astype(np.float32)
    after, after_left, who, awake = stepped(model, state, left, silence, constants, rows)
    assert not who.any()
    assert not awake
