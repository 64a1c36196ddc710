"""The service's log: one JSON document a line on stderr, written by a thread of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

_SHOWN = ("request", "path", "engram", "job")
_EVERY_S = 0.2
_MOST = 100_000  # lines that wait; older ones are dropped


class Log(logging.Handler):
    """Takes lines from any thread and lets none of them wait."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._lines: deque[tuple[float, Mapping[str, Any]]] = deque(maxlen=_MOST)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def tell(self, moment: float, content: Mapping[str, Any]) -> None:
        """A line of plain values; ``moment``: seconds since 1970."""
        self._lines.append((moment, content))

    def emit(self, record: logging.LogRecord) -> None:
        """What other parts log."""
        content = {"level": record.levelname.lower(), "event": record.getMessage().strip()}
        content |= {name: record.__dict__[name] for name in _SHOWN if name in record.__dict__}
        if record.exc_info and record.exc_info[1] is not None:
            content["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        self.tell(record.created, content)

    def _write(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self._empty()
        self._empty()

    def _empty(self) -> None:
        parts = []
        while self._lines:
            moment, content = self._lines.popleft()
            time = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            parts.append(_line({"time": time, **content}))
        if parts:
            with contextlib.suppress(OSError, ValueError):  # a full disk, or a closed pipe: no reason to stop serving
                try:
                    self._out.write("\n".join(parts) + "\n")
                except UnicodeEncodeError:  # where stderr takes ASCII only
                    self._out.write("\n".join(json.dumps(json.loads(part)) for part in parts) + "\n")
                self._out.flush()

    def stop(self) -> None:
        """Write what waits, and take no more."""
        self._stopped.set()
        self._thread.join()


def _line(content: Mapping[str, Any]) -> str:
    """A line; what cannot be written as it is, such as text that is no Unicode, is escaped."""
    try:
        return orjson.dumps(content, default=str).decode()
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return json.dumps(content, default=str)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({name: ascii(content.get(name)) for name in ("time", "level", "event", *_SHOWN)})


requests: Log | None = None
"""Where requests are told; None where nobody wants to know."""


def begin(level: str) -> Log:
    """Log from now on, what is of this level or graver; of ``info`` requests too. The result's ``stop`` ends it."""
    global requests
    log = Log(sys.stderr)
    for name in ("engramdb.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [log]
        logger.setLevel(level.upper())
        logger.propagate = False
    requests = log if logging.getLogger("engramdb.server").isEnabledFor(logging.INFO) else None
    return log
