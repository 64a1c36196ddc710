"""All that a growth cycle knows, as one value: its progress, its timers, what it has done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.growth.events import Events
from engramdb.growth.progress import Progress, Summary, dumped, loaded
from engramdb.growth.timers import Timers

_DOCUMENT, _TIMERS, _EVENTS, SPIKES = "cycle_document", "cycle_weak_", "cycle_event_", "cycle_spikes"


@dataclass(frozen=True)
class Standing:
    """It is kept with what is in flight, so that commits, branches and restores have that of their time."""

    progress: Progress
    history: tuple[Summary, ...] = ()
    timers: Timers = field(default_factory=Timers.none)
    events: Events = field(default_factory=Events.none)

    @property
    def nbytes(self) -> int:
        """Bytes of RAM of what may be much of it."""
        return self.timers.nbytes + self.events.nbytes

    def after(
        self, progress: Progress, summary: Summary | None = None, timers: Timers | None = None,
        events: Events | None = None,
    ) -> Standing:  # fmt: skip
        """The standing after a step."""
        return replace(
            self,
            progress=progress,
            history=self.history if summary is None else (*self.history, summary),
            timers=self.timers if timers is None else timers,
            events=self.events if events is None else self.events.and_then(events),
        )

    def arrays(self, spikes: int) -> dict[str, npt.NDArray[Any]]:
        """Its part of the state; ``spikes``: the engine's count."""
        document = dumped(self.progress, self.history).encode()
        return {
            _DOCUMENT: np.frombuffer(document, dtype=np.uint8),
            SPIKES: np.array([spikes], dtype=np.int64),
            **self.timers.arrays(_TIMERS),
            **self.events.arrays(_EVENTS),
        }

    @classmethod
    def of(cls, state: Mapping[str, npt.NDArray[Any]]) -> Standing | None:
        """From a state; None where there was no cycle."""
        if _DOCUMENT not in state:
            return None
        progress, history = loaded(state[_DOCUMENT].tobytes().decode())
        return cls(progress, history, Timers.of(state, _TIMERS), Events.of(state, _EVENTS))


def journaled(progress: Progress) -> dict[str, Any]:
    """``progress`` as a journal frame has it."""
    document: dict[str, Any] = json.loads(json.dumps(progress.to_json()))
    return document
