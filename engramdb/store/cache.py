"""Decoded leaves in RAM, least recently used first to go, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What says how many bytes it takes."""

    @property
    def nbytes(self) -> int: ...


Value = TypeVar("Value", bound=Sized)


class Cache(Generic[Value]):
    """A mapping that forgets. A value larger than the whole budget is not kept; a budget of 0 keeps nothing."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = Lock()
        self.nbytes = 0

    @property
    def budget_bytes(self) -> int:
        return self._budget

    @budget_bytes.setter
    def budget_bytes(self, nbytes: int) -> None:
        with self._lock:
            self._budget = nbytes
            self._shrink()

    def get(self, key: Hashable) -> Value | None:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def peek(self, key: Hashable) -> Value | None:
        """As :meth:`get`, but what goes first stays as it is."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        with self._lock:
            if value.nbytes > self._budget:
                return
            before = self._values.pop(key, None)
            self.nbytes -= 0 if before is None else before.nbytes
            self._values[key] = value
            self.nbytes += value.nbytes
            self._shrink()

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self.nbytes = 0

    def _shrink(self) -> None:
        while self.nbytes > self._budget:
            self.nbytes -= self._values.popitem(last=False)[1].nbytes
