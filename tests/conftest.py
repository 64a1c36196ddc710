"""What all tests share: how hard Hypothesis tries.

``ci``, the default, draws the same bounded set of examples in every run, so that a red run stays red. ``thorough``
(``make test-slow``, or HYPOTHESIS_PROFILE=thorough) draws new ones each time, many more, and remembers failures. A test
that needs fewer examples because each is expensive divides ``settings().max_examples`` instead of naming a number, so
that the profile keeps its say.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline: the first example of a test compiles kernels, and shared machines stall.
settings.register_profile("ci", max_examples=25, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "thorough", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
