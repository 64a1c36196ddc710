"""Reading many leaves: neighbours with one call, and what comes next asked of the system before it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from engramdb.address import IdArray
from engramdb.store.changes import find_in
from engramdb.store.pack import LEAF
from engramdb.store.reader import LeafReader
from engramdb.store.records import IndexArray, Records
from engramdb.store.versions import LeafRef

_GAP_BYTES = 1 << 16  # reading so much for nothing costs less than another call
_RUNS_AHEAD = 4
_FEW_AHEAD = 16  # leaves of which only a few rows are wanted: nobody waits long for one of them


def read_leaves(
    reader: LeafReader, refs: Iterable[LeafRef], *, cached: bool, query: bool = False
) -> Iterator[tuple[LeafRef, Records]]:
    """Each of ``refs`` with its records, in order; see :meth:`LeafReader.read`. Raises LeafDamaged in its place.

    The next runs are on their way while one is decoded: the system reads them. It sees by itself that somebody reads on
    in a pack, and then does it in larger pieces for a third of what being asked costs; only where a run lies elsewhere
    must it be told. Threads do not pay, neither for decoding nor for reading: they pass the interpreter's lock to and
    fro a dozen times a leaf. ``docs/measured.md`` has figures.
    """
    asked: deque[list[LeafRef]] = deque()
    for run in runs(refs, reader.run_bytes):
        if asked and not _reads_on(asked[-1][-1], run[0]):
            reader.expect(run)
        asked.append(run)
        if len(asked) > _RUNS_AHEAD:
            yield from _read(reader, asked.popleft(), cached, query)
    while asked:
        yield from _read(reader, asked.popleft(), cached, query)


def read_few(reader: LeafReader, parts: Iterable[tuple[LeafRef, IdArray]]) -> Iterator[tuple[Records, IndexArray]]:
    """Those of a few ids that are in each leaf, for a query: records that must not be changed, and the places in them.

    See :meth:`LeafReader.read_few`. Raises LeafDamaged.
    """
    asked: deque[tuple[LeafRef, IdArray, Records | None]] = deque()
    for ref, wanted in parts:
        leaf = reader.decoded(ref)
        if leaf is None:  # telling the system costs as much as finding a row in RAM
            reader.expect([ref])
        asked.append((ref, wanted, leaf))
        if len(asked) > _FEW_AHEAD:
            yield _found(reader, *asked.popleft())
    while asked:
        yield _found(reader, *asked.popleft())


def _found(reader: LeafReader, ref: LeafRef, wanted: IdArray, leaf: Records | None) -> tuple[Records, IndexArray]:
    if leaf is None:
        few = reader.read_few(ref, wanted, query=True)
        return few, np.arange(len(few))
    place, there = find_in(leaf.ids, wanted)
    return leaf, place[there]


def runs(refs: Iterable[LeafRef], run_bytes: int) -> Iterator[list[LeafRef]]:
    """``refs`` in order, cut where two do not lie behind one another in a pack or one call would read too much."""
    run: list[LeafRef] = []
    for ref in refs:
        if run:
            last = run[-1]
            together = ref.offset + ref.length - run[0].offset <= run_bytes
            if not (ref.kind == last.kind == LEAF and _reads_on(last, ref) and together):
                yield run
                run = []
        run.append(ref)
    if run:
        yield run


def _reads_on(last: LeafRef, ref: LeafRef) -> bool:
    """Whether ``ref`` lies behind ``last``, or nearly so."""
    return ref.pack == last.pack and 0 <= ref.offset - last.offset - last.length <= _GAP_BYTES


def _read(reader: LeafReader, run: list[LeafRef], cached: bool, query: bool) -> Iterator[tuple[LeafRef, Records]]:
    yield from zip(run, reader.read_run(run, cached=cached, query=query), strict=True)
