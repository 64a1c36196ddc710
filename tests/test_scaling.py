"""Scaling is measured, fitted with its uncertainty, and what is not measured is marked."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.cli import main
from engramdb.sizing.fit import power_law
from engramdb.sizing.scaling import EXTRAPOLATED, MEASURED, NOT_RUN, QUANTITIES, measure_scaling


@given(st.floats(-2, 2), st.floats(0.01, 100), st.lists(st.integers(1, 10**6), min_size=3, max_size=9, unique=True))
def test_a_law_is_found_through_its_own_points(exponent: float, factor: float, x: list[int]) -> None:
    law = power_law(x, [factor * float(v) ** exponent for v in x])
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-6)
    assert law.low <= law.exponent <= law.high
    value, low, high = law.at(1e7)
    assert low <= value <= high
    assert value == pytest.approx(factor * 1e7**exponent, rel=1e-3)


def test_the_interval_covers_the_exponent_as_often_as_it_says() -> None:
    random, covered = np.random.default_rng(1), 0
    x = [1e3, 1e4, 1e5, 1e6]
    for _ in range(1000):
        law = power_law(x, [3 * v**0.7 * float(np.exp(random.normal(0, 0.2))) for v in x])
        assert law is not None
        covered += law.low <= 0.7 <= law.high
    assert 930 <= covered <= 970


def test_two_points_give_a_law_without_certainty_and_one_gives_none() -> None:
    law = power_law([10.0, 100.0], [1.0, 10.0])
    assert law is not None
    assert (law.exponent, law.low, law.high) == (pytest.approx(1.0), -math.inf, math.inf)
    assert law.at(1000.0)[1:] == (0.0, math.inf)
    assert power_law([10.0, 10.0], [1.0, 2.0]) is None
    assert power_law([10.0, 20.0], [1.0, 0.0]) is None


def test_scaling_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["--quick", "--sizes", "1000,3000,9000", "--activity", "100%,10%", "--out", str(tmp_path)]
    assert main(["scaling", *arguments, "--plot", "s.svg", "--folder", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["definitions"]) == set(QUANTITIES)
    rows = list(csv.DictReader((tmp_path / "neuron_scaling_results.csv").read_text().splitlines()))
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in (MEASURED, EXTRAPOLATED)}
    assert len(kinds[MEASURED]) == 3 * 2 * len(QUANTITIES)
    assert {row["neurons"] for row in kinds[EXTRAPOLATED]} == {"1000000000", "100000000000"}
    laws = {(law["quantity"], law["activity"]): law for law in document["laws"]}
    # what is counted follows who is active, whatever the machine does
    assert laws["memory", 1.0]["exponent"] == pytest.approx(1.0, abs=0.1)
    rates = [float(r["value"]) for r in kinds[MEASURED] if (r["quantity"], r["activity"]) == ("spike rate", "1")]
    assert rates == pytest.approx([0.084] * 3, abs=0.01)
    for row in kinds[MEASURED]:
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
        if row["quantity"] == "stability":
            assert 0 < float(row["value"]) <= 1
        if row["quantity"] == "drift":
            assert 0 < float(row["value"]) < 1e4
    assert (tmp_path / "s.svg").stat().st_size > 10_000
    assert not list(tmp_path.glob("engramdb-scaling-*"))


def test_what_does_not_fit_is_not_run_and_says_so() -> None:
    found = measure_scaling([500, 100_000], [1.0], memory_bytes=10_000_000, quick=True)
    left_out = [point for point in found.points if point.kind == NOT_RUN]
    assert {(point.neurons, point.note) for point in left_out} == {
        (100_000, "its active vectors take 0.315 GB, and 0.01 were allowed")
    }
    assert not found.laws


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "100", "--activity", "0.1%"], "0.1 % of 100 neurons is nobody; leave that size or activity out"),
        (["--sizes", "lots"], "--sizes lots: give a whole number"),
        (["--plot", "s.txt"], "--plot s.txt: give a name that ends in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scaling", *arguments, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_without_matplotlib_the_picture_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["scaling", "--quick", "--out", str(tmp_path), "--plot", "s.svg"]) == 2
    assert "matplotlib is not installed: pip install matplotlib" in capsys.readouterr().err
    assert main(["scaling", "--quick", "--out", str(tmp_path / "none")]) == 1
