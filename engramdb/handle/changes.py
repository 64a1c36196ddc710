"""Changes to neurons and synapses, each of them journaled."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.delays import DelayArray, in_ticks
from engramdb.distribution import is_number
from engramdb.errors import EngramError, InvalidInput
from engramdb.handle.handle import instead
from engramdb.handle.questions import Questions
from engramdb.naming import Ids
from engramdb.store import FORGOTTEN, Records

if TYPE_CHECKING:
    pass

LARGEST_WEIGHT = 16384.0  # mV; 131,072 of them may arrive in one tick before the sum of inputs overflows


class Changes(Questions):
    """What changes the network of :class:`engramdb.Engram`."""

    def activate(self, ids: Ids, w: Any = None) -> int:
        """Give neurons a record, if they have none, and a receptive vector; returns how many were virtual before.

        ``w``, for neurons of one ``dense_lif`` layer: a distribution from which each weight is drawn, a function of
        (seed, id, place); or an array (n, D) or (D,), or a number. Without it a vector is what it was, zeros at first.
        Weights are rounded to the layer's type. Vectors of more than 8 MiB end in a checkpoint, others in the journal.
        """
        from engramdb.activation import JOURNALED_BYTES, receptive_of, vectors_given

        self._check_writable()
        resolved = self.resolve(ids)
        sorted_ids, order = np.unique(resolved, return_index=True)
        if w is not None and len(order) != len(resolved):
            raise InvalidInput("ids: a neuron is given twice; give each once")
        meta: dict[str, Any] = {}
        arrays: dict[str, npt.NDArray[Any]] = {"id": sorted_ids}
        if w is not None and len(sorted_ids):
            given = vectors_given(w, order, receptive_of(sorted_ids, self._live, self.spec))
            if isinstance(given, dict):
                meta["w"] = given
            elif given.nbytes > JOURNALED_BYTES:
                try:
                    fresh = self._activate(sorted_ids, given)
                    self.checkpoint(f"activated {len(sorted_ids)} neurons")
                except BaseException as error:
                    self._shut()  # a part of it must never be committed; the next handle begins without it
                    if isinstance(error, EngramError):
                        raise instead(error, "nothing of it is kept: open the engram again and repeat") from error
                    raise
                return fresh
            else:
                arrays["w"] = given
        with self._journaled("activate", meta, arrays):
            return self._activate(sorted_ids, arrays.get("w", meta.get("w")))

    def _activate(self, ids: IdArray, w: Any) -> int:
        from engramdb.activation import activate

        return activate(self._live, self._store, self.spec, ids, w)

    def connect(self, pre: Ids, post: Ids, weight: Any, delay_ms: Any = None) -> int:
        """Make synapses ``pre[i] -> post[i]`` of ``weight[i]`` mV, or give existing ones that weight; returns how many.

        One id on either side is joined to all of the other. A synapse belongs to the first projection that joins the
        two layers; a projection with a sign refuses weights of the other.

        ``delay_ms``: delays, one or one for each, of a projection whose synapses have their own, within its range;
        every synapse of a pair gets it. By default existing ones keep theirs and new ones get the mean of the
        projection's distribution. Other projections have one delay and refuse any other.
        """
        return self._connect(pre, post, weight, create=True, delay_ms=delay_ms)

    def set_weight(self, pre: Ids, post: Ids, weight: Any) -> int:
        """Set the weight (mV) of existing synapses, all of a pair; :class:`NotFound` if a pair has none."""
        return self._connect(pre, post, weight, create=False)

    def _connect(self, pre: Ids, post: Ids, weight: Any, *, create: bool, delay_ms: Any = None) -> int:
        self._check_writable()
        pre_ids, post_ids = self.resolve(pre), self.resolve(post)
        if len(pre_ids) != len(post_ids) and 1 not in (len(pre_ids), len(post_ids)):
            raise InvalidInput(f"pre has {len(pre_ids)} ids and post {len(post_ids)}; give as many, or one")
        pre_ids, post_ids = np.broadcast_arrays(pre_ids, post_ids)
        weights = _weights(weight, len(pre_ids), "weight")
        delay = None if delay_ms is None else in_ticks(delay_ms, len(pre_ids), self.spec.dt_ms)
        self._change_synapses(pre_ids, post_ids, weights, delay, create=create)
        return len(pre_ids)

    def _change_synapses(
        self,
        pre: IdArray,
        post: IdArray,
        weight: npt.NDArray[np.float32],
        delay: DelayArray | None = None,
        *,
        create: bool,
        journaled: bool = False,
    ) -> None:
        from engramdb.change import synapse_change

        # first what RAM knows of these neurons: it is their records in the store that change
        self._live.settle_learning()
        self._live.working_set.forget(np.unique(pre))
        # refused before it is journaled: what is in the journal can be done
        changes = synapse_change(pre, post, weight, delay, self.spec, self._store, self._wiring, create=create)
        arrays: dict[str, npt.NDArray[Any]] = {"pre": pre, "post": post, "weight": weight}
        if delay is not None:
            arrays["delay"] = delay
        with nullcontext() if journaled else self._journaled("connect", {"create": create}, arrays):
            for records in changes:
                if (traces := self._live.working_set.traces) is not None:
                    from engramdb.query.synapses import whole_rows

                    traces.follow(whole_rows(records.ids, self._store, self._wiring), records)
                self._store.write(records, retargeted=create)
        self._live.flight.reschedule(self._live.tick)  # a synapse that is new may be the next to deliver

    def _remove_synapses(self, pre: IdArray, post: IdArray) -> None:
        """Take away all synapses of the pairs ``pre[i] -> post[i]``; what is left of each row is stored."""
        from engramdb.change import synapse_removal

        live = self._live
        live.settle_learning()
        live.working_set.forget(np.unique(pre))
        for before, after in synapse_removal(pre, post, self._store, self._wiring):
            if (traces := live.working_set.traces) is not None:
                traces.follow(before, after)
            self._store.write(after, retargeted=False)
        live.flight.reschedule(live.tick)

    def prune(self, below: float, layer: str | int | None = None) -> int:
        """Take away all synapses weaker than ``below`` mV in size, of stored rows; returns how many.

        Of one ``layer``, by default of all but void ones, where weights mean nothing. Rows that only a wiring rule
        knows stay as they are: they have never changed. Each leaf is read once; a growth cycle prunes bit by bit.
        """
        self._check_writable()
        if not is_number(below) or not 0 <= below <= LARGEST_WEIGHT:
            raise InvalidInput(f"below={below!r}: give a weight in mV, 0..{LARGEST_WEIGHT:g}")
        index = None if layer is None else self.spec.layer(layer).index
        if index is not None and self.spec.layer(index).model == "void":
            raise InvalidInput(f'layer "{self.spec.layer(index).name}" is void: weights mean nothing there')
        with self._journaled("prune", {"below": float(below), "layer": index}, {}):
            return self._prune(float(below), index)

    def _prune(self, below: float, layer: int | None) -> int:
        from engramdb.growth.pruning import prune_rows

        return prune_rows(self._live, self._store, self.spec, below, layer)

    def set_parameters(self, ids: Ids, **values: Any) -> int:
        """Give neurons parameters of their own; returns how many.

        ``values``: a number, or one for each id, by parameter; NaN takes back what a neuron was given, and it has its
        layer's again. The parameters must be among the ``columns`` of the layers. The neurons get a record. What they
        do follows the new values from the next tick on; their fields stay what they are relative to rest.
        """
        self._check_writable()
        from engramdb.change import parameter_change

        resolved = self.resolve(ids)
        sorted_ids, first = np.unique(resolved, return_index=True)
        if len(sorted_ids) != len(resolved):
            raise InvalidInput("ids: a neuron is given twice; give each once")
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, value in values.items():
            try:
                arrays[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(resolved),))[first]
            except (ValueError, TypeError):
                raise InvalidInput(f"{name}: expected a number or {len(resolved)} numbers") from None
        # refused before it is journaled: what is in the journal can be done
        parameter_change(sorted_ids, arrays, self.spec, self._store)
        with self._journaled("parameters", {}, {"id": sorted_ids, **arrays}):
            self._set_parameters(sorted_ids, arrays)
        return len(sorted_ids)

    def _set_parameters(self, ids: IdArray, values: dict[str, npt.NDArray[Any]]) -> None:
        from engramdb.change import parameter_change

        self._live.settle_learning()
        working_set = self._live.working_set
        working_set.forget(ids)  # what RAM knows of them must be in the store, whose records change
        for records in parameter_change(ids, values, self.spec, self._store):
            self._store.write(records)
        working_set.charges.refresh(ids)

    def reward(self, value: float) -> None:
        """Reward what was done up to now: all that learns by the rule "re_vgsp" is changed by how eligible it is.

        ``value``: positive strengthens what is eligible, negative weakens it, 0 does nothing at all.
        """
        self._check_writable()
        if not any(rule.rule == "re_vgsp" for p in self.spec.all_projections for rule in p.plasticity):
            raise InvalidInput('nothing learns from rewards: no projection has the learning rule "re_vgsp"')
        if not is_number(value) or not np.isfinite(value):
            raise InvalidInput(f"reward {value!r}: give a finite number")
        if value != 0:
            with self._journaled("reward", {"value": float(value)}, {}):
                self._reward(float(value))

    def _reward(self, value: float) -> None:
        learning = self._live.learning
        assert learning is not None, "checked before it was journaled"
        learning.reward(value, self._live.tick)

    def set_error(self, ids: Ids, value: Any) -> int:
        """Give neurons the error with which synapses onto them learn by the rule "hebbian"; returns how many.

        ``value``: a number, or one for each id; 1 is what they have that were given none. From the next tick on.
        """
        self._check_writable()
        if not any(rule.rule == "hebbian" for p in self.spec.all_projections for rule in p.plasticity):
            raise InvalidInput('nothing learns with errors: no projection has the learning rule "hebbian"')
        resolved = self.resolve(ids)
        sorted_ids, first = np.unique(resolved, return_index=True)
        if len(sorted_ids) != len(resolved):
            raise InvalidInput("ids: a neuron is given twice; give each once")
        try:
            values = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(resolved),))[first]
        except (ValueError, TypeError):
            raise InvalidInput(f"value: expected a number or {len(resolved)} numbers") from None
        if not np.isfinite(values).all():
            raise InvalidInput(f"error {values[~np.isfinite(values)][0]} must be finite")
        with self._journaled("error", {}, {"id": sorted_ids, "value": values}):
            self._set_error(sorted_ids, values)
        return len(sorted_ids)

    def _set_error(self, ids: IdArray, values: npt.NDArray[np.float64]) -> None:
        learning = self._live.learning
        assert learning is not None, "checked before it was journaled"
        learning.set_error(ids, values, self._live.tick)

    def forget(self, ids: Ids) -> int:
        """Turn neurons back into virtual ones, with their spike counts; returns how many.

        Only those that are at rest, have a record, and whose row is still the one that the wiring rules generate:
        what they do does not change. The others are left as they are, and so are layers with ``materialize=True``.
        """
        live = self._live
        from engramdb.forgetting import forgettable

        wanted = np.unique(self.resolve(ids))
        live.write_back()
        gone = forgettable(wanted, live.awake(), self.spec, self._store, self._wiring)
        if len(gone):
            with self._journaled("forget", {}, {"id": gone}):
                self._forget(gone)
        return len(gone)

    def _forget(self, ids: IdArray) -> None:
        self._live.settle_learning()
        self._live.working_set.forget(ids)
        for _, where in by_layer(ids):
            self._store.write(Records.of_state(ids[where], {}, FORGOTTEN))
        for receptive in self._live.receptive.values():
            receptive.reload()


def _weights(value: Any, n: int, name: str) -> npt.NDArray[np.float32]:
    """``value`` as float32 (n,), finite and within the bound."""
    try:
        array = np.broadcast_to(np.asarray(value, dtype=np.float32), (n,))
    except (ValueError, TypeError):
        raise InvalidInput(f"{name}: expected a number or {n} numbers") from None
    wrong = array[~(np.abs(array) <= LARGEST_WEIGHT)]
    if len(wrong):
        raise InvalidInput(f"{name} {wrong[0]} mV: must be finite and at most {LARGEST_WEIGHT:g} mV in size")
    return np.ascontiguousarray(array)
