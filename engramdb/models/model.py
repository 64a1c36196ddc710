"""What a neuron model is: parameters, state, constants, a kernel that steps it, and a reference that says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Number: TypeAlias = "float | npt.NDArray[np.float64]"
"""A parameter of a whole layer, or float64 (n,): one for each of n neurons."""

Values: TypeAlias = "Mapping[str, Any]"
"""Parameters by name, each a :data:`Number`; None where an optional one is not given."""

MAX_TICKS = 1 << 24  # of refractoriness: beyond it float32, in which constants reach the kernels, has no whole numbers


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    - ``distribution``: it may differ from neuron to neuron.
    - ``initial``: the field, absolute or relative to rest, that a materialized neuron is born with by this parameter.
    """

    name: str
    default: float | None
    unit: str
    minimum: float = float("-inf")
    maximum: float = float("inf")
    distribution: bool = False
    doc: str = ""
    initial: str = ""


@dataclass(frozen=True)
class Field:
    """One value that a neuron of the model has, as queries show it."""

    name: str
    dtype: str
    unit: str
    doc: str


@dataclass(frozen=True)
class Absolute(Field):
    """A value that is not kept but shown: the field ``of`` plus what rest is, the constant ``rest``."""

    of: str = "u"
    rest: str = "v_inf"


@dataclass(frozen=True)
class Kept(Field):
    """A value that stays with a neuron's record while it is at rest, as the state column ``field.<name>``.

    ``vector``: it has one element for each place of the layer's receptive vectors, and queries show its length.
    ``birth``: the parameter that says what it is before anything happens; 0 without. Columns are float32, unless the
    layer's type of weights says else of a vector. A record that was given nothing has NaN, or a vector of zeros.
    """

    vector: bool = False
    birth: str = ""


COUNTS = (
    Field("refractory", "int32", "ticks", "ticks of refractoriness left"),
    Field("spike_count", "uint32", "1", "spikes since birth"),
    Field("last_spike", "int64", "tick", "tick of the last spike; 0 = never"),
)

Reference: TypeAlias = Callable[
    [Mapping[str, Float32Array], npt.NDArray[np.int32], Float32Array, Mapping[str, Float32Array]],
    "tuple[dict[str, Float32Array], npt.NDArray[np.bool_]]",
]


@dataclass(frozen=True, eq=False)  # one is itself: kernels are kept by it
class Model:
    """A neuron model: its equation and source are the docstring of its module.

    - ``state``: the float32 fields that are stepped, all relative to rest, so that at rest each is exactly zero. The
      first is what kernels call ``u``.
    - ``absolute``: values derived from them for people to read.
    - ``constants(values, dt_ms)``: all that the kernel and the queries need, worked out from the parameters. It must
      take any parameter as a number or as float64 (n,), and give what depends on it alike; rounded to float32, both
      must agree, on every machine: use :func:`engramdb.models.exponential.exp`, not that of a library. Its keys are
      those of ``kernel_constants``, ``refractory_ticks``, the ``rest`` of each absolute value, and ``restless``:
      whether a neuron never comes to rest.
    - ``kernel``: ``"module:function"``, the step of one block, see :mod:`engramdb.kernels.stepping`; imported and
      compiled when an engram with the model first runs. A function itself will do for trying things out.
    - ``kernel_constants``: names of its constants, in the order of its rows.
    - ``reference(state, refractory, input, constants)``: the same step for n neurons in plain NumPy: fields by name,
      float32 (n,); ticks of refractoriness left, int32 (n,); input, float32 (inputs, n), as kernels get it; constants
      by name. It gives the new fields, and who fires, bool (n,). The two must agree bit for bit.
    - ``check(values, dt_ms)``: ``(parameter, problem)`` for each relation between parameters that does not hold; for
      parameters that vary it is asked about the corners of what they may be.
    - ``weight``: what the weight of a synapse is to a neuron of the model, with its unit.
    - ``inputs``: 2 where positive and negative input are summed apart.
    - ``restless``: the parameter to name, and why, when a virtual layer is refused because its neurons never rest.
    - ``current_unit``, ``current_per_tick(values, dt_ms)``: the unit of a current into the neuron, and how much input
      in each tick carries as much charge as a current of 1 does; "" and None where input is no current.
    - ``kept``: values that records keep. They are not stepped by the kernel: who reads and writes them knows the model.
    """

    name: str
    title: str
    parameters: Mapping[str, Parameter]
    state: tuple[Field, ...]
    absolute: tuple[Absolute, ...]
    constants: Callable[[Values, float], Mapping[str, Any]]
    kernel: str | Callable[..., None]
    kernel_constants: tuple[str, ...]
    reference: Reference
    check: Callable[[Values, float], list[tuple[str, str]]]
    weight: Field
    inputs: int = 1
    restless: tuple[str, str] = ("", "it has no stable state of rest")
    kept: tuple[Kept, ...] = ()
    current_unit: str = ""
    current_per_tick: Callable[[Values, float], Any] | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """All values of a neuron that queries show."""
        return (*self.absolute, *self.state, *self.kept, *COUNTS)

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """``params`` with defaults for those that are not given."""
        return {name: params.get(name, parameter.default) for name, parameter in self.parameters.items()}


def whole_ticks(milliseconds: float, dt_ms: float) -> int | None:
    """``milliseconds`` in ticks of ``dt_ms``, or None where it is no whole number of them (1e-9 relative)."""
    ticks = milliseconds / dt_ms
    nearest = round(ticks)
    return nearest if abs(ticks - nearest) <= 1e-9 * max(1.0, abs(ticks)) else None


def refractory_problems(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    """What is wrong with the parameter ``refractory``, for a model's ``check``."""
    ticks = whole_ticks(values["refractory"], dt_ms)
    if ticks is None:
        return [("refractory", f"{values['refractory']} ms is no whole number of ticks of {dt_ms} ms")]
    return [("refractory", f"{ticks} ticks are more than 2^24")] if ticks > MAX_TICKS else []


def ticks_of(milliseconds: Number, dt_ms: float) -> Number:
    """A whole number of ticks, for a model's ``constants``; that it is one was checked."""
    return np.rint(np.asarray(milliseconds) / dt_ms)
