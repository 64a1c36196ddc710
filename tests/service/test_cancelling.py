"""Jobs that somebody cancels, and those that the service was stopped under: what each is after a restart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from engramdb.server.jobs import Job, Jobs
from tests.service.served import EXAMPLE, Process, events_of, finished, made, served


def in_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` gives, in a loop of its own; that of this thread may be a browser's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


ASYNC = {"prefer": "respond-async"}
RUN: dict[str, Any] = {"ticks": 10**9, "hz": 1.0, "record": [], "to": None}


def endless(client: httpx.Client, path: str) -> httpx.Response:
    """A run that does not end by itself, which has begun."""
    answer = client.post(path + "/ticks", json={"ticks": 10**9, "hz": 200.0}, headers=ASYNC)
    while client.get(answer.headers["location"]).json()["state"] == "queued":
        pass
    return answer


def kept(tmp_path: Path, **fields: Any) -> tuple[Jobs, Job]:
    """The jobs of a service, one of which is durable."""
    jobs = Jobs(tmp_path)
    job = jobs.add(Job(**{"kind": "ticks", "engram": "brain", "request": dict(RUN), "durable": True, **fields}))
    jobs.keep(job)
    return jobs, job


def test_a_job_that_waits_is_cancelled_at_once_and_its_turn_passes(api: httpx.Client, root: Path) -> None:
    path = made(api, "waiting")
    running = endless(api, path)
    queued = api.post(path + "/ticks", json={"ticks": 10**9, "to": "night"}, headers=ASYNC)
    other = api.post(path + "/ticks", json={"ticks": 10**9}, headers=ASYNC)
    for answer in (queued, other):
        asked = api.delete(answer.headers["location"])
        assert (asked.status_code, asked.json()["state"]) == (202, "cancelled")
        over = api.get(answer.headers["location"]).json()
        assert (over["state"], over["ended"] is not None, "result" in over) == ("cancelled", True, False)
    with api.stream("GET", queued.headers["location"] + "/events") as response:
        (kind, told, _), (bye, _, _) = events_of(response)
    assert (kind, told["state"], bye) == ("job", "cancelled", "bye")
    assert api.delete(other.headers["location"]).status_code == 204
    api.delete(running.headers["location"])
    over = finished(api, running)
    assert over["state"] == "cancelled"
    after = finished(api, api.post(path + "/ticks", json={"ticks": 1}, headers=ASYNC))
    assert after["result"]["tick"] == over["result"]["tick"] + 1
    assert api.get(queued.headers["location"]).json()["state"] == "cancelled"
    assert api.get(other.headers["location"]).status_code == 404
    files = {file.stem for file in (root / ".engramdb-service" / "jobs").iterdir()}
    assert queued.json()["id"] in files
    assert other.json()["id"] not in files


@pytest.mark.parametrize("killed", [True, False])
def test_a_job_that_was_cancelled_stays_so_after_a_restart(tmp_path: Path, killed: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with Process(root) as server, server.client() as client:
        path = made(client)
        running = endless(client, path)
        queued = client.post(path + "/ticks", json={"ticks": 10**9}, headers=ASYNC)
        assert client.delete(queued.headers["location"]).status_code == 202
        if killed:  # of the one that runs, too, the answer is all that is waited for
            assert client.delete(running.headers["location"]).status_code == 202
            server.kill()
        else:
            assert server.terminate() == 0
    with served(root) as client:
        assert client.get(queued.headers["location"]).json()["state"] == "cancelled"
        state = client.get(running.headers["location"]).json()["state"]
        assert state == "cancelled" if killed else state in ("queued", "running")
        if not killed:
            assert client.delete(running.headers["location"]).status_code == 202
            assert finished(client, running)["state"] == "cancelled"


def test_that_a_job_is_cancelled_is_durable_before_it_has_stopped(tmp_path: Path) -> None:
    jobs, job = kept(tmp_path)
    jobs.began(job)
    in_a_loop(jobs.cancel(job))
    assert job.state == "running"
    after = Jobs(tmp_path)  # as after a kill
    assert after.load() == []
    assert after.get(job.id).state == "cancelled"
    assert Jobs(tmp_path).load() == []
    jobs.close(5.0)
    after.close(5.0)


def test_a_cancelled_job_that_ends_while_the_service_stops_does_not_go_on(tmp_path: Path) -> None:
    jobs, job = kept(tmp_path, kind="export", request={"format": "csv", "commit": 1, "layer": None})
    other = jobs.add(Job("export", "brain", job.request, durable=True))
    begun, goes_on = threading.Barrier(3), threading.Event()

    def work(job: Job) -> None:
        begun.wait()
        goes_on.wait()
        job.tell("written", 1, 2)

    async def stop() -> None:
        working = [jobs.start(one, work) for one in (job, other)]
        await asyncio.to_thread(begun.wait)
        await jobs.cancel(job)
        closing = asyncio.create_task(asyncio.to_thread(jobs.close, 60.0))
        await asyncio.to_thread(other.stopping.wait)
        goes_on.set()
        await asyncio.gather(*working)
        assert await closing

    in_a_loop(stop())
    after = Jobs(tmp_path)
    assert [one.id for one in after.load()] == [other.id]
    assert after.get(job.id).state == "cancelled"
    after.close(5.0)


def test_a_cycle_that_was_cancelled_before_a_kill_is_paused_by_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with served(root) as client:
        made(client)
        settings = {"layer": "exc", "bundle": 10, "k": 4, "ticks": 1}
        finished(client, client.post(EXAMPLE + "/cycle", json=settings))
        assert client.get(EXAMPLE + "/cycle").json()["state"] == "running"
    jobs, job = kept(root / ".engramdb-service", kind="cycle", request={"ticks": None, "cycles": None})
    jobs.began(job)
    in_a_loop(jobs.cancel(job))
    with served(root) as client:
        assert client.get(f"/v1/jobs/{job.id}").json()["state"] == "cancelled"
        while client.get(EXAMPLE + "/cycle").json()["state"] != "paused":
            pass
    jobs.close(5.0)


def test_stopping_the_service_is_no_crash_of_its_jobs(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with served(root) as client:
        running = endless(client, made(client))
    for _ in range(4):
        with served(root) as client:
            while client.get(running.headers["location"]).json()["state"] == "queued":
                pass
            assert client.get(running.headers["location"]).json()["state"] == "running"


def test_a_job_under_which_the_service_went_down_three_times_is_given_up_and_says_so(tmp_path: Path) -> None:
    jobs, job = kept(tmp_path)
    for crash in (1, 2, 3):
        jobs.began(job)
        jobs = Jobs(tmp_path)  # as after a kill
        assert len(jobs.load()) == (crash < 3)
        jobs = Jobs(tmp_path)  # a kill before it has begun again is none under it
        assert len(jobs.load()) == (crash < 3)
        job = jobs.get(job.id)
    assert job.state == "interrupted"
    assert job.message == "the service went down 3 times while it ran: it is not begun again"
    assert job.error is not None
    assert job.error["detail"] == job.message
