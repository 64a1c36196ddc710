"""Charges: the state of neurons that have slots, read, put there, and stepped with constants of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.kernels import slots
from engramdb.parameters import given

if TYPE_CHECKING:
    from engramdb.workingset import WorkingSet

Int64Array = npt.NDArray[np.int64]

_AT_ONCE = 1 << 16


class Charges:
    """Fields and constants of the neurons that a working set has slots for."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set

    def all(self) -> tuple[IdArray, dict[str, npt.NDArray[Any]]]:
        """Ids of all neurons that are not exactly at rest, in no order, and their fields; see :meth:`of`."""
        working_set = self._working_set
        self.fill_fresh()
        held = np.empty(int(slots.awake_slots(working_set.slots, np.empty(0, dtype=np.int64))), dtype=np.int64)
        slots.awake_slots(working_set.slots, held)
        return working_set.slots.id[held], self._fields(held)

    def of(self, held: Int64Array) -> dict[str, npt.NDArray[Any]]:
        """State at this moment in the slots ``held`` (-1: none), (n,) by column of the in-flight state.

        ``u`` and the other fields of the models in use, float32, relative to rest, and ``refractory``, int32; zeros
        where there is no slot.
        """
        found = np.flatnonzero(held >= 0)
        if len(found) == len(held):
            return self._fields(held)
        out: dict[str, npt.NDArray[Any]] = {}
        for name, values in self._fields(held[found]).items():
            out[name] = np.zeros(len(held), dtype=values.dtype)
            out[name][found] = values
        return out

    def _fields(self, held: Int64Array) -> dict[str, npt.NDArray[Any]]:
        working_set = self._working_set
        block, lane = held >> slots.BLOCK_SHIFT, held & (slots.BLOCK - 1)
        out: dict[str, npt.NDArray[Any]] = {
            "u": working_set.slots.u[held],
            "refractory": working_set.slots.refractory[held],
        }
        for name, having in working_set.layers.fields.items():
            if name == "u":
                continue
            out[name] = np.zeros(len(held), dtype=np.float32)
            for at, place in having:
                of_layer = np.flatnonzero(working_set.slots.block_layer[block] == at)
                out[name][of_layer] = working_set.slots.aux[block[of_layer], place - 1, lane[of_layer]]
        return out

    def put(self, ids: IdArray, fields: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put neurons, sorted by id, into the state given by column; what is missing is zero."""
        working_set = self._working_set
        u, refractory = fields["u"], fields["refractory"]
        in_new_blocks = working_set.slots.counters[slots.N_USED] == 0 and working_set.reserve(len(ids))
        for layer, where in by_layer(ids):
            at = int(working_set.layers.position[layer])
            aux = np.zeros((working_set.slots.aux.shape[1], where.stop - where.start), dtype=np.float32)
            for place, field in enumerate(working_set.layers.parameters[at].model.state[1:]):
                if field.name in fields:
                    aux[place] = fields[field.name][where]
            if in_new_blocks:
                slots.place(working_set.slots, at, ids[where], u[where], aux, refractory[where])
                continue
            for start in range(where.start, where.stop, _AT_ONCE):
                part = slice(start, min(start + _AT_ONCE, where.stop))
                held = working_set.hold(ids[part])
                working_set.slots.u[held] = u[part]
                block, lane = held >> slots.BLOCK_SHIFT, held & (slots.BLOCK - 1)
                for place, values in enumerate(aux[:, part.start - where.start : part.stop - where.start]):
                    working_set.slots.aux[block, place, lane] = values
                working_set.slots.refractory[held] = refractory[part]
                working_set.slots.block_awake[block] = 1
        self.fill_fresh()

    def refresh(self, ids: IdArray) -> None:
        """Work the constants of ``ids`` out anew: the store has other parameters of theirs now.

        Who never rests with them, and belongs to a layer that is materialized, is awake from now on.
        """
        working_set = self._working_set
        for layer, where in by_layer(ids):
            own = working_set.layers.parameters[int(working_set.layers.position[layer])]
            working_set.hold(ids[where][own.restless(ids[where], given(working_set.store, own.columns, ids[where]))])
        held = working_set.lookup(ids)
        held = held[held >= 0]
        block = held >> slots.BLOCK_SHIFT
        working_set.slots.used[held] |= slots.FRESH
        working_set.slots.block_flags[block] |= slots.FRESH
        working_set.slots.counters[slots.N_FRESH] += len(held)
        self.fill_fresh()

    def fill_fresh(self) -> None:
        """Give slots taken since the last call the constants that are their neurons' own; before any is stepped."""
        working_set = self._working_set
        n_fresh = int(working_set.slots.counters[slots.N_FRESH])
        if n_fresh == 0:
            return
        found = np.empty(n_fresh, dtype=np.int64)
        for at, parameters in enumerate(working_set.layers.parameters):
            if not parameters.own:
                continue
            n = int(slots.fresh(working_set.slots, at, found))
            rows_of = [name for name in parameters.kernel_constants if name in parameters.own]
            for start in range(0, n, _AT_ONCE):
                held = found[start : min(start + _AT_ONCE, n)]
                held = held[np.argsort(working_set.slots.id[held])]
                ids = working_set.slots.id[held]
                constants = parameters.constants(ids, given(working_set.store, parameters.columns, ids))
                values = np.empty((len(rows_of), len(held)), dtype=np.float32)
                for row, name in enumerate(rows_of):
                    values[row] = constants[name]
                restless = np.broadcast_to(np.asarray(constants["restless"], dtype=bool), (len(held),))
                slots.fill(working_set.slots, held, values, np.ascontiguousarray(restless))
        slots.filled(working_set.slots)
