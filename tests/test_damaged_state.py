"""A commit whose in-flight state is damaged: what is stored can be asked for, and verify says what a snapshot lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import engramdb
from engramdb import Layer, SmallWorld, Spec
from engramdb.errors import Damaged
from engramdb.store.catalog import FILE_NAME

_SPEC = Spec(seed=4, layers=[Layer("a", segments=[60], wiring=SmallWorld(k=4, span=9, weight=(4.0, 9.0)))])


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Spikes are under way at snapshots "s1" and "s2", of one commit, whose state is damaged."""
    path = tmp_path / "a.engram"
    with engramdb.create(path, _SPEC) as e:
        e.stimulate(range(10), 20.0)
        e.run(3)
        e.set_weight(7, e.synapses(7).targets[0], 2.5)
        e.snapshot("s1")
        e.snapshot("s2")
        number = e.commit.number
        e.stimulate(range(10), 20.0)
        e.run(3)
    with closing(sqlite3.connect(path / FILE_NAME)) as catalog:
        pack, offset, length = catalog.execute(
            "SELECT state_pack, state_offset, state_length FROM commits WHERE number = ?", (number,)
        ).fetchone()
        (name,) = catalog.execute("SELECT name FROM packs WHERE pack = ?", (pack,)).fetchone()
    file = path / "packs" / f"{name}.pack"
    data = bytearray(file.read_bytes())
    data[offset + length // 2] ^= 1
    file.write_bytes(data)
    return path


def test_rows_and_records_of_a_snapshot_with_a_damaged_state_can_be_asked_for(damaged: Path) -> None:
    with engramdb.open(damaged) as e:
        assert 2.5 in e.synapses(7, at="s1").weights
        with pytest.raises(Damaged, match=r"in-flight state of commit .*rows and records of this commit can be read"):
            e.neuron(7, at="s1")
    with engramdb.open(damaged, at="s1") as e:
        assert 2.5 in e.synapses(7).weights


def test_a_snapshot_with_a_damaged_state_is_named_with_what_can_be_done(damaged: Path) -> None:
    (problem,) = engramdb.verify(damaged).problems
    assert problem.snapshots == ["s1", "s2"]
    assert problem.past
    assert "restore another commit" not in str(problem)
    assert 'snapshots "s1", "s2" can be asked for rows and records, but not restored' in str(problem)
    # the remedy is one
    with engramdb.open(damaged, "r+") as e:
        e.branch("mended", at="s1")
    assert engramdb.repair(damaged).refused
    assert engramdb.repair(damaged, drop_lost=True).commits.keys() == {"mended"}
    with engramdb.open(damaged, "r+", branch="mended") as e:
        assert 2.5 in e.synapses(7).weights
        assert "charged" not in {e.neuron(i).state for i in range(10)}
        e.run(2)


def test_a_restore_to_a_damaged_state_is_refused_before_anything_changes(damaged: Path) -> None:
    with engramdb.open(damaged, "r+") as e:
        before = e.commit
        with pytest.raises(Damaged, match="in-flight state"):
            e.restore("s1")
        assert e.commit == before
        e.run(1)
