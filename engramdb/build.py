"""Rows that are written when they are made: of built wiring rules, and of virtual ones where a layer is materialized.

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

from engramdb import delays
from engramdb.address import MAX_LOCAL, IdArray
from engramdb.bulk import Written, never_fired, rows_of, write_records
from engramdb.distribution import resolved
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.interchange.sorter import Edges, EdgeSorter
from engramdb.kernels import build as kernel
from engramdb.kernels import rng
from engramdb.layer import Layer
from engramdb.rules import Bernoulli, Domain, FixedIndegree, neurons_of
from engramdb.spec import Spec
from engramdb.store import Records, Store
from engramdb.wiring import Wiring

_PIECE_SYNAPSES, _PIECE_NEURONS = 1 << 20, 1 << 17
# of a synapse in a piece: as it was made, and what comes of it while it is sorted or encoded
_VIRTUAL_BYTES, _BUILT_BYTES = 64, 512
_PURPOSES = np.array([rng.BUILT_TARGET, rng.BUILT_WEIGHT, rng.BUILT_DELAY])


def build(
    store: Store,
    spec: Spec,
    bundles: Bundles,
    *,
    done: int = 0,
    memory_bytes: int = 1 << 29,
    wrote: Written | None = None,
    commit: Written | None = None,
) -> None:
    """Write the rows of all built projections and of materialized layers.

    Every neuron of such a layer gets a record, in order of layers and ids; ``done`` of them have it already. Where a
    layer has virtual projections beside built ones, its rows hold both. ``wrote`` and ``commit``: see
    :func:`~engramdb.bulk.write_records`.

    - ``FixedIndegree(k)``: each target draws k sources, all neurons of the pre layer equally likely each time, so self
      loops and repeated pairs occur: NEST's ``fixed_indegree`` with its defaults.
    - ``Bernoulli(p)``: each ordered pair is joined with probability p, a neuron with itself too, never twice: NEST's
      ``pairwise_bernoulli`` with its defaults.
    """
    records = _built_records(store.path, spec, bundles, done, memory_bytes)
    write_records(store, records, wrote=wrote, commit=commit)


def write_out(
    store: Store,
    spec: Spec,
    bundles: Bundles,
    bundle: Bundle,
    *,
    memory_bytes: int = 1 << 29,
    commit: Callable[[int], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the rows that a bundle lacks which was grown to be written out.

    They are its virtual rows and nothing else: built rules are applied once, when an engram is created, so that growing
    changes no row that exists. ``commit(neurons)`` is called after every part and at the end with how many of the
    bundle's neurons are written, ``progress(neurons, of all)`` more often.
    """

    def neurons(records: Records) -> int:
        return int(records.ids[-1] & np.uint64(MAX_LOCAL)) + 1 - bundle.lo

    def wrote(records: Records) -> None:
        if progress is not None:
            progress(neurons(records), bundle.neurons)

    def part(records: Records) -> None:
        if neurons(records) < bundle.neurons:
            commit(neurons(records))

    stretch = _Stretch(bundle.layer, bundle.segment, bundle.hi - bundle.unwritten, bundle.hi)
    records = _virtual_records(Wiring(spec, bundles), [stretch], memory_bytes)
    write_records(store, records, wrote=wrote, commit=part, retargeted=False)
    commit(bundle.neurons)


def to_build(spec: Spec) -> list[Layer]:
    """The layers whose rows :func:`build` writes."""
    built = {p.pre for p in spec.all_projections if isinstance(p.rule, (FixedIndegree, Bernoulli))}
    return [layer for layer in spec.layers if layer.materialize or layer.name in built]


class _Stretch(NamedTuple):
    """Neurons ``lo``..``hi - 1`` of a segment."""

    layer: int
    segment: int
    lo: int
    hi: int

    @property
    def first(self) -> int:
        """Its first id."""
        return self.layer << 48 | self.segment << 32 | self.lo

    def ids(self, most: int) -> Iterator[IdArray]:
        """Its ids in increasing order, at most ``most`` at once."""
        for lo in range(self.lo, self.hi, most):
            yield _id_range(self.layer, self.segment, lo, min(lo + most, self.hi))


def _without(stretches: Iterable[_Stretch], done: int) -> Iterator[_Stretch]:
    """What is left of ``stretches`` behind their first ``done`` neurons."""
    for stretch in stretches:
        skipped = min(done, stretch.hi - stretch.lo)
        done -= skipped
        if stretch.lo + skipped < stretch.hi:
            yield stretch._replace(lo=stretch.lo + skipped)


def _built_records(path: Path, spec: Spec, bundles: Bundles, done: int, memory_bytes: int) -> Iterator[Records]:
    wiring = Wiring(spec, bundles)
    for layer in to_build(spec):
        whole = [_Stretch(layer.index, segment, 0, size) for segment, size in bundles.domain_of(layer.index)]
        left = list(_without(whole, done))
        done = max(0, done - sum(stretch.hi - stretch.lo for stretch in whole))
        if not left:
            continue
        rules = _built(spec, bundles, layer)
        if not rules:
            yield from _virtual_records(wiring, left, memory_bytes)
            continue
        with ExitStack() as opened:
            rows = _Rows(layer, wiring, rules, spec, bundles, opened, path, memory_bytes)
            neurons = itertools.chain(*(stretch.ids(_PIECE_NEURONS) for stretch in left))
            yield from rows_of(rows.batches(left), neurons, spec)


def _virtual_records(wiring: Wiring, stretches: Iterable[_Stretch], memory_bytes: int) -> Iterator[Records]:
    """The virtual rows of ``stretches`` as stored ones."""
    for stretch in stretches:
        # some pieces are held at once: one made, one that waits, one being encoded
        synapses = min(_PIECE_SYNAPSES, memory_bytes // (4 * _VIRTUAL_BYTES))
        degree = int(wiring.degrees(np.array([stretch.first], dtype=np.uint64))[0])
        for ids in stretch.ids(_neurons_in(synapses, degree)):
            rows = wiring.rows(ids)
            yield never_fired(ids, rows.indptr, rows.projection, rows.target, rows.weight, rows.delay)


def _neurons_in(synapses: int, degree: float) -> int:
    """How many neurons have so many synapses, if that is how many each has."""
    return int(min(max(synapses // max(degree, 1), 1), _PIECE_NEURONS))


class _Built(NamedTuple):
    """A built projection as its kernel takes it."""

    number: int
    rule: FixedIndegree | Bernoulli
    factor: np.float32
    table: npt.NDArray[np.float64]
    ticks: npt.NDArray[np.float64] | None  # quantiles of the delay; None where synapses have none of their own
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
                    factor=np.float32(1 if projection.sign is None else projection.sign),
                    table=resolved(projection.weight).table(),
                    ticks=delays.table(spec.delay_of(projection), spec.dt_ms) if spec.varying_delays else None,
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
        self._delays = spec.delays.tolist()
        ranges = [spec.delay_range(p) for p in spec.all_projections if p.pre == layer.name]
        self._range = (min(ranges)[0], max(longest for _, longest in ranges)) if spec.varying_delays else None
        reached = {spec.layer(p.post).index for p in spec.all_projections if p.pre == layer.name}
        self._pre = {place: size for place, size in bundles.sizes.items() if place[0] == layer.index}
        self._post = {place: size for place, size in bundles.sizes.items() if place[0] in reached}
        self._by_source = [built for built in rules if isinstance(built.rule, Bernoulli)]
        self._by_target = [built for built in rules if isinstance(built.rule, FixedIndegree)]
        self._out_degree = sum(built.out_degree for built in rules)
        self._piece = max(min(_PIECE_SYNAPSES, memory_bytes // _BUILT_BYTES), 1 << 10)
        self._sorted = _Forward(())
        self._folder = Path()
        if self._by_target:
            made = tempfile.TemporaryDirectory(prefix="build-", dir=path)
            self._folder = Path(opened.enter_context(made))
            sorter = opened.enter_context(self._sorter(memory_bytes // 2))
            for built in self._by_target:
                for edges in _drawn_by_target(self._seed, built, self._piece):
                    sorter.add(*edges)
            self._sorted = _Forward(sorter.batches(self._piece))

    def batches(self, stretches: Sequence[_Stretch]) -> Iterator[Edges]:
        """The rows of the neurons of ``stretches``, by id, in batches that part none."""
        first = np.array([stretch.first for stretch in stretches], dtype=np.uint64)
        degree = self._out_degree + float(self._wiring.degrees(first).max())
        self._sorted.drop_below(first[0])
        most = _neurons_in(self._piece, degree)
        for ids in itertools.chain(*(stretch.ids(most) for stretch in stretches)):
            rows = self._wiring.rows(ids)
            pre = np.repeat(ids, np.diff(rows.indptr))
            virtual = Edges(pre, rows.target, rows.weight, rows.projection, rows.delay)
            parts = [virtual, *(_drawn_by_source(self._seed, built, ids) for built in self._by_source)]
            parts = [part for part in parts if len(part.pre)]
            drawn = list(self._sorted.upto(ids[-1]))
            # drawn by source they are in the order of targets, whatever their delays
            ordered = self._range is None or not self._by_source or not parts
            if len(parts) + bool(drawn) < 2 and ordered:
                yield from (*parts, *drawn)  # in order already
            else:
                parts += drawn
                room = 64 * sum(len(part.pre) for part in parts)  # more than it takes: nothing is written out
                with self._sorter(room) as sorter:
                    for part in parts:
                        sorter.add(*part)
                    yield from sorter.batches()

    def _sorter(self, memory_bytes: int) -> EdgeSorter:
        return EdgeSorter(
            memory_bytes, self._folder, self._pre, self._post, delays=self._delays, delay_range=self._range
        )


class _Forward:
    """Batches of edges sorted by pre, taken from the front."""

    def __init__(self, batches: Iterable[Edges]) -> None:
        self._batches = iter(batches)
        self._head: Edges | None = None

    def drop_below(self, first: Any) -> None:
        """Pass over all edges with ``pre < first``."""
        if first:
            for _ in self.upto(first - np.uint64(1)):
                pass

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


def _drawn_by_target(seed: np.uint64, built: _Built, piece: int) -> Iterator[Edges]:
    assert isinstance(built.rule, FixedIndegree)
    k, (_, post_layer) = built.rule.k, built.layers
    start, base = _positions(built.pre, built.layers[0])
    size = np.uint64(neurons_of(built.pre))
    room = max(piece // k, 1)
    for segment, neurons in built.post:
        for lo in range(0, neurons, room):
            targets = _id_range(post_layer, segment, lo, min(lo + room, neurons))
            edges = Edges.room(len(targets) * k, delays=built.ticks is not None)
            kernel.draw_sources(
                seed, np.uint64(built.number), _PURPOSES, targets, k, size, start, base,
                built.table, built.factor, *_filled(built, edges),
            )  # fmt: skip
            edges.projection[:] = built.number
            yield edges


def _drawn_by_source(seed: np.uint64, built: _Built, sources: IdArray) -> Edges:
    assert isinstance(built.rule, Bernoulli)
    rate = _rate(built.rule.p)
    if rate == 0:
        return Edges.room(0, delays=built.ticks is not None)
    start, base = _positions(built.post, built.layers[1])
    size = np.uint64(neurons_of(built.post))
    mean = built.out_degree * len(sources)
    parts, done, begin = [], np.zeros(2, dtype=np.int64), 0
    while begin < len(sources):
        edges = Edges.room(int(mean + 6 * mean**0.5) + 64, delays=built.ticks is not None)
        begin, filled = kernel.draw_targets(
            seed, np.uint64(built.number), _PURPOSES, sources, done, begin, 1 / rate, size, start, base,
            built.table, built.factor, *_filled(built, edges),
        )  # fmt: skip
        edges.projection[:] = built.number
        parts.append(edges.part(0, filled))
    return Edges.concatenate(parts)


def _filled(built: _Built, edges: Edges) -> tuple[npt.NDArray[Any], ...]:
    """The table of delays, and the arrays to fill; that and the delays empty where there are none of their own."""
    ticks = np.empty(0) if built.ticks is None else built.ticks
    delay = np.empty(0, dtype=np.uint16) if edges.delay is None else edges.delay
    return ticks, edges.pre, edges.post, edges.weight, delay


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
