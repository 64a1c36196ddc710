"""A story of everything that writes, and what a user has been told is done while it goes on.

A run of it is recorded call by call (:class:`engramdb.faultyfiles.FaultyFiles`), so that a test can ask for the disk
after a power cut at any call, and for what may be found there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from engramdb.faultyfiles import FaultyFiles
from engramdb.store import OWN, Directory, Records, Store
from engramdb.store.files import OsFiles
from engramdb.store.labels import LabelIndex
from engramdb.store.reverse import Pairs, ReverseIndex
from engramdb.store.state import read_state
from engramdb.store.traces import TraceIndex
from engramdb.testing import DictStore, Neuron, merged
from tests.stores import SMALL_LEAVES, commit, forgotten, neurons, state_change

LABELLED = np.arange(60, dtype=np.uint64)
EVERYTHING = {"keep_last": 0, "keep_days": 0.0}


def cells(ids: Any, **how: Any) -> Records:
    """Neurons whose synapses have delays of their own, and every other a parameter of its own."""
    records = neurons(ids, **how)
    records.delay = (records.target % np.uint64(300) + np.uint64(1)).astype(np.uint16)
    records.state[OWN + "bias"] = np.where(records.ids % np.uint64(2) == 0, records.ids * 0.125, np.nan)
    return records


def change(ids: Any, value: int | None = None, bias: Any = None) -> Records:
    """Another state, or another parameter, of neurons that keep the rest.

    With ``value`` all columns are there: where a full disk has taken a commit away, a neuron may not be stored yet.
    """
    records = state_change(ids, value or 0)
    records.state[OWN + "bias"] = np.full(len(records), np.nan) if bias is None else np.array(bias)
    for name in records.state:
        if (bias if name == OWN + "bias" else value) is None:
            records.kept[name] = np.ones(len(records), dtype=bool)
    return records


def state_with(ring: tuple[int, ...]) -> dict[str, np.ndarray]:
    """What a commit keeps beside the records: spikes and input under way, of one value for each of ``ring``."""
    at = np.array(ring, dtype=np.int64)
    return (
        {"ring": at, "poisson_id": at.astype(np.uint64), "poisson_rate": at * 0.1, "charged_w": at.astype("f4")}
        if ring
        else {}
    )


@dataclass(frozen=True)
class Content:
    """What a commit holds."""

    neurons: Mapping[int, Neuron]
    labels: Mapping[int, str]
    ring: tuple[int, ...]
    traces: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    indexed: bool = False


@dataclass(frozen=True)
class Durable:
    """What is found after a power cut. Commits go by their tick, which is another one for each."""

    commits: Mapping[int, Content]
    heads: Mapping[str, int]
    frames: Mapping[str, tuple[str, ...]]
    snapshots: Mapping[str, int]

    @property
    def names(self) -> tuple[object, ...]:
        return self.heads, self.frames, self.snapshots


CREATED = Durable({0: Content({}, {}, ())}, {"main": 0}, {"main": ()}, {})


@dataclass(frozen=True)
class Step:
    """A call that made the changes ``first`` to ``last``; ``may_be``: what a power cut in it may leave.

    ``thins``: it deletes commits, in several steps.
    """

    name: str
    first: int
    last: int
    may_be: tuple[Durable, ...]
    thins: bool = False


@dataclass
class Told:
    """What a user has been told is done, and what this program has not been told yet."""

    durable: Durable = CREATED
    branch: str = "main"
    written: DictStore = field(default_factory=DictStore)
    labels: dict[int, str] = field(default_factory=dict)
    traces: dict[str, tuple[int, ...]] = field(default_factory=dict)
    indexed: bool = False
    behind: Durable | None = None
    """After :meth:`begin_behind`, and before it is known to be done: what there is if it is."""

    def options(self) -> tuple[Durable, ...]:
        return (self.durable,) if self.behind is None else (self.durable, self.behind)

    def change(self, **changes: object) -> None:
        self.durable = dataclasses.replace(self.durable, **changes)  # type: ignore[arg-type]

    def journal(self, text: str) -> None:
        def added(durable: Durable) -> Durable:
            frames = {**durable.frames, self.branch: (*durable.frames[self.branch], text)}
            return dataclasses.replace(durable, frames=frames)

        self.durable = added(self.durable)
        if self.behind is not None:
            self.behind = added(self.behind)

    def _committed(self, tick: int, ring: tuple[int, ...]) -> Durable:
        content = Content(dict(self.written.neurons), dict(self.labels), ring, dict(self.traces), self.indexed)
        now = self.durable
        return Durable(
            {**now.commits, tick: content}, {**now.heads, self.branch: tick}, {**now.frames, self.branch: ()},
            now.snapshots,
        )  # fmt: skip

    def commit(self, tick: int, ring: tuple[int, ...]) -> None:
        self.durable = self._committed(tick, ring)

    def begin_behind(self, changes: list[Records], tick: int, ring: tuple[int, ...]) -> None:
        for part in changes:
            self.written.write(part)
        self.behind = self._committed(tick, ring)

    def end_behind(self, tick: int) -> None:
        """It is over: done, if the head is the commit of ``tick``; otherwise a later commit will hold the changes."""
        if self.behind is not None and self.behind.heads[self.branch] == tick:
            self.durable = self.behind
        self.behind = None

    def stand(self, branch: str) -> None:
        """On a branch that is opened."""
        self.branch, self.behind = branch, None
        content = self.durable.commits[self.durable.heads[branch]]
        self.written.neurons, self.labels = dict(content.neurons), dict(content.labels)
        self.traces, self.indexed = dict(content.traces), content.indexed

    def restore(self, tick: int) -> None:
        now = self.durable
        self.change(heads={**now.heads, self.branch: tick}, frames={**now.frames, self.branch: ()})
        self.stand(self.branch)


class Story:
    """Tells ``path``'s story, step by step; ``steps`` grows."""

    def __init__(self, path: Path, files: OsFiles, *, pages_before_checkpoint: int = 1000, held: bool = True) -> None:
        """``held``: what is done in the background waits at places, so that each telling makes the same calls."""
        self.path, self.files = path, files
        self._pages_before_checkpoint, self._held = pages_before_checkpoint, held
        self.told = Told()
        self.steps: list[Step] = []
        self.store = self._open("main")
        self._tick = 0

    def _open(self, branch: str) -> Store:
        store = Store.open(self.path, "r+", policy=SMALL_LEAVES, files=self.files, branch=branch, cache_bytes=1 << 20)
        if isinstance(self.files, FaultyFiles):  # between two commits of SQLite's, power may fail too
            moment, connection = self.files.moment, store._catalog._connection
            connection.execute(f"PRAGMA wal_autocheckpoint = {self._pages_before_checkpoint}")
            connection.set_trace_callback(lambda sql: moment() if sql in _ENDS else None)
        return store

    @property
    def _operation(self) -> int:
        return self.files.operation if isinstance(self.files, FaultyFiles) else 0

    def step(self, name: str, call: Callable[[], object], then: Callable[[], object], *, thins: bool = False) -> None:
        """Make one call that writes, and then be told that it is done."""
        first, before = self._operation, self.told.options()
        call()
        if isinstance(self.files, FaultyFiles):
            self.files.moment()  # power may fail after all is done, and before anybody is told
        then()
        self.steps.append(Step(name, first, self._operation - 1, before + self.told.options(), thins))

    # the calls

    def journal(self, text: str) -> None:
        def call() -> int:
            values = {"id": np.arange(30, dtype=np.uint64), "rate": np.linspace(0.0, 1.0, 30)}
            return self.store.journal_append("poisson", 1, {"text": text}, values)

        self.step("journal", call, lambda: self.told.journal(text))

    def write(self, changes: Records) -> None:
        self.step("write", lambda: self.store.write(changes), lambda: self.told.written.write(changes))

    def label(self, *ids: int) -> None:
        labels = {neuron: f"n{neuron:03}" for neuron in ids}
        batches = [(list(labels.values()), np.array(ids, np.uint64))]
        self.step("labels", lambda: self.store.write_labels(0, iter(batches)), lambda: self.told.labels.update(labels))

    def trace(self, name: str, *ids: int) -> None:
        """Name some neurons, or with none of them forget the name."""

        def then() -> None:
            self.told.traces[name] = ids
            if not ids:
                del self.told.traces[name]

        self.step("trace", lambda: self.store.write_trace(name, np.array(ids, np.uint64), 1, "then"), then)

    def index(self, *, whole: bool = True) -> None:
        """Write a run of the reverse index, so little at a time that it has to be merged from files."""

        def call() -> None:
            rows = self.store.scan() if whole else [self.store.find(self.store.touched())]
            self.store.write_reverse(pairs(rows), 1, whole=whole)

        self.step("index", call, lambda: setattr(self.told, "indexed", True))

    def drop_index(self) -> None:
        self.step("index", self.store.drop_reverse, lambda: setattr(self.told, "indexed", False))

    def _next(self) -> tuple[int, tuple[int, ...]]:
        self._tick += 1
        return self._tick, tuple(range(self._tick % 4))

    def commit(self) -> None:
        tick, ring = self._next()
        self.step("commit", lambda: commit(self.store, tick, **state_with(ring)), lambda: self.told.commit(tick, ring))

    def commit_behind(self, changes: list[Records], meanwhile: tuple[str, str]) -> None:
        """A frame is journaled before the changes are written, another one after that and before the commit."""
        tick, ring = self._next()
        go_on, written, end = Event(), Event(), Event()

        def held(until: Event, store: Store) -> None:
            while not until.wait(0.001) and store._closed is None:
                pass

        def begin(store: Store) -> None:
            def given() -> list[Records]:
                held(go_on, store)
                return changes

            def state() -> dict[str, np.ndarray]:
                written.set()
                held(end, store)
                return state_with(ring)

            store.commit_behind(given, tick, state, store.bundles)

        def write() -> None:
            thread = self.store._background._thread
            go_on.set()
            while thread is not None and thread.is_alive() and not written.wait(0.001):
                pass  # until it has come so far, or has failed

        if not self._held:
            go_on.set()
            end.set()
        try:
            self.step("commit_behind", lambda: begin(self.store), lambda: self.told.begin_behind(changes, tick, ring))
            self.journal(meanwhile[0])
            if self._held:
                self.step("commit_behind", write, lambda: None)
            self.journal(meanwhile[1])
        finally:
            go_on.set()
            end.set()
        self.step("settle", self.settle, lambda: self.told.end_behind(self.store.commit.tick))

    def settle(self) -> None:
        """Let it end by itself: to settle at once would stop the compaction that follows."""
        thread = self.store._background._thread
        if thread is not None:
            thread.join()
        self.store.settle()

    def snapshot(self, name: str) -> None:
        def then() -> None:
            now = self.told.durable
            self.told.change(snapshots={**now.snapshots, name: now.heads[self.told.branch]})

        self.step("snapshot", lambda: self.store.snapshot(name), then)

    def delete_snapshot(self, name: str) -> None:
        left = {other: tick for other, tick in self.told.durable.snapshots.items() if other != name}
        self.step("delete_snapshot", lambda: self.store.delete_snapshot(name), lambda: self.told.change(snapshots=left))

    def restore(self, name: str) -> None:
        tick = self.told.durable.snapshots[name]
        self.step("restore", lambda: self.store.restore(name), lambda: self.told.restore(tick))

    def restore_tick(self, tick: int) -> None:
        number = next(c.number for c, _ in self.store._history.commits() if c.tick == tick)
        self.step("restore", lambda: self.store.restore(number), lambda: self.told.restore(tick))

    def branch(self, name: str, at: str) -> None:
        def then() -> None:
            now = self.told.durable
            self.told.change(heads={**now.heads, name: now.snapshots[at]}, frames={**now.frames, name: ()})

        self.step("branch", lambda: self.store.branch(name, at), then)

    def delete_branch(self, name: str) -> None:
        now = self.told.durable
        heads, frames = dict(now.heads), dict(now.frames)
        del heads[name], frames[name]
        self.step(
            "delete_branch",
            lambda: self.store.delete_branch(name),
            lambda: self.told.change(heads=heads, frames=frames),
        )

    def compact(self) -> None:
        self.step("compact", self.store.compact, lambda: None)

    def gc(self) -> None:
        def then() -> None:
            now = self.told.durable
            left = {c.tick for c, _ in self.store._history.commits()}
            assert {0, *now.heads.values(), *now.snapshots.values()} <= left
            self.told.change(commits={tick: content for tick, content in now.commits.items() if tick in left})

        self.step("gc", lambda: self.store.gc(**EVERYTHING), then, thins=True)  # type: ignore[arg-type]

    def reopen(self, branch: str) -> None:
        def call() -> None:
            self.store.close()
            self.store = self._open(branch)

        self.step("reopen", call, lambda: self.told.stand(branch))

    # all of them

    def tell(self) -> None:
        """Whole leaves, deltas, tombstones, re-packing, compaction, lines, branches and gc, in about 100 calls."""
        self.journal("first")
        for seed in range(3):  # two of three are written for nothing: the commit packs anew
            self.write(cells(range(0, 300, 4), seed=seed))
        self.label(0, 4, 8)
        self.trace("odor", 0, 4, 8)
        self.trace("light", 8, 12)
        self.commit()
        self.index()
        self.commit()
        self.snapshot("s")
        self.journal("one")
        self.journal("two")
        for value in (1, 2, 3):  # deltas on top of one another
            self.write(change([8, 12, 100], value))
            self.commit()
        self.journal("before")
        self.commit_behind([change([8], 4), cells([16, 17], seed=5)], ("meanwhile", "and then"))
        self.journal("after")
        self.write(forgotten(range(0, 120, 4)))  # the first leaf of the segment goes too
        self.write(cells(np.arange(20) + (1 << 32), seed=3))
        self.trace("odor", 16, 17, 300)
        self.trace("light")
        self.commit()
        self.index(whole=False)
        self.commit()
        self.branch("b", "s")
        self.restore("s")
        self.journal("on a new line")
        self.write(cells(range(1, 100, 11), seed=4))
        self.write(change([20, 120, 200, 280], 5))
        # stored now, whichever commit a full disk has taken away: what they keep can be kept
        self.write(change([12, 56], bias=[1.5, np.nan]))
        self.commit()
        self.snapshot("late")
        self.compact()
        self.label(12, 16)
        self.commit()
        self.reopen("b")
        self.write(change([4], 6))
        self.trace("on b", 4)
        self.drop_index()
        self.commit()
        self.journal("on b")
        self.reopen("main")
        self.delete_branch("b")
        self.delete_snapshot("s")
        self.gc()
        self.write(forgotten([1, 12, 23, 34, 45, 56, 67, 78, 89]))
        self.commit_behind([cells([2], seed=8)], ("at last", "the last"))
        self.restore("late")
        self.write(cells(range(2, 60, 3), seed=9))
        self.index()
        self.write(cells([3], seed=10))
        self.commit()
        for at in (1000, 2000):  # of two packs only a little is needed in the end: gc copies it
            self.write(cells(range(at, at + 50)))
            self.commit()
            self.write(cells(range(at, at + 40), seed=1))
        self.commit()
        self.journal("end")
        self.gc()
        self.reopen("main")


_ENDS = ("COMMIT", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")


def pairs(rows: Iterable[Records]) -> Iterator[Pairs]:
    """``(target, source)`` of all their synapses."""
    for records in rows:
        yield records.target, np.repeat(records.ids, np.diff(records.indptr))


def indexed(index: ReverseIndex, found: Mapping[int, Neuron]) -> bool:
    """Whether there is a reverse index; if there is, it leaves nothing out."""
    if not index:
        return False
    touched = set(index.touched().tolist())
    there = {(row[1], neuron) for neuron, (_, _, synapses) in found.items() for row in synapses}
    targets = np.unique(np.array([target for target, _ in there], np.uint64))
    known = set(zip(*(column.tolist() for column in index.pairs(targets)), strict=True))
    few = [set(zip(*(c.tolist() for c in index.pairs(target)), strict=True)) for target in np.array_split(targets, 9)]
    assert set().union(*few) == known
    assert {(target, source) for target, source in there if source not in touched} <= known
    return True


def durable_at(path: Path) -> Durable:
    """What is there, through one handle that reads."""
    commits, frames = {}, {}
    with Store.open(path, cache_bytes=1 << 24) as store:
        catalog, packs, history = store._catalog, store._packs, store._history
        numbers = {}
        for made, ref in history.commits():
            numbers[made.number] = made.tick
            chain = history.chain(made.line, made.number)
            found = merged(store.reader.read(leaf) for leaf in Directory(catalog, chain).leaves())
            assert (made.neurons, made.synapses) == (len(found), sum(len(row) for _, _, row in found.values()))
            names = LabelIndex(catalog, packs, chain).of(LABELLED)
            labels = {n: text for n, text in zip(LABELLED.tolist(), names, strict=True) if text is not None}
            state = read_state(packs, made, ref) if ref is not None else {}
            ring = tuple(state["ring"].tolist()) if state else ()
            traces = TraceIndex(catalog, packs, chain)
            named = {name: tuple(traces.ids(ref).tolist()) for name, ref in traces.refs().items()}
            is_indexed = indexed(ReverseIndex(catalog, packs, chain), found)
            expected = state_with(ring)
            assert state.keys() == expected.keys()
            assert all(np.array_equal(values, expected[name]) for name, values in state.items())
            commits[made.tick] = Content(found, labels, ring, named, is_indexed)
        heads = {branch.name: numbers[branch.head] for branch in store.branches()}
        snapshots = {snapshot.name: numbers[snapshot.commit] for snapshot in store.snapshots()}
        ids = np.array(sorted(commits[heads["main"]].neurons)[::3], np.uint64)
        ids = ids[ids < np.uint64(1 << 48)]
        assert merged(iter([store.find(ids)])).items() <= commits[heads["main"]].neurons.items()
    for name in heads:
        with Store.open(path, branch=name) as reader:
            frames[name] = tuple(frame.meta["text"] for frame in reader.journal_frames())
    assert len(commits) == len(numbers), "each commit has its tick"
    return Durable(commits, heads, frames, snapshots)


def difference(found: Durable, step: Step) -> str | None:
    """What is wrong with what was found after a power cut in ``step``; None if it may be so."""
    if any(found == durable for durable in step.may_be):
        return None
    before, after = step.may_be[0], step.may_be[-1]
    if step.thins and found.names == after.names and (
        after.commits.items() <= found.commits.items() <= before.commits.items()
    ):  # fmt: skip
        return None
    said = [f"found heads {found.heads}, frames {found.frames}, snapshots {found.snapshots}"]
    for durable in step.may_be:
        wrong = [tick for tick in found.commits.keys() | durable.commits.keys()
                 if found.commits.get(tick) != durable.commits.get(tick)]  # fmt: skip
        said.append(f"may be {durable.names}, where commits of ticks {sorted(wrong)} differ")
    return "; ".join(said)


@contextlib.contextmanager
def told(path: Path, files: OsFiles, **how: Any) -> Iterator[Story]:
    """The story, told to its end; inside, its handle is open."""
    story = Story(path, files, **how)
    try:
        story.tell()
        yield story
    finally:
        story.store.close()
