"""Two futures of one network: snapshots, a branch, a restore, and the graph of it.

Run it anywhere: ``python branches.py``. It leaves branches.engram and branches.png behind.
"""

import matplotlib.pyplot as plt

import engramdb
import engramdb.plot

spec = engramdb.Spec(seed=8, layers=[
    engramdb.Layer("cortex", segments=[5_000], wiring=engramdb.SmallWorld(k=12, span=50, weight=(1.0, 3.0))),
])  # fmt: skip

with engramdb.create("branches.engram", spec) as e:
    e.stimulate(range(500), 20.0)
    e.run(100)
    e.snapshot("driven")
    e.branch("lesioned")
    e.stimulate(range(500), 20.0)
    e.run(150)
    e.snapshot("again")
    e.restore("driven")
    e.run(60)
    e.checkpoint("another way")

with engramdb.open("branches.engram", "r+", branch="lesioned") as e:
    e.set_weight(7, e.synapses(7).targets, 0.0)
    e.stimulate(range(500), 20.0)
    e.run(200)
    e.checkpoint("without neuron 7")
    axes = engramdb.plot.history(e)
    axes.set_title("one past, three futures", loc="left")
    axes.figure.savefig("branches.png", dpi=120)
    print([branch.name for branch in e.branches()], e.diff("driven").by_layer["cortex"].changed, "neurons differ")
plt.close("all")
