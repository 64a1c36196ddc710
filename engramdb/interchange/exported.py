"""What an export has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exported:
    """What was written: neurons and synapses, and how many bytes in how many files; ``notes``: what stayed behind."""

    path: Path
    commit: int
    layers: tuple[str, ...]
    neurons: int
    synapses: int
    files: int
    nbytes: int
    elapsed_s: float
    notes: tuple[str, ...] = ()
