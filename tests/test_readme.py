"""The README does what it says: its tour is executed, its links and rooms exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks, links, run

README = ROOT / "README.md"


def test_the_tour_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(README)
    assert done["console"] == 5
    assert done["python"] == 5
    assert (tmp_path / "touch.parquet").is_file()


def test_every_block_is_of_a_kind_that_is_run_or_looked_at() -> None:
    assert {block.language for block in blocks(README)} <= {"console", "python", "sh", "text", "toml"}


def test_make_targets_it_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = "".join(block.text for block in blocks(README) if block.language == "sh")
    named = set(re.findall(r"^make ([a-z-]+)", shown, re.MULTILINE))
    assert named == {"demo", "test"}
    assert named <= targets


def test_every_room_on_the_map_exists_and_none_is_missing() -> None:
    (tree,) = (block.text for block in blocks(README) if block.language == "text")
    rooms = []
    for line in tree.splitlines():
        indent, name = re.match(r"( *)(\S+)/ ", line).groups()  # type: ignore[union-attr]
        rooms.append(f"engramdb/{name}" if indent else name)
    assert [room for room in rooms if not (ROOT / room).is_dir()] == []
    inside = {path.name for path in (ROOT / "engramdb").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert inside <= {Path(room).name for room in rooms}


@pytest.mark.parametrize("link", links(README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
