"""Reading ahead: a thread fetches the rows of neurons that will soon need them, while ticks go on.

Nothing that comes out of a run depends on it. The main thread asks, takes what has come in, and installs it; a row that
is needed before it has come is read by whoever needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition

import numpy as np

from engramdb.address import IdArray
from engramdb.rowsource import Rows

_ROWS_AT_ONCE = 4096  # about half a leaf: no tick waits long for what is being read
_EXPECTED_ROW_BYTES = 256  # before any has been read
_NOBODY: IdArray = np.empty(0, dtype=np.uint64)


class Prefetch:
    """A queue of ids in front of a thread that calls ``read(ids)`` (strictly increasing) for some of them at a time.

    ``buffer_bytes``: what may wait in here, as ids and as rows. All methods are for one thread, the one that ticks;
    with ``threads`` 0 nothing is ever read ahead.
    """

    def __init__(self, read: Callable[[IdArray], Iterable[Rows]], buffer_bytes: int, threads: int = 1) -> None:
        self._read = read
        self._buffer_bytes = buffer_bytes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="engramdb-ahead") if threads else None
        self._pid = os.getpid()
        self._changed = Condition()
        self._urgent: list[IdArray] = []
        self._waiting: list[IdArray] = []
        self._queued = 0
        self._reading: IdArray = _NOBODY
        self._working = False
        self._failed = self._pause = False
        self._arrived: list[Rows] = []
        self._arrived_bytes = 0
        self._row_bytes = float(_EXPECTED_ROW_BYTES)

    @property
    def busy(self) -> bool:
        """Whether something is being read, or has come in."""
        return self._working or bool(self._arrived)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that have come in, and about those of the ones being read."""
        # Asked several times a tick, so without the lock, which the thread may hold for as long as it sorts ids. In
        # this order, what comes in meanwhile counts twice, and not never.
        reading = int(len(self._reading) * self._row_bytes)
        return reading + self._arrived_bytes + 8 * self._queued

    @property
    def room(self) -> int:
        """How many more may be asked for."""
        if self._pool is None or self._failed:
            return 0
        return max(0, int((self._buffer_bytes - self.nbytes) / (self._row_bytes + 8)) - self._queued)

    def ask(self, ids: IdArray, *, urgent: bool = False) -> None:
        """Read the rows of ``ids`` (uint64, distinct, any order) as soon as may be, ``urgent`` ones first."""
        if self._pool is None or self._failed or len(ids) == 0:
            return
        with self._changed:
            (self._urgent if urgent else self._waiting).append(ids)
            self._queued += len(ids)
            self._go_on()

    def arrived(self) -> list[Rows]:
        """What has come in since the last call."""
        if not self._arrived:
            return []
        with self._changed:
            arrived, self._arrived, self._arrived_bytes = self._arrived, [], 0
            self._go_on()
        return arrived

    def claim(self, ids: IdArray) -> None:
        """Take ``ids`` out of the queue; those that are being read are waited for, and will have arrived."""
        if self._pool is None:
            return
        with self._changed:
            self._leave_out(ids)
            while len(self._reading) and np.isin(ids, self._reading).any():
                self._changed.wait()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is read inside: the store changes. What has come in is read again, for it may have changed too."""
        if self._pool is None:
            yield
            return
        with self._changed:
            self._pause = True
            while self._working:
                self._changed.wait()
            again = [part.ids for part in self._arrived]
            self._waiting[:0] = again
            self._queued += sum(len(ids) for ids in again)
            self._arrived, self._arrived_bytes = [], 0
        try:
            yield
        finally:
            with self._changed:
                self._pause = False
                self._go_on()

    def settle(self) -> None:
        """Forget the queue and all that has come in; on return nothing is being read."""
        if self._pool is None or os.getpid() != self._pid:  # a forked child has no such thread to wait for
            return
        with self._changed:
            self._urgent, self._waiting, self._queued = [], [], 0
            while self._working:
                self._changed.wait()
            self._arrived, self._arrived_bytes, self._failed = [], 0, False

    def close(self) -> None:
        """Settle, and end the thread."""
        self.settle()
        if self._pool is not None and os.getpid() == self._pid:
            self._pool.shutdown()
        self._pool = None

    # ---- with the lock held

    def _go_on(self) -> None:
        ready = self._pool is not None and self._queued and not self._working and not self._pause
        if ready and self._arrived_bytes < self._buffer_bytes:
            assert self._pool is not None
            self._working = True
            self._pool.submit(self._work)

    def _leave_out(self, ids: IdArray) -> None:
        if self._queued == 0:
            return
        for queue in (self._urgent, self._waiting):
            left = [part[~np.isin(part, ids)] for part in queue]
            queue[:] = [part for part in left if len(part)]
        self._queued = sum(len(part) for part in (*self._urgent, *self._waiting))

    def _next(self) -> IdArray:
        """What to read now, taken from the queue: the oldest, and who is asked for between them in the same leaves."""
        queue = self._urgent or self._waiting
        if not queue or self._pause or self._arrived_bytes >= self._buffer_bytes:
            return _NOBODY
        oldest = np.sort(queue[0])[:_ROWS_AT_ONCE]
        between = [part[(part >= oldest[0]) & (part <= oldest[-1])] for part in (*self._urgent, *self._waiting)]
        chosen = np.unique(np.concatenate(between))
        self._leave_out(chosen)
        return chosen

    # ---- the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                ids = self._reading = self._next()
                if len(ids) == 0:
                    self._working = False
                    self._changed.notify_all()
                    return
            rows: list[Rows] = []
            failed = False
            try:
                rows = list(self._read(ids))
            except BaseException:  # noqa: BLE001 - whoever needs one of these rows will meet it
                failed = True
            with self._changed:
                if failed:
                    self._failed, self._urgent, self._waiting, self._queued = True, [], [], 0
                self._arrived += rows
                nbytes = sum(part.nbytes for part in rows)
                self._arrived_bytes += nbytes
                if rows:
                    self._row_bytes += 0.25 * (nbytes / len(ids) - self._row_bytes)
                self._reading = _NOBODY
                self._changed.notify_all()
