"""T4 without locality: the neurons that are active together lie anywhere on disk. No goal; it shows what that costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engramdb.sizing.figure import Figure
from engramdb.sizing.workload_spill import figures


def run(folder: Path, quick: bool) -> list[Figure]:
    """As ``spill``, with the ring in random order: every step reads a part of every leaf."""
    return figures(
        folder, quick, lambda neurons: np.random.default_rng(3).permutation(neurons).astype(np.uint64), goal=False
    )
