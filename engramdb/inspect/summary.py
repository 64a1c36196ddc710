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

from engramdb import models
from engramdb.address import by_layer
from engramdb.distribution import Distribution
from engramdb.errors import JournalDamaged, KernelMismatch
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.inspect.histogram import Histogram, LinearHistogram, PowerHistogram
from engramdb.inspect.storage import Storage, measure
from engramdb.learning import ReVGSP
from engramdb.query.synapses import whole_rows
from engramdb.rules import FixedOutdegree, Rule, SmallWorld, neurons_of
from engramdb.spec import Layer, Projection, Spec
from engramdb.store import FIELD, STORED, Commit, Records, Snapshot, Store
from engramdb.store.catalog import FORMAT_VERSION
from engramdb.url import located

if TYPE_CHECKING:
    from engramdb.engram import Engram

NEWEST_COMMITS = 10
_ROWS_AT_ONCE = 1 << 14


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
    - ``kept``: what the model keeps of the records, by name, of those to whom anything has happened; of a receptive
      vector the numbers in it, as they are stored.
    - ``sie``: how a void layer stood at the end of the last tick in which anybody was active; None of other layers.
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
    kept: Mapping[str, Values]
    sie: Mapping[str, float] | None
    spikes: int
    most_spikes: int
    spiked: int
    last_spike: int


@dataclass(frozen=True)
class LearningSummary:
    """A projection that learns: its ``rules`` and how its synapses stand.

    ``weights`` (mV) are over the stored synapses: neurons that have learned nothing yet may have their row from a rule.
    ``eligibility`` is over the synapses that have any; None where no rule keeps it.
    """

    rules: tuple[str, ...]
    weights: Values
    eligibility: Values | None


@dataclass(frozen=True)
class ProjectionSummary:
    """One projection. ``virtual``: its synapses are computed; ``stored_synapses`` are those written out.

    ``delay``: in ms, as ``weight`` a number or a distribution, of which ``delay_ms`` is None; in ticks it is
    ``delay_ticks`` to ``longest_ticks``. ``learning``: what its learning rules say, and what they have come to.
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
    learning: LearningSummary | None


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
        path = engram.location
        at = engram.log()[0].number if at is None else at
    store = Store.open(path, "r", at=at)
    try:
        return _summary(store, None if at is None else str(at))
    finally:
        store.close()


def _summary(store: Store, at: str | None) -> Summary:
    spec, bundles, commit = store.spec, store.bundles, store.commit
    by_projection = np.zeros(len(spec.all_projections), dtype=np.int64)
    learned = {n: _Spread(LinearHistogram()) for n, p in enumerate(spec.all_projections) if p.plasticity}
    layers = tuple(_layer(store, layer, bundles, by_projection, learned) for layer in spec.layers)
    state = store.read_state()
    eligible = _eligibility(store, bundles, state)
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
            _projection(spec, projection, int(stored), _learning(projection, number, learned, eligible))
            for number, (projection, stored) in enumerate(zip(spec.all_projections, by_projection, strict=True))
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


def _eligibility(store: Store, bundles: Bundles, state: Mapping[str, npt.NDArray[Any]]) -> dict[int, _Spread]:
    """By number of the projection, how eligible its synapses are, of those that are."""
    numbers = [n for n, p in enumerate(store.spec.all_projections) if any(isinstance(r, ReVGSP) for r in p.plasticity)]
    found = {number: _Spread(LinearHistogram()) for number in numbers}
    if "eligible_id" not in state:
        return found
    from engramdb.wiring import Wiring  # with its kernels, which nothing else here needs

    stops = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(state["eligible_synapses"])])
    for _, part in by_layer(state["eligible_id"]):
        for start in range(part.start, part.stop, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, part.stop)
            rows = whole_rows(state["eligible_id"][start:stop], store, lambda: Wiring(store.spec, bundles))
            values = state["eligible_value"][stops[start] : stops[stop]]
            for number, spread in found.items():
                spread.add(values[(rows.projection == number) & (values != 0)])
    return found


def _learning(
    projection: Projection, number: int, learned: Mapping[int, _Spread], eligible: Mapping[int, _Spread]
) -> LearningSummary | None:
    if number not in learned:
        return None
    given = [
        ", ".join(f"{name}={_plain(value)}" for name, value in vars(rule).items()) for rule in projection.plasticity
    ]
    rules = tuple(f"{rule.rule}({words})" for rule, words in zip(projection.plasticity, given, strict=True))
    eligibility = eligible[number].result() if number in eligible else None
    return LearningSummary(rules, learned[number].result(), eligibility)


def _projection(spec: Spec, projection: Projection, stored: int, learning: LearningSummary | None) -> ProjectionSummary:
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
        learning=learning,
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


def _layer(
    store: Store,
    layer: Layer,
    bundles: Bundles,
    by_projection: npt.NDArray[np.int64],
    learned: Mapping[int, _Spread],
) -> LayerSummary:
    own = sorted((b for b in bundles.bundles if b.layer == layer.index), key=lambda b: (b.segment, b.lo))
    declared = sum(bundle.neurons for bundle in own)
    degree, weight, delay = _Spread(PowerHistogram()), _Spread(LinearHistogram()), _Spread(LinearHistogram())
    kept = {field.name: _Spread(LinearHistogram()) for field in models.get(layer.model).kept}
    records = stored = spikes = most = spiked = last = 0
    for part in store.scan(layer.index):
        records += len(part)
        stored += int(np.count_nonzero(part.row_kind == STORED))
        degree.add(_degrees(part, own, bundles))
        weight.add(part.weight)
        for number, spread in learned.items():
            spread.add(part.weight[part.projection == number])
        if part.delay is not None:
            delay.add(part.delay.astype(np.float32))
        for name, spread in kept.items():
            values = part.state[FIELD + name]
            spread.add(values[~np.isnan(values)] if values.ndim == 1 else values[values.any(axis=1)].reshape(-1))
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
        generated_degree=sum(_generated(bundle, bundles) for bundle in own) / declared if declared else 0.0,
        stored_synapses=weights.count,
        out_degree=degree.result(),
        weights=weights,
        delays=delay.result() if store.spec.varying_delays else None,
        kept={name: spread.result() for name, spread in kept.items()},
        sie=_sie(store, layer) if layer.model == "void" else None,
        spikes=spikes,
        most_spikes=most,
        spiked=spiked,
        last_spike=last,
    )


def _sie(store: Store, layer: Layer) -> dict[str, float]:
    """How a void layer stands, as the state of the commit has it."""
    voids = [one.index for one in store.spec.layers if one.model == "void"]
    state = store.read_state()
    if "void_sie" not in state:
        return {"active": 0, "W": 0.0, "reward": 0.0, "valence": 0.5}
    _, active, w, reward, _ = state["void_sie"][voids.index(layer.index)].tolist()
    valence = float(state["void_valence"][voids.index(layer.index)])
    return {"active": int(active), "W": w, "reward": reward, "valence": valence}


def _plain(value: Any) -> Any:
    """A parameter: a number, or a distribution as text."""
    return _weight(value) if is_dataclass(value) else value


def _generated(bundle: Bundle, bundles: Bundles) -> int:
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


def _degrees(part: Records, own: list[Bundle], bundles: Bundles) -> npt.NDArray[np.int64]:
    """Out-degree of each record: of its stored row, or of the row that the rules of its bundle give."""
    degrees = np.diff(part.indptr)
    if np.all(part.row_kind == STORED):
        return degrees
    place = part.ids & np.uint64(2**48 - 1)
    starts = np.array([bundle.segment << 32 | bundle.lo for bundle in own], dtype=np.uint64)
    bundle_of = np.searchsorted(starts, place, side="right") - 1
    for number in np.unique(bundle_of):
        fixed, limits = _wires(own[number], bundles)
        here = (bundle_of == number) & (part.row_kind != STORED)
        local = (place[here] & np.uint64(2**32 - 1)).astype(np.int64)
        degrees[here] = fixed + sum((local < limit).astype(np.int64) for limit in limits)
    return degrees
