"""Decoders: what spikes say. Each takes a :class:`engramdb.Run`, a pair (tick, id), or a recorded file."""

from __future__ import annotations

from engramdb.decoding.first_spike import first_spikes
from engramdb.decoding.population import population_angle, population_mean
from engramdb.decoding.rates import counts, group_counts, rates
from engramdb.decoding.transduction import Event, Transducer

__all__ = [
    "Event",
    "Transducer",
    "counts",
    "first_spikes",
    "group_counts",
    "population_angle",
    "population_mean",
    "rates",
]
