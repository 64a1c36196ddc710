"""Out-degrees of records, generated rows included, without generating them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engramdb.growth.bundle import Bundle, Bundles
from engramdb.rules import FixedOutdegree, SmallWorld, neurons_of
from engramdb.store import STORED, Records


def generated_synapses(bundle: Bundle, bundles: Bundles) -> int:
    """Synapses that the rules give to all neurons of ``bundle`` together."""
    fixed, limits = _wires(bundle, bundles)
    return fixed * bundle.neurons + sum(max(0, min(bundle.hi, limit) - bundle.lo) for limit in limits)


def _wires(bundle: Bundle, bundles: Bundles) -> tuple[int, list[int]]:
    """Generated out-degree of every neuron; local ids below which a neuron has one synapse more, each."""
    fixed, limits = 0, []
    for wire in bundle.wires:
        if isinstance(wire.rule, SmallWorld | FixedOutdegree):
            fixed += wire.rule.k
        else:  # one to one: a partner at the same position of the other layer, if that was so large
            limits.append(neurons_of(bundles.domains[wire.domain]) - bundle.origin + bundle.lo)
    return fixed, limits


def degrees(part: Records, own: list[Bundle], bundles: Bundles) -> npt.NDArray[np.int64]:
    """Out-degree of each record: of its stored row, or of the row that the rules of its bundle give."""
    found = np.diff(part.indptr)
    if np.all(part.row_kind == STORED):
        return found
    place = part.ids & np.uint64(2**48 - 1)
    starts = np.array([bundle.segment << 32 | bundle.lo for bundle in own], dtype=np.uint64)
    bundle_of = np.searchsorted(starts, place, side="right") - 1
    for number in np.unique(bundle_of):
        fixed, limits = _wires(own[number], bundles)
        here = (bundle_of == number) & (part.row_kind != STORED)
        local = (place[here] & np.uint64(2**32 - 1)).astype(np.int64)
        found[here] = fixed + sum((local < limit).astype(np.int64) for limit in limits)
    return found
