"""A summary as one HTML file that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import engramdb
from engramdb.budget import size_text
from engramdb.inspect import chart
from engramdb.inspect.layers import LayerSummary, Values
from engramdb.inspect.storage import ArrayStorage
from engramdb.inspect.summary import Summary
from engramdb.interchange.newfile import new_file

_STATES = {"virtual": "var(--c4)", "charged": "var(--c2)", "dormant": "var(--c1)"}
_LAYERS_SHOWN = 40

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1f2430; --muted: #68707d; --line: #e5e2da;
  --c1: #0b7a75; --c2: #c9700a; --c3: #3d5a98; --c4: #d8d4c9; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171c; --card: #1c2027; --ink: #e8e6e1; --muted: #98a0ad;
  --line: #2d333d; --c1: #3fb8b0; --c2: #e79a45; --c3: #86a2e0; --c4: #3a414c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 44px 0 12px; }
h3 { font-size: 14px; margin: 0 0 6px; font-weight: 600; }
h2 small, h1 small, h3 small { font-size: 14px; font-weight: 400; color: var(--muted); margin-left: 8px; }
h3 small { font-size: 13px; } .bar { border-radius: 7px; }
p { margin: 0 0 12px; } .muted, small { color: var(--muted); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 24px 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.cards b { display: block; white-space: nowrap; font-size: 24px; line-height: 1.25;
  font-weight: 600; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 12px; }
svg { display: block; width: 100%; font: 11px system-ui, sans-serif; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: 13px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
td.wide { white-space: normal; min-width: 180px; } .n { text-align: right; }
.key { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 8px; font-size: 13px; color: var(--muted); }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.tag { display: inline-block; padding: 0 8px; margin-right: 4px; border-radius: 9px; background: var(--c4);
  font-size: 12px; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, monospace; }
footer { margin-top: 48px; color: var(--muted); font-size: 13px; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""


def write_report(summary: Summary, out: Path) -> int:
    """Write ``summary`` to the new file ``out``, whole or not at all; its bytes. Raises AlreadyExists, NotFound."""
    with new_file(out) as made:
        made.write_text(html(summary), encoding="utf-8")
        return made.stat().st_size


def html(summary: Summary) -> str:
    """The whole page."""
    name = summary.name or Path(summary.path).name
    body = "\n".join(_body(summary, name))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def _body(summary: Summary, name: str) -> Iterator[str]:
    yield f"<header><h1>{escape(name)}</h1>"
    if summary.description:
        yield f"<p>{escape(summary.description.splitlines()[0])}</p>"
    at = f", snapshot {escape(summary.at)}" if summary.at is not None else ""
    yield (
        f'<p class="muted"><code>{escape(summary.path)}</code> · commit {summary.commit}{at}'
        f" · made {escape(summary.created)} · seed {summary.seed} · {summary.kind} format {summary.format}</p>"
    )
    synapses = sum(layer.stored_synapses for layer in summary.layers)
    cards = [
        (chart.short(summary.declared), "neurons declared"),
        (chart.short(summary.records), "neurons stored"),
        (chart.short(synapses), "synapses stored"),
        (f"{summary.tick:,}", f"tick, of {summary.dt_ms:g} ms"),
        (chart.short(summary.charged), f"awake, {chart.short(summary.in_flight)} spikes in flight"),
        (size_text(summary.storage.total), "on disk"),
    ]
    drawn = "".join(f'<div class="card"><b>{number}</b>{word}</div>' for number, word in cards)
    yield f'<div class="cards">{drawn}</div></header>'
    for layer in summary.layers[:_LAYERS_SHOWN]:
        yield from _layer(layer)
    if len(summary.layers) > _LAYERS_SHOWN:
        yield f'<p class="muted">and {len(summary.layers) - _LAYERS_SHOWN} more layers</p>'
    if summary.projections:
        yield "<h2>Projections</h2>"
        headers = ("name", "from", "to", "rule", "weight (mV)", "delay (ms)", "stored synapses")
        weights = [
            f"{'-' if p.sign == -1 else ''}{p.weight}" if p.virtual else "as stored" for p in summary.projections
        ]
        rows = [
            (p.name, p.pre, p.post, p.rule, weight, p.delay, f"{p.stored_synapses:,}")
            for p, weight in zip(summary.projections, weights, strict=True)
        ]
        yield _table(headers, rows, right=("stored synapses",), wide=("rule",))
    yield from _storage(summary)
    yield from _history(summary)
    command = f"engramdb inspect {escape(Path(summary.path).name)} --html"
    about = "Counts are exact; bars show theirs when pointed at."
    yield f"<footer>Made by EngramDB {engramdb.__version__}: <code>{command}</code>. {about}</footer>"


def _layer(layer: LayerSummary) -> Iterator[str]:
    yield f"<h2>{escape(layer.name)} <small>layer {layer.index}, {escape(layer.model)}</small></h2>"
    given = ", ".join(f"{name} = {value}" for name, value in layer.parameters.items()) or "default parameters"
    rule = f" · rules give {layer.generated_degree:.4g} synapses a neuron" if layer.generated_degree else ""
    yield f'<p class="muted">{escape(given)} · {layer.segments:,} segment{"s" * (layer.segments != 1)}{rule}</p>'
    parts = [(name, count, _STATES[name]) for name, count in layer.states.items()]
    key = "".join(f'<span><i style="background:{c}"></i>{n:,} {escape(name)}</span>' for name, n, c in parts)
    yield f'<div class="card"><h3>States of {layer.declared:,} neurons</h3>'
    yield f'{chart.shares(parts, label="states of neurons")}<div class="key">{key}</div></div>'
    spreads = [
        ("Out-degree of stored neurons", "synapses", layer.out_degree, True, "var(--c3)"),
        ("Weights of stored synapses", "mV", layer.weights, False, "var(--c1)"),
        ("Spikes of each stored neuron", "spikes since birth", layer.activity, True, "var(--c2)"),
    ]
    if layer.delays is not None:
        spreads.append(("Delays of stored synapses", "ticks", layer.delays, False, "var(--c3)"))
    same = [f"{title}: all {chart.short(v.minimum or 0)} {u}" for title, u, v, *_ in spreads if v.count and _alike(v)]
    if same:
        yield f'<p class="muted" style="margin:12px 0 0">{escape(" · ".join(same))}</p>'
    plots = [_plot(*spread) for spread in spreads if spread[2].count and not _alike(spread[2])]
    if plots:
        yield '<div class="plots" style="margin-top:12px">' + "".join(plots) + "</div>"


def _alike(values: Values) -> bool:
    return values.minimum == values.maximum


def _plot(title: str, unit: str, values: Values, whole: bool, colour: str) -> str:
    mean, least, most = values.mean or 0.0, values.minimum or 0.0, values.maximum or 0.0
    about = f"mean {mean:.4g}, from {chart.short(least)} to {chart.short(most)}"
    drawn = chart.histogram(values.histogram, label=unit, whole=whole, colour=colour)
    return f'<div class="card"><h3>{escape(title)} <small>{about}</small></h3>{drawn}</div>'


def _storage(summary: Summary) -> Iterator[str]:
    storage = summary.storage
    yield f"<h2>Storage <small>{size_text(storage.total)}</small></h2>"
    kinds = [
        ("packs", storage.packs, "var(--c1)"), ("catalog", storage.catalog, "var(--c3)"),
        ("journal", storage.journal, "var(--c2)"), ("other", storage.other, "var(--c4)"),
    ]  # fmt: skip
    key = "".join(f'<span><i style="background:{c}"></i>{name} {size_text(n)}</span>' for name, n, c in kinds if n)
    yield f'<div class="card">{chart.shares(kinds, label="bytes by kind of file")}<div class="key">{key}</div></div>'
    if not storage.arrays:
        return
    about = [f"{storage.bytes_per_neuron:.4g} B a neuron" if storage.bytes_per_neuron is not None else ""]
    about += [f"{storage.bytes_per_synapse:.4g} B a synapse" if storage.bytes_per_synapse is not None else ""]
    about += ["estimated from some of the leaves" if storage.estimated else ""]
    yield f'<div class="card" style="margin-top:12px"><h3>Arrays of this commit <small>{", ".join(filter(None, about))}'
    rows = [
        (
            array.name,
            float(array.stored),
            " · ".join(filter(None, [f"of {size_text(array.decoded)}", _codecs(array)])),
        )
        for array in storage.arrays
    ]
    drawn = chart.bars(rows, size_text, label="bytes by array")
    yield f'</small></h3><div class="scroll" style="max-width:760px">{drawn}</div></div>'


def _codecs(array: ArrayStorage) -> str:
    return ", ".join(codec for codec, _ in array.codecs[:3] if codec)


def _history(summary: Summary) -> Iterator[str]:
    if not summary.commits:
        return
    heads: dict[int, list[str]] = {}
    for branch in summary.branches:
        heads.setdefault(branch.head, []).append(f"branch {branch.name}")
    for snapshot in summary.snapshots:
        heads.setdefault(snapshot.commit, []).append(snapshot.name)
    yield f"<h2>History <small>the last {len(summary.commits)} commits of this line</small></h2>"
    rows = []
    for commit in summary.commits:
        tags = "".join(f'<span class="tag">{escape(name)}</span>' for name in heads.pop(commit.number, []))
        cells = (commit.number, commit.line, commit.tick, commit.neurons, commit.synapses)
        rows.append((*(f"{cell:,}" for cell in cells), commit.created, _Html(tags + escape(commit.message))))
    headers = ("commit", "line", "tick", "neurons", "synapses", "made", "names and message")
    yield _table(headers, rows, right=headers[:5], wide=headers[-1:])
    if heads:
        names = ", ".join(f"{escape(n)} (commit {number})" for number, all_ in sorted(heads.items()) for n in all_)
        yield f'<p class="muted" style="margin-top:12px">Elsewhere: {names}</p>'
    if summary.journaled:
        yield f'<p class="muted">{summary.journaled:,} commands came after it, to tick {summary.journaled_tick:,}.</p>'


class _Html(str):
    """Text that is HTML already."""


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str], wide: Sequence[str]) -> str:
    def kind(header: str) -> str:
        names = " ".join(["n"] * (header in right) + ["wide"] * (header in wide))
        return f' class="{names}"' if names else ""

    head = "".join(f"<th{kind(h)}>{escape(h)}</th>" for h in headers)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{kind(h)}>{cell if isinstance(cell, _Html) else escape(cell)}</td>"
            for h, cell in zip(headers, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
