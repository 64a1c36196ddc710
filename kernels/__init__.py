"""Compiled kernels: free functions over NumPy arrays. Only NumPy and Numba are imported here.

``KERNEL_VERSION`` names the arithmetic. It changes whenever a kernel could give other bits for the same
input: a journal is replayed only by the version that wrote it.
"""

KERNEL_VERSION = 1
