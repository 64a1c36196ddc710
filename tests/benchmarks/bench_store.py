"""What the store's pieces cost: bytes and codecs by column, encoding, decoding, commits, opening, lookups.

``python tests/benchmarks/bench_store.py [FOLDER]``: small-world neurons, k = 12, span 50, a tenth of the
synapses to random neurons of a million, float32 weights in (0.5, 1.5). Each figure is the median of a few.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engramdb import Layer, SmallWorld, Spec
from engramdb.growth.bundle import Bundles
from engramdb.store import STORED, LeafPolicy, Records, Store
from engramdb.store.column import BLOSC, CONSTANT, PALETTE, PCODEC, RANGE, RAW
from engramdb.store.leaf import decode_leaf, encode_leaf
from engramdb.store.pack import parse_record

K, SPAN, LONG, DOMAIN = 12, 50, 0.1, 1_000_000
CODECS = {
    RAW: "raw", CONSTANT: "constant", RANGE: "range", BLOSC: "blosc", PCODEC: "pcodec", PALETTE: "palette",
}  # fmt: skip


def small_world(first: int, count: int, seed: int = 0) -> Records:
    """``count`` neurons from id ``first`` on, rows sorted by target."""
    random = np.random.default_rng(seed)
    ids = np.arange(first, first + count, dtype=np.uint64)
    offsets = np.argpartition(random.random((count, 2 * SPAN), np.float32), K, axis=1)[:, :K] - SPAN
    offsets += offsets >= 0
    far = random.random(offsets.shape, np.float32) < LONG
    near = (ids[:, None].astype(np.int64) + offsets) % DOMAIN
    target = np.sort(np.where(far, random.integers(0, DOMAIN, far.shape), near), axis=1)
    return Records(
        ids=ids,
        state={
            "spike_count": random.poisson(2, count).astype(np.uint32),
            "last_spike": random.integers(0, 1000, count),
        },
        row_kind=np.full(count, STORED, np.uint8),
        indptr=np.arange(0, K * count + 1, K),
        projection=np.zeros(K * count, np.uint16),
        target=target.astype(np.uint64).reshape(-1),
        weight=random.uniform(0.5, 1.5, K * count).astype(np.float32),
    )


def seconds(action: Callable[[], object], times: int = 7) -> float:
    """Median wall time of ``action``."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def say(what: str, value: float, unit: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{what:<58} {value:>12,.2f} {unit}\n")


def leaf_figures() -> None:
    """Bytes by column, and how fast one leaf is encoded and decoded."""
    leaf = small_world(400_000, 8192)
    data, crc = encode_leaf(leaf, line=1, commit=2, leaf=3, low=0)
    record = parse_record(data, crc)
    for name, entry in record.columns.items():
        say(f"column {name} ({entry.dtype}, {CODECS[entry.codec]})", entry.nbytes / len(leaf), "B/neuron")
    say("leaf of 8192 neurons, all of it", len(data) / len(leaf), "B/neuron")
    encoding = seconds(lambda: encode_leaf(leaf, line=1, commit=2, leaf=3, low=0), 20)
    decoding = seconds(lambda: decode_leaf(parse_record(data, crc)), 20)
    say("encode a leaf", encoding * 1e3, f"ms, {len(leaf) / encoding / 1e6:.1f} M neurons/s")
    say("decode and check a leaf", decoding * 1e3, f"ms, {leaf.nbytes / decoding / 1e6:,.0f} MB/s of arrays")
    import engramdb.kernels.targets  # noqa: F401  # from here on with compiled kernels

    decode_leaf(parse_record(data, crc))
    encoding = seconds(lambda: encode_leaf(leaf, line=1, commit=2, leaf=3, low=0), 20)
    decoding = seconds(lambda: decode_leaf(parse_record(data, crc)), 20)
    say("encode a leaf, compiled", encoding * 1e3, f"ms, {len(leaf) / encoding / 1e6:.1f} M neurons/s")
    say("decode and check a leaf, compiled", decoding * 1e3, f"ms, {leaf.nbytes / decoding / 1e6:,.0f} MB/s of arrays")


def store_figures(folder: Path) -> None:
    """A million neurons written, committed, scanned and found again."""
    spec = Spec(layers=[Layer("cortex", segments=[1 << 30], wiring=SmallWorld(k=K))])
    bundles = Bundles.initial(spec)
    path = folder / "million.engram"
    say("create", seconds(lambda: Store.create(path, spec, bundles), 1) * 1e3, "ms")
    batches = [small_world(start, 100_000, start) for start in range(0, DOMAIN, 100_000)]
    with Store.open(path, "r+") as store:
        writing = seconds(lambda: [store.write(batch) for batch in batches], 1)
        say("write 1M neurons in batches of 100,000", DOMAIN / writing / 1e6, "M neurons/s")
        say("commit them", seconds(lambda: store.commit_state(1, {}, bundles), 1) * 1e3, "ms")
        pack = sum(file.stat().st_size for file in (path / "packs").iterdir())
        say("on disk", pack / DOMAIN, "B/neuron")
        state = {"ring": np.arange(1000)}
        say("commit of a small state", seconds(lambda: store.commit_state(2, state, bundles)) * 1e3, "ms")
        names = iter("abcdefgh")
        say("snapshot", seconds(lambda: store.snapshot(next(names))) * 1e3, "ms")
        say("restore", seconds(lambda: store.restore("a")) * 1e3, "ms")
        frame = {"x": np.arange(100)}
        say("journal frame, synced", seconds(lambda: store.journal_append("n", 1, {}, frame), 50) * 1e3, "ms")
        scattered = small_world(0, DOMAIN, 5).take(np.arange(0, DOMAIN, 100))
        say("write 10,000 scattered neurons (every leaf again)", seconds(lambda: store.write(scattered), 1), "s")
    with Store.open(path) as store:
        ids = np.sort(np.random.default_rng(0).choice(DOMAIN, 10_000, replace=False)).astype(np.uint64)
        say("find 10,000 scattered ids, cold cache", seconds(lambda: store.find(ids), 1) * 1e3, "ms")
        store.cache_bytes = 1 << 30
        store.find(ids)
        say("find them in decoded leaves", seconds(lambda: store.find(ids)) * 1e3, "ms")
        scanning = seconds(lambda: sum(len(part) for part in store.scan()), 3)
        say("scan, pages cached", DOMAIN / scanning / 1e6, f"M neurons/s, {pack / scanning / 1e6:,.0f} MB/s of disk")


COLD = """
import sys, time
import numpy as np
started = time.perf_counter()
from engramdb.store import Store
imported = time.perf_counter()
store = Store.open(sys.argv[1])
opened = time.perf_counter()
found = store.find(np.array([int(sys.argv[2])], np.uint64))
done = time.perf_counter()
assert len(found) == 1
print(imported - started, opened - imported, done - opened)
"""


def many_leaves(folder: Path) -> None:
    """An engram of 100,000 leaves: opened and asked for one neuron in a new process, then listed whole."""
    spec = Spec(layers=[Layer("cortex", segments=[1 << 30], wiring=SmallWorld(k=K))])
    bundles = Bundles.initial(spec)
    path = folder / "leaves.engram"
    Store.create(path, spec, bundles)
    with Store.open(path, "r+", policy=LeafPolicy(rows=8, nbytes=8 * 256)) as store:
        for start in range(0, 800_000, 100_000):
            store.write(small_world(start, 100_000, start))
        say("commit of 100,000 leaves", seconds(lambda: store.commit_state(1, {}, bundles), 1) * 1e3, "ms")
    for engram, neuron in ((path, 777_777), (folder / "million.engram", 456_789)):
        command = [sys.executable, "-c", COLD, str(engram), str(neuron)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
        times = [statistics.median(float(run[i]) for run in runs) * 1e3 for i in range(3)]
        say(f"{engram.stem}: import the store, new process", times[0], "ms")
        say(f"{engram.stem}: open (codecs are imported here)", times[1], "ms")
        say(f"{engram.stem}: find one neuron", times[2], "ms")
    with Store.open(path) as store:
        say("load the directory of 100,000 leaves", seconds(lambda: store.directory.table(0), 1) * 1e3, "ms")


def main() -> None:
    """Everything, in a temporary folder or in the one named."""
    leaf_figures()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        store_figures(Path(folder))
        many_leaves(Path(folder))


if __name__ == "__main__":
    main()
