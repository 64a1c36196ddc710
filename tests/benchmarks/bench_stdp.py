"""The STDP workload (T2) here and in Brian2, in turn: ``bench_stdp.py PEER_PYTHON [--rounds N] [--quick] [--json]``.

The network of ``engramdb.sizing.workload_stdp``: the same edges, biases and potentials go to a C++ program made by
Brian2. Then both run in turn, round after round, on one thread.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import engramdb
from engramdb.sizing import workload_stdp, workload_tick
from engramdb.sizing.figure import Figure
from tests.benchmarks.bench_brian2 import run_there, spiking_there
from tests.benchmarks.beside import run_beside
from tests.networks import edges_of, ids_of


def export(path: Path, to: Path, ticks: int) -> None:
    """What the peer needs to know."""
    with engramdb.open(path) as e:
        pre, post, weight, _ = edges_of(e)
        fields = e.neurons(ids_of(e)).fields
        rule = e.spec.all_projections[0].plasticity[0]
        assert isinstance(rule, engramdb.STDP)
        v = fields["v"].astype(np.float64)
        np.savez(
            to, pre=pre.astype(np.int32), post=post.astype(np.int32), weight=weight, v=v, v_infinite=v - fields["u"],
            w_max=rule.w_max, up=rule.a_plus * rule.w_max, down=rule.a_minus * rule.w_max, warm_up=300, ticks=ticks,
        )  # fmt: skip


def measure(peer: str, folder: Path, rounds: int, *, quick: bool) -> list[Figure]:
    """All figures."""
    neurons, ticks = (5_000, 10) if quick else (workload_stdp.NEURONS, 200)
    engramdb.create(folder / "net.engram", workload_stdp.spec(neurons, learns=True), memory="8GiB").close()
    export(folder / "net.engram", folder / "network.npz", ticks)
    script, program = Path(__file__).with_name("brian2_stdp.py"), folder / "brian2"
    sys.stderr.write("compiling Brian2's program\n")
    subprocess.run([peer, str(script), str(folder / "network.npz"), str(program)], check=True)
    here: list[float] = []
    there: list[float] = []
    spikes: list[float] = []
    e = workload_stdp.settled(folder / "net.engram", quick=quick)
    try:
        for number in range(rounds):
            sys.stderr.write(f"round {number + 1} of {rounds}\n")
            here += workload_tick.each_tick(e, ticks)
            spikes.append(100 * len(e._live.last_fired) / neurons)
            there.append(run_there(program)[0] / ticks * 1e3)
    finally:
        e._shut()
    return [
        Figure("spiking per tick, here", "%", tuple(spikes), spiking_there(program, ticks), "Brian2"),
        Figure("tick that learns, here", "ms", tuple(here), statistics.median(there), "Brian2 C++", "<= 0.33 x"),
        Figure("tick that learns, Brian2 C++", "ms", tuple(there)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    return run_beside("bench_stdp.py", __doc__, measure, arguments, rounds=7)


if __name__ == "__main__":
    sys.exit(main())
