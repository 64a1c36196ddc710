"""Stimuli as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from engramdb.cli import stimuli
from engramdb.cli.stimuli import Stimulus
from engramdb.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "stimulus"),
    [
        ("0/0/1:20", Stimulus(("0/0/1",), 20.0)),
        ("0/0/1,AVAL , 0x2A:-1.5@7", Stimulus(("0/0/1", "AVAL", "0x2A"), -1.5, 7)),
        ("a:b:3@2+9", Stimulus(("a:b",), 3.0, 2, 9)),
        ("0/0/0-99:1e1", Stimulus(("0/0/0-99",), 10.0)),
    ],
)
def test_a_stimulus_is_read_from_its_text(text: str, stimulus: Stimulus) -> None:
    assert stimuli.parse(text) == stimulus


@pytest.mark.parametrize(
    "text",
    ["", "1", "1:", ":3", "1:x", "1:nan", "1:inf", "1:2@", "1:2@0", "1:2@-1", "1:2@1+", "1:2@1+0", "1,,2:3", "1:2@1.5"],
)
def test_a_text_that_is_no_stimulus_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--stimulate"):
        stimuli.parse(text)


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("", "line 1"),
        ("neuron,mv\n1,2\n", "id,amplitude,at,duration"),
        ("id,amplitude\n1,2\n3\n", "line 3"),
        ("id,amplitude\n1,2,3\n", "line 2"),
        ("id,amplitude\n1,much\n", "line 2"),
        ("id,amplitude,at\n1,2,0\n", "line 2"),
        ('id,amplitude\n"1,2\n', "line"),
        ("id,amplitude\n\udcff,2\n", "line"),
    ],
)
def test_a_wrong_file_of_stimuli_is_refused_with_its_line(tmp_path: Path, text: str, tells: str) -> None:
    (tmp_path / "s.csv").write_text(text, errors="surrogateescape")
    with pytest.raises(InvalidInput, match=tells):
        list(stimuli.read(tmp_path / "s.csv"))
