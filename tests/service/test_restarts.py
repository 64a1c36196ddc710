"""What a service leaves behind: stopped by an operator, or killed at any instant."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import engramdb
from engramdb.server.jobs import Job, Jobs
from tests.service.served import Process, finished, made, served

ASYNC = {"prefer": "respond-async"}


def test_sigterm_ends_runs_at_a_tick_and_says_goodbye_and_the_next_start_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with Process(root) as server, server.client() as client:
        path = made(client)
        client.post(path + "/stimuli", json={"ids": [1], "amplitude": 20.0})
        answer = client.post(path + "/ticks", json={"ticks": 600, "hz": 300.0}, headers=ASYNC)
        recorded = client.post(path + "/ticks", json={"ticks": 10**9, "record": ["spikes"], "hz": 1.0}, headers=ASYNC)
        with client.stream("GET", path + "/stream") as stream:
            lines = stream.iter_lines()
            while next(lines) != "event: tick":
                pass
            threading.Thread(target=server.terminate).start()
            assert "event: bye" in list(lines)
        assert server.process.wait() == 0
    with engramdb.open(root / "brain.engram") as engram:  # a checkpoint was made
        stopped = engram.tick
        assert 0 < stopped < 600
    events = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"request", "method", "path", "status", "ms"} <= set(next(e for e in events if e["event"] == "request"))
    assert events[-1]["level"] == "info"
    assert not [event for event in events if event["level"] in ("error", "warning")]
    with served(root) as client:
        job = finished(client, answer)
        assert (job["state"], job["result"]["tick"]) == ("done", 600)
        assert client.get(path).json()["tick"] == 600
        other = client.get(recorded.headers["location"]).json()
        assert other["state"] == "interrupted"
        assert other["error"]["type"] == "/problems/interrupted"


Written = list[tuple[str, Any]]


def load(url: str, path: str, number: int, acknowledged: Written, attempted: Written) -> None:
    """Write until the service dies; note what was answered."""
    with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=url, timeout=60.0) as client:
        for step in range(10_000):
            what: tuple[str, Any]
            if number == 0:
                what = ("snapshot", f"s{step}")
                attempted.append(what)
                answer = client.post(path + "/snapshots", json={"name": f"s{step}"})
            elif number == 1:
                answer = client.post(path + "/ticks", json={"ticks": 5})
                what = ("tick", answer.json().get("tick", 0))
            else:
                synapse = (number, 100 + step % 400, float(1 + step))
                what = ("synapse", synapse)
                attempted.append(what)
                body = {"pre": [synapse[0]], "post": [synapse[1]], "weight": synapse[2]}
                answer = client.post(path + "/synapses", json=body)
            assert answer.status_code in (200, 201, 202), answer.text
            if answer.status_code != 202:
                acknowledged.append(what)


def kill_under_load(root: Path, writes: int) -> None:
    """Kill a service behind a number of acknowledged writes; all of them must be there at the next start."""
    spec = {
        "layers": [{"name": "a", "segments": [600]}],
        "projections": [{"pre": "a", "post": "a", "rule": "Explicit"}],
    }
    acknowledged: Written = []
    attempted: Written = []
    with Process(root) as server:
        with server.client() as client:
            path = made(client, f"e{writes}", spec)
            short = made(client, f"short{writes}")
            # a long run goes on beneath it all
            client.post(path + "/ticks", json={"ticks": 10**9, "hz": 500.0}, headers=ASYNC)
        threads = [
            threading.Thread(target=load, args=(server.url, place, number, acknowledged, attempted))
            for number, place in enumerate((path, short, path, path))
        ]
        for thread in threads:
            thread.start()
        while len(acknowledged) < writes:
            assert any(thread.is_alive() for thread in threads)
        server.kill()
        for thread in threads:
            thread.join()
    with served(root) as client:
        ticks = [value for kind, value in acknowledged if kind == "tick"]
        assert client.get(short).json()["tick"] >= max(ticks, default=0)
        names = {one["name"] for one in client.get(path + "/snapshots").json()["snapshots"]}
        assert {value for kind, value in acknowledged if kind == "snapshot"} <= names
        for pre in (2, 3):
            found: dict[int, float] = {}
            cursor = None
            while True:
                params = {"limit": 200, **({"cursor": cursor} if cursor else {})}
                page = client.get(f"{path}/neurons/{pre}/synapses", params=params).json()
                found |= {int(one["post"]): one["weight"] for one in page["synapses"]}
                cursor = page["cursor"]
                if cursor is None:
                    break
            for _, (_, post, weight) in [w for w in acknowledged if w[0] == "synapse" and w[1][0] == pre]:
                # what was answered is there, or a later write of the same synapse
                later = [w[2] for kind, w in attempted if kind == "synapse" and w[:2] == (pre, post) and w[2] >= weight]
                assert found[post] in later
        # beside it, on a machine at work, short runs of the other may have become jobs
        (job,) = client.get("/v1/jobs", params={"engram": f"e{writes}"}).json()["jobs"]
        assert job["state"] == "running"  # a run goes on where its engram stands
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 202


def test_a_kill_under_load_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    kill_under_load(root, 60)


@pytest.mark.slow
def test_many_kills_under_load_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for writes in range(1, 200, 11):
        kill_under_load(root, writes)


def test_jobs_that_were_killed_go_on_or_are_interrupted(tmp_path: Path) -> None:
    """As files say: what a service that was killed knew."""
    jobs = Jobs(tmp_path)
    kinds = {
        "verify": Job("verify", "brain", {}),
        "ticks": Job("ticks", "brain", {"ticks": 5, "hz": None, "record": [], "to": None, "first": 0}),
        "recorded": Job("ticks", "brain", {"ticks": 5, "hz": None, "record": ["spikes"], "to": None}),
        "growth": Job("growth", "brain", {"layer": "exc", "neurons": 1, "k": None, "materialize": True}),
        "crashing": Job("export", "brain", {"format": "csv", "commit": 1, "layer": None}, crashes=2),
    }
    for job in kinds.values():
        job.durable = True
        jobs.add(job)
        jobs.began(job)
    (jobs.results / "orphan").mkdir()
    after = Jobs(tmp_path)
    assert {job.id for job in after.load()} == {kinds["verify"].id, kinds["ticks"].id}
    for name in ("recorded", "growth", "crashing"):
        found = after.get(kinds[name].id)
        assert (found.state, found.error is not None) == ("interrupted", True)
    assert not (jobs.results / "orphan").exists()
    jobs.close(5.0)
    after.close(5.0)


def test_an_import_that_was_interrupted_is_done_by_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    jobs = Jobs(root / ".engramdb-service")
    job = Job("import", "people", {"format": "csv", "ids": "pack", "weight_scale": 1.0, "strict": False})
    job.durable = True
    jobs.add(job)
    jobs.began(job)
    (jobs.room(job) / "source.csv").write_text("pre,post,weight\na,b,1\n")
    jobs.close(5.0)
    with served(root) as client:
        while client.get(f"/v1/jobs/{job.id}").json()["state"] in ("queued", "running"):
            pass
        assert client.get("/v1/engrams/people/neurons/a").json()["out_degree"] == 1


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    spec = {"layers": [{"name": "a", "segments": [200_000]}]}
    # files may not grow any more: what a disk that is full does, of one process only
    import resource

    with Process(root) as server, server.client() as client:
        path = made(client, "full", spec)
        assert client.post(path + "/stimuli", json={"ids": list(range(1000)), "amplitude": 20.0}).status_code == 200
        limit = (1 << 16, resource.RLIM_INFINITY)
        if not hasattr(resource, "prlimit"):
            pytest.skip("this system cannot bound another process")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
        body = {"ids": list(range(50_000)), "amplitude": 20.0}
        answer = client.post(path + "/stimuli", json=body)
        assert answer.status_code == 507, answer.text
        assert answer.json()["type"] == "/problems/disk-full"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert client.post(path + "/stimuli", json=body).status_code == 200
        assert [one["neurons"] for one in client.get(path + "/stimuli").json()["stimuli"]] == [1000, 50_000]


def test_serve_says_in_one_line_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engramdb.cli import main

    assert main(["serve", str(tmp_path / "nowhere")]) == 1
    with served(tmp_path) as client:
        port = client.base_url.port
        other = tmp_path / "other"
        other.mkdir()
        assert main(["serve", str(other), "--port", str(port)]) == 1
        assert "choose another --port" in capsys.readouterr().err
        assert main(["serve", str(tmp_path), "--port", "0"]) == 3
