"""B1 of one patch, here and by ripser, in processor time: ``python -m tests.benchmarks.bench_homology``.

A patch of a small world with k = 12, of which one synapse in ten is long, or all are. ripser gets the same graph with
every edge at 1, or at 1/weight, which gives it an order to begin with; B1 is the number of holes that are never filled.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import engramdb
from engramdb.topology import Graph, homology
from engramdb.topology.sample import snowball


def patch(neurons: int, long_fraction: float) -> Graph:
    """The whole of a network of so many neurons."""
    wiring = engramdb.SmallWorld(k=12, span=50, long_fraction=long_fraction, weight=(0.5, 1.5))
    spec = engramdb.Spec(seed=1, layers=[engramdb.Layer("a", segments=[neurons], wiring=wiring)])
    with tempfile.TemporaryDirectory() as folder, engramdb.create(Path(folder, "a.engram"), spec) as e:
        return snowball(e.moment(), np.zeros(1, dtype=np.uint64), neurons)


def main() -> None:
    homology.b1(patch(200, 0.1))
    homology.bars(patch(200, 0.1))
    for neurons, long_fraction, unit in ((1000, 0.1, True), (1000, 0.1, False), (5000, 0.1, False), (5000, 1.0, True)):
        graph = patch(neurons, long_fraction)
        began = time.process_time()
        holes = homology.b1(graph)
        own = time.process_time() - began
        given = Graph(graph.ids, graph.u, graph.v, np.ones(len(graph.u))) if unit else graph
        began = time.process_time()
        bars = homology.bars(given)
        other = time.process_time() - began
        assert holes == np.isinf(bars[:, 1]).sum()
        sys.stdout.write(
            f"{neurons:,} neurons, {len(graph.u):,} edges, {long_fraction:.0%} long, B1 {holes:,}: {own * 1e3:.0f} ms, "
            f"ripser with edges at {'1' if unit else '1/weight'} {other * 1e3:,.0f} ms = {other / own:.1f} x\n"
        )


if __name__ == "__main__":
    main()
