"""``engramdb cycle PATH`` and ``engramdb prune``: growth cycles, and pruning at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import engramdb
from engramdb.address import format_id
from engramdb.cli import output
from engramdb.cli.history import MAIN, At, EngramPath, OnBranch, commit_at
from engramdb.cli.writing import open_to_write, writing
from engramdb.errors import InvalidInput
from engramdb.growth.settings import ADAPTIVE, FIXED, Settings

if TYPE_CHECKING:
    from engramdb.engram import Engram
    from engramdb.growth.status import Status

app = typer.Typer(rich_markup_mode=None)
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="Hard limit, such as 512MiB.")]


class Kind(StrEnum):
    """What can happen to a synapse."""

    pruned = "pruned"
    promoted = "promoted"
    bridged = "bridged"


@app.callback()
def cycle(context: typer.Context, path: EngramPath) -> None:
    """Grow in cycles: a bundle of neurons, until stable, prune and promote, again.

    A cycle is started once and belongs to the engram; each run goes on where the last one ended, also where that was
    killed.

    \b
    Example:
      engramdb cycle brain.engram start cortex --bundle 100000
      engramdb cycle brain.engram run --cycles 3
      engramdb cycle brain.engram status
    """
    context.obj = path


@app.command()
def start(
    context: typer.Context,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="Name of the layer that grows.")],
    bundle: Annotated[int, typer.Option("--bundle", metavar="N", help="Neurons of the first bundle.")] = 1_000_000,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Let each bundle be larger, by a factor of 1.2 to 1.5.")
    ] = False,
    below: Annotated[float, typer.Option("--below", metavar="W", help="What is weaker is weak.")] = 0.01,
    cycles: Annotated[
        int | None, typer.Option("--cycles", metavar="N", help="After so many it is done; default: never.")
    ] = None,
    materialize: Annotated[bool, typer.Option("--materialize", help="Write the rows of the bundles out.")] = False,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as every=50; may be repeated."),
    ] = None,
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Start a growth cycle; nothing grows before it is run.

    Settings for --set, with what they are by default, are listed in docs/growth.md: k, inbound, awaken, amplitude,
    awaken_ticks, gauge, every, window, flat_w, flat_clusters, flat_b1, patience, optimize, persist, rows, prunes,
    promotions, searches, island, timers, most_bundle, first.

    \b
    Example:
      engramdb cycle brain.engram start cortex --bundle 100000 --set every=50
    """
    settings: dict[str, Any] = {
        "layer": layer, "bundle": bundle, "growth": ADAPTIVE if adaptive else FIXED, "below": below,
        "cycles": cycles, "materialize": materialize, **dict(_setting(text) for text in given or []),
    }  # fmt: skip
    with open_to_write(context.obj, branch=branch) as engram:
        status = engram.cycle.start(**settings)
        _show(engram, status, as_json, "started a growth cycle")


def _setting(text: str) -> tuple[str, Any]:
    """``every=50`` as a name and a number, or a word."""
    name, equals, value = text.partition("=")
    if not equals or name not in {field.name for field in fields(Settings)}:
        raise InvalidInput(f'--set "{text}": expected NAME=VALUE with one of the settings that --help lists')
    for read in (int, float):
        try:
            return name, read(value)
        except ValueError:
            continue
    return name, value


@app.command()
def run(
    context: typer.Context,
    cycles: Annotated[int | None, typer.Option("--cycles", min=1, metavar="N", help="So many cycles more.")] = None,
    ticks: Annotated[int | None, typer.Option("--ticks", min=0, metavar="N", help="So many ticks.")] = None,
    memory: Memory = "4GiB",
    threads: Annotated[int, typer.Option("--threads", min=1, metavar="N", help="Threads to compute with.")] = 1,
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Run on: for some ticks or cycles, or until it is done.

    \b
    Example:
      engramdb cycle brain.engram run --cycles 3 --memory 8GiB
    """
    path: Path = context.obj
    with open_to_write(path, branch=branch, memory=memory, threads=threads) as engram:
        with _bar(engram, ticks, cycles) as (advance, rows):
            status = engram.cycle.run(ticks, cycles, progress=advance, rows=rows)
        _show(engram, status, as_json, "ran the growth cycle")
    if status.interrupted:
        raise output.Interrupted(f"interrupted after tick {status.tick}; the state is whole, run again to go on")


@contextmanager
def _bar(
    engram: Engram, ticks: int | None, cycles: int | None
) -> Iterator[tuple[Callable[[Status], None], Callable[[int, int], None]]]:
    """A line that says where the cycle is, and how fast it goes; and one while rows of a bundle are written."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    first, done_before = engram.tick, len(engram.cycle.status().history)
    shown = (
        TextColumn("cycle {task.fields[cycle]}  {task.fields[phase]}  tick {task.fields[tick]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[rate]} ticks/s  {task.fields[neurons]} neurons"),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with writing() as rows, output.progress_bar(*shown) as bar:
        end = ticks if ticks is not None else cycles
        task = bar.add_task("cycle", total=end, cycle="-", phase="-", tick=engram.tick, rate="-", neurons="-")

        def advance(status: Status) -> None:
            elapsed = max(bar.tasks[task].elapsed or 0.0, 1e-9)
            bar.update(
                task,
                completed=status.tick - first if ticks is not None else len(status.history) - done_before,
                cycle=status.cycle,
                phase=status.phase,
                tick=output.count(status.tick),
                rate=output.number((status.tick - first) / elapsed, 3),
                neurons=output.count(len(engram)),
            )

        yield advance, rows


@app.command()
def step(
    context: typer.Context, memory: Memory = "4GiB", branch: OnBranch = MAIN, as_json: output.AsJson = False
) -> None:
    """Run to the tick in which the next step is due, and do it.

    \b
    Example:
      engramdb cycle brain.engram step --json
    """
    with open_to_write(context.obj, branch=branch, memory=memory) as engram:
        _show(engram, engram.cycle.step(), as_json, "did a step")


@app.command()
def pause(context: typer.Context, branch: OnBranch = MAIN, as_json: output.AsJson = False) -> None:
    """Refuse to run on until resumed.

    \b
    Example:
      engramdb cycle brain.engram pause
    """
    with open_to_write(context.obj, branch=branch) as engram:
        _show(engram, engram.cycle.pause(), as_json, "paused")


@app.command()
def resume(context: typer.Context, branch: OnBranch = MAIN, as_json: output.AsJson = False) -> None:
    """Be ready to run on after a pause.

    \b
    Example:
      engramdb cycle brain.engram resume
    """
    with open_to_write(context.obj, branch=branch) as engram:
        _show(engram, engram.cycle.resume(), as_json, "resumed")


@app.command()
def stop(context: typer.Context, branch: OnBranch = MAIN, as_json: output.AsJson = False) -> None:
    """End the cycle. What it has done stays, and another one can be started.

    \b
    Example:
      engramdb cycle brain.engram stop
    """
    with open_to_write(context.obj, branch=branch) as engram:
        _show(engram, engram.cycle.stop(), as_json, "stopped")


@app.command()
def status(context: typer.Context, at: At = None, as_json: output.AsJson = False) -> None:
    """Say where the cycle is, and why.

    \b
    Example:
      engramdb cycle brain.engram status
    """
    with engramdb.open(context.obj, at=commit_at(at)) as engram:
        _show(engram, engram.cycle.status(), as_json, "")


@app.command()
def events(
    context: typer.Context,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    since: Annotated[int, typer.Option("--since", min=0, metavar="TICK", help="From that tick on.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="The last so many.")] = 100,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """List synapses that were pruned, promoted or bridged: when, and why.

    \b
    Example:
      engramdb cycle brain.engram events --kind pruned --limit 20
    """
    with engramdb.open(context.obj, at=commit_at(at)) as engram:
        found = engram.cycle.events(None if kind is None else kind.value, since=since, limit=limit)
        totals = _changed(engram.cycle.status())
    listed: list[dict[str, Any]] = [
        {"tick": one.tick, "kind": one.kind, "pre": format_id(one.pre), "post": format_id(one.post), "why": one.why}
        for one in found.listed()
    ]
    told = output.counted(totals) or "none"
    document = {"path": str(context.obj), "totals": totals, "events": listed}
    rows = [[output.count(one["tick"]), *(str(one[name]) for name in list(one)[1:])] for one in listed]
    table = output.columns(["tick", "", "pre", "post", "why"], rows, right=["tick"])
    output.show(document, as_json, lambda: [table, output.line("in all", told)])


def _show(engram: Engram, status: Status, as_json: bool, what: str) -> None:
    """A status, behind the line that says what was done."""
    document: dict[str, Any] = {
        "path": str(engram.location),
        "neurons": len(engram),
        **{name: value for name, value in vars(status).items() if name != "interrupted"},
        "gates": status.gates._asdict(),
        "readings": [reading._asdict() for reading in status.readings],
        "counts": status.counts._asdict(),
        "totals": status.totals._asdict(),
        "history": [asdict(one) for one in status.history],
        "settings": status.settings.as_dict(),
        "interrupted": status.interrupted,
    }
    output.show(document, as_json, lambda: _text(status, len(engram), what))


def _text(status: Status, neurons: int, what: str) -> list[Any]:
    rows = [
        ("why", status.why),
        ("neurons", f"{output.count(neurons)}; the next bundle has {output.count(status.next_bundle)}"),
        ("synapses", output.counted(_changed(status)) or "as grown"),
        ("weak", f"{output.many(status.weak, 'pair')}; all rows looked at {output.many(status.laps, 'time')}"),
    ]  # fmt: skip
    parts: list[Any] = [
        output.line(what or f"growth cycle {status.cycle}", status.state, f"tick {output.count(status.tick)}"),
        output.pairs(rows),
    ]
    if status.history:
        headers = ["cycle", "neurons", "stable after", "pruned", "promoted", "bridged", "clusters", "B1"]
        cells = [
            [str(one.cycle), output.count(one.neurons), _stable(one), *map(output.count, (one.pruned, one.promoted)),
             output.count(one.bridged), output.number(one.clusters), output.number(one.b1)]
            for one in status.history[-20:]
        ]  # fmt: skip
        parts.append(output.columns(headers, cells, right=headers))
    return parts


def _changed(status: Status) -> dict[str, int]:
    totals = status.totals
    return {"pruned": totals.pruned, "promoted": totals.promoted, "bridged": totals.bridged}


def _stable(summary: Any) -> str:
    ticks = f"{output.count(summary.stable - summary.grown)} ticks"
    return ticks if summary.converged else f"not in {ticks}"


def prune(
    path: EngramPath,
    below: Annotated[float, typer.Option("--below", metavar="MV", help="What is smaller goes.")],
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Only of neurons of this layer.")] = None,
    branch: OnBranch = MAIN,
    memory: Memory = "4GiB",
    as_json: output.AsJson = False,
) -> None:
    """Take away all synapses of stored rows that are weaker than a weight.

    Rows that only a wiring rule knows stay as they are. A growth cycle prunes bit by bit, and what stays weak.

    \b
    Example:
      engramdb prune brain.engram --below 0.05
    """
    with open_to_write(path, branch=branch, memory=memory) as engram:
        pruned = engram.prune(below, layer)
        document = {"path": str(path), "below": below, "layer": layer, "pruned": pruned, "tick": engram.tick}
    output.show(document, as_json, lambda: [output.line(f"pruned {output.many(pruned, 'synapse')}")])
