"""Changes to synapses, worked out on whole rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb.address import format_id
from engramdb.errors import InvalidInput, NotFound
from engramdb.query.synapses import whole_rows
from engramdb.spec import Spec
from engramdb.store import Records, Store

if TYPE_CHECKING:
    from engramdb.wiring import Wiring

IdArray = npt.NDArray[np.uint64]


def synapse_change(
    pre: IdArray,
    post: IdArray,
    weight: npt.NDArray[np.float32],
    spec: Spec,
    store: Store,
    wiring: Callable[[], Wiring],
    *,
    create: bool,
) -> Callable[[], Iterator[Records]]:
    """Check a change of synapses ``pre[i] -> post[i]`` to ``weight[i]`` mV; what it returns works the new rows out.

    With ``create`` missing pairs are made, otherwise :class:`NotFound` names the first. Of a pair given twice the last
    weight counts; a pair with several synapses gets the weight in each.
    """
    projection = _projections(pre, post, spec)
    signs = np.array([p.sign or 0 for p in spec.all_projections] or [0], dtype=np.int64)[projection]
    wrong = np.flatnonzero(signs * np.sign(weight) < 0)
    if len(wrong):
        i = wrong[0]
        name = spec.all_projections[projection[i]].name
        kind = "negative" if weight[i] < 0 else "positive"
        raise InvalidInput(
            f'weight {weight[i]:g} mV of {format_id(int(pre[i]))} -> {format_id(int(post[i]))}: projection "{name}"'
            f" takes no {kind} weights"
        )
    if not create:
        for part in _by_layer(pre):
            ids = np.unique(pre[part])
            rows, _ = whole_rows(ids, store, wiring)
            row_of = np.repeat(ids, np.diff(rows.indptr))
            have = np.unique(np.stack([row_of, rows.target]), axis=1)
            asked = np.stack([pre[part], post[part]])
            missing = np.flatnonzero(~_pairs_in(asked, have))
            if len(missing):
                a, b = asked[:, missing[0]]
                raise NotFound(f"no synapse {format_id(int(a))} -> {format_id(int(b))}; use connect to make it")

    def changes() -> Iterator[Records]:
        for part in _by_layer(pre):
            yield _changed_rows(pre[part], post[part], weight[part], projection[part], spec, store, wiring)

    return changes


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


def _by_layer(ids: IdArray) -> list[npt.NDArray[np.intp]]:
    layers = ids >> np.uint64(48)
    return [np.flatnonzero(layers == layer) for layer in np.unique(layers)]


def _pairs_in(asked: npt.NDArray[np.uint64], have: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which columns of ``asked`` (2, n) are among the columns of ``have`` (2, m)."""
    both, back = np.unique(np.concatenate([have, asked], axis=1), axis=1, return_inverse=True)
    present = np.zeros(both.shape[1], dtype=bool)
    back = back.ravel()
    present[back[: have.shape[1]]] = True
    return np.asarray(present[back[have.shape[1] :]])


def _changed_rows(
    pre: IdArray,
    post: IdArray,
    weight: npt.NDArray[np.float32],
    projection: npt.NDArray[np.uint16],
    spec: Spec,
    store: Store,
    wiring: Callable[[], Wiring],
) -> Records:
    """Whole rows of the neurons ``pre`` (one layer) with the change made."""
    ids = np.unique(pre)
    rows, _ = whole_rows(ids, store, wiring)
    # the last of equal pairs counts
    order = np.lexsort((np.arange(len(pre)), post, pre))
    last = np.append((pre[order][1:] != pre[order][:-1]) | (post[order][1:] != post[order][:-1]), True)
    order = order[last]
    pre, post, weight, projection = pre[order], post[order], weight[order], projection[order]

    row_of = np.repeat(np.arange(len(ids)), np.diff(rows.indptr))
    asked_row = np.searchsorted(ids, pre)
    keys = np.concatenate([np.stack([asked_row.astype(np.uint64), post]),
                           np.stack([row_of.astype(np.uint64), rows.target])], axis=1)  # fmt: skip
    _, back = np.unique(keys, axis=1, return_inverse=True)
    back = back.ravel()
    asked_at = np.full(int(back.max(initial=-1)) + 1, -1, dtype=np.int64)
    asked_at[back[: len(pre)]] = np.arange(len(pre))
    of_row = asked_at[back[len(pre) :]]
    new_weight = np.where(of_row >= 0, weight[np.maximum(of_row, 0)], rows.weight).astype(np.float32)
    fresh = np.setdiff1d(np.arange(len(pre)), of_row)

    all_rows = np.concatenate([row_of, asked_row[fresh]])
    targets = np.concatenate([rows.target, post[fresh]])
    weights = np.concatenate([new_weight, weight[fresh]])
    projections = np.concatenate([rows.projection, projection[fresh]])
    ticks = np.array([spec.delay_ticks(p) for p in spec.all_projections] or [1], dtype=np.int64)[projections]
    order = np.lexsort((projections, targets, ticks, all_rows))
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.bincount(all_rows, minlength=len(ids)))])
    return Records(
        ids, rows.state, rows.row_kind, indptr, projections[order], targets[order], weights[order]
    )  # fmt: skip
