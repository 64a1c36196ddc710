"""Level 2: fixed random wedges, looked at again and again, for a trend without bias.

A sentinel is a random neuron, any with the same probability, and two of its targets: a wedge. As long as the neuron has
both synapses it is the same wedge at every visit; where one has gone, the next takes its place. As the engram grows,
just so many sentinels move to the new neurons as keep all equally likely.

A wedge is *closed* where its ends are joined to one another, and *on a hole* where they are not, but have a second
common neighbour to which the center is not joined: a cycle of four that nothing fills. Synapses among those four are
looked at either way; what else projects onto them is not known here, so that a second common neighbour is one that both
ends project to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.kernels import rng, sentinel
from engramdb.topology.moment import Moment


@dataclass(frozen=True)
class Sentinels:
    """What the sentinels show: of ``wedges``, the share that is ``closed``, and that is on ``holes``.

    ``moved``: the share of the wedges that are others than at the reading before; 0 at the first.
    """

    wedges: int
    closed: float
    holes: float
    moved: float

    @property
    def error(self) -> float:
        """One standard error of ``holes``: they are a sample."""
        return math.sqrt(self.holes * (1.0 - self.holes) / self.wedges) if self.wedges else 0.0


Wedges = npt.NDArray[np.uint64]
"""(n, 3): center, one end, the other; NOBODY for the ends of neurons with too few targets."""


def sentinels(moment: Moment, count: int, before: Wedges | None, least: float) -> tuple[Sentinels, Wedges]:
    """Visit ``count`` sentinels; also their wedges, to be handed in as ``before`` the next time."""
    center = moment.chosen(count, rng.TOPOLOGY_SENTINEL)
    near = _Near(moment, least)
    found = np.column_stack([center, near.wedges(center)])
    whole = found[found[:, 2] != sentinel.NOBODY] if len(found) else found.reshape(0, 3)
    near.read(whole[:, 1:].ravel())
    shared = [near[a] & near[c] - {b, a, c} for b, a, c in whole.tolist()]
    near.read(np.array(sorted(set().union(*shared)), dtype=np.uint64))
    closed = holes = 0
    for (b, a, c), fourth in zip(whole.tolist(), shared, strict=True):
        if c in near[a] or a in near[c]:
            closed += 1
        elif any(d not in near[b] and b not in near[d] for d in fourth):
            holes += 1
    moved = 0.0
    if before is not None and len(before) == len(found) and len(found):
        moved = float((before != found).any(axis=1).mean())
    n = len(whole)
    return Sentinels(n, closed / n if n else 0.0, holes / n if n else 0.0, moved), found


class _Near:
    """The targets of neurons, as sets of ids, read when they are needed."""

    def __init__(self, moment: Moment, least: float) -> None:
        self._moment, self._least = moment, least
        self._targets: dict[int, set[int]] = {}

    def __getitem__(self, neuron: int) -> set[int]:
        return self._targets[neuron]

    def read(self, ids: IdArray) -> tuple[IdArray, npt.NDArray[np.int64], IdArray]:
        """Read the rows of ``ids``; also gives those (sorted, distinct), where their rows begin, and the targets."""
        ids = np.unique(ids)
        rows = self._moment.rows(ids)
        indptr, target = rows.indptr, rows.target
        if self._least > 0:
            pre = np.repeat(ids, np.diff(indptr))
            kept = self._moment.strengths(pre, target, rows.weight) >= self._least
            target = target[kept]
            indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[indptr]
        for place, neuron in enumerate(ids.tolist()):
            self._targets[neuron] = set(target[indptr[place] : indptr[place + 1]].tolist())
        return ids, indptr, target

    def wedges(self, center: IdArray) -> npt.NDArray[np.uint64]:
        """Two targets of each ``center``, uint64 (n, 2)."""
        ids, indptr, target = self.read(center)
        ends = np.empty((len(ids), 2), dtype=np.uint64)
        key = rng.hash_u64(self._moment.seed, np.uint64(0), np.uint64(0), rng.TOPOLOGY_WEDGE)
        sentinel.wedges(ids, indptr, target, np.uint64(key), ends)
        return ends[np.searchsorted(ids, center)]
