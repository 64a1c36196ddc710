"""H1: neurons looked up over HTTP by 32 clients, in a process of their own, while the engine ticks."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import engramdb
from engramdb.sizing import workload_tick
from engramdb.sizing.figure import Figure, one
from engramdb.sizing.httpserver import Served

NEURONS = 100_000
CLIENTS = 32
RATE = 1600.0
ROUNDS = 3
"""Alone and loaded by turns: what else the machine does meanwhile falls on both."""


def run(folder: Path, quick: bool) -> list[Figure]:
    """Latencies and requests a second, at a given rate and without one, and how far the engine slows."""
    neurons, seconds = (5_000, 0.3) if quick else (NEURONS, 4.0)
    root = folder / "root"
    root.mkdir()
    with engramdb.create(root / "brain.engram", workload_tick.spec(neurons)) as e:
        e.run(workload_tick._WARM_UP_TICKS)
        workload_tick.load_every_row(e)
    with Served(root) as served:
        _, job = served.ask("POST", "/v1/engrams/brain/ticks", {"ticks": 1 << 40}, Prefer="respond-async")
        served.ticks_a_second("brain", seconds)  # rows come in
        paced, slowed, freely = [], [], []
        for _ in range(1 if quick else ROUNDS):
            before = served.ticks_a_second("brain", seconds)
            load = _load(served, neurons, seconds, RATE)
            with load:
                during = served.ticks_a_second("brain", seconds * 0.9)
                paced.append(_answers(load))
            slowed.append((during, statistics.mean([before, served.ticks_a_second("brain", seconds)])))
            load = _load(served, neurons, seconds / 2, 0.0)
            with load:
                freely.append(_answers(load))
        served.ask("DELETE", f"/v1/jobs/{job['id']}")
    took = sorted(1e3 * one for answers in paced for one in answers["took"])
    p99s = tuple(1e3 * _quantile(sorted(answers["took"]), 0.99) for answers in paced)
    rates = tuple(len(answers["took"]) / answers["seconds"] for answers in paced)
    slower = tuple(100.0 * (1.0 - during / alone) for during, alone in slowed)
    return [
        Figure("p99 of a lookup, 32 clients", "ms", p99s, goal="<= 20 ms"),
        one("median of a lookup", "ms", _quantile(took, 0.5)),
        Figure("lookups a second, as they were paced", "/s", rates, goal=">= 1,500"),
        Figure("the engine is slower by", "%", tuple(max(0.0, percent) for percent in slower), goal="<= 15 %"),
        Figure("ticks a second meanwhile", "/s", tuple(during for during, _ in slowed)),
        Figure("lookups a second, each client as fast as it can", "/s",
               tuple(len(answers["took"]) / answers["seconds"] for answers in freely)),
        Figure("their p99", "ms", tuple(1e3 * _quantile(sorted(answers["took"]), 0.99) for answers in freely)),
    ]  # fmt: skip


def _load(served: Served, neurons: int, seconds: float, rate: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engramdb.sizing.httpload", str(served.port), "brain"]
    command += ["--neurons", str(neurons), "--clients", str(CLIENTS), "--seconds", str(seconds), "--rate", str(rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _answers(load: subprocess.Popen[str]) -> dict[str, Any]:
    text, _ = load.communicate()
    answers: dict[str, Any] = json.loads(text)
    assert not answers["wrongs"], answers["wrong"]
    return answers


def _quantile(sorted_values: list[float], fraction: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(fraction * len(sorted_values)))]
