"""T5: inputs to layers of receptive vectors, and what they learn, beside the memory that must be read and written.

And the figures of the documents that asked for them, beside what is measured here: their 100,000 neurons, their sample
of an ultra-sparse layer (100 billion addressable neurons of which 4 x 2048 are active), and their 896 neurons.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

import engramdb
from engramdb.kernels import bound
from engramdb.layerhandle import LayerHandle
from engramdb.receptive import Receptive
from engramdb.sizing.figure import Figure, one, scaled, timed
from engramdb.spec import Layer, Spec

NEURONS, DIMENSION = 100_000, 768
FIRING = 0.084
THREADS = 2
_SEGMENT = 4_000_000_000
_ERROR_SD = 3.6e-4  # with which the documents' own rule, a scalar added to all of w, gives their mean


def layer_of(name: str, neurons: int, weights: str = "float32") -> Layer:
    """Neurons that forget within a tick, so that every input meets the same layer."""
    params = {"dimension": DIMENSION, "tau": 0.05, "refractory": 0.0}
    sizes = [_SEGMENT] * (neurons // _SEGMENT) + [neurons % _SEGMENT] * bool(neurons % _SEGMENT)
    return Layer(name, model="dense_lif", params=params, segments=sizes, weights=weights)


def input_for(layer: LayerHandle, firing: float) -> npt.NDArray[np.float32]:
    """A binary pattern, one place in twenty, as strong as lets that part of the layer fire."""
    pattern = (np.random.default_rng(1).random(DIMENSION) < 0.05).astype(np.float32)
    currents = layer.forward(1e-3 * pattern).currents
    return np.asarray(pattern * (15e-3 / np.quantile(currents, 1 - firing)), dtype=np.float32)


def read_bound(receptive: Receptive) -> float:
    """Seconds to read all vectors once, on as many threads as the engine has."""
    words = _words(receptive).reshape(-1)
    return timed(lambda: receptive._workers.each(lambda _, a, b: bound.read(words, a, b), len(words)), 1)[0]


def change_bound(receptive: Receptive, rows: npt.NDArray[np.int64]) -> float:
    """Seconds to read and write the vectors of some neurons, twice: what is changed is changed back."""
    words = _words(receptive)

    def change() -> None:
        receptive._workers.each(lambda _, a, b: bound.change_rows(words, rows, a, b), len(rows))

    return sum(timed(change, 2)) / 2


def _words(receptive: Receptive) -> npt.NDArray[np.uint64]:
    assert receptive._resident is not None, "all vectors are in RAM"
    return receptive._resident.w.view(np.uint64)


def in_turns(e: engramdb.Engram, repeats: int, kind: str) -> list[Figure]:
    """Forward and backward of a whole layer, and their bounds, by turns."""
    layer, receptive = e.layer("dense"), e._live.receptive["dense"]
    x = input_for(layer, FIRING)
    shown = np.ascontiguousarray(x[None])
    for _ in range(3):
        fired = layer.forward(x).fired
        layer.backward(x, 1e-6)
    rows = fired.astype(np.int64)
    read_bound(receptive), change_bound(receptive, rows)
    samples: list[list[float]] = [[] for _ in range(6)]
    bounds, forward, calls, changed, learned, acknowledged = samples
    error = np.full(len(fired), 1e-6, dtype=np.float32)
    for _ in range(repeats):
        bounds.append(read_bound(receptive))
        forward += timed(lambda: receptive.currents(shown), 1)
        calls += timed(lambda: layer.forward(x), 1)
        changed.append(change_bound(receptive, rows))
        learned += timed(lambda: receptive.learn(fired, error, shown, receptive.eta), 1)
        layer.forward(x)
        acknowledged += timed(lambda: layer.backward(x, 1e-6), 1)
    least, moved = 1e3 * statistics.median(bounds), 1e3 * statistics.median(changed)
    return [
        one(f"{kind}: neurons that fire", "%", 100 * len(fired) / len(layer)),
        Figure(f"{kind}: forward, all currents", "ms", scaled(forward, 1e3), least, "reading", "<= 1.15 x reading"),
        Figure(f"{kind}: forward, with its tick, durable", "ms", scaled(calls, 1e3), least, "reading"),
        Figure(f"{kind}: backward", "ms", scaled(learned, 1e3), moved, "reading and writing", "<= 1.5 x that"),
        Figure(f"{kind}: backward, durable", "ms", scaled(acknowledged, 1e3), moved, "reading and writing"),
    ]


def narrower(wide: engramdb.Engram, narrow: engramdb.Engram, repeats: int) -> Figure:
    """How many times as fast all currents are with the weights of ``narrow``, by turns."""
    times = []
    shown = [np.ascontiguousarray(input_for(e.layer("dense"), FIRING)[None]) for e in (wide, narrow)]
    receptive = [e._live.receptive["dense"] for e in (wide, narrow)]
    for _ in range(repeats):
        one_, other = (timed(lambda r=r, x=x: r.currents(x), 1)[0] for r, x in zip(receptive, shown, strict=True))  # type: ignore[misc]
        times.append(one_ / other)
    return Figure("forward, float16 against float32", "x", tuple(times), goal=">= 1.6 x as fast")


def whole_layers(folder: Path, neurons: int, repeats: int) -> list[Figure]:
    """A layer of which all neurons are active, with float32 weights and with narrower ones."""
    figures: list[Figure] = []
    with ExitStack() as opened:
        engrams = []
        for kind in ("float32", "float16"):
            spec = Spec(seed=1, layers=[layer_of("dense", neurons, kind)])
            made = engramdb.create(folder / f"{kind}.engram", spec, memory="8GiB", threads=THREADS)
            engrams.append(opened.enter_context(made))
            engrams[-1].activate(np.arange(neurons), w=(0.0, 0.1))
            figures += in_turns(engrams[-1], repeats, kind)
        figures.append(narrower(engrams[0], engrams[1], repeats))
        held = 1e-6 * engrams[0].stats()["kept_bytes"]
    for name, claimed in (("forward, with its tick", 95.0), ("backward, durable", 120.0)):
        samples = next(figure.samples for figure in figures if figure.name.startswith(f"float32: {name}"))
        figures.append(Figure(f"documents' 10^5 neurons: {name}", "ms", samples, claimed, "claimed"))
    figures.append(one("documents' 10^5 neurons: memory", "MB", held, bound=6.2, bound_name="claimed"))
    return figures


def ultra_sparse(folder: Path, repeats: int) -> list[Figure]:
    """100 billion addressable neurons in four layers, 2048 of each active: their forward, and what they learn."""
    layers = [layer_of(f"layer{i}", 25_000_000_000) for i in range(4)]
    random = np.random.default_rng(2)
    began = folder / "sparse.engram"
    with engramdb.create(began, Spec(seed=1, layers=layers), memory="256MiB", threads=THREADS) as e:
        for i in range(4):
            some = np.unique(random.integers(0, 4_000_000_000, 4096, dtype=np.uint64))[:2048]
            e.activate(some | np.uint64(i << 48), w=(0.0, 0.1))
        inputs = [input_for(e.layer(f"layer{i}"), 1.0) for i in range(4)]

        def forward() -> None:
            for i in range(4):
                e.layer(f"layer{i}").forward(inputs[i])

        forward()
        samples = scaled(timed(forward, repeats), 1e3)
        e.layer("layer3").forward(inputs[3])
        fired = e._live.fired_of(e._live.receptive["layer3"])
        error = random.normal(0, _ERROR_SD, len(fired)).astype(np.float32)
        everything = np.ones(DIMENSION, dtype=np.float32)  # with such an x the documents' rule is ours
        learned = e.layer("layer3").backward(everything, error, eta=0.05)
        resident = 1e-6 * e.stats()["used_bytes"]
    stored = sum(file.stat().st_size for file in began.rglob("*") if file.is_file())
    p95 = float(np.percentile(samples, 95))
    return [
        Figure("documents' 4 x 2048 of 10^11: forward", "ms", samples, 5.9, "claimed"),
        one("documents' 4 x 2048 of 10^11: forward, p95", "ms", p95, bound=6.2, bound_name="claimed"),
        one("documents' 4 x 2048 of 10^11: memory", "MB", resident, bound=28_900.0, bound_name="claimed"),
        one("documents' 4 x 2048 of 10^11: on disk", "MB", 1e-6 * stored),
        one("documents' 4 x 2048 of 10^11: mean |dw|", "1", learned.mean, bound=4.0e-4, bound_name="claimed"),
        one("documents' 4 x 2048 of 10^11: p95 |dw|", "1", learned.p95, bound=1.0e-3, bound_name="claimed"),
    ]


def standard(folder: Path, repeats: int) -> list[Figure]:
    """896 neurons."""
    spec = Spec(seed=1, layers=[layer_of("dense", 896)])
    with engramdb.create(folder / "standard.engram", spec, threads=1) as e:
        e.activate(np.arange(896), w=(0.0, 0.1))
        layer, receptive = e.layer("dense"), e._live.receptive["dense"]
        x = input_for(layer, FIRING)
        shown = np.ascontiguousarray(x[None])
        layer.forward(x)
        return [
            Figure("documents' 896 neurons: all currents", "ms",
                   scaled(timed(lambda: receptive.currents(shown), repeats), 1e3), 0.0008, "claimed"),
            Figure("documents' 896 neurons: forward, durable", "ms",
                   scaled(timed(lambda: layer.forward(x), repeats), 1e3), 0.0008, "claimed"),
            one("documents' 896 neurons: memory", "MB", 1e-6 * receptive.nbytes, bound=6.0, bound_name="claimed"),
        ]  # fmt: skip


def run(folder: Path, quick: bool) -> list[Figure]:
    """Milliseconds of forward and backward, and the documents' figures."""
    neurons, repeats = (4_000, 3) if quick else (NEURONS, 15)
    return [*whole_layers(folder, neurons, repeats), *ultra_sparse(folder, 20), *standard(folder, 20)]
