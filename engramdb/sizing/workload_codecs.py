"""Codecs on columns as leaves have them: bytes a value, and how fast they decode. The store's choice is marked.

What :mod:`engramdb.store.column` tries for a type was decided by this table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.demo import Demo
from engramdb.sizing import workload_bytes
from engramdb.sizing.figure import Figure, one, timed
from engramdb.store import Records, Store, column
from engramdb.store.targets import to_steps

Array = npt.NDArray[Any]

CODECS = {
    "lz4": column.LZ4,
    "lz4 bytes": column.LZ4_BYTES,
    "lz4 bits": column.LZ4_BITS,
    "zstd": column.ZSTD,
    "zstd bytes": column.ZSTD_BYTES,
    "zstd bits": column.ZSTD_BITS,
    "pcodec": column.PCO,
    "pcodec 8": column.PCO._replace(level=8),
    "palette": column.COLORS,
    "planes": column.SPLIT,
}
_SHUFFLES = ("", " bytes", " bits")


def columns(folder: Path, rows: int) -> Iterator[tuple[str, Array]]:
    """(name, column) of leaves of about ``rows`` neurons; ``folder`` is for engrams."""
    yield from _targets(folder, rows)
    random = np.random.default_rng(1)
    synapses = 12 * rows
    drawn = random.uniform(0.5, 1.5, synapses).astype(np.float32)
    changed = random.normal(1, 0.5, synapses).clip(0, 2)
    yield "weights: even", drawn
    yield "weights: normal", random.normal(1, 0.2, synapses).astype(np.float32)
    yield "weights: log-normal", random.lognormal(0, 1, synapses).astype(np.float32)
    yield "weights: rounded to float16", drawn.astype(np.float16).astype(np.float32)
    yield "weights: 255 levels", (np.rint(random.normal(0, 30, synapses)).clip(-127, 127) * 0.01).astype(np.float32)
    yield "weights: 16 levels", random.choice(np.linspace(0.5, 1.5, 16), synapses).astype(np.float32)
    yield "weights: 1 in 3 learned", np.where(random.random(synapses) < 0.3, changed, 1).astype(np.float32)
    yield "weights: 1 in 30 learned", np.where(random.random(synapses) < 0.03, changed, 1).astype(np.float32)
    yield "ids: 1 in 1000", np.sort(random.choice(1000 * rows, rows, replace=False)).astype(np.uint64)
    yield "ids: 9 in 10", np.sort(random.choice(rows * 10 // 9, rows, replace=False)).astype(np.uint64)
    yield "degrees: log-normal", random.lognormal(2.5, 1, rows).astype(np.uint32)
    yield "spike counts", random.geometric(0.01, rows).astype(np.uint32)
    yield "last spikes: anywhere", random.integers(0, 1000, rows)
    yield "last spikes: recent", 1_000_000 - random.geometric(0.01, rows)
    yield "traces: 19 in 20 zero", np.where(random.random(rows) < 0.95, 0, random.exponential(1, rows)).astype("f4")
    yield "traces: decaying", np.exp(-random.integers(0, 100, rows) / 20).astype(np.float32)
    wide = random.normal(0, 1, (max(rows // 24, 1), 768))
    yield "768 wide: float32", wide.astype(np.float32)
    yield "768 wide: float16", wide.astype(np.float16)


def _targets(folder: Path, rows: int) -> Iterator[tuple[str, Array]]:
    engramdb.create(folder / "small-world.engram", workload_bytes.spec(4 * rows)).close()
    leaf = _leaf(folder / "small-world.engram", rows)
    steps, far = to_steps(leaf.ids, leaf.indptr, leaf.target)
    yield "steps: small world", steps
    yield "far targets: small world", far
    random = np.random.default_rng(2)
    anywhere = np.sort(random.integers(0, 1_000_000, (rows, 12), dtype=np.uint64), axis=1).reshape(-1)
    yield "steps: random", to_steps(leaf.ids, np.arange(0, 12 * rows + 1, 12), anywhere)[0]
    degree = np.minimum(random.pareto(1.2, rows) * 4 + 1, 2000).astype(np.int64)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(degree)])
    popular = (1_000_000 * random.random(int(indptr[-1])) ** 4).astype(np.uint64)
    order = np.lexsort((popular, np.repeat(np.arange(rows), degree)))
    yield "steps: heavy tails", to_steps(leaf.ids, indptr, popular[order])[0]
    demo = Demo(folder / "demo")
    demo.import_connectome()
    worm = _leaf(demo.engram, rows)
    yield "steps: worm", to_steps(worm.ids, worm.indptr, worm.target)[0]
    yield "weights: worm", worm.weight


def _leaf(path: Path, rows: int) -> Records:
    """The first ``rows`` neurons of an engram's second leaf, or of the first if there is no other."""
    with Store.open(path) as store:
        leaves = store.scan()
        first = next(leaves)
        leaf = next(leaves, first)
    return leaf.part(0, min(rows, len(leaf)))


def chosen(array: Array) -> str:
    """The name of the codec that the store takes for a column."""
    codec, data = column.encode(array)
    if codec != column.BLOSC:
        return {column.PCODEC: "pcodec", column.PALETTE: "palette", column.PLANES: "planes", column.RAW: "raw"}.get(
            codec, "nothing"
        )
    # the flags of a Blosc frame: shuffle in bits 0 and 2, compressor in the upper three
    shuffle = 2 if data[2] & 4 else data[2] & 1
    return ("lz4", "zstd")[data[2] >> 5 == 4] + _SHUFFLES[shuffle]


def run(folder: Path, quick: bool) -> list[Figure]:
    """For each column and codec: bytes a value against the type's, millions of values decoded and encoded a second."""
    column.load_codecs()
    rows, repeats = (512, 1) if quick else (8192, 25)
    figures = []
    for name, array in columns(folder, rows):
        taken = chosen(array)
        values = array.size / 1e6
        for label, choice in CODECS.items():
            flat = array.reshape(-1)
            encoded = None
            if flat.itemsize > 1 or choice.codec == column.BLOSC:
                encoded = column.compress(choice, flat)
            if encoded is None:
                continue

            def decode(codec: int = choice.codec, data: bytes = encoded, flat: Array = flat) -> Array:
                return column.decode(codec, data, flat.dtype, flat.shape)

            if decode().tobytes() != flat.tobytes():
                raise AssertionError(f"{label} does not give {name} back")
            mark = f"{name}, {label}{' (taken)' if label == taken else ''}"
            encoding = timed(lambda choice=choice, flat=flat: column.compress(choice, flat), repeats)  # type: ignore[misc]
            figures += [
                one(mark, "B", len(encoded) / array.size, bound=float(array.itemsize), bound_name="raw"),
                Figure(f"{mark}, decoding", "M/s", tuple(values / seconds for seconds in timed(decode, repeats))),
                Figure(f"{mark}, encoding", "M/s", tuple(values / seconds for seconds in encoding)),
            ]
    return figures


def table(figures: Sequence[Figure]) -> list[str]:
    """The figures as a Markdown table: bytes a value and millions of values decoded a second, at best; bold: taken."""
    named = {figure.name: figure for figure in figures}
    sizes = [name for name in named if not name.endswith("coding")]
    cells: dict[str, dict[str, str]] = {}
    for name in sizes:
        shape, label = name.removesuffix(" (taken)").rsplit(", ", 1)
        speed = max(named[f"{name}, decoding"].samples)
        cell = f"{named[name].median:.2f} B {_rounded(speed)}"
        cells.setdefault(shape, {})[label] = f"**{cell}**" if name.endswith("(taken)") else cell
    head = ["column", *CODECS]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for shape, found in cells.items():
        lines.append("| " + " | ".join([shape, *(found.get(label, "") for label in CODECS)]) + " |")
    return lines


def _rounded(number: float) -> str:
    """Two digits."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.1f}"
