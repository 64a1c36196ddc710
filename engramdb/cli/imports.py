"""``engramdb import``: connectomes from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import engramdb
from engramdb.cli import output
from engramdb.errors import InvalidInput

if TYPE_CHECKING:
    from engramdb.interchange.origin import Imported

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def formats() -> None:
    """Make an engram from another format.

    \b
    Example:
      engramdb import edges connectome.csv brain.engram
    """


class Ids(StrEnum):
    """What the neurons' names in the source become."""

    pack = "pack"
    keep = "keep"


class Duplicates(StrEnum):
    """What several lines of one pair become."""

    sum = "sum"
    keep = "keep"


def _column(name: str, what: str) -> Any:
    return typer.Option(f"--{name}", metavar="COLUMN", help=f"Name of the column with {what}.")


@app.command()
def edges(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="CSV (.csv, .tsv, .txt, also .gz) or .parquet.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The engram to make; must not exist.")],
    ids: Annotated[
        Ids,
        typer.Option(
            "--ids", help="pack: number the names from 0 in sorted order, and keep them as labels. keep: they are ids."
        ),
    ] = Ids.pack,
    duplicates: Annotated[
        Duplicates, typer.Option("--duplicates", help="Add the weights of a repeated pair, or keep each as a synapse.")
    ] = Duplicates.sum,
    weight_scale: Annotated[
        float, typer.Option("--weight-scale", metavar="MV", help="Multiplies each weight, to give mV.")
    ] = 1.0,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Take only rows with this value. May be repeated."),
    ] = None,
    pre: Annotated[str, _column("pre", "the source of a synapse")] = "pre",
    post: Annotated[str, _column("post", "its target")] = "post",
    weight: Annotated[str, _column("weight", "its weight")] = "weight",
    sign: Annotated[str, _column("sign", "its sign")] = "sign",
    delay: Annotated[str, _column("delay", "its delay in ms")] = "delay",
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="CHAR", help="Between columns; default: as line 1 tells.")
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Line 1 has names, or is data and columns are called 1, 2, 3; default: as it looks.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that cannot be used, instead of counting it.")
    ] = False,
    layer: Annotated[str, typer.Option("--layer", metavar="NAME", help="Name of the layer to make.")] = "neurons",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Its neuron model.")] = "lif",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the model. May be repeated."),
    ] = None,
    delay_ms: Annotated[
        float, typer.Option("--delay-ms", metavar="MS", help="Delay of all synapses, without such a column.")
    ] = 1.0,
    weights: Annotated[
        str, typer.Option("--weights", metavar="TYPE", help="Round weights to float16 or int8; default: float32.")
    ] = "float32",
    weight_step: Annotated[
        float | None, typer.Option("--weight-step", metavar="MV", help="One step of int8 weights; they reach 127.")
    ] = None,
    dt_ms: Annotated[float, typer.Option("--dt-ms", metavar="MS", help="Length of a tick.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the engram's random numbers.")] = 0,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Hard limit, such as 512MiB.")] = "1GiB",
    as_json: output.AsJson = False,
) -> None:
    """Import a list of synapses.

    A row has pre, post, and optionally weight, sign and delay. The list is streamed, and may be larger than memory.
    Rows that cannot be used are counted, and the first of them shown.

    \b
    Example:
      engramdb import edges connectome.csv brain.engram --weight-scale 0.5
    """
    with output.stages() as advance:
        report = engramdb.import_edges(
            source,
            path,
            ids=ids.value,
            duplicates=duplicates.value,
            weight_scale=weight_scale,
            where=where or (),
            pre=pre,
            post=post,
            weight=weight,
            sign=sign,
            delay=delay,
            delimiter=delimiter,
            header=header,
            strict=strict,
            layer=layer,
            model=model,
            params=dict(map(_parameter, param or ())),
            delay_ms=delay_ms,
            weights=weights,
            weight_step=weight_step,
            dt_ms=dt_ms,
            seed=seed,
            memory=memory,
            progress=advance,
        )
    document = {
        "source": str(source),
        "path": str(path),
        "rows": report.rows,
        "accepted": report.accepted,
        "filtered": report.filtered,
        "rejected": report.rejected,
        "first_rejected": [rejected._asdict() for rejected in report.first_rejected],
        "labels": report.labels,
        "neurons": report.neurons,
        "synapses": report.synapses,
        "elapsed_s": report.elapsed_s,
    }
    output.show(document, as_json, lambda: _text(document))
    if not as_json:
        _tell_rejected(document)


Target = Annotated[Path, typer.Argument(metavar="PATH", help="The engram to make; must not exist.")]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="Hard limit, such as 512MiB.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the engram's random numbers.")]


@app.command()
def hdf5(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A file of export hdf5.")],
    path: Target,
    memory: Memory = "1GiB",
    as_json: output.AsJson = False,
) -> None:
    """Import an engram from the HDF5 file that export wrote of it.

    It is the same, bit by bit, and goes on at the tick of the file; its history begins there.

    \b
    Example:
      engramdb import hdf5 brain.h5 brain.engram
    """
    with output.stages() as advance:
        done = engramdb.import_hdf5(source, path, memory=memory, progress=advance)
    _show(done, source, as_json)


@app.command()
def parquet(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of export parquet.")],
    path: Target,
    memory: Memory = "1GiB",
    as_json: output.AsJson = False,
) -> None:
    """Import an engram from the folder of Parquet tables that export wrote of it.

    It is the same, bit by bit. Tables of synapses from elsewhere are for import edges.

    \b
    Example:
      engramdb import parquet brain-tables brain.engram
    """
    with output.stages() as advance:
        done = engramdb.import_parquet(source, path, memory=memory, progress=advance)
    _show(done, source, as_json)


@app.command()
def sonata(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A SONATA configuration, or the folder it lies in.")],
    path: Target,
    components: Annotated[
        Path | None,
        typer.Option("--components", metavar="DIR", help="Files of parameters that are not where SRC says."),
    ] = None,
    dt_ms: Annotated[
        float | None,
        typer.Option("--dt-ms", metavar="MS", help="Length of a tick; default: the simulation's, or 0.1."),
    ] = None,
    seed: Seed = 0,
    memory: Memory = "1GiB",
    as_json: output.AsJson = False,
) -> None:
    """Import a SONATA network: nodes, edges, their types and parameters.

    A population becomes a layer, in which node n is the n-th neuron. Cells of NEURON's IntFire1, of NEST's
    iaf_psc_delta and iaf_psc_exp, and virtual ones have counterparts. What the simulation plays is listed;
    run --play plays it.

    \b
    Example:
      engramdb import sonata circuit_config.json net.engram --components components
    """
    with output.stages() as advance:
        done = engramdb.import_sonata(
            source, path, components=components, dt_ms=dt_ms, seed=seed, memory=memory, progress=advance
        )
    layers = {name: list(own) for name, own in done.layers.items()}
    inputs = [{"name": i.name, "file": str(i.file), "population": i.population} for i in done.inputs]
    plays = [("plays", f"{i.file} to {i.population}") for i in done.inputs]
    _show(done, source, as_json, {"layers": layers, "inputs": inputs}, plays)


@app.command()
def vdm(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="state_<step>.h5 or .npz.")],
    path: Target,
    seed: Seed = 0,
    memory: Memory = "1GiB",
    as_json: output.AsJson = False,
) -> None:
    """Import an engram of the Prometheus VDM runtime, sparse or dense.

    W stays with the neurons as a column, neighbours become synapses; export vdm writes it back.

    \b
    Example:
      engramdb import vdm state_400.h5 void.engram
    """
    with output.stages() as advance:
        done = engramdb.import_vdm(source, path, seed=seed, memory=memory, progress=advance)
    _show(done, source, as_json)


def _show(
    done: Imported,
    source: Path,
    as_json: bool,
    more: dict[str, Any] | None = None,
    lines: Sequence[tuple[str, str]] = (),
) -> None:
    document = {
        "source": str(source),
        "path": str(done.path),
        "neurons": done.neurons,
        "synapses": done.synapses,
        "notes": list(done.notes),
        "elapsed_s": done.elapsed_s,
        **(more or {}),
    }
    rows = [
        ("neurons", output.count(done.neurons)),
        ("synapses", output.count(done.synapses)),
        ("elapsed", output.seconds(done.elapsed_s)),
        *lines,
        *(("note", note) for note in done.notes),
    ]
    output.show(document, as_json, lambda: [output.line(f"imported {done.path}", f"from {source}"), output.pairs(rows)])


def _parameter(text: str) -> tuple[str, float]:
    """Name and value of a ``--param``."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise InvalidInput(f'--param "{text}": expected NAME=NUMBER, such as tau=15') from None


def _text(document: dict[str, Any]) -> list[Any]:
    rows, left = document["rows"], [f"{output.count(document['rejected'])} rejected"]
    if document["filtered"]:
        left.insert(0, f"{output.count(document['filtered'])} not asked for")
    speed = output.number(rows / document["elapsed_s"], 3) if document["elapsed_s"] else "-"
    return [
        output.line(f"imported {document['path']}", f"from {document['source']}"),
        output.pairs(
            [
                ("neurons", output.count(document["neurons"])),
                ("synapses", output.count(document["synapses"])),
                ("rows", f"{output.count(rows)}, {', '.join(left)}"),
                ("elapsed", f"{output.seconds(document['elapsed_s'])}, {speed} rows/s"),
            ]
        ),
    ]


def _tell_rejected(document: dict[str, Any]) -> None:
    """Name the first rejected rows on stderr."""
    for rejected in document["first_rejected"]:
        where = f"{document['source']} line {rejected['line']}"
        print(f"engramdb: {where}: {rejected['reason']}; the row is left out", file=sys.stderr)
    more = document["rejected"] - len(document["first_rejected"])
    if more > 0:
        print(f"engramdb: and {output.count(more)} more; --strict stops at the first", file=sys.stderr)
