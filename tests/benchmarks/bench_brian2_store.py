"""Save and restore here and in Brian2: ``bench_brian2_store.py PEER_PYTHON [--rounds N] [--quick] [--json]``.

The network of ``engramdb.sizing.workload_tick``: a million neurons that are all awake, twelve synapses each. Saving is
a snapshot, after ticks that changed every potential; restoring ends when the engine stands there again and could run.
The bytes here are those of the whole engram with one saved state.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import engramdb
from engramdb.sizing import workload_bytes, workload_tick
from engramdb.sizing.figure import Figure, one, scaled
from tests.benchmarks.bench_brian2 import export
from tests.benchmarks.beside import run_beside


def measure(peer: str, folder: Path, rounds: int, *, quick: bool) -> list[Figure]:
    """All figures."""
    neurons = 5_000 if quick else workload_tick.NEURONS
    path = folder / "one.engram"
    engramdb.create(path, workload_tick.spec(neurons), memory="8GiB").close()
    export(path, folder / "network.npz", 0)
    saved: list[float] = []
    restored: list[float] = []
    with engramdb.open(path, "r+", memory="8GiB") as e:
        e.run(60)
        e.checkpoint()
        before = workload_bytes.bytes_on_disk(path)
        for number in range(rounds):
            e.run(3)
            began = time.perf_counter()
            e.snapshot(f"s{number}")
            saved.append(time.perf_counter() - began)
            e.run(1)
            e.checkpoint()  # restoring would make it, and it is no part of restoring
            began = time.perf_counter()
            e.restore(f"s{number}")
            charged = e.stats()["charged"]  # starts the engine there
            restored.append(time.perf_counter() - began)
            assert charged > 0.9 * neurons
        each = (workload_bytes.bytes_on_disk(path) - before) / (2 * rounds)
    sys.stderr.write("the same in Brian2\n")
    script = Path(__file__).with_name("brian2_store.py")
    answer = subprocess.run(
        [peer, str(script), str(folder / "network.npz"), str(folder), str(rounds)],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    there = json.loads(answer.splitlines()[-1])
    save_there, restore_there = (statistics.median(there[name]) * 1e3 for name in ("save", "restore"))
    megabytes = there["bytes"] / 1e6
    return [
        Figure("save, here", "ms", scaled(saved, 1e3), save_there, "Brian2", "<= 0.5 x"),
        Figure("save, Brian2", "ms", scaled(there["save"], 1e3)),
        Figure("restore, here", "ms", scaled(restored, 1e3), restore_there, "Brian2", "<= 0.5 x"),
        Figure("restore, Brian2", "ms", scaled(there["restore"], 1e3)),
        one("bytes, here, the engram with one state", "MB", (before + each) / 1e6, bound=megabytes,
            bound_name="Brian2, one state", goal="<= 0.25 x"),
        one("bytes, here, each further state", "MB", each / 1e6, bound=megabytes, bound_name="Brian2, one state"),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return run_beside("bench_brian2_store.py", __doc__, measure, arguments, rounds=5)


if __name__ == "__main__":
    sys.exit(main())
