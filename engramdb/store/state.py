"""The in-flight state of a commit: arrays of any shape as the columns of one record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

from engramdb.errors import Damaged
from engramdb.store.history import Commit, StateRef
from engramdb.store.pack import STATE, Array, BadRecord, Identity, Packs, encode_record

ADVICE = "; rows and records of this commit can be read; verify says what else can be done"


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
            f"in-flight state of commit {commit.number} (tick {commit.tick}) in packs/{name} at {ref.offset}: {error}"
            f"{ADVICE}"
        ) from error


class LostState(Mapping[str, Array]):
    """Stands for a state that is damaged, for whoever asks only for what is stored: what is asked of it raises."""

    def __init__(self, error: Damaged) -> None:
        self._error = error

    def _raise(self) -> NoReturn:
        raise Damaged(str(self._error)) from self._error

    def __getitem__(self, name: str) -> Array:
        self._raise()

    def __iter__(self) -> Iterator[str]:
        self._raise()

    def __len__(self) -> int:
        self._raise()
