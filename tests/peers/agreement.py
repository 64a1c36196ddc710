"""What two runs of one network have in common, and the bounds within which it must lie."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tests.peers import double
from tests.peers.double import Network

LARGEST_TIE_MV = 0.005
"""Of the potential, in double precision, from the threshold where rasters part: what is nearer to rest than some
0.001 mV is put to rest here and not there, and several such steps can add up."""
LARGEST_DOUBLE_TIE_MV = 1e-9  # where two simulators part that both step in double precision
_BIN_MS = 10.0
_PAIRED = 200  # neurons, the busiest


@dataclass(frozen=True)
class Bounds:
    """Largest differences; the least correlation of the neurons' spike counts, where there must be one."""

    rate: float
    cv: float
    pairs: float
    counts: float | None


STEADY = Bounds(rate=0.01, cv=0.02, pairs=0.01, counts=0.99)
CHAOTIC = Bounds(rate=0.02, cv=0.02, pairs=0.01, counts=None)


@dataclass(frozen=True)
class Spikes:
    """``tick`` and ``neuron``, int64, of ``n`` neurons in ``ticks`` ticks."""

    tick: np.ndarray
    neuron: np.ndarray
    n: int
    ticks: int
    dt_ms: float

    @property
    def pairs(self) -> set[tuple[int, int]]:
        return set(zip(self.tick.tolist(), self.neuron.tolist(), strict=True))

    @property
    def counts(self) -> np.ndarray:
        """Spikes of each neuron."""
        return np.bincount(self.neuron, minlength=self.n)

    @property
    def rate_hz(self) -> float:
        """Mean over all neurons."""
        return len(self.tick) / self.n / (self.ticks * self.dt_ms / 1000)

    def variation(self) -> float:
        """Mean coefficient of variation of the intervals of neurons with at least five."""
        order = np.lexsort((self.tick, self.neuron))
        tick, neuron = self.tick[order], self.neuron[order]
        values = []
        for own in np.split(tick, np.flatnonzero(np.diff(neuron)) + 1):
            intervals = np.diff(own)
            if len(intervals) >= 5:
                values.append(intervals.std() / intervals.mean())
        return float(np.mean(values))

    def pair_correlation(self, neurons: np.ndarray) -> float:
        """Mean correlation of the spike counts in bins of 10 ms over all pairs of ``neurons`` that fire at all."""
        width = max(1, round(_BIN_MS / self.dt_ms))
        bins = -(-self.ticks // width)
        place = np.full(self.n, -1)
        place[neurons] = np.arange(len(neurons))
        own = place[self.neuron] >= 0
        binned = np.zeros((len(neurons), bins))
        np.add.at(binned, (place[self.neuron[own]], (self.tick[own] - 1) // width), 1)
        binned = binned[binned.std(axis=1) > 0]
        matrix = np.corrcoef(binned)
        return float((matrix.sum() - len(matrix)) / (len(matrix) * (len(matrix) - 1)))


@dataclass(frozen=True)
class Agreement:
    """A run here beside one in a peer, ``here`` and ``there``."""

    peer: str
    bounds: Bounds
    here: Spikes
    there: Spikes
    identical_spikes: int  # before the first tick with a difference
    common_spikes: int  # in all
    first_difference: int | None  # tick
    explanation: str
    tie_mv: float
    double_until: int | None  # tick from which the float64 twin and the peer differ
    double_tie_mv: float
    cv: tuple[float, float]
    pair_correlation: tuple[float, float]
    count_correlation: float

    def broken_bounds(self) -> list[str]:
        """What lies outside, in words."""
        broken = []
        if not self.tie_mv <= LARGEST_TIE_MV:
            broken.append(f"the first difference, {self.tie_mv:.4f} mV from threshold, is no tie")
        if not self.double_tie_mv <= LARGEST_DOUBLE_TIE_MV:
            broken.append(f"the float64 twin is another, {self.double_tie_mv:.1e} mV from threshold")
        if not abs(self.there.rate_hz / self.here.rate_hz - 1) <= self.bounds.rate:
            broken.append(f"rates {self.here.rate_hz:.3f} and {self.there.rate_hz:.3f} Hz")
        if not abs(self.cv[0] - self.cv[1]) <= self.bounds.cv:
            broken.append(f"CV {self.cv[0]:.3f} and {self.cv[1]:.3f}")
        if not abs(self.pair_correlation[0] - self.pair_correlation[1]) <= self.bounds.pairs:
            broken.append(f"correlation of pairs {self.pair_correlation[0]:.4f} and {self.pair_correlation[1]:.4f}")
        if self.bounds.counts is not None and not self.count_correlation >= self.bounds.counts:
            broken.append(f"correlation of spike counts {self.count_correlation:.4f}")
        return broken


def agreement(peer: str, network: Network, here: Spikes, there: Spikes, twin: Spikes, bounds: Bounds) -> Agreement:
    """Compare; ``twin``: the run of the float64 twin, which tells what becomes of the last digits."""
    ours, theirs = here.pairs, there.pairs
    first, who = first_difference(ours, theirs)
    twin_first, twin_who = first_difference(twin.pairs, theirs)
    asked = {tick: places for tick, places in ((first, who), (twin_first, twin_who)) if tick is not None}
    margins = double.run(replace(network, ticks=max(asked, default=0)), ask=tuple(asked)).asked if asked else {}
    tie = float(np.abs(margins[first][who]).max()) if first is not None else 0.0
    twin_tie = float(np.abs(margins[twin_first][twin_who]).max()) if twin_first is not None else 0.0
    explanation = "every spike is the same"
    if first is not None:
        where = "here only" if (first, who[0]) in ours else f"in {peer} only"
        more = f" and {len(who) - 1} more" if len(who) > 1 else ""
        margin = margins[first][who[0]]
        explanation = f"neuron {who[0]}{more} fires {where}; in double precision {margin:+.1e} mV from threshold"
    busiest = np.argsort(-(here.counts + there.counts), kind="stable")[:_PAIRED]
    return Agreement(
        peer=peer, bounds=bounds, here=here, there=there,
        identical_spikes=sum(first is None or tick < first for tick, _ in ours), common_spikes=len(ours & theirs),
        first_difference=first, explanation=explanation, tie_mv=tie, double_until=twin_first, double_tie_mv=twin_tie,
        cv=(here.variation(), there.variation()),
        pair_correlation=(here.pair_correlation(busiest), there.pair_correlation(busiest)),
        count_correlation=float(np.corrcoef(here.counts, there.counts)[0, 1]),
    )  # fmt: skip


def first_difference(ours: set[tuple[int, int]], theirs: set[tuple[int, int]]) -> tuple[int | None, list[int]]:
    """The first tick whose spikes differ, and the neurons that fire in one run only; None and no neuron if none."""
    differ = ours ^ theirs
    if not differ:
        return None, []
    first = min(differ)[0]
    return first, sorted(neuron for tick, neuron in differ if tick == first)
