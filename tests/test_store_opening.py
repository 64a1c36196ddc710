"""Opening: who may, what is refused and in which words, and who disturbs whom."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from engramdb import FixedOutdegree, Layer, Spec
from engramdb.errors import AlreadyExists, HandleClosed, InvalidInput, Locked, NotAnEngram, NotFound, ReadOnly
from engramdb.growth.bundle import Bundles
from engramdb.store import Store, verify
from engramdb.testing import merged
from tests.stores import commit, create, neurons, spec, state_change, writing


def child(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs ``script`` and says "ready" when it has done its part."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


HOLD = """
    import sys
    from engramdb.store import Store
    store = Store.open(sys.argv[1], sys.argv[2])
    print("ready", flush=True)
    sys.stdin.read()
    store.close()
"""


def test_a_path_that_is_no_engram_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("empty", "file", "nothing"):
        for mode in ("r", "r+"):
            with pytest.raises(NotAnEngram, match=f"{name} is not an engram"):
                Store.open(tmp_path / name, mode)  # type: ignore[arg-type]
        with pytest.raises(NotAnEngram):
            verify(tmp_path / name)
    assert list((tmp_path / "empty").iterdir()) == []


def test_nothing_is_created_over_anything_or_into_nowhere(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "dangling")
    made = spec()
    for taken in (path, tmp_path / "folder", tmp_path / "link"):
        with pytest.raises(AlreadyExists, match="exists already"):
            Store.create(taken, made, Bundles.initial(made))
    with pytest.raises(NotFound, match="is not a folder"):
        Store.create(tmp_path / "no" / "a.engram", made, Bundles.initial(made))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.engram", "folder", "link"], "no temporary folder is left"


def test_a_hundred_billion_declared_neurons_take_less_than_a_megabyte(tmp_path: Path) -> None:
    layer = Layer("cortex", segments=[4_000_000_000] * 25, wiring=FixedOutdegree(k=12))
    large = Spec(seed=7, layers=[layer])
    path = tmp_path / "large.engram"
    Store.create(path, large, Bundles.initial(large))
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= 1_000_000
    with Store.open(path) as store:
        assert store.spec == large
        assert store.bundles == Bundles.initial(large)
        assert (store.commit.number, store.commit.tick, store.read_state()) == (1, 0, {})


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with child(HOLD, path, "r+") as first:
        message = (
            rf"a\.engram is being written by process {first.pid} on \S+: wait until it closes, or open it for reading"
        )
        with pytest.raises(Locked, match=message) as refused:
            Store.open(path, "r+")
        assert refused.value.exit_code == 3
        with Store.open(path) as reader:
            assert reader.commit.number == 1
        first.communicate()
    with Store.open(path, "r+"), pytest.raises(Locked, match=f"process {os.getpid()}"):
        Store.open(path, "r+")


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    script = """
        import sys
        from tests.stores import commit, neurons, writing
        from pathlib import Path
        store = writing(Path(sys.argv[1]))
        store.write(neurons(range(50)))
        commit(store)
        store.journal_append("note", 2, {}, {})
        store.write(neurons(range(70), seed=3))
        store.settle()
        print("ready", flush=True)
        sys.stdin.read()
    """
    with child(script, path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert verify(path).ok
    assert any(".pack is named by no commit" in note for note in verify(path).notes)
    with writing(path) as store:
        assert [frame.sequence for frame in store.journal_frames()] == [1]
        assert merged(store.scan()).keys() == set(range(50))
        assert len(list((path / "packs").iterdir())) == 1, "what the dead writer left over is gone"
    assert verify(path).notes == []


def test_a_reader_stays_at_its_commit_while_a_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        store.write(neurons(range(100)))
        commit(store, tick=1)
        with Store.open(path, cache_bytes=0) as reader:
            before = merged(reader.scan())
            for tick in range(2, 6):
                store.write(state_change(range(tick, 100, 3), tick))
                store.write(neurons(range(100 * tick, 100 * tick + 40)))
                commit(store, tick=tick)
                assert merged(reader.scan()) == before
                assert reader.commit.tick == 1
                with Store.open(path) as newer:
                    assert newer.commit.tick == tick
                    assert len(merged(newer.scan())) == 100 + 40 * (tick - 1)


def test_a_reader_in_another_process_disturbs_no_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        commit(store)
        with child(HOLD, path, "r") as reader:
            for _ in range(3):
                store.write(neurons(range(10)))
                commit(store)
            reader.communicate()
            assert reader.returncode == 0


def test_readers_pin_their_commit_and_dead_pins_are_removed(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    (path / "pins" / "1-DEAD").write_text("")
    with Store.open(path), Store.open(path, at=1):
        assert len(list((path / "pins").iterdir())) == 3
        with Store.open(path, "r+"):
            pins = {pin.name for pin in (path / "pins").iterdir()}
            assert len(pins) == 2
            assert all(pin.startswith("1-") for pin in pins)
    assert list((path / "pins").iterdir()) == []


@pytest.mark.parametrize("logged", [False, True])
def test_a_folder_that_cannot_be_written_to_can_be_read(logged: bool) -> None:
    """As another user where this one is root, because permissions do not bind root."""
    script = """
        import os, sys
        from engramdb.errors import ReadOnly
        from engramdb.store import Store
        with Store.open(sys.argv[2]) as store:
            store.read_state()  # everything is imported before this process may read less
        if os.getuid() == 0:
            os.setuid(65534)
        with Store.open(sys.argv[1]) as store:
            assert sum(len(part) for part in store.scan()) == 30
            assert store.commit.tick == 4
        try:
            Store.open(sys.argv[1], "r+")
        except ReadOnly as error:
            assert "open it for reading" in str(error)
            print("ready", flush=True)
    """
    with tempfile.TemporaryDirectory() as folder:  # the test's own temporary folder is closed to other users
        path = Path(folder) / "a.engram"
        other = create(Path(folder) / "other.engram")
        store = writing(path)
        store.write(neurons(range(30)))
        commit(store, tick=4)
        if not logged:
            store.close()
        for place in (Path(folder), path, *path.rglob("*")):
            place.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH | (0o111 if place.is_dir() else 0))
        try:
            child(script, path, other).communicate()
        finally:
            for place in (Path(folder), path, *path.rglob("*")):
                place.chmod(0o700)
            store.close()


def test_a_handle_is_useless_after_a_fork_and_the_parent_keeps_its_own(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    store = writing(path)
    store.write(neurons(range(10)))
    pid = os.fork()
    if pid == 0:
        refused = 0
        for action in (lambda: store.find(np.arange(3, dtype=np.uint64)), lambda: commit(store), store.log):
            try:
                action()
            except HandleClosed as error:
                refused += "opened before a fork: open the engram anew" in str(error)
        store.close()
        os._exit(0 if refused == 3 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    with pytest.raises(Locked):
        Store.open(path, "r+")
    commit(store)
    assert len(store.find(np.arange(10, dtype=np.uint64))) == 10
    store.close()
    assert verify(path).ok


def test_a_forgotten_handle_holds_nothing(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    for mode in ("r+", "r"):
        store = Store.open(path, mode)  # type: ignore[arg-type]
        assert store.commit.number == 1
        del store
        gc.collect()
    with Store.open(path, "r+"):
        assert list((path / "pins").iterdir()) == []


def test_a_closed_handle_says_so(tmp_path: Path) -> None:
    store = writing(tmp_path / "a.engram")
    store.close()
    store.close()
    for action in (lambda: next(store.scan()), store.snapshots, store.read_state, lambda: commit(store)):
        with pytest.raises(HandleClosed, match="is closed; open the engram again"):
            action()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path) as store:
        for action in (
            lambda: store.write(neurons(range(3))),
            lambda: commit(store),
            lambda: store.journal_append("x", 1, {}, {}),
            lambda: store.snapshot("s"),
            lambda: store.delete_snapshot("s"),
            lambda: store.restore(1),
            lambda: store.branch("b"),
            lambda: store.write_labels(0, iter([])),
        ):
            with pytest.raises(ReadOnly, match='open it with mode "r\\+"'):
                action()


def test_unknown_places_and_modes_are_refused(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    for wrong, problem in (
        (
            {"at": "nothing"},
            'no snapshot "nothing", nor a branch of that name or a commit.*snapshots: none',
        ),
        ({"at": 99}, "no commit 99"),
        ({"at": -1}, "no commit -1"),
        ({"branch": "dev"}, 'no branch "dev"; known: main'),
    ):
        with pytest.raises(NotFound, match=problem):
            Store.open(path, **wrong)  # type: ignore[arg-type]
    for mode, options in (("w", {}), ("r+", {"at": 1}), ("r+", {"durability": "none"})):
        with pytest.raises(InvalidInput):
            Store.open(path, mode, **options)  # type: ignore[arg-type]
    with Store.open(path, "r+"):
        pass  # nothing that was refused holds the lock


@pytest.mark.parametrize("name", ["", " x", "12", "a\nb", "x" * 201, "live"])
def test_names_that_cannot_be_told_apart_are_refused(tmp_path: Path, name: str) -> None:
    with writing(tmp_path / "a.engram") as store:
        for action in (store.snapshot, store.branch):
            with pytest.raises(InvalidInput, match="cannot name a"):
                action(name)


def test_a_name_can_be_taken_only_once(tmp_path: Path) -> None:
    with writing(tmp_path / "a.engram") as store:
        store.snapshot("s")
        with pytest.raises(AlreadyExists, match='there is a snapshot "s" already'):
            store.snapshot("s")
        with pytest.raises(AlreadyExists, match='there is a branch "main" already'):
            store.branch("main")
        with pytest.raises(AlreadyExists, match='there is a snapshot "s" already'):
            store.branch("s")
        store.branch("b")
        with pytest.raises(AlreadyExists, match='there is a branch "b" already'):
            store.snapshot("b")
        store.delete_snapshot("s")
        with pytest.raises(NotFound):
            store.delete_snapshot("s")


def test_names_that_are_refused_now_are_found_where_an_engram_has_them(tmp_path: Path) -> None:
    path = tmp_path / "a.engram"
    with writing(path) as store:
        commit(store, tick=1)
        number = store.commit.number
        commit(store, tick=2)
        with store._catalog.transaction():  # as they could be made before
            for name in ("live", "main"):
                store._catalog.put("snapshots", (name, number, "2026-01-01T00:00:00.000+00:00"))
            store._catalog.put("branches", ("live", store.branches()[0].line, store.commit.number))
    for name in ("live", "main"):
        with Store.open(path, at=name) as past:
            assert past.commit.number == number
        with Store.open(path, "r+", branch=name) as store:
            assert store.commit.tick == 2
            store.delete_snapshot(name)


def test_many_readers_and_one_writer_at_once(tmp_path: Path) -> None:
    """Every reader sees one commit whole: all its neurons carry the same tick."""
    path = tmp_path / "a.engram"
    script = """
        import sys
        from engramdb.store import Store
        print("ready", flush=True)
        for _ in range(15):
            with Store.open(sys.argv[1]) as store:
                ticks = {int(t) for part in store.scan() for t in part.state["last_spike"]}
                assert ticks == {store.commit.tick}, (ticks, store.commit)
    """
    with writing(path) as store:
        store.write(state_change(range(100), 1))
        commit(store, tick=1)
        with child(script, path) as one, child(script, path) as other:
            tick = 1
            end = time.monotonic() + 30
            while (one.poll() is None or other.poll() is None) and time.monotonic() < end:
                tick += 1
                store.write(state_change(range(100), tick))
                commit(store, tick=tick)
            assert (one.wait(), other.wait()) == (0, 0)
        assert tick > 3
