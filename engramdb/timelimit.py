"""How long a question may take: said by whoever waits for it, and looked at between its steps.

A limit holds for all that its thread does within it. What changes an engram never looks at one, so that nothing is left
half done: a question that ran out of time has changed nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from engramdb.errors import TookTooLong


class Limit(NamedTuple):
    """``seconds`` that were given, and the moment ``until`` on the monotonic clock at which they are over."""

    seconds: float
    until: float

    @classmethod
    def of(cls, seconds: float) -> Limit:
        """From now on."""
        return cls(seconds, time.monotonic() + seconds)

    def over(self) -> TookTooLong:
        """What is raised of it."""
        return TookTooLong(f"the question took more than {self.seconds:g} s; ask for less, or export a snapshot")


_limit: ContextVar[Limit | None] = ContextVar("limit", default=None)


@contextmanager
def within(limit: Limit | None) -> Iterator[None]:
    """Questions that are asked inside raise :class:`~engramdb.errors.TookTooLong` once the limit is over."""
    before = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(before)


def check() -> None:
    """Between two steps of a question, each a fraction of a second: raises TookTooLong where its time is over."""
    limit = _limit.get()
    if limit is not None and time.monotonic() > limit.until:
        raise limit.over()
