"""``engramdb export``: engrams for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import engramdb
from engramdb.budget import size_text
from engramdb.cli import output
from engramdb.cli.history import At, EngramPath, commit_at

if TYPE_CHECKING:
    from engramdb.interchange.exported import Exported

app = typer.Typer(rich_markup_mode=None)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="What to write; must not exist.")]
LayerName = Annotated[
    str | None, typer.Option("--layer", metavar="NAME", help="Write this layer only; default: all of them.")
]


class Names(StrEnum):
    """What neurons are called in a table."""

    label = "label"
    id = "id"


@app.callback()
def formats() -> None:
    """Write an engram out in another format.

    \b
    Example:
      engramdb export zarr brain.engram brain.zarr
    """


def _show(done: Exported, path: Path, as_json: bool) -> None:
    document = {
        "path": str(path),
        "out": str(done.path),
        "commit": done.commit,
        "layers": list(done.layers),
        "neurons": done.neurons,
        "synapses": done.synapses,
        "files": done.files,
        "bytes": done.nbytes,
        "notes": list(done.notes),
        "elapsed_s": done.elapsed_s,
    }
    output.show(document, as_json, lambda: _people(document))


def _people(document: dict[str, Any]) -> list[Any]:
    what = output.counted({name: document[name] for name in ("neurons", "synapses", "leaves") if name in document})
    rows = [
        ("written", what or "nothing"),
        ("size", f"{size_text(document['bytes'])} in {output.many(document['files'], 'file')}"),
        ("elapsed", output.seconds(document["elapsed_s"])),
        *(("note", note) for note in document.get("notes", ())),
    ]
    return [
        output.line(f"wrote {document['out']}", f"commit {document['commit']} of {document['path']}"),
        output.pairs(rows),
    ]


@app.command()
def hdf5(path: EngramPath, out: Out, at: At = None, as_json: output.AsJson = False) -> None:
    """Write all of an engram as one HDF5 file.

    The file says itself what is in it, and can be read with h5py alone: spec, neurons with their state and rows,
    delays, labels, and what is in flight. engramdb import hdf5 makes the same engram of it, bit by bit; inspect opens
    it too.

    \b
    Example:
      engramdb export hdf5 brain.engram brain.h5 --at trained
    """
    with output.stages() as advance:
        done = engramdb.export_hdf5(path, out, at=commit_at(at), progress=advance)
    _show(done, path, as_json)


@app.command()
def sonata(
    path: EngramPath,
    out: Out,
    at: At = None,
    spikes: Annotated[
        Path | None, typer.Option("--spikes", metavar="FILE", help="A recording of run --record, to go along.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Write an engram as a folder with a SONATA network.

    Every layer becomes a population of nodes, every projection one of edges, with the indices of both directions, as
    libsonata and bmtk read them. Rows that only a wiring rule gives are written out.

    \b
    Example:
      engramdb export sonata brain.engram brain-sonata
    """
    with output.stages() as advance:
        done = engramdb.export_sonata(path, out, at=commit_at(at), spikes=spikes, progress=advance)
    _show(done, path, as_json)


@app.command()
def parquet(path: EngramPath, out: Out, at: At = None, as_json: output.AsJson = False) -> None:
    """Write an engram as a folder of Parquet tables.

    neurons.parquet and synapses.parquet are for DuckDB, pandas, Spark and their kin; with the other files of the folder
    engramdb import parquet makes the same engram again, bit by bit.

    \b
    Example:
      engramdb export parquet brain.engram brain-tables
    """
    with output.stages() as advance:
        done = engramdb.export_parquet(path, out, at=commit_at(at), progress=advance)
    _show(done, path, as_json)


@app.command()
def edges(
    path: EngramPath,
    out: Out,
    at: At = None,
    layer: LayerName = None,
    ids: Annotated[
        Names, typer.Option("--ids", help="label: names of neurons where they have one. id: ids as numbers.")
    ] = Names.label,
    as_json: output.AsJson = False,
) -> None:
    """Write the synapses as a table, one a row.

    OUT ends in .csv, .tsv, .txt (also .gz) or .parquet. Columns are pre, post, weight (mV), delay (ms), projection, as
    engramdb import edges takes them. Rows that only a wiring rule gives are written out.

    \b
    Example:
      engramdb export edges worm.engram worm.csv
    """
    with output.stages() as advance:
        done = engramdb.export_edges(path, out, at=commit_at(at), layer=layer, ids=ids.value, progress=advance)
    _show(done, path, as_json)


@app.command()
def graphml(
    path: EngramPath,
    out: Out,
    at: At = None,
    layer: LayerName = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Refuse more neurons, or synapses, than this.")
    ] = 100_000,
    as_json: output.AsJson = False,
) -> None:
    """Write a small engram, or one small layer, as GraphML.

    For Gephi, Cytoscape, igraph and their kin, which hold all of it in memory: hence the limit.

    \b
    Example:
      engramdb export graphml worm.engram worm.graphml
    """
    done = engramdb.export_graphml(path, out, at=commit_at(at), layer=layer, limit=limit)
    _show(done, path, as_json)


@app.command()
def vdm(path: EngramPath, out: Out, at: At = None, layer: LayerName = None, as_json: output.AsJson = False) -> None:
    """Write a layer as an engram of the Prometheus VDM runtime.

    OUT ends in .h5 or .npz; the runtime looks for state_<step>.h5. The neurons must have a W, as those that
    engramdb import vdm made.

    \b
    Example:
      engramdb export vdm void.engram state_400.h5
    """
    with output.stages() as advance:
        done = engramdb.export_vdm(path, out, at=commit_at(at), layer=layer, progress=advance)
    _show(done, path, as_json)


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
    output.show(document, as_json, lambda: _people(document))
