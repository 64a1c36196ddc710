"""Small changes wait in RAM and are written together: what that must not change, and what it saves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engramdb import Layer, Spec
from engramdb.errors import DiskFull, InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.store import Records, Store
from engramdb.store.changes import apply
from engramdb.store.pending import Pending
from engramdb.store.writer import Writer
from engramdb.testing import DictStore, FaultyFiles, merged
from tests.stores import commit, forgotten, ids, neurons, sound, state_change, writing


def packed(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "packs").iterdir())


def one_by_one(store: Store, model: DictStore, wanted: range) -> None:
    for i in wanted:
        changes = neurons([i], seed=i)
        store.write(changes)
        model.write(changes)


def test_changes_made_one_call_at_a_time_take_the_bytes_of_those_made_in_one(tmp_path: Path) -> None:
    taken = {}
    for way in ("one", "each"):
        path = tmp_path / f"{way}.engram"
        with writing(path, policy=None) as store:
            store.write(neurons(range(2000)))
            commit(store)
            before = packed(path)
            rows = neurons(range(300), seed=1)
            for part in [rows] if way == "one" else [rows.part(i, i + 1) for i in range(300)]:
                store.write(part)
            commit(store, tick=2)
            taken[way] = packed(path) - before
            assert merged(store.scan()) == merged([rows, neurons(range(2000)).part(300, 2000)])
        assert sound(path)
    assert taken["each"] <= 1.1 * taken["one"]


def test_a_commit_has_hardly_any_garbage_however_changes_came(tmp_path: Path) -> None:
    """Without room to wait, too, what was written and then again is left behind."""
    path = tmp_path / "a.engram"
    with writing(path, policy=None) as store:
        store.write(neurons(range(2000)))
        commit(store)
        before = packed(path)
        store.cache_bytes = 0
        for i in range(300):
            store.write(neurons([i], seed=1))
        commit(store, tick=2)
        needed = sum(ref.length for ref in store.directory.leaves() if ref.commit == store.commit.number)
        assert packed(path) - before <= 2 * needed + (1 << 16)


def test_what_waits_is_seen_by_whoever_asks(tmp_path: Path) -> None:
    model = DictStore()
    with writing(tmp_path / "a.engram") as store:
        for changes in (neurons(range(100)), neurons(range(1 << 48, (1 << 48) + 30), degree=0)):
            store.write(changes)
            model.write(changes)
        commit(store)
        one_by_one(store, model, range(90, 140))
        for changes in (state_change([3, 5], 7), state_change([5], 9), neurons([(1 << 48) + 40], degree=0)):
            store.write(changes)
            model.write(changes)
        wanted = ids(*range(200))
        assert merged([store.find(wanted)]) == {i: one for i, one in model.neurons.items() if i < 200}
        assert {int(i) for part in store.changing for i in part.ids} >= {3, 5, 139, (1 << 48) + 40}
        store.write(forgotten([4, 91, 139]))
        model.write(forgotten([4, 91, 139]))
        one_by_one(store, model, range(139, 141))
        assert merged([store.find(wanted)]) == {i: one for i, one in model.neurons.items() if i < 200}
        assert merged(store.scan()) == model.neurons
        assert sum(ref.rows for ref in store.directory.leaves()) == len(model.neurons)
        commit(store)
        assert store.commit.neurons == len(model.neurons)
        assert sound(store.path)


def test_neurons_that_are_new_get_what_nobody_gave_them(tmp_path: Path) -> None:
    """Columns that all changes of a part keep are of those to be born, too."""
    made = Spec(seed=1, layers=[Layer("a", segments=[1000, 1000], columns=("bias", "tau"))])
    path = tmp_path / "a.engram"
    Store.create(path, made, Bundles.initial(made))
    with writing(path) as store:
        store.write(neurons([1], degree=0))
        commit(store)
        for new in (500, 1 << 32):  # in a leaf, and in a segment without any
            store.write(neurons([new], degree=0))
            store.write(neurons([new, new + 1], degree=0, seed=1))
            given = neurons([new + 1], degree=0, seed=2)
            given.state["param.bias"] = np.array([3.0])
            store.write(given)
            found = store.find(ids(new, new + 1))
            assert found.state["param.bias"].tolist()[1] == 3.0
            assert np.isnan(found.state["param.tau"]).all()
        commit(store)
        assert len({tuple(sorted(part.state)) for part in store.scan()}) == 1
        store.write(neurons([502, (1 << 32) + 2], degree=0))
        commit(store)
        assert merged(store.scan()).keys() == {1, 500, 501, 502, 1 << 32, (1 << 32) + 1, (1 << 32) + 2}
    assert sound(path)


def test_what_waits_is_dropped_by_a_restore_and_by_closing(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(100)))
        number = commit(store)
        store.write(neurons([5], seed=9))
        store.restore(number)
        assert merged(store.scan()) == merged([neurons(range(100))])
        store.write(neurons([6], seed=9))
    with Store.open(path) as store:
        assert merged(store.scan()) == merged([neurons(range(100))])


def test_what_waits_takes_of_the_cache_and_no_more_than_it_may(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram", cache_bytes=1 << 16) as store:
        store.write(neurons(range(2000)))
        commit(store)
        least = most = store.cached_bytes
        for i in range(400):
            store.write(neurons([i], seed=1))
            waiting = sum(part.nbytes for part in store.changing)
            assert waiting <= store.cached_bytes <= store.cache_bytes
            least, most = min(least, waiting), max(most, waiting)
        assert most > 1 << 13
        assert most <= 1 << 14
        store.cache_bytes = 0
        assert store.changing == ()
        assert store.cached_bytes == 0
        assert len(store.find(ids(*range(2000)))) == 2000


def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.write(neurons(range(100)))
        wrong = neurons([5])
        wrong.state["spike_count"] = wrong.state["spike_count"].astype(np.int64)
        with pytest.raises(InvalidInput, match="state columns differ"):
            store.write(wrong)
        with pytest.raises(InvalidInput, match=r"state columns differ.*last_spike"):
            store.write(Records.of_state(ids(300), {"spike_count": np.ones(1, np.uint32)}))
        assert merged(store.scan()) == merged([neurons(range(100))])


def test_a_full_disk_when_what_waits_is_written_loses_nothing(tmp_path: Path) -> None:
    model, files = DictStore(), FaultyFiles()
    path = tmp_path / "a.engram"
    with writing(path, files=files) as store:
        store.write(neurons(range(100)))
        model.write(neurons(range(100)))
        commit(store)
        one_by_one(store, model, range(20, 30))
        files.full_at = files.operation
        with pytest.raises(DiskFull):
            commit(store)
        assert merged([store.find(ids(*range(100)))]) == model.neurons
        files.full_at = None
        one_by_one(store, model, range(25, 40))
        commit(store)
        assert merged(store.scan()) == model.neurons
    assert sound(path)


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 30), min_size=1, max_size=6)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_parts_that_were_put_together_do_what_all_changes_do(story: list[tuple[int, list[int]]]) -> None:
    makers: list[Callable[[list[int], int], Records]] = [
        lambda wanted, seed: neurons(wanted, seed=seed),
        lambda wanted, seed: state_change(wanted, seed),
        lambda wanted, seed: neurons(wanted, degree=0, seed=seed),
        lambda wanted, seed: neurons(wanted, degree=7, seed=seed),
    ]
    pending, whole = Pending(lambda changes: changes), neurons(range(20))
    for seed, (kind, wanted) in enumerate(story):
        changes = makers[kind](sorted(set(wanted)), seed)
        pending.add(changes)
        whole = apply(whole, changes)
    found: Any = neurons(range(20))
    lengths = [len(part) for part in pending.of(0)]
    assert all(one >= 2 * other for one, other in pairwise(lengths))
    for part in pending.of(0):
        found = apply(found, part)
    assert merged([found]) == merged([whole])
    together = list(pending.written())
    assert len(together) == (1 if story else 0)
    assert not pending
    assert merged([apply(neurons(range(20)), part) for part in together] or [whole]) == merged([whole])


def test_a_thread_that_has_what_waits_written_and_one_that_writes_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bulk writing looks for the last leaf of a segment in a thread, while the one before it is being written."""
    with writing(tmp_path / "a.engram") as store:
        store.cache_bytes = 1 << 24
        for first in (0, 20):  # the first of a layer wait for nothing
            store.write(neurons(range(first, first + 5)))
        began, go_on = Event(), Event()
        write = Writer.write

        def slowly(writer: Writer, changes: Records) -> None:
            began.set()
            go_on.wait(30)
            write(writer, changes)

        monkeypatch.setattr(Writer, "write", slowly)
        reading = Thread(target=lambda: store.directory)
        reading.start()
        assert began.wait(30)
        adding = Thread(target=lambda: store.write(neurons(range(10, 15))))
        adding.start()
        adding.join(0.2)  # it may be done by now only where nobody takes turns
        go_on.set()
        reading.join()
        adding.join()
        assert [int(i) for part in store.scan() for i in part.ids] == [*range(5), *range(10, 15), *range(20, 25)]
