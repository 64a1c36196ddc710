"""Leaf numbers: which leaf a number means."""

from __future__ import annotations

from functools import cached_property
from threading import Lock

import numpy as np
import numpy.typing as npt

from engramdb.store.catalog import Catalog, unsigned


class LeafNumbers:
    """Leaf number -> the leaf's ``low``, which never changes, of all leaves that were ever committed.

    The catalog is clustered by ``low``, so it is read through once, ``page_rows`` at a time, when a number is first
    looked up: 16 bytes a leaf are kept. Safe to use from several threads.
    """

    def __init__(self, catalog: Catalog, page_rows: int = 1 << 16) -> None:
        self._catalog, self._page_rows = catalog, page_rows
        self._lock = Lock()

    def low(self, leaf: int) -> int | None:
        """None where there never was such a leaf. Leaves committed after the first call may not be found."""
        with self._lock:
            leaves, lows = self._sorted
        at = int(np.searchsorted(leaves, np.uint64(leaf)))
        return int(lows[at]) if at < leaves.size and leaves[at] == leaf else None

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        pages = []
        behind: tuple[int, ...] = (0, 0, 0)  # lines are numbered from 1
        while True:
            rows = self._catalog.rows(
                "SELECT line, low, number, leaf FROM versions WHERE (line, low, number) > (?, ?, ?) "
                f"ORDER BY line, low, number LIMIT {self._page_rows}",
                behind,
            )
            page = np.array([(leaf, unsigned(low)) for _, low, _, leaf in rows], np.uint64).reshape(-1, 2)
            pages.append(np.unique(page, axis=0))
            if len(rows) < self._page_rows:
                break
            behind = rows[-1][:3]
        leaves, first = np.unique(np.concatenate(pages)[:, 0], return_index=True)
        return leaves, np.concatenate(pages)[first, 1]
