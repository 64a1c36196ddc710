"""Growth cycles and the topology over HTTP are those of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

import engramdb
from engramdb.topology import Settings
from tests.service.served import finished, made, problem, ran, streamed

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


def test_the_stream_has_the_newest_reading_whoever_took_it(api: httpx.Client) -> None:
    path = made(api, "watched", GROWING)
    with streamed(api, path + "/stream") as events:
        kind, state, _ = next(events)
        assert (kind, state["complexity"], state["topology"]) == ("state", None, None)

        def ticks(n: int, **more: Any) -> list[dict[str, Any]]:
            job = ran(api, api.post(path + "/ticks", json={"ticks": n, "hz": 200.0, **more}))
            told = []
            for kind, data, _ in events:
                told += [data] if kind == "tick" else []
                if kind == "tick" and data["tick"] == job["tick"]:
                    return [*told, job]
            raise AssertionError("the stream ended")

        *told, _ = ticks(2)
        assert all(one["complexity"] is None and one["topology"] is None for one in told)
        asked = api.get(path + "/topology").json()
        *told, _ = ticks(2)
        assert told[-1]["complexity"] == asked["complexity"]
        assert (told[-1]["topology"]["source"], told[-1]["topology"]["tick"]) == ("question", 2)

        *told, job = ticks(6, topology=4)
        assert [row["tick"] for row in job["topology"]] == [8]
        newest = [(one["tick"], one["topology"]["source"], one["topology"]["tick"]) for one in told]
        assert newest == [(n, "run", 8) if n >= 8 else (n, "question", 2) for n in range(5, 11)]
        row, read = job["topology"][0], told[-1]["topology"]
        assert told[-1]["complexity"] == row["complexity"]
        assert all(read[name] == row[name] for name in ("complexity", "mean_dw", "clusters", "b1"))

        assert api.post(path + "/stimuli", json={**DRIVE, "duration": None}).status_code == 200
        job = finished(api, api.post(path + "/cycle", json={**CYCLE, "ticks": 45}))
        read = api.get(path + "/cycle").json()["readings"][-1]
        *told, _ = ticks(1)
        assert told[-1]["topology"]["source"] == "cycle"
        assert {name: told[-1]["topology"][name] for name in ("tick", "complexity", "b1")} == {
            name: read[name] for name in ("tick", "complexity", "b1")
        }
    with streamed(api, path + "/stream") as events:
        assert next(events)[1]["complexity"] == read["complexity"]


def test_a_reading_is_forgotten_where_the_engram_goes_back(api: httpx.Client) -> None:
    path = made(api, "restored", GROWING)
    assert api.post(path + "/snapshots", json={"name": "begin"}).status_code == 201
    api.post(path + "/ticks", json={"ticks": 4})
    assert api.get(path + "/topology").status_code == 200
    assert api.post(path + "/snapshots/begin/restore").status_code == 200
    with streamed(api, path + "/stream") as events:
        assert next(events)[1]["topology"] is None
