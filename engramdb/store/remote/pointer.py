"""What a published engram is: a small document, ``engram.json``, that names everything else.

::

    engram.json                    this document: replaced last, so a reader sees the old engram or the new one
    catalogs/<sha256>.sqlite.gz    the catalog as of the publication
    manifests/<sha256>.json        the packs that it names, each with its size and CRC-32C
    packs/<ulid>.pack              as on disk

``FORMAT.md`` describes the fields.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engramdb.errors import CatalogDamaged, FormatTooNew
from engramdb.store.pack import crc32c

NAME = "engram.json"
CATALOGS, MANIFESTS, PACKS = "catalogs", "manifests", "packs"
FORMAT_VERSION = 1

AGAIN = "publish the engram again with everything in it (engramdb publish --all)"
"""What to do about damage."""

OURS = re.compile(r"catalogs/[0-9a-f]{64}\.sqlite\.gz|manifests/[0-9a-f]{64}\.json|packs/[0-9A-Z]{26}\.pack")
"""Names that a publication gives; others under the same URL are somebody else's."""


@dataclass(frozen=True)
class Stored:
    """An object: its name, its size, and the SHA-256 of its content (of a catalog, before compression)."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Previous:
    """What the document named before, which stays for those who are reading it."""

    catalog: str
    manifest: str


@dataclass(frozen=True)
class Pointer:
    """The document. ``engram`` is the engram's id, ``publication`` a ULID of its own, ``published`` ISO 8601 in UTC.

    ``packs`` and ``pack_bytes`` count what the manifest lists.
    """

    engram: str
    publication: str
    published: str
    commit: int
    tick: int
    catalog: Stored
    manifest: Stored
    packs: int
    pack_bytes: int
    previous: Previous | None

    def encode(self) -> bytes:
        document = {"format": FORMAT_VERSION, **asdict(self)}
        document["check"] = _check(document)
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, url: str) -> Pointer:
        """Raises FormatTooNew, CatalogDamaged."""
        try:
            document = json.loads(data)
            version, check = document.pop("format"), document.pop("check")
            if isinstance(version, int) and version > FORMAT_VERSION:
                raise FormatTooNew(
                    f"{url} is published in format {version}, and this EngramDB reads up to {FORMAT_VERSION}: "
                    "use a newer EngramDB"
                )
            if check != _check({"format": version, **document}):
                raise ValueError
            previous = document.pop("previous")
            return cls(
                catalog=Stored(**document.pop("catalog")),
                manifest=Stored(**document.pop("manifest")),
                previous=previous and Previous(**previous),
                **document,
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CatalogDamaged(f"{url}/{NAME} is damaged, or no document of a published engram: {AGAIN}") from None


def _check(document: Mapping[str, Any]) -> int:
    return crc32c(json.dumps(document, separators=(",", ":")).encode())


@dataclass(frozen=True)
class PackSum:
    """Size and CRC-32C of a pack."""

    nbytes: int
    crc: int


def encode_manifest(packs: Mapping[str, PackSum]) -> tuple[Stored, bytes]:
    """The manifest of ``packs``, by name without ``.pack``; its name follows from what is in it."""
    rows = [[name, pack.nbytes, pack.crc] for name, pack in sorted(packs.items())]
    data = (json.dumps({"format": FORMAT_VERSION, "packs": rows}, separators=(",", ":")) + "\n").encode()
    sha256 = hashlib.sha256(data).hexdigest()
    return Stored(f"{MANIFESTS}/{sha256}.json", len(data), sha256), data


def decode_manifest(data: bytes, stored: Stored, url: str) -> dict[str, PackSum]:
    """Raises CatalogDamaged."""
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise CatalogDamaged(f"{url}/{stored.name} fails its checksum: {AGAIN}")
    return {name: PackSum(nbytes, crc) for name, nbytes, crc in json.loads(data)["packs"]}


def pack_object(name: str) -> str:
    """The object of the pack ``name``."""
    return f"{PACKS}/{name}.pack"
