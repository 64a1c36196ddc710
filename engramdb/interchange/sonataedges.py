"""Edges of a SONATA network, read in parts: from whom to whom, how strong, how late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.errors import InvalidInput
from engramdb.interchange.sonataconfig import Row, SonataConfig, read_types
from engramdb.interchange.sonatanodes import Population
from engramdb.interchange.source import MAX_WEIGHT_MV

EDGES_A_PART = 1 << 19
CONSTANT = ("", "wmax")
"""Weight functions that only mean syn_weight; others are programs."""


class Part(NamedTuple):
    """``n`` edges: ids ``pre`` and ``post`` (uint64), ``weight`` (float32), ``delay`` (ticks, uint16)."""

    pre: IdArray
    post: IdArray
    weight: npt.NDArray[np.float32]
    delay: npt.NDArray[np.uint16]


_KEPT_OF_EDGES = {"syn_weight", "delay", "nsyns"}


class EdgePopulation:
    """The edges of one population in one file. ``rounded`` counts delays that were no whole number of ticks."""

    def __init__(
        self, name: str, file: Path, types: dict[int, Row], config: SonataConfig, populations: Mapping[str, Population]
    ) -> None:
        import h5py

        self.name, self._file = name, file
        self._types = types
        self.rounded = 0
        with h5py.File(file, "r") as source:
            group = source[f"edges/{name}"]
            self.count = len(group["target_node_id"])
            self.pre = self._population(group["source_node_id"], populations)
            self.post = self._population(group["target_node_id"], populations)
            self._groups = sorted(key for key in group if key.isdigit())
            self.attributes = sorted({name for key in self._groups for name in group[key]} - _KEPT_OF_EDGES)
            """What the file gives for each edge and a synapse has no place for: sections, distances."""
            used = sorted(int(n) for n in _unique(group["edge_type_id"]))
        for number in used:
            if number not in types:
                raise InvalidInput(f"{file}: edge type {number} of {name} is not in the table of types")
            function = types[number].get("weight_function", "")
            if function not in CONSTANT:
                raise InvalidInput(
                    f"{file}: edge type {number} has weight_function {function}, which is a program: write what it"
                    " gives as syn_weight of each edge, and leave it out"
                )
        self._numbers = np.array(used, dtype=np.int64)
        self._sign = np.array([_sign(types[number], config) for number in used])
        self._columns = {
            column: np.array([float(types[number].get(column, "nan")) for number in used])
            for column in ("syn_weight", "delay", "nsyns")
        }

    def _population(self, nodes: Any, populations: Mapping[str, Population]) -> Population:
        name = nodes.attrs.get("node_population", "")
        name = name.decode() if isinstance(name, bytes) else str(name)
        if name not in populations:
            raise InvalidInput(
                f"{self._file}: {nodes.name} is of population {name!r}; there are {', '.join(populations)}"
            )
        return populations[name]

    def parts(self, dt_ms: float) -> Iterator[Part]:
        """All edges in the order of the file. Weights are syn_weight times nsyns times the sign of the synapse."""
        import h5py

        self.rounded = 0
        try:
            with h5py.File(self._file, "r") as source:
                group = source[f"edges/{self.name}"]
                for start in range(0, self.count, EDGES_A_PART):
                    yield self._part(group, slice(start, min(start + EDGES_A_PART, self.count)), dt_ms)
        except (OSError, KeyError) as error:
            raise InvalidInput(f"{self._file} is no readable SONATA file of edges: {error}") from None

    def _part(self, group: Any, here: slice, dt_ms: float) -> Part:
        pre, post = group["source_node_id"][here], group["target_node_id"][here].astype(np.int64)
        place = np.searchsorted(self._numbers, group["edge_type_id"][here].astype(np.int64))
        values = {name: column[place] for name, column in self._columns.items()}
        if self._groups:
            number = group["edge_group_id"][here] if "edge_group_id" in group else np.zeros(len(pre), int)
            index = group["edge_group_index"][here] if "edge_group_index" in group else np.arange(here.start, here.stop)
            for key in self._groups:
                own = np.flatnonzero(number == int(key))
                for name in values.keys() & group[key].keys():
                    values[name][own] = _at(group[key][name], index[own].astype(np.int64))
        for name in ("syn_weight", "delay"):
            if np.isnan(values[name]).any():
                at = here.start + int(np.argmax(np.isnan(values[name])))
                raise InvalidInput(f"{self._file}: edge {at} of {self.name} has no {name}, nor has its type")
        synapses = np.where(np.isnan(values["nsyns"]), 1.0, values["nsyns"])
        weight = values["syn_weight"] * synapses * self._sign[place]
        factor = self.post.weight_factor(post)
        weight = weight if factor is None else weight * factor
        if len(weight) and not np.abs(weight).max() <= MAX_WEIGHT_MV:
            raise InvalidInput(f"{self._file}: a weight of {self.name} is beyond {MAX_WEIGHT_MV:g}")
        return Part(
            self.pre.ids(pre), self.post.ids(post), weight.astype(np.float32), self._ticks(values["delay"], dt_ms)
        )

    def _ticks(self, delay_ms: npt.NDArray[np.float64], dt_ms: float) -> npt.NDArray[np.uint16]:
        """Delays in ticks: to the nearest, at least one, as NEST does it."""
        ticks = delay_ms / dt_ms
        nearest = np.maximum(np.rint(ticks), 1.0)
        if len(ticks) and not nearest.max() <= 65535:
            raise InvalidInput(f"{self._file}: a delay of {self.name} is over 65535 ticks of {dt_ms:g} ms")
        self.rounded += int((np.abs(ticks - nearest) > 1e-6 * nearest).sum())
        return nearest.astype(np.uint16)


def _unique(dataset: Any) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(dataset), EDGES_A_PART):
        found.update(np.unique(dataset[start : start + EDGES_A_PART]).tolist())
    return found


def _at(dataset: Any, index: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Values at ``index``, of which most lie together."""
    if not len(index):
        return np.empty(0)
    low, high = int(index.min()), int(index.max()) + 1
    if high - low <= 8 * len(index) + EDGES_A_PART:
        return np.asarray(dataset[low:high][index - low])
    unique, back = np.unique(index, return_inverse=True)
    return np.asarray(dataset[unique][back])


def _sign(row: Row, config: SonataConfig) -> float:
    """-1 where the file of parameters of the synapse says so."""
    file = row.get("dynamics_params")
    return 1.0 if file is None else float(config.component("synaptic_models_dir", file).get("sign", 1.0))


def read_edges(config: SonataConfig, populations: Mapping[str, Population]) -> list[EdgePopulation]:
    """All populations of edges, in the order of their files."""
    import h5py

    found = []
    for file, table in config.files("edges"):
        types = read_types(table, "edge_type_id")
        try:
            with h5py.File(file, "r") as source:
                names = sorted(source["edges"])
            found += [EdgePopulation(name, file, types, config, populations) for name in names]
        except (OSError, KeyError) as error:
            raise InvalidInput(f"{file} is no readable SONATA file of edges: {error}") from None
    return found
