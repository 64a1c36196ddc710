"""A network made for real, driven and measured: what estimates are calibrated on, and what they are held against."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.address import IdArray
from engramdb.growth.bundle import Bundles
from engramdb.learning.tables import tables_of
from engramdb.sizing.network import LARGEST_SEGMENT, RANDOM, Network
from engramdb.sizing.speed import Speed, processor_seconds
from engramdb.sizing.workload_bytes import bytes_on_disk
from engramdb.sizing.workload_memory import resident_bytes
from engramdb.store import Store

SPECIMEN = "specimen.engram"
_AMPLITUDE = {
    "lif_exp": 60.0,
    "lif_cond": 60.0,
    "adex": 5000.0,
    "intfire1": 2.0,
    "void": 1.0,
}  # in what their input is in; else mV
_ENOUGH_MV = 1000.0
_REFRACTORY = ("lif", "lif_exp", "lif_shiu", "lif_cond", "adex")
_WAKE_AT_ONCE = 1 << 15
_WARM_UP_TICKS = 60
_FIRST_TICKS = 5
_BLOCKS, BLOCK_SECONDS = 15, 0.02  # of ticks, each timed as a whole
_WARM_PART = 8  # of a block's ticks, which come before it: the caches are filled again


@dataclass(frozen=True)
class Measured:
    """What a specimen took, in its last ticks.

    ``bytes_of``: by kind, as the engine counts them. ``tick_s``: processor time of a tick; ``spikes`` in one, and
    ``events``, synapses over which one arrived. ``disk_bytes``: of the version that it was left in, without history;
    ``born_bytes``: before it ran. ``resident_bytes``: what the process grew by.
    """

    network: Network
    ticks: int
    tick_s: tuple[float, ...]
    spikes: float
    events: float
    bytes_of: dict[str, int]
    resident: int
    charged: int
    with_rows: int
    born_bytes: int
    disk_bytes: int
    resident_bytes: int

    @property
    def tick(self) -> float:
        """Seconds of a tick, the median."""
        return statistics.median(self.tick_s)

    @property
    def counted_bytes(self) -> int:
        """Of the memory budget, but for what drives the network."""
        return self.bytes_of["used_bytes"] - self.bytes_of["stimuli_bytes"]

    @property
    def as_it_was(self) -> Network:
        """The network with the activity that it really had."""
        alive = max(self.network.active_neurons, 1)
        driven = 0.0 if self.network.model in ("void", "dense_lif") else self.network.firing
        return replace(self.network, firing=min(1.0, self.spikes / alive), driven=driven)


def version_bytes(path: Path) -> int:
    """Bytes on disk of the newest commit of an engram, with the catalog, and without history."""
    files = bytes_on_disk(path) - bytes_on_disk(path / "packs")  # before a reader leaves its own there
    with Store.open(path) as store:
        state = store._history.state_ref(store.commit.number)
        leaves = sum(leaf.length for leaf in store.directory.leaves())
    return files + leaves + (0 if state is None else state.length)


def spike_amplitude(model: str) -> float:
    """Input of which one event makes a neuron of the model fire."""
    return _AMPLITUDE.get(model, _ENOUGH_MV)


def active_ids(network: Network) -> IdArray:
    """Who is active: spread evenly where wiring has no places, in one region where it has."""
    n = network.active_neurons
    step = network.neurons // max(n, 1) if network.wiring == RANDOM else 1
    place = np.arange(n, dtype=np.uint64) * np.uint64(step)
    segment, local = np.divmod(place, np.uint64(LARGEST_SEGMENT))
    return segment << np.uint64(32) | local


def measure(folder: Path, network: Network, *, memory: str = "8GiB", speed: Speed | None = None) -> Measured:
    """Make the network in ``folder``, let its active part fire at its rate, and measure some ticks.

    Those that are active fire together once and then at random, each given a Poisson train of its own: an input event
    a spike, which is taken as ``network.driven``. Models that do not fire at every one fire as they do;
    :attr:`Measured.as_it_was` has the rate that came of it. With a ``speed`` times are at that.
    """
    return in_turns(folder, [network], memory=memory, speed=speed)[0]


def in_turns(
    folder: Path,
    networks: Sequence[Network],
    *,
    memory: str = "8GiB",
    block_seconds: float = BLOCK_SECONDS,
    speed: Speed | None = None,
) -> list[Measured]:
    """The same of several, whose ticks are taken by turns: what else the machine does disturbs all of them alike.

    Ticks are timed in blocks of about ``block_seconds``.
    """
    specimens: list[_Specimen] = []
    try:
        for number, network in enumerate(networks):
            specimens.append(
                _Specimen(
                    folder / (SPECIMEN if not number else f"{number}-{SPECIMEN}"), network, memory, block_seconds, speed
                )
            )
        for _ in range(_BLOCKS):
            for specimen in specimens:
                specimen.block()
        return [specimen.close() for specimen in specimens]
    finally:
        for specimen in specimens:
            specimen.shut()


class _Specimen:
    """One network, driven. ``block`` runs some of its ticks and notes their time."""

    def __init__(self, path: Path, network: Network, memory: str, block_seconds: float, speed: Speed | None) -> None:
        params = dict(network.params)
        if network.model in _REFRACTORY:
            params["refractory"] = 0.0
        if network.model == "void":
            params |= {"k_active": max(1, network.active_neurons), "theta": 0.0}
        self._path, self._network = path, replace(network, params=params)
        self._before = resident_bytes()
        spec = self._network.spec()
        self._e = engramdb.create(path, spec, memory=memory, threads=network.threads, durability="checkpoint")
        self._born = bytes_on_disk(path)
        drive = _dense if network.dense else _void if network.model == "void" else _spiking
        self._run = drive(self._e, self._network)
        self._timed = _timed if speed is None else speed.timed
        self._seconds: list[float] = []
        self._spikes = self._events = self._ticks = 0
        # so many in one go that what a call takes beside them does not count
        took = max(processor_seconds(lambda: self._run(_FIRST_TICKS)), 1e-6)
        self._each = max(1, round(block_seconds * _FIRST_TICKS / took))

    def block(self) -> None:
        took = self._timed(lambda: self._count(self._each), lambda: self._count(1 + self._each // _WARM_PART))
        self._seconds.append(took / self._each)

    def _count(self, ticks: int) -> None:
        fired, arrived = self._run(ticks)
        self._ticks += ticks
        self._spikes, self._events = self._spikes + fired, self._events + arrived

    def close(self) -> Measured:
        stats, ticks = self._e.stats(), self._ticks
        grown = resident_bytes() - self._before
        self._e.stop_stimuli()
        self._e.checkpoint()
        self._e.compact()
        self._e.close()
        return Measured(
            network=self._network, ticks=ticks, tick_s=tuple(self._seconds), spikes=self._spikes / ticks,
            events=self._events / ticks, bytes_of={k: int(v) for k, v in stats.items() if k.endswith("_bytes")},
            resident=int(stats["resident"]), charged=int(stats["charged"]), with_rows=int(stats["active"]),
            born_bytes=self._born, disk_bytes=version_bytes(self._path), resident_bytes=grown,
        )  # fmt: skip

    def shut(self) -> None:
        self._e._shut()


def _timed(work: Callable[[], object], warm: Callable[[], object]) -> float:
    warm()
    return processor_seconds(work)


Ticks = Callable[[int], tuple[int, int]]
"""Runs so many ticks; spikes and synaptic events in them."""


def _plain(e: engramdb.Engram) -> Ticks:
    def run(ticks: int) -> tuple[int, int]:
        done = e.run(ticks)
        return int(done.counts.sum()), int(done.stats["synaptic_events"])

    return run


def _spiking(e: engramdb.Engram, network: Network) -> Ticks:
    ids = active_ids(network)
    amplitude = spike_amplitude(network.model)
    if not network.firing:
        e.stimulate(ids, 0.5, duration=None)  # awake, and no more than that
        e.run(_WARM_UP_TICKS)
        return _plain(e)
    e.stimulate(ids, amplitude)
    e.poisson(ids, rate_of(network), amplitude)
    spec = network.spec()
    # until as many spikes are remembered as will ever be
    remembered = tables_of(spec, Bundles.initial(spec)).horizon if spec.learns else 0
    e.run(max(_WARM_UP_TICKS, remembered))
    return _plain(e)


def rate_of(network: Network) -> float:
    """Hz of a Poisson train that has an event in as many ticks as the network fires in, ticks of 1 ms."""
    return -1000.0 * math.log1p(-min(network.firing, 0.99))


def _void(e: engramdb.Engram, network: Network) -> Ticks:
    e.stimulate(active_ids(network), 1.0)
    e.run(_WARM_UP_TICKS // 2)
    return _plain(e)


def _dense(e: engramdb.Engram, network: Network) -> Ticks:
    """A forward pass of all that are active, and a backward pass of those that fired."""
    ids = active_ids(network)
    low, high = network.weight_mv
    for start in range(0, len(ids), _WAKE_AT_ONCE):
        e.activate(ids[start : start + _WAKE_AT_ONCE], w=(low, high))
    layer, receptive = e.layer("neurons"), e._live.receptive["neurons"]
    x = np.ones(network.dimension, dtype=np.float32)
    currents = layer.forward(np.float32(1e-6) * x).currents
    shown: Any = x * np.float32(15.0 * 1e-6 / np.quantile(currents, 1 - max(network.firing, 1e-9)))
    layer.forward(shown)

    def run(ticks: int) -> tuple[int, int]:
        spikes = 0
        for _ in range(ticks):
            spikes += len(layer.forward(shown).fired)
            if network.firing:
                layer.backward(shown, 1e-9)
        return spikes, spikes * network.dimension

    layer.backward(shown, 1e-9)
    assert receptive.dimension == network.dimension
    return run
