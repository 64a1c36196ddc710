"""docs/http.md: every request on it is made, and there is one for every route."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.documents import ROOT, blocks
from tests.service.served import served

DOCUMENT = ROOT / "docs" / "http.md"
SAID = "http://127.0.0.1:8787"
# Requests are as on the page; curl has to fail where, and only where, the page says which status comes.
PRELUDE = """set -euo pipefail
curl() { command curl --fail-with-body "$@"; }
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("engrams")) as client:
        yield client


def requests() -> list[str]:
    """The commands of the page that are made with curl, or get ready for it."""
    shell = [block.text for block in blocks(DOCUMENT) if block.language == "sh"]
    lines = re.sub(r"\\\n\s*", " ", "".join(text for text in shell if not text.startswith("engramdb "))).splitlines()
    commands: list[str] = []
    for line in lines:  # a command goes on where a quote is open
        if commands and commands[-1].count("'") % 2:
            commands[-1] += "\n" + line
        else:
            commands.append(line)
    return commands


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="curl or bash is not here")
def test_every_request_on_the_page_is_answered(api: httpx.Client, tmp_path: Path) -> None:
    script = PRELUDE
    for command in requests():
        refused = re.search(r"  # (4\d\d)$", command)
        script += f"! {command}\n" if refused else f"{command}\n"
    script = script.replace(SAID, str(api.base_url).rstrip("/"))
    done = subprocess.run(["bash", "-xc", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    assert {path.name for path in tmp_path.iterdir()} >= {"page.arrow", "night.parquet", "brain.h5", "openapi.json"}


def test_the_client_does_what_the_page_says(api: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(DOCUMENT):
        if block.language == "python":
            text = "\n" * (block.line - 1) + block.text.replace(SAID, str(api.base_url).rstrip("/"))
            exec(compile(text, str(DOCUMENT), "exec"), {})
    assert (tmp_path / "small.h5").is_file()


def test_there_is_a_request_for_every_route(api: httpx.Client) -> None:
    text = "\n".join(requests()).replace("$E", f"{SAID}/v1/engrams/brain")
    made = set()
    for command in re.findall(r"curl [^\n]*", text.replace("\n  ", " ")):
        given = re.search(r"-X (\w+)", command)
        posts = re.search(r" (-d|--data-binary) ", command)
        path = re.search(rf"{re.escape(SAID)}(/[^\s\"?]*)", command)
        assert path, command
        made.add((given[1] if given else "POST" if posts else "GET", path[1]))
    routes = json.loads(api.get("/openapi.json").text)["paths"]
    missing = []
    for route, methods in routes.items():
        pattern = re.compile(re.sub(r"\\{\w+\\}", r"[^?]+", re.escape(route)))
        for method in methods:
            if not any(verb == method.upper() and pattern.fullmatch(path) for verb, path in made):
                missing.append(f"{method.upper()} {route}")
    assert missing == []
