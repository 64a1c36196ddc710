"""``engramdb export``: engrams for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import engramdb
from engramdb.cli import output
from engramdb.cli.history import At, EngramPath, commit_at

app = typer.Typer(rich_markup_mode=None)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="What to write; must not exist.")]
LayerName = Annotated[
    str | None, typer.Option("--layer", metavar="NAME", help="Write this layer only; default: all of them.")
]


@app.callback()
def formats() -> None:
    """Write an engram out in another format.

    \b
    Example:
      engramdb export zarr brain.engram brain.zarr
    """


@app.command()
def zarr(
    path: EngramPath,
    out: Out,
    at: At = None,
    layer: LayerName = None,
    leaves: Annotated[
        bool, typer.Option("--leaves", help="Write the leaves too, as they are stored: some files for each.")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Write the stored neurons and synapses as a folder of Zarr v3.

    Each segment of each layer becomes a group of arrays: ids, state, and the rows of synapses. Zarr is read in Python,
    C++, Java, Julia, JavaScript and Rust. Neurons that nothing has touched are not stored, and do not appear.

    \b
    Example:
      engramdb export zarr brain.engram brain.zarr --at trained
    """
    with output.stages() as advance:
        done = engramdb.export_zarr(path, out, at=commit_at(at), layer=layer, leaves=leaves, progress=advance)
    document = {
        "path": str(path),
        "out": str(out),
        "commit": done.commit,
        "layers": list(done.layers),
        "neurons": done.neurons,
        "synapses": done.synapses,
        "leaves": done.leaves,
        "files": done.files,
        "bytes": done.nbytes,
        "elapsed_s": done.elapsed_s,
    }
    what = output.counted({"neurons": done.neurons, "synapses": done.synapses, "leaves": done.leaves})
    output.show(
        document,
        as_json,
        lambda: [
            output.line(f"wrote {out}", f"commit {done.commit} of {path}"),
            output.pairs(
                [
                    ("stored", what or "nothing"),
                    ("size", f"{output.size(done.nbytes)} in {output.many(done.files, 'file')}"),
                    ("elapsed", output.seconds(done.elapsed_s)),
                ]
            ),
        ],
    )
