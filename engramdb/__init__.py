"""EngramDB: a storage-centric database for large, sparse, learning neural networks.

>>> import engramdb
>>> spec = engramdb.Spec(seed=7, layers=[engramdb.Layer("cortex", segments=[1_000_000],
...     wiring=engramdb.SmallWorld(k=12, long_fraction=0.1, span=50, weight=(0.5, 1.5)))])
>>> with engramdb.create("brain.engram", spec) as e:  # doctest: +SKIP
...     e.stimulate("0/0/42", amplitude=20.0)
...     run = e.run(100, record=("spikes",))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "address": "engramdb.address",
    "Bernoulli": "engramdb.rules",
    "connect": "engramdb.client",
    "create": "engramdb.opening",
    "diff": "engramdb.difference",
    "download": "engramdb.store.remote.download",
    "Engram": "engramdb.engram",
    "EngramError": "engramdb.errors",
    "errors": "engramdb.errors",
    "Explicit": "engramdb.rules",
    "export_edges": "engramdb.interchange.edgelist",
    "export_graphml": "engramdb.interchange.graph",
    "export_hdf5": "engramdb.interchange.hdf5",
    "export_parquet": "engramdb.interchange.parquet",
    "export_sonata": "engramdb.interchange.sonataout",
    "export_vdm": "engramdb.interchange.vdm",
    "export_zarr": "engramdb.interchange.zarr",
    "FixedIndegree": "engramdb.rules",
    "FixedOutdegree": "engramdb.rules",
    "Hebbian": "engramdb.learning",
    "import_edges": "engramdb.interchange.edges",
    "import_hdf5": "engramdb.interchange.hdf5",
    "import_parquet": "engramdb.interchange.parquet",
    "import_sonata": "engramdb.interchange.sonata",
    "import_vdm": "engramdb.interchange.vdm",
    "Layer": "engramdb.spec",
    "LogNormal": "engramdb.distribution",
    "Normal": "engramdb.distribution",
    "OneToOne": "engramdb.rules",
    "open": "engramdb.opening",
    "plot": "engramdb.plot",
    "Projection": "engramdb.spec",
    "publish": "engramdb.store.remote.publish",
    "ReVGSP": "engramdb.learning",
    "repair": "engramdb.store.upkeep.repair",
    "Run": "engramdb.run",
    "Scaling": "engramdb.learning",
    "Segment": "engramdb.spec",
    "SmallWorld": "engramdb.rules",
    "STDP": "engramdb.learning",
    "sonata_ids": "engramdb.interchange.sonata",
    "Spec": "engramdb.spec",
    "topology": "engramdb.topology",
    "Uniform": "engramdb.distribution",
    "verify": "engramdb.store.upkeep.verify",
    "ZarrStore": "engramdb.store.zarrview.view",
}
__all__ = [
    "STDP",
    "Bernoulli",
    "Engram",
    "EngramError",
    "Explicit",
    "FixedIndegree",
    "FixedOutdegree",
    "Hebbian",
    "Layer",
    "LogNormal",
    "Normal",
    "OneToOne",
    "Projection",
    "ReVGSP",
    "Run",
    "Scaling",
    "Segment",
    "SmallWorld",
    "Spec",
    "Uniform",
    "ZarrStore",
    "__version__",
    "address",
    "connect",
    "create",
    "diff",
    "download",
    "errors",
    "export_edges",
    "export_graphml",
    "export_hdf5",
    "export_parquet",
    "export_sonata",
    "export_vdm",
    "export_zarr",
    "import_edges",
    "import_hdf5",
    "import_parquet",
    "import_sonata",
    "import_vdm",
    "open",
    "plot",
    "publish",
    "repair",
    "sonata_ids",
    "topology",
    "verify",
]

if TYPE_CHECKING:
    from engramdb import address, errors, plot, topology
    from engramdb.client import connect
    from engramdb.difference import diff
    from engramdb.distribution import LogNormal, Normal, Uniform
    from engramdb.engram import Engram
    from engramdb.errors import EngramError
    from engramdb.interchange.edgelist import export_edges
    from engramdb.interchange.edges import import_edges
    from engramdb.interchange.graph import export_graphml
    from engramdb.interchange.hdf5 import export_hdf5, import_hdf5
    from engramdb.interchange.parquet import export_parquet, import_parquet
    from engramdb.interchange.sonata import import_sonata, sonata_ids
    from engramdb.interchange.sonataout import export_sonata
    from engramdb.interchange.vdm import export_vdm, import_vdm
    from engramdb.interchange.zarr import export_zarr
    from engramdb.learning import STDP, Hebbian, ReVGSP, Scaling
    from engramdb.opening import create, open
    from engramdb.rules import Bernoulli, Explicit, FixedIndegree, FixedOutdegree, OneToOne, SmallWorld
    from engramdb.run import Run
    from engramdb.spec import Layer, Projection, Segment, Spec
    from engramdb.store.remote.download import download
    from engramdb.store.remote.publish import publish
    from engramdb.store.upkeep.repair import repair
    from engramdb.store.upkeep.verify import verify
    from engramdb.store.zarrview.view import ZarrStore


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'engramdb' has no attribute {name!r}")
    module = import_module(_HOME[name])
    value = getattr(module, name, module)  # a module that has no such name is what is meant
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
