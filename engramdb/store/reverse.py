"""The reverse index: who projects to a neuron, of rows that are stored.

It is sorted runs of (target, source) in blocks, without weights, and lists of *touched* sources, whose rows have got
targets since that no run has. What it says are candidates: whoever asks reads the row of the source as it is now, so an
entry may be out of date, but none may be missing. Synapses that the wiring rules generate can be computed the other way
round, and are in no run.

A run has a commit, and ``since``: it holds what was touched between the two, and all of it where ``since`` is 0. What
is visible at (line, commit) is the newest run along the chain, the newest that is not after its ``since``, and so on,
and the lists after the newest run. A row of kind ``dropped`` ends the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, format_id
from engramdb.errors import Damaged
from engramdb.store.cache import Cache
from engramdb.store.catalog import Catalog, Row, signed, unsigned
from engramdb.store.history import Chain
from engramdb.store.pack import REVERSE, TOUCHED, BadRecord, Identity, Packs, PackWriter, Record, encode_record

RUN, TOUCHES, DROPPED = "run", "touched", "dropped"
BLOCK_ENTRIES = 1 << 14
_CACHE_BYTES = 1 << 23
_MANY = 64  # targets for which it pays to have all rows of a run in memory
_UINT64 = np.dtype(np.uint64)

# of each run and list, sought one by one: a run has a block for every 2^14 of its pairs
_FIRST_BLOCKS = """
WITH RECURSIVE runs (run) AS (
    SELECT min(run) FROM reverse
    UNION ALL SELECT (SELECT min(run) FROM reverse WHERE run > runs.run) FROM runs WHERE run IS NOT NULL
)
SELECT number, run, kind, since, entries, line FROM reverse WHERE rowid IN (
    SELECT (SELECT rowid FROM reverse WHERE run = runs.run ORDER BY first, block LIMIT 1) FROM runs
)
"""

Pairs = tuple[IdArray, IdArray]
"""``(target, source)``, uint64 (n,), sorted by both, each pair once."""


class BlockRef(NamedTuple):
    """A row of the table ``reverse``: a block of a run or of a list of touched sources, or that the index ended.

    ``first`` and ``last``: of its targets, or of the touched sources. Nothing lies anywhere where it was dropped, or
    where a run is empty: then ``entries`` is 0.
    """

    run: int
    first: int
    block: int
    last: int
    line: int
    commit: int
    kind: str
    since: int
    entries: int
    pack: int | None = None
    offset: int | None = None
    length: int | None = None
    header_crc: int | None = None

    def row(self) -> Row:
        return tuple(self._replace(first=signed(self.first), last=signed(self.last)))

    @classmethod
    def of_row(cls, row: Row) -> BlockRef:
        ref = cls(*row)
        return ref._replace(first=unsigned(ref.first), last=unsigned(ref.last))


class Block(NamedTuple):
    """A decoded block: targets and sources, or touched sources, which are in both."""

    target: IdArray
    source: IdArray

    @property
    def nbytes(self) -> int:
        return self.target.nbytes + self.source.nbytes


def blocks_of(batches: Iterable[Pairs]) -> Iterator[Pairs]:
    """The pairs of ``batches``, which follow one another, in pieces of BLOCK_ENTRIES and a rest."""
    waiting: list[Pairs] = []
    held = 0
    for target, source in batches:
        waiting.append((target, source))
        held += target.size
        if held >= BLOCK_ENTRIES:
            target, source = (np.concatenate(column) for column in zip(*waiting, strict=True))
            whole = held - held % BLOCK_ENTRIES
            for start in range(0, whole, BLOCK_ENTRIES):
                yield target[start : start + BLOCK_ENTRIES], source[start : start + BLOCK_ENTRIES]
            waiting, held = [(target[whole:], source[whole:])], held - whole
    if held:
        target, source = (np.concatenate(column) for column in zip(*waiting, strict=True))
        yield target, source


def write_run(
    pack: PackWriter, batches: Iterable[Pairs], *, pack_number: int, run: int, line: int, commit: int, since: int
) -> list[BlockRef]:
    """Append the blocks of a run and say where they are; an empty one is a row alone. Raises DiskFull."""
    written: list[BlockRef] = []
    for target, source in blocks_of(batches):
        first, last = int(target[0]), int(target[-1])
        identity = Identity(REVERSE, line, commit, content=commit, first=first, last=last, rows=target.size)
        # most sources are near their targets
        data, crc = encode_record(identity, {"target": target, "source_step": (source - target).view(np.int64)})
        written.append(BlockRef(
            run, first, len(written), last, line, commit, RUN, since, target.size,
            pack_number, pack.append(data), len(data), crc,
        ))  # fmt: skip
    return written or [BlockRef(run, 0, 0, 0, line, commit, RUN, since, 0)]


def write_touched(
    pack: PackWriter, sources: IdArray, *, pack_number: int, run: int, line: int, commit: int
) -> list[BlockRef]:
    """Append a list of touched sources (sorted, distinct, at least one)."""
    first, last = int(sources[0]), int(sources[-1])
    identity = Identity(TOUCHED, line, commit, content=commit, first=first, last=last, rows=sources.size)
    data, crc = encode_record(identity, {"source": sources})
    place = pack_number, pack.append(data), len(data), crc
    return [BlockRef(run, first, 0, last, line, commit, TOUCHES, 0, sources.size, *place)]


def dropped(*, run: int, line: int, commit: int) -> BlockRef:
    """What ends the index at a commit."""
    return BlockRef(run, 0, 0, 0, line, commit, DROPPED, 0, 0)


def decode_block(record: Record, ref: BlockRef) -> Block:
    """Raises :class:`~engramdb.store.pack.BadRecord`."""
    identity = record.identity
    if identity.kind != (REVERSE if ref.kind == RUN else TOUCHED):
        raise BadRecord(f"it is a record of kind {identity.kind}, not of a reverse index")
    shape = (identity.rows,)
    if ref.kind == RUN:
        target = record.column("target", _UINT64, shape)
        source = target + record.column("source_step", np.dtype(np.int64), shape).view(np.uint64)
        sorted_ = (target[1:] > target[:-1]) | ((target[1:] == target[:-1]) & (source[1:] > source[:-1]))
    else:
        target = source = record.column("source", _UINT64, shape)
        sorted_ = source[1:] > source[:-1]
    if not target.size or not sorted_.all():
        raise BadRecord("its entries are not sorted")
    if (target.size, target[0], target[-1]) != (ref.entries, ref.first, ref.last):
        raise BadRecord("it is not the block that the catalog names")
    return Block(target, source)


def read_block(packs: Packs, ref: BlockRef) -> Block:
    """Raises Damaged, naming where and what to do."""
    assert ref.pack is not None
    assert ref.offset is not None
    assert ref.length is not None
    assert ref.header_crc is not None
    try:
        return decode_block(packs.read(ref.pack, ref.offset, ref.length, ref.header_crc), ref)
    except BadRecord as error:
        raise Damaged(
            f"reverse index of {format_id(ref.first)}-{format_id(ref.last)} in packs/{packs.path(ref.pack).name} "
            f"at {ref.offset}: {error}; nothing is lost: build it anew with engramdb index"
        ) from error


class ReverseIndex:
    """The reverse index at one place in history. ``pending``: rows of the writer that no commit names yet."""

    def __init__(self, catalog: Catalog, packs: Packs, chain: Chain, pending: Sequence[BlockRef] = ()) -> None:
        self._catalog, self._packs, self._chain = catalog, packs, chain
        self._pending = tuple(pending)
        self._cache: Cache[Block] = Cache(_CACHE_BYTES)
        self._visible: tuple[list[tuple[int, int]], list[int]] | None = None
        self._whole: dict[int, list[BlockRef]] = {}
        self._newest = 0

    def _resolved(self) -> tuple[list[tuple[int, int]], list[int]]:
        """``(run, entries of its first block)`` of each visible run, newest first, and the numbers of the lists of
        touched sources."""
        if self._visible is None:
            upto = dict(self._chain)
            found = self._catalog.rows(_FIRST_BLOCKS) if self._catalog.has("reverse") else []
            by_run = {row[1]: row for *row, line in found if row[0] <= upto.get(line, -1)}
            for ref in self._pending:
                by_run.setdefault(ref.run, [ref.commit, ref.run, ref.kind, ref.since, ref.entries])
            together = [(commit, run, kind, since, entries) for commit, run, kind, since, entries in by_run.values()]
            self._visible = resolve(together)
            visible = {run for run, _ in self._visible[0]}
            self._newest = max((commit for commit, run, *_ in together if run in visible), default=0)
        return self._visible

    def __bool__(self) -> bool:
        return bool(self._resolved()[0])

    @property
    def runs(self) -> int:
        """How many runs a question has to look into; 0 without an index."""
        return len(self._resolved()[0])

    @property
    def newest(self) -> int:
        """The commit of the newest run; 0 without an index."""
        self._resolved()
        return self._newest

    @property
    def entries(self) -> int:
        """Pairs in all of them."""
        total = 0
        for run, _ in self._resolved()[0]:
            pending = [ref.entries for ref in self._pending if ref.run == run]
            named = () if pending else self._catalog.rows("SELECT sum(entries) FROM reverse WHERE run = ?", (run,))
            total += sum(pending) + sum(int(row[0]) for row in named)
        return total

    def touched(self) -> IdArray:
        """Sources that the runs do not know well, sorted. Raises Damaged."""
        blocks = [self._block(ref).source for run in self._resolved()[1] for ref in self._refs(run)]
        return np.unique(np.concatenate([np.empty(0, np.uint64), *blocks]))

    def pairs(self, targets: IdArray) -> Pairs:
        """All entries of ``targets`` (sorted, distinct), by run, and in each sorted. Raises Damaged."""
        found: list[Pairs] = [(np.empty(0, np.uint64), np.empty(0, np.uint64))]
        for run, entries in self._resolved()[0]:
            if entries:
                for ref in self._wanted(run, targets):
                    block = self._block(ref)
                    start = np.searchsorted(block.target, targets)
                    stop = np.searchsorted(block.target, targets, side="right")
                    lengths = stop - start
                    place = np.repeat(start - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
                    found.append((block.target[place], block.source[place]))
        target, source = (np.concatenate(column) for column in zip(*found, strict=True))
        return target, source

    def _wanted(self, run: int, targets: IdArray) -> Iterator[BlockRef]:
        """The blocks of a run that may hold some of ``targets``."""
        if targets.size >= _MANY or run in self._whole or any(ref.run == run for ref in self._pending):
            refs = self._refs(run)
            first = np.array([ref.first for ref in refs], np.uint64)
            last = np.array([ref.last for ref in refs], np.uint64)
            some = np.searchsorted(targets, last, side="right") > np.searchsorted(targets, first)
            yield from (refs[place] for place in np.flatnonzero(some).tolist())
            return
        seen = set()
        for target in targets.tolist():
            for ref in self._seek(run, target):
                if ref.block not in seen:
                    seen.add(ref.block)
                    yield ref

    def _seek(self, run: int, target: int) -> list[BlockRef]:
        """The blocks of a run that may hold one target: the last that begins before or with it, and those before."""
        found: list[BlockRef] = []
        above = signed(target), 1 << 62
        while True:
            rows = self._catalog.select(
                "reverse", "WHERE run = ? AND (first, block) <= (?, ?) ORDER BY first DESC, block DESC LIMIT 1",
                (run, *above),
            )  # fmt: skip
            if not rows or (ref := BlockRef.of_row(rows[0])).last < target:
                return found
            found.append(ref)
            if ref.first < target:
                return found
            above = signed(ref.first), ref.block - 1

    def _refs(self, run: int) -> list[BlockRef]:
        if run not in self._whole:
            own = [ref for ref in self._pending if ref.run == run]
            rows = [] if own else self._catalog.select("reverse", "WHERE run = ? ORDER BY block", (run,))
            self._whole[run] = own or [BlockRef.of_row(row) for row in rows]
        return self._whole[run]

    def _block(self, ref: BlockRef) -> Block:
        block = self._cache.get((ref.run, ref.block))
        if block is None:
            try:
                block = read_block(self._packs, ref)
            except Damaged:
                key = (ref.run, signed(ref.first), ref.block)
                moved = self._catalog.select("reverse", "WHERE run = ? AND first = ? AND block = ?", key)
                if not moved or BlockRef.of_row(moved[0]) == ref:
                    raise
                self._whole.clear()
                block = read_block(self._packs, BlockRef.of_row(moved[0]))  # gc has moved it
            self._cache.put((ref.run, ref.block), block)
        return block


def resolve(rows: Iterable[tuple[int, int, str, int, int]]) -> tuple[list[tuple[int, int]], list[int]]:
    """Of ``(commit, run, kind, since, entries)`` along a chain: the visible runs, and lists of touched sources."""
    runs: list[tuple[int, int]] = []
    lists: list[int] = []
    since: int | None = None  # None before the newest run
    for commit, run, kind, own_since, entries in sorted(rows, reverse=True):
        if kind == DROPPED:
            break
        if kind == TOUCHES:
            if since is None:
                lists.append(run)
        elif since is None or commit <= since:
            runs.append((run, entries))
            since = own_since
            if not since:
                return runs, lists
    return [], []  # there is none, or it does not reach back to a whole one


def unseen(rows: Mapping[int, tuple[int, int, str, int]], bounds: Mapping[int, npt.NDArray[np.int64]]) -> set[int]:
    """Runs and lists that no kept commit sees, of ``(line, commit, kind, since)`` by run.

    ``bounds``: of each line the numbers of its kept commits. A row is hidden from the commits of its line that come
    after a run which goes back to before it, or after the end of the index. Other lines see it through the commit at
    which they begin, and that is kept.
    """
    gone = set()
    for run, (line, commit, kind, _) in rows.items():
        hiding = [
            other
            for own, other, other_kind, since in rows.values()
            if own == line and other > commit and _hides(other_kind, since, kind, commit)
        ]
        seen = bounds.get(line, np.empty(0, np.int64))
        if not ((seen >= commit) & (seen < min(hiding, default=1 << 62))).any():
            gone.add(run)
    return gone


def _hides(kind: str, since: int, hidden: str, commit: int) -> bool:
    if kind == RUN:
        return hidden == TOUCHES or since < commit
    return kind == DROPPED and hidden != DROPPED
