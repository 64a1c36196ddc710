"""A measured figure, and the bound it is held against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """``samples`` of one quantity in ``unit``; its ``bound``, measured in the same run, has the same unit."""

    name: str
    unit: str
    samples: tuple[float, ...]
    bound: float | None = None
    bound_name: str = ""
    goal: str = ""

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError(f"{self.name}: no samples")

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def ratio(self) -> float | None:
        """The median as a multiple of the bound; None without one."""
        return self.median / self.bound if self.bound else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.samples),
            "max": max(self.samples),
            "repeats": len(self.samples),
            "bound": self.bound,
            "bound_name": self.bound_name,
            "ratio": self.ratio,
            "goal": self.goal,
        }

    def as_line(self) -> str:
        """One line for people."""
        parts = [f"{self.name:<44} {_short(self.median):>9} {self.unit}"]
        if len(self.samples) > 1:
            parts.append(f"({_short(min(self.samples))} .. {_short(max(self.samples))}, n={len(self.samples)})")
        if self.bound is not None and self.ratio is not None:
            parts.append(f"= {self.ratio:.2f} x {self.bound_name} {_short(self.bound)}")
        if self.goal:
            parts.append(f"[goal {self.goal}]")
        return "  ".join(parts)


def one(name: str, unit: str, value: float, **more: Any) -> Figure:
    """A figure that was measured once, or counted."""
    return Figure(name, unit, (float(value),), **more)


def timed(work: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Seconds that each of ``repeats`` calls took."""
    samples = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        samples.append(time.perf_counter() - began)
    return tuple(samples)


def scaled(samples: Sequence[float], factor: float) -> tuple[float, ...]:
    """All samples times ``factor``."""
    return tuple(sample * factor for sample in samples)


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1e}"
