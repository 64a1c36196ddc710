"""``engramdb query PATH``: neurons and synapses."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import engramdb
from engramdb import models
from engramdb.address import format_hex, format_id
from engramdb.cli import output
from engramdb.cli.history import At, EngramPath, commit_at

app = typer.Typer(rich_markup_mode=None)


class Direction(StrEnum):
    """Which synapses of a neuron: those it sends, or those it receives."""

    out = "out"
    into = "in"


@app.callback()
def query(context: typer.Context, path: EngramPath) -> None:
    """Ask an engram about neurons.

    It may be running elsewhere; the answer is as of its last commit. A neuron is named by its id (0/0/42, 0x2A or 42)
    or by its imported label.

    \b
    Example:
      engramdb query brain.engram neuron 0/0/42
    """
    context.obj = path


@app.command()
def neuron(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="ID", help="Ids or labels.")],
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Show the state of neurons.

    \b
    Example:
      engramdb query brain.engram neuron 0/0/42 ALML --at trained
    """
    path: Path = context.obj
    with engramdb.open(path, at=commit_at(at)) as engram:
        found = [engram.neuron(one) for one in engram.resolve(names).tolist()]
        neurons: list[dict[str, Any]] = [
            {
                "id": format_id(item.id),
                "hex": format_hex(item.id),
                "label": item.label,
                "layer": engram.spec.layer(item.id >> 48).name,
                "state": item.state,
                "out_degree": item.out_degree,
                "fields": dict(item.fields),
            }
            for item in found
        ]
        document = {"path": str(path), "at": at, "tick": engram.tick, "neurons": neurons}
        units = {field.name: field.unit for layer in engram.spec.layers for field in models.get(layer.model).fields}
    output.show(document, as_json, lambda: [_neurons_table(neurons, units)])


def _neurons_table(neurons: list[dict[str, Any]], units: dict[str, str]) -> Any:
    fields = list(dict.fromkeys(name for item in neurons for name in item["fields"]))
    labelled = any(item["label"] is not None for item in neurons)
    rows = []
    for item in neurons:
        cells = [item["id"], item["label"] or ""] if labelled else [item["id"]]
        cells += [item["layer"], item["state"], output.count(item["out_degree"])]
        cells += [_field(item["fields"].get(name)) for name in fields]
        rows.append(cells)
    # in two lines, so that a row fits 80 characters
    named = [
        name.replace("_", "\n") if units.get(name) in (None, "1", "tick", "ticks") else f"{name}\n({units[name]})"
        for name in fields
    ]
    headers = ["id", *(["label"] if labelled else []), "layer", "state", "out\ndegree", *named]
    return output.columns(headers, rows, right=["out\ndegree", *named])


def _field(value: Any) -> str:
    if value is None:
        return ""
    return output.number(value, 6) if isinstance(value, float) else output.count(value)


@app.command()
def synapses(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="Id or label of the neuron.")],
    direction: Annotated[
        Direction, typer.Option("--direction", help="Those it sends (out), or receives (in).")
    ] = Direction.out,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show at most so many.")] = 1000,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """List the synapses of a neuron, with weights and delays.

    \b
    Example:
      engramdb query brain.engram synapses 0/0/42 --direction in --limit 20
    """
    path: Path = context.obj
    with engramdb.open(path, at=commit_at(at)) as engram:
        own = int(engram.resolve([name])[0])
        found = engram.synapses(own, direction=direction.value)
        others = found.targets if direction is Direction.out else found.sources
        shown = slice(0, limit)
        labels = engram.labels(others[shown])
        own_label = engram.labels([own])[0]
        tick = engram.tick
    other = "post" if direction is Direction.out else "pre"
    rows = [
        {other: format_id(neuron_id), "label": label, "weight": weight, "delay_ticks": delay, "projection": projection}
        for neuron_id, label, weight, delay, projection in zip(
            others[shown].tolist(),
            labels,
            found.weights[shown],
            np.broadcast_to(found.delays, others.shape)[shown].tolist(),
            found.projections[shown],
            strict=True,
        )
    ]
    total = len(others)
    document = {
        "path": str(path),
        "at": at,
        "tick": tick,
        "id": format_id(own),
        "label": own_label,
        "direction": direction.value,
        "count": total,
        "synapses": rows,
    }
    output.show(document, as_json, lambda: _synapses_text(document, other, rows))


def _synapses_text(document: dict[str, Any], other: str, rows: list[dict[str, Any]]) -> list[Any]:
    named = f"{document['id']} ({document['label']})" if document["label"] else document["id"]
    total, way = document["count"], "sends" if other == "post" else "receives"
    cut = f"the first {output.count(len(rows))} of them:" if len(rows) < total else ""
    head = output.line(f"{named} {way} {output.many(total, 'synapse')}", cut)
    if not rows:
        return [head]
    labelled = any(row["label"] is not None for row in rows)
    cells = [
        [
            row[other],
            *([row["label"] or ""] if labelled else []),
            output.number(float(row["weight"]), 6),
            str(row["delay_ticks"]),
            row["projection"],
        ]
        for row in rows
    ]
    headers = [other, *(["label"] if labelled else []), "weight (mV)", "delay (ticks)", "projection"]
    return [head, output.columns(headers, cells, right=["weight (mV)", "delay (ticks)"])]
