"""Changes to stored neurons: applied to records, or put one on top of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.delays import chosen, end_to_end
from engramdb.errors import InvalidInput
from engramdb.store.records import (
    FIELD,
    FORGOTTEN,
    GENERATED,
    KEEP,
    OWN,
    Array,
    IndexArray,
    Records,
    blank,
    check_same_columns,
    gather,
)

Mask = npt.NDArray[np.bool_]
_NO_COLUMNS: Mapping[str, Array] = MappingProxyType({})


def find_in(ids: IdArray, wanted: IdArray) -> tuple[IndexArray, Mask]:
    """``(place, there)``: where each of ``wanted`` would stand in ``ids``, and whether it does. Both are sorted."""
    place = np.searchsorted(ids, wanted)
    if not ids.size:
        return place, np.zeros(wanted.size, bool)
    return place, ids[np.minimum(place, ids.size - 1)] == wanted


def given(changes: Records, column: str) -> Mask:
    """Which neurons of ``changes`` get a new value of a state column."""
    if column not in changes.state:
        return np.zeros(len(changes), bool)
    kept = changes.kept.get(column)
    return (changes.row_kind != FORGOTTEN) if kept is None else ~kept & (changes.row_kind != FORGOTTEN)


def with_own(changes: Records, fresh: Mask, columns: Mapping[str, Array]) -> Records:
    """``changes`` in which nothing is left open in columns that neurons may be given nothing for: of parameters, and of
    what a model keeps. Neurons that are given none keep theirs, and ``fresh`` ones, which are not stored yet, get a
    blank. ``columns``: of the layer's records, by name, of any length."""
    known = {**columns, **changes.state}
    own = [name for name in known if name.startswith((OWN, FIELD))]
    if not own:
        return changes
    state, kept = dict(changes.state), dict(changes.kept)
    for name in own:
        nothing = blank(known[name], len(changes))
        if name not in state:
            state[name], kept[name] = nothing, np.ones(len(changes), bool)
        if name in kept:
            open_ = kept[name] & fresh
            if open_.any() and state[name] is not nothing:
                state[name] = state[name].copy()
                state[name][open_] = nothing[open_]
            kept[name] = kept[name] & ~fresh
    return replace(changes, state=state, kept={name: mask for name, mask in kept.items() if mask.any()})


def born(changes: Records, columns: Mapping[str, Array] = _NO_COLUMNS) -> Records:
    """``changes`` to neurons that are not stored yet, as whole records: KEEP becomes GENERATED, FORGOTTEN goes.

    ``columns``: those of what is stored. Raises InvalidInput, naming the first neuron that lacks a state column.
    """
    changes = with_own(changes, np.ones(len(changes), bool), columns)
    for column, kept in changes.kept.items():
        if (kept & (changes.row_kind != FORGOTTEN)).any():
            first = int(changes.ids[int(np.argmax(kept & (changes.row_kind != FORGOTTEN)))])
            raise InvalidInput(f"neuron {format_id(first)} is not stored yet: give its state column {column} too")
    if not np.any((changes.row_kind == KEEP) | (changes.row_kind == FORGOTTEN)):
        return changes
    settled = changes.take(np.flatnonzero(changes.row_kind != FORGOTTEN))
    settled.row_kind[settled.row_kind == KEEP] = GENERATED
    settled.kept = {}
    return settled


def apply(stored: Records, changes: Records) -> Records:
    """``stored`` with ``changes`` in it: whole records, in which what did not change shares memory where it can.

    Raises InvalidInput where state columns do not fit, or a new neuron lacks one.
    """
    if not len(stored):
        return born(changes)
    place, known = find_in(stored.ids, changes.ids)
    forgotten = changes.row_kind == FORGOTTEN
    fresh = changes.take(np.flatnonzero(~known))
    _check_columns(stored, changes)
    fresh = born(fresh, stored.state)
    if len(fresh):
        check_same_columns(stored, fresh)
    state = dict(stored.state)
    for name in changes.state:
        mask = given(changes, name) & known
        if mask.any():
            state[name] = state[name].copy()
            state[name][place[mask]] = changes.state[name][mask]
    rewritten = np.flatnonzero(known & (changes.row_kind != KEEP) & ~forgotten)
    gone = place[known & forgotten]
    if not (len(fresh) or rewritten.size or gone.size):
        return Records(
            stored.ids, state, stored.row_kind, stored.indptr, stored.projection, stored.target, stored.weight,
            delay=stored.delay,
        )  # fmt: skip
    # where each row comes from: the stored ones, the changes, and the new neurons, laid end to end
    rows = np.arange(len(stored))
    rows[place[rewritten]] = len(stored) + rewritten
    left = np.delete(np.arange(len(stored)), gone)
    ids = np.concatenate([stored.ids[left], fresh.ids])
    order = np.argsort(ids, kind="stable")
    rows = np.concatenate([rows[left], len(stored) + len(changes) + np.arange(len(fresh))])[order]
    sources = (stored, changes, fresh)
    starts = np.cumsum([0] + [source.synapses for source in sources])
    indptr, synapse = gather(
        np.concatenate([sources[0].indptr[:1], *(s.indptr[1:] + a for s, a in zip(sources, starts[:-1], strict=True))]),
        rows,
    )
    return Records(
        ids=ids[order],
        state={name: np.concatenate([column[left], _column(fresh, name, column)])[order]
               for name, column in state.items()},
        row_kind=np.concatenate([source.row_kind for source in sources])[rows],
        indptr=indptr,
        projection=np.concatenate([source.projection for source in sources])[synapse],
        target=np.concatenate([source.target for source in sources])[synapse],
        weight=np.concatenate([source.weight for source in sources])[synapse],
        delay=chosen(end_to_end([source.delay for source in sources]), synapse),
    )  # fmt: skip


def compose(older: Records, newer: Records) -> Records:
    """Changes that do what ``older`` and then ``newer`` do.

    In ``newer`` a neuron that ``older`` forgets is new again, and is given with all its columns.
    """
    if not len(older) or not len(newer):
        return newer if len(newer) else older
    ids = np.union1d(older.ids, newer.ids)
    at_older, at_newer = np.searchsorted(ids, older.ids), np.searchsorted(ids, newer.ids)
    in_older, in_newer = (np.zeros(ids.size, bool) for _ in range(2))
    in_older[at_older] = in_newer[at_newer] = True
    kind_older = np.full(ids.size, KEEP, np.uint8)
    kind_older[at_older] = older.row_kind
    kind = kind_older.copy()
    kind[at_newer] = np.where(
        newer.row_kind != KEEP, newer.row_kind, np.where(kind[at_newer] == FORGOTTEN, GENERATED, kind[at_newer])
    )
    rows = np.zeros(ids.size, np.int64)
    rows[at_older] = np.arange(len(older))
    replaced = at_newer[(newer.row_kind != KEEP) | (kind_older[at_newer] == FORGOTTEN) | ~in_older[at_newer]]
    rows[replaced] = len(older) + np.searchsorted(newer.ids, ids[replaced])
    indptr, synapse = gather(np.concatenate([older.indptr, newer.indptr[1:] + older.synapses]), rows)
    state: dict[str, Array] = {}
    kept: dict[str, Mask] = {}
    for name in older.state | newer.state:
        sample = (newer if name in newer.state else older).state[name]
        column = np.zeros((ids.size, *sample.shape[1:]), sample.dtype)
        have = np.zeros(ids.size, bool)
        for source, place in ((older, at_older), (newer, at_newer)):
            mask = given(source, name)
            if mask.any():
                column[place[mask]] = source.state[name][mask]
                have[place[mask]] = True
        have &= kind != FORGOTTEN
        if have.any():
            state[name] = column
            if not have.all():
                kept[name] = ~have
    return Records(
        ids=ids, state=state, row_kind=kind, indptr=indptr, kept=kept,
        projection=np.concatenate([older.projection, newer.projection])[synapse],
        target=np.concatenate([older.target, newer.target])[synapse],
        weight=np.concatenate([older.weight, newer.weight])[synapse],
        delay=chosen(end_to_end([older.delay, newer.delay]), synapse),
    )  # fmt: skip


def _column(fresh: Records, name: str, like: Array) -> Array:
    return fresh.state[name] if len(fresh) else like[:0]


def _check_columns(stored: Records, changes: Records) -> None:
    for name, column in changes.state.items():
        like = stored.state.get(name)
        if like is None or (like.dtype, like.shape[1:]) != (column.dtype, column.shape[1:]):
            check_same_columns(stored, changes)
