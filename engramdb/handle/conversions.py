"""The engram as other libraries have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engramdb.handle.handle import Handle
from engramdb.store import Store

if TYPE_CHECKING:
    from engramdb.store.zarrview.view import ZarrStore


class Conversions(Handle):
    """What :class:`engramdb.Engram` looks like to others."""

    def zarr(self, at: str | int | None = None) -> ZarrStore:
        """A snapshot, a commit, or the present, for zarr, xarray and dask; see :class:`engramdb.ZarrStore`.

        The present is checkpointed first if it has changed; of an engram opened to read it is the commit it stands at.
        """
        from engramdb.store.zarrview.view import ZarrStore

        if at is None and self._changed:
            self.checkpoint("for Zarr")
        return ZarrStore(self.location, at=self._store.resolve(self._store.commit.number if at is None else at))

    def _settled(self, why: str) -> Store:
        """The store with the present in it: it is checkpointed first if it has changed."""
        if self._changed:
            self.checkpoint(why)
        return self._store

    def to_scipy(self, layer: str | int | None = None, *, post: str | int | None = None) -> Any:
        """Weights as a ``scipy.sparse.csr_array`` (float32, mV): entry [i, j] is from neuron i to neuron j.

        Rows are the neurons of ``layer`` by position, segments end to end, columns those of ``post``, by default of
        ``layer`` too; without ``layer`` all layers one behind the other. Rows that wiring rules give are in it.
        Synapses of one pair, of several delays or projections, are entries of their own, which SciPy adds up. Needs
        scipy (extra ``graph``). BudgetExceeded where it would not fit the memory budget.
        """
        from engramdb.interchange.graph import to_scipy

        return to_scipy(self._settled("for SciPy"), layer, post, self._budget)

    def to_networkx(self, layer: str | int | None = None, *, limit: int = 100_000) -> Any:
        """A ``networkx.MultiDiGraph`` of all neurons and synapses, or of those within ``layer``.

        Nodes are ids as text (``0/0/42``) with ``layer``, ``label``, ``spike_count``; edges have ``weight`` (mV),
        ``delay`` (ms), ``projection``. InvalidInput above ``limit`` neurons or synapses: each takes hundreds of bytes.
        Needs networkx (extra ``graph``).
        """
        from engramdb.interchange.graph import to_networkx

        return to_networkx(self._settled("for NetworkX"), layer, limit)

    def to_xarray(self, layer: str | None = None, segment: int = 0, *, at: str | int | None = None) -> Any:
        """The stored neurons and synapses of a segment as an ``xarray.Dataset``, read when they are needed.

        Without ``layer`` an ``xarray.DataTree`` of all layers and segments. ``at``: as in :meth:`zarr`. Needs xarray
        (extra ``graph``).
        """
        from engramdb.interchange.graph import to_xarray

        return to_xarray(self.zarr(at), self.spec, self._bundles.sizes, layer, segment)
