"""The tick workload here and in Brian2, in turn: ``bench_brian2.py PEER_PYTHON [--rounds N] [--quick] [--json]``.

The network of ``engramdb.sizing.workload_tick`` (T1): the same edges, biases and potentials go to a C++ program made by
Brian2, without OpenMP and with two threads. Then both run in turn, round after round, so that a disturbance of the
machine meets both. Memory (T7) is what the budget counts here and the peak resident set there, per neuron.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import engramdb
from engramdb.sizing import workload_memory, workload_tick
from engramdb.sizing.figure import Figure, one
from tests.benchmarks.beside import run_beside
from tests.networks import edges_of, ids_of

_WARM_UP_TICKS = 50  # of the peer: nothing has to be loaded there


def export(path: Path, to: Path, ticks: int) -> None:
    """What the peer needs to know."""
    with engramdb.open(path) as e:
        pre, post, weight, _ = edges_of(e)
        fields = e.neurons(ids_of(e)).fields
        v = fields["v"].astype(np.float64)
        np.savez(
            to, pre=pre.astype(np.int32), post=post.astype(np.int32), weight=weight, v=v, v_infinite=v - fields["u"],
            warm_up=_WARM_UP_TICKS, ticks=ticks,
        )  # fmt: skip


def run_there(program: Path) -> tuple[float, int]:
    """Run the peer's program once; seconds of the measured ticks and its peak resident set in bytes."""
    with subprocess.Popen([str(program / "main")], cwd=program) as child:
        _, status, usage = os.wait4(child.pid, 0)  # Popen would not tell what the child used
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{program}/main ended with {child.returncode}")
    seconds = float((program / "results" / "last_run_info.txt").read_text().split()[0])
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def spiking_there(program: Path, ticks: int) -> float:
    """The share of neurons that spiked in each measured tick, in percent."""
    (rates,) = (program / "results").glob("_dynamic_array_*ratemonitor*_rate_*")
    return float(np.fromfile(rates, dtype=np.float64)[-ticks:].mean()) / 1000 * 100


def measure(peer: str, folder: Path, rounds: int, *, quick: bool) -> list[Figure]:
    """All figures."""
    neurons, ticks = (5_000, 10) if quick else (workload_tick.NEURONS, 60)
    engramdb.create(folder / "one.engram", workload_tick.spec(neurons), memory="8GiB").close()
    shutil.copytree(folder / "one.engram", folder / "two.engram")
    export(folder / "one.engram", folder / "network.npz", ticks)
    script = Path(__file__).with_name("brian2_tick.py")
    programs = {threads: folder / f"brian2-{threads}" for threads in (0, 2)}
    for threads, program in programs.items():
        sys.stderr.write(f"compiling Brian2's program for {threads or 'no'} OpenMP threads\n")
        subprocess.run([peer, str(script), str(folder / "network.npz"), str(program), str(threads)], check=True)
    (folder / "network.npz").unlink()

    here: dict[int, list[float]] = {1: [], 2: []}
    events: dict[int, list[float]] = {1: [], 2: []}
    spikes: list[float] = []
    there: dict[int, list[float]] = {0: [], 2: []}
    peak = 0
    with (
        workload_tick.warmed_up(folder / "one.engram", 1) as one_thread,
        workload_tick.warmed_up(folder / "two.engram", 2) as two_threads,
    ):
        for number in range(rounds):
            sys.stderr.write(f"round {number + 1} of {rounds}\n")
            for threads, e in ((1, one_thread), (2, two_threads)):
                seconds, delivered, fired = workload_tick.ticks_of(e, ticks)
                spikes.append(fired / ticks / neurons * 100)
                here[threads].append(seconds / ticks * 1e3)
                events[threads].append(delivered / seconds / 1e6)
            for threads, program in programs.items():
                seconds, used = run_there(program)
                there[threads].append(seconds / ticks * 1e3)
                peak = max(peak, used if threads == 0 else 0)
        resident = one_thread.stats()
    share = spiking_there(programs[0], ticks)
    per_tick = share / 100 * neurons * workload_tick.K / 1e6  # millions of events
    plain, threaded = statistics.median(there[0]), statistics.median(there[2])
    memory = {figure.name: figure.median for figure in workload_memory.run(folder, quick)}
    return [
        Figure("spiking per tick, here", "%", tuple(spikes), share, "Brian2"),
        Figure("tick, here, 1 thread", "ms", tuple(here[1]), plain, "Brian2 C++", "<= 0.4 x"),
        Figure("tick, here, 2 threads", "ms", tuple(here[2]), threaded, "Brian2 C++, 2 threads"),
        Figure("tick, Brian2 C++", "ms", tuple(there[0])),
        Figure("tick, Brian2 C++, 2 OpenMP threads", "ms", tuple(there[2])),
        Figure("synaptic events, here, 1 thread", "M/s", tuple(events[1])),
        Figure("synaptic events, here, 2 threads", "M/s", tuple(events[2])),
        Figure("synaptic events, Brian2 C++", "M/s", tuple(1e3 * per_tick / milliseconds for milliseconds in there[0])),
        one("memory of this network, here, as counted", "B/neuron", resident["used_bytes"] / neurons,
            bound=peak / neurons, bound_name="Brian2, peak"),
        one("memory of a resident neuron, resident set", "B/neuron", memory["resident, k = 12, resident set size"],
            bound=peak / neurons, bound_name="Brian2, peak"),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return run_beside("bench_brian2.py", __doc__, measure, arguments, rounds=7)


if __name__ == "__main__":
    sys.exit(main())
