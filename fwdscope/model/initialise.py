"""Makes the weights of a network on a device: by torch's own initialisation, then by the spec's ``init``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.evaluate import assign, evaluate_all
from fwdscope.language.names import suggestion
from fwdscope.language.problems import Cause, Problem
from fwdscope.model.blueprint import Blueprint, DerivedTensor
from fwdscope.model.context import BodyContext, plain_context
from fwdscope.model.modules import Network, Scope
from fwdscope.model.names import BodyNames
from fwdscope.model.paths import default_piece, given_paths
from fwdscope.model.process_state import seed_generators, torch_default_dtype
from fwdscope.torch_private import without_functions


def materialise(
    network: Network,
    device: str | torch.device = "cpu",
    seed: int = 0,
    given: Collection[str] = (),
    on_host: bool = True,
) -> Network:
    """Give a network built on meta its weights on a device.

    Layers are initialised by torch, Parameters and Buffers of the file by their expressions, then the spec's ``init``
    applies: on the CPU (``on_host``), so that a seed gives the same weights on every device. Tied weights stay tied.
    The caller will fill the tensors of the ``state_dict`` named in ``given``: layers that have no others are left
    empty. torch's generators are left as they were.
    """
    device, blueprint = torch.device(device), network.blueprint
    assert not blueprint.only_on_meta
    own = network.state_dict(keep_vars=True)
    filled = {id(own[name]) for name in given}
    given = {name for name, tensor in own.items() if id(tensor) in filled}  # with all that they are tied to
    with seed_generators(device, seed), preserve_ties(network), torch.no_grad(), torch_default_dtype(blueprint.dtype):
        blueprint.device = torch.device("cpu") if on_host else device
        network.to_empty(device=blueprint.device)
        for path, module in network.named_modules():
            groups = (module.named_parameters, module.named_buffers)
            if given and given.issuperset(n for named in groups for n, _ in named(path, remove_duplicate=False)):
                continue
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif not isinstance(module, Scope):
                for tensor in (*module._parameters.values(), *module._buffers.values()):
                    if tensor is not None:
                        tensor.zero_()
        for derived in blueprint.derived:
            if derived.target is None and (tensor := derived.scope.own_tensor(derived.name)) is not None:
                tensor.copy_(_recompute(derived, blueprint))
        for one, tensors, _ in _match_initialisers(network)[0]:
            fill, arguments, keywords = _initialiser(one, network)
            for path, _, tensor in tensors:
                if path not in given:
                    fill(tensor, *arguments, **keywords)
        network.to(device)
        blueprint.device = device
    return network


@contextlib.contextmanager
def preserve_ties(module: nn.Module) -> Iterator[None]:
    """Keep shared parameters shared, which torch separates when they leave meta."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for inner in module.modules():
        for name, parameter in inner._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((inner, name))
    yield
    for (first, name), *others in places.values():
        for inner, other in others:
            inner._parameters[other] = first._parameters[name]


def _recompute(derived: DerivedTensor, blueprint: Blueprint) -> Any:
    """Evaluate the expression of a derived tensor once more, on the device.

    The names that it read while building have values on meta: these are first recomputed in turn.
    """
    names = BodyNames(derived.scope)
    for name in dict.fromkeys(node.id for node in ex.walk(derived.expression) if isinstance(node, ex.Name)):
        if name in derived.names:
            read = derived.names[name]
            source = next((one for one in blueprint.derived if one.value is read), None)
            if source is None or not isinstance(read, Tensor | tuple | list):
                names.frame.names[name] = read
            elif source.target is None:
                names.frame.names[name] = source.scope.own_tensor(source.name)
            else:
                names.frame.names[name] = _recompute(source, blueprint)
    value = BodyContext(names).evaluate(derived.expression)
    if derived.target is None:
        return value
    assigned: dict[str, Any] = {}
    assign(derived.target, value, assigned)
    return assigned[derived.name]


# --- the section init ------------------------------------------------------------------------------------------------


def _initialiser(one: tree.Initialiser, network: Network) -> tuple[Callable[..., object], list[Any], dict[str, Any]]:
    assert isinstance(one.call.function, ex.Name)
    context = plain_context(network.blueprint)
    arguments = evaluate_all(one.call.arguments, context)
    keywords = {k.name: context.evaluate(k.value) for k in one.call.keywords}
    return getattr(nn.init, f"{one.call.function.id}_"), arguments, keywords


class _Match(NamedTuple):
    """An entry of ``init``: the parameters that it fills, and all that its key matches; each with path and layer."""

    entry: tree.Initialiser
    filled: list[tuple[str, nn.Module, Tensor]]
    matches: list[tuple[str, nn.Module, Tensor]]


def _match_initialisers(network: Network) -> tuple[list[_Match], list[tuple[str, list[tree.Initialiser]]]]:
    """Return what each entry of ``init`` fills, and the parameters that two entries match equally well.

    A path wins over a type, a longer end of a path over a shorter.
    """
    found = [_Match(entry, [], []) for entry in network.spec.init]
    ties: list[tuple[str, list[tree.Initialiser]]] = []
    for prefix, module in network.named_modules() if found else ():
        for name, tensor in module._parameters.items():
            if tensor is None:
                continue
            path = f"{prefix}.{name}" if prefix else name
            claims: dict[tuple[int, int], list[_Match]] = {}
            for match in found:
                if rank := _rank(match.entry.key, path, module, name):
                    match.matches.append((path, module, tensor))
                    claims.setdefault(rank, []).append(match)
            if claims:
                best = claims[max(claims)]
                best[0].filled.append((path, module, tensor))
                if len(best) > 1:
                    ties.append((path, [match.entry for match in best]))
    return found, ties


def _rank(key: str, path: str, module: nn.Module, name: str) -> tuple[int, int] | None:
    """Return how well a key matches a tensor: (1, pieces) for the end of its path, (0, 1) for its layer's type."""
    if key[:1].isupper() and key.count(".") == 1:
        return (0, 1) if key == f"{type(module).__name__}.{name}" else None
    return (1, key.count(".") + 1) if f".{path}".endswith(f".{key}") else None


def check_initialisers(network: Network) -> Iterator[Problem]:
    """Check ``init``: keys without a tensor, ties, default paths, shapes that do not fit."""
    source = network.spec.source
    found, ties = _match_initialisers(network)
    for one, filled, matches in found:
        pieces = 0 if one.key[:1].isupper() else one.key.count(".") + 1
        by_default = next((p for path, *_ in matches if (p := default_piece(network, path, pieces))), None)
        if not matches:
            known = (f"{path}.{n}" for path in given_paths(network) for n in network.get_submodule(path)._parameters)
            ends = dict.fromkeys(".".join(path.split(".")[-2:]) for path in known)
            help = suggestion(one.key, list(ends), what="ends of paths:")
            yield Problem(source, one.span, "name", f"init: {one.key} matches no tensor", help)
        elif by_default:
            layer = type(matches[0][1]).__name__
            help = f"give the layer a name, or use its type: `{layer}.{one.key.rpartition('.')[2]}`"
            message = f"init: {by_default} is a default path, which moves when a layer of its kind is added"
            yield Problem(source, one.span, "name", message, help)
        elif problem := _misfit(one, filled, network):
            yield problem
    for full, entries in ties[:1]:
        cause = Cause(f"{entries[0].key} matches it too", entries[0].span)
        message = f"init: {entries[1].key} and {entries[0].key} both match {full}"
        yield Problem(source, entries[1].span, "name", message, "make one of them longer", (cause,))


def _misfit(one: tree.Initialiser, filled: list[tuple[str, nn.Module, Tensor]], network: Network) -> Problem | None:
    """Try an initialiser on each shape it fills, on meta, and return the problem of the first that does not fit."""
    # Functions need not pass through the modes, which takes longer than they do.
    call = None
    with without_functions(), torch.no_grad():
        shapes: dict[tuple[tuple[int, ...], torch.dtype], str] = {}
        for path, _, tensor in filled:
            shapes.setdefault((tuple(tensor.shape), tensor.dtype), path)
        for (shape, dtype), path in shapes.items():
            try:
                fill, arguments, keywords = call = call or _initialiser(one, network)
                fill(torch.empty(shape, dtype=dtype, device="meta"), *arguments, **keywords)
            except NotImplementedError:
                continue
            except Exception as error:
                text, name = str(error).split("\n")[0], network.spec.source[one.call.function.span]
                message = f"init: {name} does not fit {path} {shape}: {text}"
                where = "name the layers it is for: `Linear.weight`, or the end of a path"
                help = where if "." not in one.key else None
                return Problem(network.spec.source, one.call.span, "shape", message, help)
    return None
