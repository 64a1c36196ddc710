"""``engramdb grow``: more neurons."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

import engramdb
from engramdb.address import format_id, pack
from engramdb.cli import output
from engramdb.cli.history import MAIN, EngramPath, OnBranch
from engramdb.cli.writing import writing


def grow(
    path: EngramPath,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Name of the layer that grows.")],
    neurons: Annotated[int, typer.Option("--neurons", min=1, metavar="N", help="How many neurons to add.")],
    k: Annotated[
        int | None,
        typer.Option("--k", min=0, metavar="K", help="Their out-degree; default: that of the layer's wiring."),
    ] = None,
    materialize: Annotated[
        bool,
        typer.Option("--materialize", help="Write their rows out, instead of computing them when they are needed."),
    ] = False,
    inbound: Annotated[
        int, typer.Option("--inbound", min=0, metavar="N", help="Synapses from older neurons onto them.")
    ] = 0,
    branch: OnBranch = MAIN,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Hard limit, such as 512MiB.")] = "4GiB",
    as_json: output.AsJson = False,
) -> None:
    """Add neurons to the end of a layer, wired by its rule; no row that exists changes but by --inbound.

    It costs milliseconds at any size. With --materialize rows are written in parts, each committed; should that be cut
    short, the next command that writes to the engram goes on with it.

    \b
    Example:
      engramdb grow brain.engram cortex --neurons 1000000
    """
    began = time.perf_counter()
    with writing() as advance, engramdb.open(path, "r+", branch=branch, memory=memory, progress=advance) as engram:
        bundle = engram.grow(layer, neurons, k, materialize=materialize, inbound=inbound, progress=advance)
        first = pack(bundle.layer, bundle.segment, bundle.lo)
        document: dict[str, Any] = {
            "path": str(path),
            "layer": layer,
            "neurons": bundle.neurons,
            "first": format_id(first),
            "last": format_id(first + bundle.neurons - 1),
            "materialized": bundle.materialized,
            "tick": engram.tick,
            "neurons_in_all": len(engram),
        }
    document["elapsed_s"] = time.perf_counter() - began
    output.show(document, as_json, lambda: _text(document))


def _text(document: dict[str, Any]) -> list[Any]:
    rows = [
        ("ids", f"{document['first']} to {document['last']}"),
        ("rows", "written" if document["materialized"] else "virtual"),
        ("elapsed", output.seconds(document["elapsed_s"])),
        ("in all", f"{output.count(document['neurons_in_all'])} neurons"),
    ]
    return [output.line(f"grew {document['layer']} by {output.count(document['neurons'])} neurons"), output.pairs(rows)]
