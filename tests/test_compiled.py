"""What is compiled: once, kept for the next process, and for no network in particular."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import config
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError

import engramdb
from engramdb import FixedOutdegree, Layer, Projection, SmallWorld, Spec
from engramdb.kernels.compiled import njit
from engramdb.kernels.indirect import address_of, call

pytestmark = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")


def signatures() -> dict[str, int]:
    """How many each kernel is compiled for."""
    # by their types: isinstance would ask what a weak proxy stands for, which may be gone
    kernels = [o for o in gc.get_objects() if issubclass(type(o), Dispatcher)]
    return {
        f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}": len(kernel.signatures)
        for kernel in kernels
        if "engramdb" in (kernel.py_func.__module__ or "") and kernel.signatures
    }


def run_some(folder: Path, *layers: Layer, threads: int = 1, **options: object) -> None:
    with engramdb.create(folder / "net.engram", Spec(seed=1, layers=list(layers), **options), threads=threads) as e:
        e.stimulate(np.arange(30), 20.0, duration=2)
        e.run(40, record=("spikes",))
        e.run(3, until=lambda *_: False)
        e.snapshot("s")
        e.run(5)
    with engramdb.open(folder / "net.engram", "r+") as e:
        e.run(5)


def test_networks_of_other_sizes_and_shapes_are_run_by_the_same_machine_code(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
    rule = SmallWorld(k=5, span=9, weight=(1.0, 9.0))
    joined = [Projection("a", "b", FixedOutdegree(k=2), weight=(-2.0, 3.0), delay_ms=4.0)]
    run_some(tmp_path / "0", Layer("a", segments=[60], wiring=rule))
    run_some(tmp_path / "1", Layer("a", segments=[60], wiring=rule), Layer("b", segments=[9]), projections=joined)
    before = signatures()
    biased = {"bias": (0.0, 9.0), "refractory": 0.0}
    run_some(tmp_path / "2", Layer("a", segments=[900, 40], wiring=SmallWorld(k=31, weight=2.0)))
    run_some(tmp_path / "3", Layer("a", segments=[3000], params=biased, wiring=rule), threads=2)
    run_some(tmp_path / "4", Layer("a", segments=[33] * 5, wiring=rule, weights="float16"),
             Layer("b", segments=[70]), projections=joined)  # fmt: skip
    run_some(tmp_path / "5", Layer("a", segments=[50], wiring=FixedOutdegree(k=1, weight=0.0)))
    after = signatures()
    assert {name: count for name, count in after.items() if before.get(name, count) != count} == {}


@njit(nogil=True)
def _by_address(addresses, values, factor):
    total = 0
    for address in addresses:
        total += call(address, (values, factor, np.float64(0.5)))
    return total


@njit(nogil=True)
def _whole(values, factor, offset):
    if factor == 0:
        raise ValueError("no factor")
    return np.int64(values[0] * factor + offset)


def test_code_that_is_called_by_its_address_gives_what_it_gives_by_its_name() -> None:
    values = np.arange(5, 9)
    address = address_of(_whole, values, 7, 0.5)
    assert _by_address(np.array([address, address]), values, 7) == 2 * _whole(values, 7, 0.5) == 70
    with pytest.raises(ValueError, match="no factor"):
        _by_address(np.array([address]), values, 0)


SCRIPT = """
import gc, sys, numpy as np, engramdb
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError
with engramdb.open(sys.argv[1], "r+") as e:
    e.stimulate(np.arange(30), 20.0)
    e.run(20)
    e.run(20)
made = [o for o in gc.get_objects() if issubclass(type(o), Dispatcher) and "engramdb" in (o.py_func.__module__ or "")]
print(sum(sum(o.stats.cache_misses.values()) for o in made))
"""


def test_a_new_process_compiles_nothing_anew(tmp_path: Path) -> None:
    layer = Layer("a", segments=[200], params={"bias": (0.0, 9.0)}, wiring=SmallWorld(k=5, span=9, weight=(1.0, 9.0)))
    engramdb.create(tmp_path / "net.engram", Spec(seed=1, layers=[layer])).close()
    compiled = []
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "net.engram")], env=dict(os.environ), text=True,
            capture_output=True, check=True,
        )  # fmt: skip
        compiled.append(int(ran.stdout))
    assert compiled[1] == 0


def test_a_kernel_that_counts_no_references_cannot_make_arrays() -> None:
    @njit(borrows=True)
    def makes(n: int) -> int:
        return len(np.empty(n))

    @njit(borrows=True)
    def takes(arrays: tuple[np.ndarray, np.ndarray]) -> int:
        return arrays[0][1] + arrays[1][2]

    with pytest.raises(TypingError):
        makes(3)
    assert takes((np.arange(3), np.arange(4))) == 3


def test_a_thread_waits_while_another_loads_the_kernels_that_decode_leaves() -> None:
    code = """
import threading, time
import numpy as np
import engramdb.kernels.compiled as compiled
from engramdb.store import targets

begun, njit = threading.Event(), compiled.njit

def slowly(*args, **options):
    begun.set()
    time.sleep(0.2)  # the module is there by now, without its functions
    return njit(*args, **options)

compiled.njit = slowly
ids, indptr, target = np.arange(2, dtype=np.uint64), np.array([0, 2, 3]), np.array([5, 7, 1 << 40], np.uint64)
steps = targets.to_steps(ids, indptr, target)
threading.Thread(target=lambda: __import__("engramdb.kernels.targets")).start()
begun.wait()
assert targets.from_steps(ids, indptr, *steps).tolist() == target.tolist()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_somebody_who_waits_for_kernels_to_be_compiled_is_told_once(tmp_path: Path) -> None:
    code = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stdout)
import numpy as np
from engramdb.kernels import bound, targets
words = np.zeros(8, np.uint64)
bound.read(words, 0, 8)
targets.add_up(np.zeros(3, np.uint32), np.zeros(4, np.int64))
"""
    cold, warm = (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, capture_output=True,
            text=True, check=True,
        ).stdout
        for _ in range(2)
    )  # fmt: skip
    assert cold.startswith("engramdb.kernels: compiling kernels")
    assert cold.count("\n") == 1
    assert warm == ""
