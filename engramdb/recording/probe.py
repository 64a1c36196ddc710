"""State variables of chosen neurons, read at a tick boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray, by_layer
from engramdb.errors import InvalidInput
from engramdb.query.neurons import Present
from engramdb.spec import Spec
from engramdb.workingset import WorkingSet

_HISTORY = ("spike_count", "last_spike")  # what the spikes say anyway


class Probe:
    """Reads the fields ``names`` of ``ids`` (uint64 (n,), distinct, sorted).

    Raises :class:`InvalidInput` for a field that the model of one of the neurons lacks.
    """

    def __init__(self, spec: Spec, ids: IdArray, names: tuple[str, ...]) -> None:
        self._spec = spec
        self.ids = ids
        self.dtypes: dict[str, np.dtype[Any]] = {}
        for layer_index, _ in by_layer(ids):
            layer = spec.layer(layer_index)
            known = {field.name: field for field in models.get(layer.model).fields if field.name not in _HISTORY}
            if missing := [name for name in names if name not in known]:
                raise InvalidInput(
                    f'record: layer {layer.name} ({layer.model}) has no "{missing[0]}"; known: spikes, rates, '
                    f"{', '.join(known)}"
                )
            self.dtypes.update({name: np.dtype(known[name].dtype) for name in names})

    def read(self, working_set: WorkingSet) -> dict[str, npt.NDArray[Any]]:
        """Name -> (n,); neurons without a slot are at rest."""
        values = Present(self._spec, {}, working_set).fields(self.ids)
        return {name: values[name] for name in self.dtypes}
