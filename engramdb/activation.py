"""Activation: neurons get a record, and receptive vectors where those are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.distribution import DISTRIBUTIONS, Distribution, normalized, problem_with
from engramdb.engine import Engine
from engramdb.errors import InvalidInput
from engramdb.receptive import Receptive, W
from engramdb.spec import Spec
from engramdb.store import Records, Store

_PIECE_BYTES = 1 << 25
JOURNALED_BYTES = 1 << 23
"""Vectors of more bytes are committed with the records instead of being kept in the journal."""


def receptive_of(ids: IdArray, engine: Engine, spec: Spec) -> Receptive:
    """Whose receptive vectors ``ids`` (sorted) have. InvalidInput unless all belong to one layer that has some."""
    layers = by_layer(ids)
    layer = spec.layer(layers[0][0]) if len(layers) == 1 else None
    if layer is None or layer.name not in engine.receptive:
        what = "those of several layers" if layer is None else f'layer "{layer.name}" is of model {layer.model}'
        raise InvalidInput(f"w: only neurons of one layer of model dense_lif have receptive vectors; {what}")
    return engine.receptive[layer.name]


def vectors_given(w: Any, order: npt.NDArray[np.int64], receptive: Receptive) -> npt.NDArray[Any] | dict[str, Any]:
    """``w`` as a command: stored vectors (n, width) in the ``order`` of sorted ids, or what each weight is drawn from.

    ``w``: a number, pair or distribution; an array (width,) or (n, width). InvalidInput for anything else.
    """
    value = normalized(w)
    if isinstance(value, (float, Distribution)):
        problem = problem_with(value)
        if problem:
            raise InvalidInput(f"w: {problem}")
        if isinstance(value, Distribution):
            receptive.stored_form(np.array([value.bounds()], dtype=np.float32))
            return {"distribution": type(value).__name__, **vars(value)}
    try:
        array = np.asarray(w, dtype=np.float32)
        array = np.broadcast_to(array, (len(order), receptive.width))
    except (ValueError, TypeError):
        raise InvalidInput(
            f"w: expected a number, a distribution or an array ({len(order)}, {receptive.width}) of weights"
        ) from None
    return receptive.stored_form(array[order] if array.strides[0] else array)


def activate(
    engine: Engine, store: Store, spec: Spec, ids: IdArray, w: npt.NDArray[Any] | Mapping[str, Any] | None
) -> int:
    """Give ``ids`` (sorted, distinct) records, and vectors where ``w`` is given; returns how many had no record.

    ``w``: as :func:`vectors_given` has made it.
    """
    engine.working_set.forget(ids)  # what RAM knows of them must be in the store, whose records change
    receptive = None if w is None else receptive_of(ids, engine, spec)
    value: Any = None
    if isinstance(w, Mapping):
        value = DISTRIBUTIONS[w["distribution"]](**{name: x for name, x in w.items() if name != "distribution"})
    most = 1 << 16 if receptive is None else max(1, _PIECE_BYTES // (4 * receptive.width))
    fresh = 0
    for _, where in by_layer(ids):
        for start in range(where.start, where.stop, most):
            part = slice(start, min(start + most, where.stop))
            own = ids[part]
            stored = store.find(own, query=True)
            known = np.isin(own, stored.ids)
            fresh += int(np.count_nonzero(~known))
            counts: dict[str, npt.NDArray[Any]] = {
                "spike_count": np.zeros(len(own), dtype=np.uint32), "last_spike": np.zeros(len(own), dtype=np.int64),
            }  # fmt: skip
            for name, column in counts.items():
                if len(stored):
                    column[known] = stored.state[name]
            if receptive is None:
                new = ~known
                if new.any():
                    store.write(Records.of_state(own[new], {name: column[new] for name, column in counts.items()}))
                continue
            vectors = receptive.stored_form(receptive.drawn(own, value)) if value is not None else np.asarray(w)[part]
            store.write(Records.of_state(own, {**counts, W: vectors}))
    if receptive is not None:
        receptive.reload()
    return fresh
