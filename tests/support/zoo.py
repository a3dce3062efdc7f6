"""The specs that ship, as the tests of this folder run them: on a CPU, with weights that hide nothing."""

from __future__ import annotations

import torch
from paths import ROOT
from torch import Tensor, nn

from fwdscope.language import load
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise

SPECS = ROOT / "specs"


def network(name: str, **variables: str) -> Network:
    return build(load(SPECS / f"{name}.yaml", variables=variables))


@torch.no_grad()
def stir(module: nn.Module, seed: int = 1, amount: float = 0.1) -> None:
    """Move every parameter and every running statistic off its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter += amount * torch.randn(parameter.shape, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.5 * torch.randn(buffer.shape, generator=generator)
        elif name.endswith("running_var"):
            buffer += torch.rand(buffer.shape, generator=generator)


def ready(name: str, **variables: str) -> Network:
    """The network on a CPU, its weights drawn."""
    made = materialise(network(name, **variables), "cpu", seed=0)
    stir(made)
    return made


@torch.no_grad()
def run(module: nn.Module, *inputs: Tensor) -> Tensor:
    result = module(*inputs)
    assert isinstance(result, Tensor)
    return result


@torch.no_grad()
def results(module: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    return tuple(module(*inputs))


def normal(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def words(vocab: int, *shape: int, seed: int = 3) -> Tensor:
    return torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(seed))


def renamed(module: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """A state_dict with the beginnings of its keys replaced; keys that ``names`` does not know are left out."""
    return {
        theirs + key.removeprefix(ours): value
        for key, value in module.state_dict().items()
        for ours, theirs in names.items()
        if key.startswith(ours)
    }
