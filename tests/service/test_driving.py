"""Driving an engram over HTTP: stimuli, runs, jobs, and the stream of what happens."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet
import pytest

import engramdb
from tests.service.served import SPEC, finished, made, problem, ran, streamed


@pytest.fixture
def path(api: httpx.Client, request: pytest.FixtureRequest) -> str:
    return made(api, request.node.name.replace("_", "-")[-60:].lstrip("-"))


def wait_for_ticks(api: httpx.Client, path: str, ticks: int) -> int:
    while (tick := int(api.get(path).json()["tick"])) < ticks:
        pass
    return tick


def test_a_run_is_spike_for_spike_that_of_the_library(api: httpx.Client, path: str, tmp_path: Path) -> None:
    pulse = {"ids": list(range(50)), "amplitude": 20.0, "duration": 2}
    assert api.post(path + "/stimuli", json=pulse).json() == {"number": 0, "first_tick": 1}
    noise = {"ids": [0, 1, 2], "kind": "poisson", "rate_hz": 100.0, "amplitude": 20.0, "duration": None}
    assert api.post(path + "/stimuli", json=noise).json()["number"] == 1
    played = {"ids": ["0/0/9"], "kind": "play", "ticks": [7], "amplitude": 30.0}
    assert api.post(path + "/stimuli", json=played).json() == {"number": 2, "first_tick": 7}
    kinds = {one["number"]: one["kind"] for one in api.get(path + "/stimuli").json()["stimuli"]}
    assert kinds == {0: "current", 1: "poisson", 2: "train"}
    found = ran(api, api.post(path + "/ticks", json={"ticks": 40, "record": ["spikes", "counts", "rates"]}))
    with engramdb.create(tmp_path / "same.engram", engramdb.Spec.from_document(SPEC)) as engram:
        engram.stimulate(range(50), 20.0, duration=2)
        engram.poisson([0, 1, 2], 100.0, 20.0)
        engram.play(["0/0/9"], [7], 30.0)
        run = engram.run(40, record=("spikes", "rates"))
    assert (found["ticks"], found["tick"]) == (40, 40)
    assert found["counts"] == run.counts.tolist()
    assert found["spikes"]["tick"] == run.spikes[0].tolist()
    assert [int(one) for one in found["spikes"]["id"]] == run.spikes[1].tolist()
    assert found["rates"] == {name: counts.tolist() for name, counts in run.population.items()}
    assert found["spike_count"] == run.counts.sum() > 50


def test_stimuli_end_when_they_are_stopped(api: httpx.Client, path: str) -> None:
    number = api.post(path + "/stimuli", json={"ids": [1], "amplitude": 20.0, "duration": None}).json()["number"]
    assert api.delete(f"{path}/stimuli/{number}").status_code == 204
    assert api.get(path + "/stimuli").json() == {"stimuli": []}
    problem(api.delete(f"{path}/stimuli/{number}"), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"ids": [1], "kind": "poisson", "amplitude": 1.0}, "/rate_hz"),
        ({"ids": [1, 2], "kind": "play", "amplitude": 1.0, "ticks": [5]}, "/ticks"),
        ({"ids": [1], "amplitude": "much"}, "/amplitude"),
        ({"ids": [1], "amplitude": 1.0, "duration": 0}, "/duration"),
        ({"ids": [1], "amplitude": 1e9}, None),
        ({"ids": ["0/0/800"], "amplitude": 1.0}, None),
    ],
)
def test_a_wrong_stimulus_is_a_problem(api: httpx.Client, body: dict[str, Any], pointer: str | None) -> None:
    answer = api.post("/v1/engrams/brain/stimuli", json=body)
    assert answer.status_code in (404, 422)
    assert answer.json().get("pointer") == pointer


def test_rewards_reach_what_learns_from_them(api: httpx.Client) -> None:
    problem(api.post("/v1/engrams/brain/rewards", json={"value": 0.5}), 422, "invalid-input")
    rule = {"rule": "re_vgsp", "w_max": 5.0}
    spec = {"layers": [{"name": "a", "segments": [20], "wiring": {"rule": "SmallWorld", "k": 4, "span": 5},
                        "plasticity": [rule]}]}  # fmt: skip
    path = made(api, "rewarded", spec)
    assert api.post(path + "/rewards", json={"value": 0.5}).json() == {"tick": 0}
    assert api.get(path).json()["plasticity"][0]["rule"] == "re_vgsp"


def test_a_long_run_is_a_job_beside_which_others_get_in_and_that_can_be_stopped(api: httpx.Client, path: str) -> None:
    answer = api.post(path + "/ticks", json={"ticks": 10**9, "hz": 1000.0}, headers={"prefer": "respond-async"})
    assert answer.status_code == 202
    job = answer.headers["location"]
    wait_for_ticks(api, path, 3)
    assert api.get(path).json()["running"] == {"job": answer.json()["id"]}
    assert api.get(path + "/neurons/0/0/1").json()["out_degree"] == 12
    first = api.post(path + "/stimuli", json={"ids": [1], "amplitude": 20.0}).json()["first_tick"]
    wait_for_ticks(api, path, first + 1)
    assert api.get(path + "/neurons/1").json()["fields"]["last_spike"] == first
    assert api.post(path + "/snapshots", json={"name": "meanwhile"}).status_code == 201
    for refused in ("/snapshots/meanwhile/restore", "/branches/main/checkout"):
        problem(api.post(path + refused), 409, "busy")
    problem(api.delete(path), 409, "busy")
    problem(api.get(job + "/result"), 409, "conflict")
    assert api.delete(job).status_code == 202
    over = finished(api, answer)
    assert over["state"] == "cancelled"
    assert over["result"]["ticks"] == api.get(path).json()["tick"]
    assert api.get(path).json()["running"] is None
    assert answer.json()["id"] in [one["id"] for one in api.get("/v1/jobs").json()["jobs"]]
    assert api.delete(job).status_code == 204
    problem(api.get(job), 404, "not-found")


def test_runs_wait_for_each_other(api: httpx.Client, path: str) -> None:
    background = {"prefer": "respond-async"}
    jobs = [api.post(path + "/ticks", json={"ticks": 50}, headers=background) for _ in range(3)]
    assert sorted(finished(api, job)["result"]["tick"] for job in jobs) == [50, 100, 150]


def test_spikes_of_a_run_go_to_a_file_that_is_fetched(api: httpx.Client, path: str) -> None:
    api.post(path + "/stimuli", json={"ids": list(range(100)), "amplitude": 20.0})
    answer = api.post(path + "/ticks", json={"ticks": 30, "to": "first"})
    job = finished(api, answer)
    table = pyarrow.parquet.read_table(io.BytesIO(api.get(job["result"]["file"]).content))
    assert len(table) == job["result"]["spike_count"] >= 100
    assert table["tick"].to_pylist()[:100] == [1] * 100
    problem(api.post(path + "/ticks", json={"ticks": 1, "to": "../x"}), 422, "invalid-name")


def test_a_job_tells_how_it_goes(api: httpx.Client, path: str) -> None:
    answer = api.post(path + "/ticks", json={"ticks": 100}, headers={"prefer": "respond-async"})
    with api.stream("GET", answer.headers["location"] + "/events") as events:
        text = "".join(events.iter_text())
    told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith('data: {"id"')]
    assert told[-1]["state"] == "done"
    assert text.rstrip().endswith("event: bye\ndata: {}")


def test_the_stream_tells_each_tick_with_some_of_its_spikes(api: httpx.Client, path: str) -> None:
    heard: list[Any] = []
    ready = threading.Event()

    def listen() -> None:
        with streamed(api, path + "/stream?spikes=1000") as events:
            for event in events:
                ready.set()
                heard.append(event)
                if event[0] == "tick" and event[1]["tick"] == 20:
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    ready.wait()
    api.post(path + "/stimuli", json={"ids": list(range(50)), "amplitude": 20.0, "duration": 2})
    found = ran(api, api.post(path + "/ticks", json={"ticks": 20, "record": ["spikes", "counts"], "hz": 200.0}))
    thread.join()
    ticks = [data for kind, data, _ in heard if kind == "tick"]
    assert [data["tick"] for data in ticks] == list(range(1, 21)) == [n for kind, _, n in heard if kind == "tick"]
    assert [data["fired"] for data in ticks] == found["counts"]
    spikes = [(tick, neuron) for data in ticks for tick, neuron in data["spikes"]]
    assert spikes == list(zip(found["spikes"]["tick"], found["spikes"]["id"], strict=True))
    assert all(data["dropped"] == 0 for data in ticks)
    states = [data for kind, data, _ in heard if kind == "state"]
    assert (states[0]["tick"], states[0]["branch"]) == (0, "main")
    assert any(state["running"] for state in states[1:])


def test_a_reader_that_does_not_read_stops_nobody_and_is_told_what_it_missed(api: httpx.Client, path: str) -> None:
    with streamed(api, path + "/stream?spikes=100") as events:
        assert next(events)[0] == "state"
        # far more than fits into the sockets between us, none of which is read
        done = ran(api, api.post(path + "/ticks", json={"ticks": 300_000}))
        assert done["tick"] == 300_000
        seen = lost = 0
        for kind, data, _ in events:
            if kind == "tick":
                seen += 1
                lost += data["dropped"]
                if data["tick"] == 300_000:
                    break
        assert seen + lost == 300_000
        assert lost > seen > 0


def test_every_so_many_ticks(api: httpx.Client, path: str) -> None:
    with streamed(api, path + "/stream?every=5") as events:
        next(events)
        api.post(path + "/ticks", json={"ticks": 20, "hz": 400.0})
        ticks = [next(event for event in events if event[0] == "tick")[1]["tick"] for _ in range(4)]
    assert ticks == [5, 10, 15, 20]


def test_an_event_for_many_ticks_has_the_spikes_of_all_of_them(api: httpx.Client, path: str) -> None:
    with streamed(api, path + "/stream?every=10&spikes=1000") as events:
        next(events)
        api.post(path + "/stimuli", json={"ids": [*range(50), "1/0/3", "1/0/4"], "amplitude": 20.0, "duration": 2})
        found = ran(api, api.post(path + "/ticks", json={"ticks": 20, "record": ["spikes", "counts"], "hz": 400.0}))
        ticks = [next(event for event in events if event[0] == "tick")[1] for _ in range(2)]
    spikes = [(tick, neuron) for data in ticks for tick, neuron in data["spikes"]]
    assert spikes == list(zip(found["spikes"]["tick"], found["spikes"]["id"], strict=True))
    assert len(spikes) > 0
    halves = np.array(found["counts"]).reshape(2, 10).mean(axis=1) / (1000 * 0.001)
    np.testing.assert_allclose([data["rate_hz"] for data in ticks], halves)
    exc = np.array([int(neuron) < 800 for _, neuron in spikes])
    first = np.array([tick <= 10 for tick, _ in spikes])
    assert 0 < exc.sum() < len(exc)
    for data, half in zip(ticks, (first, ~first), strict=True):
        expected = {"exc": (half & exc).sum() / (800 * 0.01), "inh": (half & ~exc).sum() / (200 * 0.01)}
        assert data["rates_hz"] == pytest.approx(expected)


def test_a_stream_says_goodbye_when_its_engram_is_dropped(api: httpx.Client, path: str) -> None:
    with streamed(api, path + "/stream") as events:
        next(events)
        assert api.delete(path).status_code == 204
        assert [kind for kind, _, _ in events][-1] == "bye"


def test_what_an_engram_is_asked_meanwhile_does_not_change_a_run(api: httpx.Client, path: str) -> None:
    quiet = made(api, "quiet")
    body = {"ids": list(range(100)), "kind": "poisson", "rate_hz": 200.0, "amplitude": 20.0, "duration": None}
    results = []
    for one, asked in ((quiet, False), (path, True)):
        api.post(one + "/stimuli", json=body)
        answer = api.post(
            one + "/ticks", json={"ticks": 3000, "record": ["counts"]}, headers={"prefer": "respond-async"}
        )
        while asked and api.get(answer.headers["location"]).json()["state"] in ("queued", "running"):
            api.get(one + "/neurons/7")
            api.post(one + "/query", json={"query": "ego", "id": 7, "hops": 1})
            api.post(one + "/query", json={"query": "count", "where": "spike_count > 2"})
        results.append(finished(api, answer)["result"]["counts"])
    assert results[0] == results[1]
    assert np.sum(results[0]) > 0
