"""Encoders: user data as spikes. Each gives a :class:`Spikes`, for ``e.play(*spikes)``.

>>> rate([0.2, 0.9], [3, 4], ticks=4, hz=(0.0, 500.0)).ids.tolist()
[4, 4]
"""

from __future__ import annotations

from engramdb.encoding.latency import latency
from engramdb.encoding.rate import rate
from engramdb.encoding.spikes import Spikes
from engramdb.encoding.symbols import SymbolGroups

__all__ = ["Spikes", "SymbolGroups", "latency", "rate"]
