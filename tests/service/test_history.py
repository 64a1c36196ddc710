"""Snapshots, branches, the log and what differs, over HTTP."""

from __future__ import annotations

import httpx

from tests.service.served import EXAMPLE, made, problem


def test_a_snapshot_is_listed_restored_and_forgotten(api: httpx.Client) -> None:
    path = made(api, "past")
    api.post(path + "/stimuli", json={"ids": [1, 2], "amplitude": 20.0})
    first = api.post(path + "/snapshots", json={"name": "a b/c", "message": "before"})
    assert first.status_code == 201
    assert first.json()["message"] == "before"
    assert api.get(first.headers["location"]).json()["commit"] == first.json()["commit"]
    api.post(path + "/ticks", json={"ticks": 10})
    assert api.get(path).json()["tick"] == 10
    restored = api.post(path + "/snapshots/a%20b%2Fc/restore")
    assert restored.json()["tick"] == 0
    assert api.get(path).json()["tick"] == 0
    assert [one["name"] for one in api.get(path + "/snapshots").json()["snapshots"]] == ["a b/c"]
    problem(api.post(path + "/snapshots", json={"name": "a b/c"}), 409, "already-exists")
    problem(api.post(path + "/snapshots", json={"name": "7"}), 422, "invalid-input")
    commits = len(api.get(path + "/log").json()["commits"])
    for kind in ("snapshots", "branches"):
        live = problem(api.post(f"{path}/{kind}", json={"name": "live"}), 422, "invalid-input")
        assert "it means the present" in live["detail"]
    problem(api.post(path + "/snapshots", json={"name": "main", "message": "x"}), 409, "already-exists")
    problem(api.post(path + "/branches", json={"name": "a b/c"}), 409, "already-exists")
    assert len(api.get(path + "/log").json()["commits"]) == commits
    assert api.delete(path + "/snapshots/a b/c").status_code == 204
    problem(api.delete(path + "/snapshots/a b/c"), 404, "not-found")
    problem(api.get(path + "/snapshots/main"), 404, "not-found")
    problem(api.post(path + "/snapshots/never/restore"), 404, "not-found")


def test_the_log_is_a_graph_of_all_lines(api: httpx.Client) -> None:
    path = made(api, "lines")
    api.post(path + "/ticks", json={"ticks": 1})
    api.post(path + "/snapshots", json={"name": "fork"})
    api.post(path + "/ticks", json={"ticks": 1})
    left = api.post(path + "/checkpoint", json={"message": "left"}).json()["commit"]
    api.post(path + "/snapshots/fork/restore")
    api.post(path + "/ticks", json={"ticks": 2})
    right = api.post(path + "/checkpoint", json={"message": "right"}).json()["commit"]
    commits = {one["id"]: one for one in api.get(path + "/log").json()["commits"]}
    assert (commits[left]["message"], commits[left]["branch"]) == ("left", None)
    assert (commits[right]["message"], commits[right]["branch"]) == ("right", "main")
    assert commits[left]["parents"] == commits[right]["parents"]
    assert commits[commits[left]["parents"][0]]["snapshots"] == ["fork"]
    assert all(parent in commits for one in commits.values() for parent in one["parents"])
    pages, cursor = [], None
    while True:
        page = api.get(path + "/log", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        pages += [one["id"] for one in page["commits"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert pages == list(commits)


def test_a_branch_goes_its_own_way(api: httpx.Client) -> None:
    path = made(api, "ways")
    api.post(path + "/ticks", json={"ticks": 5})
    assert api.post(path + "/branches", json={"name": "what-if"}).status_code == 201
    assert api.post(path + "/branches/what-if/checkout").json()["branch"] == "what-if"
    api.post(path + "/ticks", json={"ticks": 7})
    assert api.get(path).json()["tick"] == 12
    assert [(one["name"], one["head"]) for one in api.get(path + "/branches").json()["branches"]] == [
        ("main", False),
        ("what-if", True),
    ]
    assert api.post(path + "/branches/main/checkout").json()["tick"] == 5
    assert api.get(path + "/neurons/1?at=what-if").status_code == 200
    problem(api.post(path + "/branches/nowhere/checkout"), 404, "not-found")
    assert api.get(path).json()["tick"] == 5
    problem(api.post(path + "/branches", json={"name": "what-if"}), 409, "already-exists")
    assert api.post(path + "/branches", json={"name": "old", "from": "1"}).json()["commit"] == "1"
    assert api.delete(path + "/branches/old").status_code == 204


def test_what_differs_between_two_commits_and_from_one_to_the_present(api: httpx.Client) -> None:
    found = api.get(EXAMPLE + "/diff", params={"from": "1", "to": "driven"}).json()
    (exc, _) = found["layers"]
    assert found["from"] == {"name": "1", "commit": "1", "line": 1, "tick": 0}
    assert exc["added"] >= 100
    assert exc["weights"]["count"] == 0
    assert api.get(EXAMPLE + "/diff", params={"from": "driven", "to": "live"}).json()["same"] is True
    problem(api.get(EXAMPLE + "/diff?from=driven"), 422, "invalid-request")
    problem(api.get(EXAMPLE + "/diff?from=driven&to=nowhere"), 404, "not-found")
    problem(api.get(EXAMPLE + "/diff?from=1&to=driven&layer=cortex"), 404, "not-found")


def test_growth_declares_neurons_and_what_is_written_out_is_a_record(api: httpx.Client) -> None:
    path = made(api, "growing")
    answer = api.post(path + "/growth", json={"layer": "exc", "neurons": 50, "k": 8, "materialize": True})
    while answer.status_code == 202 or "state" in answer.json():
        job = api.get(f"/v1/jobs/{answer.json()['id']}")
        assert job.json()["state"] != "failed", job.text
        if job.json()["state"] == "done":
            break
    found = api.get(path).json()
    assert found["layers"][0]["segments"] == [850]
    assert found["states"]["dormant"] == 50
    assert len(api.get(path + "/neurons/0/0/849/synapses").json()["synapses"]) == 12
    problem(api.post(path + "/growth", json={"layer": "cortex", "neurons": 1}), 404, "not-found")
    problem(api.post(path + "/growth", json={"layer": "exc", "neurons": 0}), 422, "invalid-request")
