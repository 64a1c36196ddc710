"""The page docs/peers.md, from what the comparison found."""

from __future__ import annotations

from tests.peers.agreement import CHAOTIC, LARGEST_DOUBLE_TIE_MV, LARGEST_TIE_MV, STEADY, Agreement
from tests.peers.plasticity import LARGEST_GAP, PAIRS, Weights
from tests.peers.single import LARGEST_GAP_MV, LARGEST_SHARE, Pair

_HEAD = """\
# Agreement with other simulators

Written by `make check-peers` (`tests/peers/check.py`); do not edit. The same networks, driven by the same trains of
pulses, run

1. in an engram,
2. in the float32 twin of the tests, in plain NumPy: **every spike and every bit of the final state is the same**,
3. in a float64 twin that does as we do in double precision,
4. in Brian2 {brian2}, in double precision, with absolute potentials and its own exact integrator,
5. in NEST {nest}, in double precision, as `iaf_psc_delta` and `iaf_psc_exp`. It has no neuron that is `lif_shiu`.

| network | neurons, synapses, ticks | peer | spikes here / there | identical until the first difference | at tick | \
identical in all | peer and float64 twin |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

_STATISTICS = """
Every difference is one of rounding. Where a raster here parts from a peer's, the float64 twin goes on with the peer:
last column, "the same" for as long as the run lasts, or the tick at which the order of additions shows in the sixteenth
digit. The first difference with each peer:

{explanations}

## Statistics

Marked with * are networks that are chaotic: after one spike that is not the same the rasters go apart, and only
statistics can be compared.

| network | peer | mean rate, Hz | CV of intervals | correlation of pairs | of the neurons' spike counts |
| --- | --- | --- | --- | --- | --- |
"""

_BOUNDS = """
Two numbers are here / there. The correlation of pairs is the mean over all pairs of the 200 busiest neurons, of spike
counts in bins of 10 ms. `make check-peers` fails where the first difference is not a tie (a neuron within {tie} mV of
its threshold, in double precision), where the float64 twin parts from a peer by more than {double_tie:.0e} mV, where
mean rates differ by more than {rate:.0%} (chaotic {rate_chaotic:.0%}), CVs by more than {cv}, correlations of pairs by
more than {pairs}, or, where the network is not chaotic, the correlation of spike counts is below {counts}.

## Single neurons of the other models

These are not linear, and each simulator integrates them in its own way. One neuron of each, with its default parameters
and an irregular train of 400 inputs, for 5000 ticks of 0.1 ms (`izhikevich`: 1 ms). A spike that comes a tick earlier
moves those after it. `make check-peers` fails where potentials differ by more than {single_gap} mV before the first
spike, or numbers of spikes by more than {single_share:.0%}.

| model | NEST | spikes here / there | identical until the first difference | potentials apart until the first spike |
| --- | --- | --- | --- | --- |
{singles}

## What STDP makes of given trains

{pairs_learning} synapses, each between a neuron of its own and another, both of which fire in given ticks (40 spikes
each). NEST's delays are dendritic, ours and Brian2's axonal: NEST plays presynaptic trains two delays later. An
arrival and a postsynaptic spike in one tick do nothing here and in NEST, and potentiate in Brian2, so the trains have
none. What stays is that pairs end 9.7 time constants apart here, and that weights are float32. `make check-peers` fails
where a weight differs by more than {weight_gap:.0e} of the range.

| update | peer | weights have moved by up to | and differ by at most |
| --- | --- | --- | --- |
{weights}

## The SONATA example 300_intfire

300 cells of NEURON's `IntFire1`, input trains, and the output that NEURON gave, with the format's examples (in
`tests/data/300_intfire`). Here the cells are `intfire1`, which is that neuron: the weights of events add to m, which
decays with tau; where m passes 1 the cell fires, m becomes 0, and events are lost for the refractory time. A `lif` with
a rest of 0 and a threshold of 1 does the same unless m is exactly 1. NEURON takes events at their own times, on a grid
of 1 us in this example; here they fall into ticks.

| tick | spikes here | published | the same neuron and tick |
| --- | --- | --- | --- |
{example}

With ticks of 0.1 ms, events are moved by up to half a tick and decay a little more or less until the next: two cells
that fire at 795.369 ms with m = 1.0011 only come to 0.9999. With ticks of 1 us, of which there are three million, every
spike comes at its published microsecond (`check.py --fine`).

## The mapping

All of it is checked by these runs. More of it, and other models: [conventions.md](conventions.md).

| | here | Brian2 | NEST |
| --- | --- | --- | --- |
| order in a tick | integrate, add input, test | the same: `synapses` before `thresholds` in the schedule | the same |
| delay of d ticks | d | d - 1, since a spike is taken up one step later | d |
| refractory for r ticks | r | r + 1, since the step of the spike counts | r |
| input while refractory | `lif`: lost; `lif_exp`: goes into g | the same, by `(unless refractory)` of v | the same |
| `lif_shiu` | as published | its own schedule, delay d, refractory time r; g too `(unless refractory)` | |
| weight of w mV | `lif`: jump of v; `lif_exp`: jump of g | the same | `lif`: w mV; `lif_exp`: w C_m / tau_m pA |
| potential | float32, relative to V_infinite | float64 | float64 |
| sum of inputs | int64, in 2^-32 mV | float64 | float64 |
| nearly at rest | becomes exactly at rest | goes on decaying | goes on decaying |
"""


def document(
    rows: list[tuple[str, list[Agreement], int]], singles: list[Pair], weights: list[Weights],
    example: dict[float, tuple[int, int, int]], versions: dict[str, str],
) -> str:  # fmt: skip
    """``rows``: name, agreements, synapses of each network; ``example``: tick in ms -> spikes here, there, in both."""
    lines, statistics, explanations = [], [], []
    for name, found, synapses in rows:
        for one in found:
            here, there = one.here, one.there
            size = f"{here.n:,}, {synapses:,}, {here.ticks:,}"
            until = one.first_difference
            lines.append(
                f"| {name} | {size} | {one.peer} | {len(here.tick):,} / {len(there.tick):,} | "
                f"{one.identical_spikes:,} | {'none' if until is None else format(until, ',')} | "
                f"{one.common_spikes:,} | {_twin(one)} |"
            )
            mark = "*" if one.bounds == CHAOTIC else ""
            statistics.append(
                f"| {name}{mark} | {one.peer} | {here.rate_hz:.3f} / {there.rate_hz:.3f} | "
                f"{one.cv[0]:.3f} / {one.cv[1]:.3f} | {one.pair_correlation[0]:.4f} / {one.pair_correlation[1]:.4f} | "
                f"{one.count_correlation:.4f} |"
            )
            if until is not None:
                explanations.append(f"- {name}, {one.peer}: {one.explanation}.")
    bounds = _BOUNDS.format(
        tie=LARGEST_TIE_MV, double_tie=LARGEST_DOUBLE_TIE_MV, rate=STEADY.rate, rate_chaotic=CHAOTIC.rate,
        cv=STEADY.cv, pairs=STEADY.pairs, counts=STEADY.counts,
        single_gap=LARGEST_GAP_MV, single_share=LARGEST_SHARE,
        singles="\n".join(
            f"| `{p.model}` | `{p.peer}` | {p.here} / {p.there} | {p.identical} | {p.gap_mv:.0e} mV |" for p in singles
        ),
        pairs_learning=PAIRS, weight_gap=LARGEST_GAP,
        weights="\n".join(
            f"| {w.update} | {w.peer} | {w.moved:.2f} | {w.largest_gap:.0e} |" for w in weights
        ),
        example="\n".join(
            f"| {dt_ms} ms | {here:,} | {there:,} | {common:,} |" for dt_ms, (here, there, common) in example.items()
        ),
    )  # fmt: skip
    head = _HEAD.format(brian2=versions["Brian2"], nest=versions["NEST"])
    between = _STATISTICS.format(explanations="\n".join(explanations) or "- there was none.")
    return head + "\n".join(lines) + "\n" + between + "\n".join(statistics) + "\n" + bounds


def _twin(one: Agreement) -> str:
    return "the same" if one.double_until is None else f"the same until tick {one.double_until:,}"
