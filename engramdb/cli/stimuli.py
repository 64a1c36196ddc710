"""Stimuli as the command line takes them: ``IDS:AMPLITUDE[@FROM[+DURATION]]``, or rows of a CSV file.

>>> parse("0/0/1,0/0/2:20@5+3")
Stimulus(ids=('0/0/1', '0/0/2'), amplitude=20.0, at=5, duration=3)
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engramdb.address import IdArray, pack
from engramdb.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from engramdb.engram import Engram

FORM = "IDS:AMPLITUDE[@FROM[+DURATION]]"
POISSON_FORM = "IDS:RATE_HZ:AMPLITUDE[@FROM[+DURATION]]"
LARGEST_AMPLITUDE = 16384.0
COLUMNS = ("id", "amplitude", "at", "duration")

_FLAG = re.compile(r"(?P<ids>.+):(?P<amplitude>[^:@]+?)(?:@(?P<at>\d+)(?:\+(?P<duration>\d+))?)?", re.ASCII)
_POISSON = re.compile(
    r"(?P<ids>.+):(?P<rate>[^:@]+):(?P<amplitude>[^:@]+?)(?:@(?P<at>\d+)(?:\+(?P<duration>\d+))?)?", re.ASCII
)
_RANGE = re.compile(r"(\d+)/(\d+)/(\d+)-(\d+)", re.ASCII)


@dataclass(frozen=True)
class Stimulus:
    """``amplitude`` to each of ``ids`` in each of ``duration`` ticks from tick ``at`` (None: the next one).

    With ``rate_hz`` it is Poisson input, and with ``is_current`` the amplitude is a current: then ``duration`` None
    means to the end of the run.
    """

    ids: tuple[str, ...]
    amplitude: float
    at: int | None = None
    duration: int | None = 1
    rate_hz: float | None = None
    is_current: bool = False

    def resolve(self, engram: Engram) -> IdArray:
        """uint64 ids: each text is an id, a label, or a range such as ``0/0/0-99`` (both ends included).

        Raises :class:`NotFound` for unknown ones, and :class:`InvalidInput` where ``engram`` is past the tick ``at``.
        """
        if self.at is not None and self.at <= engram.tick:
            raise InvalidInput(
                f"stimulus of {self.ids[0]} at tick {self.at}: that tick is past; the next is {engram.tick + 1}"
            )
        ranges = [matched for name in self.ids if (matched := _RANGE.fullmatch(name))]
        single = [name for name in self.ids if not _RANGE.fullmatch(name)]
        parts = [engram.resolve(single)] if single else []
        for matched in ranges:
            layer, segment, first, last = (int(part) for part in matched.groups())
            start, end = pack(layer, segment, first), pack(layer, segment, last)
            if end < start:
                raise InvalidInput(f'"{matched[0]}": a range goes from the smaller local id to the greater')
            engram.resolve([start, end])  # a segment has no holes: refuses a huge range before it is written out
            parts.append(np.uint64(start) + np.arange(end - start + 1, dtype=np.uint64))
        return np.concatenate(parts)


def parse(text: str, *, is_current: bool = False) -> Stimulus:
    """The stimulus that one ``--stimulate`` (``--inject``) asks for; :class:`InvalidInput` says what is wrong."""
    matched = _FLAG.fullmatch(text)
    where = f'{"--inject" if is_current else "--stimulate"} "{text}"'
    if matched is None:
        raise InvalidInput(f"{where}: expected {FORM}, such as 0/0/42:20@100+5")
    names = tuple(name.strip() for name in matched["ids"].split(","))
    if not all(names):
        raise InvalidInput(f"{where}: an empty id; write ids with single commas, such as 0/0/1,0/0/2:20")
    return Stimulus(
        names,
        _amplitude(matched["amplitude"], where),
        _tick(matched["at"], "tick", where),
        _tick(matched["duration"], "duration", where) or (None if is_current else 1),
        is_current=is_current,
    )


def parse_poisson(text: str) -> Stimulus:
    """The Poisson input that one ``--poisson`` asks for."""
    matched = _POISSON.fullmatch(text)
    where = f'--poisson "{text}"'
    if matched is None:
        raise InvalidInput(f"{where}: expected {POISSON_FORM}, such as 0/0/0-99:150:0.5")
    names = tuple(name.strip() for name in matched["ids"].split(","))
    if not all(names):
        raise InvalidInput(f"{where}: an empty id; write ids with single commas, such as 0/0/1,0/0/2:150:0.5")
    try:
        rate_hz = float(matched["rate"])
    except ValueError:
        rate_hz = math.nan
    if not 0 <= rate_hz < math.inf:
        raise InvalidInput(f'{where}: "{matched["rate"].strip()}" is no rate; give a number of Hz from 0')
    return Stimulus(
        names,
        _amplitude(matched["amplitude"], where),
        _tick(matched["at"], "tick", where),
        _tick(matched["duration"], "duration", where),
        rate_hz,
    )


def read(path: Path) -> Iterator[Stimulus]:
    """Stimuli of a CSV file with the header ``id,amplitude,at,duration``; the last two may be missing or empty.

    Raises :class:`NotFound` where there is no such file, and :class:`InvalidInput` with the line of a bad row.
    """
    try:
        source = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}; --stimuli takes a CSV file with {','.join(COLUMNS)}") from None
    with source:
        rows = csv.DictReader(source, restkey="", strict=True)
        try:
            yield from _stimuli(path, rows)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path}: line {rows.line_num + 1}: {error}") from None


def _stimuli(path: Path, rows: csv.DictReader[str]) -> Iterator[Stimulus]:
    names = tuple(rows.fieldnames or ())
    if not {"id", "amplitude"} <= set(names) <= set(COLUMNS):
        raise InvalidInput(f'{path}: line 1 is "{",".join(names)}"; expected the header {",".join(COLUMNS)}')
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        if "" in row or not (row["id"] and row["amplitude"]):
            raise InvalidInput(f"{where}: expected {len(names)} values, id and amplitude among them")
        yield Stimulus(
            (row["id"].strip(),),
            _amplitude(row["amplitude"], where),
            _tick(row.get("at"), "at", where),
            _tick(row.get("duration"), "duration", where) or 1,
        )


def _amplitude(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST_AMPLITUDE:
        raise InvalidInput(
            f'{where}: "{text.strip()}" is no amplitude; give a number, at most {LARGEST_AMPLITUDE:g} in size'
        )
    return value


def _tick(text: str | None, name: str, where: str) -> int | None:
    if text is None or not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise InvalidInput(f'{where}: {name} "{text.strip()}" is no whole number of ticks from 1')
    return int(text)
