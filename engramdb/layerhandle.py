"""One layer of an open engram, as :meth:`engramdb.Engram.layer` gives it: what only layers of one model can do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray
from engramdb.errors import InvalidInput
from engramdb.forward import Forward, Learned
from engramdb.keptfields import stored_sie, vectors
from engramdb.kernels import dense, rng
from engramdb.layer import Layer
from engramdb.models.dense_lif import places_of
from engramdb.naming import Ids
from engramdb.run import interruptible

if TYPE_CHECKING:
    from engramdb.engine import Engine
    from engramdb.engram import Engram
    from engramdb.keptfields import Sie
    from engramdb.receptive import Receptive

_MOST_INPUT_BYTES = 1 << 26


class LayerHandle:
    """``layer`` of ``engram``; it lives as long as the engram is open."""

    def __init__(self, engram: Engram, layer: Layer) -> None:
        self._engram, self.layer = engram, layer

    @property
    def name(self) -> str:
        return self.layer.name

    def __len__(self) -> int:
        return sum(size for (index, _), size in self._engram.sizes.items() if index == self.layer.index)

    def __repr__(self) -> str:
        return f"<LayerHandle {self.name!r}: {len(self):,} neurons, {self.layer.model}>"

    # ---- dense_lif

    def _receptive(self, live: Engine) -> Receptive:
        if self.name not in live.receptive:
            raise self._no_vectors()
        return live.receptive[self.name]

    def _no_vectors(self) -> InvalidInput:
        return InvalidInput(f'layer "{self.name}" is of model {self.layer.model}; only dense_lif has receptive vectors')

    def forward(self, x: npt.ArrayLike, ticks: int = 1) -> Forward:
        """Show the layer an input and run a tick: each neuron gets ``I = <w, x>`` beside all else that arrives in it.

        ``x``: float32 (D,), or (m, D): m inputs, one behind the other, for which every receptive vector is read once.
        ``ticks``: how long each of them lasts. All layers run on, as in :meth:`Engram.run`. Durable on return.
        :class:`BudgetExceeded` where it does not fit into memory, and ctrl-C, leave the ticks before done.
        """
        self._engram._check_between_runs("forward")
        live = self._engram._live
        receptive = self._receptive(live)
        inputs = _inputs(x, receptive)
        if ticks < 1 or len(inputs) * ticks > 1 << 24:
            raise InvalidInput(f"ticks={ticks}: give 1 or more, and at most {1 << 24:,} ticks in one call")
        before, began = live.tick, time.perf_counter()
        meta = {"layer": self.name, "each": int(ticks)}
        with interruptible() as caught:
            try:
                shown = show(live, receptive, inputs, int(ticks), until=lambda: bool(caught))
            finally:
                live.settle()
                if live.tick > before:
                    meta["ticks"] = live.tick - before
                    self._engram._ran("forward", before, meta, {"x": inputs}, time.perf_counter() - began)
        if caught:
            raise KeyboardInterrupt
        currents = shown.currents if np.ndim(x) == 2 else shown.currents[0]
        return Forward(shown.tick, shown.ids, currents, shown.fired, shown.spikes)

    def backward(
        self, x: npt.ArrayLike, error: npt.ArrayLike, *, ids: Ids | None = None, eta: float | None = None
    ) -> Learned:
        """``w += eta * error * x`` for the neurons of the layer that fired in the last tick; nobody else is touched.

        ``x``: (D,). ``error``: one number, or one for each of ``Forward.fired``, in that order; with ``ids`` one for
        each of those, and of who fired only they learn. ``eta``: the layer's parameter unless given. Durable on return.
        """
        live = self._engram._live
        receptive = self._receptive(live)
        inputs = _inputs(x, receptive)
        if len(inputs) != 1:
            raise InvalidInput(f"x: give one input to learn from, ({receptive.dimension},), not {len(inputs)}")
        fired = live.fired_of(receptive)
        who = fired if ids is None else self._engram.resolve(ids)
        try:
            errors = np.broadcast_to(np.asarray(error, dtype=np.float32), (len(who),))
        except (ValueError, TypeError):
            raise InvalidInput(f"error: expected a number or {len(who)} numbers, one for each neuron") from None
        if ids is not None:
            order = np.argsort(who, kind="stable")
            if len(who) > 1 and not (np.diff(who[order]) > 0).all():
                raise InvalidInput("ids: a neuron is given twice; give each once")
            order = order[np.isin(who[order], fired)]
            who, errors = who[order], errors[order]
        rate = receptive.eta if eta is None else float(eta)
        greatest = float(np.abs(errors).max(initial=0)) * abs(rate) * float(np.abs(inputs).max(initial=0))
        if not greatest < 1e18:
            raise InvalidInput("error, eta and x must be finite, and their product below 1e18")
        arrays: dict[str, npt.NDArray[Any]] = {"x": inputs, "id": who, "error": np.ascontiguousarray(errors)}
        with self._engram._journaled("backward", {"layer": self.name, "eta": rate}, arrays):
            norms = receptive.learn(who, arrays["error"], inputs, rate)
        return Learned(who, norms)

    def vectors(self, ids: Ids) -> npt.NDArray[np.float32]:
        """Receptive vectors of ``ids``, float32 (n, D), or (n, S) where they are sparse; zeros of virtual neurons."""
        own, back = self._own(ids)
        engram, layer = self._engram, self.layer
        found = (
            vectors(own, engram._store, layer) if engram._engine is None else self._receptive(engram._live).vectors(own)
        )
        return found[back]

    def places(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Where in an input the weights of :meth:`vectors` lie, int64 (n, S), increasing in each row."""
        own, back = self._own(ids)
        values = models.get(self.layer.model).values(self.layer.params)
        dimension, width = int(values["dimension"]), places_of(values)
        if width == dimension:
            return np.broadcast_to(np.arange(dimension), (len(back), dimension))
        out = np.empty((len(own), width), dtype=np.int64)
        dense.places(own, np.uint64(self._engram.spec.seed), rng.RECEPTIVE_PLACE, np.int64(dimension), out)
        return out[back]

    def _own(self, ids: Ids) -> tuple[IdArray, npt.NDArray[np.intp]]:
        """``ids`` sorted, each once, and the place of each there. InvalidInput unless this layer has vectors."""
        if self.layer.model != "dense_lif":
            raise self._no_vectors()
        unique, back = np.unique(self._engram.resolve(ids), return_inverse=True)
        if len(unique) and not (unique >> np.uint64(48) == np.uint64(self.layer.index)).all():
            raise InvalidInput(f'ids: some are not of layer "{self.name}"')
        return unique, back

    # ---- void

    def _void(self) -> Sie:
        if self.layer.model != "void":
            raise InvalidInput(f'layer "{self.name}" is of model {self.layer.model}; only void has a valence')
        engram = self._engram
        if engram.mode == "r+":
            return engram._live.sie()[self.name]
        return stored_sie(engram._kept, engram.spec, self.layer, engram.tick)

    @property
    def sie(self) -> Sie:
        """How a void layer stood at the end of the last tick: active neurons, their mean W and reward, the valence."""
        return self._void()

    @property
    def valence(self) -> float:
        """The valence v of a void layer, 0..1: how fast it changes in the next tick."""
        return self._void().valence

    @property
    def reward(self) -> float:
        """The mean r of a void layer in the last tick, -1..1; 0 where nobody was active."""
        return self._void().reward

    @property
    def active(self) -> IdArray:
        """Ids of the neurons of a void layer that the next tick begins with, sorted."""
        self._void()
        if self._engram.mode == "r+":
            return self._engram._live.voids[self.name].active
        active = self._engram._kept.get("void_active", np.empty(0, dtype=np.uint64))
        return active[active >> np.uint64(48) == np.uint64(self.layer.index)]


def show(
    live: Engine,
    receptive: Receptive,
    inputs: npt.NDArray[np.float32],
    each: int,
    most: int = 1 << 62,
    until: Callable[[], bool] = lambda: False,
) -> Forward:
    """Run ``each`` ticks for every input, at most ``most`` in all. Raises BudgetExceeded, InvalidInput.

    ``until`` is asked before every tick, and ends it.
    """
    currents = receptive.currents(inputs)
    ticks, ids = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)]
    for number in range(min(len(inputs) * each, most)):
        if until():
            break
        fired = live.show(receptive, currents, number // each)
        ids.append(fired)
        ticks.append(np.full(len(fired), live.tick, dtype=np.int64))
    some = currents.values.any(axis=0)
    who, values = currents.ids, currents.values
    if not some.all() or (len(who) > 1 and not (who[1:] > who[:-1]).all()):
        order = np.flatnonzero(some)
        order = order[np.argsort(who[order])]
        who, values = who[order], values[:, order]
    else:
        who = who.copy()
    spikes = np.concatenate(ticks), np.concatenate(ids)
    return Forward(live.tick, who, values, live.fired_of(receptive), spikes)


def replay(live: Engine, kind: str, meta: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Do again what the journal says: ``forward`` or ``backward``."""
    receptive = live.receptive[meta["layer"]]
    if kind == "forward":
        show(live, receptive, arrays["x"], meta["each"], meta["ticks"])
    else:
        receptive.learn(arrays["id"], arrays["error"], arrays["x"], meta["eta"])


def _inputs(x: npt.ArrayLike, receptive: Receptive) -> npt.NDArray[np.float32]:
    """``x`` as float32 (m, D), C order. InvalidInput where it is not that, or not finite."""
    try:
        array = np.ascontiguousarray(np.atleast_2d(np.asarray(x, dtype=np.float32)))
    except (ValueError, TypeError):
        array = np.empty((0, 0), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != receptive.dimension or not len(array):
        raise InvalidInput(
            f"x: expected ({receptive.dimension},) or (m, {receptive.dimension}) numbers, not {np.shape(x)}"
        )
    if array.nbytes > _MOST_INPUT_BYTES:
        raise InvalidInput(f"x: {array.nbytes:,} bytes are more than {_MOST_INPUT_BYTES:,}; show it in parts")
    if not np.isfinite(array).all():
        raise InvalidInput("x: must be finite")
    return array
