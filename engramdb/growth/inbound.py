"""Synapses from older neurons onto a new bundle: ordinary changes to the rows of the older ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, pack
from engramdb.distribution import resolved
from engramdb.errors import InvalidInput
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.kernels import rng
from engramdb.rules import is_whole
from engramdb.spec import Layer, Spec

MOST_INBOUND = 1 << 20
"""Of one bundle: each rewrites the row of an older neuron."""


def check_inbound(inbound: int, layer: Layer, spec: Spec) -> None:
    """Raise :class:`InvalidInput` where a bundle of ``layer`` cannot have so many."""
    if not is_whole(inbound) or not 0 <= inbound <= MOST_INBOUND:
        raise InvalidInput(f"inbound={inbound!r}: give a whole number, 0..{MOST_INBOUND:,}")
    if inbound and not any((p.pre, p.post) == (layer.name, layer.name) for p in spec.all_projections):
        raise InvalidInput(f'inbound: no projection joins layer "{layer.name}" to itself')


def inbound_synapses(
    bundles: Bundles, bundle: Bundle, inbound: int, spec: Spec
) -> tuple[IdArray, IdArray, npt.NDArray[np.float32]]:
    """``(pre, post, weight)``: ``inbound`` synapses from neurons older than ``bundle`` onto it, both drawn at random.

    A function of (seed, bundle). Weights are drawn as the layer's projection onto itself draws them. A pair drawn twice
    is there once.
    """
    layer = spec.layer(bundle.layer)
    older = tuple(
        (segment, bundle.lo if segment == bundle.segment else size)
        for segment, size in bundles.domain_of(bundle.layer)
        if segment != bundle.segment or bundle.lo
    )
    total = sum(size for _, size in older)
    number = np.arange(inbound, dtype=np.uint64)
    draws = np.empty((3, inbound), dtype=np.uint64)
    for i, row in enumerate(draws):
        rng.fill_hashes(np.uint64(spec.seed), number, np.uint64(bundle.number * 4 + i), rng.INBOUND, row)
    place = (draws[0] % np.uint64(total)).astype(np.int64)
    pre = _ids_at(older, bundle.layer, place)
    post = np.uint64(pack(bundle.layer, bundle.segment, bundle.lo)) + draws[1] % np.uint64(bundle.neurons)
    projection = next(p for p in spec.all_projections if (p.pre, p.post) == (layer.name, layer.name))
    weight = np.empty(inbound, dtype=np.float32)
    rng.fill_samples(resolved(projection.weight).table(), draws[2], weight)
    return pre, post, weight * np.float32(projection.sign or 1)


def _ids_at(domain: tuple[tuple[int, int], ...], layer_index: int, place: npt.NDArray[np.int64]) -> IdArray:
    """The ids of the neurons at positions ``place`` of segments that lie end to end."""
    ends = np.cumsum([size for _, size in domain])
    which = np.searchsorted(ends, place, side="right")
    segments = np.array([segment for segment, _ in domain], dtype=np.uint64)
    local = place - np.concatenate([[0], ends[:-1]])[which]
    return np.uint64(layer_index << 48) | segments[which] << np.uint64(32) | local.astype(np.uint64)
