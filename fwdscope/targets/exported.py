"""``model.pt2``: a program of torch.export, as modules at the paths that it remembers."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from fwdscope.errors import TargetError, error_text
from fwdscope.targets.feeds import Feed
from fwdscope.targets.module import Build, Call, LoadedModel, fed_values


def load_program(path: str, feeds: Mapping[str, Feed], how: Build) -> LoadedModel:
    """The modules of an exported program, called on its example inputs. Raises TargetError."""
    from torch.export.passes import move_to_device_pass

    log = logging.getLogger("torch.export")
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # what torch warns of, it raises too
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            if program.example_inputs is None:
                raise TargetError(f"{path} was saved without example inputs: export it anew")
            args, kwargs = program.example_inputs
            ties = _ties(program.state_dict)
            program = move_to_device_pass(program, "cpu" if how.with_numbers else "meta")
            for first, *others in ties:  # moved one by one
                program.state_dict.update(dict.fromkeys(others, program.state_dict[first]))
            module = torch.export.unflatten(program)
    except TargetError:
        raise
    except Exception as error:
        raise TargetError(f"{path} is no program that torch.export can load: {error_text(error)}") from error
    finally:
        log.setLevel(level)
    signature = program.module_call_graph[0].signature
    names = getattr(signature, "forward_arg_names", None) or program.graph_signature.user_inputs
    _name(module, [str(name) for name in names])
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    fed = fed_values(path, module, feeds, how.with_numbers)

    def calls() -> Iterator[Call]:
        yield (), {**given, **fed}, "the example inputs of the export" if not fed else ""

    return LoadedModel(module, calls)


def _ties(tensors: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """The names of parameters that are one."""
    places: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, nn.Parameter):
            places.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    return [names for names in places.values() if len(names) > 1]


def _name(module: nn.Module, inputs: list[str]) -> None:
    """Give modules the names of their types, and lists of modules, which are never called, a type of lists."""
    called = {
        f"{path}.{node.target}".lstrip(".")
        for path, one in module.named_modules()
        if hasattr(one, "graph")
        for node in one.graph.nodes
        if node.op == "call_module"
    }
    for path, one in list(module.named_modules()):
        above, _, last = path.rpartition(".")
        if path and path not in called and one._modules:
            module.get_submodule(above)._modules[last] = nn.ModuleDict(dict(one.named_children()))
        elif hasattr(one, "type_name") and (kind := one.type_name()):
            body: dict[str, Any] = {} if path else {"forward": _forward(type(one), inputs)}
            one.__class__ = type(kind.rpartition(".")[2], (type(one),), body)


def _forward(kind: type[nn.Module], names: list[str]) -> Any:
    """The forward of a class, with names for its arguments."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.forward(self, *args, *(kwargs.pop(name) for name in names[len(args) :] if name in kwargs), **kwargs)

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward
