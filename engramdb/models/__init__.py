"""Neuron models: a registry in which one small module describes one model.

>>> from engramdb import models
>>> models.get("lif").parameters["tau"].default
20.0
"""

from __future__ import annotations

from engramdb.models.lif import LIF
from engramdb.models.lif_exp import LIF_EXP
from engramdb.models.lif_shiu import LIF_SHIU
from engramdb.models.model import Absolute, Field, Model, Parameter
from engramdb.models.registry import _enter, get, known, names, register, unknown

for _model in (LIF, LIF_EXP, LIF_SHIU):
    _enter(_model)

__all__ = ["Absolute", "Field", "Model", "Parameter", "get", "known", "names", "register", "unknown"]
