"""Engrams of every format there ever was still open, say the same, and live on."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb.errors import KernelMismatch
from engramdb.store import Store
from engramdb.store.catalog import FORMAT_VERSION
from tests.archives import make

ARCHIVES = sorted(make.FOLDER.glob("format-*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.gz"))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict]:
    path = opened(request.param.name.removesuffix(".tar.gz"), tmp_path)
    return path, json.loads(Path(str(request.param).replace(".tar.gz", ".json")).read_text())


def test_every_format_up_to_the_present_has_an_archive() -> None:
    names = {archive.name.removesuffix(".tar.gz") for archive in ARCHIVES}
    assert {f"format-{n + 1}" for n in range(FORMAT_VERSION)} <= names == make.MAKERS.keys()


def test_an_archived_engram_is_whole_and_says_what_it_said(archive: tuple[Path, dict]) -> None:
    path, expected = archive
    report = engramdb.verify(path)
    assert [str(problem) for problem in report.problems] == []
    assert report.notes == []
    assert make.contents(path) == expected["contents"]


def test_an_archived_engram_goes_on_as_it_would_have_gone_on(archive: tuple[Path, dict]) -> None:
    path, expected = archive
    try:
        future = make.future(path)
    except KernelMismatch:  # its journal needs the arithmetic of its day
        return
    assert future == expected["future"]
    with engramdb.open(path, "r+") as e:
        e.compact()
        e.gc(keep_last=0, keep_days=0)
    contents = make.contents(path)
    for name, said in expected["contents"]["past"].items():
        if name not in ("now", "branch main"):
            assert contents["past"][name] == said, name


def opened(name: str, folder: Path) -> Path:
    """The archived engram ``name``, laid out in ``folder``."""
    with tarfile.open(make.FOLDER / f"{name}.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    return folder / make.NAME


def test_the_archive_has_every_kind_of_version(tmp_path: Path) -> None:
    path = opened("format-1", tmp_path)
    with sqlite3.connect(path / "catalog.sqlite") as catalog:
        kinds = set(catalog.execute("SELECT DISTINCT kind, depth FROM versions").fetchall())
    catalog.close()
    assert {(1, 0), (2, 1), (2, 2), (2, 3), (2, 4), (5, 0)} <= kinds


def test_the_rich_archive_has_every_kind_of_column_state_and_frame(tmp_path: Path) -> None:
    path = opened("format-1-rich", tmp_path)
    with Store.open(path) as store:
        state, frames = store.read_state(), {frame.kind for frame in store.journal_frames()}
        records = store.find(np.arange(500, dtype=np.uint64))
    assert records.delay is not None
    assert {"param.bias", "param.tau"} <= records.state.keys()
    under_way = {"charged_id", "flight_id", "poisson_id", "train_id"}
    assert under_way <= {name for name, array in state.items() if len(array)}
    assert frames == {"poisson", "play", "stop_stimuli", "parameters", "connect", "ran"}


def test_the_archive_of_format_2_has_traces_and_every_kind_of_row_of_the_index(tmp_path: Path) -> None:
    path = opened("format-2", tmp_path)
    with sqlite3.connect(path / "catalog.sqlite") as catalog:
        assert catalog.execute("PRAGMA user_version").fetchone() == (2,)
        assert {kind for (kind,) in catalog.execute("SELECT kind FROM reverse")} == {"run", "touched"}
        assert {neurons > 0 for (neurons,) in catalog.execute("SELECT neurons FROM traces")} == {True, False}
    catalog.close()
    with Store.open(path) as store:
        assert "imprint" in {frame.kind for frame in store.journal_frames()}
    with engramdb.open(path, "r+") as e:
        assert [trace.name for trace in e.traces()] == ["burst", "late", "odor"]


def test_an_engram_of_format_1_gets_format_2_with_the_first_change(tmp_path: Path) -> None:
    path = tmp_path / "old.engram"
    layer = engramdb.Layer("a", segments=[50], wiring=engramdb.SmallWorld(k=4, span=9, weight=9.0))
    engramdb.create(path, engramdb.Spec(seed=1, layers=[layer])).close()

    def version() -> int:
        with contextlib.closing(sqlite3.connect(path / "catalog.sqlite")) as catalog:
            return int(catalog.execute("PRAGMA user_version").fetchone()[0])

    with contextlib.closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as catalog:
        catalog.execute("PRAGMA user_version = 1")
    with engramdb.open(path) as e:
        assert len(e) == 50
    assert version() == 1
    with engramdb.open(path, "r+") as e:
        e.stimulate(np.arange(9), 20.0)
        e.run(3)
        e.checkpoint()
    assert version() == 2
    assert not list(engramdb.verify(path).problems)
