"""The in-flight state of a commit: arrays of any shape as the columns of one record."""

from __future__ import annotations

from collections.abc import Mapping

from engramdb.errors import Damaged
from engramdb.store.history import Commit, StateRef
from engramdb.store.pack import STATE, Array, BadRecord, Identity, Packs, encode_record


def encode_state(state: Mapping[str, Array], *, line: int, commit: int) -> tuple[bytes, int]:
    """``(record, CRC of its header)``."""
    return encode_record(Identity(STATE, line, commit, content=commit), state)


def read_state(packs: Packs, commit: Commit, ref: StateRef) -> dict[str, Array]:
    """The arrays at ``ref``, in memory of their own. Raises Damaged, naming where."""
    try:
        record = packs.read(ref.pack, ref.offset, ref.length, ref.header_crc)
        if (record.identity.kind, record.identity.commit) != (STATE, commit.number):
            raise BadRecord("it is not the state of this commit")
        return {name: record.column(name) for name in record.columns}
    except BadRecord as error:
        name = packs.path(ref.pack).name
        raise Damaged(
            f"in-flight state of commit {commit.number} (tick {commit.tick}) in packs/{name} at {ref.offset}: {error}; "
            "restore another commit"
        ) from error
