"""Who works beside whom: one writer, readers in other processes, threads of one handle."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread

import numpy as np
import pytest

from engramdb.cli import main
from engramdb.errors import EngramError, HandleClosed, Locked
from engramdb.store import LeafPolicy, Records, Store, compaction, writer
from engramdb.store.upkeep import gc
from engramdb.testing import merged
from tests.stores import commit, create, forgotten, ids, neurons, refs_of, sound, state_change, writing

ROOT = Path(__file__).resolve().parent.parent
NEURONS = np.arange(300, dtype=np.uint64)


# a history in which everything follows from the tick


def counts_at(tick: int, wanted: np.ndarray) -> np.ndarray:
    """What ``spike_count`` is after the commit of ``tick``: each neuron changes in every fifth."""
    return np.maximum(tick - (wanted.astype(np.int64) + tick) % 5, 0)


def changes_at(tick: int) -> Records:
    return state_change(NEURONS[(NEURONS.astype(np.int64) + tick) % 5 == 0], tick)


def guests_at(tick: int) -> Records:
    """Neurons that are there after every third tick, and forgotten after the others."""
    guests = np.arange(1000, 1040)
    return neurons(guests, seed=tick) if tick % 3 == 0 else forgotten(guests)


def begun(path: Path, **options: object) -> Store:
    store = writing(path, **options)
    first = neurons(NEURONS)
    first.state["spike_count"][:] = 0
    store.write(first)
    commit(store, tick=0)
    return store


_READER = """
import random, sys, time
from pathlib import Path
import numpy as np
from engramdb.errors import NotFound
from engramdb.store import Store
from engramdb.testing import merged
from tests.test_store_concurrency import NEURONS, counts_at

path, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
least_places, least_ticks = int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
reads = places = newest = 0
seen = []
while places < least_places or newest < least_ticks:
    at = chance.choice([None, "named", *seen[-8:]])
    try:
        store = Store.open(path, at=at, cache_bytes=chance.choice([0, 1 << 14]))
    except NotFound:
        seen = [number for number in seen if number != at]
        continue
    with store:
        tick = store.commit.tick
        newest = max(newest, tick)
        if tick == 0 and store.commit.number == 1:
            continue
        if store.commit.number not in seen:
            seen.append(store.commit.number)
        places += 1
        before = merged(store.scan())
        guests = {neuron for neuron in before if neuron >= 1000}
        assert guests == (set(range(1000, 1040)) if tick % 3 == 0 and tick else set()), (tick, guests)
        for _ in range(chance.randrange(1, 12)):
            some = np.sort(np.array(chance.sample(range(300), 20), np.uint64))
            found = store.find(some)
            assert np.array_equal(found.ids, some), (tick, found.ids)
            assert np.array_equal(found.state["spike_count"], counts_at(tick, some)), tick
            reads += 1
            time.sleep(0.002)
        assert merged(store.scan()) == before
        assert np.array_equal(store.find(NEURONS).state["spike_count"], counts_at(tick, NEURONS))
print(reads, flush=True)
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that says "ready"; it is gone afterwards, whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def readers_beside_a_writer(path: Path, places: int, ticks: int) -> int:
    """Two readers stand at so many places each, and the writer makes so many commits or more; how many lookups."""
    with begun(path) as store:
        store.snapshot("named")
        tick = 0
        with child(_READER, path, 1, places, ticks) as one, child(_READER, path, 2, places, ticks) as other:
            while one.poll() is None or other.poll() is None:
                tick += 1
                store.commit_behind(lambda t=tick: [changes_at(t), guests_at(t)], tick, dict, store.bundles)  # type: ignore[misc]
                if tick % 4 == 0:
                    store.settle()
                if tick % 7 == 0:
                    store.compact()
                if tick % 5 == 0:
                    store.gc(keep_last=1, keep_days=0.0)
            said = [process.communicate() for process in (one, other)]
        assert [process.returncode for process in (one, other)] == [0, 0], [error for _, error in said]
        store.settle()
        assert np.array_equal(store.find(NEURONS).state["spike_count"], counts_at(tick, NEURONS))
    return sum(int(text) for text, _ in said)


def small_steps(patch: pytest.MonkeyPatch) -> None:
    """Packs are written anew, copied and compacted all the time."""
    patch.setattr(writer, "_SPILL_SLACK", 0)
    patch.setattr("engramdb.store.store.SMALL_BYTES", 1000)  # some changes wait, others do not
    patch.setattr(compaction, "BATCH_BYTES", 3000)
    patch.setattr(gc, "_COPIED_BYTES", 3000)


def test_readers_in_other_processes_see_their_commit_while_a_writer_commits_compacts_and_collects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_steps(monkeypatch)
    assert readers_beside_a_writer(tmp_path / "a.engram", places=5, ticks=15) >= 10
    assert sound(tmp_path / "a.engram")


@pytest.mark.slow
def test_readers_see_their_commit_for_a_long_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch)
    assert readers_beside_a_writer(tmp_path / "a.engram", places=60, ticks=300) >= 120
    assert sound(tmp_path / "a.engram")


# threads of one handle


def lookups_beside_commits(path: Path, ticks: int, lookups: int, cache_bytes: int) -> None:
    """Look neurons up in a thread while the handle commits in the background and compacts: so often each, or more."""
    now, stop, wrong, reads = [0], Event(), [], [0]
    with begun(path, cache_bytes=cache_bytes) as store:

        def look_up() -> None:
            chance = random.Random(5)
            try:
                while not stop.is_set():
                    some = np.sort(np.array(chance.sample(range(300), 25), np.uint64))
                    earliest = now[0]
                    found = store.find(some)
                    latest = now[0] + 1  # which may be on its way
                    assert np.array_equal(found.ids, some)
                    possible = [counts_at(tick, some) for tick in range(earliest, latest + 1)]
                    assert (found.state["spike_count"] == possible).any(axis=0).all(), (earliest, latest)
                    reads[0] += 1
                    stop.wait(0.001 * (reads[0] % 3 == 0))
            except (AssertionError, EngramError, OSError) as error:
                wrong.append(error)

        thread = Thread(target=look_up)
        thread.start()
        try:
            tick = 0
            while not wrong and (tick < ticks or reads[0] < lookups):
                tick += 1
                store.commit_behind(lambda t=tick: [changes_at(t), guests_at(t)], tick, dict, store.bundles)  # type: ignore[misc]
                now[0] = tick
                store.journal_append("note", tick, {"tick": tick}, {})
                if tick % 6 == 0:
                    store.compact()
        finally:
            stop.set()
            thread.join()
        if wrong:
            raise wrong[0]
        assert [frame.meta["tick"] for frame in store.journal_frames()] == [tick]
        store.settle()
        assert np.array_equal(store.find(NEURONS).state["spike_count"], counts_at(tick, NEURONS))


@pytest.mark.parametrize("cache_bytes", [0, 20_000])
def test_lookups_in_a_thread_see_what_is_acknowledged_while_commits_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_bytes: int
) -> None:
    small_steps(monkeypatch)
    lookups_beside_commits(tmp_path / "a.engram", ticks=20, lookups=20, cache_bytes=cache_bytes)
    assert sound(tmp_path / "a.engram")


@pytest.mark.slow
@pytest.mark.parametrize("cache_bytes", [0, 20_000])
def test_lookups_in_a_thread_for_a_long_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_bytes: int) -> None:
    small_steps(monkeypatch)
    lookups_beside_commits(tmp_path / "a.engram", ticks=600, lookups=600, cache_bytes=cache_bytes)
    assert sound(tmp_path / "a.engram")


def test_a_lookup_finds_what_was_packed_anew_since_it_was_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit in the background comes between finding out where a leaf lies and reading it there."""
    small_steps(monkeypatch)
    path = tmp_path / "a.engram"
    with begun(path, policy=LeafPolicy(), cache_bytes=0) as store:
        for seed in range(4):
            store.write(neurons(NEURONS, seed=seed))
        located, go_on = Event(), Event()
        directory = store.directory
        locate = directory.locate

        def held(wanted: np.ndarray) -> object:
            refs = locate(wanted)
            if current_thread() is not main_thread() and not located.is_set():
                located.set()
                assert go_on.wait(60)
            return refs

        monkeypatch.setattr(directory, "locate", held)
        asking = ThreadPoolExecutor(1)
        found = asking.submit(lambda: store.find(ids(3, 7)))
        assert located.wait(60)
        # first a delta, which is another version, then the leaf anew: the one that was located goes with its pack
        store.commit_behind(lambda: [state_change([3], 50), neurons(NEURONS, seed=9)], 1, dict, store.bundles)
        store.settle()
        go_on.set()
        records = found.result()
        asking.shutdown()
        expected = neurons(NEURONS, seed=9)
        assert records.state["spike_count"].tolist() == expected.state["spike_count"][[3, 7]].tolist()


# one writer


def test_the_command_line_says_in_one_line_who_writes_and_ends_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+"):
        assert main(["snapshot", str(path), "s"]) == Locked.exit_code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert f"process {os.getpid()} on " in line
    assert "wait until it closes" in line
    assert main(["snapshot", str(path), "s"]) == 0


@pytest.mark.parametrize("text", ["process 1 on elsewhere\n", "process {alive} on {host}\n", "", "\0garbage\xff"])
def test_a_lock_file_of_a_dead_process_holds_nothing(tmp_path: Path, text: str) -> None:
    """Whatever it says: of a living process with the same number, of another machine, or nothing at all."""
    path = create(tmp_path / "a.engram")
    text = text.format(alive=os.getpid(), host=os.uname().nodename)
    (path / "lock").write_bytes(text.encode("latin-1"))
    with writing(path) as store:
        commit(store)
        with pytest.raises(Locked, match=f"process {os.getpid()} on"):
            Store.open(path, "r+")
    assert sound(path)


def test_a_copied_engram_is_not_locked_by_the_writer_of_the_first(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with writing(path) as store:
        store.write(neurons(range(40)))
        commit(store)
        store.close()
        with writing(path):
            copy = shutil.copytree(path, tmp_path / "copy.engram")
            with writing(copy) as other:
                other.write(neurons([100]))
                commit(other)
    assert sound(copy)


def test_a_child_forked_during_a_commit_in_the_background_disturbs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    store = begun(path)
    arrived, go_on = Event(), Event()

    def state() -> dict[str, np.ndarray]:
        arrived.set()
        assert go_on.wait(60)
        return {"ring": np.arange(3)}

    store.commit_behind(lambda: [changes_at(1)], 1, state, store.bundles)
    assert arrived.wait(60)
    pid = os.fork()
    if pid == 0:
        refused = _refused([store.settle, lambda: store.find(ids(1)), lambda: commit(store)])
        store.close()
        os._exit(0 if refused == 3 else 1)
    go_on.set()
    store.settle()
    assert os.waitpid(pid, 0)[1] == 0
    assert (store.commit.tick, store.read_state()["ring"].tolist()) == (1, [0, 1, 2])
    store.close()
    with Store.open(path) as reader:
        assert np.array_equal(reader.find(NEURONS).state["spike_count"], counts_at(1, NEURONS))
    assert sound(path)


def _refused(calls: list[Callable[[], object]]) -> int:
    refused = 0
    for call in calls:
        try:
            call()
        except HandleClosed:
            refused += 1
    return refused


def test_handles_of_one_process_are_apart(tmp_path: Path) -> None:
    """A reader beside the writer in one process, as in an interpreter where someone looks around."""
    path = tmp_path / "a.engram"
    with begun(path) as store, Store.open(path) as reader:
        before = merged(reader.scan())
        held = refs_of(reader)
        for tick in range(1, 8):
            store.commit_behind(lambda t=tick: [changes_at(t)], tick, dict, store.bundles)  # type: ignore[misc]
            assert merged(reader.scan()) == before
        store.settle()
        store.gc(keep_last=0, keep_days=0.0)
        assert refs_of(reader) == held
        assert merged(reader.scan()) == before
    assert sound(path)
