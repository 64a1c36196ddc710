"""Spikes from files: SONATA and Parquet, whose neurons are said, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engramdb
from engramdb import Engram, Layer, Spec
from engramdb.errors import InvalidInput, NotFound
from engramdb.interchange import spikes
from tests.documents import ROOT
from tests.networks import make

SONATA = ROOT / "tests/data/300_intfire/inputs"
TWO = Spec(
    dt_ms=0.5,
    layers=[Layer("x", index=1, segments=[100, 50], params={"refractory": 0.0}), Layer("y", index=4, segments=[300])],
)


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def pending(e: Engram) -> tuple[list[int], list[int]]:
    """(tick, id) of all given spikes still to come, by tick and id."""
    state = e._live.stimuli.freeze()()
    ticks = np.repeat(state["train_tick"], state["train_size"])
    order = np.lexsort((state["train_id"], ticks))
    return ticks[order].tolist(), state["train_id"][order].tolist()


@pytest.mark.parametrize("rows", [200, 1 << 20])
def test_a_published_file_of_spikes_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(spikes, "_SPIKES_A_PART", rows)
    with h5py.File(SONATA / "lgn_spikes.h5") as file:
        nodes, times = file["spikes/gids"][:], file["spikes/timestamps"][:]
    spec = Spec(dt_ms=0.1, layers=[Layer("lgn", segments=[500], params={"refractory": 0.0})])
    with make(tmp_path, spec) as e:
        number = e.play_file(SONATA / "lgn_spikes.h5", 20.0, layer="lgn")
        assert [(s.number, s.kind, s.neurons) for s in e.stimuli()] == [(number, "train", len(nodes))]
        e._shut()
    with engramdb.open(e.location, "r+") as e:  # from the journal: the file is not needed any more
        run = e.run(30_000, record=("spikes",))
        expected = np.unique(np.ceil(np.round(times / 0.1, 6)).astype(np.int64) * 1000 + nodes.astype(np.int64))
        np.testing.assert_array_equal(run.spikes[0] * 1000 + run.spikes[1].astype(np.int64), expected)
        assert len(expected) > 2700


def test_a_population_is_chosen_and_a_window_is_moved(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for name, nodes in (("a", [0, 120, 2]), ("b", [7])):
            file[f"spikes/{name}/node_ids"] = np.array(nodes, dtype=np.uint64)
            file[f"spikes/{name}/timestamps"] = np.array([2.0, 0.0, 0.51][: len(nodes)])
            file[f"spikes/{name}/timestamps"].attrs["units"] = "ms"
    with make(tmp_path, TWO) as e:
        e.play_file(tmp_path / "s.h5", 1.0, layer="x", population="a")
        assert pending(e) == ([1, 2, 4], [1 << 48 | 1 << 32 | 20, 1 << 48 | 2, 1 << 48])
        e.stop_stimuli()
        e.play_file(
            tmp_path / "s.h5", 1.0, mapping={0: "1/0/5", 120: "4/0/1", 2: "4/0/2"}, population="a", at=9, ticks=(2, 3)
        )
        assert pending(e) == ([9], [4 << 48 | 2])
        e.stop_stimuli()
        e.play_file(tmp_path / "s.h5", 1.0, mapping=np.arange(8) + (4 << 48), population="b", at=5)
        assert pending(e) == ([8], [4 << 48 | 7])


def test_a_recording_is_played_again(tmp_path: Path) -> None:
    with make(tmp_path, TWO) as e:
        e.poisson(np.arange(0, 100, 3) + (1 << 48), 300.0, 20.0, duration=50)
        e.run(10)
        run = e.run(40, to=tmp_path / "s.parquet")
        e.play_file(tmp_path / "s.parquet", 20.0, ticks=(11, None))
        again = e.run(40, record=("spikes",))
    stored = pq.read_table(tmp_path / "s.parquet")
    assert run.counts.sum() == stored.num_rows > 100
    np.testing.assert_array_equal(again.spikes[0] - 40, stored["tick"].to_numpy())
    np.testing.assert_array_equal(again.spikes[1], stored["id"].to_numpy())


def test_times_labels_and_amplitudes_are_read(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("pre,post,weight\nAda,Bob,1\n")
    engramdb.import_edges(tmp_path / "edges.csv", tmp_path / "people.engram")
    path = table(
        tmp_path / "s.parquet", time_ms=[1.0, 2.2, 3.0], label=["Bob", "Ada", "Bob"], amplitude=[1.0, 2.0, 4.0]
    )
    with engramdb.open(tmp_path / "people.engram", "r+") as e:
        e.play_file(path)
        state = e._live.stimuli.freeze()()
        assert pending(e) == ([1, 3, 3], [1, 0, 1])
        assert state["train_amplitude"].tolist() == [1.0, 2.0, 4.0]
        e.play_file(path, 3.0)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"tick": [1]}, {}, "expected one column of id, label, node_id; it has tick"),
        ({"tick": [1], "id": [1 << 48], "label": ["x"]}, {}, "expected one column"),
        ({"tick": [1.5], "id": [1 << 48]}, {}, "column tick holds double"),
        ({"tick": [1, None], "id": [1 << 48, 1 << 48]}, {}, "column tick has empty values"),
        ({"time_ms": [-1.0], "id": [1 << 48]}, {}, "times must be finite numbers of ms from 0"),
        ({"tick": [1], "node_id": [3]}, {}, "say which neurons they are with layer= or mapping="),
        ({"tick": [1], "node_id": [150]}, {"layer": "x"}, "node 150 is not in layer x, which has 150 neurons"),
        ({"tick": [1], "node_id": [3]}, {"mapping": {4: 0}}, "node 3 is not in mapping="),
        ({"tick": [1], "node_id": [3]}, {"mapping": [1, 2]}, "there is a node 3"),
        ({"tick": [1], "id": [1 << 48]}, {"amplitude": None}, "has no column amplitude; give amplitude="),
        ({"tick": [1], "id": [1 << 48]}, {"population": "a"}, "Parquet has none"),
        ({"tick": [1], "id": [1 << 48]}, {"at": 0}, "is past"),
    ],
)
def test_a_table_that_cannot_be_played_is_refused(tmp_path: Path, columns: Any, options: Any, words: str) -> None:
    path = table(tmp_path / "s.parquet", **columns)
    with make(tmp_path, TWO) as e:
        with pytest.raises(InvalidInput, match=words) as caught:
            e.play_file(path, **{"amplitude": 1.0, **options})
        assert "\n" not in str(caught.value)
        assert e.stimuli() == []


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no")
    (tmp_path / "text.h5").write_text("no")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for name in "ab":
            file[f"spikes/{name}/node_ids"] = np.zeros(2, dtype=np.uint64)
            file[f"spikes/{name}/timestamps"] = np.zeros(2 if name == "a" else 3)
        file["spikes/a/timestamps"].attrs["units"] = "s"
    with make(tmp_path, TWO) as e:
        for name, options, error, words in (
            ("none.h5", {}, NotFound, "no such file of spikes"),
            ("text.parquet", {}, InvalidInput, "neither SONATA .* nor a readable Parquet"),
            ("text.h5", {}, InvalidInput, "no readable HDF5 file"),
            ("empty.h5", {}, InvalidInput, "no group /spikes"),
            ("two.h5", {}, InvalidInput, "several populations; population= names one of: a, b"),
            ("two.h5", {"population": "c"}, InvalidInput, 'no population "c"'),
            ("two.h5", {"population": "b"}, InvalidInput, "lacks node_ids and timestamps of one length"),
            ("two.h5", {"population": "a"}, InvalidInput, "timestamps are in s; expected ms"),
        ):
            with pytest.raises(error, match=words):
                e.play_file(tmp_path / name, 1.0, layer="x", **options)


def test_a_train_that_did_not_become_whole_is_not_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spikes, "_SPIKES_A_PART", 10)
    path = table(tmp_path / "s.parquet", tick=[5] * 30 + [6], id=np.array([1 << 48] * 30 + [99 << 48], dtype=np.uint64))
    with make(tmp_path, TWO) as e:
        with pytest.raises(NotFound):
            e.play_file(path, 1.0)  # three parts are in the journal by then
        assert e.stimuli() == []
        assert e.stats()["stimuli_bytes"] == 0
        e.play(1 << 48, 7, 1.0)
        e._shut()
    with engramdb.open(e.location, "r+") as e:
        assert pending(e) == ([7], [1 << 48])
