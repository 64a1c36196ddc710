"""What a growth cycle is told: how much grows, when the network counts as stable, and what may change at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from engramdb.distribution import is_number
from engramdb.errors import InvalidInput
from engramdb.rules import is_whole

FIXED, ADAPTIVE = "fixed", "adaptive"
GROW, STABILIZE, OPTIMIZE = "grow", "stabilize", "optimize"
PHASES = (GROW, STABILIZE, OPTIMIZE)
MOST_BUNDLE = 10_000_000
LEAST_FACTOR, MOST_FACTOR = 1.2, 1.5


@dataclass(frozen=True)
class Settings:
    """Settings of a growth cycle; ticks are whole numbers, and so is everything that is counted.

    - ``layer``: name of the layer that grows, and whose synapses change.
    - ``bundle``: neurons of the first bundle. ``growth``: "fixed", or "adaptive": each bundle is larger than the one
      before by a factor of 1.2 to 1.5, the larger the faster the last cycle became stable; at most ``most_bundle``.
    - ``k``, ``materialize``, ``inbound``: of the bundles, as in :meth:`Engram.grow`; ``inbound`` is for each bundle.
    - ``awaken``: so many neurons of each new bundle, at random, get ``amplitude`` for ``awaken_ticks`` ticks.
    - ``gauge``: what reads clusters and B1, "topology" or "probe"; see :mod:`engramdb.growth.readings`.
    - ``every``: ticks between two steps, in which readings are taken and synapses looked at.
    - ``window``: readings that must be flat: ``flat_w``, ``flat_clusters`` and ``flat_b1`` are the most by which mean W
      (of who is active; spikes a tick where there is no W), the number of clusters and B1 may drift from the earlier
      half of the window to the later, as a part of their size. ``patience``: ticks after which it goes on anyway.
    - ``optimize``: ticks of the phase in which synapses are pruned, promoted and bridged.
    - ``below``: what is weaker is weak: mV, or in a void layer affinity. ``persist``: ticks after which it is pruned.
    - ``rows``, ``prunes``, ``promotions``, ``searches``: what a step may look at, prune, promote, and from how many
      neurons it looks for a way out; ``island``: neurons that have none to more are bridged. ``timers``: of how many
      weak synapses the time is kept.
    - ``cycles``: after so many the cycle is done; None: never.
    - ``first``: the phase to begin with.
    """

    layer: str
    bundle: int = 1_000_000
    growth: str = FIXED
    most_bundle: int = MOST_BUNDLE
    k: int | None = None
    materialize: bool = False
    inbound: int = 0
    awaken: int = 0
    amplitude: float = 1.0
    awaken_ticks: int = 1
    gauge: str = "topology"
    every: int = 100
    window: int = 6
    flat_w: float = 0.02
    flat_clusters: float = 0.1
    flat_b1: float = 0.1
    patience: int = 5000
    optimize: int = 1000
    below: float = 0.01
    persist: int = 1000
    rows: int = 1024
    prunes: int = 64
    promotions: int = 128
    searches: int = 2
    island: int = 64
    timers: int = 1 << 18
    cycles: int | None = None
    first: str = GROW

    def __post_init__(self) -> None:
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if value is None and name in ("k", "cycles"):
                continue
            if not is_whole(value) or not least <= value <= most:
                raise InvalidInput(f"{name} must be a whole number in {least}..{most}, not {value!r}")
        for name in ("flat_w", "flat_clusters", "flat_b1", "below", "amplitude"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1e9:
                raise InvalidInput(f"{name} must be a number, 0 or more, not {value!r}")
            object.__setattr__(self, name, float(value))
        for name, known in (("growth", (FIXED, ADAPTIVE)), ("gauge", _GAUGES), ("first", PHASES)):
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if not isinstance(self.materialize, bool):
            raise InvalidInput(f"materialize must be true or false, not {self.materialize!r}")
        if self.patience < self.window * self.every:
            raise InvalidInput(
                f"patience of {self.patience} ticks ends before the window is full: {self.window} readings, one in "
                f"{self.every} ticks; give at least {self.window * self.every}"
            )

    @classmethod
    def given(cls, settings: dict[str, Any]) -> Settings:
        """Settings from names and values; :class:`InvalidInput` for a name that there is not, or a wrong value."""
        names = [field.name for field in fields(cls)]
        for name in settings:
            if name not in names:
                raise InvalidInput(f"a growth cycle has no setting {name!r}; those it has: {', '.join(names)}")
        if "layer" not in settings:
            raise InvalidInput("layer: say which layer is to grow")
        return cls(**settings)

    def changed(self, **settings: Any) -> Settings:
        """The same, but for ``settings``."""
        return replace(self, **settings)

    def as_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


_GAUGES = ("topology", "probe")
_TICKS = (1, 1 << 40)
_WHOLE: dict[str, tuple[int, int]] = {
    "bundle": (1, MOST_BUNDLE), "most_bundle": (1, MOST_BUNDLE), "k": (0, 1 << 20), "inbound": (0, 1 << 20),
    "awaken": (0, 1 << 20), "awaken_ticks": _TICKS, "every": _TICKS, "window": (2, 1 << 12), "patience": _TICKS,
    "optimize": _TICKS, "persist": (0, 1 << 40), "rows": (1, 1 << 20), "prunes": (0, 1 << 20),
    "promotions": (0, 1 << 20), "searches": (0, 1 << 10), "island": (1, 1 << 16), "timers": (0, 1 << 24),
    "cycles": (1, 1 << 30),
}  # fmt: skip
