"""``python -m tests.kills [TRIALS [SEED]]``: kill writers at random instants, and see what is left of their engrams.

In each trial a process opens an engram and gives it random commands, each acknowledged after it has returned. It is
killed (SIGKILL) at a random instant behind a random number of them, sometimes again while it recovers. What is then
found must be the state after the last acknowledged command, or after that and the one under way, of a run perhaps only
its first ticks: every field, parameter, synapse and snapshot, and the spikes that follow. Nothing may be damaged. An
engram lives through several trials.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

import engramdb
from engramdb import Engram
from engramdb.errors import EngramError
from tests.commands import Command
from tests.commandtwin import Twin, create, difference

ROOT = Path(__file__).resolve().parent.parent
_TRIALS_AN_ENGRAM = 5
_MOST_COMMANDS = 40  # in one life, before the instant of its death is drawn: so much happens on a busy machine too
_OPENINGS = 0.1  # of all kills come while the engram is being opened, or soon after
_TICKS_THAT_TELL = 10  # no stimulus and no spike is under way for longer
_PATIENCE_SECONDS = 120.0  # until a process that does not answer is taken for hung
_PLENTY, _LITTLE = 1 << 28, 40_000  # bytes; the little makes rows and slots go to the store all the time


class Nursery:
    """The process that children are forked from; see ``tests.nursery``."""

    def __init__(self, folder: Path) -> None:
        self._errors = (folder / "nursery.err").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors,
        )  # fmt: skip
        self._buffer = b""
        try:
            self.expect("ready")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def line(self, until: float) -> str | None:
        """The next line, or None if it is not there at the time ``until``."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                return None
            part = os.read(handle, 65536)
            if not part:
                raise AssertionError(f"the nursery is gone: {self.complaint()}")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def expect(self, word: str) -> str:
        """What follows ``word`` in the next line."""
        line = self.line(time.monotonic() + _PATIENCE_SECONDS)
        if line is None or line.split()[0] != word:
            raise AssertionError(f'"{line}" instead of "{word}": {self.complaint()}')
        return line.removeprefix(word).strip()

    def complaint(self) -> str:
        """What it, or a child, wrote to stderr."""
        self._errors.flush()
        return Path(self._errors.name).read_text()[-3000:]

    def live_and_die(self, request: dict[str, object], commands: int | None, seconds: float) -> tuple[bool, int]:
        """Start a child, kill it ``seconds`` after so many commands were acknowledged, or, for None, after its start.

        Returns whether it had opened, and its last acknowledged command.
        """
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(request) + "\n").encode())
        self._process.stdin.flush()
        pid = int(self.expect("pid"))
        opened, last = False, int(str(request["first"])) - 1
        awaited, killed = "open" if commands == 0 else str(last + (commands or 0)), False
        until = time.monotonic() + seconds if commands is None else None  # when it is to be killed
        while True:
            line = self.line(time.monotonic() + _PATIENCE_SECONDS if killed or until is None else until)
            if line is None:
                if killed or until is None:
                    raise AssertionError(f"the child does not {'end' if killed else 'go on'}: {self.complaint()}")
                os.kill(pid, signal.SIGKILL)
                killed = True
            elif line == "open":
                opened = True
            elif line.startswith("dead"):
                if line != f"dead {-signal.SIGKILL}":
                    raise AssertionError(f"the child died by itself: {self.complaint()}")
                return opened, last
            else:
                last = int(line)
            if line == awaited and until is None:
                until = time.monotonic() + seconds


@dataclass
class Trials:
    """Runs trials, one after the other, and counts what was under way at the kills and whether it had taken effect."""

    folder: Path
    nursery: Nursery
    seed: int
    longest_seconds: float = 0.06
    counts: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def run(self, trials: int) -> None:
        """Raises AssertionError at the first state that must not be; its engram stays in the folder."""
        for _ in range(trials):
            if self.done % _TRIALS_AN_ENGRAM == 0:
                self._new_engram()
            self._trial()
            self.done += 1

    def _new_engram(self) -> None:
        if self.done:
            shutil.rmtree(self.path)
        self.network = self.seed * 1000 + self.done
        self.path = self.folder / f"{self.network}.engram"
        self.twin = create(self.path, self.network)
        self.number = 0

    def _trial(self) -> None:
        pick = self._random
        request: dict[str, object] = {
            "path": str(self.path), "seed": self.network, "first": self.number,
            "memory": pick.choice([_PLENTY, _LITTLE]), "durability": pick.choice(["journal", "process"]),
            "often": pick.random() < 0.4, "small": pick.random() < 0.6, "branch": self.twin.branch,
        }  # fmt: skip
        commands = None if pick.random() < _OPENINGS else pick.randrange(_MOST_COMMANDS)
        opened, last = self.nursery.live_and_die(request, commands, pick.uniform(0.0, self.longest_seconds))
        for number in range(self.number, last + 1):
            self.twin.apply(Command.of(self.network, number))
        self.acknowledged += last + 1 - self.number
        self.number = last + 1
        under_way = Command.of(self.network, self.number) if opened else None
        self._recover(under_way, request)

    def _recover(self, under_way: Command | None, request: dict[str, object]) -> None:
        """Find the engram in a state that it may be in, and make sure that it goes on from there as it should."""
        name = under_way.kind if under_way else "open"
        where = f"engram {self.network}, killed in {name} (command {self.number}), {request}"
        if self._random.random() < 0.3:
            # on the branch that is open now: the one of the beginning may have been deleted
            idle = dict(request, idle=True, branch=self.twin.branch)
            opened, _ = self.nursery.live_and_die(idle, None, self._random.uniform(0.0, 0.1))
            self.counts["recovery: " + ("after it" if opened else "within it")] += 1
        problems = engramdb.verify(self.path).problems
        assert not problems, f"{where}: {problems[0]}"
        try:
            with engramdb.open(self.path, "r+", memory=_PLENTY, branch=self.twin.branch) as e:
                self.twin, outcome = self._settled(e, under_way)
                found = difference(e, self.twin, snapshots=True)
                assert found is None, found
        except (EngramError, AssertionError) as error:
            raise AssertionError(f"{where}: {error}") from error
        problems = engramdb.verify(self.path).problems
        assert not problems, f"{where}, after closing: {problems[0]}"
        self.counts[f"{name}: {outcome}"] += 1
        self.number += 1

    def _settled(self, e: Engram, under_way: Command | None) -> tuple[Twin, str]:
        """The twin of the state in which the engram is, and what became of the command under way.

        Spikes and stimuli that have not arrived yet show only in the ticks to come: those are run.
        """
        possible = [(self.twin, "nothing lost" if under_way is None else "not done")]
        if under_way is not None:
            done = self.twin.copy()
            done.apply(under_way)
            possible.append((done, "done"))
            ticks = e.tick - self.twin.simulator.tick
            if under_way.kind == "run" and 0 < ticks < under_way.ticks:
                # a long run is made durable now and then, at tick boundaries
                part = self.twin.copy()
                part.run(ticks)
                possible.append((part, "done in part"))
        differences = [difference(e, twin, snapshots=False) for twin, _ in possible]
        assert None in differences, f"none of {[outcome for _, outcome in possible]}: {differences}"
        spikes = e.run(_TICKS_THAT_TELL, record=("spikes",)).spikes
        for (twin, outcome), different in zip(possible, differences, strict=True):
            if different is None and all(map(np.array_equal, spikes, twin.run(_TICKS_THAT_TELL))):
                different = difference(e, twin, snapshots=False)
                if different is None:
                    return twin, outcome
        raise AssertionError(f"the state is right, but what follows is not ({different})")


def main() -> None:
    """Run as many trials as the command line says, 200 by default, and print the counts."""
    trials, seed = (*map(int, sys.argv[1:]), *(200, 1)[len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as folder, Nursery(Path(folder)) as nursery:
        began = time.monotonic()
        kills = Trials(Path(folder), nursery, seed)
        try:
            kills.run(trials)
        finally:
            sys.stdout.write(
                f"{kills.done} kills in {time.monotonic() - began:.0f} s, seed {seed}; "
                f"{kills.acknowledged} commands were acknowledged, all survived\n"
                if kills.done == trials else f"trial {kills.done} of {trials}, seed {seed}, FAILED\n"
            )  # fmt: skip
            for name, n in sorted(kills.counts.items()):
                sys.stdout.write(f"  killed in {name:<32} {n:>4}\n")


if __name__ == "__main__":
    main()
