"""A picture of who fired when: runs side by side, one row a neuron, rows in groups.

::

    draw(Path("raster.png"), title, note, groups, [Panel("as it is", tick, id), Panel("cut", tick, id)], dt_ms=1.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Int64Array = npt.NDArray[np.int64]

_INK, _MUTED, _PAPER, _BAND = "#1f2430", "#6b7280", "#ffffff", "#f3e9d6"
_STIMULATED = "#d7263d"
_COLOURS = ("#0b7a75", "#3d5a98", "#c9700a", "#7a5195", "#7d8590")
_BIN_MS = 5.0


@dataclass(frozen=True)
class Group:
    """Rows that belong together: ``ids`` uint64, from top to bottom; those that never fire get no row."""

    name: str
    ids: IdArray


@dataclass(frozen=True)
class Panel:
    """One run: ``tick`` int64 and ``id`` uint64 of its spikes, any order, of ticks ``1 .. ticks``."""

    title: str
    tick: Int64Array
    id: IdArray
    ticks: int


@dataclass(frozen=True)
class Stimulus:
    """Input to ``ids`` from tick ``start`` (included) to ``stop`` (excluded); drawn as a band with its name."""

    name: str
    ids: IdArray
    start: int
    stop: int


def draw(
    path: Path,
    title: str,
    note: str,
    groups: Sequence[Group],
    panels: Sequence[Panel],
    stimuli: Sequence[Stimulus] = (),
    dt_ms: float = 1.0,
) -> None:
    """Write the picture of ``panels`` (one or more, drawn to one scale) to ``path``; the suffix says which format.

    ``note`` may have two lines. Neurons in no group are left out. Stimulated neurons stand out by colour, on their row
    and beside it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups, labels = _firing(groups, panels)
    rows = _Rows(groups)
    figure = Figure(figsize=(2.4 + 5.2 * len(panels), 8.6), facecolor=_PAPER)
    FigureCanvasAgg(figure)
    left, right = 0.155 * 2 / (1 + len(panels)), 0.015
    axes = figure.subplots(
        2, len(panels), sharex=True, sharey="row", squeeze=False,
        gridspec_kw={
            "height_ratios": [1, 7.2], "left": left, "right": 1 - right, "top": 0.815, "bottom": 0.075,
            "hspace": 0.035, "wspace": 0.05,
        },
    )  # fmt: skip
    for place, panel in enumerate(panels):
        counts, raster = axes[0, place], axes[1, place]
        _draw_counts(counts, panel, dt_ms)
        _draw_spikes(raster, panel, rows, stimuli, dt_ms)
        for axis in (counts, raster):
            _dress(axis)
            for stimulus in stimuli:
                axis.axvspan((stimulus.start - 1) * dt_ms, (stimulus.stop - 1) * dt_ms, color=_BAND, zorder=0, lw=0)
        counts.set_title(panel.title, loc="left", fontsize=11.5, color=_INK, pad=24, fontweight="bold")
        for stimulus in stimuli:
            middle = (stimulus.start + stimulus.stop - 2) / 2 * dt_ms
            counts.annotate(
                stimulus.name, (middle, 1), xycoords=("data", "axes fraction"), xytext=(0, 5),
                textcoords="offset points", ha="center", fontsize=9, color=_STIMULATED,
            )  # fmt: skip
        raster.set_xlim(0, panel.ticks * dt_ms)
        raster.set_xlabel("time (ms)", color=_INK)
    _label_groups(axes[1, 0], labels, rows)
    axes[0, 0].set_ylabel(f"spikes\nin {_BIN_MS:g} ms", color=_MUTED, fontsize=8.5, rotation=0, ha="right", va="center")
    figure.text(0.015, 0.962, title, fontsize=17, color=_INK, fontweight="bold", va="center")
    figure.text(0.015, 0.938, note, fontsize=9.5, color=_MUTED, va="top", linespacing=1.45)
    figure.savefig(path, dpi=160, facecolor=_PAPER)


def _firing(groups: Sequence[Group], panels: Sequence[Panel]) -> tuple[list[Group], list[str]]:
    """The groups with only those that fire in some panel, and a label for each; silent groups are left out."""
    fired = np.unique(np.concatenate([panel.id for panel in panels]))
    kept = [Group(group.name, group.ids[np.isin(group.ids, fired)]) for group in groups]
    told = [f"{some.name}\n{len(some.ids)} of {len(group.ids)} fire" for some, group in zip(kept, groups, strict=True)]
    return [g for g in kept if len(g.ids)], [text for g, text in zip(kept, told, strict=True) if len(g.ids)]


class _Rows:
    """Where each neuron is drawn: groups from top to bottom with a gap between them."""

    def __init__(self, groups: Sequence[Group]) -> None:
        gap = 0.025 * sum(len(group.ids) for group in groups)
        starts = [0.0]
        for group in groups:
            starts.append(starts[-1] + len(group.ids) + gap)
        self.starts, self.lengths, self.gap = starts[:-1], [len(group.ids) for group in groups], gap
        self.height = starts[-1] - gap
        ids = np.concatenate([group.ids for group in groups])
        place = np.concatenate([start + np.arange(len(g.ids)) for start, g in zip(self.starts, groups, strict=True)])
        group_of = np.repeat(np.arange(len(groups)), [len(group.ids) for group in groups])
        order = np.argsort(ids)
        self._ids, self._place, self._group = ids[order], place[order], group_of[order]

    def of(self, ids: IdArray) -> tuple[npt.NDArray[np.float64], Int64Array, npt.NDArray[np.bool_]]:
        """(row, group, drawn at all) of ``ids``."""
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return self._place[at], self._group[at], self._ids[at] == ids


def _draw_spikes(axis: Axes, panel: Panel, rows: _Rows, stimuli: Sequence[Stimulus], dt_ms: float) -> None:
    row, group, drawn = rows.of(panel.id)
    driven = np.concatenate([np.empty(0, dtype=np.uint64), *(stimulus.ids for stimulus in stimuli)])
    red = np.isin(panel.id, driven)
    mark = float(np.clip(400 / max(rows.height, 1), 1.0, 9.0))  # points: about as high as a row
    for number, colour in [*enumerate(_COLOURS), (-1, _STIMULATED)]:
        chosen = drawn & (red if number < 0 else (group % len(_COLOURS) == number) & ~red)
        axis.plot(
            panel.tick[chosen] * dt_ms, row[chosen], linestyle="none", marker="|",
            markersize=mark * (1.3 if number < 0 else 1.0), markeredgewidth=1.2 if number < 0 else 1.0,
            color=colour, zorder=3 if number < 0 else 2,
        )  # fmt: skip
    for stimulus in stimuli:
        where, _, known = rows.of(stimulus.ids)
        axis.plot(
            np.full(int(known.sum()), 0.006), where[known], transform=axis.get_yaxis_transform(), linestyle="none",
            marker=">", markersize=3, color=_STIMULATED, clip_on=False, zorder=4,
        )  # fmt: skip
    for start in rows.starts[1:]:
        axis.axhline(start - rows.gap / 2 - 0.5, color="#e3e5e9", lw=0.8, zorder=1)
    axis.set_ylim(rows.height + 1, -rows.gap / 2 - 0.5)


def _draw_counts(axis: Axes, panel: Panel, dt_ms: float) -> None:
    edges = np.arange(0, panel.ticks * dt_ms + _BIN_MS, _BIN_MS)
    counts, _ = np.histogram((panel.tick - 0.5) * dt_ms, bins=edges)
    axis.fill_between(edges[:-1], counts, step="post", color=_INK, alpha=0.8, lw=0, zorder=2)
    axis.set_ylim(bottom=0)


def _dress(axis: Axes) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#c8ccd2")
    axis.tick_params(colors=_MUTED, labelsize=8.5, length=0)
    axis.set_axisbelow(True)


def _label_groups(axis: Axes, labels: Sequence[str], rows: _Rows) -> None:
    axis.set_yticks([start + (length - 1) / 2 for start, length in zip(rows.starts, rows.lengths, strict=True)])
    axis.set_yticklabels(labels, fontsize=9.5)
    for number, label in enumerate(axis.get_yticklabels()):
        label.set_color(_COLOURS[number % len(_COLOURS)])
