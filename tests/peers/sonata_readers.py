"""Reads a network that EngramDB exported with libsonata and with bmtk, in their environment, and compares every edge.

    python tests/peers/sonata_readers.py .venv-sonata/bin/python      exports the example and a network of wiring rules

In the other environment it runs itself: ``sonata_readers.py --read FOLDER`` prints what each of the two reads, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Edges = list[tuple[int, int, float, float]]


def with_libsonata(folder: Path) -> dict[str, Any]:
    """Populations by the configuration; edges by target, through the index, and by source, through the other."""
    import libsonata

    config = libsonata.CircuitConfig.from_file(str(folder / "circuit_config.json"))
    nodes = {name: config.node_population(name).size for name in sorted(config.node_populations)}
    edges: dict[str, dict[str, Edges]] = {"afferent": {}, "efferent": {}}
    for name in sorted(config.edge_populations):
        population = config.edge_population(name)
        for direction, size in (("afferent", nodes[population.target]), ("efferent", nodes[population.source])):
            found: Edges = []
            for node in range(size):
                chosen = getattr(population, f"{direction}_edges")([node])
                columns = (
                    population.source_nodes(chosen), population.target_nodes(chosen),
                    population.get_attribute("syn_weight", chosen), population.get_attribute("delay", chosen),
                )  # fmt: skip
                found += zip(*(column.tolist() for column in columns), strict=True)
            edges[direction][name] = sorted(found)
    return {"nodes": nodes, **edges}


def with_bmtk(folder: Path) -> dict[str, Any]:
    """Nodes with their models; edges by target and by source."""
    from bmtk.utils.sonata import File

    nodes: dict[str, int] = {}
    edges: dict[str, dict[str, Edges]] = {"afferent": {}, "efferent": {}}
    for file in sorted((folder / "network").glob("*_nodes.h5")):
        name = file.name.removesuffix("_nodes.h5")
        opened = File(data_files=[str(file)], data_type_files=[str(file.with_name(f"{name}_node_types.csv"))])
        population = opened.nodes[name]
        assert all(population.get_node_id(i)["model_template"] for i in range(len(population)))
        nodes[name] = len(population)
    for file in sorted((folder / "network").glob("*_edges.h5")):
        name = file.name.removesuffix("_edges.h5")
        opened = File(data_files=[str(file)], data_type_files=[str(file.with_name(f"{name}_edge_types.csv"))])
        population = opened.edges[name]
        get: dict[str, tuple[Callable[[int], Any], int]] = {
            "afferent": (population.get_target, nodes[population.target_population]),
            "efferent": (population.get_source, nodes[population.source_population]),
        }
        for direction, (of, size) in get.items():
            edges[direction][name] = sorted(
                (int(e.source_node_id), int(e.target_node_id), float(e["syn_weight"]), float(e["delay"]))
                for node in range(size)
                for e in of(node)
            )
    return {"nodes": nodes, **edges}


def read(folder: Path) -> None:
    """Print what both read."""
    found = {"libsonata": with_libsonata(folder), "bmtk": with_bmtk(folder)}
    sys.stdout.write(json.dumps(found))


def exported(path: Path) -> Edges:
    """All synapses of an engram by position: (source layer and node, target layer and node, weight, delay)."""
    import numpy as np

    import engramdb
    from tests.networks import edges_of

    with engramdb.open(path) as e:
        pre, post, weight, delay = edges_of(e)
        delay_ms = np.round(delay * e.spec.dt_ms, 9)
        local = np.uint64(0xFFFFFFFF)
        columns = ((pre & local), (post & local), weight, delay_ms)
        return sorted(zip(*(column.tolist() for column in columns), strict=True))


def main(python: str) -> int:
    """Export, let the peers read, compare; the exit code."""
    root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(root))
    import engramdb
    from tests import sonata

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ruled = engramdb.Spec(
            seed=5,
            layers=[
                engramdb.Layer("exc", segments=[400], wiring=engramdb.SmallWorld(k=9, weight=(1.0, 2.0))),
                engramdb.Layer("inh", model="lif_exp", segments=[100]),
            ],
            projections=[engramdb.Projection("inh", "exc", engramdb.Bernoulli(p=0.1), delay_ms=(1.0, 5.0), sign=-1)],
        )
        engramdb.create(folder / "rules.engram", ruled).close()
        sonata.imported(folder / "example.engram", 0.1)
        for network in ("example", "rules"):
            engramdb.export_sonata(folder / f"{network}.engram", folder / network)
            command = [python, "-W", "ignore", __file__, "--read", str(folder / network)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            expected = exported(folder / f"{network}.engram")
            for reader, seen in found.items():
                for direction in ("afferent", "efferent"):
                    edges = sorted(tuple(edge) for own in seen[direction].values() for edge in own)
                    same = edges == expected
                    verdict = "the same" if same else "OTHERS"
                    sys.stdout.write(f"{network}: {reader}, {direction}: {len(edges):,} edges, {verdict}\n")
                    if not same:
                        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1]))
