"""Peak memory: held to the byte against the life of storages in a run on a CPU, and against the allocator's own events.

The run on a CPU is measured by a mode of its own that asks after every operator which storages are still there; it
shares nothing with the tracer, which follows tensors on meta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from paths import SPECS
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F  # noqa: N812
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fwdscope
from fwdscope.language import load
from fwdscope.model import build
from fwdscope.model.initialise import materialise


@pytest.fixture(autouse=True)
def _operators() -> Iterator[None]:
    """torch's encoder layers run by their operators, not by the path that fuses them all."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(fast)


class LiveStorages(TorchDispatchMode):
    """Sums what is in the storages that operators made, as long as they are there."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = {t.untyped_storage().data_ptr() for t in tree_leaves(given) if isinstance(t, Tensor)}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.given:
                ref = StorageWeakRef(tensor.untyped_storage())
                self.alive[ref.cdata] = (ref, tensor.untyped_storage().nbytes())
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


@torch.no_grad()
def measured(module: nn.Module, *inputs: Tensor) -> int:
    """The most bytes of activations alive at once in a run on a CPU."""
    with LiveStorages((list(module.parameters()), list(module.buffers()), inputs)) as mode:
        module.eval()(*inputs)
    return mode.peak


@dataclass(frozen=True)
class Allocated:
    """What torch's allocator gave out at once at most, and the same without the scratch of kernels."""

    peak: int
    kept: int
    # Operators that took scratch, by name.
    scratch: frozenset[str]


def events(node: Any, operator: str) -> Iterator[tuple[int, int, int, str]]:
    """Allocations below an event of the profiler: time, address, bytes (negative when freed), outermost operator."""
    if node.tag.name == "Allocation":
        yield node.start_time_ns, node.extra_fields.ptr, node.extra_fields.alloc_size, operator
    for child in node.children:
        yield from events(child, operator or (node.name if node.name.startswith("aten::") else ""))


@torch.no_grad()
def allocated(module: nn.Module, *inputs: Tensor) -> Allocated:
    """What torch's allocator gives out in a run on a CPU, beyond what was there.

    Scratch is what one operator takes and gives back before it ends.
    """
    module.eval()(*inputs)  # kernels keep what they prepare at the first call
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = module(*inputs)
    assert profiled.profiler is not None
    roots = profiled.profiler.kineto_results.experimental_event_tree()
    found = sorted(event for i, root in enumerate(roots) for event in events(root, ""))
    assert found
    del result
    births: dict[int, int] = {}
    scratch: set[int] = set()
    for i, (_, address, size, operator) in enumerate(found):
        if size > 0:
            births[address] = i
        elif (born := births.pop(address, None)) is not None and operator and found[born][3] == operator:
            scratch |= {born, i}
    live = kept = peak = peak_kept = 0
    for i, (_, _, size, _) in enumerate(found):
        live, kept = live + size, kept + (0 if i in scratch else size)
        peak, peak_kept = max(peak, live), max(peak_kept, kept)
    return Allocated(peak, peak_kept, frozenset(found[i][3] for i in scratch))


# --- the modules -----------------------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 10))


class Residual(nn.Module):
    """An MLP whose blocks are added to what came in, under names that stay."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(32, 128) for _ in range(4))
        self.down = nn.ModuleList(nn.Linear(128, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for up, down in zip(self.up, self.down, strict=True):
            h = F.silu(up(x))
            x = x + down(h)
        return x


class InPlace(nn.Module):
    """Everything that can be is written over what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        h += 1
        h.mul_(0.5).clamp_(min=0)
        h[:, 0] = 0
        return h.sigmoid_()


class Views(nn.Module):
    """Views, which are no memory, and copies, which are."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.exp().chunk(2, dim=-1)  # a storage that lives as long as either half
        turned = first.transpose(1, 2)
        del first
        copied = turned.contiguous().view(x.shape[0], -1)
        del turned
        return torch.cat([copied, second.flatten(1).clone(), copied[:, ::2].expand(3, -1, -1)[0]], dim=1)


class UNet(nn.Module):
    """Skips that wait for the way up."""

    def __init__(self) -> None:
        super().__init__()
        widths = [8, 16, 32]
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, i // 2, 2, stride=2) for i in (32, 16))
        self.join = nn.ModuleList(nn.Conv2d(i, i // 2, 3, padding=1) for i in (32, 16))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, conv in enumerate(self.down):
            x = F.relu(conv(F.max_pool2d(x, 2) if i else x))
            skips.append(x)
        skips.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = F.relu(join(torch.cat([skips.pop(), up(x)], dim=1)))
        return x


class Dense(nn.Module):
    """Each layer sees all before it, laid side by side anew."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4 + 4 * i, 4, 3, padding=1) for i in range(6))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 4 * i) for i in range(6))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, dim=1)))))
        return torch.cat(features, dim=1)


class Attention(nn.Module):
    """Attention written out, with its scores."""

    def __init__(self, d: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5
        scores = scores.masked_fill(torch.ones(t, t, device=x.device).tril() == 0, float("-inf"))
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(d), Attention(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(approximate="tanh"), nn.Linear(4 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """GPT-2, small."""

    def __init__(self, d: int = 64) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(500, d), nn.Embedding(64, d)
        self.h, self.ln_f = nn.ModuleList(Block(d) for _ in range(3)), nn.LayerNorm(d)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


class Bottleneck(nn.Module):
    """The block of ResNet-50, its stride at the 3×3."""

    def __init__(self, width: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.downsample = nn.Sequential()
        if stride != 1 or width != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(width, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = out + self.downsample(x)
        return F.relu(out)


def resnet50() -> nn.Module:
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks, width = [], 64
    for planes, depth, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for i in range(depth):
            blocks.append(Bottleneck(width, planes, 1 if i else stride))
            width = 4 * planes
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def words() -> Tensor:
    return torch.randint(0, 500, (2, 48))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (mlp, lambda: torch.rand(16, 32)),
    "residual mlp": (Residual, lambda: torch.rand(16, 32)),
    "in place": (InPlace, lambda: torch.rand(2, 3, 16, 16)),
    "views and copies": (Views, lambda: torch.rand(4, 6, 10)),
    "u-net": (UNet, lambda: torch.rand(1, 3, 64, 64)),
    "dense": (Dense, lambda: torch.rand(1, 4, 32, 32)),
    "attention": (Attention, lambda: torch.rand(2, 24, 32)),
    "transformer encoder": (encoder, lambda: torch.rand(2, 24, 32)),
    "gpt2": (GPT2, words),
    "resnet50": (resnet50, lambda: torch.rand(1, 3, 64, 64)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_that_of_the_storages_of_a_run_to_the_byte(name: str) -> None:
    make, inputs = CASES[name]
    module, x = make(), inputs()
    report = fwdscope.inspect(module, x)
    assert report.device == "meta"
    assert report.totals.peak_activations == measured(module, x)


@pytest.mark.parametrize("name", ["resnet50", "unet", "gpt2", "mlp_mnist"])
def test_the_peak_of_a_spec_is_that_of_its_run(name: str) -> None:
    small = {"gpt2": {"T": 48, "depth": 2, "vocab": 500}, "unet": {"height": 32, "width": 32}, "resnet50": {"size": 64}}
    variables = {key: str(value) for key, value in small.get(name, {}).items()}
    network = build(load(SPECS / f"{name}.yaml", variables=variables))
    inputs = [torch.zeros(x.shape, dtype=x.dtype) for x in network.example.values()]
    expected = measured(materialise(network, "cpu", seed=0), *inputs)
    assert fwdscope.inspect(SPECS / f"{name}.yaml", variables=variables).totals.peak_activations == expected


def test_a_spec_keeps_nothing_longer_than_the_module_it_describes() -> None:
    # At the first sum: what came in, the norm, the shortcut's convolution and its norm, (64 + 3 · 256)·56·56 · 4 bytes.
    peak = fwdscope.inspect("resnet50").totals.peak_activations
    assert peak == 10_436_608
    assert peak == fwdscope.inspect(resnet50(), torch.rand(1, 3, 224, 224)).totals.peak_activations


# Kernels that take scratch: a convolution lays its windows out as a matrix, or with oneDNN reorders pictures and
# weights into blocks of channels. What others take for themselves is no more than what they return.
SCRATCH = {"aten::conv2d", "aten::conv_transpose2d"}


@pytest.mark.parametrize("name", CASES)
def test_the_allocator_gave_out_as_much_but_for_scratch(name: str) -> None:
    make, inputs = CASES[name]
    module, x = make(), inputs()
    peak = fwdscope.inspect(module, x).totals.peak_activations
    assert peak is not None
    found = allocated(module, x)
    assert 0.9 * peak <= found.kept <= 1.1 * peak
    if found.peak > 1.1 * peak:
        assert found.scratch & SCRATCH
