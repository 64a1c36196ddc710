"""Learning rules: what spikes do to the weights of a projection. One small module describes one rule.

>>> from engramdb import STDP, Projection, FixedOutdegree
>>> Projection("a", "b", FixedOutdegree(k=10), plasticity=[STDP(w_max=2.0)]).plasticity[0].tau_plus_ms
20.0
"""

from __future__ import annotations

from engramdb.learning.hebbian import Hebbian
from engramdb.learning.re_vgsp import ReVGSP
from engramdb.learning.rule import Bounded, LearningRule
from engramdb.learning.scaling import Scaling
from engramdb.learning.stdp import STDP

LEARNING: dict[str, type[LearningRule]] = {kind.rule: kind for kind in (STDP, Hebbian, ReVGSP, Scaling)}
"""The rules by their names in documents."""

__all__ = ["LEARNING", "STDP", "Bounded", "Hebbian", "LearningRule", "ReVGSP", "Scaling"]
