"""An engram in an HDF5 file, read: spec, neurons with their rows, labels, and the state in flight.

::

    with Hdf5File("brain.h5") as file:
        for records in file.scan(): ...
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from engramdb.errors import EngramError, FormatTooNew, InvalidInput
from engramdb.growth.bundle import Bundles
from engramdb.spec import Spec
from engramdb.store import Records
from engramdb.store.labels import Batches

FORMAT, FORMAT_VERSION = "EngramDB", 1
NEURONS_A_PIECE, SYNAPSES_A_PIECE = 1 << 15, 1 << 20
_CACHE_BYTES = 16 << 20  # of each array, so that a chunk is decoded once though pieces end in its middle
_LABELS_A_BATCH = 1 << 16
_SIGNATURE = b"\x89HDF\r\n\x1a\n"

Array = npt.NDArray[Any]


def is_hdf5(path: Path) -> bool:
    """Whether there is a file that begins as HDF5 files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


class _Segment(NamedTuple):
    layer: int
    segment: int
    group: Any

    @property
    def neurons(self) -> int:
        return len(self.group["id"])


class Hdf5File:
    """An HDF5 file of :func:`~engramdb.interchange.hdf5.export_hdf5`, to be closed, or used in ``with``.

    Raises InvalidInput where it is no such file, where something is missing in it, or where a checksum fails, and
    FormatTooNew for a layout of a later version.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        try:
            self._file = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
        except OSError:
            raise InvalidInput(f"{path} is no readable HDF5 file") from None
        try:
            with self._in_words():
                self._check()
                self.spec = Spec.from_json(self._file["spec"].asstr()[()])
                self.bundles = Bundles.from_json(self._file["bundles"].asstr()[()])
                self.attributes: dict[str, Any] = dict(self._file.attrs)
                self.tick = int(self.attributes["tick"])
                self._segments = [
                    _Segment(int(part.attrs["layer_index"]), int(part.attrs["segment"]), part)
                    for group in self._file["layers"].values()
                    for part in group.values()
                ]
                self._segments.sort(key=lambda part: part[:2])
                self.synapses: int | None = sum(len(part.group["target"]) for part in self._segments)
                self.neurons = sum(part.neurons for part in self._segments)
        except BaseException:
            self._file.close()
            raise

    def _check(self) -> None:
        kind = self._file.attrs.get("format")
        if kind != FORMAT:
            raise InvalidInput(f"{self.path} is HDF5, but no engram: it has no attribute format = {FORMAT!r}")
        version = int(self._file.attrs["format_version"])
        if version > FORMAT_VERSION:
            raise FormatTooNew(f"{self.path} has layout {version}; this EngramDB reads up to {FORMAT_VERSION}")

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except EngramError:
            raise
        except KeyError as error:
            raise InvalidInput(
                f"{self.path}: {error.args[0]}: something that belongs into such a file is missing"
            ) from None
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            said = " ".join(str(error).split())
            raise InvalidInput(f"{self.path} is damaged: {said}; export it anew") from None

    # neurons and rows

    def scan(self, layer: int | None = None) -> Iterator[Records]:
        """All neurons of the layer with that index, or of all, by id, in pieces."""
        for part in self._segments:
            if layer is None or part.layer == layer:
                yield from self._of_segment(part, 0)

    def records(self, behind: int, work: Path, room_bytes: int) -> Iterator[Records]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        for part in self._segments:
            skipped = min(behind, part.neurons)
            behind -= skipped
            yield from self._of_segment(part, skipped)

    def _of_segment(self, part: _Segment, start: int) -> Iterator[Records]:
        group, n = part.group, part.neurons
        with self._in_words():
            synapses = {name: len(group[name]) for name in ("target", "weight", "projection", "delay") if name in group}
            if len(set(synapses.values())) != 1 or len(group["indptr"]) != n + 1:
                raise InvalidInput(f"{self.path}: arrays of {group.name} differ in length; export it anew")
            state = {str(dataset.attrs["field"]): dataset for dataset in group.values() if "field" in dataset.attrs}
            nnz = synapses["target"]
        while start < n:
            with self._in_words():
                stop = min(start + NEURONS_A_PIECE, n)
                indptr = group["indptr"][start : stop + 1].astype(np.int64)
                if (np.diff(indptr) < 0).any() or indptr[0] < 0 or indptr[-1] > nnz:
                    raise InvalidInput(f"{self.path}: indptr of {group.name} is no row of edges; export it anew")
                count = max(bisect.bisect_right(indptr, indptr[0] + SYNAPSES_A_PIECE) - 1, 1)
                stop, indptr = min(start + count, stop), indptr[: count + 1]
                here, row = slice(start, stop), slice(int(indptr[0]), int(indptr[-1]))
                records = Records(
                    ids=group["id"][here],
                    state={name: dataset[here] for name, dataset in state.items()},
                    row_kind=group["row_kind"][here],
                    indptr=indptr - indptr[0],
                    projection=group["projection"][row],
                    target=group["target"][row],
                    weight=group["weight"][row],
                    delay=group["delay"][row] if "delay" in group else None,
                )
                if (records.ids >> np.uint64(32) != np.uint64(part.layer << 16 | part.segment)).any():
                    raise InvalidInput(f"{self.path}: ids of {group.name} belong elsewhere; export it anew")
            yield records
            start = stop

    # labels and state

    def labels(self) -> Iterator[tuple[int, Batches]]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        for name in sorted(self._file["labels"], key=int):
            group = self._file["labels"][name]
            yield int(group.attrs["layer_index"]), self._batches(group)

    def _batches(self, group: Any) -> Iterator[tuple[Any, Array]]:
        for start in range(0, len(group["id"]), _LABELS_A_BATCH):
            here = slice(start, start + _LABELS_A_BATCH)
            with self._in_words():
                ids = group["id"][here]
                if "number" in group:
                    labels: Any = group["number"][here]
                else:
                    bounds = group["offset"][start : start + len(ids) + 1].astype(np.int64)
                    text = group["utf8"][int(bounds[0]) : int(bounds[-1])].tobytes()
                    ends = (bounds - bounds[0]).tolist()
                    labels = [text[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(ends)]
            yield labels, ids

    @property
    def has_labels(self) -> bool:
        return len(self._file["labels"]) > 0

    def inflight(self) -> Mapping[str, Array]:
        """See :class:`~engramdb.interchange.origin.Origin`."""
        with self._in_words():
            return {name: dataset[()] for name, dataset in self._file["inflight"].items()}

    def storage(self) -> dict[str, tuple[int, int]]:
        """Bytes in the file and as they are decoded of each array, of all segments together."""
        found: dict[str, tuple[int, int]] = {}
        for part in self._segments:
            for name, dataset in part.group.items():
                stored, decoded = found.get(name, (0, 0))
                found[name] = stored + dataset.id.get_storage_size(), decoded + dataset.size * dataset.dtype.itemsize
        return found

    def arrays(self) -> list[tuple[str, tuple[int, ...], str, int]]:
        """``(path, shape, type, bytes in the file)`` of every array."""
        import h5py

        found: list[tuple[str, tuple[int, ...], str, int]] = []

        def note(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset):
                kind = "text" if node.dtype.kind == "O" else "table" if node.dtype.names else str(node.dtype)
                found.append((f"/{name}", tuple(node.shape), kind, int(node.id.get_storage_size())))

        self._file.visititems(note)
        return found

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
