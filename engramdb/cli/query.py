"""``engramdb query PATH``: neurons and synapses, ways between them, conditions, and recall."""

from __future__ import annotations

from dataclasses import asdict
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


@app.command()
def ego(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="Id or label of the neuron.")],
    hops: Annotated[int, typer.Option("--hops", min=0, help="So many synapses away.")] = 2,
    direction: Annotated[
        Direction, typer.Option("--direction", help="Those it reaches (out), or from which it is reached (in).")
    ] = Direction.out,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many neurons, the nearest.")] = 10_000,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Show the neurons around one, and all synapses between them.

    \b
    Example:
      engramdb query brain.engram ego 0/0/42 --hops 2
    """
    path: Path = context.obj
    with engramdb.open(path, at=commit_at(at)) as engram:
        found = engram.ego(name, hops, limit, direction.value)
        labels = engram.labels(found.ids)
        tick = engram.tick
    neurons = [
        {"id": neuron, "label": label, "hop": hop}
        for neuron, label, hop in zip(output.ids(found.ids), labels, found.hop.tolist(), strict=True)
    ]
    synapses = [
        {"pre": pre, "post": post, "weight": weight, "delay_ticks": delay}
        for pre, post, weight, delay in zip(
            output.ids(found.pre), output.ids(found.post), found.weight, found.delay.tolist(), strict=True
        )
    ]
    document = {
        "path": str(path), "at": at, "tick": tick, "id": format_id(found.center), "hops": hops,
        "direction": direction.value, "truncated": found.truncated, "neurons": neurons, "synapses": synapses,
    }  # fmt: skip
    rings = [
        [str(hop), output.count(int(np.count_nonzero(found.hop == hop)))] for hop in range(int(found.hop.max()) + 1)
    ]
    head = output.line(
        f"{format_id(found.center)}: {output.many(len(neurons), 'neuron')}, {output.many(len(synapses), 'synapse')}",
        "the nearest; there are more" if found.truncated else "",
    )
    output.show(document, as_json, lambda: [head, output.columns(["hop", "neurons"], rings, right=["hop", "neurons"])])


class By(StrEnum):
    """What makes a path the best."""

    hops = "hops"
    strength = "strength"


@app.command()
def path(
    context: typer.Context,
    start: Annotated[str, typer.Argument(metavar="FROM", help="Id or label.")],
    end: Annotated[str, typer.Argument(metavar="TO", help="Id or label.")],
    by: Annotated[By, typer.Option("--by", help="The fewest synapses, or the strongest.")] = By.hops,
    full: Annotated[
        float, typer.Option("--full", help="A synapse of so many mV passes everything on; its share counts.")
    ] = 15.0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Look at so many neurons at most.")] = 1_000_000,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Find a way from one neuron to another; exit code 1 if there is none.

    The strength of a path is the product of abs(weight) / --full, at most 1 each, over its synapses.

    \b
    Example:
      engramdb query brain.engram path PLML VA04 --by strength
    """
    engram_path: Path = context.obj
    with engramdb.open(engram_path, at=commit_at(at)) as engram:
        found = engram.path(start, end, by.value, full=full, limit=limit)
        labels = engram.labels(found.ids)
        tick = engram.tick
    ids = output.ids(found.ids)
    document = {
        "path": str(engram_path), "at": at, "tick": tick, "by": by.value, "hops": found.hops,
        "strength": found.strength, "visited": found.visited, "neurons": ids, "labels": labels,
        "weights": found.weights,
    }  # fmt: skip
    weights = ["", *(output.number(float(weight), 6) for weight in found.weights)]
    rows = [[neuron, label or "", weight] for neuron, label, weight in zip(ids, labels, weights, strict=True)]
    head = output.line(output.many(found.hops, "synapse"), f"strength {output.number(found.strength)}")
    table = output.columns(["id", "label", "weight (mV)"], rows, right=["weight (mV)"])
    output.show(document, as_json, lambda: [head, table])


LayerName = Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Only this layer.")]
Where = Annotated[str | None, typer.Option("--where", metavar="CONDITION", help="Only those for which this is true.")]


@app.command()
def top(
    context: typer.Context,
    field: Annotated[str, typer.Argument(metavar="FIELD", help="A field of the models, degree (out), or in_degree.")],
    n: Annotated[int, typer.Option("--n", min=1, help="So many.")] = 50,
    smallest: Annotated[bool, typer.Option("--smallest", help="The smallest instead of the largest.")] = False,
    layer: LayerName = None,
    where: Where = None,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Rank neurons by a field.

    For in_degree all synapses of the layer are counted, stored and generated; of too many it is refused.

    \b
    Examples:
      engramdb query brain.engram top spike_count --n 10
      engramdb query brain.engram top in_degree --layer exc
    """
    path: Path = context.obj
    with engramdb.open(path, at=commit_at(at)) as engram:
        found = engram.top(field, n, layer=layer, where=where, smallest=smallest)
        labels = engram.labels(found.ids)
        tick = engram.tick
    neurons = [
        {"id": neuron, "label": label, found.field: value}
        for neuron, label, value in zip(output.ids(found.ids), labels, found.values, strict=True)
    ]
    document = {"path": str(path), "at": at, "tick": tick, "field": found.field, "neurons": neurons}
    rows = [[item["id"], item["label"] or "", _field(item[found.field].item())] for item in neurons]
    output.show(document, as_json, lambda: [output.columns(["id", "label", found.field], rows, right=[found.field])])


@app.command()
def select(
    context: typer.Context,
    where: Annotated[
        str | None, typer.Argument(metavar="[CONDITION]", help="Such as 'spike_count > 3 and v >= -60'.")
    ] = None,
    layer: LayerName = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="NAMES", help="Fields, with commas; with --json all by default."),
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", metavar="FIELD", help="By a field; with - before it, the largest first.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many on a page.")] = 1000,
    cursor: Annotated[str | None, typer.Option("--cursor", help="That of the page before.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """List the neurons for which a condition is true.

    Conditions compare fields with =, !=, <, <=, >, >= and in, joined by and, or, not and parentheses. Fields: id,
    layer, segment, local, state (virtual, charged, active, dormant), degree, in_degree, and those of the models.

    \b
    Examples:
      engramdb query brain.engram select "state = dormant and spike_count > 3" --order -spike_count
      engramdb query brain.engram select "layer in (exc, inh) and degree > 12" --count
    """
    path: Path = context.obj
    with engramdb.open(path, at=commit_at(at)) as engram:
        document: dict[str, Any] = {"path": str(path), "at": at, "tick": engram.tick}
        if count:
            document["count"] = engram.count(layer, where)
            output.show(document, as_json, lambda: [output.line(output.many(document["count"], "neuron"))])
            return
        names = None if columns is None else [name.strip() for name in columns.split(",")]
        if names is None and not as_json:  # what a line has room for
            fields = {field.name for one in engram.spec.layers for field in models.get(one.model).fields}
            names = ["id", "layer", "state", "out_degree", *({"v"} & fields), "spike_count", "last_spike"]
        found = engram.select(layer, where, names, order, limit, cursor)
    shown = {name: output.ids(column) if name == "id" else list(column) for name, column in found.columns.items()}
    rows = list(zip(*shown.values(), strict=True))
    neurons = [dict(zip(shown, row, strict=True)) for row in rows]
    document |= {"columns": list(shown), "neurons": neurons, "cursor": found.cursor}
    cells = [[value if isinstance(value, str) else _field(value.item()) for value in row] for row in rows]
    right = [name for name, column in found.columns.items() if column.dtype.kind in "iuf" and name != "id"]
    more = [output.line("", f"more: --cursor {found.cursor}")] if found.cursor else []
    output.show(document, as_json, lambda: [output.columns(list(shown), cells, right=right), *more])


@app.command()
def recall(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="CUE", help="Ids, ranges of ids (0/0/10-19) or labels.")],
    ticks: Annotated[int, typer.Option("--ticks", min=1, help="Look at so many ticks.")] = 50,
    amplitude: Annotated[float, typer.Option("--amplitude", help="mV in every tick of the cue.")] = 20.0,
    duration: Annotated[int, typer.Option("--duration", min=1, help="Ticks for which the cue is presented.")] = 1,
    least_spikes: Annotated[
        int, typer.Option("--least-spikes", min=1, help="A neuron that fired so often counts as active.")
    ] = 1,
    present: Annotated[
        bool, typer.Option("--present", help="Begin with what is going on, instead of with all at rest.")
    ] = False,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """Present a cue and say which memory traces the activity completes.

    It happens in a network of its own: the engram does not change. Chance is what as many neurons would have in common
    with the trace, had they been drawn at random from its layers.

    \b
    Example:
      engramdb query brain.engram recall 0/0/10-34 --ticks 50
    """
    from engramdb.cli.traces import neurons_named

    path: Path = context.obj
    with engramdb.open(path, at=commit_at(at)) as engram:
        found = engram.recall(
            neurons_named(engram, names), ticks, amplitude=amplitude, duration=duration, least_spikes=least_spikes,
            present=present,
        )  # fmt: skip
        tick = engram.tick
    matches = [asdict(match) for match in found.traces]
    document = {
        "path": str(path), "at": at, "tick": tick, "cue": output.ids(found.cue), "ticks": found.ticks,
        "active": output.ids(found.active), "spikes": int(found.counts.sum()), "traces": matches,
        "best": None if found.best is None else found.best.name,
    }  # fmt: skip
    shares = ("overlap", "chance", "completed", "completed_chance", "share")
    rows = [
        [match["name"], output.count(match["size"]), *(f"{match[share]:.3f}" for share in shares)] for match in matches
    ]
    headers = ["trace", "neurons", "overlap", "chance", "completed", "by\nchance", "share of\nactive"]
    head = output.line(
        f"{output.many(len(found.active), 'neuron')} fired",
        f"cue of {len(found.cue)}",
        output.many(found.ticks, "tick"),
    )
    output.show(document, as_json, lambda: [head, output.columns(headers, rows, right=headers[1:])])
