"""Edge lists as delimited text: CSV, TSV and their kin, plain or gzipped, read in blocks."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from engramdb.bulk import Progress
from engramdb.errors import InvalidInput
from engramdb.interchange.source import Batch, Chunk, Columns, Offsets, Tally, Texts, judge
from engramdb.kernels import lines as kernel

Bytes = npt.NDArray[np.uint8]

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".edges", ".edgelist")
_QUOTE = '"'
_BOM = b"\xef\xbb\xbf"
_SAMPLE_BYTES, _SAMPLE_LINES = 1 << 16, 20
_LONGEST_LINE = 1 << 26
_LINES = 1 << 17  # cut at once
_NOT_UTF8 = np.uint8(64)  # beside the kernel's: what became of a line
# Only a header says these: a header with other names than asked for is not to be read as a pair of neurons.
_HEADER_WORDS = frozenset(
    ("pre", "post", "source", "target", "src", "dst", "from", "to", "sender", "receiver", "weight", "sign", "delay")
)


class LineSource:
    """A file of delimited text.

    - ``header``: whether its first line names the columns; None to find out. Without one they are called 1, 2, 3, ...
      and the first three are taken for pre, post and weight.
    - ``delimiter``: one ASCII character; None to find out. With a space, runs of spaces and tabs separate.
    - ``block_bytes``: how much is read at once.

    Lines that begin with # before all others are passed over. A line ends at a line feed even inside quotes. Spaces
    around a field are no part of it unless it is quoted. Raises :class:`InvalidInput` where no column can be made out.
    """

    integers: bool | None = None

    def __init__(
        self,
        path: Path,
        columns: Columns,
        *,
        header: bool | None = None,
        delimiter: str | None = None,
        block_bytes: int = 1 << 22,
    ) -> None:
        self._path = path
        self._block_bytes = block_bytes
        with path.open("rb") as raw:
            sample = self._read(self._unpacked(raw), _SAMPLE_BYTES)
        self._returns = b"\n" not in sample and b"\r" in sample  # line ends of old Macs
        lines, before = _sample_lines(path, sample)
        self._delimiter = _likely_delimiter(lines) if delimiter is None else _checked_delimiter(delimiter)
        records = [_fields(line, self._delimiter) for line in lines]
        hint = ", or header=False if the first line names no columns" if header is None else ""
        if header is None:
            header = _looks_like_header(records, columns)
        if header:
            names, self._field_count = records[0], len(records[0])
        else:
            self._field_count = Counter(map(len, records)).most_common(1)[0][0]
            names = [str(number) for number in range(1, self._field_count + 1)]
            columns = _by_position(columns, self._field_count)
            hint = f", or delimiter=: without a line of names, columns are counted, and cut at {self._delimiter!r}"
        self._head_lines = before + bool(header)
        self._columns = columns
        self._places = columns.find(path, names, hint)

    def chunks(self, tally: Tally, progress: Progress) -> Iterator[Chunk]:
        """All accepted edges in the order of the file; a chunk is valid until the next one."""
        wanted = np.array(self._places.needed, dtype=np.int64)
        delimiter, quote = np.uint8(ord(self._delimiter)), np.uint8(ord(_QUOTE))
        room = _Lines.room(_LINES, len(wanted))
        before = 0
        for block in self._blocks(progress):
            at = 0
            while at < len(block):
                start = at
                n, at, high = kernel.split_lines(
                    block, at, len(block), delimiter, quote, self._field_count, wanted, *room.columns
                )
                lines = room.front(n, before)
                lines.status[: max(self._head_lines - before, 0)] = kernel.BLANK
                if high:
                    lines.mark_other_encodings(block, start, at)
                yield judge(self._batch(block, lines.records()), self._columns, tally)
                before += n

    def _batch(self, block: Bytes, lines: _Lines) -> Batch:
        data = lines.undouble_quotes(block)
        broken = lines.status != kernel.GOOD
        lines.first[:, broken] = lines.last[:, broken] = 0
        pre, post, weight, sign, delay, where = self._places
        slots = {place: slot for slot, place in enumerate(self._places.needed)}

        def texts(place: int) -> Texts:
            return Texts(data, lines.first[slots[place]], lines.last[slots[place]])

        def text(i: int) -> str:
            return Texts(block, lines.begin, lines.end).text(i)

        def why(i: int) -> str:
            if lines.status[i] == kernel.FIELD_COUNT:
                count = len(_fields(text(i), self._delimiter))
                return f"{count} field{'s' * (count != 1)} instead of {self._field_count}"
            return "not UTF-8" if lines.status[i] == _NOT_UTF8 else "a quote is not closed"

        return Batch(
            n=len(lines.status),
            pre=texts(pre),
            post=texts(post),
            weight=None if weight is None else texts(weight),
            delay=None if delay is None else texts(delay),
            sign=None if sign is None else texts(sign),
            where=[texts(place) for place in where],
            broken=broken if broken.any() else None,
            why=why,
            line=lambda i: int(lines.number[i]),
            text=text,
        )

    def _blocks(self, progress: Progress) -> Iterator[Bytes]:
        """The file in blocks of whole lines, each valid until the next; the last line always ends."""
        size = self._path.stat().st_size
        buffer = bytearray(self._block_bytes)
        filled, begun = 0, False
        with self._path.open("rb") as raw:
            file = self._unpacked(raw)
            while True:
                if filled == len(buffer):
                    if filled >= _LONGEST_LINE:
                        longest = f"{_LONGEST_LINE >> 20} MiB"
                        raise InvalidInput(f"{self._path} has a line longer than {longest}: is it an edge list?")
                    buffer = buffer + bytearray(len(buffer))
                read = self._read_into(file, memoryview(buffer)[filled:])
                ended = not read
                if not begun and buffer.startswith(_BOM):
                    buffer[: len(_BOM)] = b" " * len(_BOM)  # spaces around a field are no part of it
                begun = True
                filled += read
                if self._returns:
                    block = np.frombuffer(buffer, dtype=np.uint8)
                    block[block == ord("\r")] = ord("\n")
                if ended and filled:
                    buffer[filled] = ord("\n")
                    filled += 1
                stop = buffer.rfind(b"\n", 0, filled) + 1
                if stop:
                    yield np.frombuffer(buffer, dtype=np.uint8, count=stop)
                progress("read", raw.tell(), size)
                if ended:
                    return
                buffer[: filled - stop] = buffer[stop:filled]
                filled -= stop

    def _unpacked(self, raw: BinaryIO) -> BinaryIO:
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if self._path.suffix == ".gz" else raw

    def _read(self, file: BinaryIO, most: int) -> bytes:
        room = bytearray(most)
        filled = 0
        while filled < most:
            read = self._read_into(file, memoryview(room)[filled:])
            if not read:
                break
            filled += read
        return bytes(room[:filled])

    def _read_into(self, file: BinaryIO, room: memoryview) -> int:
        try:
            return file.readinto(room)  # type: ignore[attr-defined]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidInput(f"{self._path} is a damaged gzip file: {error}") from None


@dataclass
class _Lines:
    """``n`` lines as the kernel cuts them, and their numbers in the file, counted from 1."""

    begin: Offsets  # (n,)
    end: Offsets  # (n,)
    status: npt.NDArray[np.uint8]  # (n,)
    first: Offsets  # (fields, n)
    last: Offsets  # (fields, n)
    number: Offsets  # (n,)

    @classmethod
    def room(cls, n: int, fields: int) -> _Lines:
        begin, end, number = (np.empty(n, dtype=np.int64) for _ in range(3))
        first, last = (np.empty((fields, n), dtype=np.int64) for _ in range(2))
        return cls(begin, end, np.empty(n, dtype=np.uint8), first, last, number)

    @property
    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """What the kernel fills, in its order."""
        return self.begin, self.end, self.status, self.first, self.last

    def front(self, n: int, before: int) -> _Lines:
        """The first ``n`` lines, which come after ``before`` others."""
        number = np.arange(before + 1, before + 1 + n)
        return _Lines(self.begin[:n], self.end[:n], self.status[:n], self.first[:, :n], self.last[:, :n], number)

    def records(self) -> _Lines:
        """The lines that are not blank."""
        if not np.any(self.status == kernel.BLANK):
            return self
        kept = np.flatnonzero(self.status != kernel.BLANK)
        begin, end, number = (column[kept] for column in (self.begin, self.end, self.number))
        return _Lines(begin, end, self.status[kept], self.first[:, kept], self.last[:, kept], number)

    def mark_other_encodings(self, block: Bytes, start: int, stop: int) -> None:
        """Mark the lines of ``block[start:stop]`` that are not UTF-8."""
        if _is_utf8(block[start:stop]):
            return
        for i, (begin, end) in enumerate(zip(self.begin.tolist(), self.end.tolist(), strict=True)):
            if not _is_utf8(block[begin:end]):
                self.status[i] = _NOT_UTF8

    def undouble_quotes(self, block: Bytes) -> Bytes:
        """``block`` and behind it the fields in which a quote was written twice, as meant; the fields now lie there."""
        doubled = np.flatnonzero(self.status == kernel.DOUBLED_QUOTE)
        if not len(doubled):
            return block
        meant, size = [block], len(block)
        for i in doubled.tolist():
            for slot in range(len(self.first)):
                first, last = int(self.first[slot, i]), int(self.last[slot, i])
                text = block[first:last].tobytes()
                if first and block[first - 1] == ord(_QUOTE) and b'""' in text:
                    text = text.replace(b'""', b'"')
                    meant.append(np.frombuffer(text, dtype=np.uint8))
                    self.first[slot, i], self.last[slot, i] = size, size + len(text)
                    size += len(text)
            self.status[i] = kernel.GOOD
        return np.concatenate(meant)


def _is_utf8(data: Bytes) -> bool:
    try:
        str(data.data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _sample_lines(path: Path, sample: bytes) -> tuple[list[str], int]:
    """The first lines that are neither blank nor comment, and how many lines come before them."""
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInput(f"{path} is UTF-16 text: save it as UTF-8")
    if b"\0" in sample:
        raise InvalidInput(f"{path} is not text: it holds zero bytes")
    text = sample.removeprefix(_BOM).decode("utf-8", errors="replace")
    listed = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(sample) == _SAMPLE_BYTES and len(listed) > 1:
        listed.pop()  # it is cut off
    before = 0
    while before < len(listed) and (not listed[before].strip() or listed[before].startswith("#")):
        before += 1
    found = [line for line in listed[before:] if line.strip()]
    if not found:
        raise InvalidInput(f"{path} holds no edges: it has no line of text")
    return found[:_SAMPLE_LINES], before


def _checked_delimiter(delimiter: str) -> str:
    delimiter = {"\\t": "\t", "tab": "\t", "space": " "}.get(delimiter, delimiter)
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\r\n"0123456789':
        raise InvalidInput(f"delimiter={delimiter!r}: give one ASCII character, such as , ; or tab")
    return delimiter


def _fields(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        line = " ".join(line.replace("\t", " ").split())
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]


def _likely_delimiter(lines: Sequence[str]) -> str:
    """The character that cuts most lines into equally many fields, and the more fields the better; else a space."""

    def agreement(delimiter: str) -> tuple[int, int]:
        fields, lines_of_so_many = Counter(len(_fields(line, delimiter)) for line in lines).most_common(1)[0]
        return (lines_of_so_many, fields) if fields > 1 else (0, 0)

    best = max(",\t;|", key=agreement)
    return best if agreement(best) > (0, 0) else " "


def _looks_like_header(records: Sequence[Sequence[str]], columns: Columns) -> bool:
    first, others = records[0], records[1:]
    if columns.pre in first and columns.post in first:
        return True
    if _HEADER_WORDS & {name.lower() for name in first}:
        return True
    # a word above a column of numbers names it
    return any(
        not _is_number(name) and all(len(other) > place and _is_number(other[place]) for other in others)
        for place, name in enumerate(first)
        if others and name
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _by_position(columns: Columns, count: int) -> Columns:
    """``columns`` for a file whose columns are called 1, 2, 3, ...: names left as they are by default are numbers."""
    default = Columns()
    return replace(
        columns,
        pre="1" if columns.pre == default.pre else columns.pre,
        post="2" if columns.post == default.post else columns.post,
        weight="3" if columns.weight == default.weight and count > 2 else columns.weight,
    )
