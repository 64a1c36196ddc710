"""What a remote engram answers: the questions of :class:`engramdb.Engram`, with the same arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engramdb.client import shapes
from engramdb.client.shapes import named
from engramdb.errors import InvalidId, InvalidInput

if TYPE_CHECKING:
    from engramdb.client.transport import Transport
    from engramdb.handle.questions import At
    from engramdb.naming import Ids
    from engramdb.query.edges import Direction
    from engramdb.query.neurons import Neuron, Neurons
    from engramdb.query.select import Ranking, Selection
    from engramdb.query.synapses import Synapses
    from engramdb.query.walk import By, Ego, Path
    from engramdb.topology.reading import Reading
    from engramdb.topology.settings import Settings

_PAGE = 10_000  # synapses, or neurons, in one answer
_BATCH = 10_000  # ids in one request


class Questions:
    """See :class:`engramdb.client.RemoteEngram`."""

    transport: Transport
    dt_ms: float
    _path: str
    _models: dict[str, str]
    _projections: dict[str, int]

    # ---- neurons

    def neuron(self, neuron_id: Ids, *, at: At = None) -> Neuron:
        """One neuron: its state in the life cycle, its fields, its out-degree."""
        return shapes.neuron_of(self._batch([self._one(neuron_id)], at)[0])

    def neurons(self, ids: Ids, *, at: At = None) -> Neurons:
        """Many neurons at once, in the order of ``ids``."""
        wanted = named(ids)
        found = [
            one for start in range(0, len(wanted), _BATCH) for one in self._batch(wanted[start : start + _BATCH], at)
        ]
        return shapes.neurons_of(found, self._models)

    def resolve(self, ids: Ids) -> Any:
        """uint64 ids of numbers, text ids and labels. Raises NotFound, InvalidId."""
        return self.neurons(ids).ids

    def labels(self, ids: Ids) -> list[str | None]:
        """Imported labels of ``ids``; None where there is none."""
        return [one.get("label") for one in self._batch(named(ids), None)]

    def _batch(self, ids: list[str], at: At) -> list[dict[str, Any]]:
        body: dict[str, Any] = {"ids": ids, **({} if at is None else {"at": at})}
        found: list[dict[str, Any]] = self.transport.post(f"{self._path}/neurons:batch", body)["neurons"]
        return found

    def _one(self, neuron_id: Ids) -> str:
        texts = named(neuron_id)
        if len(texts) != 1:
            raise InvalidId(f"expected one neuron, got {len(texts)}; use neurons() for many")
        return texts[0]

    def synapses(self, neuron_id: Ids, direction: str = "out", *, at: At = None) -> Synapses:
        """The synapses of one neuron: its own row (``out``) or those onto it (``in``)."""
        if direction not in ("out", "in"):
            raise InvalidInput(f'direction="{direction}": expected "out" or "in"')
        number = int(self._batch([self._one(neuron_id)], at)[0]["id"])
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.transport.get(
                f"{self._path}/neurons/{number}/synapses", direction=direction, limit=_PAGE, cursor=cursor, at=at
            )
            rows += page["synapses"]
            if (cursor := page.get("cursor")) is None:
                return shapes.synapses_of(number, direction, rows, self.dt_ms)

    # ---- walks

    def ego(
        self, neuron_id: Ids, hops: int = 2, limit: int = 10_000, direction: Direction = "out", *, at: At = None
    ) -> Ego:
        """The neurons within ``hops`` synapses of one, and the synapses on the way."""
        found = self._ask("ego", at, id=self._one(neuron_id), hops=hops, limit=limit, direction=direction)
        return shapes.ego_of(found, direction, hops, self.dt_ms, self._projections)

    def path(self, a: Ids, b: Ids, by: By = "hops", *, full: float = 15.0, limit: int = 100_000, at: At = None) -> Path:
        """A way from ``a`` to ``b`` along synapses; NotFound where there is none."""
        return shapes.path_of(self._ask("path", at, a=self._one(a), b=self._one(b), by=by, full=full, limit=limit))

    def topology(self, settings: Settings | None = None, *, at: At = None) -> Reading:
        """Measure the topology; see :meth:`engramdb.Engram.topology`.

        Of ``settings`` the service takes ``patches`` and ``sample``; its clusters are ``"components"``. Raises
        InvalidInput where others are set.
        """
        from engramdb.topology.settings import Settings

        chosen = settings or Settings(clusters="components")
        plain = Settings(patches=chosen.patches, sample=chosen.sample, clusters="components")
        if chosen != plain:
            raise InvalidInput('topology: a service takes patches and sample, and clusters="components"')
        return shapes.reading_of(
            self.transport.get(f"{self._path}/topology", patches=plain.patches, sample=plain.sample, at=at)
        )

    # ---- all neurons

    def select(
        self, layer: str | int | None = None, where: str | None = None, columns: Sequence[str] | None = None,
        order: str | None = None, limit: int | None = 1000, cursor: str | None = None, *, at: At = None,
    ) -> Selection:  # fmt: skip
        """A page of the neurons for which ``where`` is true, as Arrow brings them; see :meth:`engramdb.Engram.select`.

        ``limit=None``: all, page by page.
        """
        from engramdb.query.select import Selection

        asked = {"layer": layer, "where": where, "columns": None if columns is None else list(columns), "order": order}
        tables = []
        while True:
            body = {**asked, "limit": _PAGE if limit is None else limit, "cursor": cursor, "at": at, "query": "select"}
            table, headers = self.transport.arrow(
                f"{self._path}/query", {k: v for k, v in body.items() if v is not None}
            )
            tables.append(table)
            cursor = headers.get("X-Next-Cursor")
            if cursor is None or limit is not None:
                break
        parts = {name: [shapes.column_of(table.column(name)) for table in tables] for name in tables[0].column_names}
        found = {name: np.concatenate(columns) for name, columns in parts.items()}
        shown = found if columns is None else {name: found[name] for name in columns}
        return Selection(found["id"].astype(np.uint64), shown, cursor)

    def count(self, layer: str | int | None = None, where: str | None = None, *, at: At = None) -> int:
        """How many neurons :meth:`select` would give in all."""
        return int(self._ask("count", at, layer=layer, where=where)["count"])

    def top(
        self, field: str, n: int = 50, *, layer: str | int | None = None, where: str | None = None,
        smallest: bool = False, at: At = None,
    ) -> Ranking:  # fmt: skip
        """The ``n`` neurons with the largest (or ``smallest``) value of a field, ties by id."""
        from engramdb.query.select import Ranking

        rows = self._ask("top", at, field=field, n=n, layer=layer, where=where, smallest=smallest)["rows"]
        values = np.array([one[field] for one in rows])
        return Ranking(field, shapes.ids_of([one["id"] for one in rows]), values)

    def _ask(self, query: str, at: At, **arguments: Any) -> dict[str, Any]:
        body = {"query": query, "at": at, **arguments}
        found: dict[str, Any] = self.transport.post(
            f"{self._path}/query", {name: value for name, value in body.items() if value is not None}
        )
        return found
