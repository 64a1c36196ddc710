"""``python -m tests.nursery``: a process whose children open engrams, do commands and are killed meanwhile.

It loads the kernels once; each child is forked from it before anything is opened, so a child lives at once. A line of
JSON on stdin starts one: ``path``, ``branch``, ``seed``, ``first`` (number of its first command), ``memory``,
``durability``, ``often`` (let the engram journal and checkpoint by itself all the time, not every second and half
minute), ``small`` (leaves, batches and packs of a few neurons), ``idle`` (do nothing once open). On stdout
come ``pid N``, ``open``, a line ``N`` after command N has returned, and ``dead STATUS`` when the child is no more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import engramdb
from engramdb import engram, run
from engramdb.store import compaction, store, writer
from engramdb.store.upkeep import gc
from tests.commands import Command, apply
from tests.commandtwin import create


def say(line: str) -> None:
    os.write(1, (line + "\n").encode())


def warm_up() -> None:
    """Do some of everything, so that the children find all code loaded."""
    with tempfile.TemporaryDirectory() as folder:
        create(Path(folder) / "warm.engram", 0)
        e = engramdb.open(Path(folder) / "warm.engram", "r+")
        for number in range(60):
            e = apply(e, Command.of(0, number))
        e.close()


def live(
    path: str, branch: str, seed: int, first: int, memory: int, durability: str, often: bool, small: bool,
    idle: bool = False,
) -> None:  # fmt: skip
    """Do commands until killed."""
    if often:
        run._SECONDS_AT_STAKE, engram._REPLAY_SECONDS = 0.0003, 0.01
    if small:
        store.LeafPolicy = partial(store.LeafPolicy, rows=16, nbytes=2048)  # type: ignore[misc, assignment]
        writer._SPILL_SLACK, compaction.BATCH_BYTES, gc._COPIED_BYTES = 0, 2000, 4000
    e = engramdb.open(path, "r+", memory=memory, durability=durability, branch=branch)
    say("open")
    if idle:
        signal.pause()
    for number in count(first):
        e = apply(e, Command.of(seed, number), durability)
        say(str(number))


def main() -> None:
    warm_up()
    say("ready")
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                live(**request)
            finally:  # only an error gets here
                traceback.print_exc()
                os._exit(1)
        say(f"pid {child}")
        _, status = os.waitpid(child, 0)
        say(f"dead {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
