"""The OpenAPI document, and what the service does with everything that it allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engramdb.server.limits import Limits
from tests.service.served import made, served

SMALL = {"layers": [{"name": "a", "segments": [50], "wiring": {"rule": "SmallWorld", "k": 4, "span": 5}}]}
SAFE = ("/import", "/verify", "/export", "/stream", "/events", "/checkout", "/restore")
"""Left out of the short run: jobs, and answers without an end."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, Any]]]:
    root: Path = tmp_path_factory.mktemp("fuzzed") / "root"
    root.mkdir()
    limits = Limits(patience_seconds=0.05, export_patience_seconds=0.5, query_seconds=5.0)
    with served(root, limits=limits) as client:
        made(client, "a", SMALL)
        yield client, client.get("/openapi.json").json()


def test_the_document_names_every_route_and_its_problems(fuzzed: tuple[httpx.Client, dict[str, Any]]) -> None:
    _, document = fuzzed
    paths = document["paths"]
    assert document["openapi"].startswith("3.")
    engram = ("", "/query", "/stream", "/snapshots/{snapshot_id}/restore", "/neurons:batch", "/diff", "/ticks")
    expected = {"/v1/engrams", "/v1/jobs/{job_id}/events", "/healthz", "/metrics", "/v1/import"}
    assert expected | {"/v1/engrams/{name}" + rest for rest in engram} <= set(paths)
    for methods in paths.values():
        for what in methods.values():
            assert what["description"]
            assert "application/problem+json" in what["responses"]["default"]["content"]
    assert {"type", "title", "status", "detail"} <= set(document["components"]["schemas"]["Problem"]["properties"])
    questions = paths["/v1/engrams/{name}/query"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(questions["discriminator"]["mapping"]) == {
        "select",
        "count",
        "top",
        "ego",
        "path",
        "recall",
        "drift",
        "overlap",
    }


def fuzz(client: httpx.Client, document: dict[str, Any], examples: int, left_out: tuple[str, ...]) -> int:
    """Send what the document allows, and a little more; nothing may come back as a fault of the service."""
    schema = schemathesis.openapi.from_dict(document)
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if any(part in operation.path for part in left_out):
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def send(case: Any) -> None:
            nonlocal sent
            path = {**case.path_parameters}
            if "name" in path and sent % 4:
                path["name"] = "a"
            case.path_parameters = path
            answer = case.call(base_url=str(client.base_url).rstrip("/"), timeout=30)
            sent += 1
            assert answer.status_code < 500, (case.method, case.path, answer.status_code, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"][0].startswith("application/problem+json"), case.path

        send()
    return sent


def stop_jobs(client: httpx.Client) -> None:
    for job in client.get("/v1/jobs?limit=1000").json()["jobs"]:
        client.delete(f"/v1/jobs/{job['id']}")


def test_nothing_that_the_document_allows_breaks_the_service(fuzzed: tuple[httpx.Client, dict[str, Any]]) -> None:
    client, document = fuzzed
    assert fuzz(client, document, 2, SAFE) > 30
    stop_jobs(client)
    assert client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_nothing_that_the_document_allows_breaks_the_service_however_often(
    fuzzed: tuple[httpx.Client, dict[str, Any]],
) -> None:
    client, document = fuzzed
    assert fuzz(client, document, 60, ("/stream", "/events")) > 500
    stop_jobs(client)
    assert client.get("/readyz").status_code == 200


KEYS = st.sampled_from(["query", "ids", "ticks", "at", "limit", "name", "spec", "layers"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(suppress_health_check=list(HealthCheck))
@given(body=ANYTHING, path=st.sampled_from(["", "/a/query", "/a/ticks", "/a/stimuli"]))
def test_no_json_at_all_breaks_it(fuzzed: tuple[httpx.Client, dict[str, Any]], body: Any, path: str) -> None:
    client, _ = fuzzed
    answer = client.post(
        "/v1/engrams" + path, content=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code < 500, answer.text
