"""Names of engrams, and the folders that they stand for: none of them leads out of the root.

An engram called ``brain`` is the folder ``ROOT/brain.engram``. What the service keeps for itself is in
``ROOT/.engramdb-service``, what was dropped in ``ROOT/.engramdb-trash``.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from pathlib import Path

from engramdb.server.problems import Problem
from engramdb.store.catalog import FILE_NAME

SUFFIX = ".engram"
OWN, TRASH = ".engramdb-service", ".engramdb-trash"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?", re.ASCII)
# what Windows takes for devices, so that a folder of engrams can be copied there
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


def check_name(name: str, pointer: str | None = None) -> str:
    """``name``, if it can name an engram, or a file of results."""
    if not _NAME.fullmatch(name) or name.split(".")[0].lower() in _DEVICES:
        raise Problem(
            422, "invalid-name",
            f"{name[:80]!a} cannot name an engram: use 1 to 64 letters, digits, '.', '_' and '-' of ASCII, beginning "
            "with a letter or digit and not ending with '.'",
            pointer=pointer,
        )  # fmt: skip
    return name


class Root:
    """The folder of engrams. ``path`` is absolute and without symlinks. Methods look at the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve(strict=True)
        self.own = self.path / OWN

    def folder(self, name: str) -> Path:
        """Where the engram of that name lies, or would; :class:`Problem` where that cannot be a place of ours."""
        path = self.path / (check_name(name) + SUFFIX)
        if path.is_symlink():
            raise Problem(404, "no-such-engram", f'"{name}" is a link, which is not followed')
        return path

    def existing(self, name: str) -> Path:
        """Where the engram of that name lies; :class:`Problem` where there is none."""
        path = self.folder(name)
        if not (path / FILE_NAME).is_file():
            raise Problem(404, "no-such-engram", f'there is no engram "{name}"; GET /v1/engrams lists those there are')
        return path

    def names(self) -> list[str]:
        """Of all engrams, sorted."""
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                name = entry.name.removesuffix(SUFFIX)
                if name != entry.name and _NAME.fullmatch(name) and entry.is_dir(follow_symlinks=False):
                    found.append(name)
        return sorted(name for name in found if (self.path / (name + SUFFIX) / FILE_NAME).is_file())

    def trash(self, name: str) -> Path:
        """Move an engram into the trash folder, under its name, the time and a random word; where it is now."""
        path = self.existing(name)
        trash = self.path / TRASH
        trash.mkdir(exist_ok=True)
        there = trash / f"{name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}{SUFFIX}"
        path.rename(there)
        for folder in (trash, self.path):
            sync_folder(folder)
        return there


def sync_folder(path: Path) -> None:
    """Names in it are durable from now on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put a file in place, whole and durable, or not at all."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
