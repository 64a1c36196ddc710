"""What kernels take instead of learning rules, and how long spikes have to be remembered for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.growth.bundle import Bundles
from engramdb.kernels import plasticity as kernel
from engramdb.kernels.pairs import TICKS
from engramdb.layer import Projection
from engramdb.learning.hebbian import Hebbian
from engramdb.learning.re_vgsp import ReVGSP
from engramdb.learning.rule import Bounded
from engramdb.learning.scaling import Scaling
from engramdb.learning.stdp import MULTIPLICATIVE, STDP
from engramdb.spec import Spec

_BITS = 64


@dataclass(frozen=True)
class Tables:
    """The learning rules of an engram.

    - ``window``: ticks between the two spikes of a pair at most; ``horizon``: and the longest delay besides.
    - ``remembered``: for how many ticks a spike is; ``stride``: words of uint64 that the history of a neuron takes.
    - ``learning``, ``noted``: uint8 (L,), by position of the layer: whose rows learn, and whose spikes are remembered.
    - ``modulated``: by rule, its parameters where rewards modulate it, else None; ``posts``: by rule, the position of
      the layer that it projects to; ``dt_ms``: of a tick;
      ``one_delay``: whether all synapses of the engram have the same.
    - ``projection``: uint16, the number of the projection of each pair of a projection and a segment.
    """

    rules: kernel.Rules
    window: int
    horizon: int
    learning: npt.NDArray[np.uint8]
    noted: npt.NDArray[np.uint8]
    projection: npt.NDArray[np.uint16]
    modulated: tuple[ReVGSP | None, ...]
    posts: tuple[int, ...]
    one_delay: bool
    dt_ms: float

    @property
    def keeps_traces(self) -> bool:
        """Whether synapses have eligibilities."""
        return any(rule is not None for rule in self.modulated)

    @property
    def remembered(self) -> int:
        # an arrival looks at what the one before it, at most a horizon earlier, paired with: a horizon before that
        return 2 * self.horizon + 1

    @property
    def stride(self) -> int:
        return 1 + -(-self.remembered // _BITS)


def tables_of(spec: Spec, bundles: Bundles) -> Tables:
    """The tables of a spec in which some projection learns."""
    projections = [p for p in spec.all_projections if p.plasticity]
    number = {p.name: n for n, p in enumerate(projections)}
    pairs = [next(rule for rule in p.plasticity if isinstance(rule, Bounded)) for p in projections]
    plus, minus = [rule.plus(spec.dt_ms) for rule in pairs], [rule.minus(spec.dt_ms) for rule in pairs]
    found = [_constants(p, rule) for p, rule in zip(projections, pairs, strict=True)]
    window = max(len(table) for table in (*plus, *minus)) - 1
    horizon = window + max(spec.delay_range(p)[1] for p in projections)
    segments = {layer.index: sum(index == layer.index for index, _ in bundles.sizes) for layer in spec.layers}
    of_pair = [
        (at, number.get(p.name, -1))
        for at, p in enumerate(spec.all_projections)
        for _ in range(segments[spec.layer(p.post).index])
    ]
    rules = kernel.Rules(
        of_pair=np.array([rule for _, rule in of_pair], dtype=np.int16),
        kind=np.array([_kind(rule) for rule in pairs], dtype=np.uint8),
        plus=_padded(plus, 2 * window + 2 + TICKS), minus=_padded(minus, horizon + 2),
        **{
            name: np.array([rule[name] for rule in found], dtype=np.float64)
            for name in ("sign", "low", "high", "rate", "scale_to", "scale_rate")
        },
    )  # fmt: skip
    learning, noted = (np.zeros(len(spec.layers), dtype=np.uint8) for _ in range(2))
    for position, layer in enumerate(spec.layers):
        learning[position] = any(p.pre == layer.name for p in projections)
        noted[position] = learning[position] or any(p.post == layer.name for p in projections)
    place = {layer.name: position for position, layer in enumerate(spec.layers)}
    return Tables(
        rules, window, horizon, learning, noted, np.array([at for at, _ in of_pair], np.uint16),
        modulated=tuple(rule if isinstance(rule, ReVGSP) else None for rule in pairs),
        posts=tuple(place[p.post] for p in projections), dt_ms=spec.dt_ms,
        one_delay=len({ticks for p in spec.all_projections for ticks in spec.delay_range(p)}) == 1,
    )  # fmt: skip


def _kind(rule: Bounded) -> int:
    if isinstance(rule, Hebbian):
        return kernel.HEBBIAN
    if isinstance(rule, ReVGSP):
        return kernel.ELIGIBLE
    assert isinstance(rule, STDP)
    return kernel.MULTIPLICATIVE if rule.update == MULTIPLICATIVE else kernel.ADDITIVE


def _constants(projection: Projection, pairs: Bounded) -> dict[str, float]:
    scaling = [rule for rule in projection.plasticity if isinstance(rule, Scaling)]
    return {
        "rate": pairs.eta if isinstance(pairs, Hebbian) else 0.0,
        "sign": float(projection.sign or 1), "low": pairs.w_min, "high": pairs.w_max,
        "scale_to": scaling[0].mean if scaling else 0.0, "scale_rate": scaling[0].rate if scaling else 0.0,
    }  # fmt: skip


def _padded(tables: list[npt.NDArray[np.int64]], length: int) -> npt.NDArray[np.int64]:
    out = np.zeros((len(tables), length), dtype=np.int64)
    for row, table in zip(out, tables, strict=True):
        row[: len(table)] = table
    return out
