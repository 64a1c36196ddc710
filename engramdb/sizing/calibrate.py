"""Measures the constants of the estimates on this machine, in well under a minute once kernels are compiled."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.growth.bundle import Bundles
from engramdb.inspect import summarize
from engramdb.kernels import slots
from engramdb.learning.tables import tables_of
from engramdb.models import names
from engramdb.sizing.bench import machine
from engramdb.sizing.constants import Constants
from engramdb.sizing.estimate import BURSTS, target_bits
from engramdb.sizing.network import LEARNING, RANDOM, SMALL_WORLD, WEIGHTS, Network
from engramdb.sizing.specimen import BLOCK_SECONDS, SPECIMEN, Measured, in_turns, measure
from engramdb.sizing.speed import Speed
from engramdb.sizing.workload_bytes import bytes_on_disk
from engramdb.sizing.workload_memory import resident_bytes

SIZES = (10_000, 50_000, 200_000, 400_000)  # the last one beyond bursts
QUICK_SIZES = (1_000, 3_000, 6_000, 9_000)
_DISK_NEURONS = 20_000
_SMALL = 20_000
_WEIGHT = (0.001, 0.003)  # so small that spikes arise from input alone
_RATES = (0.01, 0.04)  # at which rules learn
_SPIKE_RATES = (0.01, 0.03, 0.06)
_HZ, _HARDLY_MV = 50.0, 5.0  # of trains that leave neurons awake and hardly make them fire: threshold is at 15
_DIMENSION = 768

Say = Callable[[str], object]


def calibrate(
    *, quick: bool = False, folder: Path | None = None, say: Say = lambda _: None, speed: Speed | None = None
) -> Constants:
    """Measure. ``quick``: small sizes, which show that all works; ``say`` is told what is being measured.

    Times are at the machine's ``speed``: None takes the one it has now.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="engramdb-calibrate-") as own:
        return _Calibration(Path(own), quick, say, speed or Speed()).constants()


class _Calibration:
    def __init__(self, folder: Path, quick: bool, say: Say, speed: Speed) -> None:
        self._folder, self._quick, self._say, self._speed = folder, quick, say, speed
        self._number = 0

    def _next(self) -> Path:
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir()
        return folder

    def _specimen(self, **what: Any) -> Measured:
        return self._in_turns(what)[0]

    def _in_turns(self, *whats: dict[str, Any]) -> list[Measured]:
        networks = [Network(**{"weight_mv": _WEIGHT, **what}) for what in whats]
        seconds = 1e-4 if self._quick else BLOCK_SECONDS
        return in_turns(self._next(), networks, block_seconds=seconds, speed=self._speed)

    def _typical(self, work: Callable[[], object], repeats: int) -> float:
        """Seconds of processor time, the median of some calls, each after one that fills the caches."""
        return statistics.median(self._speed.timed(work, work) for _ in range(repeats))

    def constants(self) -> Constants:
        constants: dict[str, Any] = {}
        for name, part in (
            ("disk", self._disk), ("memory", self._memory), ("ticks", self._lif), ("spikes", self._spikes),
            ("models", self._models), ("learning", self._learning), ("awake", self._left),
            ("receptive vectors", self._vectors), ("void neurons", self._void),
        ):  # fmt: skip
            self._say(name)
            constants |= part(constants)
        measured = datetime.now(UTC).isoformat(timespec="seconds")
        constants["machine"] = {**machine(), "processor": platform.processor() or platform.machine(), "at": measured}
        return Constants(**constants)

    # ---- disk: the same on every machine, and measured all the same

    def _born(self, **what: Any) -> int:
        path = self._next() / "born.engram"
        network = Network(neurons=_DISK_NEURONS, materialized=True, **what)
        engramdb.create(path, network.spec()).close()
        return bytes_on_disk(path)

    def _disk(self, _: dict[str, Any]) -> dict[str, Any]:
        path = self._next() / "empty.engram"
        engramdb.create(path, Network(neurons=1000).spec()).close()
        engramdb.open(path, "r+").close()
        base = float(bytes_on_disk(path))
        factor, head = {}, {}
        for wiring in (RANDOM, SMALL_WORLD):
            bits, stored = [], []
            for k in (6, 12, 24):
                network = Network(neurons=_DISK_NEURONS, k=k, wiring=wiring)
                bits.append(target_bits(network) / 8)
                stored.append((self._born(k=k, wiring=wiring, weight_mv=(1.0, 1.0)) - base) / _DISK_NEURONS)
            slope, rest = np.polyfit(bits, stored, 1)
            factor[wiring], head[wiring] = float(slope), float(rest)
        same = self._born(k=12, weight_mv=(1.0, 1.0))
        weights = {w: (self._born(k=12, weights=w) - same) / (12 * _DISK_NEURONS) for w in WEIGHTS}
        return {"disk_base": base, "target_factor": factor, "target_head": head, "weight_bytes": weights}

    # ---- memory: what the process takes before there is a network, in one of its own

    def _memory(self, _: dict[str, Any]) -> dict[str, Any]:
        neurons = 2_000 if self._quick else 350_000
        child = [sys.executable, "-m", "engramdb.sizing.calibrate", str(self._next()), str(neurons)]
        done = subprocess.run(child, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr.strip()}")
        measured = json.loads(done.stdout)
        return {"process_bytes": measured["before"], "resident_factor": max(1.0, measured["factor"])}

    # ---- time

    def _lif(self, _: dict[str, Any]) -> dict[str, Any]:
        """The step of ``lif`` that comes along, and what a tick takes in which little happens."""
        small, large = (500, 2_000) if self._quick else (20_000, 200_000)
        swept = 1e9 * (self._swept(large) - self._swept(small)) / (large - small)
        return {
            "sweep_ns": {"lif": max(0.1, swept)}, "burst_ns": self._call(True), "call_ns": self._call(False),
        }  # fmt: skip

    def _models(self, found: dict[str, Any]) -> dict[str, Any]:
        """The step of every other model: what its tick takes more than that of ``lif``, but for its own spikes."""
        others = [model for model in names() if model not in ("dense_lif", "void", "lif") and "." not in model]
        size = 1  # of those measured
        neurons = round(found["sizes"][size])
        lif, *rest = self._in_turns(
            *(
                {"neurons": neurons, "model": m, "materialized": m == "izhikevich", "firing": 0.03}
                for m in ("lif", *others)
            )
        )
        spike, event = found["spike_ns"][size], found["event_ns"][0]
        sweep = dict(found["sweep_ns"])
        for m in rest:
            more = 1e9 * (m.tick - lif.tick) - (m.spikes - lif.spikes) * spike - (m.events - lif.events) * event
            sweep[m.network.model] = max(0.1, sweep["lif"] + more / neurons)
        return {"sweep_ns": sweep}

    def _swept(self, neurons: int) -> float:
        """Seconds of the step of all neurons alone, in the midst of activity."""
        with self._driven(neurons, _HZ) as e:
            return statistics.median(self._speed.timed(partial(_sweep, e), partial(e.run, 2)) for _ in range(15))

    def _driven(self, neurons: int, hz: float) -> engramdb.Engram:
        """An open engram of unconnected neurons, each with a Poisson train that hardly makes it fire."""
        e = engramdb.create(self._next() / "e", Network(neurons=neurons, k=0).spec(), durability="checkpoint")
        e.poisson(np.arange(neurons), hz, _HARDLY_MV)
        e.run(20)
        return e

    def _call(self, burst: bool) -> float:
        """Nanoseconds of a tick of a hundred neurons that are awake, in bursts or each on its own."""
        with engramdb.create(self._next() / "e", Network(neurons=200, k=4).spec(), durability="checkpoint") as e:
            e.stimulate(np.arange(100), 0.1, duration=None)
            e.run(200)
            ticks = 500 if burst else 50
            work = (lambda: e.run(ticks)) if burst else (lambda: [e._live.step() for _ in range(ticks)])
            return 1e9 * self._typical(work, 7) / ticks

    def _spikes(self, found: dict[str, Any]) -> dict[str, Any]:
        """At each size networks at three rates, and one of another degree."""
        sizes = QUICK_SIZES if self._quick else SIZES
        few, many = 2, 32
        train, inputs, spike, event = [], [], [], []
        for neurons in sizes:
            call = found["burst_ns" if neurons < BURSTS else "call_ns"] + neurons * found["sweep_ns"]["lif"]
            *narrow, wide = self._in_turns(
                *({"neurons": neurons, "k": few, "firing": firing} for firing in _SPIKE_RATES),
                {"neurons": neurons, "k": many, "wiring": RANDOM, "firing": _SPIKE_RATES[-1]},
            )
            event.append(max(0.1, 1e9 * (wide.tick - narrow[-1].tick) / (wide.events - narrow[-1].events)))
            rest = np.array([1e9 * m.tick - call - few * m.spikes * event[-1] for m in narrow])
            # each as near as the others by its own measure: the slowest does not decide alone
            slope, base = np.polyfit([m.spikes for m in narrow], rest, 1, w=[1 / m.tick for m in narrow])
            if base < 0:
                base, slope = 0.0, float(np.mean([r / m.spikes for r, m in zip(rest, narrow, strict=True)]))
            train.append(float(base) / neurons)
            inputs.append(max(1.0, min(self._input(neurons), float(slope) - 1.0)))
            spike.append(max(1.0, float(slope) - inputs[-1]))
        return {
            "sizes": [float(size) for size in sizes], "train_ns": train, "input_ns": inputs, "spike_ns": spike,
            "event_ns": event,
        }  # fmt: skip

    def _input(self, neurons: int) -> float:
        """An event of a Poisson train, to a neuron that does not fire: what three times as many take more."""
        ticks = []
        for hz in (_HZ, 3 * _HZ):
            with self._driven(neurons, hz) as e:
                many = 10 if self._quick else max(10, 2_000_000 // neurons)
                ticks.append(self._typical(partial(e.run, many), 7) / many)
        return max(1.0, 1e12 * (ticks[1] - ticks[0]) / (2 * _HZ * neurons))

    def _learning(self, found: dict[str, Any]) -> dict[str, Any]:
        """Each rule at two rates, beside the same network without: what an arrival takes, and a neuron in each tick."""
        neurons = 2_000 if self._quick else _SMALL
        learn, keep = {}, {}
        call = 1e9 * self._specimen(neurons=200, firing=0.01, learning="stdp").tick
        for rule in LEARNING[1:]:
            kinds = [(rule, firing) for firing in _RATES] + [("none", firing) for firing in _RATES]
            both = self._in_turns(*({"neurons": neurons, "firing": f, "learning": r} for r, f in kinds))
            more = [
                1e9 * (m.tick - plain.tick) - call + found["burst_ns"]
                for m, plain in zip(both[:2], both[2:], strict=True)
            ]
            events = [max(m.events, 1.0) for m in both[:2]]
            learn[rule] = max(0.1, (more[1] - more[0]) / (events[1] - events[0]))
            keep[rule] = max(0.0, more[0] - events[0] * learn[rule]) / neurons
        return {"learn_ns": learn, "keep_ns": keep, "learning_call_ns": max(found["call_ns"], call)}

    def _left(self, found: dict[str, Any]) -> dict[str, Any]:
        """What those that fired, and those that are awake, leave on disk."""
        neurons = 2_000 if self._quick else _SMALL
        counts, charged = {}, {}
        for model in found["sweep_ns"]:
            m = self._specimen(neurons=neurons, firing=0.05, model=model, materialized=model == "izhikevich")
            stored = self._stored()
            counts[model] = sum(
                size for name, size in stored.items() if name in ("state.spike_count", "state.last_spike")
            )
            leaves = stored["leaves"] if m.network.materialized else counts[model]
            charged[model] = max(0.0, m.disk_bytes - found["disk_base"] - leaves) / max(m.charged, 1)
        remembered = {}
        for rule in ("stdp", "re_vgsp"):
            m = self._specimen(neurons=neurons, firing=0.05, learning=rule)
            stored = self._stored()
            rest = m.disk_bytes - found["disk_base"] - stored["leaves"] - charged["lif"] * m.charged
            spec = m.network.spec()
            remembered[rule] = rest, m.spikes * tables_of(spec, Bundles.initial(spec)).horizon
        history = max(0.0, remembered["stdp"][0] / remembered["stdp"][1])
        rest, spikes = remembered["re_vgsp"]
        return {
            "record_bytes": counts["lif"] / neurons,
            "charged_bytes": charged,
            "history_bytes": history,
            "trace_bytes": max(0.0, rest - history * spikes) / (12 * neurons),
        }

    def _stored(self) -> dict[str, int]:
        """Bytes of the last specimen's newest version by array, and of all its leaves."""
        storage = summarize(self._folder / str(self._number) / SPECIMEN).storage
        return {"leaves": storage.leaves, **{array.name: array.stored for array in storage.arrays}}

    def _vectors(self, found: dict[str, Any]) -> dict[str, Any]:
        """Forward alone, and with what those that fire learn, by type of weights."""
        neurons = 200 if self._quick else 4_000
        forward, backward, stored = {}, {}, {}
        call = self._specimen(neurons=50, dimension=8, model="dense_lif", firing=0.0, weight_mv=(0.0, 1.0)).tick
        for weights in WEIGHTS:
            what: dict[str, Any] = {
                "neurons": neurons,
                "model": "dense_lif",
                "weights": weights,
                "weight_mv": (0.0, 1.0),
            }
            still, learns = self._in_turns({"firing": 0.0, **what}, {"firing": 0.2, **what})
            words = neurons * _DIMENSION
            forward[weights] = max(1e-3, 1e9 * (still.tick - call) / words)
            backward[weights] = max(1e-3, 1e9 * (learns.tick - still.tick) / max(learns.events, 1.0))
            stored[weights] = (learns.disk_bytes - found["disk_base"]) / words
        return {
            "dense_call_ns": 1e9 * call, "forward_ns": forward, "backward_ns": backward, "vector_bytes": stored,
        }  # fmt: skip

    def _void(self, found: dict[str, Any]) -> dict[str, Any]:
        """Where all are active, and where activity wanders through ten times as many."""
        neurons = 2_000 if self._quick else 2 * _SMALL
        whole, wandering = self._in_turns(
            {"neurons": neurons, "model": "void"}, {"neurons": 10 * neurons, "active": 0.1, "model": "void"}
        )
        each = [1e9 * m.tick / m.network.active_neurons for m in (whole, wandering)]
        return {
            "void_ns": max(1.0, each[0] - found["learning_call_ns"] / neurons),
            "near_ns": max(0.0, (each[1] - each[0]) / 9),
            "void_bytes": (whole.disk_bytes - found["disk_base"]) / neurons,
        }


def _sweep(e: engramdb.Engram) -> None:
    e._live.working_set.slots.block_awake[: int(e._live.working_set.slots.counters[slots.N_BLOCKS])] = 1
    e._live._step_neurons()


def _main(folder: Path, neurons: int) -> None:
    """In a process of its own: what it takes with all loaded, and what the system counts for each byte of the budget's.

    From two sizes: arrays in huge pages end somewhere within one, whatever their size.
    """
    found = []
    for number, size in enumerate((neurons // 5, neurons // 5, neurons)):
        (folder / str(number)).mkdir()
        before = resident_bytes()
        m = measure(folder / str(number), Network(neurons=size, weight_mv=_WEIGHT))
        found.append((before, m.resident_bytes, m.bytes_of["used_bytes"]))
    (_, _, _), (before, less, counted), (_, more, counted_more) = found
    factor = max(1.0, (more - less) / (counted_more - counted))
    sys.stdout.write(json.dumps({"before": before + max(0.0, less - factor * counted), "factor": factor}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
