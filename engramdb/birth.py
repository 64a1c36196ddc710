"""Neurons not born at rest: of materialized layers, with an initial potential or a drive over threshold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.growth.bundle import Bundle
from engramdb.parameters import parameters_of_layer
from engramdb.spec import Spec
from engramdb.state import column_of

_PIECE = 1 << 20  # neurons that are looked at together


def born_awake(spec: Spec, bundles: Iterable[Bundle]) -> tuple[IdArray, dict[str, npt.NDArray[Any]]]:
    """``(ids, fields)``: uint64 sorted, and what each is born with, by column of the state, "refractory" too."""
    parts: list[tuple[IdArray, dict[str, npt.NDArray[np.float32]]]] = []
    names: set[str] = {"u"}
    for bundle in sorted(bundles, key=lambda b: (b.layer, b.segment, b.lo)):
        layer = spec.layer(bundle.layer)
        own = parameters_of_layer(layer, spec)
        names |= {column_of(place, field.name) for place, field in enumerate(own.model.state)}
        if not layer.materialize or not (own.initial or "restless" in own.own or own.shared["restless"]):
            continue
        prefix = np.uint64(bundle.layer << 48 | bundle.segment << 32)
        for lo in range(bundle.lo, bundle.hi, _PIECE):
            neurons = np.arange(lo, min(lo + _PIECE, bundle.hi), dtype=np.uint64) | prefix
            awake = own.restless(neurons).copy()
            fields = own.born(neurons)
            for values in fields.values():
                awake |= values != 0
            parts.append((neurons[awake], {name: values[awake] for name, values in fields.items()}))
    ids = np.concatenate([np.empty(0, dtype=np.uint64), *(part for part, _ in parts)])
    columns: dict[str, npt.NDArray[Any]] = {"refractory": np.zeros(len(ids), dtype=np.int32)}
    for name in names:
        zero = np.zeros
        of_parts = (fields.get(name, zero(len(part), dtype=np.float32)) for part, fields in parts)
        columns[name] = np.concatenate([np.empty(0, dtype=np.float32), *of_parts])
    return ids, columns
