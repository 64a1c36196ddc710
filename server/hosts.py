"""Which hosts and origins are answered: against pages of other sites, and names that were made to mean this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from engramdb.server.problems import Problem

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


def is_loopback(host: str) -> bool:
    """Whether binding to ``host`` reaches this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Hosts:
    """``allowed``: names that the Host header may have; on a loopback address those of this machine anyway.

    A page of another site may send requests here (forms, images), and a name of its own may be made to lead to
    127.0.0.1 (DNS rebinding): the first tells its Origin, the second its Host.
    """

    def __init__(self, bound: str, allowed: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        self._any = not is_loopback(bound) and not allowed
        self._hosts = frozenset({*(host.lower() for host in allowed), *_LOCAL, bound.lower()})
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise a problem where the request is not for us, or from somebody else's page."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._any and _name(host) not in self._hosts:
            raise Problem(421, "wrong-host", f"{host[:100]!a} is not a name of this service; see serve --allow-host")
        origin = headers.get(b"origin")
        if origin is not None:
            text = origin.decode("latin-1").rstrip("/").lower()
            if text not in self.origins and urlsplit(text).netloc != host:
                raise Problem(
                    403, "cross-site", f"pages of {text[:100]!a} may not use this service; see serve --allow-origin"
                )
        elif headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate":
            raise Problem(403, "cross-site", "pages of other sites may not use this service")

    def shared(self, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """What lets a page of an allowed site read the answer (CORS); nothing for others."""
        origin = headers.get(b"origin", b"")
        if origin.decode("latin-1").rstrip("/").lower() not in self.origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"location, x-request-id, x-next-cursor"),
            (b"vary", b"origin"),
        ]


PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"authorization, api-key, content-type, idempotency-key, prefer, accept"),
    (b"access-control-max-age", b"600"),
]


def _name(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host
