"""A full or a broken disk, at any write: it is told in one line, nothing is lost or half visible, and life goes on."""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pytest

from engramdb.errors import DiskFull, EngramError, HandleClosed, LeafDamaged
from engramdb.growth.bundle import Bundles
from engramdb.store import Store, verify
from engramdb.testing import FaultyFiles, merged
from tests.stores import SMALL_LEAVES, commit, create, neurons, refs_of, sound, spec, writing
from tests.story import Durable, Step, Story, Told, difference, durable_at
from tests.test_store_power import small_steps

ROOT = Path(__file__).resolve().parent.parent
GROWING = ("create", "write", "fsync", "mkdir")
CHANGING = (*GROWING, "fsync_dir", "replace", "truncate", "unlink")


def usable(store: Store) -> bool:
    try:
        store.log()
    except HandleClosed:
        return False
    return True


class TroubledStory(Story):
    """Each call that fails is made again when there is space again, or the disk works again.

    Where the handle was closed, what was written since the last commit is gone, and the story goes on from there.
    """

    files: FaultyFiles
    expected: type[EngramError] = DiskFull

    def __init__(self, path: Path, files: FaultyFiles) -> None:
        super().__init__(path, files)
        self.said: list[str] = []
        self.refused: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def step(self, name: str, call: Callable[[], object], then: Callable[[], object], *, thins: bool = False) -> None:
        before = copy.deepcopy(self.told)
        try:
            super().step(name, call, then, thins=thins)
        except self.expected as error:
            self.said.append(str(error))
            self.files.full_at = self.files.broken_at = None
        else:
            return
        found = durable_at(self.path)
        if usable(self.store):
            self.refused[name] += 1
            step = Step(name, 0, 0, before.options())
            if not thins:
                assert difference(found, step) is None
            if before.behind is None:
                assert merged(self.store.scan()) == before.written.neurons
            self.step(name, call, then, thins=thins)
            return
        self.closed[name] += 1
        if thins and found.names == before.durable.names and found.commits.items() <= before.durable.commits.items():
            before.durable = found  # some of it is done
        then_told, self.told = self.told, copy.deepcopy(before)
        if not thins:
            then()
        after, self.told = self.told, then_told
        self._go_on(found, before, after)
        if self.told is not after:
            self.step(name, call, then, thins=thins)

    def _go_on(self, found: Durable, before: Told, after: Told) -> None:
        """Open again, at what is there: what was before the call, or what is after it."""
        for possible in (before, after):
            for durable in possible.options():
                if found == durable:
                    self.told = possible
                    possible.durable = durable
                    possible.stand(before.branch)
                    self.store = self._open(before.branch)
                    assert merged(self.store.scan()) == possible.written.neurons
                    return
        raise AssertionError(f"{difference(found, Step('', 0, 0, before.options() + after.options()))}")


def calls_of(path: Path, kinds: Collection[str]) -> list[int]:
    """Those calls of the undisturbed story."""
    files = FaultyFiles()
    story = Story(path, files)
    story.tell()
    story.store.close()
    return [at for at, call in enumerate(files.calls) if call in kinds]


def tell_with(path: Path, *, full_at: int | None = None, broken_at: int | None = None) -> TroubledStory:
    files = FaultyFiles()
    story = TroubledStory(path, files)
    story.expected = DiskFull if broken_at is None else EngramError
    files.full_at, files.broken_at = full_at, broken_at
    story.tell()
    files.full_at = files.broken_at = None  # what is left is closing, which only marks the journal's end
    assert [text for text in story.said if "\n" in text or "Errno" in text] == []
    assert merged(story.store.scan()) == story.told.written.neurons
    story.store.close()
    report = verify(path)
    assert ([str(problem) for problem in report.problems], report.notes) == ([], [])
    assert durable_at(path) == story.told.durable
    return story


def trouble_at_each(calls: list[int], trouble: str, fresh: Path, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How often which call was refused, and how often it closed the handle."""
    refused, closed = Counter[str](), Counter[str]()
    for at in calls:
        path = shutil.copytree(fresh, folder / "a.engram")
        try:
            story = tell_with(path, **{trouble: at})
        except BaseException as error:
            error.add_note(f"{trouble} call {at}")
            raise
        refused += story.refused
        closed += story.closed
        shutil.rmtree(path)
    return refused, closed


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_steps(monkeypatch)
    return create(tmp_path / "fresh.engram", delays=True)


def test_a_full_disk_in_the_middle_of_anything_is_told_and_the_same_call_succeeds_when_there_is_room(
    fresh: Path, tmp_path: Path
) -> None:
    calls = calls_of(shutil.copytree(fresh, tmp_path / "whole.engram"), GROWING)
    refused, _ = trouble_at_each(calls[2::30], "full_at", fresh, tmp_path)
    assert sum(refused.values()) >= 3


def test_a_broken_disk_in_the_middle_of_anything_is_told_and_loses_nothing(fresh: Path, tmp_path: Path) -> None:
    calls = calls_of(shutil.copytree(fresh, tmp_path / "whole.engram"), CHANGING)
    refused, closed = trouble_at_each(calls[5::70], "broken_at", fresh, tmp_path)
    assert sum((refused + closed).values()) >= 3


@pytest.mark.slow
def test_a_full_disk_at_each_write_of_all_is_told_and_the_same_call_succeeds_when_there_is_room(
    fresh: Path, tmp_path: Path
) -> None:
    calls = calls_of(shutil.copytree(fresh, tmp_path / "whole.engram"), GROWING)
    refused, closed = trouble_at_each(calls, "full_at", fresh, tmp_path)
    assert refused.keys() >= {"write", "journal", "commit", "settle", "labels", "compact", "restore", "branch"}
    assert closed.keys() <= {"journal", "commit", "settle", "gc", "reopen"}, "only where a sync has failed"


@pytest.mark.slow
def test_a_broken_disk_at_each_call_of_all_is_told_and_loses_nothing(fresh: Path, tmp_path: Path) -> None:
    calls = calls_of(shutil.copytree(fresh, tmp_path / "whole.engram"), CHANGING)
    refused, closed = trouble_at_each(calls, "broken_at", fresh, tmp_path)
    assert (refused + closed).keys() >= {"write", "journal", "commit", "settle", "labels", "compact", "gc", "restore"}


def test_a_full_disk_says_how_much_is_needed_and_where(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    files = FaultyFiles()
    with Store.open(path, "r+", files=files) as store:
        files.full_at = files.operation
        with pytest.raises(DiskFull, match=r"disk full: 1,\d\d\d more bytes are needed in .*/journal \(No space left"):
            store.journal_append("note", 1, {}, {"x": np.arange(200)})
        files.full_at = None
        store.write(neurons(range(100), degree=20))
        files.full_at = files.operation
        with pytest.raises(
            DiskFull, match=r"disk full: \d\d,\d\d\d more bytes are needed in .*/packs .*the journal are whole"
        ):
            store.write(neurons(range(1000), degree=20))
        assert len(store.find(np.arange(1000, dtype=np.uint64))) == 100
        files.full_at = None


def test_a_catalog_that_cannot_grow_is_told_and_the_commit_can_be_repeated(tmp_path: Path) -> None:
    path = create(tmp_path / "a.engram")
    with Store.open(path, "r+", policy=SMALL_LEAVES) as store:
        store.write(neurons(range(3000)))
        connection: sqlite3.Connection = store._catalog._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull, match=r"catalog\.sqlite cannot grow; the last commit and the journal are whole"):
            commit(store, tick=3, message="x" * 100, ring=np.arange(5))
        assert store.commit.number == 1
        store.journal_append("note", 1, {}, {})
        connection.execute("PRAGMA max_page_count = 1000000")
        commit(store, tick=3)
        assert len(store.find(np.arange(3000, dtype=np.uint64))) == 3000
    report = verify(path)
    assert (report.problems, report.notes) == ([], [])


class _UnreadableFiles(FaultyFiles):
    """A sector of a pack cannot be read."""

    sector: tuple[Path, int] | None = None

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        path, bad = self.sector or (None, -1)
        if self._handles[handle] == path and offset <= bad < offset + nbytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().pread(handle, nbytes, offset)


def test_a_place_on_the_disk_that_cannot_be_read_damages_one_leaf(tmp_path: Path) -> None:
    path, files = tmp_path / "a.engram", _UnreadableFiles()
    with writing(path) as store:
        store.write(neurons(range(100)))
        commit(store)
    with Store.open(path, files=files) as reader:
        refs = refs_of(reader)
        files.sector = reader._packs.path(refs[2].pack), refs[2].offset + 5
        with pytest.raises(LeafDamaged, match=r"leaf 3 .* in packs/.*: the disk cannot read it: Input/output error"):
            reader.find(np.arange(100, dtype=np.uint64))
        for ref in refs[:2] + refs[3:]:
            assert len(reader.find(np.arange(ref.first, ref.last + 1, dtype=np.uint64))) == ref.rows
    (problem,) = verify(path, files=files).problems
    assert "the disk cannot read it" in str(problem)
    assert sound(path)


def test_creating_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    made = spec()
    files = FaultyFiles()
    Store.create(tmp_path / "whole.engram", made, Bundles.initial(made), files=files)
    shutil.rmtree(tmp_path / "whole.engram")
    for full_at in [at for at, call in enumerate(files.calls) if call in ("create", "write", "fsync", "mkdir")]:
        with pytest.raises(DiskFull, match=f"more bytes are needed in {tmp_path}"):
            Store.create(tmp_path / "a.engram", made, Bundles.initial(made), files=FaultyFiles(full_at=full_at))
        assert list(tmp_path.iterdir()) == []


_FILL = """
import resource, sys
from pathlib import Path
import numpy as np
from engramdb.errors import DiskFull, EngramError
from engramdb.store import Store, verify
from engramdb.testing import merged, neurons_of
from tests.stores import commit, create, neurons

ballast, made = Path(sys.argv[1]) / "ballast", Path(sys.argv[1]) / "a.engram"
limit = int(sys.argv[2])

def relief():
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    else:
        ballast.unlink()

if not limit:
    ballast.write_bytes(bytes(1 << 19))
create(made)
store = Store.open(made, "r+")
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, 1 << 30))
told, trouble, expected = 0, [], {}
try:
    for number in range(2000):
        changes = neurons(np.arange(number * 40, number * 40 + 40))
        store.write(changes)
        expected |= neurons_of(changes)
        store.journal_append("note", number, {}, {"x": np.arange(40)})
        if number % 3 == 2:
            commit(store, tick=number)
            told = number
except EngramError as error:
    trouble.append(error)
# a limit of this process, which SQLite takes for a broken disk
assert isinstance(trouble[0], DiskFull) or (limit and "catalog.sqlite cannot be used" in str(trouble[0])), trouble
assert len(str(trouble[0]).splitlines()) == 1
with Store.open(made) as reader:
    assert reader.commit.tick == told
relief()
try:
    store.settle()
    usable = True
except EngramError:
    usable = False
    store.close()
    store = Store.open(made, "r+")
if usable:
    assert merged(store.scan()).items() >= {n: v for n, v in expected.items() if n < number * 40}.items()
store.write(neurons(np.arange(500_000, 500_040)))
commit(store, tick=9999)
store.close()
report = verify(made)
assert report.ok and not report.notes, report
with Store.open(made) as reader:
    found = merged(reader.scan())
    assert reader.commit.tick == 9999 and len(found) >= 40 * (told + 1)
print(number, told, usable)
"""


def _fill(command: list[str], folder: Path, limit: int) -> None:
    done = subprocess.run(
        [*command, sys.executable, "-c", _FILL, str(folder), str(limit)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    number, told, _ = done.stdout.split()
    assert int(number) >= int(told) > 0


@pytest.mark.parametrize("limit", [60_000, 150_000])
def test_files_that_may_not_grow_any_more_lose_nothing(tmp_path: Path, limit: int) -> None:
    """The largest file that the system lets this process write: packs, the journal and SQLite's log meet it."""
    _fill([], tmp_path, limit)


_MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def test_a_file_system_that_is_really_full(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && "
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*_MOUNT, mount + "true"], capture_output=True).returncode == 0:
            _fill([*_MOUNT, mount + 'exec "$@"', "sh"], tmp_path, 0)
            return
    pytest.skip("this system does not let users mount a file system of their own")
