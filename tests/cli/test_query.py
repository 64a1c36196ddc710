"""The verbs that ask: what Python can ask, on the command line and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

import engramdb
from tests.cli.terminal import Cli


@pytest.fixture
def remembering(cli: Cli, brain: Path) -> Path:
    assert cli("imprint", brain, "odor", "0/0/10-19", "0/0/44").out.startswith("trace odor")
    return brain


def test_ego_counts_the_neurons_of_each_hop(cli: Cli, brain: Path) -> None:
    document = cli("query", brain, "ego", "0/0/5", "--hops", "1", "--json").document
    with engramdb.open(brain) as e:
        found = e.ego(5, 1)
    assert [neuron["hop"] for neuron in document["neurons"]] == found.hop.tolist()
    assert len(document["synapses"]) == len(found.pre)
    assert "0/0/5: " in cli("query", brain, "ego", "0/0/5").out
    into = cli("query", brain, "ego", "0/0/5", "--direction", "in", "--limit", "3", "--json").document
    assert into["truncated"]
    assert len(into["neurons"]) == 3


def test_a_path_is_shown_with_its_weights_and_none_is_exit_code_1(cli: Cli, brain: Path) -> None:
    document = cli("query", brain, "path", "0/0/5", "0/0/90", "--by", "strength", "--json").document
    assert (document["neurons"][0], document["neurons"][-1]) == ("0/0/5", "0/0/90")
    assert len(document["weights"]) == document["hops"] == len(document["neurons"]) - 1
    assert "strength" in cli("query", brain, "path", "0/0/5", "0/0/90").out
    assert cli("query", brain, "path", "0/0/5", "0/0/90", "--limit", "2").code == 1


def test_top_and_select_agree_with_python(cli: Cli, brain: Path) -> None:
    with engramdb.open(brain) as e:
        top, fired = e.top("spike_count", 3), e.count(where="spike_count > 0")
    neurons = cli("query", brain, "top", "spike_count", "--n", "3", "--json").document["neurons"]
    assert [neuron["spike_count"] for neuron in neurons] == top.values.tolist()
    assert cli("query", brain, "select", "spike_count > 0", "--count", "--json").document["count"] == fired
    page = cli("query", brain, "select", "spike_count > 0", "--columns", "id,v", "--limit", "2", "--json").document
    assert page["columns"] == ["id", "v"]
    assert len(page["neurons"]) == 2
    following = cli("query", brain, "select", "spike_count > 0", "--limit", "2", "--cursor", page["cursor"])
    assert "0/0/" in following.out


def test_a_wrong_condition_is_one_line_with_its_place_and_exit_code_2(cli: Cli, brain: Path) -> None:
    said = cli("query", brain, "select", "spike_count >")
    assert said.code == 2
    assert said.err.startswith("engramdb: where, character 14: ")
    assert said.err.count("\n") == 1


def test_traces_are_named_listed_compared_and_forgotten(cli: Cli, remembering: Path) -> None:
    assert cli("imprint", remembering, "odor", "0/0/1").code == 1
    assert cli("imprint", remembering, "light", "--where", "id >= 15 and id < 30 and layer = exc").code == 0
    listed = cli("traces", remembering, "--json").document["traces"]
    assert {trace["trace"]: trace["neurons"] for trace in listed} == {"light": 15, "odor": 11}
    for of, count in (("shared", 5), ("union", 21), ("difference", 6)):
        assert cli("traces", remembering, "odor", "light", "--of", of, "--json").document["count"] == count
    assert "0/0/44" in cli("traces", remembering, "odor").out
    assert cli("imprint", remembering, "light", "--forget").code == 0
    assert cli("traces", remembering, "light").code == 1
    for wrong in ((), ("0/0/1", "--where", "u > 0"), ("0/0/5-2",)):
        assert cli("imprint", remembering, "x", *wrong).code == 2


def test_recall_names_the_trace_and_its_chance_and_changes_nothing(cli: Cli, remembering: Path) -> None:
    before = cli("log", remembering, "--json").document
    document = cli("query", remembering, "recall", "0/0/10-14", "--ticks", "3", "--json").document
    (odor,) = document["traces"]
    assert odor["in_cue"] == 5
    assert 0 < odor["chance"] < odor["overlap"] <= 1
    assert document["best"] == "odor"
    assert "odor" in cli("query", remembering, "recall", "0/0/10-14", "--ticks", "3").out
    assert cli("log", remembering, "--json").document == before


def test_drift_compares_a_trace_with_its_past(cli: Cli, remembering: Path) -> None:
    assert cli("snapshot", remembering, "then").code == 0
    with engramdb.open(remembering, "r+") as e:
        e.connect([10, 11], [12, 13], 7.5)
    drift = cli("traces", remembering, "odor", "--drift-from", "then", "--json").document
    assert drift["shared"] == 11
    assert drift["weight_change"] != 0 or drift["added"] > 0
    assert "activity" in cli("traces", remembering, "odor", "--drift-from", "then").out


def test_the_reverse_index_is_built_and_dropped(cli: Cli, brain: Path) -> None:
    before = cli("query", brain, "synapses", "0/0/5", "--direction", "in", "--json").document["synapses"]
    assert cli("index", brain, "--json").document["dropped"] is False
    assert cli("query", brain, "synapses", "0/0/5", "--direction", "in", "--json").document["synapses"] == before
    assert "dropped" in cli("index", brain, "--drop").out
