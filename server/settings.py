"""How a service is run: where its engrams are, whom it answers, what it may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engramdb.server.limits import Limits


@dataclass(frozen=True)
class Settings:
    """``memory``: bytes for all open engrams together, ``engram_memory``: for each; None: a quarter of all.

    ``hosts``: names that the Host header may have; ``origins``: sites whose pages may use the service.
    ``durability``: as in :func:`engramdb.open`.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 8787
    memory: int = 4 << 30
    engram_memory: int | None = None
    threads: int = 1
    durability: str = "journal"
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def each(self) -> int:
        """Bytes for one engram."""
        return self.engram_memory or max(1, self.memory // 4)
