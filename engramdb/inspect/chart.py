"""Charts as SVG, in the colours of the page that holds them: ``var(--ink)``, ``--muted``, ``--line``, ``--c1`` …

Numbers are where the eye is; a title in each bar says its exact count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from engramdb.inspect.histogram import Histogram

WIDTH, HEIGHT = 460, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 34
_BAR_RADIUS = 1.5


def short(value: float) -> str:
    """A number in few characters: 12.5k, 3.2M, 0.004."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{value:.4g}"


def histogram(values: Histogram, *, label: str, whole: bool, colour: str = "var(--c1)") -> str:
    """Bars over their bins; ``whole``: bins by power of two, each as wide as another."""
    edges, counts = values.edges, values.counts
    if not counts:
        return ""
    first = next(place for place, count in enumerate(counts) if count)
    edges, counts = edges[first:], counts[first:]
    top = max(counts)
    inner, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = inner / len(counts)
    parts = [_frame(top, tall)]
    for place, count in enumerate(counts):
        if not count:
            continue
        high = max(1.0, tall * count / top)
        x, y = _LEFT + place * step, _TOP + tall - high
        low, up = edges[place], edges[place + 1]
        span = (f"{low:,.0f}" if up - low <= 1 else f"{low:,.0f} to {up - 1:,.0f}") if whole else f"{low:g} to {up:g}"
        gap = min(2.0, step / 8)
        parts.append(
            f'<rect x="{x + gap / 2:.1f}" y="{y:.1f}" width="{step - gap:.1f}" height="{high:.1f}" rx="{_BAR_RADIUS}" '
            f'fill="{colour}"><title>{escape(span)}: {count:,}</title></rect>'
        )
    for place in _places(len(counts) + (not whole), 8 if whole else 6):
        x = _LEFT + (place + 0.5 * whole) * step
        parts.append(_text(x, HEIGHT - _BOTTOM + 15, _bin(edges, place) if whole else short(edges[place]), "middle"))
    parts.append(_text(_LEFT + inner / 2, HEIGHT - 4, label, "middle"))
    return _svg(WIDTH, HEIGHT, parts, label)


def _bin(edges: Sequence[float], place: int) -> str:
    low, up = edges[place], edges[place + 1]
    return short(low) if up - low <= 1 else f"{short(low)}–{short(up - 1)}"


def _places(n: int, most: int) -> list[int]:
    """At most ``most`` of the places 0..n - 1, evenly, the first among them."""
    step = max(1, -(-n // most))
    return list(range(0, n, step))


def _frame(top: int, tall: float) -> str:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _TOP + tall * (1 - share)
        lines.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        if share:
            lines.append(_text(_LEFT - 6, y + 4, short(top * share), "end"))
    return "".join(lines)


def shares(parts: Sequence[tuple[str, float, str]], *, label: str) -> str:
    """One bar of several parts, as wide as there is room: (name, amount, colour). Whatever is there can be seen."""
    total = sum(amount for _, amount, _ in parts) or 1.0
    drawn, x = [], 0.0
    for name, amount, colour in parts:
        if amount <= 0:
            continue
        wide = min(max(2.0, WIDTH * amount / total), WIDTH - x)
        drawn.append(
            f'<rect x="{x:.1f}" y="0" width="{max(1.0, wide - 1):.1f}" height="14" fill="{colour}">'
            f"<title>{escape(name)}: {amount:,.0f}</title></rect>"
        )
        x += wide
    stretched = f'viewBox="0 0 {WIDTH} 14" preserveAspectRatio="none" height="14"'
    return f'<svg {stretched} class="bar" role="img" aria-label="{escape(label, quote=True)}">{"".join(drawn)}</svg>'


def bars(rows: Sequence[tuple[str, float, str]], say: Callable[[float], str], *, label: str) -> str:
    """Lying bars: (name, amount, remark), the longest at the top."""
    top = max((amount for _, amount, _ in rows), default=0.0) or 1.0
    high, left, wide = 22, 118, 300
    parts = []
    for place, (name, amount, remark) in enumerate(rows):
        y = place * high
        length = max(1.5, wide * amount / top) if amount else 0
        parts.append(_text(left - 8, y + 15, name, "end", "var(--ink)"))
        place_ = f'x="{left}" y="{y + 4}" width="{length:.1f}" height="{high - 8}" rx="{_BAR_RADIUS}"'
        parts.append(f'<rect {place_} fill="var(--c1)"><title>{escape(name)}: {amount:,.0f}</title></rect>')
        parts.append(_text(left + length + 8, y + 15, f"{say(amount)}  {remark}".rstrip()))
    return _svg(left + wide + 280, high * len(rows), parts, label)


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "var(--muted)") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    about = f'role="img" aria-label="{escape(label, quote=True)}"'
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" {about}>{"".join(parts)}</svg>'
