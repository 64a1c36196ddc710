"""The reference of the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer.main

from engramdb.cli import app, reference
from tests.cli.terminal import Cli


def test_the_reference_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text() == reference.render(), "run: python -m engramdb.cli.reference > docs/cli.md"


def test_every_command_has_help_with_an_example_and_every_option_has_help() -> None:
    seen = 0

    def walk(command: Any, words: tuple[str, ...]) -> None:
        nonlocal seen
        seen += 1
        assert command.help, words
        if words:
            assert f"\n  engramdb {words[0]}" in command.help, f"{words}: no example"
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", (words, parameter.name)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*words, name))

    walk(typer.main.get_command(app), ())
    assert seen == len(list(reference.commands())) > 15


def test_every_example_in_the_help_is_a_command_that_parses(cli: Cli) -> None:
    # none of the files exist, so a well-formed example gets as far as missing data, and a wrong one is a usage error;
    # those that need no files are run by tests of their own
    alone = {"demo", "bench", "estimate", "scaling", "synth"}
    for words in reference.commands():
        for line in reference.help_text(words).splitlines():
            if line.startswith("    engramdb ") and not alone & set(line.split()):
                said = cli(*shlex.split(line)[1:])
                assert said.code == 1, line
