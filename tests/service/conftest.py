"""A service for the tests of a module, with one engram that has run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.served import EXAMPLE, made, served


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "root"


@pytest.fixture(scope="module")
def api(root: Path) -> Iterator[httpx.Client]:
    """A client of a service that has the engram ``brain``, run for 20 ticks, with the snapshot ``driven``."""
    root.mkdir()
    with served(root) as client:
        made(client)
        client.post(EXAMPLE + "/stimuli", json={"ids": list(range(100)), "amplitude": 20.0, "duration": 3})
        assert client.post(EXAMPLE + "/ticks", json={"ticks": 20}).status_code in (200, 202)
        assert client.post(EXAMPLE + "/snapshots", json={"name": "driven"}).status_code == 201
        yield client
