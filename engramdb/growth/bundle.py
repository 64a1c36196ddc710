"""Bundles: neurons grown together, and all that their virtual rows will ever depend on.

A bundle freezes, for every virtual rule of its layer, the rule's parameters, the quantile tables of its weights and
delays and the *domain* that its synapses may reach: the segments of the post layer and their sizes at that time.
Bundles are only ever appended, so growing changes no row that exists.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import delays
from engramdb.address import MAX_LOCAL, MAX_SEGMENT, IdArray
from engramdb.distribution import resolved
from engramdb.errors import CatalogDamaged, FormatTooNew, InvalidInput
from engramdb.layer import Layer
from engramdb.rules import RULES, Domain, OneToOne, Rule, is_whole
from engramdb.spec import Spec

GENERATOR = 1
_FORMAT = 2
"""The newest that is read: 2 has delay tables; 1, without them, is written wherever it will do."""


@dataclass(frozen=True)
class Wire:
    """One virtual projection of a bundle: ``domain`` and the tables are places in :class:`Bundles`.

    ``table``: of weights in mV. ``delay_table``: of delays in ticks; None where all have that of the projection.
    """

    projection: int
    rule: Rule
    domain: int
    table: int
    delay_table: int | None = None


@dataclass(frozen=True)
class Bundle:
    """Neurons ``lo``..``hi - 1`` of a segment; ``layer`` is the layer's index, ``born_tick`` 0 for the first ones.

    ``origin``: the position of ``lo`` in the layer as it was at birth, its segments end to end. ``materialized``: their
    rows are written out when they are grown; those of the last ``unwritten`` ones are not yet. What is not written is
    the same virtually, so that only the place of a row depends on it. ``generator``: the version of the row kernels.
    """

    number: int
    layer: int
    segment: int
    lo: int
    hi: int
    born_tick: int
    origin: int
    wires: tuple[Wire, ...]
    generator: int = GENERATOR
    materialized: bool = False
    unwritten: int = 0

    @property
    def neurons(self) -> int:
        """How many neurons the bundle has."""
        return self.hi - self.lo


@dataclass(frozen=True, repr=False)
class Bundles:
    """All bundles of an engram, in order of birth. A value: :meth:`grow` returns another one.

    ``domains`` and ``tables`` (quantiles, float64 little-endian) are each kept once and named by their place.
    """

    bundles: tuple[Bundle, ...] = ()
    domains: tuple[Domain, ...] = ()
    tables: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<Bundles: {len(self.bundles)}, {sum(bundle.neurons for bundle in self.bundles):,} neurons>"

    @cached_property
    def sizes(self) -> dict[tuple[int, int], int]:
        """Neurons of each (layer index, segment)."""
        sizes: dict[tuple[int, int], int] = {}
        for bundle in self.bundles:
            sizes[bundle.layer, bundle.segment] = bundle.hi
        return sizes

    @cached_property
    def _segments(self) -> tuple[IdArray, IdArray]:
        """Upper 32 bits of the ids of each segment, sorted, and the segments' sizes."""
        named = sorted((layer << 16 | segment, size) for (layer, segment), size in self.sizes.items())
        prefixes, sizes = np.array(named, dtype=np.uint64).reshape(-1, 2).T
        return np.ascontiguousarray(prefixes), np.ascontiguousarray(sizes)

    def exists(self, ids: IdArray) -> npt.NDArray[np.bool_]:
        """Whether each of ``ids`` (uint64, (n,)) lies in a segment, below its size."""
        prefixes, sizes = self._segments
        prefix = ids >> np.uint64(32)
        place = np.minimum(np.searchsorted(prefixes, prefix), len(prefixes) - 1)
        return np.asarray((prefixes[place] == prefix) & ((ids & np.uint64(MAX_LOCAL)) < sizes[place]))

    def domain_of(self, layer: int) -> Domain:
        """(segment, size) of the layer with that index as it is now, by segment."""
        return tuple(sorted((segment, size) for (index, segment), size in self.sizes.items() if index == layer))

    @classmethod
    def initial(cls, spec: Spec) -> Bundles:
        """One bundle for each declared segment, by layer in the order of the spec and by segment."""
        born: list[Bundle] = []
        for layer in spec.layers:
            origin = 0
            for segment, size in layer.domain:
                number = len(born)
                born.append(
                    Bundle(number, layer.index, segment, 0, size, 0, origin, (), materialized=layer.materialize)
                )
                origin += size
        bare = cls(tuple(born))
        return bare._wired(spec, born, None)

    def grow(
        self,
        spec: Spec,
        layer: str | int,
        neurons: int,
        k: int | None = None,
        segment: int | None = None,
        tick: int = 0,
        materialized: bool = False,
    ) -> tuple[Bundles, Bundle]:
        """These bundles and one more, of ``neurons`` neurons of ``layer`` (name or index), born at ``tick``.

        They go to the end of ``segment``; by default of the layer's last one, or of a new one where that has no room.
        ``k`` replaces that of the layer's virtual projections onto itself. ``materialized``: their rows are to be
        written, see :meth:`written`. Raises :class:`InvalidInput`, or
        :class:`NotFound` for the layer. Where OneToOne counts positions, only the layer's end can grow.
        """
        grown = spec.layer(layer)
        if not is_whole(neurons) or not 1 <= neurons <= MAX_LOCAL + 1:
            raise InvalidInput(f"neurons must be a whole number in 1..2^32, not {neurons!r}")
        last, size = self.domain_of(grown.index)[-1]
        if segment is None:
            segment = last
            if size + neurons > MAX_LOCAL + 1:
                segment += 1
        if not is_whole(segment) or not 0 <= segment <= MAX_SEGMENT:
            raise InvalidInput(f"layer {grown.name} has no place for a segment {segment!r}: they are 0..{MAX_SEGMENT}")
        lo = self.sizes.get((grown.index, segment), 0)
        if lo + neurons > MAX_LOCAL + 1:
            room = MAX_LOCAL + 1 - lo
            raise InvalidInput(f"segment {grown.name}/{segment} has room for {room} more neurons, not for {neurons}")
        for p in spec.all_projections:
            if segment < last and isinstance(p.rule, OneToOne) and grown.name in (p.pre, p.post):
                raise InvalidInput(f"{p.name} is OneToOne: {grown.name} can only grow at its end, segment {last}")
        origin = lo + sum(size for index, size in self.domain_of(grown.index) if index < segment)
        number = len(self.bundles)
        born = Bundle(
            number, grown.index, segment, lo, lo + neurons, tick, origin, (),
            materialized=materialized, unwritten=neurons if materialized else 0,
        )  # fmt: skip
        extended = replace(self, bundles=(*self.bundles, born))
        result = extended._wired(spec, [born], k)
        return result, result.bundles[-1]

    @property
    def unwritten(self) -> list[Bundle]:
        """Those that have rows to be written."""
        return [bundle for bundle in self.bundles if bundle.unwritten]

    def written(self, number: int, neurons: int) -> Bundles:
        """These bundles, the rows of the first ``neurons`` neurons of the one with that number being written."""
        left = replace(self.bundles[number], unwritten=self.bundles[number].neurons - neurons)
        return replace(self, bundles=(*self.bundles[:number], left, *self.bundles[number + 1 :]))

    def _wired(self, spec: Spec, born: Iterable[Bundle], k: int | None) -> Bundles:
        """These bundles with the wires of the last ones, ``born``, filled in."""
        domains = {domain: place for place, domain in enumerate(self.domains)}
        tables = {table: place for place, table in enumerate(self.tables)}
        wires_of: dict[int, tuple[Wire, ...]] = {}
        finished = []
        for bundle in born:
            if bundle.layer not in wires_of:
                wires_of[bundle.layer] = self._wires(spec, spec.layer(bundle.layer), k, domains, tables)
            finished.append(replace(bundle, wires=wires_of[bundle.layer]))
        kept = self.bundles[: len(self.bundles) - len(finished)]
        return Bundles((*kept, *finished), tuple(domains), tuple(tables))

    def _wires(
        self, spec: Spec, layer: Layer, k: int | None, domains: dict[Domain, int], tables: dict[bytes, int]
    ) -> tuple[Wire, ...]:
        """The wires of a bundle of ``layer`` born now; new domains and tables are entered."""
        wires = []
        replaced = False
        for number, projection in enumerate(spec.all_projections):
            if projection.pre != layer.name or not projection.rule.virtual:
                continue
            domain = self.domain_of(spec.layer(projection.post).index)
            rule: Any = projection.rule
            if k is not None and projection.post == layer.name and hasattr(rule, "k"):
                rule = replace(rule, k=k)
                replaced = True
                for field, problem in rule.problems(domain, domain, True):
                    raise InvalidInput(f"{field} of {projection.name}: {problem}")
            table = resolved(projection.weight).table().astype("<f8").tobytes()
            place = domains.setdefault(domain, len(domains)), tables.setdefault(table, len(tables))
            delay_table = None
            least, longest = spec.delay_range(projection)
            if least < longest:
                ticks = delays.table(spec.delay_of(projection), spec.dt_ms).astype("<f8").tobytes()
                delay_table = tables.setdefault(ticks, len(tables))
            wires.append(Wire(number, rule, *place, delay_table))
        if k is not None and not replaced:
            raise InvalidInput(f"layer {layer.name} has no virtual wiring onto itself whose k could be {k}")
        return tuple(wires)

    def to_json(self) -> str:
        """One line of JSON from which :meth:`from_json` makes equal bundles."""
        rules: dict[Rule, int] = {}
        content = {
            "format": _FORMAT if any(wire.delay_table is not None for b in self.bundles for wire in b.wires) else 1,
            "bundles": [
                {
                    **{name: getattr(bundle, name) for name in _PLAIN},
                    **({"unwritten": bundle.unwritten} if bundle.unwritten else {}),
                    "wires": [
                        [wire.projection, rules.setdefault(wire.rule, len(rules)), wire.domain, wire.table]
                        + ([] if wire.delay_table is None else [wire.delay_table])
                        for wire in bundle.wires
                    ],
                }
                for bundle in self.bundles
            ],
            "domains": self.domains,
            "tables": [base64.b64encode(table).decode("ascii") for table in self.tables],
            "rules": [{"rule": type(rule).__name__, **_parameters(rule)} for rule in rules],
        }
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Bundles:
        """The bundles written as JSON; :class:`CatalogDamaged`, or :class:`FormatTooNew`, where they cannot be read."""
        try:
            content = json.loads(text)
            if content["format"] > _FORMAT:
                raise FormatTooNew(f"bundles have format {content['format']}; this EngramDB reads up to {_FORMAT}")
            rules = [RULES[given.pop("rule")](**given) for given in content["rules"]]
            bundles = tuple(
                Bundle(
                    **{name: given[name] for name in _PLAIN},
                    unwritten=given.get("unwritten", 0),
                    wires=tuple(Wire(wire[0], rules[wire[1]], *wire[2:]) for wire in given["wires"]),
                )
                for given in content["bundles"]
            )
            domains = tuple(tuple((segment, size) for segment, size in domain) for domain in content["domains"])
            tables = tuple(base64.b64decode(table, validate=True) for table in content["tables"])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CatalogDamaged(f"the bundles in the catalog cannot be read ({error!r}); verify the engram") from None
        return cls(bundles, domains, tables)


_PLAIN = tuple(field.name for field in fields(Bundle) if field.name not in ("wires", "unwritten"))


def _parameters(rule: Rule) -> dict[str, Any]:
    """The rule's own numbers; its weight is in the bundle's table."""
    return {field.name: getattr(rule, field.name) for field in fields(rule) if field.name != "weight"}
