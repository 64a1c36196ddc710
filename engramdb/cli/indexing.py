"""``engramdb index``: the reverse index."""

from __future__ import annotations

from typing import Annotated

import typer

from engramdb.cli import output
from engramdb.cli.history import MAIN, EngramPath, OnBranch
from engramdb.cli.writing import open_to_write


def index(
    path: EngramPath,
    drop: Annotated[bool, typer.Option("--drop", help="Do without it from now on.")] = False,
    memory: Annotated[str, typer.Option("--memory", help="Memory budget, such as 512MiB.")] = "4GiB",
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Build the reverse index: asking who projects to a neuron then reads only the rows that do.

    It is kept up to date from then on, and may be dropped at any time. Rows that wiring rules generate need none.

    \b
    Example:
      engramdb index brain.engram
    """
    with open_to_write(path, branch=branch, memory=memory) as engram, output.stages() as advance:
        entries = engram.index(drop=drop, progress=lambda done, total: advance("index", done, total))
    document = {"dropped": drop, "entries": entries}
    said = (
        output.line("dropped the reverse index") if drop else output.line("reverse index", output.many(entries, "pair"))
    )
    output.show(document, as_json, lambda: [said])
