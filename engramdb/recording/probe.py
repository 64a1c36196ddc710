"""State variables of chosen neurons, read at a tick boundary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.errors import InvalidInput
from engramdb.keptfields import fields_now
from engramdb.models.model import Absolute, Kept
from engramdb.parameters import LayerParameters, given, parameters_of_layer
from engramdb.spec import Spec
from engramdb.state import column_of
from engramdb.store import Store
from engramdb.workingset import WorkingSet

_HISTORY = ("spike_count", "last_spike")  # what the spikes say anyway


class _Source(NamedTuple):
    """Where a variable of the neurons of one layer comes from: a column of the state, and what is added to it."""

    part: slice
    column: str
    own: LayerParameters
    rest: str  # a constant of theirs; empty where nothing is added
    kept: bool  # with their records, and not in the working set


class Probe:
    """Reads the fields ``names`` of ``ids`` (uint64 (n,), distinct, sorted) during one run.

    Raises :class:`InvalidInput` for a field that the model of one of the neurons lacks.
    """

    def __init__(self, spec: Spec, ids: IdArray, names: tuple[str, ...]) -> None:
        self.ids = ids
        self.dtypes: dict[str, np.dtype[Any]] = {}
        self._sources: dict[str, list[_Source]] = {name: [] for name in names}
        self._spec = spec
        self._rests: dict[str, npt.NDArray[np.float32]] = {}
        for layer_index, part in by_layer(ids):
            layer = spec.layer(layer_index)
            own = parameters_of_layer(layer, spec)
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
                of, rest = (field.of, field.rest) if isinstance(field, Absolute) else (name, "")
                self._sources[name].append(_Source(part, columns.get(of, of), own, rest, isinstance(field, Kept)))

    def read(self, working_set: WorkingSet) -> dict[str, npt.NDArray[Any]]:
        """Name -> (n,); neurons without a slot are at rest."""
        state = working_set.charges.of(working_set.lookup(self.ids))
        if any(source.kept for sources in self._sources.values() for source in sources):
            state |= self._of_records(working_set)
        out = {}
        for name, sources in self._sources.items():
            values = np.concatenate([state[source.column][source.part] for source in sources])
            out[name] = values + self._rest(name, working_set.store) if sources[0].rest else values
        return out

    def _of_records(self, working_set: WorkingSet) -> dict[str, npt.NDArray[Any]]:
        """Fields that records keep, (n,) by name, NaN where a neuron's model has no such."""
        out: dict[str, npt.NDArray[Any]] = {}
        for layer_index, part in by_layer(self.ids):
            (keeper,) = (keeper for keeper in working_set.keepers if keeper.layer_index == layer_index)
            own = fields_now(self.ids[part], keeper, working_set.store, self._spec.layer(layer_index), self._spec)
            for name, values in own.items():
                out.setdefault(name, np.full(len(self.ids), np.nan, dtype=np.float32))[part] = values
        return out

    def _rest(self, name: str, store: Store) -> npt.NDArray[np.float32]:
        """What is added to a field of each neuron; worked out once, for it does not change during a run."""
        if name not in self._rests:
            parts = [
                own.constant(rest, self.ids[part], given(store, own.columns, self.ids[part]))
                for part, _, own, rest, _ in self._sources[name]
            ]
            self._rests[name] = np.concatenate(parts)
        return self._rests[name]
