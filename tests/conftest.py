"""What all tests share: how hard Hypothesis tries.

``ci``, the default, draws the same bounded set of examples in every run, so that a red run stays red. ``thorough``
(``make test-slow``, or HYPOTHESIS_PROFILE=thorough) draws new ones each time, many more, and remembers failures. A test
that needs fewer examples because each is expensive divides ``settings().max_examples`` instead of naming a number, so
that the profile keeps its say.
"""

from __future__ import annotations

import fcntl
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# No deadline: the first example of a test compiles kernels, and shared machines stall.
settings.register_profile("ci", max_examples=20, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "thorough", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile what nearly all tests run, before the first of them, and once for all processes of the suite.

    Otherwise it falls into the time of whatever runs first, and a run that seems to take long makes checkpoints.
    """
    import engramdb

    folder = tmp_path_factory.mktemp("compiled")
    with (folder.parent.parent / "compiling").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        wiring = engramdb.SmallWorld(k=4, span=4, weight=8.0)
        spec = engramdb.Spec(layers=[engramdb.Layer("a", segments=[100], wiring=wiring)])
        with engramdb.create(folder / "net.engram", spec) as e:
            e.stimulate(np.arange(50), 20.0, duration=3)
            e.run(10, record=("spikes",))
            e.set_weight(0, e.synapses(0).targets, 1.0)
            e.run(10)
