"""Whole numbers as users give them: refused where they are none, never rounded."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from engramdb.errors import InvalidInput


def whole(value: Any, name: str, least: int | None = None, of: str = "ticks") -> int:
    """``value`` as an int: a whole number of any type, 5.0 as well, but no text and no bool. InvalidInput otherwise."""
    number: int | None = None
    if not isinstance(value, (bool, np.bool_)):
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            number = int(value)
        else:
            try:
                number = operator.index(value)
            except TypeError:
                number = None
    if number is None:
        raise InvalidInput(f"{name}={value!r}: give a whole number of {of}")
    if least is not None and number < least:
        raise InvalidInput(f"{name}={value}: give {least} or more {of}")
    return number
