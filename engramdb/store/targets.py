"""Targets of a leaf's synapses as two columns: steps from one to the next, and those that lie too far for a step.

A row walks from its source: a step is what a target lies behind the near target before it, or behind the source
where there is none, modulo 2^64. A step of 0 stays where it is and says that the target is the next of the far ones.
Rows are mostly sorted, so steps are smaller than offsets to the source, and zstd and pcodec turn that into bytes.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import MAX_LOCAL, IdArray
from engramdb.store.compiled import kernels

StepArray = npt.NDArray[np.signedinteger[Any]]

_STEPS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)
_SAMPLE = 1 << 11  # synapses on which the type of the steps is decided
_TOLERANCE = 1.125  # a narrower type decodes faster and may cost this much more


def to_steps(ids: IdArray, indptr: npt.NDArray[np.int64], target: IdArray) -> tuple[StepArray, IdArray]:
    """``(steps, far targets)`` of the rows of ``ids``; that of neuron i is ``target[indptr[i] : indptr[i + 1]]``."""
    # the first rows stand for all of them
    rows = max(int(np.searchsorted(indptr, _SAMPLE, side="right")) - 1, 1)
    first = ids[:rows], indptr[: rows + 1], target[: indptr[rows]] if ids.size else target
    spread = float(_bits(np.ptp(first[2] & np.uint64(MAX_LOCAL)))) if first[2].size else 0.0
    kernel = kernels("targets")
    costs: list[float] = []
    for dtype in _STEPS:
        step, far = _measured(kernel, *first, dtype)
        costs.append(_cost(step, spread))
        if not far.size:
            break  # in a wider type the steps are the same
    narrowest = next(dtype for dtype, cost in zip(_STEPS, costs, strict=False) if cost <= _TOLERANCE * min(costs))
    return _measured(kernel, ids, indptr, target, narrowest)


def _measured(
    kernel: ModuleType | None,
    ids: IdArray,
    indptr: npt.NDArray[np.int64],
    target: IdArray,
    dtype: type[np.signedinteger[Any]],
) -> tuple[StepArray, IdArray]:
    if kernel is None:
        return _measure(ids, indptr, target, dtype)
    step, far = np.empty(target.size, dtype), np.empty(target.size, np.uint64)
    found = kernel.measure(ids, indptr, target, _reach(dtype), step, far)
    return step, far[:found].copy()


def _reach(dtype: type[np.signedinteger[Any]]) -> int:
    """How far from its source a target may be to be near: between two such targets there is always a step."""
    return int(np.iinfo(dtype).max) // 2


def _measure(
    ids: IdArray, indptr: npt.NDArray[np.int64], target: IdArray, dtype: type[np.signedinteger[Any]]
) -> tuple[StepArray, IdArray]:
    """What the kernel does, in NumPy."""
    row = np.repeat(np.arange(ids.size, dtype=np.uint32), np.diff(indptr))
    offset = (target - ids[row]).view(np.int64)
    place = np.flatnonzero((offset >= -_reach(dtype)) & (offset <= _reach(dtype)))
    walked, row = offset[place], row[place]
    walked[1:] -= np.where(row[1:] == row[:-1], walked[:-1], 0)
    step = np.zeros(target.size, dtype)
    step[place] = walked
    return step, target[step == 0]


def _cost(step: StepArray, spread: float) -> float:
    """About how many bits steps and far targets will take; ``spread``: bits of a target by itself."""
    near = step[step != 0]
    share = near.size / max(step.size, 1)
    which = sum(-part * np.log2(part) for part in (share, 1 - share) if part) * step.size
    return float(which + spread * (step.size - near.size) + np.minimum(_bits(near) + 2, spread + 1).sum())


def _bits(magnitude: Any) -> Any:
    return np.log2(1 + np.abs(magnitude, dtype=np.float64))


def spans(degree: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Where the row of each neuron begins and where the last one ends, (n + 1,), from how many synapses each has."""
    indptr = np.empty(degree.size + 1, np.int64)
    kernel = kernels("targets")
    if kernel is None:
        indptr[0], indptr[1:] = 0, degree
        np.cumsum(indptr, out=indptr)  # in one type: three times as fast
    else:
        kernel.add_up(degree, indptr)
    return indptr


def from_steps(ids: IdArray, indptr: npt.NDArray[np.int64], step: StepArray, far: IdArray) -> IdArray:
    """The targets that :func:`to_steps` was given; ``indptr`` runs from 0 to as many as there are steps.

    ValueError unless there are as many far targets as steps of 0.
    """
    kernel = kernels("targets")
    if kernel is None:
        zeros = step.size - int(np.count_nonzero(step))
        target = _walk(ids, indptr, step, far) if zeros == far.size else far
    else:
        target = np.empty(step.size, np.uint64)
        zeros = kernel.walk(ids, indptr, step, far, np.empty(kernel.PLACES, np.int64), target)
    if zeros != far.size:
        raise ValueError(f"{zeros} far targets are announced and {far.size} are there")
    return target


def _walk(ids: IdArray, indptr: npt.NDArray[np.int64], step: StepArray, far: IdArray) -> IdArray:
    """What the kernel does, in NumPy."""
    walked = np.cumsum(step, dtype=np.int64)
    before = np.concatenate([np.zeros(1, np.int64), walked])[indptr[:-1]]
    walked += np.repeat(ids.view(np.int64) - before, np.diff(indptr))
    target = walked.view(np.uint64)
    if far.size:
        target[step == 0] = far
    return target
