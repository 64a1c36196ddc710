"""``engramdb grow``, and what other verbs do with a growth that was cut short."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import engramdb
from engramdb import bulk
from tests.cli.terminal import Cli, refused


def test_grown_neurons_are_there_and_follow_those_that_were(cli: Cli, brain: Path) -> None:
    grown = cli("grow", brain, "exc", "--neurons", 300, "--k", 5, "--json").document
    assert (grown["layer"], grown["first"], grown["last"]) == ("exc", "0/0/2000", "0/0/2299")
    assert (grown["neurons"], grown["materialized"], grown["tick"], grown["neurons_in_all"]) == (300, False, 10, 2500)
    (neuron,) = cli("query", brain, "neuron", "0/0/2299", "--json").document["neurons"]
    assert (neuron["state"], neuron["out_degree"]) == ("virtual", 5 + 2)


def test_grown_neurons_can_be_written_out(cli: Cli, brain: Path) -> None:
    said = cli("grow", brain, "exc", "--neurons", 300, "--materialize", "--memory", "64MiB")
    assert said.out.splitlines()[0] == "grew exc by 300 neurons"
    assert "0/0/2000 to 0/0/2299" in said.out
    (neuron,) = cli("query", brain, "neuron", "0/0/2299", "--json").document["neurons"]
    assert (neuron["state"], neuron["out_degree"]) == ("dormant", 8 + 2)
    assert cli("log", brain, "--json").document["commits"][0]["message"] == "grew exc by 300"


def test_a_growth_that_was_cut_short_is_completed_by_the_next_command_that_writes(
    cli: Cli, brain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PART_LEAVES", 1)

    def stop(done: int, _: int) -> None:
        if done > 10_000:
            raise KeyboardInterrupt

    e = engramdb.open(brain, "r+")
    with pytest.raises(KeyboardInterrupt):
        e.grow("exc", 30_000, materialize=True, progress=stop)
    last = ("query", brain, "neuron", "0/0/31999", "--json")
    assert cli(*last).document["neurons"][0]["state"] == "virtual"
    assert "growing exc" in cli("log", brain, "--json").document["commits"][0]["message"]
    assert cli("run", brain, "--ticks", 1, "--json").document["tick"] == 11
    assert cli(*last).document["neurons"][0]["state"] == "dormant"
    assert "grew exc by 30000" in [commit["message"] for commit in cli("log", brain, "--json").document["commits"]]
    assert cli("verify", brain).code == 0


@contextmanager
def files_of_at_most(nbytes: int) -> Iterator[None]:
    """Writing more into one file fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_growth_that_a_full_disk_cut_short_is_not_to_be_given_again(cli: Cli, brain: Path) -> None:
    with files_of_at_most(400_000):
        said = cli("grow", brain, "exc", "--neurons", 30_000, "--materialize")
    refused(said, 1, "disk full", "free some space; this command is kept: do not give it again")
    assert "repeat" not in said.err
    assert "this handle" not in said.err
    assert cli("run", brain, "--ticks", 1, "--json").document["tick"] == 11
    with engramdb.open(brain) as e:
        assert len(e) == 32_200


def test_what_cannot_grow_is_refused_in_one_line(cli: Cli, brain: Path) -> None:
    refused(cli("grow", brain, "exh", "--neurons", 5), 1, 'no layer "exh"', "exc")
    refused(cli("grow", brain, "exc", "--neurons", 0), 2, "--neurons", "see engramdb grow --help")
    refused(cli("grow", brain, "inh", "--neurons", 5, "--k", 3), 2, "inh", "k")
    refused(cli("grow", brain, "exc", "--neurons", 1 << 33), 2, "neurons")
    with engramdb.open(brain) as e:
        assert len(e) == 2200
