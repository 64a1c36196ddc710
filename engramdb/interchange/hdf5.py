"""HDF5 out and in: an engram at one commit as one file that says itself what is in it, for h5py or any HDF5 library.

``schemas/FORMAT.md`` has the layout. Stored neurons and synapses are those of the Zarr view, under ``/layers``; spec
and bundles, from which virtual rows are made, are texts beside them. Nothing is lost on the way there and back.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.bulk import Progress
from engramdb.interchange.exported import Exported
from engramdb.interchange.hdf5file import FORMAT, FORMAT_VERSION, Hdf5File
from engramdb.interchange.hdf5sink import new_hdf5
from engramdb.interchange.newfile import new_file
from engramdb.interchange.origin import Imported, check_source, import_origin
from engramdb.store import Records, Store
from engramdb.store.zarrview.root import LayerGroup, Root
from engramdb.store.zarrview.segment import ROW_EDGE, SYNAPSE, Segment, SegmentArray
from engramdb.url import located

NEURONS_A_CHUNK, SYNAPSES_A_CHUNK, CHUNK_BYTES = 1 << 15, 1 << 17, 1 << 20
_THREADS, _CHUNKS_WAITING = 2, 8
_LEVEL = 1
_FILTERS: dict[str, Any] = {"compression": "gzip", "compression_opts": _LEVEL, "shuffle": True}

_LAYOUT = """\
/spec and /bundles are JSON: what the engram was declared as, and which neurons were born together with which rule.
/projections lists the projections by number. /layers/<layer>/<segment> has the neurons that are stored, by id: neuron i
is id[i], with the values at i of every array of that length; its synapses are indptr[i] to indptr[i + 1] (excluded) of
target, weight (mV), projection, and delay (ticks) where there is one. All other declared neurons are virtual: at rest,
with the row that the rule of their bundle gives, and so are rows with row_kind 2. /inflight has who is awake and which
spikes and stimuli are under way, /labels the names of neurons. schemas/FORMAT.md of EngramDB describes it in full."""


def export_hdf5(
    path: str | Path,
    out: str | Path,
    *,
    at: str | int | None = None,
    branch: str = "main",
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the engram at ``path`` to the new file ``out``, whole and durable on return, or not at all.

    ``at``: a snapshot's name or a commit's number; otherwise the head of ``branch``. All that the commit has goes along
    but its history: spec, bundles, neurons with their state and rows, labels, who is awake, spikes in flight, input to
    come. Neurons are streamed, some hundred megabytes in memory. ``progress("neurons", done, total)``. ``path`` may be
    the URL of a published engram, ``storage_options`` are for its object store then.

    Raises NotAnEngram, NotFound (snapshot, commit, branch, parent of ``out``), AlreadyExists, LeafDamaged, DiskFull.
    """
    started, out = time.perf_counter(), Path(out)
    neurons = synapses = 0
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(located(path, storage_options), at=at, branch=branch, cache_bytes=0))
        made = stack.enter_context(new_file(out))
        opened = new_hdf5(made, libver=("v110", "v110"))
        with opened as (file, check), ThreadPoolExecutor(_THREADS) as pool:
            root = Root(store)
            _write_head(file, store, root)
            for key in root.layers:
                layer = root.child(key)
                assert isinstance(layer, LayerGroup), "the view has a group for every layer"
                group = file.create_group(f"layers/{key}")
                group.attrs.update(_plain(layer.attributes()))
                for name in layer.names():
                    segment = layer.child(name)
                    assert segment is not None, "the view has a group for every segment that it names"
                    for records in _write_segment(group.create_group(name), segment, pool):
                        check()
                        neurons, synapses = neurons + len(records), synapses + records.synapses
                        if progress is not None:
                            progress("neurons", neurons, store.commit.neurons)
            _write_labels(file.create_group("labels"), store)
            inflight = file.create_group("inflight")
            for name, array in store.read_state().items():
                inflight.create_dataset(name, data=array, fletcher32=array.ndim > 0 and array.size > 0)
        nbytes = made.stat().st_size
    return Exported(
        path=out,
        commit=store.commit.number,
        layers=tuple(layer.name for layer in store.spec.layers),
        neurons=neurons,
        synapses=synapses,
        files=1,
        nbytes=nbytes,
        elapsed_s=time.perf_counter() - started,
    )


def import_hdf5(
    src: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    memory: str | int = "1GiB",
    progress: Progress | None = None,
) -> Imported:
    """Make a new engram at ``path`` of the file ``src`` that :func:`export_hdf5` wrote: the same, bit by bit.

    It stands at the tick of the file, and its history begins there. Neurons are streamed within ``memory``.
    ``progress("write", synapses, total)``. Whole or not at all; should it be killed, the same one goes on behind the
    last million neurons or so. Raises InvalidInput where the file is none of ours or damaged, FormatTooNew, NotFound,
    AlreadyExists, DiskFull.
    """
    purpose = check_source(Path(src))
    with Hdf5File(Path(src)) as file:
        return import_origin(file, Path(src), Path(path), purpose, memory=memory, progress=progress)


def _write_head(file: Any, store: Store, root: Root) -> None:
    import h5py

    spec, text = store.spec, h5py.string_dtype()
    file.attrs.update({"format": FORMAT, "format_version": FORMAT_VERSION, "layout": _LAYOUT, "seed": str(spec.seed)})
    file.attrs.update(_plain({k: v for k, v in root.attributes().items() if k not in ("zarr_view", "spec")}))
    file.create_dataset("spec", data=spec.to_json(), dtype=text)
    file.create_dataset("bundles", data=store.bundles.to_json(), dtype=text)
    columns = [("name", text), ("pre", text), ("post", text), ("rule", text), ("delay_ticks", "<u2"), ("sign", "i1")]
    table = np.array(
        [
            (p.name, p.pre, p.post, type(p.rule).__name__, min(spec.delay_ticks(p), 0xFFFF), p.sign or 0)
            for p in spec.all_projections
        ],
        dtype=columns,
    )
    file.create_dataset("projections", data=table)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What HDF5 has no attribute for becomes JSON; what is not there is left out."""
    plain = {}
    for name, value in attributes.items():
        listed = isinstance(value, (dict, list)) and not all(isinstance(v, (int, float)) for v in value)
        if value is not None:
            plain[name] = json.dumps(value) if listed or isinstance(value, dict) else value
    return plain


def _write_segment(group: Any, segment: Segment, pool: ThreadPoolExecutor) -> Iterator[Records]:
    """Write the arrays of a segment; gives the records of each leaf that was written."""
    group.attrs.update(_plain(segment.attributes()))
    sources = ((name, segment.child(name)) for name in segment.names())
    arrays = [_Growing(group, name, source, segment, pool) for name, source in sources if source is not None]
    synapses = 0
    for ref, records in segment.leaves():
        for array in arrays:
            array.add(segment.part_of(ref, array.column, records), synapses)
        synapses += records.synapses
        yield records
    for array in arrays:
        array.finish(synapses)


class _Growing:
    """An array that is written from its beginning to its end in whole chunks, which are compressed by ``pool``.

    HDF5's own filters work in one thread, under one lock; the bytes are the same.
    """

    def __init__(self, group: Any, name: str, source: SegmentArray, segment: Segment, pool: ThreadPoolExecutor) -> None:
        form, self.column = source.form, source.column
        most = SYNAPSES_A_CHUNK if self.column.dimension == SYNAPSE else NEURONS_A_CHUNK
        most = max(1, min(most, CHUNK_BYTES // self.column.entry_bytes))
        self._step = max(1, min(most, form.shape[0]))
        self._pool = pool
        # HDF5 has no chunks, and so no filters, where there is nothing
        filters = {"chunks": (self._step, *form.shape[1:]), "fletcher32": True, **_FILTERS} if form.shape[0] else {}
        self._dataset = group.create_dataset(name, shape=form.shape, dtype=form.dtype, **filters)
        self._dataset.attrs.update(_plain({**form.attributes, "dimensions": list(form.dimensions)}))
        if self.column.field is not None:
            self._dataset.attrs["field"] = self.column.field
        self._parts: list[npt.NDArray[Any]] = []
        self._held = self._written = 0
        self._waiting: deque[tuple[int, Future[bytes]]] = deque()

    def add(self, values: npt.NDArray[Any], synapses: int) -> None:
        """``values``: those of the next leaf; ``synapses``: how many lie before it."""
        self._push(values + np.uint64(synapses) if self.column.dimension == ROW_EDGE else values)

    def finish(self, synapses: int) -> None:
        if self.column.dimension == ROW_EDGE:
            self._push(np.array([synapses], np.uint64))
        if self._held:
            self._cut(1)
        while self._waiting:
            self._write()

    def _push(self, values: npt.NDArray[Any]) -> None:
        self._parts.append(values)
        self._held += len(values)
        if self._held >= self._step:
            self._cut(self._step)

    def _cut(self, least: int) -> None:
        """Give chunks to be compressed while at least ``least`` entries are held."""
        held = np.concatenate(self._parts).astype(self._dataset.dtype, copy=False)
        start = 0
        while self._held - start >= least and start < self._held:
            chunk = held[start : start + self._step]
            self._waiting.append((self._written + start, self._pool.submit(_filtered, chunk, self._step)))
            start += self._step
            while len(self._waiting) > _CHUNKS_WAITING:
                self._write()
        start = min(start, self._held)
        self._written += start
        self._held -= start
        self._parts = [held[start:].copy()]

    def _write(self) -> None:
        start, filtered = self._waiting.popleft()
        self._dataset.id.write_direct_chunk((start, *(0 for _ in self._dataset.shape[1:])), filtered.result())


def _filtered(chunk: npt.NDArray[Any], entries: int) -> bytes:
    """A chunk as HDF5's filters shuffle, gzip and fletcher32 leave it, filled up with zeros to ``entries``."""
    if len(chunk) < entries:
        chunk = np.concatenate([chunk, np.zeros((entries - len(chunk), *chunk.shape[1:]), chunk.dtype)])
    raw = np.ascontiguousarray(chunk).reshape(-1)
    shuffled = np.ascontiguousarray(raw.view(np.uint8).reshape(-1, raw.itemsize).T) if raw.itemsize > 1 else raw
    packed = zlib.compress(shuffled.view(np.uint8).data, _LEVEL)
    return packed + fletcher32(packed).to_bytes(4, "little")


def fletcher32(data: bytes) -> int:
    """HDF5's checksum of the filter of that name: two sums of big-endian 16-bit words modulo 65535.

    Its sums are 65535 where these are 0, unless all words are; an odd last byte is the high half of a word.
    """
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.uint64)
    if not words.any():
        return 0
    n = len(words)
    one = int(words.sum())
    # the second sum adds the first one up after each word: word i is in it n - i times
    two = int((words * np.arange(n, 0, -1, dtype=np.uint64)).sum())
    return ((two - 1) % 65535 + 1) << 16 | (one - 1) % 65535 + 1


def _write_labels(group: Any, store: Store) -> None:
    for number, (layer_index, batches) in enumerate(store.label_runs()):
        run = group.create_group(str(number))
        run.attrs["layer_index"] = layer_index
        columns = {"id": _Column(run, "id", "<u8")}
        for labels, ids in batches:
            columns["id"].add(ids)
            if isinstance(labels, np.ndarray):
                columns.setdefault("number", _Column(run, "number", labels.dtype.newbyteorder("<"))).add(labels)
                continue
            if "offset" not in columns:
                columns |= {"offset": _Column(run, "offset", "<u8"), "utf8": _Column(run, "utf8", "u1")}
                columns["offset"].add(np.zeros(1, np.uint64))
            texts = [label.encode("utf-8", "surrogatepass") for label in labels]
            ends = np.cumsum(np.fromiter(map(len, texts), np.uint64, len(texts)), dtype=np.uint64)
            columns["offset"].add(ends + np.uint64(len(columns["utf8"])))
            columns["utf8"].add(np.frombuffer(b"".join(texts), np.uint8))


class _Column:
    """An array of labels, which grows by what is added."""

    def __init__(self, group: Any, name: str, dtype: npt.DTypeLike) -> None:
        self._dataset = group.create_dataset(
            name, shape=(0,), maxshape=(None,), dtype=dtype, chunks=(NEURONS_A_CHUNK,), fletcher32=True, **_FILTERS
        )

    def __len__(self) -> int:
        return len(self._dataset)

    def add(self, values: npt.NDArray[Any]) -> None:
        before = len(self)
        self._dataset.resize((before + len(values),))
        self._dataset[before:] = values
