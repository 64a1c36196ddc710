"""S6: opening and looking up where there are a million leaves, ten thousand snapshots, a thousand lines of history.

The leaves are rows of the catalog alone, all of which name one record: what is measured is finding out which leaf holds
a neuron. Each engram is opened in a new process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.sizing.workload_memory import resident_bytes
from engramdb.store import STORED, Records, Store
from engramdb.store.catalog import Catalog
from engramdb.store.versions import row_of

_STEP = 8192  # ids of a leaf
_LARGE = 4_000_000_000  # neurons of a segment
_LEAF_NEURONS = 1000  # in the one record that there is


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds and MB of RAM."""
    leaves = (2_000,) if quick else (122_071, 1_000_000)
    figures = [figure for count in leaves for figure in _of_leaves(folder / f"{count}.engram", count)]
    return figures + _of_snapshots(folder / "named.engram", 50 if quick else 10_000) + _of_restores(
        folder / "restored.engram", 20 if quick else 1_000
    )  # fmt: skip


def fabricate(path: Path, leaves: int) -> None:
    """An engram at ``path`` whose catalog names so many leaves, each of 8192 ids; only the first can be read."""
    segments = [min(_LARGE, leaves * _STEP)] * -(-leaves * _STEP // _LARGE)
    spec = engramdb.Spec(layers=[engramdb.Layer("a", segments=segments)])
    engramdb.create(path, spec).close()
    with Store.open(path, "r+") as store:
        store.write(_neurons(np.arange(0, _STEP, _STEP // _LEAF_NEURONS)[:_LEAF_NEURONS].astype(np.uint64)))
        store.commit_state(1, {}, store.bundles)
        (ref,) = store.directory.leaves()
    per_segment = _LARGE // _STEP
    with contextlib.closing(Catalog(path, write=True)) as catalog, catalog.transaction():
        lows = ((leaf // per_segment) << 32 | leaf % per_segment * _STEP for leaf in range(1, leaves))
        catalog.put_versions(
            row_of(ref._replace(low=low, first=low + ref.first, last=low + ref.last, leaf=2 + i))
            for i, low in enumerate(lows)
        )
        catalog.put("meta", ("next_leaf", str(leaves + 1)))


def _neurons(ids: Any) -> Records:
    records = Records.of_state(
        ids, {"spike_count": np.ones(ids.size, np.uint32), "last_spike": np.ones(ids.size, np.int64)}
    )
    records.row_kind[:] = STORED
    return records


def _of_leaves(path: Path, leaves: int) -> list[Figure]:
    fabricate(path, leaves)
    read, write = _ask("leaves", path, "r"), _ask("leaves", path, "r+")
    bound = read["row"]
    goal = {"goal": "<= 1000 ms"}
    return [
        one(f"open to read, {leaves:,} leaves", "ms", read["open"], **goal),
        one(f"open to write, {leaves:,} leaves", "ms", write["open"], **goal),
        one("first lookup after that", "ms", read["first"], bound=bound, bound_name="a row of the catalog by key"),
        one("each of 1,000 scattered lookups", "ms", read["each"], bound=bound, bound_name="that"),
        one("resident set size they add", "MB", read["lookups_mb"]),
        one("first leaf of a scan", "ms", read["scan"], bound=bound, bound_name="that"),
        one("resident set size of a scan of all", "MB", read["scan_mb"]),
        one("first change after opening to write", "ms", write["change"]),
        one("resident set size it adds", "MB", write["change_mb"]),
    ]


def _of_snapshots(path: Path, count: int) -> list[Figure]:
    fabricate(path, 1)
    with Store.open(path, "r+") as store:
        names = iter(f"s{i}" for i in range(count))
        times = scaled(timed(lambda: store.snapshot(next(names)), count), 1e3)
    asked = _ask("history", path, "r+")
    few = count // 10
    return [
        Figure(f"snapshot, the first {few:,}", "ms", times[:few]),
        Figure(f"snapshot, when there are {count:,}", "ms", times[-few:], float(np.median(times[:few])), "the first"),
        one(f"list of {count:,}", "ms", asked["list"]),
        one("open to write", "ms", asked["open"], goal="<= 1000 ms"),
        one("restore one of them", "ms", asked["restore"], goal="<= 10 ms"),
        one("gc", "ms", asked["gc"]),
        one("resident set size of all that", "MB", asked["mb"]),
    ]


def _of_restores(path: Path, count: int) -> list[Figure]:
    """Lines that each begin at the newest commit of the one before, and have a commit of their own."""
    fabricate(path, 1)
    with Store.open(path, "r+") as store:
        change = _neurons(np.arange(0, 64, 8, dtype=np.uint64))
        restores: list[float] = []
        for tick in range(count):
            restores += timed(lambda: store.restore(store.commit.number), 1)
            store.write(change)
            store.commit_state(2 + tick, {}, store.bundles)
    asked = _ask("lines", path, "r")
    few = max(1, count // 10)
    first = float(np.median(restores[:few])) * 1e3
    return [
        Figure(f"restore, after {count:,} of them", "ms", scaled(restores[-few:], 1e3), first, "the first"),
        one("open to read there", "ms", asked["open"], goal="<= 1000 ms"),
        one("each of 1,000 lookups there", "ms", asked["each"], goal="<= 10 ms"),
    ]


# in a new process


def _ask(what: str, path: Path, mode: str) -> dict[str, float]:
    child = [sys.executable, "-m", "engramdb.sizing.workload_catalog", what, str(path), mode]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the asking process ended with {done.returncode}: {done.stderr.strip()}")
    document: dict[str, float] = json.loads(done.stdout)
    return document


def _ms(work: Callable[[], object]) -> float:
    return timed(work, 1)[0] * 1e3


def _leaves(store: Store) -> dict[str, float]:
    before = resident_bytes() / 1e6
    leaves = int(store._catalog.meta("next_leaf")) - 1
    per_segment = _LARGE // _STEP
    chance = np.random.default_rng(1).permutation(leaves)[:1000].astype(np.uint64)
    ids = (chance // np.uint64(per_segment)) << np.uint64(32) | chance % np.uint64(per_segment) * np.uint64(_STEP)
    key = store.directory.locate(ids[:1])[0][0]
    sql = "SELECT pack FROM versions WHERE line = ? AND low = ? AND number = ?"
    row = row_of(key)
    found = {
        "row": float(np.median(timed(lambda: store._catalog.rows(sql, row[:3]), 100))) * 1e3,
        "first": _ms(lambda: store.directory.locate(ids[1:2])),
        "each": _ms(lambda: [store.directory.locate(ids[i : i + 1]) for i in range(len(ids))]) / len(ids),
        "lookups_mb": resident_bytes() / 1e6 - before,
        "scan": _ms(lambda: next(store.directory.leaves())),
    }
    if store.mode == "r":
        count = sum(1 for _ in store.directory.leaves())
        assert count == leaves
        return found | {"scan_mb": resident_bytes() / 1e6 - before}
    found["change"] = _ms(lambda: store.write(_neurons(np.array([1], np.uint64))))
    return found | {"change_mb": resident_bytes() / 1e6 - before}


def _history(store: Store) -> dict[str, float]:
    before = resident_bytes() / 1e6
    return {
        "list": _ms(store.snapshots),
        "restore": _ms(lambda: store.restore("s1")),
        "gc": _ms(lambda: store.gc(keep_last=0, keep_days=0.0)),
        "mb": resident_bytes() / 1e6 - before,
    }


def _lines(store: Store) -> dict[str, float]:
    ids = np.arange(1000, dtype=np.uint64)
    return {"each": _ms(lambda: [store.directory.locate(ids[i : i + 1]) for i in range(1000)]) / 1000}


def _main(what: str, path: Path, mode: str) -> None:
    Store.open(path, at=1).close()  # everything is imported
    began = time.perf_counter()
    store = Store.open(path, "r+" if mode == "r+" else "r")
    opened = (time.perf_counter() - began) * 1e3
    with store:
        document = {"leaves": _leaves, "history": _history, "lines": _lines}[what](store)
    sys.stdout.write(json.dumps({"open": opened, **document}) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
