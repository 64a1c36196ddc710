"""Creating and opening engrams."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engramdb.birth import born_awake
from engramdb.budget import memory_bytes
from engramdb.engram import Engram, Growing
from engramdb.errors import InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.rules import Explicit
from engramdb.spec import Spec
from engramdb.store import Records, Store
from engramdb.store.workplace import put_in_place, workplace
from engramdb.url import located

_DURABILITIES = ("journal", "process", "checkpoint")
_BUILT = "built"


def create(
    path: str | os.PathLike[str],
    spec: Spec,
    *,
    memory: str | int = "4GiB",
    threads: int = 1,
    durability: str = "journal",
    progress: Growing | None = None,
) -> Engram:
    """Make a new engram of ``spec`` at ``path`` and open it to write.

    Whole or not at all: it is made beside ``path`` and renamed. Raises :class:`AlreadyExists` if ``path`` exists.
    Virtual neurons cost nothing. Rows of built rules and of layers with ``materialize=True`` are written now, within
    ``memory``; ``progress(neurons done, of so many)`` is called meanwhile. Where that is killed, the next creation with
    the same spec goes on behind the last million neurons or so that were written; any other removes them.
    """
    path = Path(path)
    built = [p for p in spec.all_projections if not p.rule.virtual and not isinstance(p.rule, Explicit)]
    if built or any(layer.materialize for layer in spec.layers):
        with workplace(path, {"create": spec.to_document()}) as work:
            _build(work / "engram", spec, memory_bytes(memory), progress)
            put_in_place(work / "engram", path)
    else:
        Store.create(path, spec, Bundles.initial(spec))
    return open(path, "r+", memory=memory, threads=threads, durability=durability)


def _build(path: Path, spec: Spec, budget_bytes: int, progress: Growing | None) -> None:
    from engramdb.build import build, to_build
    from engramdb.bulk import filling
    from engramdb.state import awake_state

    bundles = Bundles.initial(spec)
    total = sum(layer.neurons for layer in to_build(spec))
    with filling(path, spec, bundles) as store:
        done = store.commit.neurons

        def wrote(records: Records) -> None:
            nonlocal done
            done += len(records)
            if progress is not None:
                progress(done, total)

        def part(_: Records) -> None:
            if done < total:
                store.commit_state(0, {}, bundles, f"building: {done} of {total}")

        memory = min(1 << 29, budget_bytes // 2)
        build(store, spec, bundles, done=done, memory_bytes=memory, wrote=wrote, commit=part)
        if store.commit.message != _BUILT:
            ids, fields = born_awake(spec, bundles.bundles)
            store.commit_state(0, awake_state(ids, fields) if len(ids) else {}, bundles, _BUILT)


def open(
    path: str | os.PathLike[str],
    mode: str = "r",
    *,
    at: str | int | None = None,
    branch: str = "main",
    memory: str | int = "4GiB",
    threads: int = 1,
    durability: str = "journal",
    progress: Growing | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Engram:
    """Open an engram: to read (``"r"``, any number at once) or to write (``"r+"``, one at a time).

    ``at``: a snapshot's name or a commit's number, to read; the head of ``branch`` otherwise. ``memory``: the budget of
    everything a run keeps in RAM. ``durability``: ``"journal"`` (an acknowledged command survives a kill and a power
    cut), ``"process"`` (a kill), ``"checkpoint"`` (only checkpoints survive). Where writing grown neurons out was cut
    short, opening to write goes on with it, and calls ``progress(neurons done, of so many)``.

    ``path`` may be the URL of a published engram, to read; ``storage_options`` are for its object store then.
    """
    if mode not in ("r", "r+"):
        raise InvalidInput(f'mode="{mode}": expected "r" to read or "r+" to write')
    if durability not in _DURABILITIES:
        raise InvalidInput(f'durability="{durability}": expected one of {", ".join(_DURABILITIES)}')
    if at is not None and mode == "r+":
        raise InvalidInput(f'at="{at}" is for reading; open the engram and use restore("{at}") to go on from there')
    kinds: Any = {"mode": mode, "durability": durability}  # checked above
    store = Store.open(located(path, storage_options), at=at, branch=branch, **kinds)
    try:
        return Engram(store, memory=memory, threads=threads, progress=progress)
    except BaseException:
        store.close()
        raise
