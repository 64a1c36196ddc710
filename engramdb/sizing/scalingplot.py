"""A picture of measured scaling laws: one panel a quantity, a line for each part that is active."""

from __future__ import annotations

from pathlib import Path

from engramdb.errors import InvalidInput
from engramdb.extras import extra
from engramdb.sizing.scaling import EXTRAPOLATED, MEASURED, QUANTITIES, Point, Scaling

_SUFFIXES = (".png", ".svg", ".pdf")
_COLOURS = ("#0b7a75", "#c9700a", "#3d5a98", "#d7263d", "#7d8590")
_INK, _MUTED = "#1f2430", "#6b7280"


def check(name: str) -> None:
    """Raise InvalidInput where a picture of that name could not be drawn, before anything is measured."""
    if Path(name).suffix not in _SUFFIXES:
        raise InvalidInput(f"--plot {name}: give a name that ends in {', '.join(_SUFFIXES)}")
    extra("matplotlib", "matplotlib", "")


def draw(found: Scaling, path: Path) -> None:
    """Write the picture; measured points are filled with their range, extrapolated ones hollow and dashed."""
    figures = extra("matplotlib.figure", "matplotlib", "")
    extra("matplotlib.backends.backend_agg", "matplotlib", "")
    figure = figures.Figure(figsize=(12, 7), layout="constrained")
    activities = sorted({point.activity for point in found.points}, reverse=True)
    for axes, (quantity, (unit, _)) in zip(figure.subplots(2, 3).ravel(), QUANTITIES.items(), strict=True):
        for activity, colour in zip(activities, _COLOURS * (1 + len(activities) // len(_COLOURS)), strict=False):
            own = [p for p in found.points if (p.quantity, p.activity) == (quantity, activity)]
            measured = [p for p in own if p.kind == MEASURED]
            further = [p for p in own if p.kind == EXTRAPOLATED]
            law = found.laws.get((quantity, activity))
            name = f"{100 * activity:g} %" + ("" if law is None else f", N^{law.exponent:.2f}")
            if measured:
                _line(axes, measured, colour, name)
            if further:
                ends = [*measured[-1:], *further]
                axes.plot([p.neurons for p in ends], [p.value for p in ends], "--", color=colour, lw=1)
                axes.plot([p.neurons for p in further], [p.value for p in further], "o", mfc="none", color=colour, ms=4)
        axes.set_xscale("log")
        if quantity not in ("spike rate", "stability"):
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.05 if quantity == "stability" else None)
        axes.set_title(quantity + ("" if unit == "1" else f" ({unit})"), loc="left", fontsize=11, color=_INK)
        axes.tick_params(colors=_MUTED, labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(fontsize=7, frameon=False, title="active", title_fontsize=7)
        axes.set_xlabel("neurons", fontsize=9, color=_INK)
    figure.suptitle("filled: measured; hollow, dashed: extrapolated by the fitted law", fontsize=9, color=_MUTED)
    figure.savefig(path, dpi=150)


def _line(axes: object, points: list[Point], colour: str, name: str) -> None:
    x, y = [p.neurons for p in points], [p.value for p in points]
    below, above = [p.value - p.low for p in points], [p.high - p.value for p in points]
    axes.errorbar(x, y, yerr=(below, above), fmt="o-", color=colour, ms=4, lw=1.2, capsize=2, label=name)  # type: ignore[attr-defined]
