"""Parameters and modules that patterns of the command line match, by their paths."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.jit import ScriptModule

from fwdscope.errors import StepError
from fwdscope.language.names import did_you_mean
from fwdscope.trace.parameters import named_modules


def freeze_others(module: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters of which no pattern matches the path, or that of a module around it.

    Raises StepError for a pattern that matches none.
    """
    paths: dict[str, nn.Parameter] = {}
    for path, inner in named_modules(module):
        for name, parameter in inner._parameters.items():
            if parameter is not None:
                paths[f"{path}.{name}" if path else name] = parameter
    matched = {path for path in paths if any(_matches(pattern, path) for pattern in patterns)}
    for pattern in patterns:
        if not any(_matches(pattern, path) for path in matched):
            raise _no_match("--train-only", pattern, "parameter", paths)
    trained = {id(paths[path]) for path in matched}
    for parameter in paths.values():
        if id(parameter) not in trained:
            parameter.requires_grad_(False)


def find_checkpointed(module: nn.Module, patterns: Sequence[str]) -> dict[str, list[nn.Module]]:
    """The modules to checkpoint for each pattern that matches the path of one, or of a list around it.

    Of modules inside one another the outermost. Raises StepError for a pattern that matches none.
    """
    modules = {path: inner for path, inner in named_modules(module) if path and not isinstance(inner, ScriptModule)}
    called = {path for path, inner in modules.items() if type(inner).forward is not nn.Module.forward}
    found: dict[str, list[nn.Module]] = {}
    for pattern in patterns:
        matched = [path for path in modules if _matches(pattern, path)]
        if not matched:
            raise _no_match("--checkpoint", pattern, "module", modules)
        found[pattern] = [
            modules[path]
            for path in matched
            if path in called and not any(path.startswith(f"{other}.") for other in called.intersection(matched))
        ]
    return found


def _matches(pattern: str, path: str) -> bool:
    names = path.split(".")
    return any(fnmatchcase(".".join(names[:end]), pattern) for end in range(len(names), 0, -1))


def _no_match(option: str, pattern: str, what: str, paths: Collection[str]) -> StepError:
    around = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "."}
    known = [*paths, *around]
    help = did_you_mean(pattern.replace("*", "").strip("."), known, "there are", most=6)
    return StepError(f"{option} {pattern}: no {what} has this path, in which * stands for any characters; {help}")
