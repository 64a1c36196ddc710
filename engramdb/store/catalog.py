"""The catalog: one SQLite file that says which records make up which commit.

WAL mode with ``synchronous=FULL``: a transaction that returned is durable. Readers never keep one open.
Every row carries a CRC32C of its values, because SQLite does not check its pages; leaf versions do not
need one: each is compared with the header of the record it names.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engramdb.errors import CatalogDamaged, DiskFull, EngramError, FormatTooNew, NotAnEngram
from engramdb.store.pack import crc32c

if TYPE_CHECKING:
    from engramdb.store.versions import LeafRef

FORMAT_VERSION = 2
"""The newest that is read, and that of all that is written: an engram of an older one gets it with the next change."""
FILE_NAME = "catalog.sqlite"
_APPLICATION_ID = 0x456E6752  # "EngR"
_BUSY_SECONDS = 30.0
_SIGN = 1 << 63

Row = tuple[Any, ...]

TABLES: dict[str, tuple[str, ...]] = {
    "meta": ("key TEXT PRIMARY KEY", "value TEXT"),
    "lines": ("line INTEGER PRIMARY KEY", "parent INTEGER", "fork INTEGER"),
    "commits": (
        "number INTEGER PRIMARY KEY", "line INTEGER", "parent INTEGER", "tick INTEGER", "created TEXT",
        "message TEXT", "neurons INTEGER", "synapses INTEGER", "sequence INTEGER",
        "state_pack INTEGER", "state_offset INTEGER", "state_length INTEGER", "state_crc INTEGER",
    ),
    "branches": ("name TEXT PRIMARY KEY", "line INTEGER", "head INTEGER"),
    "snapshots": ("name TEXT PRIMARY KEY", "number INTEGER", "created TEXT"),
    "packs": ("pack INTEGER PRIMARY KEY", "name TEXT UNIQUE", "bytes INTEGER"),
    "bundles": ("line INTEGER", "number INTEGER", "document TEXT"),
    "labels": (
        "run INTEGER", "block INTEGER", "line INTEGER", "number INTEGER", "layer INTEGER", "kind TEXT",
        "count INTEGER", "first_key BLOB", "first INTEGER", "last INTEGER",
        "pack INTEGER", "offset INTEGER", "length INTEGER", "header_crc INTEGER",
    ),
}  # fmt: skip
FORMAT_2_TABLES: dict[str, tuple[str, ...]] = {
    "traces": (
        "line INTEGER", "number INTEGER", "name TEXT", "tick INTEGER", "created TEXT", "neurons INTEGER",
        "pack INTEGER", "offset INTEGER", "length INTEGER", "header_crc INTEGER",
    ),
    "reverse": (
        "run INTEGER", "first INTEGER", "block INTEGER", "last INTEGER", "line INTEGER", "number INTEGER",
        "kind TEXT", "since INTEGER", "entries INTEGER",
        "pack INTEGER", "offset INTEGER", "length INTEGER", "header_crc INTEGER",
    ),
}  # fmt: skip
"""Made when they are first needed: an engram without named traces and without a reverse index has neither."""

_NUMBER = {"commits": "number", "lines": "line", "packs": "pack"}
_KEYS = {"bundles": "PRIMARY KEY (line, number)", "labels": "PRIMARY KEY (run, block)",
         "traces": "PRIMARY KEY (line, number, name)", "reverse": "PRIMARY KEY (run, first, block)"}  # fmt: skip

VERSION_COLUMNS = (
    "line", "low", "number", "leaf", "first", "last", "kind", "base_line", "base", "depth",
    "pack", "offset", "length", "header_crc", "rows", "synapses",
)  # fmt: skip
"""Of the table ``versions``, ``number`` being a commit; see :class:`engramdb.store.versions.LeafRef`."""


def signed(unsigned: int) -> int:
    """An unsigned 64-bit number as SQLite keeps it: XOR 2^63, read as signed. The order stays."""
    return unsigned - _SIGN


def unsigned(signed_number: int) -> int:
    """The way back from :func:`signed`."""
    return signed_number + _SIGN


def check_of(values: Sequence[Any]) -> int:
    """CRC32C of the values as JSON; bytes are written as hex."""
    plain = [value.hex() if isinstance(value, bytes) else value for value in values]
    return crc32c(json.dumps(plain, separators=(",", ":")).encode())


def column_names(table: str) -> list[str]:
    """Of one of TABLES or FORMAT_2_TABLES, without the check value."""
    return [declaration.split()[0] for declaration in (TABLES.get(table) or FORMAT_2_TABLES[table])]


class Catalog:
    """An open catalog. Safe to use from several threads; not across fork."""

    def __init__(self, engram: Path, *, write: bool) -> None:
        """Raises NotAnEngram, FormatTooNew or CatalogDamaged."""
        self.path = engram / FILE_NAME
        if not self.path.is_file():
            raise NotAnEngram(f"{engram} is not an engram: it has no {FILE_NAME}")
        self._lock = RLock()
        self._there: set[str] = set()  # of FORMAT_2_TABLES
        self._connection = self._connect(write)
        _open_catalogs.add(self)
        try:
            self._check_format(engram)
        except BaseException:
            self._connection.close()
            raise

    def _connect(self, write: bool) -> sqlite3.Connection:
        mode = "rw" if write else "ro"
        log = self.path.with_name(f"{FILE_NAME}-wal")
        if not write and not os.access(self.path.parent, os.W_OK) and not (log.exists() and log.stat().st_size):
            mode = "ro&immutable=1"  # SQLite cannot make its shared memory here, and with an empty log need not
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={mode}",
            uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        try:
            with self._translated():
                connection.execute("PRAGMA cell_size_check = ON")
                connection.execute("PRAGMA trusted_schema = OFF")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA fullfsync = ON")
                connection.execute("PRAGMA schema_version").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_format(self, engram: Path) -> None:
        (application,) = self.rows("PRAGMA application_id")[0]
        (version,) = self.rows("PRAGMA user_version")[0]
        if application != _APPLICATION_ID:
            raise CatalogDamaged(f"{self.path} is not the catalog of an engram, or its first page is damaged")
        if version > FORMAT_VERSION:
            raise FormatTooNew(
                f"{engram} has format {version}, and this EngramDB reads up to format {FORMAT_VERSION}: "
                "use a newer EngramDB"
            )
        if version < 1:
            raise CatalogDamaged(f"{self.path} says it has format {version}, which never was")
        self._format = int(version)

    @classmethod
    def create(cls, engram: Path) -> None:
        """An empty catalog in the folder ``engram``, complete on return but not yet fsynced."""
        with contextlib.closing(sqlite3.connect(engram / FILE_NAME, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # the caller syncs the whole folder before it gets its name
            connection.execute("BEGIN")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            for table, declarations in TABLES.items():
                connection.execute(f"CREATE TABLE {_declared(table, declarations)}")
            declarations = tuple(f"{name} INTEGER NOT NULL" for name in VERSION_COLUMNS)
            # clustered by key: a lookup is one descent, and a scan of a line reads in id order
            connection.execute(
                f"CREATE TABLE versions ({', '.join(declarations)}, PRIMARY KEY (line, low, number)) WITHOUT ROWID"
            )
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFull(
                    f"disk full: {self.path} cannot grow; the last commit and the journal are whole: "
                    "free some space and repeat"
                ) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise EngramError(
                    f"{self.path} is busy: another program holds it; close that program and repeat"
                ) from error
            if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise EngramError(f"{self.path} cannot be used: {error}; check the disk and the permissions") from error
            problem = " ".join(str(error).split())  # one line, whatever damaged text SQLite quotes
            raise CatalogDamaged(f"{self.path} is damaged: {problem}; restore it from a copy") from error
        except UnicodeDecodeError as error:  # SQLite's own message quotes damaged text
            raise CatalogDamaged(f"{self.path} is damaged: text in it is not UTF-8; restore it from a copy") from error

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of one statement, fetched at once so that no transaction stays open."""
        with self._lock, self._translated():
            return self._connection.execute(sql, parameters).fetchall()

    def select(self, table: str, condition: str = "", parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows of one of TABLES or FORMAT_2_TABLES, columns as declared, each checked. Raises CatalogDamaged."""
        names = column_names(table)
        if not self.has(table):
            return []
        found = self.rows(f"SELECT {', '.join(names)}, check_value FROM {table} {condition}", parameters)
        for *values, check in found:
            if check != check_of(values):
                raise CatalogDamaged(
                    f"{self.path} is damaged: the row {names[0]} {values[0]!r} of table {table} fails its checksum; "
                    "restore it from a copy"
                )
        return [row[:-1] for row in found]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside become durable together on exit, or none when an exception leaves the block."""
        with self._lock:
            with self._translated():
                self._connection.execute("BEGIN IMMEDIATE")
                if self._format < FORMAT_VERSION:
                    self._connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            try:
                yield
                with self._translated():
                    self._connection.execute("COMMIT")
                self._format = FORMAT_VERSION
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def has(self, table: str) -> bool:
        """Whether the engram has ``table``; those of format 1 are in all."""
        if table in FORMAT_2_TABLES and table not in self._there:
            if not self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)):
                return False
            self._there.add(table)
        return True

    def make(self, table: str) -> None:
        """In a transaction: one of FORMAT_2_TABLES, where it is not there yet."""
        with self._translated():
            declared = _declared(table, FORMAT_2_TABLES[table])
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {declared}")

    def put(self, table: str, values: Sequence[Any]) -> None:
        """Insert or replace one row of one of TABLES, with its check value."""
        marks = ", ".join("?" * (len(values) + 1))
        names = ", ".join([*column_names(table), "check_value"])
        with self._translated():
            self._connection.execute(
                f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", (*values, check_of(values))
            )

    def put_versions(self, rows: Iterable[Row]) -> None:
        marks = ", ".join("?" * len(VERSION_COLUMNS))
        with self._translated():
            self._connection.executemany(f"INSERT INTO versions ({', '.join(VERSION_COLUMNS)}) VALUES ({marks})", rows)

    def move_versions(self, refs: Iterable[LeafRef]) -> None:
        """Let rows that are there name the same content in another place or form."""
        with self._translated():
            self._connection.executemany(
                "UPDATE versions SET kind = ?, base_line = ?, base = ?, depth = ?, pack = ?, offset = ?, length = ?, "
                "header_crc = ? WHERE line = ? AND low = ? AND number = ?",
                [
                    (r.kind, r.base_line, r.base, r.depth, r.pack, r.offset, r.length, r.header_crc,
                     r.line, signed(r.low), r.commit)
                    for r in refs
                ],
            )  # fmt: skip

    def change(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for each of ``rows``; inside a transaction."""
        with self._translated():
            self._connection.executemany(sql, rows)

    def unused(self, table: str) -> int:
        """A larger number than any commit, line or pack (``table`` in the plural) has or had: none comes again."""
        (largest,) = self.rows(f"SELECT coalesce(max({_NUMBER[table]}), 0) FROM {table}")[0]
        remembered = self.select("meta", "WHERE key = ?", (f"used_{table}",))
        return 1 + max(int(largest), int(remembered[0][1]) if remembered else 0)

    def remember_numbers(self) -> None:
        """In a transaction, before rows are deleted: their numbers are not to come again."""
        for table in _NUMBER:
            self.put("meta", (f"used_{table}", str(self.unused(table) - 1)))

    def delete(self, table: str, condition: str, parameters: Sequence[Any]) -> None:
        with self._translated():
            self._connection.execute(f"DELETE FROM {table} {condition}", parameters)

    def meta(self, key: str) -> str:
        found = self.select("meta", "WHERE key = ?", (key,))
        if not found:
            raise CatalogDamaged(f"{self.path} is damaged: it has no {key}; restore it from a copy")
        value: str = found[0][1]
        return value

    def copy(self, target: Path) -> None:
        """Everything as of one moment, in a new file; beside a writer this is the only right way to copy a catalog."""
        with self._lock, self._translated(), contextlib.closing(sqlite3.connect(target)) as connection:
            self._connection.backup(connection)

    def integrity_problems(self) -> list[str]:
        """What SQLite's own check of the whole file finds."""
        return [" ".join(str(text).split()) for (text,) in self.rows("PRAGMA integrity_check") if text != "ok"]

    def close(self) -> None:
        self._connection.close()


def _declared(table: str, declarations: Sequence[str]) -> str:
    keys = [_KEYS[table]] if table in _KEYS else []
    return f"{table} ({', '.join([*declarations, 'check_value INTEGER', *keys])})"


_open_catalogs: weakref.WeakSet[Catalog] = weakref.WeakSet()


def _leak_connections() -> None:
    """SQLite forbids a forked child to touch its parent's connections, even to close them when it exits."""
    for catalog in _open_catalogs:
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(catalog._connection))


os.register_at_fork(after_in_child=_leak_connections)
