"""``engramdb gc``: thin history, free space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from engramdb.budget import size_text
from engramdb.cli import output
from engramdb.cli.history import EngramPath
from engramdb.run import interruptible

if TYPE_CHECKING:
    from engramdb.store.upkeep.gc import Collected


def gc(
    path: EngramPath,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    keep_last: Annotated[
        int, typer.Option("--keep-last", min=0, metavar="N", help="Keep the newest N unnamed commits of each branch.")
    ] = 10,
    keep_days: Annotated[
        float, typer.Option("--keep-days", min=0, metavar="D", help="Keep all commits that are younger than D days.")
    ] = 7.0,
    as_json: output.AsJson = False,
) -> None:
    """Thin out old commits that have no name, and free the space of what no other commit needs.

    Snapshots, the heads of branches, the commits at which lines begin, and what a reader has open stay whatever the
    options. What no branch follows any more, as after a restore, goes when it is old enough: name what is to stay.

    \b
    Example:
      engramdb gc brain.engram --dry-run --keep-last 3 --keep-days 1
    """
    from engramdb.store import Store

    with closing(Store.open(path, "r" if dry_run else "r+")) as store, interruptible() as caught:
        done = store.gc(keep_last=keep_last, keep_days=keep_days, dry_run=dry_run, stop=lambda: bool(caught))
    document = {"path": str(path), **asdict(done)}
    output.show(document, as_json, lambda: _text(done))
    if done.stopped:
        raise output.Interrupted("interrupted between two steps; the engram is whole, run gc again to go on")


def _text(done: Collected) -> Iterator[RenderableType]:
    would = "would free" if done.dry_run else "freed"
    yield output.line(f"{would} {size_text(done.bytes_freed)}", f"{size_text(done.bytes_kept)} stay in packs")
    reasons = ", ".join(f"{reason} {output.count(count)}" for reason, count in done.kept.items())
    packs = (
        f"{output.count(done.packs_dropped)} dropped, {output.count(done.packs_copied)} copied, "
        f"{output.count(done.packs_kept)} kept"
    )
    rows: list[tuple[str, Any]] = [
        ("commits", f"{output.count(len(done.dropped))} dropped; kept: {reasons}"),
        ("versions", f"{output.count(done.versions_dropped)} dropped, {output.count(done.versions_kept)} kept"),
        ("packs", packs),
    ]
    if done.damaged:
        rows.append(("damaged", f"{', '.join(done.damaged)}: left as they are, see verify"))
    yield output.pairs(rows)
