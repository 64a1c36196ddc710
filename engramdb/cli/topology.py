"""``engramdb topology``: holes, clusters and complexity."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

import engramdb
from engramdb.address import format_id
from engramdb.cli import output
from engramdb.cli.history import At, EngramPath, commit_at

if TYPE_CHECKING:
    from engramdb.topology import Reading


class Clusters(StrEnum):
    """What the clusters of the sample are."""

    communities = "communities"
    components = "components"


def topology(
    path: EngramPath,
    at: At = None,
    patches: Annotated[int, typer.Option("--patches", min=0, metavar="N", help="How many patches.")] = 2,
    patch_neurons: Annotated[
        int, typer.Option("--patch-neurons", min=3, metavar="N", help="How many neurons each has.")
    ] = 5_000,
    sample: Annotated[
        int, typer.Option("--sample", min=3, metavar="N", help="Neurons of the subgraph that is clustered.")
    ] = 50_000,
    clusters: Annotated[
        Clusters,
        typer.Option("--clusters", help="Communities, by Leiden's algorithm (needs networkit), or just components."),
    ] = Clusters.communities,
    least: Annotated[
        float, typer.Option("--least", min=0.0, metavar="S", help="Leave out synapses weaker than this.")
    ] = 0.0,
    persistence: Annotated[
        bool, typer.Option("--persistence", help="With --json: the lifetimes of holes too (needs ripser; slow).")
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Measure the topology of an engram, by samples: the time does not grow with its size.

    Holes (B1) in patches where most changes, the graph of its clusters, random sentinels, and one complexity. As of the
    last commit; it may be running elsewhere.

    \b
    Example:
      engramdb topology brain.engram --at trained
    """
    from engramdb.topology import Settings

    settings = Settings(
        patches=patches, patch_neurons=patch_neurons, sample=sample, clusters=clusters.value, least=least,
        persistence=persistence,
    )  # fmt: skip
    began = time.perf_counter()
    with engramdb.open(path, at=commit_at(at)) as engram:
        reading = engram.topology(settings)
    document = {"path": str(path), "at": at, **reading.as_dict(), "elapsed_s": time.perf_counter() - began}
    output.show(document, as_json, lambda: _text(reading, document["elapsed_s"]))


_CHANGE = {
    "void": "the next tick's |dW|",
    "rows": "learned weights",
    "spikes": "spikes, nothing learns",
    "none": "nothing is active",
}


def _text(reading: Reading, elapsed: float) -> list[Any]:
    parts, coarse, seen, probe = reading.parts, reading.coarse, reading.sentinels, reading.probe
    names = ("patches", "clusters", "sentinels")
    sums = " + ".join(
        f"{output.number(weight, 2)} x {output.number(getattr(parts, name))} ({name})"
        for weight, name in zip(reading.weights, names, strict=True)
    )
    sampled = output.many(coarse.sampled.neurons, "sampled neuron")
    clusters = f"{output.count(coarse.clusters)} among {sampled}"
    graph = f"{output.count(coarse.shape.neurons)} nodes, {output.many(coarse.shape.edges, 'edge')}"
    hole = f"{output.number(100 * seen.holes, 3)} +- {output.number(100 * seen.error, 2)} % on a hole"
    around = f"{output.many(probe.neurons, 'neuron')}, {output.count(probe.shape.neurons)} around them"
    rows = [
        ("complexity", f"{output.number(reading.complexity)} = {sums}"),
        ("change", f"{_CHANGE[reading.energy]}: {output.number(reading.mean_dw)} a tick, in the mean"),
        ("clusters", f"{clusters}, in {output.many(coarse.sampled.components, 'component')}"),
        ("their graph", f"{graph}, B1 {output.count(coarse.b1)}"),
        ("sentinels", f"{output.count(seen.wedges)}: {output.number(100 * seen.closed, 3)} % closed, {hole}"),
        ("probe", f"{around}, cycle rank {output.count(probe.shape.cycle_rank)}"),
        ("elapsed", output.seconds(elapsed)),
    ]
    numbers = ["neurons", "edges", "E - V + C", "B1", "triangles\nper edge", "entropy\n(bits)"]
    cells = [
        [
            format_id(patch.seed), output.count(patch.shape.neurons), output.count(patch.shape.edges),
            output.count(patch.shape.cycle_rank), output.count(patch.b1),
            output.number(patch.shape.triangles_per_edge), output.number(patch.shape.degree_entropy),
        ]
        for patch in reading.patches
    ]  # fmt: skip
    head = output.line(f"topology at tick {output.count(reading.tick)}", output.many(reading.neurons, "neuron"))
    return [head, output.pairs(rows), output.columns(["patch around", *numbers], cells, right=numbers)]
