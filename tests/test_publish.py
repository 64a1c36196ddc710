"""An engram in an object store: what is published, who sees it when, and what it costs to read it there."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engramdb
from engramdb.errors import (
    AlreadyExists,
    CatalogDamaged,
    Conflict,
    Damaged,
    EngramError,
    FormatTooNew,
    InvalidInput,
    LeafDamaged,
    NotAnEngram,
    NotFound,
    ReadOnly,
)
from engramdb.store import Store
from engramdb.store.remote.objects import Objects
from engramdb.url import UrlPath, located
from tests.objectserver import Proxy, new_bucket, options, proxy_before, shared_server, web_server
from tests.published import asked, content, flip, goes_on, large, neurons, packs_of, small, worm


@pytest.fixture(scope="module")
def worm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worm(tmp_path_factory.mktemp("worm"))


@pytest.fixture(scope="module")
def large_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large(tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def engram(small_path: Path, tmp_path: Path) -> Path:
    """A small engram of the test's own."""
    return shutil.copytree(small_path, tmp_path / "own.engram")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxy_before(shared_server()) as proxy:
        yield proxy


@pytest.fixture
def url() -> str:
    return f"s3://{new_bucket(shared_server())}/so me/wh%41re ä/brain.engram"


def there(url: str) -> dict[str, int]:
    """Names and sizes of all objects under ``url``."""
    objects = Objects(url, options(shared_server()))
    found = {name: listed.nbytes for folder in ("packs", "catalogs", "manifests") for name, listed in
             objects.listed(folder).items()}  # fmt: skip
    objects.close()
    return found


def replace(url: str, name: str, change: Any) -> None:
    """Put ``change(what it is)`` in the place of an object."""
    objects = Objects(url, options(shared_server()))
    objects.put(name, change(objects.get(name).data))
    objects.close()


@pytest.mark.parametrize(("which", "kind"), [("worm_path", "s3"), ("large_path", "s3"), ("worm_path", "file")])
def test_a_published_engram_reads_as_the_one_it_was_made_of(
    which: str, kind: str, url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(which)
    target, how = (url, options(shared_server())) if kind == "s3" else ((tmp_path / "there").as_uri(), None)
    done = engramdb.publish(path, target, storage_options=how)
    assert (done.uploaded, done.uploaded_bytes) == (done.packs, done.pack_bytes) == (
        len(packs_of(path)), sum(packs_of(path).values())
    )  # fmt: skip
    for at in (None, *(["rested", "touched"] if which == "worm_path" else ["born", "before"])):
        assert content(target, how, at) == content(path, at=at)
    ids: Any = ["PLML", "AVAL"] if which == "worm_path" else [0, 70_000]
    with engramdb.open(path) as one, engramdb.open(target, storage_options=how) as other:
        assert asked(one, ids) == asked(other, ids)
        assert (len(one), one.spec, one.log()) == (len(other), other.spec, other.log())
        assert other.verify().ok


def test_a_plain_web_server_will_do_to_read_from(engram: Path, tmp_path: Path) -> None:
    engramdb.publish(engram, (tmp_path / "there/a b%41").as_uri())
    with web_server(tmp_path / "there") as endpoint:
        assert content(f"{endpoint}/a%20b%2541") == content(engram)
        assert engramdb.verify(f"{endpoint}/a%20b%2541").ok
        with pytest.raises(NotAnEngram):
            engramdb.open(f"{endpoint}/elsewhere")


def test_a_cold_lookup_costs_the_document_the_catalog_and_the_records_it_needs(
    large_path: Path, url: str, proxy: Proxy
) -> None:
    engramdb.publish(large_path, url, storage_options=options(shared_server()))
    with engramdb.open(url, storage_options=options(proxy.endpoint)) as engram:
        engram.neuron(70_000)
    kinds = [request.path.rsplit("brain.engram/")[1].split("/")[0] for request in proxy.requests]
    # of packs: the charged neurons of the commit, and the leaf
    assert kinds == ["engram.json", "catalogs", "packs", "packs"]
    assert {request.method for request in proxy.requests} == {"GET"}
    assert sum(request.nbytes for request in proxy.requests) < sum(packs_of(large_path).values()) / 4
    count = len(proxy.requests)
    with engramdb.open(url, storage_options=options(proxy.endpoint)) as engram:
        first = engram.synapses(70_000)
        engram.neuron(70_001)
        assert len(engram.synapses(70_000)) == len(first)
    assert len(proxy.requests) == 2 * count  # the neighbour, and the second question, cost nothing


def test_neighbouring_leaves_come_with_one_request(large_path: Path, url: str, proxy: Proxy) -> None:
    engramdb.publish(large_path, url, storage_options=options(shared_server()))
    store = Store.open(located(url, options(proxy.endpoint)), at="born")
    leaves = list(store.directory.leaves())
    proxy.requests.clear()
    assert sum(len(records) for records in store.scan()) == 100_000
    store.close()
    assert len(leaves) > 10
    assert len(proxy.requests) < len(leaves) * 2 / 3
    assert sum(request.nbytes for request in proxy.requests) < 1.2 * sum(leaf.length for leaf in leaves)


def test_publishing_again_uploads_only_what_is_new(engram: Path, url: str, proxy: Proxy) -> None:
    how = options(proxy.endpoint)
    engramdb.publish(engram, url, storage_options=how)
    before = packs_of(engram)
    goes_on(engram, 2)
    new = packs_of(engram).keys() - before
    proxy.requests.clear()
    done = engramdb.publish(engram, url, storage_options=how)
    put = [request.path.rsplit("/")[-1] for request in proxy.requests if request.method in ("PUT", "POST")]
    assert {name for name in put if name.endswith(".pack")} == new
    assert len(put) == len(new) + 3  # a catalog, a manifest, the document
    assert (done.uploaded, done.changed) == (len(new), True)
    assert content(url, how) == content(engram)


def test_publishing_the_same_again_changes_nothing(engram: Path, url: str, proxy: Proxy) -> None:
    how = options(proxy.endpoint)
    first = engramdb.publish(engram, url, storage_options=how)
    proxy.requests.clear()
    again = engramdb.publish(engram, url, storage_options=how)
    assert {request.method for request in proxy.requests} == {"GET"}
    assert (first.changed, again.changed, again.uploaded, again.commit) == (True, False, 0, first.commit)


def test_what_is_in_the_journal_is_not_published_and_that_is_said(engram: Path, url: str) -> None:
    how = options(shared_server())
    committed = content(engram)
    writer = engramdb.open(engram, "r+")
    writer.stimulate([1], amplitude=30.0)
    writer.run(2)
    done = engramdb.publish(engram, url, storage_options=how)
    assert done.journaled == 2
    assert content(url, how) == committed
    writer.close()
    assert engramdb.publish(engram, url, storage_options=how).journaled == 0
    assert content(url, how) == content(engram)


def test_publishing_beside_a_writer_gives_whole_states(engram: Path, url: str) -> None:
    how = options(shared_server())
    code = (
        "import sys, pathlib, tests.published as p\n"
        "while not pathlib.Path(sys.argv[2]).exists():\n    p.goes_on(pathlib.Path(sys.argv[1]))\n"
    )
    stop = engram.parent / "stop"
    seen = []
    with subprocess.Popen([sys.executable, "-c", code, str(engram), str(stop)]) as writer:
        try:
            while len(seen) < 2 and writer.poll() is None:
                commit = engramdb.publish(engram, url, storage_options=how).commit
                if commit not in seen:
                    seen.append(commit)
                    assert engramdb.verify(located(url, how)).ok
        finally:
            stop.touch()
    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert len(seen) == 2


def test_at_publishes_a_commit_and_its_past_alone(worm_path: Path, url: str, tmp_path: Path) -> None:
    how = options(shared_server())
    everything = engramdb.publish(worm_path, url + "-all", storage_options=how)
    done = engramdb.publish(worm_path, url, at="touched", storage_options=how)
    with engramdb.open(worm_path) as engram:
        (commit,) = (snapshot.commit for snapshot in engram.snapshots() if snapshot.name == "touched")
    assert done.packs < everything.packs
    assert neurons(url, how) == neurons(worm_path, at="touched")
    with engramdb.open(url, storage_options=how) as engram:
        assert engram.log()[0].number == done.commit == commit
        assert [snapshot.name for snapshot in engram.snapshots()] == ["rested", "touched"]
        assert engram.verify().ok
    with pytest.raises(NotFound, match='no snapshot "never"'):
        engramdb.publish(worm_path, url, at="never", storage_options=how)
    # what is published without its future goes on by itself
    engramdb.download(url, tmp_path / "touched.engram", storage_options=how)
    goes_on(tmp_path / "touched.engram")
    assert engramdb.verify(tmp_path / "touched.engram").ok


# readers while it changes


def test_who_has_the_old_state_open_reads_on(engram: Path, url: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)
    before = content(engram)
    pin = Store.open(engram)
    with Store.open(located(url, how)) as reader:
        goes_on(engram, 2)
        engramdb.publish(engram, url, storage_options=how)
        seen = [records.weight.tobytes() for records in reader.scan()]
        assert reader.commit == before[0]
    assert seen == [records.weight.tobytes() for records in pin.scan()]
    pin.close()
    assert content(url, how) == content(engram) != before


def test_what_two_publications_ago_was_needed_is_removed(engram: Path, url: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)
    first = there(url)
    engramdb.publish(engram, url, at="before", storage_options=how)
    second = there(url)
    assert first.keys() < second.keys()  # who reads the first is not cut off
    with Store.open(located(url, how)) as newer:
        done = engramdb.publish(engram, url, at="born", storage_options=how)
        third = there(url)
        gone = second.keys() - third.keys()
        assert len(gone) == done.removed
        assert {name.split("/")[0] for name in gone} == {"packs", "catalogs", "manifests"}
        assert gone <= first.keys()
        list(newer.scan())


def test_who_slept_through_two_publications_is_told_to_open_again(engram: Path, url: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)
    with Store.open(located(url, how)) as sleeper:
        for at in ("before", "born"):
            engramdb.publish(engram, url, at=at, storage_options=how)
        with pytest.raises(EngramError, match=r"published anew since it was opened.*open it again") as told:
            list(sleeper.scan())
    assert not isinstance(told.value, Damaged)


def test_a_catalog_that_is_replaced_while_a_reader_comes_for_it_is_the_next_one(
    engram: Path, url: str, proxy: Proxy
) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)

    def twice_published(number: int, method: str, path: str) -> None:
        if "/catalogs/" in path:
            proxy.plan = lambda number, method, path: None
            for _ in range(2):
                goes_on(engram)
                engramdb.publish(engram, url, storage_options=how)

    proxy.plan = twice_published
    assert content(url, options(proxy.endpoint)) == content(engram)


# several at once, and kills


@pytest.mark.parametrize("other", ["newer", "older", "same"])
def test_of_two_publications_at_once_the_older_one_loses(engram: Path, url: str, proxy: Proxy, other: str) -> None:
    """While one is about to move the document, another process does."""
    how = options(shared_server())
    engramdb.publish(engram, url, at="born", storage_options=how)
    twin = shutil.copytree(engram, engram.with_name("twin.engram"))
    if other == "newer":
        goes_on(twin)

    def interfere(number: int, method: str, path: str) -> None:
        if (method, path.rsplit("/")[-1]) == ("PUT", "engram.json"):
            proxy.plan = lambda number, method, path: None
            engramdb.publish(twin, url, at="before" if other == "older" else None, storage_options=how)

    proxy.plan = interfere
    if other == "newer":
        with pytest.raises(Conflict, match=r"another process has published commit .* nothing is changed"):
            engramdb.publish(engram, url, storage_options=options(proxy.endpoint))
        assert content(url, how) == content(twin)
    else:
        engramdb.publish(engram, url, storage_options=options(proxy.endpoint))
        assert content(url, how) == content(engram)
    assert engramdb.verify(located(url, how)).ok


@pytest.mark.parametrize("at_first", [True, False])
def test_after_a_kill_the_old_state_is_there_and_the_next_one_finishes(
    engram: Path, url: str, proxy: Proxy, at_first: bool
) -> None:
    how = options(shared_server())
    if not at_first:
        engramdb.publish(engram, url, at="born", storage_options=how)
        goes_on(engram, 3)
    packs = len(packs_of(engram)) - len([name for name in (there(url) if not at_first else ()) if "packs" in name])
    uploads = []

    def hold_the_last_pack(number: int, method: str, path: str) -> str | None:
        if method == "PUT" and path.endswith(".pack"):
            uploads.append(path)
        return "hold" if len(uploads) == packs else None

    proxy.plan = hold_the_last_pack
    environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_REGION": "x",
                   "AWS_SECRET_ACCESS_KEY": "b", "TMPDIR": str(engram.parent)}  # fmt: skip
    command = [sys.executable, "-m", "engramdb", "publish", str(engram), url]
    with subprocess.Popen(command, env=environment) as publisher:
        deadline = time.monotonic() + 60
        while len(uploads) < packs and time.monotonic() < deadline:
            time.sleep(0.01)
        publisher.kill()
    assert len(uploads) == packs > 1
    if at_first:
        with pytest.raises(NotAnEngram, match=r"no engram\.json"):
            engramdb.open(url, storage_options=how)
    else:
        assert neurons(url, how) == neurons(engram, at="born")
    present = {name.removeprefix("packs/") for name in there(url) if name.startswith("packs/")}
    done = engramdb.publish(engram, url, storage_options=how)
    assert done.uploaded == len(packs_of(engram).keys() - present) >= 1
    assert content(url, how) == content(engram)
    assert engramdb.verify(located(url, how)).ok


# damage


def test_a_damaged_byte_in_a_pack_is_noticed_named_and_healed_by_publishing_all(engram: Path, url: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)
    with Store.open(engram) as store:
        leaf = next(store.directory.leaves())
        pack = f"packs/{Path(store._leaves.where(leaf).split(' at ')[0]).name}"
    replace(url, pack, lambda data: flip(data, leaf.offset + leaf.length - 5))
    with (
        engramdb.open(url, storage_options=how) as reader,
        pytest.raises(LeafDamaged, match=rf"{pack} at {leaf.offset}: .*checksum"),
    ):
        reader.synapses(0)
    (problem,) = engramdb.verify(located(url, how)).problems
    assert problem.where == f"{pack} at {leaf.offset}"
    with pytest.raises(Damaged, match=r"is damaged: publish .* --all\)"):
        engramdb.download(url, engram.parent / "fetched.engram", storage_options=how)
    assert engramdb.publish(engram, url, storage_options=how).uploaded == 0  # it has the right name and size
    engramdb.publish(engram, url, everything=True, storage_options=how)
    assert engramdb.verify(located(url, how)).ok


@pytest.mark.parametrize("change", ["cut", "gone"])
def test_a_pack_that_is_cut_or_gone_is_damage_until_it_is_published_again(engram: Path, url: str, change: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)
    pack = max((name for name in there(url) if name.startswith("packs/")), key=there(url).__getitem__)
    if change == "cut":
        replace(url, pack, lambda data: data[:1000])
    else:
        objects = Objects(url, how)
        objects.delete([pack])
        objects.close()
    with engramdb.open(url, at="born", storage_options=how) as reader:
        with pytest.raises(LeafDamaged, match=f"{pack} at .*: {'the file is missing' if change == 'gone' else ''}"):
            reader.synapses(0)
        problems = [str(problem) for problem in reader.verify().problems]
    assert any("missing" in text if change == "gone" else "ends after 1000 of its" in text for text in problems)
    with pytest.raises(Damaged, match="publish the engram again with everything"):
        engramdb.download(url, engram.parent / "fetched.engram", storage_options=how)
    assert not list(engram.parent.glob("*fetched*"))
    assert engramdb.publish(engram, url, storage_options=how).uploaded == 1
    assert content(url, how) == content(engram)


def test_a_damaged_document_catalog_or_manifest_is_noticed(engram: Path, url: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, storage_options=how)
    catalog, manifest = (next(n for n in there(url) if n.startswith(kind)) for kind in ("catalogs", "manifests"))
    replace(url, manifest, lambda data: flip(data, 40))
    with pytest.raises(CatalogDamaged, match=manifest):
        engramdb.download(url, engram.parent / "fetched.engram", storage_options=how)
    replace(url, catalog, lambda data: flip(data, len(data) // 2))
    with pytest.raises(CatalogDamaged, match=catalog):
        engramdb.open(url, storage_options=how)
    replace(url, "engram.json", lambda data: data.replace(b'"commit": ', b'"commit": 1'))
    with pytest.raises(CatalogDamaged, match=r"engram\.json is damaged"):
        engramdb.open(url, storage_options=how)
    engramdb.publish(engram, url, everything=True, storage_options=how)
    assert content(url, how) == content(engram)
    engramdb.download(url, engram.parent / "fetched.engram", storage_options=how)
    replace(url, "engram.json", lambda data: data.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(FormatTooNew, match="format 2"):
        engramdb.open(url, storage_options=how)


# fetching


def test_a_fetched_engram_goes_on_as_the_original_does(worm_path: Path, url: str, tmp_path: Path) -> None:
    how = options(shared_server())
    original = shutil.copytree(worm_path, tmp_path / "original.engram")
    engramdb.publish(original, url, storage_options=how)
    done = engramdb.download(url, tmp_path / "copy.engram", storage_options=how)
    assert (done.packs, done.pack_bytes) == (len(packs_of(original)), sum(packs_of(original).values()))
    assert packs_of(tmp_path / "copy.engram") == packs_of(original)
    spikes = []
    for path in (original, tmp_path / "copy.engram"):
        assert engramdb.verify(path).ok
        with engramdb.open(path, "r+") as engram:
            engram.stimulate(["PLML", "ALML"], amplitude=4.0, duration=50)
            spikes.append(engram.run(100, record=("spikes",)).spikes)
    assert len(spikes[0][0]) > 0
    np.testing.assert_array_equal(spikes[0], spikes[1])


def test_an_engram_is_fetched_as_of_a_snapshot(worm_path: Path, url: str, tmp_path: Path) -> None:
    how = options(shared_server())
    engramdb.publish(worm_path, url, storage_options=how)
    done = engramdb.download(url, tmp_path / "then.engram", at="rested", storage_options=how)
    assert neurons(tmp_path / "then.engram") == neurons(worm_path, at="rested")
    assert (done.commit, done.tick) == (content(worm_path, at="rested")[0].number, 0)
    assert engramdb.verify(tmp_path / "then.engram").ok
    with pytest.raises(NotFound, match="never"):
        engramdb.download(url, tmp_path / "never.engram", at="never", storage_options=how)
    assert [file.name for file in tmp_path.iterdir()] == ["then.engram"]


def test_nothing_is_fetched_to_where_something_is(worm_path: Path, url: str, tmp_path: Path) -> None:
    how = options(shared_server())
    engramdb.publish(worm_path, url, storage_options=how)
    (tmp_path / "taken").mkdir()
    with pytest.raises(AlreadyExists, match="taken"):
        engramdb.download(url, tmp_path / "taken", storage_options=how)
    with pytest.raises(NotFound, match="is not a folder"):
        engramdb.download(url, tmp_path / "no" / "where", storage_options=how)
    assert list((tmp_path / "taken").iterdir()) == []


# what is refused, and what is left


def test_a_published_engram_cannot_be_written_to(engram: Path, tmp_path: Path) -> None:
    target = (tmp_path / "there").as_uri()
    engramdb.publish(engram, target)
    with pytest.raises(ReadOnly, match=r"can only be read: fetch a copy.*--download"):
        engramdb.open(target, "r+")
    with engramdb.open(target) as reader, pytest.raises(ReadOnly):
        reader.snapshot("mine")


def test_another_engram_is_not_published_over_one(engram: Path, worm_path: Path, tmp_path: Path) -> None:
    target = (tmp_path / "there").as_uri()
    engramdb.publish(engram, target)
    with pytest.raises(AlreadyExists, match="holds another engram"):
        engramdb.publish(worm_path, target)
    assert content(target) == content(engram)


def test_what_others_keep_under_the_same_url_is_left_alone(engram: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    for name in ("packs/notes.txt", "catalogs/mine", "manifests/x.json", "other/packs"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("mine")
        os.utime(target / name, (0, 0))
    for at in ("before", "born", None):
        engramdb.publish(engram, target.as_uri(), at=at)
    assert [(target / name).read_text() for name in ("packs/notes.txt", "catalogs/mine", "manifests/x.json")] == (
        ["mine"] * 3
    )


def test_what_a_killed_publication_left_is_removed_after_a_day(engram: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    engramdb.publish(engram, target.as_uri())
    left = [target / "packs" / ("0" * 26 + ".pack"), target / "catalogs" / ("0" * 64 + ".sqlite.gz")]
    for file in left:
        file.write_bytes(b"x")
    goes_on(engram)
    assert engramdb.publish(engram, target.as_uri()).removed == 0  # another process may be at it now
    for file in left:
        os.utime(file, (time.time() - 90_000,) * 2)
    goes_on(engram)
    engramdb.publish(engram, target.as_uri())
    assert [file.exists() for file in left] == [False, False]


@pytest.mark.parametrize(
    ("call", "tells"),
    [
        (lambda path: engramdb.publish(path, "somewhere"), "is no URL: give one such as s3://"),
        (lambda path: engramdb.publish(path, "ftp://host/x"), "begins with s3://"),
        (lambda path: engramdb.publish(path, "s3://"), "name a bucket"),
        (lambda path: engramdb.publish("s3://bucket/x", "s3://bucket/y"), "is published already"),
        (lambda path: engramdb.open("s3://bucket/../x"), "name a bucket"),
        (lambda path: engramdb.open("file://here/x"), "file:///FOLDER"),
        (lambda path: engramdb.open("s3://me:word@bucket/x"), "holds a password"),
        (lambda path: engramdb.open("https://host/x?X-Amz-Signature=word"), "holds a password or a query"),
        (lambda path: engramdb.open(path, storage_options={"region": "x"}), "are for URLs"),
        (lambda path: engramdb.open("s3://b/x", storage_options={"shoe_size": "9"}), '"shoe_size" is not known'),
        (lambda path: engramdb.open("s3://b/x", storage_options={"timeout": "word"}), "cannot be opened with these"),
        (lambda path: engramdb.open("s3://b/x", storage_options={"retry_backoff": "word"}), "cannot be opened with"),
        (lambda path: engramdb.download(path, "x"), "is no URL"),
        (lambda path: engramdb.publish(path, path.joinpath("catalog.sqlite").as_uri()), "is a file: name a folder"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(call: Any, tells: str, small_path: Path) -> None:
    with pytest.raises(InvalidInput, match=tells) as refused:
        call(small_path)
    assert "\n" not in str(refused.value)
    assert "word" not in str(refused.value).replace("a password", "")


def test_where_nothing_is_published_there_is_no_engram(url: str, tmp_path: Path) -> None:
    for place, how in ((url, options(shared_server())), ((tmp_path / "nowhere").as_uri(), None)):
        with pytest.raises(NotAnEngram, match=r"holds no published engram: there is no engram\.json"):
            engramdb.open(place, storage_options=how)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="no such bucket"):
        engramdb.publish(worm(tmp_path), "s3://no-such-bucket/x", storage_options=options(shared_server()))


def test_without_the_library_one_line_says_what_to_install(
    small_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for call in (
        lambda: engramdb.open("s3://bucket/x"),
        lambda: engramdb.publish(small_path, "s3://bucket/x"),
        lambda: engramdb.download("s3://bucket/x", tmp_path / "x"),
    ):
        with pytest.raises(EngramError, match=r"pip install 'engramdb\[s3\]'"):
            call()


def test_a_reader_leaves_nothing_on_this_machine(
    engram: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = options(shared_server())
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    engramdb.publish(engram, url, storage_options=how)
    reader = engramdb.open(url, storage_options=how)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    reader.close()
    reader.close()
    engramdb.verify(located(url, how))
    with pytest.raises(NotFound):
        engramdb.open(url, at="never", storage_options=how)
    forgotten = engramdb.open(url, storage_options=how)
    del forgotten
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_documents_hold_what_the_format_says(engram: Path, tmp_path: Path) -> None:
    done = engramdb.publish(engram, (tmp_path / "there").as_uri())
    document = json.loads((tmp_path / "there/engram.json").read_text())
    assert document.keys() == {
        "format", "engram", "publication", "published", "commit", "tick", "catalog", "manifest", "packs", "pack_bytes",
        "previous", "check",
    }  # fmt: skip
    assert (document["commit"], document["tick"], document["previous"]) == (done.commit, done.tick, None)
    manifest = json.loads((tmp_path / "there" / document["manifest"]["name"]).read_text())
    assert {f"{name}.pack": nbytes for name, nbytes, _ in manifest["packs"]} == packs_of(engram)


def test_a_url_in_the_clothes_of_a_path_keeps_both_slashes() -> None:
    for text in ("s3://bucket/some/brain.engram", "https://host:99/x", "file:///folder/x"):
        path = located(text, {"region": "x"})
        assert str(path) == f"{path}" == str(path.parent / path.name) == text
        assert isinstance(path, UrlPath)
        assert str(located(Path(str(path)))) == text
        assert dict(located(path).options) == {"region": "x"}  # type: ignore[attr-defined]
        assert "region" not in repr(path)
    assert located("brain.engram") == Path("brain.engram")
