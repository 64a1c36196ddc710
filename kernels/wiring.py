"""Rows of virtual neurons, and their exact inverse: generator 1.

A row is a pure function of the keys in ``Wires`` (made from seed, bundle number and projection) and of the neuron's
id. Ordinals 0..k-1 number the synapses of one wire (one projection of one bundle). A *domain* is the frozen list of
the segments a wire may reach, in index order; a *position* numbers its neurons from 0.

- FIXED_OUTDEGREE: with x = local - lo and q, r = divmod(x, M), the target of ordinal o is at P(o, q)(r) mod M.
- SMALL_WORLD: of k ordinals the last floor(k f + u) are long, at P(o, 0)(p) mod M for a source at position p; the
  others are at p + d (modulo M), d drawn without replacement from the 2 span nonzero offsets.
- ONE_TO_ONE: at p for a source at position p of its own layer, where p < M.

P(o, q) is a keyed permutation of the c M *slots* 0..c M - 1 (``permutation.py``); slot y belongs to the neuron at
y mod M, and M sources at most take one slot each. Stored engrams depend on every bit of this file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.kernels.compiled import njit
from engramdb.kernels.order import SHORT, sort_by_target, sort_keys, sort_row
from engramdb.kernels.permutation import permute, unpermute
from engramdb.kernels.rng import absorb, below, sample, unit, whole_ticks
from engramdb.kernels.weights import EVERY, on_grid

SMALL_WORLD, FIXED_OUTDEGREE, ONE_TO_ONE = 0, 1, 2

# c: slots of each neuron. A permutation of the M neurons themselves would give all of them the same number of sources.
# M sources that take M of c M slots spread over the neurons as if each had drawn its target independently, but for the
# variance of in-degrees: it is 1 - 1 / c of the binomial one. The next M sources get another permutation; those of c M
# sources in one would fill all slots, and so come out even again. The price is paid by the inverse, which has to look
# into c slots for each source it finds.
SLOTS = np.uint64(16)

_LOCAL_MASK = np.uint64(0xFFFFFFFF)
_SEGMENT_MASK = np.uint64(0xFFFF)
_LOCAL_BITS = np.uint64(32)
_LAYER_SHIFT = np.uint64(48)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_NOWHERE = np.uint64(0xFFFFFFFFFFFFFFFF)


class Grown(NamedTuple):
    """Arrays over bundles, ordered by ``first``, and a last entry of ``wire_start`` more."""

    first: npt.NDArray[np.uint64]  # (b,) lowest id
    size: npt.NDArray[np.uint64]  # (b,) neurons; their ids are consecutive
    wire_start: npt.NDArray[np.int64]  # (b + 1,)


class Wires(NamedTuple):
    """Arrays over wires; those of one bundle lie together, ordered by (delay, projection).

    Where synapses have delays of their own, in ticks before they are rounded, they are ordered by projection.
    """

    bundle: npt.NDArray[np.int64]  # (w,) place in ``Grown``
    rule: npt.NDArray[np.int64]  # (w,)
    projection: npt.NDArray[np.uint16]  # (w,)
    delay: npt.NDArray[np.int64]  # (w,) ticks; 0 where synapses have their own
    sign: npt.NDArray[np.float32]  # (w,) factor on every weight
    grid: npt.NDArray[np.float64]  # (w,) to which every weight is rounded then
    k: npt.NDArray[np.int64]  # (w,) synapses of a row
    mean_long: npt.NDArray[np.float64]  # (w,) k f
    span: npt.NDArray[np.uint64]  # (w,)
    layer: npt.NDArray[np.uint64]  # (w,) of the targets
    domain: npt.NDArray[np.int64]  # (w,) its number in ``Domains``
    origin: npt.NDArray[np.uint64]  # (w,) position of the bundle's first neuron in its own layer
    target_key: npt.NDArray[np.uint64]  # (w,)
    offset_key: npt.NDArray[np.uint64]  # (w,)
    long_key: npt.NDArray[np.uint64]  # (w,)
    weight_key: npt.NDArray[np.uint64]  # (w,)
    table_start: npt.NDArray[np.int64]  # (w,)
    table_stop: npt.NDArray[np.int64]  # (w,)
    delay_key: npt.NDArray[np.uint64]  # (w,)
    delay_start: npt.NDArray[np.int64]  # (w,)
    delay_stop: npt.NDArray[np.int64]  # (w,)
    tables: npt.NDArray[np.float64]  # quantile tables of weights and of delays, end to end


class Domains(NamedTuple):
    """Arrays over domains and over their segments, end to end."""

    size: npt.NDArray[np.uint64]  # (d,) neurons
    side: npt.NDArray[np.uint64]  # (d,) the least s with s s >= SLOTS size
    begin: npt.NDArray[np.int64]  # (d + 1,) first segment of each
    segment: npt.NDArray[np.uint64]  # (s,) index, increasing within a domain
    start: npt.NDArray[np.uint64]  # (s,) position of the segment's neuron 0
    length: npt.NDArray[np.uint64]  # (s,) neurons of the segment


class OwnWire(NamedTuple):
    """One wire for one row: what :class:`Wires` and :class:`Domains` say of it, and the ``synapses`` of this row."""

    rule: np.int64
    k: np.int64
    synapses: np.int64
    mean_long: np.float64
    span: np.uint64
    layer: np.uint64
    size: np.uint64
    side: np.uint64
    begin: np.int64
    end: np.int64
    target_key: np.uint64
    offset_key: np.uint64
    long_key: np.uint64
    weight_key: np.uint64
    table_start: np.int64
    table_stop: np.int64
    sign: np.float32
    grid: np.float64


@njit(cache=True, nogil=True)
def id_at(segment, start, low, high, layer, position):
    """The id of the neuron at ``position`` of the domain whose segments are ``segment[low:high]``; all uint64."""
    while high - low > 1:
        middle = (low + high) >> 1
        if start[middle] <= position:
            low = middle
        else:
            high = middle
    return (layer << _LAYER_SHIFT) | (segment[low] << _LOCAL_BITS) | (position - start[low])


@njit(cache=True, nogil=True)
def position_of(domains, domain, neuron_id):
    """The position of an id of the domain's layer, or ``_NOWHERE`` where the domain does not have it."""
    wanted = (neuron_id >> _LOCAL_BITS) & _SEGMENT_MASK
    local = neuron_id & _LOCAL_MASK
    low = domains.begin[domain]
    high = domains.begin[domain + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if domains.segment[middle] <= wanted:
            low = middle
        else:
            high = middle
    if domains.segment[low] != wanted or local >= domains.length[low]:
        return _NOWHERE
    return domains.start[low] + local


@njit(cache=True, nogil=True)
def moved(position, choice, span, size):
    """``position`` plus the offset numbered ``choice`` of -span..-1, 1..span, modulo ``size`` > 2 span; all uint64."""
    # both ways, and then one of them: the choice is random, and a branch on it is guessed wrong half of the time
    is_back = choice < span
    step = span - choice if is_back else choice - span + _ONE
    behind = position - step if position >= step else position + size - step
    ahead = position + step
    ahead = ahead - size if ahead >= size else ahead
    return behind if is_back else ahead


@njit(cache=True, nogil=True)
def local_count(k, mean_long, long_key, neuron_id):
    """How many of the k synapses of a SMALL_WORLD row are local."""
    return max(np.int64(0), k - np.int64(mean_long + unit(absorb(long_key, neuron_id))))


@njit(cache=True, nogil=True)
def draw_weight(tables, start, stop, sign, row_key, ordinal):
    """The weight (float32, signed) of an ordinal; ``row_key`` is ``absorb(weight_key, id)``."""
    if stop - start == 1:
        return np.float32(tables[start]) * sign
    return sample(tables, start, stop, unit(absorb(row_key, np.uint64(ordinal)))) * sign


@njit(cache=True, nogil=True)
def draw_delay(tables, start, stop, row_key, ordinal):
    """The delay (uint16 ticks) of an ordinal; ``row_key`` is ``absorb(delay_key, id)``."""
    return whole_ticks(tables, start, stop, unit(absorb(row_key, np.uint64(ordinal))))


@njit(cache=True, nogil=True)
def row_length(rule, k, position, size):
    """Synapses on one wire of the row of a neuron at ``position`` of its layer; the domain has ``size`` neurons."""
    return np.int64(position < size) if rule == ONE_TO_ONE else k


@njit(cache=True, nogil=True)
def locate(grown, neuron_id):
    """The place in ``grown`` of the bundle that has the id, or -1."""
    low = np.int64(0)
    high = np.int64(grown.first.shape[0])
    while high - low > 1:
        middle = (low + high) >> 1
        if grown.first[middle] <= neuron_id:
            low = middle
        else:
            high = middle
    if neuron_id < grown.first[low] or neuron_id - grown.first[low] >= grown.size[low]:
        return np.int64(-1)
    return low


@njit(cache=True, nogil=True)
def locate_many(grown, ids, out):
    """``out[i]`` (int64) = place of the bundle that has ``ids[i]`` (uint64), or -1."""
    for i in range(ids.shape[0]):
        out[i] = locate(grown, ids[i])


@njit(cache=True, nogil=True)
def measure_rows(grown, wires, domains, ids, bundle, indptr):
    """Fill ``indptr`` (int64, n + 1) with where the rows of ``ids`` begin; ``bundle`` is from :func:`locate_many`."""
    indptr[0] = 0
    for i in range(ids.shape[0]):
        length = np.int64(0)
        for wire in range(grown.wire_start[bundle[i]], grown.wire_start[bundle[i] + 1]):
            position = wires.origin[wire] + (ids[i] - grown.first[bundle[i]])
            size = domains.size[wires.domain[wire]]
            length += row_length(wires.rule[wire], wires.k[wire], position, size)
        indptr[i + 1] = indptr[i] + length


@njit(cache=True, nogil=True)
def fill_wire(wire, segment, start, tables, neuron_id, position, offsets, places, at, target, weight):
    """The synapses of one wire in order of their ordinals, from place ``at`` of ``target`` (uint64) and ``weight``.

    ``wire``: an :class:`OwnWire`; ``position``: of the neuron, in the bundle if FIXED_OUTDEGREE, else in its layer.
    ``offsets``: uint64, 0, 1, 2, ... up to twice the widest span; changed and put back. ``places``: room for as many.
    """
    begin, end, size = wire.begin, wire.end, wire.size
    n_local = np.int64(0)
    turn = _ZERO
    if wire.rule == SMALL_WORLD:
        n_local = local_count(wire.k, wire.mean_long, wire.long_key, neuron_id)
        row_key = absorb(wire.offset_key, neuron_id)
        for ordinal in range(n_local):
            choice = choose(offsets, row_key, ordinal, wire.span, places)
            place = moved(position, choice, wire.span, size)
            target[at + ordinal] = id_at(segment, start, begin, end, wire.layer, place)
        put_back(offsets, places, n_local)
    elif wire.rule == FIXED_OUTDEGREE:
        turn = position // size
        position = position - turn * size
    elif wire.synapses > 0:
        n_local = wire.synapses
        target[at] = id_at(segment, start, begin, end, wire.layer, position)
    turn_key = absorb(wire.target_key, turn)
    for ordinal in range(n_local, wire.synapses):
        place = permute(position, absorb(turn_key, np.uint64(ordinal)), size * SLOTS, wire.side) % size
        target[at + ordinal] = id_at(segment, start, begin, end, wire.layer, place)
    row_key = absorb(wire.weight_key, neuron_id)
    for ordinal in range(wire.synapses):
        weight[at + ordinal] = draw_weight(tables, wire.table_start, wire.table_stop, wire.sign, row_key, ordinal)
    if wire.grid != EVERY:
        for ordinal in range(wire.synapses):
            weight[at + ordinal] = on_grid(weight[at + ordinal], wire.grid)


@njit(cache=True, nogil=True)
def drawn_place(row_key, ordinal, span):
    """Where the offset of an ordinal comes from: one of the 2 span - ordinal places not yet used."""
    done = np.uint64(ordinal)
    return done + below(absorb(row_key, done), span + span - done)


@njit(cache=True, nogil=True)
def choose(offsets, row_key, ordinal, span, places):
    """The next offset of a shuffle by Fisher and Yates; ordinals must come in order from 0. ``places``: see below."""
    place = drawn_place(row_key, ordinal, span)
    chosen = offsets[place]
    offsets[place] = offsets[ordinal]
    offsets[ordinal] = chosen
    places[ordinal] = place
    return chosen


@njit(cache=True, nogil=True)
def put_back(offsets, places, count):
    """Undo ``count`` calls of :func:`choose`, which filled ``places``, so that the next row needs no fresh array."""
    for back in range(count):
        ordinal = count - 1 - back
        place = places[ordinal]
        chosen = offsets[ordinal]
        offsets[ordinal] = offsets[place]
        offsets[place] = chosen


@njit(cache=True, nogil=True)
def fill_rows(grown, wires, domains, ids, bundle, indptr, offsets, projection, target, weight, delays):
    """The rows of ``ids``, each sorted by (delay, target, projection).

    ``indptr`` is from :func:`measure_rows`, ``bundle`` from :func:`locate_many`; ``projection`` (uint16), ``target``
    (uint64), ``weight`` (float32) and ``delays`` (uint16) are filled, or all but ``delays`` where that is empty: then
    every wire has its delay.
    """
    varying = delays.shape[0] > 0
    delay_key, delay_start, delay_stop = wires.delay_key, wires.delay_start, wires.delay_stop
    # as locals: a loop that takes arrays out of a tuple counts references each time round
    first, wire_start = grown.first, grown.wire_start
    rule, projections, delay, sign, ks, mean_long = (
        wires.rule, wires.projection, wires.delay, wires.sign, wires.k, wires.mean_long,
    )  # fmt: skip
    span, layer, domains_of, origin = wires.span, wires.layer, wires.domain, wires.origin
    target_key, offset_key, long_key, weight_key = (
        wires.target_key, wires.offset_key, wires.long_key, wires.weight_key,
    )  # fmt: skip
    table_start, table_stop, tables, grid = wires.table_start, wires.table_stop, wires.tables, wires.grid
    sizes, sides, begins, segment, start = domains.size, domains.side, domains.begin, domains.segment, domains.start
    places = np.empty(offsets.shape[0], dtype=np.uint64)
    keys, moving = np.empty(SHORT, dtype=np.uint64), np.empty(SHORT, dtype=np.float32)
    for i in range(ids.shape[0]):
        at = indptr[i]
        same_delay = at
        group = wire_start[bundle[i]]
        stop = wire_start[bundle[i] + 1]
        for wire in range(group, stop):
            x = ids[i] - first[bundle[i]]
            position = origin[wire] + x
            domain = domains_of[wire]
            own = OwnWire(
                rule[wire], ks[wire], row_length(rule[wire], ks[wire], position, sizes[domain]), mean_long[wire],
                span[wire], layer[wire], sizes[domain], sides[domain], begins[domain], begins[domain + 1],
                target_key[wire], offset_key[wire], long_key[wire], weight_key[wire],
                table_start[wire], table_stop[wire], sign[wire], grid[wire],
            )  # fmt: skip
            place = x if own.rule == FIXED_OUTDEGREE else position
            fill_wire(own, segment, start, tables, ids[i], place, offsets, places, at, target, weight)
            for j in range(at, at + own.synapses):  # an array of part of an array would count references too
                projection[j] = projections[wire]
            if varying:
                row_key = absorb(delay_key[wire], ids[i])
                for ordinal in range(own.synapses):
                    delays[at + ordinal] = draw_delay(tables, delay_start[wire], delay_stop[wire], row_key, ordinal)
            at += own.synapses
            if varying:
                if wire + 1 == stop:
                    sort_row(same_delay, at, delays, projection, target, weight)
            elif wire + 1 == stop or delay[wire + 1] != delay[wire]:
                if wire == group and at - same_delay <= SHORT:
                    sort_keys(same_delay, at, target, weight, keys, moving)
                else:
                    sort_by_target(same_delay, at, projection, target, weight)
                same_delay = at
                group = wire + 1


@njit(cache=True, nogil=True)
def find_sources(grown, wires, domains, target_id, offsets, source, wire_of, ordinal_of):
    """Every virtual synapse onto a neuron: ``source`` (uint64), ``wire_of`` and ``ordinal_of`` (int64), unsorted.

    Returns how many there are. The arrays must hold, for each wire of a bundle of n neurons onto a domain of M,
    2 span + k min(SLOTS, n) (SMALL_WORLD), k min(SLOTS ceil(n / M), n) (FIXED_OUTDEGREE) or 1 (ONE_TO_ONE).
    """
    found = 0
    places = np.empty(offsets.shape[0], dtype=np.uint64)
    for wire in range(wires.rule.shape[0]):
        if wires.layer[wire] != target_id >> _LAYER_SHIFT:
            continue
        domain = wires.domain[wire]
        position = position_of(domains, domain, target_id)
        if position == _NOWHERE:
            continue
        bundle = wires.bundle[wire]
        first = grown.first[bundle]
        members = grown.size[bundle]
        size = domains.size[domain]
        side = domains.side[domain]
        slots = size * SLOTS
        k = wires.k[wire]
        origin = wires.origin[wire]
        if wires.rule[wire] == FIXED_OUTDEGREE:
            turns = (members + size - _ONE) // size
            for turn in range(turns):
                turn_key = absorb(wires.target_key[wire], turn)
                for ordinal in range(k):
                    key = absorb(turn_key, np.uint64(ordinal))
                    for slot in range(position, slots, size):
                        rest = unpermute(slot, key, slots, side)
                        x = turn * size + rest
                        if rest < size and x < members:
                            source[found], wire_of[found], ordinal_of[found] = first + x, wire, ordinal
                            found += 1
        elif wires.rule[wire] == SMALL_WORLD:
            span = wires.span[wire]
            for choice in range(span + span):
                # the source that reaches the target by this offset stands where the opposite offset leads
                place = moved(position, span + span - _ONE - choice, span, size)
                if place < origin or place - origin >= members:
                    continue
                source_id = first + (place - origin)
                n_local = local_count(k, wires.mean_long[wire], wires.long_key[wire], source_id)
                row_key = absorb(wires.offset_key[wire], source_id)
                ordinal = ordinal_choosing(n_local, row_key, span, choice, offsets, places)
                if ordinal >= 0:
                    source[found], wire_of[found], ordinal_of[found] = source_id, wire, ordinal
                    found += 1
            turn_key = absorb(wires.target_key[wire], _ZERO)
            for ordinal in range(max(np.int64(0), k - np.int64(wires.mean_long[wire]) - 1), k):
                key = absorb(turn_key, np.uint64(ordinal))
                for slot in range(position, slots, size):
                    place = unpermute(slot, key, slots, side)
                    if place < origin or place - origin >= members:
                        continue
                    source_id = first + (place - origin)
                    if ordinal >= local_count(k, wires.mean_long[wire], wires.long_key[wire], source_id):
                        source[found], wire_of[found], ordinal_of[found] = source_id, wire, ordinal
                        found += 1
        elif position >= origin and position - origin < members:
            source[found], wire_of[found], ordinal_of[found] = first + (position - origin), wire, 0
            found += 1
    return found


@njit(cache=True, nogil=True)
def ordinal_choosing(n_local, row_key, span, choice, offsets, places):
    """The ordinal for which a SMALL_WORLD row draws the offset ``choice``, or -1."""
    found = np.int64(-1)
    drawn = 0
    while drawn < n_local and found < 0:
        if choose(offsets, row_key, drawn, span, places) == choice:
            found = np.int64(drawn)
        drawn += 1
    put_back(offsets, places, drawn)
    return found


@njit(cache=True, nogil=True)
def weights_of(wires, source, wire_of, ordinal_of, weight):
    """``weight[i]`` (float32) of the synapse (source, wire, ordinal)."""
    for i in range(source.shape[0]):
        wire = wire_of[i]
        row_key = absorb(wires.weight_key[wire], source[i])
        start, stop, sign = wires.table_start[wire], wires.table_stop[wire], wires.sign[wire]
        weight[i] = on_grid(draw_weight(wires.tables, start, stop, sign, row_key, ordinal_of[i]), wires.grid[wire])


@njit(cache=True, nogil=True)
def delays_of(wires, source, wire_of, ordinal_of, delay):
    """``delay[i]`` (uint16 ticks) of the synapse (source, wire, ordinal), where synapses have their own."""
    for i in range(source.shape[0]):
        wire = wire_of[i]
        row_key = absorb(wires.delay_key[wire], source[i])
        delay[i] = draw_delay(wires.tables, wires.delay_start[wire], wires.delay_stop[wire], row_key, ordinal_of[i])
