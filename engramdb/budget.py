"""Memory as people write it: budgets that are given, and sizes that are shown."""

from __future__ import annotations

import re

from engramdb.errors import InvalidInput

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
          "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}  # fmt: skip


def memory_bytes(memory: str | int) -> int:
    """Bytes of ``"4GiB"`` or ``"4G"``, ``"512 MB"`` or a plain number; :class:`InvalidInput` for anything else."""
    if isinstance(memory, int) and not isinstance(memory, bool):
        if memory <= 0:
            raise InvalidInput(f"memory={memory}: give a positive number of bytes")
        return memory
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(memory))
    if match is None or match[2].lower() not in _UNITS or float(match[1]) == 0:
        raise InvalidInput(f'memory="{memory}": expected a size such as 512MiB or 4GiB')
    return int(float(match[1]) * _UNITS[match[2].lower()])


def size_text(nbytes: float) -> str:
    """Bytes with a binary unit: ``3.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return f"{nbytes:,.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:,.1f} TiB"
