"""Notebooks: cards, a line of progress, plots that draw where they are told, and examples that run."""

from __future__ import annotations

import io
import json
import runpy
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engramdb
from engramdb.cards import card, said, table
from engramdb.errors import InvalidInput
from engramdb.progress import ProgressLine
from tests.documents import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An Axes of nobody's, drawn without a screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot.figure().subplots()
    pyplot.close("all")


@pytest.fixture
def e(tmp_path: Path) -> Iterator[engramdb.Engram]:
    wiring = engramdb.SmallWorld(k=6, span=20, weight=(1.0, 3.0))
    layers = [engramdb.Layer("a<b", segments=[500], wiring=wiring), engramdb.Layer("still", segments=[10])]
    with engramdb.create(tmp_path / "net.engram", engramdb.Spec(seed=1, layers=layers)) as made:
        yield made


class _Tags(HTMLParser):
    """That every tag which is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(thing: Any) -> str:
    html: str = thing._repr_html_()
    tags = _Tags()
    tags.feed(html)
    assert not tags.open
    return html


def test_everything_that_is_shown_is_a_card_of_whole_html(e: engramdb.Engram) -> None:
    e.stimulate(range(50), 20.0)
    run = e.run(20, record=("spikes", "rates"))
    e.snapshot("one")
    e.set_weight(3, e.synapses(3).targets, 0.5)
    assert "a&lt;b" in shown(e)
    assert "tick 20, 510 neurons" in shown(e)
    assert f"{int(run.counts.sum()):,}" in shown(run)
    assert "ticks 1 to 20" in shown(run)
    assert "spikes of a&lt;b" in shown(run)
    assert "0/0/3" in shown(e.neuron(3))
    assert "and 488 more" in shown(e.neurons(range(500)))
    assert "500 neurons" in shown(e.neurons(range(500)))
    assert "synapses reweighted" in shown(e.diff("one"))
    assert "index" in shown(e.stats())
    assert json.loads(json.dumps(e.stats())) == dict(e.stats())
    with engramdb.open(e.location) as reader:
        assert "no engine" in shown(reader.stats())
        assert reader.stats() == {}


def test_what_a_card_is_told_cannot_become_markup() -> None:
    assert "<script>" not in card("<script>", "<script>", table(("<script>",), [("<script>", 1)]))
    assert (said(1234567), said(np.uint64(12345)), said(0.000123456), said(True)) == (
        "1,234,567", "12,345", "0.00012346", "True",
    )  # fmt: skip


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_that_is_written_over_itself() -> None:
    file = _Terminal()
    line = ProgressLine(file)
    stats = {
        "active": 1234,
        "charged": 5000,
        "resident": 6000,
        "used_bytes": 3 << 20,
        "hits": 3,
        "misses": 1,
        "wait_s": 0.5,
    }
    line(50, 200, stats)
    line(100, 200, stats)
    line.close(200, 200, stats)
    said_ = file.getvalue()
    assert said_.count("\n") == 1
    parts = said_.rstrip("\n").split("\r")
    assert [part.split("|")[0] for part in parts] == ["tick 50/200  25 %", "tick 100/200  50 %", "tick 200/200 100 %"]
    assert "left" in parts[0]
    assert "left" not in parts[-1]
    assert "1,234 active, 5,000 charged of 6,000 resident, rows there 75 %, waited 0.5 s" in line._line(200, 200, stats)


def test_in_a_file_only_the_end_of_the_progress_is_written(
    e: engramdb.Engram, capsys: pytest.CaptureFixture[str]
) -> None:
    e.run(30, progress=True)
    said_ = capsys.readouterr().err
    assert said_.startswith("tick 30/30 100 %|")
    assert said_.count("\n") == 1
    assert "\r" not in said_
    with pytest.raises(RuntimeError):
        e.run(10, progress=True, until=_fails)
    assert capsys.readouterr().err == ""
    e.run(5, progress=False)
    assert capsys.readouterr().err == ""


def _fails(_: int, __: Any) -> bool:
    raise RuntimeError("no")


def test_plots_draw_into_the_axes_given_and_return_them(e: engramdb.Engram, axes: Any) -> None:
    e.stimulate(range(40), 20.0)
    run = e.run(20, record=("spikes", "rates"))
    e.snapshot("one")
    e.branch("other")
    for draw in (lambda: engramdb.plot.raster(run, axes), lambda: engramdb.plot.rates(run, ax=axes),
                 lambda: engramdb.plot.weights(e, ax=axes), lambda: engramdb.plot.degree(e, "a<b", ax=axes),
                 lambda: engramdb.plot.history(e, ax=axes)):  # fmt: skip
        axes.clear()
        assert draw() is axes
        assert axes.get_xlabel()
        assert axes.lines or axes.patches or axes.collections
        axes.figure.canvas.draw()
    own = engramdb.plot.raster(run)
    assert own is not axes
    assert own.figure is not axes.figure


def test_plots_show_what_is_there(e: engramdb.Engram, axes: Any) -> None:
    e.stimulate(range(40), 20.0)
    run = e.run(20, record=("spikes",))
    (marks,) = engramdb.plot.raster(run, axes, ids=np.arange(10)).lines
    tick, neuron = run.spikes
    assert np.array_equal(marks.get_xdata(), tick[neuron < 10])
    axes.clear()
    heights = [patch.get_data()[0] for patch in engramdb.plot.rates(run, axes, bin_ms=4.0).patches]
    assert np.array_equal(heights[0], run.counts.reshape(5, 4).sum(axis=1))
    axes.clear()
    drawn = engramdb.plot.weights(e, "a<b", axes).patches
    assert sum(patch.get_height() for patch in drawn) == 500 * 6
    assert min(p.get_x() for p in drawn if p.get_height()) >= 1.0
    axes.clear()
    drawn = engramdb.plot.degree(e, "a<b", axes).patches
    assert [(p.get_x(), p.get_height()) for p in drawn if p.get_height()] == [(5.5, 500)]
    axes.clear()
    e.snapshot("one")
    e.restore("one")
    e.run(5)
    e.checkpoint()
    assert {text.get_text() for text in engramdb.plot.history(e, axes).texts} == {"“one”", "main"}


def test_plots_say_what_they_need(e: engramdb.Engram, monkeypatch: pytest.MonkeyPatch) -> None:
    e.stimulate(range(40), 20.0)
    run = e.run(5)
    with pytest.raises(InvalidInput, match=r'has not kept its spikes: record=\("spikes",\)'):
        engramdb.plot.raster(run)
    with pytest.raises(InvalidInput, match="bin_ms=0"):
        engramdb.plot.rates(run, bin_ms=0)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(InvalidInput, match=r"matplotlib is not installed: pip install"):
        engramdb.plot.rates(run)


def test_plot_is_there_and_loads_matplotlib_only_to_draw() -> None:
    import subprocess

    code = "import sys, engramdb; engramdb.plot.raster; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_leave_their_picture(
    example: Path, axes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
    assert (tmp_path / f"{example.stem}.png").stat().st_size > 10_000
    assert engramdb.verify(tmp_path / f"{example.stem}.engram").ok
