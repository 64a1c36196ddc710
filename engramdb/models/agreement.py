"""Whether a model's kernel and its reference agree, for the tests of models.

>>> from engramdb import models
>>> check_model(models.get("lif"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.kernels import slots
from engramdb.models.kernel import step_of
from engramdb.models.model import Float32Array, Model

Sums = npt.NDArray[np.int64]
"""Input of one tick, (2, BLOCK): the sums of what is positive and of what is negative, in 2^-32 of the unit."""

Stepped = tuple[dict[str, Float32Array], npt.NDArray[np.int32], npt.NDArray[np.bool_], bool]
"""Fields by name, refractory ticks left, who fires, and whether anybody is awake."""

_SCALES = (1e-3, 1.0, 20.0)


def check_model(model: Model, params: Mapping[str, Any] | None = None, *, dt_ms: float = 0.5, rounds: int = 60) -> None:
    """Step random blocks by kernel and reference; AssertionError says where they first differ.

    ``params``: numbers, beside the defaults. Also that neurons at rest and free slots stay as they are.
    """
    random = np.random.default_rng(0)
    constants = constants_of(model, params or {}, dt_ms)
    for number in range(rounds):
        state, left, sums = random_block(model, random, _SCALES[number % len(_SCALES)])
        expected = by_reference(model, state, left, sums, constants)
        _compare(model, expected, by_kernel(model, state, left, sums, constants))
    nothing = {field.name: np.zeros(slots.BLOCK, np.float32) for field in model.state}
    left = np.where(np.arange(slots.BLOCK) % 2, 0, -1).astype(np.int32)  # every other slot is free
    still = by_kernel(model, nothing, left, np.zeros((2, slots.BLOCK), np.int64), constants)
    if still[2].any() or still[3] or any(values.view(np.uint32).any() for values in still[0].values()):
        raise AssertionError(f"{model.name}: neurons at rest without input, or free slots, do not stay as they are")


def constants_of(model: Model, params: Mapping[str, Any], dt_ms: float) -> dict[str, Any]:
    """Constants by name as kernels and references take them: float32."""
    values = model.constants(model.values(params), dt_ms)
    return {name: np.float32(values[name]) for name in (*model.kernel_constants, "refractory_ticks")}


def random_block(
    model: Model, random: np.random.Generator, scale: float
) -> tuple[dict[str, Float32Array], npt.NDArray[np.int32], Sums]:
    """Fields, refractory ticks and input of a block in which about everything occurs."""
    n = slots.BLOCK
    state = {}
    for field in model.state:
        values = np.where(random.random(n) < 0.3, 0, random.normal(0, scale, n)).astype(np.float32)
        state[field.name] = np.abs(values) if field.unit == "nS" else values  # a conductance is never negative
    left = random.integers(-2, 4, n).clip(0).astype(np.int32)
    some = (random.random((2, n)) < 0.7) & (random.random(n) < 0.8)
    size = np.abs(random.normal(0, scale * 2**32, (2, n))) * some
    return state, left, (size * np.array([[1], [random.choice([-1, 0])]])).astype(np.int64)


def by_reference(
    model: Model, state: Mapping[str, Float32Array], left: npt.NDArray[np.int32], sums: Sums,
    constants: Mapping[str, Any],
) -> Stepped:  # fmt: skip
    """One tick of a block by the model's reference."""
    plus, minus = sums
    totals = [plus + minus] if model.inputs == 1 else [plus, -minus]
    incoming = np.array([(total.astype(np.float64) / 2**32).astype(np.float32) for total in totals])
    after, fires = model.reference(state, left, incoming, constants)
    ticks = np.broadcast_to(constants["refractory_ticks"], left.shape).astype(np.int32)
    left = np.where(fires, ticks, left - (left > 0)).astype(np.int32)
    return after, left, fires, bool((left > 0).any() or any(values.any() for values in after.values()))


def by_kernel(
    model: Model, state: Mapping[str, Float32Array], left: npt.NDArray[np.int32], sums: Sums,
    constants: Mapping[str, Any], own: Sequence[str] = (),
) -> Stepped:  # fmt: skip
    """One tick of a block by the model's kernel; ``own``: the constants given by neuron, (BLOCK,)."""
    n, names = slots.BLOCK, [field.name for field in model.state]
    apart = model.inputs == 2 or bool(sums[1].any())
    held = slots.Slots(
        id=np.zeros(n, np.uint64), used=np.where(left < 0, 0, slots.USED).astype(np.uint8),
        u=state[names[0]].copy(), refractory=left.copy(), input=sums[0].copy(),
        inhibition=sums[1].copy() if apart else np.zeros(0, np.int64), record=np.full(n, -1, np.int32),
        aux=np.array([[state[name] for name in names[1:]]], np.float32).reshape(1, len(names) - 1, n),
        param=np.array([[constants[name] for name in own]], np.float32).reshape(1, len(own), n),
        block_layer=np.zeros(1, np.int32), block_awake=np.ones(1, np.uint8), block_flags=np.zeros(1, np.uint8),
        layer_flags=np.full(1, slots.USED, np.uint8), index_table=np.zeros(2, np.uint32),
        free_slot=np.full(1, -1, np.int64), counters=np.zeros(slots.N_COUNTERS, np.int64),
    )  # fmt: skip
    order = (*model.kernel_constants, "refractory_ticks")
    table = np.array([[0.0 if name in own else constants[name] for name in order]], np.float32)
    rows = np.array([[list(own).index(name) if name in own else -1 for name in order]], np.int32)
    fired, count = np.zeros(2 * n, np.int64), np.zeros(1, np.int64)
    step_of(model)(held, table, rows, np.ones(1, np.uint8), 0, 1, fired, count)
    if held.input.any() or held.inhibition.any():
        raise AssertionError(f"{model.name}: input is left over")
    fires = np.zeros(n, bool)
    fires[fired[: count[0]]] = True
    after = {names[0]: held.u} | {name: held.aux[0, place] for place, name in enumerate(names[1:])}
    return after, held.refractory, fires, bool(held.block_awake[0])


def _compare(model: Model, expected: Stepped, stepped: Stepped) -> None:
    fields, left, fires, awake = expected
    for name, values in fields.items():
        if values.dtype != np.float32:
            raise AssertionError(f"{model.name}: the reference gives {name} as {values.dtype}, not float32")
        differ = np.flatnonzero(values.view(np.uint32) != stepped[0][name].view(np.uint32))
        if len(differ):
            i = differ[0]
            raise AssertionError(
                f"{model.name}: {name} is {stepped[0][name][i]!r} by the kernel, {values[i]!r} expected"
            )
    if not np.array_equal(fires, stepped[2]):
        raise AssertionError(f"{model.name}: other neurons fire by the kernel than by the reference")
    if not np.array_equal(left, stepped[1]) or awake != stepped[3]:
        raise AssertionError(f"{model.name}: refractoriness or wakefulness differ")
