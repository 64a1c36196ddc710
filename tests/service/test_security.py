"""Who is let in, where names can lead, and what is never run."""

from __future__ import annotations

import ast
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import orjson
import pytest

import engramdb
from engramdb.cli import main
from engramdb.errors import InvalidInput, Locked
from engramdb.server.hosts import Hosts, is_loopback
from engramdb.server.keys import KeyFile, KeyRing, digest_of
from engramdb.server.limits import Limits
from engramdb.server.names import Root, check_name
from engramdb.server.problems import Problem
from engramdb.server.serving import Serving
from engramdb.server.settings import Settings
from tests.service.served import EXAMPLE, SPEC, finished, made, problem, served

HERE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("keys") / "root"
    root.mkdir()
    file = KeyFile(root)
    return {"root": str(root), **{scope: file.add(scope, scope) for scope in ("read", "write", "admin")}}


@pytest.fixture(scope="module")
def guarded(keys: dict[str, str]) -> Iterator[httpx.Client]:
    """A service with keys, over an engram."""
    with served(Path(keys["root"])) as client:
        client.headers["authorization"] = f"Bearer {keys['admin']}"
        made(client)
        del client.headers["authorization"]
        yield client


def test_each_scope_reaches_what_it_should_and_no_further(guarded: httpx.Client, keys: dict[str, str]) -> None:
    asked = {
        "read": [("GET", EXAMPLE, None), ("GET", EXAMPLE + "/neurons/1", None), ("GET", "/metrics", None),
                 ("POST", EXAMPLE + "/query", {"query": "count"}), ("GET", "/v1/jobs", None)],
        "write": [("POST", EXAMPLE + "/ticks", {"ticks": 1}), ("POST", EXAMPLE + "/checkpoint", None),
                  ("POST", EXAMPLE + "/query", {"query": "recall", "cue": [1], "ticks": 1, "keep": True})],
        "admin": [("POST", "/v1/engrams", {"name": "more", "spec": SPEC}), ("DELETE", "/v1/engrams/more", None)],
    }  # fmt: skip
    scopes = list(asked)
    for place, needed in enumerate(scopes):
        for method, path, body in asked[needed]:
            problem(guarded.request(method, path, json=body), 401, "unauthorized")
            for scope in scopes[:place]:
                answer = guarded.request(method, path, json=body, headers={"api-key": keys[scope]})
                problem(answer, 403, "forbidden")
            for scope in scopes[place:][:1]:
                answer = guarded.request(method, path, json=body, headers={"Authorization": f"bearer {keys[scope]}"})
                assert answer.status_code < 300, answer.text


def test_what_shows_nothing_needs_no_key(guarded: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/problems/locked"):
        assert guarded.get(path).status_code == 200
    answer = guarded.get(EXAMPLE)
    assert answer.headers["www-authenticate"] == "Bearer"
    for wrong in ("edb_nonsense", "", "edb_" + "a" * 43):
        problem(guarded.get(EXAMPLE, headers={"api-key": wrong}), 401, "unauthorized")


def test_keys_are_kept_as_hashes_expire_and_are_revoked(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    text = file.add("a", "read", days=1)
    assert text.encode() not in file.path.read_bytes()
    assert file.path.stat().st_mode & 0o077 == 0
    ring = KeyRing(file)
    found = ring.find(text)
    assert found is not None
    assert (found.name, found.scope, found.digest) == ("a", "read", digest_of(text))
    document = orjson.loads(file.path.read_bytes())
    document["keys"][0]["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    file.path.write_bytes(orjson.dumps(document))
    ring.refresh()
    assert ring.find(text) is None
    assert ring.any
    other = file.add("b", "admin")
    file.revoke("b")
    ring.refresh()
    assert ring.find(other) is None


def test_keys_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "add", str(tmp_path), "console", "--scope", "write", "--json"]) == 0
    key = orjson.loads(capsys.readouterr().out)["key"]
    found = KeyRing(KeyFile(tmp_path)).find(key)
    assert found is not None
    assert found.reaches("write")
    assert main(["keys", "list", str(tmp_path), "--json"]) == 0
    listed = capsys.readouterr().out
    assert key not in listed
    assert orjson.loads(listed)["keys"][0]["name"] == "console"
    assert main(["keys", "add", str(tmp_path), "console"]) == 1
    assert main(["keys", "add", str(tmp_path), "brief", "--days", "0"]) == 2
    assert main(["keys", "revoke", str(tmp_path), "nobody"]) == 1
    assert main(["keys", "revoke", str(tmp_path), "console"]) == 0
    assert main(["keys", "list", str(tmp_path / "nowhere")]) == 1


def test_an_address_that_others_reach_needs_keys(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="engramdb keys add"):
        Serving(Settings(root=tmp_path, host="0.0.0.0", port=0))
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "example.org", "10.0.0.1", "")] == [False] * 5


def test_two_services_do_not_run_over_one_folder(tmp_path: Path) -> None:
    with served(tmp_path), pytest.raises(Locked):
        Serving(Settings(root=tmp_path, port=0))


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", ".hidden", "a/b", "a\\b", "C:", "C:\\x", "/etc", "a\0b", "a b", "ä", "a" * 65, "-a", "con", "NUL",
     "com1", "lpt9.x", "a.", "\u202ea", "a\n", "%2e%2e", "~root", "a*", "\uff0e\uff0e", "\u2215etc"],
)  # fmt: skip
def test_a_name_that_could_lead_elsewhere_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as error:
        check_name(name)
    assert error.value.slug == "invalid-name"


def raw(api: httpx.Client, target: str, method: str = "GET", *headers: str) -> bytes:
    """What comes back for a request line as it stands: no client makes it harmless before."""
    port = api.base_url.port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e", "%2E%2E%2F%2E%2E", "..%2f..%2fsecret", "..%5c..%5csecret", "%2fetc", "/etc", "C:%5Csecret",
     "%c0%ae%c0%ae", "%ff", ".engramdb-service", "%2e%2e%2fsecret.engram", "secret%2f..", "link",
     "a%00b", "%EF%BC%8E%EF%BC%8E"],
)  # fmt: skip
def test_no_path_leads_out_of_the_root(api: httpx.Client, root: Path, name: str) -> None:
    secret = root.parent / "secret.engram"
    if not secret.exists():
        engramdb.create(secret, engramdb.Spec.from_document(SPEC)).close()
        (root / "link.engram").symlink_to(secret)
    for rest in ("", "/neurons/1", "/log", "/export?format=csv"):
        for method in ("GET", "DELETE"):
            answer = raw(api, f"/v1/engrams/{name}{rest}", method)
            status = int(answer.split(b" ")[1])
            assert status in (400, 404, 405, 422), answer
            assert b'"layers"' not in answer
    assert secret.exists()
    assert "link" not in [one["name"] for one in api.get("/v1/engrams").json()["engrams"]]


def test_console_and_pages_are_files_of_ours_only(api: httpx.Client) -> None:
    for path in ("/pages/../app.py", "/pages/%2e%2e/app.py", "/console/..%2fapp.py", "/pages//etc/passwd", "/pages/."):
        assert b" 404 " in raw(api, path).split(b"\r\n")[0] + b" "


def test_a_name_that_was_made_to_mean_this_machine_is_not_answered(api: httpx.Client) -> None:
    problem(api.get(EXAMPLE, headers={"host": "evil.example"}), 421, "wrong-host")
    assert api.get(EXAMPLE, headers={"host": "localhost:99"}).status_code == 200
    assert api.get("/healthz", headers={"host": "probe"}).status_code == 200
    hosts = Hosts("0.0.0.0", allowed=["db.example"])
    hosts.check({b"host": b"db.example:443"})
    with pytest.raises(Problem):
        hosts.check({b"host": b"evil.example"})
    Hosts("0.0.0.0").check({b"host": b"anything.example"})


def test_pages_of_other_sites_are_not_answered_unless_they_were_allowed(api: httpx.Client, tmp_path: Path) -> None:
    for origin in ("https://evil.example", "null"):
        problem(api.post(EXAMPLE + "/checkpoint", headers={"origin": origin}), 403, "cross-site")
    ours = str(api.base_url).rstrip("/")
    assert api.post(EXAMPLE + "/checkpoint", headers={"origin": ours}).status_code == 200
    problem(api.get(EXAMPLE, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}), 403, "cross-site")
    with served(tmp_path, origins=("https://lab.example",)) as client:
        answer = client.get("/v1/engrams", headers={"origin": "https://lab.example"})
        assert answer.headers["access-control-allow-origin"] == "https://lab.example"
        preflight = client.options(
            "/v1/engrams", headers={"origin": "https://lab.example", "access-control-request-method": "POST"}
        )
        assert preflight.status_code == 204
        assert "POST" in preflight.headers["access-control-allow-methods"]


def test_bodies_are_bounded_and_of_the_right_type(tmp_path: Path) -> None:
    limits = Limits(body_bytes=1000, upload_bytes=2000, ids=10)
    with served(tmp_path, limits=limits) as client:
        path = made(client, "a", {"layers": [{"name": "a", "segments": [100]}]})
        json_type = {"content-type": "application/json"}
        long = b'{"ticks": 1' + b" " * 1000 + b"}"
        problem(client.post(path + "/ticks", content=long, headers=json_type), 413, "too-large")
        problem(
            client.post(path + "/ticks", content=iter([long[:600], long[600:]]), headers=json_type), 413, "too-large"
        )
        problem(client.post(path + "/ticks", content=b'{"ticks": 1}'), 415, "unsupported-media-type")
        typed = {"content-type": "text/plain"}
        problem(client.post(path + "/ticks", content=b'{"ticks": 1}', headers=typed), 415, "unsupported-media-type")
        packed = {**json_type, "content-encoding": "gzip"}
        problem(client.post(path + "/ticks", content=b"x", headers=packed), 415, "unsupported-media-type")
        problem(client.post(path + "/ticks", content=b'{"ticks": ', headers=json_type), 400, "bad-request")
        problem(client.post(path + "/ticks", content=b'{"ticks": NaN}', headers=json_type), 422, "invalid-request")
        many = client.post(path + "/neurons:batch", json={"ids": list(range(11))})
        assert problem(many, 413, "too-large")["pointer"] == "/ids"
        octets = {"content-type": "application/octet-stream"}
        upload = "/v1/import?format=csv&name=b"
        problem(client.post(upload, content=b"x" * 2001, headers=octets), 413, "too-large")
        problem(client.post(upload, content=iter([b"x" * 1500] * 2), headers=octets), 413, "too-large")
        assert client.get("/v1/jobs").json() == {"jobs": []}
        problem(client.get("/v1/engrams/a?" + "x" * 9000), 414, "too-large")


def test_too_many_at_once_are_told_to_come_again(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(streams=1, requests=4)) as client:
        path = made(client, "a", {"layers": [{"name": "a", "segments": [100]}]})
        with client.stream("GET", path + "/stream") as first:
            lines = first.iter_lines()  # let go of, it would close the stream
            next(lines)
            answer = client.get(path + "/stream")
            problem(answer, 429, "too-many-requests")
            assert answer.headers["retry-after"]


def test_memory_that_is_used_up_is_told_and_idle_engrams_make_room(tmp_path: Path) -> None:
    with served(tmp_path, engram_memory=128 << 20) as client:  # of 256 MiB: two at once
        paths = [made(client, name, {"layers": [{"name": "a", "segments": [9]}]}) for name in "abc"]
        assert sum(one["open"] for one in client.get("/v1/engrams").json()["engrams"]) == 2
        runs = [client.post(path + "/ticks", json={"ticks": 10**9, "hz": 10.0}, headers={"prefer": "respond-async"})
                for path in paths[:2]]  # fmt: skip
        answer = client.get(paths[2] + "/neurons/1")
        problem(answer, 503, "too-many-requests")
        client.delete(runs[0].headers["location"])
        assert finished(client, runs[0])["state"] == "cancelled"
        assert client.get(paths[2] + "/neurons/1").status_code == 200


def test_an_engram_that_nobody_asks_for_is_closed(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(idle_seconds=0.05)) as client:
        path = made(client, "a", {"layers": [{"name": "a", "segments": [9]}]})
        client.post(path + "/stimuli", json={"ids": [1], "amplitude": 20.0})
        while client.get("/v1/engrams").json()["engrams"][0]["open"]:
            pass
        with engramdb.open(tmp_path / "a.engram", "r+") as engram:  # and its lock is free
            assert len(engram.stimuli()) == 1


def test_a_client_that_dies_in_the_middle_harms_nobody(api: httpx.Client) -> None:
    port = api.base_url.port
    json_type = "Content-Type: application/json\r\nContent-Length: 500"
    head = f"POST {EXAMPLE}/query HTTP/1.1\r\nHost: 127.0.0.1\r\n{json_type}\r\n\r\n{{"
    upload = (
        "POST /v1/import?format=csv&name=half HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\npre,post\n"
    )
    stream = f"GET {EXAMPLE}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    for text in (head, upload, stream, "GET /v1/eng", "nonsense\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(text.encode())
            got = b""
            while text is stream and b"event: state" not in got:
                got += connection.recv(65536)
    assert api.get(EXAMPLE).status_code == 200
    problem(api.get("/v1/engrams/half"), 404, "no-such-engram")
    while True:  # the stream is noticed to have gone
        if 'engramdb_listeners{engram="brain"} 0.0' in api.get("/metrics").text:
            break
        api.post(EXAMPLE + "/ticks", json={"ticks": 1})


def test_thirty_two_clients_while_it_ticks(api: httpx.Client) -> None:
    answer = api.post(EXAMPLE + "/ticks", json={"ticks": 10**9}, headers={"prefer": "respond-async"})
    wrong: list[object] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=api.base_url, timeout=60.0) as client:
            for step in range(10):
                neuron = number * 10 + step
                found = client.get(f"{EXAMPLE}/neurons/{neuron}")
                if found.status_code != 200 or found.json()["id"] != str(neuron):
                    wrong.append(found.text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert api.delete(answer.headers["location"]).status_code == 202
    assert finished(api, answer)["result"]["ticks"] > 0


def test_the_root_knows_only_folders_that_hold_engrams(tmp_path: Path) -> None:
    (tmp_path / "empty.engram").mkdir()
    (tmp_path / "file.engram").write_text("x")
    (tmp_path / "..engram").mkdir()
    assert Root(tmp_path).names() == []
    with pytest.raises(Problem):
        Root(tmp_path).existing("empty")


def test_nothing_that_comes_in_is_ever_run() -> None:
    forbidden = {"eval", "exec", "compile", "__import__"}
    modules = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "subprocess", "ctypes", "yaml"}
    for path in [*(HERE / "server").rglob("*.py"), HERE / "schemas/api.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in forbidden, f"{path}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & modules, f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in modules, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword):
                assert node.arg not in ("allow_pickle", "shell"), f"{path}:{node.value.lineno}"
    for path in (HERE / "server").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script>" not in text
        assert " onclick=" not in text
        assert "http://" not in text.replace("http://www.w3.org", "")
    for path in (HERE / "server").rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "eval(", "new Function", "document.write"):
            assert word not in text, path
