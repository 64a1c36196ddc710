"""Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.cli.terminal import Cli


def test_ctrl_c_stops_at_a_tick_boundary_with_the_state_whole(cli: Cli, brain: Path) -> None:
    drive = ("--stimulate", "0/0/0-99:30@11+1000000")
    idle = signal.getsignal(signal.SIGINT)
    deadline = time.monotonic() + 60

    def interrupt_once_it_runs() -> None:
        while signal.getsignal(signal.SIGINT) is idle and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_once_it_runs)
    thread.start()
    said = cli("run", brain, "--ticks", 10**9, *drive, "--json")
    thread.join()
    assert said.code == 130
    assert "the state is whole" in said.err
    assert said.document["interrupted"]
    stopped = said.document["tick"]
    assert said.document["ticks"] == stopped - 10 > 0
    cli("create", "twin.engram", "brain.toml")
    cli("run", "twin.engram", "--ticks", 10, "--stimulate", "0/0/0-99:30@1+2")
    cli("run", "twin.engram", "--ticks", stopped - 10, *drive)
    names = [f"0/0/{local}" for local in range(200)]
    one, twin = (cli("query", path, "neuron", *names, "--json").document for path in (brain, "twin.engram"))
    assert (one["tick"], one["neurons"]) == (stopped, twin["neurons"])
    assert cli("verify", brain).code == 0


def test_ctrl_c_elsewhere_is_one_line_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.csv")
    command = [sys.executable, "-m", "engramdb", "import", "edges", "slow.csv", "a.engram", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with (tmp_path / "slow.csv").open("w") as source:  # opens when the other side reads
        source.write("pre,post,weight\na,b,1\n")
        source.flush()
        time.sleep(0.5)  # Python acts on a signal between two steps, not when one comes just before it waits for input
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "engramdb: interrupted; what was done before is whole\n"
    assert json.loads(out)["error"]["exit_code"] == 130
    assert [file.name for file in tmp_path.iterdir()] == ["slow.csv"]
