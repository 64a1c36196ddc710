"""Receptive vectors of one ``dense_lif`` layer: all in RAM where half of the budget holds them, else leaf by leaf.

A vector is the state column ``field.w`` of its neuron's record. Resident ones are read and changed in place, and what
changed is written back with the counts; otherwise each :meth:`Receptive.currents` is a scan of the layer's leaves, and
what is learned goes to the store at once. Either way every vector is read once, and the result has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.distribution import resolved
from engramdb.errors import BudgetExceeded, InvalidInput
from engramdb.keptfields import Sie, lengths, numbers, vectors
from engramdb.kernels import dense, rng
from engramdb.kernels.lanes import BLOCK, LANES
from engramdb.layer import Layer
from engramdb.models.dense_lif import places_of
from engramdb.parameters import parameters_of_layer
from engramdb.reservation import Reservation
from engramdb.spec import Spec
from engramdb.store import FIELD, Records
from engramdb.weights import INT8, LARGEST_STEP
from engramdb.workers import Workers
from engramdb.workingset import Int64Array, WorkingSet

Float32Array = npt.NDArray[np.float32]
VectorArray = npt.NDArray[Any]

W = FIELD + "w"
MOST_CURRENT = 2.0**24  # in size; 64 of them and 2^16 synapses may meet in one tick
_PIECE_BYTES = 1 << 25
_OWN_BYTES = 8 + 1 + 8  # id, whether it changed, slot
_LEAST_ROWS_A_PART = 256


@dataclass
class Currents:
    """What inputs are to neurons: ``ids`` uint64 (n,), ``values`` float32 (inputs, n); slots as last known."""

    ids: IdArray
    values: Float32Array
    held: Int64Array
    epoch: int = -1


class _Resident:
    """Vectors in RAM: row i is that of ``ids[i]``. Rows are added at the end."""

    def __init__(self, capacity: int, width: int, dtype: np.dtype[Any]) -> None:
        self.n = 0
        self._memory = [Reservation(capacity, t) for t in (np.uint64, np.bool_, np.int64)]
        self._ids, self._dirty, self._held = (memory.array for memory in self._memory)
        self._vectors = Reservation(capacity * width, dtype)
        self._w = self._vectors.array.reshape(capacity, width)
        self._order: Int64Array | None = None  # of the rows by id; None while that is how they lie
        self.epoch = -1

    @property
    def ids(self) -> IdArray:
        return self._ids[: self.n]

    @property
    def w(self) -> VectorArray:
        return self._w[: self.n]

    @property
    def dirty(self) -> npt.NDArray[np.bool_]:
        return self._dirty[: self.n]

    @property
    def held(self) -> Int64Array:
        return self._held[: self.n]

    def append(self, ids: IdArray, w: VectorArray | None = None) -> None:
        """Rows of ``ids``, which have none; of zeros unless given."""
        stop = self.n + len(ids)
        self._ids[self.n : stop] = ids
        self._held[self.n : stop] = -1
        if w is not None:
            self._w[self.n : stop] = w
        if self._order is not None or (self.n and len(ids) and ids[0] < self._ids[self.n - 1]):
            self._order = np.empty(0, dtype=np.int64)  # made anew when it is needed
        self.n = stop

    def rows_of(self, ids: IdArray) -> Int64Array:
        """Rows of ``ids``, -1 where there is none."""
        if self._order is not None and len(self._order) != self.n:
            self._order = np.argsort(self.ids)
        place = np.searchsorted(self.ids, ids, sorter=self._order)
        row = np.minimum(place, max(self.n - 1, 0))
        if self._order is not None:
            row = self._order[row]
        known = self.ids[row] == ids if self.n else np.zeros(len(ids), dtype=bool)
        return np.where(known, row, -1)


class Receptive:
    """The receptive vectors of ``layer``. Where ids are taken, they are sorted, distinct and of that layer."""

    tells_apart: ClassVar[bool] = False

    def __init__(self, spec: Spec, layer: Layer, working_set: WorkingSet, workers: Workers) -> None:
        values = parameters_of_layer(layer, spec).values(np.empty(0, dtype=np.uint64))
        self.layer = layer
        self.dimension, self.width = int(values["dimension"]), places_of(values)
        self.eta = float(values["eta"])
        self.updates = 0
        """How often something was learned: int8 weights are rounded by another chance each time."""
        self._seed = np.uint64(spec.seed)
        self._dtype = np.dtype(layer.weights)
        self._step = layer.weight_step if layer.weights == INT8 and layer.weight_step is not None else 1.0
        self._working_set, self._workers = working_set, workers
        self._resident: _Resident | None = None
        self._evicted = False
        self._row_bytes = self.width * self._dtype.itemsize + _OWN_BYTES

    # ---- memory

    @property
    def nbytes(self) -> int:
        return 0 if self._resident is None else self._resident.n * self._row_bytes

    def give_way(self) -> None:
        """Write back what changed and let the vectors go; from now on they are read leaf by leaf."""
        if self._resident is not None:
            self._write_back()
            self._resident, self._evicted = None, True

    @property
    def layer_index(self) -> int:
        return self.layer.index

    def rows_changed(self, ids: IdArray) -> None:
        """Synapses are none of its business."""

    def sie(self, tick: int) -> Sie | None:
        """Void layers have one."""
        return None

    def standing(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Nobody is active by its vector, and who learns has fired: its record is known of elsewhere."""
        return np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)

    def reload(self) -> None:
        """Read the vectors anew when they are next needed: the store is about to change them. All must be written."""
        self._resident = None

    def _in_ram(self) -> _Resident | None:
        """All vectors, read now if they fit; None where they do not."""
        if self._resident is not None or self._evicted:
            return self._resident
        working_set = self._working_set
        store, index = working_set.store, self.layer.index
        budget = working_set.budget_bytes
        if self._vectors() * self._row_bytes > min(budget // 2, working_set.free_bytes):
            return None
        working_set.settle()
        capacity = min(budget // self._row_bytes + 1, max(working_set.declared(index), 1))
        found = _Resident(capacity, self.width, self._dtype)
        for records in store.scan(index):
            found.append(records.ids, records.state[W])
        self._resident = found
        return found

    def _vectors(self) -> int:
        """How many the store has."""
        return sum(ref.rows for ref in self._working_set.store.directory.leaves(self.layer.index))

    # ---- what inputs are to them

    def currents(self, x: Float32Array) -> Currents:
        """``<w_i, x_k>`` of all neurons with a vector, for inputs ``x``: float32 (m, D), finite.

        In streamed layers without those for whom every current is zero. InvalidInput where one is too large,
        BudgetExceeded where those of several inputs are too many at once.
        """
        resident = self._in_ram()
        n, budget = self._vectors() if resident is None else resident.n, self._working_set.budget_bytes
        if len(x) > 1 and 4 * n * len(x) > budget // 4:
            raise BudgetExceeded(
                f'the currents of {len(x)} inputs to layer "{self.layer.name}" take {4 * n * len(x):,} bytes, more '
                f"than a quarter of the memory budget of {budget:,}; nothing was run; show fewer inputs at once"
            )
        if resident is not None:
            values = np.empty((len(x), resident.n), dtype=np.float32)
            self._forward(resident.w, resident.ids, x, values)
            currents = Currents(resident.ids, values, resident.held, resident.epoch)
        else:
            currents = self._streamed(x)
        if currents.values.size:
            low, high = float(currents.values.min()), float(currents.values.max())
            most = max(-low, high)
            if not most <= MOST_CURRENT:
                raise InvalidInput(
                    f'layer "{self.layer.name}": the input gives a current of {most:g} mV; the most is '
                    f"{MOST_CURRENT:g}: scale x or the receptive vectors down"
                )
        return currents

    def _streamed(self, x: Float32Array) -> Currents:
        ids, values = [np.empty(0, dtype=np.uint64)], [np.empty((len(x), 0), dtype=np.float32)]
        self._working_set.settle()
        for records in self._working_set.store.scan(self.layer.index):
            part = np.empty((len(x), len(records)), dtype=np.float32)
            self._forward(records.state[W], records.ids, x, part)
            some = np.flatnonzero(part.any(axis=0))
            ids.append(records.ids[some])
            values.append(part[:, some])
        joined = np.concatenate(ids)
        return Currents(joined, np.concatenate(values, axis=1), np.full(len(joined), -1, dtype=np.int64))

    def _forward(self, w: VectorArray, ids: IdArray, x: Float32Array, out: Float32Array) -> None:
        def part(_: int, start: int, stop: int) -> None:
            if self.width < self.dimension:
                dense.forward_sparse(
                    w, ids, x, self._seed, rng.RECEPTIVE_PLACE, np.int64(self.dimension), start, stop, out
                )
            else:
                dense.forward(_bits(w), x, np.float32(self._step), start, stop, out)

        self._workers.each(part, len(w), _LEAST_ROWS_A_PART)

    def present(self, currents: Currents, k: int) -> None:
        """Add the currents of input ``k`` to what arrives in the tick that is going on. Raises BudgetExceeded."""
        working_set, values = self._working_set, currents.values[k]
        if currents.epoch != working_set.epoch or not dense.all_held(currents.held, values):
            reached = np.flatnonzero(values)
            currents.held[:] = -1
            currents.held[reached] = working_set.hold(currents.ids[reached])
            currents.epoch = working_set.epoch
            if self._resident is not None and len(currents.held) == self._resident.n:
                self._resident.epoch = currents.epoch
        dense.add_currents(working_set.slots, currents.held, values)

    # ---- learning

    def learn(self, ids: IdArray, error: Float32Array, x: Float32Array, eta: float) -> Float32Array:
        """``w_i += eta * error_i * x`` of ``ids``, who have all fired; returns the length of each change as stored.

        ``x``: float32 (1, D).
        """
        factor = np.float32(eta) * error
        resident = self._in_ram()
        if resident is not None:
            new = ids[resident.rows_of(ids) < 0]
            if len(new) * self._row_bytes > self._working_set.free_bytes:
                self._working_set.eviction.make_room(
                    len(new) * self._row_bytes
                )  # which may take the vectors themselves
                resident = self._resident
                if resident is not None and len(new) * self._row_bytes > self._working_set.free_bytes:
                    self.give_way()
                    resident = None
        if resident is not None:
            if len(new):
                resident.append(new)
            rows = resident.rows_of(ids)
            norms = self._learn(resident.w, resident.ids, rows, factor, x)
            resident.dirty[rows[norms > 0]] = True
        else:
            norms = np.concatenate([np.empty(0, np.float32), *self._learn_stored(ids, factor, x)])
        self.updates += 1
        return norms

    def _learn_stored(self, ids: IdArray, factor: Float32Array, x: Float32Array) -> Iterator[Float32Array]:
        self._working_set.settle()
        self._working_set.unwritten.write_back()  # who has just fired for the first time gets a record
        store, most = self._working_set.store, max(1, _PIECE_BYTES // self._row_bytes)
        for start in range(0, len(ids), most):
            part = slice(start, start + most)
            w = store.find(ids[part]).state[W]
            norms = self._learn(w, ids[part], np.arange(len(w)), factor[part], x)
            changed = np.flatnonzero(norms)
            if len(changed):
                store.write(Records.of_state(ids[part][changed], {W: w[changed]}))
            yield norms

    def _learn(
        self, w: VectorArray, ids: IdArray, rows: Int64Array, factor: Float32Array, x: Float32Array
    ) -> Float32Array:
        norm = np.empty(len(rows), dtype=np.float32)
        groups = LANES // BLOCK
        shown, n = np.empty((groups, self.dimension // LANES), dtype=np.int64), np.empty(groups, dtype=np.int64)
        # of float16 converting is what takes time, of float32 moving whole lines; what is chosen hangs on x alone
        in_few = self._dtype == np.float16 and 2 * dense.blocks_shown(x, shown, n) < shown.size

        def part(_: int, start: int, stop: int) -> None:
            if self.width < self.dimension:
                dense.learn_sparse(
                    w, ids, rows, factor, x, self._seed, rng.RECEPTIVE_PLACE, np.int64(self.dimension),
                    start, stop, norm,
                )  # fmt: skip
            elif self._dtype == np.int8:
                dense.learn_int8(
                    w, ids, rows, factor, self._step, x, self._seed, np.uint64(self.updates),
                    rng.RECEPTIVE_ROUNDING, start, stop, norm,
                )  # fmt: skip
            elif in_few:
                dense.learn_where(_bits(w), rows, factor, x, shown, n, start, stop, norm)
            else:
                dense.learn(_bits(w), rows, factor, x, start, stop, norm)

        self._workers.each(part, len(rows), _LEAST_ROWS_A_PART)
        return norm

    # ---- to and from the store

    def take(self, ids: IdArray | None = None) -> Callable[[], list[Records]]:
        """A copy of what the store does not know yet, which counts as written; called, it gives records.

        What is too much to copy is written here and now.
        """
        resident = self._resident
        if resident is None or not resident.dirty.any():
            return list
        if np.count_nonzero(resident.dirty) * self._row_bytes > self._working_set.budget_bytes // 16:
            self._working_set.unwritten.write_counts()
            self._write_back()
            return list
        changes = list(self._changes(resident))
        return lambda: changes

    def _write_back(self) -> None:
        if self._resident is not None:
            with self._working_set.prefetch.paused():
                for records in self._changes(self._resident):
                    self._working_set.store.write(records)

    def _changes(self, resident: _Resident) -> Iterator[Records]:
        rows = np.flatnonzero(resident.dirty)
        rows = rows[np.argsort(resident.ids[rows])]
        most = max(1, _PIECE_BYTES // self._row_bytes)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            yield Records.of_state(resident.ids[part], {W: resident.w[part]})
            resident.dirty[part] = False

    def vectors(self, ids: IdArray) -> Float32Array:
        """The vectors of ``ids`` as numbers, float32 (n, width); zeros of virtual neurons."""
        out = np.zeros((len(ids), self.width), dtype=np.float32)
        row = np.full(len(ids), -1) if self._resident is None else self._resident.rows_of(ids)
        if self._resident is not None:
            out[row >= 0] = numbers(self._resident.w[row[row >= 0]], self.layer)
        if (row < 0).any():
            out[row < 0] = vectors(ids[row < 0], self._working_set.store, self.layer)
        return out

    def present_fields(self, ids: IdArray) -> tuple[npt.NDArray[np.bool_], dict[str, Float32Array]]:
        """Which of ``ids`` are known better here than in the store, and their fields, as queries show them."""
        if self._resident is None:
            return np.zeros(len(ids), dtype=bool), {}
        row = self._resident.rows_of(ids)
        return row >= 0, {"w": lengths(self._resident.w[row[row >= 0]], self.layer)}

    def drawn(self, ids: IdArray, value: Any) -> Float32Array:
        """Vectors of ``ids`` in which each weight is drawn from a distribution; a function of (seed, id, place)."""
        out = np.empty((len(ids), self.width), dtype=np.float32)
        dense.draw(ids, self._seed, rng.RECEPTIVE_WEIGHT, resolved(value).table(), out)
        return out

    def stored_form(self, w: Float32Array) -> VectorArray:
        """Vectors as the layer keeps them, rounded to its type. InvalidInput for a weight that it cannot hold."""
        steps = w.astype(np.float64) / self._step if self._dtype == np.int8 else w
        most = {"float32": np.inf, "float16": 65504.0, "int8": LARGEST_STEP + 0.5}[self._dtype.name]
        if not (np.isfinite(w).all() and (np.abs(steps) <= most).all()):
            wrong = w[~(np.isfinite(w) & (np.abs(steps) <= most))][0]
            reach = {"int8": f"; it reaches {LARGEST_STEP * self._step:g}", "float16": "; it reaches 65504"}
            raise InvalidInput(
                f'w: {wrong:g} is no weight that layer "{self.layer.name}" holds as {self._dtype.name}'
                f"{reach.get(self._dtype.name, ', which must be finite')}"
            )
        return np.rint(steps).astype(np.int8) if self._dtype == np.int8 else w.astype(self._dtype)


def _bits(w: VectorArray) -> VectorArray:
    """As kernels take vectors: Numba knows no float16."""
    return w.view(np.uint16) if w.dtype == np.float16 else w
