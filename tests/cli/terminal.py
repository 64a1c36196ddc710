"""What a command says, and the sources that the tests of the command line make engrams of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

SPEC = """
seed = 7
name = "small"

[[layers]]
name = "exc"
segments = [2000]
wiring = { rule = "SmallWorld", k = 8, weight = [2.0, 5.0] }

[[layers]]
name = "inh"
segments = [200]

[[projections]]
pre = "exc"
post = "inh"
rule = "FixedOutdegree"
k = 2
weight = 1.0

[[projections]]
pre = "inh"
post = "exc"
rule = "Bernoulli"
p = 0.01
weight = 0.5
sign = -1
"""

EDGES = """pre,post,weight,kind
AVAL,AVBL,3,chemical
AVAL,DA1,2.5,chemical
AVBL,DA1,1,electrical
DA1,AVAL,4,chemical
"""


class Said(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout, which is one JSON document."""
        return json.loads(self.out)


Cli = Callable[..., Said]


def refused(said: Said, code: int, *words: str) -> None:
    """One line on stderr with ``words`` in it, nothing on stdout, and the exit code."""
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("engramdb: ")
    assert said.err.count("\n") == 1
    for word in words:
        assert word in said.err
