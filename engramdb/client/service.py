"""The service as a whole: its engrams and its jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from engramdb.client.engram import RemoteEngram
from engramdb.client.job import Job
from engramdb.client.problems import error_of
from engramdb.client.transport import Transport
from engramdb.errors import EngramError
from engramdb.spec import Spec

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Listed:
    """An engram of the service. ``open``: somebody works with it; ``error``: why it cannot be opened, or None."""

    name: str
    neurons: int | None
    synapses: int | None
    tick: int | None
    commit: int | None
    branch: str | None
    bytes: int | None
    open: bool
    error: EngramError | None = None


class Service:
    """The engrams in the folder of one service. Use :func:`engramdb.connect`; ``service["name"]`` is one of them."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def url(self) -> str:
        return self.transport.url

    def __repr__(self) -> str:
        return f"<Service {self.url}>"

    def __enter__(self) -> Service:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; engrams and jobs go on."""
        self.transport.close()

    def __iter__(self) -> Iterator[str]:
        return (one.name for one in self.engrams())

    def __contains__(self, name: object) -> bool:
        return any(one.name == name for one in self.engrams())

    def __getitem__(self, name: str) -> RemoteEngram:
        """The engram of that name. Raises NotAnEngram."""
        return RemoteEngram(self.transport, name, self.transport.get(f"/v1/engrams/{quote(name, safe='')}"))

    def engrams(self) -> list[Listed]:
        """All engrams, by name."""
        return [_listed(one) for one in self.transport.get("/v1/engrams")["engrams"]]

    def create(self, name: str, spec: Spec) -> RemoteEngram:
        """Make an engram. Raises AlreadyExists, InvalidSpec, InvalidInput for a name that cannot be used."""
        answer = self.transport.post("/v1/engrams", {"name": name, "spec": spec.to_document()})
        if "state" in answer and "kind" in answer:  # rows are written out, which takes a while
            Job.of(answer, self.transport).wait()
        return self[name]

    def delete(self, name: str) -> None:
        """Take an engram away; it lies in the trash folder of the service."""
        self.transport.delete(f"/v1/engrams/{quote(name, safe='')}")

    def import_file(self, name: str, path: str | os.PathLike[str], format: str, **options: Any) -> Job:
        """Make an engram of a file that is sent: ``format`` as of the command ``engramdb import``, with its options."""

        def content() -> Iterator[bytes]:
            with Path(path).open("rb") as file:
                while part := file.read(_CHUNK):
                    yield part

        with self.transport.streaming(
            "POST", "/v1/import", accept="application/json", content=content(),
            params={"name": name, "format": format, **options},
            headers={"Content-Type": "application/octet-stream"},
        ) as response:  # fmt: skip
            response.read()
            return Job.of(response.json(), self.transport)

    def jobs(self, engram: str | None = None) -> list[Job]:
        """Jobs, of one engram or of all."""
        return [Job.of(one, self.transport) for one in self.transport.get("/v1/jobs", engram=engram)["jobs"]]

    def job(self, number: str) -> Job:
        """The job of that id. Raises NotFound."""
        return Job.of(self.transport.get(f"/v1/jobs/{quote(number, safe='')}"), self.transport)


def _listed(one: dict[str, Any]) -> Listed:
    error = one.get("error")
    return Listed(
        one["name"], one.get("neurons"), one.get("synapses"), one.get("tick"), one.get("commit"), one.get("branch"),
        one.get("bytes"), bool(one.get("open")), None if error is None else error_of(error),
    )  # fmt: skip
