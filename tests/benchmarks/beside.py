"""The command line of the benchmarks that run here and in Brian2, in turn."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from engramdb.sizing.figure import Figure


def run_beside(
    prog: str,
    doc: str | None,
    measure: Callable[..., list[Figure]],
    arguments: Sequence[str] | None,
    *,
    rounds: int,
) -> int:
    """Print what ``measure(python of the peer, folder, rounds, quick=)`` finds; returns the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description=(doc or "").split("\n\n")[1])
    parser.add_argument("peer", help="the Python of the environment that has Brian2")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each is run, in turn; default {rounds}")
    parser.add_argument("--quick", action="store_true", help="small: only to see that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given.peer, Path(folder), given.rounds, quick=given.quick)
    sys.stderr.write("\n".join(figure.as_line() for figure in figures) + "\n")
    if given.json:
        sys.stdout.write(json.dumps({"quick": given.quick, "figures": [f.as_dict() for f in figures]}) + "\n")
    return 0
