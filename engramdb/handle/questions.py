"""The questions that an engram answers: of neurons, synapses, ways between them, and of all that satisfy a condition.

They change nothing, and take no memory from a run: what they read is kept apart, and goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import InvalidId, InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.handle.handle import Handle
from engramdb.naming import Ids, resolve
from engramdb.newest import Newest
from engramdb.query.neurons import Neuron, Neurons, Present, parameters_of
from engramdb.query.synapses import Synapses, incoming, outgoing
from engramdb.query.view import Rows, View
from engramdb.spec import Spec
from engramdb.store import Store

if TYPE_CHECKING:
    from engramdb.query.edges import Direction
    from engramdb.query.select import Ranking, Selection
    from engramdb.query.walk import By, Ego
    from engramdb.query.walk import Path as Way
    from engramdb.topology import Reading, Settings
    from engramdb.topology.moment import Moment
    from engramdb.wiring import Wiring

At = str | int | None
"""As of a snapshot or branch, by name, or of a commit, by number; None: as it is now."""

_PAST_KEPT = 2  # commits that are held open for questions
_PAST_BYTES = 32 << 20
_LEAST_EXTENSION = 1 << 16  # sources that are worth a run of their own in the reverse index
_MOST_RUNS = 6
_SORT_BYTES = 1 << 28


class Questions(Handle):
    """What :class:`engramdb.Engram` answers."""

    # ---- naming neurons

    def resolve(self, ids: Ids) -> IdArray:
        """uint64 ids of ``ids``: whole numbers, arrays, text ids (``0/0/42``, ``0x...``) or imported labels.

        Text is looked up as a label first. Raises :class:`NotFound` for ids that no layer declares, or unknown labels.
        """
        resolved = resolve(ids, self._store)
        unknown = np.flatnonzero(~self._bundles.exists(resolved))
        if len(unknown):
            declared = [
                f"{layer.name} {layer.index}/0..: {self._layer_size(layer):,}" for layer in self.spec.layers[:4]
            ]
            first = format_id(int(resolved[unknown[0]]))
            raise NotFound(
                f"neuron {first} does not exist in {self.location.name} ({len(unknown)} of {len(resolved)} ids "
                f"unknown); declared: {', '.join(declared)}{', ...' * (len(self.spec.layers) > 4)}"
            )
        return resolved

    def declares(self, ids: IdArray) -> npt.NDArray[np.bool_]:
        """Whether there is a neuron of each of ``ids``, uint64 (n,); bool (n,)."""
        return self._bundles.exists(ids)

    def _one(self, neuron_id: Ids, view: View | None = None) -> int:
        ids = self.resolve(neuron_id) if view is None else self._resolved(neuron_id, view)
        if len(ids) != 1:
            raise InvalidId(f"expected one neuron, got {len(ids)}; use neurons() for many")
        return int(ids[0])

    @property
    def has_labels(self) -> bool:
        """Whether any neuron was given a label when the engram was imported."""
        return self._store.has_labels

    def labels(self, ids: Ids) -> list[str | None]:
        """Imported labels of ``ids``; None where there is none."""
        return self._store.labels_of(self.resolve(ids))

    # ---- what is asked

    def _view(self, at: At = None, *, rows: bool = False) -> View:
        if at is not None:
            return self._view_of(self._store.resolve(at))
        if rows and self._engine is not None and self._engine.learning is not None:
            self._engine.write_back()  # weights of the moment, and not of when their rows last were looked at
        live = None if self._engine is None else self._engine.working_set
        tick = self._store.commit.tick if self._engine is None else self._engine.tick
        if live is not None:
            self._store.query_cache_bytes = max(0, min(self._budget // 6, live.free_bytes // 2))
        present = Present(self.spec, self._kept, live)
        stamp = (*self._store.stamp, tick)
        return View(self.spec, self._bundles, self._store, self._wiring, present, stamp)

    def _view_of(self, number: int) -> View:
        """A commit, which stays open for the next question."""
        if self._store.mode == "r" and number == self._store.commit.number:
            return self._view()
        if number in self._past:
            self._past[number] = self._past.pop(number)  # the latest
        else:
            store = Store.open(self.location, at=number, cache_bytes=_PAST_BYTES)
            try:
                bundles, present = store.bundles, Present(store.spec, store.state_to_ask(), None)
                stamp = (*store.stamp, store.commit.tick)
                self._past[number] = View(store.spec, bundles, store, _Once(store.spec, bundles), present, stamp)
            except BaseException:
                store.close()
                raise
            while len(self._past) > _PAST_KEPT:
                self._past.pop(next(iter(self._past))).store.close()
        return self._past[number]

    def _resolved(self, ids: Ids, view: View) -> IdArray:
        return self.resolve(ids) if view.store is self._store else view.check(resolve(ids, view.store))

    # ---- neurons

    def neuron(self, neuron_id: Ids, *, at: At = None) -> Neuron:
        """One neuron: its state in the life cycle, its fields, its out-degree."""
        view = self._view(at)
        ids = np.array([self._one(neuron_id, view)], dtype=np.uint64)
        many = view.neurons(ids)
        return Neuron(
            id=int(ids[0]),
            label=view.store.labels_of(ids)[0],
            state=many.state[0],
            fields={name: column[0].item() for name, column in many.fields.items() if many.has(name)[0]},
            out_degree=int(many.out_degree[0]),
        )

    def neurons(self, ids: Ids, *, at: At = None) -> Neurons:
        """Many neurons at once, in the order of ``ids``."""
        view = self._view(at)
        return view.neurons(self._resolved(ids, view))

    def parameters(self, ids: Ids) -> dict[str, npt.NDArray[np.float64]]:
        """Parameters of ``ids``, (n,) by name: of the layer, drawn, or their own; NaN where their model has no such."""
        return parameters_of(self.resolve(ids), self.spec, self._store)

    def synapses(self, neuron_id: Ids, direction: str = "out", *, at: At = None) -> Synapses:
        """The synapses of one neuron: its own row (``out``) or those onto it (``in``).

        Who projects here is computed for virtual rows; stored ones are found through the reverse index, see
        :meth:`index`, and without one by a scan of all of them.
        """
        if direction not in ("out", "in"):
            raise InvalidInput(f'direction="{direction}": expected "out" or "in"')
        ask = outgoing if direction == "out" else incoming
        view = self._view(at, rows=True)
        return ask(self._one(neuron_id, view), view.spec, view.store, view.wiring)

    def rows(self, ids: Ids, *, at: At = None) -> Rows:
        """The rows of many neurons, sorted and distinct, end to end: all that they send; see the result."""
        view = self._view(at, rows=True)
        return view.rows(np.unique(self._resolved(ids, view)))

    # ---- walks

    def ego(
        self, neuron_id: Ids, hops: int = 2, limit: int = 10_000, direction: Direction = "out", *, at: At = None
    ) -> Ego:
        """The neurons within ``hops`` synapses of one, and all synapses between those; see the result.

        ``direction="in"``: those from which it can be reached. At most ``limit`` neurons, the nearest.
        """
        from engramdb.query.walk import ego

        view = self._view(at, rows=True)
        return ego(view, self._one(neuron_id, view), int(hops), int(limit), direction)

    def path(
        self, a: Ids, b: Ids, by: By = "hops", *, full: float = 15.0, limit: int = 1_000_000, at: At = None
    ) -> Way:
        """A way from ``a`` to ``b`` along synapses.

        ``by="hops"``: of the fewest synapses, searched for from both ends. ``by="strength"``: the one that passes the
        most on: the product of min(1, abs(weight) / ``full``) over its synapses is the largest, ``full`` in mV; a
        synapse of weight 0 passes nothing. Of equally strong ones it is that of the fewest synapses. Raises
        :class:`NotFound` where there is none, or none within ``limit`` neurons.
        """
        from engramdb.query.walk import path

        view = self._view(at, rows=True)
        return path(view, self._one(a, view), self._one(b, view), by, float(full), int(limit))

    # ---- all neurons

    def select(
        self,
        layer: str | int | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        order: str | None = None,
        limit: int | None = 1000,
        cursor: str | None = None,
        *,
        at: At = None,
    ) -> Selection:
        """A page of the neurons of ``layer``, or of all, for which the condition ``where`` is true.

        Conditions compare fields, such as ``spike_count > 3 and (state = active or v >= -60)``; see
        :mod:`engramdb.query.predicate`. Fields are id, layer, segment, local, state, out_degree (or degree), in_degree
        and those of the models; for in_degree all rows are passed over, and ``columns`` have it only by name.
        ``order``: a field, from the smallest, or with "-" before it from the largest; ties, and all by default, by id.
        ``limit``: of the page, None for all. ``cursor``: that of the page before. It holds for one state: where the
        engram has moved on since, :class:`InvalidInput` says so; pages through a snapshot go on.
        """
        from engramdb.query.select import Question, select

        view = self._view(at)
        return select(view, Question.read(view, layer, where, order), columns, limit, cursor)

    def count(self, layer: str | int | None = None, where: str | None = None, *, at: At = None) -> int:
        """How many neurons :meth:`select` would give in all."""
        from engramdb.query.select import Question, count

        view = self._view(at)
        return count(view, Question.read(view, layer, where, None))

    def top(
        self, field: str, n: int = 50, *, layer: str | int | None = None, where: str | None = None,
        smallest: bool = False, at: At = None,
    ) -> Ranking:  # fmt: skip
        """The ``n`` neurons with the largest (or ``smallest``) value of a field, ties by id; see :meth:`select`."""
        from engramdb.query.select import Question, rank

        view = self._view(at)
        return rank(view, Question.read(view, layer, where, field if smallest else f"-{field}"), int(n))

    # ---- topology

    def topology(self, settings: Settings | None = None, *, at: At = None) -> Reading:
        """Measure the topology, without a pass over the whole: holes, clusters, complexity; see the result.

        It is a function of the state, of the seed and of ``settings`` alone. A :class:`engramdb.topology.Tracker`
        follows an engram through time, and ``run(topology=...)`` does while it runs. Needs the extra ``topology``,
        unless ``settings`` say ``clusters="components"``.
        """
        from engramdb.topology import Tracker

        reading = Tracker(settings).read(self.moment(at))
        if at is None:
            self._noted = Newest.of("question", reading)
        return reading

    def moment(self, at: At = None) -> Moment:
        """What a measurement of the topology is taken of."""
        from engramdb.topology.moment import Moment

        view = self._view(at, rows=True)
        if view.store is self._store and self._engine is not None:
            return Moment.running(view, self._engine)
        return Moment.stored(view, view.present.commit_state, view.store.commit.tick)

    # ---- the reverse index

    def index(self, *, drop: bool = False, progress: Callable[[int, int], None] | None = None) -> int:
        """Build the reverse index, so that asking who projects to a neuron scans no rows; returns its entries.

        It holds the synapses of stored rows that no wiring rule generates, without weights; they are sorted within the
        memory budget. From then on it is kept up to date. A checkpoint is made first if anything has changed, and one
        with the index. ``drop``: do without it from now on.
        ``progress(neurons, of so many)``.
        """
        from engramdb.query.reverse import all_pairs

        self._check_writable()
        if drop:
            self._store.drop_reverse()
            self.checkpoint("dropped the reverse index")
            return 0
        if self._store.has_uncommitted:
            self.checkpoint("before the reverse index")
        total = self._store.commit.neurons

        def advance(done: int) -> None:
            if progress is not None:
                progress(done, total)

        pairs = all_pairs(self._store, self._wiring, advance)
        entries = self._store.write_reverse(pairs, self._sorting_bytes())
        self.checkpoint("reverse index")
        return entries

    def _sorting_bytes(self) -> int:
        return min(_SORT_BYTES, self._budget // 8)

    def _extend_index(self) -> None:
        """Before a commit: give what was touched a run of its own, where questions would look at too many rows."""
        from engramdb.query.reverse import all_pairs, touched_pairs

        if not self._store.reverse or len(self._store.touched()) < _LEAST_EXTENSION:
            return
        whole = self._store.reverse.runs >= _MOST_RUNS
        pairs = all_pairs(self._store, self._wiring, lambda _: None) if whole else None
        self._store.write_reverse(
            touched_pairs(self._store, self._wiring) if pairs is None else pairs, self._sorting_bytes(), whole=whole
        )


class _Once:
    """The wiring of a commit, made when it is first needed."""

    def __init__(self, spec: Spec, bundles: Bundles) -> None:
        self._spec, self._bundles = spec, bundles
        self._made: Wiring | None = None

    def __call__(self) -> Wiring:
        if self._made is None:
            from engramdb.wiring import Wiring

            self._made = Wiring(self._spec, self._bundles)
        return self._made
