"""The compiled step of a model: found when an engram with the model first runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

from engramdb.errors import InvalidInput
from engramdb.models.model import Model


def step_of(model: Model) -> Callable[..., int]:
    """The step kernel of ``model``, see ``_step`` in :mod:`engramdb.kernels.stepping`; compiled when first called."""
    # models that share a kernel share the machine code; a short name, for those of all models of a network make one
    name = model.name
    if isinstance(model.kernel, str):
        module, _, function = model.kernel.partition(":")
        name = module.rpartition(".")[2] + (f"_{function}" if function != "block" else "")
    return _step(block_of(model), name, len(model.state) - 1, len(model.kernel_constants), model.inputs)


@cache
def _step(block: Callable[..., None], name: str, fields: int, constants: int, inputs: int) -> Callable[..., int]:
    from engramdb.kernels.stepping import stepper

    return stepper(block, name, fields=fields, constants=constants, inputs=inputs)


def block_of(model: Model) -> Callable[..., None]:
    """The step of one block that the model names."""
    if callable(model.kernel):
        return model.kernel
    module, _, name = model.kernel.partition(":")
    try:
        block: Callable[..., None] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f'neuron model "{model.name}": its kernel {model.kernel} cannot be had: {error}') from error
    return block
