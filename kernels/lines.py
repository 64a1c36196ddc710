"""Lines of delimited text, cut into fields and numbers where they lie.

A line is a record: a line feed ends it even inside quotes, so one missing quote damages one line and not all that
follow. Offsets are int64 into one uint8 buffer. What is rare (a quote written twice, a number of more digits than a
float64 holds) is only marked here, and read by the caller.
"""

from __future__ import annotations

import numpy as np

from engramdb.kernels.compiled import njit

# What became of a line.
GOOD = np.uint8(0)
BLANK = np.uint8(1)  # nothing but spaces: no record
FIELD_COUNT = np.uint8(2)  # more or fewer fields than asked for
OPEN_QUOTE = np.uint8(3)  # a quote that the line does not close, or text after the closing one
DOUBLED_QUOTE = np.uint8(4)  # a quote written twice in a quoted field: to be read by the caller

# What became of a number.
NUMBER = np.uint8(0)
LONG_NUMBER = np.uint8(1)  # right, but not read here: too many digits or too large an exponent
NO_NUMBER = np.uint8(2)

_NEWLINE, _RETURN, _SPACE, _TAB = np.uint8(10), np.uint8(13), np.uint8(32), np.uint8(9)
_ZERO, _NINE = np.uint8(48), np.uint8(57)
_PLUS, _MINUS, _POINT, _UPPER_E, _LOWER_E = np.uint8(43), np.uint8(45), np.uint8(46), np.uint8(69), np.uint8(101)
_MOST_EXACT = np.uint64(1 << 53)
_POWERS = np.array([10.0**k for k in range(23)])  # all exact in float64
_LAST_U64 = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE, _TEN = np.uint64(1), np.uint64(10)


@njit(cache=True, nogil=True)
def split_lines(data, begin, end, delimiter, quote, field_count, columns, line_start, line_end, status, first, last):
    """Cut ``data[begin:end]`` (uint8; its last byte ends a line) into lines and their wanted fields.

    ``delimiter``, ``quote``: uint8; with a space as delimiter, runs of spaces and tabs separate.
    ``columns``: int64, increasing, the wanted fields' numbers; ``first``, ``last``: int64 (columns, lines), filled with
    where each field begins and ends, without quotes and without the spaces around it. ``line_start``, ``line_end``
    (int64) and ``status`` (uint8) are filled a line; fields are only right where it is GOOD.
    Returns ``(lines, at, high)``: lines read (at most ``len(status)``), the offset behind them, and whether any byte
    was not ASCII.
    """
    lines = 0
    at, end = np.uint64(begin), np.uint64(end)  # unsigned: no negative index to look out for
    high = np.uint8(0)
    wanted = columns.shape[0]
    runs = delimiter == _SPACE
    while at < end and lines < status.shape[0]:
        start = at
        while data[at] != _NEWLINE:
            high |= data[at]
            at += _ONE
        stop = at
        at += _ONE
        if stop > start and data[stop - _ONE] == _RETURN:
            stop -= _ONE
        line_start[lines] = start
        line_end[lines] = stop
        p = start
        while p < stop and (data[p] == _SPACE or data[p] == _TAB):
            p += _ONE
        if p == stop:
            status[lines] = BLANK
            lines += 1
            continue
        if not runs:
            p = start
        state = GOOD
        field = 0
        taken = 0
        while True:
            while p < stop and data[p] != delimiter and (data[p] == _SPACE or data[p] == _TAB):
                p += _ONE
            if p < stop and data[p] == quote:
                p += _ONE
                a = p
                while p < stop:
                    if data[p] == quote:
                        if p + _ONE < stop and data[p + _ONE] == quote:
                            state = DOUBLED_QUOTE
                            p += _ONE
                        else:
                            break
                    p += _ONE
                if p >= stop:
                    state = OPEN_QUOTE
                    break
                b = p
                p += _ONE
                while p < stop and data[p] != delimiter and (data[p] == _SPACE or data[p] == _TAB):
                    p += _ONE
                if p < stop and data[p] != delimiter and not (runs and data[p - _ONE] == _TAB):
                    state = OPEN_QUOTE
                    break
            else:
                a = p
                while p < stop and data[p] != delimiter and not (runs and data[p] == _TAB):
                    p += _ONE
                b = p
                while b > a and (data[b - _ONE] == _SPACE or data[b - _ONE] == _TAB):
                    b -= _ONE
            if taken < wanted and field == columns[taken]:
                first[taken, lines] = a
                last[taken, lines] = b
                taken += 1
            field += 1
            if runs:
                while p < stop and (data[p] == _SPACE or data[p] == _TAB):
                    p += _ONE
                if p == stop:
                    break
            elif p < stop:
                p += _ONE
            else:
                break
        if field != field_count and state != OPEN_QUOTE:
            state = FIELD_COUNT
        status[lines] = state
        lines += 1
    return lines, np.int64(at), high >= np.uint8(128)


@njit(cache=True, nogil=True)
def read_numbers(data, first, last, value, state):
    """``value[i]`` (float64) = the decimal number in ``data[first[i]:last[i]]``; ``state[i]`` (uint8): is it one.

    A number is digits with an optional sign, decimal point and exponent. A value is correctly rounded: mantissa and
    power of ten are both exact in float64 and are joined by one operation (Clinger 1990, "How to read floating point
    numbers accurately"); where one is not exact, LONG_NUMBER says that the text is a number and must be read otherwise.
    """
    for i in range(first.shape[0]):
        p, stop = first[i], last[i]
        state[i] = NO_NUMBER
        value[i] = 0.0
        negative = False
        if p < stop and (data[p] == _MINUS or data[p] == _PLUS):
            negative = data[p] == _MINUS
            p += 1
        mantissa = np.uint64(0)
        digits = 0  # significant ones
        seen = 0
        exponent = np.int64(0)
        after_point = False
        while p < stop:
            c = data[p]
            if _ZERO <= c <= _NINE:
                seen += 1
                if digits > 0 or c != _ZERO:
                    digits += 1
                if digits <= 19:
                    mantissa = mantissa * _TEN + np.uint64(c - _ZERO)
                    if after_point:
                        exponent -= 1
            elif c == _POINT and not after_point:
                after_point = True
            else:
                break
            p += 1
        if seen == 0:
            continue
        if p < stop and (data[p] == _LOWER_E or data[p] == _UPPER_E):
            p += 1
            down = False
            if p < stop and (data[p] == _MINUS or data[p] == _PLUS):
                down = data[p] == _MINUS
                p += 1
            if p == stop:
                continue
            written = np.int64(0)
            while p < stop and _ZERO <= data[p] <= _NINE:
                if written < 10000:
                    written = written * 10 + np.int64(data[p] - _ZERO)
                p += 1
            exponent += -written if down else written
        if p != stop:
            continue
        if digits <= 19 and mantissa <= _MOST_EXACT and -22 <= exponent <= 22:
            x = np.float64(mantissa)
            x = x * _POWERS[exponent] if exponent >= 0 else x / _POWERS[-exponent]
            value[i] = -x if negative else x
            state[i] = NUMBER
        else:
            state[i] = LONG_NUMBER


@njit(cache=True, nogil=True)
def read_integers(data, first, last, value):
    """``value[i]`` (uint64) = the integer in ``data[first[i]:last[i]]``; the number of leading ones that are integers.

    An integer is decimal digits without a sign and without leading zeros, below 2^64: exactly one text for each value,
    so two labels that differ as text never become one neuron.
    """
    for i in range(first.shape[0]):
        p, stop = first[i], last[i]
        length = stop - p
        if length == 0 or length > 20 or (data[p] == _ZERO and length > 1):
            return i
        x = np.uint64(0)
        while p < stop:
            c = data[p]
            if c < _ZERO or c > _NINE:
                return i
            digit = np.uint64(c - _ZERO)
            if length == 20 and x > (_LAST_U64 - digit) // _TEN:
                return i
            x = x * _TEN + digit
            p += 1
        value[i] = x
    return first.shape[0]


@njit(cache=True, nogil=True)
def spans_equal(data, first, last, text, out):
    """``out[i]`` (bool) = whether ``data[first[i]:last[i]]`` are the bytes ``text`` (uint8)."""
    length = text.shape[0]
    for i in range(first.shape[0]):
        same = last[i] - first[i] == length
        if same:
            for j in range(length):
                if data[first[i] + j] != text[j]:
                    same = False
                    break
        out[i] = same


@njit(cache=True, nogil=True)
def copy_spans(data, first, last, out):
    """``out[i, :]`` (uint8, (n, width), zeroed) = the bytes ``data[first[i]:last[i]]``, none longer than the width."""
    for i in range(first.shape[0]):
        for j in range(last[i] - first[i]):
            out[i, j] = data[first[i] + j]
