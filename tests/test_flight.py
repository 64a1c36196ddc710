"""Spikes under way: the calendar against a dictionary, and rows of many delays against what is right by definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engramdb.kernels import calendar, rows, slots
from tests.test_kernels import make_slots


@given(data=st.data(), longest=st.integers(1, 70))
def test_a_calendar_gives_each_tick_what_was_entered_for_it(data: st.DataObject, longest: int) -> None:
    kept, due = calendar.empty(longest, 1), {}
    for tick in range(1, data.draw(st.integers(1, 150))):
        entries = kept.due[tick & (len(kept.due) - 1)]
        held, delay = np.empty(entries, np.int64), np.empty(entries, np.int32)
        calendar.take(kept, tick, held, delay)
        assert sorted(zip(held.tolist(), delay.tolist(), strict=True)) == sorted(due.pop(tick, []))
        later = np.array(
            [data.draw(st.integers(0, longest - int(d))) + int(d) if d < longest else 0 for d in delay[:5]], np.int32
        )
        later[later == delay[:5]] = 0
        fresh = data.draw(st.lists(st.integers(1, longest), max_size=4))
        if int(kept.counters[calendar.IN_USE]) + len(later) + len(fresh) > len(kept.slot):
            kept = calendar.grown(kept, 2 * len(kept.slot) + 10)
        calendar.postpone(kept, held[:5], delay[:5], later, tick)
        for slot, age, following in zip(held.tolist(), delay.tolist(), later.tolist(), strict=False):
            if following:
                due.setdefault(tick - age + following, []).append((slot, following))
        for slot, ticks in enumerate(fresh):
            calendar.enter(kept, slot, ticks, tick + ticks)
            due.setdefault(tick + ticks, []).append((slot, ticks))
        assert kept.counters[calendar.IN_USE] == sum(map(len, due.values()))
    calendar.clear(kept)
    assert not kept.due.any()


@given(seed=st.integers(0, 2**32), n=st.integers(1, 40), longest=st.sampled_from([1, 2, 30]), since=st.integers(1, 33))
def test_a_row_is_due_at_its_first_delay_that_is_still_to_come(seed: int, n: int, longest: int, since: int) -> None:
    """Some rows are loaded, others not; those are due as early as their layer allows."""
    random = np.random.default_rng(seed)
    held, records = make_slots(4), np.zeros(200, rows.RECORD)
    arena = rows.Arena(*(np.zeros(4000, t) for t in (np.uint32, np.uint16, rows.LINK)))
    codes = rows.Codes(
        prefix=np.zeros(99, np.uint64), delay=np.full(99, 1, np.int32), layer=np.zeros(99, np.int32),
        pair=np.zeros(99, np.uint16), of=np.zeros((1, 1), np.uint16), made=np.array([1]),
        table=np.zeros(256, np.uint32),
    )  # fmt: skip
    place = np.empty(n, np.int64)
    slots.take_many(held, np.zeros(n, np.int32), np.arange(n, dtype=np.uint64), 0, place)
    degree = random.integers(0, 9, n)
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    delay = random.integers(1, longest + 1, indptr[-1]).astype(np.uint16)
    for i in range(n):
        delay[indptr[i] : indptr[i + 1]].sort()
    rows.attach(held, records, place, rows.WARM, np.uint32(0), 0)
    loaded = int(random.integers(0, n + 1))
    none = np.zeros(len(delay), np.uint16), np.zeros(len(delay), np.uint64), np.zeros(len(delay), np.float32)
    assert rows.install(held, records, arena, codes, place[:loaded], indptr, *none, delay, 4000) == loaded
    np.testing.assert_array_equal(codes.delay[arena.code[: indptr[loaded]]], delay[: indptr[loaded]])
    assert codes.made[0] == len(np.unique(np.append(delay[: indptr[loaded]], 1)))

    kept = calendar.empty(longest, n)
    least, most = np.array([2], np.int32), np.array([longest], np.int32)
    calendar.schedule(kept, held, records, arena, codes, place, 100, since, least, most)
    expected: dict[int, list[int]] = {}
    for i in range(n):
        own = delay[indptr[i] : indptr[i + 1]]
        due = min(own[own >= since], default=0) if i < loaded else max(2, since) if max(2, since) <= longest else 0
        if due:
            expected.setdefault(int(due), []).append(int(place[i]))
    for ticks in range(1, longest + 1):
        entries = kept.due[(100 + ticks) & (len(kept.due) - 1)]
        out, age = np.empty(entries, np.int64), np.empty(entries, np.int32)
        calendar.take(kept, 100 + ticks, out, age)
        assert sorted(out.tolist()) == sorted(expected.get(ticks, []))
        assert set(age.tolist()) <= {ticks}


def test_rows_for_which_no_code_is_left_stay_out_and_are_counted() -> None:
    held, records = make_slots(1), np.zeros(64, rows.RECORD)
    arena = rows.Arena(*(np.zeros(100, t) for t in (np.uint32, np.uint16, rows.LINK)))
    codes = rows.Codes(
        prefix=np.zeros(3, np.uint64), delay=np.ones(3, np.int32), layer=np.zeros(3, np.int32),
        pair=np.zeros(3, np.uint16), of=np.zeros((1, 1), np.uint16), made=np.array([1]), table=np.zeros(16, np.uint32),
    )  # fmt: skip
    place = np.empty(2, np.int64)
    slots.take_many(held, np.zeros(2, np.int32), np.arange(2, dtype=np.uint64), 0, place)
    rows.attach(held, records, place, rows.WARM, np.uint32(0), 0)
    delay = np.array([1, 5, 2, 5, 9], np.uint16)
    columns = np.zeros(5, np.uint16), np.zeros(5, np.uint64), np.zeros(5, np.float32), delay
    assert rows.install(held, records, arena, codes, place, np.array([0, 2, 5]), *columns, 100) == -1 - 1
    assert codes.delay.tolist() == [1, 5, 2]
    assert records["offset"].tolist()[:2] == [0, -1]
    assert held.counters[slots.ARENA_END] == 2


@given(seed=st.integers(0, 2**32))
def test_codes_that_no_row_uses_are_taken_back_and_the_others_keep_their_meaning(seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs, made, end = 3, int(random.integers(3, 60)), int(random.integers(0, 80))
    held = make_slots(1)
    held.counters[slots.ARENA_END] = end
    codes = rows.Codes(
        prefix=np.zeros(64, np.uint64), delay=np.zeros(64, np.int32), layer=np.zeros(64, np.int32),
        pair=np.zeros(64, np.uint16), of=np.zeros((1, 1), np.uint16), made=np.array([pairs]),
        table=np.zeros(128, np.uint32),
    )  # fmt: skip
    codes.prefix[:pairs], codes.delay[:pairs], codes.pair[:pairs] = [7, 8, 9], 1, range(pairs)
    for at in range(pairs, made):
        assert rows.code_of(codes, np.int64(at % pairs), np.int32(at)) == at
    arena = rows.Arena(*(np.zeros(100, t) for t in (np.uint32, np.uint16, rows.LINK)))
    arena.code[:end] = random.integers(0, made, end)
    used = set(arena.code[:end].tolist())
    meant = codes.prefix[arena.code[:end]], codes.delay[arena.code[:end]]
    assert rows.renumber(held, arena, codes) == codes.made[0] == pairs + len(used - set(range(pairs)))
    np.testing.assert_array_equal(codes.prefix[arena.code[:end]], meant[0])
    np.testing.assert_array_equal(codes.delay[arena.code[:end]], meant[1])
    for at in range(int(codes.made[0])):
        assert rows.code_of(codes, np.int64(codes.pair[at]), codes.delay[at]) == at, "each is found again"
