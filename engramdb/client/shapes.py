"""From JSON to what a local engram returns: ids as uint64 arrays, weights as float32, and the same classes."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, as_ids
from engramdb.query.edges import Direction
from engramdb.query.neurons import Neuron, Neurons
from engramdb.query.synapses import Synapses
from engramdb.query.walk import Ego, Path
from engramdb.run import Run

if TYPE_CHECKING:
    from engramdb.difference import Diff, LayerDiff, Place
    from engramdb.topology.reading import Reading

Document = Mapping[str, Any]


def ids_of(texts: Sequence[Any]) -> IdArray:
    """uint64 (n,) of decimal texts."""
    return np.array([int(text) for text in texts], dtype=np.uint64)


def named(ids: Any) -> list[str]:
    """What goes out for ``ids``: text ids and labels as they are, numbers and arrays as decimal text."""
    if isinstance(ids, str):
        return [ids]
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "UST":
        return [str(one) for one in ids.ravel()]
    if isinstance(ids, (list, tuple)) and any(isinstance(one, str) for one in ids):
        return [text for one in ids for text in named(one)]
    return [str(one) for one in as_ids(ids).tolist()]


def numbers(value: Any) -> Any:
    """A number, or an array as a list, as JSON takes it."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def neuron_of(document: Document) -> Neuron:
    """One neuron. Its fields are float32 there, so the shortest number that stands for one is made that one again."""
    fields = {
        name: float(np.float32(value)) if isinstance(value, float) else value
        for name, value in document["fields"].items()
    }
    return Neuron(
        id=int(document["id"]), label=document.get("label"), state=document["state"], fields=fields,
        out_degree=int(document["out_degree"]),
    )  # fmt: skip


def neurons_of(documents: Sequence[Document], models: Mapping[str, str]) -> Neurons:
    """Many neurons; ``models``: of each layer, by name."""
    names = dict.fromkeys(name for one in documents for name in one["fields"])
    fields = {name: _column([one["fields"].get(name) for one in documents], name) for name in names}
    return Neurons(
        ids=ids_of([one["id"] for one in documents]), state=[one["state"] for one in documents], fields=fields,
        out_degree=np.array([one["out_degree"] for one in documents], dtype=np.int64),
        models=[models[one["layer"]] for one in documents],
    )  # fmt: skip


_DTYPES: dict[str, npt.DTypeLike] = {"spike_count": np.uint32, "last_spike": np.int64, "refractory": np.int32}


def _column(values: Sequence[Any], name: str) -> npt.NDArray[Any]:
    if any(value is None for value in values):  # a field that some models have not
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array(values, dtype=_DTYPES.get(name, np.float32))


def synapses_of(neuron_id: int, direction: str, rows: Sequence[Document], dt_ms: float) -> Synapses:
    """The synapses of one neuron, of all pages."""
    far = "post" if direction == "out" else "pre"
    return Synapses(
        id=neuron_id, direction=direction, partners=ids_of([one[far] for one in rows]),
        weights=np.array([one["weight"] for one in rows], dtype=np.float32),
        delays=np.array([round(one["delay_ms"] / dt_ms) for one in rows], dtype=np.int64),
        projections=[one.get("projection") or "" for one in rows],
    )  # fmt: skip


def ego_of(document: Document, direction: Direction, hops: int, dt_ms: float, projections: Mapping[str, int]) -> Ego:
    """The surroundings of a neuron. ``projections``: their numbers in the spec, by name."""
    neurons, synapses = document["neurons"], document["synapses"]
    return Ego(
        center=int(document["center"]), direction=direction, hops=hops, ids=ids_of([one["id"] for one in neurons]),
        hop=np.array([one["hops"] for one in neurons], dtype=np.int64),
        pre=ids_of([one["pre"] for one in synapses]), post=ids_of([one["post"] for one in synapses]),
        weight=np.array([one["weight"] for one in synapses], dtype=np.float32),
        delay=np.array([round(one["delay_ms"] / dt_ms) for one in synapses], dtype=np.int64),
        projection=np.array([projections[one["projection"]] for one in synapses], dtype=np.int64),
        truncated=bool(document["truncated"]),
    )  # fmt: skip


def path_of(document: Document) -> Path:
    """A way along synapses."""
    return Path(
        ids=ids_of(document["ids"]), weights=np.array(document["weights"], dtype=np.float32),
        strength=float(document["strength"]), visited=int(document["visited"]),
    )  # fmt: skip


def run_of(document: Document, dt_ms: float) -> Run:
    """What came out of a run."""
    ticks = int(document["ticks"])
    spikes = document.get("spikes") or {"tick": [], "id": []}
    return Run(
        first_tick=int(document["tick"]) - ticks + 1, ticks=ticks, dt_ms=dt_ms,
        counts=np.array(document.get("counts") or [0] * ticks, dtype=np.int64),
        spikes=(np.array(spikes["tick"], dtype=np.int64), ids_of(spikes["id"])),
        elapsed=float(document["elapsed_s"]), interrupted=False,
        stats={"topology": document["topology"][-1]} if document.get("topology") else {},
        population={name: np.array(column, dtype=np.int64) for name, column in (document.get("rates") or {}).items()},
    )  # fmt: skip


def column_of(column: Any) -> npt.NDArray[Any]:
    """A column of Arrow as NumPy; what is missing is not a number."""
    found: npt.NDArray[Any] = column.to_numpy()
    return found.astype(str) if found.dtype == object else found


def reading_of(document: Document) -> Reading:
    """A reading of the topology."""
    from engramdb.topology.clusters import Coarse
    from engramdb.topology.graph import Shape
    from engramdb.topology.patches import Patch
    from engramdb.topology.probe import Probed
    from engramdb.topology.reading import Reading
    from engramdb.topology.sentinels import Sentinels

    def made(kind: Any, one: Document) -> Any:
        given = {field.name: one[field.name] for field in fields(kind)}
        return kind(**{name: made(Shape, value) if isinstance(value, dict) else value for name, value in given.items()})

    found = {field.name: document[field.name] for field in fields(Reading)} | {
        "weights": tuple(document["weights"]), "coarse": made(Coarse, document["coarse"]),
        "patches": tuple(made(Patch, {**one, "seed": int(one["seed"])}) for one in document["patches"]),
        "sentinels": made(Sentinels, document["sentinels"]), "probe": made(Probed, document["probe"]),
    }  # fmt: skip
    return Reading(**found)


def diff_of(document: Document, path: pathlib.Path) -> Diff:
    """What differs between two commits."""
    from engramdb.difference import Diff, InFlight, TracesDiff

    traces = {name: tuple(document["traces"][name]) for name in ("added", "removed", "changed")}
    flight: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document["in_flight"].items()}
    return Diff(
        path, _place(document["from"]), _place(document["to"]),
        {one["name"]: _layer_diff(one) for one in document["layers"]}, InFlight(**flight), TracesDiff(**traces),
    )  # fmt: skip


def _place(one: Document) -> Place:
    from engramdb.difference import Place

    return Place(str(one["name"]), int(one["commit"]), int(one["line"]), int(one["tick"]))


def _layer_diff(one: Document) -> LayerDiff:
    from engramdb.difference import LayerDiff, WeightChange
    from engramdb.inspect.histogram import Histogram

    given = one["weights"]
    weights = WeightChange(
        given["count"], given["mean"], given["std"], given["minimum"], given["maximum"],
        {float(fraction): value for fraction, value in given["quantiles"].items()},
        Histogram(tuple(given["histogram"]["edges"]), tuple(given["histogram"]["counts"])),
    )  # fmt: skip
    derived = ("weights", "synapses_reweighted")
    return LayerDiff(**{name: value for name, value in one.items() if name not in derived}, weights=weights)
