"""T1: ticks of a network that fires by itself, everything resident, beside the two things a tick cannot avoid.

One million LIF neurons with delta synapses and twelve random targets each; a constant bias per neuron, uniform between
0.8 and 2 times the threshold, lets 3.7 % of them fire per tick. The weights are small, so the rate stays.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.kernels import bound
from engramdb.kernels.slots import BLOCK
from engramdb.reservation import Reservation
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.spec import Layer, Spec
from engramdb.workers import Workers

NEURONS = 1_000_000
K = 12
RESIDENT = 10_000_000
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


def each_tick(e: engramdb.Engram, ticks: int) -> tuple[float, ...]:
    """Milliseconds that the engine takes for each of the next ticks: short enough to fall between others' turns."""
    return scaled(timed(lambda: e._live.advance(1), ticks), 1e3)


def add_bound(neurons: int, fired: int, repeats: int, threads: int = 1, *, huge: bool = True) -> tuple[float, ...]:
    """Seconds to read the rows of ``fired`` random neurons, 8 bytes a synapse, and to add to each of their targets.

    Each thread has its share of the rows, and sums of its own. ``huge``: memory lies in huge pages, as the engine's.
    """
    target = Reservation(neurons * K, np.int64, huge=huge).array
    totals = [Reservation(neurons, np.int64, huge=huge).array for _ in range(threads)]
    workers = Workers(threads)
    random = np.random.default_rng(2)
    target[:] = random.integers(0, neurons, neurons * K)
    orders = [random.permutation(neurons)[:fired].astype(np.int64) for _ in range(repeats)]
    best: tuple[float, ...] = ()
    for ahead in (4, 8, 16):

        def add(order: npt.NDArray[np.int64], ahead: int = ahead) -> None:
            def part(thread: int, start: int, stop: int) -> None:
                bound.add_rows(order[start:stop], K, target, totals[thread], ahead)

            workers.each(part, len(order))

        add(orders[0])
        waiting = iter(orders)
        samples = timed(lambda add=add, waiting=waiting: add(next(waiting)), repeats)  # type: ignore[misc]
        if not best or statistics.median(samples) < statistics.median(best):
            best = samples
    workers.close()
    return best


def sweep_bound(neurons: int, repeats: int, threads: int = 1) -> tuple[float, ...]:
    """Seconds to read and write the state of all neurons once, all that a sweep must move and nothing else."""
    workers = Workers(threads)
    u, bias = (Reservation(neurons, np.float32).array for _ in range(2))
    refractory, total = Reservation(neurons, np.int32).array, Reservation(neurons, np.int64).array
    for array in (u, bias, refractory, total):
        array[:] = 1

    def part(_: int, start: int, stop: int) -> None:
        bound.sweep(u[start:stop], refractory[start:stop], total[start:stop], bias[start:stop])

    workers.each(part, neurons)
    samples = timed(lambda: workers.each(part, neurons), repeats)
    workers.close()
    return samples


def sparse(folder: Path, resident: int, repeats: int) -> list[Figure]:
    """Milliseconds of the sweep, with more and more of ``resident`` neurons awake, wherever their slots lie."""
    # they forget so slowly that who was touched once stays awake
    spec = Spec(seed=1, layers=[Layer("neurons", params={"tau": 1e6}, segments=[resident])])
    random = np.random.default_rng(3)
    figures = []
    with engramdb.create(folder / "sparse.engram", spec, memory="8GiB") as e:
        ids = np.arange(resident, dtype=np.uint64)
        e._live.working_set.hold(ids)
        for awake in (0, 1, resident // 10_000, resident // 1000, resident // 100, resident):
            if awake:
                e.stimulate(random.choice(ids, awake, replace=False), 1.0)
                e.run(1)
            e._live._step_neurons()
            samples = scaled(timed(e._live._step_neurons, repeats), 1e3)
            blocks = 100 * float(e._live.working_set.slots.block_awake.sum()) * BLOCK / resident
            name = f"sweep, {awake:,} of {resident:,} awake, {blocks:.3g} % of blocks"
            figures.append(Figure(name, "ms", samples))
    return figures


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds per tick on one thread and on two, and the bound of one thread."""
    neurons, ticks, repeats = (5_000, 10, 2) if quick else (NEURONS, 60, 7)
    engramdb.create(folder / "tick.engram", spec(neurons), memory="8GiB").close()
    figures: list[Figure] = []
    medians: dict[int, float] = {}
    fired, least = 0, 0.0
    for threads in (1, 2):
        with warmed_up(folder / "tick.engram", threads) as e:
            runs = [ticks_of(e, ticks) for _ in range(repeats)]
            milliseconds = each_tick(e, ticks * repeats)
        medians[threads] = statistics.median(milliseconds)
        name = "1 thread" if threads == 1 else f"{threads} threads"
        if threads == 1:
            fired = round(statistics.mean(spikes for _, _, spikes in runs) / ticks)
            # the bounds are taken while the machine is as warm, or as busy, as it was for the engine
            add = scaled(add_bound(neurons, fired, max(repeats, 11)), 1e3)
            sweep = scaled(sweep_bound(neurons, max(repeats, 11)), 1e3)
            least = statistics.median(add) + statistics.median(sweep)
            # what a program can reach that does not ask for huge pages, as hardly any does
            plain = scaled(add_bound(neurons, fired, max(repeats, 11), huge=False), 1e3)
            ordinary = statistics.median(plain) + statistics.median(sweep)
            figures += [
                one("spiking per tick", "%", 100 * fired / neurons),
                Figure("tick, 1 thread", "ms", milliseconds, least, "add + sweep", "within 1.4 x the bound"),
                Figure("  bound: add the rows of those that fired", "ms", add),
                Figure("  bound: sweep over the slots", "ms", sweep),
                Figure("  bound: add the rows, in ordinary pages", "ms", plain),
                Figure("  the tick beside that", "ms", milliseconds, ordinary, "add + sweep in ordinary pages"),
            ]
        else:
            # what a second thread can bring at most, where the two share caches, memory and parts of a processor
            alike = scaled(add_bound(neurons, fired, max(repeats, 11), threads), 1e3)
            alike_sweep = scaled(sweep_bound(neurons, max(repeats, 11), threads), 1e3)
            together = tuple(a + s for a, s in zip(alike, alike_sweep, strict=True))
            figures += [
                Figure(f"tick, {name}", "ms", milliseconds, medians[1], "1 thread", ">= 1.6 x as fast"),
                Figure(f"  bound: both, on {name}", "ms", together, least, "on 1 thread"),
            ]
        figures.append(
            Figure(f"synaptic events, {name}", "M/s", tuple(events / seconds / 1e6 for seconds, events, _ in runs))
        )
    return figures + sparse(folder, 20_000 if quick else RESIDENT, repeats)
