r"""Leaky integrate-and-fire neuron with a receptive vector over an input that all neurons of its layer see.

Neuron i has D weights :math:`w_i`. An input x adds

.. math:: I_i = \langle w_i, x \rangle

to what arrives in a tick, and the tick is that of :mod:`engramdb.models.lif`: reset, refractoriness, rest and synapses
are the same. A virtual neuron's w is zero, so that nothing has to be computed of it. Learning is Hebbian, for neurons
that fired only, with an error :math:`e_i` for each:

.. math:: w_i \leftarrow w_i + \eta \, e_i \, x

For a binary x that is :math:`w_{ij} \leftarrow w_{ij} + \eta \, e_i \, 1[spike_j]` (Hebb 1949, as a three-factor rule).
The products are float32, as are the sums, in the order that :mod:`engramdb.kernels.lanes` tells, the same everywhere.
"""

from __future__ import annotations

from dataclasses import replace

from engramdb.models.lif import LIF
from engramdb.models.model import Kept, Parameter, Values

_PARAMETERS = (
    Parameter("dimension", 768.0, "1", 1.0, 1 << 16, doc="D, the length of receptive vectors; a whole number"),
    Parameter(
        "density", 1.0, "1", 1e-6, 1.0, doc="below 1: the part of the places that have weights, at least one; float32"
    ),
    Parameter("eta", 0.05, "1", 0.0, 1e6, doc="learning rate"),
)


def places_of(values: Values) -> int:
    """How many weights a receptive vector has: D, or as many as its density leaves."""
    return max(1, round(values["density"] * values["dimension"]))


def _check(values: Values, dt_ms: float) -> list[tuple[str, str]]:
    problems = LIF.check(values, dt_ms)
    if values["dimension"] != int(values["dimension"]):
        problems.append(("dimension", f"must be a whole number, not {values['dimension']:g}"))
    return problems


DENSE_LIF = replace(
    LIF,
    name="dense_lif",
    title="leaky integrate-and-fire with a receptive vector",
    parameters={**LIF.parameters, **{p.name: p for p in _PARAMETERS}},
    kept=(Kept("w", "float32", "mV", "receptive vector; as a query shows it, its length", vector=True),),
    check=_check,
)
