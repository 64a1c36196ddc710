"""What SONATA's model templates are here: names, parameters, units, and what a weight is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engramdb import models
from engramdb.errors import InvalidInput

Numbers = dict[str, Any]
"""Parameters by name: numbers, or float64 (n,) of n nodes."""

OWN = "engramdb:"


@dataclass(frozen=True)
class Template:
    """``model``: its name here. ``inward`` turns SONATA's parameters into ours, ``outward`` ours into SONATA's.

    ``defaults``: SONATA's parameters where a file does not give them. ``weight``: mV here (or what
    the model takes) for a weight of 1 there, by SONATA's parameters.
    """

    model: str
    inward: Callable[[Numbers], Numbers]
    outward: Callable[[Numbers], Numbers]
    defaults: Numbers = field(default_factory=dict)
    weight: Callable[[Numbers], Any] = lambda _: 1.0


# NEST 3's own defaults: a file of parameters has only what differs from them
_NEST = {"E_L": -70.0, "C_m": 250.0, "tau_m": 10.0, "t_ref": 2.0, "V_th": -55.0, "V_reset": -70.0, "I_e": 0.0}
_NEST_EXP = {**_NEST, "tau_syn_ex": 2.0, "tau_syn_in": 2.0}
_C_M = 250.0
_INTFIRE1 = {"tau": 0.01, "refrac": 0.005}


def _from_intfire1(given: Numbers) -> Numbers:
    # seconds there; rounded, so that a whole number of ms stays one
    p = {**_INTFIRE1, **given}
    return {"tau": np.round(p["tau"] * 1000.0, 9), "refractory": np.round(p["refrac"] * 1000.0, 9)}


def _to_intfire1(ours: Numbers) -> Numbers:
    return {"tau": ours["tau"] / 1000.0, "refrac": ours["refractory"] / 1000.0}


def _from_nest(given: Numbers) -> Numbers:
    p = {**_NEST, **given}
    return {
        "v_rest": p["E_L"], "v_reset": p["V_reset"], "v_threshold": p["V_th"], "tau": p["tau_m"],
        "refractory": p["t_ref"], "bias": p["I_e"] * p["tau_m"] / p["C_m"],
    }  # fmt: skip


def _to_nest(ours: Numbers) -> Numbers:
    return {
        "E_L": ours["v_rest"], "V_reset": ours["v_reset"], "V_th": ours["v_threshold"], "tau_m": ours["tau"],
        "t_ref": ours["refractory"], "C_m": _C_M, "I_e": ours["bias"] * _C_M / ours["tau"],
    }  # fmt: skip


def _from_nest_exp(given: Numbers) -> Numbers:
    p = {**_NEST_EXP, **given}
    if np.any(p["tau_syn_ex"] != p["tau_syn_in"]):
        raise InvalidInput(
            f"nest:iaf_psc_exp with tau_syn_ex {p['tau_syn_ex']} and tau_syn_in {p['tau_syn_in']}: lif_exp has but one"
        )
    return {**_from_nest(p), "tau_syn": p["tau_syn_ex"]}


def _to_nest_exp(ours: Numbers) -> Numbers:
    # C_m = tau makes a pA of NEST a mV here, so that weights go out as they are
    tau = ours["tau"]
    return {
        **_to_nest(ours),
        "C_m": tau,
        "I_e": ours["bias"],
        "tau_syn_ex": ours["tau_syn"],
        "tau_syn_in": ours["tau_syn"],
    }


def _exp_weight(given: Numbers) -> Any:
    p = {**_NEST_EXP, **given}
    return p["tau_m"] / p["C_m"]


TEMPLATES: dict[str, Template] = {
    "nrn:IntFire1": Template("intfire1", _from_intfire1, _to_intfire1, _INTFIRE1),
    "nest:iaf_psc_delta": Template("lif", _from_nest, _to_nest, _NEST),
    "nest:iaf_psc_exp": Template("lif_exp", _from_nest_exp, _to_nest_exp, _NEST_EXP, _exp_weight),
}
VIRTUAL = Template("intfire1", lambda _: {"refractory": 0.0}, lambda _: {})
"""Nodes of which only spikes are known: cells that fire whenever they are given more than 1."""


def template(name: str, where: str) -> Template:
    """What ``name`` (``schema:class``) is here. InvalidInput names those that there are."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if name.startswith(OWN) and models.known(name.removeprefix(OWN)):
        own = models.get(name.removeprefix(OWN))
        return Template(
            own.name, dict, dict, {key: p.default for key, p in own.parameters.items() if p.default is not None}
        )
    known = ", ".join((*TEMPLATES, OWN + "<model>"))
    raise InvalidInput(f"{where}: model_template {name} has no counterpart; known: {known}, and model_type virtual")


def outgoing(model: str) -> tuple[str, Template]:
    """The template as which a model goes out: its counterpart, or ``engramdb:<model>`` with our own parameters."""
    for name, known in TEMPLATES.items():
        if known.model == model:
            return name, known
    return OWN + model, Template(model, dict, dict)


def numbers(given: Mapping[str, Any]) -> Numbers:
    """Those of ``given`` that are numbers."""
    return {name: float(value) for name, value in given.items() if isinstance(value, int | float) and value is not True}
