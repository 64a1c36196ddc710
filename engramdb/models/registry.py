"""The registry of neuron models: those that come with EngramDB, and those of its users.

A model of your own is named after the module that registers it, ``my_models.resonator``: whoever opens an engram with
it is told what to import. Installed packages may name their models in the entry point group ``engramdb.models``, under
that name; then nothing needs to be imported.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from engramdb.errors import InvalidInput
from engramdb.models.model import Model

GROUP = "engramdb.models"

_REGISTRY: dict[str, Model] = {}


def register(model: Model) -> Model:
    """Make ``model`` known under its name, ``module.name``; returns it. :class:`InvalidInput` for one that is wrong.

    Registering a name again replaces the model, as reloading a module does; engrams that are open keep the old one.
    """
    _, dot, own = model.name.rpartition(".")
    if not dot or not all(part.isidentifier() for part in model.name.split(".")):
        raise InvalidInput(f'neuron model "{model.name}": name it after its module, as in "my_module.{own}"')
    if isinstance(model.kernel, str) and ":" not in model.kernel:
        raise InvalidInput(f'neuron model "{model.name}": its kernel must be "module:function", not "{model.kernel}"')
    return _enter(model)


def _enter(model: Model) -> Model:
    """Check what can be checked without an engram, and register."""
    where = f'neuron model "{model.name}"'
    names = [field.name for field in model.fields]
    if not model.state:
        raise InvalidInput(f"{where}: state must have at least one field")
    for name in names:
        if not name.isidentifier() or names.count(name) > 1 or name == "id":
            raise InvalidInput(f'{where}: "{name}" cannot be the name of a field; it is taken or no identifier')
    for field in model.state:
        if field.dtype != "float32":
            raise InvalidInput(f"{where}: state field {field.name} must be float32, not {field.dtype}")
    for field in model.kept:
        if field.dtype != "float32":
            raise InvalidInput(f"{where}: {field.name}, kept with records, must be float32, not {field.dtype}")
    for absolute in model.absolute:
        if absolute.of not in [field.name for field in model.state]:
            raise InvalidInput(f'{where}: {absolute.name} is derived from "{absolute.of}", no field of its state')
    for name, parameter in model.parameters.items():
        if name != parameter.name or not name.isidentifier():
            raise InvalidInput(f'{where}: parameter "{parameter.name}" is listed as "{name}"')
        if parameter.initial and parameter.initial not in names:
            raise InvalidInput(f'{where}: {name} is the initial value of "{parameter.initial}", no field of it')
    if "refractory_ticks" in model.kernel_constants:
        raise InvalidInput(f"{where}: kernels need no refractory_ticks; leave it out of kernel_constants")
    if model.inputs not in (1, 2):
        raise InvalidInput(f"{where}: inputs must be 1 or 2, not {model.inputs}")
    _REGISTRY[model.name] = model
    return model


def get(name: str) -> Model:
    """The model registered under ``name``; :class:`InvalidInput` says what to do where there is none."""
    if name in _REGISTRY or _installed(name):
        return _REGISTRY[name]
    raise InvalidInput(f'unknown neuron model "{name}"; {unknown(name)}')


def known(name: object) -> bool:
    """Whether there is a model of that name."""
    return isinstance(name, str) and (name in _REGISTRY or _installed(name))


def names() -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(_REGISTRY)


def unknown(name: object) -> str:
    """What to do about a ``name`` under which no model is registered."""
    module = name.rpartition(".")[0] if isinstance(name, str) else ""
    if module:
        return f"import {module}, the module that registers it, before the engram is opened"
    return f"known: {', '.join(names())}"


@cache
def _installed(name: str) -> bool:
    """Whether an installed package has the model ``name``, which is registered then."""
    for point in entry_points(group=GROUP, name=name):
        model = point.load()
        if not isinstance(model, Model) or model.name != name:
            raise InvalidInput(f'entry point "{name}" of {GROUP} names {point.value}, which is no model of that name')
        register(model)
        return True
    return False
