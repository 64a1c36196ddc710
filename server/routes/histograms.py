"""Histograms of weights and of fields: of all neurons where they are few, else of a sample."""

from __future__ import annotations

import zlib
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from engramdb import models
from engramdb.address import IdArray, pack
from engramdb.engram import Engram
from engramdb.server.answer import reply
from engramdb.server.problems import Problem
from engramdb.server.routes.common import AtQuery, EngramName, ask

router = APIRouter(prefix="/v1/engrams/{name}", tags=["queries"])
_NEURONS = 20_000  # of fields
_ROWS = 2_000  # of weights


@router.get("/histograms")
async def histogram(
    request: Request,
    name: EngramName,
    of: Annotated[str, Query(max_length=100, description="weight, or a field such as v, spike_count or W.")] = "weight",
    layer: Annotated[str | None, Query(max_length=200)] = None,
    bins: Annotated[int, Query(ge=1, le=1000)] = 50,
    at: AtQuery = "live",
) -> Response:
    """How weights (mV) or a field are spread. ``sampled``: looked at are only some neurons, evenly spread over all."""
    return await reply(request, await ask(request, name, at, lambda e: _histogram(e, of, layer, bins)))


def _histogram(engram: Engram, of: str, layer: str | None, bins: int) -> dict[str, Any]:
    units = {field.name: field.unit for one in engram.spec.layers for field in models.get(one.model).fields}
    if of != "weight" and of not in units:
        known = ", ".join(["weight", *sorted(units)])
        raise Problem(422, "invalid-request", f'nothing is called "{of}"; there is {known}', pointer="/of")
    chosen = [one for one in engram.spec.layers if layer is None or one is engram.spec.layer(layer)]
    indices = {one.index for one in chosen}
    sizes = {key: size for key, size in engram.sizes.items() if key[0] in indices}
    total = sum(sizes.values())
    ids = _spread(sizes, _ROWS if of == "weight" else _NEURONS)
    if of == "weight":
        values = engram.rows(ids).weight.astype(np.float64) if len(ids) else np.empty(0)
    else:
        many = engram.neurons(ids)
        values = np.asarray(many.fields.get(of, np.empty(0)), dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    counts, edges = np.histogram(values, bins=bins, range=(low, high if high > low else low + 1.0))
    return {
        "of": of, "unit": "mV" if of == "weight" else units[of], "layer": layer, "edges": edges, "counts": counts,
        "values": len(values), "neurons": len(ids), "sampled": len(ids) < total, "tick": engram.tick,
    }  # fmt: skip


def _spread(sizes: dict[tuple[int, int], int], most: int) -> IdArray:
    """Up to ``most`` ids, evenly over all segments; the same whenever it is asked."""
    total = sum(sizes.values())
    rng = np.random.default_rng(zlib.crc32(repr(sorted(sizes.items())).encode()))
    parts = []
    for (index, segment), size in sorted(sizes.items()):
        n = size if total <= most else max(1, round(most * size / total))
        steps = np.arange(size) if n >= size else (np.arange(n) + rng.random(n)) * (size / n)
        local = np.minimum(steps.astype(np.uint64), np.uint64(max(0, size - 1)))
        if size:
            parts.append(np.uint64(pack(index, segment, 0)) + local)
    return np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))
