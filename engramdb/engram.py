"""``Engram``: one open engram. It validates, journals and delegates; the work is done elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.birth import born_awake
from engramdb.cards import Stats
from engramdb.errors import EngramError, InvalidInput
from engramdb.growth.bundle import Bundle
from engramdb.handle.changes import Changes
from engramdb.handle.conversions import Conversions
from engramdb.handle.history import History
from engramdb.handle.memories import Memories
from engramdb.naming import Ids
from engramdb.newest import Newest
from engramdb.run import MOST_TICKS, Boundary, Run, run_ticks
from engramdb.stimuli.command import COMMANDS
from engramdb.store import Store
from engramdb.whole import whole

if TYPE_CHECKING:
    from engramdb.growth.cycle import Cycle
    from engramdb.layerhandle import LayerHandle
    from engramdb.store import Report
    from engramdb.topology import Reading, Tracker

_REPLAY_SECONDS = 30.0  # a checkpoint comes by itself when replaying the journal would take longer

_BULK_BYTES = 1 << 29  # more would not make it faster

Growing = Callable[[int, int], None]
"""Called with (neurons written, of so many)."""


class Engram(Memories, Changes, History, Conversions):
    """An open engram. Use :func:`engramdb.open` or :func:`engramdb.create`; close it, or use it in ``with``.

    Opened to write (``mode="r+"``) it is the only writer; a command that has returned is durable. Opened to read it
    stands at one commit and sees nothing later.
    """

    def __init__(self, store: Store, *, memory: str | int, threads: int, progress: Growing | None = None) -> None:
        super().__init__(store, memory=memory, threads=threads)
        self._tracker: Tracker | None = None
        self._cycle: Cycle | None = None
        if self.mode == "r+":
            try:
                self._replay()
                self._write_out(progress)
            except BaseException:
                self._shut()
                raise

    def _replay(self) -> None:
        for frame in self._store.journal_frames():
            while (ticks := frame.tick - self._live.tick) > 0:
                if (exceeded := self._live.advance(ticks).exceeded) is not None:
                    raise exceeded
            if frame.kind in COMMANDS:
                self._live.stimuli.prepared(frame.kind, frame.meta, frame.arrays, frame.tick)()
            elif frame.kind == "connect":
                self._change_synapses(**frame.arrays, create=frame.meta["create"], journaled=True)
            elif frame.kind == "parameters":
                values = {name: array for name, array in frame.arrays.items() if name != "id"}
                self._set_parameters(frame.arrays["id"], values)
            elif frame.kind == "reward":
                self._reward(frame.meta["value"])
            elif frame.kind == "error":
                self._set_error(frame.arrays["id"], frame.arrays["value"])
            elif frame.kind == "forget":
                self._forget(frame.arrays["id"])
            elif frame.kind == "grow":
                self._grow(**frame.meta)
            elif frame.kind == "prune":
                self._prune(**frame.meta)
            elif frame.kind == "cycle":
                self.cycle.replay(frame.meta, frame.arrays)
            elif frame.kind in ("forward", "backward"):
                from engramdb.layerhandle import replay

                replay(self._live, frame.kind, frame.meta, frame.arrays)
            elif frame.kind == "activate":
                self._activate(frame.arrays["id"], frame.arrays.get("w", frame.meta.get("w")))
            elif frame.kind == "imprint":
                self._store.write_trace(frame.meta["name"], frame.arrays["id"], frame.tick, frame.meta["created"])
            elif frame.kind != "ran":
                raise EngramError(
                    f'journal of {self.location}: unknown command "{frame.kind}"; open it with a newer version'
                )
        if self._engine is not None:
            self._engine.settle()
            self._engine.stimuli.drop_parts()

    def layer(self, name_or_index: str | int) -> LayerHandle:
        """One layer: receptive vectors and inputs of a ``dense_lif`` layer, the valence of a ``void`` one.

        :class:`NotFound` says which layers there are.
        """
        from engramdb.layerhandle import LayerHandle

        return LayerHandle(self, self.spec.layer(name_or_index))

    @property
    def cycle(self) -> Cycle:
        """The growth cycle: grow, stabilize, optimize, and again; see :class:`engramdb.growth.cycle.Cycle`."""
        from engramdb.growth.cycle import Cycle

        if self._cycle is None:
            self._cycle = Cycle(self)
        return self._cycle

    @property
    def newest_reading(self) -> Newest | None:
        """The newest reading of the topology of this engram: of a run or a question through this handle, or of its
        growth cycle. None where there is none yet; none is taken for it."""
        found = [Newest.of_cycle(self.cycle.standing), self._noted]
        return max((one for one in found if one is not None), key=lambda one: one.tick, default=None)

    def run(
        self,
        ticks: int,
        record: Sequence[str] = (),
        to: str | Path | None = None,
        until: Callable[[int, IdArray], bool] | None = None,
        progress: Callable[[int, int, dict[str, Any]], None] | bool | None = None,
        *,
        record_ids: Ids | None = None,
        every: int = 1,
        pace_hz: float | None = None,
        topology: int | Tracker | None = None,
        between: Callable[[Boundary], bool] | None = None,
    ) -> Run:
        """Run ``ticks`` ticks.

        ``record``: "spikes"; "rates", the spikes of each layer in each tick; and fields of the models, such as "v", of
        the neurons ``record_ids`` in each tick that ``every`` divides. They are kept in memory, within the budget, or
        streamed ``to`` a Parquet file (Arrow where it is called ``.arrow``); several go into a folder. ``to`` alone
        records spikes. ``until(tick, ids)`` gets the sorted ids that fired; True ends the run after that tick.
        ``progress(done, ticks, stats)`` is called about ten times a second; True shows a line on stderr, in terminals
        and notebooks. ``pace_hz``: so many ticks a second of wall time; ``run.stats`` says how well that went.
        ``topology``: a :class:`engramdb.topology.Tracker`, or every how many ticks this handle's own takes a reading;
        they are in ``run.topology``, or in ``to``, which then holds nothing else unless ``record`` says so.
        ``between(boundary)`` is called at ends of ticks, some milliseconds apart where ticks are that short: it may ask
        the engram questions but change nothing; True ends the run there. Ctrl-C ends the run at a tick boundary;
        ``BudgetExceeded`` has the part that was run in its ``run``.
        """
        from engramdb.pace import Pace
        from engramdb.progress import ProgressLine
        from engramdb.recording.recorder import Recorder

        live = self._live
        self._check_between_runs("run")
        ticks, every = whole(ticks, "ticks"), whole(every, "every")
        if not 0 <= ticks <= MOST_TICKS:
            raise InvalidInput(f"ticks={ticks}: give 0 or more, and at most {MOST_TICKS:,} in one run")
        if until is not None and not callable(until):
            raise InvalidInput(f"until={until!r}: give a function of (tick, ids) that returns True to end the run")
        if to is not None and not isinstance(to, (str, Path)):
            raise InvalidInput(f"to={to!r}: give the path of a file or a folder")
        what = (record,) if isinstance(record, str) else tuple(record)
        recorder, pace = None, None if pace_hz is None else Pace(pace_hz)
        watch = None
        if topology is not None:
            from engramdb.topology.watch import Watch

            def note(reading: Reading) -> None:
                self._noted = Newest.of("run", reading)

            watch = Watch(self._followed(topology), self.moment, note, keep=to is None)
            what = what or (() if record_ids is None else ("spikes",))
        if what or to is not None or record_ids is not None:
            ids = None if record_ids is None else self.resolve(record_ids)
            where = None if to is None else Path(to)
            recorder = Recorder(
                self.spec, what or (() if watch else ("spikes",)), ids, every, where, self._budget // 16,
                topology=watch is not None and where is not None,
            )  # fmt: skip

        def done(seconds: float) -> None:
            self._ran("ran", live.tick, {}, {}, seconds)

        line = ProgressLine() if progress is True else None
        tell = line or (progress if callable(progress) else None)
        self._running = True
        try:
            run = run_ticks(live, ticks, self.spec.dt_ms, recorder, until, tell, done, pace, watch, between)
        except BaseException:
            if line is not None:
                line.broken_off()
            raise
        finally:
            self._running = False
        if line is not None:
            line.close(run.ticks, ticks, run.stats)
        return run

    def _followed(self, topology: int | Tracker) -> Tracker:
        """The tracker of a run; this handle keeps its own from run to run, so that their number does not matter."""
        from engramdb.topology import Tracker

        if isinstance(topology, Tracker):
            return topology
        if self._tracker is None or self._tracker.every != topology:
            self._tracker = Tracker(every=topology)
        return self._tracker

    def _ran(
        self, kind: str, since: int, meta: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], seconds: float
    ) -> None:
        """Journal ticks that were run; a replay does ``kind`` after the tick ``since``. A checkpoint may fall due."""
        self._store.journal_append(kind, since, meta, arrays)
        self._seconds_since_checkpoint += seconds
        if self._seconds_since_checkpoint > _REPLAY_SECONDS and self._store.idle():
            self.checkpoint(wait=False)

    def grow(
        self,
        layer: str,
        neurons: int,
        k: int | None = None,
        *,
        materialize: bool = False,
        inbound: int = 0,
        progress: Growing | None = None,
    ) -> Bundle:
        """Add ``neurons`` to the last segment of ``layer``, wired by its rule with out-degree ``k``; see the result.

        No existing row changes, but for ``inbound`` synapses, at most 2^20, from random older neurons of the layer to
        random new ones: they belong to the rows of the older ones, which are stored then. ``materialize`` writes the
        rows of the new neurons out, within the memory budget, and commits every million neurons or so; if that is cut
        short, the next opening to write goes on with it.
        ``progress(done, neurons)`` is called meanwhile.
        """
        from engramdb.growth.inbound import check_inbound

        live = self._live
        self._check_between_runs("grow")
        check_inbound(inbound, self.spec.layer(layer), self.spec)
        # neurons of such a layer may not rest, and only a record can say so
        materialize = materialize or self.spec.layer(layer).materialize
        self._bundles.grow(self.spec, layer, neurons, k=k, tick=live.tick, materialized=materialize)
        meta: dict[str, Any] = {"layer": layer, "neurons": int(neurons), "k": k, "materialize": bool(materialize)}
        if inbound:
            meta["inbound"] = inbound
        with self._journaled("grow", meta, {}):
            bundle = self._grow(**meta)
            self._write_out(progress)
        return self._bundles.bundles[bundle.number]

    def _grow(self, layer: str, neurons: int, k: int | None, materialize: bool, inbound: int = 0) -> Bundle:
        live = self._live
        self._bundles, bundle = self._bundles.grow(
            self.spec, layer, neurons, k=k, tick=live.tick, materialized=materialize
        )
        self._wired = None
        live.write_back()
        state, tick = live.state(), live.tick
        self._start_engine(tick, state).working_set.charges.put(*born_awake(self.spec, [bundle]))
        if inbound:
            from engramdb.growth.inbound import inbound_synapses

            pre, post, weight = inbound_synapses(self._bundles, bundle, inbound, self.spec)
            self._change_synapses(pre, post, weight, create=True, journaled=True)
        return bundle

    def _write_out(self, progress: Growing | None = None) -> None:
        """Write the rows that bundles still lack, and commit after every part.

        A virtual row is the same, so each of these commits is a whole engram. Nothing else happens before all are
        written: a record that is there already is none that a command has made.
        """
        if not self._bundles.unwritten:
            return
        from engramdb.build import write_out

        tick = self.tick
        if self._engine is not None:  # its memory is needed
            self._engine.write_back()
            self._kept = self._engine.state()
            self._stop_engine()
        for bundle in self._bundles.unwritten:
            write_out(
                self._store, self.spec, self._bundles, bundle, memory_bytes=min(_BULK_BYTES, self._budget // 2),
                commit=partial(self._commit_written, tick, bundle.number), progress=progress,
            )  # fmt: skip
        self._seconds_since_checkpoint = 0.0

    def _commit_written(self, tick: int, number: int, done: int) -> None:
        """Commit that the rows of the first ``done`` neurons of a bundle are written."""
        self._bundles = self._bundles.written(number, done)
        bundle = self._bundles.bundles[number]
        name, all_of_them = self.spec.layer(bundle.layer).name, bundle.neurons
        message = f"growing {name}: {done} of {all_of_them}" if bundle.unwritten else f"grew {name} by {all_of_them}"
        self._store.commit_state(tick, self._kept, self._bundles, message)

    def stats(self) -> dict[str, Any]:
        """Where the memory is: residents, charged, bytes by kind, evictions. Empty for a reader."""
        return Stats({} if self.mode != "r+" else self._live.stats())

    def verify(self) -> Report:
        """Check everything stored; see :func:`engramdb.verify`."""
        from engramdb.store.upkeep.verify import verify

        return verify(self.location)
