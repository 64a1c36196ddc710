"""The benchmark suite: ``python -m engramdb.sizing.bench [NAME...] [--json] [--quick]``.

Each workload gives figures with the physical bound that was measured in the same run, because ratios travel between
machines and times do not. ``--quick`` runs everything small: it shows that it works, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.sizing.figure import Figure


@dataclass(frozen=True)
class Workload:
    """``module`` has ``run(folder, quick) -> list[Figure]``; ``goal`` names the row of the table of goals."""

    name: str
    goal: str
    title: str
    module: str

    def run(self, folder: Path, quick: bool) -> list[Figure]:
        figures: list[Figure] = import_module(self.module).run(folder, quick)
        return figures


WORKLOADS = (
    Workload("tick", "T1", "a tick of 1M LIF neurons, k = 12 random, all resident", "engramdb.sizing.workload_tick"),
    Workload("memory", "T7", "bytes of RAM per neuron, by its state", "engramdb.sizing.workload_memory"),
    Workload("bytes", "S4", "bytes on disk per neuron", "engramdb.sizing.workload_bytes"),
    Workload("lookup", "S6", "one row from a cold engram in a new process", "engramdb.sizing.workload_lookup"),
    Workload("history", "S7", "snapshot and restore of a clean state", "engramdb.sizing.workload_history"),
    Workload("import", "S9", "import of edge lists", "engramdb.sizing.workload_import"),
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


def measure(names: Sequence[str], quick: bool, folder: Path) -> dict[str, Any]:
    """Run the workloads ``names`` (all, if empty), each in a folder of its own; one document with all figures."""
    workloads = [w for w in WORKLOADS if not names or w.name in names]
    results = {}
    for workload in workloads:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{workload.name}-") as own:
            began = time.perf_counter()
            figures = workload.run(Path(own), quick)
        results[workload.name] = {
            "goal": workload.goal,
            "title": workload.title,
            "seconds": time.perf_counter() - began,
            "figures": [figure.as_dict() for figure in figures],
        }
        sys.stderr.write("\n".join([f"{workload.goal} {workload.name}: {workload.title}",
                                    *(f"  {figure.as_line()}" for figure in figures), "", ""]))  # fmt: skip
        sys.stderr.flush()
    return {"machine": machine(), "quick": quick, "workloads": results}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code. People read stderr, programs the document on stdout (``--json``)."""
    about = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m engramdb.sizing.bench", description=about)
    known = [workload.name for workload in WORKLOADS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(known)}; default all")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds: a check that it runs")
    parser.add_argument("--folder", type=Path, help="where engrams are made, and removed again")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(known))
    if unknown:
        parser.error(f'no workload "{unknown[0]}"; known: {", ".join(known)}')
    if given.folder is not None and not given.folder.is_dir():
        parser.error(f"--folder {given.folder}: no such folder")
    document = measure(given.names, given.quick, given.folder)
    if given.json:
        sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
