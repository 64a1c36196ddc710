"""The twin of an engram of any models: its network stepped whole by the models' NumPy references."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engramdb import Engram, models
from engramdb.distribution import Distribution, draw
from engramdb.models.model import Model
from engramdb.parameters import purpose
from tests.learner import Learner, learner_of
from tests.networks import edges_of, ids_of
from tests.simulator import FIXED, Simulator


@dataclass
class Part:
    """The neurons of one layer: their places, model and constants (float32)."""

    where: slice
    model: Model
    constants: dict[str, np.ndarray]


@dataclass
class ModelTwin(Simulator):
    """A :class:`Simulator` whose neurons are stepped by the references of their models; ``fields``: (n,) by name."""

    parts: list[Part] = field(default_factory=list)
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    learner: Learner | None = None

    def step(self) -> np.ndarray:
        if self.learner is None:
            return super().step()
        self.learner.arrive(self)
        fired = super().step()
        self.learner.fire(self)
        return fired

    def advance(self, arrived: np.ndarray) -> np.ndarray:
        fires = np.zeros(len(self.ids), dtype=bool)
        for part in self.parts:
            plus, minus = arrived[:, part.where]
            sums = (plus + minus,) if part.model.inputs == 1 else (plus, -minus)
            incoming = np.array([(total.astype(np.float64) / FIXED).astype(np.float32) for total in sums])
            state = {f.name: self.fields[f.name][part.where] for f in part.model.state}
            left = self.left[part.where].astype(np.int32)
            after, fired = part.model.reference(state, left, incoming, part.constants)
            for name, values in after.items():
                self.fields[name][part.where] = values
            fires[part.where] = fired
            ticks = part.constants["refractory_ticks"].astype(np.int64)
            self.left[part.where] = np.where(fired, ticks, np.maximum(left - 1, 0))
        return fires


def model_twin_of(engram: Engram) -> ModelTwin:
    """The twin of an engram before its first tick."""
    ids = ids_of(engram)
    pre, post, weight, delay = edges_of(engram)
    twin = ModelTwin(ids, np.searchsorted(ids, pre), np.searchsorted(ids, post), weight, delay, dt=engram.spec.dt_ms)
    twin.learner = learner_of(engram)
    born = engram.neurons(ids).fields
    for layer in sorted(engram.spec.layers, key=lambda layer: layer.index):
        own = ids >> np.uint64(48) == layer.index
        lo, hi = int(np.argmax(own)), int(np.argmax(own)) + int(own.sum())
        model = models.get(layer.model)
        values = {
            name: draw(value, engram.spec.seed, ids[lo:hi], purpose(name)).astype(np.float64)
            if isinstance(value, Distribution)
            else value
            for name, value in model.values(layer.params).items()
        }
        given = engram.parameters(ids[lo:hi]) if layer.columns else {}
        values |= {name: given[name] for name in layer.columns}
        constants = model.constants(values, engram.spec.dt_ms)
        kept = {name: np.float32(constants[name]) for name in (*model.kernel_constants, "refractory_ticks")}
        twin.parts.append(Part(slice(lo, hi), model, kept))
        for shown in model.state:
            twin.fields.setdefault(shown.name, np.zeros(len(ids), dtype=np.float32))[lo:hi] = born[shown.name][lo:hi]
    return twin


def assert_same_fields(engram: Engram, twin: ModelTwin) -> None:
    """Every field of every neuron, bit for bit."""
    found = engram.neurons(twin.ids)
    for name, values in twin.fields.items():
        having = found.has(name)
        kept = found.fields[name][having].view(np.uint32)
        np.testing.assert_array_equal(kept, values[having].view(np.uint32), err_msg=name)
    np.testing.assert_array_equal(found.fields["refractory"], twin.left)
    np.testing.assert_array_equal(found.fields["spike_count"], twin.spike_count)
    np.testing.assert_array_equal(found.fields["last_spike"], twin.last_spike)
    if twin.learner is not None:
        weight = edges_of(engram)[2]
        np.testing.assert_array_equal(weight.view(np.uint32), twin.weight.view(np.uint32), err_msg="weight")


@dataclass
class NumberedTwin(ModelTwin):
    """A twin that knows the number of each stimulus, by which it is stopped."""

    numbers: list[int] = field(default_factory=list)


def twin_now(engram: Engram) -> NumberedTwin:
    twin = model_twin_of(engram)
    return NumberedTwin(**{name: getattr(twin, name) for name in twin.__dataclass_fields__})


def following(before: NumberedTwin, engram: Engram) -> NumberedTwin:
    """The twin ``before``, with the synapses and parameters of ``engram`` now, and the neurons that are new."""
    twin = twin_now(engram)
    place = np.searchsorted(twin.ids, before.ids)
    twin.tick, twin.numbers = before.tick, before.numbers
    if twin.learner is not None and before.learner is not None:
        twin.learner.follow(before.learner, before, twin)
    twin.stimuli = [(start, stop, place[who], mv) for start, stop, who, mv in before.stimuli]
    twin.left[place] = before.left
    twin.spike_count[place], twin.last_spike[place] = before.spike_count, before.last_spike
    for name, values in before.fields.items():
        twin.fields[name][place] = values
    for tick, fired in before.fired_at.items():
        twin.fired_at[tick] = np.zeros(len(twin.ids), dtype=bool)
        twin.fired_at[tick][place] = fired
    return twin
