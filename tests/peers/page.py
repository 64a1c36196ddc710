"""The page docs/peers.md, from what the comparison found."""

from __future__ import annotations

from tests.peers.agreement import CHAOTIC, LARGEST_DOUBLE_TIE_MV, LARGEST_TIE_MV, STEADY, Agreement

_HEAD = """\
# Agreement with other simulators

Written by `make check-peers` (`tests/peers/check.py`); do not edit. The same networks, driven by the same trains of pulses,
run

1. in an engram,
2. in the plain float32 twin of the tests, tick by tick in NumPy: **every spike and every bit of the final state is the same**,
3. in a float64 twin that does as we do in double precision,
4. in Brian2 {brian2}, in double precision, with absolute potentials and its own exact integrator,
5. in NEST {nest}, in double precision, as `iaf_psc_delta` and `iaf_psc_exp`. It has no neuron that is `lif_shiu`.

| network | neurons, synapses, ticks | peer | spikes here / there | identical until the first difference | at tick | \
identical in all | peer and float64 twin |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

_STATISTICS = """
Every difference is one of rounding. Where a raster here parts from a peer's, the float64 twin goes on with the peer: last column,
"the same" for as long as the run lasts, or the tick at which the order of additions shows in the sixteenth digit. The first
difference with each peer:

{explanations}

## Statistics

Marked with * are networks that are chaotic: after one spike that is not the same the rasters go apart, and only statistics can
be compared.

| network | peer | mean rate, Hz | CV of intervals | correlation of pairs | of the neurons' spike counts |
| --- | --- | --- | --- | --- | --- |
"""

_BOUNDS = """
Two numbers are here / there. The correlation of pairs is the mean over all pairs of the 200 busiest neurons, of spike counts in
bins of 10 ms. `make check-peers` fails where the first difference is not a tie (a neuron within {tie} mV of its threshold, in
double precision), where the float64 twin parts from a peer by more than {double_tie:.0e} mV, where mean rates differ by
more than {rate:.0%} (chaotic {rate_chaotic:.0%}), CVs by more than {cv}, correlations of pairs by more than {pairs}, or, where the
network is not chaotic, the correlation of spike counts is below {counts}.

## The SONATA example 300_intfire

300 cells of NEURON's `IntFire1`, input trains, and the output that NEURON gave, with the format's examples (in
`tests/data/300_intfire`). That neuron adds the weights of events to m, which decays with tau; where m passes 1 it fires, m
becomes 0, and events are lost for the refractory time. This is `lif` with a rest of 0 and a threshold of 1: it needs no model
of its own (m equal to 1, which fires here and not there, does not occur). NEURON takes events at their own times, on a grid of
1 us in this example; here they fall into ticks.

| tick | spikes here | published | the same neuron and tick |
| --- | --- | --- | --- |
{example}

With ticks of 0.1 ms, events that are less than a tick apart become one, and that makes the difference. With ticks of 1 us all
spikes are at the published times too, in {published:,} of {published:,}; it takes three million ticks.

## The mapping

All of it is checked by these runs, in both peers.

| | here | Brian2 | NEST |
| --- | --- | --- | --- |
| order in a tick | integrate, add input, test | the same, with `synapses` before `thresholds` in the schedule | the same |
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
    rows: list[tuple[str, list[Agreement], int]], example: dict[float, tuple[int, int, int]], versions: dict[str, str]
) -> str:
    """``rows``: name, agreements and synapses of each network; ``example``: tick in ms -> spikes here, there, in both."""
    lines, statistics, explanations = [], [], []
    for name, found, synapses in rows:
        for one in found:
            here, there = one.here, one.there
            size = f"{here.n:,}, {synapses:,}, {here.ticks:,}"
            until = one.first_difference
            lines.append(
                f"| {name} | {size} | {one.peer} | {len(here.tick):,} / {len(there.tick):,} | {one.identical_spikes:,} | "
                f"{'none' if until is None else format(until, ',')} | {one.common_spikes:,} | {_twin(one)} |"
            )
            mark = "*" if one.bounds is CHAOTIC else ""
            statistics.append(
                f"| {name}{mark} | {one.peer} | {here.rate_hz:.3f} / {there.rate_hz:.3f} | "
                f"{one.cv[0]:.3f} / {one.cv[1]:.3f} | {one.pair_correlation[0]:.4f} / {one.pair_correlation[1]:.4f} | "
                f"{one.count_correlation:.4f} |"
            )
            if until is not None:
                explanations.append(f"- {name}, {one.peer}: {one.explanation}.")
    bounds = _BOUNDS.format(
        tie=LARGEST_TIE_MV, double_tie=LARGEST_DOUBLE_TIE_MV, rate=STEADY.rate, rate_chaotic=CHAOTIC.rate,
        cv=STEADY.cv, pairs=STEADY.pairs, counts=STEADY.counts, published=max(there for _, there, _ in example.values()),
        example="\n".join(
            f"| {dt_ms} ms | {here:,} | {there:,} | {common:,} |" for dt_ms, (here, there, common) in example.items()
        ),
    )  # fmt: skip
    head = _HEAD.format(brian2=versions["Brian2"], nest=versions["NEST"])
    between = _STATISTICS.format(explanations="\n".join(explanations) or "- there was none.")
    return head + "\n".join(lines) + "\n" + between + "\n".join(statistics) + "\n" + bounds


def _twin(one: Agreement) -> str:
    return "the same" if one.double_until is None else f"the same until tick {one.double_until:,}"
