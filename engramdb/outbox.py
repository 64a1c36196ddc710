"""What one thread delivers to slots that are another's: kept until the other takes it.

Each thread adds to the sums of some of the slots, so that no two ever write to the same place and one sum a slot is
enough for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.kernels import deliver, rows

Int64Array = npt.NDArray[np.int64]
Links = npt.NDArray[Any]

LINK_BYTES = rows.LINK.itemsize


class Outbox:
    """The links (LINK: target slot and weight) that a thread could not add itself; ``filled``: how many they are."""

    def __init__(self) -> None:
        self._links: Links = np.empty(0, dtype=rows.LINK)
        self._ring: Links = np.empty(deliver.RING, dtype=rows.LINK)
        self._own = (0, 0)
        self.filled = 0

    @property
    def nbytes(self) -> int:
        return self._links.nbytes

    def deliver(
        self, offsets: Int64Array, lengths: Int64Array, link: Links, plus: Int64Array, minus: Int64Array,
        block_awake: npt.NDArray[np.uint8], first: int, last: int,
    ) -> None:  # fmt: skip
        """Add the weights of stretches of the arena to the slots ``first`` to ``last`` (excluded), and keep the others.

        See :func:`engramdb.kernels.deliver.deliver_own`. Until it is emptied, it is for one range.
        """
        needed = self.filled + int(lengths.sum()) + 1
        if needed > len(self._links):
            larger = np.empty(needed * 5 // 4, dtype=rows.LINK)
            larger[: self.filled] = self._links[: self.filled]
            self._links = larger
        if self.filled and self._own != (first, last):
            first = last = 0  # slots were taken since: nothing is its own any more
        self._own = first, last
        self.filled += deliver.deliver_own(
            offsets, lengths, link, plus, minus, block_awake, np.uint32(first), np.uint32(last),
            self._ring, self._links[self.filled :],
        )  # fmt: skip

    def take(
        self, plus: Int64Array, minus: Int64Array, block_awake: npt.NDArray[np.uint8], first: int, last: int
    ) -> None:
        """Add what is kept for the slots ``first`` to ``last`` (excluded) to their sums; it stays here."""
        if self.filled and not self._own[0] <= first <= last <= self._own[1]:
            deliver.add_outbox(self._links[: self.filled], plus, minus, block_awake, np.uint32(first), np.uint32(last))
