"""Pairs of neurons whose synapses come or go, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray

_DTYPES: dict[str, Any] = {
    "pre": np.uint64, "post": np.uint64, "value": np.float32, "number": np.int64, "weight": np.float32,
}  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """``pre[i]`` -> ``post[i]``; ``value`` and ``number`` say why, as in :class:`engramdb.growth.events.Events`.

    ``weight``: mV, of those that come.
    """

    pre: IdArray
    post: IdArray
    value: npt.NDArray[np.float32]
    number: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pre)

    @classmethod
    def none(cls) -> Pairs:
        return cls(*(np.empty(0, dtype=dtype) for dtype in _DTYPES.values()))

    def and_then(self, others: Pairs) -> Pairs:
        """These, and behind them those of ``others`` that are not among them."""
        own = set(zip(self.pre.tolist(), self.post.tolist(), strict=True))
        new = [
            i for i, pair in enumerate(zip(others.pre.tolist(), others.post.tolist(), strict=True)) if pair not in own
        ]
        columns = zip(vars(self).values(), vars(others).values(), strict=True)
        return Pairs(*(np.concatenate([mine, other[new]]) for mine, other in columns))

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """As arrays by name, for :meth:`of`."""
        return {prefix + name: column for name, column in vars(self).items()}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> Pairs:
        """From what :meth:`arrays` gave."""
        return cls(*(arrays[prefix + name].astype(dtype, copy=False) for name, dtype in _DTYPES.items()))
