"""Engrams of every format there ever was still open, say the same, and live on."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from pathlib import Path

import pytest

import engramdb
from engramdb.errors import KernelMismatch
from engramdb.store.catalog import FORMAT_VERSION
from tests.archives import make

ARCHIVES = sorted(make.FOLDER.glob("format-*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.gz"))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict]:
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / make.NAME, json.loads(Path(str(request.param).replace(".tar.gz", ".json")).read_text())


def test_every_format_up_to_the_present_has_an_archive() -> None:
    assert [archive.name for archive in ARCHIVES] == [f"format-{n + 1}.tar.gz" for n in range(FORMAT_VERSION)]


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


def test_the_archive_has_every_kind_of_version(archive: tuple[Path, dict]) -> None:
    path, _ = archive
    with sqlite3.connect(path / "catalog.sqlite") as catalog:
        kinds = set(catalog.execute("SELECT DISTINCT kind, depth FROM versions").fetchall())
    catalog.close()
    assert {(1, 0), (2, 1), (2, 2), (2, 3), (2, 4), (5, 0)} <= kinds
