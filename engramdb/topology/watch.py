"""Readings that a run takes at tick boundaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engramdb.topology.moment import Moment
from engramdb.topology.reading import Reading
from engramdb.topology.tracker import Tracker

_READING_BYTES = 4096  # about, with its patches


class Watch:
    """``tracker`` at work in one run; ``moment`` gives the present, ``told`` gets each reading. With ``keep`` they are
    kept here."""

    def __init__(
        self, tracker: Tracker, moment: Callable[[], Moment], told: Callable[[Reading], None], *, keep: bool
    ) -> None:
        self._tracker, self._moment, self._told, self._keep = tracker, moment, told, keep
        self.readings: list[Reading] = []

    @property
    def nbytes(self) -> int:
        return len(self.readings) * _READING_BYTES

    def most_ticks(self, tick: int) -> int:
        """How many ticks may pass after ``tick`` until the next reading is due."""
        return self._tracker.every - tick % self._tracker.every

    def due(self, tick: int) -> bool:
        """Whether a reading is to be taken at the end of ``tick``."""
        return tick % self._tracker.every == 0

    def take(self) -> Reading:
        """A reading of the present."""
        reading = self._tracker.read(self._moment())
        self._told(reading)
        if self._keep:
            self.readings.append(reading)
        return reading

    def stats(self) -> dict[str, Any]:
        """The numbers of the last reading, for whoever follows the run."""
        return {} if self._tracker.last is None else {"topology": self._tracker.last.row()}
