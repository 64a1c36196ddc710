"""Writing rows in bulk: leaf by leaf, each once, and a commit after every part.

A part is a fixed number of leaves, so where parts end depends on the rows alone: what was killed between two of them
and goes on behind the last whole one leaves the same leaves and commits as if nothing had happened.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, by_layer
from engramdb.delays import DelayArray
from engramdb.growth.bundle import Bundles
from engramdb.interchange.ahead import ahead
from engramdb.interchange.sorter import Edges
from engramdb.spec import Spec
from engramdb.store import STORED, LeafPolicy, Records, Store
from engramdb.store.directory import by_segment
from engramdb.store.records import concatenate
from engramdb.weights import rounded

PART_LEAVES = 128
"""Leaves of a part: a million neurons or 128 MiB before encoding, whichever is less."""

Progress = Callable[[str, int, int | None], None]
Written = Callable[[Records], None]


def bulk_write(
    store: Store,
    batches: Iterable[Edges],
    *,
    neurons: Iterable[IdArray] = (),
    progress: Progress | None = None,
    total: int | None = None,
    commit: Callable[[int], None] | None = None,
) -> int:
    """Write the rows in ``batches`` as stored rows of neurons that never fired; returns how many synapses there are.

    ``batches``: edges by (pre, delay, post, projection), no row parted. ``neurons``: uint64 arrays, increasing
    throughout, of neurons that get a record also if their row is empty. ``progress("write", synapses so far, total)``
    is called after each write, ``commit(neurons so far)`` where a part ends. Where the store's commit has neurons, they
    are the first of ``neurons``, which then names all of them, and count as written.
    """
    done, synapses = store.commit.neurons, store.commit.synapses
    batches, neurons = behind(batches, neurons, done)

    def wrote(records: Records) -> None:
        nonlocal done, synapses
        done, synapses = done + len(records), synapses + records.synapses
        if progress is not None:
            progress("write", synapses, total)

    def part(_: Records) -> None:
        if commit is not None:
            commit(done)

    write_records(store, rows_of(batches, neurons, store.spec), wrote=wrote, commit=part)
    return synapses


def write_records(
    store: Store,
    records: Iterable[Records],
    *,
    wrote: Written | None = None,
    commit: Written | None = None,
    retargeted: bool = True,
) -> None:
    """Write ``records``, each of one layer; ids increase over all those of a segment. ``retargeted``: see Store.write.

    They are made in a thread of their own while others are encoded. ``wrote`` gets what was written, after each write;
    ``commit`` gets it where a part ends, and may commit. Behind the last part that is left to the caller.
    """
    store.settle()
    with closing(ahead(in_leaves(records, store.policy, store.last_leaf))) as pieces:
        for piece, ends_part in pieces:
            store.write(piece, retargeted=retargeted)
            if wrote is not None:
                wrote(piece)
            if ends_part and commit is not None:
                commit(piece)


def in_leaves(
    records: Iterable[Records], policy: LeafPolicy, last_leaf: Callable[[int], Records]
) -> Iterator[tuple[Records, bool]]:
    """The same records cut where leaves will end, and whether a part ends there too.

    What does not fill a leaf waits for more of its segment: written at once, it would have to be written again.
    ``last_leaf(segment)``: the records of the leaf that a segment's first ones may still go into.
    """
    leaves = 0
    segment = -1
    waiting: list[Records] = []
    costs = [np.empty(0, dtype=np.int64)]  # of the leaf that is filled now: what it holds already, and what waits
    cost = 0  # all of them together
    for fresh in _one_segment_each(records):
        if int(fresh.ids[0]) >> 32 != segment:
            if waiting:
                leaves = (leaves + 1) % PART_LEAVES
                yield concatenate(waiting), leaves == 0
            segment = int(fresh.ids[0]) >> 32
            cost = int(policy.costs(last_leaf(segment)).sum())
            waiting, costs = [], [np.array([cost])]
        own = policy.costs(fresh)
        costs.append(own)
        cost += int(own.sum())
        if cost > policy.nbytes:
            held, begun = len(costs[0]), concatenate(waiting)
            edges = policy.fill(np.concatenate(costs))
            ends = [
                edge - held - len(begun) for edge in edges[1:-1] if edge > held
            ]  # of whole leaves, in what is fresh
            start = 0
            while ends:
                count = min(len(ends), PART_LEAVES - leaves)
                leaves = (leaves + count) % PART_LEAVES
                yield concatenate([begun, fresh.part(start, ends[count - 1])]), leaves == 0
                begun, start, ends = Records.empty(), ends[count - 1], ends[count:]
            # copied, so that no more than it stays in memory
            left = fresh.take(np.arange(start, len(fresh)))
            waiting, costs, cost = [left], [np.empty(0, dtype=np.int64), own[start:]], int(own[start:].sum())
        else:
            waiting.append(fresh)
    if waiting:
        yield concatenate(waiting), (leaves + 1) % PART_LEAVES == 0


def _one_segment_each(records: Iterable[Records]) -> Iterator[Records]:
    for some in records:
        for _, start, stop in by_segment(some.ids):
            yield some if stop - start == len(some) else some.part(start, stop)


def never_fired(
    ids: IdArray,
    indptr: npt.NDArray[np.int64],
    projection: npt.NDArray[np.uint16],
    target: IdArray,
    weight: npt.NDArray[np.float32],
    delay: DelayArray | None = None,
) -> Records:
    """Stored rows (arrays as in :class:`Records`) of neurons that have no history."""
    state: dict[str, npt.NDArray[Any]] = {
        "spike_count": np.zeros(len(ids), dtype=np.uint32),
        "last_spike": np.zeros(len(ids), dtype=np.int64),
    }
    kind = np.full(len(ids), STORED, dtype=np.uint8)
    return Records(ids, state, kind, indptr, projection, target, weight, delay=delay)


@contextmanager
def filling(path: Path, spec: Spec, bundles: Bundles, *, cache_bytes: int = 1 << 24) -> Iterator[Store]:
    """The engram at ``path``, open to be filled: new, or with what a killed process filled in and committed."""
    if path.exists():
        with Store.open(path) as store:
            usable = store.spec.to_json() == spec.to_json()
        if not usable:  # its source is not what it says
            shutil.rmtree(path)
    if not path.exists():
        Store.create(path, spec, bundles)
    with Store.open(path, "r+", durability="checkpoint", cache_bytes=cache_bytes) as store:
        yield store


def behind(
    batches: Iterable[Edges], neurons: Iterable[IdArray], done: int
) -> tuple[Iterable[Edges], Iterable[IdArray]]:
    """What is left of both behind the first ``done`` neurons."""
    if not done:
        return batches, neurons
    left = iter(neurons)
    for ids in left:
        if done < len(ids):
            return _from(batches, ids[done]), itertools.chain([ids[done:]], left)
        done -= len(ids)
    return (), ()


def _from(batches: Iterable[Edges], first: np.uint64) -> Iterator[Edges]:
    for edges in batches:
        cut = int(np.searchsorted(edges.pre, first))
        if cut < len(edges.pre):
            yield edges.part(cut, len(edges.pre))


def rows_of(batches: Iterable[Edges], neurons: Iterable[IdArray], spec: Spec) -> Iterator[Records]:
    """Records of one layer each, by id: all rows of ``batches``, and empty ones for the other ``neurons``.

    Weights are rounded to the type of their layer.
    """
    waiting = iter(neurons)
    others = np.empty(0, dtype=np.uint64)
    for batch in batches:
        edges = batch
        while len(edges.pre):
            if not len(others):
                others = next(waiting, others)
            # as far as both are known
            known = bool(len(others)) and others[-1] < edges.pre[-1]
            last = others[-1] if known else edges.pre[-1]
            row_stop = int(np.searchsorted(edges.pre, last, side="right"))
            other_stop = int(np.searchsorted(others, last, side="right"))
            yield from _rows(edges.part(0, row_stop), others[:other_stop], spec)
            edges, others = edges.part(row_stop, len(edges.pre)), others[other_stop:]
    nothing = Edges.room(0)
    yield from _rows(nothing, others, spec)
    for others in waiting:
        yield from _rows(nothing, others, spec)


def _rows(edges: Edges, others: IdArray, spec: Spec) -> Iterator[Records]:
    first = np.ones(len(edges.pre), dtype=bool)
    first[1:] = edges.pre[1:] != edges.pre[:-1]
    own = edges.pre[first]
    place = np.searchsorted(others, own)
    among = bool(len(others)) and bool((others[np.minimum(place, len(others) - 1)] == own).all())
    ids = others if among else np.union1d(own, others)
    if not len(ids):
        return
    indptr = np.append(np.searchsorted(edges.pre, ids), len(edges.pre)).astype(np.int64)
    weight = rounded(edges.pre, edges.weight, spec)
    whole = never_fired(ids, indptr, edges.projection, edges.post, weight, edges.delay)
    for _, where in by_layer(ids):
        yield whole.part(where.start, where.stop)
