"""``engramdb serve`` and ``engramdb keys``: the HTTP service and who may use it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engramdb.budget import memory_bytes
from engramdb.cli import output
from engramdb.errors import NotFound

RootPath = Annotated[Path, typer.Argument(metavar="ROOT", help="The folder of engrams: NAME.engram is called NAME.")]


class Durability(StrEnum):
    """When a write is acknowledged."""

    journal = "journal"
    process = "process"
    checkpoint = "checkpoint"


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise NotFound(f"there is no folder {root}; make it first")
    return root


def serve(
    root: RootPath,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than this machine's need keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8787,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="For all open engrams together, such as 4GiB.")
    ] = "4GiB",
    engram_memory: Annotated[
        str | None, typer.Option("--engram-memory", metavar="SIZE", help="For each of them; default: a quarter.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Of each engine.")] = 1,
    durability: Annotated[
        Durability, typer.Option("--durability", help="What an answered write survives; see docs/durability.md.")
    ] = Durability.journal,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="A name that requests may be made to.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="ORIGIN", help="A site whose pages may use the service (CORS)."),
    ] = None,
    max_body: Annotated[str, typer.Option("--max-body", metavar="SIZE", help="Of a request; not of imports.")] = "8MiB",
    max_upload: Annotated[str, typer.Option("--max-upload", metavar="SIZE", help="Of an import.")] = "1TiB",
    query_seconds: Annotated[
        float, typer.Option("--query-seconds", min=0.1, help="A question may take so long.")
    ] = 30.0,
    idle_seconds: Annotated[
        float, typer.Option("--idle-seconds", min=1.0, help="An engram that nobody asks for is closed.")
    ] = 300.0,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain (PEM): HTTPS instead of HTTP.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM).")] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    as_json: output.AsJson = False,
) -> None:
    """Serve the engrams of a folder over HTTP, with a console for the browser.

    It answers this machine only, until there are keys (see engramdb keys) and --host says otherwise. SIGTERM and
    Ctrl-C end runs at a tick, checkpoint, and stop it; jobs go on at the next start. Its log, one JSON document a
    line, goes to stderr.

    \b
    Example:
      engramdb serve engrams --memory 8GiB --port 8787
    """
    from engramdb.server.limits import Limits
    from engramdb.server.serving import serve as run
    from engramdb.server.settings import Settings

    limits = Limits(
        body_bytes=memory_bytes(max_body), upload_bytes=memory_bytes(max_upload), query_seconds=query_seconds,
        idle_seconds=idle_seconds,
    )  # fmt: skip
    settings = Settings(
        root=_folder(root), host=host, port=port, memory=memory_bytes(memory),
        engram_memory=None if engram_memory is None else memory_bytes(engram_memory), threads=threads,
        durability=durability.value, hosts=tuple(allow_host or ()), origins=tuple(allow_origin or ()), limits=limits,
    )  # fmt: skip

    def started(at: int) -> None:
        scheme = "http" if tls_cert is None else "https"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{at}"
        document = {"url": url, "port": at, "root": str(root)}
        output.show(document, as_json, lambda: [output.line(f"serving {root} at {url}", "Ctrl-C stops it")])
        output.flush()

    run(settings, log_level=log_level, certificate=tls_cert, private_key=tls_key, started=started)


keys = typer.Typer(rich_markup_mode=None, help="""Say who may use the service over a folder of engrams.

\b
Example:
  engramdb keys add engrams console --scope write
""")  # fmt: skip


class Scope(StrEnum):
    """What a key is good for; each includes those before it."""

    read = "read"
    write = "write"
    admin = "admin"


KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called, in lists and logs.")]


@keys.command()
def add(
    root: RootPath,
    name: KeyName,
    scope: Annotated[
        Scope, typer.Option("--scope", help="read; write: drive and change; admin: make, import and drop engrams.")
    ] = Scope.read,
    days: Annotated[float | None, typer.Option("--days", help="It expires after so many days; default: never.")] = None,
    as_json: output.AsJson = False,
) -> None:
    """Make a key, and show it, this one time.

    Only its hash is kept. As soon as there is one key, nothing goes without.

    \b
    Example:
      engramdb keys add engrams console --scope write --days 30
    """
    from engramdb.server.keys import KeyFile

    text = KeyFile(_folder(root)).add(name, scope.value, days)
    output.show({"name": name, "scope": scope.value, "days": days, "key": text}, as_json, lambda: [output.line(text)])


@keys.command(name="list")
def list_(root: RootPath, as_json: output.AsJson = False) -> None:
    """List the keys, without what is secret of them.

    \b
    Example:
      engramdb keys list engrams
    """
    from engramdb.server.keys import KeyFile

    found = [
        {"name": key.name, "scope": key.scope, "created": key.created, "expires": key.expires, "expired": key.expired}
        for key in KeyFile(_folder(root)).read()
    ]
    rows = [
        [one["name"], one["scope"], output.when(str(one["created"])),
         "expired" if one["expired"] else output.when(str(one["expires"])) if one["expires"] else "never"]
        for one in found
    ]  # fmt: skip
    cells = [[str(cell) for cell in row] for row in rows]
    output.show({"keys": found}, as_json, lambda: [output.columns(["name", "scope", "made", "expires"], cells)])


@keys.command()
def revoke(root: RootPath, name: KeyName, as_json: output.AsJson = False) -> None:
    """Revoke a key; a running service forgets it within seconds.

    \b
    Example:
      engramdb keys revoke engrams console
    """
    from engramdb.server.keys import KeyFile

    KeyFile(_folder(root)).revoke(name)
    output.show({"revoked": name}, as_json, lambda: [output.line(f"revoked {name}")])
