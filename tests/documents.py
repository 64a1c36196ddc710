"""Documents whose code is run: what is in them, and how to run it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engramdb.cli import main

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line on which the text begins."""

    language: str
    text: str
    line: int


def blocks(document: Path) -> Iterator[Block]:
    """All fenced blocks, in order."""
    text = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)


def links(document: Path) -> list[str]:
    """What it links to within the project."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return [target for target in _LINK.findall(text) if "://" not in target]


def run(document: Path) -> dict[str, int]:
    """Run what a reader would, in the present folder; how many blocks of each kind there were.

    ``python`` is executed, all blocks in one namespace, but saved where its first line is the name of a module; of
    ``console`` each line after ``$`` is executed; ``toml`` is saved under the name in its first line. A failure names
    the line in the document.
    """
    namespace: dict[str, Any] = {"__name__": document.stem}
    done: dict[str, int] = {}
    for block in blocks(document):
        done[block.language] = done.get(block.language, 0) + 1
        module = re.match(r"# (\w+\.py)\n", block.text)
        if block.language == "python" and module:
            Path(module[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            padded = "\n" * (block.line - 1) + block.text
            exec(compile(padded, str(document), "exec"), namespace)
        elif block.language == "console":
            for offset, line in enumerate(block.text.splitlines()):
                if line.startswith("$ "):
                    program, *arguments = shlex.split(line[2:])
                    assert program == "engramdb", line
                    assert main(arguments) == 0, f"{document.name}:{block.line + offset}: {line}"
        elif block.language == "toml":
            name = re.match(r"# (\S+\.toml)\n", block.text)
            assert name, f"{document.name}:{block.line}: the first line of a toml block names its file"
            Path(name[1]).write_text(block.text, encoding="utf-8")
    return done
