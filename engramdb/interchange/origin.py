"""Where a whole engram comes from: records, labels and a state, whatever the file is that has them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from engramdb.budget import memory_bytes
from engramdb.bulk import Progress, filling, write_records
from engramdb.errors import NotFound
from engramdb.growth.bundle import Bundles
from engramdb.interchange.newfile import in_words
from engramdb.spec import Spec
from engramdb.store import Records
from engramdb.store.labels import Batches
from engramdb.store.workplace import put_in_place, workplace


@dataclass(frozen=True)
class Imported:
    """What was read: neurons that have a record now, and their synapses; ``notes``: what stayed behind."""

    path: Path
    neurons: int
    synapses: int
    elapsed_s: float
    notes: tuple[str, ...] = ()


class Origin(Protocol):
    """What an engram is made of. ``synapses``: how many there will be, None where that is not known yet."""

    spec: Spec
    bundles: Bundles
    tick: int
    synapses: int | None
    notes: tuple[str, ...]

    def records(self, behind: int, work: Path, room_bytes: int) -> Iterable[Records]:
        """All records but the first ``behind`` ones, always in the same order: of one layer each, ids increase over all
        those of a segment. ``work``: a folder for files that are not needed afterwards; ``room_bytes``: of memory."""

    def labels(self) -> Iterator[tuple[int, Batches]]:
        """``(layer index, batches)`` of each run of labels, the oldest first."""

    def inflight(self) -> Mapping[str, npt.NDArray[Any]]:
        """What the engram's first commit keeps of the present, see :mod:`engramdb.state`."""


def check_source(src: Path) -> dict[str, Any]:
    """What tells ``src`` from another file of that name; NotFound where there is none."""
    if not src.exists():
        raise NotFound(f"{src}: there is no such file or folder")
    files = sorted(file for file in src.rglob("*") if file.is_file()) if src.is_dir() else [src]
    states = [(os.path.relpath(file, src), file.stat()) for file in files]
    return {"import": [str(src.resolve()), [(name, state.st_size, state.st_mtime_ns) for name, state in states]]}


def import_origin(
    origin: Origin,
    src: Path,
    path: Path,
    purpose: Mapping[str, Any],
    *,
    memory: str | int = "1GiB",
    progress: Progress | None = None,
) -> Imported:
    """Make the engram at ``path``, whole or not at all.

    It is made beside its place. Where that was killed, the next call with the same ``purpose`` goes on behind the last
    million neurons or so that were written. Raises AlreadyExists, NotFound (the folder it shall be in), DiskFull, and
    whatever ``origin`` finds wrong.
    """
    started = time.perf_counter()
    budget = memory_bytes(memory)
    begun, ended = f"importing {src.name}", f"imported {src.name}"
    with ExitStack() as stack:
        stack.enter_context(in_words(path))
        work = stack.enter_context(workplace(path, purpose))
        made = work / "engram"
        with filling(made, origin.spec, origin.bundles, cache_bytes=min(budget // 16, 1 << 26)) as store:
            neurons, synapses = store.commit.neurons, store.commit.synapses

            def wrote(records: Records) -> None:
                nonlocal neurons, synapses
                neurons, synapses = neurons + len(records), synapses + records.synapses
                if progress is not None:
                    progress("write", synapses, origin.synapses)

            def commit(_: Records) -> None:
                store.commit_state(0, {}, origin.bundles, f"{begun}: {neurons} neurons")

            if store.commit.message != ended:
                if not store.has_labels:
                    for layer_index, batches in origin.labels():
                        store.write_labels(layer_index, batches)
                records = origin.records(neurons, work, budget // 2)
                write_records(store, records, wrote=wrote, commit=commit)
                store.commit_state(origin.tick, origin.inflight(), origin.bundles, ended)
        put_in_place(made, path)
    return Imported(path, neurons, synapses, time.perf_counter() - started, origin.notes)
