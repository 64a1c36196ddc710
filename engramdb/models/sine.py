"""The sine, the same on every machine."""

from __future__ import annotations


def sine_of_turns(turns: float) -> float:
    """sin(2 pi ``turns``), by its series, the same bits on every machine; within 1e-15."""
    x = turns - round(turns)  # -1/2..1/2, exact
    x = 0.5 - x if x > 0.25 else -0.5 - x if x < -0.25 else x
    angle = 6.283185307179586 * x
    square, term, total = angle * angle, angle, angle
    for k in range(2, 22, 2):
        term = -term * square / (k * (k + 1))
        total += term
    return total
