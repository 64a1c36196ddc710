"""The benchmark suite behind ``engramdb bench``.

Each workload gives figures with the physical bound that was measured in the same run, because ratios travel between
machines and times do not.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.errors import InvalidInput, NotFound
from engramdb.sizing.figure import Figure


@dataclass(frozen=True)
class Workload:
    """``module`` has ``run(folder, quick) -> list[Figure]``; ``goal`` names the row of the table of goals.

    A module may also have ``table(figures) -> list[str]``, to show its figures by.
    """

    name: str
    goal: str
    title: str
    module: str

    def run(self, folder: Path, quick: bool) -> list[Figure]:
        figures: list[Figure] = import_module(self.module).run(folder, quick)
        return figures

    def lines(self, figures: Sequence[Figure]) -> list[str]:
        """The figures for people."""
        table: Callable[[Sequence[Figure]], list[str]] | None = getattr(import_module(self.module), "table", None)
        return [f"  {figure.as_line()}" for figure in figures] if table is None else table(figures)


WORKLOADS = (
    Workload("tick", "T1", "a tick of 1M LIF neurons, k = 12 random, all resident", "engramdb.sizing.workload_tick"),
    Workload("stdp", "T2", "the same at 100k with STDP on all synapses", "engramdb.sizing.workload_stdp"),
    Workload("flat", "T3", "the same activity in networks of any size", "engramdb.sizing.workload_flat"),
    Workload("spill", "T4", "activity that moves through four times the memory", "engramdb.sizing.workload_spill"),
    Workload("spill-random", "T4", "the same without any locality", "engramdb.sizing.workload_spill_random"),
    Workload("delays", "T1", "a tick with 1, 10 and 100 delays", "engramdb.sizing.workload_delays"),
    Workload("dense", "T5", "inputs to 100,000 receptive vectors of 768", "engramdb.sizing.workload_dense"),
    Workload("void", "T6", "a tick of 80,000 active void neurons", "engramdb.sizing.workload_void"),
    Workload("topology", "T6", "a reading of the topology, level by level", "engramdb.sizing.workload_topology"),
    Workload("memory", "T7", "bytes of RAM per neuron, by its state", "engramdb.sizing.workload_memory"),
    Workload("bytes", "S4", "bytes on disk per neuron", "engramdb.sizing.workload_bytes"),
    Workload("codecs", "S4", "codecs on columns as leaves have them", "engramdb.sizing.workload_codecs"),
    Workload("fault", "S1", "one cold leaf, found, read, verified, decoded", "engramdb.sizing.workload_fault"),
    Workload("scan", "S2", "a whole engram scanned cold", "engramdb.sizing.workload_scan"),
    Workload("checkpoint", "S3", "1 % of the neurons changed, scattered", "engramdb.sizing.workload_checkpoint"),
    Workload("lookup", "S6", "one row from a cold engram in a new process", "engramdb.sizing.workload_lookup"),
    Workload("history", "S7", "snapshot and restore of a clean state", "engramdb.sizing.workload_history"),
    Workload("build", "S8", "a layer grows, and its rows are written out", "engramdb.sizing.workload_build"),
    Workload("growth", "S8", "bundles, and growth cycles in networks of any size", "engramdb.sizing.workload_growth"),
    Workload("catalog", "S6", "a million leaves, 10,000 snapshots, 1,000 restores", "engramdb.sizing.workload_catalog"),
    Workload("import", "S9", "import of edge lists", "engramdb.sizing.workload_import"),
    Workload("queries", "Q1-3", "lookups, surroundings, the reverse index, scans", "engramdb.sizing.workload_queries"),
    Workload("http", "H1", "neurons looked up over HTTP while the engine ticks", "engramdb.sizing.workload_http"),
    Workload("http-jobs", "H2", "an export and a run as jobs of the service", "engramdb.sizing.workload_http_jobs"),
    Workload("interchange", "S9", "other formats, out and in; inspect", "engramdb.sizing.workload_interchange"),
    Workload("estimate", "-", "networks as estimated and as measured", "engramdb.sizing.workload_estimate"),
)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "engramdb": engramdb.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def measure(names: Sequence[str], quick: bool, folder: Path | None, say: Callable[[str], object]) -> dict[str, Any]:
    """Run the workloads ``names`` (all, if empty), each in a folder of its own; one document with all figures.

    ``folder``: where they are made; None takes the system's for temporary files. ``say`` gets what each has found, for
    people. Raises InvalidInput for a name that is unknown, NotFound for a folder.
    """
    known = [workload.name for workload in WORKLOADS]
    for name in names:
        if name not in known:
            raise InvalidInput(f'no workload "{name}"; known: {", ".join(known)}')
    if folder is not None and not folder.is_dir():
        raise NotFound(f"there is no folder {folder} to make engrams in")
    results = {}
    for workload in WORKLOADS:
        if names and workload.name not in names:
            continue
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{workload.name}-") as own:
            began = time.perf_counter()
            figures = workload.run(Path(own), quick)
        results[workload.name] = {
            "goal": workload.goal,
            "title": workload.title,
            "seconds": time.perf_counter() - began,
            "figures": [figure.as_dict() for figure in figures],
        }
        say("\n".join([f"{workload.goal} {workload.name}: {workload.title}", *workload.lines(figures), ""]))
    return {"machine": machine(), "quick": quick, "workloads": results}
