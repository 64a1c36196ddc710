"""Progress of rows that are written out: when an engram is created or grows, or when it is opened and that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engramdb
from engramdb.cli import output

if TYPE_CHECKING:
    from engramdb.engram import Engram


def open_to_write(path: Path, **options: Any) -> Engram:
    """The engram, open to write; should a growth that was cut short have to be completed first, a bar shows it."""
    with writing() as advance:
        return engramdb.open(path, "r+", progress=advance, **options)


@contextmanager
def writing() -> Iterator[Callable[[int, int], None]]:
    """A bar for rows that are written out; what is to be called with (neurons done, of so many)."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    shown = (
        TextColumn("write"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[done]} neurons  {task.fields[rate]}/s"),
        TimeRemainingColumn(compact=True),
    )
    with output.progress_bar(*shown) as bar:
        task = bar.add_task("write", total=None, done="", rate="-", visible=False)
        begun: list[tuple[float, int]] = []  # when, and with how many: what a killed process wrote has no rate

        def advance(done: int, total: int) -> None:
            now = time.perf_counter()
            if not begun:
                begun.append((now, done))
            when, before = begun[0]
            rate = output.count((done - before) / (now - when)) if done > before else "-"
            bar.update(task, completed=done, total=total, done=output.count(done), rate=rate, visible=True)

        yield advance
