"""A dry run lays a network out, runs a sample of it, and says whether it will fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import engramdb
from engramdb.cli import main
from engramdb.sizing.constants import shipped
from engramdb.sizing.network import Network
from engramdb.sizing.synth import dry_run


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def test_a_billion_neurons_are_laid_out_and_stay_untouched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "brain.engram"
    arguments = ["-n", "1e9", "-k", "12", "--active", "0.0005%", "--hz", "0.001", "--ticks", "10"]
    assert main(["synth", str(path), *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["neurons"], document["sampled"], document["fits"]) == (10**9, 5000, True)
    assert document["laid_out_bytes"] < 1_000_000
    assert document["spikes_per_tick"] == pytest.approx(5000 * 0.036, rel=0.3)
    assert {verdict["what"]: verdict["how"] for verdict in document["verdicts"]} == dict.fromkeys(
        ("RAM", "disk", "time a tick"), "measured"
    )
    with engramdb.open(path) as e:
        assert (len(e), e.tick, e.neuron("0/0/42").state) == (10**9, 0, "virtual")
    assert [p.name for p in tmp_path.iterdir()] == ["brain.engram"], "the copy is gone"
    assert main(["synth", str(path), *arguments]) == 1
    assert "exists" in capsys.readouterr().err


def test_what_does_not_fit_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-n", "1e9", "--active", "10%", "--sample", "1000", "--ticks", "5", "--memory", "256MiB"]
    assert main(["synth", *arguments]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("it will not fit 1,000,000,000 neurons")
    assert "measured on the sample" in said


def test_a_sample_is_scaled_by_the_formulas() -> None:
    network = Network(neurons=10**8, active=1e-3)
    whole, part = (dry_run(network, shipped(), most_sampled=n, ticks=5) for n in (100_000, 25_000))
    assert (whole.sampled, part.sampled) == (100_000, 25_000)
    ram = [found.verdicts[0].needed for found in (whole, part)]
    assert ram[1] == pytest.approx(ram[0], rel=0.2)
    assert whole.verdicts[0].needed == pytest.approx(whole.estimated.counted_bytes, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-n", "1000", "--active", "0.01%"], "0.01 % of 1,000 neurons is nobody"),
        (["--model", "void"], "a dry run needs neurons that spike over synapses"),
        (["--hz", "0"], "give hz, ticks and a sample above 0"),
    ],
)
def test_what_cannot_be_run_dry_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", *arguments]) == 2
    assert said in capsys.readouterr().err
