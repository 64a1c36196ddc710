"""A worm is touched: who spikes when, how many, and what the record of it looks like.

Run it anywhere: ``python touch.py``. It leaves touch.engram and touch.png behind.
"""

import matplotlib.pyplot as plt

import engramdb
import engramdb.plot

spec = engramdb.Spec(seed=3, name="a small reflex", layers=[
    engramdb.Layer("touch", segments=[40]),
    engramdb.Layer("inter", segments=[200], wiring=engramdb.SmallWorld(k=8, span=20, weight=(0.5, 2.5)), delay_ms=2.0),
    engramdb.Layer("motor", segments=[60]),
], projections=[
    engramdb.Projection("touch", "inter", engramdb.FixedOutdegree(k=30), weight=(2.0, 4.0), delay_ms=2.0),
    engramdb.Projection("inter", "motor", engramdb.FixedOutdegree(k=10), weight=(1.0, 3.0), delay_ms=3.0),
])  # fmt: skip

with engramdb.create("touch.engram", spec) as e:
    e.poisson(e.select(layer="touch", columns=["id"]).ids, rate_hz=120, amplitude=20.0, at=21, duration=60)
    run = e.run(150, record=("spikes", "rates"), progress=True)

figure, (above, below) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained")
engramdb.plot.raster(run, ax=above)
engramdb.plot.rates(run, ax=below, bin_ms=3.0)
above.axvspan(20, 80, color="#f3e9d6", zorder=0)
above.set_title("touched from 20 to 80 ms", loc="left")
above.set_xlabel("")
figure.savefig("touch.png", dpi=120)
plt.close("all")
print(run, {name: int(counts.sum()) for name, counts in run.population.items()})
