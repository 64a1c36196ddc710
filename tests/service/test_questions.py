"""Questions over HTTP: the answers are those of the library."""

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
from tests.service.served import EXAMPLE, problem


@pytest.fixture(scope="module")
def driven(api: httpx.Client, root: Path) -> Any:
    with engramdb.open(root / "brain.engram", at="driven") as engram:
        yield engram


def ask(api: httpx.Client, **body: Any) -> Any:
    answer = api.post(EXAMPLE + "/query", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("at", ["live", "driven", "2", "main"])
def test_count_and_select_in_pages(api: httpx.Client, driven: engramdb.Engram, at: str) -> None:
    where = "spike_count > 0 and layer = exc"
    assert ask(api, query="count", where=where, at=at)["count"] == driven.count(where=where) > 30
    found, cursor = [], None
    while True:
        page = ask(api, query="select", where=where, columns=["id", "v"], limit=17, cursor=cursor, at=at)
        found += page["rows"]
        cursor = page["cursor"]
        if cursor is None:
            break
    expected = driven.select(where=where, columns=["id", "v"], limit=None)
    assert [int(row["id"]) for row in found] == expected.ids.tolist()
    assert np.array_equal(np.array([row["v"] for row in found], dtype=np.float32), expected["v"])


def test_pages_of_a_branch_stay_with_the_commit_of_the_first(api: httpx.Client) -> None:
    first = ask(api, query="select", limit=10, at="main")
    answer = api.post(EXAMPLE + "/checkpoint", json={"message": "meanwhile"})
    assert answer.status_code == 200
    second = ask(api, query="select", limit=10, at="main", cursor=first["cursor"])
    assert second["at"] == first["at"] != int(answer.json()["commit"])
    assert [row["id"] for row in second["rows"]] == [str(n) for n in range(10, 20)]


def test_a_page_of_the_present_is_gone_when_the_engram_has_moved_on(api: httpx.Client) -> None:
    first = ask(api, query="select", limit=10)
    api.post(EXAMPLE + "/ticks", json={"ticks": 1})
    answer = api.post(EXAMPLE + "/query", json={"query": "select", "limit": 10, "cursor": first["cursor"]})
    problem(answer, 410, "stale-cursor")


def test_a_table_comes_as_an_arrow_stream_with_its_cursor_in_a_header(api: httpx.Client) -> None:
    body = {"query": "select", "columns": ["id", "v", "state"], "limit": 7, "at": "driven"}
    answer = api.post(EXAMPLE + "/query", json=body, headers={"accept": "application/vnd.apache.arrow.stream"})
    table = pyarrow.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    assert table["id"].type == pyarrow.uint64()
    assert (table.num_rows, table.column_names) == (7, ["id", "v", "state"])
    assert ask(api, **{**body, "cursor": answer.headers["x-next-cursor"]})["rows"][0]["id"] == "7"


def test_top_ego_path_and_recall(api: httpx.Client, driven: engramdb.Engram) -> None:
    top = ask(api, query="top", field="spike_count", n=5, at="driven")["rows"]
    assert [int(row["id"]) for row in top] == driven.top("spike_count", n=5).ids.tolist()
    ego = ask(api, query="ego", id="0/0/42", hops=1, at="driven")
    expected = driven.ego("0/0/42", hops=1)
    assert [int(one["id"]) for one in ego["neurons"]] == expected.ids.tolist()
    assert [(int(one["pre"]), int(one["post"])) for one in ego["synapses"]] == list(
        zip(expected.pre.tolist(), expected.post.tolist(), strict=True)
    )
    assert ask(api, query="ego", id=42, hops=2, limit=5)["truncated"] is True
    path = ask(api, query="path", a="0/0/42", b="0/0/700", at="driven")
    assert [int(one) for one in path["ids"]] == driven.path("0/0/42", "0/0/700").ids.tolist()
    cue = list(range(30))
    recall = ask(api, query="recall", cue=cue, ticks=5, at="driven")
    assert [int(one) for one in recall["active"]] == driven.recall(cue, ticks=5).active.tolist()
    assert recall["kept"] is False
    live = ask(api, query="recall", cue=cue, ticks=5)
    assert live["active"] == recall["active"]


def test_a_recall_that_is_kept_is_history(api: httpx.Client) -> None:
    before = api.get(EXAMPLE).json()["tick"]
    assert ask(api, query="recall", cue=[1, 2], ticks=3, keep=True)["kept"] is True
    assert api.get(EXAMPLE).json()["tick"] == before + 3
    answer = api.post(EXAMPLE + "/query", json={"query": "recall", "cue": [1], "keep": True, "at": "driven"})
    assert problem(answer, 422, "invalid-request")["pointer"] == "/keep"


@pytest.mark.parametrize(
    ("body", "status", "slug", "pointer"),
    [
        ({"query": "select", "where": "volts > 3"}, 422, "invalid-input", "/where"),
        ({"query": "select", "where": "v > 3 or"}, 422, "invalid-input", "/where"),
        ({"query": "select", "columns": ["id", "volts"]}, 422, "invalid-input", "/columns"),
        ({"query": "select", "order": "-volts"}, 422, "invalid-input", "/order"),
        ({"query": "select", "order": "state"}, 422, "invalid-input", "/order"),
        ({"query": "select", "layer": True}, 422, "invalid-request", "/layer"),
        ({"query": "select", "select": 1}, 422, "invalid-request", "/select"),
        ({"query": "count", "where": "volts > 3"}, 422, "invalid-input", "/where"),
        ({"query": "select", "limit": 10**7}, 422, "invalid-request", "/limit"),
        ({"query": "select", "cursor": "nonsense"}, 422, "invalid-request", "/cursor"),
        ({"query": "select", "at": "nowhere"}, 404, "not-found", None),
        ({"query": "count", "layer": "cortex"}, 404, "not-found", None),
        ({"query": "top", "field": "volts"}, 422, "invalid-input", "/field"),
        ({"query": "top"}, 422, "invalid-request", "/field"),
        ({"query": "ego", "id": "0/0/42", "hops": -1}, 422, "invalid-request", "/hops"),
        ({"query": "path", "a": 1, "b": "9/9/9"}, 404, "not-found", None),
        ({"query": "ego", "id": 1.5}, 422, "invalid-request", "/id"),
        ({"query": "ego", "id": True}, 422, "invalid-request", "/id"),
        ({"query": "recall", "cue": []}, 422, "invalid-input", None),
        ({"query": "recall", "cue": [1, 1.5]}, 422, "invalid-request", "/cue/1"),
        ({"query": "recall", "cue": [1], "ticks": 10**9}, 422, "invalid-request", "/ticks"),
        ({"query": "drop"}, 422, "invalid-request", "/query"),
        ({"where": "v > 1"}, 422, "invalid-request", "/query"),
        ({"query": "select", "colour": 1}, 422, "invalid-request", "/colour"),
        ([], 422, "invalid-request", ""),
    ],
)
def test_a_wrong_question_is_a_problem_that_points_to_the_field(
    api: httpx.Client, body: Any, status: int, slug: str, pointer: str | None
) -> None:
    found = problem(api.post(EXAMPLE + "/query", json=body), status, slug)
    assert found.get("pointer") == pointer
    assert "Input" not in found["detail"]


def test_a_question_of_no_body_points_to_the_whole(api: httpx.Client) -> None:
    assert problem(api.post(EXAMPLE + "/query"), 422, "invalid-request")["pointer"] == ""


def test_an_answer_that_is_no_table_is_json_or_nothing(api: httpx.Client) -> None:
    before = api.get(EXAMPLE).json()["tick"]
    for body in (
        {"query": "count"},
        {"query": "path", "a": 1, "b": 2},
        {"query": "recall", "cue": [1], "ticks": 2, "keep": True},
    ):
        for accept in ("text/html", "application/x-ndjson"):
            answer = api.post(EXAMPLE + "/query", json=body, headers={"accept": accept})
            assert "application/json" in problem(answer, 406, "not-acceptable")["detail"]
        assert api.post(EXAMPLE + "/query", json={**body, "keep": False} if "cue" in body else body).status_code == 200
    assert api.get(EXAMPLE).json()["tick"] == before


def test_the_synapses_or_the_neurons_of_surroundings_come_as_a_table(api: httpx.Client) -> None:
    body = {"query": "ego", "id": 42, "hops": 1, "at": "driven", "limit": 5}
    problem(api.post(EXAMPLE + "/query", json=body, headers={"accept": "text/html"}), 406, "not-acceptable")
    whole = ask(api, **body)
    arrow = {"accept": "application/vnd.apache.arrow.stream"}
    answer = api.post(EXAMPLE + "/query", json=body, headers=arrow)
    assert answer.headers["x-truncated"] == "true"
    table = pyarrow.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    assert table["pre"].type == table["post"].type == pyarrow.uint64()
    rows = [{**row, "pre": str(row["pre"]), "post": str(row["post"])} for row in table.to_pylist()]
    assert [list(row.items())[:2] for row in rows] == [list(row.items())[:2] for row in whole["synapses"]]
    assert table["projection"].to_pylist() == [row["projection"] for row in whole["synapses"]]
    lines = api.post(EXAMPLE + "/query", json={**body, "table": "neurons"}, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == whole["neurons"]
    none = api.post(EXAMPLE + "/query", json={"query": "ego", "id": str(1 << 48), "hops": 1}, headers=arrow)
    assert pyarrow.ipc.open_stream(io.BytesIO(none.content)).read_all().num_rows == 0


@pytest.mark.parametrize("of", ["weight", "v", "spike_count"])
def test_a_histogram_counts_all_where_they_are_few(api: httpx.Client, driven: engramdb.Engram, of: str) -> None:
    found = api.get(EXAMPLE + "/histograms", params={"of": of, "layer": "exc", "bins": 8, "at": "driven"}).json()
    ids = np.arange(800)
    values = driven.rows(ids).weight if of == "weight" else driven.neurons(ids).fields[of]
    counts, edges = np.histogram(values.astype(np.float64), bins=8)
    assert found["counts"] == counts.tolist()
    assert np.allclose(found["edges"], edges)
    assert found["sampled"] is False
    assert len(found["edges"]) == 9


def test_a_histogram_of_what_there_is_not_is_a_problem(api: httpx.Client) -> None:
    problem(api.get(EXAMPLE + "/histograms?of=W"), 422, "invalid-request")
    problem(api.get(EXAMPLE + "/histograms?of=v&layer=cortex"), 404, "not-found")
    problem(api.get(EXAMPLE + "/histograms?of=v&bins=0"), 422, "invalid-request")


def test_traces_are_named_listed_and_forgotten(api: httpx.Client) -> None:
    made = api.post(EXAMPLE + "/traces", json={"name": "odor", "ids": list(range(40))})
    assert (made.status_code, made.json()["neurons"]) == (201, 40)
    problem(api.post(EXAMPLE + "/traces", json={"name": "odor", "ids": [1]}), 409, "already-exists")
    assert [one["name"] for one in api.get(EXAMPLE + "/traces").json()["traces"]] == ["odor"]
    assert ask(api, query="recall", cue=list(range(20)), ticks=5)["traces"][0]["name"] == "odor"
    whole = api.get(EXAMPLE + "/traces/odor").json()
    assert whole == {**made.json(), "ids": [str(neuron) for neuron in range(40)]}
    problem(api.get(EXAMPLE + "/traces/odor?at=driven"), 404, "not-found")
    assert api.post(EXAMPLE + "/traces", json={"name": "a/b", "ids": list(range(30, 50))}).status_code == 201
    assert api.get(EXAMPLE + "/traces/a/b").json()["neurons"] == 20
    counts = {"intersection": 10, "union": 50, "difference": 30}
    for which, ids in (("intersection", range(30, 40)), ("union", range(50)), ("difference", range(30))):
        found = ask(api, query="overlap", a="odor", b="a/b", ids=which)
        assert found == {"a": "odor", "b": "a/b", "overlap": 0.2, **counts, "ids": [*map(str, ids)], "at": "live"}
    assert "ids" not in ask(api, query="overlap", a="odor", b="a/b")
    commit = api.post(EXAMPLE + "/checkpoint").json()["commit"]
    for after in ("live", commit):
        found = ask(api, query="drift", trace="odor", before=commit, after=after, ticks=5)
        assert (found["shared"], found["gained"], found["lost"], found["weight_change"]) == (40, 0, 0, 0.0)
    problem(api.post(EXAMPLE + "/query", json={"query": "drift", "trace": "odor", "before": "1"}), 404, "not-found")
    assert api.delete(EXAMPLE + "/traces/a/b").status_code == 204
    assert api.delete(EXAMPLE + "/traces/odor").status_code == 204
    problem(api.delete(EXAMPLE + "/traces/odor"), 404, "not-found")
