"""Recording: in memory, to files, cut short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import engramdb
from engramdb import FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.errors import BudgetExceeded, EngramError, InvalidInput, NotFound
from tests.networks import ids_of, make, twin_of

SPEC = Spec(
    seed=3,
    layers=[
        Layer("inh", index=9, segments=[80], params={"bias": (0.0, 5.0)}),
        Layer(
            "exc", index=2, segments=[200, 100], wiring=SmallWorld(k=8, weight=(0.5, 3.0)), params={"bias": (0.0, 5.0)}
        ),
    ],
    projections=[Projection("exc", "inh", FixedOutdegree(k=4), weight=4.0)],
)
WHOM = np.array([9 << 48 | 3, 2 << 48 | 17, 2 << 48 | 1 << 32 | 5, 2 << 48 | 199], dtype=np.uint64)


def driven(folder: Path, **options: object) -> engramdb.Engram:
    folder.mkdir(exist_ok=True)
    e = make(folder, SPEC, **options)
    e.poisson(ids_of(e)[:150], 120.0, 9.0)
    return e


def test_state_and_rates_are_those_of_the_twin(tmp_path: Path) -> None:
    with make(tmp_path, SPEC) as e:
        twin = twin_of(e)
        e.stimulate(twin.ids[::3], 16.0, duration=4)
        twin.stimulate(np.arange(0, len(twin.ids), 3), np.full(127, 16, dtype=np.float32), 1, 4)
        run = e.run(30, record=("spikes", "rates", "u", "v", "refractory"), record_ids=WHOM, every=4)
        traces = run.traces
        assert traces is not None
        assert traces.ticks.tolist() == [4, 8, 12, 16, 20, 24, 28]
        assert traces.ids.tolist() == sorted(WHOM.tolist())
        place, rows = np.searchsorted(twin.ids, traces.ids), []
        for _ in range(30):
            twin.step()
            if twin.tick % 4 == 0:
                rows.append((twin.u[place], twin.left[place]))
        np.testing.assert_array_equal(traces["u"], np.array([u for u, _ in rows]))
        np.testing.assert_array_equal(traces["refractory"], np.array([left for _, left in rows]))
        np.testing.assert_array_equal(traces["v"][-1], rows[-1][0] + (np.float32(-70) + twin.bias[place]))
        assert list(run.population) == ["exc", "inh"]
        np.testing.assert_array_equal(sum(run.population.values()), run.counts)
        inhibitory = run.spikes[1] >> np.uint64(48) == 9
        np.testing.assert_array_equal(run.population["inh"], np.bincount(run.spikes[0][inhibitory] - 1, minlength=30))
        assert run.population["inh"].sum() > 20


@pytest.mark.parametrize("memory", ["64MiB", 260_000])
def test_a_folder_of_tables_has_what_memory_had(tmp_path: Path, memory: str | int) -> None:
    what = {"record": ("spikes", "rates", "u"), "record_ids": WHOM, "every": 3}
    with driven(tmp_path / "a") as e:
        run = e.run(60, **what)
    with driven(tmp_path / "b", memory=memory) as e:
        for _ in range(2):
            streamed = e.run(30, **what, to=tmp_path / f"rec{e.tick}")
        assert (streamed.traces, streamed.population, len(streamed.spikes[0])) == (None, {}, 0)
    parts = {
        name: [pq.read_table(tmp_path / f"rec{tick}" / f"{name}.parquet") for tick in (0, 30)]
        for name in ("spikes", "rates", "traces")
    }
    joined = {
        name: {c: np.concatenate([p[c].to_numpy() for p in part]) for c in part[0].column_names}
        for name, part in parts.items()
    }
    np.testing.assert_array_equal(joined["spikes"]["tick"], run.spikes[0])
    np.testing.assert_array_equal(joined["spikes"]["id"], run.spikes[1])
    assert len(run.spikes[0]) > 300
    for layer, counts in run.population.items():
        np.testing.assert_array_equal(joined["rates"]["spikes"][joined["rates"]["layer"] == layer], counts)
    assert run.traces is not None
    np.testing.assert_array_equal(joined["traces"]["u"].reshape(-1, 4), run.traces["u"])
    np.testing.assert_array_equal(joined["traces"]["tick"][::4], run.traces.ticks)
    assert sorted(p.name for p in (tmp_path / "rec0").iterdir()) == [
        "rates.parquet",
        "spikes.parquet",
        "traces.parquet",
    ]


def test_an_arrow_file_has_what_parquet_has(tmp_path: Path) -> None:
    for name in ("s.arrow", "s.parquet"):
        with driven(tmp_path / name[2:]) as e:
            e.run(40, to=tmp_path / name)
    with pyarrow.ipc.open_file(tmp_path / "s.arrow") as file:
        assert file.read_all().equals(pq.read_table(tmp_path / "s.parquet"))


def test_a_recording_cut_short_is_a_whole_file_of_what_was_run(tmp_path: Path) -> None:
    with driven(tmp_path / "a") as e:

        def fail(tick: int, ids: np.ndarray) -> bool:
            assert not (tmp_path / "s.parquet").exists(), "no name before it is complete"
            if tick == 20:
                raise KeyboardInterrupt
            return False

        with pytest.raises(KeyboardInterrupt):
            e.run(50, to=tmp_path / "s.parquet", until=fail)
        assert e.tick == 20
    with driven(tmp_path / "b") as e:
        run = e.run(20, record=("spikes",))
    table = pq.read_table(tmp_path / "s.parquet")
    np.testing.assert_array_equal(table["id"].to_numpy(), run.spikes[1])
    assert not (tmp_path / "s.parquet.part").exists()


def test_a_recording_in_memory_stays_within_the_budget(tmp_path: Path) -> None:
    with driven(tmp_path / "a", memory=400_000) as e:
        with pytest.raises(BudgetExceeded) as caught:
            e.run(100_000, record=("u",), record_ids=ids_of(e))
        run = caught.value.run
        assert run.traces.values["u"].shape == (run.ticks, 380)
        assert run.ticks == e.tick > 3
        e.run(500, record=("u",), record_ids=ids_of(e), to=tmp_path / "u.parquet")
    assert pq.read_metadata(tmp_path / "u.parquet").num_rows == 500 * 380


def test_a_paced_run_takes_its_time_and_says_when_it_cannot(tmp_path: Path) -> None:
    with driven(tmp_path / "a") as e:
        run = e.run(20, pace_hz=100)
        assert run.elapsed >= 0.2
        assert run.stats["pace_hz"] == 100.0
        assert 0 < run.stats["paced_hz"] <= 100.0
        slow = e.run(5, pace_hz=1e9)
        assert slow.stats["late_ticks"] == 5
        assert slow.stats["most_behind_s"] > 0


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with driven(tmp_path / "a") as e:
        for options, error, words in (
            ({"record": ("g",)}, InvalidInput, 'unknown "g"; known: spikes, rates'),
            ({"record": ("v",)}, InvalidInput, 'record: "v" needs record_ids='),
            ({"record_ids": WHOM}, InvalidInput, "record_ids: name what to record"),
            ({"record": ("spikes",), "record_ids": WHOM}, InvalidInput, "record_ids: name what to record"),
            ({"record": ("last_spike",), "record_ids": WHOM}, InvalidInput, 'has no "last_spike"; known'),
            ({"record": ("v",), "record_ids": [1]}, NotFound, "0/0/1 does not exist"),
            ({"record": ("v",), "record_ids": WHOM, "every": 0}, InvalidInput, "every=0"),
            (
                {"record": ("spikes", "rates"), "to": tmp_path / "file"},
                InvalidInput,
                "spikes and rates go into a folder",
            ),
            ({"to": tmp_path / "no" / "x.parquet"}, NotFound, "does not exist"),
            ({"pace_hz": 0}, InvalidInput, "pace_hz=0"),
        ):
            with pytest.raises(error, match=words) as caught:
                e.run(1, **options)
            assert isinstance(caught.value, EngramError)
            assert "\n" not in str(caught.value)
        assert e.tick == 0


_FULL = """
import resource, sys
import numpy as np
import engramdb
from engramdb.errors import DiskFull
e = engramdb.open(sys.argv[1], "r+", memory="8MiB")
e.poisson(np.arange(400), 150.0, 20.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
try:
    e.run(4000, record=("spikes", "rates"), to=sys.argv[2])
except DiskFull as error:
    assert 0 < error.run.ticks < 4000 and error.run.ticks == e.tick, error.run
    assert "\\n" not in str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    e.close()
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_disk_that_fills_ends_the_run_with_one_line_and_leaves_no_half_file(tmp_path: Path) -> None:
    spec = Spec(seed=1, layers=[Layer("a", segments=[400])])
    engramdb.create(tmp_path / "net.engram", spec).close()
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path / "net.engram"), str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("cannot record to")
    assert "what was run is kept" in done.stdout
    # what could still be completed is whole
    for path in (tmp_path / "out").iterdir():
        assert path.name == "rates.parquet"
        assert pq.read_table(path).num_rows > 0
    with engramdb.open(tmp_path / "net.engram") as e:
        assert e.tick > 0


def test_what_is_recorded_while_nothing_happens_is_within_the_budget(tmp_path: Path) -> None:
    spec = Spec(layers=[Layer("a", segments=[1000])])
    with engramdb.create(tmp_path / "net.engram", spec, memory="2MiB") as e:
        with pytest.raises(BudgetExceeded) as error:
            e.run(20_000, record=("v",), record_ids=range(1000))
        assert error.value.run is not None
        assert 0 < error.value.run.ticks == e.tick < 200
        assert error.value.run.traces is not None
        with pytest.raises(BudgetExceeded):
            e.run(2_000_000, record=("rates",))
        assert e.run(1_000_000).ticks == 1_000_000


def test_a_recording_goes_nowhere_where_it_would_do_harm(tmp_path: Path) -> None:
    with driven(tmp_path / "net") as e:
        path = e.location
        for to in (path / "catalog.sqlite", path, path / "packs" / "x.parquet"):
            with pytest.raises(InvalidInput, match="within the engram"):
                e.run(3, to=to)
        (tmp_path / "mine.csv").write_text("a,b")
        with pytest.raises(InvalidInput, match="files are Parquet or Arrow"):
            e.run(3, to=tmp_path / "mine.csv")
        with pytest.raises(InvalidInput, match="go into a folder, and this is a file"):
            e.run(3, record=("spikes", "rates"), to=tmp_path / "both.parquet")
        assert e.tick == 0
        assert (tmp_path / "mine.csv").read_text() == "a,b"
    assert engramdb.verify(path).problems == []
