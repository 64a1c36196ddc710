"""Making the next item while the last one is used: an iterator that runs in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
_LOOK_S = 0.05  # how often a thread that waits looks whether anybody still wants its items


def ahead(items: Iterable[Item], depth: int = 1) -> Generator[Item, None, None]:
    """The same items in the same order, ``depth`` of them made before they are asked for.

    Pays where both sides leave the interpreter lock. Items must stay valid while others are made. An exception of
    ``items`` comes out where its item would have; when the iterator is closed, the thread ends after the item it is at.
    """
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    unwanted = threading.Event()

    def hand_over(item: Item | None, error: BaseException | None) -> None:
        while not unwanted.is_set():
            try:
                made.put((item, error), timeout=_LOOK_S)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over(item, None)
                if unwanted.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # raised again where the items are used
            hand_over(None, error)
        else:
            hand_over(None, StopIteration())
        finally:
            if isinstance(items, Generator):
                items.close()  # here and now, whoever else may still refer to it

    thread = threading.Thread(target=work, name="engramdb-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # None only beside an error
    finally:
        unwanted.set()
        thread.join()
