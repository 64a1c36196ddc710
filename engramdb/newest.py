"""The newest reading of the topology, whoever took it: a run, a question, or a growth cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engramdb.growth.standing import Standing
    from engramdb.topology import Reading


class Newest(NamedTuple):
    """Taken at the end of ``tick``; ``source``: "run", "question" or "cycle".

    ``complexity``, from 0 to 1; ``mean_dw``: of a cycle by what part mean W moved, else mean |dW| in a tick;
    ``clusters``; ``b1``: holes of a patch. Those of one source are alike; a cycle looks at less than the others.
    """

    source: str
    tick: int
    complexity: float
    mean_dw: float
    clusters: float
    b1: float

    @classmethod
    def of(cls, source: str, reading: Reading) -> Newest:
        """What is kept of a reading."""
        clusters = float(reading.clusters)
        return cls(source, reading.tick, reading.complexity, reading.mean_dw, clusters, reading.b1)

    @classmethod
    def of_cycle(cls, standing: Standing | None) -> Newest | None:
        """That of a growth cycle: of its window, or where that begins anew the last of the cycle before."""
        if standing is None:
            return None
        if standing.progress.window:
            read = standing.progress.window[-1]
            return cls("cycle", read.tick, read.complexity, read.mean_dw, read.clusters, read.b1)
        if standing.history:
            last = standing.history[-1]
            return cls("cycle", last.ended, last.complexity, last.mean_dw, last.clusters, last.b1)
        return None
