"""What a spec must satisfy, checked once; every error names the field, as in ``layers[0].segments[1]``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from engramdb import delays, models, weights
from engramdb.address import MAX_LAYER, MAX_LOCAL, MAX_SEGMENT
from engramdb.distribution import Distribution, is_number, problem_with, resolved
from engramdb.errors import InvalidSpec
from engramdb.layer import Layer, Projection, Segment
from engramdb.learning import LEARNING, Bounded, LearningRule, ReVGSP
from engramdb.models.model import Model, whole_ticks
from engramdb.models.void import VOID
from engramdb.rules import Explicit, Rule, is_whole

if TYPE_CHECKING:
    from engramdb.spec import Spec

MAX_SEED = 2**64 - 1
MAX_WEIGHT = 16384.0  # mV; so that 2^17 synapses at once fit an int64 in units of 2^-32 mV
SMALLEST_STEP = 2.0**-32  # mV: what the engine counts input in
MAX_DELAY_TICKS = delays.MAX_TICKS
SHORTEST_TICK_MS, LONGEST_TICK_MS = 1e-6, 1e6
MAX_PROJECTIONS = 65536


def check(spec: Spec) -> None:
    """Raise :class:`InvalidSpec` for the first field that cannot be as it is."""
    _check_head(spec)
    for position, layer in enumerate(spec.layers):
        _check_layer(spec.dt_ms, f"layers[{position}]", layer)
    _check_unique(spec, "name")
    _check_unique(spec, "index")
    for position, projection in enumerate(spec.projections):
        _check_shape(f"projections[{position}]", projection, spec)
    for path, projection in _all_projections(spec):
        _check_projection(spec, path, projection)
    if len(spec.all_projections) > MAX_PROJECTIONS:
        raise InvalidSpec("projections", f"{len(spec.all_projections)} are more than {MAX_PROJECTIONS}")
    _check_projection_names(spec)


def nearest(word: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``word``: the known one that it resembles, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(names) or 'none'}"


def _check_head(spec: Any) -> None:
    if not is_whole(spec.seed) or not 0 <= spec.seed <= MAX_SEED:
        raise InvalidSpec("seed", f"must be a whole number in 0..2^64-1, not {spec.seed!r}")
    for name in ("name", "description"):
        if not isinstance(getattr(spec, name), str):
            raise InvalidSpec(name, f"must be text, not {getattr(spec, name)!r}")
    if not isinstance(spec.dt_ms, float) or not SHORTEST_TICK_MS <= spec.dt_ms <= LONGEST_TICK_MS:
        limits = f"{SHORTEST_TICK_MS:g}..{LONGEST_TICK_MS:g}"
        raise InvalidSpec("dt_ms", f"must be a number of milliseconds in {limits}, not {spec.dt_ms!r}")
    for name, kind in (("layers", Layer), ("projections", Projection)):
        values = getattr(spec, name)
        if not isinstance(values, tuple):
            raise InvalidSpec(name, f"must be a list, not {values!r}")
        for position, value in enumerate(values):
            if not isinstance(value, kind):
                raise InvalidSpec(f"{name}[{position}]", f"must be a {kind.__name__}, not {value!r}")
    if not spec.layers:
        raise InvalidSpec("layers", "an engram needs at least one layer")


def _check_layer(dt_ms: float, path: str, layer: Any) -> None:
    if not isinstance(layer.name, str) or not layer.name.strip():
        raise InvalidSpec(f"{path}.name", f"must be text, not {layer.name!r}")
    if "/" in layer.name or not layer.name.isprintable():
        raise InvalidSpec(f"{path}.name", f'{layer.name!r} must be printable and without "/"')
    if not is_whole(layer.index) or not 0 <= layer.index <= MAX_LAYER:
        raise InvalidSpec(f"{path}.index", f"must be a whole number in 0..{MAX_LAYER}, not {layer.index!r}")
    if not isinstance(layer.materialize, bool):
        raise InvalidSpec(f"{path}.materialize", f"must be true or false, not {layer.materialize!r}")
    if layer.wiring is not None and not _is_rule(layer.wiring):
        raise InvalidSpec(f"{path}.wiring", f"must be a wiring rule like SmallWorld(k=12), not {layer.wiring!r}")
    _check_weight_type(path, layer)
    _check_segments(f"{path}.segments", layer.segments)
    _check_params(dt_ms, path, layer)


def _check_weight_type(path: str, layer: Any) -> None:
    if layer.weights not in weights.TYPES:
        near = nearest(layer.weights, weights.TYPES)
        raise InvalidSpec(f"{path}.weights", f"unknown type of weights {layer.weights!r}; {near}")
    step = layer.weight_step
    if (step is not None) != (layer.weights == weights.INT8):
        problem = "missing: int8 weights need the mV of one step" if step is None else "is for int8 weights only"
        raise InvalidSpec(f"{path}.weight_step", problem)
    least, most = SMALLEST_STEP, MAX_WEIGHT / weights.LARGEST_STEP
    if step is not None and not (isinstance(step, float) and least <= step <= most):
        raise InvalidSpec(f"{path}.weight_step", f"must be a number of mV in {least:g}..{most:g}, not {step!r}")


def _check_segments(path: str, segments: Any) -> None:
    if not isinstance(segments, tuple):
        raise InvalidSpec(path, f"must be a list of sizes, not {segments!r}")
    if not segments:
        raise InvalidSpec(path, "a layer needs at least one segment")
    seen: dict[int, int] = {}
    for position, segment in enumerate(segments):
        where = f"{path}[{position}]"
        if not isinstance(segment, Segment):
            raise InvalidSpec(where, f"must be a size or a pair (index, size), not {segment!r}")
        if not is_whole(segment.index) or not 0 <= segment.index <= MAX_SEGMENT:
            raise InvalidSpec(where, f"index must be a whole number in 0..{MAX_SEGMENT}, not {segment.index!r}")
        if not is_whole(segment.size) or not 1 <= segment.size <= MAX_LOCAL + 1:
            raise InvalidSpec(where, f"size must be a whole number in 1..2^32, not {segment.size!r}")
        if segment.index in seen:
            raise InvalidSpec(where, f"overlaps segments[{seen[segment.index]}]: both have index {segment.index}")
        seen[segment.index] = position


def _check_params(dt_ms: float, path: str, layer: Layer) -> None:
    if not models.known(layer.model):
        close = difflib.get_close_matches(str(layer.model), models.names(), n=1)
        what = f'did you mean "{close[0]}"?' if close else models.unknown(layer.model)
        raise InvalidSpec(f"{path}.model", f'unknown neuron model "{layer.model}"; {what}')
    model = models.get(layer.model)
    if not isinstance(layer.params, dict):
        raise InvalidSpec(f"{path}.params", f"must map names to values, not {layer.params!r}")
    for name, value in layer.params.items():
        where = f"{path}.params.{name}"
        if name not in model.parameters:
            raise InvalidSpec(where, f'model "{model.name}" has no such parameter; {nearest(name, model.parameters)}')
        parameter = model.parameters[name]
        if isinstance(value, Distribution) and not parameter.distribution:
            raise InvalidSpec(where, f"must be one number for the whole layer, not {value}")
        problem = problem_with(value)
        if problem:
            raise InvalidSpec(where, problem)
        low, high = resolved(value).bounds()
        if low < parameter.minimum or high > parameter.maximum:
            wrong = low if low < parameter.minimum else high
            limits = f"{parameter.minimum:g}..{parameter.maximum:g} {parameter.unit}"
            raise InvalidSpec(where, f"{wrong:g} is outside {limits}")
    _check_columns(f"{path}.columns", layer.columns, model)
    if layer.params.get("density", 1.0) != 1.0 and layer.model == "dense_lif" and layer.weights != weights.FLOAT32:
        raise InvalidSpec(f"{path}.params.density", f"sparse receptive vectors are float32, not {layer.weights}")
    corners = list(_corners(model, layer))
    for values in corners:
        for name, problem in model.check(values, dt_ms):
            raise InvalidSpec(f"{path}.params.{name}", problem)
    if layer.materialize:
        return
    for name in layer.params:
        if model.parameters[name].initial:
            raise InvalidSpec(f"{path}.params.{name}", "a virtual neuron is born at rest: needs materialize = true")
    name, why = model.restless
    for values in corners:
        if bool(model.constants(values, dt_ms)["restless"]):
            given = f"with {values[name]:g} {model.parameters[name].unit} {why}" if name else why
            raise InvalidSpec(
                f"{path}.params.{name}" if name else f"{path}.params",
                f"{given}, so that a neuron never rests and cannot be virtual: change that or say materialize = true",
            )


def _check_columns(path: str, columns: Any, model: Model) -> None:
    if not isinstance(columns, tuple):
        raise InvalidSpec(path, f"must be a list of parameters, not {columns!r}")
    born = {field.birth for field in model.kept}
    possible = [
        n
        for n, p in model.parameters.items()
        if (p.distribution or n == "refractory") and not p.initial and n not in born
    ]
    for position, name in enumerate(columns):
        if name not in possible:
            raise InvalidSpec(
                f"{path}[{position}]", f"{name!r} cannot differ from neuron to neuron; {nearest(name, possible)}"
            )
        if columns.index(name) != position:
            raise InvalidSpec(f"{path}[{position}]", f'"{name}" is listed twice')


def _corners(model: Model, layer: Layer) -> Iterator[dict[str, Any]]:
    """The parameters' values in every combination of the bounds of those that differ from neuron to neuron."""
    values = model.values(layer.params)
    varying = [name for name, v in values.items() if isinstance(v, Distribution) and not model.parameters[name].initial]
    for corner in product(*(resolved(values[name]).bounds() for name in varying)):
        yield {**values, **dict(zip(varying, corner, strict=True))}


def _is_rule(value: object) -> bool:
    return isinstance(value, Rule) and type(value) is not Rule


def _check_unique(spec: Spec, name: str) -> None:
    seen: dict[object, int] = {}
    for position, layer in enumerate(spec.layers):
        value = getattr(layer, name)
        if value in seen:
            raise InvalidSpec(f"layers[{position}].{name}", f"{value!r} is already that of layers[{seen[value]}]")
        seen[value] = position


def _check_shape(path: str, projection: Any, spec: Spec) -> None:
    """What must hold before ``spec.all_projections`` can be looked at."""
    names = [layer.name for layer in spec.layers]
    for end in ("pre", "post"):
        if getattr(projection, end) not in names:
            layer = getattr(projection, end)
            raise InvalidSpec(f"{path}.{end}", f'there is no layer "{layer}"; {nearest(layer, names)}')
    if not _is_rule(projection.rule):
        raise InvalidSpec(f"{path}.rule", f"must be a rule like FixedOutdegree(k=80), not {projection.rule!r}")
    if not isinstance(projection.name, str) or not projection.name:
        raise InvalidSpec(f"{path}.name", f"must be text, not {projection.name!r}")


def _all_projections(spec: Spec) -> list[tuple[str, Projection]]:
    paths = [f"layers[{i}].wiring" for i, layer in enumerate(spec.layers) if layer.wiring is not None]
    paths += [f"projections[{i}]" for i in range(len(spec.projections))]
    return list(zip(paths, spec.all_projections, strict=True))


def _check_projection(spec: Spec, path: str, projection: Projection) -> None:
    pre, post = spec.layer(projection.pre), spec.layer(projection.post)
    if pre.model == "void" and pre is not post:
        raise InvalidSpec(
            f"{path}.post", "void neurons do not fire: a projection from them leads to their own layer only"
        )
    for field, problem in projection.rule.problems(pre.domain, post.domain, pre is post):
        raise InvalidSpec(path if field == "rule" and path.endswith("wiring") else f"{path}.{field}", problem)
    if projection.sign is not None and projection.sign not in (1, -1):
        raise InvalidSpec(f"{path}.sign", f"must be 1 or -1, or be left out, not {projection.sign!r}")
    if projection.rule.weight is not None:
        raise InvalidSpec(f"{path}.weight", "is given here and in the rule; give it once")
    _check_weights(f"{path}.weight", projection, pre)
    _check_learning(spec, path.replace(".wiring", "") + ".plasticity", projection, pre)
    where = path.replace(".wiring", "") + ".delay_ms"
    delay: Any = projection.delay_ms
    if isinstance(delay, Distribution):
        _check_delays(where, delay, spec.dt_ms)
        return
    if not is_number(delay):
        raise InvalidSpec(where, f"must be a number of milliseconds, not {delay!r}")
    ticks = whole_ticks(delay, spec.dt_ms) if math.isfinite(delay / spec.dt_ms) else None
    if ticks is None:
        raise InvalidSpec(where, f"{delay:g} ms is no whole number of ticks of {spec.dt_ms:g} ms")
    if not 1 <= ticks <= MAX_DELAY_TICKS:
        raise InvalidSpec(where, f"{delay:g} ms is {ticks} ticks; must be 1..{MAX_DELAY_TICKS}")


def _check_learning(spec: Spec, path: str, projection: Projection, pre: Layer) -> None:
    if not isinstance(projection.plasticity, tuple):
        raise InvalidSpec(path, f"must be a list of learning rules, not {projection.plasticity!r}")
    for position, rule in enumerate(projection.plasticity):
        where = f"{path}[{position}]"
        if not isinstance(rule, LearningRule):
            raise InvalidSpec(where, f"must be a learning rule like STDP(w_max=2.0), not {rule!r}")
        for name, problem in rule.problems(spec.dt_ms):
            raise InvalidSpec(f"{where}.{name}", problem)
        if isinstance(rule, Bounded):
            _check_bounds(where, rule, projection)
        if isinstance(rule, ReVGSP) and rule.reward_from is not None:
            _check_rewards(spec, f"{where}.reward_from", rule.reward_from)
        same = [other for other in projection.plasticity[:position] if other.pairs == rule.pairs]
        if same:
            raise InvalidSpec(where, f"{rule.rule} beside {same[0].rule}: a projection has one such rule")
    if projection.plasticity and not any(rule.pairs for rule in projection.plasticity):
        known = ", ".join(sorted(name for name, kind in LEARNING.items() if kind.pairs))
        raise InvalidSpec(path, f"{projection.plasticity[0].rule} stands beside a rule for pairs of spikes: {known}")
    if projection.plasticity and pre.weights != weights.FLOAT32:
        raise InvalidSpec(
            path, f'what is learned in a spike is less than layer "{pre.name}" can say: its weights are {pre.weights}'
        )


def _check_rewards(spec: Spec, path: str, name: object) -> None:
    voids = [layer.name for layer in spec.layers if layer.model == VOID.name]
    if name not in voids:
        known = f"there are: {', '.join(voids)}" if voids else "the spec has none"
        raise InvalidSpec(path, f"must be the name of a void layer, not {name!r}; {known}")


def _check_bounds(path: str, rule: Bounded, projection: Projection) -> None:
    """Bounds within what a weight may be, that hold what the projection's synapses are born with."""
    for name, value in (("w_min", rule.w_min), ("w_max", rule.w_max)):
        if abs(value) > MAX_WEIGHT:
            raise InvalidSpec(f"{path}.{name}", f"{value:g} mV is beyond {MAX_WEIGHT:g} mV")
    if projection.sign is not None and rule.w_min < 0:
        raise InvalidSpec(f"{path}.w_min", f"{rule.w_min:g} is negative; a projection with a sign has magnitudes")
    if isinstance(projection.rule, Explicit):
        return
    low, high = resolved(projection.weight).bounds()
    if low < rule.w_min or high > rule.w_max:
        name, bound = ("w_min", rule.w_min) if low < rule.w_min else ("w_max", rule.w_max)
        raise InvalidSpec(f"{path}.{name}", f"{bound:g} leaves out weights that the projection has, {low:g}..{high:g}")


def _check_delays(path: str, delay: Distribution, dt_ms: float) -> None:
    problem = problem_with(delay)
    if problem:
        raise InvalidSpec(path, problem)
    _, high = delay.bounds()
    if not 0.5 <= high / dt_ms <= MAX_DELAY_TICKS:
        raise InvalidSpec(path, f"reaches {high:g} ms, {high / dt_ms:g} ticks; delays are 1..{MAX_DELAY_TICKS} ticks")


def _check_weights(path: str, projection: Projection, pre: Layer) -> None:
    weight, sign, rule = projection.weight, projection.sign, projection.rule
    problem = problem_with(weight)
    if problem:
        raise InvalidSpec(path, problem)
    low, high = resolved(weight).bounds()
    if sign is not None and low < 0:
        raise InvalidSpec(path, f"{low:g} is negative; a projection with a sign takes magnitudes")
    if max(-low, high) > MAX_WEIGHT:
        raise InvalidSpec(path, f"{low if -low > high else high:g} mV is beyond {MAX_WEIGHT:g} mV")
    for bound in () if isinstance(rule, Explicit) else (low, high):  # there nothing is drawn
        if weights.too_large(np.array([bound], np.float32), pre).any():
            raise InvalidSpec(path, f'{bound:g} mV is too large for layer "{pre.name}": {weights.reach(pre)}')


def _check_projection_names(spec: Spec) -> None:
    seen: dict[str, str] = {}
    for path, projection in _all_projections(spec):
        if projection.name in seen:
            other = seen[projection.name]
            raise InvalidSpec(f"{path}.name", f'"{projection.name}" is already the name of {other}; give one another')
        seen[projection.name] = path
