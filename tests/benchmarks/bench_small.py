"""Small networks here, in Brian2 and in NEST, in turn: ``bench_small.py --brian2 PYTHON --nest PYTHON [--quick]``.

Networks of the size that people run: 1,000 and 10,000 neurons, 100 random targets each, otherwise those of
``engramdb.sizing.workload_tick``: a bias for each neuron, about 3.7 % firing per tick, no plasticity. Brian2 is the
C++ program that it makes; everybody runs on one thread. And the peak resident set of NEST per neuron, with 12 targets
each (T7).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import engramdb
from engramdb import FixedOutdegree, Layer, Spec
from engramdb.sizing import workload_tick
from engramdb.sizing.figure import Figure, one
from tests.benchmarks.bench_brian2 import export, run_there

K = 100
_SIZES = ((1_000, 5_000), (10_000, 1_000))  # neurons, ticks a round
_MEMORY_NEURONS = 200_000


def spec(neurons: int) -> Spec:
    """As T1, but for the targets; the weights are smaller by as much as they are more."""
    layer = Layer(
        "neurons", params=workload_tick.spec(100).layers[0].params, segments=[neurons],
        wiring=FixedOutdegree(k=K, weight=0.1 * workload_tick.K / K), materialize=True,
    )  # fmt: skip
    return Spec(seed=1, layers=[layer])


class Nest:
    """A running NEST with the network of ``path``; ``peak``: bytes of its resident set."""

    def __init__(self, python: str, path: Path) -> None:
        script = Path(__file__).with_name("nest_tick.py")
        self._child = subprocess.Popen(
            [python, str(script), str(path), "1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.peak = int(self._read()[1])

    def ticks(self, ticks: int) -> tuple[float, int]:
        """Seconds and spikes of so many."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{ticks}\n")
        self._child.stdin.flush()
        seconds, spikes = self._read()
        return float(seconds), int(spikes)

    def close(self) -> None:
        self._child.communicate()

    def _read(self) -> list[str]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"NEST ended with {self._child.wait()}")
        return line.split()


def measure(brian2: str, nest: str | None, folder: Path, rounds: int, neurons: int, ticks: int) -> list[Figure]:
    """Ticks per second of one size in all simulators, and the share of neurons that spike."""
    path, stored = folder / f"{neurons}.engram", folder / f"{neurons}.npz"
    engramdb.create(path, spec(neurons), memory="8GiB").close()
    export(path, stored, ticks)
    program = folder / f"brian2-{neurons}"
    script = Path(__file__).with_name("brian2_tick.py")
    subprocess.run([brian2, str(script), str(stored), str(program), "0"], check=True, stdout=subprocess.DEVNULL)
    running = Nest(nest, stored) if nest else None
    here: list[float] = []
    there: dict[str, list[float]] = {"Brian2 C++": [], "NEST": []}
    shares: dict[str, list[float]] = {"here": [], "NEST": []}
    with workload_tick.warmed_up(path, 1) as e:
        for _ in range(rounds):
            seconds, _, fired = workload_tick.ticks_of(e, ticks)
            here.append(ticks / seconds)
            shares["here"].append(100 * fired / ticks / neurons)
            seconds, _ = run_there(program)
            there["Brian2 C++"].append(ticks / seconds)
            if running:
                seconds, fired = running.ticks(ticks)
                there["NEST"].append(ticks / seconds)
                shares["NEST"].append(100 * fired / ticks / neurons)
    if running:
        running.close()
    size = f"{neurons:,} neurons"
    figures = [
        Figure(f"{size}, spiking per tick, here", "%", tuple(shares["here"])),
        Figure(f"{size}, here", "ticks/s", tuple(here), statistics.median(there["Brian2 C++"]), "Brian2 C++"),
        Figure(f"{size}, Brian2 C++", "ticks/s", tuple(there["Brian2 C++"])),
    ]
    if there["NEST"]:
        figures += [
            Figure(f"{size}, spiking per tick, NEST", "%", tuple(shares["NEST"])),
            Figure(f"{size}, here", "ticks/s", tuple(here), statistics.median(there["NEST"]), "NEST"),
            Figure(f"{size}, NEST", "ticks/s", tuple(there["NEST"])),
        ]
    return figures


def memory(nest: str, folder: Path, neurons: int) -> Figure:
    """Bytes of peak resident set per neuron with 12 targets, of NEST, on top of a network of 100."""
    peaks = []
    for size in (100, neurons):
        path = folder / f"memory-{size}.engram"
        engramdb.create(path, workload_tick.spec(size), memory="8GiB").close()
        export(path, folder / "memory.npz", 1)
        running = Nest(nest, folder / "memory.npz")
        peaks.append(running.peak)
        running.close()
    return one("memory of a neuron, k = 12, NEST, peak", "B/neuron", (peaks[1] - peaks[0]) / neurons)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_small.py", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--brian2", required=True, help="the Python of the environment that has Brian2")
    parser.add_argument("--nest", required=True, help="the Python of the environment that has NEST")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is run, in turn; default 7")
    parser.add_argument("--quick", action="store_true", help="small: only to see that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    given = parser.parse_args(arguments)
    nest = given.nest if Path(given.nest).exists() else None
    if nest is None:
        sys.stderr.write(f"NEST is not to be had (there is no {given.nest}); going on without\n")
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for neurons, ticks in ((500, 100),) if given.quick else _SIZES:
            figures += measure(given.brian2, nest, folder, given.rounds, neurons, ticks)
        if nest:
            figures.append(memory(nest, folder, 2_000 if given.quick else _MEMORY_NEURONS))
    sys.stderr.write("\n".join(figure.as_line() for figure in figures) + "\n")
    if given.json:
        sys.stdout.write(json.dumps({"quick": given.quick, "figures": [f.as_dict() for f in figures]}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
