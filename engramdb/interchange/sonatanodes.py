"""Populations of a SONATA network as layers: models, parameters, and which neuron a node is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import MAX_LOCAL, IdArray
from engramdb.errors import InvalidInput
from engramdb.interchange.sonataconfig import Row, SonataConfig, read_types
from engramdb.interchange.sonatamodels import VIRTUAL, Numbers, Template, numbers, template
from engramdb.layer import Layer

NODE_ID = "node_id"
"""Stored with the neurons of a population that became several layers, as a column of that name: their node ids."""

_MOST_TYPES = 1 << 16
_KEPT_OF_NODES = {"dynamics_params", "engramdb_id"}
_KEPT = {"model_type", "model_template", "dynamics_params", "node_type_id", "model_name", "layer"}


@dataclass(frozen=True)
class NodeLayer:
    """One layer of a population: ``nodes`` are the ids of its nodes, None where it has all of them in their order."""

    layer: Layer
    nodes: npt.NDArray[np.int64] | None
    values: dict[str, npt.NDArray[np.float64]]
    """Parameters of the layer's ``columns``, (n,)."""


class Population:
    """The nodes of one population. ``size`` of them; ``layers`` that they became."""

    def __init__(self, name: str, file: Path, group: Any, types: dict[int, Row], config: SonataConfig) -> None:
        self.name, self._file, self._config = name, file, config
        self._types: list[int] = []
        of_node = self._type_of(group)
        self.size = len(of_node)
        if not 1 <= self.size <= MAX_LOCAL + 1:
            raise InvalidInput(f"{file}: population {name} has {self.size} nodes; a layer can have 1..2^32")
        for number in self._types:
            if number not in types:
                raise InvalidInput(f"{file}: node type {number} of {name} is not in the table of types")
        self._rows = [types[number] for number in self._types]
        self._templates = [self._template(row) for row in self._rows]
        given = [self._parameters(row) for row in self._rows]
        own = self._of_nodes(group)
        self.left_out = sorted({name for row in self._rows for name in row} - _KEPT)
        self.attributes = sorted({name for key in group if key.isdigit() for name in group[key]} - _KEPT_OF_NODES)
        """What the file gives for each node and a neuron has no place for: positions, tuning."""
        self._factor: npt.NDArray[np.float64] | None = None
        self._of_node = of_node
        self.layers = list(self._layers(given, own))
        self._place: npt.NDArray[np.int64] | None = None
        """Node id -> index of its layer << 32 | local id, as :meth:`numbered` fills it in."""

    def _type_of(self, group: Any) -> npt.NDArray[np.uint16]:
        """The place in ``_types`` of each node's type, by node id."""
        types = group["node_type_id"]
        found = np.empty(len(types), dtype=np.uint16)
        place: dict[int, int] = {}
        for start in range(0, len(types), 1 << 20):
            part, back = np.unique(types[start : start + (1 << 20)], return_inverse=True)
            for number in part.tolist():
                place.setdefault(int(number), len(place))
            if len(place) > _MOST_TYPES:
                raise InvalidInput(f"{self._file}: more than {_MOST_TYPES} node types in {self.name}")
            found[start : start + len(back)] = np.array([place[int(n)] for n in part.tolist()], dtype=np.uint16)[back]
        self._types = list(place)
        self._order: npt.NDArray[np.int64] | None = None
        if "node_id" in group:
            ids = group["node_id"][:].astype(np.int64)
            if not np.array_equal(np.sort(ids), np.arange(len(ids))):
                raise InvalidInput(f"{self._file}: node_id of {self.name} must be 0..{len(ids) - 1}, each once")
            if not np.array_equal(ids, np.arange(len(ids))):
                self._order = np.argsort(ids)
                found = found[self._order]
        return found

    def _template(self, row: Row) -> Template:
        if row.get("model_type", "").lower() == "virtual":
            return VIRTUAL
        name = row.get("model_template")
        if name is None:
            kind = row.get("model_type", "no model_type")
            raise InvalidInput(f"{self._file}: nodes of {self.name} have {kind} and no model_template: no counterpart")
        return template(name, f"{self._file}: {self.name}")

    def _parameters(self, row: Row) -> Numbers:
        file = row.get("dynamics_params")
        if file is None or row.get("model_type", "").lower() == "virtual":
            return {}
        return numbers(self._config.component("point_neuron_models_dir", file))

    def _of_nodes(self, group: Any) -> dict[str, npt.NDArray[np.float64]]:
        """Parameters that are given for each node, by node id; NaN where a node's group has no such."""
        found: dict[str, npt.NDArray[np.float64]] = {}
        for number in sorted(name for name in group if name.isdigit()):
            for name, values in group[number].get("dynamics_params", {}).items():
                column = found.setdefault(name, np.full(len(group["node_type_id"]), np.nan))
                if "node_group_id" in group:
                    own = np.flatnonzero(group["node_group_id"][:] == int(number))
                    column[own] = values[:][group["node_group_index"][:][own].astype(np.int64)]
                else:
                    column[:] = values[:]
        return found if self._order is None else {name: values[self._order] for name, values in found.items()}

    def _layers(self, given: list[Numbers], own: dict[str, npt.NDArray[np.float64]]) -> Iterator[NodeLayer]:
        groups: dict[str, list[int]] = {}
        for place, known in enumerate(self._templates):
            groups.setdefault(known.model, []).append(place)
        for model, places in groups.items():
            nodes = np.flatnonzero(np.isin(self._of_node, places)) if len(groups) > 1 else np.arange(self.size)
            kinds = self._of_node[nodes]
            merged: Numbers = {}
            for name in sorted({*own, *(name for place in places for name in given[place])}):
                of_type = np.full(len(given), np.nan)
                for place in places:
                    of_type[place] = given[place].get(name, np.nan)
                values = of_type[kinds]
                if name in own:
                    values = np.where(np.isnan(own[name][nodes]), values, own[name][nodes])
                missing = np.isnan(values)
                if missing.any():
                    default = self._templates[places[0]].defaults.get(name)
                    if default is None:
                        raise InvalidInput(f"{self._file}: nodes of {self.name} lack {name}, which others have")
                    values = np.where(missing, default, values)
                merged[name] = values
            self._note_factor(nodes, self._templates[places[0]].weight(merged))
            yield self._layer(model, self._templates[places[0]], nodes, merged, alone=len(groups) == 1)

    def _layer(
        self, model: str, known: Template, nodes: npt.NDArray[np.int64], merged: Numbers, *, alone: bool
    ) -> NodeLayer:
        params, columns = {}, {}
        possible = models.get(model).parameters
        for name, value in known.inward(merged).items():
            if name not in possible:
                raise InvalidInput(f"{self._file}: {self.name}: {model} has no parameter {name}")
            values = np.broadcast_to(np.asarray(value, dtype=np.float64), nodes.shape)
            if (values == values[0]).all():
                params[name] = float(values[0])
            else:
                params[name] = float(np.median(values[:1]))
                columns[name] = np.ascontiguousarray(values)
        name = self.name if alone else f"{self.name}.{model}"
        layer = Layer(name, model=model, params=params, segments=[len(nodes)], columns=list(columns))
        return NodeLayer(layer, None if alone else nodes, columns)

    # which neuron a node is

    def numbered(self, first: int) -> None:
        """Say that the layers have the indices from ``first`` on."""
        self.first = first
        if len(self.layers) > 1:
            self._place = np.empty(self.size, dtype=np.int64)
            for index, own in enumerate(self.layers, first):
                assert own.nodes is not None, "a layer that is not alone lists its nodes"
                self._place[own.nodes] = np.arange(len(own.nodes)) | index << 32

    def ids(self, nodes: npt.NDArray[Any]) -> IdArray:
        """uint64 ids of node ids (n,); InvalidInput for one that is not there."""
        wrong = np.flatnonzero((nodes < 0) | (nodes >= self.size))
        if len(wrong):
            raise InvalidInput(
                f"node {nodes[wrong[0]]} is not in population {self.name}, which has {self.size:,} nodes"
            )
        nodes = nodes.astype(np.int64)
        if self._place is None:
            return nodes.astype(np.uint64) | np.uint64(self.first << 48)
        place = self._place[nodes]
        return (place >> 32).astype(np.uint64) << np.uint64(48) | (place & 0xFFFFFFFF).astype(np.uint64)

    def _note_factor(self, nodes: npt.NDArray[np.int64], factor: Any) -> None:
        if np.any(np.asarray(factor) != 1):
            self._factor = np.ones(self.size) if self._factor is None else self._factor
            self._factor[nodes] = factor

    def weight_factor(self, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """What a weight of 1 is for each target; None where it is 1 for all."""
        return None if self._factor is None else self._factor[nodes]


def read_populations(config: SonataConfig) -> dict[str, Population]:
    """All populations by name, in the order of their files, their layers numbered from 0."""
    import h5py

    found: dict[str, Population] = {}
    for file, table in config.files("nodes"):
        types = read_types(table, "node_type_id")
        try:
            with h5py.File(file, "r") as source:
                for name, group in source["nodes"].items():
                    if name in found:
                        raise InvalidInput(f"{file}: there are two populations {name}")
                    found[name] = Population(name, file, group, types, config)
        except (OSError, KeyError) as error:
            raise InvalidInput(f"{file} is no readable SONATA file of nodes: {error}") from None
    index = 0
    for population in found.values():
        population.numbered(index)
        index += len(population.layers)
    return found
