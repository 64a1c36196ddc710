"""The console in a real browser, against a real service on the bundled connectome."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engramdb
from engramdb.server.keys import KeyFile
from tests.browser.watched import Watched
from tests.service.served import Process, served

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

Visit = Callable[..., Watched]
expect.set_options(timeout=60_000)  # milliseconds; what is waited for comes long before


def get(page: Any, path: str) -> Any:
    """What the service says to the page's own browser."""
    return json.loads(page.request.get(path).text())


def run(page: Any, ticks: int, pace: str = "") -> None:
    """Run so many ticks by the form."""
    page.get_by_label("Ticks", exact=True).fill(str(ticks))
    page.get_by_label("Pace").fill(pace)
    page.get_by_role("button", name="Run", exact=True).click()


def stimulate(page: Any, ids: str, amplitude: str, duration: str) -> None:
    """Give a pulse by the form, and wait until it is taken."""
    page.get_by_label("Neurons ids or labels").fill(ids)
    page.get_by_label("Amplitude").fill(amplitude)
    page.get_by_label("Duration").fill(duration)
    page.get_by_role("button", name="Stimulate", exact=True).click()
    expect(page.locator("#stimulate .said")).to_contain_text("acts when the engram runs")


def test_the_overview_has_the_numbers_of_the_engram(visit: Visit, url: str, worm: Path) -> None:
    page = visit(f"{url}/").page
    with engramdb.open(worm) as engram:
        commit = engram.log()[0]
        expect(page.locator("#figure-neurons")).to_have_text(f"{len(engram):,}")
        expect(page.locator("#figure-synapses")).to_have_text(f"{commit.synapses:,} synapses")
    expect(page.get_by_role("heading", level=1)).to_have_text("celegans")
    expect(page.get_by_role("link", name="celegans")).to_have_attribute("aria-current", "page")
    expect(page.locator("#where")).to_contain_text("branch main")
    said = get(page, f"{url}/v1/engrams/celegans")
    for state, number in said["states"].items():
        expect(page.locator(f"#state-{state}")).to_have_text(f"{number:,}")
    expect(page.locator("#histogram-weight")).to_have_attribute(
        "aria-label", re.compile(f"{commit.synapses} values|{commit.synapses:,} values")
    )
    expect(page.locator("#connection-text")).to_have_text("live")


def test_spikes_are_drawn_while_the_engram_runs(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    expect(page.locator("#connection-text")).to_have_text("live")
    before = get(page, f"{url}/v1/engrams/celegans")["tick"]
    stimulate(page, "ALML, ALMR, AVM", "4", "100")
    run(page, 60, "200")
    raster = page.locator("#raster")
    expect(raster).to_have_attribute("data-shown", re.compile("[1-9]"))
    expect(page.locator("#figure-tick")).to_have_text(f"{before + 60:,}")
    asked = {"query": "top", "field": "spike_count", "n": 446}
    rows = page.request.post(f"{url}/v1/engrams/celegans/query", data=asked).json()["rows"]
    # all of them: there are fewer ticks than stretches that the service keeps for a slow reader
    expect(raster).to_have_attribute("data-shown", str(sum(row["spike_count"] for row in rows)))
    page.get_by_role("button", name="Hold").click()
    expect(page.get_by_role("button", name="Hold")).to_have_attribute("aria-pressed", "true")


def test_complexity_is_drawn_where_the_stream_has_it(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    expect(page.locator("#connection-text")).to_have_text("live")
    expect(page.locator("#complexity-part")).to_be_hidden()
    assert page.request.get(f"{url}/v1/engrams/celegans/topology").ok
    expect(page.locator("#complexity canvas")).to_be_visible()
    page.reload()
    expect(page.locator("#complexity canvas")).to_be_visible()


def test_a_neuron_is_looked_up_by_its_label_and_its_neighbours_are_walked_to(
    visit: Visit, url: str, worm: Path
) -> None:
    watched = visit(f"{url}/#/celegans/neurons")
    page = watched.page
    page.get_by_role("search").get_by_label("Neuron").fill("AVAL")
    page.keyboard.press("Enter")
    expect(page.locator("#neuron-title")).to_have_text("AVAL")
    with engramdb.open(worm) as engram:
        neuron, row = engram.neuron("AVAL"), engram.synapses("AVAL")
        strongest = engram.labels(row.targets[abs(row.weights).argmax()])[0]
    assert page.url.endswith(f"/celegans/neurons/{neuron.id}")
    expect(page.locator("#field-out-degree")).to_have_text(str(neuron.out_degree))
    expect(page.locator("#synapses tbody tr")).to_have_count(len(row))
    page.locator('[data-at="out-0"]').click()
    expect(page.locator("#neuron-title")).to_have_text(str(strongest))
    page.go_back()
    expect(page.locator("#neuron-title")).to_have_text("AVAL")
    watched.expected = ("404",)
    page.get_by_role("search").get_by_label("Neuron").fill("nobody")
    page.get_by_role("button", name="Look up").click()
    expect(page.locator("#lookup .said")).to_contain_text("nobody")


def test_neighbours_are_walked_to_by_keyboard_alone(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans/neurons/53").page
    expect(page.locator('[data-at="in-1"]')).to_be_visible()
    expect(page.locator('[data-at="out-1"]')).to_be_visible()
    page.get_by_role("search").get_by_label("Neuron").focus()
    for _ in range(6):  # the button, the choice of how many, then the drawing
        page.keyboard.press("Tab")
        if page.locator(".node:focus").count():
            break
    expect(page.locator('[data-at="out-0"]')).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator('[data-at="out-1"]')).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator('[data-at="in-1"]')).to_be_focused()
    there = page.locator('[data-at="in-1"]').get_attribute("data-id")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/neurons/{there}$"))
    expect(page.locator('.node[tabindex="0"]')).to_be_focused()


def test_tabs_are_moved_between_by_arrows(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    page.get_by_role("tab", name="Activity").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Neurons")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel")).to_have_count(1)


def test_history_is_named_compared_and_gone_back_in(visit: Visit, url: str, root: Path) -> None:
    page = visit(f"{url}/#/celegans/history").page
    before = get(page, f"{url}/v1/engrams/celegans")["tick"]
    page.get_by_label("Name", exact=True).fill("before")
    page.get_by_role("button", name="Snapshot", exact=True).click()
    expect(page.get_by_role("button", name="Restore snapshot before")).to_be_visible()
    page.get_by_role("tab", name="Activity").click()
    stimulate(page, "PLML, PLMR", "4", "50")
    run(page, 50)
    expect(page.locator("#figure-tick")).to_have_text(f"{before + 50:,}")
    page.get_by_role("tab", name="History").click()
    page.get_by_label("Name", exact=True).fill("touched")
    page.get_by_role("button", name="Snapshot", exact=True).click()
    expect(page.get_by_role("button", name="Restore snapshot touched")).to_be_visible()
    commits = {one["name"]: one["commit"] for one in get(page, f"{url}/v1/engrams/celegans/snapshots")["snapshots"]}
    for name in ("touched", "before"):  # the order does not matter
        page.get_by_label(f"Pick commit {commits[name]} for a diff").check()
    page.get_by_role("button", name="Diff", exact=True).click()
    with engramdb.open(root / "celegans.engram") as engram:
        changed = engramdb.diff(engram, "before", "touched").by_layer["cells"].changed
    expect(page.locator("#diff-changed")).to_have_text(f"{changed:,}")
    page.get_by_role("button", name="Restore snapshot before").click()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.locator("#figure-tick")).to_have_text(f"{before:,}")
    page.get_by_label("Name", exact=True).fill("what-if")
    page.get_by_role("button", name="Branch", exact=True).click()
    page.get_by_role("button", name="Check out branch what-if").click()
    page.get_by_role("button", name="Check out", exact=True).click()
    expect(page.locator("#where")).to_contain_text("branch what-if")


def test_any_commit_can_be_gone_back_to_and_branched_from(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    expect(page.locator("#connection-text")).to_have_text("live")
    run(page, 30)
    expect(page.locator("#run .said")).to_contain_text("up to tick")
    after = get(page, f"{url}/v1/engrams/celegans")["tick"]
    page.get_by_role("tab", name="History").click()
    page.get_by_label("Name", exact=True).fill("kept")
    page.get_by_role("button", name="Snapshot", exact=True).click()
    expect(page.get_by_role("button", name="Restore snapshot kept")).to_be_visible()
    commits = get(page, f"{url}/v1/engrams/celegans/log")["commits"]
    left = next(one for one in commits if one["tick"] == after)
    first = min(commits, key=lambda one: int(one["id"]))
    for one in (first, left):  # the second lies on the line that the first restore abandoned
        page.get_by_role("button", name=f"Restore commit {one['id']}", exact=True).click()
        page.get_by_role("button", name="Restore", exact=True).click()
        expect(page.locator("#figure-tick")).to_have_text(f"{one['tick']:,}")
        expect(page.locator("#snapshot .said")).to_contain_text(f"commit {one['id']}: done")
    page.get_by_role("button", name=f"Branch at commit {first['id']}", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name of the branch").fill("from-the-first")
    dialog.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("button", name="Check out branch from-the-first")).to_be_visible()
    branches = get(page, f"{url}/v1/engrams/celegans/branches")["branches"]
    made = next(one for one in branches if one["name"] == "from-the-first")
    assert str(made["commit"]) == str(first["id"])


def test_a_long_run_is_a_job_and_can_be_cancelled(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    expect(page.locator("#connection-text")).to_have_text("live")
    run(page, 1_000_000, "50")
    expect(page.locator("#run .said")).to_contain_text("It runs as a job")
    expect(page.locator("#jobs progress")).to_be_visible()
    page.get_by_role("button", name="Cancel ticks of celegans").click()
    expect(page.locator("#jobs li").first).to_contain_text("cancelled")
    expect(page.locator("#where")).to_contain_text("idle")
    tick = get(page, f"{url}/v1/engrams/celegans")["tick"]
    expect(page.locator("#figure-tick")).to_have_text(f"{tick:,}")


def test_what_is_wrong_in_a_form_is_said_beside_the_field(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    expect(page.locator("#connection-text")).to_have_text("live")
    run(page, 10, "soon")
    expect(page.locator("#run .said")).to_have_text("“soon” is no number.")
    expect(page.get_by_label("Pace")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Pace")).to_be_focused()


def test_the_page_follows_the_colours_of_the_reader(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    brightness = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness.append([int(part) for part in re.findall(r"\d+", paper)])
    assert min(brightness[0]) > 230
    assert max(brightness[1]) < 40


def test_a_narrow_page_needs_no_scrolling_sideways(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans", viewport={"width": 400, "height": 800}).page
    for view in ("Activity", "Neurons", "History"):
        page.get_by_role("tab", name=view).click()
        expect(page.get_by_role("tabpanel")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, view


def test_a_folder_without_engrams_says_how_to_make_one(visit: Visit, tmp_path: Path) -> None:
    with served(tmp_path) as client:
        page = visit(f"{client.base_url}").page
        expect(page.locator("#nothing")).to_contain_text("engramdb create")
        expect(page.locator("#engrams")).to_have_text("none in this folder")
        expect(page.locator("#connection-text")).to_have_text("connected")
        page.context.close()


def test_an_engram_that_is_not_there_is_said_with_a_way_back(visit: Visit, url: str) -> None:
    watched = visit(f"{url}/#/lost/history")
    watched.expected = ("404",)
    page = watched.page
    expect(page.locator("#nothing")).to_contain_text("no engram called “lost”")
    expect(page.locator("#connection-text")).to_have_text("connected")
    page.get_by_role("link", name="Back to those").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("celegans")
    expect(page.locator("#connection-text")).to_have_text("live")


def test_an_engram_that_is_being_opened_is_said_to_be(visit: Visit, url: str) -> None:
    watched = visit(f"{url}/#/lost")
    watched.expected = ("404",)
    page = watched.page
    held: list[Any] = []
    said: list[str] = []

    def hold(route: Any) -> None:
        if said:
            route.continue_()
        else:
            held.append(route)

    page.route("**/v1/engrams/celegans", hold)
    page.goto(f"{url}/?again#/celegans")
    expect(page.locator("#nothing")).to_contain_text("Opening celegans")
    expect(page.locator("#connection-text")).to_have_text("opening")
    said.append("opening")
    for route in held:
        route.continue_()
    expect(page.locator("#figure-neurons")).to_have_text("446")
    expect(page.locator("#nothing")).to_be_hidden()


def test_the_engram_comes_before_the_lists_and_its_figures_in_even_rows(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans", viewport={"width": 1024, "height": 768}).page
    expect(page.locator("#figure-neurons")).to_have_text("446")
    tops = page.locator("#figures > div").evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
    assert len(set(tops[1:])) == 1
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator("#main").bounding_box()["y"] < page.locator(".side").bounding_box()["y"]


def test_a_long_error_of_a_job_leaves_room_for_the_others(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    page.evaluate(
        """async (text) => {
          const { Jobs } = await import("/console/jobs.js");
          const place = Object.assign(document.createElement("ul"), { id: "one", className: "jobs" });
          document.querySelector(".side").append(place);
          const job = { id: "1", kind: "export", engram: "celegans", state: "failed", created: "2026-01-01T00:00:00Z",
                        error: { detail: text } };
          await new Jobs({ get: async () => ({ jobs: [job] }) }, place, () => {}).refresh();
        }""",
        "nothing can be written there; " * 40,
    )
    one = page.locator("#one li")
    assert one.bounding_box()["height"] < 160
    one.locator("summary").click()
    assert one.bounding_box()["height"] > 300


def test_labels_are_shown_as_text_and_never_run(visit: Visit, tmp_path: Path) -> None:
    hostile = '<img src=x onerror="window.harmed=1">'
    (tmp_path / "edges.csv").write_text("pre,post,weight\n" + f"'{hostile}',b,1\n".replace('"', '""').replace("'", '"'))
    (tmp_path / "root").mkdir()
    engramdb.import_edges(tmp_path / "edges.csv", tmp_path / "root" / "strange.engram")
    with served(tmp_path / "root") as client:
        page = visit(f"{client.base_url}#/strange/neurons").page
        page.get_by_role("search").get_by_label("Neuron").fill("b")
        page.get_by_role("button", name="Look up").click()
        expect(page.locator('[data-at="in-0"]')).to_have_attribute("aria-label", re.compile(re.escape(hostile)))
        page.locator('[data-at="in-0"]').click()
        expect(page.locator("#neuron-title")).to_have_text(hostile)
        assert page.evaluate("window.harmed") is None
        page.context.close()


def test_a_service_with_keys_asks_for_one(visit: Visit, worm: Path, tmp_path: Path) -> None:
    shutil.copytree(worm, tmp_path / "root" / "celegans.engram")
    key = KeyFile(tmp_path / "root").add("reader", "read")
    with served(tmp_path / "root") as client:
        watched = visit(str(client.base_url))
        watched.expected = ("401", "403")
        page = watched.page
        dialog = page.get_by_role("dialog", name="This service wants a key")
        expect(dialog).to_be_visible()
        dialog.get_by_label("Key").fill("edb_wrong")
        page.keyboard.press("Enter")
        expect(dialog.locator("#key-why")).not_to_contain_text("nobody in without")
        expect(dialog).to_be_visible()
        dialog.get_by_label("Key").fill(key)
        dialog.get_by_role("button", name="Use it").click()
        expect(page.locator("#figure-neurons")).to_have_text("446")
        page.reload()
        expect(page.locator("#figure-neurons")).to_have_text("446")
        run(page, 10)
        expect(page.locator("#run .said")).to_contain_text("scope")
        page.get_by_role("button", name="Forget the key").click()
        expect(dialog).to_be_visible()
        page.context.close()


def test_without_a_key_the_page_says_so_and_asks_when_one_is_there(visit: Visit, worm: Path, tmp_path: Path) -> None:
    shutil.copytree(worm, tmp_path / "root" / "celegans.engram")
    key = KeyFile(tmp_path / "root").add("reader", "read")
    with served(tmp_path / "root") as client:
        watched = visit(f"{client.base_url}#/celegans")
        watched.expected = ("401",)
        page = watched.page
        dialog = page.get_by_role("dialog", name="This service wants a key")
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.locator("#nothing")).to_contain_text("none was given")
        expect(page.locator("#connection-text")).to_have_text("no key")
        for place in ("#engrams", "#jobs"):
            expect(page.locator(place)).to_have_text("a key is needed")
        expect(dialog).to_be_hidden()
        page.get_by_role("button", name="Enter a key").click()
        dialog.get_by_label("Key").fill(key)
        dialog.get_by_role("button", name="Use it").click()
        expect(page.locator("#figure-neurons")).to_have_text("446")
        expect(page.get_by_role("link", name="celegans")).to_be_visible()
        page.context.close()


@pytest.mark.slow  # two services in processes of their own
def test_a_service_that_is_gone_is_said_and_found_again(visit: Visit, worm: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(worm, root / "celegans.engram")
    with Process(root) as before:
        watched = visit(f"{before.url}/")
        watched.expected = ("ERR_", "Failed to load")
        page = watched.page
        expect(page.locator("#figure-neurons")).to_have_text("446")
        before.terminate()
        expect(page.locator("#disconnected")).to_be_visible()
        expect(page.locator("#figure-neurons")).to_have_text("446")
        with Process(root, "--port", before.url.rpartition(":")[2]):
            expect(page.locator("#disconnected")).to_be_hidden()
            expect(page.locator("#connection-text")).to_have_text("live")


def test_lines_of_a_history_meet_where_they_forked(visit: Visit, url: str) -> None:
    page = visit(f"{url}/#/celegans").page
    commits = [{"id": "5", "parents": ["2"]}, {"id": "4", "parents": ["3"]}, {"id": "3", "parents": ["2"]},
               {"id": "2", "parents": ["1"]}, {"id": "1", "parents": []}]  # fmt: skip
    placed = page.evaluate("async (commits) => (await import('/console/lanes.js')).lanes(commits)", commits)
    assert [row["lane"] for row in placed] == [0, 1, 1, 0, 0]
    assert [row["into"] for row in placed] == [[], [], [1], [0, 1], [0]]
    assert [row["past"] for row in placed] == [[], [0], [0], [], []]
    assert [row["on"] for row in placed] == [True, True, True, True, False]
