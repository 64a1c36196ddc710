"""Q1 to Q3: questions to an engram: lookups, surroundings, who projects here, and scans with a condition.

Rows are asked of an engram of a small world, whose rules can be inverted, and of one of random synapses that only the
reverse index knows. The bound of the scan compares one column with a number, in one array in RAM.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.opening import create
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.sizing.workload_lookup import drop_from_cache
from engramdb.store import STORED, Records, Store

_BATCH = 10_000
_K = 12


def run(folder: Path, quick: bool) -> list[Figure]:
    """Rates in millions a second, times in milliseconds."""
    resident, random, wide = (10_000, 20_000, 50_000) if quick else (1_000_000, 1_000_000, 10_000_000)
    virtual = 5_000 if quick else 200_000
    repeats = 3 if quick else 20
    return [
        *_lookups(folder / "resident.engram", resident, 10 * repeats),
        *_rows(folder / "world.engram", folder / "random.engram", random, repeats, quick),
        *_ways(folder / "virtual.engram", virtual, 3 if quick else 10),
        *_scans(folder / "wide.engram", wide, 3 if quick else 7),
    ]


def _world(neurons: int, *, materialize: bool) -> engramdb.Spec:
    wiring = engramdb.SmallWorld(k=_K, long_fraction=0.1, span=50, weight=(0.5, 1.5))
    return engramdb.Spec(
        seed=7, layers=[engramdb.Layer("cortex", segments=[neurons], wiring=wiring, materialize=materialize)]
    )


def _lookups(path: Path, neurons: int, repeats: int) -> list[Figure]:
    """Batches of scattered ids, all of which have a slot, and a row, in RAM."""
    random = np.random.default_rng(1)
    with create(path, _world(neurons, materialize=False)) as e:
        e.stimulate(np.arange(neurons), 20.0)
        e.run(2)
        batches = iter(random.integers(0, neurons, (repeats + 1, _BATCH)).astype(np.uint64))
        e.neurons(next(batches))
        seconds = timed(lambda: e.neurons(next(batches)), repeats)
        rates = tuple(_BATCH / second / 1e6 for second in seconds)
    return [Figure("resident neurons looked up, 10,000 a call", "M/s", rates, goal=">= 2 M/s")]


def _rows(world: Path, path: Path, neurons: int, repeats: int, quick: bool) -> list[Figure]:
    create(world, _world(neurons, materialize=True)).close()
    _random_rows(path, neurons)
    with engramdb.open(world, "r+") as e:
        e.index()  # which finds that all can be computed
    with engramdb.open(path, "r+") as e:
        indexing = timed(e.index, 1)[0]
        figures = [one("building the reverse index", "M synapses/s", e._store.reverse.entries / indexing / 1e6)]
    for name, where in (("small world", world), ("random", path)):
        asked = np.random.default_rng(2).integers(0, neurons, 2 if quick else 7).tolist()
        figures += _around(name, where, asked[0], repeats)
        cold = tuple(_cold(where, neuron) for neuron in asked)
        figures.append(Figure(f"synapses onto one neuron, {name}, cold", "ms", cold, goal="<= 20 ms"))
    return figures


def _around(name: str, path: Path, center: int, repeats: int) -> list[Figure]:
    with engramdb.open(path) as e:
        questions = {
            "two-hop surroundings": (lambda: e.ego(center, 2), "<= 5 ms"),
            "synapses onto one neuron": (lambda: e.synapses(center, "in"), ""),
        }
        figures = []
        for what, (ask, goal) in questions.items():
            timed(ask, 1)
            figures.append(Figure(f"{what}, {name}, warm", "ms", scaled(timed(ask, repeats), 1e3), goal=goal))
    return figures


def _ways(path: Path, neurons: int, pairs: int) -> list[Figure]:
    """Paths between neurons drawn at random, none of which is stored; the bound is the path of the fewest synapses."""
    wiring = engramdb.SmallWorld(k=10, long_fraction=0.1, span=50, weight=(0.5, 6.0))
    spec = engramdb.Spec(seed=3, layers=[engramdb.Layer("cortex", segments=[neurons], wiring=wiring)])
    ends = np.random.default_rng(5).integers(0, neurons, (pairs, 2)).tolist()
    with create(path, spec) as e:
        e.path(1, 2, by="strength")  # the kernels are loaded
        fewest = [timed(lambda a=a, b=b: e.path(a, b), 1)[0] for a, b in ends]  # type: ignore[misc]
        strongest = [timed(lambda a=a, b=b: e.path(a, b, by="strength"), 1)[0] for a, b in ends]  # type: ignore[misc]
    bound = float(np.median(fewest)) * 1e3
    return [Figure(f"strongest path among {neurons:,} virtual neurons, k = 10", "ms", scaled(strongest, 1e3), bound,
                   "the path of the fewest synapses")]  # fmt: skip


def _random_rows(path: Path, neurons: int) -> None:
    """``neurons`` with 12 random targets each, as an import would leave them."""
    spec = engramdb.Spec(
        layers=[engramdb.Layer("cortex", segments=[neurons])],
        projections=[engramdb.Projection("cortex", "cortex", engramdb.Explicit())],
    )
    create(path, spec).close()
    random = np.random.default_rng(3)
    with Store.open(path, "r+") as store:
        for start in range(0, neurons, 1 << 17):
            ids = np.arange(start, min(neurons, start + (1 << 17)), dtype=np.uint64)
            n = len(ids)
            counts = _counts(np.zeros(n, np.int64), np.zeros(n, np.int64))
            target = np.sort(random.integers(0, neurons, (n, _K)).astype(np.uint64), axis=1).ravel()
            weight = random.uniform(0.5, 1.5, n * _K).astype(np.float32)
            kind, projection = np.full(n, STORED, np.uint8), np.zeros(n * _K, np.uint16)
            indptr = np.arange(0, n * _K + 1, _K, dtype=np.int64)
            store.write(Records(ids, counts, kind, indptr, projection, target, weight))
        store.commit_state(0, {}, store.bundles, "random rows")


def _counts(spike_count: npt.NDArray[np.int64], last_spike: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    return {"spike_count": spike_count.astype(np.uint32), "last_spike": last_spike}


def _scans(path: Path, neurons: int, repeats: int) -> list[Figure]:
    """All with a record, one in a hundred of which has fired; the columns are in RAM after the first scan."""
    spec = engramdb.Spec(layers=[engramdb.Layer("cortex", segments=[neurons])])
    create(path, spec).close()
    random = np.random.default_rng(4)
    with Store.open(path, "r+") as store:
        for start in range(0, neurons, 1 << 17):
            ids = np.arange(start, min(neurons, start + (1 << 17)), dtype=np.uint64)
            fired = random.random(len(ids)) < 0.01
            store.write(Records.of_state(ids, _counts(np.where(fired, 5, 1), np.where(fired, 100, 0))))
        store.commit_state(100, {}, store.bundles, "counts")
    drop_from_cache(path)
    column = np.ones(neurons, np.uint32)
    bound = float(np.median(timed(lambda: np.count_nonzero(column > 3), repeats)))
    figures: list[Figure] = []
    with engramdb.open(path) as e:
        for name, ask in (
            ("counted with a condition", lambda: e.count(where="spike_count > 3")),
            (
                "counted with three joined",
                lambda: e.count(where="spike_count > 3 and last_spike < 90 or state = active"),
            ),
            ("ranked by a field", lambda: e.top("spike_count", 100)),
        ):
            first = timed(ask, 1)[0]
            seconds = timed(ask, repeats)
            rates = tuple(neurons / second / 1e6 for second in seconds)
            if not figures:
                figures.append(one(f"neurons {name}, cold", "M/s", neurons / first / 1e6))
            figures.append(Figure(f"neurons {name}, warm", "M/s", rates, neurons / bound / 1e6,
                                  "one array compared", ">= 50 M/s"))  # fmt: skip
    return figures


# in a new process


def _cold(path: Path, neuron: int) -> float:
    """Milliseconds of one question of a handle that has been asked nothing, the page cache dropped."""
    drop_from_cache(path)
    child = [sys.executable, "-m", "engramdb.sizing.workload_queries", str(path), str(neuron)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the asking process ended with {done.returncode}: {done.stderr.strip()}")
    return float(done.stdout)


def _main(path: Path, neuron: int) -> None:
    import engramdb.kernels.wiring

    with engramdb.open(path) as e:
        e._wiring().sources(neuron)  # the kernels are loaded
        drop_from_cache(path)
        sys.stdout.write(f"{timed(lambda: e.synapses(neuron, 'in'), 1)[0] * 1e3}\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
