"""Compare runs with other simulators, spike for spike: ``check.py --brian2 PYTHON --nest PYTHON [--only TEXT]``.

The same networks run in an engram, in the float32 twin of the tests, in a float64 twin, in Brian2 and in NEST, each of
which has a Python of its own; one that is not there is left out. Also, the SONATA example 300_intfire against its
published spikes. Writes the table to docs/peers.md, where both peers were there; exits with 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import engramdb
from tests import sonata
from tests.modeltwin import assert_same_fields, model_twin_of
from tests.peers import double, page, plasticity, single
from tests.peers.agreement import CHAOTIC, STEADY, Agreement, Spikes, agreement
from tests.peers.cases import Case, cases, network_of

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"Brian2": {"lif", "lif_exp", "lif_shiu"}, "NEST": {"lif", "lif_exp"}}
_STRETCH = 100  # ticks for which input is given at once


def run_here(case: Case) -> Spikes:
    """The case in an engram and in its float32 twin; AssertionError where a spike or a bit of the state differs."""
    e, drive = case.engram, case.drive
    twin = model_twin_of(e)
    order = np.argsort(drive.tick, kind="stable")
    found = []
    for start in range(1, case.ticks + 1, _STRETCH):
        for tick in range(start, min(start + _STRETCH, case.ticks + 1)):
            part = order[slice(*np.searchsorted(drive.tick[order], [tick, tick + 1]))]
            if len(part):
                e.stimulate(twin.ids[drive.place[part]], drive.amplitude[part], at=tick)
                twin.stimulate(drive.place[part], drive.amplitude[part], tick)
        ticks = min(_STRETCH, case.ticks + 1 - start)
        run, expected = e.run(ticks, record=("spikes",)), twin.run(ticks)
        np.testing.assert_array_equal(run.spikes[0], expected[0])
        np.testing.assert_array_equal(run.spikes[1], expected[1])
        twin.stimuli.clear()
        found.append(run.spikes)
    assert_same_fields(e, twin)
    tick, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Spikes(tick, np.searchsorted(twin.ids, ids), len(twin.ids), case.ticks, e.spec.dt_ms)


def run_there(peer: str, python: str, network: double.Network, folder: Path) -> tuple[Spikes, str]:
    """The network in a peer, and that peer's version."""
    network.save(str(folder / "network.npz"))
    script = Path(__file__).with_name(f"run_{peer.lower()}.py")
    done = subprocess.run(
        [python, str(script), str(folder / "network.npz"), str(folder / "result.npz")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr}")
    with np.load(folder / "result.npz") as stored:
        spikes = Spikes(stored["tick"], stored["neuron"], network.neurons, network.ticks, network.dt_ms)
        return spikes, str(stored["version"])


def compare(case: Case, peers: dict[str, str], folder: Path, versions: dict[str, str]) -> list[Agreement]:
    """The case in all simulators that have its neuron."""
    network = network_of(case)
    here = run_here(case)
    ran = double.run(network)
    twin = Spikes(ran.tick, ran.neuron, network.neurons, network.ticks, network.dt_ms)
    found = []
    for peer, python in peers.items():
        if network.model in MODELS[peer]:
            there, versions[peer] = run_there(peer, python, network, folder)
            found.append(agreement(peer, network, here, there, twin, CHAOTIC if case.chaotic else STEADY))
    return found


def published(folder: Path, dt_ms: float) -> tuple[int, int, int]:
    """300_intfire: spikes here, published ones, and those that both have, in ticks of ``dt_ms``."""
    with engramdb.open(sonata.imported(folder / f"intfire-{dt_ms}.engram", dt_ms), "r+") as e:
        tick, node = sonata.run(e)
    known = sonata.published()
    there = set(zip(sonata.ticks_of(known.time_ms, dt_ms).tolist(), known.node.tolist(), strict=True))
    return len(tick), len(known.node), len(there & set(zip(tick.tolist(), node.tolist(), strict=True)))


def available(peers: dict[str, str]) -> dict[str, str]:
    """Those whose Python has them; one line to stderr for each that has not."""
    found = {}
    for peer, python in peers.items():
        try:
            subprocess.run([python, "-c", f"import {peer.lower()}"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            sys.stderr.write(f"{peer} is not to be had ({python} does not import it); going on without\n")
        else:
            found[peer] = python
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="check.py", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--brian2", required=True, help="the Python of the environment that has Brian2")
    parser.add_argument("--nest", required=True, help="the Python of the environment that has NEST")
    parser.add_argument("--only", default="", help="only cases with this in their name; writes no table")
    parser.add_argument("--fine", action="store_true", help="300_intfire in ticks of 1 us too, which takes minutes")
    given = parser.parse_args(arguments)
    peers = available({"Brian2": given.brian2, "NEST": given.nest})
    if not peers:
        raise SystemExit("there is no peer to compare with")
    rows: list[tuple[str, list[Agreement], int]] = []
    versions: dict[str, str] = {}
    broken = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(folder):
            if given.only not in case.name:
                continue
            begun = time.monotonic()
            found = compare(case, peers, folder, versions)
            rows.append((case.name, found, len(network_of(case).pre)))
            for one in found:
                sys.stderr.write(f"{case.name}, {one.peer}: {one.explanation}\n")
                broken += [f"{case.name}, {one.peer}: {words}" for words in one.broken_bounds()]
            sys.stderr.write(f"{case.name}: {time.monotonic() - begun:.0f} s\n")
        singles = [] if given.only or "NEST" not in peers else single.compare(peers["NEST"], folder)
        weights = [] if given.only else plasticity.compare(peers, folder)
        ticks = () if given.only else (0.1, 0.05, 0.001) if given.fine else (0.1, 0.05)
        example = {dt_ms: published(folder, dt_ms) for dt_ms in ticks}
    for pair in singles:
        sys.stderr.write(f"{pair.model}: {pair.here} spikes, {pair.there} in NEST\n")
        broken += [f"{pair.model}: {words}" for words in pair.broken_bounds()]
    for one_rule in weights:
        sys.stderr.write(f"STDP, {one_rule.update}, {one_rule.peer}: weights differ by {one_rule.largest_gap:.1e}\n")
        broken += [f"STDP, {one_rule.update}, {one_rule.peer}: {words}" for words in one_rule.broken_bounds()]
    for dt_ms, (here, there, common) in example.items():
        sys.stderr.write(f"300_intfire, dt {dt_ms} ms: {here} spikes here, {there} published, {common} the same\n")
        missed = 2 if dt_ms > 0.05 else 0  # known, and explained on the page
        if not here == common == there - missed:
            broken.append(f"300_intfire, dt {dt_ms} ms: {common} of {there} spikes are the same")
    if example and len(peers) == len(MODELS):
        (ROOT / "docs" / "peers.md").write_text(
            page.document(rows, singles, weights, example, versions), encoding="utf-8"
        )
    for line in broken:
        sys.stderr.write(f"out of bounds: {line}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
