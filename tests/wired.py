"""Networks of virtual rows, and their independent twin: plain Python, one synapse at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from engramdb.address import pack, unpack
from engramdb.distribution import Distribution, resolved
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.spec import (
    FixedIndegree,
    FixedOutdegree,
    Layer,
    Normal,
    OneToOne,
    Projection,
    Rule,
    SmallWorld,
    Spec,
)
from engramdb.wiring import Rows
from tests.simulator import narrowed

MASK = 2**64 - 1
U64 = np.uint64
Synapse = tuple[int, int, int, float]  # delay, target, projection, weight


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hashed(*words: int, start: int = 0x456E6772616D4442) -> int:
    for word in words:
        start = mix((start + (word + 1) * 0x9E3779B97F4A7C15) & MASK)
    return start


def twin_permute(x: int, key: int, size: int) -> int:
    side = math.isqrt(size - 1) + 1
    while True:
        left, right = divmod(x, side)
        for step in range(12 if side <= 8 else 6):
            mixed = mix((key + (right * 16 + step) * 0x9E3779B97F4A7C15) & MASK)
            left, right = right, (left + ((mixed >> 26) * side >> 38)) % side
        x = left * side + right
        if x < size:
            return x


def twin_row(spec: Spec, bundles: Bundles, neuron_id: int) -> list[Synapse]:
    layer, segment, local = unpack(neuron_id)
    (bundle,) = [b for b in bundles.bundles if (b.layer, b.segment) == (layer, segment) and b.lo <= local < b.hi]
    found: list[tuple[int, int, int, int, float]] = []
    for wire in bundle.wires:
        projection = spec.all_projections[wire.projection]
        domain = bundles.domains[wire.domain]
        neurons = [(s, size) for s, size in domain]
        size = sum(n for _, n in neurons)
        purpose = [hashed(spec.seed, bundle.number, wire.projection, number) for number in (1, 2, 3, 4, 16)]
        target_key, offset_key, long_key, weight_key, delay_key = purpose
        rule: Any = wire.rule
        position = sum(n for s, n in _at_birth(bundles, bundle) if s < segment) + local
        if isinstance(rule, FixedOutdegree):
            turn, rest = divmod(local - bundle.lo, size)
            places = [twin_permute(rest, hashed(turn, o, start=target_key), 16 * size) % size for o in range(rule.k)]
        elif isinstance(rule, OneToOne):
            places = [position] if position < size else []
        else:
            u = (hashed(neuron_id, start=long_key) >> 11) / 2**53
            n_long = min(rule.k, int(rule.k * rule.long_fraction + u))
            offsets = [d for d in range(-rule.span, rule.span + 1) if d]
            places = []
            for o in range(rule.k - n_long):
                left = len(offsets) - o
                chosen = o + ((hashed(neuron_id, o, start=offset_key) >> 32) * left >> 32)
                offsets[o], offsets[chosen] = offsets[chosen], offsets[o]
                places.append((position + offsets[o]) % size)
            for o in range(rule.k - n_long, rule.k):
                places.append(twin_permute(position, hashed(0, o, start=target_key), 16 * size) % size)
        for o, place in enumerate(places):
            u = (hashed(neuron_id, o, start=weight_key) >> 11) / 2**53
            magnitude = resolved(projection.weight).sample(u)
            signed = np.float32(magnitude) * np.float32(projection.sign or 1)
            weight = float(narrowed(float(signed), spec.layer(layer)))
            post = spec.layer(projection.post).index
            delay = spec.delay_ticks(projection)
            if isinstance(projection.delay_ms, Distribution):
                table = projection.delay_ms.table() / spec.dt_ms
                u = (hashed(neuron_id, o, start=delay_key) >> 11) / 2**53
                cell, part = divmod(u * (len(table) - 1), 1)
                low, high = table[int(cell) : int(cell) + 2].tolist()
                delay = max(1, round(float(np.float32(low + part * (high - low)))))
            for s, n in neurons:
                if place < n:
                    found.append((delay, pack(post, s, place), wire.projection, o, weight))
                    break
                place -= n
    return [(delay, target, number, weight) for delay, target, number, _, weight in sorted(found)]


def _at_birth(bundles: Bundles, born: Bundle) -> list[tuple[int, int]]:
    """(segment, size) of a bundle's layer when the bundle was born."""
    first = [b for b in bundles.bundles if b.layer == born.layer and b.lo == 0 and b.born_tick == 0]
    sizes = {b.segment: b.hi for b in first}
    for b in bundles.bundles:
        if b.layer == born.layer and b.number <= born.number:
            sizes[b.segment] = max(sizes.get(b.segment, 0), b.hi)
    return sorted(sizes.items())


delays = st.sampled_from([1.0, 2.0, 1.0, 2.0, (1.0, 2.0), (1.0, 300.0), (0.2, 1.3), Normal(4.0, 2.0)])


@st.composite
def networks(draw: st.DrawFn, largest: int = 700) -> tuple[Spec, Bundles]:
    """One to three layers in some segments, any virtual rules between them, then some bundles grown."""
    indices = draw(st.lists(st.sampled_from([0, 1, 7, 32767, 32768, 65535]), min_size=1, max_size=3, unique=True))
    layers = []
    for index in indices:
        n = draw(st.integers(30, largest))
        numbers = draw(st.lists(st.integers(0, 65535), min_size=1, max_size=3, unique=True))
        cuts = sorted(
            draw(st.lists(st.integers(1, n - 1), min_size=len(numbers) - 1, max_size=len(numbers) - 1, unique=True))
        )
        sizes = np.diff([0, *cuts, n]).tolist()
        kind = draw(st.sampled_from([{}, {"weights": "float16"}, {"weights": "int8", "weight_step": 0.11}]))
        layers.append(Layer(f"l{index}", index=index, segments=list(zip(numbers, sizes, strict=True)), **kind))
    projections = []
    for number in range(draw(st.integers(1, 4))):
        pre, post = draw(st.sampled_from(layers)), draw(st.sampled_from(layers))
        rules: list[st.SearchStrategy[Rule]] = [st.builds(FixedOutdegree, k=st.integers(1, min(40, post.neurons)))]
        if pre.neurons == post.neurons:
            rules.append(st.just(OneToOne()))
        if pre is post:
            span = draw(st.integers(2, 14))
            k = st.integers(1, min(2 * span, 12))
            rules.append(
                st.builds(SmallWorld, k=k, long_fraction=st.sampled_from([0.0, 0.1, 0.5, 1.0]), span=st.just(span))
            )
        if draw(st.integers(0, 9)) == 0:
            rules = [st.just(FixedIndegree(k=2))]
        projections.append(
            Projection(
                pre.name,
                post.name,
                draw(st.one_of(*rules)),
                weight=draw(st.sampled_from([1.0, (0.5, 1.5), Normal(8.0, 1.0)])),
                delay_ms=draw(delays),
                sign=draw(st.sampled_from([None, 1, -1])),
                name=str(number),
            )
        )
    spec = Spec(seed=draw(st.integers(0, MASK)), layers=layers, projections=projections)
    bundles = Bundles.initial(spec)
    for tick in range(1, 1 + draw(st.integers(0, 2))):
        bundles, _ = draw(growths(spec, bundles, tick))
    return spec, bundles


def growths(spec: Spec, bundles: Bundles, tick: int) -> st.SearchStrategy[tuple[Bundles, Bundle]]:
    return st.builds(
        lambda layer, neurons: bundles.grow(spec, layer, neurons, tick=tick),
        st.sampled_from([layer.name for layer in spec.layers]),
        st.integers(1, 200),
    )


def all_ids(bundles: Bundles) -> npt.NDArray[np.uint64]:
    parts = [np.arange(b.lo, b.hi, dtype=U64) | U64(pack(b.layer, b.segment, 0)) for b in bundles.bundles]
    return np.sort(np.concatenate(parts))


def row(spec: Spec, rows: Rows, i: int) -> list[Synapse]:
    part = slice(int(rows.indptr[i]), int(rows.indptr[i + 1]))
    delay = spec.ticks_of(rows.projection, rows.delay)
    columns = delay, rows.target, rows.projection, rows.weight
    return list(zip(*(column[part].tolist() for column in columns), strict=True))


def assert_equal_rows(a: Rows, b: Rows) -> None:
    for name in ("indptr", "projection", "target", "weight", "delay"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
