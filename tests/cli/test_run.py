"""``engramdb run``: input, recording, pace and end, as flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engramdb
from engramdb.cli import stimuli
from engramdb.cli.stimuli import Stimulus
from engramdb.errors import InvalidInput
from tests.cli.terminal import Cli, refused


@pytest.mark.parametrize(
    ("text", "stimulus"),
    [
        ("0/0/1:150:0.5", Stimulus(("0/0/1",), 0.5, None, None, 150.0)),
        ("a:b,c:2.5:-1@7+9", Stimulus(("a:b", "c"), -1.0, 7, 9, 2.5)),
    ],
)
def test_poisson_input_is_read_from_its_text(text: str, stimulus: Stimulus) -> None:
    assert stimuli.parse_poisson(text) == stimulus


@pytest.mark.parametrize("text", ["", "1:2", "1:x:2", "1:-1:2", "1:nan:2", "1:5:x", ",1:5:2", "1:5:2@0", "1:5:2@1+0"])
def test_a_text_that_is_no_poisson_input_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--poisson"):
        stimuli.parse_poisson(text)


def test_poisson_and_given_spikes_are_those_of_the_library(cli: Cli, brain: Path, tmp_path: Path) -> None:
    with engramdb.open(brain) as e:
        tick = e.tick
    pq.write_table(pa.table({"tick": [1, 3], "node_id": [4, 5]}), tmp_path / "in.parquet")
    cli("snapshot", brain, "before")
    ran = cli(
        "run", brain, "--ticks", 40, "--poisson", "0/0/0-49:200:4", "--play", "in.parquet", "--play-layer", "exc",
        "--play-amplitude", 30, "--record", "one.parquet", "--json",
    ).document  # fmt: skip
    assert (ran["ticks"], ran["record"]) == (40, "one.parquet")
    cli("restore", brain, "before")
    with engramdb.open(brain, "r+") as e:
        e.play_file("in.parquet", 30.0, layer="exc")
        e.poisson(np.arange(50), 200.0, 4.0, duration=40)
        run = e.run(40, record=("spikes",))
        assert e.stimuli() == [], "input ends with the run"
    table = pq.read_table("one.parquet")
    np.testing.assert_array_equal(table["tick"].to_numpy(), run.spikes[0])
    np.testing.assert_array_equal(table["id"].to_numpy(), run.spikes[1])
    assert {(tick + 1, 4), (tick + 3, 5)} <= set(zip(*(x.tolist() for x in run.spikes), strict=True))


def test_input_that_is_left_can_be_stopped(cli: Cli, brain: Path) -> None:
    cli("run", brain, "--ticks", 3, "--poisson", "0/0/0-9:500:9@20+1000")
    with engramdb.open(brain, "r+") as e:
        assert [(s.kind, s.start, s.stop) for s in e.stimuli()] == [("poisson", 20, 1019)]
    cli("run", brain, "--ticks", 3, "--stop-stimuli")
    with engramdb.open(brain, "r+") as e:
        assert e.stimuli() == []


def test_rates_and_state_are_recorded_to_a_folder(cli: Cli, brain: Path) -> None:
    ran = cli(
        "run", brain, "--ticks", 12, "--stimulate", "0/0/0-19:30", "--record", "rec", "--record-rates",
        "--record-state", "v,u", "--record-ids", "0/0/0-3,1/0/0", "--every", 4, "--json",
    ).document  # fmt: skip
    spikes, rates, traces = (pq.read_table(f"rec/{name}.parquet") for name in ("spikes", "rates", "traces"))
    assert spikes.num_rows == sum(rates["spikes"].to_pylist()) == ran["spikes"] > 0
    assert rates.num_rows == 24
    assert traces.column_names == ["tick", "id", "v", "u"]
    assert (traces.num_rows, set(traces["tick"].to_pylist())) == (15, {12, 16, 20})


def test_a_run_ends_when_asked(cli: Cli, brain: Path) -> None:
    ran = cli("run", brain, "--ticks", 50, "--stimulate", "0/0/0-49:30@14+9", "--until", "spikes>60", "--json").document
    assert (ran["spikes"] > 60, ran["ticks"] < 50) == (True, True)
    ended = cli("run", brain, "--ticks", 5000, "--until", "quiet", "--json").document
    assert ended["ticks"] < 5000
    with engramdb.open(brain, "r+") as e:
        assert e.quiet
        e.play(3, e.tick + 9, 1.0)
        assert not e.quiet


def test_a_paced_run_says_whether_it_kept_up(cli: Cli, brain: Path) -> None:
    ran = cli("run", brain, "--ticks", 10, "--hz", 50, "--json").document
    assert ran["elapsed_s"] >= 0.2
    assert ran["stats"]["pace_hz"] == 50
    assert "could not keep up: 5 ticks late" in cli("run", brain, "--ticks", 5, "--hz", 1e9).out


def test_flags_that_do_not_fit_are_refused_and_change_nothing(cli: Cli, brain: Path) -> None:
    before = cli("log", brain, "--json").document["commits"]
    for given, words in (
        (("--until", "soon"), ("expected silent:N", "quiet")),
        (("--record-rates",), ("need --record",)),
        (("--record-state", "v", "--record", "rec"), ("go together",)),
        (("--record", "rec", "--record-state", "x", "--record-ids", "1"), ('unknown "x"',)),
        (("--hz", "0"), ("pace_hz=0",)),
        (("--poisson", "1:5"), ("expected IDS:RATE_HZ:AMPLITUDE",)),
        (("--play", "none.h5"), ("none.h5: no such file of spikes",)),
    ):
        done = cli("run", brain, "--ticks", 3, *given)
        refused(done, 1 if "--play" in given else 2, *words)
    assert cli("log", brain, "--json").document["commits"] == before
