"""Spec: what an engram is made of.

>>> spec = Spec(seed=7, layers=[Layer("cortex", segments=[1_000_000], wiring=SmallWorld(k=12, weight=(0.5, 1.5)))])
>>> spec
<Spec: seed 7, 1 layer, 1,000,000 neurons, 1 projection>

The same in TOML::

    seed = 7

    [[layers]]
    name = "cortex"
    segments = [1_000_000]
    wiring = { rule = "SmallWorld", k = 12, weight = [0.5, 1.5] }
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import delays, document, validation
from engramdb.delays import DelayArray
from engramdb.distribution import Constant, Distribution, LogNormal, Normal, Uniform, Value, normalized
from engramdb.errors import NotFound
from engramdb.layer import Layer, Projection, Segment
from engramdb.rules import RULES, Bernoulli, Explicit, FixedIndegree, FixedOutdegree, OneToOne, Rule, SmallWorld


@dataclass(frozen=True, repr=False)
class Spec:
    """Seed, layers and projections of an engram, checked when made: :class:`InvalidSpec` names the wrong field.

    - ``seed``: 0..2^64-1; with it every random number of the engram is given.
    - ``layers``, ``projections``: sequences; kept as tuples, layers with their index filled in.
    - ``dt_ms``: milliseconds a tick.
    """

    seed: int = 0
    layers: Sequence[Layer] = ()
    projections: Sequence[Projection] = ()
    dt_ms: float = 1.0
    name: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        layers: Any = self.layers
        projections: Any = self.projections
        if isinstance(layers, Iterable) and not isinstance(layers, (str, Mapping)):
            layers = tuple(
                layer.numbered(position) if isinstance(layer, Layer) else layer for position, layer in enumerate(layers)
            )
        if isinstance(projections, Iterable) and not isinstance(projections, (str, Mapping)):
            projections = tuple(projections)
        object.__setattr__(self, "seed", self.seed.item() if hasattr(self.seed, "item") else self.seed)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "projections", projections)
        object.__setattr__(self, "dt_ms", normalized(self.dt_ms))
        self.validate()

    def __repr__(self) -> str:
        layers, projections = len(self.layers), len(self.all_projections)
        return (
            f"<Spec{' ' + repr(self.name) if self.name else ''}: seed {self.seed}, "
            f"{layers} layer{'s' * (layers != 1)}, {self.neurons:,} neurons, "
            f"{projections} projection{'s' * (projections != 1)}>"
        )

    def validate(self) -> None:
        """Raise :class:`InvalidSpec` for the first field that is wrong. Called whenever a spec is made."""
        validation.check(self)

    @cached_property
    def all_projections(self) -> tuple[Projection, ...]:
        """Wirings of the layers, in their order, then the projections; the position is the projection's number."""
        wirings = [
            Projection(
                layer.name,
                layer.name,
                layer.wiring,
                delay_ms=layer.delay_ms,
                plasticity=layer.plasticity,
                name=layer.name,
            )
            for layer in self.layers
            if layer.wiring is not None
        ]
        return (*wirings, *self.projections)

    @property
    def neurons(self) -> int:
        """Neurons as declared, in all layers."""
        return sum(layer.neurons for layer in self.layers)

    def layer(self, name_or_index: str | int) -> Layer:
        """The layer of that name, or of that index; :class:`NotFound` says which there are."""
        for layer in self.layers:
            if name_or_index == (layer.name if isinstance(name_or_index, str) else layer.index):
                return layer
        if isinstance(name_or_index, str):
            near = validation.nearest(name_or_index, [layer.name for layer in self.layers])
            raise NotFound(f'there is no layer "{name_or_index}"; {near}')
        known = ", ".join(str(layer.index) for layer in self.layers)
        raise NotFound(f"there is no layer with index {name_or_index}; known: {known}")

    def delay_ticks(self, projection: Projection) -> int:
        """The delay of one of ``all_projections`` in ticks, at least 1; the mean where its synapses have their own."""
        return delays.mean_ticks(self.delay_of(projection), self.dt_ms)

    @cached_property
    def delays(self) -> npt.NDArray[np.int64]:
        """The delay in ticks of each of ``all_projections``, by number; int64. The mean where it varies."""
        return np.array([self.delay_ticks(projection) for projection in self.all_projections], dtype=np.int64)

    @staticmethod
    def delay_of(projection: Projection) -> Value:
        """The delay in ms of one of ``all_projections``: a number, or what each synapse draws its own from."""
        delay: Any = projection.delay_ms  # a pair is a distribution since the projection was made
        value: Value = delay
        return value

    def delay_range(self, projection: Projection) -> tuple[int, int]:
        """The least and the longest delay, in ticks, that a synapse of one of ``all_projections`` can have."""
        return delays.delay_range(self.delay_of(projection), self.dt_ms)

    @cached_property
    def varying_delays(self) -> bool:
        """Whether synapses of one projection can have several delays: then all are kept with their synapses."""
        return any(least < longest for least, longest in map(self.delay_range, self.all_projections))

    @cached_property
    def learns(self) -> bool:
        """Whether any projection has a learning rule."""
        return any(projection.plasticity for projection in self.all_projections)

    def ticks_of(self, projection: npt.NDArray[np.uint16], delay: DelayArray | None) -> npt.NDArray[np.int64]:
        """Delays in ticks of synapses of the numbered projections: their own, or those of the projections."""
        return self.delays[projection] if delay is None else delay.astype(np.int64)

    def to_document(self) -> dict[str, Any]:
        """The spec as plain dicts, lists, numbers and text: the shape of its TOML and JSON forms."""
        return document.from_spec(self)

    @classmethod
    def from_document(cls, content: object) -> Spec:
        """The spec of such a document. An unknown or missing key raises :class:`InvalidSpec` naming it."""
        return cls(**document.arguments(content))

    def to_json(self) -> str:
        """One line of JSON from which :meth:`from_json` makes an equal spec."""
        return document.write_json(self.to_document())

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The spec written as JSON."""
        return cls.from_document(document.read_json(text))

    @classmethod
    def from_toml(cls, path_or_text: str | os.PathLike[str]) -> Spec:
        """The spec in a TOML file, or in a text that has a line break or ``=`` in it.

        :class:`NotFound` where there is no such file; bad syntax raises :class:`InvalidSpec` with file and line.
        """
        return cls.from_document(document.read_toml(path_or_text))


__all__ = [
    "RULES",
    "Bernoulli",
    "Constant",
    "Distribution",
    "Explicit",
    "FixedIndegree",
    "FixedOutdegree",
    "Layer",
    "LogNormal",
    "Normal",
    "OneToOne",
    "Projection",
    "Rule",
    "Segment",
    "SmallWorld",
    "Spec",
    "Uniform",
]
