"""The state columns that records of a layer have beside their counts, and that a change may leave out."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from engramdb import models
from engramdb.layer import Layer
from engramdb.models.dense_lif import places_of
from engramdb.models.model import Model
from engramdb.store.records import FIELD, OWN, Array


def optional_columns(layer: Layer) -> dict[str, Array]:
    """Parameters that its neurons may have of their own, and what its model keeps; columns of no neurons, by name."""
    return _made(layer, models.get(layer.model))


@lru_cache(maxsize=1024)
def _made(layer: Layer, model: Model) -> dict[str, Array]:
    columns: dict[str, Array] = {OWN + name: np.empty(0) for name in layer.columns}
    for field in model.kept:
        shape = (0, places_of(model.values(layer.params))) if field.vector else (0,)
        columns[FIELD + field.name] = np.empty(shape, layer.weights if field.vector else field.dtype)
    return columns
