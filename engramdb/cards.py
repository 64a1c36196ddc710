"""Cards: how a notebook shows a run, neurons, a difference or where memory is; one small table of HTML each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from engramdb.budget import size_text

_HEAD = "text-align:left;padding:0 1em 2px 0;font-weight:600"
_CELL = "text-align:left;padding:1px 1em 1px 0;font-variant-numeric:tabular-nums"
_MOST_ROWS = 12


def card(title: str, note: str = "", *tables: str) -> str:
    """A title in bold, a note beside it, and ``tables``, which are HTML already."""
    return f"<div><b>{escape(title)}</b> &nbsp; {escape(note)}{''.join(tables)}</div>"


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values as a table."""
    return table((), [(name, value) for name, value in rows])


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, total: int | None = None) -> str:
    """A table of at most a dozen rows; ``total``: of so many, where more are not even given."""
    shown = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows[:_MOST_ROWS])
    head = "".join(f'<th style="{_HEAD}">{escape(name)}</th>' for name in header)
    left = (len(rows) if total is None else total) - min(len(rows), _MOST_ROWS)
    more = f"<div>and {left:,} more</div>" if left > 0 else ""
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{shown}</table>{more}"


def _cell(value: object) -> str:
    return f'<td style="{_CELL}">{escape(said(value))}</td>'


def said(value: object) -> str:
    """A value as people read it: whole numbers with commas, others with five digits."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return f"{int(value):,}"  # type: ignore[call-overload]
    if isinstance(value, float) or (hasattr(value, "dtype") and value.dtype.kind == "f"):
        return f"{float(value):.5g}"  # type: ignore[arg-type]
    return str(value)


class Stats(dict[str, Any]):
    """What :meth:`Engram.stats` gives: a dict, shown as a card."""

    def _repr_html_(self) -> str:
        if not self:
            return card("no engine", "an engram that is open to read holds none")
        sizes = [
            (name.removesuffix("_bytes"), size_text(n)) for name, n in self.items() if name.endswith("_bytes") and n
        ]
        counts = [(name, n) for name, n in self.items() if isinstance(n, int) and not name.endswith("_bytes") and n]
        note = f"{size_text(self['used_bytes'])} of {size_text(self['budget_bytes'])}"
        return card("memory", note, table(("bytes", ""), sizes), table(("counted", ""), counts))
