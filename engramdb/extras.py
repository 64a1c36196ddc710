"""Libraries that only some need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from engramdb.errors import InvalidInput


def extra(module: str, name: str, of: str = "graph", without: str = "") -> Any:
    """The module of such a library; InvalidInput says how to get it, or do ``without``.

    ``of``: the extra that has it, if one does.
    """
    try:
        return import_module(module)
    except ImportError:
        way = f"pip install 'engramdb[{of}]', or pip install {name}" if of else f"pip install {name}"
        raise InvalidInput(f"{name} is not installed: {way}{without and f', or {without}'}") from None
