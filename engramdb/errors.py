"""One error tree. Every message is one line: what, where, what to do.

::

    EngramError
    +-- InvalidInput           exit 2: the request cannot be right
    |   +-- InvalidId            no such id can exist
    |   +-- InvalidSpec          a field of a spec, named in ``field``
    |   +-- ReadOnly             a change was asked of an engram opened for reading
    +-- NotFound               exit 1: a well-formed name of something that is not there
    |   +-- NotAnEngram          the path holds no engram
    +-- AlreadyExists          exit 1: the path or name is taken
    +-- FormatTooNew           exit 1: written by a newer EngramDB
    +-- KernelMismatch         exit 1: a journal that only another kernel version can replay
    +-- Damaged                exit 1: a check on stored bytes failed
    |   +-- LeafDamaged
    |   +-- CatalogDamaged
    |   +-- JournalDamaged
    +-- DiskFull               exit 1: nothing was lost; says how much is needed
    +-- Unreachable            exit 1: an object store refused, or did not answer in full after several tries
    +-- Conflict               exit 1: somebody else changed the same thing first
    +-- Locked                 exit 3: another writer holds the engram
    +-- BudgetExceeded         exit 4: the memory budget cannot hold what is active at once
    +-- TookTooLong            exit 1: a question did not end within the time it was given; it changed nothing
    +-- HandleClosed           exit 2: closed, or inherited through fork
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engramdb.run import Run


class EngramError(Exception):
    """Base of all errors that EngramDB raises on purpose. ``exit_code`` is what the command line returns."""

    exit_code = 1


class InvalidInput(EngramError, ValueError):
    exit_code = 2


class InvalidId(InvalidInput):
    pass


class InvalidSpec(InvalidInput):
    """``field`` is the dotted path of the offending field, such as ``layers[0].segments[1]``."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"{field}: {problem}")


class ReadOnly(InvalidInput):
    pass


class NotFound(EngramError, LookupError):
    pass


class NotAnEngram(NotFound):
    pass


class AlreadyExists(EngramError):
    pass


class FormatTooNew(EngramError):
    pass


class KernelMismatch(EngramError):
    pass


class Damaged(EngramError):
    pass


class LeafDamaged(Damaged):
    pass


class CatalogDamaged(Damaged):
    pass


class JournalDamaged(Damaged):
    pass


class DiskFull(EngramError):
    """``run`` is the part of a run that was done before it, where there was one."""

    run: Run | None = None


class Unreachable(EngramError):
    pass


class Conflict(EngramError):
    pass


class Locked(EngramError):
    exit_code = 3


class BudgetExceeded(EngramError):
    """``run`` is the part of a run that was done before it, where there was one."""

    exit_code = 4
    run: Run | None = None


class TookTooLong(EngramError):
    pass


class HandleClosed(InvalidInput):
    pass
