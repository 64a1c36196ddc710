"""``engramdb scaling``: scaling laws, measured."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engramdb.budget import memory_bytes
from engramdb.cli import output
from engramdb.cli.bench import Folder, Quick
from engramdb.cli.estimate import fraction, number
from engramdb.errors import NotFound

if TYPE_CHECKING:
    from engramdb.sizing.scaling import Scaling


def scaling(
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", metavar="N,N", help="Neurons of the layers; default 1e5,3e5,1e6,3e6,1e7."),
    ] = None,
    activity: Annotated[
        str | None,
        typer.Option("--activity", metavar="FRACTION,…", help="Parts that are active; default 100%,1%,0.1%,0.01%."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where neuron_scaling_results.csv and the picture go.")
    ] = Path(),
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE", help="Draw it too, into the folder: a name in .png, .svg or .pdf."),
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Layers whose active vectors are larger are left out.")
    ] = "4GiB",
    quick: Quick = False,
    folder: Folder = None,
    as_json: output.AsJson = False,
) -> None:
    """Measure how time, memory, rate, stability and learning drift scale with the number of neurons.

    Layers of receptive vectors, D = 768, at several sizes and parts active; exponents with 95 % intervals; what lies
    beyond the largest size measured is marked extrapolated. docs/scaling.md defines each quantity.

    \b
    Example:
      engramdb scaling --out . --plot scaling.svg
      engramdb scaling --sizes 1e5,1e6 --activity 1%,0.1% --json
    """
    from engramdb.sizing.scaling import ACTIVITIES, CSV_NAME, QUICK_SIZES, SIZES, measure_scaling

    wanted = [number(text, "--sizes") for text in sizes.split(",")] if sizes else QUICK_SIZES if quick else SIZES
    parts = [fraction(text, "--activity") for text in activity.split(",")] if activity else list(ACTIVITIES)
    if not out.is_dir():
        raise NotFound(f"there is no folder {out} to write {CSV_NAME} to")
    if quick and not activity:
        parts = list(ACTIVITIES[:3])
    if plot is not None:
        from engramdb.sizing.scalingplot import check

        check(plot)
    found = measure_scaling(
        wanted, parts, memory_bytes=memory_bytes(memory), quick=quick, folder=folder,
        say=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    found.write_csv(out / CSV_NAME)
    written = [out / CSV_NAME]
    if plot is not None:
        from engramdb.sizing.scalingplot import draw

        draw(found, out / plot)
        written.append(out / plot)
    document = {**found.as_dict(), "files": [str(path) for path in written]}
    output.show(document, as_json, lambda: _text(found, written))


def _text(found: Scaling, written: list[Path]) -> list[Any]:
    from engramdb.sizing.scaling import QUANTITIES

    shown: list[Any] = []
    sizes = sorted({point.neurons for point in found.points})
    for quantity, (unit, meaning) in QUANTITIES.items():
        rows = []
        own = [point for point in found.points if point.quantity == quantity]
        for activity in dict.fromkeys(point.activity for point in own):
            cells = {p.neurons: _cell(p.value, p.kind) for p in own if p.activity == activity}
            law = found.laws.get((quantity, activity))
            fitted = "" if law is None else f"{law.exponent:+.2f}"
            if law is not None and math.isfinite(law.low):
                fitted += f" ({law.low:+.2f} .. {law.high:+.2f})"
            rows.append((f"{100 * activity:g} %", *(cells.get(size, "") for size in sizes), fitted))
        shown += [
            output.line(f"{quantity}{'' if unit == '1' else f' ({unit})'}", meaning),
            output.columns(("active", *(f"{size:.0e}" for size in sizes), "exponent"), rows),
        ]
    files = ", ".join(str(path) for path in written)
    return [*shown, output.line("wrote " + files, "~ extrapolated, - not run")]


def _cell(value: float, kind: str) -> str:
    if kind == "not run":
        return "-"
    return f"~{output.number(value, 3)}" if kind == "extrapolated" else output.number(value, 3)
