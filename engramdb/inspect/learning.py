"""What projections that learn have come to: the spread of their weights, and of their eligibilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from engramdb.address import by_layer
from engramdb.growth.bundle import Bundles
from engramdb.inspect.histogram import LinearHistogram
from engramdb.inspect.layers import Spread, Values
from engramdb.inspect.words import said
from engramdb.learning import ReVGSP
from engramdb.query.synapses import whole_rows
from engramdb.spec import Projection, Spec
from engramdb.state import State
from engramdb.store import Store

_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class LearningSummary:
    """A projection that learns: its ``rules`` and how its synapses stand.

    ``weights`` (mV) are over the stored synapses: neurons that have learned nothing yet may have their row from a rule.
    ``eligibility`` is over the synapses that have any; None where no rule keeps it.
    """

    rules: tuple[str, ...]
    weights: Values
    eligibility: Values | None


def learning_projections(spec: Spec) -> dict[int, Spread]:
    """By number of the projection, room for the weights of those that learn."""
    return {number: Spread(LinearHistogram()) for number, p in enumerate(spec.all_projections) if p.plasticity}


def eligibility(store: Store, bundles: Bundles, state: State) -> dict[int, Spread]:
    """By number of the projection, how eligible its synapses are, of those that are."""
    numbers = [n for n, p in enumerate(store.spec.all_projections) if any(isinstance(r, ReVGSP) for r in p.plasticity)]
    found = {number: Spread(LinearHistogram()) for number in numbers}
    if "eligible_id" not in state:
        return found
    from engramdb.wiring import Wiring  # with its kernels, which nothing else here needs

    stops = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(state["eligible_synapses"])])
    for _, part in by_layer(state["eligible_id"]):
        for start in range(part.start, part.stop, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, part.stop)
            rows = whole_rows(state["eligible_id"][start:stop], store, lambda: Wiring(store.spec, bundles))
            values = state["eligible_value"][stops[start] : stops[stop]]
            for number, spread in found.items():
                spread.add(values[(rows.projection == number) & (values != 0)])
    return found


def learning_summary(
    projection: Projection, number: int, learned: Mapping[int, Spread], eligible: Mapping[int, Spread]
) -> LearningSummary | None:
    """That of one projection; None where it learns nothing."""
    if number not in learned:
        return None
    rules = tuple(f"{rule.rule}({', '.join(_given(vars(rule)))})" for rule in projection.plasticity)
    return LearningSummary(rules, learned[number].result(), eligible[number].result() if number in eligible else None)


def _given(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield f"{name}={said(value) if is_dataclass(value) else value}"
