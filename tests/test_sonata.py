"""SONATA networks in and out: what nodes and edges become, what comes back, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import engramdb
from engramdb import Bernoulli, Layer, Normal, Projection, SmallWorld, Spec
from engramdb.errors import InvalidInput, NotFound
from engramdb.interchange.sonataout import export_sonata
from tests import sonata
from tests.networks import edges_of, ids_of

NODES, EDGES = "node_type_id model_type", "edge_type_id syn_weight delay"


def write(folder: Path, **changes: Any) -> Path:
    """A network of two populations; ``changes`` replace parts of it."""
    part = {
        "node_types": "node_type_id model_type model_template dynamics_params\n"
        "7 point_neuron nest:iaf_psc_delta a.json\n8 point_neuron nest:iaf_psc_delta b.json\n",
        "edge_types": "edge_type_id syn_weight delay dynamics_params\n3 2.5 1.5 NULL\n4 -1.0 0.3 inh.json\n",
        "components": {"a.json": {"tau_m": 10.0, "t_ref": 2.0}, "b.json": {"tau_m": 20.0, "t_ref": 2.0, "E_L": -65.0}},
        "node_type_id": [7, 8, 8, 7, 7],
        "nodes": {},
        "edges": {},
        **changes,
    }
    (folder / "network").mkdir(parents=True)
    for kind in ("point_neuron_models", "synaptic_models"):
        (folder / "components" / kind).mkdir(parents=True)
    for name, values in part["components"].items():
        (folder / "components" / "point_neuron_models" / name).write_text(json.dumps(values))
    (folder / "components" / "synaptic_models" / "inh.json").write_text('{"sign": -1}')
    (folder / "network" / "node_types.csv").write_text(part["node_types"])
    (folder / "network" / "edge_types.csv").write_text(part["edge_types"])
    with h5py.File(folder / "network" / "nodes.h5", "w") as file:
        group = file.create_group("nodes/cells")
        group["node_type_id"] = np.array(part["node_type_id"], dtype=np.uint64)
        for name, values in part["nodes"].items():
            group[name] = values
    with h5py.File(folder / "network" / "edges.h5", "w") as file:
        group = file.create_group("edges/recurrent")
        columns = {
            "source_node_id": [0, 1, 1, 4, 2], "target_node_id": [1, 0, 2, 4, 0], "edge_type_id": [3, 3, 4, 4, 3],
            "edge_group_id": [0, 0, 0, 0, 1], "edge_group_index": [0, 1, 2, 3, 0], "0/nsyns": [1, 2, 3, 1],
            "1/syn_weight": [0.75], "1/delay": [2.0], **part["edges"],
        }  # fmt: skip
        for name, values in columns.items():
            group[name] = np.array(values)
        for side in ("source", "target"):
            group[f"{side}_node_id"].attrs["node_population"] = "cells"
    config = {
        "manifest": {"$HERE": ".", "$PARTS": "$HERE/components"},
        "components": {f"{kind}_dir": f"$PARTS/{kind}" for kind in ("point_neuron_models", "synaptic_models")},
        "networks": {
            "nodes": [{"nodes_file": "$HERE/network/nodes.h5", "node_types_file": "$HERE/network/node_types.csv"}],
            "edges": [{"edges_file": "$HERE/network/edges.h5", "edge_types_file": "$HERE/network/edge_types.csv"}],
        },
    }
    (folder / "circuit_config.json").write_text(json.dumps(config))
    return folder


def rows(path: Path) -> list[tuple[int, int, float, int]]:
    with engramdb.open(path) as e:
        return sorted(zip(*(column.tolist() for column in edges_of(e)), strict=True))


def test_types_groups_signs_and_numbers_of_synapses_become_weights_and_delays(tmp_path: Path) -> None:
    done = engramdb.import_sonata(write(tmp_path / "net"), tmp_path / "net.engram", dt_ms=0.1)
    assert (done.neurons, done.synapses, done.layers) == (5, 5, {"cells": ("cells",)})
    # type 4 has a sign of -1 and a weight of -1; nsyns multiplies; the last edge has a weight and a delay of its own
    assert rows(tmp_path / "net.engram") == [
        (0, 1, 2.5, 15),
        (1, 0, 5.0, 15),
        (1, 2, 3.0, 3),
        (2, 0, 0.75, 20),
        (4, 4, 1.0, 3),
    ]
    with engramdb.open(tmp_path / "net.engram") as e:
        own = e.parameters(range(5))
        assert e.spec.layers[0].columns == ("tau", "v_rest") or set(e.spec.layers[0].columns) == {"tau", "v_rest"}
        assert own["tau"].tolist() == [10, 20, 20, 10, 10]
        assert own["v_rest"].tolist() == [-70, -65, -65, -70, -70]
        assert e.spec.all_projections[0].name == "recurrent"


def test_delays_are_rounded_to_ticks_and_that_is_said(tmp_path: Path) -> None:
    done = engramdb.import_sonata(write(tmp_path / "net"), tmp_path / "net.engram", dt_ms=1.0)
    assert sorted({row[3] for row in rows(tmp_path / "net.engram")}) == [1, 2]
    assert any("4 delays were rounded" in note for note in done.notes)


def test_node_ids_in_any_order_and_parameters_of_single_nodes(tmp_path: Path) -> None:
    nodes = {
        "node_id": np.array([4, 2, 0, 1, 3]), "node_group_id": np.array([0, 0, 1, 0, 0]),
        "node_group_index": np.array([0, 1, 0, 2, 3]), "0/dynamics_params/tau_m": np.array([5.0, 6.0, 7.0, 8.0]),
        "1/x": np.array([1.0]),
    }  # fmt: skip
    done = engramdb.import_sonata(write(tmp_path / "net", nodes=nodes), tmp_path / "net.engram", dt_ms=0.1)
    assert "attributes of each node of cells stayed behind: x" in done.notes
    with engramdb.open(tmp_path / "net.engram") as e:
        # node 4 is of type 7, node 2 of type 8, node 0 of type 8 with nothing of its own, 1 of type 7, 3 of type 7
        assert e.parameters(range(5))["tau"].tolist() == [20, 7, 6, 8, 5]


def test_a_population_of_two_models_becomes_two_layers_that_know_their_nodes(tmp_path: Path) -> None:
    types = (
        "node_type_id model_type model_template dynamics_params\n7 point_neuron nest:iaf_psc_delta a.json\n"
        "8 virtual NULL NULL\n"
    )
    done = engramdb.import_sonata(write(tmp_path / "net", node_types=types), tmp_path / "net.engram", dt_ms=0.1)
    assert done.layers == {"cells": ("cells.lif", "cells.intfire1")}
    ids = engramdb.sonata_ids(tmp_path / "net.engram", "cells")
    assert ids.tolist() == [0, 1 << 48, 1 << 48 | 1, 1, 2]
    found = {(a, b): w for a, b, w, _ in rows(tmp_path / "net.engram")}
    assert found[int(ids[0]), int(ids[1])] == 2.5
    assert found[int(ids[2]), int(ids[0])] == 0.75
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        assert {p.name for p in e.spec.all_projections} > {"recurrent.cells.lif->cells.intfire1"}
        e.grow("cells.lif", 3)
    assert engramdb.sonata_ids(tmp_path / "net.engram", "cells").tolist() == ids.tolist()
    with pytest.raises(NotFound, match="no population x"):
        engramdb.sonata_ids(tmp_path / "net.engram", "x")


def test_weights_of_currents_become_millivolts(tmp_path: Path) -> None:
    types = f"{NODES} model_template dynamics_params\n7 p nest:iaf_psc_exp a.json\n8 p nest:iaf_psc_exp b.json\n"
    parts = {"a.json": {"tau_m": 10.0, "C_m": 200.0}, "b.json": {"tau_m": 20.0, "C_m": 100.0}}
    folder = write(tmp_path / "net", node_types=types, components=parts)
    engramdb.import_sonata(folder, tmp_path / "net.engram", dt_ms=0.1)
    found = {(a, b): w for a, b, w, _ in rows(tmp_path / "net.engram")}
    assert found[0, 1] == pytest.approx(2.5 * 20 / 100)
    assert found[1, 0] == pytest.approx(5.0 * 10 / 200)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"node_types": f"{NODES} model_template\n7 biophysical ctdb:Biophys1.hoc\n"}, ["node type 8"]),
        ({"node_type_id": [7], "node_types": f"{NODES} model_template\n7 p nrn:Izhi\n"}, ["nrn:Izhi", "nrn:IntFire1"]),
        ({"node_type_id": [7], "node_types": f"{NODES}\n7 biophysical\n"}, ["biophysical"]),
        ({"components": {}}, ["a.json", "components="]),
        ({"edge_types": f"{EDGES} weight_function\n3 1 1 gaussianLL\n4 1 1 wmax\n"}, ["gaussianLL"]),
        ({"edge_types": "edge_type_id syn_weight\n3 1\n4 1\n"}, ["has no delay"]),
        ({"edge_types": f"{EDGES}\n3 1 1\n"}, ["edge type 4"]),
        ({"edges": {"target_node_id": [1, 0, 2, 5, 0]}}, ["node 5", "5 nodes"]),
        ({"nodes": {"node_id": np.array([0, 1, 2, 3, 9])}}, ["node_id", "0..4"]),
        ({"edge_types": "nothing\n1\n"}, ["edge_types.csv", "edge_type_id"]),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    folder = write(tmp_path / "net", **changes)
    with pytest.raises((InvalidInput, NotFound)) as refused:
        engramdb.import_sonata(folder, tmp_path / "net.engram", dt_ms=0.1)
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file or folder"):
        engramdb.import_sonata(tmp_path / "nothing", tmp_path / "a.engram")
    with pytest.raises(NotFound, match=r"config\.json"):
        engramdb.import_sonata(tmp_path, tmp_path / "a.engram")
    folder = write(tmp_path / "net")
    (folder / "network" / "edges.h5").unlink()
    with pytest.raises(NotFound, match=r"names .*edges\.h5, which does not exist"):
        engramdb.import_sonata(folder, tmp_path / "a.engram")
    (folder / "network" / "edges.h5").write_text("no HDF5")
    with pytest.raises(InvalidInput, match=r"edges\.h5 is no readable SONATA file"):
        engramdb.import_sonata(folder, tmp_path / "a.engram")


# out


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sonata.imported(tmp_path_factory.mktemp("example") / "example.engram", 0.1)


def test_the_example_comes_back_the_same(example: Path, tmp_path: Path) -> None:
    export_sonata(example, tmp_path / "out")
    engramdb.import_sonata(tmp_path / "out", tmp_path / "back.engram")
    assert rows(tmp_path / "back.engram") == rows(example)
    with engramdb.open(example) as one, engramdb.open(tmp_path / "back.engram") as other:
        assert [layer.name for layer in one.spec.layers] == [layer.name for layer in other.spec.layers]
        assert [p.name for p in one.spec.all_projections] == [p.name for p in other.spec.all_projections]
        assert one.spec.dt_ms == other.spec.dt_ms
        ids = ids_of(one)
        for name, values in one.parameters(ids).items():
            np.testing.assert_array_equal(values, other.parameters(ids)[name], err_msg=name)


def mixed(other: str = "adex") -> Spec:
    return Spec(
        seed=4,
        layers=[
            Layer("exc", index=3, model="lif_exp", segments=[150, 50], params={"tau": Normal(20.0, 2.0), "bias": 1.5},
                  wiring=SmallWorld(k=8, weight=(2.0, 6.0)), delay_ms=(1.0, 4.0)),
            Layer("inh", index=1, model=other, segments=[60]),
        ],
        projections=[Projection("inh", "exc", Bernoulli(p=0.1), weight=(0.5, 3.0), sign=-1)],
    )  # fmt: skip


def test_virtual_rows_drawn_parameters_and_models_of_our_own_come_back(tmp_path: Path) -> None:
    engramdb.create(tmp_path / "a.engram", mixed()).close()
    export_sonata(tmp_path / "a.engram", tmp_path / "out")
    engramdb.import_sonata(tmp_path / "out", tmp_path / "b.engram")
    with engramdb.open(tmp_path / "a.engram") as a, engramdb.open(tmp_path / "b.engram") as b:
        assert [layer.model for layer in b.spec.layers] == ["lif_exp", "adex"]
        ids, other = (np.sort(ids_of(e)) for e in (a, b))
        exc, back = ids[ids >> np.uint64(48) == 3], other[other >> np.uint64(48) == 0]
        for name in ("tau", "bias", "tau_syn", "v_threshold"):
            np.testing.assert_allclose(a.parameters(exc)[name], b.parameters(back)[name], rtol=1e-12)
        one, two = edges_of(a), edges_of(b)
        assert len(one[0]) == len(two[0]) > 200 * 8
        assert sorted(one[2].tolist()) == sorted(two[2].tolist())
        assert sorted(one[3].tolist()) == sorted(two[3].tolist())


def test_both_indices_lead_to_every_edge(tmp_path: Path) -> None:
    engramdb.create(tmp_path / "a.engram", mixed()).close()
    export_sonata(tmp_path / "a.engram", tmp_path / "out")
    for key, pre, post in (("exc", 200, 200), ("inh_to_exc", 60, 200)):
        with h5py.File(tmp_path / "out" / "network" / f"{key}_edges.h5") as file:
            group = file[f"edges/{key}"]
            for index, side, nodes in (("source_to_target", "source", pre), ("target_to_source", "target", post)):
                own = group[f"{side}_node_id"][:]
                ranges = group[f"indices/{index}/node_id_to_ranges"][:]
                to_edge = group[f"indices/{index}/range_to_edge_id"][:]
                assert len(ranges) == nodes
                seen = []
                for node, (first, last) in enumerate(ranges):
                    edges = [edge for begin, end in to_edge[first:last] for edge in range(begin, end)]
                    assert (own[edges] == node).all()
                    seen += edges
                assert sorted(seen) == list(range(len(own)))


def test_nodes_tell_which_neurons_they_were_and_spikes_go_along(tmp_path: Path) -> None:
    with engramdb.create(tmp_path / "a.engram", mixed("lif")) as e:
        e.stimulate(e.resolve([f"3/0/{i}" for i in range(40)]), 60.0, duration=5)
        run = e.run(60, to=tmp_path / "run.parquet")
        expected = e.play_file(tmp_path / "run.parquet", 1.0, at=100) and int(run.counts.sum())
    export_sonata(tmp_path / "a.engram", tmp_path / "out", spikes=tmp_path / "run.parquet")
    with h5py.File(tmp_path / "out" / "network" / "exc_nodes.h5") as file:
        ids = file["nodes/exc/0/engramdb_id"][:]
    assert ids.tolist() == [3 << 48 | i for i in range(150)] + [3 << 48 | 1 << 32 | i for i in range(50)]
    with h5py.File(tmp_path / "out" / "spikes.h5") as file:
        found = sum(len(group["node_ids"]) for group in file["spikes"].values())
        assert found == expected > 40
        assert (np.diff(file["spikes/exc/timestamps"][:]) >= 0).all()
    engramdb.import_sonata(tmp_path / "out", tmp_path / "b.engram")
    with engramdb.open(tmp_path / "b.engram", "r+") as e:
        e.play_file(tmp_path / "out" / "spikes.h5", 1.0, layer="exc", population="exc")


def test_a_recording_that_is_none_leaves_nothing(example: Path, tmp_path: Path) -> None:
    shutil.copy(sonata.FOLDER / "config.json", tmp_path / "run.parquet")
    with pytest.raises(InvalidInput, match=r"run\.parquet"):
        export_sonata(example, tmp_path / "out", spikes=tmp_path / "run.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]


def test_edges_are_sorted_on_disk_in_small_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engramdb.interchange import sonataout

    spec = Spec(layers=[Layer("a", segments=[20_000], wiring=SmallWorld(k=20, weight=(0.0, 1.0)))])
    engramdb.create(tmp_path / "a.engram", spec).close()
    export_sonata(tmp_path / "a.engram", tmp_path / "much")
    monkeypatch.setattr(sonataout, "_ROOM_BYTES", 1 << 20)
    monkeypatch.setattr(sonataout, "_CHUNK", 1 << 8)
    export_sonata(tmp_path / "a.engram", tmp_path / "little")
    columns: Callable[[Path], dict[str, Any]] = lambda folder: _datasets(folder / "network" / "a_edges.h5")  # noqa: E731
    one, other = columns(tmp_path / "much"), columns(tmp_path / "little")
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def _datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: found.update({name: node[:]}) if isinstance(node, h5py.Dataset) else None)
    return found


def test_what_sonata_has_no_place_for_is_named(tmp_path: Path) -> None:
    layers = [
        engramdb.Layer("a", segments=[20], wiring=engramdb.FixedOutdegree(k=3), plasticity=[engramdb.STDP(w_max=2.0)]),
        engramdb.Layer("v", model="void", segments=[5]),
    ]
    with engramdb.create(tmp_path / "net.engram", engramdb.Spec(seed=1, layers=layers)) as e:
        e.imprint("some", [1, 2])
    assert engramdb.export_sonata(tmp_path / "net.engram", tmp_path / "out").notes == (
        "layers whose model has no counterpart, and went out as engramdb:<model>: v (void)",
        "what neurons of v keep of their own stayed behind: W, mu, var, prev_W",
        "learning rules stayed behind, the weights of this moment went out: a",
        "named traces stayed behind",
    )
