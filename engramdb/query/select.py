"""Selecting neurons by a condition: pages of them, in the order of ids or of a field, and how many there are."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.errors import InvalidInput
from engramdb.extras import extra
from engramdb.query import predicate
from engramdb.query.indegree import IN_DEGREE
from engramdb.query.predicate import TEXT_FIELDS, Predicate
from engramdb.query.scan import Piece, columns_of, fields_of, layers_of, pieces
from engramdb.query.view import View
from engramdb.store.pack import crc32c

if TYPE_CHECKING:
    import pyarrow

_CURSOR = 1  # its version
_WAITING = 1 << 16  # candidates of an ordered page that are kept before they are thinned out


@dataclass(frozen=True)
class Selection:
    """A page of neurons: ``ids`` uint64 (n,), ``columns`` by name, (n,) each, in the order asked for.

    Where a neuron's model has no such field its value is not a number. ``cursor``: what to give for the next page, None
    where this was the last.
    """

    ids: IdArray
    columns: dict[str, npt.NDArray[Any]]
    cursor: str | None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def arrow(self) -> pyarrow.Table:
        """As an Arrow table."""
        import pyarrow

        return pyarrow.table({name: pyarrow.array(column) for name, column in self.columns.items()})

    def pandas(self) -> Any:
        """As a data frame. Needs pandas."""
        return extra("pandas", "pandas").DataFrame(self.columns)


@dataclass(frozen=True)
class Ranking:
    """Neurons by the value of ``field``: ``ids`` uint64 (n,), ``values`` (n,); ties by id."""

    field: str
    ids: IdArray
    values: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Question:
    """What is asked for, read and checked. ``order``: a field, or "" for the order of ids."""

    layer: str | int | None
    where: str | None
    predicate: Predicate
    order: str
    descending: bool

    @classmethod
    def read(cls, view: View, layer: str | int | None, where: str | None, order: str | None) -> Question:
        """Raises InvalidInput, NotFound for a layer."""
        layers = layers_of(view, layer)
        fields = fields_of(layers)
        condition = predicate.read(where, fields, [one.name for one in view.spec.layers])
        descending = order is not None and order.startswith("-")
        name = (order or "").lstrip("-")
        if order is not None:
            name = predicate.field(name, fields, "order")
            if name in TEXT_FIELDS:
                raise InvalidInput(f"order: {name} is a text, and has no order")
        if name == "id" and not descending:
            name = ""
        return cls(layer, where, condition, name, descending)

    @property
    def fields(self) -> frozenset[str]:
        """Those that a scan must look at."""
        return self.predicate.fields | ({self.order} if self.order else frozenset())

    def cursor(self, view: View, after: Sequence[Any]) -> str:
        """An opaque text that stands for the place behind ``after``: an id, or a value and an id."""
        values = [value.hex() if isinstance(value, float) else value for value in after]
        body = json.dumps([_CURSOR, list(view.stamp), self._digest(), values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(crc32c(body).to_bytes(4, "big") + body).decode().rstrip("=")

    def after(self, view: View, cursor: str) -> list[Any]:
        """Where a page begins. Raises InvalidInput for a cursor of something else."""
        try:
            data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            body = data[4:]
            if crc32c(body).to_bytes(4, "big") != data[:4]:
                raise ValueError
            version, stamp, digest, values = json.loads(body)
        except (ValueError, TypeError, binascii.Error):
            raise InvalidInput(f'cursor "{cursor[:20]}...": it is none that a selection gave') from None
        if version != _CURSOR or digest != self._digest():
            raise InvalidInput("cursor: it belongs to another question; ask the one that gave it")
        if tuple(stamp) != view.stamp:
            raise InvalidInput(
                f"cursor: it was given at commit {stamp[0]}, and the engram has moved on; take a snapshot, and page "
                "through that with at="
            )
        return [float.fromhex(value) if isinstance(value, str) else value for value in values]

    def _digest(self) -> int:
        return crc32c(json.dumps([self.layer, self.where, self.order, self.descending]).encode())


def select(
    view: View, question: Question, columns: Sequence[str] | None, limit: int | None, cursor: str | None
) -> Selection:
    """A page of ``question``; see :meth:`engramdb.Engram.select`."""
    if limit is not None and limit < 1:
        raise InvalidInput(f"limit={limit}: give 1 or more, or None for all")
    known = fields_of(layers_of(view, question.layer))
    shown = (
        [name for name in known if name != IN_DEGREE]
        if columns is None
        else [predicate.field(name, known, "columns") for name in columns]
    )
    after = None if cursor is None else question.after(view, cursor)
    wanted = 1 << 62 if limit is None else limit
    # one more than is wanted says whether there is another page
    ids, values = (_ordered if question.order else _by_id)(view, question, wanted + 1, after)
    more = len(ids) > wanted
    ids, values = ids[:wanted], values[:wanted]
    following = None
    if more:
        last = [int(ids[-1])]
        following = question.cursor(view, [values[-1].item(), *last] if question.order else last)
    order = np.argsort(ids)
    sorted_columns = columns_of(view, ids[order], shown)
    back = np.empty(len(ids), dtype=np.int64)
    back[order] = np.arange(len(ids))
    return Selection(ids, {name: column[back] for name, column in sorted_columns.items()}, following)


def rank(view: View, question: Question, n: int) -> Ranking:
    """The first ``n`` in the order of a field."""
    if n < 1:
        raise InvalidInput(f"n={n}: give 1 or more")
    if not question.order:  # the order of ids
        ids, _ = _by_id(view, question, n, None)
        return Ranking("id", ids, ids)
    ids, values = _ordered(view, question, n, None)
    return Ranking(question.order, ids, values)


def count(view: View, question: Question) -> int:
    """How many neurons ``question`` is true of."""
    total = 0
    for piece in _pieces(view, question, 0):
        for group in piece.groups:
            truth = question.predicate.holds(group.columns)
            total += int(np.count_nonzero(truth)) if np.ndim(truth) else len(group.ids) * bool(truth)
        if piece.rest is not None and bool(question.predicate.holds(piece.rest)):
            total += piece.others
    return total


def _pieces(view: View, question: Question, begin: int) -> Iterator[Piece]:
    return pieces(view, layers_of(view, question.layer), question.fields, begin)


def _by_id(view: View, question: Question, wanted: int, after: list[Any] | None) -> tuple[IdArray, npt.NDArray[Any]]:
    """The first ``wanted`` matches behind ``after``; the values are the ids too."""
    begin = 0 if after is None else int(after[0]) + 1
    found, count = [np.empty(0, np.uint64)], 0
    for piece in _pieces(view, question, begin):
        parts = []
        for group in piece.groups:
            truth = question.predicate.holds(group.columns)
            if np.any(truth):
                parts.append(group.chosen(truth))
        if piece.rest is not None and bool(question.predicate.holds(piece.rest)):
            parts.append(piece.first_others(begin, wanted - count))
        if parts:
            ids = np.sort(np.concatenate(parts)) if len(parts) > 1 else np.sort(parts[0])
            ids = ids[np.searchsorted(ids, np.uint64(begin)) :][: wanted - count]
            found.append(ids)
            count += len(ids)
            if count == wanted:
                break
    ids = np.concatenate(found)
    return ids, ids


def _ordered(view: View, question: Question, wanted: int, after: list[Any] | None) -> tuple[IdArray, npt.NDArray[Any]]:
    """The first ``wanted`` matches behind ``after`` in the order of a field, and its values; ties by id."""
    best = _Best(wanted, question.descending, after)
    for piece in _pieces(view, question, 0):
        for group in piece.groups:
            truth = question.predicate.holds(group.columns)
            if np.any(truth):
                values = np.broadcast_to(group.columns[question.order], len(group.ids))
                mask = np.broadcast_to(truth, len(group.ids))
                promising = mask & best.promising(values)
                if promising.any():
                    best.add(group.chosen(promising), values[promising])
        if piece.rest is not None and bool(question.predicate.holds(piece.rest)):
            value = np.asarray(piece.rest[question.order])
            if best.promising(value.reshape(1))[0]:
                # of those that tie the smallest ids count
                begin = best.tie_after(value[()]) + 1
                ids = piece.first_others(begin, wanted)
                best.add(ids, np.full(len(ids), value))
    return best.result()


class _Best:
    """The first ``wanted`` by (value, id), of all that were added; values that are not numbers are left out."""

    def __init__(self, wanted: int, descending: bool, after: list[Any] | None) -> None:
        self._wanted, self._descending, self._after = wanted, descending, after
        self._ids: list[IdArray] = []
        self._values: list[npt.NDArray[Any]] = []
        self._held = 0
        self._worst: Any = None  # of those that are in for now, where there are enough of them

    def promising(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which may still come in; those that tie with the worst may, if their id is small."""
        truth = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), dtype=bool)
        if self._after is not None:
            bound = self._after[0]
            truth &= (values <= bound) if self._descending else (values >= bound)
        if self._worst is not None:
            truth &= (values >= self._worst) if self._descending else (values <= self._worst)
        return truth

    def tie_after(self, value: Any) -> int:
        """Of those with ``value`` only ids above this one come behind ``after``; -1 where all do."""
        return int(self._after[1]) if self._after is not None and value == self._after[0] else -1

    def add(self, ids: IdArray, values: npt.NDArray[Any]) -> None:
        if self._after is not None:
            behind = (values != self._after[0]) | (ids > np.uint64(self._after[1]))
            ids, values = ids[behind], values[behind]
        self._ids.append(ids)
        self._values.append(values)
        self._held += len(ids)
        if self._held > self._wanted + _WAITING:
            self._thin()

    def _thin(self) -> None:
        ids, values = self.result()
        self._ids, self._values, self._held = [ids], [values], len(ids)
        if len(ids) == self._wanted:
            self._worst = values[-1]

    def result(self) -> tuple[IdArray, npt.NDArray[Any]]:
        if not self._ids:
            return np.empty(0, np.uint64), np.empty(0)
        ids, values = np.concatenate(self._ids), np.concatenate(self._values)
        order = np.lexsort((ids, _reversed(values) if self._descending else values))[: self._wanted]
        return ids[order], values[order]


def _reversed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values that sort the other way round, exactly."""
    return -values if values.dtype.kind == "f" else ~values
