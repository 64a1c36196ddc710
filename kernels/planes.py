"""Numbers put together from their bytes, which lie in planes: all first bytes, all second ones, and so on."""

from __future__ import annotations

from engramdb.kernels.compiled import njit


@njit(cache=True, nogil=True)
def join(data, at, shift, base, out):
    """Fill ``out`` (uint16, uint32 or uint64, (n,)): element i is ``base | data[at[p] + i] << shift[p] | ...`` over all
    planes p.

    ``data``: uint8, with n bytes from each of ``at`` (int64, (planes,)) on; ``shift``: of ``out``'s type, (planes,);
    ``base``: of ``out``'s type.
    """
    # loops of their own for up to four planes: the compiler makes vectors of them, and every element is written once
    n = out.shape[0]
    planes = at.shape[0]
    if planes == 1:
        a, s = data[at[0] : at[0] + n], shift[0]
        for i in range(n):
            out[i] = base | out.dtype.type(a[i]) << s
    elif planes == 2:
        a, b, s, t = data[at[0] : at[0] + n], data[at[1] : at[1] + n], shift[0], shift[1]
        for i in range(n):
            out[i] = base | out.dtype.type(a[i]) << s | out.dtype.type(b[i]) << t
    elif planes == 3:
        a, b, c = data[at[0] : at[0] + n], data[at[1] : at[1] + n], data[at[2] : at[2] + n]
        s, t, u = shift[0], shift[1], shift[2]
        for i in range(n):
            out[i] = base | out.dtype.type(a[i]) << s | out.dtype.type(b[i]) << t | out.dtype.type(c[i]) << u
    elif planes == 4:
        a, b, c, d = data[at[0] : at[0] + n], data[at[1] : at[1] + n], data[at[2] : at[2] + n], data[at[3] : at[3] + n]
        s, t, u, v = shift[0], shift[1], shift[2], shift[3]
        for i in range(n):
            out[i] = (
                base
                | out.dtype.type(a[i]) << s
                | out.dtype.type(b[i]) << t
                | out.dtype.type(c[i]) << u
                | out.dtype.type(d[i]) << v
            )
    else:
        for i in range(n):
            value = base
            for p in range(planes):
                value |= out.dtype.type(data[at[p] + i]) << shift[p]
            out[i] = value
