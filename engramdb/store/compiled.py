"""The compiled kernels of the store, once they pay: loading them takes longer than decoding a few leaves."""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from importlib import import_module
from types import ModuleType

_MANY, _VERY_MANY = 64, 1024  # calls after which the kernels pay, where Numba is at work and where it is not
_calls: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)


def kernels(name: str) -> ModuleType | None:
    """The module ``engramdb.kernels.<name>``; None where it is not loaded and was not asked for often enough yet."""
    module = f"engramdb.kernels.{name}"
    if module not in sys.modules:
        enough = _MANY if "numba" in sys.modules else _VERY_MANY
        if next(_calls[name]) < enough:
            return None
    return import_module(module)  # another thread may be in the middle of loading it: this waits for it
