"""What a shell completes: targets, layers, columns, devices and the like. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from fwdscope.errors import FwdscopeError
from fwdscope.targets import find_spec, shipped_specs

_ENDINGS = (".yaml", ".yml", ".json", ".safetensors", ".pt2", ".pt", ".pth")


def targets(incomplete: str) -> list[str]:
    """Specs that ship, and files and folders here."""
    return [*(name for name in shipped_specs() if name.startswith(incomplete)), *_files(incomplete)]


def shipped(incomplete: str) -> list[str]:
    """Specs that ship."""
    return [name for name in shipped_specs() if name.startswith(incomplete)]


def _files(incomplete: str) -> list[str]:
    """Spec files, reports and folders that begin so; of a single folder, what is in it."""
    folder, slash, begin = incomplete.rpartition("/")
    above = Path(folder + slash)
    try:
        inside = sorted(path for path in above.iterdir() if path.name.startswith(begin))
    except OSError:
        return []
    inside = [path for path in inside if begin or not path.name.startswith(".")]
    found = [
        f"{folder}{slash}{path.name}{'/' * path.is_dir()}"
        for path in inside
        if path.is_dir() or path.suffix in _ENDINGS
    ]
    # A shell would put a space behind a folder that is all there is.
    return _files(found[0]) or found if len(found) == 1 and found[0].endswith("/") else found


def topics(incomplete: str) -> list[str]:
    """The pages of the guide."""
    from fwdscope.guide import TOPICS

    return [topic for topic in (*TOPICS, "all") if topic.startswith(incomplete)]


def layers(ctx: typer.Context, incomplete: str) -> list[str]:
    """The layers of the spec that is typed before."""
    return [path for path in layers_of(str(ctx.params.get("target"))) if path.startswith(incomplete)]


def layers_of(target: str) -> list[str]:
    """The paths of a spec's named layers; none if it cannot be read."""
    from fwdscope.language.outline import layer_paths
    from fwdscope.language.parser import parse
    from fwdscope.language.source import read

    path = find_spec(target)
    try:
        return list(layer_paths(parse(read(path)))) if path is not None else []
    except (FwdscopeError, OSError):
        return []


def names(incomplete: str) -> list[str]:
    """Layers, functions and methods that have a page."""
    from fwdscope.render.vocabulary import entries

    return [name for name in dict.fromkeys(entry.name for entry in entries()) if name.startswith(incomplete)]


def hardware(incomplete: str) -> list[str]:
    """Accelerators with published peaks, separated by commas."""
    from fwdscope.device.table import accelerators

    return several("all", *(one.name.replace(" ", "-") for one in accelerators()))(incomplete)


def one_of(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """The completion of an option that takes one of some words."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def several(*choices: str) -> Callable[[str], list[str]]:
    """The completion of an option that takes words separated by commas: of the last, without those before it."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        left = [choice for choice in choices if choice not in before.split(",")]
        return [f"{before}{comma}{choice}" for choice in left if choice.startswith(last)]

    return complete
