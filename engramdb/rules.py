"""Wiring rules: which neurons of one layer a neuron of another, or of the same, projects to.

A synapse is (pre, post, ordinal); whether self loops and repeated pairs can occur is stated for each rule. Rows of a
*virtual* rule are computed from (seed, bundle, id) whenever they are needed and cost nothing until a neuron fires; the
others are built when the engram is created.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from engramdb.distribution import Value, is_number, normalized

MAX_SPAN = 2**30
Domain = tuple[tuple[int, int], ...]  # (segment, size) of each segment of a layer, by segment
Problem = tuple[str, str]  # field of the rule, what is wrong


@dataclass(frozen=True)
class Rule:
    """Base of all wiring rules. ``weight`` (mV): number, pair or distribution; given here or in the projection."""

    weight: Value | tuple[float, float] | None = field(default=None, kw_only=True)
    virtual: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            if isinstance(value, np.generic):
                value = value.item()
            if parameter.name in ("weight", "p", "long_fraction"):
                value = normalized(value)
            object.__setattr__(self, parameter.name, value)

    def problems(self, pre: Domain, post: Domain, onto_itself: bool) -> Iterator[Problem]:
        """What is wrong with the rule between layers of these segments; ``onto_itself``: they are one layer."""
        return iter(())


@dataclass(frozen=True)
class SmallWorld(Rule):
    """``k`` synapses of each neuron onto its own layer: mostly near, some far (after Watts & Strogatz 1998).

    The layer is a ring. A row has floor(k ``long_fraction`` + u) long synapses, u uniform in [0, 1) for each neuron;
    they end anywhere in the layer, spread as in :class:`FixedOutdegree`, so a self loop or a repeated pair is possible
    though rare. The others end at distinct neurons at most ``span`` places away, never at the neuron itself. The layer
    must have more than 2 ``span`` neurons.
    """

    k: int
    long_fraction: float = 0.1
    span: int = 50
    virtual: ClassVar[bool] = True

    def problems(self, pre: Domain, post: Domain, onto_itself: bool) -> Iterator[Problem]:
        if not onto_itself:
            yield "rule", "SmallWorld joins a layer to itself; between layers use FixedOutdegree"
        yield from _count_problems("k", self.k, neurons_of(post), "the layer has")
        yield from _fraction_problems("long_fraction", self.long_fraction)
        widest = min((neurons_of(post) - 1) // 2, MAX_SPAN)
        yield from _count_problems("span", self.span, widest, "2 span + 1 neurons must fit the layer, which allows")
        if is_whole(self.k) and is_number(self.long_fraction) and is_whole(self.span):
            local = self.k - int(self.k * self.long_fraction)
            if 2 * self.span < local:
                yield "span", f"{self.span} reaches {2 * self.span} neurons, but a row has {local} near synapses"


@dataclass(frozen=True)
class FixedOutdegree(Rule):
    """``k`` synapses of each neuron, onto targets anywhere in the post layer.

    In-degrees spread as in a random graph: nearly binomial, with the exact mean and 15/16 to all of the variance that
    independent draws would give. Self loops and repeated pairs can occur.
    """

    k: int
    virtual: ClassVar[bool] = True

    def problems(self, pre: Domain, post: Domain, onto_itself: bool) -> Iterator[Problem]:
        yield from _count_problems("k", self.k, neurons_of(post), "the post layer has")


@dataclass(frozen=True)
class OneToOne(Rule):
    """One synapse of each neuron, onto the neuron at the same position of the post layer, segments end to end.

    A neuron whose counterpart did not exist when it was grown has none: grow the post layer first. Onto the same layer
    every synapse is a self loop.
    """

    virtual: ClassVar[bool] = True

    def problems(self, pre: Domain, post: Domain, onto_itself: bool) -> Iterator[Problem]:
        if neurons_of(pre) != neurons_of(post):
            yield "rule", f"OneToOne needs layers of one size, not {neurons_of(pre)} and {neurons_of(post)} neurons"


@dataclass(frozen=True)
class FixedIndegree(Rule):
    """``k`` synapses onto each neuron, from sources anywhere in the pre layer. Self loops and repeats can occur."""

    k: int

    def problems(self, pre: Domain, post: Domain, onto_itself: bool) -> Iterator[Problem]:
        yield from _count_problems("k", self.k, neurons_of(pre), "the pre layer has")


@dataclass(frozen=True)
class Bernoulli(Rule):
    """Each pair of neurons is joined with probability ``p``. Self loops can occur, repeated pairs cannot."""

    p: float

    def problems(self, pre: Domain, post: Domain, onto_itself: bool) -> Iterator[Problem]:
        yield from _fraction_problems("p", self.p)


@dataclass(frozen=True)
class Explicit(Rule):
    """No synapses by rule: they come from an import or from ``connect``, self loops and repeated pairs as given."""


RULES: dict[str, type[Rule]] = {
    kind.__name__: kind for kind in (SmallWorld, FixedOutdegree, OneToOne, FixedIndegree, Bernoulli, Explicit)
}


def neurons_of(domain: Domain) -> int:
    """Neurons in all segments."""
    return sum(size for _, size in domain)


def is_whole(value: object) -> bool:
    """Whether ``value`` is an int; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _count_problems(field: str, value: Any, top: int, whose: str) -> Iterator[Problem]:
    if not is_whole(value):
        yield field, f"must be a whole number, not {value!r}"
    elif value < 1:
        yield field, f"must be at least 1, not {value}"
    elif value > top:
        yield field, f"{value} is too many: {whose} {top}"


def _fraction_problems(field: str, value: Any) -> Iterator[Problem]:
    if not is_number(value) or not 0 <= value <= 1:
        yield field, f"must be a number in 0..1, not {value!r}"
