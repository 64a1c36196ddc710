"""Networks that fail: what can be repeated is, the rest is one clear line, and never are wrong data returned."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engramdb
from engramdb.errors import Unreachable
from engramdb.store.remote.objects import PART_BYTES, Objects
from engramdb.url import located
from tests.objectserver import KEY, SECRET, Proxy, new_bucket, options, proxy_before, shared_server
from tests.published import content, more, packs_of, small


@pytest.fixture(scope="module")
def engram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxy_before(shared_server()) as proxy:
        yield proxy


@pytest.fixture
def url() -> str:
    return f"s3://{new_bucket(shared_server())}/brain.engram"


def every(nth: int, fault: str) -> Any:
    return lambda number, method, path: fault if number % nth == nth - 1 else None


@pytest.mark.parametrize("fault", ["503", "reset", "lost", "cut"])
def test_publishing_and_reading_go_on_through_failures(
    engram: Path, url: str, proxy: Proxy, fault: str, tmp_path: Path
) -> None:
    how = options(proxy.endpoint)
    proxy.plan = every(3, fault)
    engramdb.publish(engram, url, storage_options=how)
    assert content(url, how) == content(engram)
    assert engramdb.verify(located(url, how)).ok
    engramdb.download(url, tmp_path / "copy.engram", storage_options=how)
    assert content(tmp_path / "copy.engram") == content(engram)
    assert sum(request.fault == fault for request in proxy.requests) > 5


def test_half_an_answer_that_passes_for_a_whole_one_is_asked_for_again(
    engram: Path, url: str, proxy: Proxy, tmp_path: Path
) -> None:
    engramdb.publish(engram, url, storage_options=options(shared_server()))
    how = options(proxy.endpoint)
    proxy.plan = lambda number, method, path: "short" if method == "GET" and number % 2 else None
    assert content(url, how) == content(engram)
    engramdb.download(url, tmp_path / "copy.engram", storage_options=how)
    assert content(tmp_path / "copy.engram") == content(engram)
    assert sum(request.fault == "short" for request in proxy.requests) > 3


@pytest.mark.parametrize(
    ("where", "fault"),
    [("engram.json", "reset"), ("engram.json", "short"), ("catalogs", "cut"), ("catalogs", "short"),
     ("packs", "503"), ("packs", "cut"), ("packs", "short")],
)  # fmt: skip
def test_what_goes_on_failing_is_one_clear_line(
    engram: Path, url: str, proxy: Proxy, fault: str, where: str, tmp_path: Path
) -> None:
    engramdb.publish(engram, url, storage_options=options(shared_server()))
    how = options(proxy.endpoint)
    proxy.plan = lambda number, method, path: fault if where in path else None
    for call in (
        lambda: content(url, how),
        lambda: engramdb.verify(located(url, how)),
        lambda: engramdb.download(url, tmp_path / "copy.engram", storage_options=how),
    ):
        with pytest.raises(Unreachable) as told:
            call()
        assert str(told.value).startswith(f"{url}/{where}")
        assert "\n" not in str(told.value)
        assert ("it answers 503" in str(told.value)) == (fault == "503")
        assert ("bytes came of" in str(told.value)) == (fault == "short")
    assert list(tmp_path.iterdir()) == []
    assert [request.fault for request in proxy.requests].count(fault) >= 3 * 4


@pytest.mark.parametrize("where", ["packs", "catalogs", "manifests", "engram.json"])
def test_a_publication_that_cannot_go_on_leaves_the_old_state(engram: Path, url: str, proxy: Proxy, where: str) -> None:
    how = options(shared_server())
    engramdb.publish(engram, url, at="born", storage_options=how)
    before = content(url, how)
    proxy.plan = lambda number, method, path: "503" if method == "PUT" and where in path else None
    with pytest.raises(Unreachable):
        engramdb.publish(engram, url, storage_options=options(proxy.endpoint))
    assert content(url, how) == before
    engramdb.publish(engram, url, storage_options=how)
    assert content(url, how) == content(engram)


def test_a_publication_of_which_only_the_answer_was_lost_is_done(engram: Path, url: str, proxy: Proxy) -> None:
    how = options(shared_server())
    for at in ("born", None):  # a new document, and one in the place of another
        lost = []

        def lose(number: int, method: str, path: str, lost: list[str] = lost) -> str | None:
            if method == "PUT" and path.endswith("engram.json") and not lost:
                lost.append(path)
                return "lost"
            return None

        proxy.plan = lose
        assert engramdb.publish(engram, url, at=at, storage_options=options(proxy.endpoint)).changed
        assert len(lost) == 1
    assert content(url, how) == content(engram)


def test_where_nobody_listens_one_line_says_so(engram: Path, url: str) -> None:
    for endpoint, why in (("http://127.0.0.1:1", "nobody listens there"), ("http://no-such-host.invalid", "")):
        with pytest.raises(Unreachable, match=f"cannot be reached: .*{why}.*check the URL and the network"):
            engramdb.publish(engram, url, storage_options=options(endpoint))


def test_a_server_that_is_silent_is_given_up(engram: Path, url: str, proxy: Proxy) -> None:
    proxy.plan = lambda number, method, path: "hold"
    with pytest.raises(Unreachable, match="does not answer in time"):
        engramdb.open(url, storage_options=options(proxy.endpoint, timeout="100ms", max_retries=1))


def test_ctrl_c_is_heard_while_a_server_is_silent(url: str, proxy: Proxy) -> None:
    proxy.plan = lambda number, method, path: "hold"
    arrived = threading.Event()

    def hold(number: int, method: str, path: str) -> str:
        arrived.set()
        return "hold"

    proxy.plan = hold
    environment = {**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_REGION": "x",
                   "AWS_SECRET_ACCESS_KEY": "b"}  # fmt: skip
    command = [sys.executable, "-m", "engramdb", "open", url]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert arrived.wait(60)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)  # a request is given up after two minutes, and then repeated
    assert process.returncode == 130
    assert said.splitlines()[0] == "engramdb: interrupted; what was done before is whole"
    assert "Traceback" not in said


# credentials


def test_without_credentials_one_line_says_so_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("engramdb.store.remote.objects._ROLES", ("127.0.0.1", 1))  # this machine has no role
    with pytest.raises(Unreachable, match="no credentials are found; set AWS_ACCESS_KEY_ID"):
        engramdb.open(url, storage_options={"endpoint": shared_server()})


def test_credentials_appear_nowhere(
    engram: Path, url: str, proxy: Proxy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    how = options(proxy.endpoint)
    engramdb.publish(engram, url, storage_options=how)
    reader = engramdb.open(url, storage_options=how)
    shown = [repr(reader), str(reader.location), repr(reader.location), repr(reader._store), reader._repr_html_()]
    proxy.plan = lambda number, method, path: "403"
    for call in (
        lambda: reader.synapses(0),
        lambda: engramdb.open(url, storage_options=how),
        lambda: engramdb.publish(engram, url, storage_options=how),
        lambda: engramdb.open(url, storage_options={**how, "endpoint": f"http://{KEY}:{SECRET}@127.0.0.1:1"}),
        lambda: engramdb.open(url, storage_options={**how, "region": SECRET, "timeout": SECRET}),
        lambda: engramdb.open(f"s3://{KEY}:{SECRET}@bucket/x", storage_options=how),
    ):
        with pytest.raises(engramdb.EngramError) as told:
            call()
        shown.append("".join(traceback.format_exception(told.value)))
    assert "access is refused (SignatureDoesNotMatch); check the credentials" in shown[5]
    proxy.plan = lambda number, method, path: None
    reader.close()
    objects = Objects(url, how)
    shown += [objects.get("engram.json").data.decode(), repr(objects)]
    objects.close()
    shown += [caplog.text, *capfd.readouterr()]
    assert [text for text in shown if KEY in text or SECRET in text] == []


# memory


@pytest.mark.slow
def test_memory_does_not_grow_with_the_size_of_a_pack(tmp_path: Path) -> None:
    code = """
import asyncio, pathlib, resource, sys
from engramdb.store.remote.objects import Objects
from engramdb.store.remote.publish import _Parts
from engramdb.url import NO_OPTIONS
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
objects, size = Objects(pathlib.Path(sys.argv[1], "there").as_uri(), NO_OPTIONS, writing=True), 3 << 27
objects.put("x", b"x")
before = peak()
parts = _Parts(pathlib.Path(sys.argv[1], "large"), size, lambda n: None)
objects.transfer([objects.upload("packs/a", parts, size)])
async def fetch():
    return sum([len(part) async for part in objects.parts("packs/a", size)])
assert objects.transfer([fetch()]) == [size]
objects.close()
print(peak() - before)
"""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3 << 27)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 12 * PART_BYTES


def test_a_large_pack_goes_up_and_comes_down_in_parts(tmp_path: Path, url: str, proxy: Proxy) -> None:
    from engramdb.store.remote.publish import _Parts

    data = os.urandom(1 << 20) * 20
    (tmp_path / "large").write_bytes(data)
    proxy.plan = every(4, "reset")
    objects = Objects(url, options(proxy.endpoint))
    parts = _Parts(tmp_path / "large", len(data), lambda nbytes: None)
    objects.transfer([objects.upload("packs/a", parts, len(data))])
    assert [request.method for request in proxy.requests if request.fault is None] == ["POST", *["PUT"] * 3, "POST"]
    assert objects.read("packs/a", 0, len(data)) == data
    assert objects.read("packs/a", 5, PART_BYTES + 7) == data[5 : PART_BYTES + 12]
    assert objects.read("packs/a", len(data) - 3, 10) == data[-3:]
    assert objects.read("packs/a", len(data) + 3, 10) == b""
    assert max(request.nbytes for request in proxy.requests) <= PART_BYTES
    objects.close()


def test_a_pack_that_the_garbage_collector_takes_meanwhile_is_not_needed(
    engram: Path, url: str, proxy: Proxy, tmp_path: Path
) -> None:
    """What was copied of the catalog names packs that are gone: the catalog is copied again."""
    own = shutil.copytree(engram, tmp_path / "own.engram")
    with engramdb.open(own, "r+") as writer:
        writer.restore("born")
        more(writer)
    before = packs_of(own)

    def collect(number: int, method: str, path: str) -> None:
        proxy.plan = lambda number, method, path: None
        with engramdb.open(own, "r+") as writer:
            writer._store.delete_snapshot("before")  # all that keeps the line that was left
            writer.gc(keep_last=1, keep_days=0)

    proxy.plan = collect
    done = engramdb.publish(own, url, storage_options=options(proxy.endpoint))
    assert before.keys() - packs_of(own)
    assert done.packs == len(packs_of(own))
    assert content(url, options(shared_server())) == content(own)
    assert engramdb.verify(located(url, options(shared_server()))).ok
