"""One layer of an engram, counted in one pass over its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.degrees import degrees, generated_synapses
from engramdb.growth.bundle import Bundles
from engramdb.inspect.histogram import Histogram, LinearHistogram, PowerHistogram
from engramdb.inspect.words import said
from engramdb.layer import Layer
from engramdb.spec import Spec
from engramdb.store import STORED, Records


class Scanned(Protocol):
    """What is summarized: a store at one commit, or a file that has as much."""

    @property
    def spec(self) -> Spec: ...

    @property
    def bundles(self) -> Bundles: ...

    def scan(self, layer: int | None = None) -> Iterator[Records]: ...


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
    - ``states``: how many of the declared ones are virtual, charged (awake) and dormant.
    - ``generated_degree``: the mean over all declared neurons of the synapses that the rules give.
    - ``out_degree`` is over the records, ``weights`` (mV) over the ``stored_synapses``, and so are ``delays`` (ticks),
      None where every synapse has that of its projection.
    - ``activity``: spikes of each record since its birth; ``spikes`` of all together, ``most_spikes`` of one,
      ``spiked`` records with any; ``last_spike``: tick, 0 for never.
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
    states: Mapping[str, int]
    generated_degree: float
    stored_synapses: int
    out_degree: Values
    weights: Values
    delays: Values | None
    activity: Values
    spikes: int
    most_spikes: int
    spiked: int
    last_spike: int


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


def awake_ids(state: Mapping[str, npt.NDArray[Any]]) -> IdArray:
    """Ids of all neurons that are not at rest, sorted."""
    return state.get("charged_id", np.empty(0, np.uint64))


def layer_summary(
    store: Scanned, layer: Layer, state: Mapping[str, npt.NDArray[Any]], by_projection: npt.NDArray[np.int64]
) -> LayerSummary:
    """Count ``layer``. ``state``: of the commit; stored synapses are added to ``by_projection``."""
    bundles, awake = store.bundles, awake_ids(state)
    own = sorted((b for b in bundles.bundles if b.layer == layer.index), key=lambda b: (b.segment, b.lo))
    declared = sum(bundle.neurons for bundle in own)
    charged = awake[awake >> np.uint64(48) == layer.index]
    degree, weight, delay = _Spread(PowerHistogram()), _Spread(LinearHistogram()), _Spread(LinearHistogram())
    activity = _Spread(PowerHistogram())
    records = stored = resting = last = 0
    for part in store.scan(layer.index):
        records += len(part)
        stored += int(np.count_nonzero(part.row_kind == STORED))
        resting += len(part) - int(np.isin(part.ids, charged, assume_unique=True).sum() if len(charged) else 0)
        degree.add(degrees(part, own, bundles))
        weight.add(part.weight)
        if part.delay is not None:
            delay.add(part.delay.astype(np.float32))
        by_projection += np.bincount(part.projection, minlength=by_projection.size)
        activity.add(part.state["spike_count"])
        last = max(last, int(part.state["last_spike"].max(initial=0)))
    weights, spikes = weight.result(), activity.result()
    silent = sum(spikes.histogram.counts[:1])  # the first bin is that of 0
    return LayerSummary(
        name=layer.name,
        index=layer.index,
        model=layer.model,
        parameters={name: said(value) if is_dataclass(value) else value for name, value in layer.params.items()},
        segments=len({bundle.segment for bundle in own}),
        declared=declared,
        records=records,
        stored_rows=stored,
        generated_rows=records - stored,
        states={"virtual": declared - resting - len(charged), "charged": len(charged), "dormant": resting},
        generated_degree=sum(generated_synapses(bundle, bundles) for bundle in own) / declared if declared else 0.0,
        stored_synapses=weights.count,
        out_degree=degree.result(),
        weights=weights,
        delays=delay.result() if store.spec.varying_delays else None,
        activity=spikes,
        spikes=round((spikes.mean or 0.0) * spikes.count),
        most_spikes=int(spikes.maximum or 0),
        spiked=spikes.count - silent,
        last_spike=last,
    )
