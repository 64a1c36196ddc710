"""``engram.cycle``: grow, stabilize, optimize, and again; durable, and the same bits however it is cut.

Between steps the engram runs as it always does. A step reads, decides, and journals what it has decided as values, in
one frame with the state that follows: killed before the frame, it is decided again from the same state and so in the
same way; killed behind it, the frame is replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, pack
from engramdb.errors import InvalidInput, NotFound
from engramdb.growth.bundle import Bundle
from engramdb.growth.events import KINDS, Events
from engramdb.growth.inbound import check_inbound
from engramdb.growth.pairs import Pairs
from engramdb.growth.progress import PAUSED, RUNNING, STOPPED, Progress, Summary
from engramdb.growth.settings import GROW, Settings
from engramdb.growth.standing import Standing, journaled
from engramdb.growth.status import Status, status_of
from engramdb.growth.timers import MOST, Timers
from engramdb.rules import is_whole
from engramdb.stimuli import command

if TYPE_CHECKING:
    from engramdb.engram import Engram, Growing
    from engramdb.growth.readings import Gauge

Arrays = dict[str, npt.NDArray[Any]]
OnStep = Callable[[Status], None]


class Cycle:
    """The growth cycle of ``engram``. It lives as long as the engram is open, and what it knows as long as the engram.

    ``gauge``: takes the readings of clusters and B1 in place of what the settings name; to be set anew by each handle.
    """

    gauge: Gauge | None = None

    def __init__(self, engram: Engram) -> None:
        self._engram = engram
        self._running = self._pause_asked = False

    def __repr__(self) -> str:
        standing = self._found()
        return "<Cycle: none>" if standing is None else f"<Cycle: {standing.progress.cycle}, {standing.progress.why}>"

    # ---- what others ask

    @property
    def standing(self) -> Standing | None:
        """All that it knows; None where no cycle was ever started."""
        return self._found()

    def _found(self) -> Standing | None:
        live = self._engram._engine
        return live.cycle if live is not None else Standing.of(self._engram._kept)

    @property
    def _standing(self) -> Standing:
        found = self._found()
        if found is None:
            raise NotFound(
                f"{self._engram.location.name} has no growth cycle; start one, with the layer that is to grow"
            )
        return found

    def status(self) -> Status:
        """Where it stands, and why. Raises :class:`NotFound` where no cycle was ever started."""
        return status_of(self._standing, self._engram.tick)

    def events(self, kind: str | None = None, *, since: int = 0, limit: int | None = None) -> Events:
        """Synapses that were pruned, promoted and bridged, oldest first; of many the last 65,536 are known.

        ``kind``: only those "pruned", "promoted" or "bridged". ``since``: from that tick on. ``limit``: the last so
        many. ``.listed()`` says of each why.
        """
        events = self._standing.events
        chosen = events.tick >= since
        if kind is not None:
            if kind not in KINDS:
                raise InvalidInput(f'kind="{kind}": expected one of {", ".join(KINDS)}')
            chosen &= events.kind == KINDS.index(kind)
        places = np.flatnonzero(chosen)
        return events.at(places if limit is None else places[max(0, len(places) - limit) :])

    # ---- commands

    def start(self, **settings: Any) -> Status:
        """Begin a new cycle; see :class:`engramdb.growth.settings.Settings` for what can be set. ``layer`` is needed.

        Nothing grows yet: :meth:`run` does that. A cycle that is running or paused must be stopped first.
        """
        engram, live = self._engram, self._engram._live
        given = Settings.given(settings)
        layer = engram.spec.layer(given.layer)
        if not any((p.pre, p.post) == (layer.name, layer.name) for p in engram.spec.all_projections):
            raise InvalidInput(f'no projection joins layer "{layer.name}" to itself: there is nothing to optimize')
        check_inbound(given.inbound, layer, engram.spec)
        # refused now, and not after hours: what the first bundle needs
        engram._bundles.grow(engram.spec, layer.name, given.bundle, k=given.k, tick=live.tick)
        before = self._found()
        if before is not None and before.progress.state in (RUNNING, PAUSED):
            raise InvalidInput(f"a growth cycle is {before.progress.state} already; stop it first")
        self._settle("start", Progress.started(given, live.tick))
        return self.status()

    def run(
        self, ticks: int | None = None, cycles: int | None = None, *, progress: OnStep | None = None,
        rows: Growing | None = None,
    ) -> Status:  # fmt: skip
        """Run on for ``ticks`` ticks, or until so many ``cycles`` more are over; without either until it is done.

        ``progress(status)`` is called after every step, ``rows(done, neurons)`` while rows of a bundle are written.
        Ctrl-C, and :meth:`pause` called meanwhile, end it at a tick boundary. A cycle that is done ends it too.
        """
        engram = self._engram
        at = self._runnable()
        for name, value in (("ticks", ticks), ("cycles", cycles)):
            if value is not None and (not is_whole(value) or value < 0):
                raise InvalidInput(f"{name}={value!r}: give a whole number, 0 or more")
        if ticks is None and cycles is None and at.settings.cycles is None:
            raise InvalidInput("run: say for how many ticks or cycles; this cycle has no end of its own")
        until = None if ticks is None else engram.tick + ticks
        last = None if cycles is None else len(self._standing.history) + cycles
        self._running, self._pause_asked = True, False
        interrupted = False
        try:
            while not interrupted and not self._pause_asked:
                at = self._standing.progress
                if at.state != RUNNING or (last is not None and len(self._standing.history) >= last):
                    break
                to = at.due if until is None else min(at.due, until)
                if engram.tick < to:
                    interrupted = engram.run(to - engram.tick).interrupted
                if engram.tick >= at.due:
                    self._step(rows)
                    if progress is not None:
                        progress(self.status())
                elif until is not None and engram.tick >= until:
                    break
        finally:
            self._running = False
        if self._pause_asked and self._standing.progress.state == RUNNING:
            self.pause()
        return status_of(self._standing, engram.tick, interrupted=interrupted)

    def step(self, *, rows: Growing | None = None) -> Status:
        """Run to the tick in which the next step is due, and do it."""
        engram, at = self._engram, self._runnable()
        interrupted = engram.tick < at.due and engram.run(at.due - engram.tick).interrupted
        if not interrupted:
            self._step(rows)
        return status_of(self._standing, engram.tick, interrupted=interrupted)

    def pause(self) -> Status:
        """Do nothing more until :meth:`resume`. While it runs, from another thread: at the next tick boundary."""
        if self._running:
            self._pause_asked = True
            return self.status()
        return self._become(PAUSED, (RUNNING,))

    def resume(self) -> Status:
        """Be ready to run again after :meth:`pause`; what was due meanwhile is due at once."""
        return self._become(RUNNING, (PAUSED,))

    def stop(self) -> Status:
        """End it. What it has done stays, and can be asked for; another one may be started."""
        return self._become(STOPPED, (RUNNING, PAUSED))

    def _become(self, state: str, allowed: tuple[str, ...]) -> Status:
        self._engram._check_writable()
        at = self._standing.progress
        if at.state == state:
            return self.status()
        if at.state not in allowed:
            raise InvalidInput(f"the growth cycle is {at.state}, not {' or '.join(allowed)}; see status()")
        self._settle(state, replace(at, state=state))
        return self.status()

    def _runnable(self) -> Progress:
        self._engram._check_writable()
        at = self._standing.progress
        if at.state != RUNNING:
            then = {PAUSED: "resume it first"}.get(at.state, "start another")
            raise InvalidInput(f"the growth cycle is {at.state}; {then}")
        return at

    # ---- steps

    def _step(self, rows: Growing | None) -> None:
        """Decide what is due in this tick, journal it, and do it."""
        if self._standing.progress.phase == GROW:
            self._grow(rows)
        else:
            self._look()

    def _grow(self, rows: Growing | None) -> None:
        engram, live, at = self._engram, self._engram._live, self._standing.progress
        s = at.settings
        materialize = s.materialize or engram.spec.layer(s.layer).materialize
        grow = {"layer": s.layer, "neurons": at.bundle, "k": s.k, "materialize": materialize, "inbound": s.inbound}
        _, bundle = engram._bundles.grow(engram.spec, s.layer, at.bundle, k=s.k, tick=live.tick)
        meta: dict[str, Any] = {"grow": grow}
        arrays: Arrays = {}
        if s.awaken:
            woken = _some_of(bundle, s.awaken, engram.spec.seed)
            given = command.current(live.stimuli.next_number, live.tick, woken, s.amplitude, None, s.awaken_ticks)
            meta["stimulus"] = {"kind": given.kind, "meta": given.meta}
            arrays |= {f"stimulus_{name}": array for name, array in given.arrays.items()}
        following = at.has_grown(at.bundle, live.tick)
        self._settle("grow", following, meta=meta, arrays=arrays, rows=rows)

    def _look(self) -> None:
        """Take readings, look at some rows, and change synapses where the phase is to."""
        from engramdb.growth.look import look
        from engramdb.growth.readings import GAUGES

        gauge = self.gauge or GAUGES[self._standing.progress.settings.gauge]
        seen = look(self._engram, self._standing, gauge)
        self._settle("look", seen.progress, meta=seen.meta, arrays=seen.arrays, summary=seen.summary)
        if seen.summary is not None:
            self._engram.checkpoint(_told(seen.summary))

    def _settle(
        self, what: str, progress: Progress, *, meta: dict[str, Any] | None = None, arrays: Arrays | None = None,
        summary: Summary | None = None, rows: Growing | None = None,
    ) -> None:  # fmt: skip
        """Journal what was decided, and do it."""
        engram = self._engram
        content: dict[str, Any] = {"what": what, "progress": journaled(progress), **(meta or {})}
        if summary is not None:
            content["summary"] = vars(summary)
        with engram._journaled("cycle", content, arrays or {}):
            self.replay(content, arrays or {})
            engram._write_out(rows)
        engram._live.working_set.check_budget()  # timers and events are memory too

    def replay(self, meta: dict[str, Any], arrays: Arrays) -> None:
        """Do what a frame of the journal says."""
        engram = self._engram
        progress = Progress.from_json(meta["progress"])
        summary = Summary(**meta["summary"]) if "summary" in meta else None
        if meta["what"] == "start":
            engram._live.spikes = 0
            engram._live.cycle = Standing(progress)
            return
        standing = self._standing
        timers = events = None
        if "grow" in meta:
            engram._grow(**meta["grow"])
        if "stimulus" in meta:
            given = {n.removeprefix("stimulus_"): a for n, a in arrays.items() if n.startswith("stimulus_")}
            live = engram._live
            live.stimuli.prepared(meta["stimulus"]["kind"], meta["stimulus"]["meta"], given, live.tick)()
        if "looked_at" in meta:
            first, last = meta["looked_at"]
            timers, _ = standing.timers.replaced(first, last, Timers.of(arrays, "weak_"), MOST)
            removed, added = Pairs.of(arrays, "removed_"), Pairs.of(arrays, "added_")
            if len(removed):
                engram._remove_synapses(removed.pre, removed.post)
            if len(added):
                engram._change_synapses(added.pre, added.post, added.weight, create=True, journaled=True)
            events = Events.of_pairs(engram.tick, [(removed, None), (added, arrays["added_kind"])])
        engram._live.cycle = standing.after(progress, summary, timers, events)


def _some_of(bundle: Bundle, most: int, seed: int) -> IdArray:
    """About ``most`` neurons of a bundle, drawn at random; sorted, each once."""
    from engramdb.kernels import rng

    drawn = np.empty(min(most, bundle.neurons), dtype=np.uint64)
    number = np.arange(len(drawn), dtype=np.uint64)
    rng.fill_hashes(np.uint64(seed), number, np.uint64(bundle.number), rng.AWAKENED, drawn)
    return np.unique(np.uint64(pack(bundle.layer, bundle.segment, bundle.lo)) + drawn % np.uint64(bundle.neurons))


def _told(summary: Summary) -> str:
    """A cycle in one line, for the log."""
    stable = "stable" if summary.converged else "not stable"
    return (
        f"cycle {summary.cycle}: grew by {summary.neurons:,}, {stable} after {summary.stable - summary.grown} ticks; "
        f"pruned {summary.pruned}, promoted {summary.promoted}, bridged {summary.bridged}"
    )
