"""The command line, as people and programs meet it: what it does, and what it prints where."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import engramdb
from tests.cli.terminal import EDGES, SPEC, Cli, refused


def test_create_run_query_snapshot_restore_walk_through(cli: Cli, brain: Path) -> None:
    ran = cli("run", brain, "--ticks", 5, "--json").document
    assert (ran["first_tick"], ran["ticks"], ran["tick"], ran["interrupted"]) == (11, 5, 15, False)
    named = cli("snapshot", brain, "trained", "--json").document
    assert (named["name"], named["tick"]) == ("trained", 15)
    at_snapshot = cli("query", brain, "neuron", "0/0/3", "--json").document
    further = cli("run", brain, "--ticks", 20, "--record", "one.parquet", "--json").document
    assert (
        cli("query", brain, "neuron", "0/0/3", "--at", "trained", "--json").document["neurons"]
        == at_snapshot["neurons"]
    )
    restored = cli("restore", brain, "trained", "--json").document
    assert (restored["restored"], restored["tick"]) == ("trained", 15)
    again = cli("run", brain, "--ticks", 20, "--record", "two.parquet", "--json").document
    assert (again["spikes"], again["tick"]) == (further["spikes"], 35)
    assert pq.read_table("one.parquet").equals(pq.read_table("two.parquet"))
    listed = cli("snapshots", brain, "--json").document["snapshots"]
    assert [(one["name"], one["tick"]) for one in listed] == [("trained", 15)]
    commits = cli("log", brain, "--json").document["commits"]
    assert [commit["tick"] for commit in commits] == [35, 15, 10, 0, 0]
    assert commits[1]["snapshots"] == ["trained"]
    assert commits[0]["message"] == "ran ticks 16 to 35"
    assert commits[0]["line"] != commits[1]["line"]
    assert cli("log", brain, "--limit", 1, "--json").document["commits"] == commits[:1]
    assert cli("verify", brain).code == 0


def test_run_records_the_spikes_it_counts(cli: Cli, brain: Path) -> None:
    with engramdb.open(brain) as engram:
        declared = len(engram)
    ran = cli("run", brain, "--ticks", 10, "--stimulate", "1/0/7:40", "--record", "spikes.parquet", "--json").document
    table = pq.read_table("spikes.parquet")
    assert table.num_rows == ran["spikes"] > 0
    assert (11, 1 << 48 | 7) in set(zip(table["tick"].to_pylist(), table["id"].to_pylist(), strict=True))
    assert ran["mean_rate_hz"] == pytest.approx(ran["spikes"] / (declared * 0.010))


def test_stimuli_from_a_file_and_from_flags_are_the_same(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SPEC)
    rows = [("id", "amplitude", "at", "duration"), ("0/0/5", "30", "", ""), ("0/0/9", "12.5", "3", "4")]
    with (tmp_path / "s.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    for name, given in (
        ("a", ["--stimuli", "s.csv"]),
        ("b", ["--stimulate", "0/0/5:30", "--stimulate", "0/0/9:12.5@3+4"]),
    ):
        cli("create", f"{name}.engram", "s.toml")
        assert cli("run", f"{name}.engram", "--ticks", 30, "--record", f"{name}.parquet", *given).code == 0
    one, other = (pq.read_table(f"{name}.parquet") for name in "ab")
    assert one.equals(other)
    assert one.num_rows > 0


def test_until_silent_stops_after_the_last_spike(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "quiet.toml").write_text('[[layers]]\nname = "a"\nsegments = [10]\n')
    cli("create", "quiet.engram", "quiet.toml")
    ran = cli(
        "run", "quiet.engram", "--ticks", 1000, "--stimulate", "3:30@20", "--until", "silent:7", "--json"
    ).document
    assert (ran["spikes"], ran["tick"], ran["ticks"], ran["ticks_asked"]) == (1, 27, 27, 1000)


def test_neurons_and_synapses_are_those_of_the_library(cli: Cli, brain: Path) -> None:
    with engramdb.open(brain) as engram:
        neuron = engram.neuron("0/0/5")
        out, into = engram.synapses("0/0/5"), engram.synapses("0/0/5", direction="in")
    shown = cli("query", brain, "neuron", "0/0/5", "0x5", "5", "1/0/0", "--json").document["neurons"]
    assert [one["id"] for one in shown] == ["0/0/5", "0/0/5", "0/0/5", "1/0/0"]
    assert shown[0]["hex"] == "0x0000000000000005"
    assert (shown[0]["state"], shown[0]["out_degree"], shown[0]["layer"]) == (neuron.state, neuron.out_degree, "exc")
    assert shown[0]["fields"] == pytest.approx(neuron.fields)
    for direction, partners, weights, key in (
        ("out", out.targets, out.weights, "post"),
        ("in", into.sources, into.weights, "pre"),
    ):
        said = cli("query", brain, "synapses", "0/0/5", "--direction", direction, "--json").document
        assert said["count"] == len(partners) == len(said["synapses"])
        assert [engramdb.address.parse(one[key]) for one in said["synapses"]] == partners.tolist()
        assert [np.float32(one["weight"]) for one in said["synapses"]] == weights.tolist()
    few = cli("query", brain, "synapses", "0/0/5", "--limit", 3, "--json").document
    assert (few["count"], len(few["synapses"])) == (len(out), 3)


def test_an_import_keeps_labels_and_they_can_be_used_as_ids(cli: Cli, worm: Path) -> None:
    shown = cli("query", worm, "neuron", "AVBL", "--json").document["neurons"][0]
    assert (shown["label"], shown["id"], shown["out_degree"]) == ("AVBL", "0/0/1", 1)
    said = cli("query", worm, "synapses", "AVAL").out
    assert "DA1" in said
    assert "2.5" in said
    ran = cli("run", worm, "--ticks", 3, "--stimulate", "AVAL,DA1:30", "--json").document
    assert ran["spikes"] == 2


def test_weights_are_imported_in_the_type_asked_for(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "worm.csv").write_text(EDGES)
    imported = ("import", "edges", "worm.csv", "a.engram", "--weights", "int8")
    refused(cli(*imported), 2, "layers[0].weight_step: missing")
    refused(cli(*imported, "--weight-step", "0.01"), 2, "too large", "reach 1.27 mV")
    assert cli(*imported, "--weight-step", "0.4").code == 0
    with engramdb.open(tmp_path / "a.engram") as e:
        assert e.spec.layers[0].weights == "int8"
        np.testing.assert_allclose(e.synapses("AVAL").weights, [3.2, 2.4])


def test_import_options_reach_the_import(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "worm.csv").write_text(EDGES.replace("pre,post", "from,to").replace(",", ";"))
    said = cli(
        "import", "edges", "worm.csv", "a.engram", "--where", "kind=chemical", "--pre", "from", "--post", "to",
        "--weight-scale", 2, "--delimiter", ";", "--layer", "cells", "--param", "tau=12", "--delay-ms", 3, "--seed", 9,
        "--dt-ms", 0.5, "--json",
    ).document  # fmt: skip
    assert (said["rows"], said["filtered"], said["synapses"], said["neurons"]) == (4, 1, 3, 3)
    summary = cli("inspect", "a.engram", "--json").document
    assert (summary["seed"], summary["dt_ms"]) == ("9", 0.5)
    assert summary["layers"][0]["name"] == "cells"
    assert summary["layers"][0]["parameters"] == {"tau": 12}
    assert summary["layers"][0]["weights"]["maximum"] == 8
    assert summary["projections"][0]["delay_ticks"] == 6


def test_integer_labels_can_be_kept_as_ids(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_text("9223372036854775811,5,1\n5,9223372036854775811,2\n")
    assert cli("import", "edges", "big.csv", "a.engram", "--ids", "keep", "--no-header").code == 0
    said = cli("query", "a.engram", "synapses", "9223372036854775811", "--json").document
    assert (said["id"], said["synapses"][0]["post"]) == ("32768/0/3", "0/0/5")


def test_rejected_rows_are_counted_and_shown_and_strict_refuses_them(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cut.csv").write_text(EDGES + "DA1,AVBL,nan,chemical\nAVBL")
    said = cli("import", "edges", "cut.csv", "a.engram", "--json")
    assert said.code == 0
    assert (said.document["rejected"], said.document["synapses"]) == (2, 4)
    assert [one["line"] for one in said.document["first_rejected"]] == [6, 7]
    told = cli("import", "edges", "cut.csv", "b.engram")
    assert told.err.count("\n") == 2
    assert "cut.csv line 7" in told.err
    refused(cli("import", "edges", "cut.csv", "c.engram", "--strict"), 2, "cut.csv line 6")
    assert not Path("c.engram").exists()


def test_inspect_shows_people_what_it_tells_programs(cli: Cli, brain: Path) -> None:
    document = cli("inspect", brain, "--json").document
    said = cli("inspect", brain).out
    exc, inh = document["layers"]
    for number in (exc["declared"], exc["records"], exc["spikes"], inh["stored_synapses"], document["commit"]):
        assert f"{number:,}" in said
    assert "SmallWorld(k=8" in said
    assert all(line == line.rstrip() for line in said.splitlines())
    early = cli("inspect", brain, "--at", 2, "--json").document
    assert (early["commit"], early["tick"]) == (2, 0)


def test_a_description_with_brackets_is_shown_as_it_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'name = "[red]x"\ndescription = "[/bold] a[b]"\n[[layers]]\nname = "[l]"\nsegments = [2]\n'
    )
    cli("create", "a.engram", "a.toml")
    said = cli("inspect", "a.engram").out
    assert "[red]x" in said
    assert "[/bold] a[b]" in said
    assert "0 [l]" in said


def test_json_is_one_document_and_ids_in_it_are_text(cli: Cli, worm: Path) -> None:
    (Path.cwd() / "b.toml").write_text(SPEC)
    for words in (
        ("create", "b.engram", "b.toml"),
        ("run", worm, "--ticks", 2),
        ("query", worm, "neuron", "AVAL"),
        ("query", worm, "synapses", "AVAL"),
        ("snapshot", worm, "s"),
        ("snapshots", worm),
        ("restore", worm, "s"),
        ("log", worm),
        ("inspect", worm),
        ("verify", worm),
    ):
        said = cli(*words, "--json")
        assert (said.code, said.err) == (0, "")
        assert said.out.count("\n") == 1

        def walk(value: Any) -> Iterator[tuple[str, Any]]:
            items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, item in items:
                yield str(key), item
                yield from walk(item)

        assert all(isinstance(item, str) for key, item in walk(said.document) if key in ("id", "pre", "post", "hex"))


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("inspect", "nothing.engram"), 1, "NotAnEngram"),
        (("query", "nothing.engram", "neuron", "0/0/1"), 1, "NotAnEngram"),
        (("run", "nothing.engram", "--ticks", "x"), 2, "InvalidUsage"),
        (("run", "nothing.engram", "--ticks", 1, "--until", "x"), 2, "InvalidInput"),
    ],
)
def test_an_error_with_json_is_a_document_too(cli: Cli, words: tuple[object, ...], code: int, kind: str) -> None:
    said = cli(*words, "--json")
    assert said.code == code
    assert said.document["error"]["type"] == kind
    assert said.document["error"]["exit_code"] == code
    assert said.err == f"engramdb: {said.document['error']['message']}\n"


@pytest.mark.parametrize(
    ("words", "tells"),
    [
        (("frobnicate",), ("no such command 'frobnicate'", "see engramdb --help")),
        (("import",), ("import: missing command",)),
        (("query",), ("query: missing argument 'PATH'",)),
        (("query", "a.engram", "neuron"), ("query PATH neuron: missing argument 'ID'",)),
        (("run", "a.engram"), ("run: missing option '--ticks'", "see engramdb run --help")),
        (("run", "a.engram", "--ticks", "many"), ("'--ticks'",)),
        (("run", "a.engram", "--ticks", 0), ("'--ticks'", "greater than or equal to 1")),
        (("run", "a.engram", "--ticks", 5, "--speed", 3), ("no such option: --speed",)),
        (("query", "a.engram", "synapses", "1", "--direction", "both"), ("'both' is not one of 'out', 'in'",)),
        (("log", "a.engram", "b.engram"), ("log: got unexpected extra argument",)),
        (("import", "edges", "a.csv", "b.engram", "--ids", "guess"), ("'--ids'", "'guess'")),
    ],
)
def test_wrong_usage_is_one_line(cli: Cli, words: tuple[object, ...], tells: tuple[str, ...]) -> None:
    refused(cli(*words), 2, *tells)


def test_without_a_verb_it_says_what_there_is(cli: Cli) -> None:
    said = cli()
    assert said.code == 0
    assert said.out == cli("--help").out
    assert cli("--version").out == f"engramdb {engramdb.__version__}\n"


def test_the_process_exits_with_the_code(tmp_path: Path) -> None:
    for words, code in ((["--version"], 0), (["inspect", "nothing"], 1), (["--nothing"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "engramdb", *words], cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


def test_looking_compiles_nothing(brain: Path) -> None:
    code = (
        "import sys; from engramdb.cli import main\n"
        "codes = [main(words.split('|')) for words in sys.argv[1:]]\n"
        "print([name for name in ('numba', 'zarr', 'duckdb', 'pyarrow', 'matplotlib') if name in sys.modules], codes,"
        " file=sys.stderr)"
    )
    looks = ["--help", f"inspect|{brain}", f"verify|{brain}", f"log|{brain}", f"snapshots|{brain}", "run|--help"]
    done = subprocess.run([sys.executable, "-c", code, *looks], capture_output=True, text=True, check=True)
    assert done.stderr == "[] [0, 0, 0, 0, 0, 0]\n"


def test_a_reader_that_goes_away_is_no_error_to_tell(brain: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "engramdb", "inspect", brain], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_terminal_that_cannot_show_a_sign_is_no_reason_to_fail(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "worm.csv").write_text("pre,post,weight\nÄ,日本,1\nÄ,b,2\n", encoding="utf-8")
    assert cli("import", "edges", "worm.csv", "a.engram").code == 0
    for words in (
        ["inspect", "a.engram"],
        ["query", "a.engram", "neuron", "日本"],
        ["query", "a.engram", "synapses", "Ä"],
    ):
        for more in ([], ["--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "engramdb", *words, *more], cwd=tmp_path, capture_output=True, check=False,
                env={**os.environ, "PYTHONIOENCODING": "ascii"},
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["label"] == "Ä"
