"""Input to a running network: currents, Poisson trains, given spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray
from engramdb.errors import InvalidInput, NotFound
from engramdb.handle.questions import Questions
from engramdb.naming import Ids
from engramdb.stimuli import command
from engramdb.stimuli.command import Command, Stimulus
from engramdb.whole import whole


class Driving(Questions):
    """What drives the network of :class:`engramdb.Engram`."""

    def stimulate(
        self, ids: Ids, amplitude: Any, *, at: int | None = None, duration: int | Sequence[int | None] | None = 1
    ) -> int:
        """Add ``amplitude`` (a number, or one for each id) to the input of ``ids`` in every tick of ``duration``.

        It is in mV, or whatever the weights of their model are in; see :attr:`engramdb.models.Model.weight`. It does
        what a spike over a synapse of that weight does, in each tick: where synapses have dynamics of their own, it
        goes through them (``docs/stimuli.md`` says which amplitude gives which current).
        ``at``: first tick, later than the present one; default the next. ``duration=None``: until it is stopped. A
        current that changes in steps has a list of durations and an amplitude for each. Returns the stimulus's number,
        for :meth:`stop_stimuli`.
        """
        live, resolved = self._live, self.resolve(ids)
        return self._drive(command.current(live.stimuli.next_number, live.tick, resolved, amplitude, at, duration))

    def inject(
        self, ids: Ids, current: Any, *, at: int | None = None, duration: int | Sequence[int | None] | None = None
    ) -> int:
        """Give ``ids`` a constant current, or one in steps, whatever the length of a tick: see :meth:`stimulate`.

        ``current`` is in the unit of the constant drive of their model, :attr:`engramdb.models.Model.current_unit`
        (mV as ``bias``, pA or mV/ms as ``i_e``), and carries as much charge as that does in each tick. Where synapses
        have dynamics it goes through them, and is there after a few ``tau_syn``. :class:`InvalidInput` for a model
        whose input is no current, such as ``lif_cond``: give that its ``i_e``. Returns the stimulus's number.
        """
        resolved = self.resolve(ids)
        scale = self._current_per_tick(resolved)
        steps = isinstance(duration, (list, tuple, np.ndarray)) and np.iterable(current)
        amplitude = [scale * np.asarray(one) for one in current] if steps else scale * np.asarray(current)
        return self.stimulate(resolved, amplitude, at=at, duration=duration)

    def _current_per_tick(self, ids: IdArray) -> npt.NDArray[np.float64]:
        """What a stimulus adds to each of ``ids`` in a tick to be a current of 1; float64 (n,)."""
        values, scale = self.parameters(ids), np.zeros(len(ids))
        for layer in self.spec.layers:
            of_layer = np.flatnonzero(ids >> np.uint64(48) == layer.index)
            if not len(of_layer):
                continue
            per_tick = models.get(layer.model).current_per_tick
            if per_tick is None:
                raise InvalidInput(
                    f'inject: the input of model "{layer.model}" (layer "{layer.name}") is no current; give its '
                    "neurons a constant drive by set_parameters, or stimulate()"
                )
            own = {name: column[of_layer] for name, column in values.items()}
            scale[of_layer] = per_tick(own, self.spec.dt_ms)
        return scale

    def poisson(
        self, ids: Ids, rate_hz: Any, amplitude: Any, *, at: int | None = None, duration: int | None = None
    ) -> int:
        """Give each of ``ids`` random spikes of its own: a Poisson train of ``rate_hz``, ``amplitude`` a spike.

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
        """Give ``ids[i]`` a spike of ``amplitude`` (a number, or one for each) in ``ticks[i]``.

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
        ``at`` (default: the next). ``amplitude``: None takes the file's column of that name. The file is read in
        parts, and not needed afterwards. Returns the stimulus's number.
        """
        from engramdb.interchange.spikes import Target, read_spikes

        live = self._live
        start = command.first_tick(live.tick, at)
        try:
            begin, end = ticks
        except (TypeError, ValueError):
            what = "give the first and the last tick of the file to play, (first, last)"
            raise InvalidInput(f"ticks={ticks!r}: {what}") from None
        first, last = whole(begin, "ticks"), None if end is None else whole(end, "ticks")
        if last is not None and last < first:
            raise InvalidInput(f"ticks={ticks!r}: the last tick comes before the first")
        number = live.stimuli.next_number
        target = Target(self.spec, self._bundles, self.resolve, layer, mapping)
        parts = 0
        try:
            for ids, when, given in read_spikes(Path(path), self.spec.dt_ms, target, population, (first, last)):
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

    def stop_stimuli(self, *numbers: int | Sequence[int]) -> int:
        """End stimuli by their numbers, or all that are not over; returns how many."""
        known = {stimulus.number for stimulus in self._live.stimuli.listed()}
        wanted = {
            whole(number, "stop_stimuli: number", of="its own, as stimulate() returns it")
            for one in numbers for number in (one if isinstance(one, (list, tuple)) else [one])
        } if numbers else known  # fmt: skip
        if unknown := wanted - known:
            raise NotFound(
                f"no stimulus {min(unknown)}: it is over, or never was; stimuli() lists what is still to come"
            )
        stopped = sorted(wanted)
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
