"""``engramdb demo``: the main job on real data, told as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from engramdb.cli import output

if TYPE_CHECKING:
    from engramdb.demo import Demo, Experiment, Reply, Restored, Spikes

_INDENT = (0, 0, 0, 3)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to leave the engram, the picture and the spikes.")
    ] = Path("demo-out"),
    as_json: output.AsJson = False,
) -> None:
    """Touch a worm: all of it once, on real data.

    Imports the chemical synapses of C. elegans, drives its touch neurons, cuts synapses, restores, verifies; in under a
    minute. DIR is made, or taken over from a former demo.

    \b
    Example:
      engramdb demo --out demo-out
    """
    from engramdb import demo as worm

    began = time.perf_counter()
    told = _Teller(quiet=as_json)
    told.tell(output.line("EngramDB demo", "a worm is touched, cut, and restored"))
    performed = worm.Demo(out)

    told.head(1, "Import the connectome")
    with told.waiting("importing; on a new machine kernels are compiled first, which takes half a minute"):
        report = performed.import_connectome()
    told.tell_indented(
        (
            f"C. elegans, hermaphrodite: {output.count(report.neurons)} cells, {output.count(report.synapses)} chemical"
            " connections, seen in electron micrographs (Cook et al. 2019). Imported in"
            f" {output.seconds(report.elapsed_s)} into {performed.engram}."
        ),
        "The table gives the size of each contact. Assumed, because it says no more:",
        *(f"  - {assumption}" for assumption in worm.ASSUMPTIONS),
    )

    told.head(2, "Touch the head, then the tail")
    with told.waiting("running; on a new machine kernels are compiled first"):
        whole = performed.touch()
    told.tell_indented(
        f"{worm.DRIVE_MV:g} mV into the touch neurons in every millisecond: "
        + ", then ".join(f"{t.where} ({', '.join(t.neurons)}) for {t.duration} ms" for t in worm.TOUCHES)
        + ".",
        f"{worm.TICKS} ticks of 1 ms in {output.seconds(whole.elapsed)}: {_spikes(whole)}.",
    )
    told.tell(_classes(performed, whole))
    told.tell_indented(*_reading(whole))

    told.head(3, "Cut, and touch again")
    with told.waiting("running"):
        cut = performed.cut()
    told.tell_indented(
        'Restored the snapshot "at-rest" and set the'
        f" {cut.synapses} synapses from touch neurons to command interneurons to 0 mV: {_spikes(cut.experiment)}."
    )
    told.tell(_before_and_after(whole, cut.experiment))

    told.head(4, "Restore, and prove it")
    with told.waiting("running"):
        restored = performed.restore(whole)
    told.tell(_proof(whole, cut.experiment, restored))
    told.tell_indented(
        "Both are the first run again: every spike of every cell, in its tick."
        if restored.identical
        else "NOT THE SAME SPIKES: this must never happen; please report it."
    )

    told.head(5, "Verify")
    checked = performed.verify()
    told.tell_indented(f"{'No damage' if checked.ok else 'DAMAGE'} in {output.counted(checked.checked)}.")
    with told.waiting("drawing"):
        performed.draw(whole, cut)
    elapsed = time.perf_counter() - began
    document = {
        "folder": str(out),
        "engram": str(performed.engram),
        "picture": str(performed.picture),
        "spikes": str(performed.spikes),
        "table": str(performed.table),
        "cells": report.neurons,
        "synapses": report.synapses,
        "assumptions": list(worm.ASSUMPTIONS),
        "touches": [{"where": t.where, "neurons": list(t.neurons), "first": t.first} for t in worm.TOUCHES],
        "whole": worm.as_document(whole),
        "cut": {"synapses": cut.synapses, **worm.as_document(cut.experiment)},
        "identical": restored.identical,
        "verified": checked.ok,
        "elapsed_s": elapsed,
    }
    performed.write_report(output.plain(document))
    told.tell(Text())
    left = (performed.engram, performed.picture, performed.spikes, performed.table)
    told.tell(output.line(f"Done in {output.seconds(elapsed)}.", f"{out} has {', '.join(path.name for path in left)}."))
    for title, text, code in _next_steps(performed):
        told.tell(Text())
        told.tell(Text(title, style="bold cyan"))
        if text:
            told.tell_indented(text)
        told.tell_code(code)
    output.show(document, as_json, lambda: ())
    if not (restored.identical and checked.ok):
        output.stop(1)


class _Teller:
    """Prints as it goes, or not at all."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = output.console()

    def tell(self, part: RenderableType) -> None:
        if not self._quiet:
            self._console.print(part)

    def head(self, number: int, title: str) -> None:
        self.tell(Text())
        self.tell(Text(f"{number}  {title}", style="bold cyan"))

    def tell_indented(self, *lines: str) -> None:
        for line in lines:
            hanging = len(line) - len(line.lstrip(" -"))
            text = Text(line[hanging:])
            if hanging:
                self.tell(Padding(output.columns(("", ""), [(line[:hanging].rstrip(), text)], head=False), _INDENT))
            else:
                self.tell(Padding(text, _INDENT))

    def tell_code(self, code: str) -> None:
        """Lines to be copied: never broken, however narrow the terminal."""
        if not self._quiet:
            for line in code.splitlines():
                self._console.print(Text(f"   {line}", style="green"), soft_wrap=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A spinner on stderr while something takes its time, where stderr is a terminal."""
        console = output.error_console()
        if self._quiet or not console.is_terminal:
            yield
            return
        with console.status(what):
            yield


def _spikes(experiment: Experiment) -> str:
    cells = len({*experiment.spikes[1].tolist()})
    return f"{output.count(len(experiment.spikes[0]))} spikes of {output.count(cells)} cells"


def _reply(reply: Reply, size: int) -> tuple[str, str]:
    if reply.latency_ms is None:
        return f"0 of {size}", ""
    return f"{reply.cells} of {size}", f"{reply.latency_ms:g} ms"


def _classes(performed: Demo, experiment: Experiment) -> RenderableType:
    """The table of who answered, and when first."""
    from engramdb.demo import COMMAND, MOTOR

    rows = []
    for cell_class, replies in zip(COMMAND + MOTOR, experiment.replies, strict=True):
        size = performed.size(cell_class)
        cells = [cell for reply in replies for cell in _reply(reply, size)]
        rows.append((cell_class.name, cell_class.role, *cells))
    headers = ("class", "drives", "head: cells", "first", "tail: cells", "first")
    return Padding(output.columns(headers, rows, right=headers[2:]), (1, 0, 1, 3))


def _reading(experiment: Experiment) -> list[str]:
    """What the table means; every number is the run's."""
    from engramdb.demo import COMMAND, TOUCHES

    first = []
    for place, touch in enumerate(TOUCHES):
        answers = [(row[place].latency_ms, c.name) for c, row in zip(COMMAND, experiment.replies, strict=False)]
        latency, name = min((latency, name) for latency, name in answers if latency is not None)
        first.append(f"{name} to the {touch.where} ({latency:g} ms)")
    rest = [f"{ms:g} ms" if ms is not None else "never" for ms in experiment.silent_after_ms]
    return [
        f"First of the command interneurons: {', '.join(first)}. Silence after the touch: {', '.join(rest)}.",
        (
            "A real worm, touched on the head, backs up; on the tail, it goes forward. Here the command interneurons"
            " for forward answer the head first, those for backward the tail: the wrong way round, and rightly so."
            " Touch neurons reach the interneurons of the right direction through gap junctions, which are left out;"
            " their chemical synapses end mostly on those of the other, thought to be inhibited (Chalfie et al."
            " 1985), and a count of sections does not know that."
        ),
    ]


def _before_and_after(whole: Experiment, cut: Experiment) -> RenderableType:
    """First latency of command interneurons and of motor neurons, before and after the cut."""
    from engramdb.demo import COMMAND, TOUCHES

    def row(name: str, chosen: slice) -> tuple[str, ...]:
        cells: list[str] = []
        for place, _ in enumerate(TOUCHES):
            for experiment in (whole, cut):
                replies = [replies[place] for replies in experiment.replies[chosen]]
                latencies = [r.latency_ms for r in replies if r.latency_ms is not None]
                spikes = sum(reply.spikes for reply in replies)
                cells.append(f"{output.count(spikes)} from {min(latencies):g} ms" if latencies else "silent")
        return (name, *cells)

    headers = ("spikes", "head", "head, cut", "tail", "tail, cut")
    rows = [
        row("command interneurons", slice(0, len(COMMAND))),
        row("motor neurons", slice(len(COMMAND), None)),
    ]
    return Padding(output.columns(headers, rows, right=headers[1:]), (1, 0, 1, 3))


def _proof(whole: Experiment, cut: Experiment, restored: Restored) -> RenderableType:
    """Spikes and digests of all runs."""
    from engramdb.demo import digest

    def told(spikes: Spikes) -> str:
        return f"{output.count(len(spikes[0]))} spikes  sha256 {digest(spikes)[:16]}"

    middle = (
        f"{output.count(len(restored.from_middle[0]))} spikes after tick {restored.middle_tick}; at the start"
        f" {output.count(restored.charged)} neurons charged, {output.count(restored.in_flight)} spikes in flight"
    )
    rows: list[tuple[str, RenderableType]] = [
        ("the first run", told(whole.spikes)),
        ("cut", told(cut.spikes)),
        ('from "at-rest"', told(restored.from_rest)),
        ('from "mid-touch"', middle),
    ]
    return Padding(output.pairs(rows), (0, 0, 0, 1))


def _next_steps(performed: Demo) -> Iterator[tuple[str, str, str]]:
    """(title, text, code) of each way to go on: with this engram, and with one's own data."""
    engram, table = performed.engram, performed.table
    ask = (
        f"engramdb query {engram} synapses AVAL --direction in --limit 10",
        f"engramdb query {engram} neuron AVAL AVBL VA04 --at cut",
        f"engramdb inspect {engram} --at mid-touch",
    )
    yield "Ask this one", "", "\n".join(ask)
    own = (
        f"engramdb import edges {table} my.engram --where kind=chemical --weight-scale 0.5",
        "engramdb snapshot my.engram before",
        "engramdb run my.engram --ticks 200 --stimulate PLML,PLMR:4@1+100 --record my.parquet",
        "engramdb query my.engram neuron AVAL",
        "engramdb restore my.engram before",
        "engramdb inspect my.engram",
    )
    told = f"Any table with pre, post and weight, CSV or Parquet; {table} is one. Names may be anything."
    yield "Now yours", told, "\n".join(own)
    yield "The same in Python", "", python_steps(table)


def python_steps(table: Path) -> str:
    """Six lines that do in Python what the commands do."""
    return (
        "import engramdb\n"
        f'engramdb.import_edges("{table.as_posix()}", "mine.engram", where="kind=chemical", weight_scale=0.5)\n'
        'with engramdb.open("mine.engram", "r+") as e:\n'
        '    e.snapshot("before"); e.stimulate(["PLML", "PLMR"], 4.0, duration=100)\n'
        '    run = e.run(200, record=("spikes",)); print(run, e.neuron("AVAL"))\n'
        '    e.restore("before")'
    )


__all__ = ["demo", "python_steps"]
