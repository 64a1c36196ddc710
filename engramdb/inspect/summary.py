"""What an engram holds, read from its store beside a running writer, in memory that does not grow with it.

::

    summary = summarize("brain.engram", at="trained")
    summary.layers[0].records, summary.storage.packs

What ``export hdf5`` wrote is summarized too.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engramdb.distribution import Distribution
from engramdb.errors import InvalidInput, JournalDamaged, KernelMismatch
from engramdb.inspect.layers import LayerSummary, awake_ids, layer_summary
from engramdb.inspect.storage import ArrayStorage, Storage, measure
from engramdb.inspect.words import rule_said, said
from engramdb.interchange.hdf5file import FORMAT_VERSION as HDF5_VERSION
from engramdb.interchange.hdf5file import Hdf5File, is_hdf5
from engramdb.spec import Projection, Spec
from engramdb.store import Branch, Commit, Snapshot, Store
from engramdb.store.catalog import FORMAT_VERSION
from engramdb.url import located

if TYPE_CHECKING:
    from engramdb.engram import Engram

NEWEST_COMMITS = 10


@dataclass(frozen=True)
class ProjectionSummary:
    """One projection. ``virtual``: its synapses are computed; ``stored_synapses`` are those written out.

    ``delay``: in ms, as ``weight`` a number or a distribution, of which ``delay_ms`` is None; in ticks it is
    ``delay_ticks`` to ``longest_ticks``.
    """

    name: str
    pre: str
    post: str
    rule: str
    virtual: bool
    weight: str
    sign: int | None
    delay_ms: float | None
    delay: str
    delay_ticks: int
    longest_ticks: int
    stored_synapses: int


@dataclass(frozen=True)
class Summary:
    """One engram as of one commit, or a file of one.

    ``kind`` is "engram" or "hdf5", and ``format`` its version. ``charged`` neurons are not at rest; ``in_flight``
    spikes have not arrived yet. ``journaled`` commands came after the commit and took it to tick ``journaled_tick``: a
    writer is at work, or the next one will replay them. None where the journal cannot be read; ``verify`` says why.
    """

    path: str
    kind: str
    format: int
    name: str
    description: str
    seed: int
    dt_ms: float
    at: str | None
    commit: int
    line: int
    tick: int
    created: str
    layers: tuple[LayerSummary, ...]
    projections: tuple[ProjectionSummary, ...]
    charged: int
    in_flight: int
    journaled: int | None
    journaled_tick: int
    labelled: bool
    storage: Storage
    snapshots: tuple[Snapshot, ...]
    branches: tuple[Branch, ...]
    commits: tuple[Commit, ...]

    @property
    def records(self) -> int:
        """Stored neurons of all layers."""
        return sum(layer.records for layer in self.layers)

    @property
    def declared(self) -> int:
        """Addressable neurons of all layers."""
        return sum(layer.declared for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and text, for JSON. The seed is text: it may pass 2^53."""
        document = asdict(self)
        document["seed"] = str(self.seed)
        document["declared"], document["records"] = self.declared, self.records
        return document


def summarize(engram: Engram | str | os.PathLike[str], at: str | int | None = None) -> Summary:
    """Summarize the engram at a path, or an open one: its head, or the snapshot or commit ``at``; or a file of one.

    An open engram is shown as of the commit at which it stands; what it has done since is in its journal. Never
    locks, never writes. Raises :class:`NotAnEngram`, :class:`NotFound` for ``at``, :class:`Damaged`.
    """
    if isinstance(engram, (str, os.PathLike)):
        path = located(engram)
        if path.is_file() and is_hdf5(path):
            if at is not None:
                raise InvalidInput(f"{path} has no history, so there is no {at}")
            return _of_file(path)
    else:
        path = engram.path
        at = engram.log()[0].number if at is None else at
    with Store.open(path, "r", at=at) as store:
        return _of_store(store, None if at is None else str(at))


def _of_store(store: Store, at: str | None) -> Summary:
    spec, commit = store.spec, store.commit
    by_projection = np.zeros(len(spec.all_projections), dtype=np.int64)
    state = store.read_state()
    layers = tuple(layer_summary(store, layer, state, by_projection) for layer in spec.layers)
    journaled, journaled_tick = _journaled(store)
    return Summary(
        path=str(store.path),
        kind="engram",
        format=FORMAT_VERSION,
        name=spec.name,
        description=spec.description,
        seed=spec.seed,
        dt_ms=spec.dt_ms,
        at=at,
        commit=commit.number,
        line=commit.line,
        tick=commit.tick,
        created=commit.created,
        layers=layers,
        projections=_projections(spec, by_projection.tolist()),
        charged=len(awake_ids(state)),
        in_flight=len(state.get("flight_id", ())),
        journaled=journaled,
        journaled_tick=journaled_tick,
        labelled=store.has_labels,
        storage=measure(store),
        snapshots=tuple(store.snapshots()),
        branches=tuple(store.branches()),
        commits=tuple(store.log()[:NEWEST_COMMITS]),
    )


def _of_file(path: Path) -> Summary:
    with Hdf5File(path) as file:
        spec = file.spec
        by_projection = np.zeros(len(spec.all_projections), dtype=np.int64)
        state = file.inflight()
        layers = tuple(layer_summary(file, layer, state, by_projection) for layer in spec.layers)
        return Summary(
            path=str(path),
            kind="hdf5",
            format=HDF5_VERSION,
            name=spec.name,
            description=spec.description,
            seed=spec.seed,
            dt_ms=spec.dt_ms,
            at=None,
            commit=int(file.attributes["commit"]),
            line=0,
            tick=file.tick,
            created=str(file.attributes["created"]),
            layers=layers,
            projections=_projections(spec, by_projection.tolist()),
            charged=len(awake_ids(state)),
            in_flight=len(state.get("flight_id", ())),
            journaled=0,
            journaled_tick=file.tick,
            labelled=file.has_labels,
            storage=_storage_of(path, file),
            snapshots=(),
            branches=(),
            commits=(),
        )


def _storage_of(path: Path, file: Hdf5File) -> Storage:
    arrays = tuple(
        ArrayStorage(name, stored, decoded, (("gzip + bytes", stored),))
        for name, (stored, decoded) in sorted(file.storage().items(), key=lambda pair: -pair[1][0])
    )
    synapses = file.synapses or 0
    leaves, total = sum(array.stored for array in arrays), path.stat().st_size
    of_synapses = sum(array.stored for array in arrays if array.name in ("target", "weight", "projection", "delay"))
    return Storage(
        total=total,
        catalog=0,
        packs=0,
        journal=0,
        other=total,
        leaves=leaves,
        bytes_per_record=leaves / file.neurons if file.neurons else None,
        arrays=arrays,
        bytes_per_neuron=(leaves - of_synapses) / file.neurons if file.neurons else None,
        bytes_per_synapse=of_synapses / synapses if synapses else None,
    )


def _journaled(store: Store) -> tuple[int | None, int]:
    """Commands in the journal since the commit, and the tick that they lead to."""
    commands, tick = 0, store.commit.tick
    try:
        for frame in store.journal_frames():
            commands, tick = commands + 1, frame.tick
    except (JournalDamaged, KernelMismatch):
        return None, tick
    return commands, tick


def _projections(spec: Spec, stored: list[int]) -> tuple[ProjectionSummary, ...]:
    return tuple(_projection(spec, *pair) for pair in zip(spec.all_projections, stored, strict=True))


def _projection(spec: Spec, projection: Projection, stored: int) -> ProjectionSummary:
    delay = spec.delay_of(projection)
    least, longest = spec.delay_range(projection)
    return ProjectionSummary(
        name=projection.name,
        pre=projection.pre,
        post=projection.post,
        rule=rule_said(projection.rule),
        virtual=projection.rule.virtual,
        weight=said(projection.weight),
        sign=projection.sign,
        delay_ms=None if isinstance(delay, Distribution) else delay,
        delay=said(delay),
        delay_ticks=least,
        longest_ticks=longest,
        stored_synapses=stored,
    )
