"""Acknowledged means durable: writers killed at random instants, forked, interrupted, and locked out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import engramdb
from engramdb import Layer, SmallWorld, Spec
from engramdb.errors import Locked
from tests.commands import KINDS, Command, apply
from tests.commandtwin import create, difference
from tests.kills import ROOT, Nursery, Trials
from tests.networks import assert_same_state, make, twin_of


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as started:
        yield started


def test_after_a_kill_at_any_instant_all_acknowledged_commands_are_there(nursery: Nursery, tmp_path: Path) -> None:
    trials = Trials(tmp_path, nursery, seed=7)
    trials.run(6)
    assert trials.acknowledged > 60


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(nursery: Nursery, tmp_path: Path) -> None:
    trials = Trials(tmp_path, nursery, seed=1)
    trials.run(200)
    assert sum(n for name, n in trials.counts.items() if not name.startswith("recovery")) == 200
    assert trials.acknowledged > 3000


def test_the_comparison_after_a_kill_would_notice_a_lost_command(tmp_path: Path) -> None:
    """Every kind of command that changes anything makes a difference that is seen, and no other does."""
    unseen = {"reopen", "checkpoint_behind", "compact", "gc"}
    twin = create(tmp_path / "net.engram", 3)
    seen = set()
    with engramdb.open(tmp_path / "net.engram", "r+") as e:
        for number in range(400):
            command = Command.of(3, number)
            without = twin.copy()
            e = apply(e, command)
            twin.apply(command)
            if command.kind not in seen and difference(e, without, snapshots=True) is not None:
                assert difference(e, twin, snapshots=True) is None
                seen.add(command.kind)
            if seen == set(KINDS) - unseen:
                break
        e.close()
    assert seen == set(KINDS) - unseen


_SPEC = Spec(seed=11, layers=[Layer("a", segments=[400], wiring=SmallWorld(k=8, span=20, weight=(1.0, 6.0)))])


@contextmanager
def _child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``code``; it is gone afterwards, whatever happens."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


_FORK = """
import json, os, sys
import engramdb
from engramdb.errors import HandleClosed

e = engramdb.open(sys.argv[1], "r+")
reader = engramdb.open(sys.argv[1])
e.stimulate(range(50), 16.0)
out, into = os.pipe()
hold, let_go = os.pipe()
child = os.fork()
if child == 0:
    os.close(let_go)
    said = {}
    uses = {
        "run": lambda: e.run(1), "stimulate": lambda: e.stimulate(1, 5.0), "neuron": lambda: e.neuron(1),
        "set_weight": lambda: e.set_weight(0, int(e.synapses(0).targets[0]), 1.0), "checkpoint": e.checkpoint,
        "snapshot": lambda: e.snapshot("x"), "restore": lambda: e.restore("x"), "log": e.log,
        "grow": lambda: e.grow("a", 3), "read": lambda: reader.neuron(1), "synapses": lambda: reader.synapses(1),
    }
    for name, use in uses.items():
        try:
            use()
            said[name] = "nothing"
        except BaseException as error:
            said[name] = type(error).__name__
    e.close()
    reader.close()
    os.write(into, json.dumps(said).encode())
    os.read(hold, 1)
    os._exit(0)
os.close(hold)
os.close(into)
said = json.loads(os.read(out, 65536))
run = e.run(20)
e.close()
with engramdb.open(sys.argv[1], "r+") as again:  # while the child that inherited the lock still lives
    tick = again.tick
os.close(let_go)
os.waitpid(child, 0)
print(json.dumps({"child": said, "tick": tick, "spikes": int(run.counts.sum())}))
"""


def test_a_handle_inherited_through_fork_says_so_and_the_parents_works_on(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        twin = twin_of(e)
    with _child(_FORK, tmp_path / "net.engram") as child:
        out, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    said = json.loads(out)
    assert said["child"] == dict.fromkeys(said["child"], "HandleClosed")
    twin.stimulate(np.arange(50), np.full(50, np.float32(16)), 1)
    assert (said["tick"], said["spikes"]) == (20, len(twin.run(20)[0]))
    with engramdb.open(tmp_path / "net.engram") as e:
        assert_same_state(e, twin)
    assert engramdb.verify(tmp_path / "net.engram").problems == []


def test_a_second_writer_is_turned_away_until_the_first_has_closed(tmp_path: Path) -> None:
    code = 'import sys, engramdb; engramdb.open(sys.argv[1], "r+")'
    command = 'import sys; from engramdb.cli import main; sys.exit(main(["run", sys.argv[1], "--ticks", "1"]))'
    path = tmp_path / "net.engram"
    with make(tmp_path, _SPEC) as e:
        e.run(3)
        with _child(code, path) as api, _child(command, path) as shell:
            _, error = api.communicate(timeout=120)
            assert "Locked" in error.splitlines()[-1]
            _, error = shell.communicate(timeout=120)
        assert (shell.returncode, len(error.splitlines())) == (Locked.exit_code, 1), error
        assert Locked.exit_code == 3
        assert e.run(1).ticks == 1
        with engramdb.open(path) as reader:
            assert reader.tick == 0, "readers see what is committed, and do not wait"
    with engramdb.open(path, "r+") as e:
        assert e.tick == 4


_LONG_RUN = """
import json, sys
import engramdb

with engramdb.open(sys.argv[1], "r+") as e:
    e.stimulate(range(50), 16.0, duration=10_000_000)
    run = e.run(10_000_000, progress=lambda done, ticks, stats: print("running", flush=True))
    print(json.dumps([run.interrupted, run.ticks, e.tick, e.run(2).ticks]))
"""


def test_ctrl_c_in_a_long_run_ends_it_at_a_tick_with_the_state_whole(tmp_path: Path) -> None:
    with make(tmp_path, _SPEC) as e:
        twin = twin_of(e)
    with _child(_LONG_RUN, tmp_path / "net.engram") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n", child.communicate()[1]
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    interrupted, ticks, tick, more = json.loads(out.splitlines()[-1])
    assert (interrupted, tick, more) == (True, ticks, 2)
    twin.stimulate(np.arange(50), np.full(50, np.float32(16)), 1, 10_000_000)
    twin.run(ticks + 2)
    with engramdb.open(tmp_path / "net.engram") as e:
        assert_same_state(e, twin)
