"""Commands that drive an engram, checked: what the journal keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import InvalidInput
from engramdb.whole import whole

COMMANDS = frozenset({"stimulate", "poisson", "play", "stop_stimuli"})
LARGEST_AMPLITUDE = 16384.0  # in the unit of the model's weights: so that sums of very many fit
EVER = 1 << 62
"""The last tick of what has no end."""


@dataclass(frozen=True)
class Stimulus:
    """One stimulus that is not over: ``kind`` is current, poisson or train.

    ``neurons``: how many it reaches (of a train: how many spikes are still to come). ``start``, ``stop``: its first
    and last tick (of a train: of those spikes); ``stop`` is None where it goes on until it is stopped.
    """

    number: int
    kind: str
    neurons: int
    start: int
    stop: int | None


@dataclass(frozen=True)
class Command:
    """``kind``, values and arrays, as :meth:`engramdb.stimuli.pending.Stimuli.prepared` takes them."""

    kind: str
    meta: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


def current(number: int, tick: int, ids: IdArray, amplitude: Any, at: int | None, duration: Any) -> Command:
    """A pulse, a constant current (``duration=None``), or steps: a ``duration`` and an ``amplitude`` for each."""
    steps = list(duration) if isinstance(duration, (list, tuple, np.ndarray)) else None
    durations = [None if one is None else whole(one, "duration") for one in ([duration] if steps is None else steps)]
    if any(one is not None and one < 1 for one in durations):
        raise InvalidInput(f"duration={duration}: give at least one tick, or None for without end")
    if steps is None:
        amplitudes = amplitudes_of(amplitude, len(ids))
    else:
        given = list(amplitude) if np.iterable(amplitude) else [amplitude]
        if not durations or len(given) != len(durations):
            raise InvalidInput(f"amplitude has {len(given)} steps and duration {len(durations)}; give as many")
        amplitudes = np.concatenate([amplitudes_of(one, len(ids)) for one in given])
    if None in durations[:-1]:
        raise InvalidInput(f"duration={duration}: only the last step can be without end")
    meta = {"number": number, "start": first_tick(tick, at), "duration": durations[0] if steps is None else durations}
    return Command("stimulate", meta, {"id": ids, "amplitude": amplitudes})


def poisson(
    number: int, tick: int, dt_ms: float, ids: IdArray, rate_hz: Any, amplitude: Any, at: int | None,
    duration: int | None,
) -> Command:  # fmt: skip
    """A train of its own for each of ``ids``; rates become expected events a tick."""
    from engramdb.kernels.poisson import LEAST_RATE, MOST_RATE

    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    if (repeated := np.flatnonzero(ids[1:] == ids[:-1])).size:
        raise InvalidInput(
            f"neuron {format_id(int(ids[repeated[0]]))} is given more than once; its trains would be the same: "
            "call poisson again for a second one"
        )
    rates = _numbers(rate_hz, len(ids), "rate_hz", np.float64) * (dt_ms / 1000.0)
    wrong = rates[~((rates == 0) | ((rates >= LEAST_RATE) & (rates <= MOST_RATE)))]
    if len(wrong):
        raise InvalidInput(
            f"rate_hz {wrong[0] * 1000.0 / dt_ms:g}: give 0, or {LEAST_RATE * 1000 / dt_ms:.1e} to "
            f"{MOST_RATE * 1000 / dt_ms:g} Hz"
        )
    start = first_tick(tick, at)
    ticks = None if duration is None else whole(duration, "duration")
    if ticks is not None and ticks < 1:
        raise InvalidInput(f"duration={duration}: give at least one tick, or None for without end")
    stop = EVER if ticks is None else start + ticks - 1
    arrays = {"id": ids, "rate": one(rates[order]), "amplitude": one(amplitudes_of(amplitude, len(ids))[order])}
    return Command("poisson", {"number": number, "start": start, "stop": stop}, arrays)


def play(
    number: int, tick: int, ids: IdArray, ticks: Any, amplitude: Any, *, part: int = 0, last: bool = True
) -> Command:
    """Given spikes, or a part of them: ``ticks`` are those of the engram, later than the present one."""
    given = np.asarray(ticks)
    if given.dtype.kind not in "iu" and given.size:
        raise InvalidInput(f"ticks: expected whole numbers, not {given.dtype}")
    at = given.astype(np.int64).ravel()
    if len(ids) == 1 and len(at) > 1:
        ids = np.repeat(ids, len(at))
    if len(at) == 1 and len(ids) > 1:
        at = np.repeat(at, len(ids))
    if len(at) != len(ids):
        raise InvalidInput(f"{len(ids)} ids and {len(at)} ticks; give as many, or one")
    if len(at) and int(at.min()) <= tick:
        raise InvalidInput(f"ticks: {int(at.min())} is past; the next tick is {tick + 1}")
    if len(at) and int(at.max()) >= EVER:
        raise InvalidInput(f"ticks: {int(at.max())} is too far away")
    amplitudes = one(amplitudes_of(amplitude, len(ids)))
    return Command("play", {"number": number, "part": part, "last": last}, arrays_of(ids, at, amplitudes))


def stop(numbers: Sequence[int]) -> Command:
    """The end of stimuli, by their numbers."""
    return Command("stop_stimuli", {"numbers": list(numbers)})


def first_tick(tick: int, at: int | None) -> int:
    """``at``, or the tick after the present one."""
    start = tick + 1 if at is None else whole(at, "at", of="ticks")
    if start <= tick:
        raise InvalidInput(f"at={at}: tick {start} is past; the next tick is {tick + 1}")
    if start >= EVER:
        raise InvalidInput(f"at={at}: too far away")
    return start


def amplitudes_of(value: Any, n: int, name: str = "amplitude") -> npt.NDArray[np.float32]:
    """``value`` as float32 (n,), finite and within the bound."""
    array = _numbers(value, n, name, np.float32)
    wrong = array[~(np.abs(array) <= LARGEST_AMPLITUDE)]
    if len(wrong):
        raise InvalidInput(f"{name} {wrong[0]:g}: must be finite and at most {LARGEST_AMPLITUDE:g} in size")
    return np.ascontiguousarray(array)


def _numbers(value: Any, n: int, name: str, dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    try:
        given = np.asarray(value)
        if given.dtype.kind in "iuf":
            with np.errstate(over="ignore"):  # what becomes infinite is refused
                return np.broadcast_to(given.astype(dtype), (n,))
    except ValueError:
        pass
    raise InvalidInput(f"{name}: expected a number or {n} numbers")


def arrays_of(ids: IdArray, ticks: npt.NDArray[np.int64], amplitude: npt.NDArray[np.float32]) -> dict[str, Any]:
    """``tick``, ``size``, ``id``, ``amplitude`` of a :class:`engramdb.stimuli.train.Train`, from spikes in any order.

    ``amplitude``: float32 mV, (n,) or (1,).
    """
    order = np.lexsort((ids, ticks))
    at, sizes = np.unique(ticks, return_counts=True)
    strength = one(amplitude[order]) if len(amplitude) > 1 else amplitude
    return {"tick": at, "size": sizes.astype(np.int64), "id": ids[order], "amplitude": strength}


def one(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(1,) where all are the same, else ``values``."""
    return values[:1].copy() if len(values) and bool((values == values[0]).all()) else values
