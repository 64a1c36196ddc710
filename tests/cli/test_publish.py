"""Publishing on the command line, and every verb that reads, given a URL."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import engramdb
from engramdb.cli import main
from tests.cli.terminal import EDGES, Cli, refused
from tests.objectserver import KEY, SECRET, new_bucket, shared_server


@pytest.fixture(scope="module")
def worm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engram with labels, a snapshot ``first`` and a run after it. No test changes it."""
    folder = tmp_path_factory.mktemp("worm")
    (folder / "worm.csv").write_text(EDGES)
    path = folder / "worm.engram"
    for words in (
        ("import", "edges", folder / "worm.csv", path),
        ("snapshot", path, "first"),
        ("run", path, "--ticks", 5, "--stimulate", "AVAL:30"),
    ):
        assert main([str(word) for word in words]) == 0
    return path


@pytest.fixture(scope="module")
def published(worm: Path) -> str:
    """The URL of that engram."""
    url = (worm.parent / "there" / worm.name).as_uri()
    assert main(["publish", str(worm), url]) == 0
    return url


def test_publish_and_open_say_what_there_is(cli: Cli, worm: Path, tmp_path: Path) -> None:
    url = (tmp_path / "there").as_uri()
    said = cli("publish", worm, url, "--json")
    assert (said.code, said.err) == (0, "")
    done = said.document
    assert (done["url"], done["changed"], done["uploaded"], done["journaled"]) == (url, True, done["packs"], 0)
    assert "it was there already" in cli("publish", worm, url).out
    there = cli("open", url, "--json").document
    assert (there["url"], there["commit"], there["tick"], there["records"]) == (url, done["commit"], 5, 3)
    assert (there["labelled"], there["snapshots"], there["packs"]) == (True, ["first"], done["packs"])
    assert [layer["declared"] for layer in there["layers"]] == [3]
    text = cli("open", url).out
    assert url in text
    assert "3 neurons" in text


def test_environment_variables_say_where_and_who(cli: Cli, worm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = shared_server()
    for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    url = f"s3://{new_bucket(endpoint)}/worm.engram"
    assert cli("publish", worm, url).code == 0
    said = cli("query", url, "neuron", "AVAL", "--json")
    assert said.document["neurons"] == cli("query", worm, "neuron", "AVAL", "--json").document["neurons"]
    assert said.document["path"] == url
    assert cli("verify", url).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("query", "{}", "neuron", "AVAL", "AVBL"),
        ("query", "{}", "neuron", "AVAL", "--at", "first"),
        ("query", "{}", "synapses", "AVAL", "--direction", "in"),
        ("snapshots", "{}"),
        ("branches", "{}"),
        ("diff", "{}", "first", "main"),
        ("log", "{}"),
        ("log", "{}", "--all"),
        ("inspect", "{}"),
        ("inspect", "{}", "--at", "first"),
        ("verify", "{}"),
    ],
)
def test_what_reads_an_engram_reads_a_published_one(cli: Cli, worm: Path, published: str, words: Any) -> None:
    local, remote = (cli(*(word.format(place) for word in words), "--json").document for place in (worm, published))
    assert (local.pop("path", None), remote.pop("path", None)) in ((str(worm), published), (None, None))
    if words[0] == "inspect":
        one, other = local.pop("storage"), remote.pop("storage")
        assert (one["packs"], one["leaves"]) == (other["packs"], other["leaves"])
        assert (other["journal"], other["total"]) == (0, other["packs"] + other["catalog"])
    assert local == remote
    assert cli(*(word.format(published) for word in words)).code == 0  # as text


def test_download_fetches_an_engram_to_work_with(cli: Cli, published: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.engram"
    done = cli("open", published, "--download", copy, "--json").document
    assert (done["path"], done["tick"]) == (str(copy), 5)
    assert cli("verify", copy).code == 0
    assert cli("run", copy, "--ticks", 5).code == 0
    assert "fetched" in cli("open", published, "--at", "first", "--download", tmp_path / "then.engram").out
    assert cli("open", published, "--at", "first", "--json").document["tick"] == 0
    assert cli("log", tmp_path / "then.engram", "--json").document["commits"][0]["snapshots"] == ["first"]


def test_publish_notes_what_is_only_in_the_journal(cli: Cli, worm: Path, tmp_path: Path) -> None:
    own = shutil.copytree(worm, tmp_path / "own.engram")
    with engramdb.open(own, "r+") as engram:
        engram.stimulate(["AVAL"], amplitude=3.0)
        said = cli("publish", own, (tmp_path / "there").as_uri())
    assert "1 command since the last commit is not published" in said.out


@pytest.mark.parametrize(
    ("words", "code", "tells"),
    [
        (("run", "{url}", "--ticks", "5"), 2, ("can only be read", "--download")),
        (("snapshot", "{url}", "mine"), 2, ("can only be read",)),
        (("restore", "{url}", "first"), 2, ("can only be read",)),
        (("gc", "{url}", "--dry-run"), 2, ("where it is written",)),
        (("open", "{path}"), 2, ("is no URL", "inspect")),
        (("open", "file:///no/such/place"), 1, ("no engram.json",)),
        (("open", "{url}", "--download", "{path}"), 1, ("exists already",)),
        (("publish", "{path}", "elsewhere"), 2, ("is no URL", "s3://")),
        (("publish", "{url}", "{url}-2"), 2, ("published already",)),
        (("publish", "{path}", "{url}", "--at", "never"), 1, ("never",)),
        (("inspect", "ftp://host/x"), 2, ("s3://",)),
        (("verify", "s3://"), 2, ("s3://BUCKET/PREFIX",)),
    ],
)
def test_refusals(cli: Cli, worm: Path, published: str, words: Any, code: int, tells: Any) -> None:
    refused(cli(*(word.format(url=published, path=worm) for word in words)), code, *tells)
