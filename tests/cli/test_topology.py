"""``engramdb topology``."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import engramdb
from engramdb.topology import Settings
from tests.cli.terminal import Cli, refused

FEW = ("--sample", 300, "--patch-neurons", 100, "--clusters", "components")


def test_topology_says_what_python_says(cli: Cli, brain: Path) -> None:
    document = cli("topology", brain, *FEW, "--patches", 3, "--json").document
    with engramdb.open(brain) as e:
        reading = e.topology(Settings(patches=3, sample=300, patch_neurons=100, clusters="components"))
    assert document.items() >= {"tick": 10, "neurons": 2200, "at": None, **reading.as_dict()}.items()
    assert len(document["patches"]) == 3


def test_topology_for_people_shows_the_sum_and_the_patches(cli: Cli, brain: Path) -> None:
    said = cli("topology", brain, *FEW).out
    assert said.splitlines()[0] == "topology at tick 10  2,200 neurons"
    assert "(patches) + 0.33 x" in said
    assert "E - V + C" in said


def test_topology_of_a_snapshot(cli: Cli, brain: Path) -> None:
    cli("snapshot", brain, "ten")
    before = cli("topology", brain, *FEW, "--json").document
    cli("run", brain, "--ticks", 20)
    assert cli("topology", brain, *FEW, "--json").document["tick"] == 30
    then = cli("topology", brain, *FEW, "--at", "ten", "--json").document
    assert then | {"at": None, "elapsed_s": 0} == before | {"elapsed_s": 0}


def test_a_run_takes_readings_and_records_them(cli: Cli, brain: Path, tmp_path: Path) -> None:
    pytest.importorskip("networkit", reason="needs the extra topology")
    said = cli("run", brain, "--ticks", 25, "--topology", 10, "--record", tmp_path / "told", "--json").document
    assert said["stats"]["topology"]["tick"] == 30
    table = pq.read_table(tmp_path / "told" / "topology.parquet").to_pydict()
    assert table["tick"] == [20, 30]
    assert table["complexity"][-1] == said["stats"]["topology"]["complexity"]
    assert "complexity" in cli("run", brain, "--ticks", 10, "--topology", 10).out


def test_topology_refuses_what_is_not_there(cli: Cli, brain: Path) -> None:
    refused(cli("topology", brain, *FEW, "--at", "nowhere"), 1, "nowhere")
    refused(cli("topology", brain, "--patch-neurons", 2), 2, "--patch-neurons")
