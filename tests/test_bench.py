"""The benchmark suite runs, and what it says of itself makes sense."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from engramdb.cli import main
from engramdb.sizing.bench import WORKLOADS
from engramdb.sizing.figure import Figure, one

ROOT = Path(__file__).resolve().parent.parent


# together these take a quarter of the time of all of them
QUICK = ("tick", "memory", "bytes", "codecs", "fault", "scan", "history", "build", "queries", "http")
OTHERS = [workload.name for workload in WORKLOADS if workload.name not in QUICK]


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    return measured(*QUICK)


def measured(*names: str) -> dict[str, object]:
    command = [sys.executable, "-m", "engramdb", "bench", *names, "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, "one JSON document and nothing else"
    loaded: dict[str, object] = json.loads(done.stdout)
    return loaded


@pytest.mark.parametrize("name", QUICK)
def test_every_workload_gives_figures_with_their_spread(document: dict, name: str) -> None:
    check(document, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_workload_does_so_too(name: str) -> None:
    check(measured(name), name)


def check(document: dict, name: str) -> None:
    figures = document["workloads"][name]["figures"]
    assert figures
    for figure in figures:
        assert 0 <= figure["min"] <= figure["median"] <= figure["max"] < math.inf, figure
        assert (figure["ratio"] is None) == (figure["bound"] is None)
        if figure["bound"] is not None:
            assert figure["ratio"] == pytest.approx(figure["median"] / figure["bound"])


def test_counted_figures_are_what_the_design_says(document: dict) -> None:
    """Those that no busy machine can disturb."""
    figures = {
        figure["name"]: figure["median"]
        for workload in document["workloads"].values()
        for figure in workload["figures"]
    }
    assert 3 < figures["spiking per tick"] < 4.5
    assert figures["charged, as the budget counts"] <= 60
    assert figures["resident, k = 12, as the budget counts"] <= 300
    assert figures["virtual, of 10^11, resident set size"] < 0.01
    assert figures["engram of 10^11 virtual neurons"] <= 1000
    assert figures["written row, float32 weights, against raw"] < 116


def test_an_unknown_workload_is_refused_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "tick", "tock"]) == 2
    assert 'no workload "tock"; known: tick, stdp, flat, spill' in capsys.readouterr().err
    assert main(["bench", "tick", "--folder", str(tmp_path / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_people_get_a_table_of_codecs_and_the_store_takes_one_of_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codecs", "--quick"]) == 0
    heading, head, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert heading.startswith("S4 codecs")
    assert head.count("|") == 12
    assert len(rows) > 20
    for row in rows:
        assert row.count("**") in (0, 2), row  # none where the column is kept as it is
    assert sum("**" in row for row in rows) > 15


def test_a_figure_is_held_against_its_bound() -> None:
    figure = Figure("tick", "ms", (3.0, 1.0, 2.0), 4.0, "fetch")
    assert (figure.median, figure.ratio) == (2.0, 0.5)
    assert "(1 .. 3, n=3)  = 0.50 x fetch 4" in figure.as_line()
    assert one("bytes", "B", 7).as_dict()["ratio"] is None
    with pytest.raises(ValueError, match="tick: no samples"):
        Figure("tick", "ms", ())
