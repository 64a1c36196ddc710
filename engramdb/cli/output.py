"""How results are shown: one JSON document or text for people on stdout; progress and errors on stderr.

A command builds its document (plain values; ids as strings) and says how people see it::

    output.show(document, as_json, lambda: [output.line("snapshot trained", "tick 400")])
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import numpy as np
import typer
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from engramdb.address import format_id
from engramdb.errors import EngramError

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130


class Interrupted(Exception):
    """Ctrl-C, after the command has shown what it had done until then."""


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]


def console() -> Console:
    """Standard output. Markup is off, so that a label such as ``[a]`` is shown as it is."""
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False)


def error_console() -> Console:
    """Standard error: progress and the line that says what went wrong."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def show(document: Mapping[str, Any], as_json: bool, people: Callable[[], Iterable[RenderableType]]) -> None:
    """Print ``document`` as JSON, or what ``people()`` gives, one renderable after the other."""
    if as_json:
        print(json.dumps(plain(document), allow_nan=False))
        return
    out, parts = console(), list(people())
    if out.is_terminal or not parts:
        for part in parts:
            out.print(part)
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part)
    # tables pad their lines to one length, which only a terminal hides
    print("\n".join(text.rstrip() for text in captured.get().splitlines()))


def flush() -> None:
    """Let readers of stdout have what was shown, of a command that goes on."""
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """``value`` with NumPy scalars and arrays as plain numbers and lists; NaN and infinities as None.

    A float32 becomes the shortest decimal that reads back as the same float32: 0.1, not 0.10000000149.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.float32):
        value = float(str(value))
    elif isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def ids(values: Iterable[int]) -> list[str]:
    """Ids as the strings that JSON and people get: ``layer/segment/local``."""
    return [format_id(int(value)) for value in values]


def report(error: BaseException, as_json: bool, *, code: int, where: str = "") -> int:
    """Say ``error`` in one line on stderr, and with ``--json`` as a document on stdout; returns ``code``."""
    message = " ".join(f"{where}{error}".split())
    print(f"engramdb: {message}", file=sys.stderr)
    if as_json:
        details: dict[str, Any] = {"type": type(error).__name__, "message": message, "exit_code": code}
        field = getattr(error, "field", None)
        if isinstance(error, EngramError) and field is not None:
            details["field"] = field
        print(json.dumps({"error": details}))
    return code


def stop(code: int) -> NoReturn:
    """End the command with this exit code; what it had to say has been said."""
    raise typer.Exit(code)


def count(number: float) -> str:
    """``1234567`` as ``1,234,567``."""
    return f"{int(number):,}"


def counted(numbers: Mapping[str, int]) -> str:
    """``{"commits": 1, "leaves": 6}`` as ``1 commit, 6 leaves``; zeros are left out."""
    single = {name: name.removesuffix("s") for name in numbers} | {"leaves": "leaf"}
    return ", ".join(
        f"{count(n)} {(single[name] if n == 1 else name).replace('_', ' ')}" for name, n in numbers.items() if n
    )


def many(things: int, word: str) -> str:
    """``1 spike``, ``1,234 spikes``."""
    return f"{things:,} {word}{'' if things == 1 else 's'}"


def number(value: float, digits: int = 4) -> str:
    """A measured value with ``digits`` significant digits, without an exponent where it reads well."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e15:
        places = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
        text = f"{value:,.{places}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits - 1}e}"


def seconds(duration: float) -> str:
    """A duration: ``12 ms``, ``3.21 s``, ``4 min 07 s``."""
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 60:
        return f"{duration:.2f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest:02d} s"


def when(created: str) -> str:
    """An ISO time as ``2026-01-31 12:00`` in the reader's time zone; other text as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def line(first: str, *rest: str) -> Text:
    """One line: what happened in bold, then the details."""
    text = Text(first, style="bold")
    for part in filter(None, rest):
        text.append(f"  {part}", style="not bold")
    return text


def pairs(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names and values, two columns without lines."""
    table = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for name, value in rows:
        table.add_row(f"  {name}", value)
    return table


def columns(
    headers: Sequence[str], rows: Iterable[Sequence[RenderableType]], right: Sequence[str] = (), *, head: bool = True
) -> Table:
    """A table; ``right`` names the columns that hold numbers, ``head`` says whether the headers are shown."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=head)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


@contextmanager
def progress_bar(*shown: Any, hidden: bool = False) -> Iterator[Progress]:
    """A progress bar on stderr, gone when done; nothing at all where stderr is no terminal or ``hidden``."""
    from rich.progress import Progress

    err = error_console()
    with Progress(*shown, console=err, transient=True, disable=hidden or not err.is_terminal) as progress:
        yield progress


@contextmanager
def stages() -> Iterator[Callable[[str, int, int | None], None]]:
    """What to call with (stage, done, total or None): one progress bar a stage."""
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn

    shown = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
    )
    with progress_bar(*shown) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, done="")
            bar.update(tasks[stage], completed=done, total=total, done=count(done))

        yield advance
