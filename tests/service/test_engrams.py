"""Engrams over HTTP: making, listing, describing, dropping; and what else there is at the root."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import engramdb
from engramdb.server.meanings import MEANINGS
from engramdb.server.problems import TITLES
from tests.service.served import EXAMPLE, SPEC, made, problem


def test_a_description_says_what_it_is_made_of_and_how_it_stands(api: httpx.Client) -> None:
    found = api.get(EXAMPLE).json()
    assert (found["name"], found["tick"], found["branch"], found["neurons"]) == ("brain", 20, "main", 1000)
    assert [(one["name"], one["segments"]) for one in found["layers"]] == [("exc", [800]), ("inh", [200])]
    assert sum(found["states"].values()) == found["neurons"]
    assert found["running"] is None
    assert found["bytes"] > 0
    assert found["stats"]["used_bytes"] == found["memory"]["used"] <= found["memory"]["budget"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/engrams", "GET, HEAD, POST"), (EXAMPLE, "DELETE, GET, HEAD"), (EXAMPLE + "/query", "POST"),
     (EXAMPLE + "/cycle", "DELETE, GET, HEAD, POST"), (EXAMPLE + "/snapshots/a", "DELETE, GET, HEAD"),
     ("/healthz", "GET, HEAD")],
)  # fmt: skip
def test_another_method_is_told_all_that_a_path_takes(api: httpx.Client, path: str, allowed: str) -> None:
    answer = api.put(path)
    assert allowed in problem(answer, 405, "method-not-allowed")["detail"]
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/snapshots", "/snapshots/driven", "/neurons/42", "/log", "/nothing", "/query"])
def test_head_is_get_without_the_body(api: httpx.Client, path: str) -> None:
    whole, head = api.get(EXAMPLE + path), api.head(EXAMPLE + path)
    assert head.status_code == whole.status_code
    assert head.content == b""
    for name in ("content-type", "content-length"):
        assert head.headers[name] == whole.headers[name]


def test_head_of_a_stream_ends(api: httpx.Client) -> None:
    head = api.head(EXAMPLE + "/stream")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def test_engrams_are_listed_with_those_that_cannot_be_read(api: httpx.Client, root: Path) -> None:
    broken = root / "broken.engram"
    broken.mkdir()
    (broken / "catalog.sqlite").write_bytes(b"this is no catalog" * 100)
    listed = {one["name"]: one for one in api.get("/v1/engrams").json()["engrams"]}
    assert (listed["brain"]["tick"], listed["brain"]["open"]) == (20, True)
    assert listed["broken"]["error"]["type"] == "/problems/damaged"
    assert api.get("/v1/engrams/broken").status_code == 500


def test_a_made_engram_is_there_and_a_dropped_one_is_in_the_trash(api: httpx.Client, root: Path) -> None:
    path = made(api, "short-lived")
    assert api.post("/v1/engrams", json={"name": "other", "spec": SPEC}).headers["location"] == "/v1/engrams/other"
    problem(api.post("/v1/engrams", json={"name": "short-lived", "spec": SPEC}), 409, "already-exists")
    assert api.delete(path).status_code == 204
    problem(api.get(path), 404, "no-such-engram")
    problem(api.delete(path), 404, "no-such-engram")
    (there,) = (root / ".engramdb-trash").glob("short-lived-*.engram")
    with engramdb.open(there) as engram:
        assert len(engram) == 1000


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        (
            {"layers": [{"name": "a", "segments": [9], "wiring": {"rule": "SmallWorld", "k": 20}}]},
            "/spec/layers/0/wiring/k",
        ),
        ({"layers": [{"name": "a", "segments": [10], "colour": 1}]}, "/spec/layers/0/colour"),
        ({"layers": []}, "/spec/layers"),
        ({"layers": 7}, "/spec/layers"),
    ],
)  # fmt: skip
def test_a_wrong_spec_points_to_its_field(api: httpx.Client, spec: dict[str, object], pointer: str) -> None:
    found = problem(api.post("/v1/engrams", json={"name": "wrong", "spec": spec}), 422, "invalid-spec")
    assert found["pointer"] == pointer


def test_an_engram_that_another_process_writes_is_described_as_of_its_last_commit(
    api: httpx.Client, root: Path
) -> None:
    spec = engramdb.Spec.from_document(SPEC)
    with engramdb.create(root / "taken.engram", spec):
        found = api.get("/v1/engrams/taken").json()
        assert (found["open"], found["error"]["type"]) == (False, "/problems/locked")
        problem(api.post("/v1/engrams/taken/ticks", json={"ticks": 1}), 423, "locked")
        problem(api.delete("/v1/engrams/taken"), 423, "locked")
        assert api.get("/v1/engrams/taken/neurons/1?at=main").json()["state"] == "virtual"
    assert api.post("/v1/engrams/taken/ticks", json={"ticks": 1}).status_code in (200, 202)


def test_what_one_scrapes_and_what_one_reads(api: httpx.Client) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").json() == {"status": "ready"}
    api.get(EXAMPLE + "/neurons/1")
    text = api.get("/metrics").text
    for name in ("engramdb_ticks_total", "engramdb_request_seconds_bucket", "engramdb_resident_neurons",
                 "engramdb_used_bytes", "engramdb_prefetch_hits_total", "engramdb_jobs"):  # fmt: skip
        assert name in text
    assert 'route="/v1/engrams/{name}/neurons/{id}"' in text
    assert "<script src=" in api.get("/docs").text
    assert api.get("/pages/docs.js").headers["content-type"].startswith("text/javascript")
    assert api.get("/", follow_redirects=False).status_code == 307
    for slug, title in TITLES.items():
        said = api.get(f"/problems/{slug}").json()
        assert (said["title"], said["meaning"]) == (title, MEANINGS[slug])
        assert said["meaning"].endswith(".")
    assert set(MEANINGS) == set(TITLES)
    problem(api.get("/problems/nonsense"), 404, "not-found")


def test_paths_and_methods_that_are_not_there_are_problems(api: httpx.Client) -> None:
    problem(api.get("/v2"), 404, "no-such-route")
    answer = api.put(EXAMPLE)
    problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["allow"]
    problem(api.get("/v1/engrams/nobody"), 404, "no-such-engram")
    problem(api.get("/v1/engrams/nobody/log"), 404, "no-such-engram")
    problem(api.get("/pages/nothing.js"), 404, "not-found")


def test_every_answer_has_an_id_and_says_what_a_browser_may_do_with_it(api: httpx.Client) -> None:
    first, second = api.get(EXAMPLE), api.get("/docs")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    for answer in (first, second):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert first.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in first.headers


def test_large_answers_are_compressed_for_those_who_can(api: httpx.Client) -> None:
    body = {"query": "select", "limit": 500}
    packed = api.post(EXAMPLE + "/query", json=body, headers={"accept-encoding": "gzip"})
    plain = api.post(EXAMPLE + "/query", json=body, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json()["rows"] == plain.json()["rows"]
