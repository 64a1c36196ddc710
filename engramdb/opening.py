"""Creating and opening engrams."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from engramdb.birth import born_awake
from engramdb.budget import memory_bytes
from engramdb.engram import Engram
from engramdb.errors import AlreadyExists, InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.rules import Explicit
from engramdb.spec import Spec
from engramdb.store import Store

_DURABILITIES = ("journal", "process", "checkpoint")


def create(
    path: str | os.PathLike[str],
    spec: Spec,
    *,
    memory: str | int = "4GiB",
    threads: int = 1,
    durability: str = "journal",
) -> Engram:
    """Make a new engram of ``spec`` at ``path`` and open it to write.

    Whole or not at all: it is made beside ``path`` and renamed. Raises :class:`AlreadyExists` if ``path`` exists.
    Virtual neurons cost nothing; rows of built rules and of layers with ``materialize=True`` are written now.
    """
    path = Path(path)
    if path.exists():
        raise AlreadyExists(f"{path} exists already; open it, or choose another path")
    built = [p for p in spec.all_projections if not p.rule.virtual and not isinstance(p.rule, Explicit)]
    if built or any(layer.materialize for layer in spec.layers):
        making = path.with_name(f".{path.name}.making-{os.getpid()}")
        shutil.rmtree(making, ignore_errors=True)
        try:
            _build(making, spec, memory_bytes(memory))
            making.rename(path)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    else:
        Store.create(path, spec, Bundles.initial(spec))
    return open(path, "r+", memory=memory, threads=threads, durability=durability)


def _build(path: Path, spec: Spec, budget_bytes: int) -> None:
    from engramdb.build import build
    from engramdb.engine import awake_state

    bundles = Bundles.initial(spec)
    Store.create(path, spec, bundles)
    store = Store.open(path, "r+")
    try:
        build(store, spec, bundles, memory_bytes=min(1 << 29, budget_bytes // 2))
        ids, u = born_awake(spec, bundles.bundles)
        store.commit_state(0, awake_state(ids, u) if len(ids) else {}, bundles, "built")
    finally:
        store.close()


def open(
    path: str | os.PathLike[str],
    mode: str = "r",
    *,
    at: str | int | None = None,
    branch: str = "main",
    memory: str | int = "4GiB",
    threads: int = 1,
    durability: str = "journal",
) -> Engram:
    """Open an engram: to read (``"r"``, any number at once) or to write (``"r+"``, one at a time).

    ``at``: a snapshot's name or a commit's number, to read; the head of ``branch`` otherwise. ``memory``: the budget of
    everything a run keeps in RAM. ``durability``: ``"journal"`` (an acknowledged command survives a kill and a power
    cut), ``"process"`` (a kill), ``"checkpoint"`` (only checkpoints survive).
    """
    if mode not in ("r", "r+"):
        raise InvalidInput(f'mode="{mode}": expected "r" to read or "r+" to write')
    if durability not in _DURABILITIES:
        raise InvalidInput(f'durability="{durability}": expected one of {", ".join(_DURABILITIES)}')
    if at is not None and mode == "r+":
        raise InvalidInput(f'at="{at}" is for reading; open the engram and use restore("{at}") to go on from there')
    kinds: Any = {"mode": mode, "durability": durability}  # checked above
    store = Store.open(Path(path), at=at, branch=branch, **kinds)
    try:
        return Engram(store, memory=memory, threads=threads)
    except BaseException:
        store.close()
        raise
