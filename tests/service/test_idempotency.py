"""A write that is sent twice is done once."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from engramdb.server.idempotency import Answered, Idempotency
from engramdb.server.problems import Problem
from tests.service.served import SPEC, finished, made, problem, served


def test_a_replay_is_answered_the_same_and_done_once(api: httpx.Client) -> None:
    path = made(api, "once")
    key = {"idempotency-key": "first"}
    body = {"ids": [1], "amplitude": 20.0}
    first = api.post(path + "/stimuli", json=body, headers=key)
    again = api.post(path + "/stimuli", json=body, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(api.get(path + "/stimuli").json()["stimuli"]) == 1
    problem(api.post(path + "/stimuli", json={**body, "amplitude": 1.0}, headers=key), 409, "idempotency-conflict")
    problem(api.post(path + "/checkpoint", headers=key), 409, "idempotency-conflict")
    problem(api.post(path + "/checkpoint", headers={"idempotency-key": "k" * 256}), 400, "bad-request")


def test_of_runs_jobs_and_deletions_too(api: httpx.Client) -> None:
    path = made(api, "twice")
    key = {"idempotency-key": "run", "prefer": "respond-async"}
    first, again = (api.post(path + "/ticks", json={"ticks": 10}, headers=key) for _ in range(2))
    assert first.headers["location"] == again.headers["location"]
    assert finished(api, again)["result"]["tick"] == 10
    key = {"idempotency-key": "drop"}
    assert [api.delete(path, headers=key).status_code for _ in range(2)] == [204, 204]
    key = {"idempotency-key": "create"}
    answers = [api.post("/v1/engrams", json={"name": "thrice", "spec": SPEC}, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


def test_what_was_refused_can_be_tried_again(api: httpx.Client) -> None:
    key = {"idempotency-key": "refused"}
    problem(api.post("/v1/engrams/unborn/checkpoint", headers=key), 404, "no-such-engram")
    made(api, "unborn")
    assert api.post("/v1/engrams/unborn/checkpoint", headers=key).status_code == 200


def test_an_answer_is_replayed_after_a_restart(tmp_path: Path) -> None:
    body, key = {"name": "a", "spec": SPEC}, {"idempotency-key": "made"}
    with served(tmp_path) as client:
        first = client.post("/v1/engrams", json=body, headers=key)
    with served(tmp_path) as client:
        again = client.post("/v1/engrams", json=body, headers=key)
        assert (again.status_code, again.json()) == (201, first.json())


def test_one_that_was_begun_before_the_service_died_is_told_as_what_it_is(tmp_path: Path) -> None:
    store = Idempotency(tmp_path)
    assert store.begin("place", "fingerprint") is None
    with pytest.raises(Problem) as error:
        Idempotency(tmp_path).begin("place", "fingerprint")
    assert error.value.slug == "idempotency-unknown"
    store.end("place", "fingerprint", Answered(200, [(b"location", b"/x")], b"{}"))
    assert store.begin("place", "fingerprint") == Answered(200, [(b"location", b"/x")], b"{}")
    store.end("place", "fingerprint", None)
    assert store.begin("place", "fingerprint") is None
    store.end("place", "fingerprint", Answered(200, [], b"x" * (2 << 20)))
    with pytest.raises(Problem) as error:
        store.begin("place", "fingerprint")
    assert error.value.slug == "not-kept"
    store.prune()


def test_keys_of_two_owners_are_two() -> None:
    assert Idempotency.place("a", "k") != Idempotency.place("b", "k")
    assert Idempotency.place("a", "bk") != Idempotency.place("ab", "k")
