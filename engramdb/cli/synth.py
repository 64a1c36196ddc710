"""``engramdb synth``: the dry run of a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from engramdb.budget import memory_bytes, size_text
from engramdb.cli import output
from engramdb.cli.estimate import (
    Active,
    Degree,
    Firing,
    Learning,
    Materialized,
    Memory,
    Model,
    Weights,
    Wiring,
    fraction,
    number,
)

if TYPE_CHECKING:
    from engramdb.sizing.synth import DryRun


def synth(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", help="The engram to lay out; must not exist. Default: none is left."),
    ] = None,
    neurons: Annotated[str, typer.Option("--neurons", "-n", metavar="N", help="How many, such as 1e9.")] = "1e9",
    k: Degree = 12,
    active: Active = "0.01%",
    firing: Firing = "0.036",
    hz: Annotated[float, typer.Option("--hz", metavar="HZ", help="Ticks a second that the run must keep up.")] = 20.0,
    model: Model = "lif",
    learning: Learning = "none",
    weights: Weights = "float32",
    wiring: Wiring = "small-world",
    materialized: Materialized = False,
    memory: Memory = "4GiB",
    sample: Annotated[
        str,
        typer.Option("--sample", metavar="N", help="At most so many active neurons run; the rest is worked out."),
    ] = "1e5",
    ticks: Annotated[int, typer.Option("--ticks", min=1, metavar="N", help="Of the sample.")] = 100,
    as_json: output.AsJson = False,
) -> None:
    """Dry run: lay a network out without filling it, run a sample of it, and say whether the run will fit.

    PATH becomes an engram in which all neurons are virtual, in milliseconds and kilobytes, ready to run; the sample
    runs in a copy. RAM is held against --memory, disk against what is free, and the 99th percentile of a tick's time
    against --hz. Exit code 1 if something does not fit.

    \b
    Example:
      engramdb synth brain.engram -n 1e9 -k 12 --active 0.01% --hz 20
    """
    from engramdb.sizing.constants import load
    from engramdb.sizing.network import Network
    from engramdb.sizing.synth import dry_run

    network = Network(
        neurons=number(neurons, "--neurons"), k=k, active=fraction(active, "--active"), model=model, weights=weights,
        firing=fraction(firing, "--firing"), learning=learning, wiring=wiring, materialized=materialized,
    )  # fmt: skip
    found = dry_run(
        network, load()[0], path=path, memory_bytes=memory_bytes(memory), hz=hz, ticks=ticks,
        most_sampled=number(sample, "--sample"), say=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    output.show({**found.as_dict(), "hz": hz}, as_json, lambda: _text(found, hz))
    if not found.fits:
        output.stop(1)


def _text(found: DryRun, hz: float) -> list[Any]:
    head = "it will fit" if found.fits else "it will not fit"
    said = {"B": size_text, "s": output.seconds}
    cells = [
        (v.what, said[v.unit](v.needed), said[v.unit](v.available), "fits" if v.fits else "does not fit", v.how)
        for v in found.verdicts
    ]
    sample = (
        f"{output.count(found.sampled)} of {output.count(found.network.active_neurons)} active, "
        f"{output.number(found.spikes, 4)} spikes a tick, {output.number(1e3 * float(np.median(found.tick_s)), 3)} ms "
        f"(99 %: {output.number(1e3 * float(np.percentile(found.tick_s, 99)), 3)} ms)"
    )
    laid = f"{size_text(found.laid_out_bytes)} in {output.seconds(found.laid_out_s)}"
    return [
        output.line(head, f"{output.count(found.network.neurons)} neurons at {output.number(hz)} ticks/s"),
        output.pairs([("laid out", laid + ("" if found.path is None else f", {found.path}")), ("sample", sample)]),
        output.columns(("", "needed", "available", "", "how"), cells, right=("needed", "available")),
    ]
