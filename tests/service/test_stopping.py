"""Stopping the service while something goes on that cannot be interrupted."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path

import engramdb
from tests.service.served import EXAMPLE, SPEC, Process


def test_who_waits_for_an_engram_that_is_being_opened_is_told_that_the_service_stops(tmp_path: Path) -> None:
    """Opening reads a file that does not come: a pipe in its place, into which nobody writes."""
    root = tmp_path / "root"
    root.mkdir()
    engramdb.create(root / "brain.engram", engramdb.Spec.from_document(SPEC)).close()
    (journal,) = (root / "brain.engram" / "journal").iterdir()
    journal.unlink()
    os.mkfifo(journal)
    with Process(root) as server:
        asked = [
            ("GET", EXAMPLE + "/stream", None),
            ("GET", EXAMPLE + "/neurons/1", None),
            ("POST", EXAMPLE + "/snapshots", {"name": "a"}),
        ]
        host = server.url.removeprefix("http://")
        waiting = [http.client.HTTPConnection(host) for _ in asked]
        for connection, (method, path, body) in zip(waiting, asked, strict=True):
            connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
        with server.client() as client:
            for _ in range(3):  # who comes later is answered: those before have come in
                assert client.get("/healthz").status_code == 200
        assert server.terminate() == 0
        for connection in waiting:
            answer = connection.getresponse()
            document = json.loads(answer.read())
            assert (answer.status, document.get("type")) == (503, "/problems/closing"), document
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            connection.close()
    events = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert not [event for event in events if "error" in event or event["level"] in ("error", "warning")]
    assert "stopped" in [event["event"] for event in events]
