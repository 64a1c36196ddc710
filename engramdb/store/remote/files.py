"""Published engrams, read where they are: the catalog is fetched once, packs are read in ranges as they are needed.

>>> store = Store.open("s3://bucket/brain.engram", at="trained")  # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from engramdb.errors import CatalogDamaged, Conflict, EngramError, NotAnEngram, ReadOnly
from engramdb.kernels import KERNEL_VERSION
from engramdb.store.cache import Cache
from engramdb.store.catalog import Catalog
from engramdb.store.files import OsFiles
from engramdb.store.history import History
from engramdb.store.journal import JournalHead, create_journal, journal_path
from engramdb.store.remote.catalogcopy import unpack
from engramdb.store.remote.objects import Found, Objects
from engramdb.store.remote.pointer import AGAIN, NAME, Pointer, pack_object
from engramdb.store.store import Store
from engramdb.url import Options, UrlPath

BLOCK_BYTES = 64 << 10
"""Packs are read in whole blocks of so many bytes, neighbours with one request."""

FOLDERS = ("packs", "journal", "pins")
_CACHE_BYTES = 32 << 20
_AHEAD_BYTES = 256 << 10, 4 << 20  # read ahead: at first, and at most
_TRIES = 3


def read_pointer(objects: Objects) -> tuple[Pointer, Found]:
    """What is published there now, and its document. Raises NotAnEngram, FormatTooNew, CatalogDamaged, Unreachable."""
    try:
        found = objects.get(NAME)
    except FileNotFoundError:
        raise NotAnEngram(f"{objects.url} holds no published engram: there is no {NAME}") from None
    return Pointer.decode(found.data, objects.url), found


def fetch_catalog(objects: Objects, folder: Path) -> Pointer:
    """The catalog of the published engram in ``folder``; what it is a catalog of."""
    pointer, _ = read_pointer(objects)
    for _ in range(_TRIES):
        stored = pointer.catalog
        try:
            parts = objects.parts(stored.name, stored.bytes)
            objects.transfer([unpack(parts, folder, stored.sha256, f"{objects.url}/{stored.name}")])
        except FileNotFoundError as error:
            if not objects.missing(error):
                raise
            missing, (pointer, _) = pointer, read_pointer(objects)
            if pointer == missing:
                raise CatalogDamaged(f"{objects.url}/{stored.name} is missing: {AGAIN}") from None
        else:
            return pointer
    raise Conflict(f"{objects.url} is being published over and over: repeat when that is done")


class RemoteFiles(OsFiles):
    """Packs in an object store, to be read; everything else on this machine.

    What was read stays in a cache of blocks. Who reads on where he stopped gets more with each request than he asked
    for. A pack that is gone because the engram was published anew is no damage: EngramError says to open it again.
    """

    run_bytes = 1 << 20  # a request takes longer than decoding so much

    def __init__(self, objects: Objects, pointer: Pointer, folder: Path, *, checking: bool = False) -> None:
        """``folder``: in which the packs seem to be. ``checking``: ask how large a pack is when it is opened."""
        self._objects, self._pointer, self._folder, self._checking = objects, pointer, folder, checking
        with contextlib.closing(Catalog(folder.parent, write=False)) as catalog:
            self._sizes = {name: nbytes for _, name, nbytes in catalog.select("packs")}
        self._open: dict[int, _OpenPack] = {}
        self._handles = itertools.count(-2, -1)  # no descriptor of this machine
        self._blocks: Cache[memoryview] = Cache(_CACHE_BYTES)

    def open(self, path: Path, *, write: bool = False) -> int:
        if path.parent != self._folder:
            return super().open(path, write=write)
        if path.stem not in self._sizes:
            raise FileNotFoundError(path)
        size = self._sizes[path.stem]
        if self._checking:
            with self._explained():
                size = self._objects.size(pack_object(path.stem))
        handle = next(self._handles)
        self._open[handle] = _OpenPack(path.stem, size)
        return handle

    def size(self, handle: int) -> int:
        return self._open[handle].size if handle in self._open else super().size(handle)

    def close(self, handle: int) -> None:
        if self._open.pop(handle, None) is None:
            super().close(handle)

    def expect(self, handle: int, nbytes: int, offset: int) -> None:
        if handle not in self._open:  # who reads on in a pack gets more with each request anyway
            super().expect(handle, nbytes, offset)

    def pread(self, handle: int, nbytes: int, offset: int) -> bytes:
        pack = self._open.get(handle)
        if pack is None:
            return super().pread(handle, nbytes, offset)
        nbytes = min(nbytes, pack.size - offset)
        if nbytes <= 0:
            return b""
        wanted = range(offset // BLOCK_BYTES, (offset + nbytes - 1) // BLOCK_BYTES + 1)
        blocks = {number: self._blocks.get((pack.name, number)) for number in wanted}
        missing = [number for number, block in blocks.items() if block is None]
        if missing:
            blocks |= self._fetch(pack, missing[0], max(missing[-1] + 1, self._ahead(pack, missing)))
        pack.next = wanted[-1] + 1
        data = b"".join(blocks[number] or b"" for number in wanted)
        start = offset - wanted[0] * BLOCK_BYTES
        return data[start : start + nbytes]

    def _ahead(self, pack: _OpenPack, missing: list[int]) -> int:
        """The block before which to stop reading: further away each time that a reader just goes on."""
        least, most = _AHEAD_BYTES
        pack.ahead = min(most, max(least, 2 * pack.ahead)) if missing[0] in (pack.next - 1, pack.next) else 0
        return missing[0] + pack.ahead // BLOCK_BYTES

    def _fetch(self, pack: _OpenPack, first: int, stop: int) -> dict[int, memoryview | None]:
        start = first * BLOCK_BYTES
        with self._explained():
            data = self._objects.read(pack_object(pack.name), start, min(stop * BLOCK_BYTES, pack.size) - start)
        found: dict[int, memoryview | None] = {}
        for number in range(first, first + -(-len(data) // BLOCK_BYTES)):
            at = (number - first) * BLOCK_BYTES
            block = memoryview(data[at : at + BLOCK_BYTES])  # a copy, so that a block keeps no more than itself
            found[number] = block
            if len(block) == BLOCK_BYTES or start + len(data) == pack.size:
                self._blocks.put((pack.name, number), block)
        return found

    @contextlib.contextmanager
    def _explained(self) -> Any:
        try:
            yield
        except FileNotFoundError as error:
            if read_pointer(self._objects)[0].publication != self._pointer.publication:
                raise EngramError(
                    f"{self._objects.url} has been published anew since it was opened, and {Path(error.filename).name} "
                    "is needed no more: open it again"
                ) from None
            raise


@dataclass
class _OpenPack:
    name: str
    size: int
    next: int = -1  # the block behind the last one read
    ahead: int = 0  # bytes to read with the next request, if it goes on there


class Shell:
    """What of a published engram is on this machine while it is read: a folder with its catalog, gone after close."""

    def __init__(self, url: str, options: Options, *, checking: bool = False) -> None:
        """``checking``: see RemoteFiles.

        Raises NotAnEngram, Unreachable, CatalogDamaged, DiskFull, and EngramError without the library.
        """
        with contextlib.ExitStack() as opened:
            objects = opened.enter_context(contextlib.closing(Objects(url, options)))
            home = tempfile.mkdtemp(prefix="engramdb-")
            opened.callback(shutil.rmtree, home, ignore_errors=True)
            self.folder = Path(home, UrlPath(url).name)
            for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
                folder.mkdir()
            self.pointer = fetch_catalog(objects, self.folder)
            self.files = RemoteFiles(objects, self.pointer, self.folder / "packs", checking=checking)
            self._finalizer = weakref.finalize(self, _give_back, os.getpid(), opened.pop_all())

    def close(self) -> None:
        self._finalizer()


def _give_back(pid: int, resources: contextlib.ExitStack) -> None:
    """Not in a forked child: the folder is its parent's."""
    if os.getpid() == pid:
        resources.close()


class RemoteStore(Store):
    """A published engram. ``path`` is its URL; ``pointer`` says what is published."""

    shell: Shell

    @property
    def pointer(self) -> Pointer:
        return self.shell.pointer

    def gc(self, *arguments: Any, **how: Any) -> NoReturn:
        raise ReadOnly(f"{self.path} is a published engram: gc frees space where it is written, then publish it again")

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.shell.close()


def open_remote(url: str, mode: str, options: Options, **how: Any) -> RemoteStore:
    """The engram published at ``url``, as :meth:`Store.open` would; ``how`` goes to it. Raises ReadOnly for "r+"."""
    if mode == "r+":
        raise ReadOnly(
            f"{url} is a published engram, which can only be read: fetch a copy to write to with "
            f"engramdb open {url} --download PATH"
        )
    shell = Shell(url, options)
    try:
        store = RemoteStore.open(shell.folder, "r", files=shell.files, **how)
    except BaseException:
        shell.close()
        raise
    store.shell, store.path = shell, UrlPath.of(url, options)
    weakref.finalize(store, shell.close)  # of a handle that was forgotten
    return store


def create_journals(folder: Path) -> None:
    """An empty journal for each branch of the engram in ``folder``: what was journaled is not published."""
    with contextlib.closing(Catalog(folder, write=False)) as catalog:
        history, engram = History(catalog), bytes.fromhex(catalog.meta("engram"))
        for branch in history.branches():
            sequence = history.commit(branch.head).sequence
            head = JournalHead(KERNEL_VERSION, branch.line, branch.head, sequence, engram)
            create_journal(OsFiles(), journal_path(folder, branch.line, branch.head), head)


def verified(url: str, options: Options, check: Callable[..., Any]) -> Any:
    """``check(folder, files=...)`` of the engram published at ``url``, every byte of which it reads."""
    with contextlib.closing(Shell(url, options, checking=True)) as shell:
        create_journals(shell.folder)
        return check(shell.folder, files=shell.files)
