"""Publishing: what is committed, copied to an object store so that a reader always finds a whole engram there."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Self

import google_crc32c

from engramdb.errors import (
    AlreadyExists,
    CatalogDamaged,
    Conflict,
    Damaged,
    EngramError,
    InvalidInput,
    JournalDamaged,
    KernelMismatch,
    NotAnEngram,
    Unreachable,
)
from engramdb.store.catalog import Catalog
from engramdb.store.history import Commit, now
from engramdb.store.pack import new_name
from engramdb.store.remote.catalogcopy import compress, copy_catalog, cut_back
from engramdb.store.remote.files import read_pointer
from engramdb.store.remote.objects import PART_BYTES, Found, Listed, Objects
from engramdb.store.remote.pointer import (
    CATALOGS,
    MANIFESTS,
    NAME,
    OURS,
    PACKS,
    PackSum,
    Pointer,
    Previous,
    Stored,
    decode_manifest,
    encode_manifest,
    pack_object,
)
from engramdb.store.store import Store
from engramdb.url import Options, as_url, options_of

Progress = Callable[[int, int], None]
"""``progress(bytes moved, bytes to move)``, called from another thread."""

_ATTEMPTS = 5
_FORGOTTEN = timedelta(days=1)  # what no document names and is older was left behind by a publication that was killed


@dataclass(frozen=True)
class Publication:
    """What :func:`publish` did.

    ``commit`` at ``tick`` is what a reader now stands at. ``packs`` of ``pack_bytes`` make up the engram, of which
    ``uploaded`` with ``uploaded_bytes`` were not there yet; ``catalog_bytes`` of catalog come on top. ``removed``
    objects were needed no more. ``changed``: False if exactly this was published already. ``journaled`` commands came
    after the last commits and are *not* published; None where a journal cannot be read.
    """

    url: str
    commit: int
    tick: int
    packs: int
    pack_bytes: int
    uploaded: int
    uploaded_bytes: int
    catalog_bytes: int
    removed: int
    changed: bool
    journaled: int | None


def publish(
    path: str | Path,
    url: str,
    *,
    at: str | int | None = None,
    everything: bool = False,
    storage_options: Options | None = None,
    progress: Progress | None = None,
) -> Publication:
    """Publish the engram at ``path`` under ``url``: what is committed, beside a writer or not.

    Packs that are there already stay; what was uploaded before a failure counts. ``at``: that snapshot, branch or
    commit and its past alone, as if nothing had come after. ``everything``: upload what is there, too.
    ``storage_options``: endpoint, credentials, ..., where the environment does not say. Readers see the engram as it
    was until all is there, and then the new one.

    Raises InvalidInput, NotFound for ``at``, AlreadyExists if another engram is there, Conflict if another process
    published a newer commit meanwhile, Unreachable, Damaged.
    """
    target = as_url(url)
    if target is None:
        raise InvalidInput(f"{url} is no URL: give one such as s3://bucket/brain.engram, or file:///folder")
    if as_url(path) is not None:
        raise InvalidInput(f"{path} is published already: fetch it with engramdb open URL --download PATH first")
    path = Path(path)
    with (
        contextlib.closing(Store.open(path, "r", at=at)) as store,  # its pin keeps what the commit needs
        contextlib.closing(Objects(target, options_of(url, storage_options), writing=True)) as objects,
    ):
        journaled = _journaled(path, store) if at is None else 0
        for _ in range(_ATTEMPTS):
            with tempfile.TemporaryDirectory(prefix="engramdb-publish-") as work:
                try:
                    edition = _Edition.of(path, Path(work), store.commit, cut=at is not None)
                    return _Publishing(objects, edition, everything, progress).run(journaled)
                except _ChangedBeneath:
                    continue
    raise EngramError(f"{path} is being cleaned up over and over: publish it when that is done")


def _journaled(path: Path, store: Store) -> int | None:
    """Commands in the journals of all branches; None if one cannot be read."""
    count = 0
    try:
        for branch in store.branches():
            with contextlib.closing(Store.open(path, "r", branch=branch.name)) as head:
                count += sum(1 for _ in head.journal_frames())
    except (JournalDamaged, KernelMismatch):
        return None
    return count


class _ChangedBeneath(Exception):
    """A pack was removed, or another process published an older commit: look again."""


@dataclass(frozen=True)
class _Edition:
    """What is to be published: packs by name with their sizes, and a catalog, compressed in a file of its own."""

    path: Path
    engram: str
    commit: int
    tick: int
    packs: dict[str, int]
    catalog: Stored
    catalog_file: Path

    @classmethod
    def of(cls, path: Path, work: Path, commit: Commit, *, cut: bool) -> _Edition:
        """``cut``: the past of ``commit`` alone; else everything, whose head may be newer than ``commit``."""
        copy_catalog(path, work)
        if cut:
            cut_back(work, commit.number)
        with contextlib.closing(Catalog(work, write=False)) as catalog:
            engram = catalog.meta("engram")
            packs = {name: nbytes for _, name, nbytes in catalog.select("packs")}
            (head,) = catalog.select("branches", "WHERE name = 'main'")
            (row,) = catalog.select("commits", "WHERE number = ?", (head[2],))
        file = work / "catalog.gz"
        sha256 = compress(work, file)
        stored = Stored(f"{CATALOGS}/{sha256}.sqlite.gz", file.stat().st_size, sha256)
        return cls(path, engram, row[0], row[3], packs, stored, file)


class _Publishing:
    """One attempt."""

    def __init__(self, objects: Objects, edition: _Edition, everything: bool, progress: Progress | None) -> None:
        self._objects, self._edition, self._everything = objects, edition, everything
        self._progress = progress or (lambda done, total: None)
        self._moved = self._to_move = 0
        self._counting = Lock()

    def run(self, journaled: int | None) -> Publication:
        edition = self._edition
        before, document = self._before()
        known = self._manifest(before.manifest) if before else {}
        there = {folder: self._objects.listed(folder) for folder in (PACKS, CATALOGS, MANIFESTS)}
        sums, uploaded = self._upload_packs(known, there[PACKS])
        manifest, manifest_data = encode_manifest(sums)
        if self._lacks(there[CATALOGS], edition.catalog):
            parts = _Parts(edition.catalog_file, edition.catalog.bytes, self._count)
            self._objects.transfer([self._objects.upload(edition.catalog.name, parts, edition.catalog.bytes)])
        if self._lacks(there[MANIFESTS], manifest):
            self._objects.put(manifest.name, manifest_data)
        changed = before is None or (before.catalog, before.manifest) != (edition.catalog, manifest)
        removed = 0
        if changed:
            pointer = self._move_pointer(before, document, manifest)
            removed = self._remove_old(pointer, before, sums, known, there)
        return Publication(
            url=self._objects.url, commit=edition.commit, tick=edition.tick,
            packs=len(sums), pack_bytes=sum(edition.packs.values()),
            uploaded=len(uploaded), uploaded_bytes=sum(edition.packs[name] for name in uploaded),
            catalog_bytes=edition.catalog.bytes, removed=removed, changed=changed, journaled=journaled,
        )  # fmt: skip

    def _before(self) -> tuple[Pointer | None, Found | None]:
        """What is published now, and its document, which may be damaged if everything is to be uploaded."""
        try:
            document = self._objects.get(NAME)
        except FileNotFoundError:
            return None, None
        try:
            before = Pointer.decode(document.data, self._objects.url)
        except CatalogDamaged:
            if self._everything:
                return None, document
            raise
        if before.engram != self._edition.engram:
            raise AlreadyExists(f"{self._objects.url} holds another engram: choose another URL, or delete that first")
        return before, document

    def _lacks(self, there: dict[str, Listed], stored: Stored) -> bool:
        listed = there.get(stored.name)
        return self._everything or listed is None or listed.nbytes != stored.bytes

    def _manifest(self, stored: Stored) -> dict[str, PackSum]:
        try:
            return decode_manifest(self._objects.get(stored.name).data, stored, self._objects.url)
        except (FileNotFoundError, CatalogDamaged):
            return {}  # this publication makes a new one

    # packs

    def _upload_packs(
        self, known: dict[str, PackSum], there: dict[str, Listed]
    ) -> tuple[dict[str, PackSum], list[str]]:
        """Sums of all packs, and the names of those that had to be uploaded."""
        packs = self._edition.packs
        missing = []
        for name, nbytes in packs.items():
            listed = there.get(pack_object(name))
            if self._everything or listed is None or listed.nbytes != nbytes:
                missing.append(name)
        self._to_move = sum(packs[name] for name in missing) + self._edition.catalog.bytes
        sources = {name: _Parts(self._file(name), packs[name], self._count) for name in missing}
        self._objects.transfer(
            [self._objects.upload(pack_object(name), parts, packs[name]) for name, parts in sources.items()]
        )
        sums = {name: PackSum(packs[name], parts.crc) for name, parts in sources.items()}
        for name, nbytes in packs.items():
            if name not in sums:  # it was there, of this size: pack names are never used twice
                old = known.get(name)
                sums[name] = old if old and old.nbytes == nbytes else PackSum(nbytes, _crc(self._file(name), nbytes))
        return sums, missing

    def _file(self, name: str) -> Path:
        return self._edition.path / "packs" / f"{name}.pack"

    def _count(self, nbytes: int) -> None:
        with self._counting:
            self._moved += nbytes
            self._progress(self._moved, self._to_move)

    # the document

    def _move_pointer(self, before: Pointer | None, document: Found | None, manifest: Stored) -> Pointer:
        edition, objects = self._edition, self._objects
        pointer = Pointer(
            engram=edition.engram, publication=new_name(), published=now(), commit=edition.commit, tick=edition.tick,
            catalog=edition.catalog, manifest=manifest, packs=len(edition.packs),
            pack_bytes=sum(edition.packs.values()),
            previous=Previous(before.catalog.name, before.manifest.name) if before else None,
        )  # fmt: skip
        try:
            objects.replace(NAME, pointer.encode(), document)
        except (Conflict, Unreachable) as error:
            try:
                other, _ = read_pointer(objects)
            except (NotAnEngram, Unreachable):
                raise error from None
            if (other.catalog, other.manifest) == (pointer.catalog, pointer.manifest):
                return other  # it was done, and only the answer was lost; or another process did the same
            if isinstance(error, Unreachable):
                raise
            if other.engram == edition.engram and other.commit < edition.commit:
                raise _ChangedBeneath from None
            raise Conflict(
                f"another process has published commit {other.commit} to {objects.url} meanwhile, and this was to be "
                f"commit {edition.commit}: nothing is changed; publish again if it should be"
            ) from None
        return pointer

    def _remove_old(
        self, pointer: Pointer, before: Pointer | None, sums: dict[str, PackSum], known: dict[str, PackSum],
        there: dict[str, dict[str, Listed]],
    ) -> int:  # fmt: skip
        """Delete what neither this document nor the one before names; the number of objects."""
        kept = {pointer.catalog.name, pointer.manifest.name, *map(pack_object, itertools.chain(sums, known))}
        retired: set[str] = set()
        if before is not None:
            kept |= {before.catalog.name, before.manifest.name}
            if before.previous is not None:
                retired = {before.previous.catalog, before.previous.manifest, *self._packs_of(before.previous.manifest)}
        long_ago = datetime.now(UTC) - _FORGOTTEN
        present = {name: listed for folder in there.values() for name, listed in folder.items() if OURS.fullmatch(name)}
        gone = [
            name
            for name, listed in present.items()
            if name not in kept and (name in retired or listed.modified < long_ago)
        ]
        self._objects.delete(gone)
        return len(gone)

    def _packs_of(self, manifest: str) -> set[str]:
        sha256 = manifest.partition("/")[2].partition(".")[0]
        return {pack_object(name) for name in self._manifest(Stored(manifest, 0, sha256))}


class _Parts(Iterator[bytes]):
    """The first ``nbytes`` of a file, part by part; then ``crc`` is their CRC-32C. Raises Damaged if it is shorter."""

    def __init__(self, file: Path, nbytes: int, count: Callable[[int], None]) -> None:
        """``count`` is called with the bytes of each part, once."""
        self._file, self._nbytes, self._count = file, nbytes, count
        self._at = self._counted = self.crc = 0

    def __iter__(self) -> Self:
        """From the beginning."""
        self._at = self.crc = 0
        return self

    def __next__(self) -> bytes:
        if self._at == self._nbytes:
            raise StopIteration
        try:
            with self._file.open("rb") as file:  # anew for each part: thousands wait, and few are under way
                file.seek(self._at)
                data = file.read(min(PART_BYTES, self._nbytes - self._at))
        except FileNotFoundError:
            raise _ChangedBeneath from None  # the garbage collector took it since the catalog was copied
        if not data:
            raise Damaged(f"{self._file} ends after {self._at} of {self._nbytes} bytes: see engramdb verify")
        self._at += len(data)
        self.crc = google_crc32c.extend(self.crc, data)
        if self._at > self._counted:
            self._count(self._at - self._counted)
            self._counted = self._at
        return data


def _crc(file: Path, nbytes: int) -> int:
    parts = _Parts(file, nbytes, lambda count: None)
    for _ in parts:
        pass
    return parts.crc
