"""``engramdb inspect`` and ``verify``: looking at an engram offline, beside a writer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

import engramdb
from engramdb.budget import size_text
from engramdb.cli import output
from engramdb.cli.history import At, EngramPath, commit_at
from engramdb.errors import AlreadyExists, InvalidInput, NotFound

if TYPE_CHECKING:
    from engramdb.inspect.histogram import Histogram
    from engramdb.inspect.layers import LayerSummary, Values
    from engramdb.inspect.learning import LearningSummary
    from engramdb.inspect.summary import Summary
    from engramdb.store.upkeep.repair import Repaired

_SIZES = ("stored", "decoded")
_BAR = 24  # characters of the longest bar of a histogram


def inspect(
    path: EngramPath,
    at: At = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots as one HTML file instead.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Show what an engram holds.

    Layers, states, degrees, weights, activity, storage and history, as of the last commit. Never needs the writer: an
    engram may be inspected while it runs, however large. PATH may also be a file of export hdf5. See also ls and dump.

    \b
    Example:
      engramdb inspect brain.engram --at trained
      engramdb inspect brain.engram --html brain.html
    """
    from engramdb.inspect.summary import summarize

    if html is not None and (html.exists() or not html.parent.is_dir()):  # not only after a pass over everything
        problem = "exists already; choose another name" if html.exists() else "is in a folder that does not exist"
        raise (AlreadyExists if html.exists() else NotFound)(f"{html} {problem}")
    summary = summarize(path, at=commit_at(at))
    if html is None:
        output.show(summary.as_dict(), as_json, lambda: _summary(summary))
        return
    from engramdb.inspect.report import write_report

    document = {**summary.as_dict(), "html": str(html), "html_bytes": write_report(summary, html)}
    output.show(document, as_json, lambda: [output.line(f"wrote {html}", size_text(document["html_bytes"]))])


def ls(
    path: EngramPath,
    where: Annotated[str, typer.Argument(metavar="[WHERE]", help="A layer, or LAYER/SEGMENT.")] = "",
    at: At = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    as_json: output.AsJson = False,
) -> None:
    """List the layers of an engram, or the leaves in which a layer is stored.

    Of a file of export hdf5, its arrays.

    \b
    Example:
      engramdb ls brain.engram
      engramdb ls brain.engram exc/0 --at trained
    """
    from engramdb.inspect.contents import list_contents

    found = list_contents(path, where, at=commit_at(at), limit=limit)
    document = {"path": str(path), "at": at, found.kind: found.rows, "more": found.more}
    output.show(document, as_json, lambda: _listing(found.rows, found.more))


def _listing(rows: list[dict[str, Any]], more: int) -> Iterator[RenderableType]:
    if not rows:
        yield Text("nothing is stored there")
        return
    headers = list(rows[0])
    right = [name for name in headers if isinstance(rows[0][name], int)]
    cells = [
        [
            size_text(row[name]) if name == "bytes" else output.count(row[name]) if name in right else str(row[name])
            for name in headers
        ]
        for row in rows
    ]
    yield output.columns(headers, cells, right=right)
    if more:
        yield Text(f"and {output.count(more)} more: --limit shows them", style="dim")


def dump(
    path: EngramPath,
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="A neuron's id or label, leaf/N, spec, bundles or state.")
    ],
    at: At = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Values of an array, at most.")] = 10,
    as_json: output.AsJson = False,
) -> None:
    """Show one thing as it is stored: a neuron's record, a leaf, or a document.

    A record is shown with the leaf and the pack it lies in; a leaf with its columns and their codecs, and with what
    lies beneath it where it is a delta. query shows neurons as they are, virtual ones too.

    \b
    Example:
      engramdb dump brain.engram 0/0/42
      engramdb dump brain.engram leaf/1 --limit 3
    """
    from engramdb.inspect.contents import dump as shown

    document = {"path": str(path), "at": at, **shown(path, what, at=commit_at(at), limit=limit)}
    output.show(document, as_json, lambda: [Text(json.dumps(output.plain(document), indent=2, ensure_ascii=False))])


def _summary(summary: Summary) -> Iterator[RenderableType]:
    yield _heading(Path(summary.path).name, summary.name)
    if summary.description:
        yield Padding(Text(summary.description), (0, 0, 0, 2))
    at = f" ({summary.at})" if summary.at is not None else ""
    charged, flying = output.many(summary.charged, "charged neuron"), output.many(summary.in_flight, "spike")
    yield output.pairs(
        [
            ("tick", f"{output.count(summary.tick)} of {summary.dt_ms:g} ms"),
            ("commit", f"{summary.commit}{at} on line {summary.line}, {output.when(summary.created)}"),
            ("neurons", f"{output.count(summary.declared)} declared, {output.count(summary.records)} stored"),
            ("awake", f"{charged}, {flying} in flight"),
            (
                "seed",
                f"{summary.seed}, {summary.kind} format {summary.format}{', labelled' if summary.labelled else ''}",
            ),
        ]
    )
    for layer in summary.layers:
        yield Text()
        yield from _layer(layer)
    if summary.projections:
        yield Text()
        yield _heading("Projections")
        yield _indented(
            output.columns(
                ("name", "from", "to", "rule", "weight (mV)", "delay", "stored"),
                [
                    (
                        p.name,
                        p.pre,
                        p.post,
                        p.rule,
                        f"{'-' if p.sign == -1 else ''}{p.weight}" if p.virtual else "as stored",
                        f"{p.delay} ms",
                        output.count(p.stored_synapses),
                    )
                    for p in summary.projections
                ],
                right=("delay", "stored"),
            )
        )
    for p in summary.projections:
        if p.learning is not None:
            yield from _learning(p.name, p.learning)
    yield Text()
    yield from _storage(summary)
    if summary.commits:
        yield Text()
        yield from _history(summary)


def _heading(title: str, detail: str = "") -> Text:
    text = Text(title, style="bold cyan")
    if detail:
        text.append(f"  {detail}", style="not bold default")
    return text


def _indented(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, 2))


def _layer(layer: LayerSummary) -> Iterator[RenderableType]:
    yield _heading(f"Layer {layer.index} {layer.name}", layer.model)
    given = ", ".join(f"{name}={value}" for name, value in layer.parameters.items()) or "defaults"
    states = ", ".join(f"{output.count(n)} {name}" for name, n in layer.states.items() if n)
    rows: list[tuple[str, RenderableType]] = [
        ("parameters", given),
        ("declared", f"{output.count(layer.declared)} in {output.many(layer.segments, 'segment')}"),
        ("states", states),
        (
            "records",
            (
                f"{output.count(layer.records)}: {output.count(layer.stored_rows)} with stored rows, "
                f"{output.count(layer.generated_rows)} with generated ones"
            ),
        ),
    ]
    if layer.generated_degree:
        rows.append(("rules give", f"{output.number(layer.generated_degree)} synapses a neuron"))
    rows.append(("stored", output.many(layer.stored_synapses, "synapse")))
    if layer.spikes:
        most, last = output.count(layer.most_spikes), output.count(layer.last_spike)
        active = f"{output.many(layer.spikes, 'spike')} of {output.many(layer.spiked, 'neuron')}"
        rows.append(("activity", f"{active}, at most {most} of one, the last at tick {last}"))
    if layer.sie is not None:
        mean_w, valence = output.number(layer.sie["W"]), output.number(layer.sie["valence"])
        rows.append(("void", f"{output.count(int(layer.sie['active']))} active, mean W {mean_w}, valence {valence}"))
    yield output.pairs(rows)
    if layer.out_degree.count:
        yield _spread("out-degree of the records", layer.out_degree, whole=True)
    if layer.spikes:
        yield _spread("spikes of the records", layer.activity, whole=True)
    if layer.weights.count:
        yield _spread("weights of stored synapses (mV)", layer.weights, whole=False)
    if layer.delays is not None and layer.delays.count:
        yield _spread("delays of stored synapses (ticks)", layer.delays, whole=False)
    for name, values in layer.kept.items():
        if values.count:
            yield _spread(f"{name} of the records", values, whole=False)


def _learning(name: str, learning: LearningSummary) -> Iterator[RenderableType]:
    yield _indented(Text(f"{name} learns: {'; '.join(learning.rules)}", style="dim"))
    if learning.weights.count:
        yield _indented(_spread("weights of stored synapses (mV)", learning.weights, whole=False))
    if learning.eligibility is not None and learning.eligibility.count:
        yield _indented(_spread("eligibility of synapses that have any", learning.eligibility, whole=False))


def _spread(title: str, values: Values, *, whole: bool) -> RenderableType:
    mean, least, most = (output.number(x or 0.0) for x in (values.mean, values.minimum, values.maximum))
    head = Text(f"{title}: ", style="dim")
    if values.minimum == values.maximum:
        head.append(f"all {least}", style="not dim")
        return _indented(head)
    head.append(f"mean {mean}, from {least} to {most}", style="not dim")
    return _indented(Group(head, _indented(_bars(values.histogram, whole=whole))))


def _bars(histogram: Histogram, *, whole: bool) -> RenderableType:
    """A histogram lying on its side, one line a bin, at most a dozen lines."""
    edges, counts = histogram.edges, histogram.counts
    if not whole:
        edges, counts = _coarser(edges, counts)
    first = next(place for place, count in enumerate(counts) if count)
    edges, counts = edges[first:], counts[first:]
    top = max(counts)
    rows = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if whole:
            span = f"{low:,.0f}" if high - low <= 1 else f"{low:,.0f} - {high - 1:,.0f}"
        else:
            span = f"{low:g} .. {high:g}"
        rows.append((span, Text(_bar(count / top), style="cyan"), output.count(count)))
    return output.columns(("span", "bar", "count"), rows, right=("span", "count"), head=False)


def _coarser(edges: tuple[float, ...], counts: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    while len(counts) > 12:
        if len(counts) % 2:
            edges, counts = (*edges, 2 * edges[-1] - edges[-2]), (*counts, 0)
        edges, counts = edges[::2], tuple(a + b for a, b in zip(counts[::2], counts[1::2], strict=True))
    return edges, counts


def _bar(share: float) -> str:
    """A bar of block characters, in eighths; anything at all shows as at least one eighth."""
    eighths = round(share * _BAR * 8)
    if share and not eighths:
        eighths = 1
    full, rest = divmod(eighths, 8)
    return "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()


def _storage(summary: Summary) -> Iterator[RenderableType]:
    storage = summary.storage
    yield _heading("Storage", size_text(storage.total))
    rows: list[tuple[str, RenderableType]] = [
        ("packs", f"{size_text(storage.packs)}, {size_text(storage.leaves)} of it the leaves of this commit"),
        ("catalog", size_text(storage.catalog)),
        ("journal", _journal(summary)),
    ]
    if summary.kind != "engram":
        rows = [("arrays", size_text(storage.leaves))]
    elif storage.other:
        rows.append(("other", size_text(storage.other)))
    if storage.bytes_per_record is not None:
        each = (storage.bytes_per_neuron or 0.0, storage.bytes_per_synapse or 0.0)
        apart = f"{output.number(each[0])} a neuron and {output.number(each[1])} a synapse"
        rows.append(("per record", f"{output.number(storage.bytes_per_record)} bytes: {apart}"))
    yield output.pairs(rows)
    if storage.arrays:
        note = ", estimated from some leaves" if storage.estimated else ""
        yield _indented(Text(f"arrays of this commit{note}:", style="dim"))
        table = [
            (a.name, size_text(a.stored), size_text(a.decoded), ", ".join(codec for codec, _ in a.codecs[:3]))
            for a in storage.arrays
        ]
        yield _indented(_indented(output.columns(("array", "stored", "decoded", "codecs"), table, right=_SIZES)))


def _journal(summary: Summary) -> str:
    size = size_text(summary.storage.journal)
    if summary.journaled is None:
        return f"{size}, which cannot be read: see verify"
    if not summary.journaled:
        return size
    since = (
        f"{output.many(summary.journaled, 'command')} since this commit, to tick {output.count(summary.journaled_tick)}"
    )
    return f"{size}, {since}"


def _history(summary: Summary) -> Iterator[RenderableType]:
    yield _heading("History", f"the last {output.many(len(summary.commits), 'commit')}")
    names: dict[int, list[str]] = {}
    for snapshot in summary.snapshots:
        names.setdefault(snapshot.commit, []).append(snapshot.name)
    rows = [
        (
            str(commit.number),
            str(commit.line),
            output.count(commit.tick),
            output.count(commit.neurons),
            output.when(commit.created),
            ", ".join(names.pop(commit.number, [])),
            commit.message,
        )
        for commit in summary.commits
    ]
    headers = ("commit", "line", "tick", "records", "made", "snapshots", "message")
    yield _indented(output.columns(headers, rows, right=headers[:4]))
    if names:
        elsewhere = ", ".join(f"{name} (commit {number})" for number, all_ in names.items() for name in all_)
        yield _indented(Text(f"snapshots of other commits: {elsewhere}", style="dim"))


def verify(
    path: EngramPath,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Where the present is damaged, take the newest good version, in a new commit."),
    ] = False,
    drop_lost: Annotated[
        bool,
        typer.Option("--drop-lost", help="With --repair: give up what has no good version anywhere; it is listed."),
    ] = False,
    as_json: output.AsJson = False,
) -> None:
    """Check every stored byte and reference.

    Says what is damaged, and where; then the exit code is 1. With --repair it is 0 if the present of every branch is
    whole afterwards: damage that only the past has stays listed until gc frees it.

    \b
    Example:
      engramdb verify brain.engram
      engramdb verify brain.engram --repair
    """
    if drop_lost and not repair:
        raise InvalidInput("--drop-lost goes with --repair")
    repaired = engramdb.repair(path, drop_lost=drop_lost) if repair else None
    report = engramdb.verify(path)
    document = {
        "path": str(path),
        "ok": report.ok,
        "present_ok": report.present_ok,
        "checked": dict(report.checked),
        "problems": [{**asdict(problem), "message": str(problem)} for problem in report.problems],
        "notes": list(report.notes),
    }
    if repaired is not None:
        document["repaired"] = {
            **asdict(repaired),
            "leaves": [{**asdict(leaf), "message": str(leaf)} for leaf in repaired.leaves],
        }
    output.show(document, as_json, lambda: [*_repairs(repaired), *_verdict(document)])
    if not (report.ok or (repair and report.present_ok)):
        output.stop(1)


def _repairs(repaired: Repaired | None) -> Iterator[RenderableType]:
    if repaired is None:
        return
    for leaf in repaired.leaves:
        yield output.line("repaired", str(leaf))
    for word, texts in (("mended", repaired.mended), ("gave up", repaired.dropped), ("left", repaired.refused)):
        for text in texts:
            yield output.line(word, text)
    for branch, number in repaired.commits.items():
        yield output.line(f"branch {branch}", f"now stands at commit {number}")


def _verdict(document: dict[str, Any]) -> Iterator[RenderableType]:
    checked = output.counted(document["checked"])
    for problem in document["problems"]:
        text = Text("past     " if problem["past"] else "damaged  ", style="bold red")
        text.append(problem["message"], style="not bold default")
        yield text
    for note in document["notes"]:
        yield Text(f"note     {note}", style="dim")
    found = "no damage" if document["ok"] else output.many(len(document["problems"]), "problem")
    yield output.line(f"{found} in", checked or "nothing that could be read")
