"""Neurons not born at rest: of materialized layers, with an initial potential or a drive over threshold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray
from engramdb.distribution import draw, resolved
from engramdb.growth.bundle import Bundle
from engramdb.spec import Spec

_PIECE = 1 << 20  # neurons that are looked at together


def born_awake(spec: Spec, bundles: Iterable[Bundle]) -> tuple[IdArray, npt.NDArray[np.float32]]:
    """``(ids, u)``: uint64 sorted, and the potential (mV, relative to V_inf) with which each is born."""
    from engramdb.kernels.rng import BIAS, V_INIT

    ids = [np.empty(0, dtype=np.uint64)]
    potentials = [np.empty(0, dtype=np.float32)]
    for bundle in sorted(bundles, key=lambda b: (b.layer, b.segment, b.lo)):
        layer = spec.layer(bundle.layer)
        constants = models.get(layer.model).constants(layer.params, spec.dt_ms)
        drive, born = layer.params.get("bias", 0.0), layer.params.get("v_init")
        may_fire_at_rest = resolved(drive).bounds()[1] >= constants.theta
        if not layer.materialize or (born is None and not may_fire_at_rest):
            continue
        prefix = np.uint64(bundle.layer << 48 | bundle.segment << 32)
        for lo in range(bundle.lo, bundle.hi, _PIECE):
            neurons = np.arange(lo, min(lo + _PIECE, bundle.hi), dtype=np.uint64) | prefix
            bias = draw(drive, spec.seed, neurons, BIAS)
            u = np.zeros(len(neurons), dtype=np.float32)
            if born is not None:
                u = draw(born, spec.seed, neurons, V_INIT) - (np.float32(constants.v_rest) + bias)
            awake = (u != 0) | (np.float32(constants.theta) - bias <= 0)
            ids.append(neurons[awake])
            potentials.append(u[awake])
    return np.concatenate(ids), np.concatenate(potentials)
