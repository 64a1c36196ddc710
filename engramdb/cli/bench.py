"""``engramdb bench``: the benchmark suite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engramdb.cli import output

Quick = Annotated[
    bool, typer.Option("--quick", help="Small sizes, in seconds: it shows that all works, and measures nothing.")
]
Folder = Annotated[
    Path | None, typer.Option("--folder", metavar="FOLDER", help="Where engrams are made, and removed again.")
]


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="What to measure; default: everything.")
    ] = None,
    quick: Quick = False,
    folder: Folder = None,
    as_json: output.AsJson = False,
) -> None:
    """Measure this machine.

    Each figure stands beside the bound that physics sets, measured in the same run: ratios travel between machines,
    times do not. A wrong NAME lists all there are.

    \b
    Example:
      engramdb bench bytes scan --json
    """
    from engramdb.sizing.bench import measure

    document = measure(names or (), quick, folder, lambda text: print(text, file=sys.stderr if as_json else sys.stdout))
    if as_json:
        output.show(document, True, lambda: [])
