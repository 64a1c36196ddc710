"""``python -m tests.bulknursery``: a process whose children write in bulk, in small parts, and are killed meanwhile.

It loads the kernels once; each child is forked from it. A line of JSON on stdin starts one: ``kind`` (create, import,
open, grow or cycle), ``path``, and what that takes. On stdout come ``pid N``, ``step`` after every write of a leaf or
step of a cycle, ``done``, and ``dead STATUS`` when the child is no more. The argument "cycle" loads what cycles need.
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
from engramdb import STDP, Bernoulli, FixedIndegree, Layer, Projection, SmallWorld, Spec, bulk

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

_GROWING: dict[str, Any] = {
    "every": 10, "window": 3, "patience": 60, "optimize": 40, "persist": 20, "rows": 200, "growth": "adaptive",
    "flat_w": 0.2, "flat_b1": 0.3, "gauge": "probe",
}  # fmt: skip
CYCLE: dict[str, dict[str, Any]] = {
    "spiking": {"layer": "a", "bundle": 120, "below": 1.5, "materialize": True, **_GROWING},
    "learning": {"layer": "a", "bundle": 100, "below": 2.0, "inbound": 30, **_GROWING},
    "void": {"layer": "v", "bundle": 150, "below": 2e-3, "awaken": 20, "prunes": 30, **_GROWING},
}


def cycling(path: Path, kind: str) -> None:
    """A network of 400 neurons, driven, whose growth cycle has been started."""
    rule = SmallWorld(k=8, long_fraction=0.2, span=12, weight=(0.5, 5.0))
    learned = [STDP(6.0, 0.0, 0.2, 0.25, 8.0, 8.0)]
    layer = {
        "spiking": Layer("a", segments=[400], wiring=rule, materialize=True),
        "learning": Layer("a", segments=[400], wiring=rule, delay_ms=(1.0, 6.0), plasticity=learned),
        "void": Layer("v", model="void", segments=[400], wiring=rule, params={"k_active": 150, "w_init": (0.02, 0.98)}),
    }[kind]
    with engramdb.create(path, Spec(seed=11, layers=[layer])) as e:
        if kind == "void":
            e.stimulate(range(40), 1.0, duration=3)
        else:
            e.poisson(range(0, 400, 4), rate_hz=150.0, amplitude=20.0)
        e.cycle.start(**CYCLE[kind])


def work(kind: str, path: str, source: str = "", memory: str = "64MiB", until: int = 0) -> None:
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
            if kind == "cycle":
                e.cycle.run(ticks=until - e.tick, progress=step, rows=step)
            elif kind == "grow":
                e.grow("a", GROWN, materialize=True, progress=step)


def say(line: str) -> None:
    os.write(1, (line + "\n").encode())


def warm_up() -> None:
    """Do some of everything, so that the children find all code loaded."""
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in (("net", NETWORK), ("built", BUILT)):
            with engramdb.create(Path(folder) / name, spec) as e:
                e.grow("a", 10, materialize=True)
        if "cycle" in sys.argv:
            for kind in CYCLE:
                cycling(Path(folder) / kind, kind)
                with engramdb.open(Path(folder) / kind, "r+") as e:
                    e.cycle.run(ticks=100)
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

    def __init__(self, folder: Path, *more: str) -> None:
        """``more``: "cycle" where children run growth cycles."""
        self._errors = (folder / "nursery.err").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bulknursery", *more], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
