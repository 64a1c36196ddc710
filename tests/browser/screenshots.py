"""Takes the pictures of docs/console.md: a real browser, a real service, the bundled connectome.

python -m tests.browser.screenshots docs/console
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import expect, sync_playwright

import engramdb
from engramdb.client import RemoteEngram
from engramdb.demo import TOUCHES, Demo
from tests.browser.conftest import ARGUMENTS, BROWSERS
from tests.service.served import served

DRIVE_MV = 4.0


def prepare(worm: RemoteEngram) -> None:
    """A history with two lines: the worm is touched; and, from rest again, touched with its AVAL cut off."""
    worm.snapshot("at-rest")
    _touch(worm)
    worm.snapshot("touched")
    worm.restore("at-rest")
    row = worm.synapses("AVAL")
    body = {"pre": ["AVAL"], "post": [str(one) for one in row.targets.tolist()], "weight": 0.0, "create": False}
    worm.transport.post("/v1/engrams/celegans/synapses", body)
    _touch(worm)
    worm.snapshot("cut")
    worm.branch("what-if")
    worm.restore("at-rest")


def _touch(worm: RemoteEngram) -> None:
    for touch in TOUCHES:
        worm.stimulate(list(touch.neurons), DRIVE_MV, at=worm.tick + touch.first, duration=touch.duration)
    worm.run(400)


def activity(page: Any, worm: RemoteEngram, picture: Path) -> None:
    """Both touches, while they happen."""
    expect(page.locator("#connection-text")).to_have_text("live")
    for touch in TOUCHES:
        worm.stimulate(list(touch.neurons), DRIVE_MV, at=worm.tick + touch.first, duration=touch.duration)
    page.get_by_label("Neurons ids or labels").fill("PLML, PLMR")
    page.get_by_label("Amplitude").fill("4")
    page.get_by_label("Duration").fill("100")
    page.get_by_label("Ticks", exact=True).fill("100000")
    page.get_by_label("Pace").fill("250")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#jobs progress")).to_be_visible()
    while worm.tick < 410:
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Hold").click()
    page.get_by_role("button", name="Count again").click()
    expect(page.locator("#distributions-note")).to_contain_text("as of")
    page.mouse.move(700, 740)
    _take(page, picture)
    page.get_by_role("button", name="Hold").click()
    page.get_by_role("button", name="Cancel ticks").click()
    expect(page.locator("#jobs li").first).to_contain_text("cancelled")


def neurons(page: Any, picture: Path) -> None:
    """A neuron of the touch circuit, with the focus on one that it projects to."""
    page.get_by_role("tab", name="Neurons").click()
    page.get_by_role("search").get_by_label("Neuron").fill("AVAL")
    page.keyboard.press("Enter")
    expect(page.locator('[data-at="in-0"]')).to_be_visible()
    page.locator('[data-at="out-0"]').focus()
    page.keyboard.press("ArrowDown")
    _take(page, picture)


def history(page: Any, picture: Path) -> None:
    """What the cut has changed."""
    page.get_by_role("tab", name="History").click()
    for name in ("touched", "cut"):
        page.locator("tr", has=page.get_by_role("button", name=f"Restore snapshot {name}")).get_by_role(
            "checkbox"
        ).check()
    page.get_by_role("button", name="Diff", exact=True).click()
    expect(page.locator("#diff-synapses_reweighted")).to_be_visible()
    _take(page, picture)


def _take(page: Any, picture: Path) -> None:
    """With as many colours as it needs: a quarter of the bytes."""
    page.screenshot(path=picture)
    with Image.open(picture) as taken:
        taken.quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


def main(folder: Path) -> None:
    """Take all of them."""
    folder.mkdir(exist_ok=True)
    found = os.environ.get("ENGRAMDB_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as started:
        demo = Demo(Path(work) / "demo")
        demo.import_connectome()
        shutil.copytree(demo.engram, Path(work) / "root" / "celegans.engram")
        browser = started.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        with served(Path(work) / "root") as client, engramdb.connect(str(client.base_url)) as service:
            worm = service["celegans"]
            prepare(worm)
            here = f"{client.base_url}#/celegans"
            light = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme="light")
            light.goto(here)
            activity(light, worm, folder / "activity.png")
            history(light, folder / "history.png")
            dark = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme="dark")
            dark.goto(here)
            neurons(dark, folder / "neurons-dark.png")
            narrow = browser.new_page(viewport={"width": 400, "height": 860}, color_scheme="light")
            narrow.goto(here)
            neurons(narrow, folder / "narrow.png")
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
