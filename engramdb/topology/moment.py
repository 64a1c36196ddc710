"""The moment of an engram that is measured: its rows, and who is at work in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.kernels import rng, sentinel
from engramdb.query.view import Rows, View

if TYPE_CHECKING:
    from engramdb.engine import Engine

_NOBODY: IdArray = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True)
class Moment:
    """An engram at the end of ``tick``: the same, whether it is running or is read from a commit.

    ``active``: uint64, sorted, the void neurons with which the next tick begins; ``valence``: of each void layer, by
    name. ``fired``: uint64, who has spikes under way, sorted by id, once for each.
    """

    view: View
    tick: int
    active: IdArray
    valence: dict[str, float]
    fired: IdArray

    @classmethod
    def running(cls, view: View, engine: Engine) -> Moment:
        """That at which ``engine`` stands."""
        voids = engine.voids
        active = np.concatenate([_NOBODY, *(layer.active for layer in voids.values())])
        fired = np.concatenate([_NOBODY, *(ids for _, ids in engine.flight.freeze())])
        valence = {name: float(layer.valence) for name, layer in voids.items()}
        return cls(view, engine.tick, np.sort(active), valence, np.sort(fired))

    @classmethod
    def stored(cls, view: View, state: Mapping[str, npt.NDArray[Any]], tick: int) -> Moment:
        """That of a commit, which kept ``state`` of it."""
        names = [layer.name for layer in view.spec.layers if layer.model == "void"]
        start = np.full(len(names), 0.5, dtype=np.float32)
        valence = dict(zip(names, state.get("void_valence", start).tolist(), strict=True))
        fired = state.get("flight_id", _NOBODY)
        return cls(view, tick, state.get("void_active", _NOBODY), valence, np.sort(fired))

    @property
    def seed(self) -> np.uint64:
        return np.uint64(self.view.spec.seed)

    @property
    def neurons(self) -> int:
        """How many neurons there are."""
        return sum(self.view.bundles.sizes.values())

    def rows(self, ids: IdArray) -> Rows:
        """The rows of ``ids`` (sorted, distinct)."""
        return self.view.rows(ids)

    def chosen(self, count: int, purpose: np.uint64) -> IdArray:
        """So many random neurons, which stay the same as the engram grows but for those that move to what is new.

        Each of them is any neuron with the same probability; one may come twice. In the order of their numbers.
        """
        bundles = self.view.bundles.bundles
        ends = np.cumsum([bundle.neurons for bundle in bundles], dtype=np.int64)  # in order of birth: none ever moves
        if not len(ends) or not ends[-1]:
            return _NOBODY
        keys, place = np.empty(count, dtype=np.uint64), np.empty(count, dtype=np.int64)
        rng.fill_hashes(self.seed, np.arange(count, dtype=np.uint64), np.uint64(0), purpose, keys)
        sentinel.places(keys, ends[-1], place)
        of = np.searchsorted(ends, place, side="right")
        first = np.array([b.layer << 48 | b.segment << 32 | b.lo for b in bundles], dtype=np.uint64)
        before = ends - np.array([bundle.neurons for bundle in bundles], dtype=np.int64)
        return first[of] + (place - before[of]).astype(np.uint64)

    def order(self, ids: IdArray) -> npt.NDArray[np.uint64]:
        """A random number for each of ``ids``, always the same: what decides between equals."""
        out = np.empty(len(ids), dtype=np.uint64)
        rng.fill_hashes(self.seed, ids, np.uint64(0), rng.TOPOLOGY_CHOICE, out)
        return out

    def strengths(self, pre: IdArray, post: IdArray, weight: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """How strong synapses are, float64: |weight|, between void neurons the product of their W."""
        strength = np.abs(weight).astype(np.float64)
        if any(layer.model == "void" for layer in self.view.spec.layers):
            ids, place = np.unique(np.concatenate([pre, post]), return_inverse=True)
            w = self.w(ids).astype(np.float64)[place]
            product = w[: len(pre)] * w[len(pre) :]
            strength = np.where(np.isnan(product), strength, product)
        return strength

    def w(self, ids: IdArray) -> npt.NDArray[np.float32]:
        """W of ``ids`` (sorted, distinct), float32; not a number where they are not void."""
        out = np.full(len(ids), np.nan, dtype=np.float32)
        for index, part in by_layer(ids):
            layer = self.view.spec.layer(index)
            if layer.model == "void":
                out[part] = self.view.present.fields_kept(ids[part], layer, self.view.store)["W"]
        return out
