"""Keys of the service: who may ask what.

A key is ``edb_`` and 43 random characters (256 bits). The file ``keys.json`` in the service's folder has the SHA-256 of
each: of a random text that long nothing can be guessed from it, and no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import orjson

from engramdb.errors import AlreadyExists, EngramError, InvalidInput, NotFound
from engramdb.server.names import OWN, write_durably

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
PREFIX = "edb_"


@dataclass(frozen=True)
class Key:
    """``scope``: each includes those before it. ``expires``: ISO 8601 in UTC, or None. ``digest``: SHA-256, hex."""

    name: str
    scope: Scope
    digest: str
    created: str
    expires: str | None = None

    @property
    def expired(self) -> bool:
        return self.expires is not None and datetime.fromisoformat(self.expires) <= datetime.now(UTC)

    def reaches(self, scope: Scope) -> bool:
        """Whether it may do what needs ``scope``."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


def digest_of(text: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


class KeyFile:
    """The keys of a root. Every method reads the file anew."""

    def __init__(self, root: Path) -> None:
        self.path = root / OWN / "keys.json"

    def stamp(self) -> tuple[int, int]:
        """Changes with the file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino

    def read(self) -> list[Key]:
        """All keys, expired ones included. Raises EngramError where the file cannot be read."""
        try:
            return [Key(**one) for one in orjson.loads(self.path.read_bytes())["keys"]]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            raise EngramError(f"{self.path} is damaged ({error}); move it away and add the keys again") from None

    def _write(self, keys: list[Key]) -> None:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        write_durably(self.path, orjson.dumps({"keys": [asdict(key) for key in keys]}, option=orjson.OPT_INDENT_2))

    def add(self, name: str, scope: str, days: float | None = None) -> str:
        """Make a key; the only time that it is seen. ``days``: until it expires; None: never."""
        if scope not in SCOPES:
            raise InvalidInput(f'scope="{scope}": expected one of {", ".join(SCOPES)}')
        if not 1 <= len(name) <= 100 or not name.isprintable() or name != name.strip():
            raise InvalidInput(f"{name!r} cannot name a key: use 1 to 100 printable characters, no space at the ends")
        if days is not None and not 0 < days <= 36500:
            raise InvalidInput(f"days={days:g}: give a number above 0, and at most 36,500")
        keys = self.read()
        if any(key.name == name for key in keys):
            raise AlreadyExists(f'there is a key "{name}" already; revoke it first or choose another name')
        text = PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        expires = None if days is None else (now + timedelta(days=days)).isoformat(timespec="seconds")
        self._write(
            [*keys, Key(name, SCOPES[SCOPES.index(scope)], digest_of(text), now.isoformat(timespec="seconds"), expires)]
        )
        return text

    def revoke(self, name: str) -> None:
        """Forget a key; a running service does so within seconds. Raises NotFound."""
        keys = self.read()
        if all(key.name != name for key in keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise NotFound(f'there is no key "{name}"; known: {known}')
        self._write([key for key in keys if key.name != name])


class KeyRing:
    """The keys as a running service knows them; :meth:`refresh` looks at the file, the rest at memory."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._keys: tuple[Key, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Take over what has changed. Looks at the disk."""
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._keys, self._stamp = tuple(self._file.read()), stamp

    @property
    def any(self) -> bool:
        """Whether there are keys at all, expired ones included: then nothing goes without one."""
        return bool(self._keys)

    def find(self, text: str) -> Key | None:
        """The key that ``text`` is, if it is one that has not expired. Compares with all, in constant time each."""
        digest, found = digest_of(text), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest) and not key.expired:
                found = key
        return found
