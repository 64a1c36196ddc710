"""Writing in bulk, killed at any instant, goes on behind the last whole part; in the end nothing shows it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

import engramdb
from engramdb import bulk
from engramdb.errors import AlreadyExists
from engramdb.store import Store
from tests.bulknursery import BUILT, GROWN, NETWORK, Nursery
from tests.networks import ids_of


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as started:
        yield started


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PART_LEAVES", 1)


def everything(path: Path) -> list[object]:
    """Bytes of all leaves, arrays of the state, labels, bundles, and what the log says; not when it was, nor names."""
    with Store.open(path) as store, sqlite3.connect(path / "catalog.sqlite") as catalog:
        names = dict(catalog.execute("SELECT pack, name FROM packs").fetchall())
        leaves = []
        for ref in store.directory.leaves():
            with (path / "packs" / f"{names[ref.pack]}.pack").open("rb") as pack:
                pack.seek(ref.offset)
                leaves.append((ref.low, ref.commit, ref.leaf, pack.read(ref.length)))
        state = {name: array.tobytes() for name, array in store.read_state().items()}
        some = np.arange(0, 5000, 7, dtype=np.uint64)
        log = [(c.number, c.tick, c.message, c.neurons, c.synapses) for c in store.log()]
        return [leaves, state, store.labels_of(some), store.bundles.to_json(), log]


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def driven(path: Path) -> None:
    """A network in the middle of something."""
    with engramdb.create(path, NETWORK) as e:
        e.stimulate(range(0, 3000, 9), 16.0, duration=3)
        e.run(4)
        e.set_weight(5, e.synapses(5).targets[0], 2.0)
        e.stimulate(range(0, 3000, 5), 16.0, at=e.tick + 3, duration=2)


@pytest.mark.parametrize("first", [0, 1, 6])
def test_growing_that_is_killed_goes_on_when_the_engram_is_opened(nursery: Nursery, tmp_path: Path, first: int) -> None:
    whole, path = tmp_path / "whole.engram", tmp_path / "net.engram"
    driven(whole)
    shutil.copytree(whole, path)
    steps = nursery.work({"kind": "grow", "path": str(whole)})
    assert steps == 7
    expected = everything(whole)

    assert nursery.work({"kind": "grow", "path": str(path)}, kill_after=first) < steps
    assert engramdb.verify(path).ok
    with engramdb.open(path) as half, engramdb.open(whole) as reader:
        assert (len(half) > 3000) >= (first > 1), "a part is committed before the next is written"
        for neuron in (3000, 3000 + GROWN // 2, 2999 + GROWN) if len(half) > 3000 else ():
            np.testing.assert_array_equal(half.synapses(neuron).targets, reader.synapses(neuron).targets)
            np.testing.assert_array_equal(half.synapses(neuron).weights, reader.synapses(neuron).weights)
    nursery.work({"kind": "open", "path": str(path)}, kill_after=1)
    nursery.work({"kind": "open", "path": str(path)}, kill_after=0)
    told: list[tuple[int, int]] = []
    with engramdb.open(path, "r+", progress=lambda *step: told.append(step)) as e:
        if len(e) == 3000:  # it was not journaled yet
            assert first == 0
            e.grow("a", GROWN, materialize=True, progress=lambda *step: told.append(step))
        assert told == sorted(told)
        assert told[-1] == (GROWN, GROWN)
        assert everything(path) == expected
        with engramdb.open(whole, "r+") as twin:
            run, other = e.run(12, record=("spikes",)), twin.run(12, record=("spikes",))
        assert len(run.spikes[1]) > 100
        np.testing.assert_array_equal(run.spikes[1], other.spikes[1])
    assert engramdb.verify(path).ok


def test_going_back_into_the_middle_of_a_growth_completes_it(tmp_path: Path) -> None:
    path = tmp_path / "net.engram"
    driven(path)
    with engramdb.open(path, "r+") as e:
        e.grow("a", 30_000, materialize=True)
        fields = e.neurons(ids_of(e)).fields
        middle = next(commit.number for commit in e.log() if commit.message.startswith("growing a: 1"))
        e.branch("other", middle)
        assert e.restore(middle).message == "grew a by 30000"
        for branch in ("main", "other"):
            with nullcontext(e) if branch == "main" else engramdb.open(path, "r+", branch=branch) as back:
                assert back.neuron(32_999).state == "dormant"
                found = back.neurons(ids_of(back)).fields
                assert all(np.array_equal(column, found[name]) for name, column in fields.items())
                back.close()
    assert engramdb.verify(path).ok


@pytest.mark.parametrize("kills", [(0, 1), (5, 5, 1)])
def test_creation_that_is_killed_goes_on_when_it_is_repeated(
    nursery: Nursery, tmp_path: Path, kills: tuple[int, ...]
) -> None:
    whole, path = tmp_path / "whole.engram", tmp_path / "net.engram"
    steps = nursery.work({"kind": "create", "path": str(whole)})
    left = steps
    for kill in kills:
        done = nursery.work({"kind": "create", "path": str(path)}, kill_after=kill)
        assert done <= left
        assert not path.exists()
        assert len(hidden(tmp_path)) <= 1
        left -= max(done - 1, 0)  # the last may not have been committed
    told: list[tuple[int, int]] = []
    engramdb.create(path, BUILT, memory="32MiB", progress=lambda *step: told.append(step)).close()
    assert len(told) <= left
    assert hidden(tmp_path) == []
    assert everything(path) == everything(whole)
    assert engramdb.verify(path).ok


def test_creation_of_something_else_starts_over(nursery: Nursery, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.engram", tmp_path / "net.engram"
    nursery.work({"kind": "create", "path": str(path)}, kill_after=4)
    assert len(hidden(tmp_path)) == 1
    other = replace(BUILT, seed=6)
    for place in (path, whole):
        engramdb.create(place, other).close()
    assert hidden(tmp_path) == []
    assert everything(path) == everything(whole)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network of 40,000 neurons with text labels."""
    random = np.random.default_rng(1)
    pre, post = (random.integers(0, 40_000, 120_000) for _ in range(2))
    path = tmp_path_factory.mktemp("source") / "edges.csv"
    lines = (f"n{a},n{b},{w:.2f}" for a, b, w in zip(pre, post, random.uniform(0, 9, len(pre)), strict=True))
    path.write_text("\n".join(["pre,post,weight", *lines]))
    return path


@pytest.mark.parametrize("kills", [(0, 1), (3, 2)])
def test_an_import_that_is_killed_goes_on_when_it_is_repeated(
    nursery: Nursery, tmp_path: Path, source: Path, kills: tuple[int, ...]
) -> None:
    whole, path = tmp_path / "whole.engram", tmp_path / "net.engram"
    expected = engramdb.import_edges(source, whole)
    for kill in kills:
        nursery.work({"kind": "import", "path": str(path), "source": str(source)}, kill_after=kill)
        assert not path.exists()
        assert len(hidden(tmp_path)) == 1 or kill == 0
    told: list[int] = []
    report = engramdb.import_edges(
        source, path, progress=lambda stage, done, _: told.append(done) if stage == "write" else None
    )
    assert len(told) < 5 if sum(kills) > 1 else told
    assert (report.neurons, report.synapses, report.accepted) == (expected.neurons, expected.synapses, 120_000)
    assert hidden(tmp_path) == []
    assert everything(path) == everything(whole)
    assert engramdb.verify(path).ok


def test_an_import_of_a_source_that_has_changed_starts_over(nursery: Nursery, tmp_path: Path, source: Path) -> None:
    changed = Path(shutil.copy(source, tmp_path / "edges.csv"))
    path, whole = tmp_path / "net.engram", tmp_path / "whole.engram"
    nursery.work({"kind": "import", "path": str(path), "source": str(changed)}, kill_after=3)
    text = changed.read_text()
    changed.write_text(text.replace("\nn1,", "\nm1,"))
    os.utime(changed, ns=(1, 1))
    for place in (path, whole):
        engramdb.import_edges(changed, place)
    assert everything(path) == everything(whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grow", "create", "import"])
def test_kills_at_random_instants_leave_no_trace(nursery: Nursery, tmp_path: Path, source: Path, kind: str) -> None:
    random = Random(kind)
    whole, begun = tmp_path / "whole.engram", tmp_path / "begun.engram"
    driven(begun)
    if kind == "grow":
        shutil.copytree(begun, whole)
    request = {"kind": kind, "source": str(source)}
    nursery.work({**request, "path": str(whole)})
    expected = everything(whole)
    for trial in range(10):
        path = tmp_path / f"{trial}.engram"
        if kind == "grow":
            shutil.copytree(begun, path)
        asked = {**request, "path": str(path)}
        for _ in range(4):
            if nursery.work(asked, kill_after_seconds=random.uniform(0.0, 0.6)) == -1:
                break  # it was faster
            asked["kind"] = "open" if kind == "grow" and _grown(path) else kind
            if kind != "grow" and path.exists():
                with pytest.raises(AlreadyExists):  # killed between giving it its place and clearing up
                    engramdb.create(path, BUILT)
                break
        else:
            nursery.work(asked)
        assert everything(path) == expected
        assert engramdb.verify(path).ok
        assert hidden(tmp_path) == []
        shutil.rmtree(path)


def _grown(path: Path) -> bool:
    """Whether growing is in the journal or in a commit."""
    with Store.open(path) as store:
        return len(store.bundles.bundles) > 1 or any(frame.kind == "grow" for frame in store.journal_frames())
