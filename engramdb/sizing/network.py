"""What a network is asked to be before there is one: the numbers from which its size follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import engramdb
from engramdb import models
from engramdb.errors import InvalidInput
from engramdb.layer import Layer
from engramdb.spec import Spec

RANDOM, SMALL_WORLD = "random", "small-world"
WIRINGS = (RANDOM, SMALL_WORLD)
LEARNING = ("none", "stdp", "hebbian", "re_vgsp")
WEIGHTS = ("float32", "float16", "int8")
SPAN, LONG_FRACTION = 50, 0.1  # of the small world
LARGEST_SEGMENT = 4 * 10**9
_WEIGHT_STEP = 1 / 80  # of int8 weights, mV
_WHOLE_TICKS = {"lif_shiu": {"refractory": 2.0}}  # of 1 ms: its own is no whole number of them
_MOST_NEURONS = 65536 * LARGEST_SEGMENT


@dataclass(frozen=True)
class Network:
    """One layer of ``neurons`` that project to ``k`` others each, of which a part is in use.

    - ``active``: the part that holds its rows in RAM and is awake; of ``materialized`` networks every row is on disk
      too, of virtual ones only the records of those that were active are.
    - ``firing``: the part of the active ones that spikes in a tick.
    - ``driven``: input events in a tick, for each active neuron.
    - ``dimension``: D, of receptive vectors; of ``dense_lif`` alone.
    - ``weight_mv``: the range from which each weight is drawn; equal ends give one weight to all, which costs nothing
      on disk.
    - ``threads``: of the engine.
    """

    neurons: int
    k: int = 12
    active: float = 1.0
    firing: float = 0.036
    driven: float = 0.0
    model: str = "lif"
    learning: str = "none"
    weights: str = "float32"
    wiring: str = SMALL_WORLD
    materialized: bool = False
    dimension: int = 768
    weight_mv: tuple[float, float] = (0.5, 1.5)
    threads: int = 1
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.neurons <= _MOST_NEURONS:
            raise InvalidInput(f"neurons={self.neurons}: give 1 to {_MOST_NEURONS:,}")
        most = 2 * self.span if self.wiring == SMALL_WORLD else self.neurons - 1
        if not 0 <= self.k <= most:
            raise InvalidInput(
                f"k={self.k}: {self.neurons:,} neurons wired {self.wiring} can have 0 to {most} synapses"
            )
        for name in ("active", "firing", "driven"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"{name}={getattr(self, name)}: give a fraction from 0 to 1")
        for name, known in (("learning", LEARNING), ("weights", WEIGHTS), ("wiring", WIRINGS)):
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name}={getattr(self, name)}: known: {', '.join(known)}")
        if not models.known(self.model):
            raise InvalidInput(f'unknown neuron model "{self.model}"; {models.unknown(self.model)}')
        if self.learning != "none" and self.model in ("dense_lif", "void"):
            raise InvalidInput(f"{self.model} learns by itself; leave learning={self.learning} out")
        if self.dimension < 1:
            raise InvalidInput(f"dimension={self.dimension}: give 1 or more")

    @property
    def dense(self) -> bool:
        """Whether neurons have receptive vectors, over the dimension D, instead of rows."""
        return self.model == "dense_lif"

    @property
    def synapses(self) -> int:
        """Of each neuron."""
        return 0 if self.dense else self.k

    @property
    def active_neurons(self) -> int:
        return round(self.neurons * self.active)

    @property
    def spikes(self) -> float:
        """In a tick."""
        return self.active_neurons * self.firing

    @property
    def long_fraction(self) -> float:
        """The part of the synapses that may lead anywhere."""
        return 1.0 if self.wiring == RANDOM else LONG_FRACTION

    @property
    def span(self) -> int:
        """Of the small world: how far near targets lie at most."""
        return min(SPAN, (min(self.neurons, LARGEST_SEGMENT) - 1) // 2)

    def spec(self, seed: int = 1) -> Spec:
        """One layer that is so."""
        sizes = [LARGEST_SEGMENT] * (self.neurons // LARGEST_SEGMENT)
        sizes += [self.neurons % LARGEST_SEGMENT] if self.neurons % LARGEST_SEGMENT else []
        low, high = self.weight_mv
        weight: Any = low if low == high else self.weight_mv
        wiring: Any = None
        if self.synapses:
            wiring = engramdb.SmallWorld(k=self.k, long_fraction=LONG_FRACTION, span=self.span, weight=weight)
            if self.wiring == RANDOM:
                wiring = engramdb.FixedOutdegree(k=self.k, weight=weight)
        rules: dict[str, list[Any]] = {
            "none": [],
            "stdp": [engramdb.STDP(w_max=4 * high)],
            "hebbian": [engramdb.Hebbian(w_max=4 * high, eta=high / 1000)],
            "re_vgsp": [engramdb.ReVGSP(w_max=4 * high)],
        }
        params = {
            **({"dimension": self.dimension} if self.dense else {}),
            **_WHOLE_TICKS.get(self.model, {}),
            **self.params,
        }
        layer = Layer(
            "neurons", model=self.model, params=params, segments=sizes, wiring=wiring, weights=self.weights,
            weight_step=_WEIGHT_STEP if self.weights == "int8" else None, plasticity=rules[self.learning],
            materialize=self.materialized and not self.dense,
        )  # fmt: skip
        return Spec(seed=seed, layers=[layer])
