"""The network 300_intfire of the SONATA format's examples, read for a simulation; see tests/data/300_intfire.

300 cells of NEURON's ``IntFire1``, 240 excitatory and 60 inhibitory, and two populations, lgn and tw, of which only
spike trains are known. An event of weight w adds w to the cell's m, which decays with tau; where m passes 1 the cell
fires, m becomes 0, and for ``refrac`` ms events are lost. Synapses of a pair act together: nsyns times their weight.

The files of components that the network names are not part of the example. Those in tests/data/300_intfire/components
have the values of the other examples of that repository: tau 24 and 7 ms for excitatory and inhibitory cells, refrac
3 ms; the sign of "instanteneousInh.json" is -1. The published spikes tell that they are right.

The readers here are apart from the importer, which is held against them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

import engramdb
from engramdb import Engram, sonata_ids

FOLDER = Path(__file__).parent / "data" / "300_intfire"
COMPONENTS = FOLDER / "components"
TAU_MS = {"LIF_exc": 24.0, "LIF_inh": 7.0}
SIGN = {"instanteneousExc.json": 1.0, "instanteneousInh.json": -1.0}
DURATION_MS = 3000.0


@dataclass(frozen=True)
class Edges:
    """Synapses between two populations: ``pre``, ``post`` int64 node ids, ``weight`` float64, all of one delay."""

    pre: np.ndarray
    post: np.ndarray
    weight: np.ndarray
    delay_ms: float


@dataclass(frozen=True)
class Trains:
    """Spikes: ``time_ms`` float64, ``node`` int64, by time."""

    time_ms: np.ndarray
    node: np.ndarray


def types(name: str, key: str) -> dict[int, dict[str, str]]:
    """A table of node or edge types, by id."""
    with (FOLDER / "network" / f"{name}_types.csv").open(newline="") as source:
        return {int(row[key]): row for row in csv.DictReader(source, delimiter=" ")}


def models() -> np.ndarray:
    """The model name of each of the 300 cells."""
    known = types("v1_node", "node_type_id")
    with h5py.File(FOLDER / "network" / "v1_nodes.h5") as source:
        return np.array([known[int(i)]["model_name"] for i in source["nodes/v1/node_type_id"][:]])


def edges(pre: str) -> Edges:
    """From population ``pre`` to the cells."""
    known = types(f"{pre}_v1_edge", "edge_type_id")
    with h5py.File(FOLDER / "network" / f"{pre}_v1_edges.h5") as source:
        group = source[f"edges/{pre}_to_v1"]
        synapses = group["0/nsyns"][:][group["edge_group_index"][:]]
        type_id = group["edge_type_id"][:].astype(np.int64)
        pre_node, post_node = (group[f"{side}_node_id"][:].astype(np.int64) for side in ("source", "target"))
    weights = {i: SIGN[row["dynamics_params"]] * float(row["syn_weight"]) for i, row in known.items()}
    each = np.vectorize(weights.__getitem__, otypes=[np.float64])(type_id)
    (delay,) = {float(row["delay"]) for row in known.values()}
    return Edges(pre_node, post_node, each * synapses, delay)


def trains(file: str, group: str, node: str) -> Trains:
    """The spikes of one file."""
    with h5py.File(FOLDER / file) as source:
        time, nodes = source[f"{group}/timestamps"][:], source[f"{group}/{node}"][:].astype(np.int64)
    order = np.lexsort((nodes, time))
    return Trains(time[order], nodes[order])


def inputs() -> dict[str, Trains]:
    """The input of each of the populations of which only that is known."""
    return {name: trains(f"inputs/{name}_spikes.h5", "spikes", "gids") for name in ("lgn", "tw")}


def published() -> Trains:
    """The spikes of the cells, as published with the example: NEURON's, on a grid of a microsecond."""
    return trains("output/spikes.h5", "spikes/v1", "node_ids")


def imported(path: Path, dt_ms: float) -> Path:
    """The network as the importer makes it, at ``path``."""
    engramdb.import_sonata(FOLDER, path, components=COMPONENTS, dt_ms=dt_ms)
    return path


def run(engram: Engram, *, until_ms: float = DURATION_MS, stretch_ms: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """The cells' spikes up to ``until_ms`` as (tick, node), by tick and node."""
    dt, place = engram.spec.dt_ms, {name: sonata_ids(engram.location, name) for name in ("v1", "lgn", "tw")}
    sources = [(ticks_of(train.time_ms, dt), place[name][train.node]) for name, train in inputs().items()]
    tick, neuron = (np.concatenate(parts) for parts in zip(*sources, strict=True))
    order = np.lexsort((neuron, tick))
    tick, neuron = tick[order], neuron[order]
    found = []
    for start in range(0, round(until_ms / dt), round(stretch_ms / dt)):
        stop = start + round(stretch_ms / dt)
        own = slice(*np.searchsorted(tick, [start + 1, stop + 1]))
        for at in np.unique(tick[own]):
            engram.stimulate(np.unique(neuron[own][tick[own] == at]), 2.0, at=int(at))
        found.append(engram.run(stop - start, record=("spikes",)).spikes)
    at, who = (np.concatenate(parts) for parts in zip(*found, strict=True))
    by_id = np.argsort(place["v1"])
    sorted_ids = place["v1"][by_id]
    where = np.minimum(np.searchsorted(sorted_ids, who), len(sorted_ids) - 1)
    ours = sorted_ids[where] == who
    at, node = at[ours], by_id[where[ours]]
    order = np.lexsort((node, at))
    return at[order], node[order]


def ticks_of(time_ms: np.ndarray, dt_ms: float) -> np.ndarray:
    """The ticks (int64) to which times belong: time 0 is tick 1."""
    return np.rint(time_ms / dt_ms).astype(np.int64) + 1
