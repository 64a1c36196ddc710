"""Stretches of ticks: several that were run in one go."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engramdb.errors import BudgetExceeded

Int64Array = npt.NDArray[np.int64]

NOBODY: Int64Array = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Stretch:
    """``ticks`` whole ticks. ``counts``: int64 (ticks,), spikes in each, or None where nobody fired in any.

    ``fired``: the slots that fired, tick after tick, valid until the engine goes on. ``exceeded``: why it cannot go on.
    """

    ticks: int
    counts: Int64Array | None = None
    fired: Int64Array = field(default_factory=lambda: NOBODY)
    exceeded: BudgetExceeded | None = None
