"""Where decoders take their spikes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engramdb.address import IdArray
from engramdb.errors import InvalidInput, NotFound

Window: TypeAlias = tuple[int, int]
Batch: TypeAlias = tuple[npt.NDArray[np.int64], IdArray]


def batches(spikes: Any, window: Window | None) -> Iterator[Batch]:
    """(tick, id) of the spikes in the ticks ``window`` (both included), in parts.

    ``spikes``: a run that recorded them in memory, a pair of arrays, or the path of a Parquet or Arrow file.
    """
    if isinstance(spikes, (str, Path)):
        parts = _stored(Path(spikes))
    else:
        tick, ids = getattr(spikes, "spikes", spikes)
        parts = iter([(np.asarray(tick, dtype=np.int64), np.asarray(ids, dtype=np.uint64))])
    for tick, ids in parts:
        if window is None:
            yield tick, ids
        else:
            inside = (tick >= window[0]) & (tick <= window[1])
            yield tick[inside], ids[inside]


def _stored(path: Path) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise NotFound(f"{path}: no such recording")
    try:
        if path.suffix.lower() in (".arrow", ".feather"):
            with pa.memory_map(str(path)) as mapped:
                reader = pa.ipc.open_file(mapped)
                for i in range(reader.num_record_batches):
                    yield _columns(reader.get_batch(i), path)
        else:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(1 << 20):
                    yield _columns(batch, path)
    except pa.ArrowException:
        raise InvalidInput(f"{path} is no readable recording") from None


def _columns(batch: Any, path: Path) -> Batch:
    if not {"tick", "id"} <= set(batch.schema.names):
        raise InvalidInput(f"{path}: expected columns tick and id; it has {', '.join(batch.schema.names)}")
    tick, ids = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("tick", "id"))
    return tick.astype(np.int64), ids.astype(np.uint64)
