"""``engramdb estimate``: memory, disk and time before there is a network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engramdb.budget import memory_bytes, size_text
from engramdb.cli import output
from engramdb.errors import InvalidInput

if TYPE_CHECKING:
    from engramdb.sizing.constants import Constants
    from engramdb.sizing.estimate import Estimate
    from engramdb.sizing.network import Network

Neurons = Annotated[
    str, typer.Option("--neurons", "-n", metavar="N", help="How many; 1e9, 10^9 and 1000000000 are the same.")
]
Degree = Annotated[int, typer.Option("--k", "-k", metavar="K", help="Synapses of each neuron.")]
Active = Annotated[str, typer.Option("--active", metavar="FRACTION", help="The part in use at once: 0.01, or 1%.")]
Firing = Annotated[
    str, typer.Option("--firing", metavar="FRACTION", help="The part of the active ones that spikes in a tick.")
]
Driven = Annotated[
    str, typer.Option("--driven", metavar="FRACTION", help="Input events in a tick, for each active neuron.")
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="The neuron model.")]
Learning = Annotated[str, typer.Option("--learning", metavar="RULE", help="none, stdp, hebbian or re_vgsp.")]
Weights = Annotated[str, typer.Option("--weights", metavar="TYPE", help="float32, float16 or int8.")]
Wiring = Annotated[str, typer.Option("--wiring", metavar="RULE", help="small-world (one in ten long) or random.")]
Dimension = Annotated[
    int, typer.Option("--dimension", "-D", metavar="D", help="Of receptive vectors, with --model dense_lif.")
]
Materialized = Annotated[
    bool, typer.Option("--materialized", help="Every row is written out; without it the rule gives them.")
]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="The budget of the run.")]


def number(text: str, option: str) -> int:
    """``1e9``, ``10^9``, ``1_000`` or ``1000000000``."""
    matched = re.fullmatch(r"(\d+)\^(\d+)", text)
    try:
        value = float(int(matched[1]) ** min(int(matched[2]), 99)) if matched else float(text)
    except (ValueError, OverflowError):
        value = -1.0
    if not 1 <= value < 2**64 or value != int(value):
        raise InvalidInput(f"{option} {text}: give a whole number, such as 1e9, 10^9 or 1000000")
    return int(value)


def fraction(text: str, option: str) -> float:
    """``0.01`` or ``1%``."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InvalidInput(f"{option} {text}: give a fraction from 0 to 1, or a percentage such as 0.1%")
    return value


def estimate(
    neurons: Neurons = "1e6",
    k: Degree = 12,
    active: Active = "1",
    firing: Firing = "0.036",
    driven: Driven = "0",
    model: Model = "lif",
    learning: Learning = "none",
    weights: Weights = "float32",
    wiring: Wiring = "small-world",
    dimension: Dimension = 768,
    materialized: Materialized = False,
    memory: Memory = "4GiB",
    sources: Annotated[
        bool, typer.Option("--sources", help="Print what the documents claim, beside what their formulas give.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine's constants, and keep them for later estimates.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --calibrate: small sizes; it shows that all works, and keeps nothing.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="FOLDER", help="With --calibrate: where engrams are made.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Say what a network will take: RAM, disk and time of a tick.

    Formulas with measured constants: shipped ones, or this machine's after --calibrate, which takes less than a minute
    when nothing else runs. The time is processor time of one thread. docs/scaling.md has the formulas and their error.

    \b
    Example:
      engramdb estimate -n 1e9 -k 12 --active 0.01%
      engramdb estimate -n 1e5 --model dense_lif -D 768 --firing 8.4%
      engramdb estimate --sources
      engramdb estimate --calibrate
    """
    if sources:
        return _sources(as_json)
    if calibrate:
        return _calibrate(quick, folder, as_json)
    from engramdb.sizing.constants import load
    from engramdb.sizing.estimate import estimate as worked_out
    from engramdb.sizing.network import Network

    network = Network(
        neurons=number(neurons, "--neurons"), k=k, active=fraction(active, "--active"), learning=learning,
        firing=fraction(firing, "--firing"), driven=fraction(driven, "--driven"), model=model, weights=weights,
        wiring=wiring, materialized=materialized, dimension=dimension,
    )  # fmt: skip
    constants, whose = load()
    found = worked_out(network, constants, memory_bytes(memory))
    document = {**found.as_dict(), "constants": whose}
    output.show(document, as_json, lambda: _text(network, found, whose, memory_bytes(memory)))
    return None


def _text(network: Network, found: Estimate, whose: str, budget: int) -> list[Any]:
    fits = "fits" if found.counted_bytes <= budget else "does not fit"
    counted, rate = size_text(found.counted_bytes), output.number(1 / found.tick_s, 3)
    each = output.number(found.disk_bytes / network.neurons, 3)
    rows = [
        (
            "active",
            f"{output.count(network.active_neurons)}; in RAM with those they reach {output.count(found.resident)}",
        ),
        ("RAM", f"{size_text(found.ram_bytes)}; {counted} of the budget of {size_text(budget)}: {fits}"),
        ("", _parts(found.ram, size_text)),
        ("disk", f"{size_text(found.disk_bytes)}; {each} B a neuron"),
        ("", _parts(found.disk, size_text)),
        ("tick", f"{_time(found.tick_s)}; {rate} ticks/s; {output.number(network.spikes, 4)} spikes"),
        ("", _parts(found.tick, _time)),
        ("constants", whose),
    ]
    what = f"{network.model}, {'D' if network.dense else 'k'} = {network.dimension if network.dense else network.k}"
    return [output.line(f"{output.count(network.neurons)} neurons", what), output.pairs(rows)]


def _parts(parts: dict[str, float], said: Any) -> str:
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name.removesuffix('_bytes')} {said(value)}" for name, value in ordered)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{output.number(seconds / size, 3)} {unit}"
    return f"{output.number(seconds * 1e9, 3)} ns"


def _sources(as_json: bool) -> None:
    from engramdb.sizing.claims import claims

    found = claims()
    slips = sum(bool(claim.slip) for claim in found)

    def people() -> list[Any]:
        shown: list[Any] = [
            output.line(f"{len(found)} claims of the documents", f"{slips} with a slip, marked !"),
        ]
        for claim in found:
            shown.append(output.line(f"{'!' if claim.slip else ' '} {claim.topic}", f"[{claim.place}]"))
            rows = [("claim", claim.quoted), ("formula", claim.corrected)]
            shown.append(output.pairs(rows + ([("slip", claim.slip)] if claim.slip else [])))
        return shown

    output.show({"claims": [claim.as_dict() for claim in found], "slips": slips}, as_json, people)


def _calibrate(quick: bool, folder: Path | None, as_json: bool) -> None:
    from engramdb.sizing.calibrate import calibrate
    from engramdb.sizing.constants import kept_at

    constants = calibrate(quick=quick, folder=folder, say=lambda what: print(f"measuring: {what}", file=sys.stderr))
    path = kept_at()
    if not quick:
        constants.save(path)
    document = {**constants.as_dict(), "path": None if quick else str(path)}
    output.show(document, as_json, lambda: _calibrated(constants, None if quick else path))


def _calibrated(constants: Constants, path: Path | None) -> list[Any]:
    cells = [
        (output.count(size), output.number(spike, 3), output.number(event, 3), output.number(arrival, 3))
        for size, spike, event, arrival in zip(
            constants.sizes, constants.spike_ns, constants.event_ns, constants.input_ns, strict=True
        )
    ]
    headers = ("neurons", "ns a spike", "ns a synapse", "ns an input")
    sweep = ", ".join(f"{model} {output.number(ns, 3)}" for model, ns in constants.sweep_ns.items())
    return [
        output.line("calibrated", f"kept in {path}" if path else "with --quick nothing is kept"),
        output.columns(headers, cells, right=headers),
        output.pairs([("ns a neuron awake", sweep)]),
    ]
