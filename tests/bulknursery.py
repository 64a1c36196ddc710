"""``python -m tests.bulknursery``: a process whose children write in bulk, in small parts, and are killed meanwhile.

It loads the kernels once; each child is forked from it. A line of JSON on stdin starts one: ``kind`` (create, import,
open or grow), ``path``, and what that takes. On stdout come ``pid N``, ``step`` after every write of a leaf, ``done``,
and ``dead STATUS`` when the child is no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import engramdb
from engramdb import Bernoulli, FixedIndegree, Layer, Projection, SmallWorld, Spec, bulk

ROOT = Path(__file__).resolve().parent.parent

WIRING = SmallWorld(k=5, span=20, weight=(1.0, 6.0))
NETWORK = Spec(seed=3, layers=[Layer("a", segments=[3000], wiring=WIRING)])
GROWN = 50_000
BUILT = Spec(
    seed=5,
    layers=[
        Layer("a", segments=[20_000, 9_000], wiring=WIRING, materialize=True, params={"bias": (0.0, 16.0)}),
        Layer("b", index=40000, segments=[20_000]),
        Layer("c", segments=[8192], wiring=WIRING, materialize=True),
    ],
    projections=[Projection("b", "a", FixedIndegree(k=2), weight=0.1), Projection("b", "c", Bernoulli(p=1e-4))],
)


def work(kind: str, path: str, source: str = "", memory: str = "64MiB") -> None:
    """Do what is asked for, in parts of one leaf."""
    bulk.PART_LEAVES = 1

    def step(*_: object) -> None:
        say("step")

    if kind == "create":
        engramdb.create(path, BUILT, memory=memory, progress=step).close()
    elif kind == "import":
        engramdb.import_edges(source, path, progress=lambda stage, *_: stage == "write" and say("step"))
    else:
        with engramdb.open(path, "r+", memory=memory, progress=step) as e:
            if kind == "grow":
                e.grow("a", GROWN, materialize=True, progress=step)


def say(line: str) -> None:
    os.write(1, (line + "\n").encode())


def warm_up() -> None:
    """Do some of everything, so that the children find all code loaded."""
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in (("net", NETWORK), ("built", BUILT)):
            with engramdb.create(Path(folder) / name, spec) as e:
                e.grow("a", 10, materialize=True)
        source = Path(folder) / "edges.csv"
        source.write_text("pre,post,weight\na,b,1\n")
        engramdb.import_edges(source, Path(folder) / "imported")


def main() -> None:
    warm_up()
    say("ready")
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                work(**request)
                say("done")
                os._exit(0)
            finally:  # only an error gets here
                traceback.print_exc()
                os._exit(1)
        say(f"pid {child}")
        _, status = os.waitpid(child, 0)
        say(f"dead {os.waitstatus_to_exitcode(status)}")


class Nursery:
    """The process, from the side of a test."""

    def __init__(self, folder: Path) -> None:
        self._errors = (folder / "nursery.err").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bulknursery"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True,
        )  # fmt: skip
        self._expect("ready")

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, f"the nursery is gone: {Path(self._errors.name).read_text()[-3000:]}"
        return line

    def _expect(self, word: str) -> str:
        line = self._line()
        assert line.split()[0] == word, f"{line}: {Path(self._errors.name).read_text()[-3000:]}"
        return line.removeprefix(word).strip()

    def work(
        self, request: dict[str, Any], kill_after: int | None = None, kill_after_seconds: float | None = None
    ) -> int:
        """Let a child do ``request``, and kill it after so many steps or seconds; how many steps it did.

        -1 where it was done before it could be killed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid = int(self._expect("pid"))
        steps = 0
        if kill_after_seconds is not None:
            time.sleep(kill_after_seconds)
            kill_after = 0
        while True:
            if steps == kill_after:
                with contextlib.suppress(ProcessLookupError):  # it was faster
                    os.kill(pid, signal.SIGKILL)
                kill_after = None
            line = self._line()
            if line.startswith("dead"):
                assert line in ("dead 0", f"dead {-signal.SIGKILL}"), Path(self._errors.name).read_text()[-3000:]
                return steps if line != "dead 0" or kill_after_seconds is None else -1
            steps += line == "step"


if __name__ == "__main__":
    main()
