"""Neurons as JSON: one at a time for those who ask for one, many of them looked up together."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import orjson

from engramdb.address import IdArray, format_id
from engramdb.engram import Engram
from engramdb.errors import EngramError, InvalidId
from engramdb.query.neurons import Neurons


class Lookup:
    """Somebody who waits for one neuron."""

    __slots__ = ("future", "neuron")

    def __init__(self, neuron: str, future: asyncio.Future[bytes]) -> None:
        self.neuron, self.future = neuron, future


def look_up(engram: Engram, names: list[str]) -> list[bytes | BaseException]:
    """Each neuron as JSON, or what is wrong with its name."""
    ids: list[int] = []
    answers: list[bytes | BaseException | None] = []
    for name in names:
        try:
            ids.append(one(engram, name))
            answers.append(None)
        except EngramError as error:
            answers.append(error)
    found = iter(rows(engram, np.array(ids, dtype=np.uint64)))
    return [orjson.dumps(next(found), option=orjson.OPT_SERIALIZE_NUMPY) if a is None else a for a in answers]


def one(engram: Engram, name: str) -> int:
    """The id of one neuron, by its id in any form or its label."""
    found = engram.resolve(name)
    if len(found) != 1:
        raise InvalidId(f"expected one neuron, got {len(found)}")
    return int(found[0])


def rows(engram: Engram, ids: IdArray, at: Any = None, fields: list[str] | None = None) -> list[dict[str, Any]]:
    """Each of ``ids`` as a table of plain and NumPy values: id, text, layer, state, label, fields, out_degree."""
    if not len(ids):
        return []
    many = engram.neurons(ids, at=at)
    labels = engram.labels(ids) if engram.has_labels else [None] * len(ids)
    return [row(engram, many, place, labels[place], fields) for place in range(len(ids))]


def row(engram: Engram, many: Neurons, place: int, label: str | None, fields: list[str] | None) -> dict[str, Any]:
    """One of many neurons; ``fields``: only these."""
    neuron = int(many.ids[place])
    having = fields_of(many.models[place])
    shown = {
        name: column[place] for name, column in many.fields.items()
        if name in having and (fields is None or name in fields)
    }  # fmt: skip
    content = {
        "id": str(neuron),
        "text": format_id(neuron),
        "layer": engram.spec.layer(neuron >> 48).name,
        "state": many.state[place],
        "fields": shown,
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
