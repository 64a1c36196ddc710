"""What kernels take instead of a spec: constants by layer, and codes for where synapses lead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engramdb import models
from engramdb.distribution import resolved
from engramdb.errors import BudgetExceeded
from engramdb.growth.bundle import Bundles
from engramdb.kernels import rows
from engramdb.spec import Spec

_UNDECLARED = -1


@dataclass(frozen=True)
class LayerTable:
    """Constants of all layers, by position: what kernels take instead of a spec."""

    position: npt.NDArray[np.int32]  # (65536,) layer index -> position, -1 = undeclared
    constants: npt.NDArray[np.float32]  # (L, 4) decay, theta, reset, epsilon
    refractory_ticks: npt.NDArray[np.int32]  # (L,)
    bias_table: npt.NDArray[np.float64]
    bias_start: npt.NDArray[np.int64]  # (L + 1,)

    @classmethod
    def of(cls, spec: Spec) -> LayerTable:
        position = np.full(65536, _UNDECLARED, dtype=np.int32)
        constants = np.zeros((len(spec.layers), 4), dtype=np.float32)
        refractory = np.zeros(len(spec.layers), dtype=np.int32)
        tables: list[npt.NDArray[np.float64]] = []
        start = [0]
        for at, layer in enumerate(spec.layers):
            position[layer.index] = at
            values = models.get(layer.model).constants(layer.params, spec.dt_ms)
            table = resolved(layer.params.get("bias", 0.0)).table()
            constants[at] = values.decay, values.theta, values.reset, values.epsilon
            refractory[at] = values.refractory_ticks
            # A shared bias is folded into the constants, except where it lifts rest over the threshold: there a free
            # slot, which has no bias, must still be at rest.
            if len(table) == 1 and constants[at, 1] - np.float32(table[0]) > 0:
                constants[at, 1:3] -= np.float32(table[0])
                table = table[:0]
            tables.append(table)
            start.append(start[-1] + len(table))
        return cls(position, constants, refractory, np.concatenate(tables), np.array(start, dtype=np.int64))

    @property
    def per_neuron_bias(self) -> bool:
        return bool(self.bias_start[-1])


def synapse_codes(spec: Spec, bundles: Bundles, position: npt.NDArray[np.int32]) -> rows.Codes:
    """A code for every (projection, target segment) that can occur, and room for delays where they vary."""
    segments_of: dict[int, list[int]] = {}
    for layer_index, segment in sorted(bundles.sizes):
        segments_of.setdefault(layer_index, []).append(segment)
    width = max((s for segments in segments_of.values() for s in segments), default=0) + 1
    of = np.zeros((max(1, len(spec.all_projections)), width), dtype=np.uint16)
    prefix: list[int] = []
    delay: list[int] = []
    layer: list[int] = []
    for number, projection in enumerate(spec.all_projections):
        post = spec.layer(projection.post)
        for segment in segments_of[post.index]:
            of[number, segment] = len(prefix) & 0xFFFF
            prefix.append(post.index << 48 | segment << 32)
            delay.append(spec.delay_ticks(projection))
            layer.append(int(position[post.index]))
    if len(prefix) > rows.MOST_CODES:
        raise BudgetExceeded(
            f"{len(prefix)} pairs of projection and target segment; an engram can run at most {rows.MOST_CODES}"
        )
    pairs = len(prefix)
    room = rows.MOST_CODES if spec.varying_delays else pairs
    codes = rows.Codes(
        prefix=np.zeros(room, dtype=np.uint64), delay=np.zeros(room, dtype=np.int32),
        layer=np.zeros(room, dtype=np.int32), pair=np.zeros(room, dtype=np.uint16), of=of,
        made=np.array([pairs], dtype=np.int64),
        table=np.zeros(2 * rows.MOST_CODES if spec.varying_delays else 1, dtype=np.uint32),
    )  # fmt: skip
    codes.prefix[:pairs], codes.delay[:pairs], codes.layer[:pairs] = prefix, delay, layer
    codes.pair[:pairs] = np.arange(pairs)
    return codes
