"""The self-improvement engine of void layers: how new, how stable and how good the change of each active neuron was."""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit

_A = np.float32(0.0011545782619698472)  # 1 - 2^(-1/600)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_TO_FIXED = 4294967296.0


@njit(cache=True, nogil=True)
def settle(voids, members, new_w, change, greatest, farthest, first, last):
    """Step 3 of a tick for ``members[first:last]`` (int32), and their new W; see :mod:`engramdb.models.void`.

    ``new_w``, ``change``: float32 (n,), of all members; ``greatest``, ``farthest``: the greatest |dW| and |td| of all.
    Returns the sums of r and of W (int64, in 2^-32), which are the same in any order.
    """
    reward, total = np.int64(0), np.int64(0)
    for i in range(first, last):
        one = voids.entry[members[i]]
        s = change[i]
        mu = one["mu"] + _A * (s - one["mu"])
        away = s - mu
        var = one["var"] + _A * (away * away - one["var"])
        novelty = s / greatest if greatest > 0 else _ZERO
        td = (new_w[i] - np.float32(0.99) * one["prev_W"]) / farthest if farthest > 0 else _ZERO
        calm = _ONE - min(_ONE, np.float32(2.0) * abs(mu - np.float32(0.5)))
        even = _ONE - min(_ONE, abs(var - np.float32(0.1)) / np.float32(0.1))
        stability = (calm + even) * np.float32(0.5)
        r = np.float32(0.5) * td + np.float32(0.2) * novelty - np.float32(0.1) * mu + np.float32(0.2) * stability
        r = min(max(r, -_ONE), _ONE)
        one["mu"] = mu
        one["var"] = var
        one["W"] = new_w[i]
        one["prev_W"] = new_w[i]
        reward += np.int64(np.rint(np.float64(r) * _TO_FIXED))
        total += np.int64(np.rint(np.float64(new_w[i]) * _TO_FIXED))
    return reward, total
