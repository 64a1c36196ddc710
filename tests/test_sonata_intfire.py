"""The SONATA example 300_intfire: its published spikes come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import sonata
from tests.networks import make


def pairs(tick: np.ndarray, node: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(tick.tolist(), node.tolist(), strict=True))


def test_the_files_hold_the_network_they_name() -> None:
    kind = sonata.models()
    assert {name: int((kind == name).sum()) for name in sonata.TAU_MS} == {"LIF_exc": 240, "LIF_inh": 60}
    assert [len(sonata.edges(name).pre) for name in ("v1", "lgn", "tw")] == [61_560, 17_160, 9_000]
    assert [len(train.node) for train in sonata.inputs().values()] == [2_738, 295]
    recurrent = sonata.edges("v1")
    inhibitory = kind[recurrent.pre] == "LIF_inh"
    assert (recurrent.weight[inhibitory] < 0).all()
    assert (recurrent.weight[~inhibitory] > 0).all()


@pytest.mark.parametrize(
    ("dt_ms", "until_ms", "spikes", "lost"),
    # 0.1 ms: events moved to their tick decay a little longer, and two cells whose m was 1.0011 only come to 0.9999
    [(0.1, 1000.0, 1_159, 2), pytest.param(0.05, sonata.DURATION_MS, 4_322, 0, marks=pytest.mark.slow)],
)
def test_the_published_spikes_come_out(tmp_path: Path, dt_ms: float, until_ms: float, spikes: int, lost: int) -> None:
    with make(tmp_path, sonata.spec(dt_ms)) as e:
        sonata.connect(e)
        found = pairs(*sonata.run(e, until_ms=until_ms))
    known = sonata.published()
    early = known.time_ms < until_ms
    expected = pairs(sonata.ticks_of(known.time_ms[early], dt_ms), known.node[early])
    assert len(expected) == spikes
    assert found <= expected
    assert len(expected - found) == lost
