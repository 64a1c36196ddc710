"""A page that somebody looks over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Watched:
    """A page, and all that went wrong in it."""

    page: Any
    origin: str
    faults: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()  # parts of the messages of faults that the test provokes

    def check(self) -> None:
        """No error in the console, nothing that the policy forbids, no request to anybody else."""
        unexpected = [fault for fault in self.faults if not any(part in fault for part in self.expected)]
        assert not unexpected, unexpected
