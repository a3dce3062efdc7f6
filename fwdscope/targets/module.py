"""``package.module:factory`` → a PyTorch model and its example inputs."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.targets.feeds import Feed


class TargetError(ValueError):
    """A target that gives no model, or a model without inputs."""


def load_target(
    text: str, feeds: Mapping[str, Feed], numbers: bool = False
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The model of ``package.module:name``, and what to call it on.

    The name is a module, a class of modules, or a function that gives a module, perhaps with its inputs:
    ``module, (x, y)`` or ``module, {"ids": x}``. ``feeds`` (``--input``) name inputs by ``forward``'s parameters.
    With ``numbers`` weights and inputs hold some, else they are made on meta where that can be. Importing runs the
    code of the package.
    """
    path, _, name = text.partition(":")
    if not path or not name:
        raise TargetError(f"{text}: write package.module:name")
    made = _made(_imported(path, name), text, numbers)
    module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    if not isinstance(module, nn.Module):
        raise TargetError(f"{text} gives {type(module).__name__}; expected a torch.nn.Module, or one and its inputs")
    kwargs = dict(given) if isinstance(given, Mapping) else {}
    args = () if isinstance(given, Mapping) else (given,) if isinstance(given, Tensor) else tuple(given)
    known = [name for name, p in inspect.signature(module.forward).parameters.items() if p.kind is not p.VAR_KEYWORD]
    for feed in feeds.values():
        if feed.name not in known:
            raise TargetError(f"--input {feed.name}: forward takes {', '.join(known) or 'nothing'}")
        kwargs[feed.name] = feed.drawn() if numbers else feed.meta()
        if feed.name in known[: len(args)]:
            raise TargetError(f"--input {feed.name}: {text} gives that input itself")
    if not args and not kwargs and known:
        raise TargetError(f"{text} needs inputs: --input {known[0]}=1,3,224,224 (forward takes {', '.join(known)})")
    return module, args, kwargs


def _imported(path: str, name: str) -> Any:
    if path.endswith(".py") or "/" in path:
        written = path.removesuffix(".py").replace("/", ".").lstrip(".")
        raise TargetError(f"{path}:{name}: a module is named as in an import: {written}:{name}")
    try:
        found: Any = importlib.import_module(path)
    except ImportError as error:
        raise TargetError(f"{path} cannot be imported: {error}") from None
    except (Exception, SystemExit) as error:  # whatever its code raises
        raise TargetError(f"{path} cannot be imported: {said(error)}") from error
    for piece in name.split("."):
        if not hasattr(found, piece):
            known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise TargetError(f"{path} has no {name}; it has {', '.join(known[:8]) or 'nothing to call'}")
        found = getattr(found, piece)
    return found


def _made(found: Any, text: str, numbers: bool) -> Any:
    """What a name stands for: a module as it is, a class or function called without arguments, on meta if it may be."""
    if isinstance(found, nn.Module | tuple) or not callable(found):
        return found
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise TargetError(f"{text} cannot be called without arguments ({error}): name a function that can") from None
    except ValueError:
        pass  # a callable of C's says nothing of its parameters
    if not numbers:
        # What looks at its numbers while it is made cannot be made on meta.
        with contextlib.suppress(Exception, SystemExit), torch.device("meta"):
            return found()
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise TargetError(f"{text} gives no model, but raises {said(error)}") from error


def said(error: BaseException) -> str:
    """An exception in a line: its type, and what it says first."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0]}" if lines else "")
