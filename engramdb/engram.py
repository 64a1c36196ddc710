"""``Engram``: one open engram. It validates, journals and delegates; the work is done elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.birth import born_awake
from engramdb.budget import memory_bytes
from engramdb.cards import Stats, card, table
from engramdb.delays import DelayArray, in_ticks
from engramdb.distribution import is_number
from engramdb.errors import EngramError, HandleClosed, InvalidInput, NotFound, ReadOnly
from engramdb.growth.bundle import Bundle, Bundles
from engramdb.memories import Memories
from engramdb.naming import Ids
from engramdb.newest import Newest
from engramdb.query.view import View
from engramdb.questions import Questions
from engramdb.run import MOST_TICKS, Boundary, Run, interruptible, run_ticks
from engramdb.stimuli import command
from engramdb.stimuli.command import COMMANDS, Command, Stimulus
from engramdb.store import FORGOTTEN, Branch, Commit, Records, Snapshot, Store
from engramdb.store.upkeep.retention import KEEP_DAYS, KEEP_LAST

if TYPE_CHECKING:
    from engramdb.difference import Diff
    from engramdb.engine import Engine
    from engramdb.growth.cycle import Cycle
    from engramdb.layerhandle import LayerHandle
    from engramdb.store import Report
    from engramdb.store.compaction import Compacted
    from engramdb.store.upkeep.gc import Collected
    from engramdb.store.zarrview.view import ZarrStore
    from engramdb.topology import Reading, Tracker
    from engramdb.wiring import Wiring

LARGEST_WEIGHT = 16384.0  # mV; 131,072 of them may arrive in one tick before the sum of inputs overflows
_REPLAY_SECONDS = 30.0  # a checkpoint comes by itself when replaying the journal would take longer

_BULK_BYTES = 1 << 29  # more would not make it faster

Growing = Callable[[int, int], None]
"""Called with (neurons written, of so many)."""


class Engram(Questions, Memories):
    """An open engram. Use :func:`engramdb.open` or :func:`engramdb.create`; close it, or use it in ``with``.

    Opened to write (``mode="r+"``) it is the only writer; a command that has returned is durable. Opened to read it
    stands at one commit and sees nothing later.
    """

    def __init__(self, store: Store, *, memory: str | int, threads: int, progress: Growing | None = None) -> None:
        if not 1 <= threads <= 256:
            raise InvalidInput(f"threads={threads}: give a number from 1 to 256")
        self._store = store
        self._budget = memory_bytes(memory)
        self._threads = threads
        self._engine: Engine | None = None
        self._closed = False
        self._pid = os.getpid()
        self._seconds_since_checkpoint = 0.0
        self._past: dict[int, View] = {}
        self._tracker: Tracker | None = None
        self._cycle: Cycle | None = None
        store.cache_bytes = self._budget // 8
        store.query_cache_bytes = self._budget // 6
        self._reload()
        if self.mode == "r+":
            try:
                self._replay()
                self._write_out(progress)
            except BaseException:
                self._shut()
                raise

    # ---- what it is

    @property
    def mode(self) -> str:
        return self._store.mode

    @property
    def memory(self) -> int:
        """The memory budget in bytes."""
        return self._budget

    @property
    def tick(self) -> int:
        """The last tick completed; 0 at birth."""
        return self._engine.tick if self._engine is not None else self._store.commit.tick

    @property
    def commit(self) -> Commit:
        """The commit that this handle stands at: opened to write, the last that it made."""
        return self._store.commit

    @property
    def branch_name(self) -> str:
        """The branch that was opened."""
        return self._store.branch_name

    @property
    def uncommitted(self) -> bool:
        """Whether anything was acknowledged that no commit has yet."""
        return self._changed

    @property
    def closed(self) -> bool:
        """Whether it was closed, by :meth:`close` or by a command that failed half-way; then open it again."""
        return self._closed

    @property
    def sizes(self) -> dict[tuple[int, int], int]:
        """Declared neurons of each (layer index, segment)."""
        return dict(self._bundles.sizes)

    def __len__(self) -> int:
        return sum(self._bundles.sizes.values())

    def __repr__(self) -> str:
        return f"<Engram {self.location.name!r} mode={self.mode} tick={self.tick} neurons={len(self)}>"

    def _repr_html_(self) -> str:
        rows = [(layer.name, layer.model, self._layer_size(layer)) for layer in self.spec.layers]
        note = f"tick {self.tick:,}, {len(self):,} neurons"
        return card(self.location.name, note, table(("layer", "model", "neurons"), rows))

    # ---- opening and closing

    def _reload(self) -> None:
        """Take everything from the commit at which the store stands."""
        self._bundles: Bundles = self._store.bundles
        self._kept = self._store.read_state()
        self._wired: Wiring | None = None
        self._noted = None  # it was of another present
        self._stop_engine()

    def _wiring(self) -> Wiring:
        """The wiring rules, made when they are first needed: what is stored can be read without."""
        if self._wired is None:
            from engramdb.wiring import Wiring

            self._wired = Wiring(self.spec, self._bundles)
        return self._wired

    def _start_engine(self, tick: int, state: dict[str, npt.NDArray[Any]]) -> Engine:
        from engramdb.engine import Engine

        self._stop_engine()
        engine = Engine(self.spec, self._bundles, self._store, budget_bytes=self._budget, threads=self._threads)
        engine.load_state(tick, state)
        self._engine, self._kept = engine, {}
        return engine

    def _stop_engine(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

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

    def _check_writable(self) -> None:
        if os.getpid() != self._pid:
            raise HandleClosed(
                f"this handle on {self.location.name} was opened before a fork; open it anew in the child"
            )
        if self._closed:
            raise HandleClosed(f"{self.location.name} is closed; open it again with engramdb.open")
        if self.mode != "r+":
            raise ReadOnly(f'{self.location.name} is open for reading; open it with mode="r+" to change it')

    @property
    def _live(self) -> Engine:
        """The engine, started when it is first needed: opening costs nothing that depends on who is awake."""
        self._check_writable()
        return self._engine or self._start_engine(self._store.commit.tick, self._kept)

    def close(self) -> None:
        """Checkpoint what has changed, so that readers see it, and let go.

        Closing twice does nothing, nor does closing in a forked child: the engram is the parent's.
        """
        if self._closed or os.getpid() != self._pid:
            return
        try:
            if self._changed:
                self.checkpoint()
        finally:
            self._shut()

    def _shut(self) -> None:
        self._closed = True
        self._stop_engine()
        self._forget_past()
        self._store.close()

    def __enter__(self) -> Engram:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            # the journal has every acknowledged command; a checkpoint now could only add a second error
            self._shut()

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

    # ---- driving

    def stimulate(
        self, ids: Ids, amplitude: Any, *, at: int | None = None, duration: int | Sequence[int | None] | None = 1
    ) -> int:
        """Add ``amplitude`` (a number, or one for each id) to the input of ``ids`` in every tick of ``duration``.

        It is in mV, or whatever the weights of their model are in; see :attr:`engramdb.models.Model.weight`.
        ``at``: first tick, later than the present one; default the next. ``duration=None``: until it is stopped. A
        current that changes in steps has a list of durations and an amplitude for each. Returns the stimulus's number,
        for :meth:`stop_stimuli`.

        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(command.current(live.stimuli.next_number, live.tick, resolved, amplitude, at, duration))

    def poisson(
        self, ids: Ids, rate_hz: Any, amplitude: Any, *, at: int | None = None, duration: int | None = None
    ) -> int:
        """Give each of ``ids`` random spikes of its own: a Poisson train of ``rate_hz``, ``amplitude`` mV a spike.

        Both are a number, or one for each id. ``at``: first tick, default the next; ``duration``: ticks, None until it
        is stopped. The trains are a function of (the engram's seed, the stimulus's number, id, time); a tick may hold
        several spikes. Returns the stimulus's number.
        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(
            command.poisson(
                live.stimuli.next_number, live.tick, self.spec.dt_ms, resolved, rate_hz, amplitude, at, duration
            )
        )

    def play(self, ids: Ids, ticks: Any, amplitude: Any) -> int:
        """Give ``ids[i]`` a spike of ``amplitude`` mV (a number, or one for each) in ``ticks[i]``.

        Ticks are those of the engram, later than the present one, in any order; a neuron may get several in one tick.
        Returns the stimulus's number.
        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(command.play(live.stimuli.next_number, live.tick, resolved, ticks, amplitude))

    def play_file(
        self,
        path: str | Path,
        amplitude: float | None = None,
        *,
        layer: str | int | None = None,
        mapping: Mapping[Any, Any] | npt.ArrayLike | None = None,
        population: str | None = None,
        at: int | None = None,
        ticks: tuple[int, int | None] = (1, None),
    ) -> int:
        """Give the spikes of a file: SONATA (``.h5``) or Parquet; see :mod:`engramdb.interchange.spikes`.

        ``layer``: node id n is the n-th neuron of it; or ``mapping``: neuron ids by node id. ``population``: which of a
        SONATA file, if it has several. ``ticks``: the first and last of the file to play; the first is played in tick
        ``at`` (default: the next). ``amplitude``: mV; None takes the file's column of that name. The file is read in
        parts, and not needed afterwards. Returns the stimulus's number.
        """
        from engramdb.interchange.spikes import Target, read_spikes

        live = self._live
        start, first = command.first_tick(live.tick, at), int(ticks[0])
        number = live.stimuli.next_number
        target = Target(self.spec, self._bundles, self.resolve, layer, mapping)
        parts = 0
        try:
            for ids, when, given in read_spikes(Path(path), self.spec.dt_ms, target, population, ticks):
                strength = given if amplitude is None else amplitude
                if strength is None:
                    raise InvalidInput(f"{path}: has no column amplitude; give amplitude=, in mV")
                self._drive(
                    command.play(number, live.tick, ids, when + (start - first), strength, part=parts, last=False)
                )
                parts += 1
            return self._drive(command.play(number, live.tick, np.empty(0, dtype=np.uint64), [], 0.0, part=parts))
        except BaseException:
            if not self._closed:
                live.stimuli.drop_parts()
            raise

    def stimuli(self) -> list[Stimulus]:
        """What input is still to come, by number; empty for a reader."""
        return [] if self.mode != "r+" else self._live.stimuli.listed()

    def stop_stimuli(self, *numbers: int) -> int:
        """End stimuli by their numbers, or all that are not over; returns how many."""
        known = {stimulus.number for stimulus in self._live.stimuli.listed()}
        if unknown := set(numbers) - known:
            raise NotFound(
                f"no stimulus {min(unknown)}: it is over, or never was; stimuli() lists what is still to come"
            )
        stopped = sorted(set(numbers) or known)
        if stopped:
            self._drive(command.stop(stopped))
        return len(stopped)

    @property
    def quiet(self) -> bool:
        """Whether nothing happens any more: all are at rest, no spike is under way, and no input is to come."""
        live = self._live
        return len(live.awake()) == 0 and live.stimuli.next_tick(live.tick) is None

    def _drive(self, given: Command) -> int:
        """Journal a command and do it; returns the number of the stimulus."""
        live = self._live
        done = live.stimuli.prepared(given.kind, given.meta, given.arrays, live.tick)
        with self._journaled(given.kind, given.meta, given.arrays):
            done()
        return int(given.meta.get("number", -1))

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
        if not 0 <= int(ticks) <= MOST_TICKS:
            raise InvalidInput(f"ticks={ticks}: give 0 or more, and at most {MOST_TICKS:,} in one run")
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
                self.spec, what or (() if watch else ("spikes",)), ids, int(every), where, self._budget // 16,
                topology=watch is not None and where is not None,
            )  # fmt: skip

        def done(seconds: float) -> None:
            self._journal("ran", {}, {})
            self._seconds_since_checkpoint += seconds
            if self._seconds_since_checkpoint > _REPLAY_SECONDS and self._store.idle():
                self.checkpoint(wait=False)

        line = ProgressLine() if progress is True else None
        tell = line or (progress if callable(progress) else None)
        try:
            run = run_ticks(live, int(ticks), self.spec.dt_ms, recorder, until, tell, done, pace, watch, between)
        except BaseException:
            if line is not None:
                line.broken_off()
            raise
        if line is not None:
            line.close(run.ticks, int(ticks), run.stats)
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
        """Journal ticks that were run after the tick ``since`` and are no plain ones; a checkpoint may fall due."""
        self._store.journal_append(kind, since, meta, arrays)
        self._seconds_since_checkpoint += seconds
        if self._seconds_since_checkpoint > _REPLAY_SECONDS and self._store.idle():
            self.checkpoint(wait=False)

    # ---- changing

    def activate(self, ids: Ids, w: Any = None) -> int:
        """Give neurons a record, if they have none, and a receptive vector; returns how many were virtual before.

        ``w``, for neurons of one ``dense_lif`` layer: a distribution from which each weight is drawn, a function of
        (seed, id, place); or an array (n, D) or (D,), or a number. Without it a vector is what it was, zeros at first.
        Weights are rounded to the layer's type. Vectors of more than 8 MiB end in a checkpoint, others in the journal.
        """
        from engramdb.activation import JOURNALED_BYTES, receptive_of, vectors_given

        self._check_writable()
        resolved = self.resolve(ids)
        sorted_ids, order = np.unique(resolved, return_index=True)
        if w is not None and len(order) != len(resolved):
            raise InvalidInput("ids: a neuron is given twice; give each once")
        meta: dict[str, Any] = {}
        arrays: dict[str, npt.NDArray[Any]] = {"id": sorted_ids}
        if w is not None and len(sorted_ids):
            given = vectors_given(w, order, receptive_of(sorted_ids, self._live, self.spec))
            if isinstance(given, dict):
                meta["w"] = given
            elif given.nbytes > JOURNALED_BYTES:
                try:
                    fresh = self._activate(sorted_ids, given)
                    self.checkpoint(f"activated {len(sorted_ids)} neurons")
                except BaseException:
                    self._shut()  # a part of it must never be committed; the next handle begins without it
                    raise
                return fresh
            else:
                arrays["w"] = given
        with self._journaled("activate", meta, arrays):
            return self._activate(sorted_ids, arrays.get("w", meta.get("w")))

    def _activate(self, ids: IdArray, w: Any) -> int:
        from engramdb.activation import activate

        return activate(self._live, self._store, self.spec, ids, w)

    def connect(self, pre: Ids, post: Ids, weight: Any, delay_ms: Any = None) -> int:
        """Make synapses ``pre[i] -> post[i]`` of ``weight[i]`` mV, or give existing ones that weight; returns how many.

        One id on either side is joined to all of the other. A synapse belongs to the first projection that joins the
        two layers; a projection with a sign refuses weights of the other.

        ``delay_ms``: delays, one or one for each, of a projection whose synapses have their own, within its range;
        every synapse of a pair gets it. By default existing ones keep theirs and new ones get the mean of the
        projection's distribution. Other projections have one delay and refuse any other.
        """
        return self._connect(pre, post, weight, create=True, delay_ms=delay_ms)

    def set_weight(self, pre: Ids, post: Ids, weight: Any) -> int:
        """Set the weight (mV) of existing synapses, all of a pair; :class:`NotFound` if a pair has none."""
        return self._connect(pre, post, weight, create=False)

    def _connect(self, pre: Ids, post: Ids, weight: Any, *, create: bool, delay_ms: Any = None) -> int:
        self._check_writable()
        pre_ids, post_ids = self.resolve(pre), self.resolve(post)
        if len(pre_ids) != len(post_ids) and 1 not in (len(pre_ids), len(post_ids)):
            raise InvalidInput(f"pre has {len(pre_ids)} ids and post {len(post_ids)}; give as many, or one")
        pre_ids, post_ids = np.broadcast_arrays(pre_ids, post_ids)
        weights = _weights(weight, len(pre_ids), "weight")
        delay = None if delay_ms is None else in_ticks(delay_ms, len(pre_ids), self.spec.dt_ms)
        self._change_synapses(pre_ids, post_ids, weights, delay, create=create)
        return len(pre_ids)

    def _change_synapses(
        self,
        pre: IdArray,
        post: IdArray,
        weight: npt.NDArray[np.float32],
        delay: DelayArray | None = None,
        *,
        create: bool,
        journaled: bool = False,
    ) -> None:
        from engramdb.change import synapse_change

        # first what RAM knows of these neurons: it is their records in the store that change
        self._live.settle_learning()
        self._live.working_set.forget(np.unique(pre))
        # refused before it is journaled: what is in the journal can be done
        changes = synapse_change(pre, post, weight, delay, self.spec, self._store, self._wiring, create=create)
        arrays: dict[str, npt.NDArray[Any]] = {"pre": pre, "post": post, "weight": weight}
        if delay is not None:
            arrays["delay"] = delay
        with nullcontext() if journaled else self._journaled("connect", {"create": create}, arrays):
            for records in changes:
                if (traces := self._live.working_set.traces) is not None:
                    from engramdb.query.synapses import whole_rows

                    traces.follow(whole_rows(records.ids, self._store, self._wiring), records)
                self._store.write(records, retargeted=create)
        self._live.flight.reschedule(self._live.tick)  # a synapse that is new may be the next to deliver

    def _remove_synapses(self, pre: IdArray, post: IdArray) -> None:
        """Take away all synapses of the pairs ``pre[i] -> post[i]``; what is left of each row is stored."""
        from engramdb.change import synapse_removal

        live = self._live
        live.settle_learning()
        live.working_set.forget(np.unique(pre))
        for before, after in synapse_removal(pre, post, self._store, self._wiring):
            if (traces := live.working_set.traces) is not None:
                traces.follow(before, after)
            self._store.write(after, retargeted=False)
        live.flight.reschedule(live.tick)

    def prune(self, below: float, layer: str | int | None = None) -> int:
        """Take away all synapses weaker than ``below`` mV in size, of stored rows; returns how many.

        Of one ``layer``, by default of all but void ones, where weights mean nothing. Rows that only a wiring rule
        knows stay as they are: they have never changed. Each leaf is read once; a growth cycle prunes bit by bit.
        """
        self._check_writable()
        if not is_number(below) or not 0 <= below <= LARGEST_WEIGHT:
            raise InvalidInput(f"below={below!r}: give a weight in mV, 0..{LARGEST_WEIGHT:g}")
        index = None if layer is None else self.spec.layer(layer).index
        if index is not None and self.spec.layer(index).model == "void":
            raise InvalidInput(f'layer "{self.spec.layer(index).name}" is void: weights mean nothing there')
        with self._journaled("prune", {"below": float(below), "layer": index}, {}):
            return self._prune(float(below), index)

    def _prune(self, below: float, layer: int | None) -> int:
        from engramdb.growth.pruning import prune_rows

        return prune_rows(self._live, self._store, self.spec, below, layer)

    def set_parameters(self, ids: Ids, **values: Any) -> int:
        """Give neurons parameters of their own; returns how many.

        ``values``: a number, or one for each id, by parameter; NaN takes back what a neuron was given, and it has its
        layer's again. The parameters must be among the ``columns`` of the layers. The neurons get a record. What they
        do follows the new values from the next tick on; their fields stay what they are relative to rest.
        """
        self._check_writable()
        from engramdb.change import parameter_change

        resolved = self.resolve(ids)
        sorted_ids, first = np.unique(resolved, return_index=True)
        if len(sorted_ids) != len(resolved):
            raise InvalidInput("ids: a neuron is given twice; give each once")
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, value in values.items():
            try:
                arrays[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(resolved),))[first]
            except (ValueError, TypeError):
                raise InvalidInput(f"{name}: expected a number or {len(resolved)} numbers") from None
        # refused before it is journaled: what is in the journal can be done
        parameter_change(sorted_ids, arrays, self.spec, self._store)
        with self._journaled("parameters", {}, {"id": sorted_ids, **arrays}):
            self._set_parameters(sorted_ids, arrays)
        return len(sorted_ids)

    def _set_parameters(self, ids: IdArray, values: dict[str, npt.NDArray[Any]]) -> None:
        from engramdb.change import parameter_change

        self._live.settle_learning()
        working_set = self._live.working_set
        working_set.forget(ids)  # what RAM knows of them must be in the store, whose records change
        for records in parameter_change(ids, values, self.spec, self._store):
            self._store.write(records)
        working_set.refresh(ids)

    def reward(self, value: float) -> None:
        """Reward what was done up to now: all that learns by the rule "re_vgsp" is changed by how eligible it is.

        ``value``: positive strengthens what is eligible, negative weakens it, 0 does nothing at all.
        """
        self._check_writable()
        if not any(rule.rule == "re_vgsp" for p in self.spec.all_projections for rule in p.plasticity):
            raise InvalidInput('nothing learns from rewards: no projection has the learning rule "re_vgsp"')
        if not is_number(value) or not np.isfinite(value):
            raise InvalidInput(f"reward {value!r}: give a finite number")
        if value != 0:
            with self._journaled("reward", {"value": float(value)}, {}):
                self._reward(float(value))

    def _reward(self, value: float) -> None:
        learning = self._live.learning
        assert learning is not None, "checked before it was journaled"
        learning.reward(value, self._live.tick)

    def set_error(self, ids: Ids, value: Any) -> int:
        """Give neurons the error with which synapses onto them learn by the rule "hebbian"; returns how many.

        ``value``: a number, or one for each id; 1 is what they have that were given none. From the next tick on.
        """
        self._check_writable()
        if not any(rule.rule == "hebbian" for p in self.spec.all_projections for rule in p.plasticity):
            raise InvalidInput('nothing learns with errors: no projection has the learning rule "hebbian"')
        resolved = self.resolve(ids)
        sorted_ids, first = np.unique(resolved, return_index=True)
        if len(sorted_ids) != len(resolved):
            raise InvalidInput("ids: a neuron is given twice; give each once")
        try:
            values = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(resolved),))[first]
        except (ValueError, TypeError):
            raise InvalidInput(f"value: expected a number or {len(resolved)} numbers") from None
        if not np.isfinite(values).all():
            raise InvalidInput(f"error {values[~np.isfinite(values)][0]} must be finite")
        with self._journaled("error", {}, {"id": sorted_ids, "value": values}):
            self._set_error(sorted_ids, values)
        return len(sorted_ids)

    def _set_error(self, ids: IdArray, values: npt.NDArray[np.float64]) -> None:
        learning = self._live.learning
        assert learning is not None, "checked before it was journaled"
        learning.set_error(ids, values, self._live.tick)

    def forget(self, ids: Ids) -> int:
        """Turn neurons back into virtual ones, with their spike counts; returns how many.

        Only those that are at rest, have a record, and whose row is still the one that the wiring rules generate:
        what they do does not change. The others are left as they are, and so are layers with ``materialize=True``.
        """
        live = self._live
        from engramdb.forgetting import forgettable

        wanted = np.unique(self.resolve(ids))
        live.write_back()
        gone = forgettable(wanted, live.awake(), self.spec, self._store, self._wiring)
        if len(gone):
            with self._journaled("forget", {}, {"id": gone}):
                self._forget(gone)
        return len(gone)

    def _forget(self, ids: IdArray) -> None:
        self._live.settle_learning()
        self._live.working_set.forget(ids)
        for _, where in by_layer(ids):
            self._store.write(Records.of_state(ids[where], {}, FORGOTTEN))
        for receptive in self._live.receptive.values():
            receptive.reload()

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
        self._start_engine(tick, state).working_set.charge(*born_awake(self.spec, [bundle]))
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

    # ---- history

    @property
    def _changed(self) -> bool:
        """Whether anything was acknowledged that no commit has yet."""
        return self._store.has_uncommitted

    def _journal(self, kind: str, meta: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
        self._store.journal_append(kind, self._live.tick, meta, arrays)

    @contextmanager
    def _journaled(self, kind: str, meta: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Iterator[None]:
        """Journal a command that has been checked; inside it is done.

        Should that fail, RAM is not what the journal says any more: this handle closes, and the next one replays it.
        """
        self._journal(kind, meta, arrays)
        try:
            yield
        except BaseException as error:
            self._shut()
            if isinstance(error, EngramError):
                how = "this handle is closed: open the engram again, and the journal completes the command"
                raise type(error)(f"{error}; {how}") from error
            raise

    @overload
    def checkpoint(self, message: str = "", *, wait: Literal[True] = True) -> Commit: ...

    @overload
    def checkpoint(self, message: str = "", *, wait: Literal[False]) -> None: ...

    def checkpoint(self, message: str = "", *, wait: bool = True) -> Commit | None:
        """Make the present durable in the store as a commit, and begin a new journal.

        With ``wait=False`` what changed is copied and the commit is written behind: None comes back at once, runs and
        queries go on, and the next command that writes to the store waits for it. Runs make such checkpoints by
        themselves when replaying the journal would take more than about 30 s.
        """
        live = self._live
        self._seconds_since_checkpoint = 0.0
        if wait:
            live.write_back()
            self._extend_index()
            return self._store.commit_state(live.tick, live.state(), self._bundles, message)
        live.settle_learning()
        self._store.commit_behind(
            live.working_set.take_counts(), live.tick, live.freeze(), self._bundles, message,
            retargeted=False,
        )  # fmt: skip
        return None

    def snapshot(self, name: str) -> Snapshot:
        """Name the present; a checkpoint is made first if anything has changed since the last."""
        self._check_writable()
        if any(s.name == name for s in self._store.snapshots()):
            return self._store.snapshot(name)
        if self._changed:
            self.checkpoint(f"snapshot {name}")
        return self._store.snapshot(name)

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return self._store.snapshots()

    def restore(self, name: str | int) -> Commit:
        """Return to a snapshot, or to a commit by its number, on a new line of history.

        The present is checkpointed first if it has changed, so nothing is lost: :meth:`log` of that commit has it.
        """
        self._check_writable()
        self._store.resolve(name)
        if self._changed:
            self.checkpoint(f"before restoring {name}")
        self._store.restore(name)
        self._reload()
        self._seconds_since_checkpoint = 0.0
        self._write_out()
        return self._store.commit

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot's name. Its commit stays in the log until :meth:`gc` thins it out."""
        self._check_writable()
        self._store.delete_snapshot(name)

    def branch(self, name: str, at: str | int | None = None) -> Branch:
        """Make a branch at a snapshot or commit, or at the present; a checkpoint is made first if that has changed.

        This handle stays on its own branch: ``engramdb.open(path, "r+", branch=name)`` goes on with the new one.
        """
        self._check_writable()
        if any(b.name == name for b in self._store.branches()):
            return self._store.branch(name)
        if at is None and self._changed:
            self.checkpoint(f"branch {name}")
        return self._store.branch(name, at)

    def branches(self) -> list[Branch]:
        """All branches, by name."""
        return self._store.branches()

    def delete_branch(self, name: str) -> None:
        """Forget a branch, with the commands since its last commit; not the one that is open here.

        Its commits stay readable by number until :meth:`gc` thins them out.
        """
        self._check_writable()
        self._store.delete_branch(name)

    def gc(self, *, keep_last: int = KEEP_LAST, keep_days: float = KEEP_DAYS, dry_run: bool = False) -> Collected:
        """Thin out commits without a name, and free the space of what no other commit sees.

        Branches' heads, snapshots, what living readers stand at, the ``keep_last`` newest commits of each branch and
        all younger than ``keep_days`` stay. ``dry_run``: only say what would go, for which any mode will do. Ctrl-C
        ends it between two steps; it can be repeated.
        """
        self._forget_past()  # what questions had open is no reader that lives
        with interruptible() as caught:
            return self._store.gc(keep_last=keep_last, keep_days=keep_days, dry_run=dry_run, stop=lambda: bool(caught))

    def compact(self, progress: Callable[[int, int], None] | None = None) -> Compacted:
        """Write the leaves whose changes lie apart whole again, so that reading each takes one record.

        Runs do it by themselves after checkpoints. The content of no commit changes. ``progress(done, leaves)``.
        """
        self._check_writable()
        return self._store.compact(progress)

    def log(self) -> list[Commit]:
        """Commits, newest first, along this line of history."""
        return self._store.log()

    def diff(self, a: str | int, b: str | int | None = None, *, layer: str | None = None, ids: bool = False) -> Diff:
        """What differs from ``a`` to ``b``; see :func:`engramdb.diff`. Without ``b``: to the present.

        The present is checkpointed first if it has changed.
        """
        from engramdb.difference import diff

        if b is None and self._changed:
            self.checkpoint(f"diff with {a}")
        return diff(self._store, a, self._store.commit.number if b is None else b, layer=layer, ids=ids)

    def stats(self) -> dict[str, Any]:
        """Where the memory is: residents, charged, bytes by kind, evictions. Empty for a reader."""
        return Stats({} if self.mode != "r+" else self._live.stats())

    def verify(self) -> Report:
        """Check everything stored; see :func:`engramdb.verify`."""
        from engramdb.store.upkeep.verify import verify

        return verify(self.location)

    def zarr(self, at: str | int | None = None) -> ZarrStore:
        """A snapshot, a commit, or the present, for zarr, xarray and dask; see :class:`engramdb.ZarrStore`.

        The present is checkpointed first if it has changed; of an engram opened to read it is the commit it stands at.
        """
        from engramdb.store.zarrview.view import ZarrStore

        if at is None and self._changed:
            self.checkpoint("for Zarr")
        return ZarrStore(self.location, at=self._store.resolve(self._store.commit.number if at is None else at))

    # ---- as others have it

    def _settled(self, why: str) -> Store:
        """The store with the present in it: it is checkpointed first if it has changed."""
        if self._changed:
            self.checkpoint(why)
        return self._store

    def to_scipy(self, layer: str | int | None = None, *, post: str | int | None = None) -> Any:
        """Weights as a ``scipy.sparse.csr_array`` (float32, mV): entry [i, j] is from neuron i to neuron j.

        Rows are the neurons of ``layer`` by position, segments end to end, columns those of ``post``, by default of
        ``layer`` too; without ``layer`` all layers one behind the other. Rows that wiring rules give are in it.
        Synapses of one pair, of several delays or projections, are entries of their own, which SciPy adds up. Needs
        scipy (extra ``graph``). BudgetExceeded where it would not fit the memory budget.
        """
        from engramdb.interchange.graph import to_scipy

        return to_scipy(self._settled("for SciPy"), layer, post, self._budget)

    def to_networkx(self, layer: str | int | None = None, *, limit: int = 100_000) -> Any:
        """A ``networkx.MultiDiGraph`` of all neurons and synapses, or of those within ``layer``.

        Nodes are ids as text (``0/0/42``) with ``layer``, ``label``, ``spike_count``; edges have ``weight`` (mV),
        ``delay`` (ms), ``projection``. InvalidInput above ``limit`` neurons or synapses: each takes hundreds of bytes.
        Needs networkx (extra ``graph``).
        """
        from engramdb.interchange.graph import to_networkx

        return to_networkx(self._settled("for NetworkX"), layer, limit)

    def to_xarray(self, layer: str | None = None, segment: int = 0, *, at: str | int | None = None) -> Any:
        """The stored neurons and synapses of a segment as an ``xarray.Dataset``, read when they are needed.

        Without ``layer`` an ``xarray.DataTree`` of all layers and segments. ``at``: as in :meth:`zarr`. Needs xarray
        (extra ``graph``).
        """
        from engramdb.interchange.graph import to_xarray

        return to_xarray(self.zarr(at), self.spec, self._bundles.sizes, layer, segment)


def _weights(value: Any, n: int, name: str) -> npt.NDArray[np.float32]:
    """``value`` as float32 (n,), finite and within the bound."""
    try:
        array = np.broadcast_to(np.asarray(value, dtype=np.float32), (n,))
    except (ValueError, TypeError):
        raise InvalidInput(f"{name}: expected a number or {n} numbers") from None
    wrong = array[~(np.abs(array) <= LARGEST_WEIGHT)]
    if len(wrong):
        raise InvalidInput(f"{name} {wrong[0]} mV: must be finite and at most {LARGEST_WEIGHT:g} mV in size")
    return np.ascontiguousarray(array)
