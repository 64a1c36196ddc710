"""Invariants 1 to 3 over all that there is at once: models, delays, stimuli, commands, budgets, threads and cuts."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import engramdb
from engramdb import FixedOutdegree, Layer, Projection, SmallWorld, Spec
from tests.everything import Way, specs, stories, ways
from tests.life import Life, assert_same, lived
from tests.test_model_networks import DRIVEN


@settings(max_examples=max(5, settings().max_examples // 5))
@given(spec=specs(), story=stories, how=st.lists(ways, min_size=1, max_size=2))
def test_a_story_ends_the_same_however_it_is_lived(spec: Spec, story: list[tuple[str, int]], how: list[Way]) -> None:
    """Within a budget that barely fits, by several threads, off a slow disk, cut anywhere; and as the twin has it."""
    whole = lived(spec, story, Way(), twin=True)
    for way in how:
        assert_same(whole, lived(spec, story, way))


def test_another_process_goes_on_in_mid_flight(tmp_path: Path) -> None:
    """One that dies without closing, with long delays, stimuli, own parameters and a growth in its journal."""
    varying = DRIVEN["lif"][3]
    spec = Spec(
        seed=6,
        layers=[
            Layer("a", params=varying, segments=[60, 60], columns=[*varying, "refractory"], delay_ms=(1.0, 90.0),
                  wiring=SmallWorld(k=8, span=9, weight=(2.0, 9.0))),
            Layer("b", segments=[50], weights="float16", materialize=True),
        ],
        projections=[
            Projection("a", "b", FixedOutdegree(k=6), weight=(1.0, 6.0), delay_ms=(1.0, 30.0)),
            Projection("b", "a", FixedOutdegree(k=3), weight=(0.0, 4.0), sign=-1),
        ],
    )  # fmt: skip
    first = [("pulse", 1), ("poisson", 2), ("train", 3), ("parameters", 4), ("run", 1), ("connect", 5), ("grow", 6)]
    rest = [("current", 8), ("run", 7), ("stop", 9), ("parameters", 10), ("run", 2), ("forget", 11), ("run", 4)]
    whole = lived(spec, [*first, *rest], Way())
    path = tmp_path / "net.engram"
    engramdb.create(path, spec).close()
    life = Life(path, Way())
    life.live(first)
    before = life.spikes()
    life.leave(cleanly=False)
    code = (
        "import pickle, sys\nfrom pathlib import Path\nfrom tests.everything import Way\nfrom tests.life import Life\n"
        "life = Life(Path(sys.argv[1]), Way(memory=100_000, threads=2))\n"
        "life.live(pickle.loads(bytes.fromhex(sys.argv[2])))\n"
        "Path(sys.argv[3]).write_bytes(pickle.dumps(life.content()))\n"
    )
    told = [str(path), pickle.dumps(rest).hex(), str(tmp_path / "content")]
    subprocess.run([sys.executable, "-c", code, *told], check=True, cwd=Path(__file__).parents[1])
    content = pickle.loads((tmp_path / "content").read_bytes())
    content |= {name: np.concatenate([column, content[name]]) for name, column in before.items()}
    content["said"] = {}
    assert len(whole["spike id"]) > 300
    assert_same(whole, content)
