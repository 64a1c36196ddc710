"""How far ``engramdb estimate`` is off: networks of many kinds, estimated and then made, run and measured.

The constants are measured in the same run, since a machine is not the same one every hour; RAM and disk are held
against the shipped ones besides. Time is processor time of one thread, the median of blocks of ticks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engramdb.sizing.calibrate import calibrate
from engramdb.sizing.constants import shipped
from engramdb.sizing.estimate import estimate
from engramdb.sizing.figure import Figure, one, scaled
from engramdb.sizing.network import RANDOM, Network
from engramdb.sizing.specimen import Measured, in_turns
from engramdb.sizing.speed import Speed

_WEIGHT = (0.001, 0.004)  # so small that spikes arise from input alone
_MEMORY_BYTES = 8 << 30


def networks(neurons: int) -> dict[str, Network]:
    """What is estimated: kinds of ``neurons`` neurons, or of a few times as many."""
    few = max(neurons // 5, 500)
    kinds: dict[str, dict[str, Any]] = {
        "small world, all active": {"neurons": neurons},
        "small world, 2 % active": {"neurons": 10 * neurons, "active": 0.02, "firing": 0.2},
        "random, 10 % active": {"neurons": neurons, "active": 0.1, "firing": 0.1, "wiring": RANDOM},
        "random, k = 20, written out": {"neurons": neurons, "k": 20, "wiring": RANDOM, "materialized": True},
        "float16, written out": {"neurons": neurons, "weights": "float16", "materialized": True},
        "int8, written out": {"neurons": neurons, "weights": "int8", "weight_mv": (0.1, 0.9), "materialized": True},
        "lif_exp": {"neurons": neurons, "model": "lif_exp", "firing": 0.05},
        "lif_cond": {"neurons": neurons, "model": "lif_cond", "firing": 0.02},
        "adex": {"neurons": neurons, "model": "adex", "firing": 0.02},
        "stdp": {"neurons": few, "learning": "stdp", "materialized": True},
        "hebbian": {"neurons": few, "learning": "hebbian", "materialized": True},
        "re_vgsp": {"neurons": few, "learning": "re_vgsp", "materialized": True},
        "dense_lif, D = 512": {
            "neurons": max(few // 10, 200), "model": "dense_lif", "dimension": 512, "firing": 0.084,
            "weight_mv": (0.0, 1.0),
        },
        "void": {"neurons": 4 * few, "active": 0.25, "model": "void", "weight_mv": (1.0, 1.0)},
    }  # fmt: skip
    return {name: Network(**{"weight_mv": _WEIGHT, **what}) for name, what in kinds.items()}


def compared(name: str, measured: Measured, constants: Any, own: Any) -> list[Figure]:
    """Each quantity as measured, beside what was estimated for the activity that the network had."""
    known = estimate(measured.as_it_was, constants, _MEMORY_BYTES)
    timed = estimate(measured.as_it_was, own, _MEMORY_BYTES)
    return [
        one(f"{name}: RAM of the budget", "MB", measured.counted_bytes / 1e6,
            bound=known.counted_bytes / 1e6, bound_name="estimated"),
        one(f"{name}: disk", "MB", measured.disk_bytes / 1e6, bound=known.disk_bytes / 1e6, bound_name="estimated"),
        Figure(f"{name}: tick", "ms", scaled(measured.tick_s, 1e3), 1e3 * timed.tick_s, "estimated"),
    ]  # fmt: skip


def run(folder: Path, quick: bool) -> list[Figure]:
    """Measured against estimated: the ratio is how far off the estimate is, and 0.83 to 1.2 are the goal."""
    own, speed = shipped(), Speed()
    if not quick:
        (folder / "calibrate").mkdir()
        own = calibrate(folder=folder / "calibrate", speed=speed)
    wanted = list(networks(2_000 if quick else 200_000).items())[:: 5 if quick else 1]
    figures: list[Figure] = []
    for (name, _), measured in zip(wanted, in_turns(folder, [n for _, n in wanted], speed=speed), strict=True):
        figures += compared(name, measured, shipped(), own)
    for what in ("RAM of the budget", "disk", "tick"):
        off = sorted(max(f.ratio, 1 / f.ratio) for f in figures if f.name.endswith(f": {what}") and f.ratio)
        within = sum(ratio <= 1.2 for ratio in off)
        figures.append(one(f"all {len(off)}: {what}, farthest off", "x", off[-1], goal="<= 1.2 x"))
        figures.append(one(f"all {len(off)}: {what}, within 20 %", "networks", within))
    return figures
