"""An event loop in a thread of its own: the calling thread waits for it, and hears Ctrl-C meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

_LAST_WORDS_SECONDS = 0.2

Result = TypeVar("Result")


class EventLoop:
    """Close it after use. :meth:`run` may be called from several threads, not across a fork."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._cancelled = threading.Event()
        thread = threading.Thread(target=_turn, args=(self._loop,), name=name, daemon=True)
        thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._loop, thread, self._cancelled, os.getpid())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What ``work`` returns or raises; an exception in the calling thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                self._cancelled.set()
            raise

    def run_all(self, work: Sequence[Coroutine[Any, Any, Result]], at_once: int) -> list[Result]:
        """What each of ``work`` returns, ``at_once`` of which run at a time; the first error cancels all others."""
        free = asyncio.Semaphore(at_once)

        async def one(item: Coroutine[Any, Any, Result]) -> Result:
            async with free:
                return await item

        async def every_one() -> list[Result]:
            tasks = [asyncio.ensure_future(one(item)) for item in work]
            try:
                return list(await asyncio.gather(*tasks))
            except BaseException:
                self._cancelled.set()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise
            finally:
                for item in work:
                    item.close()  # those that were never begun

        return self.run(every_one())

    def close(self) -> None:
        self._finalizer()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then let go of what an interrupted call left in it."""
    loop.run_forever()
    loop.run_until_complete(_let_go())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _let_go() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _stop(
    loop: asyncio.AbstractEventLoop, thread: threading.Thread, cancelled: threading.Event, pid: int
) -> None:  # fmt: skip
    if os.getpid() != pid:
        return  # in a forked child there is no such thread
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join()
        if cancelled.is_set():  # compiled code hears of it a moment later, and must not find the interpreter gone
            time.sleep(_LAST_WORDS_SECONDS)
