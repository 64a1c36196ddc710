"""The topology of a living engram, without a pass over the whole of it; see ``docs/topology.md``.

>>> from engramdb.topology import Settings, Tracker
>>> tracker = Tracker(Settings(clusters="components"), every=100)
>>> reading = tracker.measure(engram)  # doctest: +SKIP
>>> reading.complexity, reading.b1, reading.clusters, reading.mean_dw  # doctest: +SKIP
"""

from engramdb.topology.clusters import Coarse
from engramdb.topology.graph import Graph, Shape
from engramdb.topology.patches import Patch
from engramdb.topology.probe import Probed
from engramdb.topology.reading import COLUMNS, Parts, Reading, trend
from engramdb.topology.sentinels import Sentinels
from engramdb.topology.settings import Settings
from engramdb.topology.tracker import Tracker

__all__ = [
    "COLUMNS", "Coarse", "Graph", "Parts", "Patch", "Probed", "Reading", "Sentinels", "Settings", "Shape", "Tracker",
    "trend",
]  # fmt: skip
