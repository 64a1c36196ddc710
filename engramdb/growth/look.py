"""A step of a growth cycle: readings, a stretch of rows, what is to change. It is bounded, and nothing is done yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.growth import structure
from engramdb.growth.drive import Drive, drive_of
from engramdb.growth.pairs import Pairs
from engramdb.growth.progress import Counts, Progress, Summary
from engramdb.growth.readings import Gauge, Sight, level_of
from engramdb.growth.settings import OPTIMIZE
from engramdb.growth.standing import Standing
from engramdb.growth.walk import rows_of, stored_rows
from engramdb.query.view import View

if TYPE_CHECKING:
    from engramdb.engram import Engram


@dataclass(frozen=True)
class Seen:
    """What a step has read and decided, as a frame of the journal has it."""

    progress: Progress
    summary: Summary | None
    meta: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


def look(engram: Engram, standing: Standing, gauge: Gauge) -> Seen:
    """The step that is due in the present tick: a function of the state at its end."""
    live, at = engram._live, standing.progress
    tick, s, layer = live.tick, at.settings, engram.spec.layer(at.settings.layer)
    live.settle()
    if engram.spec.learns:
        live.write_back()  # weights of the moment, and rows that have them as stored ones
    view, drive = engram._view(), drive_of(live, layer, engram.spec)
    before = at.window[-1].tick if at.window else at.since
    level = level_of(live, layer, at.spikes, tick - before)
    following = at.has_read(tick, level, gauge(Sight(view, live, layer, drive)), live.spikes)

    first = max(at.cursor, layer.index << 48)
    if layer.model == "void":
        passed = rows_of(view, drive.hot, first, s.rows)
    else:
        passed = stored_rows(engram._store, layer.index, first, s.rows)
    weak = structure.weak_pairs(passed, first, standing.timers, layer, drive, s.below, tick)
    gone = np.zeros(len(weak.timers), dtype=bool)
    added, kinds = Pairs.none(), np.empty(0, dtype=np.uint8)
    if at.phase == OPTIMIZE:
        gone = structure.due(weak, s, tick)
        added, kinds = _coming(engram, view, drive, at, tick)
    removed = structure.pruned(weak, gone)
    timers, untimed = standing.timers.replaced(weak.first, weak.last, weak.timers.at(~gone), s.timers)
    counts = Counts(len(removed), int((kinds == 1).sum()), int((kinds == 2).sum()), untimed)
    following = following.has_changed(counts, tuple(np.unique(removed.pre)[: s.searches].tolist()))
    following = replace(following, cursor=passed.cursor, laps=following.laps + passed.lapped)
    following, summary = following.moved_on(tick)
    arrays = {
        **timers.among(weak.first, weak.last).arrays("weak_"),
        **removed.arrays("removed_"), **added.arrays("added_"), "added_kind": kinds,
    }  # fmt: skip
    return Seen(following, summary, {"looked_at": [weak.first, weak.last]}, arrays)


def _coming(engram: Engram, view: View, drive: Drive, at: Progress, tick: int) -> tuple[Pairs, npt.NDArray[np.uint8]]:
    """Synapses that are promoted, and bridges; and of which kind each is."""
    s, spec, bundles = at.settings, engram.spec, engram._bundles
    layer, seed = spec.layer(s.layer), spec.seed
    least = s.below if layer.model == "void" else 0.0  # what would be weak at once is not worth it
    promoted = structure.promoted(view, layer, drive, min(s.promotions, at.owed), least, seed, tick, spec)
    suspects = np.array(at.suspects, dtype=np.uint64)
    from_whom = structure.sentinels(suspects, bundles, layer, seed, tick, s.searches)
    found = [structure.island_of(view, layer, neuron, s.island) for neuron in from_whom.tolist()]
    added = promoted.and_then(structure.bridges(found, view, bundles, layer, seed, tick, spec))
    return added, np.repeat(np.array([1, 2], dtype=np.uint8), (len(promoted), len(added) - len(promoted)))
