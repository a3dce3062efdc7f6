"""Checks the paths that a file names in ``init`` and ``expect``; default paths are refused, since they may move."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fwdscope.language.names import suggestion
from fwdscope.language.problems import Problem
from fwdscope.model.modules import Network, Scope, layer_at


def default_piece(network: Network, path: str, within: int | None = None) -> str | None:
    """Return the first name in a path that no line gives; ``within`` limits the search to the last pieces."""
    pieces = path.split(".")
    module: nn.Module | None = network
    for i, piece in enumerate(pieces):
        inner = module._modules.get(piece) if module is not None else None
        given = network.blueprint.checked.given.get(module.span, ()) if isinstance(module, Scope) else (piece,)
        looked_at = within is None or i >= len(pieces) - within
        if inner is not None and piece not in given and looked_at and not piece.isdigit():  # copies and rounds
            return piece
        module = inner
    return None


def check_expectations(network: Network) -> Iterator[Problem]:
    """Check that each layer under ``expect: layers`` exists, by names that the file gives.

    If a var was replaced (``--set depth=2``), a missing layer is not a mistake of the file.
    """
    replaced = any(variable.given is not None for variable in network.spec.variables)
    expect = network.spec.expect
    named = [(one.layer, one.place) for one in expect.figures] + [(one.layer, one.place) for one in expect.outputs]
    for path, place in dict(named).items():
        if path is None or place is None:
            continue
        missing = layer_at(network, path.split(".")) is None
        piece = None if missing else default_piece(network, path)
        if missing and not replaced:
            help = suggestion(path, given_paths(network), what="layers:")
            yield Problem(network.spec.source, place, "name", f"expect: there is no layer {path}", help)
        elif piece:
            message = f"expect: {piece} is a default path, which moves when a layer of its kind is added"
            yield Problem(network.spec.source, place, "name", message, "give the layer a name and use that")


def given_paths(network: Network) -> list[str]:
    """Return the paths of layers whose names the file gives."""
    return [path for path, _ in network.named_modules() if path and default_piece(network, path) is None]
