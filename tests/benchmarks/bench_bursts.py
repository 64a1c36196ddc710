"""Small networks in bursts and with their kernels called one by one: ``python -m tests.benchmarks.bench_bursts``.

Prints microseconds of processor time a tick (the least of several runs) and ticks a second of wall time (the most).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, Spec
from engramdb.bursts import Bursts

_REPEATS, _WARM_UP_TICKS, _SPIKES_A_RUN = 8, 200, 70_000
_NO_BURSTS = -1


def network(neurons: int) -> Spec:
    """Neurons of which 3.6 % fire by themselves in each tick, k = 100."""
    layer = Layer(
        "neurons", params={"bias": (12.0, 30.0), "v_init": (-70.0, -55.0)}, segments=[neurons],
        wiring=FixedOutdegree(k=100, weight=0.012), materialize=True,
    )  # fmt: skip
    return Spec(seed=1, layers=[layer])


def measured(e: Engram, ticks: int) -> tuple[float, float]:
    """(processor time a tick in seconds, ticks a second)."""
    runs = []
    for _ in range(_REPEATS):
        began = time.thread_time()
        run = e.run(ticks)
        runs.append(((time.thread_time() - began) / ticks, ticks / run.elapsed))
    return min(seconds for seconds, _ in runs), max(rate for _, rate in runs)


def report(say: Callable[[str], object]) -> None:
    most = Bursts.most_blocks
    for neurons in (1_000, 10_000):
        with (
            tempfile.TemporaryDirectory() as folder,
            engramdb.create(Path(folder) / "net.engram", network(neurons), memory="1GiB") as e,
        ):
            e.run(_WARM_UP_TICKS)
            ticks = _SPIKES_A_RUN // (neurons // 28)
            for drive in ("", " with Poisson input at 150 Hz to all"):
                if drive:
                    e.poisson(np.arange(neurons), rate_hz=150.0, amplitude=0.3)
                together = measured(e, ticks)
                Bursts.most_blocks = _NO_BURSTS
                alone = measured(e, ticks // 4)
                Bursts.most_blocks = most
                say(
                    f"{neurons:,} neurons{drive}: {together[0] * 1e6:.1f} us a tick, {together[1]:,.0f} ticks/s in "
                    f"bursts; {alone[0] * 1e6:.1f} us, {alone[1]:,.0f} ticks/s one by one: "
                    f"{together[0] / alone[0]:.2f} x the time\n"
                )


if __name__ == "__main__":
    report(sys.stdout.write)
