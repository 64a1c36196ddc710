"""A scan over all neurons, virtual ones too, for conditions on single fields: it reads columns of leaves, never rows.

The ids of a segment are walked as *pieces*, one a leaf and one a gap between two. In each, neurons with a record have
columns as the leaf stores them; those that RAM knows better, and those that are not at rest, are looked up one by one;
all others have never been touched, and where their fields are all the same they are one row that stands for all.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb import models, timelimit
from engramdb.address import IdArray
from engramdb.errors import InvalidInput
from engramdb.layer import Layer
from engramdb.parameters import parameters_of_layer
from engramdb.query.indegree import IN_DEGREE, InDegrees, in_degrees
from engramdb.query.predicate import Columns
from engramdb.query.view import View
from engramdb.rules import OneToOne
from engramdb.store import OWN, STORED, LeafRef
from engramdb.store.leaf import STATE_PREFIX

_CHUNK = 1 << 16  # neurons that are looked at together where nothing else cuts them
_ADDRESS = ("id", "segment", "local")


class Group(NamedTuple):
    """Neurons that are known one by one: their ids (an array, or a range where they are consecutive), and columns."""

    ids: IdArray | range
    columns: Columns

    def chosen(self, mask: Any) -> IdArray:
        """The ids for which ``mask`` (bool (n,), or one for all) is true."""
        if isinstance(self.ids, range):
            if np.ndim(mask):
                return np.flatnonzero(mask).astype(np.uint64) + np.uint64(self.ids.start)
            return np.arange(self.ids.start, self.ids.stop, dtype=np.uint64) if mask else np.empty(0, np.uint64)
        return self.ids[np.broadcast_to(mask, len(self.ids))]


@dataclass(frozen=True)
class Piece:
    """The neurons ``lo``..``hi - 1``: those of ``groups``, and all others, who are ``rest`` (None: there are none)."""

    lo: int
    hi: int
    groups: Sequence[Group]
    rest: Columns | None

    @property
    def others(self) -> int:
        """How many are ``rest``."""
        return 0 if self.rest is None else self.hi - self.lo - sum(len(group.ids) for group in self.groups)

    def first_others(self, begin: int, most: int) -> IdArray:
        """The first ``most`` of the rest whose id is not below ``begin``."""
        named = [np.asarray(group.ids, dtype=np.uint64) for group in self.groups]
        taken = np.sort(np.concatenate([np.empty(0, np.uint64), *named]))
        found, count, at = [np.empty(0, np.uint64)], 0, max(begin, self.lo)
        while at < self.hi and count < most:
            timelimit.check()
            stop = min(self.hi, at + max(most, 1024))
            ids = np.arange(at, stop, dtype=np.uint64)
            inside = taken[np.searchsorted(taken, ids[0]) : np.searchsorted(taken, ids[-1], side="right")]
            if len(inside):
                ids = np.delete(ids, (inside - np.uint64(at)).astype(np.int64))
            found.append(ids[: most - count])
            count += len(found[-1])
            at = stop
        return np.concatenate(found)


def layers_of(view: View, layer: str | int | None) -> list[Layer]:
    """The layers to look at, by index."""
    chosen = list(view.spec.layers) if layer is None else [view.spec.layer(layer)]
    return sorted(chosen, key=lambda one: one.index)


def fields_of(layers: Collection[Layer]) -> list[str]:
    """The names that conditions and columns may use, in the order in which they are shown."""
    own = dict.fromkeys(field.name for layer in layers for field in models.get(layer.model).fields)
    return ["id", "layer", "segment", "local", "state", "out_degree", IN_DEGREE, *own]


def pieces(view: View, layers: Sequence[Layer], fields: Collection[str], begin: int = 0) -> Iterator[Piece]:
    """Pieces of ``layers`` by id, those that end before ``begin`` left out, with columns for ``fields``."""
    for layer in layers:
        if begin >> 48 <= layer.index:
            for piece in _LayerScan(view, layer, fields).pieces(begin):
                timelimit.check()
                yield piece


class _LayerScan:
    """The pieces of one layer."""

    def __init__(self, view: View, layer: Layer, fields: Collection[str]) -> None:
        self._view, self._layer = view, layer
        self._fields = tuple(name for name in fields if name != IN_DEGREE)
        self._in_degrees = InDegrees(view, layer) if IN_DEGREE in fields else None
        self._own = parameters_of_layer(layer, view.spec)
        model = self._own.model
        self._at_rest: dict[str, Any] = {field.name: np.float32(0) for field in model.state}
        self._at_rest |= {"refractory": np.int32(0), "layer": layer.name}
        self._rests = {shown.name: shown.rest for shown in model.absolute if shown.name in self._fields}
        self._names = {f"{STATE_PREFIX}{name}" for name in ("spike_count", "last_spike") if name in self._fields}
        if "out_degree" in self._fields:
            self._names |= {"degree", "row_kind"}
        self._drawn = any(rest in self._own.own for rest in self._rests.values())
        if self._drawn:
            self._names |= {STATE_PREFIX + OWN + name for name in layer.columns}
        # whether untouched neurons of one bundle differ in what is asked
        self._one_by_one = self._drawn or bool({*_ADDRESS, IN_DEGREE} & {*fields})
        self._better_known = self._exceptions()
        own = [bundle for bundle in view.bundles.bundles if bundle.layer == layer.index]
        self._bundles = sorted(own, key=lambda b: (b.segment, b.lo))
        self._firsts = [layer.index << 48 | b.segment << 32 | b.lo for b in self._bundles]

    def _exceptions(self) -> IdArray:
        """Neurons of the layer whose columns are not those of the leaves, sorted."""
        known = self._view.present.known()
        first, last = self._layer.index << 48, (self._layer.index << 48) + (1 << 48) - 1
        known = known[(known >= np.uint64(first)) & (known <= np.uint64(last))]
        changing = [c.ids for c in self._view.store.changing if len(c) and int(c.ids[0]) >> 48 == self._layer.index]
        return np.unique(np.concatenate([known, *changing]))

    def pieces(self, begin: int) -> Iterator[Piece]:
        leaves = self._view.store.directory.leaves(self._layer.index)
        ref = next(leaves, None)
        for segment, size in self._view.bundles.domain_of(self._layer.index):
            at = self._layer.index << 48 | segment << 32
            end = at + size
            while ref is not None and ref.low < end:
                if ref.last >= begin:
                    yield from self._gap(max(at, begin), ref.first)
                    yield from self._leaf(ref)
                at = ref.last + 1
                ref = next(leaves, None)
            yield from self._gap(max(at, begin), end)

    def _cuts(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """``lo``..``hi`` in parts of which the untouched neurons are all alike, or are few enough to be listed."""
        if lo >= hi:
            return
        if self._one_by_one:
            for start in range(lo, hi, _CHUNK):
                yield start, min(hi, start + _CHUNK)
            return
        if "out_degree" not in self._fields:
            yield lo, hi
            return
        place = bisect.bisect_right(self._firsts, lo) - 1
        while lo < hi:
            bundle = self._bundles[place]
            stop = min(hi, self._firsts[place] + bundle.neurons)
            if any(isinstance(wire.rule, OneToOne) for wire in bundle.wires):
                stop = min(stop, lo + _CHUNK)
            yield lo, stop
            lo = stop
            place += lo == self._firsts[place] + bundle.neurons

    def _gap(self, lo: int, hi: int) -> Iterator[Piece]:
        for start, stop in self._cuts(lo, hi):
            yield self._piece(start, stop, [])

    def _leaf(self, ref: LeafRef) -> Iterator[Piece]:
        dense = ref.last - ref.first + 1 == ref.rows
        columns = self._view.store.columns.read(ref, [*self._names, *(() if dense else ("id",))])
        ids = range(ref.first, ref.last + 1) if dense else columns["id"]
        if dense:
            yield self._piece(ref.first, ref.last + 1, [self._recorded(ids, columns)])
            return
        assert not isinstance(ids, range)
        for start, stop in self._cuts(ref.first, ref.last + 1):
            a, b = np.searchsorted(ids, np.array([start, stop - 1], np.uint64)).tolist()
            b += int(b < len(ids) and int(ids[b]) == stop - 1)
            part = {name: column[a:b] for name, column in columns.items()}
            yield self._piece(start, stop, [self._recorded(ids[a:b], part)] if b > a else [])

    def _piece(self, lo: int, hi: int, groups: list[Group]) -> Piece:
        piece = self._assembled(lo, hi, groups)
        if self._in_degrees is None:
            return piece
        degrees = self._in_degrees.of(np.arange(lo, hi, dtype=np.uint64))
        counted = [
            Group(group.ids, {**group.columns, IN_DEGREE: degrees[np.asarray(group.ids, np.uint64) - np.uint64(lo)]})
            for group in piece.groups
        ]
        return Piece(lo, hi, counted, piece.rest)

    def _assembled(self, lo: int, hi: int, groups: list[Group]) -> Piece:
        """Take those that are better known out of ``groups``, and put the rest into it where it is listed."""
        a, b = (int(np.searchsorted(self._better_known, np.uint64(edge))) for edge in (lo, hi - 1))
        b += int(b < len(self._better_known) and int(self._better_known[b]) == hi - 1)
        if b > a:
            known = self._better_known[a:b]
            groups = [_without(group, known) for group in groups]
            groups.append(self._looked_up(known))
        if sum(len(group.ids) for group in groups) == hi - lo:
            return Piece(lo, hi, groups, None)
        if self._one_by_one or self._listed_degrees(lo):
            others = Piece(lo, hi, groups, {}).first_others(lo, hi - lo)
            return Piece(lo, hi, [*groups, Group(others, self._untouched(others))], None)
        return Piece(lo, hi, groups, self._untouched(np.array([lo], np.uint64)))

    def _listed_degrees(self, lo: int) -> bool:
        if "out_degree" not in self._fields:
            return False
        bundle = self._bundles[bisect.bisect_right(self._firsts, lo) - 1]  # `_cuts` has ended the piece where it ends
        return any(isinstance(wire.rule, OneToOne) for wire in bundle.wires)

    # columns

    def _recorded(self, ids: IdArray | range, columns: dict[str, npt.NDArray[Any]]) -> Group:
        """Neurons with a record, at rest."""
        found = self._common(ids)
        for name in ("spike_count", "last_spike"):
            if name in self._fields:
                found[name] = columns.get(STATE_PREFIX + name, np.int64(0))
        if "state" in self._fields:
            found["state"] = "dormant"
        if self._rests:
            given = {
                name: columns.get(STATE_PREFIX + OWN + name, np.full(len(ids), np.nan)) for name in self._layer.columns
            }
            found |= self._absolute(ids, given)
        if "out_degree" in self._fields:
            degree = columns["degree"].astype(np.int64)
            ruled = np.flatnonzero(columns["row_kind"] != STORED)
            if len(ruled):
                chosen = np.asarray(ids, dtype=np.uint64)[ruled]
                degree[ruled] = self._view.wiring().degrees(chosen)
            found["out_degree"] = degree
        return Group(ids, found)

    def _untouched(self, ids: IdArray) -> dict[str, Any]:
        """Neurons that never fired nor were changed; where they are alike, one stands for all."""
        found = self._common(ids)
        found |= {name: np.int64(0) for name in ("spike_count", "last_spike") if name in self._fields}
        if "state" in self._fields:
            found["state"] = "virtual"
        if self._rests:
            found |= self._absolute(ids, None)
        if "out_degree" in self._fields:
            degrees = self._view.wiring().degrees(ids)
            found["out_degree"] = degrees if len(ids) > 1 else degrees[0]
        return found

    def _common(self, ids: IdArray | range) -> dict[str, Any]:
        found = {name: value for name, value in self._at_rest.items() if name in self._fields}
        if {*_ADDRESS} & {*self._fields}:
            array = np.asarray(ids, dtype=np.uint64)
            found["id"] = array
            found["local"] = (array & np.uint64(0xFFFFFFFF)).astype(np.int64)
            found["segment"] = ((array >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.int64)
        for name in self._fields:
            if name not in found:
                found[name] = np.float32(np.nan)  # another layer's; replaced below if it is this one's
        return found

    def _absolute(self, ids: IdArray | range, given: dict[str, Any] | None) -> dict[str, Any]:
        """Potentials and their like, of neurons at rest."""
        if not self._drawn:
            return {name: np.float32(self._own.shared[rest]) for name, rest in self._rests.items()}
        array = np.asarray(ids, dtype=np.uint64)
        constants = self._own.constants(array, given or None)
        return {name: np.asarray(constants[rest], dtype=np.float32) for name, rest in self._rests.items()}

    def _looked_up(self, ids: IdArray) -> Group:
        return Group(ids, columns_of(self._view, ids, self._fields))


def columns_of(view: View, ids: IdArray, fields: Collection[str]) -> dict[str, npt.NDArray[Any]]:
    """The fields of ``ids`` (sorted, distinct), (n,) each, one by one; NaN where a model has no such field."""
    many = view.neurons(ids)
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in fields:
        if name == "id":
            columns[name] = ids
        elif name == "layer":
            names = {layer.index: layer.name for layer in view.spec.layers}
            columns[name] = np.array([names[index] for index in (ids >> np.uint64(48)).tolist()], dtype=np.str_)
        elif name == "segment":
            columns[name] = ((ids >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.int64)
        elif name == "local":
            columns[name] = (ids & np.uint64(0xFFFFFFFF)).astype(np.int64)
        elif name == "state":
            columns[name] = np.array(many.state, dtype=np.str_)
        elif name == "out_degree":
            columns[name] = many.out_degree
        elif name == IN_DEGREE:
            columns[name] = in_degrees(view, ids)
        elif name in many.fields:
            columns[name] = many.fields[name]
        elif name in fields_of(view.spec.layers):
            columns[name] = np.full(len(ids), np.nan, dtype=np.float32)
        else:
            raise InvalidInput(f'no field is called "{name}"')
    return columns


def _without(group: Group, known: IdArray) -> Group:
    ids = np.asarray(group.ids, dtype=np.uint64)
    left = np.flatnonzero(~np.isin(ids, known))
    if len(left) == len(ids):
        return group
    columns = {name: column[left] if np.ndim(column) else column for name, column in group.columns.items()}
    return Group(ids[left], columns)
