"""``engramdb export``: what it writes and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from tests.cli.terminal import Cli, refused


def test_export_zarr_writes_a_folder_and_says_what_is_in_it(cli: Cli, brain: Path) -> None:
    cli("snapshot", brain, "now")
    cli("run", brain, "--ticks", 5)
    said = cli("export", "zarr", brain, "out.zarr", "--at", "now", "--json")
    document = said.document
    group = zarr.open_group("out.zarr", mode="r")
    assert group.attrs["commit"] == document["commit"]
    assert group.attrs["tick"] == 10
    assert sorted(group.group_keys()) == sorted(document["layers"])
    assert document["neurons"] == group.attrs["stored_neurons"]
    assert document["files"] == sum(path.is_file() for path in Path("out.zarr").rglob("*"))
    assert document["leaves"] == 0


def test_export_zarr_of_one_layer_with_its_leaves(cli: Cli, brain: Path) -> None:
    layer = sorted(cli("export", "zarr", brain, "all.zarr", "--json").document["layers"])[0]
    said = cli("export", "zarr", brain, "one.zarr", "--layer", layer, "--leaves")
    assert said.code == 0
    assert "wrote one.zarr" in said.out
    assert set(zarr.open_group("one.zarr", mode="r").group_keys()) == {layer, "leaves"}


def test_whole_engrams_go_out_and_come_back(cli: Cli, brain: Path) -> None:
    for kind, out in (("hdf5", "out.h5"), ("parquet", "out.tables")):
        sent = cli("export", kind, brain, out, "--json").document
        back = cli("import", kind, out, f"{kind}.engram", "--json").document
        assert (back["neurons"], back["synapses"]) == (sent["neurons"], sent["synapses"])
        assert cli("verify", f"{kind}.engram").code == 0
        text = cli("export", kind, f"{kind}.engram", f"again-{out}").out
        assert f"wrote again-{out}" in text
    assert "hdf5 format 1" in cli("inspect", "out.h5").out


def test_tables_graphs_and_networks_go_out(cli: Cli, brain: Path, worm: Path) -> None:
    document = cli("export", "edges", worm, "out.csv", "--json").document
    assert document["synapses"] == 4
    assert Path("out.csv").read_text().splitlines()[1].startswith('"AVAL","AVBL"')
    assert cli("export", "edges", worm, "ids.csv", "--ids", "id").code == 0
    assert Path("ids.csv").read_text().splitlines()[1].startswith("0,1,")
    assert cli("export", "graphml", worm, "out.graphml").code == 0
    refused(cli("export", "graphml", brain, "big.graphml", "--limit", 100), 2, "2,200 neurons", "limit of 100")
    sent = cli("export", "sonata", brain, "net", "--json").document
    said = cli("import", "sonata", "net", "net.engram", "--json")
    assert said.document["synapses"] == sent["synapses"]
    assert said.document["layers"] == {"exc": ["exc"], "inh": ["inh"]}
    assert "imported other.engram" in cli("import", "sonata", "net/circuit_config.json", "other.engram").out


def test_vdm_engrams_go_in_and_out(cli: Cli, worm: Path) -> None:
    np.savez("state_3.npz", backend="sparse", N=2, W=np.ones(2, np.float32), row_ptr=[0, 1, 2], col_idx=[1, 0])
    assert cli("import", "vdm", "state_3.npz", "void.engram", "--json").document["neurons"] == 2
    assert cli("export", "vdm", "void.engram", "state_4.h5", "--json").document["synapses"] == 2
    refused(cli("export", "vdm", worm, "state_5.h5"), 2, "have no W")


def test_export_refuses_what_is_there_and_what_is_not(cli: Cli, brain: Path) -> None:
    Path("taken").mkdir()
    refused(cli("export", "zarr", brain, "taken"), 1, "taken exists already")
    refused(cli("export", "zarr", brain, "out.zarr", "--layer", "x"), 1, 'no layer "x"')
    refused(cli("export", "zarr", brain, "out.zarr", "--at", "x"), 1, 'no snapshot "x"')
    refused(cli("export", "abacus", brain, "out.zarr"), 2, "abacus")
