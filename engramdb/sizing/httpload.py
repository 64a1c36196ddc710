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


async def _client(
    arguments: argparse.Namespace, number: int, begin: float, end: float, took: list[float], wrong: list[str]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", arguments.port)
    draw = random.Random(number)
    every = arguments.clients / arguments.rate if arguments.rate else 0.0
    due = begin + every * number / arguments.clients
    head = f"GET /v1/engrams/{arguments.engram}/neurons/"
    tail = " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    try:
        while True:
            now = time.perf_counter()
            if now < due:
                await asyncio.sleep(due - now)
            if max(now, due) >= end:
                return
            neuron = draw.randrange(arguments.neurons)
            asked = time.perf_counter()
            writer.write(f"{head}{neuron}{tail}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            took.append(time.perf_counter() - asked)
            if not answer.startswith(b"HTTP/1.1 200") or not body.startswith(b'{"id":"%d"' % neuron):
                wrong.append(body[:200].decode(errors="replace"))
            due = max(due + every, time.perf_counter() - 10 * every)
    finally:
        writer.close()


async def _load(arguments: argparse.Namespace) -> dict[str, object]:
    took: list[float] = []
    wrong: list[str] = []
    begin = time.perf_counter() + 0.05
    end = begin + arguments.seconds
    await asyncio.gather(*(_client(arguments, number, begin, end, took, wrong) for number in range(arguments.clients)))
    return {"seconds": time.perf_counter() - begin, "took": took, "wrong": wrong[:10], "wrongs": len(wrong)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("engram")
    parser.add_argument("--neurons", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0)
    sys.stdout.write(json.dumps(asyncio.run(_load(parser.parse_args()))))


if __name__ == "__main__":
    main()
