"""What a growth cycle says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from engramdb.growth.progress import Counts, Gates, Progress, Read, Summary
from engramdb.growth.settings import Settings
from engramdb.growth.standing import Standing


@dataclass(frozen=True)
class Status:
    """Where a growth cycle stands at ``tick``.

    - ``state``: "running", "paused", "stopped" or "done"; ``phase``: "grow", "stabilize" or "optimize", ``since`` a
      tick; ``cycle`` counts from 1; ``due``: the tick of the next step.
    - ``why``: a sentence that says why it is there; ``gates``: the numbers behind it; ``readings``: the latest window.
    - ``next_bundle``: neurons of the bundle that comes next. ``owed``: synapses that may still be promoted for those
      pruned. ``weak``: pairs that are weak now; ``laps``: how often all rows have been looked at.
    - ``counts``, ``totals``: synapses pruned, promoted and bridged in this cycle, and in all. ``history``: the cycles
      before. ``interrupted``: the run that gave this was stopped by ctrl-C.
    """

    state: str
    phase: str
    cycle: int
    tick: int
    since: int
    due: int
    why: str
    gates: Gates
    readings: tuple[Read, ...]
    next_bundle: int
    owed: int
    weak: int
    laps: int
    counts: Counts
    totals: Counts
    history: tuple[Summary, ...]
    settings: Settings
    interrupted: bool = False

    def __repr__(self) -> str:
        return f"<Status: cycle {self.cycle}, tick {self.tick:,}, {self.why}>"


def status_of(standing: Standing, tick: int, *, interrupted: bool = False) -> Status:
    """The status of a cycle in an engram that stands at ``tick``."""
    at: Progress = standing.progress
    return Status(
        at.state, at.phase, at.cycle, tick, at.since, at.due, at.why, at.gates, at.window, at.bundle, at.owed,
        len(standing.timers), at.laps, at.own, at.totals, standing.history, at.settings, interrupted,
    )  # fmt: skip
