"""``njit`` with a cache that is valid for exactly these sources.

Numba looks only at the file of a kernel to decide whether its cached machine code is still right, not at the files of
the kernels it calls: after an upgrade that changes one file, cached callers would go on with the old code. So the
cache of a file lies in a folder named by its content, that of all kernel files it imports, and the versions of Numba
and Python.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])

_HERE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^from engramdb\.kernels\.(\w+) import", re.MULTILINE)


def _reached(name: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """The kernel file ``name`` and all it imports, directly or not, with their content."""
    if name not in found:
        found[name] = (_HERE / f"{name}.py").read_bytes()
        for imported in _IMPORT.findall(found[name].decode()):
            _reached(imported, found)
    return found


@cache
def cache_folder(name: str) -> str:
    """Where the kernels of file ``name`` are kept: beside the sources if possible, else in the user's cache."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for _, content in sorted(_reached(name, {}).items()):
        digest.update(content)
    beside = _HERE / "__pycache__"
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "engramdb"
    writable = os.access(beside if beside.exists() else _HERE, os.W_OK)
    return str((beside if writable else base) / f"{name}-{digest.hexdigest()[:16]}")


def njit(**options: Any) -> Callable[[Function], Function]:
    """``numba.njit(**options)``; a cache that the user has chosen with ``NUMBA_CACHE_DIR`` is left alone."""

    def decorate(function: Function) -> Function:
        chosen = config.CACHE_DIR
        if not chosen:
            config.CACHE_DIR = cache_folder(function.__module__.rpartition(".")[2])
        try:
            compiled: Function = numba.njit(**options)(function)
            return compiled
        finally:
            config.CACHE_DIR = chosen

    return decorate
