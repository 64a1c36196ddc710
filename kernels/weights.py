"""Weights on a grid: what a narrow type can say, in float32."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit

EVERY, HALF = 0.0, -1.0
"""Grids that are no step. EVERY: all float32 numbers. HALF: those that float16 has. Any other grid is a step in mV."""

_MAGNITUDE, _LEAST_NORMAL = np.uint32(0x7FFFFFFF), np.uint32(0x38800000)  # 2^-14
_BELOW_HALF, _KEPT, _SHIFT, _ONE = np.uint32(0xFFF), np.uint32(0xFFFFE000), np.uint32(13), np.uint32(1)


@njit(cache=True, nogil=True)
def on_grid(weight, grid):
    """``weight`` (float32) rounded to ``grid`` (float64), halves to even; the same bits as NumPy gives."""
    if grid == EVERY:
        return weight
    if grid > 0.0:
        return np.float32(np.rint(np.float64(weight) / grid) * grid + 0.0)  # no -0: an integer has none
    bits = np.float32(weight).view(np.uint32)
    if bits & _MAGNITUDE < _LEAST_NORMAL:
        return np.float32(np.rint(np.float64(weight) * 16777216.0) / 16777216.0)
    return np.uint32((bits + _BELOW_HALF + ((bits >> _SHIFT) & _ONE)) & _KEPT).view(np.float32)
