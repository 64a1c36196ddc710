"""What inspect shows beyond the summary: storage by array, HDF5 files, listings, dumps, and the report."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

import engramdb
from engramdb import Bernoulli, Layer, Projection, SmallWorld, Spec
from engramdb.cli import main
from engramdb.errors import AlreadyExists, InvalidInput, NotFound
from engramdb.inspect import summarize
from engramdb.inspect.contents import dump, list_contents
from engramdb.inspect.report import html, write_report
from engramdb.inspect.storage import OF_SYNAPSES
from engramdb.store import Store
from tests.networks import ids_of


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lived") / "a.engram"
    spec = Spec(
        seed=5,
        name="<two> & more",
        layers=[
            Layer("exc", segments=[2000, 700], wiring=SmallWorld(k=10, weight=(0.2, 0.8))),
            Layer("inh", segments=[300]),
        ],
        projections=[Projection("inh", "exc", Bernoulli(p=0.01), weight=(0.5, 3.0), sign=-1)],
    )
    with engramdb.create(path, spec) as e:
        e.stimulate(np.arange(500, dtype=np.uint64), 30.0, duration=3)
        e.run(12)
        e.snapshot("driven")
        e.stimulate(range(5), 30.0)
        e.run(2)
        e.branch("what-if", at="driven")
    return path


def test_states_are_those_that_queries_say(lived: Path) -> None:
    with engramdb.open(lived) as e:
        ids = ids_of(e)
        said = np.array(e.neurons(ids).state)
        for layer in summarize(lived).layers:
            own = said[ids >> np.uint64(48) == layer.index]
            expected = {name: int((own == name).sum()) for name in ("virtual", "charged", "dormant")}
            assert dict(layer.states) == expected
            assert sum(expected.values()) == len(own)


def test_spikes_of_neurons_are_spread_as_they_are(lived: Path) -> None:
    with engramdb.open(lived) as e:
        ids = ids_of(e)
        counts = e.neurons(ids).fields["spike_count"]
    (exc, _) = summarize(lived).layers
    fired = counts[(ids >> np.uint64(48) == 0) & (counts > 0)]
    edges, found = exc.activity.histogram.edges, exc.activity.histogram.counts
    for low, high, count in zip(edges[1:-1], edges[2:], found[1:], strict=True):
        assert count == ((fired >= low) & (fired < high)).sum()
    assert exc.activity.maximum == exc.most_spikes == fired.max()


def test_bytes_by_array_add_up_to_the_leaves(lived: Path) -> None:
    storage = summarize(lived).storage
    with Store.open(lived) as store:
        deltas = sum(1 for ref in store.directory.leaves() if ref.depth)
        records = sum(ref.rows for ref in store.directory.leaves())
        synapses = sum(ref.synapses for ref in store.directory.leaves())
    stored = sum(array.stored for array in storage.arrays)
    assert stored >= storage.leaves if deltas else stored == storage.leaves
    of_synapses = sum(array.stored for array in storage.arrays if array.name in OF_SYNAPSES)
    assert storage.bytes_per_synapse == pytest.approx(of_synapses / synapses)
    assert storage.bytes_per_neuron == pytest.approx((stored - of_synapses) / records)
    weights = next(array for array in storage.arrays if array.name == "weight")
    assert weights.decoded == 4 * synapses
    assert all(sum(n for _, n in array.codecs) == array.stored for array in storage.arrays if array.name != "headers")
    assert not storage.estimated


def test_many_leaves_are_estimated_from_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engramdb.inspect import storage as module

    layer = Layer("a", segments=[120_000], wiring=SmallWorld(k=12, weight=(0.0, 1.0)), materialize=True)
    engramdb.create(tmp_path / "a.engram", Spec(layers=[layer])).close()
    exact = summarize(tmp_path / "a.engram").storage
    monkeypatch.setattr(module, "MOST_LEAVES", 4)
    some = summarize(tmp_path / "a.engram").storage
    assert some.estimated
    assert not exact.estimated
    assert some.bytes_per_synapse == pytest.approx(exact.bytes_per_synapse, rel=0.2)


def test_an_hdf5_file_is_summarized_like_the_engram_it_came_from(lived: Path, tmp_path: Path) -> None:
    engramdb.export_hdf5(lived, tmp_path / "a.h5")
    ours, theirs = summarize(lived), summarize(tmp_path / "a.h5")
    assert theirs.layers == ours.layers
    assert theirs.projections == ours.projections
    assert (theirs.tick, theirs.commit, theirs.charged, theirs.in_flight) == (
        ours.tick, ours.commit, ours.charged, ours.in_flight,
    )  # fmt: skip
    assert (theirs.kind, theirs.commits, theirs.storage.total) == ("hdf5", (), (tmp_path / "a.h5").stat().st_size)
    assert "weight" in {array.name for array in theirs.storage.arrays}
    with pytest.raises(InvalidInput, match="has no history"):
        summarize(tmp_path / "a.h5", at="driven")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InvalidInput, match="no engram"):
        summarize(tmp_path / "other.h5")


def test_layers_and_leaves_are_listed(lived: Path, tmp_path: Path) -> None:
    summary = summarize(lived)
    layers = list_contents(lived).rows
    for row, layer in zip(layers, summary.layers, strict=True):
        assert (row["layer"], row["declared"], row["records"]) == (layer.name, layer.declared, layer.records)
        leaves = list_contents(lived, layer.name).rows
        assert sum(leaf["records"] for leaf in leaves) == layer.records
        assert sum(leaf["bytes"] for leaf in leaves) == row["bytes"]
        assert len(leaves) == row["leaves"]
    assert list_contents(lived, "exc/1").rows == []
    one = list_contents(lived, "exc", limit=0)
    assert (one.rows, one.more) == ([], layers[0]["leaves"])
    assert list_contents(lived, at="driven").rows[0]["records"] <= layers[0]["records"]
    with pytest.raises(NotFound, match="no segment 7"):
        list_contents(lived, "exc/7")
    with pytest.raises(NotFound, match="no layer"):
        list_contents(lived, "x")
    engramdb.export_hdf5(lived, tmp_path / "a.h5")
    arrays = {row["array"]: row for row in list_contents(tmp_path / "a.h5", limit=1000).rows}
    assert arrays["/layers/inh/0/weight"]["shape"] == [summary.layers[1].stored_synapses]
    assert {row["array"] for row in list_contents(tmp_path / "a.h5", "layers/inh").rows} < set(arrays)


def test_records_and_leaves_are_dumped_as_they_are_stored(lived: Path) -> None:
    with engramdb.open(lived) as e:
        row, neuron = e.synapses("1/0/7"), e.neuron("1/0/7")
    found = dump(lived, "1/0/7", limit=1000)
    assert (found["id"], found["row"], found["state"]["spike_count"]) == (
        "1/0/7",
        "stored",
        neuron.fields["spike_count"],
    )
    assert sorted(engramdb.address.parse(s["target"]) for s in found["synapses"]) == sorted(row.targets.tolist())
    assert dump(lived, "1/0/7", limit=2)["more_synapses"] == len(row) - 2
    leaf = dump(lived, f"leaf/{found['leaf']}", limit=3)
    assert leaf["versions"][-1]["kind"] == "whole"
    columns = {column["column"]: column for column in leaf["versions"][-1]["columns"]}
    assert columns["id"]["first"] == [1 << 48, 1 << 48 | 1, 1 << 48 | 2]
    assert columns["weight"]["shape"] == [leaf["versions"][-1]["synapses"]]
    assert dump(lived, "spec")["spec"]["seed"] == 5
    assert len(dump(lived, "bundles")["bundles"]["bundles"]) == 3
    assert dump(lived, "state")["state"]["charged_id"]["type"] == "<u8"
    for what, words in (("0/1/699", "virtual"), ("leaf/999", "no leaf 999"), ("9/0/0", "declares no neuron")):
        with pytest.raises(NotFound, match=words):
            dump(lived, what)


class _Page(HTMLParser):
    """Every tag is closed, and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe", "object")
        assert not {"src", "href", "onload"} & {name for name, _ in attrs}
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "line":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_report_stands_alone_and_says_what_the_summary_says(lived: Path, tmp_path: Path) -> None:
    summary = summarize(lived)
    write_report(summary, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    said = " ".join(page.text)
    for words in ("<two> & more", "exc", "inh", "Bernoulli(p=0.01)", "driven", "branch main", "what-if", "pcodec"):
        assert words in said, words
    for svg in re.findall(r"<svg.*?</svg>", text):
        ET.fromstring(svg)
    titles = [int(n.replace(",", "")) for n in re.findall(r"<title>[^<]*: ([\d,]+)</title>", text)]
    assert summary.layers[1].out_degree.histogram.counts[-1] in titles
    with pytest.raises(AlreadyExists):
        write_report(summary, tmp_path / "a.html")


def test_the_report_of_an_empty_engram_and_of_a_file_are_whole(lived: Path, tmp_path: Path) -> None:
    engramdb.create(tmp_path / "e.engram", Spec(layers=[Layer("a", segments=[5])])).close()
    engramdb.export_hdf5(lived, tmp_path / "a.h5")
    for path in (tmp_path / "e.engram", tmp_path / "a.h5"):
        page = _Page()
        page.feed(html(summarize(path)))
        assert page.open == []


def test_the_verbs_say_it_in_text_and_in_json(lived: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: object) -> str:
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    assert "dormant" in said("inspect", lived)
    assert "B a neuron" not in said("inspect", lived)
    assert json.loads(said("inspect", lived, "--json"))["storage"]["arrays"]
    assert "inh" in said("ls", lived)
    assert json.loads(said("ls", lived, "inh", "--json"))["leaves"][0]["kind"] in ("whole", "delta")
    assert json.loads(said("dump", lived, "1/0/7"))["row"] == "stored"
    assert "wrote" in said("inspect", lived, "--html", tmp_path / "a.html")
    assert main(["inspect", str(lived), "--html", str(tmp_path / "a.html")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["inspect", str(lived), "--html", str(tmp_path / "none" / "a.html")]) == 1
    assert "folder that does not exist" in capsys.readouterr().err
