"""A question that takes too long is ended, about the present as about the past, and the engram goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import engramdb
from engramdb import Layer, SmallWorld, Spec, timelimit
from engramdb.errors import TookTooLong
from engramdb.server.limits import Limits
from tests.service.served import finished, made, problem, served

# so large that nothing passes over it in a tenth of a second, however fast the machine
WIRING = {"rule": "SmallWorld", "k": 12, "span": 50, "long_fraction": 0.2, "weight": [1.0, 14.0]}
LARGE: dict[str, Any] = {
    "seed": 3,
    "layers": [
        {"name": "cortex", "segments": [300_000_000], "wiring": WIRING},
        {"name": "area", "segments": [16_000_000], "wiring": WIRING},
    ],
}
ASKED: list[dict[str, Any]] = [
    {"query": "path", "a": 0, "b": 150_000_000, "by": "strength", "full": 1e6, "limit": 1_000_000},
    {"query": "count", "where": "local < 10 and id > 5"},
    {"query": "select", "where": "id < 0", "order": "-local"},
    {"query": "top", "field": "in_degree", "n": 3, "layer": "area"},
    {"query": "recall", "cue": [1, 2], "ticks": 100_000, "amplitude": 20.0, "duration": 100_000},
]
SECONDS = 0.1


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service in which questions have a tenth of a second."""
    root = tmp_path_factory.mktemp("hurried")
    with served(root, limits=Limits(query_seconds=SECONDS)) as client:
        path = made(client, "large", LARGE)
        # kernels are compiled, or read from their cache, before anybody is in a hurry
        assert client.post(path + "/ticks", json={"ticks": 1}).status_code in (200, 202)
        yield client


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: str(asked["query"]))
def test_a_long_question_about_the_present_is_ended_and_ticks_go_on(
    hurried: httpx.Client, asked: dict[str, Any]
) -> None:
    path = "/v1/engrams/large"
    before = hurried.get(path).json()["tick"]
    job = hurried.post(
        path + "/ticks", json={"ticks": 200, "hz": 200.0}, headers={"Prefer": "respond-async"}
    )  # fmt: skip
    said = problem(hurried.post(path + "/query", json=asked), 503, "timeout")
    assert said["detail"] == "the question took more than 0.1 s; ask for less, or export a snapshot"
    while (answer := hurried.get(path + "/neurons/5")).status_code == 503:
        time.sleep(0.05)  # under load that too may take longer than a tenth of a second
    assert answer.json()["out_degree"] == 12
    done = finished(hurried, job)
    assert (done["state"], done["result"]["tick"]) == ("done", before + 200)


def test_a_long_question_about_the_past_frees_its_thread_too(hurried: httpx.Client) -> None:
    path = "/v1/engrams/large"
    assert hurried.post(path + "/snapshots", json={"name": "then"}).status_code == 201
    for asked in ASKED[:2] * 2:  # as many as there are threads, twice
        problem(hurried.post(path + "/query", json={**asked, "at": "then"}), 503, "timeout")
    while hurried.post(path + "/query", json={"query": "ego", "id": 5, "hops": 1, "at": "then"}).status_code == 503:
        time.sleep(0.05)


def test_what_ran_out_of_time_has_changed_nothing(tmp_path: Path) -> None:
    layer = Layer("cortex", segments=[20_000_000], wiring=SmallWorld(k=12, span=50, weight=(1.0, 5.0)))
    with engramdb.create(tmp_path / "e.engram", Spec(seed=3, layers=[layer])) as e:
        e.stimulate(range(50), 20.0)
        e.run(3)
        commit, used, tick = e.checkpoint().number, e.neurons(range(100)).fields["spike_count"], e.tick
        over = timelimit.Limit(0.1, 0.0)  # since long
        for ask in (
            lambda: e.count(where="local < 10"),
            lambda: e.top("in_degree", 3),
            lambda: e.ego(5, hops=3),
            lambda: e.path(0, 10_000_000, by="strength", full=1e6),
            lambda: e.recall([1, 2], 50),
            lambda: e.neuron(5),
        ):
            with pytest.raises(TookTooLong, match=r"more than 0\.1 s"), timelimit.within(over):
                ask()
        assert (e.commit.number, e.tick, e.uncommitted) == (commit, tick, False)
        assert e.neurons(range(100)).fields["spike_count"].tolist() == used.tolist()
        e.run(2)
        assert e.verify().ok
