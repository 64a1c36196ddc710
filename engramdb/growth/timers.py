"""How long synapses have been weak: a timer for each pair of neurons that was, and for no other.

A pair is looked at when the cursor comes by. Found weak for the first time it gets a timer, found strong it loses it;
one that was weak every time it was looked at, over long enough, is due to be pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray

MOST = 1 << 62
"""As many timers as there are."""

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Timers:
    """``since``: int64, the tick in which ``pre[i]`` -> ``post[i]`` was first found weak. Sorted by (pre, post)."""

    pre: IdArray
    post: IdArray
    since: Int64Array

    @classmethod
    def none(cls) -> Timers:
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.pre)

    @property
    def nbytes(self) -> int:
        return self.pre.nbytes + self.post.nbytes + self.since.nbytes

    def _between(self, first: int, last: int) -> tuple[int, int]:
        start = int(np.searchsorted(self.pre, np.uint64(first)))
        return start, int(np.searchsorted(self.pre, np.uint64(last), side="right"))

    def looked_at(self, first: int, last: int, pre: IdArray, post: IdArray, tick: int) -> Timers:
        """The timers of the weak pairs ``pre[i]`` -> ``post[i]``, sorted and distinct, among sources first..last."""
        start, stop = self._between(first, last)
        own_pre, own_post = self.pre[start:stop], self.post[start:stop]
        order = np.lexsort((np.repeat((0, 1), (len(own_pre), len(pre))), np.concatenate([own_post, post]),
                            np.concatenate([own_pre, pre])))  # fmt: skip
        together_pre, together_post = np.concatenate([own_pre, pre])[order], np.concatenate([own_post, post])[order]
        same = (together_pre[1:] == together_pre[:-1]) & (together_post[1:] == together_post[:-1])
        since = np.full(len(pre), tick, dtype=np.int64)
        at = np.flatnonzero(same)
        since[order[at + 1] - len(own_pre)] = self.since[start:stop][order[at]]
        return Timers(pre, post, since)

    def replaced(self, first: int, last: int, own: Timers, most: int) -> tuple[Timers, int]:
        """All timers, those of sources first..last being ``own``; and for how many of them there was no room.

        At most ``most`` are kept.
        """
        start, stop = self._between(first, last)
        room = max(0, most - (len(self) - (stop - start)))
        columns = (
            np.concatenate([mine[:start], theirs[:room], mine[stop:]])
            for mine, theirs in ((self.pre, own.pre), (self.post, own.post), (self.since, own.since))
        )
        return Timers(*columns), max(0, len(own) - room)

    def at(self, chosen: npt.NDArray[np.bool_]) -> Timers:
        """Those that are ``chosen`` (bool (n,))."""
        return Timers(self.pre[chosen], self.post[chosen], self.since[chosen])

    def among(self, first: int, last: int) -> Timers:
        """Those of sources first..last."""
        start, stop = self._between(first, last)
        return Timers(self.pre[start:stop], self.post[start:stop], self.since[start:stop])

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[np.generic]]:
        """As arrays by name, for :meth:`of`."""
        return {f"{prefix}pre": self.pre, f"{prefix}post": self.post, f"{prefix}since": self.since}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[np.generic]], prefix: str) -> Timers:
        """From what :meth:`arrays` gave."""
        return cls(
            arrays[f"{prefix}pre"].astype(np.uint64, copy=False),
            arrays[f"{prefix}post"].astype(np.uint64, copy=False),
            arrays[f"{prefix}since"].astype(np.int64, copy=False),
        )
