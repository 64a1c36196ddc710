"""A service that runs in a process of its own, on a port of this machine."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Serving:
    """``port``: 0 takes a free one at the first start; later starts keep it."""

    root: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "engramdb", "serve", self.root, "--json", "--port", self.port, *self.options]
        with (self.root / ".log").open("ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        said = ""
        while not said.rstrip().endswith("}"):  # the document may have several lines
            line = self.process.stdout.readline()
            assert line, (self.root / ".log").read_text()
            said += line
        self.port = json.loads(said)["port"]

    def stop(self) -> None:
        """As an administrator would, and wait until it has let go of everything."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.communicate(timeout=60)
            self.process = None


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Serving]:
    """The service over the folder ``root``."""
    served = Serving(root, options)
    served.start()
    try:
        yield served
    finally:
        served.stop()


def new_key(root: Path, name: str, scope: str) -> str:
    """A key for the service over ``root``, made as a person does."""
    command = [sys.executable, "-m", "engramdb", "keys", "add", str(root), name, "--scope", scope]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"edb_[\w-]+", said.stdout)
    assert found, said.stdout
    return found[0]
