"""What two networks look like before anything runs: weights and degrees of a rule, and of one to which hubs were added.

Run it anywhere: ``python wiring.py``. It leaves wiring.engram and wiring.png behind.
"""

import matplotlib.pyplot as plt
import numpy as np

import engramdb
import engramdb.plot

spec = engramdb.Spec(seed=5, layers=[
    engramdb.Layer("cortex", segments=[20_000],
                   wiring=engramdb.SmallWorld(k=12, span=50, weight=engramdb.LogNormal(0.0, 0.5))),
])  # fmt: skip

with engramdb.create("wiring.engram", spec) as e:
    random = np.random.default_rng(1)
    hubs = range(0, 20_000, 200)  # these project further: all others stay virtual
    targets = [random.choice(20_000, 20 + int(random.pareto(1.5) * 10), replace=False) for _ in hubs]
    e.connect(np.repeat(hubs, [len(some) for some in targets]), np.concatenate(targets), 1.0)
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    engramdb.plot.weights(e, ax=axes[0])
    engramdb.plot.degree(e, ax=axes[1])
    axes[1].set_yscale("log")
    figure.savefig("wiring.png", dpi=120)
    print(e, e.stats()["resident"], "in RAM")
