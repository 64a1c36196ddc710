"""A service in this process, and one in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from engramdb.server.limits import Limits
from engramdb.server.serving import Serving
from engramdb.server.settings import Settings

SPEC: dict[str, Any] = {
    "seed": 1,
    "layers": [
        {"name": "exc", "segments": [800], "wiring": {"rule": "SmallWorld", "k": 8, "span": 20, "weight": [2.0, 6.0]}},
        {"name": "inh", "segments": [200]},
    ],
    "projections": [{"pre": "exc", "post": "inh", "rule": "FixedOutdegree", "k": 4, "weight": 1.5}],
}
EXAMPLE = "/v1/engrams/brain"


@contextmanager
def served(root: Path, *, limits: Limits | None = None, **settings: Any) -> Iterator[httpx.Client]:
    """A client of a service over ``root``, which a thread of this process serves."""
    given = Settings(root=root, port=0, memory=256 << 20, limits=limits or Limits(), **settings)
    ready = threading.Event()
    serving = Serving(given, started=lambda _: ready.set())
    thread = threading.Thread(target=serving.run_until_stopped)
    thread.start()
    try:
        while not ready.wait(0.05):
            assert thread.is_alive(), "the service did not start"
        with httpx.Client(base_url=f"http://127.0.0.1:{serving.port}", timeout=120.0) as client:
            yield client
    finally:
        serving.stop()
        thread.join()


def made(client: httpx.Client, name: str = "brain", spec: dict[str, Any] | None = None) -> str:
    """Make an engram; the path of its routes."""
    answer = client.post("/v1/engrams", json={"name": name, "spec": spec or SPEC})
    assert answer.status_code == 201, answer.text
    return f"/v1/engrams/{name}"


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem that an answer is, which must be of this kind and well formed."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{slug}", document
    assert document["status"] == status
    assert document["instance"] == answer.headers["x-request-id"]
    assert document["detail"]
    return document


def finished(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The job that an answer 202 names, once it is over."""
    assert answer.status_code == 202, answer.text
    while True:
        job: dict[str, Any] = client.get(answer.headers["location"]).json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.01)


def ran(api: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """What a run came to, whether it was answered or became a job."""
    if answer.status_code == 200:
        found: dict[str, Any] = answer.json()
        return found
    job = finished(api, answer)
    assert job["state"] == "done", job
    result: dict[str, Any] = job["result"]
    return result


def events_of(response: httpx.Response) -> Any:
    """(kind, data, id) of each event of a stream."""
    kind, number = "", None
    for line in response.iter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:]), number


@contextmanager
def streamed(api: httpx.Client, url: str) -> Iterator[Any]:
    """The events of a stream, over a connection of its own."""
    with httpx.Client(base_url=api.base_url, timeout=60.0) as client, client.stream("GET", url) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events_of(response)


class Process:
    """``engramdb serve`` in a process of its own."""

    def __init__(self, root: Path, *options: str, log: Path | None = None) -> None:
        self.log = log or root.parent / "log"
        command = [sys.executable, "-m", "engramdb", "serve", str(root), "--port", "0", "--json", *options]
        with self.log.open("ab") as err:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=err, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.url: str = json.loads(line)["url"]

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30.0, **options)

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.process.kill()
        self.process.wait()
        self._close()

    def terminate(self) -> int:
        """As an operator does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait()
        self._close()
        return code

    def _close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
