"""Pacing: ticks at a given rate of wall time, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from engramdb.distribution import is_number
from engramdb.errors import InvalidInput

_NAP_S = 0.05  # at most, so that ctrl-C is noticed


class Pace:
    """Lets tick n (from 1) end no earlier than n / ``hz`` seconds after the start.

    A run that is behind does not wait until it has caught up; what cannot be kept is counted, not hidden.
    """

    def __init__(self, hz: float) -> None:
        if not is_number(hz) or not 0 < hz < float("inf"):
            raise InvalidInput(f"pace_hz={hz}: give a number of ticks a second above 0")
        self._hz = float(hz)
        self._began = time.perf_counter()
        self._ticks = 0
        self._late = 0
        self._behind = 0.0

    def wait(self, stopped: Callable[[], bool]) -> None:
        """A tick has been done: wait for its time, unless ``stopped``."""
        self._ticks += 1
        due = self._began + self._ticks / self._hz
        left = due - time.perf_counter()
        if -left > 1 / self._hz:  # a tick and more
            self._late += 1
            self._behind = max(self._behind, -left)
        while left > 0 and not stopped():
            time.sleep(min(left, _NAP_S))
            left = due - time.perf_counter()

    def stats(self) -> dict[str, Any]:
        """``pace_hz`` asked for and ``paced_hz`` reached; ``late_ticks`` that ended more than a tick behind their time,
        and ``most_behind_s``."""
        passed = time.perf_counter() - self._began
        reached = self._ticks / passed if passed > 0 else 0.0
        return {
            "pace_hz": self._hz, "paced_hz": reached, "late_ticks": self._late, "most_behind_s": self._behind,
        }  # fmt: skip
