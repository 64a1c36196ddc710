"""URLs of published engrams, where a path may stand."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from engramdb.errors import InvalidInput

Options = Mapping[str, Any]
NO_OPTIONS: Options = MappingProxyType({})

SCHEMES = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https", "file")
# a path has lost one slash of the two: "s3:/bucket/brain.engram"
_URL = re.compile(rf"({'|'.join(SCHEMES)}):/+(.*)", re.DOTALL)
_ANY_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_RELATIVE = re.compile(r"file://[^/]")


class UrlPath(type(Path())):  # type: ignore[misc]  # the class for this system, which only Path() knows
    """A URL in the clothes of a path: ``str`` is the URL, ``name`` its last part, and no file is there.

    ``options`` are the ``storage_options`` that it was opened with; what is derived from it has none.
    """

    options: Options = NO_OPTIONS

    def __str__(self) -> str:
        scheme, _, rest = super().__str__().partition(":/")
        return f"{scheme}://{'/' if scheme == 'file' else ''}{rest}"

    @classmethod
    def of(cls, url: str, options: Options) -> UrlPath:
        """``url`` in the one form that :func:`as_url` gives."""
        path = cls(url)
        path.options = MappingProxyType(dict(options))
        return path


def as_url(path: str | os.PathLike[str]) -> str | None:
    """``path`` as a URL in one form, without a slash at its end; None if it is a path of this machine.

    Raises InvalidInput for a URL that names no place, or holds what belongs in ``storage_options``.
    """
    text = str(path)
    found = _URL.fullmatch(text)
    if found is None:
        if isinstance(path, str) and (strange := _ANY_SCHEME.match(text)):
            raise InvalidInput(
                f"{strange[0]}... is no URL of an object store: it begins with s3://, gs://, az://, https:// or file://"
            )
        return None
    scheme, rest = found[1], found[2]
    if scheme == "file":
        if isinstance(path, str) and _RELATIVE.match(text):
            raise InvalidInput("file:// URLs name a folder by its whole path: file:///FOLDER")
        rest = unquote(rest)
    elif "@" in rest.split("/")[0] or "?" in rest or "#" in rest:
        # not quoted: what is in it may be a secret
        raise InvalidInput(
            f"the {scheme} URL holds a password or a query: give {scheme}://BUCKET/PREFIX, and credentials in the "
            "environment (AWS_ACCESS_KEY_ID, ...) or in storage_options"
        )
    parts = PurePosixPath(rest).parts
    if not parts or parts == ("/",) or ".." in parts or not rest.isprintable():
        raise InvalidInput(f"{scheme}:// URLs name a bucket and a prefix without ..: {scheme}://BUCKET/PREFIX")
    return f"{scheme}://{'/' if scheme == 'file' else ''}{'/'.join(part for part in parts if part != '/')}"


def located(path: str | os.PathLike[str], options: Options | None = None) -> Path:
    """Where an engram is: a URL as :class:`UrlPath`, with ``options`` to open it, or a path of this machine.

    Raises InvalidInput for options without a URL.
    """
    url = as_url(path)
    if url is not None:
        return UrlPath.of(url, options_of(path, options))
    if options:
        raise InvalidInput(f"storage_options are for URLs, and {path} is a path of this machine")
    return Path(path)


def options_of(path: str | os.PathLike[str], options: Options | None) -> Options:
    """``options``, else those that ``path`` was opened with."""
    if options is not None:
        return options
    return path.options if isinstance(path, UrlPath) else NO_OPTIONS
