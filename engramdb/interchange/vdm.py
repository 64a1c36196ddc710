"""Engrams of the Prometheus VDM runtime, in and out: ``state_<step>.h5`` and ``.npz``.

Its connectome has a number W for each neuron and, sparse, neighbours (``row_ptr``, ``col_idx``) or, dense, an adjacency
matrix A and weights E of its pairs. ``docs/interchange.md`` says what each of them becomes here.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.bulk import Progress, never_fired
from engramdb.errors import InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.interchange.everyrow import Positions, every_row
from engramdb.interchange.exported import Exported
from engramdb.interchange.newfile import new_file
from engramdb.interchange.origin import Imported, check_source, import_origin
from engramdb.interchange.vdmfile import Hdf5Arrays, NpzArrays, VdmArrays, write_hdf5, write_npz
from engramdb.keptfields import at_birth
from engramdb.layer import Layer
from engramdb.rules import Explicit
from engramdb.spec import Spec
from engramdb.store import FIELD, OWN, Records, Store
from engramdb.store.labels import Batches
from engramdb.url import located

LAYER = "vdm"
FIELDS = (OWN + "W",)
"""The column in which W is kept, as float64, where the layer is not void."""

_VOID_FIELDS = (FIELD + "W", FIELD + "prev_W", FIELD + "mu", FIELD + "var")

_MARK = "vdm: "  # before the JSON of what has no place elsewhere, in the spec's description
_NEURONS_A_PIECE, _SYNAPSES_A_PIECE = 1 << 15, 1 << 20


def import_vdm(
    src: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    memory: str | int = "1GiB",
    progress: Progress | None = None,
) -> Imported:
    """Make a new engram at ``path`` of the VDM engram ``src`` (.h5 or .npz), streamed.

    One layer of N neurons, ``void`` where all W lie in 0..1, so that W is its field, else ``lif`` with W as a stored
    column; a synapse of weight 1 for each neighbour, or of weight E for each
    pair in A; the step in the file's name is the tick. The attributes and ``adc_json`` are kept for the way back. Whole
    or not at all; killed, the same one goes on. Raises InvalidInput, NotFound, AlreadyExists, DiskFull.
    """
    src = Path(src)
    purpose = {**check_source(src), "seed": seed}
    with ExitStack() as stack:
        arrays: NpzArrays | Hdf5Arrays
        arrays = stack.enter_context(NpzArrays(src)) if src.suffix == ".npz" else stack.enter_context(Hdf5Arrays(src))
        return import_origin(VdmEngram(arrays, src, seed), src, Path(path), purpose, memory=memory, progress=progress)


class VdmEngram:
    """What a VDM file is as an engram; see :class:`~engramdb.interchange.origin.Origin`."""

    def __init__(self, arrays: VdmArrays, src: Path, seed: int) -> None:
        self._arrays, self._path = arrays, src
        n = arrays.shape("W")[0]
        if int(arrays.attributes.get("N", n)) != n or not 1 <= n < 1 << 32:
            raise InvalidInput(f"{src}: W has {n} values, and N is {arrays.attributes.get('N')}")
        expected = {"row_ptr": (n + 1,)} if arrays.sparse else {"A": (n, n), "E": (n, n)}
        for name, shape in expected.items():
            if arrays.shape(name) != shape:
                raise InvalidInput(f"{src}: {name} has shape {arrays.shape(name)}; expected {shape}")
        kept = {"sparse": arrays.sparse, **{k: v for k, v in arrays.attributes.items() if k != "N"}}
        if arrays.adc_json is not None:
            kept["adc_json"] = arrays.adc_json
        self._void = _within(arrays)
        layer = Layer(LAYER, 0, "void" if self._void else "lif", segments=[n], wiring=Explicit())
        about = f"imported from the VDM engram {src.name}\n{_MARK}{json.dumps(kept)}"
        self.spec = Spec(seed, [layer], name=src.stem, description=about)
        self.bundles = Bundles.initial(self.spec)
        step = re.fullmatch(r"state_(\d+)", src.stem)
        self.tick = int(step[1]) if step else 0
        self.synapses: int | None = arrays.shape("col_idx")[0] if arrays.sparse else None
        self.notes: tuple[str, ...] = (
            () if self._void else ("some W lie outside 0..1: the layer is lif, and W a column of its records",)
        )

    def records(self, behind: int, work: Path, room_bytes: int) -> Iterator[Records]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        rows = self._sparse(room_bytes) if self._arrays.sparse else self._dense(room_bytes)
        w = self._arrays.stream("W")
        for first, indptr, target, weight in rows:
            ids = np.arange(first, first + len(indptr) - 1, dtype=np.uint64)
            if len(target) and (target.min() < 0 or target.max() >= self._arrays.shape("W")[0]):
                raise InvalidInput(
                    f"{self._path}: a neighbour of {first}.. is outside 0..{self._arrays.shape('W')[0] - 1}"
                )
            records = never_fired(
                ids, indptr, np.zeros(len(target), np.uint16), target.astype(np.uint64), weight.astype(np.float32)
            )
            records.state.update(self._kept(w(len(ids))))
            skipped = min(behind, len(records))
            behind -= skipped
            if skipped < len(records):
                yield records.part(skipped, len(records))

    def _sparse(self, room_bytes: int) -> Iterator[tuple[int, Any, Any, Any]]:
        n = self._arrays.shape("W")[0]
        bounds, columns = self._arrays.stream("row_ptr"), self._arrays.stream("col_idx")
        last = int(bounds(1)[0])
        if last != 0:
            raise InvalidInput(f"{self._path}: row_ptr begins with {last}, not with 0")
        first = 0
        while first < n:
            ends = bounds(min(_NEURONS_A_PIECE, n - first)).astype(np.int64)
            indptr = np.concatenate([[last], ends])
            if (np.diff(indptr) < 0).any() or indptr[-1] > self._arrays.shape("col_idx")[0]:
                raise InvalidInput(f"{self._path}: row_ptr decreases, or passes the end of col_idx")
            start = 0
            while start < len(ends):
                stop = int(np.searchsorted(indptr, indptr[start] + _SYNAPSES_A_PIECE, side="right")) - 1
                stop = max(stop, start + 1)
                target = columns(int(indptr[stop] - indptr[start])).astype(np.int64)
                yield first + start, indptr[start : stop + 1] - indptr[start], target, np.ones(len(target))
                start = stop
            first, last = first + len(ends), int(indptr[-1])

    def _dense(self, room_bytes: int) -> Iterator[tuple[int, Any, Any, Any]]:
        n, lost = self._arrays.shape("W")[0], 0
        adjacency, weights = self._arrays.stream("A"), self._arrays.stream("E")
        step = max(1, min(room_bytes // (64 * n), _NEURONS_A_PIECE))
        for first in range(0, n, step):
            joined, e = adjacency(min(step, n - first)) != 0, weights(min(step, n - first))
            lost += int(np.count_nonzero(e[~joined]))
            row, target = np.nonzero(joined)
            indptr = np.searchsorted(row, np.arange(len(joined) + 1)).astype(np.int64)
            yield first, indptr, target, e[joined]
        if lost:
            self.notes += (f"{lost:,} values of E lie where A joins no pair, and were left behind",)

    def _kept(self, w: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The columns that hold W: of a void neuron with the W before it, the same, and no change until now."""
        if not self._void:
            return dict.fromkeys(FIELDS, w.astype(np.float64))
        own, nothing = w.astype(np.float32), np.zeros(len(w), dtype=np.float32)
        return dict(zip(_VOID_FIELDS, (own, own, nothing, nothing), strict=True))

    def labels(self) -> Iterator[tuple[int, Batches]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        return iter(())

    def inflight(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        return {}


def _within(arrays: VdmArrays) -> bool:
    """Whether every W lies in 0..1, as those of void neurons do."""
    n, stream = arrays.shape("W")[0], arrays.stream("W")
    for start in range(0, n, _NEURONS_A_PIECE):
        part = stream(min(_NEURONS_A_PIECE, n - start))
        if not ((part >= 0) & (part <= 1)).all():  # not a number is outside
            return False
    return True


def export_vdm(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    layer: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a layer whose neurons have a W as the VDM engram ``out`` (.h5 or .npz), streamed, whole or not at all.

    ``layer``: its name; by default the engram's only one. Sparse or dense as it was imported. Call it
    ``state_<step>.h5``: the runtime finds it by that. Raises as :func:`engramdb.export_hdf5`, and InvalidInput where
    neurons have no W.
    """
    started, out = time.perf_counter(), Path(out)
    if out.suffix not in (".h5", ".npz"):
        raise InvalidInput(f"{out}: a VDM engram ends in .h5 or .npz")
    with ExitStack() as stack:
        store = stack.enter_context(
            Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=1 << 24)
        )
        if layer is None and len(store.spec.layers) != 1:
            names = ", ".join(one.name for one in store.spec.layers)
            raise InvalidInput(f"{path} has several layers: layer= names one of {names}")
        layer_ = store.spec.layers[0] if layer is None else store.spec.layer(layer)
        made = stack.enter_context(new_file(out))
        content = _Content(store, layer_)
        counts = (write_npz if out.suffix == ".npz" else write_hdf5)(made, content, progress)
        nbytes = made.stat().st_size
    return Exported(
        path=out,
        commit=store.commit.number,
        layers=(layer_.name,),
        neurons=content.n,
        synapses=counts,
        files=1,
        nbytes=nbytes,
        elapsed_s=time.perf_counter() - started,
        notes=tuple(content.notes()),
    )


class _Content:
    """What goes into a VDM file: attributes, and arrays in parts."""

    def __init__(self, store: Store, layer: Layer) -> None:
        self._store, self._layer = store, layer
        self._positions = Positions(store.bundles, [layer])
        self.n = len(self._positions)
        kept: dict[str, Any] = {}
        for line in store.spec.description.splitlines():
            if line.startswith(_MARK):
                kept = json.loads(line.removeprefix(_MARK))
        self.sparse: bool = kept.pop("sparse", True)
        self.adc_json: str | None = kept.pop("adc_json", None)
        self.attributes: dict[str, Any] = {"N": self.n, "k": 0, "threshold": 0.0, "lambda_omega": 0.0, **kept}
        self._unlike = self._away = 0

    def w(self) -> Iterator[npt.NDArray[np.float32]]:
        """W of all neurons, in parts; of those that are not stored 0, in a void layer what they were born with."""
        void = self._layer.model == "void"
        column = _VOID_FIELDS[0] if void else FIELDS[0]
        done, found = 0, void
        for records in self._store.scan(self._layer.index):
            if column not in records.state:
                continue
            found = True
            at = self._positions.of(records.ids)
            yield from self._born(done, int(at[0]))
            part = np.concatenate([np.empty(0, np.float32), *self._born(int(at[0]), int(at[-1]) + 1)])
            w = records.state[column]
            part[at[~np.isnan(w)] - at[0]] = w[~np.isnan(w)]
            done = int(at[-1]) + 1
            yield part
        if not found:
            raise InvalidInput(
                f"neurons of {self._layer.name} have no W: they are no VDM engram; export hdf5, parquet or edges"
            )
        yield from self._born(done, self.n)

    def _born(self, start: int, stop: int) -> Iterator[npt.NDArray[np.float32]]:
        """W of the neurons at ``start`` to ``stop`` before anything happened to them, in parts."""
        for first in range(start, stop, _NEURONS_A_PIECE):
            last = min(first + _NEURONS_A_PIECE, stop)
            if self._layer.model == "void":
                yield at_birth(self._positions.ids(first, last), self._layer, self._store.spec)["W"]
            else:
                yield np.zeros(last - first, np.float32)

    def rows(self) -> Iterator[tuple[int, Any, Any, Any]]:
        """``(first, indptr, targets, weights)`` of neurons ``first`` on, without gaps."""
        done = 0
        for records in every_row(self._store, self._layer):
            target, at = self._positions.of(records.target), self._positions.of(records.ids)
            inside = target >= 0
            self._away += int((~inside).sum())
            self._unlike += int((records.weight[inside] != 1).sum())
            length = np.zeros(int(at[-1]) + 1 - done, np.int64)
            row = np.repeat(at - done, np.diff(records.indptr))[inside]
            length[:] = np.bincount(row, minlength=len(length))
            yield done, np.concatenate([[0], np.cumsum(length)]), target[inside], records.weight[inside]
            done += len(length)
        if done < self.n:
            yield done, np.zeros(self.n - done + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)

    def notes(self) -> Iterator[str]:
        if self.sparse and self._unlike:
            yield f"{self._unlike:,} weights other than 1 have no place in a sparse VDM engram"
        if self._away:
            yield f"{self._away:,} synapses lead to other layers, and stayed behind"
