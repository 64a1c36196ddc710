"""Keyed permutations of 0..n-1 with an exact inverse, for any n up to 2^52.

A Feistel network over pairs of numbers below s, the least with s s >= n, walked until it falls below n (Black & Rogaway
2002, "Ciphers with arbitrary finite domains"; a side s instead of a number of bits, so that the walk is hardly ever
longer than one step, whatever n). Stored engrams depend on every bit of this file.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit
from engramdb.kernels.rng import GOLDEN, mix64

ROUNDS = 6
# A short side has so few round functions that 6 rounds leave a bias of some percent; 12 leave none that can be seen.
SHORT_SIDE, SHORT_SIDE_ROUNDS = np.uint64(8), 12


@njit(cache=True, nogil=True)
def rounds_of(side):
    """Feistel rounds for a side of this length."""
    return SHORT_SIDE_ROUNDS if side <= SHORT_SIDE else ROUNDS


@njit(cache=True, nogil=True)
def scramble(half, step, key, side):
    """The round function: a pseudorandom uint64 below ``side`` <= 2^26, of a half, the round's number and the key.

    38 of the hash's bits times 26 fit 64. Each value is within side / 2^38 <= 2^-12 of equally likely.
    """
    mixed = mix64(key + ((half << np.uint64(4)) | np.uint64(step)) * GOLDEN)
    return ((mixed >> np.uint64(26)) * side) >> np.uint64(38)


@njit(cache=True, nogil=True)
def permute(x, key, size, side):
    """Where the keyed permutation of 0..size-1 takes ``x``; all uint64, (side - 1)^2 < size <= side^2."""
    rounds = rounds_of(side)
    while True:
        left = x // side
        right = x - left * side
        for step in range(rounds):
            mixed = left + scramble(right, step, key, side)
            left = right
            right = mixed - side if mixed >= side else mixed
        x = left * side + right
        if x < size:
            return x


@njit(cache=True, nogil=True)
def unpermute(y, key, size, side):
    """The ``x`` that :func:`permute` takes to ``y``."""
    rounds = rounds_of(side)
    while True:
        left = y // side
        right = y - left * side
        for back in range(rounds):
            mixed = right + side - scramble(left, rounds - 1 - back, key, side)
            right = left
            left = mixed - side if mixed >= side else mixed
        y = left * side + right
        if y < size:
            return y
