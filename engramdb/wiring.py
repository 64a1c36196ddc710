"""Rows of virtual neurons, computed from (seed, bundle, id) whenever they are asked for, and who projects to whom.

>>> rows = Wiring(spec, Bundles.initial(spec)).rows(np.array([42], dtype=np.uint64))
>>> rows.target[rows.indptr[0] : rows.indptr[1]]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import weights
from engramdb.address import LOCAL_BITS, SEGMENT_BITS, IdArray, format_id
from engramdb.delays import DelayArray
from engramdb.errors import FormatTooNew, NotFound
from engramdb.growth.bundle import GENERATOR, Bundle, Bundles, Wire
from engramdb.kernels import rng
from engramdb.kernels import wiring as kernel
from engramdb.rules import FixedOutdegree, OneToOne, SmallWorld, neurons_of
from engramdb.spec import Spec

_LAYER_SHIFT = SEGMENT_BITS + LOCAL_BITS
_CODES: dict[type, int] = {
    SmallWorld: kernel.SMALL_WORLD,
    FixedOutdegree: kernel.FIXED_OUTDEGREE,
    OneToOne: kernel.ONE_TO_ONE,
}


@dataclass(frozen=True)
class Rows:
    """Rows of n neurons end to end, each sorted by (delay, target, projection)."""

    indptr: npt.NDArray[np.int64]  # (n + 1,)
    projection: npt.NDArray[np.uint16]  # (nnz,)
    target: npt.NDArray[np.uint64]  # (nnz,)
    weight: npt.NDArray[np.float32]  # (nnz,) mV, signed
    delay: DelayArray | None = None  # (nnz,) ticks; None where every synapse has that of its projection


class Wiring:
    """Rows that the wiring rules generate for the neurons of ``bundles``, stored or not.

    Holds only arrays over bundles and wires. Threads may share it. Raises :class:`FormatTooNew` for bundles of an
    unknown generator.
    """

    def __init__(self, spec: Spec, bundles: Bundles) -> None:
        for bundle in bundles.bundles:
            if bundle.generator != GENERATOR:
                known = f"this EngramDB knows {GENERATOR}; open it with a newer one"
                raise FormatTooNew(f"bundle {bundle.number} has generator {bundle.generator}, {known}")
        ordered = sorted(bundles.bundles, key=lambda bundle: (bundle.layer, bundle.segment, bundle.lo))
        wires = [
            (place, bundle, wire)
            for place, bundle in enumerate(ordered)
            for wire in sorted(bundle.wires, key=lambda wire: (_delay(spec, wire), wire.projection))
        ]
        self._varying = spec.varying_delays
        self._grown = _grown(ordered)
        self._domains = _domains(bundles)
        self._wires = _wires(spec, bundles, wires)
        self._offsets = np.arange(2 * int(self._wires.span.max(initial=0)), dtype=np.uint64)

    def rows(self, ids: IdArray) -> Rows:
        """The rows of ``ids`` (uint64, (n,), any order); :class:`NotFound` names the first that does not exist."""
        if len(ids) == 0:  # as where all rows are stored; loading the kernels for nothing would cost 20 ms
            return Rows(
                np.zeros(1, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint64), np.empty(0, np.float32),
                np.empty(0, np.uint16) if self._varying else None,
            )  # fmt: skip
        ids, bundle = self._located(ids)
        indptr = np.empty(len(ids) + 1, dtype=np.int64)
        kernel.measure_rows(self._grown, self._wires, self._domains, ids, bundle, indptr)
        synapses = int(indptr[-1])
        rows = Rows(
            indptr,
            np.empty(synapses, dtype=np.uint16),
            np.empty(synapses, dtype=np.uint64),
            np.empty(synapses, dtype=np.float32),
            np.empty(synapses, dtype=np.uint16) if self._varying else None,
        )
        own = np.empty(0, dtype=np.uint16) if rows.delay is None else rows.delay
        arrays = (rows.projection, rows.target, rows.weight, own)
        # the kernel shuffles the offsets in place: a copy for each call lets threads share this object
        kernel.fill_rows(self._grown, self._wires, self._domains, ids, bundle, indptr, self._offsets.copy(), *arrays)
        return rows

    def degrees(self, ids: IdArray) -> npt.NDArray[np.int64]:
        """How many synapses the row of each of ``ids`` has; :class:`NotFound` as in :meth:`rows`."""
        ids, bundle = self._located(ids)
        indptr = np.empty(len(ids) + 1, dtype=np.int64)
        kernel.measure_rows(self._grown, self._wires, self._domains, ids, bundle, indptr)
        return np.diff(indptr)

    def sources(
        self, target: int
    ) -> tuple[IdArray, npt.NDArray[np.uint16], npt.NDArray[np.float32], DelayArray | None]:
        """Every generated synapse onto ``target``, sorted by (pre, projection, ordinal).

        Gives pre, projection, weight, and delay in ticks, None where every synapse has that of its projection.
        The exact inverse of :meth:`rows`, in time that follows the number of bundles, k and span, never the number of
        neurons. :class:`NotFound` where ``target`` does not exist.
        """
        ids, _ = self._located(np.array([target], dtype=np.uint64))
        room = self._source_room
        source, wire, ordinal = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
        arrays = (source, wire, ordinal)
        found = kernel.find_sources(self._grown, self._wires, self._domains, ids[0], self._offsets.copy(), *arrays)
        source, wire, ordinal = source[:found], wire[:found], ordinal[:found]
        projection = self._wires.projection[wire]
        order = np.lexsort((ordinal, projection, source))
        source, wire, ordinal = source[order], wire[order], ordinal[order]
        weight = np.empty(found, dtype=np.float32)
        kernel.weights_of(self._wires, source, wire, ordinal, weight)
        delay = None
        if self._varying:
            delay = np.empty(found, dtype=np.uint16)
            kernel.delays_of(self._wires, source, wire, ordinal, delay)
        return source, projection[order], weight, delay

    def _located(self, ids: IdArray) -> tuple[IdArray, npt.NDArray[np.int64]]:
        ids = np.ascontiguousarray(ids, dtype=np.uint64)
        bundle = np.empty(len(ids), dtype=np.int64)
        kernel.locate_many(self._grown, ids, bundle)
        if len(bundle) and bundle.min() < 0:
            missing = ids[int(np.argmax(bundle < 0))]
            raise NotFound(f"there is no neuron {format_id(int(missing))}: no segment has that id")
        return ids, bundle

    @property
    def _source_room(self) -> int:
        """An upper bound of the synapses that :func:`find_sources` can write."""
        wires = self._wires
        size = self._domains.size[wires.domain]
        members = self._grown.size[wires.bundle]
        turns = np.where(wires.rule == kernel.FIXED_OUTDEGREE, (members + size - 1) // size, np.uint64(1))
        # of each ordinal: no more sources than slots, nor than neurons in the bundle
        each = np.minimum(kernel.SLOTS * turns, members).astype(np.int64)
        return int((2 * wires.span.astype(np.int64) + wires.k * each).sum())


def _delay(spec: Spec, wire: Wire) -> int:
    """The one of the wire; 0 where synapses have their own."""
    return 0 if spec.varying_delays else spec.delay_ticks(spec.all_projections[wire.projection])


def _grown(ordered: list[Bundle]) -> kernel.Grown:
    first = [b.layer << _LAYER_SHIFT | b.segment << LOCAL_BITS | b.lo for b in ordered]
    wires = [0, *(len(b.wires) for b in ordered)]
    return kernel.Grown(
        first=np.array(first, dtype=np.uint64),
        size=np.array([b.neurons for b in ordered], dtype=np.uint64),
        wire_start=np.cumsum(wires, dtype=np.int64),
    )


def _domains(bundles: Bundles) -> kernel.Domains:
    sizes = [neurons_of(domain) for domain in bundles.domains]
    parts = [part for domain in bundles.domains for part in domain]
    starts: list[int] = []
    for domain in bundles.domains:
        start = 0
        for _, size in domain:
            starts.append(start)
            start += size
    return kernel.Domains(
        size=np.array(sizes, dtype=np.uint64),
        side=np.array([math.isqrt(size * int(kernel.SLOTS) - 1) + 1 for size in sizes], dtype=np.uint64),
        begin=np.cumsum([0, *(len(domain) for domain in bundles.domains)], dtype=np.int64),
        segment=np.array([segment for segment, _ in parts], dtype=np.uint64),
        start=np.array(starts, dtype=np.uint64),
        length=np.array([size for _, size in parts], dtype=np.uint64),
    )


def _wires(spec: Spec, bundles: Bundles, wires: list[tuple[int, Bundle, Wire]]) -> kernel.Wires:
    columns: dict[str, list[Any]] = {name: [] for name in kernel.Wires._fields}
    tables = [np.frombuffer(table, dtype="<f8") for table in bundles.tables]
    # behind them one for each projection with one delay, so that all delays are drawn alike
    one_delay = len(tables)
    tables += [np.array([ticks], dtype="<f8") for ticks in spec.delays.tolist()]
    table_start = np.cumsum([0, *(len(table) for table in tables)])
    seed = np.uint64(spec.seed)
    for place, bundle, wire in wires:
        projection = spec.all_projections[wire.projection]
        rule: Any = wire.rule
        delays = one_delay + wire.projection if wire.delay_table is None else wire.delay_table
        row = {
            "bundle": place,
            "rule": _CODES[type(rule)],
            "projection": wire.projection,
            "delay": _delay(spec, wire),
            "sign": 1 if projection.sign is None else projection.sign,
            "grid": weights.grid(spec.layer(projection.pre)),
            "k": getattr(rule, "k", 1),
            "mean_long": rule.k * rule.long_fraction if isinstance(rule, SmallWorld) else 0.0,
            "span": rule.span if isinstance(rule, SmallWorld) else 0,
            "layer": spec.layer(projection.post).index,
            "domain": wire.domain,
            "origin": bundle.origin,
            "table_start": table_start[wire.table],
            "table_stop": table_start[wire.table + 1],
            "delay_start": table_start[delays],
            "delay_stop": table_start[delays + 1],
        }
        for name, purpose in _KEYS.items():
            row[name] = rng.hash_u64(seed, np.uint64(bundle.number), np.uint64(wire.projection), purpose)
        for name, value in row.items():
            columns[name].append(value)
    arrays: dict[str, Any] = {name: np.array(values, dtype=_DTYPES[name]) for name, values in columns.items()}
    arrays["tables"] = np.concatenate([np.empty(0), *tables]).astype(np.float64)
    return kernel.Wires(**arrays)


_KEYS = {
    "target_key": rng.TARGET, "offset_key": rng.OFFSET, "long_key": rng.LONG_COUNT, "weight_key": rng.WEIGHT,
    "delay_key": rng.DELAY,
}  # fmt: skip
_DTYPES: dict[str, type] = {
    "bundle": np.int64,
    "rule": np.int64,
    "projection": np.uint16,
    "delay": np.int64,
    "sign": np.float32,
    "grid": np.float64,
    "k": np.int64,
    "mean_long": np.float64,
    "span": np.uint64,
    "layer": np.uint64,
    "domain": np.int64,
    "origin": np.uint64,
    "target_key": np.uint64,
    "offset_key": np.uint64,
    "long_key": np.uint64,
    "weight_key": np.uint64,
    "table_start": np.int64,
    "table_stop": np.int64,
    "delay_key": np.uint64,
    "delay_start": np.int64,
    "delay_stop": np.int64,
    "tables": np.float64,
}
