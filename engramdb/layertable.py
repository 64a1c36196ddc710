"""What kernels take instead of a spec: constants by layer, and codes for where synapses lead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engramdb.errors import BudgetExceeded
from engramdb.growth.bundle import Bundles
from engramdb.kernels import rows, slots
from engramdb.models import Model
from engramdb.parameters import LayerParameters, parameters_of_layer
from engramdb.spec import Spec
from engramdb.state import column_of

_UNDECLARED = -1


@dataclass(frozen=True)
class LayerTable:
    """Models and constants of all layers, by position: what kernels take instead of a spec."""

    position: npt.NDArray[np.int32]  # (65536,) layer index -> position, -1 = undeclared
    parameters: tuple[LayerParameters, ...]
    constants: npt.NDArray[np.float32]  # (L, K) the model's kernel constants, then its refractory ticks
    rows: npt.NDArray[np.int32]  # (L, K) row of Slots.param with each neuron's own constant, -1 = the layer's
    flags: npt.NDArray[np.uint8]  # (L,) of a slot just taken
    projecting: npt.NDArray[np.bool_]  # (L,) whether its neurons can have synapses: else no row is ever needed

    @classmethod
    def of(cls, spec: Spec) -> LayerTable:
        position = np.full(65536, _UNDECLARED, dtype=np.int32)
        parameters = tuple(parameters_of_layer(layer, spec) for layer in spec.layers)
        width = 1 + max(len(p.model.kernel_constants) for p in parameters)
        constants = np.zeros((len(parameters), width), dtype=np.float32)
        rows = np.full((len(parameters), width), -1, dtype=np.int32)
        flags = np.full(len(parameters), slots.USED, dtype=np.uint8)
        for at, (layer, own) in enumerate(zip(spec.layers, parameters, strict=True)):
            position[layer.index] = at
            n_rows = 0
            for k, name in enumerate(own.kernel_constants):
                if name in own.own:
                    rows[at, k] = n_rows
                    n_rows += 1
                else:
                    constants[at, k] = own.shared[name]
            if own.own:
                flags[at] |= slots.FRESH
            elif own.shared["restless"]:
                flags[at] |= slots.RESTLESS
        sources = {projection.pre for projection in spec.all_projections}
        projecting = np.array([layer.name in sources for layer in spec.layers], dtype=bool)
        return cls(position, parameters, constants, rows, flags, projecting)

    @cached_property
    def thresholds(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """What potentials are held against to tell who will fire soon, see :func:`engramdb.kernels.near.near`.

        The constants ``theta`` and ``bias`` of each model; of one that has no ``theta``, or has no synapses to send its
        spikes over, nobody is ever near.
        """
        shared = np.tile(np.array([np.inf, 0], dtype=np.float32), (len(self.parameters), 1))
        own = np.full(shared.shape, -1, dtype=np.int32)
        for at, parameters in enumerate(self.parameters):
            names = list(parameters.kernel_constants) if self.projecting[at] else []
            for k, name in enumerate(("theta", "bias")):
                if name in names:
                    shared[at, k] = self.constants[at, names.index(name)]
                    own[at, k] = self.rows[at, names.index(name)]
        return shared, own

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in use, each once."""
        return tuple({p.model.name: p.model for p in self.parameters}.values())

    def of_model(self, model: Model) -> npt.NDArray[np.uint8]:
        """Which layers are of ``model``, uint8 (L,)."""
        return np.array([p.model.name == model.name for p in self.parameters], dtype=np.uint8)

    @property
    def aux_fields(self) -> int:
        """The most fields beyond u that a model in use has."""
        return max(len(model.state) for model in self.models) - 1

    @property
    def own_constants(self) -> int:
        """The most constants of a layer that differ from neuron to neuron."""
        return int(self.rows.max()) + 1

    @property
    def apart(self) -> bool:
        """Whether a model in use sums negative input apart."""
        return any(model.inputs == 2 for model in self.models)

    @cached_property
    def fields(self) -> dict[str, list[tuple[int, int]]]:
        """Every state field of the models in use: (position of layer, its place in the state) of those that have it."""
        found: dict[str, list[tuple[int, int]]] = {}
        for at, own in enumerate(self.parameters):
            for place, field in enumerate(own.model.state):
                found.setdefault(column_of(place, field.name), []).append((at, place))
        return found


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
