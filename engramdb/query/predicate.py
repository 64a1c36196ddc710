"""The conditions of ``select``: comparisons of fields, joined by and, or, not and parentheses.

::

    condition   = both { "or" both }
    both        = one { "and" one }
    one         = "not" one | "(" condition ")" | comparison
    comparison  = value ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
                | value [ "not" ] "in" "(" value { "," value } ")"
    value       = field | number | text

A field is a name; a text stands in quotes, or is a word that names no field (``state = active``). Nothing is evaluated
as code. A comparison with a field that a neuron's model does not have is false, whichever it is.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engramdb.address import parse
from engramdb.errors import InvalidId, InvalidInput

Columns = Mapping[str, Any]
"""Of n neurons by field: arrays (n,), or one value where all have the same."""

Truth = npt.NDArray[np.bool_] | np.bool_ | bool

TEXT_FIELDS = frozenset({"layer", "state"})
STATES = ("virtual", "charged", "active", "dormant")
ALIASES = {"degree": "out_degree"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))(?![\w.])"
    r"|(?P<word>[^\W\d]\w*(?:\.\w+)*)|(?P<text>\"[^\"]*\"|'[^']*')|(?P<sign><=|>=|==|!=|<>|=|<|>|\(|\)|,))"
)
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_WORDS = frozenset({"and", "or", "not", "in"})
_LONGEST = 10_000  # characters
_DEEPEST = 100  # parentheses in one another


class Token(NamedTuple):
    """``kind``: number, word, text, sign or end; ``at``: its first character, from 0."""

    kind: str
    text: str
    at: int


class Predicate:
    """A condition that has been read. ``fields``: the names it asks for."""

    fields: frozenset[str] = frozenset()

    def holds(self, columns: Columns) -> Truth:
        """For which neurons it is true: bool (n,), or one where it is the same for all."""
        raise NotImplementedError


@dataclass(frozen=True)
class Everything(Predicate):
    """What no condition says."""

    fields: frozenset[str] = frozenset()

    def holds(self, columns: Columns) -> Truth:
        return True


@dataclass(frozen=True)
class Comparison(Predicate):
    """``left`` and ``right``: names of fields, or values where the name is ""."""

    sign: str
    left: str
    right: str
    value: int | float | str = 0

    @property
    def fields(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset(name for name in (self.left, self.right) if name)

    def holds(self, columns: Columns) -> Truth:
        left = columns[self.left] if self.left else self.value
        right = columns[self.right] if self.right else self.value
        truth: Truth = _COMPARISONS[self.sign](left, right)
        if self.sign in ("!=", "<>"):  # the others are false of NaN by themselves
            for side in (left, right):
                if isinstance(side, (np.ndarray, np.floating, float)) and np.asarray(side).dtype.kind == "f":
                    truth = truth & ~np.isnan(side)
        return truth


@dataclass(frozen=True)
class Together(Predicate):
    """``parts``, of which all hold, or with ``any_of`` one."""

    parts: tuple[Predicate, ...]
    any_of: bool

    @property
    def fields(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*(part.fields for part in self.parts))

    def holds(self, columns: Columns) -> Truth:
        truth = self.parts[0].holds(columns)
        for part in self.parts[1:]:
            other = part.holds(columns)
            truth = truth | other if self.any_of else truth & other
        return truth


@dataclass(frozen=True)
class Not(Predicate):
    """What ``part`` does not say."""

    part: Predicate

    @property
    def fields(self) -> frozenset[str]:  # type: ignore[override]
        return self.part.fields

    def holds(self, columns: Columns) -> Truth:
        return np.logical_not(self.part.holds(columns))


def read(text: str | None, fields: Collection[str], layers: Collection[str]) -> Predicate:
    """The condition ``text`` over ``fields``; raises :class:`InvalidInput`, which names the place.

    ``layers``: the names that the field layer may have.
    """
    if text is None or not text.strip():
        return Everything()
    if len(text) > _LONGEST:
        raise InvalidInput(f"where: {len(text):,} characters are too many; at most {_LONGEST:,}")
    return _Reader(text, fields, layers).condition_alone()


def field(name: str, fields: Collection[str], what: str) -> str:
    """``name`` as it is known; raises :class:`InvalidInput` with a guess at what was meant."""
    known = ALIASES.get(name, name)
    if known in fields:
        return known
    raise InvalidInput(f"{what}: {_unknown(name, fields)}")


def _unknown(name: str, fields: Collection[str]) -> str:
    near = difflib.get_close_matches(name, [*fields, *ALIASES], 1)
    meant = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(fields))}"
    return f'no field is called "{name}"{meant}'


class _Reader:
    """Reads a condition by recursive descent."""

    def __init__(self, text: str, fields: Collection[str], layers: Collection[str]) -> None:
        self._text, self._fields = text, fields
        self._texts = {"state": STATES, "layer": layers}
        self._tokens = list(self._split())
        self._place = 0
        self._depth = 0

    def _split(self) -> Iterator[Token]:
        at = 0
        while self._text[at:].strip():
            found = _TOKEN.match(self._text, at)
            if found is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                raise self._wrong(f"{self._text[at]!r} is not expected here", at)
            kind = str(found.lastgroup)
            yield Token(kind, found[kind], found.start(kind))
            at = found.end()
        yield Token("end", "", len(self._text.rstrip()))

    def _wrong(self, problem: str, at: int) -> InvalidInput:
        before = self._text[max(0, at - 30) : at]
        shown = f"{'...' * (at > 30)}{before}[here]{self._text[at : at + 30]}{'...' * (len(self._text) > at + 30)}"
        return InvalidInput(f"where, character {at + 1}: {problem}, in: {shown}")

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _is(self, *words: str) -> bool:
        return self._next.kind in ("word", "sign") and self._next.text.lower() in words

    def _take(self) -> Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _expect(self, sign: str) -> None:
        if not self._is(sign):
            raise self._wrong(f'expected "{sign}"', self._next.at)
        self._take()

    def condition_alone(self) -> Predicate:
        found = self._condition()
        if self._next.kind != "end":
            raise self._wrong('expected "and", "or" or the end', self._next.at)
        return found

    def _condition(self) -> Predicate:
        return self._joined("or", lambda: self._joined("and", self._one))

    def _joined(self, word: str, part: Callable[[], Predicate]) -> Predicate:
        parts = [part()]
        while self._is(word):
            self._take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Together(tuple(parts), word == "or")

    def _one(self) -> Predicate:
        token = self._next
        if self._is("not", "("):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise self._wrong(f"more than {_DEEPEST} within one another", token.at)
            self._take()
            if token.text == "(":
                found = self._condition()
                self._expect(")")
            else:
                found = Not(self._one())
            self._depth -= 1
            return found
        return self._comparison()

    def _comparison(self) -> Predicate:
        left = self._value()
        negated = self._is("not")
        if negated:
            self._take()
        if self._is("in"):
            self._take()
            self._expect("(")
            parts = [self._compared("=", left, self._value())]
            while self._is(","):
                self._take()
                parts.append(self._compared("=", left, self._value()))
            self._expect(")")
            if not negated:
                return Together(tuple(parts), any_of=True)
            return Together(tuple(Comparison("!=", p.left, p.right, p.value) for p in parts), any_of=False)
        sign = self._next
        if negated or sign.kind != "sign" or sign.text not in _COMPARISONS:
            raise self._wrong('expected "in"' if negated else "expected a comparison, such as > 3", sign.at)
        self._take()
        return self._compared(sign.text, left, self._value())

    def _value(self) -> Token:
        token = self._take()
        if token.kind == "end":
            raise self._wrong("it ends here, where a field or a value is expected", token.at)
        if token.kind == "sign" or (token.kind == "word" and token.text.lower() in _WORDS):
            raise self._wrong("expected a field or a value", token.at)
        return token

    def _name(self, token: Token) -> str:
        """The field that a token names, or ""."""
        name = ALIASES.get(token.text, token.text)
        return name if token.kind == "word" and name in self._fields else ""

    def _compared(self, sign: str, left: Token, right: Token) -> Comparison:
        names = self._name(left), self._name(right)
        if all(names):
            if (names[0] in TEXT_FIELDS) != (names[1] in TEXT_FIELDS):
                raise self._wrong("a number is compared with a text", right.at)
            self._check_sign(sign, names[0], left)
            return Comparison(sign, *names)
        if not any(names):
            words = [token for token in (left, right) if token.kind == "word"]
            if words:
                raise self._wrong(_unknown(words[0].text, self._fields), words[0].at)
            raise self._wrong("no field is compared", left.at)
        name, token = (names[0], right) if names[0] else (names[1], left)
        self._check_sign(sign, name, token)
        return Comparison(sign, *names, self._literal(name, token))

    def _check_sign(self, sign: str, name: str, token: Token) -> None:
        if name in TEXT_FIELDS and sign not in ("=", "==", "!=", "<>"):
            raise self._wrong(f"{name} is a text, and has no order", token.at)

    def _literal(self, name: str, token: Token) -> int | float | str:
        text = token.text[1:-1] if token.kind == "text" else token.text
        if name in TEXT_FIELDS:
            if token.kind == "number":
                raise self._wrong(f"{name} is a text", token.at)
            if text not in self._texts[name]:
                raise self._wrong(f'there is no {name} "{text}"; known: {", ".join(self._texts[name])}', token.at)
            return text
        if token.kind == "number":
            digits = text.lstrip("+-")
            if digits.isdigit() or digits[:2] in ("0x", "0X"):
                return int(text, 0 if digits[:2] in ("0x", "0X") else 10)
            return float(text)
        if name == "id" and token.kind == "text":
            try:
                return parse(text)
            except InvalidId as error:
                raise self._wrong(str(error), token.at) from None
        if token.kind == "word":
            raise self._wrong(_unknown(text, self._fields), token.at)
        raise self._wrong(f"{name} is a number", token.at)
