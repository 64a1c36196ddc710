"""The demo: what it shows holds, and it is polite to the folder it is given."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb import demo as worm
from engramdb.cli import main
from engramdb.cli.demo import python_steps
from engramdb.errors import AlreadyExists
from tests.simulator import Simulator

CELEGANS = Path(engramdb.__file__).parent / "data" / "celegans"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "110")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(["demo", "--out", str(folder)]) == 0
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def document(told: tuple[Path, str]) -> dict[str, object]:
    return json.loads((told[0] / "demo.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_bundled_tables_are_the_published_ones_byte_for_byte() -> None:
    provenance = (CELEGANS / "PROVENANCE.txt").read_text(encoding="utf-8")
    promised = dict(re.findall(r"(\w+\.csv) +([0-9a-f]{64})", provenance))
    assert set(promised) == {"connectome.csv", "nodes.csv"}
    for name, digest in promised.items():
        assert hashlib.sha256((CELEGANS / name).read_bytes()).hexdigest() == digest


def test_every_cell_that_is_named_is_in_the_table() -> None:
    with (CELEGANS / "nodes.csv").open(newline="", encoding="utf-8") as lines:
        names = [row["name"] for row in csv.DictReader(lines)]
    assert {name for touch in worm.TOUCHES for name in touch.neurons} <= set(names)
    sizes = {c.name: sum(bool(re.fullmatch(c.pattern, name)) for name in names) for c in worm.COMMAND + worm.MOTOR}
    assert sizes == {
        "PVC": 2, "AVB": 2, "AVD": 2, "AVA": 2, "AVE": 2,
        "VB": 11, "DB": 7, "VA": 12, "DA": 9, "AS": 11, "VD": 13, "DD": 6,
    }  # fmt: skip
    assert sum(bool(re.fullmatch(worm.INHIBITORY, name)) for name in names) == 6 + 13 + 4 + 1


def test_it_leaves_the_engram_the_picture_the_spikes_and_the_table(told: tuple[Path, str]) -> None:
    folder, _ = told
    assert {path.name for path in folder.iterdir()} == {
        "celegans.engram", "raster.png", "spikes.parquet", "connectome.csv", "demo.json",
    }  # fmt: skip
    assert (folder / "raster.png").read_bytes().startswith(b"\x89PNG")
    with engramdb.open(folder / "celegans.engram") as engram:
        assert len(engram) == 446
        assert [s.name for s in engram.snapshots()] == ["at-rest", "mid-touch", "cut"]


def test_the_spikes_are_those_of_the_plain_simulator(told: tuple[Path, str]) -> None:
    """From the bundled table to the recorded file, by another way: nothing of the engine, the import or the store."""
    with (CELEGANS / "connectome.csv").open(newline="", encoding="utf-8") as lines:
        chemical = [row for row in csv.DictReader(lines) if row["kind"] == "chemical"]
    names = sorted({row[end] for row in chemical for end in ("pre", "post")})
    place = {name: i for i, name in enumerate(names)}
    sign = [-1 if re.fullmatch(worm.INHIBITORY, row["pre"]) else 1 for row in chemical]
    twin = Simulator(
        np.arange(len(names), dtype=np.uint64),
        np.array([place[row["pre"]] for row in chemical]),
        np.array([place[row["post"]] for row in chemical]),
        (np.array([float(row["weight"]) for row in chemical]) * sign * worm.MV_PER_SECTION).astype(np.float32),
        np.ones(len(chemical), dtype=np.int64),
    )
    for touch in worm.TOUCHES:
        driven = np.array([place[name] for name in touch.neurons])
        twin.stimulate(driven, np.full(len(driven), worm.DRIVE_MV, dtype=np.float32), touch.first, touch.duration)
    tick, ids = twin.run(worm.TICKS)
    recorded = worm.read_spikes(told[0] / "spikes.parquet")
    np.testing.assert_array_equal(recorded[0], tick)
    np.testing.assert_array_equal(recorded[1], ids)
    assert len(tick) > 1000


def test_what_it_tells_about_the_circuit_is_what_its_run_gave(document: dict[str, object]) -> None:
    whole, cut = document["whole"], document["cut"]

    def first(experiment: object, name: str, where: str) -> float:
        latency = experiment["classes"][name][where]["latency_ms"]  # type: ignore[index]
        return np.inf if latency is None else float(latency)

    forward, backward = ("PVC", "AVB"), ("AVA", "AVD", "AVE")
    assert max(first(whole, n, "head") for n in forward) < min(first(whole, n, "head") for n in backward)
    assert min(first(whole, n, "tail") for n in backward) < min(first(whole, n, "tail") for n in forward)
    assert all(ms is not None for ms in whole["silent_after_ms"])  # type: ignore[index]
    for c in worm.COMMAND + worm.MOTOR:
        assert cut["classes"][c.name]["head"]["spikes"] == 0  # type: ignore[index]
    assert whole["digest"] != cut["digest"]  # type: ignore[index]
    assert document["identical"] is True
    assert document["verified"] is True


def test_the_numbers_it_prints_are_those_of_its_document(told: tuple[Path, str], document: dict[str, object]) -> None:
    said = told[1]
    whole, cut = document["whole"], document["cut"]
    assert f"{document['cells']} cells" in said
    assert f"{document['synapses']:,} chemical" in said
    for experiment in (whole, cut):
        assert f"{experiment['spikes']:,} spikes" in said  # type: ignore[index]
        assert experiment["digest"][:16] in said  # type: ignore[index]
    assert "every spike of every cell, in its tick" in said


def test_it_says_what_is_assumed_and_what_is_left_out(told: tuple[Path, str]) -> None:
    said = " ".join(told[1].split())
    for assumption in worm.ASSUMPTIONS:
        assert assumption in said
    assert "gap junctions" in said


def test_the_commands_it_suggests_work(told: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    shutil.copytree(told[0], folder)
    monkeypatch.chdir(tmp_path)
    suggested = [line.strip() for line in told[1].splitlines() if line.strip().startswith("engramdb ")]
    assert len(suggested) == 9
    for line in suggested:
        assert main([word.replace(str(told[0]), "out") for word in line.split()[1:]]) == 0, line


def test_the_python_it_suggests_works(told: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = python_steps(told[0] / "connectome.csv")
    assert len(code.splitlines()) == 6
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert namespace["run"].counts.sum() > 0  # type: ignore[attr-defined]


def test_a_former_demo_is_replaced_and_what_others_left_there_stays(told: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(told[0], folder)
    (folder / "mine.txt").write_text("keep")
    worm.Demo(folder)
    assert {path.name for path in folder.iterdir()} == {"mine.txt", "demo.json"}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_folder_of_others_is_refused_and_left_alone(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "thesis"
    if kind == "folder":
        path.mkdir()
        (path / "spikes.parquet").write_text("years of work")
    else:
        path.write_text("years of work")
    with pytest.raises(AlreadyExists, match="--out"):
        worm.Demo(path)
    assert main(["demo", "--out", str(path)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    kept = path / "spikes.parquet" if kind == "folder" else path
    assert kept.read_text() == "years of work"


def test_json_is_one_document_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["identical"] is True
    assert Path(document["picture"]).is_file()
