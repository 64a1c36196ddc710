"""Invariants, made testable: a file layer that fails on purpose, a store in a dict, and strategies.

For this project's own tests and for those of programs that build on :mod:`engramdb.store`. Hypothesis is
needed only here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from engramdb.faultyfiles import FaultyFiles, PowerCut
from engramdb.store import FORGOTTEN, GENERATED, KEEP, STORED, Records

__all__ = ["DictStore", "FaultyFiles", "Neuron", "PowerCut", "Row", "State", "merged", "neurons_of", "records"]

State = tuple[tuple[str, bytes], ...]
Row = tuple[tuple[int, int, bytes, int], ...]
Neuron = tuple[State, int, Row]


class DictStore:
    """What a store must behave like: neurons in a dict, commits as copies of it."""

    def __init__(self) -> None:
        self.neurons: dict[int, Neuron] = {}
        self.commits: dict[int, dict[int, Neuron]] = {1: {}}

    def write(self, changes: Records) -> None:
        for i, (neuron, (state, kind, row)) in enumerate(neurons_of(changes).items()):
            if kind == FORGOTTEN:
                self.neurons.pop(neuron, None)
                continue
            before, old_kind, old_row = self.neurons.get(neuron, (state, GENERATED, ()))
            if kind == KEEP:
                kind, row = old_kind, old_row
            columns = dict(before)
            columns.update((name, value) for name, value in state if not _is_kept(changes, name, i))
            self.neurons[neuron] = tuple(sorted(columns.items())), kind, row

    def commit(self, number: int) -> None:
        self.commits[number] = dict(self.neurons)

    def restore(self, number: int) -> None:
        self.neurons = dict(self.commits[number])


def _is_kept(changes: Records, column: str, i: int) -> bool:
    return column in changes.kept and bool(changes.kept[column][i])


def neurons_of(records: Records) -> dict[int, Neuron]:
    """Records as a dict that compares bit for bit."""
    found: dict[int, Neuron] = {}
    for i, neuron in enumerate(records.ids.tolist()):
        state = tuple((name, column[i].tobytes()) for name, column in sorted(records.state.items()))
        start, stop = records.indptr[i : i + 2].tolist()
        row = tuple(
            (int(records.projection[j]), int(records.target[j]), records.weight[j].tobytes(), _delay(records, j))
            for j in range(start, stop)
        )
        found[neuron] = state, int(records.row_kind[i]), row
    return found


def _delay(records: Records, synapse: int) -> int:
    return 0 if records.delay is None else int(records.delay[synapse])


def merged(parts: Iterator[Records]) -> dict[int, Neuron]:
    """All neurons of a scan."""
    found: dict[int, Neuron] = {}
    for part in parts:
        found.update(neurons_of(part))
    return found


@st.composite
def records(
    draw: st.DrawFn,
    *,
    layer: int = 0,
    locals_: st.SearchStrategy[int] = st.integers(0, 300),  # noqa: B008
    segments: tuple[int, ...] = (0, 1),
    most: int = 40,
    longest_row: int = 6,
    projections: int = 1,
    forget: bool = True,
    delays: bool = False,
) -> Records:
    """Changes to neurons of one layer: any kinds of rows, near and far targets, weights with odd bit patterns.

    ``delays``: with delays of each synapse.
    """
    pairs = draw(st.sets(st.tuples(st.sampled_from(segments), locals_), max_size=most))
    ids = np.array(sorted(layer << 48 | segment << 32 | local for segment, local in pairs), np.uint64)
    random_ = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = random_.choice([KEEP, STORED, STORED, GENERATED] + [FORGOTTEN] * forget, ids.size).astype(np.uint8)
    lengths = np.where(kinds == STORED, random_.integers(0, longest_row + 1, ids.size), 0)
    indptr = np.zeros(ids.size + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    nnz = int(indptr[-1])
    near = np.repeat(ids, lengths) + random_.integers(0, 140, nnz).astype(np.uint64)
    far = random_.integers(0, 2**64 - 1, nnz, dtype=np.uint64, endpoint=True)
    weights = np.where(random_.random(nnz) < 0.5, np.float32(1.0), random_.normal(size=nnz).astype(np.float32))
    return Records(
        ids=ids,
        state={
            "spike_count": random_.integers(0, 3, ids.size).astype(np.uint32),
            "last_spike": random_.integers(-5, 2**62, ids.size),
            "trace": random_.integers(0, 2**32, (ids.size, 2), dtype=np.uint32).view(np.float32),
        },
        row_kind=kinds,
        indptr=indptr,
        projection=random_.integers(0, projections, nnz).astype(np.uint16),
        target=np.where(random_.random(nnz) < 0.7, near, far),
        weight=weights,
        delay=random_.integers(1, random_.choice([3, 1 << 16]), nnz).astype(np.uint16) if delays else None,
    )
