"""A real S3 server on the loopback, and a real proxy in front of it that counts, and fails when it is told to."""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import itertools
import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

KEY, SECRET = "AKIAEXAMPLEKEY", "a-secret-that-nobody-may-see"

# In a process of its own: the server's libraries, their warnings and their memory are no part of what is tested.
_SERVE = """
import sys
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_buckets = itertools.count(1)


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The endpoint of a server that keeps buckets in memory; gone afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(timeout=30)


@functools.cache
def shared_server() -> str:
    """The endpoint of a server that lasts as long as this process."""
    running = contextlib.ExitStack()
    atexit.register(running.close)
    return running.enter_context(s3_server())


def new_bucket(endpoint: str) -> str:
    """The name of a bucket that is empty."""
    name = f"bucket-{next(_buckets)}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")):
        return name


def options(endpoint: str, **more: Any) -> dict[str, Any]:
    """``storage_options`` for the server or the proxy there, with few and quick retries."""
    return {
        "endpoint": endpoint, "access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1",
        "max_retries": 4, "retry_backoff": 0.01, **more,
    }  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request that the proxy answered, or failed on purpose; ``nbytes`` of the answer's body were passed on."""

    method: str
    path: str
    nbytes: int
    fault: str | None


Plan = Callable[[int, str, str], str | None]
"""``(number of the request from 0, method, path)`` to what is to go wrong with it, if anything:

- ``"503"``, ``"403"``: that answer, without asking the server
- ``"reset"``: the connection is reset before the server is asked; ``"lost"``: after it has done what was asked
- ``"cut"``: the connection is closed in the middle of the body; ``"short"``: half a body that passes for a whole one
- ``"hold"``: nothing at all until the proxy closes
"""

_FORBIDDEN = f"<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId><S>{SECRET}</S></Error>"


class Proxy:
    """In front of ``endpoint``. ``requests`` are those so far; ``plan`` may be set at any time."""

    def __init__(self, endpoint: str) -> None:
        self.upstream = endpoint.removeprefix("http://")
        self.requests: list[Request] = []
        self.plan: Plan = lambda number, method, path: None
        self.released = threading.Event()
        self._numbers = itertools.count()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def parse_request(self) -> bool:
                parsed = super().parse_request()
                if parsed:
                    setattr(self, f"do_{self.command}", lambda: proxy.answer(self))
                return parsed

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the other side hung up: it was killed, or had enough

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        path = handler.path.split("?")[0]
        fault = self.plan(next(self._numbers), handler.command, path)
        if fault == "hold":
            self.released.wait(60)
        if fault in ("503", "403"):
            text = _FORBIDDEN.encode() if fault == "403" else b"<Error><Code>SlowDown</Code></Error>"
            self._pass_on(handler, int(fault), [], text, len(text), fault)
            return
        if fault in ("reset", "hold"):
            self._hang_up(handler, fault)
            return
        status, headers, answer = self._ask(handler, body)
        if fault == "lost":
            self._hang_up(handler, fault)
        elif fault == "cut":
            self._pass_on(handler, status, headers, answer, len(answer), fault, sent=len(answer) // 2)
            handler.close_connection = True
        elif fault == "short":
            self._pass_on(handler, status, headers, answer[: len(answer) // 2], len(answer) // 2, fault)
        else:
            self._pass_on(handler, status, headers, answer, len(answer), fault)

    def _ask(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
            response = connection.getresponse()
            answer = response.read()
            if handler.command == "HEAD":  # which tells the length of what it does not send
                answer = bytes(int(response.headers.get("content-length", 0)))
            dropped = {"content-length", "transfer-encoding", "connection", "server", "date"}
            return response.status, [(k, v) for k, v in response.getheaders() if k.lower() not in dropped], answer
        finally:
            connection.close()

    def _pass_on(
        self, handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes, length: int,
        fault: str | None, sent: int | None = None,
    ) -> None:  # fmt: skip
        path = handler.path.split("?")[0]
        part = b"" if handler.command == "HEAD" else body[:sent]
        self.requests.append(Request(handler.command, path, len(part), fault))
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("content-length", str(length))
        handler.end_headers()
        handler.wfile.write(part)

    def _hang_up(self, handler: BaseHTTPRequestHandler, fault: str) -> None:
        self.requests.append(Request(handler.command, handler.path.split("?")[0], 0, fault))
        # no lingering: the other side gets a reset, not an orderly end
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def proxy_before(endpoint: str) -> Iterator[Proxy]:
    """A proxy in front of the server there."""
    proxy = Proxy(endpoint)
    try:
        yield proxy
    finally:
        proxy.close()


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The endpoint of a web server that shows the files in ``folder``, whole or in ranges."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            file = folder / unquote(self.path).lstrip("/")
            data = file.read_bytes() if file.is_file() else b""
            start, stop = 0, len(data)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
            if wanted:
                start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
            self.send_response(404 if not file.is_file() else 206 if wanted else 200)
            self.send_header("content-length", str(stop - start))
            if wanted:
                self.send_header("content-range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[start:stop])

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
