"""``engramdb diff``: what differs between two states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

import engramdb
from engramdb.cli import output
from engramdb.cli.history import EngramPath, commit_at

if TYPE_CHECKING:
    from engramdb.difference import Diff

_COUNTS = ("added", "removed", "changed", "state_changed", "row_changed", "born", "unborn", "rewired")
_SYNAPSES = ("synapses_added", "synapses_removed", "synapses_reweighted")


def diff(
    path: EngramPath,
    before: Annotated[str, typer.Argument(metavar="A", help="A snapshot, a branch, or the number of a commit.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Only this layer.")] = None,
    ids: Annotated[
        int, typer.Option("--ids", min=0, metavar="N", help="Name up to N of the neurons that differ, by id.")
    ] = 0,
    as_json: output.AsJson = False,
) -> None:
    """Say what differs between two states, from A to B.

    Neurons that have a record in one of them only, whose state or synapses differ, synapses that came, went or have
    another weight, and what is in flight. Only what differs is read.

    \b
    Example:
      engramdb diff brain.engram trained main
    """
    found = engramdb.diff(path, commit_at(before) or before, commit_at(after) or after, layer=layer)
    document = _document(found)
    if ids:
        document["neurons"] = list(islice(_neurons(found, layer), ids))
    output.show(document, as_json, lambda: _text(document))


def _document(found: Diff) -> dict[str, Any]:
    layers = {}
    for name, one in found.by_layer.items():
        weights = asdict(one.weights)
        weights["quantiles"] = {f"{fraction:g}": value for fraction, value in one.weights.quantiles.items()}
        layers[name] = {
            "index": one.index,
            **{field: getattr(one, field) for field in (*_COUNTS, *_SYNAPSES)},
            "weights": weights,
        }
    return {
        "path": str(found.path),
        "same": found.same,
        "before": asdict(found.before),
        "after": asdict(found.after),
        "layers": layers,
        "in_flight": asdict(found.in_flight),
        "traces": asdict(found.traces),
    }


def _neurons(found: Diff, layer: str | None) -> Iterator[dict[str, Any]]:
    from engramdb.store.diff import ADDED, REMOVED, ROW, STATE

    words = {"added": ADDED, "removed": REMOVED, "state": STATE, "row": ROW}
    for changes in found.changes(layer):
        for neuron, what in zip(output.ids(changes.ids), changes.what.tolist(), strict=True):
            yield {"id": neuron, "what": [word for word, bit in words.items() if what & bit]}


def _text(document: dict[str, Any]) -> Iterator[RenderableType]:
    one, other = document["before"], document["after"]
    yield output.line(
        f"{one['name']} to {other['name']}",
        f"commit {one['commit']} to {other['commit']}",
        f"tick {output.count(one['tick'])} to {output.count(other['tick'])}",
    )
    if document["same"]:
        yield output.line("", "nothing differs")
        return
    for name, layer in document["layers"].items():
        yield output.line(f"\n{name}")
        yield output.pairs(list(_layer(layer)))
    yield output.line("\nin flight")
    yield output.pairs(list(_in_flight(document["in_flight"])))
    if any(document["traces"].values()):
        yield output.line("\ntraces")
        yield output.pairs([(what, ", ".join(names)) for what, names in document["traces"].items() if names])
    if "neurons" in document:
        rows = [(item["id"], ", ".join(item["what"])) for item in document["neurons"]]
        yield output.columns(("\nneuron", "\ndiffers in"), rows)


def _layer(layer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    n = {field: output.count(layer[field]) for field in (*_COUNTS, *_SYNAPSES)}
    yield "records", f"{n['added']} added, {n['removed']} removed, {n['changed']} changed"
    yield "", f"{n['state_changed']} in their state, {n['row_changed']} rows differ"
    reweighted = f"{n['synapses_reweighted']} with another weight"
    yield "synapses", f"{n['synapses_added']} added, {n['synapses_removed']} removed, {reweighted}"
    weights = layer["weights"]
    if weights["count"]:
        spread = ", ".join(f"{output.number(weights['quantiles'][q])} ({q})" for q in ("0.05", "0.5", "0.95"))
        yield (
            "weight change",
            (
                f"{output.number(weights['minimum'])} to {output.number(weights['maximum'])} mV, "
                f"mean {output.number(weights['mean'])}, std {output.number(weights['std'])}"
            ),
        )
        yield "", f"about {spread}"
    if layer["born"] or layer["unborn"] or layer["rewired"]:
        yield "declared", f"{n['born']} more, {n['unborn']} fewer, {n['rewired']} grown apart"


def _in_flight(flight: dict[str, Any]) -> Iterator[tuple[str, str]]:
    def pair(name: str) -> str:
        return f"{output.count(flight[name][0])} to {output.count(flight[name][1])}"

    yield (
        "charged",
        (
            f"{pair('charged')}: {output.count(flight['woken'])} woken, {output.count(flight['settled'])} settled, "
            f"{output.count(flight['recharged'])} recharged"
        ),
    )
    yield "spikes under way", pair("spikes")
    yield "stimuli to come", pair("stimuli")
