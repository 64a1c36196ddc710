"""Neuron models: a registry in which one small module describes one model.

>>> from engramdb import models
>>> models.get("lif").parameters["tau"].default
20.0
"""

from __future__ import annotations

from engramdb.models.adex import ADEX
from engramdb.models.dense_lif import DENSE_LIF
from engramdb.models.exponential import exp
from engramdb.models.intfire1 import INTFIRE1
from engramdb.models.izhikevich import IZHIKEVICH
from engramdb.models.lif import LIF
from engramdb.models.lif_cond import LIF_COND
from engramdb.models.lif_exp import LIF_EXP
from engramdb.models.lif_shiu import LIF_SHIU
from engramdb.models.model import Absolute, Field, Model, Parameter
from engramdb.models.registry import _enter, get, known, names, register, unknown
from engramdb.models.void import VOID

for _model in (LIF, LIF_EXP, LIF_SHIU, LIF_COND, IZHIKEVICH, ADEX, INTFIRE1, DENSE_LIF, VOID):
    _enter(_model)

__all__ = ["Absolute", "Field", "Model", "Parameter", "exp", "get", "known", "names", "register", "unknown"]
