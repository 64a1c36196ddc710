"""``engramdb create``: a new engram from a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import engramdb
from engramdb.cli import output
from engramdb.cli.writing import writing


def create(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The engram to make; must not exist.")],
    spec_file: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="Layers, projections and the seed.")],
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Hard limit while rows are written, such as 512MiB.")
    ] = "4GiB",
    as_json: output.AsJson = False,
) -> None:
    """Make a new engram from a spec.

    It costs milliseconds and kilobytes at any size: neurons that nothing has touched are not stored. Rows of layers
    with materialize = true, and of rules such as FixedIndegree, are written now; should that be killed, the same
    command goes on with it.

    \b
    Example:
      engramdb create brain.engram brain.toml
    """
    spec = engramdb.Spec.from_toml(spec_file)
    with writing() as advance:
        engramdb.create(path, spec, memory=memory, progress=advance).close()
    layers = [
        {"name": layer.name, "index": layer.index, "model": layer.model, "neurons": layer.neurons}
        for layer in spec.layers
    ]
    document = {
        "path": str(path),
        "name": spec.name,
        "seed": str(spec.seed),
        "dt_ms": spec.dt_ms,
        "neurons": spec.neurons,
        "layers": layers,
        "projections": [projection.name for projection in spec.all_projections],
    }
    output.show(
        document,
        as_json,
        lambda: [
            output.line(f"created {path}", f"{output.count(spec.neurons)} neurons, seed {spec.seed}"),
            output.columns(
                ("layer", "index", "model", "neurons"),
                [(layer.name, str(layer.index), layer.model, output.count(layer.neurons)) for layer in spec.layers],
                right=("index", "neurons"),
            ),
        ],
    )
