"""Random numbers as functions: of (seed, who, which), never of a shared stream, so order and threads cannot matter.

All are built from the 64-bit finalizer of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
number generators", with Stafford's variant 13). Arguments are uint64: mixed with int64, Numba would compute in float64.

Stored engrams depend on every bit of this file. It never changes; another generator gets other names.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_START = np.uint64(0x456E6772616D4442)  # "EngramDB" in ASCII
_ONE = np.uint64(1)
_2_53 = 2.0**-53

# Purposes: what a random number is for, so that no two uses share one. A number is never given to another use.
TARGET = np.uint64(1)  # permutations of long targets
OFFSET = np.uint64(2)  # offsets of local targets
LONG_COUNT = np.uint64(3)  # how many synapses of a row are long
WEIGHT = np.uint64(4)  # weights of virtual synapses
BIAS = np.uint64(5)  # per-neuron bias
V_INIT = np.uint64(6)  # per-neuron initial potential
BUILT_TARGET = np.uint64(7)  # partners chosen by rules that are built
BUILT_WEIGHT = np.uint64(8)  # weights of synapses that are built
DELAY = np.uint64(16)  # delays of virtual synapses
BUILT_DELAY = np.uint64(17)  # delays of synapses that are built
POISSON = np.uint64(32)  # times of Poisson input
SYMBOL = np.uint64(33)  # neurons that stand for a symbol
VOID_NOISE = np.uint64(48)  # noise of void neurons in a tick
RECEPTIVE_PLACE = np.uint64(49)  # where a sparse receptive vector has weights
RECEPTIVE_ROUNDING = np.uint64(50)  # which way a learned int8 weight is rounded
RECEPTIVE_WEIGHT = np.uint64(51)  # receptive weights drawn when neurons are activated
INBOUND = np.uint64(64)  # pairs of an older neuron and one of a new bundle
PROMOTED = np.uint64(65)  # candidates for synapses in hot neighbourhoods
SENTINEL = np.uint64(66)  # neurons from which a way out is looked for
BRIDGED = np.uint64(67)  # ends of bridges
AWAKENED = np.uint64(68)  # neurons of a new bundle that are stimulated
SAMPLED = np.uint64(69)  # who of equally driven neurons is in a sample
TOPOLOGY_ROOT = np.uint64(80)  # where samples of the connectome begin
TOPOLOGY_CHOICE = np.uint64(81)  # which neurons of a ring are taken where not all are
TOPOLOGY_SENTINEL = np.uint64(82)  # centers of sentinels
TOPOLOGY_WEDGE = np.uint64(83)  # the two neighbours of a center


@njit(borrows=True, cache=True, nogil=True)
def mix64(z):
    """A bijection of uint64 in which every output bit depends on every input bit; 0 stays 0."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@njit(borrows=True, cache=True, nogil=True)
def absorb(state, word):
    """The state after one more word (both uint64); for a fixed state a bijection of the word."""
    return mix64(state + (word + _ONE) * GOLDEN)


@njit(borrows=True, cache=True, nogil=True)
def hash_u64(seed, a, b, c):
    """A uint64 that depends on all four uint64 and on their order. By custom ``c`` is a purpose."""
    return absorb(absorb(absorb(absorb(_START, seed), a), b), c)


@njit(borrows=True, cache=True, nogil=True)
def unit(h):
    """A float64 in [0, 1), one of 2^53 equally spaced values, from the upper bits of a uint64."""
    return np.float64(h >> np.uint64(11)) * _2_53


@njit(borrows=True, cache=True, nogil=True)
def below(h, n):
    """A uint64 in 0..n-1 from a uint64; 1 <= n < 2^32, each value within n / 2^32 of equally likely."""
    return ((h >> np.uint64(32)) * n) >> np.uint64(32)


@njit(borrows=True, cache=True, nogil=True)
def sample(table, start, stop, u):
    """The quantile table ``table[start:stop]`` (float64) at ``u`` in [0, 1), linearly interpolated, as float32."""
    last = stop - start - 1
    if last == 0:
        return np.float32(table[start])
    at = u * last
    cell = np.int64(at)
    low = table[start + cell]
    return np.float32(low + (at - cell) * (table[start + cell + 1] - low))


@njit(borrows=True, cache=True, nogil=True)
def whole_ticks(table, start, stop, u):
    """A delay (uint16) drawn as :func:`sample` does from quantiles in ticks, rounded to whole ones, at least one."""
    return np.uint16(max(1.0, np.rint(np.float64(sample(table, start, stop, u)))))


@njit(borrows=True, cache=True, nogil=True)
def fill_hashes(seed, ids, b, c, out):
    """``out[i] = hash_u64(seed, ids[i], b, c)``; all uint64."""
    for i in range(ids.shape[0]):
        out[i] = hash_u64(seed, ids[i], b, c)


@njit(borrows=True, cache=True, nogil=True)
def fill_samples(table, hashes, out):
    """``out[i]`` (float32) = the quantile table (float64) at ``unit(hashes[i])``."""
    for i in range(hashes.shape[0]):
        out[i] = sample(table, 0, table.shape[0], unit(hashes[i]))
