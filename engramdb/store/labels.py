"""Labels: the names that neurons came with, as sorted runs of blocks in packs.

Labels and ids increase together, so that one run serves both directions. Text is front-coded: each label
keeps only what differs from the one before it, with a restart every 16, and the catalog's row of each
block holds its first label and first id.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import Damaged, InvalidInput, NotFound
from engramdb.store.cache import Cache
from engramdb.store.catalog import Catalog, Row, signed, unsigned
from engramdb.store.history import Chain
from engramdb.store.pack import LABELS, BadRecord, Identity, Packs, PackWriter, Record, encode_record

TEXT, UNSIGNED, SIGNED = "text", "uint64", "int64"
_BLOCK_LABELS = 4096
_BLOCK_MATRIX_BYTES = 1 << 22  # labels times the longest: what decoding a block takes in RAM
_LONGEST_BYTES = 1 << 16
_CACHE_BYTES = 1 << 22  # some ten blocks; lookups in bulk come sorted
_RESTART = 16
_NUMBER = re.compile(r"-?[0-9]+", re.ASCII)

Batches = Iterable[tuple[Sequence[str] | npt.NDArray[Any], IdArray]]
"""``(labels, ids)`` of each batch of a run."""

Keys = list[bytes] | npt.NDArray[np.uint64] | npt.NDArray[np.int64]


class BlockRef(NamedTuple):
    """One block of a run: where it lies and what it begins with. ``first_key``: UTF-8, or 8 bytes that sort."""

    run: int
    block: int
    line: int
    commit: int
    layer: int
    kind: str
    labels: int
    first_key: bytes
    first: int
    last: int
    pack: int
    offset: int
    length: int
    header_crc: int

    def row(self) -> Row:
        return tuple(self._replace(first=signed(self.first), last=signed(self.last)))

    @classmethod
    def of_row(cls, row: Row) -> BlockRef:
        ref = cls(*row)
        return ref._replace(first=unsigned(ref.first), last=unsigned(ref.last))


@dataclass(frozen=True)
class Block:
    """A decoded block: sorted labels and the increasing ids of their neurons."""

    keys: Keys
    ids: IdArray

    @functools.cached_property
    def nbytes(self) -> int:
        text = sum(map(len, self.keys)) + 50 * len(self.keys) if isinstance(self.keys, list) else self.keys.nbytes
        return text + self.ids.nbytes


def cut(layer: int, batches: Batches) -> Iterator[tuple[str, Block]]:
    """``(kind, block)`` of each block of a run; raises InvalidInput where labels or ids do not increase strictly."""
    kind: str | None = None
    before: tuple[Any, int] | None = None
    for labels, ids in batches:
        if len(labels) != ids.size:
            raise InvalidInput(f"{len(labels)} labels for {ids.size} neurons")
        batch_kind, keys = _keys_of(labels)
        if kind is not None and batch_kind != kind:
            raise InvalidInput(f"labels of kind {batch_kind} follow labels of kind {kind}")
        kind = batch_kind
        if not len(keys):
            continue
        _check_increasing(layer, keys, ids, before)
        before = keys[-1], int(ids[-1])
        start = 0
        while start < len(keys):
            count = min(_BLOCK_LABELS, len(keys) - start)
            if isinstance(keys, list):
                longest = max(map(len, keys[start : start + count]))
                count = min(count, max(1, _BLOCK_MATRIX_BYTES // max(longest, 1)))
            yield kind, Block(keys[start : start + count], ids[start : start + count])
            start += count


def _keys_of(labels: Sequence[str] | npt.NDArray[Any]) -> tuple[str, Keys]:
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        if labels.dtype.kind == "u":
            return UNSIGNED, labels.astype(np.uint64)
        return SIGNED, labels.astype(np.int64)
    keys = [label.encode("utf-8", "surrogatepass") for label in labels]
    if keys and max(map(len, keys)) >= _LONGEST_BYTES:
        raise InvalidInput(f"a label has {max(map(len, keys))} bytes; the longest possible has {_LONGEST_BYTES - 1}")
    return TEXT, keys


def _check_increasing(layer: int, keys: Keys, ids: IdArray, before: tuple[Any, int] | None) -> None:
    if isinstance(keys, list):
        increase = all(map(operator.lt, keys, itertools.islice(keys, 1, None)))
    else:
        increase = bool((keys[1:] > keys[:-1]).all())
    if not increase or (before is not None and not before[0] < keys[0]):
        raise InvalidInput("labels must be sorted and differ from each other")
    if (ids[1:] <= ids[:-1]).any() or (before is not None and int(ids[0]) <= before[1]):
        raise InvalidInput("the ids of sorted labels must increase")
    if int(ids[0]) >> 48 != layer or int(ids[-1]) >> 48 != layer:
        raise InvalidInput(
            f"labels of layer {layer} were given for {format_id(int(ids[0]))}..{format_id(int(ids[-1]))}"
        )


def sortable(key: Any) -> bytes:
    """A label as bytes that sort like the labels: UTF-8, or a number in 8 bytes."""
    if isinstance(key, bytes):
        return key
    number = int(key) + ((1 << 63) if isinstance(key, np.int64) else 0)
    return number.to_bytes(8, "big")


def encode_block(block: Block, *, line: int, commit: int) -> tuple[bytes, int]:
    """``(record, CRC of its header)``."""
    identity = Identity(
        LABELS, line, commit, content=commit, first=int(block.ids[0]), last=int(block.ids[-1]), rows=len(block.keys)
    )
    if not isinstance(block.keys, list):
        steps = np.diff(block.keys.view(np.uint64), prepend=np.uint64(0))
        return encode_record(identity, {"id": block.ids, "label_step": steps.view(block.keys.dtype)})
    matrix, lengths = _matrix(block.keys)
    same = matrix[1:] == matrix[:-1]
    shared = np.zeros(len(block.keys), np.int64)
    shared[1:] = np.minimum(np.logical_and.accumulate(same, axis=1).sum(axis=1), np.minimum(lengths[1:], lengths[:-1]))
    shared[::_RESTART] = 0
    kept = (np.arange(matrix.shape[1]) >= shared[:, None]) & (np.arange(matrix.shape[1]) < lengths[:, None])
    return encode_record(
        identity,
        {
            "id": block.ids,
            "label_shared": shared.astype(np.uint16),
            "label_length": lengths.astype(np.uint16),
            "label_text": matrix[kept],
        },
    )


def first_of(ref: BlockRef) -> Block:
    """Of a block that cannot be read: its first label, which the catalog's row of it has."""
    number = int.from_bytes(ref.first_key, "big")
    keys: Keys = [ref.first_key]
    if ref.kind == UNSIGNED:
        keys = np.array([number], np.uint64)
    elif ref.kind == SIGNED:
        keys = np.array([number - (1 << 63)], np.int64)
    return Block(keys, np.array([ref.first], np.uint64))


def write_run(
    pack: PackWriter, batches: Batches, *, pack_number: int, run: int, line: int, commit: int, layer: int
) -> list[BlockRef]:
    """Append the blocks of one run and say where they are. Raises InvalidInput, DiskFull."""
    written: list[BlockRef] = []
    for kind, block in cut(layer, batches):
        data, crc = encode_block(block, line=line, commit=commit)
        ref = BlockRef(
            run=run, block=len(written), line=line, commit=commit, layer=layer, kind=kind,
            labels=len(block.keys), first_key=sortable(block.keys[0]), first=int(block.ids[0]), last=int(block.ids[-1]),
            pack=pack_number, offset=pack.append(data), length=len(data), header_crc=crc,
        )  # fmt: skip
        written.append(ref)
    return written


def _matrix(keys: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """``(n, longest)`` bytes padded with zeros, and the lengths."""
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    width = max(int(lengths.max()), 1)
    matrix = np.zeros((len(keys), width), np.uint8)
    matrix[np.arange(width) < lengths[:, None]] = np.frombuffer(b"".join(keys), np.uint8)
    return matrix, lengths


def decode_block(record: Record, kind: str) -> Block:
    """Raises :class:`~engramdb.store.pack.BadRecord`."""
    if record.identity.kind != LABELS:
        raise BadRecord(f"it is a record of kind {record.identity.kind}, not labels")
    count = record.identity.rows
    ids = record.column("id")
    if ids.shape != (count,) or ids.dtype != np.uint64:
        raise BadRecord("column id does not fit")
    if kind != TEXT:
        steps = record.column("label_step")
        if steps.shape != (count,) or steps.dtype != np.dtype(kind):
            raise BadRecord("column label_step does not fit")
        return Block(np.cumsum(steps.view(np.uint64), dtype=np.uint64).view(steps.dtype), ids)
    shared, lengths = (record.column(name).astype(np.int64) for name in ("label_shared", "label_length"))
    text = record.column("label_text")
    if shared.shape != (count,) or lengths.shape != (count,) or (shared > lengths).any() or text.dtype != np.uint8:
        raise BadRecord("its label columns do not fit each other")
    width = max(int(lengths.max()), 1)
    if (
        int((lengths - shared).sum()) != text.size
        or (shared[::_RESTART] != 0).any()
        or count * width > 2 * _BLOCK_MATRIX_BYTES
    ):
        raise BadRecord("its label columns do not fit each other")
    matrix = np.zeros((count, width), np.uint8)
    place = np.arange(width)
    matrix[(place >= shared[:, None]) & (place < lengths[:, None])] = text
    for step in range(1, _RESTART):
        rows = np.arange(step, count, _RESTART)
        matrix[rows] = np.where(place < shared[rows, None], matrix[rows - 1], matrix[rows])
    flat = matrix[place < lengths[:, None]].tobytes()
    ends = np.cumsum(lengths).tolist()
    return Block([flat[start:end] for start, end in zip([0, *ends], ends, strict=False)], ids)


@dataclass(frozen=True)
class _Run:
    kind: str
    blocks: list[BlockRef]
    first_keys: list[bytes]
    first_ids: IdArray

    def key(self, label: str | int) -> Any:
        """``label`` as this run keeps labels; None if it cannot be one of them."""
        if self.kind == TEXT:
            return str(label).encode("utf-8", "surrogatepass")
        if not _NUMBER.fullmatch(str(label)):
            return None
        number = int(label)
        limits = np.iinfo(self.kind)
        return np.dtype(self.kind).type(number) if limits.min <= number <= limits.max else None


class LabelIndex:
    """Looks labels up at one place in history."""

    def __init__(self, catalog: Catalog, packs: Packs, chain: Chain) -> None:
        self._catalog, self._packs, self._chain = catalog, packs, chain
        self._cache: Cache[Block] = Cache(_CACHE_BYTES)

    @functools.cached_property
    def _runs(self) -> list[_Run]:
        """Newest first: where two runs name one neuron or share a label, the newer one counts."""
        rows: list[Row] = []
        having = {line for (line,) in self._catalog.rows("SELECT DISTINCT line FROM labels")}
        for line, upto in self._chain:
            if line in having:  # each of these reads all of the table
                condition = "WHERE line = ? AND number <= ? ORDER BY run, block"
                rows += self._catalog.select("labels", condition, (line, upto))
        refs = sorted(map(BlockRef.of_row, rows), key=lambda ref: (-ref.run, ref.block))
        runs = []
        for _, group in itertools.groupby(refs, key=lambda ref: ref.run):
            blocks = list(group)
            first_ids = np.array([ref.first for ref in blocks], np.uint64)
            runs.append(_Run(blocks[0].kind, blocks, [ref.first_key for ref in blocks], first_ids))
        return runs

    def __bool__(self) -> bool:
        return bool(self._runs)

    def _block(self, ref: BlockRef) -> Block:
        block = self._cache.get((ref.pack, ref.offset))
        if block is None:
            try:
                block = read_block(self._packs, ref)
            except Damaged:
                moved = self._catalog.select("labels", "WHERE run = ? AND block = ?", (ref.run, ref.block))
                if not moved or BlockRef.of_row(moved[0]) == ref:
                    raise
                block = read_block(self._packs, BlockRef.of_row(moved[0]))  # gc has moved it
            self._cache.put((ref.pack, ref.offset), block)
        return block

    def ids(self, labels: Iterable[str | int]) -> IdArray:
        """The neuron of each label, in the order given. Raises NotFound for the first label that no neuron has."""
        wanted = list(labels)
        found: list[int | None] = [None] * len(wanted)
        for run in self._runs:
            open_ = [i for i, neuron in enumerate(found) if neuron is None]
            for place, indices in _grouped(run, [(i, run.key(wanted[i])) for i in open_]):
                block = self._block(run.blocks[place])
                for i, key in indices:
                    at = (
                        bisect.bisect_left(block.keys, key)
                        if isinstance(block.keys, list)
                        else int(np.searchsorted(block.keys, key))
                    )
                    if at < len(block.keys) and block.keys[at] == key:
                        found[i] = int(block.ids[at])
        for label, neuron in zip(wanted, found, strict=True):
            if neuron is None:
                raise NotFound(f'no neuron has the label "{label}"')
        return np.array(found, np.uint64)

    def runs(self) -> Iterator[tuple[int, Batches]]:
        """``(layer index, batches)`` of each run, oldest first, as :meth:`Store.write_labels` takes them."""
        for run in reversed(self._runs):
            yield run.blocks[0].layer, map(self._batch, run.blocks)

    def _batch(self, ref: BlockRef) -> tuple[Sequence[str] | npt.NDArray[Any], IdArray]:
        block = self._block(ref)
        keys = block.keys
        return [key.decode("utf-8", "surrogatepass") for key in keys] if isinstance(keys, list) else keys, block.ids

    def of(self, ids: IdArray) -> list[str | None]:
        """The label of each neuron, None where it has none. Numbers come as decimal text."""
        found: list[str | None] = [None] * ids.size
        for run in self._runs:
            place = np.searchsorted(run.first_ids, ids, side="right") - 1
            for number in np.unique(place[place >= 0]).tolist():
                ref = run.blocks[number]
                inside = np.flatnonzero((place == number) & (ids <= np.uint64(ref.last)))
                inside = inside[[found[i] is None for i in inside.tolist()]]
                if not inside.size:
                    continue
                block = self._block(ref)
                at = np.searchsorted(block.ids, ids[inside])
                for i, position in zip(inside.tolist(), at.tolist(), strict=True):
                    if block.ids[position] == ids[i]:
                        key = block.keys[position]
                        found[i] = key.decode("utf-8", "surrogatepass") if isinstance(key, bytes) else str(int(key))
        return found


def _grouped(run: _Run, keyed: list[tuple[int, Any]]) -> list[tuple[int, list[tuple[int, Any]]]]:
    """Labels by the block that could hold them."""
    groups: dict[int, list[tuple[int, Any]]] = {}
    for i, key in keyed:
        if key is None:
            continue
        place = bisect.bisect_right(run.first_keys, sortable(key)) - 1
        if place >= 0:
            groups.setdefault(place, []).append((i, key))
    return sorted(groups.items())


def read_block(packs: Packs, ref: BlockRef) -> Block:
    """Raises Damaged, naming where."""
    try:
        record = packs.read(ref.pack, ref.offset, ref.length, ref.header_crc)
        block = decode_block(record, ref.kind)
        if (len(block.keys), int(block.ids[0]), int(block.ids[-1])) != (ref.labels, ref.first, ref.last):
            raise BadRecord("it is not the block that the catalog names")
        return block
    except BadRecord as error:
        raise Damaged(
            f"labels of {format_id(ref.first)}-{format_id(ref.last)} in packs/{packs.path(ref.pack).name} "
            f"at {ref.offset}: {error}"
        ) from error
