"""Compaction: deltas on top of a leaf are merged, into one or into a whole leaf, so that reading it takes few records.

The content of a version does not change, nor does its key in the catalog: its row says where the whole record lies
instead. Each batch is one pack and one transaction, so compaction can stop, or be killed, after any of them. What lay
beneath stays where other commits see it; the rest is freed by gc.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engramdb.errors import DiskFull
from engramdb.store.background import Stopped
from engramdb.store.catalog import Catalog
from engramdb.store.directory import Directory
from engramdb.store.leaf import encode_delta, encode_leaf
from engramdb.store.pack import DELTA, LEAF, Identity, PackWriter
from engramdb.store.reader import LeafReader
from engramdb.store.versions import LeafRef

BATCH_BYTES = 1 << 26
"""What a batch writes before it is named; also all that a killed or interrupted compaction can waste."""
DUE = 3
"""Compaction by itself takes leaves with so many deltas; when it is asked for, all that have any."""
SMALL = 4
"""Compaction by itself merges deltas into one while in RAM they take less than the leaf on disk divided by this."""

_SAMPLE = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Compacted:
    """``leaves`` of ``of`` were written whole again, in ``nbytes``. ``stopped``: there was no room for more."""

    leaves: int
    of: int
    nbytes: int
    stopped: bool = False


def with_deltas(directory: Directory, depth: int) -> list[LeafRef]:
    """The leaves with at least ``depth`` deltas that commits name."""
    return [
        ref
        for ref in directory.leaves()
        if ref.kind == DELTA and ref.depth >= depth and (ref.low, ref.commit) not in directory.unnamed
    ]


def bytes_of(directory: Directory, reader: LeafReader) -> int:
    """What the leaves take in packs, with all that lies beneath them; of very many deltas a part stands for all."""
    leaves = list(directory.leaves())
    stacked = [ref for ref in leaves if ref.kind == DELTA]
    sample = stacked[:: max(1, len(stacked) // _SAMPLE)]
    beneath = 0
    for ref in sample:
        below = reader.beneath(ref)
        while below is not None:
            beneath += below.length
            below = reader.beneath(below) if below.kind == DELTA else None
    return sum(ref.length for ref in leaves) + beneath * len(stacked) // max(1, len(sample))


def compact(
    refs: Iterable[LeafRef],
    directory: Directory,
    reader: LeafReader,
    catalog: Catalog,
    new_pack: Callable[[], tuple[int, PackWriter]],
    room_bytes: int,
    stopped: Stopped,
    progress: Progress | None = None,
    *,
    whole: bool,
) -> Compacted:
    """Write ``refs`` anew within ``room_bytes``, ``whole`` or as one delta each where the deltas together are small.

    Raises LeafDamaged and DiskFull between two batches.
    """
    waiting = list(refs)
    done = written = 0
    while done < len(waiting) and written < room_bytes and not stopped():
        number, pack = new_pack()
        moved: list[LeafRef] = []
        named = False
        try:
            while done + len(moved) < len(waiting) and pack.end < min(BATCH_BYTES, room_bytes) and not stopped():
                moved.append(_rewritten(waiting[done + len(moved)], reader, number, pack, whole=whole))
            if moved:
                pack.finish()
                named = True
                with catalog.transaction():
                    catalog.put("packs", (number, pack.name, pack.end))
                    catalog.move_versions(moved)
        except BaseException as error:
            pack.close()
            if not named or isinstance(error, DiskFull):  # else nobody knows: the next opening does
                pack.unlink()
            raise
        pack.close()
        if not moved:
            pack.unlink()
            break
        directory.moved(moved)
        done, written = done + len(moved), written + pack.end
        if progress is not None:
            progress(done, len(waiting))
    return Compacted(done, len(waiting), written, stopped=done < len(waiting) and written >= room_bytes)


def _rewritten(ref: LeafRef, reader: LeafReader, number: int, pack: PackWriter, *, whole: bool) -> LeafRef:
    """``ref`` as one delta on the whole version beneath; as a whole version if that is asked for, or not much more."""
    if not whole:
        merged, below = reader.merged(ref)
        if merged.nbytes * SMALL <= below.length:
            identity = Identity(
                kind=DELTA, line=ref.line, commit=ref.commit, leaf=ref.leaf, base=below.commit, content=ref.commit,
                low=ref.low, first=ref.first, last=ref.last, rows=ref.rows, synapses=ref.synapses,
            )  # fmt: skip
            data, crc = encode_delta(merged, identity)
            place = pack.append(data)
            return ref._replace(
                base_line=below.line, base=below.commit, depth=1,
                pack=number, offset=place, length=len(data), header_crc=crc,
            )  # fmt: skip
    records = reader.read(ref, cached=False)
    data, crc = encode_leaf(records, line=ref.line, commit=ref.commit, leaf=ref.leaf, low=ref.low)
    return ref._replace(
        kind=LEAF, base_line=0, base=0, depth=0, pack=number, offset=pack.append(data), length=len(data), header_crc=crc
    )
