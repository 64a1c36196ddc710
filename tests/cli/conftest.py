"""The command line in this process, and engrams made with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engramdb.cli import main
from tests.cli.terminal import EDGES, SPEC, Cli, Said


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """``cli("run", path, ...)`` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with brain.toml and brain.engram, made on the command line and run for 10 ticks."""
    folder = tmp_path_factory.mktemp("grown")
    (folder / "brain.toml").write_text(SPEC)
    path = str(folder / "brain.engram")
    assert main(["create", path, str(folder / "brain.toml")]) == 0
    assert main(["run", path, "--ticks", "10", "--stimulate", "0/0/0-99:30@1+2"]) == 0
    return folder


@pytest.fixture
def brain(grown: Path, tmp_path: Path) -> Path:
    """A copy of that engram, beside its spec."""
    return shutil.copytree(grown, tmp_path, dirs_exist_ok=True) / "brain.engram"


@pytest.fixture
def worm(cli: Cli, tmp_path: Path) -> Path:
    """An imported engram with labels."""
    (tmp_path / "worm.csv").write_text(EDGES)
    assert cli("import", "edges", tmp_path / "worm.csv", tmp_path / "worm.engram").code == 0
    return tmp_path / "worm.engram"
