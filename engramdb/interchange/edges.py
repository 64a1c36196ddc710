"""Edge lists, CSV or Parquet, into a new engram.

Neurons are numbered (:mod:`~engramdb.interchange.numbering`), edges sorted into rows
(:mod:`~engramdb.interchange.sorter`) and written; nothing is held whole, and nothing is at the target before all is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engramdb.address import LOCAL_BITS, SEGMENT_BITS, IdArray, unpack
from engramdb.budget import memory_bytes
from engramdb.bulk import Progress, bulk_write, filling
from engramdb.errors import DiskFull, InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.interchange import columns as parquet
from engramdb.interchange import lines as text
from engramdb.interchange.ahead import ahead
from engramdb.interchange.labeltable import (
    AnyIntegers,
    AnyTexts,
    LabelTable,
    NotIntegers,
    SmallIntegers,
    TooManyLabels,
)
from engramdb.interchange.numbering import DiskNumbering, MemoryNumbering, NumberedEdges, Numbering, sizes_of
from engramdb.interchange.sorter import Edges, EdgeSorter
from engramdb.interchange.source import MAX_WEIGHT_MV, Columns, Rejected, Source, Tally
from engramdb.spec import Explicit, Layer, Projection, Spec
from engramdb.store.files import is_disk_full
from engramdb.store.workplace import put_in_place, workplace

_BASE_BYTES, _PARQUET_BYTES = 240 << 20, 96 << 20  # the interpreter with what an import loads; what Parquet adds
_BATCH_BYTES = 512  # room for each edge of a batch: several are on their way to the store at once
_LEAST_BATCH, _MOST_BATCH = 1 << 12, 1 << 20
_THREADS = 2
_LAYER_SHIFT = np.uint64(SEGMENT_BITS + LOCAL_BITS)
_SEGMENT_SHIFT = np.uint64(LOCAL_BITS)
_IDS_BATCH = 1 << 17


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    ``rows`` read = ``accepted`` + ``filtered`` (not what ``where`` asked for) + ``rejected``, of which
    ``first_rejected`` are the first ten. ``labels``: ``"integers"`` or ``"texts"``. ``synapses`` are fewer than
    ``accepted`` where duplicates were summed.
    """

    path: Path
    rows: int
    accepted: int
    filtered: int
    rejected: int
    first_rejected: list[Rejected]
    labels: str
    neurons: int
    synapses: int
    elapsed_s: float


def import_edges(
    src: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    ids: str = "pack",
    duplicates: str = "sum",
    weight_scale: float = 1.0,
    layer: str = "neurons",
    model: str = "lif",
    params: Mapping[str, Any] | None = None,
    delay_ms: float = 1.0,
    weights: str = "float32",
    weight_step: float | None = None,
    seed: int = 0,
    dt_ms: float = 1.0,
    where: str | Iterable[str] = (),
    pre: str = "pre",
    post: str = "post",
    weight: str = "weight",
    sign: str = "sign",
    delay: str = "delay",
    header: bool | None = None,
    delimiter: str | None = None,
    strict: bool = False,
    memory: str | int = "1GiB",
    progress: Progress | None = None,
) -> ImportReport:
    """Make a new engram at ``path`` from the edge list ``src`` (.csv, .tsv, .txt, each also .gz; .parquet).

    - ``pre``, ``post``, ``weight``, ``sign``, ``delay``: columns. Without a weight column every weight is 1; a sign
      column (-1, +1, -, +, inh, exc) makes weights magnitudes; a delay column has ms, a whole number of ticks each, and
      without one every delay is ``delay_ms``.
    - ``header``, ``delimiter``: of text; found out unless given. Without a header columns are called 1, 2, 3, ..., and
      the first are taken for ``pre``, ``post``, ``weight``.
    - ``where``: only rows in which a column has a value, ``"kind=chemical"``; several must all hold.
    - ``weight_scale``: mV for a weight of 1. No weight may pass 16384 mV.
    - ``ids``: ``"pack"`` numbers the labels in order from 0 (integers by value if all are integers below 2^64, else
      texts by their UTF-8 bytes) and keeps them; ``"keep"`` takes integers as the ids that they are.
    - ``duplicates``: ``"sum"`` the weights of rows with the same pair and delay, or ``"keep"`` each of them. Self loops
      stay.
    - ``layer``, ``model``, ``params``, ``delay_ms``, ``weights``, ``weight_step``, ``seed``, ``dt_ms``: as in Layer and
      Spec. With ``"keep"``, ids of several layers make several, called ``layer-index``.
    - ``strict``: let the first row that cannot be used stop the import; else such rows are counted and left out.
    - ``memory``: what the process may take in all (at the least about 300 MiB).
    - ``progress(stage, done, total)``: stages read (bytes, or rows), sort and write (edges).

    Whole or not at all: work is done in a folder beside ``path``. Should the import be killed, the same one, of the
    same file, reads it again and goes on behind the last million neurons or so that were written; any other removes
    them. Raises :class:`InvalidInput`, :class:`NotFound`, :class:`AlreadyExists`, :class:`DiskFull`,
    :class:`BudgetExceeded`.
    """
    begun = time.perf_counter()
    src, path = Path(src), Path(path)
    if ids not in ("pack", "keep"):
        raise InvalidInput(f'ids="{ids}": expected "pack" or "keep"')
    if duplicates not in ("sum", "keep"):
        raise InvalidInput(f'duplicates="{duplicates}": expected "sum" or "keep"')
    if not np.isfinite(weight_scale):
        raise InvalidInput(f"weight_scale={weight_scale}: give a finite number")
    room = _room(memory_bytes(memory), src)
    columns = Columns(pre, post, weight, sign, _conditions(where), float(weight_scale), delay, float(dt_ms))
    # wrong parameters of the model must not come to light after an hour of reading
    template = Layer(layer, 0, model, params or {}, [1], Explicit(), delay_ms, weights=weights, weight_step=weight_step)
    blank = Spec(seed=seed, layers=[template], dt_ms=dt_ms)
    tell = progress or (lambda stage, done, total: None)
    if not src.exists():
        raise NotFound(f"{src}: there is no such file")
    state = src.stat()
    purpose = {
        "import": [str(src.resolve()), state.st_size, state.st_mtime_ns], "options": [ids, duplicates, strict],
        "columns": [astuple(columns), header, delimiter], "spec": blank.to_document(),
    }  # fmt: skip
    with _in_words(src, path), workplace(path, purpose) as work:
        source = _source(src, columns, header, delimiter)
        pack = ids == "pack"
        numbering, neurons, tally, integers = _numbered(
            source, src, work, room, keep=not pack, strict=strict, tell=tell
        )
        with contextlib.closing(numbering):
            network = _Packed(neurons) if pack else _Kept(numbering.integers())
            sizes = sizes_of(neurons)
            left = room * 3 // 4 - numbering.held_bytes
            template, delays = _with_delays(template, tally, dt_ms)
            options: dict[str, Any] = {"duplicates": duplicates, "threads": _THREADS, "delay_range": delays}
            with EdgeSorter(left, work, sizes, sizes, **options) as sorter:
                _sort(numbering, sorter, network, tell)
                spec = network.spec(template, seed, dt_ms, src.name)
                made, bundles = work / "engram", Bundles.initial(spec)
                with filling(made, spec, bundles, cache_bytes=room // 16) as store:

                    def commit(done: int) -> None:
                        if done < neurons:
                            store.commit_state(0, {}, bundles, f"importing {src.name}: {done} of {neurons}")

                    if pack and not store.has_labels:
                        store.write_labels(0, numbering.labels())
                    rows = _rows(sorter.batches(_batch(room)), network, numbering)
                    synapses = bulk_write(
                        store, rows, neurons=network.ids(), progress=tell, total=sorter.count, commit=commit
                    )
                    if store.commit.message != f"imported {src.name}":
                        store.commit_state(0, {}, bundles, f"imported {src.name}")
        put_in_place(made, path)
    return ImportReport(
        path=path,
        rows=tally.rows,
        accepted=tally.accepted,
        filtered=tally.filtered,
        rejected=tally.rejected,
        first_rejected=tally.first_rejected,
        labels="integers" if integers else "texts",
        neurons=neurons,
        synapses=synapses,
        elapsed_s=time.perf_counter() - begun,
    )


@contextlib.contextmanager
def _in_words(src: Path, path: Path) -> Iterator[None]:
    """Say in our words what the file system says."""
    try:
        yield
    except PermissionError as error:
        raise InvalidInput(f"{error.filename}: permission denied") from error
    except IsADirectoryError as error:
        raise InvalidInput(f"{error.filename} is a folder, not an edge list") from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFull(
            f"disk full: {path.parent} has no room to import {src} ({error.strerror}); nothing was left there:"
            " free some space, several times the size of the source, and repeat"
        ) from error


def _room(budget: int, src: Path) -> int:
    """Bytes for tables and buffers in a budget for the whole process."""
    base = _BASE_BYTES + _PARQUET_BYTES * (src.suffix.lower() in parquet.SUFFIXES)
    return max(budget - base, budget // 4)


def _batch(room: int) -> int:
    """How many edges to write at once."""
    return min(max(room // _BATCH_BYTES, _LEAST_BATCH), _MOST_BATCH)


def _conditions(where: str | Iterable[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for condition in [where] if isinstance(where, str) else where:
        column, equals, value = condition.partition("=")
        if not equals or not column.strip():
            raise InvalidInput(f'where="{condition}": expected column=value, such as kind=chemical')
        found.append((column.strip(), value.strip()))
    return tuple(found)


def _source(src: Path, columns: Columns, header: bool | None, delimiter: str | None) -> Source:
    suffix = src.with_suffix("").suffix if src.suffix == ".gz" else src.suffix
    if suffix.lower() in text.SUFFIXES:
        return text.LineSource(src, columns, header=header, delimiter=delimiter)
    if src.suffix.lower() in parquet.SUFFIXES:
        return parquet.ColumnSource(src, columns)
    known = " ".join((*text.SUFFIXES, *parquet.SUFFIXES))
    raise InvalidInput(f"{src}: cannot tell the format from its name; known: {known}, text also with .gz")


def _numberings(work: Path, memory: int, integers: bool) -> Iterator[Callable[[], Numbering]]:
    """Ways to number labels in ``memory`` bytes, to be tried one after the other."""
    tables: list[Callable[[int], LabelTable]] = [SmallIntegers, AnyIntegers] if integers else [AnyTexts]
    for table in tables:
        yield partial(MemoryNumbering, work, table, memory)
    for salt in itertools.count():
        yield partial(DiskNumbering, work, memory, integers=integers, salt=salt)


def _numbered(
    source: Source, src: Path, work: Path, room: int, *, keep: bool, strict: bool, tell: Progress
) -> tuple[Numbering, int, Tally, bool]:
    """All edges of ``source`` numbered, after as many attempts as it takes; how many labels, and are they integers?"""
    integers = source.integers is not False
    ways = _numberings(work, room // 2, integers)
    while True:
        numbering = next(ways)()
        try:
            tally = _read(source, src, numbering, strict, tell)
            return numbering, numbering.finish(), tally, integers
        except TooManyLabels:
            numbering.close()
        except NotIntegers as error:
            numbering.close()
            if keep:
                raise InvalidInput(
                    f'{src}: "{error}" is no integer below 2^64, so it cannot be kept as an id; use ids="pack"'
                ) from None
            integers = False
            ways = _numberings(work, room // 2, integers)
        except BaseException:
            numbering.close()
            raise


def _read(source: Source, src: Path, numbering: Numbering, strict: bool, tell: Progress) -> Tally:
    tally = Tally()
    for chunk in source.chunks(tally, tell):
        if strict and tally.rejected:
            line, reason, _ = tally.first_rejected[0]
            raise InvalidInput(f"{src} line {line}: {reason}; without strict such lines are left out")
        if len(chunk.weight):
            numbering.add(chunk)
    if not tally.accepted:
        why = f": line {tally.first_rejected[0].line}: {tally.first_rejected[0].reason}" if tally.rejected else ""
        raise InvalidInput(f"{src} holds no edges: none of {tally.rows} rows could be used{why}")
    return tally


def _with_delays(template: Layer, tally: Tally, dt_ms: float) -> tuple[Layer, tuple[int, int] | None]:
    """The layer with the delays that were read, and from which to which tick they go where they differ."""
    if tally.delays is None:
        return template, None
    least, longest = tally.delays
    if least == longest:
        return replace(template, delay_ms=least * dt_ms), None
    return replace(template, delay_ms=(least * dt_ms, longest * dt_ms)), tally.delays


class _Packed:
    """Labels numbered from 0: one layer, as many segments as it takes, and a number is an id."""

    def __init__(self, neurons: int) -> None:
        self._neurons = neurons

    def note(self, edges: NumberedEdges) -> None:
        """Every pair is joined by the one projection there is."""

    def spec(self, template: Layer, seed: int, dt_ms: float, source: str) -> Spec:
        segments = sorted((segment, size) for (_, segment), size in sizes_of(self._neurons).items())
        return Spec(seed, [replace(template, segments=segments)], dt_ms=dt_ms, description=f"imported from {source}")

    def ids(self) -> Iterator[IdArray]:
        for start in range(0, self._neurons, _IDS_BATCH):
            yield np.arange(start, min(start + _IDS_BATCH, self._neurons), dtype=np.uint64)

    def synapses(self, edges: Edges) -> Edges:
        return edges


class _Kept:
    """Labels that are ids: the layers and segments that occur, each as large as its largest id."""

    def __init__(self, ids: IdArray) -> None:
        self._ids = ids
        self._sizes: dict[tuple[int, int], int] = {}
        for part in self.ids():
            last_of = np.append(np.flatnonzero(np.diff(part >> _SEGMENT_SHIFT)), len(part) - 1)
            for last in part[last_of].tolist():
                layer, segment, local = unpack(last)
                self._sizes[layer, segment] = local + 1
        self._layers = sorted({layer for layer, _ in self._sizes})
        # numbers are in order of ids, so each layer's are consecutive
        self._first = np.searchsorted(ids, np.array(self._layers, dtype=np.uint64) << _LAYER_SHIFT)
        self._joined: set[int] = set()
        self._projections = np.zeros(1, dtype=np.uint64)

    def note(self, edges: NumberedEdges) -> None:
        """Remember which layers are joined."""
        self._joined.update(np.unique(self._pairs(edges.pre, edges.post)).tolist())

    def _pairs(self, pre: IdArray, post: IdArray) -> npt.NDArray[np.int64]:
        """Which layers each edge joins, as one integer."""
        if len(self._layers) == 1:
            return np.zeros(len(pre), dtype=np.int64)
        place, other = (np.searchsorted(self._first, numbers, side="right") - 1 for numbers in (pre, post))
        return place * len(self._layers) + other

    def spec(self, template: Layer, seed: int, dt_ms: float, source: str) -> Spec:
        alone = len(self._layers) == 1
        names = [template.name if alone else f"{template.name}-{index}" for index in self._layers]
        layers = [
            replace(
                template,
                name=name,
                index=index,
                segments=sorted((segment, size) for (layer, segment), size in self._sizes.items() if layer == index),
                wiring=template.wiring if alone else None,
            )
            for name, index in zip(names, self._layers, strict=True)
        ]
        joined = [] if alone else [divmod(pair, len(names)) for pair in sorted(self._joined)]
        projections = [Projection(names[a], names[b], Explicit(), delay_ms=template.delay_ms) for a, b in joined]
        return Spec(seed, layers, projections, dt_ms, description=f"imported from {source}")

    def ids(self) -> Iterator[IdArray]:
        for start in range(0, len(self._ids), _IDS_BATCH):
            yield np.array(self._ids[start : start + _IDS_BATCH])

    def synapses(self, edges: Edges) -> Edges:
        projection = np.searchsorted(sorted(self._joined), self._pairs(edges.pre, edges.post)).astype(np.uint16)
        return Edges(self._ids[edges.pre], self._ids[edges.post], edges.weight, projection, edges.delay)


def _sort(numbering: Numbering, sorter: EdgeSorter, network: _Packed | _Kept, tell: Progress) -> None:
    for edges in ahead(numbering.edges()):
        network.note(edges)
        sorter.add(edges.pre, edges.post, edges.weight, delay=edges.delay if sorter.own_delays else None)
        tell("sort", sorter.count, None)


def _rows(batches: Iterable[Edges], network: _Packed | _Kept, numbering: Numbering) -> Iterator[Edges]:
    """All rows in order; InvalidInput where the weights of one pair sum to too much."""
    for edges in batches:
        beyond = np.abs(edges.weight) > np.float32(MAX_WEIGHT_MV)
        if beyond.any():
            at = int(np.argmax(beyond))
            one, other = (numbering.label(int(number[at])) for number in (edges.pre, edges.post))
            raise InvalidInput(
                f"the weights from {one} to {other} sum to {edges.weight[at]:g} mV, beyond {MAX_WEIGHT_MV:g}:"
                f' lower weight_scale, or keep them apart with duplicates="keep"'
            )
        yield network.synapses(edges)
