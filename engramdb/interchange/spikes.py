"""Spike files as input: SONATA (HDF5) and Parquet, read in parts.

- SONATA: ``/spikes/<population>/node_ids`` and ``timestamps`` (ms), or the older ``/spikes/gids`` and ``timestamps``.
  Node ids are those of the file: ``layer`` or ``mapping`` says which neurons they mean.
- Parquet: a column ``tick`` or ``time_ms``, and one of ``id`` (neuron ids as they are), ``label`` (imported labels)
  and ``node_id``; a column ``amplitude`` (mV) if there is one. What ``run --record`` writes can be read.

A spike at time T is in tick ceil(T / dt), as everywhere: tick t ends at t dt; time 0 is in tick 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray, as_ids
from engramdb.errors import InvalidInput, NotFound
from engramdb.growth.bundle import Bundles
from engramdb.spec import Spec

Int64Array = npt.NDArray[np.int64]
Part: TypeAlias = tuple[IdArray, Int64Array, npt.NDArray[np.float32] | None]

_SPIKES_A_PART = 1 << 20
_HDF5 = (".h5", ".hdf5", ".sonata")


@dataclass(frozen=True)
class Target:
    """Which neurons node ids mean: the positions of ``layer``, or what ``mapping`` (dict, or ids by node id) says."""

    spec: Spec
    bundles: Bundles
    resolve: Callable[[Any], IdArray]
    layer: str | int | None = None
    mapping: Mapping[Any, Any] | npt.ArrayLike | None = None

    def of_nodes(self, nodes: npt.NDArray[Any], path: Path) -> IdArray:
        """uint64 ids; :class:`InvalidInput` where a node has none."""
        if self.mapping is not None:
            return self._mapped(nodes, path)
        if self.layer is None:
            raise InvalidInput(f"{path} holds node ids: say which neurons they are with layer= or mapping=")
        index = self.spec.layer(self.layer).index
        segments = sorted(segment for layer, segment in self.bundles.sizes if layer == index)
        ends = np.cumsum([self.bundles.sizes[index, segment] for segment in segments], dtype=np.int64)
        wrong = nodes[(nodes < 0) | (nodes >= ends[-1])]
        if len(wrong):
            raise InvalidInput(f"{path}: node {wrong[0]} is not in layer {self.layer}, which has {ends[-1]:,} neurons")
        place = np.searchsorted(ends, nodes.astype(np.int64), side="right")
        local = nodes.astype(np.int64) - np.concatenate([[0], ends])[place]
        return (
            np.uint64(index << 48)
            | np.array(segments, dtype=np.uint64)[place] << np.uint64(32)
            | local.astype(np.uint64)
        )

    def _mapped(self, nodes: npt.NDArray[Any], path: Path) -> IdArray:
        unique, back = np.unique(nodes, return_inverse=True)
        if isinstance(self.mapping, Mapping):
            try:
                ids = self.resolve([self.mapping[node] for node in unique.tolist()]) if len(unique) else as_ids([])
            except KeyError as error:
                raise InvalidInput(f"{path}: node {error.args[0]} is not in mapping=") from None
            return ids[back]
        table = np.asarray(self.mapping)
        if len(unique) and not 0 <= unique[0] <= unique[-1] < len(table):
            raise InvalidInput(f"{path}: mapping= has {len(table)} ids, and there is a node {unique[-1]}")
        return self.resolve(table[unique])[back] if len(unique) else as_ids([])


def read_spikes(
    path: Path, dt_ms: float, target: Target, population: str | None = None, ticks: tuple[int, int | None] = (1, None)
) -> Iterator[Part]:
    """``(ids, ticks, amplitudes or None)`` of the spikes in ``ticks`` (first, last or None), in the order of the file.

    Raises :class:`NotFound` without a file, :class:`InvalidInput` where it is no file of spikes.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file of spikes")
    if path.suffix.lower() in _HDF5:
        parts = _sonata(path, dt_ms, target, population)
    else:
        if population is not None:
            raise InvalidInput(f"{path}: population= chooses one of a SONATA file; Parquet has none")
        parts = _parquet(path, dt_ms, target)
    first, last = int(ticks[0]), None if ticks[1] is None else int(ticks[1])
    for ids, when, amplitude in parts:
        wanted = when >= first if last is None else (when >= first) & (when <= last)
        if wanted.any():
            yield ids[wanted], when[wanted], None if amplitude is None else amplitude[wanted]


def ticks_of(times_ms: npt.NDArray[Any], dt_ms: float, path: Path) -> Int64Array:
    """The ticks of times in ms: rounded up, but for what is a whole number of ticks to 1e-9."""
    at = times_ms.astype(np.float64) / dt_ms
    if len(at) and not (np.isfinite(at).all() and at.min() >= 0 and at.max() < 1 << 62):
        raise InvalidInput(f"{path}: times must be finite numbers of ms from 0")
    nearest = np.rint(at)
    whole = np.abs(at - nearest) <= 1e-9 * np.maximum(1.0, np.abs(at))
    return np.maximum(np.where(whole, nearest, np.ceil(at)), 1).astype(np.int64)


def _sonata(path: Path, dt_ms: float, target: Target, population: str | None) -> Iterator[Part]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        raise InvalidInput(f"{path} is no readable HDF5 file") from None
    with file:
        nodes, times = _sonata_columns(file, path, population)
        unit = times.attrs.get("units", "ms")
        if (unit.decode() if isinstance(unit, bytes) else str(unit)) not in ("ms", "milliseconds"):
            raise InvalidInput(f"{path}: timestamps are in {unit}; expected ms")
        for start in range(0, len(times), _SPIKES_A_PART):
            part = slice(start, start + _SPIKES_A_PART)
            yield target.of_nodes(nodes[part], path), ticks_of(times[part], dt_ms, path), None


def _sonata_columns(file: Any, path: Path, population: str | None) -> tuple[Any, Any]:
    """The datasets of node ids and times."""
    import h5py

    spikes = file.get("spikes")
    if not isinstance(spikes, h5py.Group):
        raise InvalidInput(f"{path} has no group /spikes: it is no SONATA file of spikes")
    found = sorted(name for name, member in spikes.items() if isinstance(member, h5py.Group))
    if population is None and "timestamps" in spikes:
        group = spikes
    elif population is None and len(found) == 1:
        group = spikes[found[0]]
    elif population in found:
        group = spikes[population]
    else:
        which = f'no population "{population}"' if population is not None else "several populations"
        raise InvalidInput(f"{path} has {which}; population= names one of: {', '.join(found) or 'none'}")
    names = [name for name in ("node_ids", "gids") if name in group]
    if not names or "timestamps" not in group or len(group[names[0]]) != len(group["timestamps"]):
        raise InvalidInput(f"{path}: {group.name} lacks node_ids and timestamps of one length")
    return group[names[0]], group["timestamps"]


def _parquet(path: Path, dt_ms: float, target: Target) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        raise InvalidInput(f"{path} is neither SONATA (.h5) nor a readable Parquet file") from None
    with file:
        names = file.schema_arrow.names
        when, who = (_only(path, names, known) for known in (("tick", "time_ms"), ("id", "label", "node_id")))
        wanted = [when, who, *(["amplitude"] if "amplitude" in names else [])]
        for batch in file.iter_batches(_SPIKES_A_PART, columns=wanted):
            columns = {name: batch.column(name) for name in wanted}
            if empty := [name for name, column in columns.items() if column.null_count]:
                raise InvalidInput(f"{path}: column {empty[0]} has empty values")
            values = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()}
            at = values[when]
            if when == "tick" and at.dtype.kind not in "iu":
                raise InvalidInput(f"{path}: column tick holds {columns[when].type}; ticks are whole numbers")
            ticks = at.astype(np.int64) if when == "tick" else ticks_of(at, dt_ms, path)
            if who == "node_id":
                ids = target.of_nodes(values[who], path)
            elif who == "label":
                names_of, back = np.unique(values[who].astype(str), return_inverse=True)
                ids = target.resolve(names_of)[back]
            else:
                ids = target.resolve(values[who])
            amplitude = values.get("amplitude")
            yield ids, ticks, None if amplitude is None else amplitude.astype(np.float32)


def _only(path: Path, names: list[str], known: tuple[str, ...]) -> str:
    """Which of the ``known`` columns there is."""
    found = [name for name in known if name in names]
    if len(found) != 1:
        raise InvalidInput(f"{path}: expected one column of {', '.join(known)}; it has {', '.join(names)}")
    return found[0]
