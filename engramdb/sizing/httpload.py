"""Clients of the HTTP service that ask for random neurons, in a process of their own::

    python -m engramdb.sizing.httpload 8787 brain --neurons 100000 --clients 32 --seconds 10 --rate 1600

Each has one connection, and asks again once it was answered; with ``--rate``, so many requests a second of all clients
together, each at its time or as soon as the answer before has come. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from functools import partial
from typing import cast

import uvloop


class _Client(asyncio.Protocol):
    """One connection; ``over`` is done when it has asked for the last time."""

    def __init__(self, arguments: argparse.Namespace, number: int, begin: float, end: float, load: _Load) -> None:
        self._head = f"GET /v1/engrams/{arguments.engram}/neurons/"
        self._draw = random.Random(number)
        self._neurons, self._end, self._load = arguments.neurons, end, load
        self._every = arguments.clients / arguments.rate if arguments.rate else 0.0
        self._due = begin + self._every * number / arguments.clients
        self._got = b""
        self._asked, self._neuron = 0.0, 0
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        if max(now, self._due) >= self._end:
            self._transport.close()
        elif now < self._due:
            self._loop.call_later(self._due - now, self._next)
        else:
            self._neuron = self._draw.randrange(self._neurons)
            self._asked = time.perf_counter()
            self._transport.write(f"{self._head}{self._neuron} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, between, body = self._got.partition(b"\r\n\r\n")
        if not between or len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self._load.took.append(now - self._asked)
        if not head.startswith(b"HTTP/1.1 200") or not body.startswith(b'{"id":"%d"' % self._neuron):
            self._load.wrong.append(body[:200].decode(errors="replace"))
        self._got = b""
        self._due = max(self._due + self._every, now - 10 * self._every)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None) if error is None else self.over.set_exception(error)


class _Load:
    """What came of it: seconds that each answer took, and answers that were wrong."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.wrong: list[str] = []


def _itself(client: _Client) -> _Client:
    return client


async def _load(arguments: argparse.Namespace) -> dict[str, object]:
    load = _Load()
    begin = time.perf_counter() + 0.05
    end = begin + arguments.seconds
    loop = asyncio.get_running_loop()
    clients = [_Client(arguments, number, begin, end, load) for number in range(arguments.clients)]
    for client in clients:
        await loop.create_connection(partial(_itself, client), "127.0.0.1", arguments.port)
    await asyncio.gather(*(client.over for client in clients))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "took": load.took, "wrong": load.wrong[:10], "wrongs": len(load.wrong)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("engram")
    parser.add_argument("--neurons", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0)
    # on the loop that the service runs on: the clients should take little of the processors that they share with it
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps(runner.run(_load(parser.parse_args()))))


if __name__ == "__main__":
    main()
