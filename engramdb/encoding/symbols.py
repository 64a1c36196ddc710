"""The temporal encoder: symbols one after the other, each a group of neurons that a hash chooses."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np

from engramdb.address import IdArray, as_ids
from engramdb.distribution import is_number
from engramdb.encoding.spikes import Spikes, spikes_of
from engramdb.errors import InvalidInput

Symbol: TypeAlias = str | bytes | int


class SymbolGroups:
    """A group of ``size`` distinct neurons of ``pool`` for every symbol there could be.

    Symbols are texts, bytes or whole numbers. A group is a function of (seed, pool, size, symbol): no symbol needs to
    be known beforehand, and nothing is kept. Two groups share neurons by chance, size^2 / len(pool) on average.
    """

    def __init__(self, pool: Any, size: int, seed: int = 0) -> None:
        self.pool: IdArray = np.unique(as_ids(pool))
        if not 1 <= size <= len(self.pool):
            raise InvalidInput(f"size={size}: give 1 to {len(self.pool)}, the neurons of the pool")
        self.size, self.seed = size, seed

    def group(self, symbol: Symbol) -> IdArray:
        """The neurons (uint64 (size,), sorted) that stand for ``symbol``."""
        from engramdb.kernels import rng

        key = np.uint64(_number(symbol))
        words = np.empty(1, dtype=np.uint64)
        taken: dict[int, int] = {}
        chosen = []
        for i in range(self.size):  # the first steps of a shuffle, without writing the pool out
            rng.fill_hashes(np.uint64(self.seed), key + np.zeros(1, np.uint64), np.uint64(i), rng.SYMBOL, words)
            left = len(self.pool) - i
            at = i + (int(words[0]) * left >> 64)
            chosen.append(taken.get(at, at))
            taken[at] = taken.get(i, i)
        return np.sort(self.pool[chosen])

    def encode(
        self,
        symbols: str | bytes | Iterable[Symbol],
        *,
        ticks_per_symbol: int = 10,
        pulses: int = 1,
        at: int = 1,
        amplitude: float = 20.0,
    ) -> Spikes:
        """Symbol i drives its group in the first ``pulses`` of the ticks from ``at + i * ticks_per_symbol``.

        A text is taken letter by letter, bytes byte by byte. ``amplitude``: mV a spike.
        """
        if not 1 <= pulses <= ticks_per_symbol or at < 1:
            raise InvalidInput(f"pulses={pulses}, at={at}: pulses from 1 to ticks_per_symbol, at from 1")
        known: dict[Symbol, IdArray] = {}
        ids, ticks = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
        for i, symbol in enumerate(symbols):
            group = known.setdefault(symbol, self.group(symbol)) if symbol not in known else known[symbol]
            first = at + i * ticks_per_symbol
            ids.append(np.tile(group, pulses))
            ticks.append(np.repeat(np.arange(first, first + pulses), self.size))
        return spikes_of(np.concatenate(ids), np.concatenate(ticks), amplitude)


def _number(symbol: Symbol) -> int:
    """64 bits of a symbol; a text, its UTF-8 bytes and a number are different symbols."""
    if isinstance(symbol, str):
        data = b"t" + symbol.encode()
    elif isinstance(symbol, bytes):
        data = b"b" + symbol
    elif is_number(symbol) and int(symbol) == symbol:
        data = b"i%d" % int(symbol)
    else:
        raise InvalidInput(f"{symbol!r} is no symbol: give text, bytes or a whole number")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
