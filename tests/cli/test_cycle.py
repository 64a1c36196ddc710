"""``engramdb cycle`` and ``engramdb prune``."""

from __future__ import annotations

from pathlib import Path

from tests.cli.terminal import Cli, refused

SET = [f"--set={setting}" for setting in ("every=5", "window=2", "patience=20", "optimize=15", "persist=5")]
QUICK = [*SET, "--set=gauge=probe", "--set=flat_w=0.5"]


def test_a_cycle_is_started_run_asked_and_stopped(cli: Cli, brain: Path) -> None:
    said = cli("cycle", brain, "start", "exc", "--bundle", 50, "--below", 2.5, "--materialize", *QUICK)
    assert said.out.splitlines()[0] == "started a growth cycle  running  tick 10"
    ran = cli("cycle", brain, "run", "--cycles", 2, "--json").document
    assert [one["neurons"] for one in ran["history"]] == [50, 50]
    assert (ran["state"], ran["phase"], ran["settings"]["every"], ran["neurons"]) == ("running", "grow", 5, 2300)
    assert ran["why"] == "growing: a bundle of 50 neurons comes with the next step"
    assert cli("cycle", brain, "status", "--json").document | {"path": ""} == ran | {"path": ""}
    told = cli("cycle", brain, "status").out
    assert "the next bundle has 50" in told
    assert "stable after" in told
    events = cli("cycle", brain, "events", "--kind", "pruned", "--limit", 3, "--json").document
    assert events["totals"]["pruned"] == ran["totals"]["pruned"] >= len(events["events"]) > 0
    assert all(event["why"].startswith("weak since tick") for event in events["events"])
    assert "weak since tick" in cli("cycle", brain, "events").out
    assert cli("cycle", brain, "step", "--json").document["phase"] == "stabilize"
    assert cli("cycle", brain, "run", "--ticks", 7, "--json").document["tick"] == ran["tick"] + 7
    assert cli("cycle", brain, "pause", "--json").document["state"] == "paused"
    refused(cli("cycle", brain, "run", "--ticks", 1), 2, "the growth cycle is paused; resume it first")
    assert cli("cycle", brain, "resume", "--json").document["state"] == "running"
    assert cli("cycle", brain, "stop").out.splitlines()[0].startswith("stopped  stopped")


def test_what_cannot_be_started_is_refused(cli: Cli, brain: Path) -> None:
    refused(cli("cycle", brain, "status"), 1, "has no growth cycle; start one")
    refused(cli("cycle", brain, "start", "exc", "--set", "speed=5"), 2, '--set "speed=5"')
    refused(cli("cycle", brain, "start", "exc", "--set", "every=0.5"), 2, "every must be a whole number")
    refused(cli("cycle", brain, "start", "ex"), 1, 'there is no layer "ex"')


def test_pruning_at_once_says_how_many_synapses_went(cli: Cli, brain: Path) -> None:
    cli("grow", brain, "exc", "--neurons", 100, "--materialize", "--inbound", 20)
    pruned = cli("prune", brain, "--below", 2.5, "--layer", "exc", "--json").document
    assert pruned["pruned"] > 0
    assert cli("prune", brain, "--below", 2.5, "--layer", "exc").out.strip() == "pruned 0 synapses"
    refused(cli("prune", brain, "--below", -1), 2, "give a weight in mV")
