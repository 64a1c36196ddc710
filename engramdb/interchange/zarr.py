"""Zarr out: an engram at one commit as a folder of Zarr v3 that other languages read.

The hierarchy is the one that :class:`engramdb.ZarrStore` shows, with other codecs: each chunk is compressed by Blosc
and has a CRC-32C, and many chunks of a large array share a file (sharding). The specification itself has these codecs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.sync import sync
from zarr.storage import LocalStore

from engramdb.bulk import Progress
from engramdb.interchange.ahead import ahead
from engramdb.layer import Layer
from engramdb.store import Records, Store
from engramdb.store.files import OS_FILES, disk_full
from engramdb.store.workplace import put_in_place, workplace
from engramdb.store.zarrview import tree as zarrtree
from engramdb.store.zarrview.leaf import Leaves
from engramdb.store.zarrview.root import LEAVES, LayerGroup, Root
from engramdb.store.zarrview.segment import NEURON, ROW_EDGE, SYNAPSE, Segment, SegmentArray
from engramdb.url import located

SHARD_BYTES = 1 << 25
"""Uncompressed bytes of a shard of the widest array over the same dimension, about: what one array holds in memory."""
_CHUNKS_WITHOUT_SHARDS = 16  # so few files need no shards, which not every reader knows


@dataclass(frozen=True)
class ZarrExport:
    """What was written: stored neurons and synapses, files and their bytes."""

    path: Path
    commit: int
    layers: tuple[str, ...]
    neurons: int
    synapses: int
    leaves: int
    files: int
    nbytes: int
    elapsed_s: float


def export_zarr(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    layer: str | None = None,
    leaves: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ZarrExport:
    """Write the engram at ``path`` to the new folder ``out``, whole and durable on return, or not at all.

    ``at``: a snapshot's name or a commit's number; otherwise the head of ``branch``. ``layer``: the name of one; all
    otherwise. ``leaves``: write ``/leaves`` too, a few files a column of each leaf. Neurons are streamed, a few hundred
    megabytes in memory. ``path`` may be the URL of a published engram, ``storage_options`` are for its object store
    then. ``progress(stage, done, total)``: neurons or leaves done so far.

    Raises NotAnEngram, NotFound (snapshot, commit, branch, layer, parent of ``out``), AlreadyExists, LeafDamaged,
    DiskFull.
    """
    started, out = time.perf_counter(), Path(out)
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=0))
        root = Root(store)
        layers = store.spec.layers if layer is None else [store.spec.layer(layer)]
        made = stack.enter_context(workplace(out)) / "zarr"
        stack.enter_context(disk_full(out.parent, SHARD_BYTES))
        stack.enter_context(_settled())
        told = _Told(progress)
        _write_layers(made, root, layers, told)
        count = _write_leaves(made, store, None if layer is None else layers[0].index, told) if leaves else 0
        files, nbytes = _sync(made)
        put_in_place(made, out)
    return ZarrExport(
        path=out,
        commit=store.commit.number,
        layers=tuple(one.name for one in layers),
        neurons=told.neurons,
        synapses=told.synapses,
        leaves=count,
        files=files,
        nbytes=nbytes,
        elapsed_s=time.perf_counter() - started,
    )


@contextmanager
def _settled() -> Iterator[None]:
    """When an exception leaves, such as Ctrl-C, zarr's own thread may still be writing: wait until it is done."""
    try:
        yield
    except BaseException:
        sync(_others())
        raise


async def _others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


class _Told:
    """Counts, and says so."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.neurons = self.synapses = self.total = 0

    def add(self, records: Records) -> None:
        self.neurons += len(records)
        self.synapses += records.synapses
        if self._progress is not None:
            self._progress("neurons", self.neurons, self.total)

    def leaf(self, done: int) -> None:
        if self._progress is not None:
            self._progress("leaves", done, None)


def _write_layers(made: Path, root: Root, layers: Sequence[Layer], told: _Told) -> None:
    names = {layer.name for layer in layers}
    keys = [key for key, name in root.layers.items() if name in names]
    attributes = root.attributes()
    attributes["layers"] = [about for about in attributes["layers"] if about["name"] in names]
    top = zarr.create_group(LocalStore(made), zarr_format=3, attributes=attributes)
    groups = {key: group for key in keys if isinstance(group := root.child(key), LayerGroup)}
    told.total = sum(segment.count(NEURON) for group in groups.values() for _, segment in _segments(group))
    for key, group in groups.items():
        into = top.create_group(key, attributes=group.attributes())
        for name, segment in _segments(group):
            _write_segment(into.create_group(name, attributes=segment.attributes()), segment, told)


def _segments(group: LayerGroup) -> Iterator[tuple[str, Segment]]:
    for name in group.names():
        segment = group.child(name)
        if segment is not None:
            yield name, segment


def _write_segment(group: zarr.Group, segment: Segment, told: _Told) -> None:
    arrays = [_Growing(group, key, source, segment) for key in segment.names() if (source := segment.child(key))]
    synapses = 0
    for ref, records in ahead(segment.leaves()):
        for array in arrays:
            array.add(segment.part_of(ref, array.column, records), synapses)
        synapses += records.synapses
        told.add(records)
    for array in arrays:
        array.finish(synapses)


class _Growing:
    """An array that is written from its beginning to its end, a few chunks or one shard at a time."""

    def __init__(self, group: zarr.Group, key: str, source: SegmentArray, segment: Segment) -> None:
        form, self.column = source.form, source.column
        of_synapses = self.column.dimension == SYNAPSE
        widest = max(c.entry_bytes for c in segment.columns.values() if (c.dimension == SYNAPSE) == of_synapses)
        self._step = form.chunks[0] * max(1, SHARD_BYTES // max(1, form.chunks[0] * widest))
        sharded = form.grid()[0] > _CHUNKS_WITHOUT_SHARDS and self._step > form.chunks[0]
        self._array = group.create_array(
            key,
            shape=form.shape,
            dtype=form.dtype,
            chunks=form.chunks,
            shards=(self._step, *form.chunks[1:]) if sharded else None,
            compressors=[
                BloscCodec(
                    typesize=form.dtype.itemsize, cname="zstd", clevel=1,
                    shuffle="noshuffle" if form.dtype.itemsize == 1 else "shuffle",
                ),
                Crc32cCodec(),
            ],
            fill_value=0,
            attributes=dict(form.attributes),
            dimension_names=form.dimensions,
        )  # fmt: skip
        self._waiting: list[npt.NDArray[Any]] = []
        self._held = self._written = 0

    def add(self, values: npt.NDArray[Any], synapses: int) -> None:
        """``values``: those of the next leaf; ``synapses``: how many lie before it."""
        self._push(values + np.uint64(synapses) if self.column.dimension == ROW_EDGE else values)

    def finish(self, synapses: int) -> None:
        if self.column.dimension == ROW_EDGE:
            self._push(np.array([synapses], np.uint64))
        self._write(self._held)

    def _push(self, values: npt.NDArray[Any]) -> None:
        self._waiting.append(values)
        self._held += len(values)
        if self._held >= self._step:
            self._write(self._held // self._step * self._step)

    def _write(self, n: int) -> None:
        if n == 0:
            return
        held = np.concatenate(self._waiting)
        self._array[self._written : self._written + n] = held[:n]
        self._written, self._held = self._written + n, self._held - n
        self._waiting = [held[n:].copy()]


def _write_leaves(made: Path, store: Store, layer: int | None, told: _Told) -> int:
    """Every key of ``/leaves`` as a file; how many leaves there were."""
    tree, done = Leaves(store, layer, core=True), 0
    (made / LEAVES).mkdir()
    (made / LEAVES / zarrtree.DOCUMENT).write_bytes(tree.document())
    for name in tree.names():
        for key in zarrtree.keys(tree, f"{name}/"):
            value = zarrtree.find(tree, key)
            assert value is not None, "the commit does not change"
            (made / LEAVES / key).parent.mkdir(parents=True, exist_ok=True)
            (made / LEAVES / key).write_bytes(value.read(0, value.nbytes))
        done += 1
        told.leaf(done)
    return done


def _sync(made: Path) -> tuple[int, int]:
    """Everything in a folder on stable storage; ``(files, bytes)``."""
    files = nbytes = 0
    for folder, _, names in os.walk(made):
        for name in names:
            handle = OS_FILES.open(Path(folder, name))
            try:
                OS_FILES.fsync(handle)
                nbytes += OS_FILES.size(handle)
            finally:
                OS_FILES.close(handle)
        files += len(names)
        OS_FILES.fsync_dir(Path(folder))
    return files, nbytes
