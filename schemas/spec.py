"""The shape of a spec document (TOML, JSON, HTTP), and the JSON Schema that editors complete and check it with.

Only keys and types: whether the values make sense together is judged by :class:`engramdb.spec.Spec` alone.
``python -m engramdb.schemas.spec`` writes ``spec.schema.json`` anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_FILE = Path(__file__).parent / "spec.schema.json"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Normal(_Table):
    """Normal distribution, cut off at 4 standard deviations."""

    distribution: Literal["Normal"]
    mean: float
    sd: float


class LogNormal(_Table):
    """exp of a normal variable with this mean and standard deviation, cut off at 4 of them."""

    distribution: Literal["LogNormal"]
    mean: float
    sd: float


class Uniform(_Table):
    """Equally likely anywhere in [lo, hi); short: [lo, hi]."""

    distribution: Literal["Uniform"]
    lo: float
    hi: float


Pair = Annotated[list[float], Field(min_length=2, max_length=2, description="uniform in [lo, hi)")]
Value = float | Pair | Annotated[Normal | LogNormal | Uniform, Field(discriminator="distribution")]
Weight = Annotated[Value | None, Field(description="mV; 1 unless given")]
Delay = Annotated[Value, Field(description="of all synapses, or from what each draws its own; in whole ticks")]


class SmallWorld(_Table):
    """k synapses of each neuron onto its own layer, mostly at most span places away, some anywhere."""

    rule: Literal["SmallWorld"]
    k: int
    long_fraction: float = 0.1
    span: int = 50
    weight: Weight = None


class FixedOutdegree(_Table):
    """k synapses of each neuron, onto targets anywhere in the post layer."""

    rule: Literal["FixedOutdegree"]
    k: int
    weight: Weight = None


class OneToOne(_Table):
    """One synapse of each neuron, onto the neuron at the same position of the post layer."""

    rule: Literal["OneToOne"]
    weight: Weight = None


class FixedIndegree(_Table):
    """k synapses onto each neuron, from sources anywhere in the pre layer."""

    rule: Literal["FixedIndegree"]
    k: int
    weight: Weight = None


class Bernoulli(_Table):
    """Each pair of neurons is joined with probability p."""

    rule: Literal["Bernoulli"]
    p: float
    weight: Weight = None


class Explicit(_Table):
    """No synapses by rule: they are imported or connected."""

    rule: Literal["Explicit"]
    weight: Weight = None


class STDP(_Table):
    """Pair-based spike-timing-dependent plasticity; a_plus and a_minus are parts of the range of weights."""

    rule: Literal["stdp"]
    w_max: float
    w_min: float = 0.0
    a_plus: float = 0.01
    a_minus: float = 0.0105
    tau_plus_ms: float = 20.0
    tau_minus_ms: float = 20.0
    update: Literal["additive", "multiplicative"] = "additive"


class Hebbian(_Table):
    """Synapses gain eta for each postsynaptic spike within the window after an arrival."""

    rule: Literal["hebbian"]
    w_max: float
    w_min: float = 0.0
    eta: float = 0.01
    window_ms: float = 20.0


class ReVGSP(_Table):
    """Pairs of spikes, weighed by their phases, make synapses eligible for what a reward changes."""

    rule: Literal["re_vgsp"]
    w_max: float
    w_min: float = 0.0
    a_plus: float = 1.0
    a_minus: float = 1.05
    tau_plus_ms: float = 20.0
    tau_minus_ms: float = 20.0
    f_hz: float = 8.0
    eta: float = 0.01
    decay: float = 0.001
    interval_ms: float = 100.0


class Scaling(_Table):
    """What arrives over a row is moved towards the mean, beside another rule."""

    rule: Literal["scaling"]
    mean: float
    rate: float = 0.1


Plasticity = Annotated[
    list[Annotated[STDP | Hebbian | ReVGSP | Scaling, Field(discriminator="rule")]],
    Field(description="learning rules: one for pairs of spikes, and others beside it"),
]


class _Ends(_Table):
    """What every projection has beside its rule."""

    pre: str
    post: str
    delay_ms: Delay = 1.0
    sign: Literal[1, -1] | None = None
    plasticity: Plasticity = []
    name: str = ""


class SmallWorldProjection(_Ends, SmallWorld):
    """A projection of a layer onto itself, wired as a small world."""


class FixedOutdegreeProjection(_Ends, FixedOutdegree):
    """A projection with k synapses of each neuron."""


class OneToOneProjection(_Ends, OneToOne):
    """A projection between counterparts."""


class FixedIndegreeProjection(_Ends, FixedIndegree):
    """A projection with k synapses onto each neuron."""


class BernoulliProjection(_Ends, Bernoulli):
    """A projection in which each pair is joined with probability p."""


class ExplicitProjection(_Ends, Explicit):
    """A projection whose synapses are imported or connected."""


class Segment(_Table):
    """A stretch of a layer; short: its size, or [index, size]."""

    index: int
    size: int


Wiring = Annotated[
    SmallWorld | FixedOutdegree | OneToOne | FixedIndegree | Bernoulli | Explicit, Field(discriminator="rule")
]
Projection = Annotated[
    SmallWorldProjection
    | FixedOutdegreeProjection
    | OneToOneProjection
    | FixedIndegreeProjection
    | BernoulliProjection
    | ExplicitProjection,
    Field(discriminator="rule"),
]


class Layer(_Table):
    """Neurons of one model; wiring is one projection of the layer onto itself."""

    name: str
    index: int | None = None
    model: str = "lif"
    params: dict[str, Value] = {}
    segments: list[int | Annotated[list[int], Field(min_length=2, max_length=2)] | Segment]
    wiring: Wiring | None = None
    delay_ms: Delay = 1.0
    materialize: bool = False
    weights: Annotated[
        Literal["float32", "float16", "int8"], Field(description="what the weights of its synapses are rounded to")
    ] = "float32"
    weight_step: Annotated[float | None, Field(description="mV of one step of int8 weights")] = None
    columns: Annotated[list[str], Field(description="parameters that neurons may have values of their own of")] = []
    plasticity: Plasticity = []


class Spec(_Table):
    """What an engram is made of."""

    seed: int | Annotated[str, Field(pattern="^[0-9]{1,20}$", description="for seeds above 2^53")] = 0
    layers: list[Layer]
    projections: list[Projection] = []
    dt_ms: float = 1.0
    name: str = ""
    description: str = ""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a spec document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
