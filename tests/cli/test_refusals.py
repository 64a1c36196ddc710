"""What the command line refuses: one line, the right exit code, and nothing harmed."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import engramdb
from engramdb.cli import stimuli
from tests.cli.terminal import EDGES, SPEC, Cli, refused


@pytest.fixture
def unharmed(brain: Path) -> Iterator[Path]:
    """The engram, of which nothing may have changed when the test is over."""
    with engramdb.open(brain) as engram:
        before = engram.log(), engram.tick
    yield brain
    with engramdb.open(brain, "r+") as engram:
        assert (engram.log(), engram.tick) == before
        assert engram.stats()["charged"] == engram.run(0).stats["charged"]
    assert engramdb.verify(brain).ok


@pytest.mark.parametrize(
    ("words", "code", "tells"),
    [
        (("query", "{}", "neuron", "0/0/2000"), 1, ("neuron 0/0/2000 does not exist", "exc 0/0..: 2,000")),
        (("query", "{}", "neuron", "9/0/0"), 1, ("9/0/0",)),
        (("query", "{}", "neuron", "AVAL"), 2, ('"AVAL" is not a neuron id',)),
        (("query", "{}", "neuron", "0/0/5", "--at", "never"), 1, ('no snapshot "never"',)),
        (("query", "{}", "synapses", "18446744073709551616"), 2, ("18446744073709551616",)),
        (("restore", "{}", "never"), 1, ('no snapshot "never"',)),
        (("restore", "{}", "99"), 1, ("no commit 99",)),
        (("snapshot", "{}", "12"), 2, ("'12' cannot name a snapshot",)),
        (("inspect", "{}", "--at", "never"), 1, ("never",)),
        (("run", "{}", "--ticks", 5, "--stimulate", "0/0/9999:30"), 1, ("0/0/9999",)),
        (("run", "{}", "--ticks", 5, "--stimulate", "0/0/1:20", "--stimulate", "0/0/1:20@3"), 2, ("tick 3", "past")),
        (("run", "{}", "--ticks", 5, "--stimulate", "0/0/1:20", "--record", "no/folder.parquet"), 1, ("no/folder",)),
        (("run", "{}", "--ticks", 5, "--stimulate", "0/0/1"), 2, (stimuli.FORM,)),
        (("run", "{}", "--ticks", 5, "--stimulate", "0/0/1:20000"), 2, ("16384",)),
        (("run", "{}", "--ticks", 5, "--stimuli", "nothing.csv"), 1, ("nothing.csv",)),
        (("run", "{}", "--ticks", 5, "--memory", "lots"), 2, ("lots", "512MiB")),
        (("run", "{}", "--ticks", 5, "--memory", "5KiB"), 4, ("budget",)),
        (("create", "{}", "brain.toml"), 1, ("exists already",)),
        (("import", "edges", "brain.toml", "{}"), 1, ("exists already",)),
    ],
)
def test_bad_requests_are_one_line_and_change_nothing(
    cli: Cli, unharmed: Path, words: tuple[object, ...], code: int, tells: tuple[str, ...]
) -> None:
    refused(cli(*(str(word).format(unharmed) for word in words)), code, *tells)


def test_a_second_writer_is_refused_with_3_and_readers_are_not(cli: Cli, brain: Path) -> None:
    with engramdb.open(brain, "r+"):
        for words in (("run", brain, "--ticks", 1), ("snapshot", brain, "x"), ("restore", brain, 1)):
            refused(cli(*words), 3, str(os.getpid()))
        for words in (("inspect", brain), ("query", brain, "neuron", "0/0/1"), ("verify", brain), ("log", brain)):
            assert cli(*words).code == 0


@pytest.mark.parametrize(
    "verb",
    [
        ("run", "{}", "--ticks", 1), ("query", "{}", "neuron", "1"), ("query", "{}", "synapses", "1"),
        ("snapshot", "{}", "x"), ("snapshots", "{}"), ("restore", "{}", "x"), ("log", "{}"), ("inspect", "{}"),
        ("verify", "{}"),
    ],
)  # fmt: skip
def test_what_is_no_engram_is_refused_by_every_verb(cli: Cli, tmp_path: Path, verb: tuple[object, ...]) -> None:
    (tmp_path / "file").write_text("no engram")
    (tmp_path / "folder").mkdir()
    for path in ("nothing", "file", "folder"):
        refused(cli(*(str(word).format(path) for word in verb)), 1, f"{path} is not an engram")
    assert (tmp_path / "file").read_text() == "no engram"
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    "verb",
    [("run", "{}", "--ticks", 1), ("query", "{}", "neuron", "1"), ("log", "{}"), ("inspect", "{}"), ("verify", "{}")],
)
def test_an_engram_of_a_newer_format_is_refused(cli: Cli, brain: Path, verb: tuple[object, ...]) -> None:
    catalog = sqlite3.connect(brain / "catalog.sqlite")
    (version,) = catalog.execute("PRAGMA user_version").fetchone()
    catalog.execute("PRAGMA user_version = 999")
    catalog.close()
    refused(cli(*(str(word).format(brain) for word in verb)), 1, "format 999", "newer")
    catalog = sqlite3.connect(brain / "catalog.sqlite")
    catalog.execute(f"PRAGMA user_version = {version}")
    catalog.close()
    assert cli("verify", brain).code == 0


def test_verify_names_each_damage_in_a_line(cli: Cli, brain: Path) -> None:
    packs = sorted((brain / "packs").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(packs[-1].read_bytes())
    content[len(content) // 3] ^= 0x10
    packs[-1].write_bytes(content)
    said = cli("verify", brain)
    assert (said.code, said.err) == (1, "")
    document = cli("verify", brain, "--json").document
    assert not document["ok"]
    assert len(document["problems"]) >= 1
    assert packs[-1].name in json.dumps(document["problems"])
    narrow = [line for line in said.out.splitlines() if line.startswith("damaged")]
    assert len(narrow) == len(document["problems"])
    refused(cli("inspect", brain), 1, packs[-1].name)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (SPEC.replace("segments = [2000]", "segments = [[0, 10], [0, 2000]]"), "layers[0].segments[1]"),
        (SPEC.replace("p = 0.01", "p = 1.5"), "projections[1].p"),
        (SPEC.replace("weight = 0.5", "weight = -0.5"), "projections[1].weight"),
        (SPEC.replace("weight = 0.5", "weight = nan"), "projections[1].weight"),
        (SPEC.replace("seed = 7", "sead = 7"), "sead"),
        (SPEC.replace('name = "inh"', 'name = "exc"'), "layers[1].name"),
    ],
)
def test_a_wrong_spec_is_refused_naming_the_field(cli: Cli, tmp_path: Path, text: str, field: str) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    refused(cli("create", "a.engram", "wrong.toml"), 2, field)
    assert cli("create", "a.engram", "wrong.toml", "--json").document["error"]["field"].startswith(field.split(".")[0])
    assert not Path("a.engram").exists()


@pytest.mark.parametrize("text", ["seed = ", "\x00", "[[layers]]\nname = 'a'"])
def test_a_spec_that_cannot_be_read_is_refused(cli: Cli, tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    refused(cli("create", "a.engram", "wrong.toml"), 2)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    refused(cli("create", "a.engram", "binary.toml"), 2)
    refused(cli("create", "a.engram", "nothing.toml"), 1, "nothing.toml")
    refused(cli("create", "a.engram", tmp_path), 1)
    refused(cli("create", "no/folder/a.engram", "wrong.toml"), 2)


def test_imports_that_cannot_be_are_refused_and_leave_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "worm.csv").write_text(EDGES)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(EDGES.encode() * 100)[:-20])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "heads.csv").write_text("pre,post\n")
    (tmp_path / "not.parquet").write_text(EDGES)
    before = sorted(tmp_path.iterdir())
    for words, code, tells in (
        (("nothing.csv",), 1, "nothing.csv"),
        (("cut.csv.gz",), 2, "cut.csv.gz"),
        (("empty.csv",), 2, "empty.csv"),
        (("heads.csv",), 2, "heads.csv"),
        (("not.parquet",), 2, "not.parquet"),
        (("worm.csv", "--pre", "source"), 2, "source"),
        (("worm.csv", "--where", "kind"), 2, "kind"),
        (("worm.csv", "--where", "colour=red"), 2, "colour"),
        (("worm.csv", "--where", "kind=red"), 2, "worm.csv"),
        (("worm.csv", "--ids", "keep"), 2, "AVAL"),
        (("worm.csv", "--param", "tau"), 2, "NAME=NUMBER"),
        (("worm.csv", "--param", "tau=-3"), 2, "tau"),
        (("worm.csv", "--param", "colour=3"), 2, "colour"),
        (("worm.csv", "--model", "worm"), 2, "lif"),
        (("worm.csv", "--weight-scale", "1e9"), 2, "worm.csv"),
        (("worm.csv", "--memory", "lots"), 2, "lots"),
        (("worm.csv", "--delay-ms", "0.3"), 2, "0.3"),
    ):
        refused(cli("import", "edges", words[0], "a.engram", *words[1:]), code, tells)
        assert sorted(tmp_path.iterdir()) == before
