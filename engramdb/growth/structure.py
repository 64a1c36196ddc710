"""Which synapses go and which come: pruning, promotion and bridging, worked out on a bounded number of rows.

Nothing changes here. What is decided is a value, to be journaled and then done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.distribution import resolved
from engramdb.growth.bundle import Bundles
from engramdb.growth.drive import Drive, affinity
from engramdb.growth.pairs import Pairs
from engramdb.growth.settings import Settings
from engramdb.growth.timers import Timers
from engramdb.growth.walk import Passed
from engramdb.kernels import rng
from engramdb.kernels import structure as kernel
from engramdb.layer import Layer
from engramdb.query.view import View
from engramdb.rules import Domain
from engramdb.spec import Spec

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

_EACH = 2  # synapses that are hoped for of each source that is drawn: their neighbours lie near one another on disk
_TRIES = 8  # candidates drawn for each source
_NOBODY = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True)
class Weak:
    """What a stretch of the walk found: sources ``first``..``last``, and the timers of their weak pairs.

    ``strength``: float32, of each of these.
    """

    first: int
    last: int
    timers: Timers
    strength: Float32Array


def weak_pairs(passed: Passed, cursor: int, known: Timers, layer: Layer, drive: Drive, below: float, tick: int) -> Weak:
    """The pairs within ``layer`` among the rows ``passed`` that are weaker than ``below``, with their timers.

    A pair is as strong as the strongest of its synapses: |weight| in mV, or in a void layer, where weights mean
    nothing, the affinity of the two neurons.
    """
    last = (passed.cursor or (layer.index + 1) << 48) - 1
    source = np.repeat(passed.ids, np.diff(passed.indptr))
    own = passed.target >> np.uint64(48) == np.uint64(layer.index)
    pre, post = source[own], passed.target[own]
    strength = affinity(drive, pre, post) if layer.model == "void" else np.abs(passed.weight[own])
    # a pair of several synapses is weak if the strongest is: only rows with a weak one have to be looked at closely
    suspect = np.flatnonzero(np.isin(pre, pre[strength < below]))
    order = suspect[np.lexsort((-strength[suspect], post[suspect], pre[suspect]))]
    pre, post, strength = pre[order], post[order], strength[order]
    first = np.ones(len(pre), dtype=bool)
    first[1:] = (pre[1:] != pre[:-1]) | (post[1:] != post[:-1])
    weak = first & (strength < below)
    timers = known.looked_at(cursor, last, pre[weak], post[weak], tick)
    return Weak(cursor, last, timers, strength[weak])


def due(weak: Weak, settings: Settings, tick: int) -> npt.NDArray[np.bool_]:
    """Which of the weak pairs are to be pruned: those that have been weak long enough, as far as a step may."""
    ripe = weak.timers.since <= tick - settings.persist
    return ripe & (np.cumsum(ripe) <= settings.prunes)


def pruned(weak: Weak, gone: npt.NDArray[np.bool_]) -> Pairs:
    """The weak pairs that are ``gone``, with how weak they are and since when."""
    chosen = weak.timers.at(gone)
    return Pairs(chosen.pre, chosen.post, weak.strength[gone], chosen.since, np.zeros(len(chosen), np.float32))


def promoted(
    view: View, layer: Layer, drive: Drive, owed: int, least: float, seed: int, tick: int, spec: Spec
) -> Pairs:
    """Up to ``owed`` synapses that are not there yet, from hot neurons to the neighbours of their neighbours.

    The sources are drawn by their drive, with the alias method; who is reached over a random neighbour is taken where
    the affinity is more than ``least``. Of a pair drawn twice the first counts.
    """
    if owed <= 0 or not drive.weight.any():
        return Pairs.none()
    share, other = np.empty(len(drive.hot)), np.empty(len(drive.hot), dtype=np.int64)
    kernel.alias_table(drive.weight, share, other)
    drawn = np.empty(-(-owed // _EACH), dtype=np.int64)
    key = rng.hash_u64(np.uint64(seed), np.uint64(tick), np.uint64(layer.index), rng.PROMOTED)
    kernel.alias_draws(share, other, np.uint64(key), drawn)
    pre = np.repeat(drive.hot[drawn], _TRIES)
    number = np.arange(len(pre))
    near, number = _neighbours(view, layer, pre, number, seed, tick, 1)
    post, kept = _neighbours(view, layer, near, number, seed, tick, 2)
    pre = pre[kept]
    fresh = pre != post
    fresh[np.flatnonzero(fresh)[_known(view, pre[fresh], post[fresh])]] = False
    pre, post = pre[fresh], post[fresh]
    _, first = np.unique(np.stack([pre, post]), axis=1, return_index=True)
    order = np.sort(first)
    pre, post = pre[order], post[order]
    strength = affinity(drive, pre, post)
    chosen = np.flatnonzero(strength > np.float32(least))[:owed]
    pre, post = pre[chosen], post[chosen]
    return Pairs(pre, post, strength[chosen], np.zeros(len(pre), np.int64), fresh_weights(view, layer, pre, spec))


def _neighbours(
    view: View, layer: Layer, ids: IdArray, number: npt.NDArray[np.intp], seed: int, tick: int, hop: int
) -> tuple[IdArray, npt.NDArray[np.intp]]:
    """One target in the layer, drawn at random, of each of ``ids`` (uint64 (n,)) that has any, and their ``number``."""
    if not len(ids):
        return ids, number
    unique, place = np.unique(ids, return_inverse=True)
    rows = view.rows(unique)
    own = rows.target >> np.uint64(48) == np.uint64(layer.index)
    targets = rows.target[own]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(own)])[rows.indptr]
    length = np.diff(starts)[place]
    drawn = np.empty(len(ids), dtype=np.uint64)
    rng.fill_hashes(np.uint64(seed), number.astype(np.uint64), np.uint64(tick * 4 + hop), rng.PROMOTED, drawn)
    pick = ((drawn >> np.uint64(32)) * length.astype(np.uint64)) >> np.uint64(32)
    some = length > 0
    return targets[(starts[:-1][place] + pick.astype(np.int64))[some]], number[some]


def _known(view: View, pre: IdArray, post: IdArray) -> npt.NDArray[np.intp]:
    """Places of the pairs that have a synapse."""
    unique, place = np.unique(pre, return_inverse=True)
    if not len(unique):
        return np.empty(0, dtype=np.intp)
    rows = view.rows(unique)
    source = np.repeat(np.arange(len(unique)), np.diff(rows.indptr))
    targets = np.unique(np.concatenate([rows.target, post]))
    # row and target as one number: places are small, ids are not
    there = source * len(targets) + np.searchsorted(targets, rows.target)
    asked = place * len(targets) + np.searchsorted(targets, post)
    return np.flatnonzero(np.isin(asked, there))


def fresh_weights(view: View, layer: Layer, pre: IdArray, spec: Spec) -> Float32Array:
    """What a synapse that comes to each of ``pre`` (any order) weighs: the mean size of those it has in the layer.

    Where it has none, the mean size that the projection's weights are drawn with.
    """
    projection = next(p for p in spec.all_projections if (p.pre, p.post) == (layer.name, layer.name))
    usual = float(np.abs(resolved(projection.weight).table()).mean())
    if not len(pre):
        return np.empty(0, dtype=np.float32)
    unique, place = np.unique(pre, return_inverse=True)
    rows = view.rows(unique)
    own = rows.target >> np.uint64(48) == np.uint64(layer.index)
    source = np.repeat(np.arange(len(unique)), np.diff(rows.indptr))[own]
    total = np.bincount(source, np.abs(rows.weight[own]).astype(np.float64), len(unique))
    count = np.bincount(source, minlength=len(unique))
    size = np.where(total > 0, total / np.maximum(count, 1), usual) * (projection.sign or 1)
    return size[place].astype(np.float32)


@dataclass(frozen=True)
class Sentinel:
    """A neuron from which a way out was looked for; ``island``: sorted, all it can reach, empty where that is much."""

    neuron: int
    island: IdArray


def sentinels(suspects: IdArray, bundles: Bundles, layer: Layer, seed: int, tick: int, searches: int) -> IdArray:
    """From whom to look: ``suspects`` first, who have lost synapses, then any neurons of the layer, at random."""
    domain = bundles.domain_of(layer.index)
    total = sum(size for _, size in domain)
    drawn = np.empty(searches, dtype=np.uint64)
    rng.fill_hashes(np.uint64(seed), np.arange(searches, dtype=np.uint64), np.uint64(tick), rng.SENTINEL, drawn)
    anybody = np.array([id_at(domain, layer.index, int(h) % total) for h in drawn], dtype=np.uint64)
    return np.concatenate([suspects, anybody])[:searches]


def island_of(view: View, layer: Layer, neuron: int, most: int) -> Sentinel:
    """Whom ``neuron`` reaches, if that is at most ``most`` neurons of its layer and nobody else."""
    reached = ring = np.array([neuron], dtype=np.uint64)
    while len(ring):
        # a part of the ring will do to see that there are many
        rows = view.rows(ring[: most + 1])
        targets = np.unique(rows.target)
        if (targets >> np.uint64(48) != np.uint64(layer.index)).any():
            return Sentinel(neuron, _NOBODY)
        ring = np.setdiff1d(targets, reached, assume_unique=True)
        reached = np.union1d(reached, ring)
        if len(reached) > most:
            return Sentinel(neuron, _NOBODY)
    return Sentinel(neuron, reached)


def bridges(
    found: list[Sentinel], view: View, bundles: Bundles, layer: Layer, seed: int, tick: int, spec: Spec
) -> Pairs:
    """One synapse out of each island, from one of it to a neuron anywhere else in the layer, both drawn at random."""
    domain = bundles.domain_of(layer.index)
    total = sum(size for _, size in domain)
    pre, post, size, seen = [], [], [], _NOBODY
    for number, sentinel in enumerate(found):
        island = sentinel.island
        if not len(island) or len(island) == total or np.isin(island, seen).any():
            continue
        seen = np.union1d(seen, island)
        drawn = np.empty(2 + _TRIES, dtype=np.uint64)
        places = np.arange(len(drawn), dtype=np.uint64) + np.uint64(number * len(drawn))
        rng.fill_hashes(np.uint64(seed), places, np.uint64(tick), rng.BRIDGED, drawn)
        others = (id_at(domain, layer.index, int(h) % total) for h in drawn[1:])
        outside = next((other for other in others if not np.isin(np.uint64(other), island)), None)
        if outside is not None:
            pre.append(int(island[int(drawn[0]) % len(island)]))
            post.append(outside)
            size.append(len(island))
    sources = np.array(pre, dtype=np.uint64)
    return Pairs(
        sources, np.array(post, dtype=np.uint64), np.zeros(len(pre), np.float32), np.array(size, dtype=np.int64),
        fresh_weights(view, layer, sources, spec),
    )  # fmt: skip


def id_at(domain: Domain, layer_index: int, position: int) -> int:
    """The id of the neuron at ``position`` of a layer, its segments (``domain``) end to end."""
    for segment, size in domain:
        if position < size:
            return layer_index << 48 | segment << 32 | position
        position -= size
    raise IndexError(f"layer {layer_index} has no neuron at that position")
