"""Rules and distributions as people write them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from engramdb.rules import Rule


def said(value: Any) -> str:
    """A number, or a distribution: ``Uniform(0.5, 1.5)``."""
    if is_dataclass(value):
        parts = (f"{getattr(value, field.name):g}" for field in fields(value))
        return f"{type(value).__name__}({', '.join(parts)})"
    return f"{value:g}"


def rule_said(rule: Rule) -> str:
    """``SmallWorld(k=12, long_fraction=0.1, span=50)``."""
    given = ((field.name, getattr(rule, field.name)) for field in fields(rule) if field.name != "weight")
    return f"{type(rule).__name__}({', '.join(f'{name}={value}' for name, value in given)})"
