"""Compare runs with Brian2, spike for spike: ``python tests/peers/check_brian2.py PEER_PYTHON``.

The same networks run in an engram, in the plain float32 simulator of the tests, and in Brian2 in double precision. The
first two must agree in every spike and every bit; with Brian2 everything must agree up to the first spike that hangs
on the last digits, and the statistics after it. Writes the table to docs/peers.md; exits with 1 where a bound is
broken.
"""

from __future__ import annotations

import copy
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import engramdb
from engramdb import Engram, FixedOutdegree, Layer, SmallWorld, Spec
from tests.networks import assert_same_state, edges_of, ids_of, make, twin_of
from tests.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]

# Bounds. A potential within 0.0009 mV of rest is put to rest here and not there; several such steps can add up.
LARGEST_TIE_MV = 0.005
LARGEST_RATE_ERROR = 0.01
LARGEST_CV_ERROR = 0.02
LEAST_CORRELATION = 0.99  # of the neurons' spike counts


@dataclass(frozen=True)
class Drive:
    """Pulses of input: ``amplitude`` mV (float32) into neuron number ``place`` at ``tick``; no pair occurs twice."""

    tick: np.ndarray
    place: np.ndarray
    amplitude: np.ndarray


@dataclass(frozen=True)
class Case:
    """A network to be run for ``ticks``, and how it is driven."""

    name: str
    engram: Engram
    drive: Drive
    ticks: int


@dataclass(frozen=True)
class Agreement:
    """What came out of the comparison of one case."""

    name: str
    neurons: int
    synapses: int
    ticks: int
    spikes: int
    spikes_there: int
    identical_spikes: int  # before the first tick with a difference
    common_spikes: int  # in all
    first_difference: int | None  # tick
    explanation: str
    largest_gap_mv: float  # between the potentials of all neurons, until then
    tie_mv: float  # distance from the threshold of the spikes that differ first, the larger of the two simulators
    rate_hz: float
    rate_there_hz: float
    cv: float
    cv_there: float
    correlation: float

    def broken_bounds(self) -> list[str]:
        broken = []
        if self.first_difference is not None and not self.tie_mv <= LARGEST_TIE_MV:
            broken.append(f"the first difference, {self.tie_mv:.4f} mV from threshold, is no tie")
        if not self.largest_gap_mv <= LARGEST_TIE_MV:
            broken.append(f"potentials differ by {self.largest_gap_mv:.4f} mV before the first difference")
        if not abs(self.rate_there_hz / self.rate_hz - 1) <= LARGEST_RATE_ERROR:
            broken.append(f"rates {self.rate_hz:.3f} and {self.rate_there_hz:.3f} Hz")
        if not abs(self.cv_there - self.cv) <= LARGEST_CV_ERROR:
            broken.append(f"CV {self.cv:.3f} and {self.cv_there:.3f}")
        if not self.correlation >= LEAST_CORRELATION:
            broken.append(f"correlation of spike counts {self.correlation:.4f}")
        return broken


def poisson(
    places: np.ndarray, ticks: int, per_tick: float, amplitude: float | tuple[float, float], seed: int
) -> Drive:
    """Independent trains of pulses into ``places``, of one size or of sizes evenly between two."""
    random = np.random.default_rng(seed)
    tick, which = np.nonzero(random.random((ticks, len(places))) < per_tick)
    low, high = amplitude if isinstance(amplitude, tuple) else (amplitude, amplitude)
    return Drive(tick + 1, places[which], random.uniform(low, high, len(tick)).astype(np.float32))


def cases(folder: Path) -> Iterator[Case]:
    """Random networks, one of them driven so that ties are common, and a worm's."""
    ticks = 1000
    local = SmallWorld(k=12, long_fraction=0.1, span=50, weight=(-4.0, 6.0))
    anywhere = FixedOutdegree(k=12, weight=(-4.0, 6.0))
    weak = FixedOutdegree(k=12, weight=(-0.2, 0.4))
    for name, wiring, delay_ms, bias, rate, pulse in (
        ("small world, delay 1 ms", local, 1.0, 0.0, 0.04, 7.0),
        ("small world, delay 3 ms, own bias", local, 3.0, (0.0, 8.0), 0.04, 7.0),
        ("random, delay 1 ms, own bias", anywhere, 1.0, (0.0, 8.0), 0.04, 7.0),
        ("random, delay 3 ms", anywhere, 3.0, 0.0, 0.04, 7.0),
        ("random, weak, pulses just below threshold", weak, 1.0, 0.0, 0.005, (14.99, 15.0)),
    ):
        params = {"refractory": 2.0, "bias": bias}
        layer = Layer("a", params=params, segments=[2000], wiring=wiring, delay_ms=delay_ms)
        own = folder / name.replace(" ", "-").replace(",", "")
        own.mkdir()
        with make(own, Spec(seed=20, layers=[layer])) as e:
            yield Case(name, e, poisson(np.arange(2000), ticks, rate, pulse, seed=5), ticks)
    with worm(folder) as e:
        touch = np.sort(e.resolve(["ALML", "ALMR", "AVM", "PLML", "PLMR", "PVDL", "PVDR"])).astype(np.int64)
        steady = poisson(touch, ticks, 0.1, 16.0, seed=6)
        weak = poisson(np.setdiff1d(np.arange(len(e)), touch), ticks, 0.03, 6.0, seed=7)
        parts = (np.concatenate([getattr(steady, f), getattr(weak, f)]) for f in ("tick", "place", "amplitude"))
        yield Case("C. elegans, chemical synapses", e, Drive(*parts), ticks)


def worm(folder: Path) -> Engram:
    """The bundled connectome, 0.15 mV for each section over which two cells touch."""
    source_path = ROOT / "engramdb" / "data" / "celegans" / "connectome.csv"
    with source_path.open(newline="") as source, (folder / "chemical.csv").open("w", newline="") as chosen:
        writer = csv.writer(chosen)
        writer.writerow(["pre", "post", "weight"])
        for row in csv.DictReader(source):
            if row["kind"] == "chemical":
                writer.writerow([row["pre"], row["post"], row["weight"]])
    path = folder / "worm.engram"
    engramdb.import_edges(folder / "chemical.csv", path, weight_scale=0.15)
    return engramdb.open(path, "r+")


def run_there(peer: str, e: Engram, drive: Drive, ticks: int, folder: Path) -> dict[str, np.ndarray]:
    """The case in Brian2."""
    ids = ids_of(e)
    pre, post, weight, delay = edges_of(e)
    fields = e.neurons(ids).fields
    v = fields["v"].astype(np.float64)
    np.savez(
        folder / "network.npz",
        pre=np.searchsorted(ids, pre), post=np.searchsorted(ids, post), weight=weight, delay_ticks=delay,
        v_init=v, v_infinite=v - fields["u"], dt_ms=e.spec.dt_ms, tau=20.0, v_threshold=-55.0, v_reset=-70.0,
        refractory_ticks=2, ticks=ticks, pulse_tick=drive.tick, pulse_neuron=drive.place, pulse_mv=drive.amplitude,
    )  # fmt: skip
    script = Path(__file__).with_name("brian2_lif.py")
    subprocess.run([peer, str(script), str(folder / "network.npz"), str(folder / "result.npz")], check=True)
    with np.load(folder / "result.npz") as stored:
        return dict(stored)


def compare(case: Case, peer: str, folder: Path) -> tuple[Agreement, str]:
    """Run the case three times and compare; also Brian2's version."""
    e, drive, ticks = case.engram, case.drive, case.ticks
    there = run_there(peer, e, drive, ticks, folder)
    twin = twin_of(e)
    born = copy.deepcopy(twin)
    order = np.argsort(drive.tick, kind="stable")
    starts = np.append(np.flatnonzero(np.diff(drive.tick[order], prepend=0)), len(order))
    for start, stop in pairwise(starts):
        part = order[start:stop]
        e.stimulate(twin.ids[drive.place[part]], drive.amplitude[part], at=int(drive.tick[order[start]]))
        for simulator in (twin, born):
            simulator.stimulate(drive.place[part], drive.amplitude[part], int(drive.tick[order[start]]))
    run = e.run(ticks, record=("spikes",))
    expected = twin.run(ticks)
    np.testing.assert_array_equal(run.spikes[0], expected[0])
    np.testing.assert_array_equal(run.spikes[1], expected[1])
    assert_same_state(e, twin)

    here = set(zip(run.spikes[0].tolist(), np.searchsorted(twin.ids, run.spikes[1]).tolist(), strict=True))
    theirs = set(zip(there["tick"].tolist(), there["neuron"].tolist(), strict=True))
    differ = sorted(here ^ theirs)
    first = differ[0][0] if differ else None
    gap, tie, explanation = explain(born, there, [place for tick, place in differ if tick == first], first, ticks, here)
    counts = [np.bincount([place for _, place in spikes], minlength=len(twin.ids)) for spikes in (here, theirs)]
    seconds = ticks * e.spec.dt_ms / 1000
    agreement = Agreement(
        name=case.name, neurons=len(twin.ids), synapses=len(twin.pre), ticks=ticks, spikes=len(here),
        spikes_there=len(theirs), identical_spikes=sum(first is None or tick < first for tick, _ in here),
        common_spikes=len(here & theirs), first_difference=first, explanation=explanation,
        largest_gap_mv=gap, tie_mv=tie,
        rate_hz=len(here) / len(twin.ids) / seconds, rate_there_hz=len(theirs) / len(twin.ids) / seconds,
        cv=variation(here), cv_there=variation(theirs), correlation=float(np.corrcoef(*counts)[0, 1]),
    )  # fmt: skip
    return agreement, str(there["version"])


def explain(
    twin: Simulator, there: dict[str, np.ndarray], places: list[int], first: int | None, ticks: int,
    here: set[tuple[int, int]],
) -> tuple[float, float, str]:  # fmt: skip
    """How far the potentials are apart until the first difference; how near the threshold it lies; in words."""
    gap = 0.0
    v_infinite = -55.0 - twin.theta.astype(np.float64)
    for tick in range(1, (first or ticks + 1)):
        twin.step()
        gap = max(gap, float(np.abs(twin.u + v_infinite - there["after"][tick - 1]).max()))
    if first is None:
        return gap, 0.0, "every spike is the same"
    theta = twin.theta.copy()
    twin.theta = np.full_like(theta, np.inf)  # nobody fires, so that the potentials before the test are seen
    twin.step()
    mine = [float(np.float64(twin.u[p]) - np.float64(theta[p])) for p in places]
    theirs = [float(there["before"][first - 1, p] + 55.0) for p in places]
    tie = max(map(abs, mine + theirs))
    who = "here only" if (first, places[0]) in here else "in Brian2 only"
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    words = f"neuron {places[0]}{more} fires {who}: {mine[0]:+.1e} mV from threshold here, {theirs[0]:+.1e} mV there"
    return gap, tie, words


def variation(spikes: set[tuple[int, int]]) -> float:
    """Mean coefficient of variation of the intervals of neurons with at least five."""
    tick, place = np.array(sorted(spikes), dtype=np.int64).T
    order = np.lexsort((tick, place))
    tick, place = tick[order], place[order]
    values = []
    for own in np.split(tick, np.flatnonzero(np.diff(place)) + 1):
        intervals = np.diff(own)
        if len(intervals) >= 5:
            values.append(intervals.std() / intervals.mean())
    return float(np.mean(values))


_HEAD = """\
# Agreement with other simulators

Written by `make check-peers` (`tests/peers/check_brian2.py`); do not edit. The same networks, driven by the same trains
of pulses, run

1. in an engram,
2. in the plain float32 simulator of the tests: **every spike and every bit of the final state is the same**,
3. in Brian2 {version}, in double precision, with absolute potentials and its own exact integrator.

| network | neurons, synapses, ticks | spikes here / there | identical until the first difference | at tick | \
identical in all | potentials apart until then | mean rate | CV of intervals | correlation of counts |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

_TAIL = """
Why there can be one at all: potentials are float32 here, and one that comes within 0.0009 mV of rest without input is
put to rest exactly, which is what lets a neuron be forgotten without changing a result. A spike that hangs on less than
that falls differently, and a network whose spikes depend on each other goes its own way from there: so the statistics
are compared after it, not the spikes.

The check fails if the first difference is further from the threshold than {tie} mV, or potentials were that far apart
before it; if rates differ by more than {rate:.0%}, the CV of intervals by more than {cv}, or the correlation of the
neurons' spike counts is below {correlation}.

## The mapping

Brian2's side is checked by these runs; NEST's is as its documentation has it.

| | here | Brian2 | NEST (`iaf_psc_delta`) |
| --- | --- | --- | --- |
| order in a tick | decay, add input, test | the same, with `synapses` before `thresholds` in the schedule | the same |
| delay of d ticks | d | d - 1, since a spike is taken up one step later | d |
| refractory for r ticks | r | r + 1, since the step of the spike counts | r |
| input while refractory | lost | lost, by `(unless refractory)` | lost |
| potential | float32, relative to V_infinite | float64 | float64 |
| sum of inputs | int64, in 2^-32 mV | float64 | float64 |
| nearly at rest | becomes exactly at rest | goes on decaying | goes on decaying |
"""


def document(agreements: list[Agreement], version: str) -> str:
    """docs/peers.md."""
    rows = [
        f"| {a.name} | {a.neurons:,}, {a.synapses:,}, {a.ticks:,} | {a.spikes:,} / {a.spikes_there:,} "
        f"| {a.identical_spikes:,} ({a.identical_spikes / a.spikes:.1%}) | {a.first_difference or 'none'} "
        f"| {a.common_spikes:,} | {a.largest_gap_mv:.5f} mV "
        f"| {a.rate_hz:.3f} / {a.rate_there_hz:.3f} Hz | {a.cv:.4f} / {a.cv_there:.4f} "
        f"| {a.correlation:.5f} |\n"
        for a in agreements
    ]
    differing = [f"- {a.name}: {a.explanation}.\n" for a in agreements if a.first_difference is not None]
    if differing:
        differing.insert(0, "\nThe first difference, where there is one:\n\n")
    tail = _TAIL.format(tie=LARGEST_TIE_MV, rate=LARGEST_RATE_ERROR, cv=LARGEST_CV_ERROR, correlation=LEAST_CORRELATION)
    return _HEAD.format(version=version) + "".join(rows) + "".join(differing) + tail


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: check_brian2.py PEER_PYTHON\n")
        return 2
    agreements, version, broken = [], "", []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            agreement, version = compare(case, sys.argv[1], Path(folder))
            agreements.append(agreement)
            broken += [f"{case.name}: {problem}" for problem in agreement.broken_bounds()]
            sys.stdout.write(
                f"{agreement.name}: {agreement.spikes:,} spikes here, {agreement.spikes_there:,} in Brian2; "
                f"{agreement.identical_spikes:,} identical until tick {agreement.first_difference or agreement.ticks}; "
                f"{agreement.explanation}; rates {agreement.rate_hz:.3f} and {agreement.rate_there_hz:.3f} Hz\n"
            )
            sys.stdout.flush()
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "peers.md").write_text(document(agreements, version), encoding="utf-8")
    for problem in broken:
        sys.stderr.write(f"out of bounds: {problem}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
