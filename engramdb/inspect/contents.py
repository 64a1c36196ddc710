"""What lies where: layers, leaves and arrays listed, and single records shown as they are stored."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import format_id
from engramdb.errors import InvalidInput, NotFound
from engramdb.inspect.storage import codec_name
from engramdb.interchange.hdf5file import Hdf5File, is_hdf5
from engramdb.naming import resolve
from engramdb.store import Store
from engramdb.store.pack import DELTA, LEAF, BadRecord, Record
from engramdb.store.reader import LeafReader
from engramdb.store.versions import LeafRef
from engramdb.url import located

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Listing:
    """``rows`` of one ``kind``: "layers", "leaves" or "arrays"; ``more`` of them are not listed."""

    kind: str
    rows: Rows
    more: int = 0


def list_contents(path: Path, where: str = "", *, at: str | int | None = None, limit: int = 100) -> Listing:
    """Layers; with ``where`` the leaves of a layer (``cortex``) or of a segment (``cortex/0``); arrays of an HDF5 file.

    At most ``limit`` of them. Nothing but the catalog is read. Raises NotFound.
    """
    if (file := _file(path, at)) is not None:
        with Hdf5File(file) as opened:
            arrays = [a for a in opened.arrays() if a[0].lstrip("/").startswith(where.lstrip("/"))]
        named = ({"array": n, "shape": list(s), "type": t, "bytes": b} for n, s, t, b in arrays[:limit])
        return Listing("arrays", list(named), max(0, len(arrays) - limit))
    with Store.open(located(path), at=at) as store:
        if not where:
            return Listing("layers", [_layer(store, layer.name) for layer in store.spec.layers])
        name, _, segment = where.partition("/")
        index = store.spec.layer(name).index
        leaves = iter(store.directory.leaves(index))
        if segment:
            if not segment.isdigit() or (index, int(segment)) not in store.bundles.sizes:
                raise NotFound(f"layer {name} has no segment {segment}")
            leaves = (leaf for leaf in leaves if leaf.low >> 32 == index << 16 | int(segment))
        rows = [_leaf(store, leaf) for leaf in itertools.islice(leaves, limit)]
        return Listing("leaves", rows, sum(1 for _ in leaves))


def _file(path: Path, at: str | int | None) -> Path | None:
    place = located(path)
    if not (place.is_file() and is_hdf5(place)):
        return None
    if at is not None:
        raise InvalidInput(f"{path} has no history, so there is no {at}")
    return place


def _layer(store: Store, name: str) -> dict[str, Any]:
    layer = store.spec.layer(name)
    sizes = {s: size for (index, s), size in store.bundles.sizes.items() if index == layer.index}
    found = {"records": 0, "synapses": 0, "leaves": 0, "bytes": 0}
    for leaf in store.directory.leaves(layer.index):
        found["records"] += leaf.rows
        found["synapses"] += leaf.synapses
        found["leaves"] += 1
        found["bytes"] += leaf.length
    about = {"layer": name, "index": str(layer.index), "model": layer.model}
    return {**about, "segments": len(sizes), "declared": sum(sizes.values()), **found}


def _leaf(store: Store, ref: LeafRef) -> dict[str, Any]:
    return {
        "leaf": str(ref.leaf), "kind": "delta" if ref.kind == DELTA else "whole", "first": format_id(ref.first),
        "last": format_id(ref.last), "records": ref.rows, "synapses": ref.synapses, "bytes": ref.length,
        "commit": str(ref.commit), "where": store.reader.where(ref),
    }  # fmt: skip


def dump(path: Path, what: str, *, at: str | int | None = None, limit: int = 10) -> dict[str, Any]:
    """One thing as it is stored: a neuron's record (an id, or a label), ``leaf/17``, ``spec``, ``bundles``, ``state``.

    Of arrays the first ``limit`` values. Raises NotFound where there is nothing stored of that name, LeafDamaged.
    """
    if (file := _file(path, at)) is not None:
        with Hdf5File(file) as opened:
            return _named(opened, opened.inflight, what, limit, "see also ls, and h5dump")
    with Store.open(located(path), at=at) as store:
        kind, _, number = what.partition("/")
        if kind == "leaf" and number.isdigit():
            return _leaf_dump(store, int(number), limit)
        if what in ("spec", "bundles", "state"):
            return _named(store, store.read_state, what, limit, "")
        return _neuron_dump(store, what, limit)


def _named(source: Any, state: Any, what: str, limit: int, else_: str) -> dict[str, Any]:
    if what == "spec":
        return {"spec": source.spec.to_document()}
    if what == "bundles":
        return {"bundles": json.loads(source.bundles.to_json())}
    if what == "state":
        return {"state": {name: _values(array, limit) for name, array in state().items()}}
    raise NotFound(f"{what}: there is spec, bundles and state; {else_}")


def _values(array: npt.NDArray[Any], limit: int) -> dict[str, Any]:
    """An array by its type, its shape and its first values; ids as text."""
    first = array.reshape(-1)[:limit].tolist()
    return {"type": array.dtype.str, "shape": list(array.shape), "first": first}


def _versions(reader: LeafReader, ref: LeafRef) -> Iterator[tuple[LeafRef, Record]]:
    """A leaf's version, and those beneath it down to a whole one."""
    now: LeafRef | None = ref
    while now is not None:
        try:
            record, now = reader.record(now)
        except BadRecord as error:
            raise reader.damaged(now, error) from error
        yield now, record
        now = None if now.kind == LEAF else reader.beneath(now)


def _leaf_dump(store: Store, number: int, limit: int) -> dict[str, Any]:
    ref = store.directory.numbered(number)
    if ref is None:
        raise NotFound(f"{store.path.name} has no leaf {number} here; ls LAYER lists those there are")
    versions = []
    for now, record in _versions(store.reader, ref):
        columns = []
        for name, column in record.columns.items():
            try:
                values = _values(record.column(name), limit)
            except BadRecord as error:
                raise store.reader.damaged(now, error) from error
            columns.append({"column": name, **values, "codec": codec_name(record, name), "bytes": column.nbytes})
        versions.append({**_leaf(store, now), "columns": columns})
    return {"leaf": number, "versions": versions}


def _neuron_dump(store: Store, what: str, limit: int) -> dict[str, Any]:
    ids = resolve([what], store)
    if not store.bundles.exists(ids).all():
        raise NotFound(f"{store.path.name} declares no neuron {what}")
    found = store.find(ids)
    if not len(found):
        raise NotFound(f"neuron {format_id(int(ids[0]))} has no record: it is virtual; query shows it")
    ((ref, _, _),) = store.directory.locate(ids)
    spec = store.spec
    synapses = [
        {"target": format_id(t), "weight": w, "delay_ticks": d, "projection": spec.all_projections[p].name}
        for t, w, d, p in zip(
            found.target[:limit].tolist(),
            found.weight[:limit],
            spec.ticks_of(found.projection, found.delay)[:limit].tolist(),
            found.projection[:limit].tolist(),
            strict=True,
        )
    ]
    return {
        "id": format_id(int(ids[0])),
        "label": store.labels_of(ids)[0],
        "leaf": ref.leaf,
        "where": store.reader.where(ref),
        "commit": ref.commit,
        "row": {1: "stored", 2: "generated"}.get(int(found.row_kind[0]), str(found.row_kind[0])),
        "state": {name: np.asarray(column[0]).tolist() for name, column in found.state.items()},
        "synapses": synapses,
        "more_synapses": max(0, found.synapses - limit),
    }
