"""The written form of a spec: one shape for TOML, JSON and HTTP.

A rule is a table with its name under ``rule`` and its parameters beside it (in a projection they stand among the
projection's own keys); a distribution is a number, a pair ``[lo, hi]``, or a table with its name under
``distribution``. The JSON Schema of this shape is ``schemas/spec.schema.json``.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engramdb.distribution import DISTRIBUTIONS, Distribution, Uniform
from engramdb.errors import InvalidSpec, NotFound
from engramdb.layer import Layer, Projection, Segment
from engramdb.learning import LEARNING, LearningRule
from engramdb.rules import RULES, Rule
from engramdb.validation import nearest

if TYPE_CHECKING:
    from engramdb.spec import Spec

_SPEC_KEYS = ("seed", "layers", "projections", "dt_ms", "name", "description")
_LARGEST_EXACT = 2**53  # JavaScript loses integers above it; a seed beyond is written as text


def from_spec(spec: Spec) -> dict[str, Any]:
    """The document of a spec; defaults are left out."""
    content: dict[str, Any] = {"seed": spec.seed if spec.seed <= _LARGEST_EXACT else str(spec.seed)}
    for key in ("name", "description"):
        if getattr(spec, key):
            content[key] = getattr(spec, key)
    content["dt_ms"] = spec.dt_ms
    content["layers"] = [_layer_document(layer) for layer in spec.layers]
    if spec.projections:
        content["projections"] = [_projection_document(projection) for projection in spec.projections]
    return content


def arguments(content: object) -> dict[str, Any]:
    """The arguments of :class:`Spec` in a document; :class:`InvalidSpec` for keys that are unknown or missing."""
    given = _table("spec", content, _SPEC_KEYS)
    if isinstance(given.get("seed"), str) and re.fullmatch(r"[0-9]{1,20}", given["seed"]):
        given["seed"] = int(given["seed"])
    given["layers"] = [_layer(f"layers[{i}]", value) for i, value in _items("layers", given.get("layers", []))]
    projections = _items("projections", given.get("projections", []))
    given["projections"] = [_projection(f"projections[{i}]", value) for i, value in projections]
    return given


def write_json(content: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_json(text: str) -> Any:
    """What a JSON text says; :class:`InvalidSpec` with the line where it is malformed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise InvalidSpec(f"JSON, line {line}", getattr(error, "msg", str(error))) from None


def read_toml(path_or_text: str | os.PathLike[str]) -> dict[str, Any]:
    """What a TOML file or text says; :class:`InvalidSpec` with file and line where it is malformed."""
    if isinstance(path_or_text, str) and ("\n" in path_or_text or "=" in path_or_text):
        return _parse_toml("TOML", path_or_text)
    path = Path(path_or_text)
    try:
        return _parse_toml(str(path), path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidSpec(str(path), f"is not UTF-8 text: byte {error.start}") from None
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}; write a spec there, or give its TOML as text") from None
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from None


def _parse_toml(where: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        message = str(error)[: found.start()] if found else str(error).removesuffix(" (at end of document)")
        raise InvalidSpec(f"{where}, line {line}", message) from None


def _value_document(value: object) -> Any:
    if isinstance(value, Uniform):
        return [value.lo, value.hi]
    if isinstance(value, Distribution):
        return {"distribution": type(value).__name__, **vars(value)}
    return value


def _rule_document(rule: Rule) -> dict[str, Any]:
    content: dict[str, Any] = {"rule": type(rule).__name__}
    for field in fields(rule):
        value = getattr(rule, field.name)
        if value is not None:
            content[field.name] = _value_document(value)
    return content


def _layer_document(layer: Layer) -> dict[str, Any]:
    segments = [s for s in layer.segments if isinstance(s, Segment)]
    numbered = all(segment.index == position for position, segment in enumerate(segments))
    content: dict[str, Any] = {
        "name": layer.name,
        "index": layer.index,
        "model": layer.model,
        "segments": [s.size if numbered else [s.index, s.size] for s in segments],
    }
    if layer.params:
        content["params"] = {name: _value_document(value) for name, value in layer.params.items()}
    if layer.wiring is not None:
        content["wiring"] = _rule_document(layer.wiring)
    content["delay_ms"] = _value_document(layer.delay_ms)
    content["materialize"] = layer.materialize
    if layer.weights != "float32":
        content["weights"] = layer.weights
    if layer.weight_step is not None:
        content["weight_step"] = layer.weight_step
    if layer.columns:
        content["columns"] = list(layer.columns)
    if layer.plasticity:
        content["plasticity"] = _learning_document(layer.plasticity)
    return content


def _projection_document(projection: Projection) -> dict[str, Any]:
    content: dict[str, Any] = {"name": projection.name, "pre": projection.pre, "post": projection.post}
    content |= _rule_document(projection.rule)
    content["weight"] = _value_document(projection.weight)
    content["delay_ms"] = _value_document(projection.delay_ms)
    if projection.sign is not None:
        content["sign"] = projection.sign
    if projection.plasticity:
        content["plasticity"] = _learning_document(projection.plasticity)
    return content


def _learning_document(rules: Iterable[LearningRule]) -> list[dict[str, Any]]:
    return [{"rule": rule.rule, **{k: v for k, v in vars(rule).items() if v is not None}} for rule in rules]


def _table(path: str, content: object, known: Iterable[str]) -> dict[str, Any]:
    """A copy of a table that has no unknown keys."""
    known = tuple(known)
    if not isinstance(content, Mapping):
        raise InvalidSpec(path, f"must be a table, not {content!r}")
    for key in content:
        if key not in known:
            raise InvalidSpec(key if path == "spec" else f"{path}.{key}", f"unknown key; {nearest(key, known)}")
    return dict(content)


def _items(path: str, content: object) -> Iterable[tuple[int, Any]]:
    if not isinstance(content, (list, tuple)):
        raise InvalidSpec(path, f"must be a list of tables, not {content!r}")
    return enumerate(content)


def _require(path: str, given: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if key not in given:
            raise InvalidSpec(f"{path}.{key}", "missing")


def _layer(path: str, content: object) -> Layer:
    given = _table(path, content, (field.name for field in fields(Layer)))
    _require(path, given, "name", "segments")
    if isinstance(given["segments"], (list, tuple)):
        given["segments"] = [_segment(f"{path}.segments[{i}]", value) for i, value in enumerate(given["segments"])]
    if "params" in given and isinstance(given["params"], Mapping):
        params = given["params"].items()
        given["params"] = {name: _value(f"{path}.params.{name}", value) for name, value in params}
    if "delay_ms" in given:
        given["delay_ms"] = _value(f"{path}.delay_ms", given["delay_ms"])
    if given.get("wiring") is not None:
        where = f"{path}.wiring"
        wiring = _table(where, given["wiring"], ("rule", *_rule_keys()))
        given["wiring"] = _rule(where, wiring, wiring)
    if "plasticity" in given:
        given["plasticity"] = _learning(f"{path}.plasticity", given["plasticity"])
    return Layer(**given)


def _projection(path: str, content: object) -> Projection:
    own = tuple(field.name for field in fields(Projection))
    given = _table(path, content, (*own, *_rule_keys()))
    _require(path, given, "pre", "post", "rule")
    parameters = {key: given.pop(key) for key in tuple(given) if key not in own}
    if given.get("weight") is not None:
        given["weight"] = _value(f"{path}.weight", given["weight"])
    if "delay_ms" in given:
        given["delay_ms"] = _value(f"{path}.delay_ms", given["delay_ms"])
    given["rule"] = _rule(path, given, parameters)
    if "plasticity" in given:
        given["plasticity"] = _learning(f"{path}.plasticity", given["plasticity"])
    return Projection(**given)


def _learning(path: str, content: object) -> list[LearningRule]:
    return [_learning_rule(f"{path}[{i}]", value) for i, value in _items(path, content)]


def _learning_rule(path: str, content: object) -> LearningRule:
    parameters = {field.name for kind in LEARNING.values() for field in fields(kind)}
    given = _table(path, content, ("rule", *sorted(parameters)))
    _require(path, given, "rule")
    name = given.pop("rule")
    if not isinstance(name, str) or name not in LEARNING:
        raise InvalidSpec(f"{path}.rule", f'unknown learning rule "{name}"; {nearest(name, LEARNING)}')
    kind = LEARNING[name]
    known = [field.name for field in fields(kind)]
    for key in given:
        if key not in known:
            raise InvalidSpec(f"{path}.{key}", f"{name} has no such parameter; {nearest(key, known)}")
    _require(path, given, *(field.name for field in fields(kind) if field.default is MISSING))
    return kind(**given)


def _segment(path: str, content: object) -> Any:
    if isinstance(content, Mapping):
        given = _table(path, content, ("index", "size"))
        _require(path, given, "index", "size")
        return Segment(**given)
    return content


def _rule_keys() -> list[str]:
    return sorted({field.name for kind in RULES.values() for field in fields(kind)})


def _rule(path: str, named: Mapping[str, Any], parameters: Mapping[str, Any]) -> Rule:
    """The rule that ``named["rule"]`` names, made of ``parameters`` (which may have that key too)."""
    _require(path, named, "rule")
    name = named["rule"]
    if not isinstance(name, str) or name not in RULES:
        raise InvalidSpec(f"{path}.rule", f'unknown wiring rule "{name}"; {nearest(name, RULES)}')
    kind = RULES[name]
    given = {key: value for key, value in parameters.items() if key != "rule"}
    known = [field.name for field in fields(kind)]
    for key in given:
        if key not in known:
            raise InvalidSpec(f"{path}.{key}", f"{name} has no such parameter; {nearest(key, known)}")
    _require(path, given, *(field.name for field in fields(kind) if field.default is MISSING))
    if given.get("weight") is not None:
        given["weight"] = _value(f"{path}.weight", given["weight"])
    return kind(**given)


def _value(path: str, content: object) -> Any:
    if not isinstance(content, Mapping):
        return content
    names = {field.name for kind in DISTRIBUTIONS.values() for field in fields(kind)}
    given = _table(path, content, ("distribution", *sorted(names)))
    _require(path, given, "distribution")
    name = given.pop("distribution")
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise InvalidSpec(f"{path}.distribution", f'unknown distribution "{name}"; {nearest(name, DISTRIBUTIONS)}')
    known = [field.name for field in fields(DISTRIBUTIONS[name])]
    for key in given:
        if key not in known:
            raise InvalidSpec(f"{path}.{key}", f"{name} has no such parameter; {nearest(key, known)}")
    _require(path, given, *known)
    return DISTRIBUTIONS[name](**given)
