"""T1: ticks of a network that fires by itself, everything resident, beside the two things a tick cannot avoid.

One million LIF neurons with delta synapses and twelve random targets each; a constant bias per neuron, uniform between
0.8 and 2 times the threshold, lets 3.7 % of them fire per tick. The weights are small, so the rate stays.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np

import engramdb
from engramdb.kernels import bound
from engramdb.reservation import Reservation
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.spec import Layer, Spec

NEURONS = 1_000_000
K = 12
_LOADED_AT_ONCE = 1 << 16
_WARM_UP_TICKS = 60  # three membrane time constants


def spec(neurons: int) -> Spec:
    """The network of the workload; thresholds lie 15 mV above rest."""
    layer = Layer(
        "neurons",
        params={"bias": (12.0, 30.0), "v_init": (-70.0, -55.0), "refractory": 2.0},
        segments=[neurons],
        wiring=engramdb.FixedOutdegree(k=K, weight=0.1),
        materialize=True,
    )
    return Spec(seed=1, layers=[layer])


def warmed_up(path: Path, threads: int) -> engramdb.Engram:
    """The engram at ``path``, past its beginning and with all rows in RAM; no checkpoint falls due soon."""
    e = engramdb.open(path, "r+", threads=threads, memory="8GiB")
    e.run(_WARM_UP_TICKS)
    load_every_row(e)
    e.checkpoint()
    e.run(5)
    return e


def load_every_row(e: engramdb.Engram) -> None:
    """Those that fire rarely would bring their rows in one by one while the clock runs."""
    working_set = e._live.working_set
    for start in range(0, len(e), _LOADED_AT_ONCE):
        ids = np.arange(start, min(len(e), start + _LOADED_AT_ONCE), dtype=np.uint64)
        working_set.load(working_set.hold(ids), evict=False)
    assert e.stats()["active"] == len(e), "everything is resident"


def ticks_of(e: engramdb.Engram, ticks: int) -> tuple[float, int, int]:
    """Run on; seconds, synaptic events and spikes."""
    run = e.run(ticks)
    return run.elapsed, int(run.stats["synaptic_events"]), int(run.counts.sum())


def fetch_bound(neurons: int, fired: int, repeats: int) -> tuple[float, ...]:
    """Seconds to read the rows of ``fired`` random neurons, 8 bytes a synapse, from an arena of all."""
    slots, weights = (Reservation(neurons * K, np.uint32).array for _ in range(2))
    slots[:] = np.arange(neurons * K, dtype=np.uint32)
    weights[:] = 1
    random = np.random.default_rng(2)
    orders = [random.permutation(neurons)[:fired].astype(np.int64) for _ in range(repeats)]
    best: tuple[float, ...] = ()
    for ahead in (4, 8, 16):
        bound.fetch_rows(orders[0], K, slots, weights, ahead)
        waiting = iter(orders)
        samples = timed(lambda ahead=ahead, waiting=waiting: bound.fetch_rows(  # type: ignore[misc]
            next(waiting), K, slots, weights, ahead), repeats)  # fmt: skip
        if not best or statistics.median(samples) < statistics.median(best):
            best = samples
    return best


def sweep_bound(neurons: int, repeats: int) -> tuple[float, ...]:
    """Seconds to read and write the state of all neurons once."""
    u, bias = (Reservation(neurons, np.float32).array for _ in range(2))
    refractory, total = Reservation(neurons, np.int32).array, Reservation(neurons, np.int64).array
    for array in (u, bias, refractory, total):
        array[:] = 1
    bound.sweep(u, refractory, total, bias)
    return timed(lambda: bound.sweep(u, refractory, total, bias), repeats)


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds per tick on one thread and on two, and the bound of one thread."""
    neurons, ticks, repeats = (5_000, 10, 2) if quick else (NEURONS, 60, 7)
    engramdb.create(folder / "tick.engram", spec(neurons), memory="8GiB").close()
    figures, medians = [], {}
    for threads in (1, 2):
        with warmed_up(folder / "tick.engram", threads) as e:
            runs = [ticks_of(e, ticks) for _ in range(repeats)]
        milliseconds = tuple(seconds / ticks * 1e3 for seconds, _, _ in runs)
        medians[threads] = statistics.median(milliseconds)
        name = "1 thread" if threads == 1 else f"{threads} threads"
        if threads == 1:
            fired = round(statistics.mean(spikes for _, _, spikes in runs) / ticks)
            # the bounds are taken while the machine is as warm, or as busy, as it was for the engine
            fetch = scaled(fetch_bound(neurons, fired, max(repeats, 11)), 1e3)
            sweep = scaled(sweep_bound(neurons, max(repeats, 11)), 1e3)
            least = statistics.median(fetch) + statistics.median(sweep)
            figures += [
                one("spiking per tick", "%", 100 * fired / neurons),
                Figure("tick, 1 thread", "ms", milliseconds, least, "fetch + sweep", "within 1.4 x the bound"),
                Figure("  bound: fetch the rows of those that fired", "ms", fetch),
                Figure("  bound: sweep over the slots", "ms", sweep),
            ]
        else:
            figures.append(Figure(f"tick, {name}", "ms", milliseconds, medians[1], "1 thread", ">= 1.6 x as fast"))
        figures.append(
            Figure(f"synaptic events, {name}", "M/s", tuple(events / seconds / 1e6 for seconds, events, _ in runs))
        )
    return figures
