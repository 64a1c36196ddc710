"""Makes the archives of the present format: ``python -m tests.archives.make``. Refuses to replace one that is there.

The first engram has everything a store can have: layers of all three weight types, virtual, generated and stored rows,
deltas of every depth, a split leaf, a tombstone, labels, snapshots, two branches, a line that was left, and a journal
with frames. The second has everything a network can have besides: delays of each synapse, models with one and with two
fields more, parameters of each neuron, and input of every kind under way, in commits and in the journal. The third has
what came with format 2: named traces and a reverse index.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb import Layer, Projection, SmallWorld, Spec
from engramdb.store import FORGOTTEN, Records, Store

FOLDER = Path(__file__).parent
NAME = "archive.engram"


def spec() -> Spec:
    """Three layers, one of each weight type."""
    near = SmallWorld(k=4, long_fraction=0.2, span=20, weight=(1.0, 6.0))
    layers = [
        Layer("plain", segments=[9000, 50], wiring=near, materialize=True),
        Layer("half", index=40_000, segments=[400], wiring=near, weights="float16"),
        Layer("bytes", index=65_535, segments=[400], wiring=near, weights="int8", weight_step=0.05),
    ]
    to_half = Projection("plain", "half", engramdb.FixedOutdegree(k=2), weight=(2.0, 9.0), delay_ms=3.0)
    return Spec(seed=11, layers=layers, projections=[to_half])


def make(path: Path) -> None:
    """The engram at ``path``, closed as by a kill: its journal has frames that no commit covers."""
    with engramdb.create(path, spec()) as e:
        for tick in range(6):
            e.stimulate(np.arange(tick, 9000, 97), 30.0)
            e.run(2)
            e.checkpoint(f"round {tick}")
        e.snapshot("driven")
        e.connect([1, 2, 3], [4, 5, 6], [1.5, -2.5, 0.1])
        half, small = 40_000 << 48, 65_535 << 48
        e.connect(half + 1, half + 2, 0.1)
        e.connect(small + 1, small + 2, 0.12)
        e.branch("what-if")
        e.run(3)
        e.restore("driven")
        e.run(5)
        e.snapshot("again")
    with Store.open(path, "r+") as store:
        store.write_labels(0, [(np.arange(20, dtype=np.int64) * 3, np.arange(20, dtype=np.uint64))])
        ids = np.arange(50, dtype=np.uint64) | np.uint64(1 << 32)
        store.write(Records.of_state(ids, {}, FORGOTTEN))  # a segment's only leaf ends
        store.commit_state(store.commit.tick, store.read_state(), store.bundles, "labels, and an end")
    e = engramdb.open(path, "r+")
    e.stimulate([7, 8, 9], 25.0, at=e.tick + 2, duration=2)
    e.run(4)
    e.set_weight(0, e.synapses(0).targets[0], 3.25)
    e._shut()


def rich_spec() -> Spec:
    """Three layers, each of another model."""
    near = SmallWorld(k=6, long_fraction=0.2, span=20, weight=(1.0, 8.0))
    layers = [
        Layer("lif", segments=[500], wiring=near, delay_ms=(1.0, 9.0), columns=["bias", "tau"]),
        Layer("quadratic", index=3, segments=[150], model="izhikevich", columns=["d"]),
        Layer("conductance", index=7, segments=[100], model="lif_cond"),
    ]
    projections = [
        Projection("lif", "quadratic", engramdb.FixedOutdegree(k=3), weight=(4.0, 16.0), delay_ms=(1.0, 300.0)),
        Projection("quadratic", "conductance", engramdb.FixedOutdegree(k=3), weight=40.0, delay_ms=2.0),
        Projection("conductance", "lif", engramdb.FixedOutdegree(k=2), weight=(0.5, 4.0), sign=-1, delay_ms=3.0),
    ]
    return Spec(seed=12, layers=layers, projections=projections)


def make_rich(path: Path) -> None:
    """The engram at ``path``, closed as by a kill, with input of every kind under way."""
    second, third = 3 << 48, 7 << 48
    with engramdb.create(path, rich_spec()) as e:
        e.set_parameters(range(0, 500, 3), bias=np.linspace(-3.0, 11.0, 167), tau=np.linspace(4.0, 40.0, 167))
        e.set_parameters(np.arange(0, 150, 2) + second, d=3.0)
        e.poisson(range(0, 500, 5), np.linspace(5.0, 400.0, 100), 12.0)
        e.poisson(np.arange(0, 100, 4) + third, 300.0, 60.0, at=4, duration=400)
        e.play(np.arange(60) * 8, np.arange(60) * 3 + 2, np.linspace(5.0, 30.0, 60))
        e.stimulate(np.arange(20) + second, [6.0, 9.0], duration=[15, None], at=5)
        e.run(40)
        e.checkpoint("driven")
        e.connect([1, 2, 3], [4, 5, 6], [1.5, 2.5, 6.0], delay_ms=[9, 1, 4])
        e.connect(range(20), second + 7, 9.0, delay_ms=250)
        e.snapshot("under way")
        e.branch("what-if")
        stopped = e.stimulate(range(40), 2.0, duration=None)
        e.run(30)
        e.stop_stimuli(stopped)
        e.checkpoint("stopped", wait=False)
        e.run(10)
    e = engramdb.open(path, "r+")
    e.poisson(range(1, 500, 5), 40.0, 20.0)
    e.play([7, 8, 9, 9], e.tick + np.array([2, 30, 5, 5]), 25.0)
    e.run(4)
    e.set_parameters(range(0, 60, 3), bias=np.nan)
    e.connect(8, 9, 3.25, delay_ms=2)
    e.stop_stimuli(1)
    e.run(3)
    e._shut()


def make_remembering(path: Path) -> None:
    """The engram at ``path``, with named traces and a reverse index, in commits, on two branches and in the journal."""
    near = SmallWorld(k=4, long_fraction=0.2, span=20, weight=(1.0, 6.0))
    layers = [Layer("cortex", segments=[600], wiring=near), Layer("other", index=9, segments=[300])]
    joins = [Projection("cortex", "other", engramdb.Explicit()), Projection("other", "cortex", engramdb.Explicit())]
    other = 9 << 48
    with engramdb.create(path, Spec(seed=13, layers=layers, projections=joins)) as e:
        e.connect(np.arange(0, 600, 2), np.arange(300) + other, np.linspace(1.0, 5.0, 300))
        e.imprint("odor", range(40))
        e.imprint("light", np.arange(10, 60) + other)
        e.index()
        e.snapshot("indexed")
        e.connect(np.arange(80) + other, np.arange(80) % 7, 2.0)
        e.imprint("odor", range(5, 45), replace=True)
        e.checkpoint("touched")
        e.branch("what-if")
        e.restore("indexed")
        e.connect(range(50), other + 3, 1.5)
        e.forget_trace("light")
        e.snapshot("again")
        e.index()
        e.imprint("burst", [1, other + 1])
        e.stimulate(range(40), 25.0)
        e.run(5)
    e = engramdb.open(path, "r+")
    e.imprint("late", range(100, 120))
    e.connect(7, other + 9, 3.0)
    e.run(2)
    e._shut()


def contents(path: Path) -> dict[str, Any]:
    """All that is in the engram, as digests, by branch and snapshot."""
    with Store.open(path) as store:
        names: list[str | None] = [None, *(snapshot.name for snapshot in store.snapshots())]
        branches = {branch.name: branch.head for branch in store.branches()}
        commits = [(c.number, c.parent, c.tick, c.message) for c in store.log()]
        frames = [(frame.sequence, frame.kind, frame.tick) for frame in store.journal_frames()]
        labels = store.labels_of(np.arange(25, dtype=np.uint64))
    past = {"now" if name is None else name: _digests(path, at=name) for name in names}
    past["branch what-if"] = _digests(path, branch="what-if")
    return json.loads(
        json.dumps({"branches": branches, "log": commits, "journal": frames, "labels": labels, "past": past})
    )


def _digests(path: Path, **where: Any) -> dict[str, Any]:
    with engramdb.open(path, **where) as e:
        found: dict[str, Any] = {"tick": e.tick}
        for layer in e.spec.layers:
            neurons = []
            for segment in layer.segments:
                first = layer.index << 48 | segment.index << 32
                neurons.append(np.arange(segment.size, dtype=np.uint64) + np.uint64(first))
            ids = np.concatenate(neurons)
            many = e.neurons(ids)
            columns = {name: column.tobytes() for name, column in sorted(many.fields.items())}
            rows = [e.synapses(int(neuron)) for neuron in ids[:: max(1, ids.size // 40)]]
            columns["state"] = ",".join(many.state).encode()
            columns["targets"] = np.concatenate([row.targets for row in rows]).tobytes()
            columns["weights"] = np.concatenate([row.weights for row in rows]).tobytes()
            if e.spec.varying_delays:
                columns["delays"] = np.concatenate([row.delays for row in rows]).tobytes()
            for name in layer.columns:
                columns[f"own {name}"] = e.parameters(ids)[name].tobytes()
            if e.traces():
                incoming = [e.synapses(int(neuron), "in").sources for neuron in ids[:: max(1, ids.size // 40)]]
                columns["sources"] = np.concatenate(incoming).tobytes()
                columns["traces"] = repr([(t.name, t.tick, t.ids.tolist()) for t in e.traces()]).encode()
            found[layer.name] = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in columns.items()}
    return found


def future(path: Path) -> list[list[int]]:
    """What the next ticks bring, once the journal is replayed."""
    with engramdb.open(path, "r+") as e:
        e.stimulate(np.arange(0, e.sizes[0, 0], 31), 30.0)
        run = e.run(10, record=("spikes",))
    return [run.counts.tolist(), [int(hashlib.sha256(run.spikes[1].tobytes()).hexdigest()[:12], 16)]]


MAKERS = {"format-1": make, "format-1-rich": make_rich, "format-2": make_remembering}


def main() -> int:
    """Write both files of each archive that is not there."""
    for name, maker in MAKERS.items():
        archive = FOLDER / f"{name}.tar.gz"
        if archive.exists():
            sys.stderr.write(f"{archive} exists, and is never made again\n")
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / NAME
            maker(path)
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(path, NAME)
            document = {"contents": contents(path), "future": future(path)}
        (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
