"""A service in a process of its own, for workloads: how it is started, asked and watched."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Served:
    """``engramdb serve ROOT``, until the end of a ``with`` block."""

    def __init__(self, root: Path, memory: str = "4GiB") -> None:
        command = [sys.executable, "-m", "engramdb", "serve", str(root), "--port", "0", "--json"]
        command += ["--memory", memory, "--engram-memory", memory]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None, "it is a pipe"
        self.port: int = json.loads(self._process.stdout.readline())["port"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and document of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600.0)
        content = None if body is None else json.dumps(body)
        given = {**({"Content-Type": "application/json"} if body is not None else {}), **headers}
        connection.request(method, path, content, given)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else {}

    def ticks_a_second(self, engram: str, seconds: float) -> float:
        """How fast an engram runs, looked at twice."""
        began, first = time.perf_counter(), self.ask("GET", f"/v1/engrams/{engram}")[1]["tick"]
        time.sleep(seconds)
        last = self.ask("GET", f"/v1/engrams/{engram}")[1]["tick"]
        return float((last - first) / (time.perf_counter() - began))

    def resident_bytes(self) -> int:
        """RAM that the process holds."""
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self._process.pid)], capture_output=True, check=True)
        return int(shown.stdout) * 1024

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._process.pid, signal.SIGTERM)
        self._process.wait()
        assert self._process.stdout is not None, "it is a pipe"
        self._process.stdout.close()
