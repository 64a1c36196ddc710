"""``engramdb imprint`` and ``traces``: naming memory traces, listing and comparing them."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer

import engramdb
from engramdb.address import parse
from engramdb.cli import output
from engramdb.cli.history import MAIN, At, EngramPath, OnBranch, commit_at
from engramdb.cli.writing import open_to_write
from engramdb.errors import InvalidId, InvalidInput

TraceName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the trace.")]


class Algebra(StrEnum):
    """What to make of two sets of neurons."""

    shared = "shared"
    union = "union"
    difference = "difference"


def neurons_named(engram: Any, names: list[str]) -> Any:
    """Ids of what was given: ids, labels, and ranges of ids such as ``0/0/10-19``."""
    found = []
    for name in names:
        first, _, last = name.rpartition("-")
        try:
            begin = parse(first) if first else None
        except InvalidId:
            begin = None
        if begin is not None and last.isdigit():
            end = (begin & ~0xFFFFFFFF) | int(last)
            if int(last) > 0xFFFFFFFF or end < begin:
                raise InvalidInput(f'"{name}": a range ends at the local id {last}, before it begins')
            found.append(engram.resolve(np.arange(begin, end + 1, dtype=np.uint64)))
        else:
            found.append(engram.resolve([name]))
    return np.unique(np.concatenate(found))


def imprint(
    path: EngramPath,
    name: TraceName,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids, ranges of ids (0/0/10-19) or labels.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="CONDITION", help="All for which this is true; see query select.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let a trace of that name become this one.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take the name away instead.")] = False,
    branch: OnBranch = MAIN,
    as_json: output.AsJson = False,
) -> None:
    """Name a set of neurons: a memory trace, which query recall will look for.

    \b
    Examples:
      engramdb imprint brain.engram odor-A 0/0/10-59 ALML
      engramdb imprint brain.engram burst --where "last_spike > 100"
    """
    if forget:
        if ids or where is not None:
            raise InvalidInput("--forget takes no neurons: it takes the name away")
        with open_to_write(path, branch=branch) as engram:
            engram.forget_trace(name)
        output.show({"forgotten": name}, as_json, lambda: [output.line(f"forgot trace {name}")])
        return
    if (not ids) == (where is None):
        raise InvalidInput("give the neurons by ids, or by --where")
    with open_to_write(path, branch=branch) as engram:
        chosen = neurons_named(engram, ids) if ids else engram.select(None, where, ["id"], limit=None).ids
        made = engram.imprint(name, chosen, replace=replace)
    document = {"trace": made.name, "neurons": len(made), "tick": made.tick}
    output.show(document, as_json, lambda: [output.line(f"trace {name}", output.many(len(made), "neuron"))])


def traces(
    path: EngramPath,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Show the neurons of one, or of two what they make.")
    ] = None,
    algebra: Annotated[
        Algebra, typer.Option("--of", help="Of two traces: the neurons they share, of either, or of the first alone.")
    ] = Algebra.shared,
    drift_from: Annotated[
        str | None,
        typer.Option("--drift-from", metavar="SNAPSHOT", help="How the one named has changed from there to --at."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show at most so many neurons.")] = 1000,
    at: At = None,
    as_json: output.AsJson = False,
) -> None:
    """List the memory traces, compare two, or say how one has drifted.

    \b
    Examples:
      engramdb traces brain.engram
      engramdb traces brain.engram odor-A odor-B --of shared
      engramdb traces brain.engram odor-A --drift-from trained
    """
    names = names or []
    if len(names) > 2:
        raise InvalidInput("give at most two names")
    if drift_from is not None and len(names) != 1:
        raise InvalidInput("--drift-from is about one trace: give its name")
    with engramdb.open(path, at=commit_at(at)) as engram:
        if drift_from is not None:
            drift = asdict(engram.drift(names[0], commit_at(drift_from)))
            output.show(drift, as_json, lambda: [output.pairs([(k, _told(v)) for k, v in drift.items()])])
            return
        if not names:
            known = engram.traces()
            found = [{"trace": t.name, "neurons": len(t), "tick": t.tick, "created": t.created} for t in known]
            rows = [[t.name, output.count(len(t)), output.count(t.tick)] for t in known]
            head = ["trace", "neurons", "tick"]
            output.show({"traces": found}, as_json, lambda: [output.columns(head, rows, right=head[1:])])
            return
        first, second = engram.trace(names[0]), engram.trace(names[-1])
        one_set = {"shared": first & second, "union": first | second, "difference": first - second}
        ids = first.ids if len(names) == 1 else one_set[algebra.value]
        document: dict[str, Any] = {"traces": names, "of": algebra.value if len(names) == 2 else None}
        document |= {"count": len(ids), "neurons": output.ids(ids[:limit]), "labels": engram.labels(ids[:limit])}
    shown = [[neuron, label or ""] for neuron, label in zip(document["neurons"], document["labels"], strict=True)]
    head_line = output.line(" ".join(names), output.many(document["count"], "neuron"))
    output.show(document, as_json, lambda: [head_line, output.columns(["id", "label"], shown)])


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(_told(one) for one in value)
    return output.number(value) if isinstance(value, float) else str(value)
