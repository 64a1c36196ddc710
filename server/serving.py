"""Running the service: the socket, signals, and the order in which it stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from engramdb.errors import EngramError, InvalidInput
from engramdb.server import logs
from engramdb.server.app import make_app
from engramdb.server.hosts import is_loopback
from engramdb.server.service import Service
from engramdb.server.settings import Settings

_GRACE_S = 5  # answers that have begun may take so long to be sent
_SWITCH_S = 0.0005  # so long a thread keeps the interpreter from others: an engine waits for it after each burst


class Serving(uvicorn.Server):
    """A service that listens on ``port``, from the moment that it is made; :meth:`run_until_stopped` answers.

    Raises InvalidInput for an address that others reach where there are no keys, Locked where another service runs over
    the same folder, EngramError where the address is taken.
    """

    def __init__(
        self, settings: Settings, *, certificate: Path | None = None, private_key: Path | None = None,
        started: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.service = Service(settings)
        try:
            if not is_loopback(settings.host) and not self.service.ring.any:
                raise InvalidInput(
                    f"{settings.host} can be reached by others, and there are no keys: make one with "
                    f"engramdb keys add {settings.root} NAME, or serve on 127.0.0.1"
                )
            self._socket = _bound(settings.host, settings.port)
        except BaseException:
            self.service.unlock()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._started_at = started
        super().__init__(
            uvicorn.Config(
                make_app(self.service), loop="uvloop", http="httptools", ws="none", lifespan="on", access_log=False,
                log_config=None, server_header=False, date_header=True, timeout_graceful_shutdown=_GRACE_S,
                timeout_keep_alive=30, proxy_headers=False, ssl_certfile=certificate, ssl_keyfile=private_key,
            )
        )  # fmt: skip

    def run_until_stopped(self) -> None:
        """Serve until SIGTERM, Ctrl-C or :meth:`stop`. Raises EngramError where it could not start."""
        try:
            self.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self.service.unlock()
        if not self.started:
            raise EngramError("the service could not start; its log says why")

    def stop(self) -> None:
        """Have it stop; for any thread. Streams end first: the server waits for those who are connected."""
        self._loop.call_soon_threadsafe(self.service.leave)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals, and let nobody else have them: after SIGTERM the exit code is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A second signal does not wait for those who are connected."""
        self._loop.call_soon_threadsafe(self.service.leave)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so, once it listens."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._started_at(self.port)


def serve(settings: Settings, *, log_level: str = "info", **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C; ``options`` are those of :class:`Serving`."""
    serving = Serving(settings, **options)
    listener = logs.begin(log_level)
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        serving.run_until_stopped()
    finally:
        sys.setswitchinterval(before)
        listener.stop()
    if serving.service.left_behind:  # the interpreter would wait for threads that nobody waits for any more
        sys.stdout.flush()
        os._exit(0)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port that is taken is told in one line."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise EngramError(
            f"{host} port {port} cannot be listened on: {error.strerror}; choose another --port"
        ) from None
    return made
