"""Who is near its threshold without its row, beside the same in NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engramdb.kernels import slots
from engramdb.kernels.near import near
from engramdb.kernels.rows import QUEUED, RECORD
from engramdb.kernels.slots import BLOCK

_FRACTION = np.float32(0.25)
_BLOCKS = 6


@given(st.integers(0, 2**32), st.sampled_from([(-1, -1), (0, -1), (-1, 1), (1, 0)]), st.sampled_from([64, 100, 384]))
@settings(max_examples=60)
def test_near_finds_who_numpy_finds(seed: int, own: tuple[int, int], room: int) -> None:
    random = np.random.default_rng(seed)
    n = _BLOCKS * BLOCK
    records = np.zeros(40, RECORD)
    records["offset"] = random.choice([-1, 7], 40)
    records["flags"] = random.choice([0, int(QUEUED)], 40)
    empty = np.empty(0)
    held = slots.Slots(
        id=np.arange(n, dtype=np.uint64), used=random.choice(np.array([0, slots.USED], np.uint8), n),
        u=random.uniform(-5, 15, n).astype(np.float32), refractory=np.zeros(n, np.int32),
        input=np.zeros(n, np.int64), inhibition=np.zeros(0, np.int64),
        record=random.integers(-1, 40, n).astype(np.int32), aux=np.zeros((_BLOCKS, 0, BLOCK), np.float32),
        param=random.uniform(1, 20, (_BLOCKS, 2, BLOCK)).astype(np.float32),
        block_layer=random.integers(0, 2, _BLOCKS).astype(np.int32),
        block_awake=random.choice(np.array([0, 1], np.uint8), _BLOCKS), block_flags=np.zeros(_BLOCKS, np.uint8),
        layer_flags=np.zeros(2, np.uint8), index_table=np.zeros(2, np.uint32), free_slot=np.full(2, -1, np.int64),
        counters=empty.astype(np.int64),
    )  # fmt: skip
    threshold = np.array([[15.0, 2.0], [30.0, -1.0]], np.float32)
    rows = np.array([own, own], np.int32)

    found, block = [], 0
    while block < _BLOCKS:
        out = np.empty(room, np.int64)
        count, block = near(held, records, threshold, rows, _FRACTION, block, _BLOCKS, out)
        found += out[:count].tolist()

    layer = np.repeat(held.block_layer, BLOCK)
    theta, bias = (
        held.param[:, row].reshape(-1) if row >= 0 else threshold[layer, place] for place, row in enumerate(own)
    )
    lacking = (held.record < 0) | ((records["offset"] < 0) & (records["flags"] & QUEUED == 0))[held.record]
    awake = np.repeat(held.block_awake, BLOCK) > 0
    expected = awake & (held.used > 0) & lacking & (held.u >= _FRACTION * (theta - bias))
    assert found == np.flatnonzero(expected).tolist()
