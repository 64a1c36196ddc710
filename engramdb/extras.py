"""Libraries that only some need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from engramdb.errors import InvalidInput


def extra(module: str, name: str, group: str = "graph") -> Any:
    """The module of such a library; InvalidInput says how to get it. ``group``: the extra that has it, if one does."""
    try:
        return import_module(module)
    except ImportError:
        both = f"pip install 'engramdb[{group}]', or " if group else ""
        raise InvalidInput(f"{name} is not installed: {both}pip install {name}") from None
