"""How much of a pattern comes back from how much of it: ``python -m tests.benchmarks.recall_curve docs/recall.svg``.

An associative network after Hopfield (1982), with the covariance rule of Sejnowski (1977) for sparse patterns: 1000
neurons of the model ``lif``, any two of which are joined with probability 1/4, learn 10 patterns of 100 neurons. The
weight from j to i is g sum (x_i - a)(x_j - a) over the patterns, x being 1 for a neuron in it, else 0, a = 0.1, and
g = 1.5 mV. Each pattern is named, and recalled by random parts of it, 5 for each fraction. ``completed`` is the part of
the neurons not in the cue that fire within 10 ticks, chance what as many neurons drawn at random would give. The
control has the same weights, dealt out anew among the same synapses.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import engramdb

NEURONS, PATTERNS, SIZE, DENSITY, GAIN_MV = 1000, 10, 100, 0.25, 1.5
FRACTIONS = (0.1, 0.2, 0.26, 0.28, 0.3, 0.32, 0.34, 0.36, 0.38, 0.4, 0.5, 0.6, 0.8)
CUES, TICKS = 5, 10


def curve(*, shuffled: bool) -> list[tuple[float, float, float]]:
    """``(fraction of the pattern in the cue, completed, chance)``, means over patterns and cues."""
    random = np.random.default_rng(1)
    patterns = [np.sort(random.choice(NEURONS, SIZE, replace=False)) for _ in range(PATTERNS)]
    x = np.zeros((PATTERNS, NEURONS))
    for pattern, row in zip(patterns, x, strict=True):
        row[pattern] = 1.0
    weights = GAIN_MV * (x - SIZE / NEURONS).T @ (x - SIZE / NEURONS)
    joined = random.random((NEURONS, NEURONS)) < DENSITY
    np.fill_diagonal(joined, False)
    pre, post = np.nonzero(joined)
    weight = weights[post, pre]
    if shuffled:
        random.shuffle(weight)
    spec = engramdb.Spec(
        layers=[engramdb.Layer("memory", segments=[NEURONS])],
        projections=[engramdb.Projection("memory", "memory", engramdb.Explicit())],
    )
    found = []
    with tempfile.TemporaryDirectory() as folder, engramdb.create(Path(folder, "memory.engram"), spec) as e:
        e.connect(pre, post, weight)
        for number, pattern in enumerate(patterns):
            e.imprint(f"pattern {number}", pattern)
        for fraction in FRACTIONS:
            matches = []
            for number, pattern in enumerate(patterns):
                for _ in range(CUES):
                    cue = random.choice(pattern, round(fraction * SIZE), replace=False)
                    recall = e.recall(cue, TICKS)
                    matches.append(next(m for m in recall.traces if m.name == f"pattern {number}"))
            completed = float(np.mean([m.completed for m in matches]))
            found.append((fraction, completed, float(np.mean([m.completed_chance for m in matches]))))
    return found


def picture(learned: list[tuple[float, float, float]], control: list[tuple[float, float, float]]) -> str:
    """SVG."""
    width, height, left, top = 480, 300, 50, 20

    def at(fraction: float, share: float) -> str:
        return f"{left + fraction * (width - left - 20):.1f},{top + (1 - share) * (height - top - 50):.1f}"

    def line(points: list[tuple[float, float]], style: str) -> str:
        return f'<polyline fill="none" {style} points="{" ".join(at(*point) for point in points)}"/>'

    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    parts = [f'{head} font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(0, share).split(",")
        parts.append(f'<polyline stroke="#ddd" points="{at(0, share)} {at(1, share)}"/>')
        parts.append(f'<text x="{float(x) - 6}" y="{float(y) + 4}" text-anchor="end">{share:g}</text>')
        x, y = at(share, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 18}" text-anchor="middle">{share:g}</text>')
    parts.append(line([(f, c) for f, c, _ in learned], 'stroke="#0b6" stroke-width="2.5"'))
    parts.append(line([(f, c) for f, _, c in learned], 'stroke="#0b6" stroke-dasharray="4 4"'))
    parts.append(line([(f, c) for f, c, _ in control], 'stroke="#c33" stroke-width="1.5"'))
    parts.append(line([(f, c) for f, _, c in control], 'stroke="#c33" stroke-dasharray="4 4"'))
    legend = (
        ("learned weights", "#0b6", ""), ("the same weights, shuffled", "#c33", ""), ("chance, of each", "#555", "4 4")
    )  # fmt: skip
    for row, (text, color, dash) in enumerate(legend):
        y = height - 130 + 18 * row
        mark = f'stroke="{color}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline {mark} points="270,{y - 4} 295,{y - 4}"/><text x="302" y="{y}">{text}</text>')
    middle = 'text-anchor="middle"'
    parts.append(f'<text x="{(width + left) / 2}" y="{height - 8}" {middle}>fraction of the pattern in the cue</text>')
    parts.append(f'<text transform="translate(14 {height / 2}) rotate(-90)" {middle}>completed</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    learned, control = curve(shuffled=False), curve(shuffled=True)
    Path(sys.argv[1]).write_text(picture(learned, control))
    say = sys.stdout.write
    say("| cue | completed | by chance | shuffled | by chance |\n| --- | --- | --- | --- | --- |\n")
    for (fraction, completed, chance), (_, other, other_chance) in zip(learned, control, strict=True):
        say(f"| {fraction:g} | {completed:.3f} | {chance:.3f} | {other:.3f} | {other_chance:.3f} |\n")


if __name__ == "__main__":
    main()
