"""The service's log: one JSON document a line on stderr, written by a thread of its own."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

_SHOWN = ("request", "method", "path", "status", "ms", "bytes", "key", "client", "engram", "job")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        content |= {name: record.__dict__[name] for name in _SHOWN if name in record.__dict__}
        if record.exc_info and record.exc_info[1] is not None:
            content["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return orjson.dumps(content, default=str).decode()


class _Queue(logging.handlers.QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # the thread is of this process: it can format what it gets


def begin(level: str) -> logging.handlers.QueueListener:
    """Log from now on; the result's ``stop`` writes what still waits."""
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(_Line())
    listener = logging.handlers.QueueListener(lines, out)
    listener.start()
    for name in ("engramdb.server", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [_Queue(lines)]
        logger.setLevel(level.upper())
        logger.propagate = False
    return listener
