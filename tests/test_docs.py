"""The documents do what they say: their code runs, their links lead somewhere, the tests they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks, links, run

DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
SERVED = ("http.md",)  # needs a service: tests/service/test_http_document.py
WITH_CODE = [
    path
    for path in DOCUMENTS
    if path.name not in SERVED and any(block.language in ("python", "console") for block in blocks(path))
]


def test_the_documents_are_there() -> None:
    expected = {"model", "store", "engine", "durability", "conventions", "differences", "interfaces/python"}
    assert {f"docs/{name}.md" for name in expected} <= set(NAMES)
    assert len(WITH_CODE) >= 4


@pytest.mark.parametrize("document", WITH_CODE, ids=lambda path: path.stem)
def test_code_in_documents_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # a shell looks for modules where it is
    assert sum(run(document).values()) > 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(document: Path) -> None:
    assert [link for link in links(document) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_files_and_tests_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for path, name in re.findall(r"`((?:tests|engramdb|kernels|schemas)/[\w/]+\.\w+)(?:::(\w+))?`", text):
        assert (ROOT / path).is_file(), path
        if name:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^\s*(?:def|class) {name}\b", source, re.MULTILINE), name
