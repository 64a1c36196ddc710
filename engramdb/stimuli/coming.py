"""The input of the next ticks, worked out before they run: what a burst needs to know of stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engramdb.workingset import Int64Array

NONE: Int64Array = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Events:
    """What one stimulus adds up to the tick ``last``, included: int64 (n,) each, sorted by tick.

    ``slots``: -1 where a neuron has none yet. ``amounts``: in 2^-32 of the unit of weights.
    """

    last: int
    ticks: Int64Array
    slots: Int64Array
    amounts: Int64Array

    def before_newcomers(self) -> Events:
        """The same up to the tick before the first in which a neuron without a slot gets something."""
        new = self.slots < 0
        if not new.any():
            return self
        last = int(self.ticks[np.argmax(new)]) - 1
        return Events(last, self.ticks, self.slots, self.amounts)


@dataclass(frozen=True)
class Coming:
    """Input of the next ``ticks`` ticks; int64 throughout, amounts in 2^-32 of the unit of weights.

    ``held`` and ``amplitude``: slots, and what each gets in every tick. ``ends[i]`` to ``ends[i + 1]`` of ``slots`` and
    ``amounts`` are what comes in tick number i besides.
    """

    ticks: int
    held: Int64Array
    amplitude: Int64Array
    ends: Int64Array
    slots: Int64Array
    amounts: Int64Array


def coming(first: int, last: int, held: Int64Array, amplitude: Int64Array, sources: Sequence[Events]) -> Coming:
    """Steady input and the events of several ``sources``, in one, from the tick ``first`` on up to ``last`` at most."""
    last = min([last, *(events.last for events in sources)])
    if last < first:
        return Coming(0, held, amplitude, NONE, NONE, NONE)
    parts = [slice(0, int(np.searchsorted(events.ticks, last, side="right"))) for events in sources]
    cut = list(zip(sources, parts, strict=True))
    ticks = np.concatenate([NONE, *(events.ticks[part] for events, part in cut)])
    slots = np.concatenate([NONE, *(events.slots[part] for events, part in cut)])
    amounts = np.concatenate([NONE, *(events.amounts[part] for events, part in cut)])
    if len(sources) > 1:
        order = np.argsort(ticks, kind="stable")
        ticks, slots, amounts = ticks[order], slots[order], amounts[order]
    ends = np.searchsorted(ticks, np.arange(first, last + 2))
    return Coming(last - first + 1, held, amplitude, ends.astype(np.int64), slots, amounts)
