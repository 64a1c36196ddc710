"""Memory traces of an engram: naming them, recalling them, and how they drift."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.errors import AlreadyExists, InvalidInput, ReadOnly
from engramdb.handle.driving import Driving
from engramdb.naming import Ids

if TYPE_CHECKING:
    from engramdb.handle.questions import At
    from engramdb.query.trace import Drift, Presentation, Recall, Trace
    from engramdb.query.view import View
    from engramdb.run import Run

_SHARE = 4  # of the memory budget: what a recall may take, beside it


class Memories(Driving):
    """What :class:`engramdb.Engram` remembers."""

    run: Callable[..., Run]

    def imprint(self, name: str, ids: Ids, *, replace: bool = False) -> Trace:
        """Name a set of neurons, such as those that fired together under a stimulus: a memory trace.

        It belongs to the history: snapshots, branches and restores have the traces of their time. A name that is taken
        is refused, unless ``replace`` says that the trace is to become another one.
        """
        self._check_writable()
        neurons = np.unique(self.resolve(ids))
        if not len(neurons):
            raise InvalidInput(f'trace "{name}" has no neurons; give at least one')
        if not replace and name in self._store.traces.refs():
            raise AlreadyExists(f'there is a trace "{name}" already; choose another name, or replace it')
        self._write_trace(name, neurons)
        return self.trace(name)

    def forget_trace(self, name: str) -> None:
        """Take the name of a trace away; its neurons stay as they are. Raises :class:`NotFound`."""
        self._check_writable()
        self._store.traces.ref(name)
        self._write_trace(name, np.empty(0, dtype=np.uint64))

    def _write_trace(self, name: str, ids: IdArray) -> None:
        from engramdb.store.history import check_name, now

        created = now()  # journaled, so that a replay says the same
        tick = self._view().stamp[-1]
        with self._journaled("imprint", {"name": check_name(name, "trace"), "created": created}, {"id": ids}):
            self._store.write_trace(name, ids, tick, created)

    def traces(self, *, at: At = None) -> list[Trace]:
        """All named traces, by name."""
        from engramdb.query.trace import traces

        return traces(self._view(at).store)

    def trace(self, name: str, *, at: At = None) -> Trace:
        """The trace of that name; ``&``, ``|`` and ``-`` of two give ids. Raises :class:`NotFound`."""
        from engramdb.query.trace import trace

        return trace(self._view(at).store, name)

    def recall(
        self,
        cue_ids: Ids,
        ticks: int = 50,
        *,
        amplitude: Any = 20.0,
        duration: int = 1,
        least_spikes: int = 1,
        present: bool = False,
        keep: bool = False,
        at: At = None,
    ) -> Recall:
        """Present a cue, let the network run, and say which traces the activity completes.

        - ``cue_ids``: who is stimulated, with ``amplitude`` mV (one, or one for each) in each of the first
          ``duration`` ticks. ``ticks``: how long to look. ``least_spikes``: how often a neuron must fire to count as
          active.
        - By default it happens in a network of its own, with the same synapses, in which all is at rest: nothing of it
          is kept, nobody else sees it, and what comes out depends on nothing but the cue and the weights. It may take a
          quarter of the memory budget, beside it. ``present``: not from rest, but from what is going on now, with the
          input that is to come.
        - ``keep``: do it for real, as ``stimulate`` and ``run`` would; it begins in the present, and becomes history.

        Raises BudgetExceeded.
        """
        from engramdb.query.trace import Presentation, recalled

        how = Presentation(int(ticks), amplitude, int(duration), int(least_spikes))
        view = self._view(at)
        cue = self._resolved(cue_ids, view)
        if not len(cue):
            raise InvalidInput("the cue has no neurons; give at least one")
        if keep:
            if at is not None:
                raise InvalidInput("keep: the past cannot be changed; restore it, or make a branch there")
            if self._store.mode != "r+":
                raise ReadOnly(f'{self._store.path.name} is open for reading; keep needs mode="r+"')
            self.stimulate(cue, amplitude, duration=how.duration)
            run = self.run(how.ticks, record=("spikes",))
            return recalled(np.unique(cue), run.spikes[1], run.counts, how, self._view(), kept=True)
        spikes, counts = self._presented(view, cue, how, present)
        return recalled(np.unique(cue), spikes, counts, how, view, kept=False)

    def _presented(
        self, view: View, cue: IdArray, how: Presentation, present_state: bool
    ) -> tuple[IdArray, npt.NDArray[np.int64]]:
        """The spikes of a cue in a network of its own."""
        from engramdb.query.trace import present, what_if

        own = view.store is self._store
        state = None
        if own and self._engine is not None:
            self._engine.settle()  # no thread reads while another engine does
            self._engine.write_back()  # the other engine knows the store alone
        if present_state and own:
            state = self._kept if self._engine is None else self._engine.state()
        elif present_state:
            state = view.store.read_state()
        engine = what_if(view, view.stamp[-1], state, self._budget // _SHARE, self._threads)
        try:
            return present(engine, cue, how)
        finally:
            engine.close()

    def drift(
        self,
        name: str,
        before: At,
        after: At = None,
        *,
        cue_ids: Ids | None = None,
        ticks: int = 50,
        amplitude: Any = 20.0,
        duration: int = 1,
        least_spikes: int = 1,
    ) -> Drift:
        """How a trace differs from ``before`` to ``after`` (default: now): neurons, the weights among them, activity.

        It is recalled in both, from rest, by ``cue_ids``, or by all of its neurons of that time; see :meth:`recall`.
        """
        from engramdb.query.trace import Presentation, drift, trace

        how = Presentation(int(ticks), amplitude, int(duration), int(least_spikes))
        views = self._view(before, rows=True), self._view(after, rows=True)
        fired = []
        for view in views:
            cue = trace(view.store, name).ids if cue_ids is None else self._resolved(cue_ids, view)
            spikes, _ = self._presented(view, cue, how, False)
            ids, times = np.unique(spikes, return_counts=True)
            fired.append(ids[times >= how.least_spikes])
        return drift(*views, name, (fired[0], fired[1]))
