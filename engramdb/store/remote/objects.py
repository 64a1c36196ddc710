"""Objects: whole files under one URL of an object store, read in parts, written whole.

All traffic passes through here. The calls are made in an event loop of their own, so that Ctrl-C is heard while a
server is silent. Requests are repeated, with growing pauses, after a 5xx, a timeout or a broken connection; what is
still wrong then is :class:`~engramdb.errors.Unreachable`, in one line that quotes no answer of the server: answers to
refused requests repeat what they were signed with.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import unquote

from engramdb.errors import Conflict, EngramError, InvalidInput, NotFound, Unreachable
from engramdb.store.remote.eventloop import EventLoop
from engramdb.url import Options

PART_BYTES = 8 << 20
"""Of an upload or a download: what one request moves at most."""

_LARGEST_PARTS = 9000  # S3 takes 10,000 for one object
_SIDE_BY_SIDE = 4  # transfers at once; each holds two or three parts
_TRIES = 4  # of an answer that is shorter than it says
_BACKOFF_SECONDS = 0.1  # the first pause; each is longer than the one before
_DOCUMENT_BYTES = 64 << 20  # more than any manifest has
_RETRIES, _RETRY_SECONDS, _LONGEST_PAUSE_SECONDS = 8, 180, 15
_TIMEOUT_SECONDS = 120  # of one request: a part of 8 MiB needs 0.6 Mbit/s
_CLIENT = frozenset({
    "allow_http", "allow_invalid_certificates", "connect_timeout", "default_headers", "pool_idle_timeout",
    "proxy_ca_certificate", "proxy_excludes", "proxy_url", "randomize_addresses", "read_timeout", "root_certificate",
    "timeout", "user_agent",
})  # fmt: skip
_RETRY = frozenset({"max_retries", "retry_backoff", "retry_timeout"})
_ENDPOINTS = ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url", "aws_endpoint_url_s3")
_CREDENTIALS = frozenset({
    "access_key_id", "container_credentials_full_uri", "container_credentials_relative_uri", "metadata_endpoint",
    "role_arn", "skip_signature", "web_identity_token_file",
})  # fmt: skip
_ROLES = "169.254.169.254", 80  # where a machine of Amazon's is told its role
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_REASONS = (
    ("dns error", "its name is unknown"),
    ("Connection refused", "nobody listens there"),
    ("certificate", "its certificate is not trusted"),
    ("Timeout", "it does not answer in time"),
    ("TimedOut", "it does not answer in time"),
    ("URL scheme is not allowed", "it is http:// and not https://, which allow_http must permit"),
    ("Interrupted", "answers break off"),
    ("Connect", "no connection can be made"),
)
_REMEDY = "check the URL and the network, and repeat"

Result = TypeVar("Result")


class _BrokenOff(Unreachable):
    """Only a part of an answer came, which may be different the next time."""


@dataclass(frozen=True)
class Found:
    """A whole object, and what identifies this version of it."""

    data: bytes
    version: Mapping[str, str | None]


@dataclass(frozen=True)
class Listed:
    """An object as a listing has it. ``modified`` is by the store's clock, with its time zone."""

    nbytes: int
    modified: datetime


def library() -> ModuleType:
    """obstore, which is an extra. Raises EngramError where it is not installed."""
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise EngramError(
            "object stores need the library obstore, which is not installed: pip install 'engramdb[s3]'"
        ) from error
    module: ModuleType = obstore
    return module


class Objects:
    """The objects under ``url``. Close it after use; it may be used from several threads, not across a fork."""

    def __init__(self, url: str, options: Options, *, writing: bool = False) -> None:
        """``writing``: a folder that is missing is made. Raises InvalidInput, EngramError without obstore."""
        self.url = url
        self._obstore = library()
        self._errors = self._obstore.exceptions
        self._store = self._connect(options, writing)
        self._loop = EventLoop("engramdb-objects")

    def _connect(self, options: Options, writing: bool) -> Any:
        """The store; None for a folder that is not there."""
        scheme, _, rest = self.url.partition("://")
        if scheme == "file":
            folder = Path(rest)
            if folder.exists() and not folder.is_dir():
                raise InvalidInput(f"{self.url} is a file: name a folder")
            return self._obstore.store.LocalStore(folder, mkdir=True) if writing or folder.is_dir() else None
        try:
            self._backoff_seconds = float(options.get("retry_backoff", _BACKOFF_SECONDS))
            how = self._how(options)
            bucket, _, prefix = rest.partition("/")
            if scheme in ("s3", "s3a"):
                store = self._obstore.store.S3Store(bucket, prefix=prefix or None, **how)
                self._look_for_credentials(options)
                return store
            if scheme == "gs":
                return self._obstore.store.GCSStore(bucket, prefix=prefix or None, **how)
            return self._obstore.store.from_url(self.url, **how)
        except self._errors.UnknownConfigurationKeyError as error:
            found = re.search(r"key: '(\w+)'", str(error))
            key = f'"{found[1]}"' if found else "a key"
            raise InvalidInput(f"storage_options: {key} is not known for {scheme}:// URLs") from None
        except (self._errors.BaseError, ValueError, TypeError) as error:
            # not chained: values are quoted there
            raise InvalidInput(
                f"{self.url} cannot be opened with these storage_options: {type(error).__name__}; "
                "check their values and those of the environment"
            ) from None

    def _look_for_credentials(self, options: Options) -> None:
        """Without any, obstore would ask for the machine's role, a minute long where machines have none."""
        given = {name.lower().removeprefix("aws_") for name in options}
        given |= {name.lower().removeprefix("aws_") for name in os.environ if name.startswith("AWS_")}
        if given.isdisjoint(_CREDENTIALS):
            try:
                socket.create_connection(_ROLES, timeout=1).close()
            except OSError:
                raise self._no_credentials() from None

    def _no_credentials(self) -> Unreachable:
        return Unreachable(
            f"{self.url}: no credentials are found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_SKIP_SIGNATURE=true for a public bucket"
        )

    def _how(self, options: Options) -> dict[str, Any]:
        """``options`` as obstore wants them."""
        config = {key: value for key, value in options.items() if key not in _CLIENT | _RETRY}
        client: dict[str, Any] = {"timeout": timedelta(seconds=_TIMEOUT_SECONDS)}
        client |= {key: value for key, value in options.items() if key in _CLIENT}
        endpoints = [self.url, *(str(config.get(name, "")) for name in _ENDPOINTS)]
        endpoints += [os.environ.get(name.upper(), "") for name in _ENDPOINTS]
        if any(endpoint.startswith("http://") for endpoint in endpoints):
            client = {"allow_http": True, **client}  # who writes http:// means it
        retry = {
            "max_retries": options.get("max_retries", _RETRIES),
            "retry_timeout": timedelta(seconds=options.get("retry_timeout", _RETRY_SECONDS)),
            "backoff": {
                "init_backoff": timedelta(seconds=self._backoff_seconds),
                "max_backoff": timedelta(seconds=_LONGEST_PAUSE_SECONDS),
                "base": 2,
            },
        }
        return {"config": config or None, "client_options": client, "retry_config": retry}

    @contextlib.contextmanager
    def _told(self, name: str, *, repeated: bool = False) -> Iterator[None]:
        """What went wrong with object ``name``, in our words. Raises FileNotFoundError, Unreachable, Conflict.

        ``repeated``: obstore has seen to answers that break off; otherwise those are _BrokenOff.
        """
        try:
            if self._store is None:
                raise FileNotFoundError
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise NotFound(f"{self.url}: there is no such bucket") from None
            raise FileNotFoundError(errno.ENOENT, "no such object", f"{self.url}/{name}") from None
        except (self._errors.PreconditionError, self._errors.AlreadyExistsError):
            raise Conflict(f"{self.url}/{name} has been replaced meanwhile; repeat") from None
        except (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError) as error:
            raise Unreachable(
                f"{self.url}/{name}: access is refused{_code(str(error))}; check the credentials (AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or storage_options) and what they permit"
            ) from None
        except self._errors.BaseError as error:
            said = str(error)
            if "Interrupted" in said and not repeated:
                raise _BrokenOff(f"{self.url}/{name} cannot be reached: answers break off; {_REMEDY}") from None
            raise self._unreachable(name, said) from None

    def _unreachable(self, name: str, said: str) -> Unreachable:
        if _ROLES[0] in said:
            return self._no_credentials()
        status = _STATUS.search(said)
        reason = next((reason for sign, reason in _REASONS if sign in said), "the request fails")
        if status:
            reason = f"it answers {status[1]}{_code(said)}"
        return Unreachable(f"{self.url}/{name} cannot be reached: {reason}; {_REMEDY}")

    def missing(self, error: FileNotFoundError) -> bool:
        """Whether ``error`` is about one of these objects, and not about a file of this machine."""
        return str(error.filename).startswith(f"{self.url}/")

    async def _again(self, ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """``ask()``, repeated when what came of the answer is not all of it; obstore sees to all else."""
        for attempt in range(_TRIES - 1):
            try:
                return await ask()
            except _BrokenOff:
                await asyncio.sleep(self._backoff_seconds * 4**attempt)
        return await ask()

    # reading

    def get(self, name: str) -> Found:
        """A small object. Raises FileNotFoundError, Unreachable, and EngramError where it is not small."""
        return self._loop.run(self._again(lambda: self._get(name)))

    async def _get(self, name: str) -> Found:
        data, meta = await self._range(name, 0, _DOCUMENT_BYTES)
        if meta["size"] > _DOCUMENT_BYTES:
            raise EngramError(f"{self.url}/{name} has {meta['size']:,} bytes: it is no document of ours")
        return Found(data, {"e_tag": meta["e_tag"], "version": meta["version"]})

    def read(self, name: str, start: int, nbytes: int) -> bytes:
        """``nbytes`` from ``start``, fewer only where the object ends. Raises FileNotFoundError, Unreachable."""

        async def ask() -> bytes:
            return b"".join([part async for part in self.parts(name, nbytes, start)])

        return self._loop.run(ask())

    async def _range(self, name: str, start: int, nbytes: int) -> tuple[bytes, Any]:
        """What there is of a range, and the object's description, of which only a range tells the true size."""
        with self._told(name, repeated=True):
            try:
                result = await self._obstore.get_async(self._store, name, options={"range": (start, start + nbytes)})
            except self._errors.BaseError as error:
                if "status code: 416" in str(error):
                    return b"", {"size": 0, "e_tag": None, "version": None}  # it ends before
                raise
            data = bytes(await result.bytes_async())
        there = min(nbytes, max(0, result.meta["size"] - start))
        if len(data) != there:  # half an answer in the form of a whole one, of a broken proxy or a lying one
            raise _BrokenOff(
                f"{self.url}/{name} cannot be read: {len(data):,} bytes came of {there:,}, {_TRIES} times in a row; "
                "check the network, and repeat"
            )
        return data, result.meta

    def size(self, name: str) -> int:
        """Raises FileNotFoundError, Unreachable."""

        async def ask() -> int:
            with self._told(name):
                meta = await self._obstore.head_async(self._store, name)
            return int(meta["size"])

        return self._loop.run(self._again(ask))

    def listed(self, folder: str) -> dict[str, Listed]:
        """What is in ``folder``: names as the other methods take them."""

        async def ask() -> dict[str, Listed]:
            found = {}
            with self._told(folder):
                async for batch in self._obstore.list(self._store, folder):
                    for meta in batch:
                        name = f"{folder}/{unquote(meta['path']).rsplit('/', 1)[-1]}"
                        found[name] = Listed(meta["size"], meta["last_modified"])
            return found

        return self._loop.run(self._again(ask))

    # writing

    def put(self, name: str, data: bytes) -> None:
        """A small object, whole or not at all."""

        async def do() -> None:
            with self._told(name):
                await self._obstore.put_async(self._store, name, data, use_multipart=False)

        self._loop.run(self._again(do))

    def replace(self, name: str, data: bytes, before: Found | None) -> None:
        """Put ``data`` in the place of the version ``before``, None being none. Raises Conflict if it is another.

        Conflict and Unreachable may also come when it was done, and only the answer was lost.
        """
        mode: Any = "create" if before is None else {key: value for key, value in before.version.items() if value}

        async def do() -> None:
            try:
                with self._told(name):
                    if not mode:
                        raise NotImplementedError
                    await self._obstore.put_async(self._store, name, data, mode=mode)
            except NotImplementedError:  # a folder, or a store without conditions: look, then put
                await self._replace_by_looking(name, data, before)

        self._loop.run(do())

    async def _replace_by_looking(self, name: str, data: bytes, before: Found | None) -> None:
        try:
            now = await self._get(name)
        except FileNotFoundError:
            now = None
        if (now and now.data) != (before and before.data):
            raise Conflict(f"{self.url}/{name} has been replaced meanwhile; repeat")
        with self._told(name):
            await self._obstore.put_async(self._store, name, data, use_multipart=False)

    def delete(self, names: Iterable[str]) -> None:
        """Those of ``names`` that are there."""

        async def one(name: str) -> None:
            with contextlib.suppress(FileNotFoundError), self._told(name):
                await self._obstore.delete_async(self._store, name)

        async def do() -> None:
            for name in names:
                await self._again(functools.partial(one, name))

        self._loop.run(do())

    # many files at once

    def transfer(self, work: Sequence[Coroutine[Any, Any, Result]]) -> list[Result]:
        """The results of several transfers of this store, a few of which run at a time; the first error ends all."""
        return self._loop.run_all(work, _SIDE_BY_SIDE)

    async def upload(self, name: str, parts: Iterable[bytes], nbytes: int) -> None:
        """An object of ``nbytes`` from ``parts``, whole or not at all; never all of it in memory.

        Where it must be done again, so is ``iter(parts)``.
        """
        part_bytes = max(PART_BYTES, -(-nbytes // _LARGEST_PARTS))

        async def do() -> None:
            data = b"".join(parts) if nbytes <= PART_BYTES else iter(parts)
            with self._told(name):
                await self._obstore.put_async(
                    self._store, name, data, use_multipart=nbytes > PART_BYTES, chunk_size=part_bytes, max_concurrency=2
                )

        await self._again(do)

    async def parts(self, name: str, nbytes: int, start: int = 0) -> AsyncIterator[bytes]:
        """``nbytes`` from ``start``, part by part; they end early where the object does."""
        for at in range(start, start + nbytes, PART_BYTES):
            wanted = min(PART_BYTES, start + nbytes - at)
            part, _ = await self._again(functools.partial(self._range, name, at, wanted))
            yield part
            if len(part) < wanted:
                return

    def close(self) -> None:
        self._loop.close()


def _code(said: str) -> str:
    """What S3 calls the error, in brackets, if it says so."""
    found = _CODE.search(said)
    return f" ({found[1]})" if found else ""
