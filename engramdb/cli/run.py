"""``engramdb run``: ticks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from engramdb.cli import output, stimuli
from engramdb.cli.history import MAIN, EngramPath, OnBranch
from engramdb.cli.writing import open_to_write
from engramdb.errors import BudgetExceeded, InvalidInput, NotFound

if TYPE_CHECKING:
    from engramdb.engram import Engram
    from engramdb.run import Run


def run(
    path: EngramPath,
    ticks: Annotated[int, typer.Option("--ticks", min=1, metavar="N", help="How many ticks.")],
    stimulate: Annotated[
        list[str] | None,
        typer.Option(
            "--stimulate",
            metavar=stimuli.FORM,
            help="Add AMPLITUDE mV to IDS (ids, labels, or ranges such as 0/0/0-99, with commas between) from tick "
            "FROM (default: the next) for DURATION ticks (default: 1). May be repeated.",
        ),
    ] = None,
    stimuli_file: Annotated[
        Path | None,
        typer.Option("--stimuli", metavar="FILE.csv", help=f"More of them; header {','.join(stimuli.COLUMNS)}."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE.parquet", help="Write every spike (tick, id) to this file.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="silent:N", help="Stop early, when N ticks have passed since the last spike."),
    ] = None,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Hard limit, such as 512MiB.")] = "4GiB",
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=256, metavar="N", help="Results do not depend on it.")
    ] = 1,
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Run an engram for some ticks.

    Ctrl-C stops at a tick boundary, with the state whole; run again to go on.

    \b
    Example:
      engramdb run brain.engram --ticks 1000 --stimulate 0/0/0-99:20@1+5
    """
    wanted = [stimuli.parse(text) for text in stimulate or ()]
    if stimuli_file is not None:
        wanted += stimuli.read(stimuli_file)
    stop = None if until is None else _silence(until)
    if record is not None and not record.resolve().parent.is_dir():
        raise NotFound(f"cannot record to {record}: folder {record.parent} does not exist")
    with open_to_write(path, branch=branch, memory=memory, threads=threads) as engram:
        # all of them are resolved before the first is given: a wrong one leaves the engram as it was
        for ids, stimulus in [(stimulus.resolve(engram), stimulus) for stimulus in wanted]:
            engram.stimulate(ids, stimulus.amplitude, at=stimulus.at, duration=stimulus.duration)
        done = _with_progress(engram, ticks, record, stop)
        if done.ticks:
            engram.checkpoint(f"ran ticks {done.first_tick} to {engram.tick}")
        document = _document(engram, done, ticks, record)
    output.show(document, as_json, lambda: _text(document))
    if done.interrupted:
        raise output.Interrupted(f"interrupted after tick {engram.tick}; the state is whole, run again to go on")


Fired = npt.NDArray[np.uint64]


def _silence(text: str) -> Callable[[int, Fired], bool]:
    """The condition that ``--until`` names."""
    matched = re.fullmatch(r"silent:([1-9][0-9]{0,17})", text)
    if matched is None:
        raise InvalidInput(f'--until "{text}": expected silent:N, N ticks since the last spike, such as silent:50')
    limit = int(matched[1])
    last_spike: int | None = None

    def silent(tick: int, fired: Fired) -> bool:
        nonlocal last_spike
        if len(fired):
            last_spike = tick
        return last_spike is not None and tick - last_spike >= limit

    return silent


def _with_progress(engram: Engram, ticks: int, record: Path | None, until: Callable[[int, Fired], bool] | None) -> Run:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    shown = (
        TextColumn("tick"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn(
            "{task.fields[rate]} ticks/s  active {task.fields[active]}  RAM {task.fields[ram]}{task.fields[hits]}"
        ),
        TimeRemainingColumn(compact=True),
    )
    with output.progress_bar(*shown) as bar:
        task = bar.add_task("run", total=ticks, rate="-", active="-", ram="-", hits="")

        def advance(done: int, _: int, stats: dict[str, Any]) -> None:
            bar.update(
                task,
                completed=done,
                rate=output.number(done / max(bar.tasks[task].elapsed or 0.0, 1e-9), 3),
                active=output.count(stats["active"]),
                ram=output.size(stats["used_bytes"]),
                hits=_hits(stats),
            )

        try:
            return engram.run(ticks, to=record, until=until, progress=advance)
        except BudgetExceeded as error:
            ran = getattr(error, "run", None)
            done = 0 if ran is None else ran.ticks
            raise BudgetExceeded(f"{error}; {done} of {ticks} ticks were run, to tick {engram.tick}") from error


def _hits(stats: dict[str, Any]) -> str:
    """How often the row was there when a spike needed it, once it has not been."""
    needed = stats["hits"] + stats["misses"]
    return f"  rows there {100 * stats['hits'] / needed:.3g} %" if stats["misses"] else ""


def _document(engram: Engram, done: Run, asked: int, record: Path | None) -> dict[str, Any]:
    spikes = int(done.counts.sum())
    neuron_seconds = len(engram) * done.ticks * done.dt_ms / 1000
    return {
        "path": str(engram.path),
        "first_tick": done.first_tick,
        "tick": engram.tick,
        "ticks": done.ticks,
        "ticks_asked": asked,
        "spikes": spikes,
        "mean_rate_hz": spikes / neuron_seconds if neuron_seconds else 0.0,
        "elapsed_s": done.elapsed,
        "interrupted": done.interrupted,
        "record": None if record is None else str(record),
        "stats": done.stats,
    }


def _text(document: dict[str, Any]) -> list[Any]:
    stats = document["stats"]
    first, last, ticks = document["first_tick"], document["tick"], document["ticks"]
    head = f"ran {output.count(ticks)} ticks" if ticks == document["ticks_asked"] else (
        f"ran {output.count(ticks)} of {output.count(document['ticks_asked'])} ticks"
    )  # fmt: skip
    rows = [
        ("spikes", output.count(document["spikes"])),
        ("mean rate", f"{output.number(document['mean_rate_hz'])} Hz a neuron"),
        ("elapsed", f"{output.seconds(document['elapsed_s'])}, {output.number(stats['ticks_per_second'], 3)} ticks/s"),
        ("memory", f"{output.size(stats['used_bytes'])} of {output.size(stats['budget_bytes'])}"),
        ("in memory", f"{output.count(stats['active'])} active, {output.count(stats['charged'])} charged neurons"),
        ("rows read", f"{output.count(stats['rows_loaded'])}; waited {output.seconds(stats['wait_s'])} for them"),
    ]
    if document["record"] is not None:
        rows.append(("recorded", document["record"]))
    span = f"tick {output.count(first)} to {output.count(last)}" if ticks else ""
    return [output.line(head, span), output.pairs(rows)]
