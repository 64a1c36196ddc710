"""The networks that are compared, and how they are driven."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import engramdb
from engramdb import Engram, Explicit, FixedIndegree, FixedOutdegree, Layer, Projection, SmallWorld, Spec, models
from engramdb.distribution import draw
from engramdb.kernels.rng import BIAS
from tests.networks import edges_of, ids_of, make
from tests.peers.double import Network, propagators

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Drive:
    """Pulses of input: ``amplitude`` mV (float32) into neuron number ``place`` at ``tick``; no pair occurs twice."""

    tick: np.ndarray
    place: np.ndarray
    amplitude: np.ndarray


@dataclass(frozen=True)
class Case:
    """A network to be run for ``ticks``, and how it is driven.

    ``chaotic``: two runs that differ in one spike soon have nothing in common but their statistics.
    """

    name: str
    engram: Engram
    drive: Drive
    ticks: int
    chaotic: bool = False


def poisson(
    places: np.ndarray, ticks: int, per_tick: float, amplitude: float | tuple[float, float], seed: int
) -> Drive:
    """Independent trains of pulses into ``places`` from tick 2 on, of one size or of sizes evenly between two."""
    random = np.random.default_rng(seed)
    tick, which = np.nonzero(random.random((ticks - 1, len(places))) < per_tick)
    low, high = amplitude if isinstance(amplitude, tuple) else (amplitude, amplitude)
    return Drive(tick + 2, places[which], random.uniform(low, high, len(tick)).astype(np.float32))


def both(*drives: Drive) -> Drive:
    """All of them together."""
    return Drive(*(np.concatenate([getattr(d, f) for d in drives]) for f in ("tick", "place", "amplitude")))


def cases(folder: Path) -> Iterator[Case]:
    """All, one after the other; the engram of one is closed when the next is asked for."""
    yield from delta_networks(folder)
    for network in (worm, brunel, exponential, fly):
        own = folder / network.__name__
        own.mkdir()
        with network(own) as case:
            yield case


def delta_networks(folder: Path) -> Iterator[Case]:
    """Random networks of ``lif``, one of them driven so that ties are common."""
    ticks = 1000
    local = SmallWorld(k=12, long_fraction=0.1, span=50, weight=(-4.0, 6.0))
    anywhere = FixedOutdegree(k=12, weight=(-4.0, 6.0))
    weak = FixedOutdegree(k=12, weight=(-0.2, 0.4))
    for name, wiring, delay_ms, bias, rate, pulse in (
        ("small world, delay 1 ms", local, 1.0, 0.0, 0.04, 7.0),
        ("small world, delay 3 ms, own bias", local, 3.0, (0.0, 8.0), 0.04, 7.0),
        ("random, delay 1 ms, own bias", anywhere, 1.0, (0.0, 8.0), 0.04, 7.0),
        ("random, weak, pulses just below threshold", weak, 1.0, 0.0, 0.005, (14.99, 15.0)),
    ):
        params = {"refractory": 2.0, "bias": bias}
        layer = Layer("a", params=params, segments=[2000], wiring=wiring, delay_ms=delay_ms)
        own = folder / name.replace(" ", "-").replace(",", "")
        own.mkdir()
        with make(own, Spec(seed=20, layers=[layer])) as e:
            yield Case(name, e, poisson(np.arange(2000), ticks, rate, pulse, seed=5), ticks)


@contextmanager
def worm(folder: Path) -> Iterator[Case]:
    """The bundled connectome, 0.15 mV for each section over which two cells touch, and its touch neurons driven."""
    source_path = ROOT / "engramdb" / "data" / "celegans" / "connectome.csv"
    with source_path.open(newline="") as source, (folder / "chemical.csv").open("w", newline="") as chosen:
        writer = csv.writer(chosen)
        writer.writerow(["pre", "post", "weight"])
        for row in csv.DictReader(source):
            if row["kind"] == "chemical":
                writer.writerow([row["pre"], row["post"], row["weight"]])
    path = folder / "worm.engram"
    engramdb.import_edges(folder / "chemical.csv", path, weight_scale=0.15)
    ticks = 1000
    with engramdb.open(path, "r+") as e:
        touch = np.sort(e.resolve(["ALML", "ALMR", "AVM", "PLML", "PLMR", "PVDL", "PVDR"])).astype(np.int64)
        steady = poisson(touch, ticks, 0.1, 16.0, seed=6)
        weak = poisson(np.setdiff1d(np.arange(len(e)), touch), ticks, 0.03, 6.0, seed=7)
        yield Case("C. elegans, chemical synapses", e, both(steady, weak), ticks)


@contextmanager
def brunel(folder: Path) -> Iterator[Case]:
    """A fifth of the sparsely connected network of Brunel (2000), asynchronous and irregular (model A, g = 5).

    Its in-degrees of 1000 and 250 are divided by 5 and its jumps of 0.1 mV multiplied by 5, so that the mean input
    stays. The external spikes, 1000 inputs at twice the rate that reaches the threshold by itself, are drawn once.
    """
    j, g, excitatory, dt, ticks = 0.5, 5.0, 200, 0.1, 3000
    params = {"v_rest": 0.0, "v_reset": 10.0, "v_threshold": 20.0, "tau": 20.0, "refractory": 2.0}
    layers = [Layer(name, params=params, segments=[n]) for name, n in (("exc", 2000), ("inh", 500))]
    between = [
        Projection(pre, post, FixedIndegree(k=k, weight=weight), delay_ms=1.5)
        for pre, k, weight in (("exc", excitatory, j), ("inh", excitatory // 4, -g * j))
        for post in ("exc", "inh")
    ]
    per_tick = 2 * 20.0 / (j * 20.0) * dt  # twice threshold / (j tau)
    events = np.random.default_rng(8).poisson(per_tick, (ticks - 1, 2500))
    tick, place = np.nonzero(events)
    drive = Drive(tick + 2, place, (events[tick, place] * j).astype(np.float32))
    with make(folder, Spec(seed=21, layers=layers, projections=between, dt_ms=dt)) as e:
        yield Case("Brunel (2000), delta synapses, dt 0.1 ms", e, drive, ticks, chaotic=True)


@contextmanager
def exponential(folder: Path) -> Iterator[Case]:
    """Excitation and inhibition in a random network of ``lif_exp``, neurons with a bias of their own."""
    ticks, dt = 3000, 0.1
    params = {"tau": 20.0, "tau_syn": 5.0, "refractory": 2.0, "bias": (6.0, 14.0)}
    layers = [Layer(name, model="lif_exp", params=params, segments=[n]) for name, n in (("exc", 1600), ("inh", 400))]
    between = [
        Projection(pre, post, FixedOutdegree(k=k), weight=weight, sign=sign, delay_ms=1.5)
        for pre, weight, sign in (("exc", (1.0, 3.0), 1), ("inh", (8.0, 16.0), -1))
        for post, k in (("exc", 64), ("inh", 16))
    ]
    drive = poisson(np.arange(2000), ticks, 0.02, 10.0, seed=9)
    with make(folder, Spec(seed=22, layers=layers, projections=between, dt_ms=dt)) as e:
        yield Case("random, `lif_exp`, dt 0.1 ms", e, drive, ticks, chaotic=True)


@contextmanager
def fly(folder: Path) -> Iterator[Case]:
    """``lif_shiu`` with its published parameters on a made-up connectome whose degrees have heavy tails.

    5000 neurons, of which 30 % inhibit; a pair that is joined has 5 synapses or more, of 0.275 mV each, as in the
    published data. 150 neurons without refractoriness are driven at 150 Hz. A pulse makes them fire in the next tick:
    there 68.75 mV of potential, here the current that adds as much in that tick.
    """
    n, driven, ticks, dt = 5000, 150, 3000, 0.1
    random = np.random.default_rng(10)
    out_degree = np.minimum(random.lognormal(3.0, 1.1, n), 1500).astype(np.int64)
    attraction = random.lognormal(0.0, 1.0, n)
    pre = np.repeat(np.arange(n), out_degree)
    post = random.choice(n, len(pre), p=attraction / attraction.sum())
    pair = np.unique(pre * n + post)
    pre, post = pair // n, pair % n
    pre, post = pre[pre != post], post[pre != post]
    synapses = 5 + np.minimum(random.pareto(1.5, len(pre)) * 4, 400).astype(np.int64)
    sign = np.where(random.random(n) < 0.3, -1, 1)
    weight = (sign[pre] * synapses * 0.275).astype(np.float32)
    layers = [
        Layer("driven", model="lif_shiu", params={"refractory": 0.0}, segments=[driven]),
        Layer("brain", model="lif_shiu", segments=[n - driven]),
    ]
    between = [Projection(a, b, Explicit(), delay_ms=1.8) for a in ("driven", "brain") for b in ("driven", "brain")]
    with make(folder, Spec(seed=23, layers=layers, projections=between, dt_ms=dt)) as e:
        ids = ids_of(e)
        e.connect(ids[pre], ids[post], weight)
        p22, _, p21 = propagators(20.0, 5.0, dt)
        drive = poisson(np.arange(driven), ticks, 150.0 * dt / 1000, 68.75 * p22 / p21, seed=11)
        yield Case("heavy-tailed degrees, `lif_shiu`, dt 0.1 ms", e, drive, ticks, chaotic=True)


def network_of(case: Case) -> Network:
    """The case as the peers get it."""
    e = case.engram
    ids = ids_of(e)
    pre, post, weight, delay = edges_of(e)
    v_infinite = np.empty(len(ids))
    refractory = np.empty(len(ids), dtype=np.int64)
    for layer in e.spec.layers:
        own = ids >> np.uint64(48) == layer.index
        model = models.get(layer.model)
        values = model.values(layer.params)
        bias = draw(values.get("bias", 0.0), e.spec.seed, ids[own], BIAS).astype(np.float64)
        v_infinite[own] = values["v_rest"] + bias
        refractory[own] = int(model.constants({**values, "bias": 0.0}, e.spec.dt_ms)["refractory_ticks"])
    return Network(
        model=layer.model, dt_ms=e.spec.dt_ms, ticks=case.ticks, tau=values["tau"], tau_syn=values.get("tau_syn", 1.0),
        v_threshold=values["v_threshold"], v_reset=values["v_reset"], v_init=v_infinite, v_infinite=v_infinite,
        refractory=refractory, pre=np.searchsorted(ids, pre), post=np.searchsorted(ids, post), weight=weight,
        delay=delay, pulse_tick=case.drive.tick, pulse_neuron=case.drive.place, pulse_mv=case.drive.amplitude,
    )  # fmt: skip
