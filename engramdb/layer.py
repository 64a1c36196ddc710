"""Layers, their segments, and the projections that join them: what a :class:`~engramdb.spec.Spec` is made of.

These values only bring their fields into one form (numbers to float, lists to tuples); what they mean together, and
every error, is the business of the spec that holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engramdb.distribution import Distribution, Value, normalized
from engramdb.learning.rule import LearningRule
from engramdb.rules import Domain, Rule, neurons_of


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _learning(value: Any) -> Any:
    return (value,) if isinstance(value, (LearningRule, str)) else _listed(value)


def _listed(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        return tuple(value)
    return value


@dataclass(frozen=True)
class Segment:
    """A stretch of a layer: ``index`` 0..65535, ``size`` neurons (1..2^32) with local ids 0..size-1."""

    index: int
    size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", _plain(self.index))
        object.__setattr__(self, "size", _plain(self.size))


def _segment(position: int, value: Any) -> Any:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return Segment(value[0], value[1])
    return value if isinstance(value, (Segment, str, float)) or value is None else Segment(position, value)


@dataclass(frozen=True, repr=False)
class Layer:
    """Neurons of one model. ``wiring`` is short for one projection of the layer onto itself, named like the layer.

    - ``index``: 0..65535, the upper 16 bits of its ids; by default its position in the spec.
    - ``params``: parameters of ``model``; numbers, or distributions where the model allows them.
    - ``segments``: sizes (then numbered from 0), :class:`Segment`, or pairs (index, size).
    - ``delay_ms``, ``plasticity``: of ``wiring``, as in :class:`Projection`.
    - ``materialize``: write the rows of virtual rules out when the engram is created.
    - ``weights``: "float32", "float16" or "int8"; the weight of every synapse of its neurons is rounded to that when it
      comes to be, with "int8" to a whole number, up to 127, of ``weight_step`` mV.
    - ``columns``: parameters of which a neuron may be given a value of its own, stored with it; see
      :meth:`engramdb.Engram.set_parameters`.
    """

    name: str
    index: int = None  # type: ignore[assignment]  # the spec fills it in
    model: str = "lif"
    params: Mapping[str, float | tuple[float, float] | Distribution] = field(default_factory=dict)
    segments: Sequence[int | Segment | tuple[int, int]] = ()
    wiring: Rule | None = None
    delay_ms: Value | tuple[float, float] = 1.0
    materialize: bool = False
    weights: str = "float32"
    weight_step: float | None = None
    columns: Sequence[str] = ()
    plasticity: Sequence[LearningRule] = ()

    def __post_init__(self) -> None:
        segments = _listed(self.segments)
        if isinstance(segments, tuple):
            segments = tuple(_segment(position, value) for position, value in enumerate(segments))
        params: Any = self.params
        if isinstance(params, Mapping):
            params = {name: normalized(value) for name, value in params.items() if value is not None}
        object.__setattr__(self, "index", _plain(self.index))
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "delay_ms", normalized(self.delay_ms))
        object.__setattr__(self, "materialize", _plain(self.materialize))
        object.__setattr__(self, "weight_step", normalized(self.weight_step))
        columns = (self.columns,) if isinstance(self.columns, str) else _listed(self.columns)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "plasticity", _learning(self.plasticity))

    def __hash__(self) -> int:
        return hash((self.name, self.index))

    def __repr__(self) -> str:
        return f"<Layer {self.name!r}: {self.neurons:,} neurons, {self.model}>"

    def numbered(self, position: int) -> Layer:
        """This layer with ``position`` as its index, unless it has one."""
        index: int | None = self.index
        return replace(self, index=position) if index is None else self

    @property
    def domain(self) -> Domain:
        """(segment, size) as declared, in order of segments. What grew later is in the bundles."""
        return tuple(sorted((s.index, s.size) for s in self.segments if isinstance(s, Segment)))

    @property
    def neurons(self) -> int:
        """Neurons as declared, in all segments."""
        return neurons_of(self.domain)


@dataclass(frozen=True)
class Projection:
    """Synapses from the layer named ``pre`` to the layer named ``post``.

    - ``weight``: mV, a number, pair or distribution; given in the rule instead, it moves here; 1 if in neither.
    - ``delay_ms``: a whole number of ticks, at least one; or a pair or distribution, from which each synapse draws its
      own, rounded to whole ticks, at least one. Of synapses that are given it is the range they may have.
    - ``sign``: +1 or -1 multiplies the weights, which then are magnitudes; None leaves them as given.
    - ``plasticity``: learning rules, see :mod:`engramdb.learning`: one for pairs of spikes, and others beside it.
    - ``name``: ``pre->post`` unless given.
    """

    pre: str
    post: str
    rule: Rule
    weight: Value | tuple[float, float] | None = None
    delay_ms: Value | tuple[float, float] = 1.0
    sign: int | None = None
    plasticity: Sequence[LearningRule] = ()
    name: str = ""

    def __post_init__(self) -> None:
        weight = normalized(self.weight)
        if weight is None and isinstance(self.rule, Rule):
            weight = 1.0 if self.rule.weight is None else self.rule.weight
            object.__setattr__(self, "rule", replace(self.rule, weight=None))
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "delay_ms", normalized(self.delay_ms))
        object.__setattr__(self, "sign", _plain(self.sign))
        object.__setattr__(self, "plasticity", _learning(self.plasticity))
        if not self.name:
            object.__setattr__(self, "name", f"{self.pre}->{self.post}")
