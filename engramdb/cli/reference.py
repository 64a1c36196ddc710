"""The reference of the command line, from the help texts themselves::

python -m engramdb.cli.reference > docs/cli.md
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from engramdb.cli import app, main

_HEAD = """\
# Command line

<!-- Made by: python -m engramdb.cli.reference > docs/cli.md -->

`engramdb VERB` works on an engram, a folder such as `brain.engram`. One process may write at a time; any number
may read meanwhile, and they see the last commit.

- **Ids** are written `layer/segment/local` (`0/0/42`), as `0x` and hex digits, as a plain number, or as an imported
  label. Text is looked up as a label first.
- **`--json`** prints one document on stdout; ids in it are strings. Progress and errors go to stderr. When a command
  fails, the document is `{"error": {"type": ..., "message": ..., "exit_code": ...}}`.
- **Exit codes**: 0 done; 1 the data say no (damage, not found, taken); 2 usage; 3 locked by another writer; 4 memory
  budget; 130 interrupted, with the state whole. An error is one line: what, where, what to do.
"""


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command, groups before what they hold; () is ``engramdb`` itself."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        held = getattr(command, "commands", {})
        # a group with an argument of its own takes it before the next word
        arguments = [p.metavar for p in command.params if p.param_type_name == "argument"] if held else []
        for name, inner in held.items():
            yield from walk(inner, (*words, *arguments, name))

    return walk(typer.main.get_command(app), ())


def help_text(words: tuple[str, ...]) -> str:
    """What ``engramdb WORDS --help`` prints on a terminal of 80 columns."""
    said = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(said):
            main([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n".join(line.rstrip() for line in said.getvalue().strip().splitlines())


def render() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD]
    for words in commands():
        parts.append(f"## {' '.join(('engramdb', *words))}\n\n```text\n{help_text(words)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(render())
