"""What a question is put to: an engram as it is now, or as of a commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb import timelimit
from engramdb.address import IdArray, by_layer, format_id
from engramdb.delays import DelayArray
from engramdb.errors import NotFound
from engramdb.growth.bundle import Bundles
from engramdb.query.neurons import Neurons, Present, look_up
from engramdb.query.synapses import whole_rows
from engramdb.spec import Spec
from engramdb.store import Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring


@dataclass(frozen=True)
class Rows:
    """Rows of n neurons end to end, in the order asked for: ``indptr`` int64 (n + 1,), the others (nnz,).

    ``delay`` is in ticks, None where every synapse has that of its projection.
    """

    indptr: npt.NDArray[np.int64]
    projection: npt.NDArray[np.uint16]
    target: IdArray
    weight: npt.NDArray[np.float32]
    delay: DelayArray | None


@dataclass(frozen=True)
class View:
    """``stamp`` says which state it is: two views with equal stamps give the same answers to everything."""

    spec: Spec
    bundles: Bundles
    store: Store
    wiring: Callable[[], Wiring]
    present: Present
    stamp: tuple[int, ...]

    def check(self, ids: IdArray) -> IdArray:
        """``ids`` if all are declared here; raises :class:`NotFound`, for a later one may have been born since."""
        unknown = np.flatnonzero(~self.bundles.exists(ids))
        if len(unknown):
            raise NotFound(f"neuron {format_id(int(ids[unknown[0]]))} does not exist at that commit")
        return ids

    def neurons(self, ids: IdArray) -> Neurons:
        """State and fields of ``ids`` (any order, repeats allowed)."""
        timelimit.check()
        return look_up(ids, self.spec, self.store, self.wiring, self.present)

    def rows(self, ids: IdArray) -> Rows:
        """The rows of ``ids`` (sorted, distinct), of any layers."""
        timelimit.check()
        parts = [whole_rows(ids[part], self.store, self.wiring) for _, part in by_layer(ids)]
        if len(parts) == 1:
            (only,) = parts
            return Rows(only.indptr, only.projection, only.target, only.weight, only.delay)
        lengths = [np.zeros(1, np.int64), *(np.diff(part.indptr) for part in parts)]
        delay = None
        if self.spec.varying_delays:
            delay = np.concatenate([np.empty(0, np.uint16), *(part.delay for part in parts if part.delay is not None)])
        return Rows(
            np.cumsum(np.concatenate(lengths)),
            np.concatenate([np.empty(0, np.uint16), *(part.projection for part in parts)]),
            np.concatenate([np.empty(0, np.uint64), *(part.target for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.weight for part in parts)]),
            delay,
        )
