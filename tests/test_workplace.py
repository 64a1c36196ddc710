"""Folders in which engrams are made: those of killed makers go, those of living ones are left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import engramdb
from engramdb import Bernoulli, Layer, SmallWorld, Spec
from engramdb.errors import AlreadyExists, NotFound
from engramdb.store.files import OS_FILES
from engramdb.store.workplace import claim, workplace

VIRTUAL = Spec(layers=[Layer("a", segments=[50], wiring=SmallWorld(k=4, span=9))])
BUILT = Spec(layers=[Layer("a", segments=[50], wiring=Bernoulli(p=0.1))])

_CREATE = """
import sys
from pathlib import Path
from engramdb.store import workplace as made
from engramdb.store.files import OsFiles
import engramdb

class Stopping(OsFiles):
    def replace(self, source, target):
        if target.name == "net.engram":
            print("here", flush=True)
            sys.stdin.read()
        super().replace(source, target)

files = Stopping()
spec = engramdb.Spec.from_json(sys.argv[2])
if sys.argv[3] == "virtual":
    from engramdb.growth.bundle import Bundles
    from engramdb.store import Store
    Store.create(Path(sys.argv[1]), spec, Bundles.initial(spec), files=files)
else:
    made.put_in_place.__kwdefaults__["files"] = files
    engramdb.create(sys.argv[1], spec)
"""


@contextmanager
def creating(path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is about to give the engram that it has made its name."""
    spec = VIRTUAL if kind == "virtual" else BUILT
    command = [sys.executable, "-c", _CREATE, str(path), spec.to_json(), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        try:
            yield child
        finally:
            child.kill()


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


@pytest.mark.parametrize("kind", ["virtual", "built"])
def test_a_killed_creation_is_cleared_up_by_the_next_one_of_the_same_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.engram"
    with creating(path, kind) as child:
        left = hidden(tmp_path)
        assert len(left) == 1
        engramdb.create(tmp_path / "other.engram", VIRTUAL).close()
        assert hidden(tmp_path) == left
        child.send_signal(signal.SIGKILL)
        child.wait()
    engramdb.create(tmp_path / "another.engram", BUILT).close()
    assert hidden(tmp_path) == left, "it is another engram's"
    engramdb.create(path, VIRTUAL).close()
    assert hidden(tmp_path) == []
    assert engramdb.verify(path).ok


@pytest.mark.parametrize("kind", ["virtual", "built"])
def test_a_living_creation_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.engram"
    with creating(path, kind) as child:
        left = hidden(tmp_path)
        engramdb.create(path, BUILT).close()
        assert hidden(tmp_path) == left
        with pytest.raises(AlreadyExists):
            engramdb.create(path, BUILT)
        assert hidden(tmp_path) == left
        assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()  # it goes on, and finds the place taken
        assert child.wait() == 1
    assert hidden(tmp_path) == []
    assert engramdb.verify(path).ok


def test_what_a_killed_creation_left_goes_also_when_the_engram_is_there(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    engramdb.create(path, VIRTUAL).close()
    folder, handle = claim(path, OS_FILES)
    (folder / "run-0").write_bytes(b"edges")
    os.close(handle)
    with pytest.raises(AlreadyExists):
        engramdb.create(path, VIRTUAL)
    assert hidden(tmp_path) == []


def test_a_maker_of_the_same_purpose_goes_on_where_a_killed_one_was(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    for purpose, found in (({"make": 1}, False), ({"make": 2}, False), ({"make": 2}, True)):
        with workplace(path, purpose) as work:
            assert (work / "engram").exists() == found
            (work / "engram").mkdir(exist_ok=True)
            (work / "run-0").write_bytes(b"edges")
            _as_if_killed(work, tmp_path / "left")
        assert hidden(tmp_path) == []
        (tmp_path / "left").rename(work)
    with workplace(path, {"make": 2}) as work:
        assert sorted(os.listdir(work)) == ["engram", "lock", "purpose"]
        (work / "engram").rmdir()
        _as_if_killed(work, tmp_path / "left")
    (tmp_path / "left").rename(work)
    with workplace(path) as other:
        assert sorted(os.listdir(other)) == ["lock"]
    assert hidden(tmp_path) == []


def _as_if_killed(work: Path, copy: Path) -> None:
    """Keep what would be there: a kill leaves everything but the lock's holder."""
    shutil.copytree(work, copy)


def test_a_folder_whose_maker_has_not_locked_it_yet_is_only_removed_empty(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    (tmp_path / ".net.engram.making-1").mkdir()
    (tmp_path / ".net.engram.making-2").mkdir()
    (tmp_path / ".net.engram.making-2" / "something").touch()
    with workplace(path):
        pass
    assert hidden(tmp_path) == [".net.engram.making-2"]


def test_a_place_needs_a_folder_and_must_be_free(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a folder; make it first"), workplace(tmp_path / "no" / "net.engram"):
        pass
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(AlreadyExists, match="link exists already"), workplace(tmp_path / "link"):
        pass
