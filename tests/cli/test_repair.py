"""verify --repair on the command line: what it says, and with which exit code."""

from __future__ import annotations

from pathlib import Path

from engramdb.store import Store
from tests.cli.terminal import Cli, refused


def damage_newest_leaf(path: Path) -> None:
    with Store.open(path) as store:
        ref = max(store.directory.leaves(), key=lambda ref: ref.commit)
        file = store._packs.path(ref.pack)
    data = bytearray(file.read_bytes())
    data[ref.offset + ref.length - 1] ^= 1
    file.write_bytes(data)


def test_repair_says_what_it_took_and_what_is_lost(cli: Cli, brain: Path) -> None:
    damage_newest_leaf(brain)
    before = cli("verify", brain, "--json")
    assert (before.code, before.document["ok"], before.document["present_ok"]) == (1, False, False)
    (problem,) = before.document["problems"]
    assert problem["heads"] == ["main"]
    assert "damaged" in cli("verify", brain).out
    refused_ = cli("verify", brain, "--repair", "--json")
    assert refused_.code == 1
    assert "--drop-lost" in refused_.document["repaired"]["refused"][0]
    done = cli("verify", brain, "--repair", "--drop-lost", "--json")
    assert done.code == 0
    assert (done.document["ok"], done.document["present_ok"]) == (False, True)
    (leaf,) = done.document["repaired"]["leaves"]
    assert leaf["lost"] > 0
    assert done.document["repaired"]["commits"].keys() == {"main"}
    assert done.document["problems"][0]["past"]
    assert cli("run", brain, "--ticks", 2).code == 0
    assert "past" in cli("verify", brain).out
    assert cli("gc", brain, "--keep-last", 0, "--keep-days", 0).code == 0
    assert cli("verify", brain).code == 0


def test_a_whole_engram_needs_no_repair(cli: Cli, brain: Path) -> None:
    said = cli("verify", brain, "--repair", "--json")
    assert said.code == 0
    assert said.document["repaired"] == {"leaves": [], "commits": {}, "mended": [], "dropped": [], "refused": []}
    refused(cli("verify", brain, "--drop-lost"), 2, "--drop-lost goes with --repair")
