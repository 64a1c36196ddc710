"""Many ticks in one call, for as long as they need nothing that only Python can do.

A tick of a small network takes less time than calling its kernels one by one. A burst calls the same kernels, in the
same order, and stops where the working set or the store is needed: it says where it stands, and the engine goes on from
there.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.calendar import IN_USE, peek, postpone, schedule, take
from engramdb.kernels.compiled import njit
from engramdb.kernels.deliver import NEAR_BLOCKS, deliver, deliver_apart, fire, gather
from engramdb.kernels.indirect import call
from engramdb.kernels.slots import BLOCK, BLOCK_SHIFT, N_BLOCKS, N_FRESH, add_input

# where a burst stands when it returns
BOUNDARY = 0  # at the end of a tick
DELIVERED = 1  # in a tick whose spikes are delivered; what follows needs Python
FIRED = 2  # in a tick in which neurons without a record have fired
BROKEN = 3  # in a tick whose spikes are delivered in part: it is to be taken back

_FIRST_BLOCK = np.int64(0)


@njit(cache=True, nogil=True)
def burst(
    steps, slots, records, arena, codes, constants, rows, mine, calendar, least, longest, delay, first, ticks, held,
    amplitude, event_ends, event_slots, event_amounts, spikes, ends,
):  # fmt: skip
    """Run up to ``ticks`` ticks, from the tick ``first`` on.

    ``steps``: int64 (models,), where the machine code of each model's step lies, for exactly the types that it is
    called with here. ``constants``, ``rows`` and, one row a model, ``mine``: see ``stepping``; ``calendar``, ``least``,
    ``longest``: see ``calendar``. ``delay``: that of all synapses, 0 where they differ. ``held`` and ``amplitude``
    (int64): input to add in every tick; ``event_ends[i]`` to ``event_ends[i + 1]`` of ``event_slots`` and
    ``event_amounts`` (all int64): input of tick number i besides. ``spikes`` (int64): slots that fired, of the
    ``delay`` ticks before first and then of these; ``ends`` (int64, (delay + ticks + 1,)): ``ends[i]`` to
    ``ends[i + 1]`` of them are those of tick first - delay + i. Returns (whole ticks, where it stands, synaptic events
    delivered); where neurons have FIRED, ``ends`` has this tick's too.
    """
    counters = slots.counters
    record, block_layer = slots.record, slots.block_layer
    due = np.empty(spikes.shape[0], dtype=np.int64)
    age = np.empty(spikes.shape[0], dtype=np.int32)
    following = np.empty(spikes.shape[0], dtype=np.int32)
    offsets = np.empty(spikes.shape[0], dtype=np.int64)
    lengths = np.empty(spikes.shape[0], dtype=np.int64)
    count = np.zeros(1, dtype=np.int64)
    apart = slots.inhibition.shape[0] > 0
    events = 0
    for done in range(ticks):
        tick = first + done
        end = ends[delay + done]
        if not _has_room(slots, calendar, delay, spikes, end):
            return done, BOUNDARY, events
        n_due = 0
        if delay > 0:
            for i in range(ends[done], ends[done + 1]):
                if longest[block_layer[spikes[i] >> BLOCK_SHIFT]] > 0:
                    due[n_due] = spikes[i]
                    age[n_due] = delay
                    n_due += 1
        else:
            n_due = calendar.due[tick & (calendar.due.shape[0] - 1)]
            if n_due > due.shape[0]:
                return done, BOUNDARY, events
            peek(calendar, tick, due)
        for i in range(n_due):
            r = record[due[i]]
            if r < 0 or records[r].offset < 0:
                return done, BOUNDARY, events
        if n_due > 0:
            if delay == 0:
                take(calendar, tick, due, age)
            count[0] = 0
            if gather(slots, records, arena, codes, due[:n_due], age, 0, offsets, lengths, count, following) < n_due:
                return done, BROKEN, events
            if delay == 0:
                postpone(calendar, due[:n_due], age, following, tick)
            stretches = offsets[: count[0]], lengths[: count[0]]
            block_awake = slots.block_awake[: counters[N_BLOCKS]]
            far = counters[N_BLOCKS] > NEAR_BLOCKS
            if apart:
                events += deliver_apart(*stretches, arena.link, slots.input, slots.inhibition, block_awake, far)
            else:
                events += deliver(*stretches, arena.link, slots.input, block_awake, far)
            if counters[N_FRESH] or not _has_room(slots, calendar, delay, spikes, end):
                return done, DELIVERED, events
        add_input(slots, held, amplitude)
        begin, stop = event_ends[done], event_ends[done + 1]
        add_input(slots, event_slots[begin:stop], event_amounts[begin:stop])
        count[0] = end
        for model in range(steps.shape[0]):
            call(steps[model], (slots, constants, rows, mine[model], _FIRST_BLOCK, counters[N_BLOCKS], spikes, count))
        ends[delay + done + 1] = count[0]
        fired = spikes[end : count[0]]
        if fired.shape[0] > 0:
            for i in range(fired.shape[0]):
                if record[fired[i]] < 0:
                    return done, FIRED, events
            fire(record, records, fired, tick, 0, offsets, lengths, due, due)
            if delay == 0:
                schedule(calendar, slots, records, arena, codes, fired, tick, 1, least, longest)
    return ticks, BOUNDARY, events


@njit(inline="always")
def _has_room(slots, calendar, delay, spikes, end):
    """Whether all slots might fire: ``spikes`` is filled up to ``end``, and each needs an entry in the calendar."""
    most = slots.counters[N_BLOCKS] * BLOCK
    return end + most <= spikes.shape[0] and (delay > 0 or calendar.counters[IN_USE] + most <= calendar.slot.shape[0])
