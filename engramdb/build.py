"""Writing rows in bulk: of built wiring rules, of virtual ones where a layer is materialized, and of imports.

Everything streams: rows are made or sorted a piece at a time, and no more is held than ``memory_bytes``.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import LOCAL_BITS, SEGMENT_BITS, IdArray
from engramdb.distribution import resolved
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.interchange.ahead import ahead
from engramdb.interchange.sorter import Edges, EdgeSorter
from engramdb.kernels import build as kernel
from engramdb.kernels import rng
from engramdb.layer import Layer
from engramdb.rules import Bernoulli, Domain, FixedIndegree, neurons_of
from engramdb.spec import Spec
from engramdb.store import STORED, Records, Store
from engramdb.wiring import Wiring

_PIECE_SYNAPSES, _PIECE_NEURONS = 1 << 20, 1 << 17
_LAYER_SHIFT = np.uint64(SEGMENT_BITS + LOCAL_BITS)
_PURPOSES = np.array([rng.BUILT_TARGET, rng.BUILT_WEIGHT])

Progress = Callable[[str, int, int | None], None]


def bulk_write(
    store: Store,
    batches: Iterable[Edges],
    *,
    neurons: Iterable[IdArray] = (),
    progress: Progress | None = None,
    total: int | None = None,
) -> int:
    """Write the rows in ``batches`` as stored rows of neurons that never fired; returns how many synapses.

    ``batches``: edges by (pre, delay, post, projection), no row parted. ``neurons``: uint64 arrays, increasing
    throughout, of neurons that get a record also if their row is empty. Nothing is durable before the store commits.
    ``progress("write", synapses so far, total)`` is called after each write.
    """
    written = 0
    for records in ahead(_records(batches, neurons)):
        store.write(records)
        written += records.synapses
        if progress is not None:
            progress("write", written, total)
    return written


def build(
    store: Store,
    spec: Spec,
    bundles: Bundles,
    *,
    only: Sequence[Bundle] | None = None,
    memory_bytes: int = 1 << 29,
    progress: Progress | None = None,
) -> int:
    """Write the rows of all built projections and of materialized layers; returns how many synapses.

    Every neuron of such a layer gets a record. Where a layer has virtual projections beside built ones, its rows hold
    both. With ``only``, bundles that were grown later, their virtual rows are written and nothing else: built rules are
    applied once, when an engram is created, so that growing changes no row that exists. The store commits nothing.

    - ``FixedIndegree(k)``: each target draws k sources, all neurons of the pre layer equally likely each time, so self
      loops and repeated pairs occur: NEST's ``fixed_indegree`` with its defaults.
    - ``Bernoulli(p)``: each ordered pair is joined with probability p, a neuron with itself too, never twice: NEST's
      ``pairwise_bernoulli`` with its defaults.
    """
    written = 0
    wiring = Wiring(spec, bundles)
    for layer in spec.layers:
        rules = [] if only is not None else _built(spec, bundles, layer)
        if only is None and not rules and not layer.materialize:
            continue
        born = [bundle for bundle in (bundles.bundles if only is None else only) if bundle.layer == layer.index]
        with ExitStack() as opened:
            rows = _Rows(layer, wiring, rules, spec, bundles, opened, store.path, memory_bytes)
            written += bulk_write(store, rows.batches(born), neurons=_ids(born, _PIECE_NEURONS), progress=progress)
    return written


class _Built(NamedTuple):
    """A built projection as its kernel takes it."""

    number: int
    rule: FixedIndegree | Bernoulli
    delay: int
    factor: np.float32
    table: npt.NDArray[np.float64]
    pre: Domain
    post: Domain
    layers: tuple[int, int]  # indices

    @property
    def out_degree(self) -> float:
        """Synapses of a row, on average."""
        if isinstance(self.rule, Bernoulli):
            return self.rule.p * neurons_of(self.post)
        return self.rule.k * neurons_of(self.post) / neurons_of(self.pre)


def _built(spec: Spec, bundles: Bundles, layer: Layer) -> list[_Built]:
    """The built projections from ``layer``, by number."""
    found = []
    for number, projection in enumerate(spec.all_projections):
        rule = projection.rule
        if projection.pre == layer.name and isinstance(rule, (FixedIndegree, Bernoulli)):
            layers = layer.index, spec.layer(projection.post).index
            found.append(
                _Built(
                    number=number,
                    rule=rule,
                    delay=spec.delay_ticks(projection),
                    factor=np.float32(1 if projection.sign is None else projection.sign),
                    table=resolved(projection.weight).table(),
                    pre=bundles.domain_of(layers[0]),
                    post=bundles.domain_of(layers[1]),
                    layers=layers,
                )
            )
    return found


class _Rows:
    """Whole rows of one layer's neurons, by all its projections."""

    def __init__(
        self,
        layer: Layer,
        wiring: Wiring,
        rules: Sequence[_Built],
        spec: Spec,
        bundles: Bundles,
        opened: ExitStack,
        path: Path,
        memory_bytes: int,
    ) -> None:
        self._wiring = wiring
        self._seed = np.uint64(spec.seed)
        self._delays = [spec.delay_ticks(projection) for projection in spec.all_projections]
        reached = {spec.layer(p.post).index for p in spec.all_projections if p.pre == layer.name}
        self._pre = {place: size for place, size in bundles.sizes.items() if place[0] == layer.index}
        self._post = {place: size for place, size in bundles.sizes.items() if place[0] in reached}
        self._by_source = [built for built in rules if isinstance(built.rule, Bernoulli)]
        self._by_target = [built for built in rules if isinstance(built.rule, FixedIndegree)]
        self._out_degree = sum(built.out_degree for built in rules)
        self._memory_bytes = memory_bytes
        self._sorted = _Forward(())
        self._folder = Path()
        if self._by_target:
            made = tempfile.TemporaryDirectory(prefix="build-", dir=path)
            self._folder = Path(opened.enter_context(made))
            sorter = opened.enter_context(self._sorter(memory_bytes // 2))
            for built in self._by_target:
                for edges in _drawn_by_target(self._seed, built):
                    sorter.add(*edges)
            self._sorted = _Forward(sorter.batches())

    def batches(self, born: Sequence[Bundle]) -> Iterator[Edges]:
        """The rows of the neurons of ``born``, by id, in batches that part none."""
        if not born:
            return
        first = np.array([b.layer << 48 | b.segment << 32 | b.lo for b in born], dtype=np.uint64)
        degree = self._out_degree + float(self._wiring.degrees(first).max())
        for ids in _ids(born, int(min(max(_PIECE_SYNAPSES // max(degree, 1), 1), _PIECE_NEURONS))):
            rows = self._wiring.rows(ids)
            virtual = Edges(np.repeat(ids, np.diff(rows.indptr)), rows.target, rows.weight, rows.projection)
            parts = [virtual, *(_drawn_by_source(self._seed, built, ids) for built in self._by_source)]
            parts = [part for part in parts if len(part.pre)]
            drawn = list(self._sorted.upto(ids[-1]))
            if len(parts) + bool(drawn) < 2:
                yield from (*parts, *drawn)  # in order already
            else:
                parts += drawn
                room = 64 * sum(len(part.pre) for part in parts)  # more than it takes: nothing is written out
                with self._sorter(room) as sorter:
                    for part in parts:
                        sorter.add(*part)
                    yield from sorter.batches()

    def _sorter(self, memory_bytes: int) -> EdgeSorter:
        return EdgeSorter(memory_bytes, self._folder, self._pre, self._post, delays=self._delays)


class _Forward:
    """Batches of edges sorted by pre, taken from the front."""

    def __init__(self, batches: Iterable[Edges]) -> None:
        self._batches = iter(batches)
        self._head: Edges | None = None

    def upto(self, last: Any) -> Iterator[Edges]:
        """All edges left with ``pre <= last``."""
        while True:
            if self._head is None:
                self._head = next(self._batches, None)
            if self._head is None or self._head.pre[0] > last:
                return
            cut = int(np.searchsorted(self._head.pre, last, side="right"))
            yield self._head.part(0, cut)
            self._head = self._head.part(cut, len(self._head.pre)) if cut < len(self._head.pre) else None


def _drawn_by_target(seed: np.uint64, built: _Built) -> Iterator[Edges]:
    assert isinstance(built.rule, FixedIndegree)
    k, (_, post_layer) = built.rule.k, built.layers
    start, base = _positions(built.pre, built.layers[0])
    size = np.uint64(neurons_of(built.pre))
    room = max(_PIECE_SYNAPSES // k, 1)
    for segment, neurons in built.post:
        for lo in range(0, neurons, room):
            targets = _id_range(post_layer, segment, lo, min(lo + room, neurons))
            edges = Edges.room(len(targets) * k)
            kernel.draw_sources(
                seed, np.uint64(built.number), _PURPOSES, targets, k, size, start, base,
                built.table, built.factor, edges.pre, edges.post, edges.weight,
            )  # fmt: skip
            edges.projection[:] = built.number
            yield edges


def _drawn_by_source(seed: np.uint64, built: _Built, sources: IdArray) -> Edges:
    assert isinstance(built.rule, Bernoulli)
    rate = _rate(built.rule.p)
    if rate == 0:
        return Edges.room(0)
    start, base = _positions(built.post, built.layers[1])
    size = np.uint64(neurons_of(built.post))
    mean = built.out_degree * len(sources)
    parts, done, begin = [], np.zeros(2, dtype=np.int64), 0
    while begin < len(sources):
        edges = Edges.room(int(mean + 6 * mean**0.5) + 64)
        begin, filled = kernel.draw_targets(
            seed, np.uint64(built.number), _PURPOSES, sources, done, begin, 1 / rate, size, start, base,
            built.table, built.factor, edges.pre, edges.post, edges.weight,
        )  # fmt: skip
        edges.projection[:] = built.number
        parts.append(edges.part(0, filled))
    return Edges.concatenate(parts)


def _rate(p: float) -> float:
    """-ln(1 - p), correctly rounded on every machine; infinite for 1, and 0 where p is too small to be seen."""
    if p >= 1:
        return float("inf")
    with localcontext(prec=60):
        return float(-(1 - Decimal(p)).ln())


def _positions(domain: Domain, layer: int) -> tuple[IdArray, IdArray]:
    """For each segment of ``domain``: position and id of its neuron 0."""
    sizes = [size for _, size in domain]
    start = np.cumsum([0, *sizes[:-1]], dtype=np.uint64)
    return start, np.array([layer << 48 | segment << 32 for segment, _ in domain], dtype=np.uint64)


def _id_range(layer: int, segment: int, lo: int, hi: int) -> IdArray:
    return np.arange(lo, hi, dtype=np.uint64) | np.uint64(layer << 48 | segment << 32)


def _ids(born: Sequence[Bundle], most: int) -> Iterator[IdArray]:
    """The ids of ``born`` in increasing order, at most ``most`` at once."""
    for bundle in sorted(born, key=lambda bundle: (bundle.layer, bundle.segment, bundle.lo)):
        for lo in range(bundle.lo, bundle.hi, most):
            yield _id_range(bundle.layer, bundle.segment, lo, min(lo + most, bundle.hi))


def _records(batches: Iterable[Edges], neurons: Iterable[IdArray]) -> Iterator[Records]:
    """Records of one layer each, by id: all rows of ``batches``, and empty ones for the other ``neurons``."""
    waiting = iter(neurons)
    others = np.empty(0, dtype=np.uint64)
    for batch in batches:
        edges = batch
        while len(edges.pre):
            if not len(others):
                others = next(waiting, others)
            # as far as both are known
            known = bool(len(others)) and others[-1] < edges.pre[-1]
            last = others[-1] if known else edges.pre[-1]
            row_stop = int(np.searchsorted(edges.pre, last, side="right"))
            other_stop = int(np.searchsorted(others, last, side="right"))
            yield from _stored(edges.part(0, row_stop), others[:other_stop])
            edges, others = edges.part(row_stop, len(edges.pre)), others[other_stop:]
    nothing = Edges.room(0)
    yield from _stored(nothing, others)
    for others in waiting:
        yield from _stored(nothing, others)


def _stored(edges: Edges, others: IdArray) -> Iterator[Records]:
    first = np.ones(len(edges.pre), dtype=bool)
    first[1:] = edges.pre[1:] != edges.pre[:-1]
    own = edges.pre[first]
    place = np.searchsorted(others, own)
    among = bool(len(others)) and bool((others[np.minimum(place, len(others) - 1)] == own).all())
    ids = others if among else np.union1d(own, others)
    if not len(ids):
        return
    indptr = np.append(np.searchsorted(edges.pre, ids), len(edges.pre))
    whole = Records(
        ids=ids,
        state={
            "spike_count": np.zeros(len(ids), dtype=np.uint32),
            "last_spike": np.zeros(len(ids), dtype=np.int64),
        },
        row_kind=np.full(len(ids), STORED, dtype=np.uint8),
        indptr=indptr.astype(np.int64),
        projection=edges.projection,
        target=edges.post,
        weight=edges.weight,
    )
    cuts = [0, *(np.flatnonzero(np.diff(ids >> _LAYER_SHIFT)) + 1).tolist(), len(ids)]
    for start, stop in itertools.pairwise(cuts):
        yield whole.part(start, stop)
