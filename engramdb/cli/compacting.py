"""``engramdb compact``: what changed apart is put together again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import RenderableType

from engramdb.budget import size_text
from engramdb.cli import output
from engramdb.cli.history import MAIN, EngramPath, OnBranch
from engramdb.run import interruptible

if TYPE_CHECKING:
    from engramdb.store.compaction import Compacted


def compact(path: EngramPath, branch: OnBranch = MAIN, as_json: output.AsJson = False) -> None:
    """Write leaves whose changes lie apart whole again, so that reading each takes one record.

    Runs do it by themselves now and then. No commit changes; gc then frees what no other commit needs. It stops where
    the packs would hold more than twice what the branch's present needs and 256 MiB: let gc run, and repeat.

    \b
    Example:
      engramdb compact brain.engram
    """
    from engramdb.store import Store

    with (
        closing(Store.open(path, "r+", branch=branch)) as store,
        interruptible() as caught,
        output.stages() as advance,
    ):
        done = store.compact(lambda leaves, of: advance("compacting", leaves, of), lambda: bool(caught))
    output.show({"path": str(path), **asdict(done)}, as_json, lambda: _text(done))
    if done.leaves < done.of and not done.stopped:
        raise output.Interrupted("interrupted between two batches; the engram is whole, run compact again to go on")


def _text(done: Compacted) -> Iterator[RenderableType]:
    if not done.of:
        yield output.line("no leaf has deltas", "nothing to do")
        return
    yield output.line(
        f"{output.count(done.leaves)} of {output.count(done.of)} leaves written whole",
        f"{size_text(done.nbytes)} in new packs",
    )
    if done.stopped:
        yield output.line("stopped: the packs have no more room", "run gc, then compact again")
