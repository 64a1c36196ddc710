"""``engramdb run``: ticks."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from engramdb.budget import size_text
from engramdb.cli import output, stimuli
from engramdb.cli.history import MAIN, EngramPath, OnBranch
from engramdb.cli.writing import open_to_write
from engramdb.errors import BudgetExceeded, DiskFull, EngramError, InvalidInput, NotFound
from engramdb.handle.handle import ALL_KEPT, instead
from engramdb.pace import Pace

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
            help="Add AMPLITUDE (mV, or what the weights of the model are in) to IDS (ids, labels, or ranges such as "
            "0/0/0-99, with commas between) from tick FROM (default: the next) for DURATION ticks (default: 1). May be "
            "repeated.",
        ),
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            "--inject",
            metavar=stimuli.FORM,
            help="Give IDS a constant current of AMPLITUDE, in the unit of the bias or i_e of the model, whatever the "
            "length of a tick (default DURATION: this run). May be repeated.",
        ),
    ] = None,
    stimuli_file: Annotated[
        Path | None,
        typer.Option("--stimuli", metavar="FILE.csv", help=f"More of them; header {','.join(stimuli.COLUMNS)}."),
    ] = None,
    poisson: Annotated[
        list[str] | None,
        typer.Option(
            "--poisson",
            metavar=stimuli.POISSON_FORM,
            help="Give each of IDS random spikes of its own, of AMPLITUDE each (default DURATION: this run). May be "
            "repeated.",
        ),
    ] = None,
    play: Annotated[
        list[Path] | None,
        typer.Option(
            "--play", metavar="FILE", help="Give the spikes of a SONATA (.h5) or Parquet file. May be repeated."
        ),
    ] = None,
    play_layer: Annotated[
        str | None, typer.Option("--play-layer", metavar="NAME", help="Node id n of the file is its n-th neuron.")
    ] = None,
    play_amplitude: Annotated[
        float | None,
        typer.Option("--play-amplitude", metavar="MV", help="Of each spike; default: the file's column amplitude."),
    ] = None,
    stop_stimuli: Annotated[
        bool, typer.Option("--stop-stimuli", help="First end all input that earlier runs have left.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FILE.parquet",
            help="Write every spike (tick, id) to this file; with more to record, to a folder.",
        ),
    ] = None,
    record_rates: Annotated[
        bool, typer.Option("--record-rates", help="Record how many spikes each layer has in each tick too.")
    ] = False,
    record_state: Annotated[
        str | None, typer.Option("--record-state", metavar="FIELDS", help="Record state variables too, such as v,u.")
    ] = None,
    record_ids: Annotated[
        str | None, typer.Option("--record-ids", metavar="IDS", help="Whose state, written as in --stimulate.")
    ] = None,
    every: Annotated[
        int, typer.Option("--every", min=1, metavar="N", help="Record state in ticks that N divides.")
    ] = 1,
    topology: Annotated[
        int | None,
        typer.Option(
            "--topology",
            min=1,
            metavar="N",
            help="Measure the topology in ticks that N divides; with --record, into the folder too.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="CONDITION",
            help="Stop early: silent:N, when N ticks have passed since the last spike; spikes>N, after more than N "
            "spikes; quiet, when all are at rest and no input is to come.",
        ),
    ] = None,
    hz: Annotated[
        float | None, typer.Option("--hz", metavar="HZ", help="At most so many ticks a second of wall time.")
    ] = None,
    memory: Annotated[str, typer.Option("--memory", metavar="SIZE", help="Hard limit, such as 512MiB.")] = "4GiB",
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=256, metavar="N", help="Results do not depend on it.")
    ] = 1,
    reward: Annotated[
        float | None,
        typer.Option("--reward", metavar="R", help="Afterwards reward what was done, for the learning rule re_vgsp."),
    ] = None,
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Run an engram for some ticks.

    Ctrl-C stops at a tick boundary, with the state whole; run again to go on.

    \b
    Example:
      engramdb run brain.engram --ticks 1000 --stimulate 0/0/0-99:20@1+5
      engramdb run brain.engram --ticks 1000 --poisson 0/0/0-99:150:0.5 --hz 20 --until quiet
    """
    wanted = [stimuli.parse(text) for text in stimulate or ()]
    if stimuli_file is not None:
        wanted += stimuli.read(stimuli_file)
    wanted += [stimuli.parse(text, is_current=True) for text in inject or ()]
    wanted += [stimuli.parse_poisson(text) for text in poisson or ()]
    stop = None if until is None else condition(until)
    if record is None and (record_rates or record_state):
        raise InvalidInput("--record-rates and --record-state need --record, the folder to write to")
    if bool(record_state) != bool(record_ids):
        raise InvalidInput("--record-state and --record-ids go together: which fields, and of whom")
    if record is not None and not record.resolve().parent.is_dir():
        raise NotFound(f"cannot record to {record}: folder {record.parent} does not exist")
    with open_to_write(path, branch=branch, memory=memory, threads=threads) as engram:
        # all of them are resolved before the first is given: a wrong one leaves the engram as it was
        resolved = [(stimulus.resolve(engram), stimulus) for stimulus in wanted]
        if hz is not None:
            Pace(hz)  # refuses what is no rate
        options = _recording(engram, record, record_rates, record_state, record_ids, every)
        if stop_stimuli:
            engram.stop_stimuli()
        for file in play or ():
            engram.play_file(file, play_amplitude, layer=play_layer)
        for ids, given in resolved:
            left = max(1, ticks - (given.at - engram.tick - 1 if given.at is not None else 0))
            if given.rate_hz is not None:
                engram.poisson(ids, given.rate_hz, given.amplitude, at=given.at, duration=given.duration or left)
            elif given.is_current:
                engram.inject(ids, given.amplitude, at=given.at, duration=given.duration or left)
            else:
                engram.stimulate(ids, given.amplitude, at=given.at, duration=given.duration)
        if reward is not None:
            engram.reward(0.0 * reward)  # refuses what is no reward, and where nothing learns from it
        done = _with_progress(engram, ticks, stop, pace_hz=hz, topology=topology, **options)
        if reward is not None and not done.interrupted:
            engram.reward(reward)
        if done.ticks:
            try:
                engram.checkpoint(f"ran ticks {done.first_tick} to {engram.tick}")
            except EngramError as error:  # the journal has the ticks
                raise instead(error, ALL_KEPT) from error
        document = _document(engram, done, ticks, record)
    output.show(document, as_json, lambda: _text(document))
    if done.interrupted:
        raise output.Interrupted(f"interrupted after tick {engram.tick}; the state is whole, run again to go on")


def _recording(
    engram: Engram, record: Path | None, rates: bool, state: str | None, ids: str | None, every: int
) -> dict[str, Any]:
    """What ``Engram.run`` is told of recording."""
    from engramdb.recording.recorder import Recorder

    if record is None:
        return {}
    fields = [name.strip() for name in (state or "").split(",") if name.strip()]
    names = tuple(name.strip() for name in (ids or "").split(",") if name.strip())
    what = ("spikes", *(["rates"] if rates else []), *fields)
    whose = stimuli.Stimulus(names, 0.0).resolve(engram) if names else None
    Recorder(engram.spec, what, whose, every, None, 0)  # refuses what cannot be recorded
    return {"record": what, "record_ids": whose, "every": every, "to": record}


Fired = npt.NDArray[np.uint64]


def condition(text: str) -> Callable[[Engram, int, Fired], bool]:
    """What ``--until`` names: whether to stop after (engram, tick, who fired)."""
    matched = re.fullmatch(r"silent:([1-9][0-9]{0,17})|spikes>([0-9]{1,18})|(quiet)", text)
    if matched is None:
        raise InvalidInput(
            f'--until "{text}": expected silent:N (N ticks since the last spike, such as silent:50), spikes>N, or quiet'
        )
    if matched[3]:
        return lambda engram, _, fired: len(fired) == 0 and engram.quiet
    limit, last_spike, spikes = int(matched[1] or matched[2]), None, 0

    def silent(_: Engram, tick: int, fired: Fired) -> bool:
        nonlocal last_spike
        if len(fired):
            last_spike = tick
        return last_spike is not None and tick - last_spike >= limit

    def enough(_: Engram, __: int, fired: Fired) -> bool:
        nonlocal spikes
        spikes += len(fired)
        return spikes > limit

    return silent if matched[1] else enough


def _with_progress(
    engram: Engram, ticks: int, stop: Callable[[Engram, int, Fired], bool] | None, **options: Any
) -> Run:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    shown = (
        TextColumn("tick"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[rate]} ticks/s  {task.fields[held]}  RAM {task.fields[ram]}{task.fields[hits]}"),
        TimeRemainingColumn(compact=True),
    )
    with output.progress_bar(*shown) as bar:
        task = bar.add_task("run", total=ticks, rate="-", held="", ram="-", hits="")

        def advance(done: int, _: int, stats: dict[str, Any]) -> None:
            bar.update(
                task,
                completed=done,
                rate=output.number(done / max(bar.tasks[task].elapsed or 0.0, 1e-9), 3),
                held=_held(stats),
                ram=size_text(stats["used_bytes"]),
                hits=_hits(stats) + _voids(stats) + _topology(stats),
            )

        until = None if stop is None else partial(stop, engram)

        try:
            return engram.run(ticks, until=until, progress=advance, **options)
        except (BudgetExceeded, DiskFull) as error:
            done = 0 if error.run is None else error.run.ticks
            raise type(error)(f"{error}; {done} of {ticks} ticks were run, to tick {engram.tick}") from error


def _held(stats: dict[str, Any]) -> str:
    """Who is in memory."""
    active, charged, resident = (output.count(stats[name]) for name in ("active", "charged", "resident"))
    return f"{active} active, {charged} charged of {resident} resident"


def _bytes(stats: dict[str, Any]) -> str:
    """Memory by kind, the largest first; what takes less than a hundredth is left out."""
    kinds = {name.removesuffix("_bytes"): n for name, n in stats.items() if name.endswith("_bytes")}
    kinds = {name: n for name, n in kinds.items() if name not in ("used", "budget") and 100 * n > stats["used_bytes"]}
    return ", ".join(f"{name} {size_text(n)}" for name, n in sorted(kinds.items(), key=lambda kind: -kind[1]))


def _hits(stats: dict[str, Any]) -> str:
    """How often the row was there when a spike needed it, once it has not been."""
    needed = stats["hits"] + stats["misses"]
    there = f"  rows there {100 * stats['hits'] / needed:.3g} %" if stats["misses"] else ""
    return there + (f", waited {output.seconds(stats['wait_s'])}" if there else "")


def _voids(stats: dict[str, Any]) -> str:
    """How void layers stand, where there are any."""
    return "".join(
        f"  {name}: W {sie['W']:.3f} of {output.count(sie['active'])}, valence {sie['valence']:.3f}"
        for name, sie in stats.get("void", {}).items()
    )


def _topology(stats: dict[str, Any]) -> str:
    """The last reading, where any were taken."""
    found = stats.get("topology")
    return f"  complexity {found['complexity']:.3f}" if found else ""


def _document(engram: Engram, done: Run, asked: int, record: Path | None) -> dict[str, Any]:
    spikes = int(done.counts.sum())
    neuron_seconds = len(engram) * done.ticks * done.dt_ms / 1000
    return {
        "path": str(engram.location),
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
    there = f"{output.count(stats['hits'])} of {output.count(stats['hits'] + stats['misses'])}"
    read = output.count(stats["rows_loaded"])
    rows = [
        ("spikes", output.count(document["spikes"])),
        ("mean rate", f"{output.number(document['mean_rate_hz'])} Hz a neuron"),
        ("elapsed", f"{output.seconds(document['elapsed_s'])}, {output.number(stats['ticks_per_second'], 3)} ticks/s"),
        ("memory", f"{size_text(stats['used_bytes'])} of {size_text(stats['budget_bytes'])}"),
        ("of which", _bytes(stats)),
        ("in memory", f"{_held(stats)} neurons"),
        ("rows", f"{there} there when needed; {read} read, waited {output.seconds(stats['wait_s'])} for them"),
    ]
    if "void" in stats:
        rows.append(("void", _voids(stats).strip()))
    if "topology" in stats:
        found = stats["topology"]
        where = f"at tick {output.count(found['tick'])}, {output.many(found['clusters'], 'cluster')}"
        rows.append(("complexity", f"{output.number(found['complexity'])} {where}"))
    if "pace_hz" in stats:
        pace = f"{output.number(stats['paced_hz'], 3)} of {output.number(stats['pace_hz'], 3)} ticks/s"
        if stats["late_ticks"]:
            late, most = output.many(stats["late_ticks"], "tick"), output.seconds(stats["most_behind_s"])
            pace += f"; could not keep up: {late} late, by up to {most}"
        rows.append(("pace", pace))
    if document["record"] is not None:
        rows.append(("recorded", document["record"]))
    span = f"tick {output.count(first)} to {output.count(last)}" if ticks else ""
    return [output.line(head, span), output.pairs(rows)]
