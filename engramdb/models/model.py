"""What a neuron model is: parameters, fields, and the constants its kernel steps with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model. ``distribution`` says that it may differ from neuron to neuron."""

    name: str
    default: float | None
    unit: str
    minimum: float = float("-inf")
    maximum: float = float("inf")
    distribution: bool = False
    doc: str = ""


@dataclass(frozen=True)
class Field:
    """One value that a neuron of the model has, as queries show it."""

    name: str
    dtype: str
    unit: str
    doc: str


@dataclass(frozen=True)
class Constants:
    """A layer's parameters as its step kernel takes them, all per tick and relative to rest.

    ``decay``, ``theta``, ``reset`` and ``epsilon`` are float32 values in mV (``decay`` has no unit); a neuron's
    own threshold and reset are ``theta - bias`` and ``reset - bias``, each one float32 subtraction.
    """

    decay: float
    theta: float
    reset: float
    epsilon: float
    refractory_ticks: int
    v_rest: float


@dataclass(frozen=True)
class Model:
    """A registered model: its equation and source are the docstring of its module."""

    name: str
    title: str
    parameters: Mapping[str, Parameter]
    fields: tuple[Field, ...]
    constants: Callable[[Mapping[str, Any], float], Constants]
    check: Callable[[Mapping[str, Any], float], list[tuple[str, str]]]
