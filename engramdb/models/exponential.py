"""The exponential function, the same on every machine, for a number as for an array.

That of a mathematics library differs between libraries, and in NumPy between processors, in the last bit. This one is
made of additions and multiplications, which IEEE 754 defines to the last bit.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
import numpy.typing as npt

_LOG2_E = 1.4426950408889634
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")  # ln 2 in two parts, the first with 20 zero bits: k times it is exact
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_COEFFICIENTS = [1.0 / factorial(n) for n in range(14)]


def exp(x: Any) -> Any:
    """e^x (float64, shape of ``x``) for -700 <= x <= 700, clipped to that, with an error below 1 ulp."""
    return _of_number(x) if type(x) is float else _exp(x)


@lru_cache(maxsize=256)
def _of_number(x: float) -> Any:
    """A model's constants are asked for again and again; what differs by neuron is few of them."""
    return _exp(x)


def _exp(x: Any) -> Any:
    x = np.clip(np.asarray(x, dtype=np.float64), -700.0, 700.0)
    k = np.rint(x * _LOG2_E)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    return np.ldexp(_polynomial(r, _COEFFICIENTS), k.astype(np.int32))


def phi(x: Any) -> Any:
    """(e^x - 1) / x (float64), 1 at 0, for -700 <= x <= 700."""
    x = np.asarray(x, dtype=np.float64)
    near = np.abs(x) < 0.3
    series = _polynomial(np.where(near, x, 0.0), _COEFFICIENTS[1:])
    return np.where(near, series, (exp(x) - 1.0) / np.where(near, 1.0, x))


def _polynomial(x: Any, coefficients: list[float]) -> Any:
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def exp32(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """e^x in float32, bit for bit that of ``engramdb.kernels.exponential``, for the references of models."""
    f32 = np.float32
    rounder = f32(12582912.0)
    x = np.minimum(np.maximum(x, f32(-87.0)), f32(88.0))
    n = (x * f32(_LOG2_E) + rounder) - rounder
    r = (x - n * f32(0.693359375)) - n * f32(-2.12194440e-4)
    p = np.full_like(r, f32(1.0 / 5040))
    for divisor in (720, 120, 24, 6, 2, 1, 1):
        p = p * r + f32(1.0 / divisor)
    return p * ((n.astype(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)
