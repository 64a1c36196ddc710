"""The dry run: lay a network out without filling it, run a sample of its activity, and say whether it will fit.

What is laid out is an engram like any other, in which every neuron is virtual. The sample runs in a copy of it, which
is removed: the network itself stays untouched, at tick 0.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import engramdb
from engramdb.errors import BudgetExceeded, InvalidInput
from engramdb.sizing.constants import Constants
from engramdb.sizing.estimate import Estimate, estimate
from engramdb.sizing.network import LARGEST_SEGMENT, Network
from engramdb.sizing.specimen import rate_of, spike_amplitude, version_bytes
from engramdb.sizing.workload_bytes import bytes_on_disk

_REGIONS = 8
_WARM_UP_TICKS = 30


@dataclass(frozen=True)
class Verdict:
    """``needed`` of what is ``available``, in ``unit``; ``fits``, and ``how`` that is known."""

    what: str
    needed: float
    available: float
    unit: str
    how: str

    @property
    def fits(self) -> bool:
        return self.needed <= self.available


@dataclass(frozen=True)
class DryRun:
    """``laid_out_bytes``: of the engram at ``path``, made in ``laid_out_s``. The sample: ``sampled`` active neurons,
    ticks in seconds ``tick_s``, ``spikes`` in one, ``counted_bytes`` of the budget, and what it left on disk.

    ``estimated``: the whole network, ``sample``: the sample, by the formulas. The whole needs what the sample
    needed, times the ratio of the two.
    """

    path: Path | None
    laid_out_bytes: int
    laid_out_s: float
    network: Network
    sampled: int
    tick_s: tuple[float, ...]
    spikes: float
    counted_bytes: int
    disk_bytes: int
    estimated: Estimate
    sample: Estimate
    verdicts: tuple[Verdict, ...]

    @property
    def fits(self) -> bool:
        return all(verdict.fits for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "path": None if self.path is None else str(self.path), "laid_out_bytes": self.laid_out_bytes,
            "laid_out_s": self.laid_out_s, "neurons": self.network.neurons, "active": self.network.active_neurons,
            "sampled": self.sampled, "tick_s": statistics.median(self.tick_s),
            "tick_p99_s": float(np.percentile(self.tick_s, 99)), "spikes_per_tick": self.spikes,
            "counted_bytes": self.counted_bytes, "disk_bytes": self.disk_bytes, "estimated": self.estimated.as_dict(),
            "verdicts": [{**vars(verdict), "fits": verdict.fits} for verdict in self.verdicts], "fits": self.fits,
        }  # fmt: skip


def dry_run(
    network: Network,
    constants: Constants,
    *,
    path: Path | None = None,
    memory_bytes: int = 4 << 30,
    hz: float = 20.0,
    most_sampled: int = 100_000,
    ticks: int = 100,
    folder: Path | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> DryRun:
    """Lay ``network`` out at ``path`` (nowhere, if None), run ``ticks`` ticks of a sample, and judge.

    The network is virtual: what it would take with its rows written out is in the estimate alone. Raises InvalidInput
    for one that cannot be virtual or has nobody active, AlreadyExists for a path that is taken.
    """
    if network.active_neurons < 1:
        raise InvalidInput(f"{100 * network.active:g} % of {network.neurons:,} neurons is nobody; give a larger part")
    if network.dense or network.model == "void" or not network.firing or not network.k:
        raise InvalidInput("a dry run needs neurons that spike over synapses: give k, firing, and a spiking model")
    if not hz > 0 or ticks < 1 or most_sampled < 1:
        raise InvalidInput("give hz, ticks and a sample above 0")
    virtual = replace(network, materialized=False)
    with tempfile.TemporaryDirectory(dir=folder or (path.resolve().parent if path else None), prefix="dry-run-") as own:
        where = Path(own) / "layout.engram" if path is None else path
        began = time.perf_counter()
        engramdb.create(where, virtual.spec()).close()
        took, laid_out = time.perf_counter() - began, bytes_on_disk(where)
        say(f"laid out {network.neurons:,} neurons: {laid_out:,} bytes")
        sampled = min(network.active_neurons, most_sampled)
        sample = replace(virtual, active=sampled / network.neurons, driven=network.firing)
        scratch = Path(own) / "sample.engram"
        shutil.copytree(where, scratch)
        tick_s, spikes, counted, disk = _sampled(scratch, sample, sampled, memory_bytes, ticks)
        say(f"ran {ticks} ticks of {sampled:,} active neurons: {1e3 * statistics.median(tick_s):.3g} ms each")
        room = shutil.disk_usage(Path(own)).free
    whole, part = (estimate(replace(n, driven=n.firing), constants, memory_bytes) for n in (network, sample))
    found = (
        ("RAM", counted * whole.counted_bytes / part.counted_bytes, float(memory_bytes), "B"),
        ("disk", disk * whole.disk_bytes / part.disk_bytes, float(room), "B"),
        ("time a tick", float(np.percentile(tick_s, 99)) * whole.tick_s / part.tick_s, 1.0 / hz, "s"),
    )
    how = "measured" if sampled == network.active_neurons else "measured on the sample, the rest by the formulas"
    if network.materialized:
        how += "; rows on disk by the formulas"
    return DryRun(
        path, laid_out, took, network, sampled, tick_s, spikes, counted, disk, whole, part,
        tuple(Verdict(what, needed, available, unit, how) for what, needed, available, unit in found),
    )  # fmt: skip


def _sampled(
    path: Path, sample: Network, active: int, memory_bytes: int, ticks: int
) -> tuple[tuple[float, ...], float, int, int]:
    """Seconds of each tick, spikes in one, bytes of the budget, bytes on disk."""
    ids = _regions(sample.neurons, active)
    e = engramdb.open(path, "r+", memory=memory_bytes, threads=sample.threads, durability="checkpoint")
    try:
        e.stimulate(ids, spike_amplitude(sample.model))
        e.poisson(ids, rate_of(sample), spike_amplitude(sample.model))
        e.run(_WARM_UP_TICKS)
        samples, spikes = [], 0
        for _ in range(ticks):
            began = time.perf_counter()
            stretch = e._live.advance(1)
            spikes += 0 if stretch.counts is None else int(stretch.counts.sum())
            samples.append(time.perf_counter() - began)
        e._live.settle()  # while rows are read ahead, all that leaves may take counts
        stats = e.stats()
        e.stop_stimuli()
        e.close()
    except BudgetExceeded as error:
        raise BudgetExceeded(f"the sample of {active:,} active neurons does not fit: {error}") from error
    finally:
        e._shut()
    counted = int(stats["used_bytes"] - stats["stimuli_bytes"])
    return tuple(samples), spikes / ticks, counted, version_bytes(path)


def _regions(neurons: int, active: int) -> Any:
    """Ids of ``active`` neurons in regions as far from each other as they can be."""
    regions = max(1, min(_REGIONS, active))
    starts = np.arange(regions, dtype=np.uint64) * np.uint64(neurons // regions)
    place = (starts[:, None] + np.arange(-(-active // regions), dtype=np.uint64)).ravel()[:active]
    segment, local = np.divmod(place, np.uint64(LARGEST_SEGMENT))
    return np.unique(segment << np.uint64(32) | local)
