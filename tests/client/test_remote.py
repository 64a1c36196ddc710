"""The client against a real service: what it answers is what a local engram answers, type by type."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import engramdb
from engramdb import errors
from engramdb.client import Forbidden, Job, RemoteEngram, Service, ServiceError, Transport
from engramdb.client.problems import error_of
from engramdb.client.stream import read
from engramdb.engine import Engine
from engramdb.engram import Engram
from engramdb.server.keys import KeyFile
from tests.service.served import served

SPEC = engramdb.Spec(
    seed=5,
    layers=[
        engramdb.Layer("exc", segments=[300], wiring=engramdb.SmallWorld(k=8, span=20, weight=(2.0, 6.0))),
        engramdb.Layer("inh", index=1, segments=[80]),
    ],
    projections=[
        engramdb.Projection("exc", "inh", engramdb.FixedOutdegree(k=4), weight=4.0, delay_ms=2.0),
        engramdb.Projection("inh", "exc", engramdb.FixedOutdegree(k=4), weight=3.0, sign=-1),
    ],
)


# of the clock, or of how often a run was made durable, which is once a second; and where an engram lies
CHANCE = ("elapsed", "stats", "created", "sequence", "path")


def same(one: Any, other: Any) -> None:
    """Equal, type by type: arrays by dtype and content, dataclasses field by field."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            if field.name not in CHANCE:
                same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name, value in one.items():
            same(value, other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    else:
        assert one == other


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a service over an empty folder is.

    Neither it nor engrams here read ahead: whose row has come in by the end of a run, and so is active, is chance.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "reading_threads", 0)
        with served(tmp_path_factory.mktemp("root")) as client:
            yield str(client.base_url)


@pytest.fixture
def service(url: str) -> Iterator[Service]:
    with engramdb.connect(url) as connected:
        yield connected


@pytest.fixture(scope="module")
def pair(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RemoteEngram, Engram]]:
    """The same engram there and here, after the same commands."""
    folder = tmp_path_factory.mktemp("local")
    with engramdb.connect(url) as connected, engramdb.create(folder / "pair.engram", SPEC) as local:
        remote = connected.create("pair", SPEC)
        for engram in (remote, local):
            assert engram.stimulate(np.arange(40), 20.0, duration=3) == 0
            assert engram.poisson(["0/0/50", "0/0/51"], 200.0, 18.0) == 1
            assert engram.play([7, 8], [5, 9], 20.0) == 2
            engram.run(30)
        yield remote, local


def test_a_run_gives_the_same_spikes(pair: tuple[RemoteEngram, Engram]) -> None:
    runs = [engram.run(20, record=("spikes", "rates")) for engram in pair]
    assert runs[1].counts.sum() > 0
    same(*runs)
    assert runs[0].rates() == runs[1].rates()
    same(*(engram.stimuli() for engram in pair))
    assert pair[0].tick == pair[1].tick
    assert len(pair[0]) == len(pair[1]) == 380


@pytest.mark.parametrize("neuron", [0, "0/0/42", "0x2A", np.uint64(1 << 48)])
def test_neurons_and_their_rows_are_the_same(pair: tuple[RemoteEngram, Engram], neuron: Any) -> None:
    same(*(engram.neuron(neuron) for engram in pair))
    same(*(engram.neurons([neuron, "1/0/3", 5]) for engram in pair))
    same(*(engram.synapses(neuron) for engram in pair))
    same(*(engram.synapses(neuron, direction="in") for engram in pair))


def test_questions_have_the_same_answers(pair: tuple[RemoteEngram, Engram]) -> None:
    same(*(engram.ego(3, hops=2, limit=50) for engram in pair))
    same(*(engram.ego("1/0/3", hops=1, direction="in") for engram in pair))
    same(*(engram.path(0, "1/0/9") for engram in pair))
    same(*(engram.path(0, "1/0/9", by="strength") for engram in pair))
    same(*(engram.top("spike_count", n=7) for engram in pair))
    same(*(engram.top("in_degree", n=7) for engram in pair))
    assert pair[0].count(where="spike_count > 0") == pair[1].count(where="spike_count > 0") > 0
    columns = ["id", "v", "spike_count", "layer", "out_degree", "in_degree"]
    same(*(engram.select("exc", "spike_count > 0", columns, "-spike_count", 1000).columns for engram in pair))
    whole = pair[0].select(columns=["id"], limit=None)
    assert (len(whole), whole.cursor) == (380, None)
    first = pair[0].select(limit=100)
    assert first.cursor is not None
    assert (pair[0].select(limit=100, cursor=first.cursor).ids == pair[1].select(limit=200).ids[100:]).all()


def test_traces_are_imprinted_and_completed_alike(pair: tuple[RemoteEngram, Engram]) -> None:
    for engram in pair:
        same_size = engram.imprint("first", np.arange(30))
        assert len(same_size) == 30
        engram.imprint("second", ["0/0/40", "0/0/41"])
    same(*([(trace.name, trace.ids) for trace in engram.traces()] for engram in pair))
    remote, local = (engram.recall(np.arange(15), ticks=20, duration=2) for engram in pair)
    assert len(local.active) >= 15
    same(dataclasses.replace(remote, traces=()), dataclasses.replace(local, traces=()))
    assert [str(match) for match in remote.traces] == [str(match) for match in local.traces]
    for engram in pair:
        engram.forget_trace("second")
    assert [trace.name for trace in pair[0].traces()] == ["first"]


def test_one_trace_and_how_it_drifts_are_the_same(pair: tuple[RemoteEngram, Engram]) -> None:
    for engram in pair:
        engram.imprint("moving/slowly", np.arange(60, 90))
        engram.snapshot("before the drift")
        engram.imprint("moving/slowly", np.arange(65, 95), replace=True)
        engram.run(5)
    same(*(engram.trace("moving/slowly") for engram in pair))
    same(*(engram.trace("moving/slowly", at="before the drift") for engram in pair))
    same(*([trace.ids for trace in engram.traces(at="before the drift")] for engram in pair))
    assert [len(e.trace("moving/slowly") - e.trace("first")) for e in pair] == [30, 30]
    drifts = [engram.drift("moving/slowly", "before the drift") for engram in pair]
    assert (drifts[1].gained, drifts[1].lost) == (5, 5)
    assert [str(drift) for drift in drifts[:1]] == [str(drifts[1])]  # what is not a number equals nothing
    past = [e.drift("moving/slowly", "before the drift", "before the drift", cue_ids=[60, 61]) for e in pair]
    assert str(past[0]) == str(past[1])
    with pytest.raises(errors.NotFound, match="no trace"):
        pair[0].trace("never")


def test_the_topology_is_the_same(pair: tuple[RemoteEngram, Engram]) -> None:
    from engramdb.topology import Settings

    settings = Settings(patches=1, sample=300, clusters="components")
    same(*(engram.topology(settings) for engram in pair))
    same(*(engram.topology(settings, at="before the drift") for engram in pair))
    with pytest.raises(errors.InvalidInput, match="components"):
        pair[0].topology(Settings())


def test_a_cycle_is_begun_run_and_ended_as_a_local_one(service: Service, tmp_path: Path) -> None:
    spec = engramdb.Spec(
        seed=7,
        layers=[
            engramdb.Layer(
                "c", segments=[300], materialize=True, wiring=engramdb.SmallWorld(k=6, span=9, weight=(0.0, 3.0))
            )
        ],
    )
    settings = {"layer": "c", "bundle": 50, "every": 10, "window": 2, "patience": 20, "optimize": 10, "gauge": "probe"}
    remote = service.create("growing", spec)
    with pytest.raises(errors.NotFound):
        remote.cycle.status()
    with engramdb.create(tmp_path / "growing.engram", spec) as local:
        for engram in (remote, local):
            engram.poisson(range(50), 100.0, 20.0)
        same(remote.cycle.start(**settings), local.cycle.start(**settings))
        same(remote.cycle.run(ticks=15), local.cycle.run(ticks=15))
        same(remote.cycle.run(cycles=1), local.cycle.run(cycles=1))
        assert len(remote.cycle.status().history) == 1
        same(remote.cycle.stop(), local.cycle.stop())
        with pytest.raises(errors.Conflict):
            remote.cycle.run(5)


def test_upkeep_is_that_of_a_local_engram(service: Service, tmp_path: Path) -> None:
    spec = engramdb.Spec(
        seed=3,
        layers=[
            engramdb.Layer(
                "a", segments=[200], materialize=True, wiring=engramdb.SmallWorld(k=6, span=9, weight=(0.0, 3.0))
            )
        ],
    )
    remote = service.create("kept-up", spec)
    with engramdb.create(tmp_path / "kept-up.engram", spec) as local:
        assert remote.prune(0.5) == local.prune(0.5) > 0
        assert remote.index() == local.index()
        same(*(engram.synapses(7, direction="in") for engram in (remote, local)))
        assert remote.index(drop=True) == 0
        for number in range(4):
            remote.connect(number, 100, 2.0)
            remote.checkpoint(f"part {number}")
        assert remote.compact().leaves == 1
        before = len(remote.log())
        assert len(remote.gc(keep_last=1, keep_days=0, dry_run=True).dropped) > 2
        assert len(remote.log()) == before
        assert len(remote.gc(keep_last=1, keep_days=0).dropped) > 2
        assert len(remote.log()) < before
        remote.branch("aside")
        remote.delete_branch("aside")
        assert [one.name for one in remote.branches()] == ["main"]
    with pytest.raises(errors.InvalidInput):
        remote.prune(-1.0)
    with pytest.raises(errors.NotFound):
        remote.delete_branch("aside")


def test_synapses_are_made_and_weighed_alike(pair: tuple[RemoteEngram, Engram]) -> None:
    for engram in pair:
        assert engram.connect(["0/0/200", "0/0/201"], "1/0/7", 2.5) == 2
        assert engram.set_weight("0/0/200", "1/0/7", np.array([1.5])) == 1
        with pytest.raises(errors.NotFound):
            engram.set_weight("0/0/202", "0/0/290", 1.0)
    same(*(engram.synapses("0/0/200") for engram in pair))


def test_history_is_the_same(pair: tuple[RemoteEngram, Engram]) -> None:
    for engram in pair:
        engram.snapshot("one")
        engram.stimulate(np.arange(100, 140), 20.0)
        engram.run(10)
        engram.snapshot("two")
    same(*(engram.snapshots() for engram in pair))
    same(*(engram.diff("one", "two") for engram in pair))
    same(*(engram.neuron(5, at="one") for engram in pair))
    for engram in pair:
        engram.restore("one")
        engram.branch("what-if", at="two")
    assert pair[0].tick == pair[1].tick
    same(*(engram.branches() for engram in pair))
    same(*(engram.log() for engram in pair))
    pair[0].checkout("what-if")
    assert pair[0].describe()["branch"] == "what-if"
    pair[0].checkout("main")
    pair[0].delete_snapshot("two")
    assert "two" not in [one.name for one in pair[0].snapshots()]


def test_errors_are_those_of_a_local_engram(pair: tuple[RemoteEngram, Engram], service: Service) -> None:
    remote, local = pair
    for asked in (
        lambda e: e.neuron("0/0/999999"),
        lambda e: e.select(where="nonsense > 3"),
        lambda e: e.synapses(0, direction="up"),
        lambda e: e.restore("never"),
        lambda e: e.reward(1.0),
        lambda e: e.neuron([1, 2]),
    ):
        with pytest.raises(engramdb.EngramError) as here:
            asked(local)
        with pytest.raises(type(here.value)) as there:
            asked(remote)
        assert type(there.value) is type(here.value)
    with pytest.raises(errors.NotAnEngram):
        service["never"]
    with pytest.raises(errors.AlreadyExists):
        service.create("pair", SPEC)
    with pytest.raises(errors.InvalidInput):
        service.create("../pair", SPEC)


def test_engrams_are_listed_made_and_dropped(service: Service) -> None:
    made = service.create("small", engramdb.Spec(layers=[engramdb.Layer("a", segments=[10])]))
    assert len(made) == 10
    assert "small" in service
    listed = {one.name: one for one in service.engrams()}
    assert (listed["small"].neurons, listed["small"].error) == (10, None)
    assert made.grow("a", 5)["neurons"] == 5
    assert len(made) == 15
    service.delete("small")
    assert "small" not in list(service)


def test_files_go_in_and_come_out(service: Service, tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("pre,post,weight\nAlice,Bob,3\nBob,Carol,2\n")
    job = service.import_file("people", tmp_path / "edges.csv", "csv", weight_scale=0.5).wait()
    assert (job.state, job.result["synapses"]) == ("done", 2)
    people = service["people"]
    assert people.labels(people.synapses("Bob").targets) == ["Carol"]
    assert people.neuron("Alice").label == "Alice"
    out = people.export("hdf5", tmp_path / "people.h5")
    engramdb.import_hdf5(out, tmp_path / "copy.engram")
    with engramdb.open(tmp_path / "copy.engram") as copy:
        assert copy.synapses("Alice").weights.tolist() == [1.5]
    assert people.verify()["ok"]
    assert people.export("csv", tmp_path / "people.csv", job=True).read_text().count("\n") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.engram", "edges.csv", "people.csv", "people.h5"]


def test_a_long_run_is_a_job_that_can_be_watched_and_cancelled(service: Service, tmp_path: Path) -> None:
    remote = service.create("long", engramdb.Spec(layers=[engramdb.Layer("a", segments=[10])]))
    job = remote.start(1_000_000, pace_hz=200.0)
    assert isinstance(job, Job)
    assert not service.job(job.id).over
    assert job.id in [one.id for one in service.jobs("long")]
    for event in remote.stream(spikes=10):
        if event.kind == "tick":
            break
    assert event.data["tick"] > 0
    with pytest.raises(errors.Conflict):
        job.fetch(tmp_path / "nothing")
    job.cancel()
    with pytest.raises(ServiceError, match="cancelled"):
        job.wait()


def test_spikes_are_kept_in_a_file_and_fetched(service: Service, tmp_path: Path) -> None:
    remote = service.create("kept", engramdb.Spec(layers=[engramdb.Layer("a", segments=[10])]))
    remote.stimulate([1, 2], 20.0)
    job = remote.start(5, to="night")
    assert isinstance(job, Job)
    table = pyarrow.parquet.read_table(job.wait().fetch(tmp_path / "night.parquet"))
    assert table["id"].to_pylist() == [1, 2]


def test_a_service_with_keys_refuses_those_without(tmp_path: Path) -> None:
    key = KeyFile(tmp_path).add("reader", "read")
    with served(tmp_path) as client:
        url = str(client.base_url)
        with engramdb.connect(url) as nobody, pytest.raises(Forbidden):
            nobody.engrams()
        with engramdb.connect(url, key) as service:
            assert service.engrams() == []
            with pytest.raises(Forbidden, match="scope"):
                service.create("a", SPEC)


def test_a_service_that_is_not_there_is_unreachable() -> None:
    pauses: list[float] = []
    transport = Transport("http://127.0.0.1:9", tries=3, sleep=pauses.append)
    with pytest.raises(errors.Unreachable, match="is the service running"):
        transport.get("/v1/engrams")
    transport.close()
    assert len(pauses) == 2
    assert pauses[1] > pauses[0] > 0
    with pytest.raises(errors.InvalidInput, match="http"):
        engramdb.connect("127.0.0.1:9")


def test_a_write_that_is_tried_again_is_done_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first try is lost on the way; the second gets it, and the engram has run once."""
    remote = service.create("once", engramdb.Spec(layers=[engramdb.Layer("a", segments=[10])]))
    transport = service.transport
    asked = transport._client.request
    lost = iter([True])

    def flaky(*arguments: Any, **named: Any) -> Any:
        response = asked(*arguments, **named)
        if next(lost, False):
            raise transport._httpx.ReadError("lost on the way")
        return response

    monkeypatch.setattr(transport._client, "request", flaky)
    assert remote.run(7).ticks == 7
    assert remote.tick == 7


def test_events_are_read_as_the_standard_says() -> None:
    lines = [": hello", "", "event: tick", 'data: {"tick":', "data: 3}", "id: 3", "", "data:1", ""]
    assert [(one.kind, one.data, one.id) for one in read(lines)] == [("tick", {"tick": 3}, "3"), ("message", 1, "3")]


def test_problems_become_errors() -> None:
    wrong = error_of(
        {"type": "/problems/invalid-spec", "detail": "layers[0].wiring.k: too large", "instance": "r7"}, 422
    )
    assert isinstance(wrong, errors.InvalidSpec)
    assert (wrong.field, str(wrong)) == ("layers[0].wiring.k", "layers[0].wiring.k: too large")
    assert wrong.__notes__ == ["request r7"]
    assert isinstance(error_of(None, 500), ServiceError)


def test_connecting_loads_neither_the_engine_nor_numba() -> None:
    code = "import sys, engramdb; engramdb.connect('http://127.0.0.1:9'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numba", "engramdb.engine", "engramdb.engram", "fastapi"} & set(done.stdout.split())
