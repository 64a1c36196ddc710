"""A browser without a window, and a service on the bundled connectome."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engramdb.demo import Demo
from tests.browser.watched import Watched
from tests.service.served import served

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# As root a sandbox of its own is not to be had; the rest keeps the browser from asking its maker for anything.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium: the one that ENGRAMDB_BROWSER names, or the first that is on the path."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: .ci/venv .venv test")
    found = os.environ.get("ENGRAMDB_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path, and ENGRAMDB_BROWSER names none")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def worm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled connectome as an engram that nobody writes to."""
    demo = Demo(tmp_path_factory.mktemp("worm") / "demo")
    demo.import_connectome()
    return demo.engram


@pytest.fixture(scope="module")
def root(worm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that engram, called ``celegans``."""
    folder = tmp_path_factory.mktemp("service") / "root"
    shutil.copytree(worm, folder / "celegans.engram")
    return folder


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    """Where a service over that folder is."""
    with served(root) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Watched]]:
    """``visit(url, **context)``: a new page there, in a browser that has never been anywhere."""
    opened: list[tuple[Any, Watched]] = []

    def go(url: str, **options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1366, "height": 768}, **options})
        context.set_default_timeout(20_000)
        page = context.new_page()
        watched = Watched(page, url.split("#")[0].rstrip("/"))
        page.on("console", lambda said: said.type in ("error", "warning") and watched.faults.append(said.text))
        page.on("pageerror", lambda error: watched.faults.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(watched.origin + "/") or watched.faults.append(asked.url))
        page.goto(url)
        opened.append((context, watched))
        return watched

    yield go
    for context, watched in opened:
        context.close()
        watched.check()
