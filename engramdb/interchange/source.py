"""What every edge list is read into: batches of columns, judged row by row.

A row that cannot be used is counted and, while there are few, remembered with its line and the reason; reading goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.bulk import Progress
from engramdb.delays import MAX_TICKS, DelayArray, chosen, ticks_of
from engramdb.errors import InvalidInput
from engramdb.kernels import lines as kernel

MAX_WEIGHT_MV = 16384.0
_REMEMBERED = 10
_LONGEST_TEXT = 160
_LONGEST_LABEL = 65535  # bytes; what the store takes

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Texts:
    """``n`` UTF-8 texts, each ``data[first[i]:last[i]]``: uint8 (any length), int64 (n,), int64 (n,)."""

    data: npt.NDArray[np.uint8]
    first: Offsets
    last: Offsets

    def __len__(self) -> int:
        return len(self.first)

    def take(self, index: Offsets) -> Texts:
        """Those at ``index``."""
        return Texts(self.data, self.first[index], self.last[index])

    def text(self, i: int) -> str:
        """Text ``i``; what is not UTF-8 in it shows as a replacement character."""
        return self.data[self.first[i] : self.last[i]].tobytes().decode("utf-8", errors="replace")

    def equal(self, text: str) -> Bools:
        """Which are ``text``."""
        out = np.empty(len(self), dtype=bool)
        kernel.spans_equal(self.data, self.first, self.last, np.frombuffer(text.encode(), dtype=np.uint8), out)
        return out


Labels = IdArray | Texts


@dataclass(frozen=True)
class Columns:
    """What the columns are called, which rows are wanted (column, value), the factor on every weight, ms of a tick."""

    pre: str = "pre"
    post: str = "post"
    weight: str = "weight"
    sign: str = "sign"
    where: tuple[tuple[str, str], ...] = ()
    weight_scale: float = 1.0
    delay: str = "delay"
    dt_ms: float = 1.0

    def find(self, path: object, names: Sequence[str], hint: str = "") -> Places:
        """Where they are in ``names``; InvalidInput says what there is. All but ``pre`` and ``post`` may be missing."""

        def place(name: str, parameter: str) -> int:
            if name in names:
                return list(names).index(name)
            raise InvalidInput(
                f'{path} has no column "{name}"; it has {", ".join(names)}:'
                f" say which one is meant with {parameter}={hint}"
            )

        weight, sign, delay = (
            None if name == default and name not in names else place(name, default)
            for name, default in ((self.weight, "weight"), (self.sign, "sign"), (self.delay, "delay"))
        )
        where = tuple(place(column, "where") for column, _ in self.where)
        return Places(place(self.pre, "pre"), place(self.post, "post"), weight, sign, delay, where)


class Places(NamedTuple):
    """Places of the columns among those of a source; None where there is none."""

    pre: int
    post: int
    weight: int | None
    sign: int | None
    delay: int | None
    where: tuple[int, ...]

    @property
    def needed(self) -> list[int]:
        """All of them, once each, increasing."""
        return sorted({place for place in (*self[:5], *self.where) if place is not None})


class Rejected(NamedTuple):
    """A row that could not be used: its line (in Parquet its row), counted from 1, why, and its text."""

    line: int
    reason: str
    text: str


@dataclass
class Tally:
    """What became of the rows of a source, and from which to which tick their delays go, if they have any."""

    rows: int = 0
    accepted: int = 0
    filtered: int = 0
    rejected: int = 0
    first_rejected: list[Rejected] = field(default_factory=list)
    delays: tuple[int, int] | None = None

    def note(self, delay: DelayArray) -> None:
        """Enter the delays of accepted edges."""
        if len(delay):
            least, longest = self.delays or (MAX_TICKS, 1)
            self.delays = min(least, int(delay.min())), max(longest, int(delay.max()))


class Chunk(NamedTuple):
    """Accepted edges: labels, weight (float32, mV, scaled and signed) and delay (uint16, ticks) if given, each (n,)."""

    pre: Labels
    post: Labels
    weight: npt.NDArray[np.float32]
    delay: DelayArray | None = None


@dataclass
class Batch:
    """``n`` rows as they stand in the source.

    ``broken``: bool (n,), rows that could not even be cut into columns, or None; ``why(i)`` says what is wrong with
    such a row. ``line(i)``, ``text(i)``: where row i is, and the whole of it.
    """

    n: int
    pre: Labels
    post: Labels
    weight: Texts | Floats | None
    sign: Texts | None
    where: list[Texts]
    broken: Bools | None
    why: Callable[[int], str]
    line: Callable[[int], int]
    text: Callable[[int], str]
    delay: Texts | Floats | None = None


class Source(Protocol):
    """An edge list. ``integers``: whether labels are integers by their type; None where only the texts can tell."""

    integers: bool | None

    def chunks(self, tally: Tally, progress: Progress) -> Iterator[Chunk]:
        """All accepted edges, in the order of the source. Can be asked for again, from the start."""


_SIGNS = {
    1.0: ("1", "+1", "+", "exc", "excitatory", "1.0", "+1.0"),
    -1.0: ("-1", "-", "inh", "inhibitory", "-1.0", "\N{MINUS SIGN}1", "\N{MINUS SIGN}"),
}
_FINE, _BROKEN, _NO_PRE, _NO_POST, _LONG_PRE, _LONG_POST, _NO_NUMBER, _TOO_LARGE, _NO_SIGN, _TWO_SIGNS = range(10)
_NO_DELAY = 10


def judge(batch: Batch, columns: Columns, tally: Tally) -> Chunk:
    """The rows of ``batch`` that can be used, as edges; all are entered in ``tally``."""
    wanted = np.ones(batch.n, dtype=bool)
    for texts, (_, value) in zip(batch.where, columns.where, strict=True):
        wanted &= texts.equal(value)
    weight, readable = _numbers(batch.weight, batch.n)
    scaled = weight * columns.weight_scale
    fault = np.zeros(batch.n, dtype=np.uint8)
    fault[~(np.abs(scaled) <= MAX_WEIGHT_MV)] = _TOO_LARGE
    fault[~readable] = _NO_NUMBER
    if batch.sign is not None:
        sign = _signs(batch.sign)
        fault[weight < 0] = _TWO_SIGNS
        fault[sign == 0] = _NO_SIGN
        scaled *= sign
    delay = None
    if batch.delay is not None:
        milliseconds, given = _numbers(batch.delay, batch.n)
        delay, none = ticks_of(milliseconds, columns.dt_ms)
        fault[none | ~given] = _NO_DELAY
    for labels, empty, long in ((batch.post, _NO_POST, _LONG_POST), (batch.pre, _NO_PRE, _LONG_PRE)):
        if isinstance(labels, Texts):
            length = labels.last - labels.first
            fault[length > _LONGEST_LABEL] = long
            fault[length == 0] = empty
    if batch.broken is not None:
        fault[batch.broken] = _BROKEN
        wanted |= batch.broken
    good = wanted & (fault == _FINE)
    accepted = int(np.count_nonzero(good))
    rejected = np.flatnonzero(wanted & ~good)
    tally.rows += batch.n
    tally.accepted += accepted
    tally.rejected += len(rejected)
    tally.filtered += batch.n - accepted - len(rejected)
    for i in rejected[: _REMEMBERED - len(tally.first_rejected)].tolist():
        reason = _reason(batch, columns, i, int(fault[i]))
        tally.first_rejected.append(Rejected(batch.line(i), reason, batch.text(i)[:_LONGEST_TEXT]))
    weights = scaled.astype(np.float32)
    if delay is not None:
        tally.note(delay[good])
    if accepted == batch.n:
        return Chunk(batch.pre, batch.post, weights, delay)
    index = np.flatnonzero(good)
    return Chunk(batch.pre.take(index), batch.post.take(index), weights[index], chosen(delay, index))


def _reason(batch: Batch, columns: Columns, i: int, fault: int) -> str:
    if fault == _BROKEN:
        return batch.why(i)
    pre, post, weight, sign, delay = (
        f"column {name}" if name.isdigit() else name
        for name in (columns.pre, columns.post, columns.weight, columns.sign, columns.delay)
    )
    given, after = (
        "1" if column is None else column.text(i) if isinstance(column, Texts) else str(column[i])
        for column in (batch.weight, batch.delay)
    )
    ticks = f"1..{MAX_TICKS} ticks of {columns.dt_ms:g} ms"
    factor = "" if columns.weight_scale == 1 else f" times {columns.weight_scale:g}"
    return {
        _NO_PRE: f"{pre} is empty",
        _NO_POST: f"{post} is empty",
        _LONG_PRE: f"{pre} is longer than {_LONGEST_LABEL} bytes",
        _LONG_POST: f"{post} is longer than {_LONGEST_LABEL} bytes",
        _NO_NUMBER: f'{weight} "{given}" is not a finite number' if given else f"{weight} is empty",
        _TOO_LARGE: f"{weight} {given}{factor} is beyond {MAX_WEIGHT_MV:g} mV",
        _NO_SIGN: f'{sign} "{batch.sign.text(i) if batch.sign else ""}" is none of -1, +1, -, +, inh, exc',
        _TWO_SIGNS: f"{weight} {given} is negative although {sign} gives the sign",
        _NO_DELAY: f'{delay} "{after}" is not in ms, a whole number in {ticks}' if after else f"{delay} is empty",
    }[fault]


def _numbers(given: Texts | Floats | None, n: int) -> tuple[Floats, Bools]:
    """Weights as float64, and which of them are finite numbers; what is none reads as 0."""
    if given is None:
        return np.ones(n), np.ones(n, dtype=bool)
    if isinstance(given, Texts):
        value, state = np.empty(n), np.empty(n, dtype=np.uint8)
        kernel.read_numbers(given.data, given.first, given.last, value, state)
        long = np.flatnonzero(state == kernel.LONG_NUMBER)
        if len(long):
            value[long] = _long_numbers(given.take(long))
        readable = state != kernel.NO_NUMBER
    else:
        value, readable = given, np.ones(n, dtype=bool)
    readable &= np.isfinite(value)
    return np.where(readable, value, 0.0), readable


def _long_numbers(texts: Texts) -> Floats:
    width = int((texts.last - texts.first).max())
    if width > 64:  # one absurd number must not widen the table for all
        return np.array([float(texts.text(i)) for i in range(len(texts))])
    table = np.zeros((len(texts), width), dtype=np.uint8)
    kernel.copy_spans(texts.data, texts.first, texts.last, table)
    return table.view(f"S{width}").ravel().astype(np.float64)


def _signs(texts: Texts) -> Floats:
    """+1, -1, or 0 where a text is no sign."""
    sign = np.zeros(len(texts))
    left = np.arange(len(texts))
    for value, known in _SIGNS.items():
        for word in known:
            for spelled in dict.fromkeys((word, word.capitalize(), word.upper())):
                if len(left):
                    same = texts.take(left).equal(spelled)
                    sign[left[same]] = value
                    left = left[~same]
    return sign
