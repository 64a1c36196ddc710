"""Tables of synapses and graphs: the whole network, virtual rows included, as other programs have it."""

from __future__ import annotations

import csv
import gzip
import tracemalloc
from pathlib import Path

import networkx
import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray

import engramdb
from engramdb import Bernoulli, Engram, Explicit, FixedOutdegree, Layer, OneToOne, Projection, SmallWorld, Spec
from engramdb.errors import AlreadyExists, BudgetExceeded, DiskFull, InvalidInput, NotFound
from engramdb.interchange import edgelist, everyrow, sonataedges, sonataout
from tests.networks import edges_of, ids_of

WORM = Path(__file__).parent.parent / "engramdb" / "data" / "celegans" / "connectome.csv"


def two_layers() -> Spec:
    return Spec(
        seed=3,
        dt_ms=0.1,
        layers=[
            Layer("exc", index=7, segments=[300, 100], wiring=SmallWorld(k=8, weight=(2.0, 6.0)), delay_ms=(0.3, 2.0)),
            Layer("inh", index=2, segments=[400]),
        ],
        projections=[
            Projection("exc", "inh", OneToOne(), weight=2.0, delay_ms=1.7),
            Projection("inh", "exc", Bernoulli(p=0.02), weight=(0.5, 3.0), sign=-1),
        ],
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.engram"
    with engramdb.create(path, two_layers()) as e:
        e.stimulate(e.resolve([f"7/0/{i}" for i in range(50)]), 30.0, duration=3)
        e.run(20)
        e.set_weight("7/0/5", e.synapses("7/0/5").targets[:1], -7.5)
        e.grow("exc", 20, k=3)
    return path


@pytest.fixture
def opened(net: Path) -> Engram:
    return engramdb.open(net)


def rows(engram: Engram) -> list[tuple[int, int, float, float]]:
    pre, post, weight, delay = edges_of(engram)
    delay_ms = np.round(delay * engram.spec.dt_ms, 9)
    return sorted(zip(pre.tolist(), post.tolist(), weight.tolist(), delay_ms.tolist(), strict=True))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_every_synapse_is_a_row(net: Path, opened: Engram, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"edges{suffix}"
    done = engramdb.export_edges(net, out)
    if suffix == ".parquet":
        table = pq.read_table(out).to_pylist()
    else:
        with gzip.open(out, "rt") if suffix.endswith(".gz") else out.open(newline="") as file:
            table = list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
    found = sorted((int(r["pre"]), int(r["post"]), float(np.float32(r["weight"])), float(r["delay"])) for r in table)
    assert found == rows(opened)
    assert done.synapses == len(found)
    assert {r["projection"] for r in table} == {"exc", "exc->inh", "inh->exc"}


def test_one_layer_of_it(net: Path, opened: Engram, tmp_path: Path) -> None:
    engramdb.export_edges(net, tmp_path / "inh.parquet", layer="inh")
    table = pq.read_table(tmp_path / "inh.parquet")
    assert table["pre"].to_pylist() == sorted(pre for pre, *_ in rows(opened) if pre >> 48 == 2)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_comes_back_as_an_engram_with_the_same_synapses(net: Path, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"edges{suffix}"
    engramdb.export_edges(net, table, ids="id")
    engramdb.import_edges(table, tmp_path / "back.engram", ids="keep", duplicates="keep", dt_ms=0.1)
    with engramdb.open(net) as one, engramdb.open(tmp_path / "back.engram") as other:
        back = [(pre, post, weight, delay) for pre, post, weight, delay in rows(other)]
        assert back == rows(one)


def test_the_worm_is_written_with_its_names(tmp_path: Path) -> None:
    engramdb.import_edges(WORM, tmp_path / "worm.engram", where="kind=chemical", duplicates="keep")
    engramdb.export_edges(tmp_path / "worm.engram", tmp_path / "worm.csv")
    with WORM.open(newline="") as file:
        known = sorted(
            (r["pre"], r["post"], float(r["weight"])) for r in csv.DictReader(file) if r["kind"] == "chemical"
        )
    with (tmp_path / "worm.csv").open(newline="") as file:
        found = sorted((r["pre"], r["post"], abs(float(r["weight"]))) for r in csv.DictReader(file))
    assert found == known


def test_names_that_say_no_format_are_refused(net: Path, tmp_path: Path) -> None:
    for name in ("edges", "edges.xml", "edges.parquet.gz"):
        with pytest.raises(InvalidInput, match="cannot tell the format"):
            engramdb.export_edges(net, tmp_path / name)
    (tmp_path / "there.csv").write_text("")
    with pytest.raises(AlreadyExists):
        engramdb.export_edges(net, tmp_path / "there.csv")
    with pytest.raises(NotFound, match='no layer "x"'):
        engramdb.export_edges(net, tmp_path / "x.csv", layer="x")
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_virtual_rows_that_would_never_fit_are_refused_before_they_are_made(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[4_000_000_000] * 25, wiring=SmallWorld(k=12))])
    engramdb.create(tmp_path / "huge.engram", spec).close()
    for export in (engramdb.export_edges, engramdb.export_sonata):
        with pytest.raises(DiskFull, match=r"1,200,000,000,000 synapses .* keep the rules"):
            export(tmp_path / "huge.engram", tmp_path / "huge.csv")
    with engramdb.open(tmp_path / "huge.engram") as e:
        with pytest.raises(BudgetExceeded, match="memory budget"):
            e.to_scipy()
        with pytest.raises(InvalidInput, match=r"100,000,000,000 neurons .* limit of 100,000"):
            e.to_networkx()


def test_a_matrix_has_every_weight_at_its_place(opened: Engram) -> None:
    ids = {name: ids_of(opened)[ids_of(opened) >> np.uint64(48) == index] for name, index in (("exc", 7), ("inh", 2))}
    pre, post, weight, _ = edges_of(opened)
    for name, other in (("exc", "exc"), ("exc", "inh"), ("inh", "exc")):
        matrix = opened.to_scipy(name, post=other)
        expected = np.zeros((len(ids[name]), len(ids[other])))
        own = np.isin(pre, ids[name]) & np.isin(post, ids[other])
        np.add.at(expected, (np.searchsorted(ids[name], pre[own]), np.searchsorted(ids[other], post[own])), weight[own])
        assert matrix.shape == expected.shape
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-6)
    everything = opened.to_scipy()
    assert everything.nnz == len(pre)
    assert everything[:420, 420:].nnz == 400


def test_a_matrix_has_what_was_changed_a_moment_ago(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[10], wiring=Explicit())])
    with engramdb.create(tmp_path / "a.engram", spec) as e:
        e.connect([1, 1], [2, 3], [0.5, -0.25])
        assert e.to_scipy("a").toarray()[1].tolist() == [0, 0, 0.5, -0.25, 0, 0, 0, 0, 0, 0]


def test_a_graph_has_every_synapse(opened: Engram) -> None:
    graph = opened.to_networkx()
    assert graph.number_of_nodes() == len(opened)
    found = sorted(
        (engramdb.address.parse(a), engramdb.address.parse(b), d["weight"], d["delay"])
        for a, b, d in graph.edges(data=True)
    )
    assert found == rows(opened)
    assert graph.nodes["7/0/0"]["layer"] == "exc"
    assert graph.nodes["7/0/3"]["spike_count"] == opened.neuron("7/0/3").fields["spike_count"] > 0
    inside = opened.to_networkx("exc")
    assert {layer for _, layer in inside.nodes(data="layer")} == {"exc"}
    assert inside.number_of_edges() == sum(1 for pre, post, *_ in rows(opened) if pre >> 48 == post >> 48 == 7)
    with pytest.raises(InvalidInput, match="more than 1,000 synapses"):
        opened.to_networkx(limit=1000)


def test_graphml_is_read_by_networkx_and_is_the_same_graph(tmp_path: Path) -> None:
    table = tmp_path / "names.csv"
    table.write_text('pre,post,weight\n"<A & ""B"">",é\x01,3\né\x01,"<A & ""B"">",2\n', encoding="utf-8")
    engramdb.import_edges(table, tmp_path / "a.engram")
    done = engramdb.export_graphml(tmp_path / "a.engram", tmp_path / "a.graphml")
    graph = networkx.read_graphml(tmp_path / "a.graphml", force_multigraph=True)
    with engramdb.open(tmp_path / "a.engram") as e:
        expected = e.to_networkx()
    assert (done.neurons, done.synapses) == (2, 2)
    assert sorted(graph.edges(data=True)) == sorted(expected.edges(data=True))
    assert {label for _, label in graph.nodes(data="label")} == {'<A & "B">', "é\ufffd"}


def test_graphml_above_its_limit_is_refused_and_leaves_nothing(net: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"820 neurons there, above the limit of 100"):
        engramdb.export_graphml(net, tmp_path / "a.graphml", limit=100)
    with pytest.raises(InvalidInput, match=r"more than 1,000 synapses"):
        engramdb.export_graphml(net, tmp_path / "a.graphml", limit=1000)
    assert list(tmp_path.iterdir()) == []


def test_xarray_shows_one_segment_or_all(net: Path) -> None:
    with engramdb.open(net) as e:
        one = e.to_xarray("exc")
        assert one.attrs["tick"] == 20
        assert one.weight.attrs["units"] == "mV"
        assert int(one.spike_count.max()) == int(e.neurons(ids_of(e)).fields["spike_count"].max())
        tree = e.to_xarray()
        assert isinstance(tree, xarray.DataTree)
        assert set(tree.children) == {"exc", "inh"}
        assert tree["exc/0"].dataset.sizes["neuron"] == one.sizes["neuron"]
        with pytest.raises(NotFound, match="no segment 9"):
            e.to_xarray("exc", 9)
        one.close()
        tree.close()


def test_positions_and_ids_are_each_other_s_inverse(opened: Engram) -> None:
    bundles, layers = opened._bundles, list(opened.spec.layers)
    for some in (layers, layers[::-1], layers[:1]):
        positions = everyrow.Positions(bundles, some)
        ids = positions.all_ids()
        assert len(ids) == len(positions)
        assert np.array_equal(positions.of(ids), np.arange(len(positions)))
        away = np.array([0, 2 << 48 | 9999 << 32, 2**64 - 1], dtype=np.uint64)
        assert (positions.of(away) == -1).all()


def test_a_rule_that_gives_nothing_leaves_nothing(tmp_path: Path) -> None:
    spec = Spec(
        layers=[Layer("a", segments=[5]), Layer("b", segments=[5])],
        projections=[Projection("a", "b", FixedOutdegree(k=2))],
    )
    engramdb.create(tmp_path / "a.engram", spec).close()
    done = engramdb.export_edges(tmp_path / "a.engram", tmp_path / "b.csv", layer="b")
    assert done.synapses == 0
    assert (tmp_path / "b.csv").read_text().strip() == '"pre","post","weight","delay","projection"'


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".sonata"])
def test_memory_does_not_grow_with_the_engram(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted on the way out and back, of rows that only a rule gives; in small pieces, as if it were much larger."""
    monkeypatch.setattr(sonataout, "_ROOM_BYTES", 4 << 20)
    monkeypatch.setattr(sonataout, "_CHUNK", 1 << 10)
    monkeypatch.setattr(sonataedges, "EDGES_A_PART", 1 << 16)
    monkeypatch.setattr(everyrow, "_SYNAPSES_A_PIECE", 1 << 16)
    monkeypatch.setattr(edgelist, "_ROWS_A_GROUP", 1 << 17)
    peaks = []
    for neurons in (20_000, 80_000):
        layer = Layer("a", segments=[neurons], wiring=SmallWorld(k=20, weight=(0.0, 1.0)))
        path, out = tmp_path / f"{neurons}.engram", tmp_path / f"{neurons}{suffix}"
        engramdb.create(path, Spec(layers=[layer])).close()
        tracemalloc.start()
        try:
            if suffix == ".sonata":
                engramdb.export_sonata(path, out)
                engramdb.import_sonata(out, tmp_path / f"{neurons}-back.engram", memory="16MiB")
            else:
                engramdb.export_edges(path, out)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.6 * peaks[0]
