"""A file layer that fails on purpose: full disks, broken disks, kills and power cuts.

>>> files = FaultyFiles()                                           # doctest: +SKIP
>>> files.watch(path)                                               # doctest: +SKIP
>>> with Store.open(path, "r+", files=files) as store: ...          # doctest: +SKIP
>>> for at in range(files.operation):                               # doctest: +SKIP
...     files.survivors(path, copy, seed=2, at=at)                  # as the disk could be, had power failed there
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from engramdb.store.catalog import FILE_NAME
from engramdb.store.files import OsFiles

_SECTOR = 512  # what a disk writes whole or not at all
_LOG_HEADER = 32  # of SQLite's write-ahead log


class PowerCut(BaseException):
    """The machine is gone. No handler in the store may outlive it, so it is no Exception."""


class FaultyFiles(OsFiles):
    """The real file system with switches and a memory. Safe to use from several threads.

    Calls that change something are numbered from 0 (``operation`` is the next, ``calls`` has their names).

    - ``cut_at``: power fails there: that call raises :class:`PowerCut`, perhaps with a part of it done, and so does
      every later one.
    - ``full_at``: the disk is full: calls that need space raise ENOSPC from there on, after writing half, until
      ``full_at`` is set to None.
    - ``broken_at``: the same for every call that changes something, with EIO.

    :meth:`survivors` builds what a machine could find after power failed at any call so far. Nothing is really synced:
    a test waits for no disk.
    """

    def __init__(self, *, cut_at: int | None = None, full_at: int | None = None, broken_at: int | None = None) -> None:
        self.cut_at, self.full_at, self.broken_at = cut_at, full_at, broken_at
        self.operation = 0
        self.calls: list[str] = []
        self._log: list[_Event] = []
        self._handles: dict[int, Path] = {}
        self._known: set[Path] = set()
        self._catalogs: dict[Path, _WatchedCatalog] = {}
        self._lock = RLock()

    # the calls of a file system

    def create(self, path: Path) -> int:
        with self._lock:
            self._learn_names(path.parent)
            self._step(_Event("create", path), grows=True)
            handle = super().create(path)
            self._handles[handle] = path
            self._known.add(path)
            return handle

    def open(self, path: Path, *, write: bool = False) -> int:
        with self._lock:
            if self.cut_at is not None and self.operation > self.cut_at:
                raise PowerCut
            handle = super().open(path, write=write)
            self._handles[handle] = path
            self._learn(path)
            return handle

    def write(self, handle: int, data: bytes, offset: int) -> None:
        with self._lock:
            path = self._handles[handle]
            half = bytes(data[: len(data) // 2])
            try:
                self._step(_Event("write", path, offset, bytes(data)), grows=True, half=_Event("", path, offset, half))
            except (PowerCut, OSError):
                super().write(handle, half, offset)
                raise
            super().write(handle, data, offset)

    def truncate(self, handle: int, nbytes: int) -> None:
        with self._lock:
            self._step(_Event("truncate", self._handles[handle], nbytes))
            super().truncate(handle, nbytes)

    def fsync(self, handle: int) -> None:
        with self._lock:
            self._step(_Event("fsync", self._handles[handle]), grows=True)

    def fsync_dir(self, path: Path) -> None:
        with self._lock:
            self._step(_Event("fsync_dir", path))

    def replace(self, source: Path, target: Path) -> None:
        with self._lock:
            self._learn_names(target.parent)
            self._step(_Event("replace", source, target=target))
            super().replace(source, target)
            for handle, path in self._handles.items():
                self._handles[handle] = _renamed(path, source, target)
            self._known = {_renamed(path, source, target) for path in self._known}

    def unlink(self, path: Path) -> None:
        with self._lock:
            self._learn_names(path.parent)
            self._step(_Event("unlink", path))
            super().unlink(path)
            self._known.discard(path)

    def mkdir(self, path: Path) -> None:
        with self._lock:
            self._step(_Event("mkdir", path), grows=True)
            super().mkdir(path)

    def close(self, handle: int) -> None:
        with self._lock:
            self._handles.pop(handle, None)
            super().close(handle)

    # what else can be told to it

    def watch(self, engram: Path) -> None:
        """Remember the catalog of ``engram`` at every call: SQLite writes past this layer."""
        with self._lock:
            self._catalogs[engram] = _WatchedCatalog(engram / FILE_NAME)

    def moment(self) -> None:
        """A place where power may fail although no call is made here; it is numbered like one."""
        with self._lock:
            self._step(_Event("moment", Path()))

    def _step(self, event: _Event, *, grows: bool = False, half: _Event | None = None) -> None:
        number, self.operation = self.operation, self.operation + 1
        self.calls.append(event.call)
        event.number = number
        event.catalogs = {engram: catalog.look() for engram, catalog in self._catalogs.items()}
        cut = self.cut_at is not None and number >= self.cut_at
        full = grows and self.full_at is not None and number >= self.full_at
        broken = event.call != "moment" and self.broken_at is not None and number >= self.broken_at
        if not (cut or full or broken):
            self._log.append(event)
            return
        event.call = ""  # it does not happen, but for half of a write
        self._log.append(event)
        if half is not None and (full or broken or number == self.cut_at):
            self._log.append(_Event("write", half.path, half.offset, half.data, number=number))
        if cut:
            raise PowerCut
        code = errno.ENOSPC if full else errno.EIO
        raise OSError(code, os.strerror(code))

    def _learn(self, path: Path) -> None:
        """What a file holds that is met for the first time is durable, and was there before all calls.

        But in a folder whose names have changed since: there it was made by another than this layer.
        """
        if path not in self._known:
            self._known.add(path)
            since = self.operation - 1 if path.parent in self._known else -1
            self._log.append(_Event("there", path, data=path.read_bytes(), number=since))

    def _learn_names(self, folder: Path) -> None:
        """The names that a folder has before the first change of them are durable."""
        if folder not in self._known and folder.is_dir():
            for path in folder.iterdir():
                if path.is_file() and not path.name.startswith(FILE_NAME):
                    self._learn(path)
            self._known.add(folder)
            self._log.append(_Event("names", folder, number=-1))

    def survivors(self, engram: Path, target: Path, seed: int, at: int | None = None) -> None:
        """Make ``target``: ``engram`` on one possible disk after power failed at call ``at``, the last by default.

        Names that were not synced with their folder, and writes that were not synced with their file, are each kept,
        lost, torn, or replaced by garbage, by ``seed``: 0 loses all of them, 1 keeps all of them. The same holds for
        what SQLite was writing, if the catalog is watched; otherwise its files are copied as they are now.
        """
        luck = _Luck(seed)
        disk = _Disk()
        with self._lock:
            at = self.operation if at is None else at
            begun = luck.keeps()  # power failed in the call, or before it, while SQLite wrote
            paths = {path for event in self._log for path in (event.path, event.target)}
            for event in self._log:
                if event.number < at or (event.number == at and event.call == "there"):
                    disk.apply(event)
                elif event.number == at and begun and event.call not in ("fsync", "fsync_dir"):
                    disk.apply(event)  # nobody was told that it is done
            catalog = self._catalogs.get(engram)
            states = [event.catalogs[engram] for event in self._log if event.number <= at and engram in event.catalogs]
            if at == self.operation and catalog is not None:
                states.append(catalog.look())
            shutil.copytree(engram, target, ignore=shutil.ignore_patterns(f"{FILE_NAME}*" if catalog else ""))
            if catalog is not None:
                before = states[-1 if begun or len(states) == 1 else -2]
                _CatalogCut(before, states[-1], luck).write(target / FILE_NAME)
        for path in sorted(paths | disk.paths):
            place = target / path.relative_to(engram) if engram in path.parents else None
            if place is not None and place.parent.is_dir() and not place.is_dir():
                place.unlink(missing_ok=True)
                content = disk.survivor(path, luck)
                if content is not None:
                    place.write_bytes(content)


@dataclass
class _Event:
    """A call, with the catalogs as they were before it. "there" and "names" say what was there before all calls."""

    call: str
    path: Path
    offset: int = 0
    data: bytes = b""
    target: Path = Path()
    number: int = 0
    catalogs: dict[Path, _Catalog] = field(default_factory=dict)


class _Luck:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.chance = random.Random(seed)

    def keeps(self) -> bool:
        return self._seed == 1 or (self._seed > 1 and self.chance.random() < 0.5)

    def mixed(self, old: bytes, new: bytes) -> bytes:
        """``old`` on the way to ``new``: each sector is old or new; one that is neither yet is zeros, or garbage."""
        out = bytearray()
        for at in range(0, max(len(old), len(new)), _SECTOR):
            before, after = old[at : at + _SECTOR], new[at : at + _SECTOR]
            if self.keeps():
                out += after if len(after) >= len(before) else after + before[len(after) :]
            elif before:
                out += before
            else:
                out += self.chance.randbytes(len(after)) if self.chance.random() < 0.3 else bytes(len(after))
        size = len(new) if self.keeps() else self.chance.randint(*sorted((len(old), len(new))))
        return bytes(out[:size] if self._seed else old)


@dataclass
class _File:
    """What a file holds on stable storage, and what was written since."""

    synced: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, data); (-1 - length, b"") truncates

    def sync(self) -> None:
        content = bytearray(self.synced)
        for offset, data in self.pending:
            _put(content, offset, data)
        self.synced, self.pending = bytes(content), []

    def survivor(self, luck: _Luck) -> bytes:
        content = bytearray(self.synced)
        for offset, data in self.pending:
            if not luck.keeps():
                if offset >= 0 and luck.chance.random() < 0.1:
                    data = luck.chance.randbytes(len(data))  # blocks that were given to the file, and never written
                else:
                    continue
            elif offset >= 0 and not luck.keeps():
                data = data[: luck.chance.randrange(len(data) + 1)]
            _put(content, offset, data)
        return bytes(content)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset < 0:
        del content[-1 - offset :]
    else:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


def _renamed(path: Path, source: Path, target: Path) -> Path:
    """``path`` after ``source``, it or a folder above it, is called ``target``."""
    return target / path.relative_to(source) if path == source or source in path.parents else path


class _Disk:
    """Files and names after some events: what is durable, and what is only on its way."""

    def __init__(self) -> None:
        self._files: dict[Path, _File] = {}
        self._synced_names: dict[Path, dict[Path, _File]] = {}
        self.paths: set[Path] = set()

    def apply(self, event: _Event) -> None:
        path = event.path
        self.paths.add(path)
        match event.call:
            case "there":
                self._files[path] = _File(event.data)
            case "create":
                self._files[path] = _File()
            case "write":
                self._files[path].pending.append((event.offset, event.data))
            case "truncate":
                self._files[path].pending.append((-1 - event.offset, b""))
            case "fsync":
                self._files[path].sync()
            case "names" | "fsync_dir":
                self._synced_names[path] = {name: file for name, file in self._files.items() if name.parent == path}
            case "unlink":
                self._files.pop(path, None)
            case "replace":
                self._rename(path, event.target)

    def _rename(self, source: Path, target: Path) -> None:
        self.paths.add(target)
        if source in self._files:
            self._files[target] = self._files.pop(source)
        else:  # a folder: it takes its names along
            self._files = {_renamed(path, source, target): file for path, file in self._files.items()}
            self._synced_names = {
                _renamed(folder, source, target): {_renamed(path, source, target): f for path, f in names.items()}
                for folder, names in self._synced_names.items()
            }
            self.paths |= {_renamed(path, source, target) for path in self.paths}

    def survivor(self, path: Path, luck: _Luck) -> bytes | None:
        """What the file holds after the cut; None where there is no such name."""
        now = self._files.get(path)
        synced = self._synced_names.get(path.parent, self._files).get(path)  # no name of that folder has changed
        kept = now if now is synced or luck.keeps() else synced
        return None if kept is None else kept.survivor(luck)


_Catalog = tuple[bytes, bytes | None]
"""What the database and its log hold; None where there is no log."""


class _WatchedCatalog:
    """Reads the files of a catalog again and again.

    They are kept open: closing one would give back all locks that SQLite has on it in this process.
    """

    def __init__(self, path: Path) -> None:
        self._paths = path, path.with_name(f"{FILE_NAME}-wal")
        self._open: dict[tuple[int, int], int] = {}
        self._last: _Catalog = (b"", None)
        weakref.finalize(self, _close, self._open)

    def look(self) -> _Catalog:
        pages, log = map(self._read, self._paths)
        if (pages or b"", log) != self._last:  # the same object as long as nothing changes
            self._last = pages or b"", log
        return self._last

    def _read(self, path: Path) -> bytes | None:
        try:
            status = path.stat()
            key = status.st_dev, status.st_ino
            if key not in self._open:
                self._open[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        return os.pread(self._open[key], status.st_size, 0)


def _close(handles: dict[tuple[int, int], int]) -> None:
    for handle in handles.values():
        os.close(handle)


@dataclass
class _CatalogCut:
    """A catalog when power fails on its way from ``before`` to ``now``.

    On the way lies at most one commit of SQLite's: where the log begins anew, its header is written and synced; then
    the frames are, and synced; then, perhaps, the pages of the database, and synced; then, perhaps, the log is removed.
    """

    before: _Catalog
    now: _Catalog
    luck: _Luck

    def write(self, path: Path) -> None:
        """Also with garbage behind the log, and in the shared memory, which is no memory any more."""
        pages, log = self._state()
        chance = self.luck.chance
        path.write_bytes(pages)
        if log is not None:
            tail = chance.randbytes(chance.randrange(9000)) if chance.random() < 0.3 else b""
            path.with_name(f"{FILE_NAME}-wal").write_bytes(log + tail)
        if chance.random() < 0.3:
            path.with_name(f"{FILE_NAME}-shm").write_bytes(chance.randbytes(32768))

    def _state(self) -> _Catalog:
        (old_pages, old_log), (pages, log), luck = self.before, self.now, self.luck
        if self.before == self.now or luck.keeps():
            return self.now
        if log is None or len(log) < len(old_log or b""):
            return luck.mixed(old_pages, pages), old_log
        if pages != old_pages and luck.keeps():
            return luck.mixed(old_pages, pages), log
        old_log = old_log or b""
        if log[:_LOG_HEADER] != old_log[:_LOG_HEADER]:
            if not luck.keeps():
                return old_pages, old_log
            old_log = log[:_LOG_HEADER] + old_log[_LOG_HEADER:]
        return old_pages, log[:_LOG_HEADER] + luck.mixed(old_log[_LOG_HEADER:], log[_LOG_HEADER:])
