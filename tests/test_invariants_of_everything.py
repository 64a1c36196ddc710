"""Invariants 1 to 3 over all that there is at once: models, delays, stimuli, commands, budgets, threads and cuts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engramdb import Spec
from tests.everything import Way, assert_same, lived, specs, stories, ways


@given(spec=specs(), story=stories, how=st.lists(ways, min_size=1, max_size=2))
@settings(max_examples=settings().max_examples)
def test_a_story_ends_the_same_however_it_is_lived(spec: Spec, story: list[tuple[str, int]], how: list[Way]) -> None:
    whole = lived(spec, story, Way(), twin=True)
    for way in how:
        assert_same(whole, lived(spec, story, way))
