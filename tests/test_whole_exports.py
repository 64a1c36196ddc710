"""HDF5 and Parquet keep all of an engram: what comes back is the same, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import Bernoulli, Explicit, FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.errors import AlreadyExists, EngramError, FormatTooNew, InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.interchange import hdf5, hdf5file, parquet, parquetfolder
from engramdb.interchange.hdf5 import fletcher32
from engramdb.store import OWN, STORED, Records, Store
from tests.networks import specs
from tests.sameness import assert_same_engram

ROOT = Path(__file__).parent.parent
WORM = ROOT / "engramdb" / "data" / "celegans" / "connectome.csv"


@dataclass(frozen=True)
class Format:
    name: str
    export: Callable[..., Any]
    take: Callable[..., Any]
    suffix: str


FORMATS = [
    Format("hdf5", engramdb.export_hdf5, engramdb.import_hdf5, ".h5"),
    Format("parquet", engramdb.export_parquet, engramdb.import_parquet, ".tables"),
]
each_format = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


def rich() -> Spec:
    """Virtual and stored layers of two models, delays of their own, parameters of their own, signs."""
    return Spec(
        seed=2**64 - 5,
        name="rich",
        layers=[
            Layer("exc 1", segments=[900, 60], wiring=SmallWorld(k=10, weight=(2.0, 8.0)), columns=["bias", "tau"]),
            Layer("inh", index=40000, model="lif_exp", segments=[300], weights="float16"),
        ],
        projections=[
            Projection("exc 1", "inh", FixedOutdegree(k=3), weight=2.0, delay_ms=(1.0, 300.0)),
            Projection("inh", "exc 1", Bernoulli(p=0.02), weight=(0.5, 3.0), sign=-1),
            Projection("inh", "inh", Explicit()),
        ],
    )


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engram with history of all kinds: run, grown, changed, neurons awake, spikes and input under way."""
    path = tmp_path_factory.mktemp("lived") / "rich.engram"
    with engramdb.create(path, rich()) as e:
        e.stimulate(range(200), 30.0, duration=2)
        e.set_parameters([3, 4, 5], bias=[1.0, 2.0, float("nan")], tau=11.0)
        e.run(20)
        e.grow("exc 1", 100, k=4)
        e.set_weight(7, e.synapses(7).targets[:2], -1.25)
        e.poisson([1, 2], rate_hz=50.0, amplitude=3.0)
        e.play([5, 6, 6], [40, 41, 900], 20.0)
        e.stimulate(range(100), 25.0)
        e.run(3)
    return path


@each_format
def test_an_engram_comes_back_the_same(lived: Path, tmp_path: Path, format: Format) -> None:
    out, back = tmp_path / f"out{format.suffix}", tmp_path / "back.engram"
    done = format.export(lived, out)
    read = format.take(out, back)
    assert_same_engram(lived, back)
    assert (read.neurons, read.synapses) == (done.neurons, done.synapses)
    assert done.nbytes == sum(f.stat().st_size for f in [out, *out.rglob("*")] if f.is_file())
    assert engramdb.verify(back).ok


@each_format
def test_what_comes_back_goes_on_as_if_nothing_had_happened(lived: Path, tmp_path: Path, format: Format) -> None:
    original = shutil.copytree(lived, tmp_path / "original.engram")
    format.export(original, tmp_path / f"out{format.suffix}")
    format.take(tmp_path / f"out{format.suffix}", tmp_path / "back.engram")
    spikes = []
    for path in (original, tmp_path / "back.engram"):
        with engramdb.open(path, "r+") as e:
            spikes.append(e.run(30, record=("spikes",)).spikes)
    assert np.array_equal(spikes[0][0], spikes[1][0])
    assert np.array_equal(spikes[0][1], spikes[1][1])
    assert len(spikes[0][0]) > 100


@each_format
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs(largest=120), ticks=st.integers(0, 12))
def test_random_networks_come_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, format: Format, spec: Spec, ticks: int
) -> None:
    folder = tmp_path_factory.mktemp("random")
    with engramdb.create(folder / "a.engram", spec) as e:
        if ticks:
            e.stimulate(np.arange(10, dtype=np.uint64) | np.uint64(spec.layers[0].index << 48), 40.0, duration=2)
            e.run(ticks)
    format.export(folder / "a.engram", folder / f"a{format.suffix}")
    format.take(folder / f"a{format.suffix}", folder / "b.engram")
    assert_same_engram(folder / "a.engram", folder / "b.engram")


@each_format
def test_the_worm_keeps_its_labels(tmp_path: Path, format: Format) -> None:
    engramdb.import_edges(WORM, tmp_path / "worm.engram", where="kind=chemical")
    format.export(tmp_path / "worm.engram", tmp_path / f"worm{format.suffix}")
    format.take(tmp_path / f"worm{format.suffix}", tmp_path / "back.engram")
    assert_same_engram(tmp_path / "worm.engram", tmp_path / "back.engram")
    with engramdb.open(tmp_path / "back.engram") as e:
        assert e.labels(e.resolve(["AVAL", "PLML"])) == ["AVAL", "PLML"]


@each_format
def test_any_labels_and_wide_columns_come_back(tmp_path: Path, format: Format) -> None:
    """Empty and odd names, lone surrogates, numbers beyond 2^63, columns of several values a neuron."""
    spec = Spec(layers=[Layer("a", segments=[5000], wiring=Explicit()), Layer("b", segments=[4], wiring=Explicit())])
    path = tmp_path / "odd.engram"
    Store.create(path, spec, Bundles.initial(spec))
    names = sorted({"", " ", "\0", "a\0b", "é", "\ud800", "\U0001f9e0", *(f"n{i:05}" for i in range(4500))})
    ids = np.arange(len(names), dtype=np.uint64)
    records = Records.of_state(
        ids,
        {
            "spike_count": np.arange(len(ids), dtype=np.uint32),
            "last_spike": np.arange(len(ids), dtype=np.int64),
            OWN + "W": np.linspace(-1, 1, len(ids)),
            "trace": np.arange(3 * len(ids), dtype=np.float32).reshape(-1, 3),
        },
        STORED,
    )
    with Store.open(path, "r+") as store:
        store.write(records)
        store.write_labels(0, [(names[:10], ids[:10]), (names[10:], ids[10:])])
        numbers = np.array([3, 2**63 + 5], dtype=np.uint64)
        store.write_labels(1, [(numbers, np.array([1 << 48, 1 << 48 | 3], dtype=np.uint64))])
        store.write_labels(1, [(np.array([-7, 9]), np.array([1 << 48 | 1, 1 << 48 | 2], dtype=np.uint64))])
        store.commit_state(7, {}, store.bundles)
    format.export(path, tmp_path / f"odd{format.suffix}")
    format.take(tmp_path / f"odd{format.suffix}", tmp_path / "back.engram")
    assert_same_engram(path, tmp_path / "back.engram")


@each_format
def test_the_past_is_exported_and_the_present_is_not_disturbed(tmp_path: Path, format: Format) -> None:
    spec = Spec(layers=[Layer("a", segments=[300], wiring=SmallWorld(k=5, weight=20.0))])
    with engramdb.create(tmp_path / "a.engram", spec) as e:
        e.stimulate(range(20), 30.0)
        e.run(2)
        e.snapshot("early")
        e.run(5)
        e.checkpoint()
        done = format.export(tmp_path / "a.engram", tmp_path / f"early{format.suffix}", at="early")
        format.take(tmp_path / f"early{format.suffix}", tmp_path / "early.engram")
        assert e.run(1).first_tick == 8
    with engramdb.open(tmp_path / "early.engram") as early:
        assert (early.tick, done.commit) == (2, 2)


@each_format
def test_what_is_taken_missing_or_foreign_is_refused(lived: Path, tmp_path: Path, format: Format) -> None:
    out = tmp_path / f"out{format.suffix}"
    out.mkdir()
    with pytest.raises(AlreadyExists):
        format.export(lived, out)
    with pytest.raises(NotFound, match="no snapshot"):
        format.export(lived, tmp_path / f"x{format.suffix}", at="nothing")
    with pytest.raises(NotFound):
        format.take(tmp_path / "nothing", tmp_path / "x.engram")
    foreign = tmp_path / f"foreign{format.suffix}"
    foreign.write_text("pre,post\n1,2\n") if format.name == "hdf5" else foreign.mkdir()
    with pytest.raises((InvalidInput, NotFound), match="foreign"):
        format.take(foreign, tmp_path / "x.engram")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, foreign.name])


def _refusal(format: Format, out: Path, path: Path) -> str | None:
    """What is said where ``out`` cannot be imported; None where it can."""
    try:
        format.take(out, path)
    except EngramError as error:
        return str(error)
    return None


@each_format
def test_a_damaged_byte_is_found_and_leaves_nothing(lived: Path, tmp_path: Path, format: Format) -> None:
    out = tmp_path / f"out{format.suffix}"
    format.export(lived, out)
    file = out if out.is_file() else out / "synapses.parquet"
    content = bytearray(file.read_bytes())
    rng, found = np.random.default_rng(1), 0
    for place in rng.integers(len(content) // 4, len(content) * 3 // 4, 12):
        file.write_bytes(bytes(content[:place]) + bytes([content[place] ^ 0x10]) + bytes(content[place + 1 :]))
        said = _refusal(format, out, tmp_path / "x.engram")
        if said is None:  # a byte between what is stored
            assert_same_engram(lived, tmp_path / "x.engram")
            shutil.rmtree(tmp_path / "x.engram")
            continue
        assert "\n" not in said
        assert out.name in said
        assert [path.name for path in tmp_path.iterdir()] == [out.name]
        found += 1
    assert found > 3
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInput, match=out.name):
        format.take(out, tmp_path / "x.engram")


def test_a_later_layout_is_refused(lived: Path, tmp_path: Path) -> None:
    engramdb.export_hdf5(lived, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(FormatTooNew, match="layout 99"):
        engramdb.import_hdf5(tmp_path / "a.h5", tmp_path / "x.engram")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["format_version"] = 1
        del file["bundles"]
    with pytest.raises(InvalidInput, match="missing"):
        engramdb.import_hdf5(tmp_path / "a.h5", tmp_path / "x.engram")


def test_the_hdf5_file_is_read_with_h5py_alone(lived: Path, tmp_path: Path) -> None:
    """In a process that has nothing of EngramDB."""
    engramdb.export_hdf5(lived, tmp_path / "a.h5")
    with engramdb.open(lived) as e:
        row = e.synapses(7)
    code = """
import json, sys, h5py
assert "engramdb" not in sys.modules
with h5py.File(sys.argv[1]) as file:
    spec = json.loads(file["spec"][()])
    segment = file["layers/exc%201/0"]
    i = list(segment["id"][:]).index(7)
    begin, end = segment["indptr"][i : i + 2]
    print(json.dumps({
        "format": file.attrs["format"], "seed": file.attrs["seed"], "layers": [l["name"] for l in spec["layers"]],
        "target": segment["target"][begin:end].tolist(), "weight": segment["weight"][begin:end].tolist(),
        "delay": segment["delay"][begin:end].tolist(), "units": segment["weight"].attrs["units"],
        "projections": [name.decode() for name in file["projections"]["name"]],
        "awake": len(file["inflight/charged_id"]), "bundles": len(json.loads(file["bundles"][()])["bundles"]),
    }))
"""
    command = [sys.executable, "-I", "-c", code, str(tmp_path / "a.h5")]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (said["format"], said["seed"], said["layers"]) == ("EngramDB", str(2**64 - 5), ["exc 1", "inh"])
    assert sorted(zip(said["target"], said["weight"], said["delay"], strict=True)) == sorted(
        zip(row.targets.tolist(), row.weights.tolist(), row.delays.tolist(), strict=True)
    )
    assert (said["units"], said["projections"][0], said["bundles"]) == ("mV", "exc 1", 4)
    assert said["awake"] > 0


def test_the_tables_are_read_with_any_parquet_library(lived: Path, tmp_path: Path) -> None:
    engramdb.export_parquet(lived, tmp_path / "a")
    neurons = pq.read_table(tmp_path / "a" / "neurons.parquet").to_pydict()
    synapses = pq.read_table(tmp_path / "a" / "synapses.parquet")
    with engramdb.open(lived) as e:
        row, counts = e.synapses(7), e.neurons(neurons["id"]).fields["spike_count"]
    own = synapses.filter(synapses.column("pre").to_numpy() == 7)
    assert sorted(zip(own["post"].to_pylist(), own["delay_ticks"].to_pylist(), strict=True)) == sorted(
        zip(row.targets.tolist(), row.delays.tolist(), strict=True)
    )
    assert neurons["spike_count"] == counts.tolist()
    assert set(neurons["layer"]) == {"exc 1", "inh"}
    assert sum(neurons["out_degree"]) == len(synapses)


@given(st.binary(max_size=300) | st.sampled_from([b"\xff\xff" * 700, b"\0" * 99, b"\xff\xfe" * 65535, b"\1"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_our_checksum_is_that_of_the_filter(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    if not data:
        return
    path = tmp_path_factory.mktemp("sum") / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("a", (len(data),), "u1", chunks=(len(data),), fletcher32=True)
        dataset.id.write_direct_chunk((0,), data + fletcher32(data).to_bytes(4, "little"))
    with h5py.File(path) as file:
        assert file["a"][:].tobytes() == data


@each_format
def test_memory_does_not_grow_with_the_engram(tmp_path: Path, format: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = ((parquet, "_ROWS_A_GROUP"), (parquetfolder, "_SYNAPSES_A_PIECE"), (hdf5file, "SYNAPSES_A_PIECE"))
    for module, name in pieces:
        monkeypatch.setattr(module, name, 1 << 17)
    monkeypatch.setattr(hdf5, "SYNAPSES_A_CHUNK", 1 << 14)
    peaks = []
    for neurons in (20_000, 80_000):
        layer = Layer("a", segments=[neurons], wiring=SmallWorld(k=40, weight=(0.0, 1.0)), materialize=True)
        path = tmp_path / f"{neurons}.engram"
        engramdb.create(path, Spec(layers=[layer])).close()
        tracemalloc.start()
        try:
            format.export(path, tmp_path / f"{neurons}{format.suffix}")
            format.take(tmp_path / f"{neurons}{format.suffix}", tmp_path / f"{neurons}-back.engram")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.6 * peaks[0]
    assert peaks[1] < 80_000 * 40 * 14  # bytes of the synapses


@each_format
def test_a_killed_import_is_gone_on_with_or_leaves_nothing(tmp_path: Path, format: Format) -> None:
    layer = Layer("a", segments=[600_000], wiring=SmallWorld(k=4, weight=(0.0, 1.0)), materialize=True)
    engramdb.create(tmp_path / "a.engram", Spec(layers=[layer])).close()
    out = tmp_path / f"a{format.suffix}"
    format.export(tmp_path / "a.engram", out)
    code = f"""
import os, signal, engramdb
from engramdb import bulk
bulk.PART_LEAVES = 4
def told(stage, done, total):
    if done > 1_000_000: os.kill(os.getpid(), signal.SIGKILL)
engramdb.import_{format.name}({str(out)!r}, {str(tmp_path / "b.engram")!r}, progress=told)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "b.engram").exists()
    assert list(tmp_path.glob(".b.engram.making-*"))
    first: list[int] = []
    format.take(out, tmp_path / "b.engram", progress=lambda stage, done, total: first.append(done))
    assert first[0] > 100_000, "it went on, and did not begin anew"
    assert_same_engram(tmp_path / "a.engram", tmp_path / "b.engram")
    assert not list(tmp_path.glob(".*making*"))


def test_a_published_engram_is_exported_from_where_it_lies(lived: Path, tmp_path: Path) -> None:
    url = (tmp_path / "there.engram").as_uri()
    engramdb.publish(lived, url)
    engramdb.export_hdf5(url, tmp_path / "a.h5")
    engramdb.import_hdf5(tmp_path / "a.h5", tmp_path / "b.engram")
    assert_same_engram(lived, tmp_path / "b.engram")


@pytest.mark.parametrize("call", [
    "export_hdf5(source, 'out.h5')", "export_parquet(source, 'out.tables')", "export_edges(source, 'out.csv')",
    "export_edges(source, 'out.parquet')", "export_sonata(source, 'out.sonata')", "export_vdm(vdm, 'state_1.h5')",
    "export_vdm(vdm, 'state_1.npz')", "export_graphml(source, 'out.graphml')", "import_hdf5(h5, 'back.engram')",
])  # fmt: skip
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(sources: Path, tmp_path: Path, call: str) -> None:
    """No file may grow beyond 200 kB: what a file system says then is what it says when it is full."""
    code = f"""
import resource, sys, engramdb
source, vdm, h5 = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    engramdb.{call}
except engramdb.errors.DiskFull as error:
    print(error)
"""
    names = [str(sources / name) for name in ("a.engram", "vdm.engram", "a.h5")]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("disk full: ")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engram, one that came from VDM, and an HDF5 file, none of which 200 kB can hold."""
    folder = tmp_path_factory.mktemp("sources")
    layer = Layer("a", segments=[10_000], wiring=SmallWorld(k=10, weight=(0.0, 1.0)), materialize=True)
    engramdb.create(folder / "a.engram", Spec(layers=[layer])).close()
    engramdb.export_hdf5(folder / "a.engram", folder / "a.h5")
    rng = np.random.default_rng(0)
    w, columns = rng.random(10_000).astype(np.float32), rng.integers(0, 10_000, 100_000)
    np.savez(folder / "state_0.npz", backend="sparse", N=10_000, W=w, row_ptr=np.arange(10_001) * 10, col_idx=columns)
    engramdb.import_vdm(folder / "state_0.npz", folder / "vdm.engram")
    return folder
