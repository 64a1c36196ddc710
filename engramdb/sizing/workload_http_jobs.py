"""H2: a large export and a long run as jobs of the service: they end, and its RAM does not grow with them."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import engramdb
from engramdb.sizing.figure import Figure, one
from engramdb.sizing.httpserver import Served
from engramdb.spec import Layer, Spec

NEURONS, K = 10_000_000, 12
RUN_SECONDS = 600.0
_LOOK_S = 0.25


def run(folder: Path, quick: bool) -> list[Figure]:
    """Export all synapses of a network as CSV, fetch the file, run beside it; RAM of the server meanwhile."""
    neurons, seconds = (5_000, 1.0) if quick else (NEURONS, RUN_SECONDS)
    return measured(folder, neurons, seconds)


def measured(folder: Path, neurons: int, run_seconds: float) -> list[Figure]:
    """The same of any size."""
    root = folder / "root"
    root.mkdir()
    wiring = engramdb.FixedOutdegree(k=K, weight=1.5)
    layer = Layer("cortex", segments=[neurons], wiring=wiring, params={"bias": (0.0, 14.5)})
    engramdb.create(root / "brain.engram", Spec(seed=1, layers=[layer])).close()
    with Served(root, memory="512MiB") as served:
        served.ask("POST", "/v1/engrams/brain/stimuli", {"ids": list(range(1000)), "amplitude": 20.0})
        served.ask("POST", "/v1/engrams/brain/ticks", {"ticks": 20})
        ticks = max(1, int(run_seconds * 100))
        started = time.perf_counter()
        _, run = served.ask("POST", "/v1/engrams/brain/ticks", {"ticks": ticks, "hz": 100.0}, Prefer="respond-async")
        time.sleep(min(2.0, run_seconds))
        before = served.resident_bytes()
        began = time.perf_counter()
        _, export = served.ask("GET", "/v1/engrams/brain/export?format=csv&job=1")
        most = before
        while (state := served.ask("GET", f"/v1/jobs/{export['id']}")[1])["state"] in ("queued", "running"):
            most = max(most, served.resident_bytes())
            time.sleep(_LOOK_S)
        exported = time.perf_counter() - began
        assert state["state"] == "done", state
        nbytes, fetched, most = _fetch(served, state["result"]["file"], most)
        while (ended := served.ask("GET", f"/v1/jobs/{run['id']}")[1])["state"] in ("queued", "running"):
            most = max(most, served.resident_bytes())
            time.sleep(_LOOK_S)
        ran = time.perf_counter() - started
        assert ended["state"] == "done", ended
        assert nbytes == state["result"]["bytes"]
        after = served.resident_bytes()
    return [
        one("bytes exported", "GB", nbytes / 1e9, goal="3 GB, never times out"),
        one("export", "s", exported),
        one("fetching the file", "s", fetched),
        one("the run beside it, 100 ticks a second", "s", ran),
        one("for which the engine was at work", "s", ended["result"]["elapsed_s"]),
        one("RAM of the server before", "MiB", before / 2**20),
        one("the most that it was", "MiB", most / 2**20, bound=before / 2**20, bound_name="before", goal="flat"),
        one("RAM of the server after", "MiB", after / 2**20),
    ]  # fmt: skip


def _fetch(served: Served, path: str, most: int) -> tuple[int, float, int]:
    """Bytes of a file that is streamed, seconds, and the most RAM of the server until its end."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=600.0)
    connection.request("GET", path)
    answer = connection.getresponse()
    nbytes = looked = 0
    while part := answer.read(1 << 20):
        nbytes += len(part)
        if nbytes - looked > 1 << 26:
            looked, most = nbytes, max(most, served.resident_bytes())
    connection.close()
    return nbytes, time.perf_counter() - began, most
