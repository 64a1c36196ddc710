"""A line of progress on stderr, for terminals and notebooks alike: what ``run(..., progress=True)`` shows."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, TextIO

_BAR = 20
_LEAST_WIDTH = 20


class ProgressLine:
    """Call it as a run's ``progress``; ``close`` writes the last state and ends the line.

    The line is written over itself, which notebooks do as terminals do. In a file only its end is written.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._began = time.perf_counter()
        self._written = 0
        # a notebook's stream is no terminal, and its kernel's module says that it is one
        self._live = self._file.isatty() or "ipykernel" in sys.modules
        self._last: tuple[int, int, dict[str, Any]] | None = None

    def __call__(self, done: int, ticks: int, stats: dict[str, Any]) -> None:
        self._last = done, ticks, stats
        if self._live:
            self._write(self._line(done, ticks, stats))

    def close(self, done: int, ticks: int, stats: dict[str, Any]) -> None:
        """The end of a run of ``done`` of ``ticks`` ticks."""
        self._write(self._line(done, ticks, stats))
        self._file.write("\n")
        self._file.flush()

    def broken_off(self) -> None:
        """End the line where a run has failed, so that the error has its own."""
        if self._written:
            self._file.write("\n")
            self._file.flush()

    def _line(self, done: int, ticks: int, stats: dict[str, Any]) -> str:
        seconds = time.perf_counter() - self._began
        part = done / ticks if ticks else 1.0
        full = int(part * _BAR)
        left = f" {_duration(seconds / done * (ticks - done))} left" if 0 < done < ticks else ""
        rate = f"{done / seconds:,.0f}" if seconds > 0 else "-"
        bar = "█" * full + "·" * (_BAR - full)
        head = f"tick {done:,}/{ticks:,} {100 * part:3.0f} %|{bar}| {_duration(seconds)}{left}, {rate} ticks/s"
        held = f"{stats['active']:,} active, {stats['charged']:,} charged of {stats['resident']:,} resident"
        needed = stats["hits"] + stats["misses"]
        there = f", rows there {100 * stats['hits'] / needed:.3g} %, waited {stats['wait_s']:.1f} s" if needed else ""
        return f"{head}, {stats['used_bytes'] / 2**20:,.1f} MiB, {held}{there}"

    def _write(self, text: str) -> None:
        if self._live and self._file.isatty():  # a line that wraps cannot be written over
            text = text[: max(_LEAST_WIDTH, shutil.get_terminal_size().columns - 1)]
        self._file.write(("\r" if self._written else "") + text.ljust(self._written))
        self._file.flush()
        self._written = len(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
