"""``package.module:name`` → a PyTorch model and its example inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_type_hints

import torch
from torch import nn

from fwdscope.errors import InputError, TargetError, error_text, needs_values
from fwdscope.extensions import import_from_here
from fwdscope.targets.arguments import check_arguments
from fwdscope.targets.feeds import Feed

T = TypeVar("T")

# The arguments and keywords of a module's forward, and a text that says where they come from.
Call: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any], str]"


class LoadedModel(NamedTuple):
    """A module, what it may be called on, the likeliest first, and notes for its report."""

    module: nn.Module
    calls: Callable[[], Iterator[Call]]
    notes: tuple[str, ...] = ()


class Build(NamedTuple):
    """How a model is built: with these arguments (``--arg``), and with numbers, on meta, or on meta alone.

    Without ``needs_inputs`` they come from elsewhere.
    """

    arguments: Mapping[str, Any] = MappingProxyType({})
    with_numbers: bool = False
    only_on_meta: bool = False
    needs_inputs: bool = True


def load_module(text: str, feeds: Mapping[str, Feed], how: Build) -> LoadedModel:
    """The model of ``package.module:name``, and the arguments to call it on. Raises TargetError.

    The name is a module, a module class, or a function that returns a module, perhaps with its inputs:
    ``module, (x, y)`` or ``module, {"ids": x}``. ``feeds`` (``--input``) go by the names of ``forward``'s parameters,
    ``batch.x`` by a field or key of one. Weights and inputs are made on meta, unless with numbers, or if the code
    needs values and may run elsewhere. Importing runs the package's code.
    """
    import_from_here()
    with contextlib.redirect_stdout(sys.stderr):  # what the code prints is not part of the report
        module, args, kwargs = _split(text, _make(text, how))
    fed, known = fed_values(text, module, feeds, how.with_numbers, args, kwargs), forward_names(module)
    if how.needs_inputs and not args and not kwargs and not fed and known:
        form = f"--input {known[0]}={_example_input(module, known[0])}"
        raise TargetError(f"{text} needs inputs, such as {form} (forward takes {', '.join(known)})")
    return LoadedModel(module, lambda: iter([(args, kwargs | fed, "")]))


def forward_names(module: nn.Module) -> list[str]:
    """The names of the parameters of a module's forward."""
    parameters = inspect.signature(module.forward).parameters
    return [name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def fed_values(
    text: str,
    module: nn.Module,
    feeds: Mapping[str, Feed],
    with_numbers: bool,
    args: Collection[Any] = (),
    kwargs: Collection[str] = (),
    integers: bool = False,
) -> dict[str, Any]:
    """What ``--input`` gives for parameters of forward, beside the arguments that there are; perhaps only ``integers``
    with numbers. Raises TargetError.
    """
    known, made = forward_names(module), dict[str, Any]()
    for feed in feeds.values():
        name, *path = feed.name.split(".")
        if name not in known:
            raise TargetError(f"--input {feed.name}: forward takes {', '.join(known) or 'nothing'}")
        if name in known[: len(args)] or (path and name in kwargs):
            raise TargetError(f"--input {feed.name}: {text} gives that input itself")
        home, last = made, name
        for key in path:
            home, last = home.setdefault(last, {}), key
            if not isinstance(home, dict):
                raise TargetError(f"--input {feed.name}: another --input gives what it is in")
        is_integer = integers and feed.dtype is not None and not feed.make_meta_tensor().is_floating_point()
        home[last] = feed.make_tensor() if with_numbers or is_integer else feed.make_meta_tensor()
    types = _types_of(module.forward)
    return {name: _with_types(text, value, types.get(name)) for name, value in made.items()}


def run_user_code(text: str, run: Callable[[], T]) -> T:
    """The result of ``run``, which runs a model of the user's. Whatever the model raises becomes a TargetError."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return run()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        from fwdscope.trace.failure import place_of

        place = place_of(error)
        raise TargetError(f"{text} cannot run on these inputs: {error_text(error)}{place and f' ({place})'}") from error


def _example_input(module: nn.Module, name: str) -> str:
    """A shape for ``--input`` that the first layer with weights takes."""
    first = next((one for one in module.modules() if one._parameters), module)
    if isinstance(first, nn.Embedding) or re.search(r"ids\b|tokens|mask", name):
        return "1,128:int64"
    spatial = {1: ",128", 2: ",224,224", 3: ",16,112,112"}.get(len(getattr(first, "kernel_size", ())), "")
    forms = {"in_features": "1,{}", "input_size": "1,128,{}", "in_channels": "1,{}" + spatial}
    return next((forms[size].format(getattr(first, size)) for size in forms if hasattr(first, size)), "1,3,224,224")


def _split(text: str, made: Any) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The module that a name stands for, and the inputs that come with it."""
    module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    if not isinstance(module, nn.Module):
        raise TargetError(f"{text} gives {type(module).__name__}; expected a torch.nn.Module, or one and its inputs")
    if isinstance(given, Mapping):
        return module, (), dict(given)
    return module, tuple(given) if type(given) in (tuple, list) else (given,), {}


def _types_of(function: Any) -> dict[str, Any]:
    """The types of a function's parameters or a class's fields."""
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # a type is imported for type checkers alone; an object that is called
        return {}


def _with_types(text: str, value: Any, kind: Any) -> Any:
    """What ``--input`` gives for a parameter: a dict, a list if its keys are numbers, or what ``kind`` is."""
    if not isinstance(value, dict):
        return value
    is_record = dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")
    types = _types_of(kind) if is_record else {}
    value = {name: _with_types(text, item, types.get(name)) for name, item in value.items()}
    if all(map(str.isdecimal, value)):
        return [value[key] for key in sorted(value, key=int)]
    try:
        return kind(**value) if is_record else value
    except TypeError as error:
        raise TargetError(f"{text}: no {kind.__name__} can be made of --input: {error}") from None


def _import(text: str) -> Any:
    """The object that ``package.module:name`` names."""
    path, _, name = text.partition(":")
    if not path or not name:
        raise TargetError(f"{text}: write package.module:name")
    if path.endswith(".py") or "/" in path:
        dotted = path.removesuffix(".py").replace("/", ".").lstrip(".")
        raise TargetError(f"{path}:{name}: a module is named as in an import: {dotted}:{name}")
    if wrong := next((one for one in (*path.split("."), *name.split(".")) if not one.isidentifier()), None):
        raise TargetError(f"{text}: {wrong or 'nothing'} is no name of Python; a model is package.module:name")
    try:
        found: Any = importlib.import_module(path)
    except (Exception, SystemExit) as error:  # whatever its code raises
        raise TargetError(f"{path} cannot be imported: {error_text(error)}") from error
    for piece in name.split("."):
        if not hasattr(found, piece):
            known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise TargetError(f"{path} has no {name}; it has {', '.join(known[:8]) or 'nothing to call'}")
        found = getattr(found, piece)
    return found


def _make(text: str, how: Build) -> Any:
    """The named object if it is a module, else the result of calling it with the arguments."""
    found = _import(text)
    if isinstance(found, nn.Module | tuple) or not callable(found):
        if how.arguments:
            raise TargetError(f"{text} is no function or class, so it takes no --arg")
        return found
    check_arguments(text, found, how.arguments)
    return build(text, lambda: found(**how.arguments), how)


def build(text: str, make: Callable[[], T], how: Build) -> T:
    """The result of ``make``: on meta if possible, unless with numbers. Raises TargetError."""
    if not how.with_numbers:
        try:
            with torch.device("meta"):
                return make()
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            # A model that reads values while it is built cannot be built on meta.
            if not needs_values(error):
                raise TargetError(f"{text} raises {error_text(error)}") from error
            if how.only_on_meta:
                what = f"{text} needs values while it is built, which tensors on meta do not have"
                raise TargetError(f"{what}: leave --device meta out, or give --device cpu") from error
    try:
        return make()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetError(f"{text} raises {error_text(error)}") from error
