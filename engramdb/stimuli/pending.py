"""What input is still to come, and what of it arrives in a tick.

A stimulus has a number for life, by which it can be stopped. A command that adds or ends one is a kind, values and
arrays, as the journal keeps it: given again to an engine that stands where it was given first, it does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engramdb.stimuli import poisson, pulse, train
from engramdb.stimuli.coming import NONE, Coming, coming
from engramdb.stimuli.command import EVER, Stimulus
from engramdb.stimuli.poisson import Poisson
from engramdb.stimuli.pulse import Pulse
from engramdb.stimuli.train import Train
from engramdb.workingset import Int64Array, WorkingSet

Source: TypeAlias = Pulse | Poisson | Train
Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
State: TypeAlias = dict[str, npt.NDArray[Any]]

_KINDS: dict[type[Source], str] = {Pulse: pulse.KIND, Poisson: poisson.KIND, Train: train.KIND}


class Stimuli:
    """All input that is still to come. ``next_number`` is that of the stimulus that is added next."""

    def __init__(self, working_set: WorkingSet) -> None:
        self._working_set = working_set
        self._sources: list[Source] = []
        self._parts: list[Train] = []
        self._tick = 0
        self.next_number = 0

    def __len__(self) -> int:
        return len(self._sources)

    # ---- commands

    def prepared(self, kind: str, meta: Mapping[str, Any], arrays: Arrays, tick: int) -> Callable[[], None]:
        """What carries out a command given at ``tick``; raises :class:`BudgetExceeded` where it would not fit.

        ``stimulate``: ``start``, ``duration`` (one, or one for each step; None: without end), arrays ``id`` and
        ``amplitude`` (float32 mV, one for each id and step). ``poisson``: ``start``, ``stop``, arrays ``id``, ``rate``,
        ``amplitude``. ``play``: the ``part`` (from 0), and whether it is the ``last``; arrays of
        :func:`engramdb.stimuli.command.arrays_of`. ``stop_stimuli``: ``numbers``. All but the last have a ``number``.
        """
        number = int(meta.get("number", self.next_number))
        if kind == "stop_stimuli":
            return lambda: self._stop(meta["numbers"])
        if kind == "play":
            part = train.of_arrays(number, arrays)
            self._admit(part.nbytes, f"{len(part.ids):,} more spikes of a train")
            return lambda: self._take_part(part, begins=meta["part"] == 0, whole=meta["last"])
        if kind == "poisson":
            ids, rates, amplitude = arrays["id"], arrays["rate"], arrays["amplitude"]
            self._admit(
                poisson.nbytes_of(len(ids), len(rates), len(amplitude)), f"Poisson input to {len(ids):,} neurons"
            )
            seed = int(self._working_set.seed)
            source = Poisson(seed, number, ids, rates, amplitude, meta["start"], meta["stop"], tick)
            return lambda: self._add(number, [source])
        return lambda: self._add(number, _steps(number, meta["start"], meta["duration"], arrays))

    def _admit(self, nbytes: int, what: str) -> None:
        working_set = self._working_set
        if working_set.free_bytes < nbytes:
            working_set.eviction.make_room(nbytes)
        if working_set.free_bytes < nbytes:
            raise working_set.too_small(what, nbytes - working_set.free_bytes)

    def _add(self, number: int, sources: list[Source]) -> None:
        self._sources += sources
        self.next_number = max(self.next_number, number + 1)
        self._count_bytes()

    def _take_part(self, part: Train, *, begins: bool, whole: bool) -> None:
        if begins:  # parts before it are of a train that never became whole
            self._parts = []
        self._parts.append(part)
        self._count_bytes()
        if whole:
            parts, self._parts = self._parts, []
            self._add(part.number, [part for part in parts if len(part.ids)])

    def drop_parts(self) -> None:
        """Forget the parts of a train that never became whole."""
        self._parts = []
        self._count_bytes()

    def _stop(self, numbers: list[int]) -> None:
        stopped = set(numbers)
        self._sources = [source for source in self._sources if source.number not in stopped]
        self._count_bytes()

    def _count_bytes(self) -> None:
        self._working_set.stimuli_bytes = sum(source.nbytes for source in [*self._sources, *self._parts])

    # ---- ticks

    def apply(self, tick: int) -> None:
        """Add what arrives in ``tick`` to the input of its targets; a tick that failed may be applied again."""
        for source in self._sources:
            if source.start <= tick <= source.stop:
                source.apply(tick, self._working_set)

    def settle(self, tick: int) -> None:
        """Forget what is over after ``tick``."""
        self._tick = tick
        if any(source.stop <= tick for source in self._sources):
            self._sources = [source for source in self._sources if source.stop > tick]
            self._count_bytes()

    def next_tick(self, after: int) -> int | None:
        """The first tick after ``after`` in which any input arrives; None where none ever does."""
        coming = [tick for source in self._sources if (tick := source.next_tick(after)) is not None]
        return min(coming, default=None)

    def coming(self, first: int, most: int) -> Coming:
        """The input of the tick ``first`` and of up to ``most`` ticks in all, as far as it goes to neurons with slots.

        Where it changes hands, as a pulse begins or ends, it is that of the ticks before.
        """
        working_set = self._working_set
        held, amplitude, last = [NONE], [NONE], first + most - 1
        drawn: list[Poisson | Train] = []
        for source in self._sources:
            if not isinstance(source, Pulse):
                if source.start <= last and source.stop >= first:
                    drawn.append(source)
            elif (begins := source.next_tick(first - 1)) is not None:
                if begins > first:
                    last = min(last, begins - 1)
                    continue
                held.append(source.slots(working_set))
                amplitude.append(source.amplitude)
                last = min(last, source.stop)
        for source in drawn:
            # what begins or ends in between is another stretch: there are few of those, and ticks enough in each
            last = min(last, source.start - 1 if source.start > first else source.stop)
        # slots are taken above and not below: none is freed any more
        events = [
            source.events(first, last, working_set).before_newcomers() for source in drawn if source.start <= first
        ]
        if events:
            self._count_bytes()
        return coming(first, last, np.concatenate(held), np.concatenate(amplitude), events)

    def held(self) -> list[Int64Array]:
        """Slots that must stay where they are."""
        epoch = self._working_set.epoch
        return [source.held for source in self._sources if isinstance(source, Pulse) and source.epoch == epoch]

    def listed(self) -> list[Stimulus]:
        """What is not over, by number; the steps and parts of one stimulus are one."""
        found: dict[int, Stimulus] = {}
        for source in self._sources:
            shown = source.rest(self._tick) if isinstance(source, Train) else source
            n, start, stop = len(shown.ids), shown.start, shown.stop
            if (known := found.get(source.number)) is not None:
                n = known.neurons + n if isinstance(source, Train) else n
                start = min(start, known.start)
                stop = EVER if known.stop is None else max(stop, known.stop)
            found[source.number] = Stimulus(
                source.number, _KINDS[type(source)], n, start, None if stop >= EVER else stop
            )
        return [found[number] for number in sorted(found)]

    # ---- the state

    def freeze(self) -> Callable[[], State]:
        """Copy the present; what it returns makes arrays of it, in any thread."""
        sources, tick, number = list(self._sources), self._tick, self.next_number

        def state() -> State:
            return {
                "stimulus_next": np.array([number] if number else [], dtype=np.int64),
                **pulse.state_of(s for s in sources if isinstance(s, Pulse)),
                **poisson.state_of(s for s in sources if isinstance(s, Poisson)),
                **train.state_of([s for s in sources if isinstance(s, Train)], tick),
            }

        return state

    def load_state(self, tick: int, state: Arrays) -> None:
        """Stand at ``tick`` with what :meth:`freeze` gave then; :class:`BudgetExceeded` where it does not fit."""
        self._tick = tick
        seed = int(self._working_set.seed)
        self._sources += [*pulse.of_state(state), *poisson.of_state(state, seed, tick), *train.of_state(state)]
        self.next_number = max([0, *state.get("stimulus_next", ()), *(s.number + 1 for s in self._sources)])
        self.next_number = int(self.next_number)
        self._admit(sum(source.nbytes for source in self._sources), "the stimuli still to come")
        self._count_bytes()


def _steps(number: int, start: int, duration: Any, arrays: Arrays) -> list[Source]:
    """A pulse, or one for each step of a current that changes."""
    durations = duration if isinstance(duration, list) else [duration]
    ids = arrays["id"]
    made: list[Source] = []
    for amplitude, ticks in zip(arrays["amplitude"].reshape(len(durations), len(ids)), durations, strict=True):
        stop = EVER if ticks is None else start + ticks - 1
        made.append(Pulse(number, ids, pulse.fixed(amplitude), start, stop))
        start = stop + 1
    return made
