"""Growth cycles and the topology over HTTP are those of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

import engramdb
from engramdb.topology import Settings
from tests.service.served import finished, made, problem

GROWING: dict[str, Any] = {
    "seed": 7,
    "layers": [{
        "name": "cortex", "segments": [2000], "materialize": True,
        "wiring": {"rule": "SmallWorld", "k": 12, "span": 50, "weight": [0.0, 3.0]},
    }],
}  # fmt: skip
CYCLE: dict[str, Any] = {
    "layer": "cortex", "bundle": 500, "growth": "adaptive", "materialize": True, "below": 0.2, "every": 20, "window": 4,
    "patience": 120, "optimize": 40, "persist": 20, "gauge": "probe",
}  # fmt: skip
DRIVE: dict[str, Any] = {"ids": list(range(200)), "kind": "poisson", "rate_hz": 100.0, "amplitude": 20.0}


def test_a_cycle_does_what_it_does_in_the_library(api: httpx.Client, tmp_path: Path) -> None:
    path = made(api, "growing", GROWING)
    problem(api.get(path + "/cycle"), 404, "no-cycle")
    assert api.post(path + "/stimuli", json={**DRIVE, "duration": None}).status_code == 200
    job = finished(api, api.post(path + "/cycle", json={**CYCLE, "run_cycles": 1}))
    assert (job["kind"], job["state"]) == ("cycle", "done"), job
    shown = api.get(path + "/cycle").json()
    with engramdb.create(tmp_path / "same.engram", engramdb.Spec.from_document(GROWING)) as e:
        e.poisson(DRIVE["ids"], DRIVE["rate_hz"], DRIVE["amplitude"])
        e.cycle.start(**CYCLE)
        status = e.cycle.run(cycles=1)
        assert [vars(summary) for summary in status.history] == shown["history"]
        assert status.totals.pruned > 0
        assert (status.why, status.tick, status.totals._asdict()) == (shown["why"], shown["tick"], shown["totals"])
        assert api.get(path).json()["neurons"] == len(e) == 2500
        reading = e.topology(Settings(clusters="components"))
        assert api.get(path + "/topology").json()["complexity"] == reading.complexity
    job = finished(api, api.post(path + "/cycle", json={"ticks": 30}))
    assert api.get(path + "/cycle").json()["tick"] == shown["tick"] + 30
    assert api.delete(path + "/cycle").status_code == 204
    assert api.get(path + "/cycle").json()["state"] == "stopped"
    problem(api.post(path + "/cycle", json={"ticks": 10}), 409, "conflict")


def test_what_cannot_be_a_cycle_says_so(api: httpx.Client) -> None:
    path = made(api, "still", GROWING)
    problem(api.post(path + "/cycle", json={"ticks": 10}), 404, "no-cycle")
    problem(api.post(path + "/cycle", json={"layer": "cortx"}), 404, "not-found")
    said = problem(api.post(path + "/cycle", json={"layer": "cortex", "bundel": 5}), 422, "invalid-input")
    assert "bundel" in said["detail"]
    problem(api.post(path + "/cycle", json={"layer": "cortex", "growth": "never"}), 422, "invalid-input")
    problem(api.get(path + "/topology?sample=1"), 422, "invalid-request")
    problem(api.get(path + "/cycle"), 404, "no-cycle")
