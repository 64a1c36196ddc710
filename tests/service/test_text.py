"""Text that is no Unicode: halves of characters, which JSON can name and UTF-8 has not."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engramdb.server.logs import Log
from engramdb.server.problems import Problem
from engramdb.server.text import wrong_text
from tests.service.served import EXAMPLE, problem

HALF = '"\\ud800"'
BODIES = [
    ("/v1/engrams", '{"name": "x", "spec": {"layers": [], "description": HALF}}', "/spec/description"),
    ("/v1/engrams", '{"name": HALF, "spec": {}}', "/name"),
    ("/v1/engrams", '{"name": "x", "spec": {"seed": 1, HALF: 2}}', "/spec"),
    (EXAMPLE + "/stimuli", '{"ids": [1, HALF], "amplitude": 1.0}', "/ids/1"),
    (EXAMPLE + "/query", '{"query": "top", "order": HALF}', "/order"),
    (EXAMPLE + "/query", '{"query": "count", "where": "v > 0", "at": HALF}', "/at"),
    (EXAMPLE + "/query", '{"query": "ego", "ids": [HALF]}', "/ids/0"),
    (EXAMPLE + "/growth", '{"layer": HALF, "neurons": 1}', "/layer"),
    (EXAMPLE + "/cycle", '{"layer": HALF}', "/layer"),
    (EXAMPLE + "/snapshots", '{"name": HALF}', "/name"),
    (EXAMPLE + "/branches", '{"name": "b", "from": HALF}', "/from"),
    (EXAMPLE + "/checkpoint", '{"message": HALF}', "/message"),
    (EXAMPLE + "/traces", '{"name": HALF, "ids": [1]}', "/name"),
    (EXAMPLE + "/synapses", '{"pre": [HALF], "post": [1], "weight": 1.0}', "/pre/0"),
    (EXAMPLE + "/neurons:batch", '{"ids": [HALF]}', "/ids/0"),
    (EXAMPLE + "/ticks", '{"ticks": 1, "a/b": HALF}', "/a~1b"),
]


@pytest.mark.parametrize(("route", "body", "pointer"), BODIES)
def test_a_body_with_half_a_character_is_refused_where_it_is(
    api: httpx.Client, route: str, body: str, pointer: str
) -> None:
    answer = api.post(route, content=body.replace("HALF", HALF), headers={"content-type": "application/json"})
    assert problem(answer, 422, "invalid-request")["pointer"] == pointer


def test_half_a_character_as_bytes_is_refused_and_a_whole_one_is_taken(api: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    raw = b'{"name": "\xed\xa0\x80"}'
    assert problem(api.post(EXAMPLE + "/snapshots", content=raw, headers=headers), 422, "invalid-request")["pointer"]
    pair = b'{"name": "whole \\ud83e\\udde0"}'
    assert api.post(EXAMPLE + "/snapshots", content=pair, headers=headers).json()["name"] == "whole \U0001f9e0"


@pytest.mark.parametrize(
    "address",
    [
        EXAMPLE + "/neurons/%ED%A0%80",
        EXAMPLE + "/snapshots/%FF",
        EXAMPLE + "/neurons?layer=%ED%A0%80",
        "/v1/jobs?engram=%80",
        "/%C0%80",
    ],
)
def test_an_address_that_is_no_utf8_is_refused(api: httpx.Client, address: str) -> None:
    problem(api.get(address), 422, "invalid-request")


TEXT = st.text(st.characters() | st.characters(categories=("Cs",)), max_size=3)
DOCUMENTS = st.recursive(
    TEXT | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(DOCUMENTS)
def test_wrong_text_is_found_wherever_it_is_and_only_there(content: Any) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        assert wrong_text(content) is not None
    else:
        assert wrong_text(content) is None


def test_a_problem_tells_of_any_text() -> None:
    document = json.loads(Problem(404, "not-found", "no \ud800", pointer="/\udfff").body("1"))
    assert (document["detail"], document["pointer"], document["status"]) == ("no \\ud800", "/\\udfff", 404)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_log_goes_on_behind_a_line_that_cannot_be_written(encoding: str) -> None:
    raw = io.BytesIO()
    log = Log(io.TextIOWrapper(raw, encoding))
    circle: list[Any] = []
    circle.append(circle)
    for event in ("half \ud800", {("a", "tuple"): 1}, circle, "caf\xe9"):
        log.tell(0.0, {"level": "info", "event": event})
    log.handle(logging.LogRecord("x", logging.INFO, "", 0, "\udfff", None, None))
    log.stop()
    events = [json.loads(line)["event"] for line in raw.getvalue().decode(encoding).splitlines()]
    assert events[0] == "half \ud800"
    assert events[3:] == ["caf\xe9", "\udfff"]
    assert len(events) == 5
