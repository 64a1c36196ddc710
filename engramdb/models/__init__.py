"""Neuron models: a registry in which one small module describes one model.

>>> from engramdb import models
>>> models.get("lif").parameters["tau"].default
20.0
"""

from __future__ import annotations

from engramdb.errors import InvalidInput
from engramdb.models.lif import LIF
from engramdb.models.model import Constants, Field, Model, Parameter

_REGISTRY: dict[str, Model] = {LIF.name: LIF}


def get(name: str) -> Model:
    """The model registered under ``name``; :class:`InvalidInput` names the known ones otherwise."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise InvalidInput(f'unknown neuron model "{name}"; known: {", ".join(names())}') from None


def names() -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(_REGISTRY)


__all__ = ["Constants", "Field", "Model", "Parameter", "get", "names"]
