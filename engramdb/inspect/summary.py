"""What an engram holds, read from its store beside a running writer, in memory that does not grow with it.

::

    summary = summarize("brain.engram", at="trained")
    summary.layers[0].records, summary.storage.packs
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.degrees import degrees, generated_synapses
from engramdb.distribution import Distribution
from engramdb.errors import JournalDamaged, KernelMismatch
from engramdb.growth.bundle import Bundles
from engramdb.inspect.histogram import Histogram, LinearHistogram, PowerHistogram
from engramdb.inspect.storage import Storage, measure
from engramdb.rules import Rule
from engramdb.spec import Layer, Projection, Spec
from engramdb.store import STORED, Commit, Snapshot, Store
from engramdb.store.catalog import FORMAT_VERSION
from engramdb.url import located

if TYPE_CHECKING:
    from engramdb.engram import Engram

NEWEST_COMMITS = 10


@dataclass(frozen=True)
class Values:
    """How numbers are spread. ``mean``, ``minimum`` and ``maximum`` are None where there are none."""

    count: int
    mean: float | None
    minimum: float | None
    maximum: float | None
    histogram: Histogram


@dataclass(frozen=True)
class LayerSummary:
    """One layer.

    - ``declared`` neurons can be addressed; ``records`` of them have a history and are stored, ``stored_rows`` with
      synapses of their own, ``generated_rows`` with those that the wiring rules give.
    - ``generated_degree``: the mean over all declared neurons of the synapses that the rules give.
    - ``out_degree`` is over the records, ``weights`` (mV) over the ``stored_synapses``, and so are ``delays`` (ticks),
      None where every synapse has that of its projection.
    - ``spikes`` of all records together, ``most_spikes`` of one, ``spiked`` records with any; ``last_spike``: tick, 0
      for never.
    """

    name: str
    index: int
    model: str
    parameters: Mapping[str, Any]
    segments: int
    declared: int
    records: int
    stored_rows: int
    generated_rows: int
    generated_degree: float
    stored_synapses: int
    out_degree: Values
    weights: Values
    delays: Values | None
    spikes: int
    most_spikes: int
    spiked: int
    last_spike: int


@dataclass(frozen=True)
class ProjectionSummary:
    """One projection. ``virtual``: its synapses are computed; ``stored_synapses`` are those written out.

    ``delay``: in ms, as ``weight`` a number or a distribution, of which ``delay_ms`` is None; in ticks it is
    ``delay_ticks`` to ``longest_ticks``.
    """

    name: str
    pre: str
    post: str
    rule: str
    virtual: bool
    weight: str
    sign: int | None
    delay_ms: float | None
    delay: str
    delay_ticks: int
    longest_ticks: int
    stored_synapses: int


@dataclass(frozen=True)
class Summary:
    """One engram as of one commit. ``charged`` neurons are not at rest; ``in_flight`` spikes have not arrived yet.

    ``journaled`` commands came after the commit and took it to tick ``journaled_tick``: a writer is at work, or the
    next one will replay them. None where the journal cannot be read; ``verify`` says why.
    """

    path: str
    format: int
    name: str
    description: str
    seed: int
    dt_ms: float
    at: str | None
    commit: int
    line: int
    tick: int
    created: str
    layers: tuple[LayerSummary, ...]
    projections: tuple[ProjectionSummary, ...]
    charged: int
    in_flight: int
    journaled: int | None
    journaled_tick: int
    labelled: bool
    storage: Storage
    snapshots: tuple[Snapshot, ...]
    commits: tuple[Commit, ...]

    @property
    def records(self) -> int:
        """Stored neurons of all layers."""
        return sum(layer.records for layer in self.layers)

    @property
    def declared(self) -> int:
        """Addressable neurons of all layers."""
        return sum(layer.declared for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and text, for JSON. The seed is text: it may pass 2^53."""
        document = asdict(self)
        document["seed"] = str(self.seed)
        document["declared"], document["records"] = self.declared, self.records
        return document


def summarize(engram: Engram | str | os.PathLike[str], at: str | int | None = None) -> Summary:
    """Summarize the engram at a path, or an open one: its head, or the snapshot or commit ``at``.

    An open engram is shown as of the commit at which it stands; what it has done since is in its journal. Never
    locks, never writes. Raises :class:`NotAnEngram`, :class:`NotFound` for ``at``, :class:`Damaged`.
    """
    if isinstance(engram, (str, os.PathLike)):
        path = located(engram)
    else:
        path = engram.path
        at = engram.log()[0].number if at is None else at
    store = Store.open(path, "r", at=at)
    try:
        return _summary(store, None if at is None else str(at))
    finally:
        store.close()


def _summary(store: Store, at: str | None) -> Summary:
    spec, bundles, commit = store.spec, store.bundles, store.commit
    by_projection = np.zeros(len(spec.all_projections), dtype=np.int64)
    layers = tuple(_layer(store, layer, bundles, by_projection) for layer in spec.layers)
    state = store.read_state()
    journaled, journaled_tick = _journaled(store)
    return Summary(
        path=str(store.path),
        format=FORMAT_VERSION,
        name=spec.name,
        description=spec.description,
        seed=spec.seed,
        dt_ms=spec.dt_ms,
        at=at,
        commit=commit.number,
        line=commit.line,
        tick=commit.tick,
        created=commit.created,
        layers=layers,
        projections=tuple(
            _projection(spec, projection, int(stored))
            for projection, stored in zip(spec.all_projections, by_projection, strict=True)
        ),
        charged=len(state.get("charged_id", ())),
        in_flight=len(state.get("flight_id", ())),
        journaled=journaled,
        journaled_tick=journaled_tick,
        labelled=store.has_labels,
        storage=measure(store),
        snapshots=tuple(store.snapshots()),
        commits=tuple(store.log()[:NEWEST_COMMITS]),
    )


def _journaled(store: Store) -> tuple[int | None, int]:
    """Commands in the journal since the commit, and the tick that they lead to."""
    commands, tick = 0, store.commit.tick
    try:
        for frame in store.journal_frames():
            commands, tick = commands + 1, frame.tick
    except (JournalDamaged, KernelMismatch):
        return None, tick
    return commands, tick


def _projection(spec: Spec, projection: Projection, stored: int) -> ProjectionSummary:
    delay = spec.delay_of(projection)
    least, longest = spec.delay_range(projection)
    return ProjectionSummary(
        name=projection.name,
        pre=projection.pre,
        post=projection.post,
        rule=_rule(projection.rule),
        virtual=projection.rule.virtual,
        weight=_weight(projection.weight),
        sign=projection.sign,
        delay_ms=None if isinstance(delay, Distribution) else delay,
        delay=_weight(delay),
        delay_ticks=least,
        longest_ticks=longest,
        stored_synapses=stored,
    )


def _rule(rule: Rule) -> str:
    given = ((field.name, getattr(rule, field.name)) for field in fields(rule) if field.name != "weight")
    return f"{type(rule).__name__}({', '.join(f'{name}={value}' for name, value in given)})"


def _weight(weight: Any) -> str:
    if is_dataclass(weight):
        parts = (f"{getattr(weight, field.name):g}" for field in fields(weight))
        return f"{type(weight).__name__}({', '.join(parts)})"
    return f"{weight:g}"


class _Spread:
    """Count, sum, least and greatest of a stream, with its histogram."""

    def __init__(self, histogram: PowerHistogram | LinearHistogram) -> None:
        self._histogram = histogram
        self._count, self._sum = 0, 0.0
        self._least, self._greatest = np.inf, -np.inf

    def add(self, values: npt.NDArray[Any]) -> None:
        if not values.size:
            return
        self._count += int(values.size)
        self._sum += float(values.sum(dtype=np.float64))
        self._least = min(self._least, float(values.min()))
        self._greatest = max(self._greatest, float(values.max()))
        self._histogram.add(values)

    def result(self) -> Values:
        if not self._count:
            return Values(0, None, None, None, self._histogram.result())
        return Values(self._count, self._sum / self._count, self._least, self._greatest, self._histogram.result())


def _layer(store: Store, layer: Layer, bundles: Bundles, by_projection: npt.NDArray[np.int64]) -> LayerSummary:
    own = sorted((b for b in bundles.bundles if b.layer == layer.index), key=lambda b: (b.segment, b.lo))
    declared = sum(bundle.neurons for bundle in own)
    degree, weight, delay = _Spread(PowerHistogram()), _Spread(LinearHistogram()), _Spread(LinearHistogram())
    records = stored = spikes = most = spiked = last = 0
    for part in store.scan(layer.index):
        records += len(part)
        stored += int(np.count_nonzero(part.row_kind == STORED))
        degree.add(degrees(part, own, bundles))
        weight.add(part.weight)
        if part.delay is not None:
            delay.add(part.delay.astype(np.float32))
        by_projection += np.bincount(part.projection, minlength=by_projection.size)
        count = part.state["spike_count"]
        spikes += int(count.sum(dtype=np.int64))
        spiked += int(np.count_nonzero(count))
        most = max(most, int(count.max(initial=0)))
        last = max(last, int(part.state["last_spike"].max(initial=0)))
    weights = weight.result()
    return LayerSummary(
        name=layer.name,
        index=layer.index,
        model=layer.model,
        parameters={name: _plain(value) for name, value in layer.params.items()},
        segments=len({bundle.segment for bundle in own}),
        declared=declared,
        records=records,
        stored_rows=stored,
        generated_rows=records - stored,
        generated_degree=sum(generated_synapses(bundle, bundles) for bundle in own) / declared if declared else 0.0,
        stored_synapses=weights.count,
        out_degree=degree.result(),
        weights=weights,
        delays=delay.result() if store.spec.varying_delays else None,
        spikes=spikes,
        most_spikes=most,
        spiked=spiked,
        last_spike=last,
    )


def _plain(value: Any) -> Any:
    """A parameter: a number, or a distribution as text."""
    return _weight(value) if is_dataclass(value) else value
