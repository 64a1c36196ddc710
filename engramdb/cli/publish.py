"""``engramdb publish`` and ``open``: engrams in object stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

import engramdb
from engramdb.budget import size_text
from engramdb.cli import output
from engramdb.cli.history import At, EngramPath, commit_at
from engramdb.errors import InvalidInput
from engramdb.url import UrlPath, located

Url = Annotated[str, typer.Argument(metavar="URL", help="Where: s3://BUCKET/PREFIX, or file:///FOLDER.")]


def publish(
    path: EngramPath,
    url: Url,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="SNAPSHOT", help="That snapshot, branch or commit with its past; default: all."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Upload what is there already, too.")] = False,
    as_json: output.AsJson = False,
) -> None:
    """Copy an engram to an object store, to be read there.

    What is committed is published; packs that are there already stay. Readers see the engram as it was until all is
    there. Credentials and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_ENDPOINT_URL, ...

    \b
    Example:
      engramdb publish brain.engram s3://bucket/brain.engram
    """
    with _progress("publishing") as advance:
        done = engramdb.publish(path, url, at=commit_at(at), everything=everything, progress=advance)
    output.show(asdict(done), as_json, lambda: _published(asdict(done)))


def _published(done: dict[str, Any]) -> Iterator[RenderableType]:
    stands = f"tick {output.count(done['tick'])}, commit {done['commit']}"
    yield output.line(f"published {done['url']}", stands if done["changed"] else f"{stands}: it was there already")
    yield output.pairs(
        [
            ("packs", f"{output.many(done['packs'], 'pack')}, {size_text(done['pack_bytes'])}"),
            ("uploaded", f"{output.many(done['uploaded'], 'pack')}, {size_text(done['uploaded_bytes'])}"),
            ("catalog", size_text(done["catalog_bytes"])),
            ("removed", output.many(done["removed"], "old object")),
        ]
    )
    if done["journaled"] is None:
        yield output.line("note", "the journal cannot be read, and is not published: see verify")
    elif done["journaled"]:
        since = output.many(done["journaled"], "command")
        verb = "is" if done["journaled"] == 1 else "are"
        yield output.line("note", f"{since} since the last commit {verb} not published; a snapshot would commit them")


def open_(
    url: Annotated[
        Path, typer.Argument(metavar="URL", help="Where it is published: s3://BUCKET/PREFIX, ...", parser=located)
    ],
    at: At = None,
    download: Annotated[
        Path | None, typer.Option("--download", metavar="PATH", help="Fetch it whole, as an engram to work with.")
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Look at a published engram, or fetch it.

    Shows what is published without reading the neurons. Whatever reads an engram takes the URL too: inspect, query,
    log, snapshots, verify, ...

    \b
    Example:
      engramdb open file:///published/brain.engram --download brain.engram
    """
    if not isinstance(url, UrlPath):
        raise InvalidInput(f"{url} is no URL: see engramdb inspect for an engram on this machine")
    if download is not None:
        with _progress("fetching") as advance:
            done = asdict(engramdb.download(url, download, at=commit_at(at), progress=advance))
        output.show(done, as_json, lambda: _fetched(done))
        return
    document = _published_there(url, commit_at(at))
    output.show(document, as_json, lambda: _opened(document))


def _fetched(done: dict[str, Any]) -> list[RenderableType]:
    stands = f"tick {output.count(done['tick'])}, commit {done['commit']}"
    packs = f"{output.many(done['packs'], 'pack')}, {size_text(done['pack_bytes'])}"
    return [output.line(f"fetched {done['path']}", stands, packs)]


def _published_there(url: Path, at: str | int | None) -> dict[str, Any]:
    from engramdb.store.remote.files import open_remote
    from engramdb.url import NO_OPTIONS

    with closing(open_remote(str(url), "r", NO_OPTIONS, at=at)) as store:
        sizes, commit, pointer = store.bundles.sizes, store.commit, store.pointer
        layers = [
            {
                "name": layer.name,
                "model": layer.model,
                "declared": sum(size for (index, _), size in sizes.items() if index == layer.index),
            }
            for layer in store.spec.layers
        ]
        return {
            "url": str(url),
            "name": store.spec.name,
            "description": store.spec.description,
            "published": pointer.published,
            "at": at,
            "commit": commit.number,
            "tick": commit.tick,
            "created": commit.created,
            "layers": layers,
            "records": commit.neurons,
            "synapses": commit.synapses,
            "labelled": store.has_labels,
            "snapshots": [snapshot.name for snapshot in store.snapshots()],
            "packs": pointer.packs,
            "pack_bytes": pointer.pack_bytes,
            "catalog_bytes": pointer.catalog.bytes,
        }


def _opened(document: dict[str, Any]) -> Iterator[RenderableType]:
    yield output.line(document["url"], document["name"])
    rows = [
        ("tick", output.count(document["tick"])),
        ("commit", f"{document['commit']}, {output.when(document['created'])}"),
        ("published", output.when(document["published"])),
    ]
    for layer in document["layers"]:
        rows.append((f"layer {layer['name']}", f"{output.many(layer['declared'], 'neuron')} of model {layer['model']}"))
    records = f"{output.many(document['records'], 'neuron')}, {output.many(document['synapses'], 'stored synapse')}"
    rows += [
        ("records", f"{records}{', labelled' if document['labelled'] else ''}"),
        ("snapshots", ", ".join(document["snapshots"]) or "none"),
        ("packs", f"{output.many(document['packs'], 'pack')}, {size_text(document['pack_bytes'])}"),
    ]
    yield output.pairs(rows)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

    with output.progress_bar(
        TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn()
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
