"""``njit`` with a cache that is valid for exactly these sources.

Numba looks only at the file of a kernel to decide whether its cached machine code is still right, not at the files of
the kernels it calls: after an upgrade that changes one file, cached callers would go on with the old code. So the
cache of a file lies in a folder named by its content, that of all kernel files it imports, and the versions of Numba
and Python.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config, event

Function = TypeVar("Function", bound=Callable[..., Any])

_LOG = logging.getLogger("engramdb.kernels")
_HERE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^from engramdb\.kernels\.(\w+) import", re.MULTILINE)


class _Notice(event.Listener):  # type: ignore[misc]
    """Says once a process that kernels are being compiled: somebody waits, and does not know for what."""

    def __init__(self) -> None:
        self._told = False

    def on_start(self, _event: Any) -> None:
        if not self._told:
            self._told = True
            _LOG.info("compiling kernels: this takes up to a minute, once; they are kept for later processes")

    def on_end(self, _event: Any) -> None:
        pass


event.register("numba:compile", _Notice())


def _reached(path: Path, found: dict[str, bytes]) -> dict[str, bytes]:
    """The file ``path`` and all kernel files it imports, directly or not, with their content."""
    name = path.stem if path.parent == _HERE else str(path)
    if name not in found:
        found[name] = path.read_bytes()
        for imported in _IMPORT.findall(found[name].decode()):
            _reached(_HERE / f"{imported}.py", found)
    return found


@cache
def cache_folder(*paths: Path) -> str:
    """Where kernels made of the files ``paths`` are kept: beside the first if possible, else in the user's cache."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    found: dict[str, bytes] = {}
    for path in paths:
        _reached(path, found)
    for _, content in sorted(found.items()):
        digest.update(content)
    folder = paths[0].parent
    beside = folder / "__pycache__"
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "engramdb"
    writable = os.access(beside if beside.exists() else folder, os.W_OK)
    return str((beside if writable else base) / f"{paths[0].stem}-{digest.hexdigest()[:16]}")


def _file_of(function: Callable[..., Any]) -> Path | None:
    """The file that has the source of ``function``; None where it was typed into a shell."""
    path = Path(function.__code__.co_filename)
    return path.resolve() if path.suffix == ".py" and path.is_file() else None


def njit(
    of: Sequence[Callable[..., Any]] = (), *, borrows: bool = False, **options: Any
) -> Callable[[Function], Function]:
    """``numba.njit(**options)``; a cache that the user has chosen with ``NUMBA_CACHE_DIR`` is left alone.

    ``of``: functions that are compiled into the decorated one without being named in its file; what is kept is kept
    with the first one's file, and nothing is kept where one has none. ``borrows``: the function makes no arrays and
    returns none, so references to those it is given need not be counted. To count one takes two locked instructions,
    for each array that is handed to a function or taken out of a tuple: in a short loop that is most of the time. (A
    function that makes an array all the same does not compile.)
    """
    if borrows:
        options["_nrt"] = False

    def decorate(function: Function) -> Function:
        sources: list[Callable[..., Any]] = [*of, function]
        paths = [_file_of(each) for each in sources]
        if None in paths:
            return cast(Function, numba.njit(**{**options, "cache": False})(function))
        chosen = config.CACHE_DIR
        if not chosen:
            config.CACHE_DIR = cache_folder(*(path for path in paths if path is not None))
        try:
            compiled: Function = numba.njit(**options)(function)
            return compiled
        finally:
            config.CACHE_DIR = chosen

    return decorate
