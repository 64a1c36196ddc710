"""``engramdb export``: what it writes and what it says."""

from __future__ import annotations

from pathlib import Path

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


def test_export_refuses_what_is_there_and_what_is_not(cli: Cli, brain: Path) -> None:
    Path("taken").mkdir()
    refused(cli("export", "zarr", brain, "taken"), 1, "taken exists already")
    refused(cli("export", "zarr", brain, "out.zarr", "--layer", "x"), 1, 'no layer "x"')
    refused(cli("export", "zarr", brain, "out.zarr", "--at", "x"), 1, 'no snapshot "x"')
    refused(cli("export", "abacus", brain, "out.zarr"), 2, "abacus")
