"""State variables of chosen neurons, read at a tick boundary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.errors import InvalidInput
from engramdb.models.model import Absolute
from engramdb.parameters import LayerParameters
from engramdb.spec import Spec
from engramdb.state import column_of
from engramdb.workingset import WorkingSet

_HISTORY = ("spike_count", "last_spike")  # what the spikes say anyway


class _Source(NamedTuple):
    """Where a variable of the neurons of one layer comes from: a column of the state, and what is added to it."""

    part: slice
    column: str
    rest: npt.NDArray[np.float32] | None


class Probe:
    """Reads the fields ``names`` of ``ids`` (uint64 (n,), distinct, sorted).

    Raises :class:`InvalidInput` for a field that the model of one of the neurons lacks.
    """

    def __init__(self, spec: Spec, ids: IdArray, names: tuple[str, ...]) -> None:
        self.ids = ids
        self.dtypes: dict[str, np.dtype[Any]] = {}
        self._sources: dict[str, list[_Source]] = {name: [] for name in names}
        for layer_index, part in by_layer(ids):
            layer = spec.layer(layer_index)
            own = LayerParameters(layer, spec.seed, spec.dt_ms)
            known = {field.name: field for field in own.model.fields if field.name not in _HISTORY}
            columns = {field.name: column_of(place, field.name) for place, field in enumerate(own.model.state)}
            if missing := [name for name in names if name not in known]:
                raise InvalidInput(
                    f'record: layer {layer.name} ({layer.model}) has no "{missing[0]}"; known: spikes, rates, '
                    f"{', '.join(known)}"
                )
            self.dtypes.update({name: np.dtype(known[name].dtype) for name in names})
            for name in names:
                field = known[name]
                if isinstance(field, Absolute):
                    # worked out once: it never changes, and every reading needs it
                    source = _Source(part, columns[field.of], own.constant(field.rest, ids[part]))
                else:
                    source = _Source(part, columns.get(name, name), None)
                self._sources[name].append(source)

    def read(self, working_set: WorkingSet) -> dict[str, npt.NDArray[Any]]:
        """Name -> (n,); neurons without a slot are at rest."""
        state = working_set.fields(self.ids)
        out = {name: np.empty(len(self.ids), dtype=dtype) for name, dtype in self.dtypes.items()}
        for name, sources in self._sources.items():
            for part, column, rest in sources:
                out[name][part] = state[column][part] if rest is None else rest + state[column][part]
        return out
