"""A recorder: what is asked for, tick by tick, within the memory budget."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.address import IdArray
from engramdb.errors import EngramError, InvalidInput, NotFound
from engramdb.recording.probe import Probe
from engramdb.recording.table import ARROW, PARQUET, Table
from engramdb.spec import Spec
from engramdb.store.catalog import FILE_NAME
from engramdb.workingset import WorkingSet

if TYPE_CHECKING:
    from engramdb.topology import Reading

Int64Array = npt.NDArray[np.int64]

_MOST_TICKS = 4096  # whose rates are added at once: each is a row, even where nobody fires
SPIKES, RATES, SIE, TRACES, TOPOLOGY = "spikes", "rates", "sie", "traces", "topology"


@dataclass(frozen=True)
class Traces:
    """State variables at ``ticks`` (int64 (t,)) of ``ids`` (uint64 (n,), sorted); ``values[name]`` is (t, n)."""

    ticks: Int64Array
    ids: IdArray
    values: dict[str, npt.NDArray[Any]]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.values[name]


class Recorder:
    """Tables ``spikes`` (tick, id), ``rates`` (tick, layer, spikes), ``sie`` and ``traces`` (tick, id, the fields).

    ``sie``: tick, layer, active, W, reward, valence of void layers; see :class:`engramdb.keptfields.Sie`. ``what``:
    "spikes", "rates", "sie", and names of fields. Fields are those of ``ids``, in every tick that ``every`` divides.
    ``to``: a file where there is one table, a folder where there are several; None: in memory. With ``topology`` there
    is a table of that name beside them, for readings.
    """

    def __init__(
        self, spec: Spec, what: Sequence[str], ids: IdArray | None, every: int, to: Path | None, buffer_bytes: int,
        *, topology: bool = False,
    ) -> None:  # fmt: skip
        fields = tuple(dict.fromkeys(name for name in what if name not in (SPIKES, RATES, SIE)))
        if every < 1:
            raise InvalidInput(f"every={every}: give a number of ticks from 1")
        known = {field.name for layer in spec.layers for field in models.get(layer.model).fields}
        if unknown := [name for name in fields if name not in known]:
            raise InvalidInput(f'record: unknown "{unknown[0]}"; known: spikes, rates, sie, {", ".join(sorted(known))}')
        self._voids = {layer.index: layer.name for layer in spec.layers if layer.model == "void"}
        if SIE in what and not self._voids:
            raise InvalidInput('record: "sie" is of void layers, and there is none')
        if fields and ids is None:
            raise InvalidInput(f'record: "{fields[0]}" needs record_ids=, the neurons whose {fields[0]} to record')
        if ids is not None and not fields:
            raise InvalidInput('record_ids: name what to record of them, such as record=("v",)')
        self._every = every
        self._probe = Probe(spec, np.unique(ids), fields) if ids is not None else None
        self._layers = sorted(spec.layers, key=lambda layer: layer.index)
        self._bounds = np.array([layer.index << 48 for layer in self._layers], dtype=np.uint64)
        self._counts: list[Int64Array] = []
        tables: dict[str, dict[str, Any]] = {}
        if SPIKES in what:
            tables[SPIKES] = {"tick": np.int64, "id": np.uint64}
        if RATES in what:
            tables[RATES] = {"tick": np.int64, "layer": str, "spikes": np.int64}
        if SIE in what:
            tables[SIE] = {
                "tick": np.int64, "layer": str, "active": np.int64,
                "W": np.float64, "reward": np.float64, "valence": np.float64,
            }  # fmt: skip
        if self._probe is not None:
            tables[TRACES] = {"tick": np.int64, "id": np.uint64, **self._probe.dtypes}
        if topology:
            from engramdb.topology import COLUMNS

            tables[TOPOLOGY] = COLUMNS
        self.streams = to is not None
        files = _files(to, list(tables))
        self._tables = {
            name: Table(columns, files.get(name), buffer_bytes // max(1, len(tables)))
            for name, columns in tables.items()
        }

    @property
    def nbytes(self) -> int:
        return sum(table.nbytes for table in self._tables.values())

    def most_ticks(self, tick: int) -> int:
        """How many ticks may pass after ``tick`` until the next :meth:`add`."""
        if self._probe is not None:
            return self._every - tick % self._every
        return _MOST_TICKS if {RATES, SIE} & self._tables.keys() else 1 << 62

    def add(self, first: int, last: int, ticks: Int64Array, ids: IdArray, working_set: WorkingSet) -> None:
        """The end of the ticks ``first`` to ``last``; ``ids`` fired in ``ticks`` (int64), sorted by tick and id."""
        if (spikes := self._tables.get(SPIKES)) is not None:
            spikes.add(tick=ticks, id=ids)
        if (rates := self._tables.get(RATES)) is not None:
            n_layers, n_ticks = len(self._layers), last - first + 1
            layer = np.searchsorted(self._bounds, ids, side="right") - 1
            counts = np.bincount((ticks - first) * n_layers + layer, minlength=n_ticks * n_layers)
            names = np.array([layer.name for layer in self._layers] * n_ticks, dtype=object)
            rates.add(tick=np.repeat(np.arange(first, last + 1), n_layers), layer=names, spikes=counts.astype(np.int64))
        if (sies := self._tables.get(SIE)) is not None:
            for keeper in working_set.keepers:
                sie = keeper.sie(last)
                if sie is not None:  # where several ticks passed at once, nobody was active in any
                    n = last - first + 1
                    names = np.array([self._voids[keeper.layer_index]] * n, dtype=object)
                    columns = {name: np.full(n, value) for name, value in sie._asdict().items()}
                    sies.add(tick=np.arange(first, last + 1), layer=names, **columns)
        if self._probe is not None and last % self._every == 0:
            at = np.full(len(self._probe.ids), last, dtype=np.int64)
            self._tables[TRACES].add(tick=at, id=self._probe.ids, **self._probe.read(working_set))

    def add_reading(self, reading: Reading) -> None:
        """A reading of the topology, where there is a table for them."""
        if (table := self._tables.get(TOPOLOGY)) is not None:
            table.add(**{name: np.array([value]) for name, value in reading.row().items()})

    def spikes(self) -> tuple[Int64Array, IdArray]:
        """(tick, id), if they are in memory, else empty."""
        if self.streams or SPIKES not in self._tables:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
        arrays = self._tables[SPIKES].arrays()
        return arrays["tick"], arrays["id"]

    def population(self) -> dict[str, Int64Array]:
        """Spikes in each tick, by layer, if they are in memory."""
        if self.streams or RATES not in self._tables:
            return {}
        counts = self._tables[RATES].arrays()["spikes"].reshape(-1, len(self._layers))
        return {layer.name: counts[:, i].copy() for i, layer in enumerate(self._layers)}

    def sie(self) -> dict[str, dict[str, npt.NDArray[Any]]]:
        """How each void layer stood at the end of each tick, by layer and name, if it is in memory."""
        if self.streams or SIE not in self._tables:
            return {}
        arrays = self._tables[SIE].arrays()
        return {
            name: {
                key: values[arrays["layer"] == name] for key, values in arrays.items() if key not in ("tick", "layer")
            }
            for name in self._voids.values()
        }

    def traces(self) -> Traces | None:
        """State variables, if they are in memory."""
        if self.streams or self._probe is None:
            return None
        arrays, n = self._tables[TRACES].arrays(), max(1, len(self._probe.ids))
        values = {name: arrays[name].reshape(-1, len(self._probe.ids)) for name in self._probe.dtypes}
        return Traces(arrays["tick"][::n].copy(), self._probe.ids, values)

    def __enter__(self) -> Recorder:
        return self

    def close(self) -> None:
        """Write what waits; every file that can be completed is, whatever becomes of the others."""
        failed: EngramError | None = None
        for table in self._tables.values():
            try:
                table.close()
            except EngramError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(*(() if error is None else (EngramError,))):  # the first error is what matters
            self.close()


def _files(to: Path | None, tables: list[str]) -> dict[str, Path]:
    """Where each table goes."""
    if to is None:
        return {}
    place = to.resolve()
    if not place.parent.is_dir():
        raise NotFound(f"cannot record to {to}: folder {to.parent} does not exist")
    if within := next((each for each in (place, *place.parents) if (each / FILE_NAME).exists()), None):
        raise InvalidInput(f"cannot record to {to}: it lies within the engram {within.name}; give a place beside it")
    suffix = to.suffix.lower()
    if len(tables) == 1 and not to.is_dir():
        if suffix not in (*PARQUET, *ARROW, ""):
            kinds = ", ".join((*PARQUET, *ARROW))
            raise InvalidInput(f"cannot record to {to}: files are Parquet or Arrow ({kinds})")
        return {tables[0]: to}
    if (to.exists() and not to.is_dir()) or (suffix in (*PARQUET, *ARROW) and not to.is_dir()):
        raise InvalidInput(f"cannot record to {to}: {' and '.join(tables)} go into a folder, and this is a file")
    to.mkdir(exist_ok=True)
    return {name: to / f"{name}.parquet" for name in tables}
