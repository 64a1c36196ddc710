"""What Prometheus scrapes: requests, ticks, memory, jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from engramdb.server.jobs import Jobs
    from engramdb.server.shelf import Shelf

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """The service's own registry. ``count`` is called by the event loop for each request."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "engramdb_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "engramdb_request_seconds", "Until the answer was sent", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self.working = Gauge("engramdb_requests_working", "Requests at work", registry=self.registry)
        self._known: dict[tuple[str, str, int], Any] = {}
        self._times: dict[str, Any] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; ``route`` is its template, never its path: there are few of them."""
        key = (method, route, status)
        counter = self._known.get(key)
        if counter is None:
            counter = self._known[key] = self._requests.labels(method, route, str(status))
        counter.inc()
        histogram = self._times.get(route)
        if histogram is None:
            histogram = self._times[route] = self._seconds.labels(route)
        histogram.observe(seconds)

    def watch(self, shelf: Shelf, jobs: Jobs) -> None:
        """Show what is open, and jobs, whenever somebody asks."""
        self.registry.register(_Engrams(shelf, jobs))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        text: bytes = generate_latest(self.registry)
        return text


class _Engrams:
    """Gauges of the engrams that are open, as their desks last saw them."""

    def __init__(self, shelf: Shelf, jobs: Jobs) -> None:
        self._shelf, self._jobs = shelf, jobs

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        desks = self._shelf.desks
        ticks = CounterMetricFamily("engramdb_ticks", "Ticks run since the engram was opened", labels=["engram"])
        for name, desk in desks.items():
            ticks.add_metric([name], desk.ticks)
        yield ticks
        shown = {
            "engramdb_resident_neurons": ("resident", "Neurons in memory"),
            "engramdb_charged_neurons": ("charged", "Neurons that are not at rest"),
            "engramdb_active_neurons": ("active", "Neurons whose row is in memory"),
            "engramdb_used_bytes": ("used_bytes", "Bytes of the memory budget that are used"),
            "engramdb_budget_bytes": ("budget_bytes", "The memory budget"),
        }
        for name, (key, text) in shown.items():
            yield self._gauge(name, text, {engram: desk.stats.get(key) for engram, desk in desks.items()})
        for name, key, text in (
            ("engramdb_row_hits", "hits", "Rows that were in memory when a spike came"),
            ("engramdb_row_misses", "misses", "Rows that a spike had to wait for"),
            ("engramdb_prefetched_rows", "prefetched", "Rows read ahead"),
            ("engramdb_prefetch_hits", "prefetch_hits", "Rows read ahead that were used"),
            ("engramdb_evictions", "evictions", "Neurons put out of memory"),
        ):
            counter = CounterMetricFamily(name, text, labels=["engram"])
            for engram, desk in desks.items():
                if key in desk.stats:
                    counter.add_metric([engram], desk.stats[key])
            yield counter
        yield self._gauge("engramdb_open", "Whether the engram is open", dict.fromkeys(desks, 1))
        yield self._gauge(
            "engramdb_listeners",
            "Streams that are open",
            {name: len(desk.hub.listeners) for name, desk in desks.items()},
        )
        jobs = GaugeMetricFamily("engramdb_jobs", "Jobs by state", labels=["state"])
        for state, count in self._jobs.counted().items():
            jobs.add_metric([state], count)
        yield jobs

    @staticmethod
    def _gauge(name: str, text: str, values: dict[str, Any]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=["engram"])
        for engram, value in values.items():
            if value is not None:
                family.add_metric([engram], value)
        return family
