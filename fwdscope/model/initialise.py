"""Weights on a device: torch's own initialisation, or the spec's ``init``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.language import tree
from fwdscope.language.evaluate import assign, evaluate_all
from fwdscope.language.expression import Name
from fwdscope.language.names import suggestion
from fwdscope.language.problems import Cause, Problem, Span
from fwdscope.model.network import Made, Network, Scope, default_dtype
from fwdscope.model.paths import default_piece, given_paths
from fwdscope.model.randomness import seeded
from fwdscope.model.run import Run
from fwdscope.torch_private import without_functions


def materialise(
    network: Network, device: str | torch.device = "cpu", seed: int = 0, given: Collection[str] = ()
) -> Network:
    """Give a network built on meta its weights on a device.

    Layers by torch's own initialisation, Parameters and Buffers of the file by their expressions, then the spec's
    ``init``. Tied weights stay tied. Tensors of the ``state_dict`` whose names are ``given`` will be filled by the
    caller: layers that hold no others are left empty. torch's generators are left as they were.
    """
    device = torch.device(device)
    given = _by_all_names(network, given)
    with seeded(device, seed), tied(network), torch.no_grad(), default_dtype(network.blueprint.dtype):
        network.to_empty(device=device)
        network.blueprint.device = device
        for path, module in network.named_modules():
            if given and given.issuperset(_held(module, path)):
                continue
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif not isinstance(module, Scope):
                _fill_rest(module)
        for made in network.blueprint.made:
            if made.target is None and (tensor := made.scope.own(made.name)) is not None:
                tensor.copy_(_Again(made).result())
        for one, tensors in matched(network)[0]:
            for name, tensor in tensors:
                if name not in given:
                    initialise(one, tensor, network)
    return network


@contextlib.contextmanager
def tied(module: nn.Module) -> Iterator[None]:
    """Parameters that are one stay one: torch gives every place of a tensor that leaves meta a tensor of its own."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for inner in module.modules():
        for name, parameter in inner._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((inner, name))
    yield
    for (first, name), *others in places.values():
        for inner, other in others:
            inner._parameters[other] = first._parameters[name]


def _by_all_names(network: Network, names: Collection[str]) -> frozenset[str]:
    """The names of some tensors with those under which they are tied elsewhere."""
    own = network.state_dict(keep_vars=True)
    wanted = {id(own[name]) for name in names}
    return frozenset(name for name, tensor in own.items() if id(tensor) in wanted)


def _held(module: nn.Module, path: str) -> Iterator[str]:
    """The names of all tensors of a module and what is inside it."""
    for found in (module.named_parameters, module.named_buffers):
        for name, _ in found(path, remove_duplicate=False):
            yield name


def _fill_rest(module: nn.Module) -> None:
    """Zeros for the tensors of modules that have no initialisation of their own."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            tensor.zero_()


class _Again(Run):
    """A line that no input reaches, run once more, on the device.

    The names that it saw while building hold meta tensors. In place of the file's own stand those of the device; what
    other lines made is made again.
    """

    def __init__(self, made: Made) -> None:
        super().__init__(made.scope)
        self.made = made
        self.frames[0].names.update(made.names)

    def result(self) -> Any:
        """What the line makes now."""
        value = self.evaluate(self.made.expression)
        if self.made.target is None:
            return value
        names: dict[str, Any] = {}
        assign(self.made.target, value, names)
        return names[self.made.name]

    def find(self, name: str) -> Any:
        """The nearest value of a name, with numbers in it."""
        value = super().find(name)
        if isinstance(value, Tensor | tuple | list):
            for made in self.blueprint.made:
                if made.value is value:
                    return made.scope.own(made.name) if made.target is None else _Again(made).result()
        return value


def initialise(one: tree.Initialiser, tensor: Tensor, network: Network) -> None:
    """Fill a tensor as an entry of ``init`` says."""
    fill, arguments, keywords = _filling(one, network)
    fill(tensor, *arguments, **keywords)


def _filling(one: tree.Initialiser, network: Network) -> tuple[Callable[..., object], list[Any], dict[str, Any]]:
    """torch's function of an entry, and what it is called with behind the tensor."""
    assert isinstance(one.call.function, Name)
    run = Run(Scope(network.blueprint, Span(0, 0)))
    arguments = evaluate_all(one.call.arguments, run)
    keywords = {k.name: run.evaluate(k.value) for k in one.call.keywords}
    return getattr(nn.init, one.call.function.id + "_"), arguments, keywords


def matched(
    network: Network,
) -> tuple[list[tuple[tree.Initialiser, list[tuple[str, Tensor]]]], list[tuple[str, list[tree.Initialiser]]]]:
    """Which entry of ``init`` fills which tensors, and the tensors that two entries claim with equal right.

    A path wins over a type, a longer end over a shorter.
    """
    winners: dict[int, list[tuple[str, Tensor]]] = {i: [] for i in range(len(network.spec.init))}
    ties: list[tuple[str, list[tree.Initialiser]]] = []
    for module, full, name, tensor in _tensors(network) if winners else ():
        ranked = [(_rank(one.key, full, module, name), i) for i, one in enumerate(network.spec.init)]
        claims = [(rank, i) for rank, i in ranked if rank is not None]
        if not claims:
            continue
        best = max(rank for rank, _ in claims)
        first = [i for rank, i in claims if rank == best]
        if len(first) > 1:
            ties.append((full, [network.spec.init[i] for i in first]))
        winners[first[0]].append((full, tensor))
    return [(one, winners[i]) for i, one in enumerate(network.spec.init)], ties


def _tensors(network: Network) -> Iterator[tuple[nn.Module, str, str, Tensor]]:
    """All parameters: their layers, their paths, their names in the layer."""
    for path, module in network.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield module, f"{path}.{name}" if path else name, name, parameter


def _rank(key: str, full: str, module: nn.Module, name: str) -> tuple[int, int] | None:
    """How well a key fits a tensor: (1, pieces) for the end of its path, (0, 1) for its layer's type, else None."""
    if key[:1].isupper() and key.count(".") == 1:
        return (0, 1) if f"{type(module).__name__}.{name}" == key else None
    return (1, key.count(".") + 1) if f".{full}".endswith(f".{key}") else None


def check_initialisers(network: Network) -> None:
    """Hold ``init`` against the model: keys that match nothing, ties, default paths, shapes that do not fit."""
    blueprint, source = network.blueprint, network.spec.source
    pairs, ties = matched(network)
    for one, tensors in pairs:
        claimed = list(_claims(one, network))
        pieces = 0 if one.key[:1].isupper() else one.key.count(".") + 1
        by_default = next((p for path, _ in claimed if (p := default_piece(network, path, pieces))), None)
        if not claimed:
            known = (f"{path}.{n}" for path in given_paths(network) for n in network.get_submodule(path)._parameters)
            help = suggestion(one.key, _ends(known), what="ends of paths:")
            blueprint.problems.append(Problem(source, one.span, "name", f"init: {one.key} matches no tensor", help))
        elif by_default:
            layer = type(claimed[0][1]).__name__
            help = f"give the layer a name, or use its type: `{layer}.{one.key.rpartition('.')[2]}`"
            message = f"init: {by_default} is a default path, which moves when a layer of its kind is put in"
            blueprint.problems.append(Problem(source, one.span, "name", message, help))
        else:
            _check_fit(one, tensors, network)
    for full, entries in ties[:1]:
        cause = Cause(f"{entries[0].key} matches it too", entries[0].span)
        message = f"init: {entries[1].key} and {entries[0].key} both match {full}"
        blueprint.problems.append(
            Problem(source, entries[1].span, "name", message, "make one of them longer", (cause,))
        )


def _claims(one: tree.Initialiser, network: Network) -> Iterator[tuple[str, nn.Module]]:
    """The tensors that an entry fits, whether another wins them or not: the layer's path, and the layer."""
    for module, full, name, _ in _tensors(network):
        if _rank(one.key, full, module, name) is not None:
            yield full, module


def _ends(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(".".join(path.split(".")[-2:]) for path in paths))


def _check_fit(one: tree.Initialiser, tensors: list[tuple[str, Tensor]], network: Network) -> None:
    """Try an initialiser on each shape it is to fill, on meta."""
    with without_functions():  # who watches functions need not hear of each look at a tensor
        shapes = [(tuple(tensor.shape), tensor.dtype, full) for full, tensor in tensors]
    tried: set[tuple[int, ...]] = set()
    for shape, dtype, full in shapes:
        if shape in tried:
            continue
        tried.add(shape)
        try:
            _try(one, shape, dtype, network)
        except NotImplementedError:
            continue
        except Exception as error:
            text = str(error).split("\n")[0]
            assert isinstance(one.call.function, Name)
            message = f"init: {one.call.function.id} does not fit {full} {shape}: {text}"
            help = "name the layers it is for: `Linear.weight`, or the end of a path" if "." not in one.key else None
            network.blueprint.problems.append(Problem(network.spec.source, one.call.span, "shape", message, help))
            return


# What fits: functions with their arguments, shapes and dtypes.
_FITTING: set[tuple[Any, ...]] = set()


def _try(one: tree.Initialiser, shape: tuple[int, ...], dtype: torch.dtype, network: Network) -> None:
    """Fill a tensor on meta; what was seen to fit is not tried again. Raises what torch raises."""
    fill, arguments, keywords = _filling(one, network)
    key = fill, repr((arguments, keywords)), shape, dtype
    if key not in _FITTING:
        with torch.no_grad():
            fill(torch.empty(shape, dtype=dtype, device="meta"), *arguments, **keywords)
        _FITTING.add(key)
