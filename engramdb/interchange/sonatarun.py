"""What lies beside nodes and edges of a SONATA network that goes out: the configuration, and spikes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engramdb.errors import InvalidInput
from engramdb.interchange.everyrow import Positions
from engramdb.interchange.hdf5sink import new_hdf5
from engramdb.spec import Spec
from engramdb.store import Store

_MAGIC, _VERSION = np.uint32(0x0A7A), np.array([0, 1], dtype=np.uint32)
_CHUNK = 1 << 14


@contextmanager
def new_sonata(path: Path) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A new file of SONATA's kind, as :func:`new_hdf5` has it."""
    with new_hdf5(path) as (file, check):
        file.attrs["magic"], file.attrs["version"] = _MAGIC, _VERSION
        yield file, check


def write_spikes(path: Path, source: Path, store: Store, names: Mapping[str, str]) -> None:
    """``/spikes/<population>/node_ids`` and ``timestamps`` (ms) of a recording, in its order: by time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        recording = pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{source} is no readable Parquet file of spikes: {error}") from None
    with recording, new_sonata(path) as (file, check):
        if not {"tick", "id"} <= set(recording.schema_arrow.names):
            raise InvalidInput(f"{source} has no columns tick and id: give what run --record wrote")
        for layer in store.spec.layers:
            positions = Positions(store.bundles, [layer])
            group = file.create_group(f"spikes/{names[layer.name]}")
            group.attrs["sorting"] = "by_time"
            columns = {
                name: group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,))
                for name, dtype in (("node_ids", "<u8"), ("timestamps", "<f8"))
            }
            columns["timestamps"].attrs["units"] = "ms"
            for batch in recording.iter_batches(columns=["tick", "id"]):
                tick, ids = (batch.column(name).to_numpy() for name in ("tick", "id"))
                node = positions.of(ids)
                own = node >= 0
                before = len(columns["node_ids"])
                for name, values in (
                    ("node_ids", node[own]),
                    ("timestamps", np.round(tick[own] * store.spec.dt_ms, 9)),
                ):
                    columns[name].resize((before + len(values),))
                    columns[name][before:] = values
                check()


def write_config(
    folder: Path, spec: Spec, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], spikes: bool
) -> None:
    """The three documents, and parameters of the one kind of synapse."""
    synapses = folder / "components" / "synaptic_models"
    synapses.mkdir(parents=True, exist_ok=True)
    (synapses / "static_synapse.json").write_text("{}\n", encoding="utf-8")
    manifest = {"$BASE_DIR": ".", "$NETWORK_DIR": "$BASE_DIR/network", "$COMPONENT_DIR": "$BASE_DIR/components"}
    components = {f"{kind}_dir": f"$COMPONENT_DIR/{kind}" for kind in ("point_neuron_models", "synaptic_models")}
    circuit = {"manifest": manifest, "components": components, "networks": {"nodes": nodes, "edges": edges}}
    output = {"output_dir": "$BASE_DIR", "spikes_file": "spikes.h5"} if spikes else {"output_dir": "$BASE_DIR/output"}
    simulation = {"manifest": {"$BASE_DIR": "."}, "run": {"dt": spec.dt_ms}, "output": output}
    documents = {
        "circuit_config.json": circuit,
        "simulation_config.json": simulation,
        "config.json": {"network": "./circuit_config.json", "simulation": "./simulation_config.json"},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
