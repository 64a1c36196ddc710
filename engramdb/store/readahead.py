"""Reading many leaves: neighbours with one call, several calls in flight, what is asked for next read ahead."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from engramdb.store.pack import LEAF
from engramdb.store.reader import LeafReader
from engramdb.store.records import Records
from engramdb.store.versions import LeafRef

RUN_BYTES = 1 << 20
"""What one call reads at most, unless a single leaf is larger."""
_GAP_BYTES = 1 << 16  # reading so much for nothing costs less than another call
_WORTH_BYTES = 1 << 19  # to read less, waking a thread takes longer than it saves
_WORKERS = min(4, os.cpu_count() or 1)


class ReadAhead:
    """The threads of a handle that read and decode; they leave the interpreter's lock while they do."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def read(
        self, reader: LeafReader, refs: Iterable[LeafRef], *, cached: bool, query: bool = False,
        run_bytes: int = RUN_BYTES,
    ) -> Iterator[tuple[LeafRef, Records]]:  # fmt: skip
        """Each of ``refs`` with its records, in order; see :meth:`LeafReader.read`. Raises LeafDamaged in its place."""
        waiting = runs(refs, run_bytes)
        head: list[list[LeafRef]] = []
        nbytes = 0
        for run in waiting:
            head.append(run)
            nbytes += sum(ref.length for ref in run)
            if nbytes >= _WORTH_BYTES and len(head) > 1:
                break
        if nbytes < _WORTH_BYTES or len(head) == 1:
            for run in itertools.chain(head, waiting):
                yield from zip(run, reader.read_run(run, cached=cached, query=query), strict=True)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="engramdb-read")
        pool = self._pool
        under_way: deque[tuple[list[LeafRef], Future[list[Records]]]] = deque()
        try:
            for run in itertools.chain(head, waiting):
                under_way.append((run, pool.submit(reader.read_run, run, cached=cached, query=query)))
                if len(under_way) > _WORKERS:
                    yield from _results(*under_way.popleft())
            while under_way:
                yield from _results(*under_way.popleft())
        finally:
            for _, future in under_way:
                future.cancel()

    def close(self) -> None:
        """Wait for what is being read."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def runs(refs: Iterable[LeafRef], run_bytes: int = RUN_BYTES) -> Iterator[list[LeafRef]]:
    """``refs`` in order, cut where two do not lie behind one another in a pack or one call would read too much."""
    run: list[LeafRef] = []
    for ref in refs:
        if run:
            last = run[-1]
            gap = ref.offset - last.offset - last.length
            together = ref.offset + ref.length - run[0].offset <= run_bytes
            if not (ref.kind == last.kind == LEAF and ref.pack == last.pack and 0 <= gap <= _GAP_BYTES and together):
                yield run
                run = []
        run.append(ref)
    if run:
        yield run


def _results(run: list[LeafRef], future: Future[list[Records]]) -> Iterator[tuple[LeafRef, Records]]:
    yield from zip(run, future.result(), strict=True)
