"""Neurons as JSON: one at a time for those who ask for one, many of them looked up together."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import orjson

from engramdb.address import IdArray, as_ids, parse
from engramdb.engram import Engram
from engramdb.errors import EngramError, InvalidId, InvalidInput, NotFound
from engramdb.query import predicate
from engramdb.query.neurons import Neurons
from engramdb.server.problems import Problem


class Lookup:
    """Somebody who waits for one neuron."""

    __slots__ = ("future", "neuron")

    def __init__(self, neuron: str, future: asyncio.Future[Found]) -> None:
        self.neuron, self.future = neuron, future


def look_up(engram: Engram, names: list[str]) -> list[Found | BaseException]:
    """Each neuron, or what is wrong with its name: what is done in the desk's thread, while the engine waits."""
    plain = not engram.has_labels
    answers: list[Found | BaseException | None] = [None] * len(names)
    ids: list[int] = []
    places: list[int] = []
    for place, name in enumerate(names):
        try:
            ids.append(parsed(name) if plain else one(engram, name))
            places.append(place)
        except EngramError as error:
            answers[place] = error
    array = np.array(ids, dtype=np.uint64)
    try:
        many = engram.neurons(array)
    except NotFound:
        known = engram.declares(array)
        for index in np.flatnonzero(~known).tolist():
            try:
                engram.resolve(ids[index])
            except EngramError as error:
                answers[places[index]] = error
        array = array[known]
        places = [place for place, there in zip(places, known.tolist(), strict=True) if there]
        many = engram.neurons(array)
    if len(array):
        labels = [None] * len(array) if plain else engram.labels(array)
        layers = {layer.index: layer.name for layer in engram.spec.layers}
        for index, place in enumerate(places):
            answers[place] = Found(many, index, labels[index], layers)
    return [answer for answer in answers if answer is not None]


class Found:
    """One of many neurons that were looked up together; it is written down in the event loop."""

    __slots__ = ("index", "label", "layers", "many")

    def __init__(self, many: Neurons, index: int, label: str | None, layers: dict[int, str]) -> None:
        self.many, self.index, self.label, self.layers = many, index, label, layers

    def json(self) -> bytes:
        """As it is sent."""
        return orjson.dumps(
            row(self.layers, self.many, self.index, self.label, None), option=orjson.OPT_SERIALIZE_NUMPY
        )


def parsed(name: str) -> int:
    """The id that a text is, in any form; raises InvalidId."""
    if name.isascii() and name.isdigit() and len(name) < 20:
        return int(name)
    if name.isascii() and name.isdigit():
        return int(as_ids([int(name)])[0])
    return parse(name)


def one(engram: Engram, name: str) -> int:
    """The id of one neuron, by its id in any form or its label."""
    found = engram.resolve(name)
    if len(found) != 1:
        raise InvalidId(f"expected one neuron, got {len(found)}")
    return int(found[0])


def rows(engram: Engram, ids: IdArray, fields: list[str] | None = None) -> list[dict[str, Any]]:
    """Each of ``ids`` as a table of plain and NumPy values: id, text, layer, state, label, fields, out_degree."""
    known = {name for layer in engram.spec.layers for name in fields_of(layer.model)}
    for place, name in enumerate(fields or ()):
        try:
            predicate.field(name, known, "fields")
        except InvalidInput as error:
            raise Problem(422, "invalid-input", str(error), pointer=f"/fields/{place}") from None
    if not len(ids):
        return []
    many = engram.neurons(ids)
    labels = engram.labels(ids) if engram.has_labels else [None] * len(ids)
    layers = {layer.index: layer.name for layer in engram.spec.layers}
    return [row(layers, many, place, labels[place], fields) for place in range(len(ids))]


def row(
    layers: dict[int, str], many: Neurons, place: int, label: str | None, fields: list[str] | None
) -> dict[str, Any]:
    """One of many neurons; ``layers``: their names by index; ``fields``: only these."""
    neuron = int(many.ids[place])
    having = fields_of(many.models[place])
    content: dict[str, Any] = {
        "id": str(neuron),
        "text": f"{neuron >> 48}/{neuron >> 32 & 0xFFFF}/{neuron & 0xFFFFFFFF}",
        "layer": layers[neuron >> 48],
        "state": many.state[place],
        "fields": {
            name: column[place]
            for name, column in many.fields.items()
            if name in having and (fields is None or name in fields)
        },
        "out_degree": int(many.out_degree[place]),
    }
    if label is not None:
        content["label"] = label
    return content


_fields: dict[str, frozenset[str]] = {}


def fields_of(model: str) -> frozenset[str]:
    """Names of the fields of a model."""
    if model not in _fields:
        from engramdb import models

        _fields[model] = frozenset(field.name for field in models.get(model).fields)
    return _fields[model]
