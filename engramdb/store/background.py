"""One thing at a time in a thread: what a handle does behind its user's back."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

Stopped = Callable[[], bool]
"""Says whether the thread should come to an end."""


class Background:
    """A thread of a handle. Not to be used from several threads itself."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._stop, self._over = Event(), Event()
        self._error: BaseException | None = None

    def idle(self) -> bool:
        """Whether it is over; if not, it is told to leave what can be left."""
        if self._thread is None or self._over.is_set():
            return True
        self._stop.set()
        return False

    def start(self, work: Callable[[Stopped], None]) -> None:
        """Run ``work`` in a thread; the one before must be over."""
        assert self._thread is None, "one thing at a time"
        self._stop.clear()
        self._over.clear()

        def run() -> None:
            try:
                work(self._stop.is_set)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                self._error = error
            finally:
                self._over.set()

        thread = Thread(target=run, name="engramdb-behind")
        thread.start()  # where there can be no further thread, nothing goes on
        self._thread = thread

    def wait(self, *, stop: bool = True) -> None:
        """Until it is over; with ``stop``, tell it to leave what can be left. Raises what it raised."""
        if self._thread is None:
            return
        if stop:
            self._stop.set()
        # not join: where Ctrl-C ends that, Python takes the thread for dead, and it must be waited for again
        self._over.wait()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def abandon(self) -> Exception | None:
        """Until it is over, whatever became of it: the journal has what was acknowledged. What it raised."""
        try:
            self.wait()
        except Exception as error:  # noqa: BLE001 - whoever closes does not want to know; who must, looks
            return error
        return None
