"""Neurons and synapses over HTTP."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow
import pytest

import engramdb
from tests.service.served import EXAMPLE, finished, made, problem


def test_a_neuron_is_what_the_engram_says(api: httpx.Client, root: Path) -> None:
    with engramdb.open(root / "brain.engram", at="driven") as engram:
        expected = engram.neuron("0/0/42")
    for name in ("42", "0/0/42", "0x2A", "0%2F0%2F42"):
        found = api.get(f"{EXAMPLE}/neurons/{name}").json()
        assert (found["id"], found["text"], found["layer"]) == ("42", "0/0/42", "exc")
        assert found["out_degree"] == expected.out_degree == 12
        assert found["fields"]["spike_count"] == expected.fields["spike_count"]
        assert np.float32(found["fields"]["v"]) == np.float32(expected.fields["v"])


def test_a_neuron_of_a_snapshot_and_only_some_of_its_fields(api: httpx.Client) -> None:
    found = api.get(f"{EXAMPLE}/neurons/42", params={"at": "driven", "fields": "v,u"}).json()
    assert sorted(found["fields"]) == ["u", "v"]


def test_a_field_that_no_neuron_has_is_a_problem(api: httpx.Client) -> None:
    one = problem(api.get(f"{EXAMPLE}/neurons/42?fields=v,zz"), 422, "invalid-input")
    assert '"zz"' in one["detail"]
    assert "pointer" not in one
    for ids in ([1], []):
        many = api.post(EXAMPLE + "/neurons:batch", json={"ids": ids, "fields": ["v", "zz"]})
        assert problem(many, 422, "invalid-input")["pointer"] == "/fields/1"


def test_a_parameter_that_a_route_does_not_have_is_a_problem(api: httpx.Client) -> None:
    for path in ("", "/neurons/42", "/neurons/42/synapses", "/snapshots", "/log", "/traces"):
        said = problem(api.get(f"{EXAMPLE}{path}?bogus=1"), 422, "invalid-request")
        assert '"bogus"' in said["detail"]
    assert 'did you mean "limit"' in problem(api.get("/v1/jobs?limt=1"), 422, "invalid-request")["detail"]
    answer = api.post("/v1/import?format=csv&name=x&nam=y", content=b"pre,post\n1,2\n")
    assert '"nam"' in problem(answer, 422, "invalid-request")["detail"]
    problem(api.get("/v1/engrams/x"), 404, "no-such-engram")
    assert api.get("/healthz?probe=1").status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"ids": [1.5], "amplitude": 1}, "/ids/0"), ({"ids": [1, True], "amplitude": 1}, "/ids/1"),
     ({"ids": [1], "amplitude": "20"}, "/amplitude"), ({"ids": [1], "amplitude": [1, True]}, "/amplitude/1"),
     ({"ids": [1], "amplitude": None}, "/amplitude"), ({"ids": [1], "amplitude": 1, "at": "3"}, "/at"),
     ({"ids": [1], "amplitude": 1, "duration": True}, "/duration"), ({"ids": [1], "amplitude": 1, "a/~": 1}, "/a~1~0"),
     ({"ids": 1, "amplitude": 1}, "/ids"), ({"amplitude": 1}, "/ids"), ([], "")],
)  # fmt: skip
def test_a_value_of_another_type_is_a_problem_that_points_into_the_body(
    api: httpx.Client, body: Any, pointer: str
) -> None:
    assert problem(api.post(EXAMPLE + "/stimuli", json=body), 422, "invalid-request")["pointer"] == pointer


def test_what_is_allowed_is_said(api: httpx.Client) -> None:
    said = problem(api.post(EXAMPLE + "/stimuli", json={"ids": [1.5], "amplitude": 1}), 422, "invalid-request")
    assert "a neuron id as text or whole number" in said["detail"]
    body = b'{"ids": [1], "amplitude": 1e999}'
    answer = api.post(EXAMPLE + "/stimuli", content=body, headers={"content-type": "application/json"})
    said = problem(answer, 422, "invalid-request")
    assert (said["pointer"], said["detail"]) == ("/amplitude", "amplitude: expected a finite number")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [("/stimuli", {"ids": [1], "amplitude": [1.0] * 100_001}, "/amplitude"),
     ("/stimuli", {"ids": [1] * 100_001, "amplitude": 1.0}, "/ids"), ("/neurons:batch", {"ids": [1] * 100_001}, "/ids"),
     ("/traces", {"name": "x", "ids": [1] * 100_001}, "/ids"),
     ("/synapses", {"pre": [1], "post": [1] * 100_001, "weight": 1.0}, "/post"),
     ("/query", {"query": "recall", "cue": [1] * 100_001}, "/cue")],
)  # fmt: skip
def test_a_list_that_is_too_long_is_too_large(api: httpx.Client, path: str, body: Any, pointer: str) -> None:
    said = problem(api.post(EXAMPLE + path, json=body), 413, "too-large")
    assert said["pointer"] == pointer
    assert "at most 100,000" in said["detail"]


@pytest.mark.parametrize(
    ("name", "status", "slug"),
    [("0/0/800", 404, "not-found"), ("9/0/0", 404, "not-found"), ("Bob", 422, "invalid-id"), ("1e3", 422, "invalid-id"),
     ("99999999999999999999999", 422, "invalid-id"), ("-1", 422, "invalid-id")],
)  # fmt: skip
def test_a_neuron_that_is_not_there_is_a_problem(api: httpx.Client, name: str, status: int, slug: str) -> None:
    problem(api.get(f"{EXAMPLE}/neurons/{name}"), status, slug)
    problem(api.get(f"{EXAMPLE}/neurons/{name}?at=driven"), status, slug)


def test_many_neurons_come_in_the_order_asked_for(api: httpx.Client) -> None:
    ids = [3, "0/0/1", 3, str(1 << 48)]
    found = api.post(EXAMPLE + "/neurons:batch", json={"ids": ids, "fields": ["v"]}).json()["neurons"]
    assert [one["id"] for one in found] == ["3", "1", "3", str(1 << 48)]
    assert all(list(one["fields"]) == ["v"] for one in found)


def test_many_neurons_as_ndjson_and_as_an_arrow_stream(api: httpx.Client) -> None:
    body = {"ids": [1, 2, str((1 << 48) + 5)], "at": "driven"}
    lines = api.post(EXAMPLE + "/neurons:batch", json=body, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line)["id"] for line in lines.text.splitlines()] == ["1", "2", str((1 << 48) + 5)]
    arrow = api.post(EXAMPLE + "/neurons:batch", json=body, headers={"accept": "application/vnd.apache.arrow.stream"})
    table = pyarrow.ipc.open_stream(io.BytesIO(arrow.content)).read_all()
    assert table["id"].to_pylist() == [1, 2, (1 << 48) + 5]
    assert table["spike_count"].type == pyarrow.int64() or pyarrow.types.is_integer(table["spike_count"].type)


def test_an_answer_in_no_form_that_there_is_is_refused(api: httpx.Client) -> None:
    answer = api.post(EXAMPLE + "/neurons:batch", json={"ids": [1]}, headers={"accept": "text/html"})
    problem(answer, 406, "not-acceptable")


def test_synapses_come_in_pages_that_together_are_the_row(api: httpx.Client, root: Path) -> None:
    with engramdb.open(root / "brain.engram", at="driven") as engram:
        row = engram.synapses("0/0/42")
    found, cursor = [], None
    while True:
        params = {"limit": 5, "at": "driven", **({"cursor": cursor} if cursor else {})}
        page = api.get(f"{EXAMPLE}/neurons/0/0/42/synapses", params=params).json()
        found += page["synapses"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert [int(one["post"]) for one in found] == row.targets.tolist()
    assert np.allclose([one["weight"] for one in found], row.weights)
    assert {one["pre"] for one in found} == {"42"}
    assert {one["delay_ms"] for one in found} == {1.0}


def test_incoming_synapses(api: httpx.Client, root: Path) -> None:
    with engramdb.open(root / "brain.engram", at="driven") as engram:
        onto = engram.synapses("1/0/7", direction="in")
    found = api.get(f"{EXAMPLE}/neurons/1/0/7/synapses", params={"direction": "in"}).json()["synapses"]
    assert [int(one["pre"]) for one in found] == onto.sources.tolist()


def test_a_cursor_of_another_question_is_refused(api: httpx.Client) -> None:
    cursor = api.get(f"{EXAMPLE}/neurons/42/synapses?limit=5").json()["cursor"]
    problem(api.get(f"{EXAMPLE}/neurons/43/synapses?limit=5&cursor={cursor}"), 422, "invalid-request")
    problem(api.get(f"{EXAMPLE}/neurons/42/synapses?limit=5&cursor={cursor[:-2]}xx"), 422, "invalid-request")
    problem(api.get(f"{EXAMPLE}/neurons/42/synapses?limit=0"), 422, "invalid-request")
    problem(api.get(f"{EXAMPLE}/neurons/42/synapses?limit=10001"), 422, "invalid-request")


def test_connecting_is_durable_and_a_wrong_pair_is_a_problem(api: httpx.Client) -> None:
    path = made(api, "wired")
    assert api.post(path + "/synapses", json={"pre": ["1/0/0"], "post": [1, 2], "weight": 2.0}).status_code == 422
    spec = {"layers": [{"name": "a", "segments": [10]}],
            "projections": [{"pre": "a", "post": "a", "rule": "Explicit"}]}  # fmt: skip
    path = made(api, "explicit", spec)
    assert api.post(path + "/synapses", json={"pre": [1], "post": [2, 3], "weight": 2.5}).json() == {"synapses": 2}
    row = api.get(path + "/neurons/1/synapses").json()["synapses"]
    assert [(one["post"], one["weight"]) for one in row] == [("2", 2.5), ("3", 2.5)]
    changed = {"pre": [1], "post": [2], "weight": 1.0, "create": False}
    assert api.post(path + "/synapses", json=changed).status_code == 200
    problem(api.post(path + "/synapses", json={**changed, "post": [9]}), 404, "not-found")


def test_labels_name_neurons_too(api: httpx.Client) -> None:
    table = b"pre,post,weight\nAlice,Bob,3\nBob,Carol,2\n"
    answer = api.post("/v1/import?format=csv&name=people", content=table, headers={"content-type": "text/csv"})
    assert finished(api, answer)["state"] == "done"
    found = api.get("/v1/engrams/people/neurons/Bob").json()
    assert (found["label"], found["text"]) == ("Bob", "0/0/1")
    problem(api.get("/v1/engrams/people/neurons/Eve"), 404, "not-found")
    row = api.get("/v1/engrams/people/neurons/Bob/synapses").json()["synapses"]
    assert [one["label"] for one in row] == ["Carol"]
