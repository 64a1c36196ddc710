"""Input to a running network: currents, Poisson trains, given spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.errors import InvalidInput, NotFound
from engramdb.handle.questions import Questions
from engramdb.naming import Ids
from engramdb.stimuli import command
from engramdb.stimuli.command import Command, Stimulus

if TYPE_CHECKING:
    pass


class Driving(Questions):
    """What drives the network of :class:`engramdb.Engram`."""

    def stimulate(
        self, ids: Ids, amplitude: Any, *, at: int | None = None, duration: int | Sequence[int | None] | None = 1
    ) -> int:
        """Add ``amplitude`` (a number, or one for each id) to the input of ``ids`` in every tick of ``duration``.

        It is in mV, or whatever the weights of their model are in; see :attr:`engramdb.models.Model.weight`.
        ``at``: first tick, later than the present one; default the next. ``duration=None``: until it is stopped. A
        current that changes in steps has a list of durations and an amplitude for each. Returns the stimulus's number,
        for :meth:`stop_stimuli`.

        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(command.current(live.stimuli.next_number, live.tick, resolved, amplitude, at, duration))

    def poisson(
        self, ids: Ids, rate_hz: Any, amplitude: Any, *, at: int | None = None, duration: int | None = None
    ) -> int:
        """Give each of ``ids`` random spikes of its own: a Poisson train of ``rate_hz``, ``amplitude`` mV a spike.

        Both are a number, or one for each id. ``at``: first tick, default the next; ``duration``: ticks, None until it
        is stopped. The trains are a function of (the engram's seed, the stimulus's number, id, time); a tick may hold
        several spikes. Returns the stimulus's number.
        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(
            command.poisson(
                live.stimuli.next_number, live.tick, self.spec.dt_ms, resolved, rate_hz, amplitude, at, duration
            )
        )

    def play(self, ids: Ids, ticks: Any, amplitude: Any) -> int:
        """Give ``ids[i]`` a spike of ``amplitude`` mV (a number, or one for each) in ``ticks[i]``.

        Ticks are those of the engram, later than the present one, in any order; a neuron may get several in one tick.
        Returns the stimulus's number.
        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(command.play(live.stimuli.next_number, live.tick, resolved, ticks, amplitude))

    def play_file(
        self,
        path: str | Path,
        amplitude: float | None = None,
        *,
        layer: str | int | None = None,
        mapping: Mapping[Any, Any] | npt.ArrayLike | None = None,
        population: str | None = None,
        at: int | None = None,
        ticks: tuple[int, int | None] = (1, None),
    ) -> int:
        """Give the spikes of a file: SONATA (``.h5``) or Parquet; see :mod:`engramdb.interchange.spikes`.

        ``layer``: node id n is the n-th neuron of it; or ``mapping``: neuron ids by node id. ``population``: which of a
        SONATA file, if it has several. ``ticks``: the first and last of the file to play; the first is played in tick
        ``at`` (default: the next). ``amplitude``: mV; None takes the file's column of that name. The file is read in
        parts, and not needed afterwards. Returns the stimulus's number.
        """
        from engramdb.interchange.spikes import Target, read_spikes

        live = self._live
        start, first = command.first_tick(live.tick, at), int(ticks[0])
        number = live.stimuli.next_number
        target = Target(self.spec, self._bundles, self.resolve, layer, mapping)
        parts = 0
        try:
            for ids, when, given in read_spikes(Path(path), self.spec.dt_ms, target, population, ticks):
                strength = given if amplitude is None else amplitude
                if strength is None:
                    raise InvalidInput(f"{path}: has no column amplitude; give amplitude=, in mV")
                self._drive(
                    command.play(number, live.tick, ids, when + (start - first), strength, part=parts, last=False)
                )
                parts += 1
            return self._drive(command.play(number, live.tick, np.empty(0, dtype=np.uint64), [], 0.0, part=parts))
        except BaseException:
            if not self._closed:
                live.stimuli.drop_parts()
            raise

    def stimuli(self) -> list[Stimulus]:
        """What input is still to come, by number; empty for a reader."""
        return [] if self.mode != "r+" else self._live.stimuli.listed()

    def stop_stimuli(self, *numbers: int) -> int:
        """End stimuli by their numbers, or all that are not over; returns how many."""
        known = {stimulus.number for stimulus in self._live.stimuli.listed()}
        if unknown := set(numbers) - known:
            raise NotFound(
                f"no stimulus {min(unknown)}: it is over, or never was; stimuli() lists what is still to come"
            )
        stopped = sorted(set(numbers) or known)
        if stopped:
            self._drive(command.stop(stopped))
        return len(stopped)

    @property
    def quiet(self) -> bool:
        """Whether nothing happens any more: all are at rest, no spike is under way, and no input is to come."""
        live = self._live
        return len(live.awake()) == 0 and live.stimuli.next_tick(live.tick) is None

    def _drive(self, given: Command) -> int:
        """Journal a command and do it; returns the number of the stimulus."""
        live = self._live
        done = live.stimuli.prepared(given.kind, given.meta, given.arrays, live.tick)
        with self._journaled(given.kind, given.meta, given.arrays):
            done()
        return int(given.meta.get("number", -1))
