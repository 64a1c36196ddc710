"""Requests to the service: tried again where that helps, done once where they write."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engramdb.client.problems import error_of
from engramdb.errors import InvalidInput, Unreachable

if TYPE_CHECKING:
    import httpx
    import pyarrow

ARROW = "application/vnd.apache.arrow.stream"
_CONNECT_SECONDS = 5.0
_FIRST_PAUSE = 0.2  # seconds, doubled from try to try
_LONGEST_PAUSE = 10.0
_ACCEPTED = 202
_AGAIN = frozenset({429, 502, 503, 504})
_STILL_BEING_DONE = "idempotency-in-progress"


class Transport:
    """One service at ``url``; see :func:`engramdb.connect`. ``sleep`` waits between two tries."""

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 30.0, tries: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        try:
            import httpx
        except ImportError:
            raise InvalidInput("httpx is not installed: pip install 'engramdb[client]', or pip install httpx") from None
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f'url="{url}": expected one that begins with http:// or https://')
        if tries < 1:
            raise InvalidInput(f"tries={tries}: give 1 or more")
        self.url = url.rstrip("/")
        self._httpx = httpx
        self._tries, self._sleep = tries, sleep
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        limits = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=limits)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at ``path``; parameters that are None are left out."""
        return self.send("GET", path, params=params).json()

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that answers a POST, None where there is none."""
        response = self.send("POST", path, body={} if body is None else body)
        return response.json() if response.content else None

    def delete(self, path: str) -> Any:
        """Take away what is at ``path``."""
        response = self.send("DELETE", path)
        return response.json() if response.content else None

    def arrow(self, path: str, body: Mapping[str, Any]) -> tuple[pyarrow.Table, Mapping[str, str]]:
        """The Arrow table that answers a POST that only asks, and the headers beside it."""
        import pyarrow as pa

        response = self.send("POST", path, body=body, accept=ARROW)
        with pa.ipc.open_stream(response.content) as stream:
            return stream.read_all(), response.headers

    def send(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None, accept: str = "application/json",
    ) -> httpx.Response:  # fmt: skip
        """The answer, if it is a good one; raises what the problem stands for, and Unreachable where there is none."""
        headers = {"Accept": accept}
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())  # one for all tries: it is done once
        asked = {name: value for name, value in (params or {}).items() if value is not None}
        for number in range(self._tries):
            last = number == self._tries - 1
            pause = _pause(number)
            try:
                response = self._client.request(method, path, params=asked, json=body, headers=headers)
            except self._httpx.TransportError as error:
                if last:
                    raise Unreachable(self._no_answer(error)) from error
            else:
                if response.is_success:
                    return response
                problem = _document(response)
                again = response.status_code in _AGAIN or str(problem.get("type", "")).endswith(_STILL_BEING_DONE)
                if last or not again:
                    raise error_of(problem, response.status_code)
                pause = _retry_after(response) or pause
            self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def streaming(
        self, method: str, path: str, *, accept: str, timeout: float | None = None,
        params: Mapping[str, Any] | None = None, content: Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:  # fmt: skip
        """A response that is read, or a body that is sent, bit by bit; tried once. Errors as in :meth:`send`."""
        sent = {"Accept": accept, **(headers or {})}
        if method != "GET":
            sent.setdefault("Idempotency-Key", str(uuid.uuid4()))
        asked = {name: value for name, value in (params or {}).items() if value is not None}
        more: dict[str, Any] = {} if timeout is None else {"timeout": self._httpx.Timeout(timeout)}
        try:
            with self._client.stream(method, path, params=asked, content=content, headers=sent, **more) as response:
                if not response.is_success:
                    response.read()
                    raise error_of(_document(response), response.status_code)
                yield response
        except self._httpx.TransportError as error:
            raise Unreachable(self._no_answer(error)) from error

    def download(self, path: str, target: Path, *, timeout: float = 600.0, **params: Any) -> Any:
        """Write what is at ``path`` to a file, whole or not at all; where a job is to make it first, its document."""
        part = target.with_name(f"{target.name}.part")
        try:
            with self.streaming("GET", path, accept="*/*", timeout=timeout, params=params) as response:
                if response.status_code == _ACCEPTED:
                    response.read()
                    return response.json()
                with part.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return None

    def _no_answer(self, error: Exception) -> str:
        said = str(error) or type(error).__name__
        return f"{self.url} does not answer ({said}); is the service running, and is the URL right?"


def _pause(number: int) -> float:
    """Seconds behind try ``number``; a random part keeps many clients from coming at once."""
    return min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE) * (1 + random.random() / 2)


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return min(float(response.headers["Retry-After"]), _LONGEST_PAUSE)
    except (KeyError, ValueError):
        return None
