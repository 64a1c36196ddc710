"""Changes to synapses, worked out on whole rows, and to parameters of neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer, format_id
from engramdb.delays import DelayArray, chosen
from engramdb.errors import InvalidInput, NotFound
from engramdb.parameters import given_in, parameters_of_layer
from engramdb.query.synapses import whole_rows
from engramdb.spec import Spec
from engramdb.store import OWN, Records, Store
from engramdb.weights import rounded

if TYPE_CHECKING:
    from engramdb.wiring import Wiring


class _Pairs(NamedTuple):
    """Synapses asked for, sorted by (pre, post), each pair once. ``first``: where it stood first in what was asked."""

    pre: IdArray
    post: IdArray
    weight: npt.NDArray[np.float32]
    projection: npt.NDArray[np.uint16]
    delay: DelayArray
    first: npt.NDArray[np.intp]

    def part(self, where: slice) -> _Pairs:
        pre, post, weight, projection, delay, first = self
        return _Pairs(pre[where], post[where], weight[where], projection[where], delay[where], first[where])


def synapse_change(
    pre: IdArray,
    post: IdArray,
    weight: npt.NDArray[np.float32],
    delay: DelayArray | None,
    spec: Spec,
    store: Store,
    wiring: Callable[[], Wiring],
    *,
    create: bool,
) -> list[Records]:
    """Whole rows, of one layer each, in which every synapse ``pre[i] -> post[i]`` weighs ``weight[i]`` mV.

    With ``create`` missing pairs are made, otherwise :class:`NotFound` names the first of them. Of a pair given twice
    the last weight counts; a pair with several synapses gets the weight in each. Weights are rounded to the type of
    their layer; :class:`InvalidInput` for one that is too large for it, or of the wrong sign for its projection.

    ``delay``: ticks of each pair, that its synapses are to have; None leaves those of existing ones and gives new ones
    that of their projection. :class:`InvalidInput` for one that the projection does not allow.
    """
    projection = _projections(pre, post, spec)
    if delay is not None:
        _check_delays(pre, post, delay, projection, spec)
    ticks = spec.delays[projection].astype(np.uint16) if delay is None else delay
    _check_signs(pre, post, weight, projection, spec)
    weight = rounded(pre, weight, spec)
    order = np.lexsort((post, pre))  # stable: equal pairs stay in the order in which they were asked for
    differs = (np.diff(pre[order]) != 0) | (np.diff(post[order]) != 0)
    start = np.flatnonzero(np.append(True, differs)[: len(order)])
    last = order[np.append(start[1:], len(order))[: len(start)] - 1]
    asked = _Pairs(pre[last], post[last], weight[last], projection[last], ticks[last], order[start])
    changed: list[Records] = []
    missing = [np.empty(0, dtype=np.intp)]
    for _, where in by_layer(asked.pre):
        part = asked.part(where)
        rows = whole_rows(np.unique(part.pre), store, wiring)
        found, fresh = _matched(rows, part)
        missing.append(part.first[fresh])
        changed.append(_with_change(rows, part, found, fresh, spec, keep_delays=delay is None))
    absent = np.concatenate(missing)
    if len(absent) and not create:
        i = absent.min()
        raise NotFound(f"no synapse {format_id(int(pre[i]))} -> {format_id(int(post[i]))}; use connect to make it")
    return changed


def synapse_removal(
    pre: IdArray, post: IdArray, store: Store, wiring: Callable[[], Wiring]
) -> list[tuple[Records, Records]]:
    """``(rows before, rows after)``, whole and of one layer each: without synapses of the pairs ``pre[i] -> post[i]``.

    Pairs may come in any order; those that have no synapse change nothing.
    """
    changed = []
    order = np.argsort(pre, kind="stable")
    pre, post = pre[order], post[order]
    for _, where in by_layer(pre):
        rows = whole_rows(np.unique(pre[where]), store, wiring)
        changed.append((rows, _without(rows, pre[where], post[where])))
    return changed


def _without(rows: Records, pre: IdArray, post: IdArray) -> Records:
    """``rows`` without the synapses of the pairs ``pre[i] -> post[i]``, whose sources they are."""
    source = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    targets = np.unique(np.concatenate([rows.target, post]))
    # row and target of a pair as one number: the places of both are small, their ids are not
    own = source * len(targets) + np.searchsorted(targets, rows.target)
    gone = np.searchsorted(rows.ids, pre) * len(targets) + np.searchsorted(targets, post)
    return kept_synapses(rows, ~np.isin(own, gone))


def kept_synapses(rows: Records, kept: npt.NDArray[np.bool_]) -> Records:
    """``rows`` with only those synapses that are ``kept``, bool (nnz,)."""
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])[rows.indptr]
    delay = chosen(rows.delay, kept)
    columns = rows.projection[kept], rows.target[kept], rows.weight[kept]
    return Records(rows.ids, rows.state, rows.row_kind, indptr, *columns, delay=delay)


def parameter_change(
    ids: IdArray, values: Mapping[str, npt.NDArray[np.float64]], spec: Spec, store: Store
) -> list[Records]:
    """Records, of one layer each, in which ``ids`` (sorted, distinct) have parameters ``values``, (n,) by name.

    :class:`InvalidInput` for the first neuron that cannot be so.
    """
    changed = []
    for layer_index, where in by_layer(ids):
        layer = spec.layer(layer_index)
        own = parameters_of_layer(layer, spec)
        for name in values:
            if name not in layer.columns:
                had = ", ".join(layer.columns) or "none"
                raise InvalidInput(
                    f'layer "{layer.name}" keeps no {name} of each neuron; those it keeps: {had}. Declare it as one of'
                    f" Layer(columns=...) when the engram is created"
                )
        stored = store.find(ids[where], query=True)
        there = np.isin(ids[where], stored.ids)
        before = given_in(stored, layer.columns, there)
        together = {**(before or {}), **{name: column[where] for name, column in values.items()}}
        problem = own.problem(ids[where], together)
        if problem is not None:
            place, name, words = problem
            raise InvalidInput(f"{name} of neuron {format_id(int(ids[where][place]))}: {words}")
        restless = own.restless(ids[where], together)
        if restless.any() and not layer.materialize:
            neuron = format_id(int(ids[where][int(np.argmax(restless))]))
            raise InvalidInput(
                f"neuron {neuron} would never rest ({own.model.restless[1]}), which those of the virtual layer"
                f' "{layer.name}" must; a layer with materialize = true may have such'
            )
        state: dict[str, npt.NDArray[Any]] = {
            "spike_count": np.zeros(len(there), dtype=np.uint32),
            "last_spike": np.zeros(len(there), dtype=np.int64),
        }
        for name, column in state.items():
            if len(stored):
                column[there] = stored.state[name]
        changed.append(Records.of_state(ids[where], {**state, **{OWN + n: v for n, v in together.items()}}))
    return changed


def _projections(pre: IdArray, post: IdArray, spec: Spec) -> npt.NDArray[np.uint16]:
    """The first projection that joins the two layers of each pair."""
    out = np.zeros(len(pre), dtype=np.uint16)
    pairs = np.stack([pre >> np.uint64(48), post >> np.uint64(48)])
    for a, b in np.unique(pairs, axis=1).T:
        names = spec.layer(int(a)).name, spec.layer(int(b)).name
        joining = [n for n, p in enumerate(spec.all_projections) if (p.pre, p.post) == names]
        if not joining:
            raise InvalidInput(
                f'no projection joins layer "{names[0]}" to "{names[1]}"; declare one in the spec, such as'
                f' Projection("{names[0]}", "{names[1]}", Explicit())'
            )
        out[(pairs[0] == a) & (pairs[1] == b)] = joining[0]
    return out


def _check_signs(
    pre: IdArray, post: IdArray, weight: npt.NDArray[np.float32], projection: npt.NDArray[np.uint16], spec: Spec
) -> None:
    signs = np.array([p.sign or 0 for p in spec.all_projections], dtype=np.int64)[projection]
    wrong = np.flatnonzero(signs * np.sign(weight) < 0)
    if len(wrong):
        i = wrong[0]
        name = spec.all_projections[projection[i]].name
        kind = "negative" if weight[i] < 0 else "positive"
        raise InvalidInput(
            f'weight {weight[i]:g} mV of {format_id(int(pre[i]))} -> {format_id(int(post[i]))}: projection "{name}"'
            f" takes no {kind} weights"
        )


def _check_delays(
    pre: IdArray, post: IdArray, delay: DelayArray, projection: npt.NDArray[np.uint16], spec: Spec
) -> None:
    ranges = np.array([spec.delay_range(p) for p in spec.all_projections], dtype=np.int64)
    least, longest = ranges[projection].T
    wrong = np.flatnonzero((delay < least) | (delay > longest))
    if len(wrong):
        i = wrong[0]
        name = spec.all_projections[projection[i]].name
        allowed = f"are {least[i]}..{longest[i]} ticks" if least[i] < longest[i] else f"are all {least[i]} ticks"
        raise InvalidInput(
            f"delay of {delay[i]} ticks of {format_id(int(pre[i]))} -> {format_id(int(post[i]))}: the delays of"
            f' projection "{name}" {allowed}; the spec says which it may have (delay_ms)'
        )


def _matched(rows: Records, asked: _Pairs) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """``(pair of each synapse of the rows, or -1; pairs that no synapse has)``, pairs by their place in ``asked``."""
    targets = np.unique(asked.post)
    # row and target of a pair as one number: the places of both are small, their ids are not
    row_of = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    column = np.minimum(np.searchsorted(targets, rows.target), len(targets) - 1)
    key = row_of * len(targets) + column
    asked_key = np.searchsorted(rows.ids, asked.pre) * len(targets) + np.searchsorted(targets, asked.post)
    place = np.minimum(np.searchsorted(asked_key, key), len(asked_key) - 1)
    found = np.where((asked_key[place] == key) & (targets[column] == rows.target), place, -1)
    return found, np.setdiff1d(np.arange(len(asked.pre)), found)


def _with_change(
    rows: Records,
    asked: _Pairs,
    found: npt.NDArray[np.intp],
    fresh: npt.NDArray[np.intp],
    spec: Spec,
    *,
    keep_delays: bool,
) -> Records:
    """``rows`` with the weights, and the delays, of the pairs ``found`` and with the pairs ``fresh`` besides."""
    row = np.concatenate([np.repeat(np.arange(len(rows)), np.diff(rows.indptr)),
                          np.searchsorted(rows.ids, asked.pre[fresh])])  # fmt: skip
    target = np.concatenate([rows.target, asked.post[fresh]])
    weight = np.concatenate([np.where(found >= 0, asked.weight[found], rows.weight), asked.weight[fresh]])
    projection = np.concatenate([rows.projection, asked.projection[fresh]])
    own = None
    ticks = spec.delays[projection]
    if spec.varying_delays:
        before = np.empty(0, dtype=np.uint16) if rows.delay is None else rows.delay
        kept = before if keep_delays else np.where(found >= 0, asked.delay[found], before)
        ticks = own = np.concatenate([kept, asked.delay[fresh]])
    order = np.lexsort((projection, target, ticks, row))
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(row, minlength=len(rows)))])
    columns = indptr, projection[order], target[order], weight[order]
    return Records(rows.ids, rows.state, rows.row_kind, *columns, delay=chosen(own, order))
