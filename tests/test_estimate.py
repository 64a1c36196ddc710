"""Estimates hold: what a network was said to take is what it takes; and the claims of the documents are worked out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from engramdb.cli import main
from engramdb.errors import InvalidInput
from engramdb.sizing.calibrate import calibrate
from engramdb.sizing.claims import claims, csr_gib, learning_error, update_ms, window_gb
from engramdb.sizing.constants import kept_at, load, shipped
from engramdb.sizing.estimate import estimate
from engramdb.sizing.network import RANDOM, Network
from engramdb.sizing.specimen import measure
from engramdb.sizing.workload_estimate import networks

NETWORKS = networks(20_000)
BUDGET_BYTES = 8 << 30


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of nobody: the shipped constants hold."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "settings"))
    return tmp_path


# what these take is the compiling of kernels of their own
SLOW = ("lif_exp", "lif_cond", "adex", "hebbian", "re_vgsp")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETWORKS])
def test_ram_and_disk_are_within_a_fifth_of_what_was_estimated(name: str, tmp_path: Path) -> None:
    measured = measure(tmp_path, NETWORKS[name])
    estimated = estimate(measured.as_it_was, shipped(), BUDGET_BYTES)
    assert measured.counted_bytes == pytest.approx(estimated.counted_bytes, rel=0.2)
    assert measured.disk_bytes == pytest.approx(estimated.disk_bytes, rel=0.2)
    if NETWORKS[name].model not in ("void", "dense_lif"):
        assert measured.resident == pytest.approx(estimated.resident, rel=0.05)


def test_what_a_network_takes_follows_what_is_active_and_not_its_size() -> None:
    small, large = (
        estimate(Network(neurons=10**power, active=10**5 / 10**power), shipped()) for power in (9, 11)
    )  # fmt: skip
    assert large.counted_bytes == pytest.approx(small.counted_bytes, rel=0.01)
    assert large.disk_bytes == pytest.approx(small.disk_bytes, rel=0.01)
    assert large.tick_s == pytest.approx(small.tick_s, rel=0.01)
    written = estimate(Network(neurons=10**9, active=1e-4, materialized=True), shipped())
    assert 30e9 < written.disk_bytes < 60e9


def test_every_part_grows_with_what_makes_it_grow() -> None:
    constants = shipped()
    base = Network(neurons=10**6, wiring=RANDOM, materialized=True)
    found = estimate(base, constants)
    for more in (Network(neurons=2 * 10**6, wiring=RANDOM, materialized=True),
                 Network(neurons=10**6, k=24, wiring=RANDOM, materialized=True)):  # fmt: skip
        other = estimate(more, constants)
        assert (other.counted_bytes, other.disk_bytes) > (found.counted_bytes, found.disk_bytes)
        assert other.tick_s > found.tick_s
    narrow = estimate(Network(neurons=10**6, wiring=RANDOM, materialized=True, weights="float16"), constants)
    assert narrow.disk_bytes < found.disk_bytes
    assert estimate(Network(neurons=10**6, learning="stdp"), constants).tick_s > found.tick_s


@pytest.mark.slow
def test_constants_can_be_measured(settings: Path) -> None:
    constants = calibrate(quick=True, folder=settings)
    for name, value in constants.as_dict().items():
        numbers = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        assert all(math.isfinite(v) and v >= 0 for v in numbers if isinstance(v, float)), name
    # what it takes on disk is the same everywhere
    assert constants.weight_bytes == pytest.approx(shipped().weight_bytes, rel=0.01)
    assert constants.target_factor == pytest.approx(shipped().target_factor, rel=0.01)


def test_constants_measured_here_are_kept_and_used(capsys: pytest.CaptureFixture[str], settings: Path) -> None:
    constants = replace(shipped(), process_bytes=1.0)
    assert load()[1].startswith("as shipped")
    constants.save(kept_at())
    found, whose = load()
    assert found == constants
    assert str(settings) in whose
    kept_at().write_text('{"version": 1, "disk_base": 3}')
    with pytest.raises(InvalidInput, match=r"sizing\.json: no constants of estimates .* --calibrate"):
        load()
    kept_at().write_text('{"version": 0}')
    assert main(["estimate"]) == 2
    assert "of another version; measure them again" in capsys.readouterr().err


def test_the_command_says_what_a_network_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "-n", "10^9", "-k", "12", "--active", "0.01%", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["active_neurons"] == 100_000
    assert document["disk_bytes"] == pytest.approx(sum(document["disk"].values()))
    assert document["network"]["neurons"] == 10**9
    assert main(["estimate", "-n", "1e5", "--model", "dense_lif", "-D", "768", "--firing", "8.4%"]) == 0
    said = capsys.readouterr().out
    assert "100,000 neurons  dense_lif, D = 768" in said
    assert "constants  as shipped" in said
    assert main(["estimate", "-n", "1e7", "--memory", "64MiB"]) == 0
    assert "does not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-n", "1.5"], "--neurons 1.5: give a whole number, such as 1e9, 10^9 or 1000000"),
        (["-n", "many"], "--neurons many: give a whole number"),
        (["--active", "3"], "--active 3: give a fraction from 0 to 1, or a percentage such as 0.1%"),
        (["--model", "liff"], 'unknown neuron model "liff"; known: adex'),
        (["--learning", "bcm"], "learning=bcm: known: none, stdp"),
        (["-k", "200"], "k=200: 1,000,000 neurons wired small-world can have 0 to 100 synapses"),
        (["--model", "void", "--learning", "stdp"], "void learns by itself"),
        (["-n", "1e18"], "neurons=1000000000000000000: give 1 to"),
    ],
)
def test_what_cannot_be_estimated_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_claims_of_the_documents_are_worked_out(capsys: pytest.CaptureFixture[str]) -> None:
    gib = [round(csr_gib(10**9, k), 2) for k in (8, 12, 16, 32)]
    assert gib == [78.23, 108.03, 137.84, 257.05]
    assert update_ms(1e5) == pytest.approx(92_160)  # seconds: the documents read them as milliseconds
    assert window_gb(1e11, 0.001) == pytest.approx(3017.6)
    assert learning_error(1e7) == pytest.approx(3.16e-7, rel=1e-2)
    assert main(["estimate", "--sources", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    slips = {claim["topic"]: claim["slip"] for claim in document["claims"] if claim["slip"]}
    assert document["slips"] == len(slips) == sum(bool(claim.slip) for claim in claims())
    assert "a millisecond for a second" in slips["T_update formula"]
    assert "a thousandth of the formula" in slips["M at 10^9"]
    assert "it is that of 10^8" in slips["E_learn at 10^7"]
    assert "overflow" in slips["row pointers"]
    assert main(["estimate", "--sources"]) == 0
    said = capsys.readouterr().out
    assert "108.03 GiB" in said
    assert "! E_learn at 10^7" in said
