"""Plots of runs and engrams with matplotlib: each draws into ``ax``, or into a figure of its own, and returns the Axes.

>>> import engramdb.plot                                    # doctest: +SKIP
>>> axes = engramdb.plot.raster(run)                        # doctest: +SKIP
>>> axes.figure.savefig("raster.png")                       # doctest: +SKIP

In a notebook an Axes of its own is shown by itself: its figure is one of pyplot's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import InvalidInput
from engramdb.extras import extra
from engramdb.layer import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engramdb.engram import Engram
    from engramdb.run import Run

_COLOURS = ("#0b7a75", "#c9700a", "#3d5a98", "#d7263d", "#7a5195", "#7d8590")
_INK, _MUTED = "#1f2430", "#6b7280"
_SAMPLE, _ROWS = 20_000, 500
_FEW = 30  # neurons whose ids are written beside their rows


def raster(run: Run, ax: Axes | None = None, *, ids: IdArray | None = None) -> Axes:
    """Who spiked when: one row for each neuron that did, by id from below, time in ms. ``ids``: of these alone.

    The run must have recorded spikes to memory: ``e.run(..., record=("spikes",))``. Raises InvalidInput.
    """
    tick, neuron = _spikes(run)
    if ids is not None:
        chosen = np.isin(neuron, np.asarray(ids, dtype=np.uint64))
        tick, neuron = tick[chosen], neuron[chosen]
    fired, row = np.unique(neuron, return_inverse=True)
    ax = _axes(ax)
    size = float(np.clip(300 / max(len(fired), 1), 1.5, 8.0))
    ax.plot(tick * run.dt_ms, row, "|", color=_COLOURS[0], ms=size, mew=1.0)
    first = (run.first_tick - 1) * run.dt_ms
    ax.set_xlim(first, first + max(run.ticks, 1) * run.dt_ms)
    ax.set_ylim(-0.7, max(len(fired), 1) - 0.3)
    if len(fired) <= _FEW:
        ax.set_yticks(range(len(fired)), [format_id(int(i)) for i in fired])
    return _dress(ax, "time (ms)", f"{len(fired):,} neurons that spiked")


def rates(run: Run, ax: Axes | None = None, *, bin_ms: float = 5.0) -> Axes:
    """Spikes in each ``bin_ms`` of time: of each layer where the run recorded rates, else of all together."""
    if not bin_ms > 0:
        raise InvalidInput(f"bin_ms={bin_ms}: give a number of milliseconds above 0")
    width = max(1, round(bin_ms / run.dt_ms))
    ax = _axes(ax)
    starts = np.arange(0, run.ticks, width)
    time = (run.first_tick - 1 + np.append(starts, run.ticks)) * run.dt_ms
    counted = run.population or {"all": run.counts}
    for number, (name, counts) in enumerate(counted.items()):
        binned = np.add.reduceat(counts, starts) if run.ticks else np.empty(0, dtype=np.int64)
        ax.stairs(binned, time, color=_COLOURS[number % len(_COLOURS)], label=name, lw=1.4)
    if len(counted) > 1:
        ax.legend(frameon=False, fontsize=8)
    ax.set_ylim(bottom=0)
    return _dress(ax, "time (ms)", f"spikes in {width * run.dt_ms:g} ms")


def weights(e: Engram, layer: str | int | None = None, ax: Axes | None = None, *, bins: int = 60) -> Axes:
    """How the weights of the synapses of ``layer`` (its only one, by default all layers') are distributed.

    Of up to 500 neurons of each layer, evenly spaced, with rows that only a rule gives.
    """
    ax = _axes(ax)
    for number, own in enumerate(_layers(e, layer)):
        chosen = _sample(e, own, _ROWS)
        found: list[npt.NDArray[np.float32]] = [e.synapses(int(i)).weights for i in chosen]
        values = np.concatenate(found) if found else np.empty(0, dtype=np.float32)
        if len(values):
            colour = _COLOURS[number % len(_COLOURS)]
            ax.hist(values, bins=bins, color=colour, alpha=0.75, label=f"{own.name}, {len(values):,} synapses")
    if ax.patches:
        ax.legend(frameon=False, fontsize=8)
    return _dress(ax, "weight", "synapses")


def degree(e: Engram, layer: str | int | None = None, ax: Axes | None = None) -> Axes:
    """How many synapses neurons of ``layer`` (by default of each) have: of up to 20,000, evenly spaced."""
    ax = _axes(ax)
    for number, own in enumerate(_layers(e, layer)):
        found = e.neurons(_sample(e, own, _SAMPLE)).out_degree
        if len(found):
            edges = _whole_bins(int(found.min()), int(found.max()))
            colour = _COLOURS[number % len(_COLOURS)]
            ax.hist(found, bins=edges, color=colour, alpha=0.75, label=f"{own.name}, {len(found):,} neurons")
    if ax.patches:
        ax.legend(frameon=False, fontsize=8)
    return _dress(ax, "synapses of a neuron", "neurons")


def history(e: Engram, ax: Axes | None = None) -> Axes:
    """The commits as a graph: ticks to the right, a row for each line of history, named by branches and snapshots.

    What has happened since the last commit is not in it.
    """
    ax = _axes(ax)
    commits = {commit.number: commit for commit in e._store.commits()}
    rows = {line: row for row, line in enumerate(dict.fromkeys(commit.line for commit in commits.values()))}
    place = {number: (commit.tick, -rows[commit.line]) for number, commit in commits.items()}
    for number, commit in commits.items():
        if commit.parent in place:
            (since, above), (to, below) = place[commit.parent], place[number]
            # along the parent's line, then across: forks start where they were made
            ax.plot([since, since, to], [above, below, below], "-", color=_MUTED, lw=1.2, zorder=1)
    colour = [_COLOURS[rows[commit.line] % len(_COLOURS)] for commit in commits.values()]
    x, y = zip(*place.values(), strict=True)
    ax.scatter(x, y, c=colour, s=28, zorder=2)
    names: dict[int, list[str]] = {}
    for branch in e.branches():
        names.setdefault(branch.head, []).append(branch.name)
    for snapshot in e.snapshots():
        names.setdefault(snapshot.commit, []).append(f"“{snapshot.name}”")
    for number, said in names.items():
        if number in place:
            text = ", ".join(dict.fromkeys(said))
            ax.annotate(text, place[number], (0, 7), textcoords="offset points", ha="center", fontsize=8, color=_INK)
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.margins(x=0.08)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    return _dress(ax, "tick", "")


def _spikes(run: Run) -> tuple[npt.NDArray[np.int64], IdArray]:
    tick, neuron = run.spikes
    if len(tick) == 0 and int(run.counts.sum()):
        raise InvalidInput('the run has not kept its spikes: record=("spikes",), without to=')
    return tick, neuron


def _layers(e: Engram, layer: str | int | None) -> list[Layer]:
    return list(e.spec.layers) if layer is None else [e.spec.layer(layer)]


def _sample(e: Engram, layer: Layer, most: int) -> IdArray:
    """Up to ``most`` ids of a layer, evenly spaced over its segments."""
    sizes = [(segment, size) for (index, segment), size in e.sizes.items() if index == layer.index and size]
    total = sum(size for _, size in sizes)
    ids = []
    for segment, size in sizes:
        n = min(size, max(1, most * size // total))
        first = (layer.index << 48) | (segment << 32)
        ids.append(np.uint64(first) + (np.arange(n, dtype=np.float64) * (size / n)).astype(np.uint64))
    return np.concatenate(ids) if ids else np.empty(0, dtype=np.uint64)


def _whole_bins(low: int, high: int) -> list[float]:
    step = max(1, -(-(high - low + 1) // 60))
    return [edge - 0.5 for edge in range(low, high + step + 1, step)]


def _axes(ax: Axes | None) -> Any:
    if ax is not None:
        return ax
    pyplot = extra("matplotlib.pyplot", "matplotlib", "")
    _, made = pyplot.subplots(figsize=(7.0, 3.6), layout="constrained")
    return made


def _dress(ax: Any, x: str, y: str) -> Axes:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(colors=_MUTED, labelsize=8)
    ax.set_xlabel(x, color=_INK)
    ax.set_ylabel(y, color=_INK)
    found: Axes = ax
    return found
