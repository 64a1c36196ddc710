"""Edge lists as plain Python: what a row of text means, and the network that an engram should become."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engramdb.store import Store

Network = dict[tuple[str, str], list[float]]


def expected(edges: Iterable[tuple[str, str, float]], duplicates: str = "sum") -> Network:
    """Weights of each pair, float32 as kept; sums are taken in float64 from the smallest up."""
    weights: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for pre, post, weight in edges:
        weights[pre, post].append(float(np.float32(weight)))
    if duplicates == "keep":
        return {pair: sorted(listed) for pair, listed in weights.items()}
    sums: Network = {}
    for pair, listed in weights.items():
        total = 0.0
        for weight in sorted(listed):
            total += weight
        sums[pair] = [float(np.float32(total))]
    return sums


def stored(path: Path) -> Network:
    """The same, read from an engram by its labels, or by its ids where it has no labels."""
    network: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with Store.open(path) as store:
        for records in store.scan():
            pre = np.repeat(records.ids, np.diff(records.indptr))
            named = [
                [label if label is not None else str(one) for label, one in zip(store.labels_of(ids), ids, strict=True)]
                for ids in (pre, records.target)
            ]
            for a, b, weight in zip(*named, records.weight.tolist(), strict=True):
                network[a, b].append(weight)
    return {pair: sorted(weights) for pair, weights in network.items()}


def rows_of(path: Path) -> list[tuple[int, int, int, float]]:
    """(pre, post, projection, weight) of every stored synapse, in stored order."""
    found = []
    with Store.open(path) as store:
        for records in store.scan():
            pre = np.repeat(records.ids, np.diff(records.indptr))
            columns = (pre, records.target, records.projection, records.weight)
            found += list(zip(*(column.tolist() for column in columns), strict=True))
    return found


def order_of(labels: Iterable[str]) -> list[str]:
    """Labels as they are numbered: integers by value if all are, else texts by their bytes."""
    distinct = set(labels)
    if all(is_integer(label) for label in distinct):
        return sorted(distinct, key=int)
    return sorted(distinct, key=str.encode)


def is_integer(label: str) -> bool:
    return label.isascii() and label.isdigit() and str(int(label)) == label and int(label) < 2**64


def write_csv(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = ("pre", "post", "weight")) -> Path:
    """A CSV file as Python's csv module writes it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
    return path
