"""What a network will take: RAM, disk and time of a tick, from formulas with measured constants.

``docs/scaling.md`` has the formulas, and how far they are off.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engramdb.bursts import Bursts
from engramdb.growth.bundle import Bundles
from engramdb.kernels import slots
from engramdb.kernels.void import ENTRY
from engramdb.layertable import LayerTable
from engramdb.learning.tables import tables_of
from engramdb.learning.traces import TRACE_BYTES
from engramdb.sizing.constants import Constants
from engramdb.sizing.network import RANDOM, Network
from engramdb.workingset import RECORD_BYTES, SYNAPSE_BYTES, slot_bytes

BURSTS = Bursts.most_blocks * slots.BLOCK
"""Slots, up to which many ticks are run in one call."""

_INDEX_BYTES = 4
_LEAST_INDEX = 64
_DECODED_SYNAPSE_BYTES, _DECODED_RECORD_BYTES = 14, 29  # of a leaf in the cache
_FLIGHT_BYTES = 8  # a spike
_VECTOR_OWN_BYTES = 17
_VOID_BYTES = ENTRY.itemsize + 20
_VOID_LISTED_BYTES = 16
_AWAKE_TICKS = 80  # for which a small weight keeps a neuron from rest: tau ln(w / epsilon)


@dataclass(frozen=True)
class Estimate:
    """``ram``: bytes by kind, as ``Engram.stats()`` names them, with "process"; ``disk``: bytes by kind, of one version
    of the engram; ``tick``: seconds by kind, processor time of one thread.

    ``resident``: neurons in RAM, with those that are only reached; ``awake``: those of which a tick sweeps over.
    ``counted_bytes``: what the memory budget must hold, but for stimuli and recordings. ``ram_bytes``: what the system
    will count.
    """

    network: Network
    ram: dict[str, float]
    disk: dict[str, float]
    tick: dict[str, float]
    resident: float
    awake: float
    counted_bytes: float
    ram_bytes: float

    @property
    def disk_bytes(self) -> float:
        return sum(self.disk.values())

    @property
    def tick_s(self) -> float:
        return sum(self.tick.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **asdict(self), "active_neurons": self.network.active_neurons, "spikes_per_tick": self.network.spikes,
            "disk_bytes": self.disk_bytes, "tick_s": self.tick_s, "ticks_per_second": 1 / self.tick_s,
        }  # fmt: skip


def estimate(network: Network, constants: Constants, memory_bytes: float = 4 * 2**30) -> Estimate:
    """What ``network`` will take. ``memory_bytes``: the budget, an eighth of which decoded leaves may take."""
    reached = _reached(network)
    resident = network.active_neurons + reached
    ram = _ram(network, resident, memory_bytes)
    counted = sum(ram.values())
    ram = {"process": constants.process_bytes, **ram}
    return Estimate(
        network, ram, _disk(network, resident, constants), _tick(network, resident, constants), resident,
        _awake(network, resident), counted, constants.process_bytes + counted * constants.resident_factor,
    )  # fmt: skip


def _reached(network: Network) -> float:
    """Neurons that are not active and are reached by a synapse of one that is."""
    active, n = network.active_neurons, network.neurons
    if network.dense or not network.synapses or not network.firing:
        return 0.0
    if network.model == "void":
        return 0.0  # those are entries, not slots
    far = (n - active) * -math.expm1(-active * network.synapses * network.long_fraction / n)
    edge = 0.0 if network.wiring == RANDOM or active in (0, n) else 2.0 * network.span
    return min(float(n - active), far + edge)


def _ram(network: Network, resident: float, memory_bytes: float) -> dict[str, float]:
    active, k = network.active_neurons, network.synapses
    spec = network.spec()
    layers = LayerTable.of(spec)
    tables = tables_of(spec, Bundles.initial(spec)) if spec.learns else None
    each = slot_bytes(layers, 0 if tables is None else tables.stride)
    blocks = math.ceil(resident / slots.BLOCK) + 1 if resident else 0
    index = _LEAST_INDEX
    while index < 2 * resident:
        index *= 2
    synapse = SYNAPSE_BYTES + (TRACE_BYTES if tables is not None and tables.keeps_traces else 0)
    fire = network.model != "void" and bool(network.firing)
    ram = {
        "slot_bytes": float(blocks * slots.BLOCK * each),
        "index_bytes": float(_INDEX_BYTES * index),
        "record_bytes": float(RECORD_BYTES * active * fire),
        "row_bytes": float(synapse * k * active * fire),
        "flight_bytes": _FLIGHT_BYTES * network.spikes,
    }
    if network.materialized and not network.dense:
        read = network.neurons if network.wiring == RANDOM or fire else active
        whole = min(network.neurons, read) * (_DECODED_SYNAPSE_BYTES * k + _DECODED_RECORD_BYTES)
        ram["cache_bytes"] = min(memory_bytes / 8, whole)
    if tables is not None:
        ram["learning_bytes"] = 8 * network.spikes * (tables.horizon + 1)
    if network.dense:
        ram["kept_bytes"] = active * (network.dimension * np.dtype(network.weights).itemsize + _VECTOR_OWN_BYTES)
    elif network.model == "void":
        entries = _entries(network)
        table = _LEAST_INDEX
        while table < 2 * entries:
            table *= 2
        ram["kept_bytes"] = entries * (_VOID_BYTES + 4 * k) + 4 * table + _VOID_LISTED_BYTES * active
    return {name: value for name, value in ram.items() if value}


def _entries(network: Network) -> float:
    """Void neurons that are active or are looked at."""
    return min(float(network.neurons), network.active_neurons * (1.0 + network.synapses))


def target_bits(network: Network) -> float:
    """Entropy of the targets of one row: as a set of random ones, or of near offsets and of far targets."""
    k, n = network.synapses, network.neurons
    if not k:
        return 0.0
    if network.wiring == RANDOM:
        return _of_set(n, k)
    far = k * network.long_fraction
    return _of_set(2 * network.span, k - far) + far * math.log2(n) - math.lgamma(far + 1) / math.log(2)


def _of_set(n: float, k: float) -> float:
    """Bits of k out of n."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def row_bytes(network: Network, constants: Constants) -> float:
    """Of a row that is written out, on disk."""
    if not network.synapses:
        return 0.0
    same = network.weight_mv[0] == network.weight_mv[1] and network.learning == "none"
    targets = constants.target_factor[network.wiring] * target_bits(network) / 8 + constants.target_head[network.wiring]
    return targets + (0.0 if same else network.synapses * constants.weight_bytes[network.weights])


def _disk(network: Network, resident: float, constants: Constants) -> dict[str, float]:
    active = network.active_neurons
    disk = {"catalog": constants.disk_base}
    written = network.neurons if network.materialized else active if network.learning != "none" else 0
    disk["rows"] = written * row_bytes(network, constants) if not network.dense else 0.0
    if network.dense:
        disk["vectors"] = active * network.dimension * constants.vector_bytes[network.weights]
    if network.model == "void":
        disk["void"] = min(_entries(network), network.neurons) * constants.void_bytes
    elif network.firing:
        disk["counts"] = active * constants.record_bytes
    if network.model != "void":
        awake = network.spikes if network.dense else resident
        if network.learning != "none":
            spec = network.spec()
            remembered = network.spikes * tables_of(spec, Bundles.initial(spec)).horizon
            disk["spike history"] = constants.history_bytes * remembered
        if network.learning == "re_vgsp":
            disk["eligibilities"] = constants.trace_bytes * active * network.synapses
        disk["in flight"] = awake * _of_model(constants.charged_bytes, network.model)
    return {name: value for name, value in disk.items() if value}


def _of_model(values: dict[str, float], model: str) -> float:
    """Of one that was not measured, what the dearest takes."""
    return values.get(model, max(values.values()))


def _at(sizes: list[float], values: list[float], slots_: float) -> float:
    """A cost at a number of slots: between the measured sizes by their logarithms, beyond them as at the nearest."""
    return float(np.interp(math.log(max(slots_, 1.0)), np.log(sizes), values))


def _tick(network: Network, resident: float, constants: Constants) -> dict[str, float]:
    active, k, spikes = network.active_neurons, network.synapses, network.spikes
    if network.model == "void":
        more = _entries(network) / max(active, 1) - 1.0
        near = min(float(k), more) * constants.near_ns
        return {"call": 1e-9 * constants.learning_call_ns, "void": 1e-9 * active * (constants.void_ns + near)}
    if network.dense:
        words = network.dimension * 1e-9
        return {
            "call": 1e-9 * constants.dense_call_ns,
            "forward": words * active * constants.forward_ns[network.weights],
            "backward": words * spikes * constants.backward_ns[network.weights],
        }
    learns = network.learning != "none"
    awake = _awake(network, resident)
    near = k * spikes * (1.0 - network.long_fraction)
    far = k * spikes * network.long_fraction
    at_hand = constants.event_ns[0]
    tick = {
        "call": constants.learning_call_ns
        if learns
        else constants.burst_ns
        if resident < BURSTS
        else constants.call_ns,
        "sweep": awake * _of_model(constants.sweep_ns, network.model),
        "input": _input(network, constants),
        "spikes": spikes * _at(constants.sizes, constants.spike_ns, active),
        "synapses": near * at_hand + far * _at(constants.sizes, constants.event_ns, resident),
    }
    if learns:
        rule = network.learning
        tick["learning"] = active * constants.keep_ns[rule] + k * spikes * constants.learn_ns[rule]
    return {name: 1e-9 * value for name, value in tick.items() if value}


def _input(network: Network, constants: Constants) -> float:
    if not network.driven:
        return 0.0
    active, sizes = network.active_neurons, constants.sizes
    return active * (_at(sizes, constants.train_ns, active) + network.driven * _at(sizes, constants.input_ns, active))


def _awake(network: Network, resident: float) -> float:
    """Slots in blocks in which somebody is awake: the sweep takes whole blocks."""
    active = network.active_neurons
    reached = resident - active
    if not reached:
        return float(active)
    arrivals = network.spikes * network.synapses * network.long_fraction * _AWAKE_TICKS
    part = -math.expm1(-arrivals / network.neurons)
    return active + reached * -math.expm1(slots.BLOCK * math.log1p(-min(part, 1 - 1e-12)))


__all__ = ["Estimate", "estimate", "row_bytes", "target_bits"]
