"""Bytes on disk, by kind, and of what is stored, by array and codec."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from engramdb.store import Store
from engramdb.store.column import BLOSC, CONSTANT, PALETTE, PCODEC, RANGE, RAW
from engramdb.store.pack import DELTA, BadRecord, Record
from engramdb.store.versions import LeafRef
from engramdb.url import UrlPath

MOST_LEAVES = 256
"""Leaves whose headers are looked at; where there are more, so many, evenly chosen, and the result is an estimate."""

OF_SYNAPSES = ("target_step", "target_far", "projection", "weight", "delay")
_NAMES = {RAW: "raw", CONSTANT: "constant", RANGE: "range", PCODEC: "pcodec", PALETTE: "palette"}
_COMPRESSORS = {1: "lz4", 4: "zstd"}
_HEADER = "headers"


@dataclass(frozen=True)
class ArrayStorage:
    """One array of all leaves: ``stored`` bytes, ``decoded`` ones, and stored bytes by codec, most first."""

    name: str
    stored: int
    decoded: int
    codecs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Storage:
    """Bytes on disk.

    ``catalog`` with its write-ahead log, ``packs`` (all commits), ``journal`` and ``other`` make up ``total``.
    ``leaves``: what this commit's records take of the packs; ``bytes_per_record`` of them, None without records.
    ``arrays``: of which they consist; ``estimated`` from some of the leaves, where there are many.
    ``bytes_per_neuron`` is without, ``bytes_per_synapse`` the arrays over synapses; None where there are none.
    """

    total: int
    catalog: int
    packs: int
    journal: int
    other: int
    leaves: int
    bytes_per_record: float | None
    arrays: tuple[ArrayStorage, ...] = ()
    estimated: bool = False
    bytes_per_neuron: float | None = None
    bytes_per_synapse: float | None = None


class _Sum(NamedTuple):
    stored: Counter[str]
    decoded: Counter[str]
    codecs: Counter[tuple[str, str]]


def measure(store: Store) -> Storage:
    """The files of ``store`` as they are now; a writer may be adding to them. Of a published engram, its objects."""
    by_kind = {"catalog": 0, "packs": 0, "journal": 0, "other": 0}
    if isinstance(store.path, UrlPath):
        from engramdb.store.remote.files import RemoteStore

        assert isinstance(store, RemoteStore)
        by_kind |= {"catalog": store.pointer.catalog.bytes, "packs": store.pointer.pack_bytes}
    for folder, _, names in os.walk(store.path):
        for name in names:
            file = Path(folder, name)
            try:
                length = file.stat().st_size
            except FileNotFoundError:  # the writer dropped it between listing and looking
                continue
            kind = file.relative_to(store.path).parts[0].split(".")[0]
            by_kind[kind if kind in by_kind else "other"] += length
    leaves = rows = synapses = count = 0
    for leaf in store.directory.leaves():
        leaves, rows, synapses, count = leaves + leaf.length, rows + leaf.rows, synapses + leaf.synapses, count + 1
    arrays = _arrays(store, count)
    of_synapses = sum(array.stored for array in arrays if array.name in OF_SYNAPSES)
    return Storage(
        total=sum(by_kind.values()),
        **by_kind,
        leaves=leaves,
        bytes_per_record=leaves / rows if rows else None,
        arrays=arrays,
        estimated=count > MOST_LEAVES,
        bytes_per_neuron=(sum(array.stored for array in arrays) - of_synapses) / rows if rows else None,
        bytes_per_synapse=of_synapses / synapses if synapses else None,
    )


def _arrays(store: Store, count: int) -> tuple[ArrayStorage, ...]:
    """The arrays of all ``count`` leaves, largest first."""
    total = _Sum(Counter(), Counter(), Counter())
    step = max(1, -(-count // MOST_LEAVES))
    chosen = 0
    for number, ref in enumerate(store.directory.leaves()):
        if number % step:
            continue
        chosen += 1
        for record in _versions(store, ref):
            _add(total, record)
    scale = count / chosen if chosen else 1.0
    found = []
    for name, stored in total.stored.most_common():
        codecs = Counter({codec: nbytes for (array, codec), nbytes in total.codecs.items() if array == name})
        scaled = tuple((codec, round(scale * nbytes)) for codec, nbytes in codecs.most_common())
        found.append(ArrayStorage(name, round(scale * stored), round(scale * total.decoded[name]), scaled))
    return tuple(found)


def _versions(store: Store, ref: LeafRef) -> Iterator[Record]:
    """The record of a leaf, and where it is a delta those beneath it."""
    while True:
        try:
            record, ref = store.reader.record(ref)
        except BadRecord as error:
            raise store.reader.damaged(ref, error) from error
        yield record
        below = store.reader.beneath(ref) if ref.kind == DELTA else None
        if below is None:
            return
        ref = below


def _add(total: _Sum, record: Record) -> None:
    left = len(record.data)
    for name, column in record.columns.items():
        size = column.dtype.itemsize
        for length in column.shape:
            size *= length
        total.stored[name] += column.nbytes
        total.decoded[name] += size
        total.codecs[name, codec_name(record, name)] += column.nbytes
        left -= column.nbytes
    total.stored[_HEADER] += left
    total.decoded[_HEADER] += left


def codec_name(record: Record, name: str) -> str:
    """How a column of a record is encoded: ``zstd``, ``lz4 + bits`` (shuffled), ``pcodec``, ..."""
    column = record.columns[name]
    if column.codec != BLOSC:
        return _NAMES.get(column.codec, str(column.codec))
    flags = int(record.data[column.offset + 2])  # of Blosc's frame: shuffled bytes, copied, shuffled bits, compressor
    shuffle = " + bytes" if flags & 1 else " + bits" if flags & 4 else ""
    return _COMPRESSORS.get(flags >> 5, "blosc") + shuffle
