"""Modules as people bring them run and count: lazy, scripted, with gradients, autocast, higher-order operators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import fwdscope
from fwdscope.report import Report


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """torch warns of lazy modules, of torch.jit and of conversions inside the modules here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Calls(nn.Module):
    """Calls a function on its module and its input."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def on_both(module: nn.Module, *inputs: Any) -> Report:
    """The report on meta; that of a run on the CPU counts the same."""
    found = fwdscope.inspect(module, *inputs, device="meta")
    ran = fwdscope.inspect(module, *inputs, device="cpu", latency=False)
    totals, of_run = found.totals, ran.totals
    assert (totals.params, totals.macs, totals.flops) == (of_run.params, of_run.macs, of_run.flops)
    assert ran.uncounted == ()
    return found


# --- lazy modules ----------------------------------------------------------------------------------------------------


LAZY: list[tuple[Callable[[], nn.Module], tuple[int, ...], int, int]] = [
    # weight 10 · 288 and bias; 2 · 288 · 10 MACs
    (lambda: nn.LazyLinear(10), (2, 288), 2890, 5760),
    # 8 · 3 · 3 · 3 + 8; 2 · 8 · 6 · 6 · 27
    (lambda: nn.LazyConv2d(8, 3), (2, 3, 8, 8), 224, 15_552),
    # 3 · 4 · 2 and bias: in a transposed convolution each of 2 · 3 · 5 inputs meets 4 · 2 taps
    (lambda: nn.LazyConvTranspose1d(4, 2), (2, 3, 5), 28, 240),
    (lambda: nn.LazyBatchNorm2d(), (2, 8, 6, 6), 16, 0),
    (lambda: nn.LazyInstanceNorm1d(affine=True), (2, 6, 5), 12, 0),
    # 6 · 5 + 6 and then 2 · 6 + 2, for 3 rows
    (lambda: nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(2)), (3, 5), 50, 3 * (30 + 12)),
]


@pytest.mark.parametrize(("make", "shape", "params", "macs"), LAZY)
def test_a_lazy_module_counts_as_after_its_first_call(
    make: Callable[[], nn.Module], shape: tuple[int, ...], params: int, macs: int
) -> None:
    lazy = make()
    found = on_both(lazy, torch.randn(shape))
    assert (found.totals.params, found.totals.macs) == (params, macs)
    assert found.unused == ()
    assert any(nn.parameter.is_lazy(p) for p in lazy.parameters())  # it is left lazy
    called = make()
    called.eval()(torch.randn(shape))
    assert fwdscope.inspect(called, torch.randn(shape)).totals == found.totals


def test_a_lazy_module_that_is_not_called_is_named() -> None:
    module = Calls(lambda m, x: m.used(x), used=nn.LazyLinear(4), spare=nn.LazyLinear(4))
    found = on_both(module, torch.randn(2, 3))
    assert found.totals.params == 3 * 4 + 4
    assert "spare is lazy and was not called: its parameters are not counted" in found.notes


# --- scripted and traced modules -------------------------------------------------------------------------------------


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))  # type: ignore[no-any-return]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.scale = nn.Linear(8, 2), nn.Parameter(torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * self.scale + self.shift


# Pair: 8 · 8 + 8 + 8 · 2 + 2 parameters, 4 · (64 + 16) MACs; Scaled: 8 · 2 + 2 + 2 and 4 · 16.
SCRIPTED = [
    (lambda: torch.jit.script(Pair()), 90, 320),
    (lambda: torch.jit.trace(Pair(), torch.randn(4, 8)), 90, 320),
    (lambda: torch.jit.script(Scaled()), 20, 64),
    (lambda: torch.jit.script(nn.Sequential(Pair(), nn.ReLU())), 90, 320),
]


@pytest.mark.parametrize(("make", "params", "macs"), SCRIPTED)
@pytest.mark.parametrize("inside", [False, True])
def test_a_scripted_module_is_one_row(make: Callable[[], Any], params: int, macs: int, inside: bool) -> None:
    core = make()
    x, names, head = torch.randn(4, 8), {name for name, _ in core.named_parameters()}, nn.Linear(2, 3)
    before = core(x)
    module = Calls(lambda m, x: m.head(m.core(x)), core=core, head=head) if inside else core
    found = on_both(module, x)
    row = found.layers[0]
    assert (row.params, row.macs, row.type) == (params, macs, core.original_name)
    # The head has 2 · 3 + 3 parameters and 4 · 6 MACs.
    assert (found.totals.params, found.totals.macs) == ((params + 9, macs + 24) if inside else (params, macs))
    assert len(found.layers) == (2 if inside else 1)
    assert {name for name, _ in core.named_parameters()} == names
    assert core(x).equal(before)


@pytest.mark.parametrize("freeze", [torch.jit.freeze, torch.jit.optimize_for_inference])
def test_a_frozen_script_runs_where_it_lives(freeze: Callable[[Any], Any]) -> None:
    found = fwdscope.inspect(freeze(torch.jit.script(Pair().eval())), torch.randn(4, 8))
    assert (found.device, found.totals.macs) == ("cpu", 320)
    assert "Pair is a frozen script" in found.notes[0]
    with pytest.raises(fwdscope.InputError, match="leave --device meta out"):
        fwdscope.inspect(torch.jit.freeze(torch.jit.script(Pair().eval())), torch.randn(4, 8), device="meta")


# --- higher-order operators ------------------------------------------------------------------------------------------


def attends(**settings: Any) -> Callable[[Any, Tensor], Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    def attend(_: Any, q: Tensor) -> Tensor:
        return flex_attention(q, q, q, **settings)  # type: ignore[return-value]

    return attend


# Two heads of 128 positions and width 16: 2 · 2 · 128 · 128 · 16 MACs; of FLOPs two for each, a scale and what the
# function takes for each of 2 · 128 · 128 scores, and a softmax of 5 · 128 - 2 for each of 2 · 128 rows. torch adds up
# the lengths of an empty block mask before: 1.
FLEX: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"score_mod": lambda s, b, h, i, j: s + (i - j)}, 2),
    ({"score_mod": lambda s, b, h, i, j: torch.tanh(s / 20) * 20}, 3),
    # The choice moves data; the comparison is one.
    ({"score_mod": lambda s, b, h, i, j: torch.where(i >= j, s, -float("inf"))}, 1),
]


@pytest.mark.parametrize(("settings", "per_score"), FLEX)
def test_flex_attention_is_one_record(settings: dict[str, Any], per_score: int) -> None:
    found = on_both(Calls(attends(**settings)), torch.randn(1, 2, 128, 16))
    scores = 2 * 128 * 128
    assert found.totals.macs == 2 * scores * 16
    assert found.totals.flops == 2 * 2 * scores * 16 + (1 + per_score) * scores + 2 * 128 * (5 * 128 - 2) + 1
    assert found.outputs[0].shape == (1, 2, 128, 16)


def test_the_bodies_of_higher_order_operators_are_counted() -> None:
    from torch._higher_order_ops.map import map as each

    fc, x = nn.Linear(4, 8), torch.randn(5, 4)
    # A condition that the shape decides runs on meta: 5 · 4 · 8.
    chosen = Calls(lambda m, x: torch.cond(x.shape[0] > 1, m.fc, lambda y: m.fc(y) + 1, (x,)), fc=fc)
    assert on_both(chosen, x).totals.macs == 160
    assert on_both(Calls(lambda m, x: each(lambda row: m.fc(row), x), fc=fc), x).totals.macs == 160
    # Three rounds of a 4 × 4 product: 3 · 64.
    loop = Calls(lambda _, x: torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ x), (torch.tensor(0), x)))
    assert on_both(loop, torch.rand(4, 4)).totals.macs == 192


def test_a_condition_on_values_runs_where_the_module_lives() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda y: m.a(y), lambda y: m.b(y), (x,))

    module, x = Calls(forward, a=nn.Linear(4, 8), b=nn.Linear(4, 8, bias=False)), torch.ones(5, 4)
    found = fwdscope.inspect(module, x)
    assert (found.device, found.totals.macs, found.unused) == ("cpu", 160, ("b.weight",))
    assert "needs values" in found.notes[0]
    with pytest.raises(fwdscope.InputError, match="leave --device meta out, or give --device cpu"):
        fwdscope.inspect(module, x, device="meta")


# --- gradients inside a forward --------------------------------------------------------------------------------------


class Flops(TorchDispatchMode):
    """Counts by torch's own formulas; FlopCounterMode follows modules too, and fails inside autograd.grad."""

    flops = 0

    def __torch_dispatch__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def force(m: Any, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    energy = m.energy(x).sum()
    return -torch.autograd.grad(energy, x)[0]


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.norm(self.conv(x)))


ENERGIES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)), (10, 3)),
    (nn.Sequential(nn.Linear(3, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)), (10, 3)),
    (nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.LayerNorm(16), nn.Softmax(-1), nn.Linear(16, 1)), (10, 3)),
    (Conv(), (2, 3, 9)),
]


@pytest.mark.parametrize(("energy", "shape"), ENERGIES, ids=["tanh", "relu", "gelu", "conv"])
def test_a_force_is_counted_with_its_energy(energy: nn.Module, shape: tuple[int, ...]) -> None:
    module, x = Calls(force, energy=energy.eval()), torch.randn(shape)
    found = on_both(module, x)
    with Flops() as counter:
        module(x)
    assert found.totals.macs == counter.flops / 2
    assert "takes gradients" in found.notes[0]


def test_the_flops_of_a_force() -> None:
    found = fwdscope.inspect(Calls(force, energy=ENERGIES[0][0]), torch.randn(10, 3))
    # Forward: products and biases 2 · 480 + 160 and 2 · 160 + 10, tanh 160, sum 9. Backward: 2 · 160, three for each
    # tanh, 2 · 480, and the sign of 30.
    assert found.totals.flops == 1120 + 330 + 160 + 9 + 320 + 480 + 960 + 30


def test_a_forward_that_turns_gradients_on_itself_runs_on_a_device() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            return force(m, x)

    energy = ENERGIES[0][0]
    assert on_both(Calls(forward, energy=energy), torch.randn(10, 3)).totals.macs == 1280
    fwdscope.inspect(Calls(forward, energy=energy), torch.randn(10, 3), device="cpu")  # with times


# --- autocast --------------------------------------------------------------------------------------------------------


def attention(m: Any, x: Tensor) -> Any:
    return m.a(x, x, x, need_weights=False)[0]


# Modules that torch.autocast treats in different ways: products in bfloat16, some functions in float32, others by the
# widest of their inputs.
AUTOCAST: list[tuple[Callable[[Any, Tensor], Any], dict[str, nn.Module], tuple[int, ...]]] = [
    (lambda m, x: m.b(functional.gelu(m.a(x))), {"a": nn.Linear(8, 16), "b": nn.Linear(16, 4)}, (4, 8)),
    (lambda m, x: m.a(m.a(x)), {"a": nn.Linear(8, 8)}, (4, 8)),
    (lambda m, x: m.a(x).softmax(-1), {"a": nn.Linear(8, 8)}, (4, 8)),
    (lambda m, x: m.b(m.a(x)), {"a": nn.Conv2d(3, 4, 3), "b": nn.BatchNorm2d(4)}, (2, 3, 8, 8)),
    (lambda m, x: functional.layer_norm(m.a(x), (8,)), {"a": nn.Linear(8, 8)}, (4, 8)),
    (lambda m, x: m.a(x) + x, {"a": nn.Linear(8, 8)}, (4, 8)),
    (lambda m, x: torch.cat([m.a(x), x], -1), {"a": nn.Linear(8, 8)}, (4, 8)),
    (lambda m, x: x @ x.transpose(-1, -2), {}, (2, 4, 8)),
    (lambda m, x: torch.einsum("bik,bjk->bij", x, x), {}, (2, 4, 8)),
    (lambda m, x: functional.mse_loss(m.a(x), x), {"a": nn.Linear(8, 8)}, (4, 8)),
    (attention, {"a": nn.MultiheadAttention(8, 2, batch_first=True)}, (2, 4, 8)),
    (lambda m, x: m.a(x)[0], {"a": nn.GRU(8, 4, batch_first=True)}, (2, 4, 8)),
    (lambda m, x: m.b(m.a(x).exp().log()), {"a": nn.Linear(8, 8), "b": nn.Linear(8, 2)}, (4, 8)),
]


@pytest.mark.parametrize(("forward", "modules", "shape"), AUTOCAST)
def test_autocast_has_its_effect_on_meta(
    forward: Callable[[Any, Tensor], Any], modules: dict[str, nn.Module], shape: tuple[int, ...]
) -> None:
    def cast(m: Any, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return forward(m, x)

    module, x = Calls(cast, **modules).eval(), torch.randn(shape)
    found = fwdscope.inspect(module, x, device="meta")
    with torch.no_grad():
        assert found.outputs[0].dtype == str(module(x).dtype).removeprefix("torch.")
    from fwdscope.trace import rows, trace_module

    ran = rows(trace_module(module, [x], {}, where_it_lives=True)[0])
    assert [(r.path, r.output_dtypes, r.bytes_read, r.bytes_written, r.macs) for r in found.layers] == [
        (r.path, r.output_dtypes, r.bytes_read, r.bytes_written, r.macs) for r in ran
    ]
    assert torch.is_autocast_enabled("cpu") is False


# --- functions of torch.func, parts that are compiled or recomputed --------------------------------------------------


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ x


class Doubled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x + x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


def checkpointed(m: Any, x: Tensor) -> Any:
    square = torch.ones(8, 8, device=x.device)
    return torch.utils.checkpoint.checkpoint(lambda y: m.fc(y).tanh() @ square, x, use_reentrant=False)


FC = nn.Linear(4, 8)
# MACs and FLOPs of Linear(4, 8) on 5 rows: 5 · 32, and 2 · 160 + 40.
TRANSFORMED: list[tuple[Callable[[Any, Tensor], Any], tuple[int, ...], int, int]] = [
    (lambda m, x: Square.apply(x), (5, 4), 0, 20),
    (lambda m, x: torch.vmap(m.fc)(x), (5, 4), 160, 360),
    # For each of 3 items and 2 heads, two products of 5 · 5 · 8; a scale, a softmax of 23 for each of 5 rows.
    (
        lambda m, x: torch.vmap(lambda q: functional.scaled_dot_product_attention(q, q, q, scale=0.5))(x),
        (3, 2, 5, 8),
        2400,
        0,
    ),
    (lambda m, x: torch.utils.checkpoint.checkpoint(m.fc, x, use_reentrant=False), (5, 4), 160, 360),
    (lambda m, x: torch.func.functional_call(m.fc, dict(m.fc.named_parameters()), (x,)), (5, 4), 160, 360),
    # The product and its gradient by x: 2 · 160.
    (lambda m, x: torch.func.grad(lambda y: m.fc(y).sum())(x), (5, 4), 320, 0),
    (lambda m, x: torch.compile(m.fc)(x), (5, 4), 160, 360),
    (lambda m, x: torch.compile(lambda y: m.fc(y).relu(), dynamic=True)(x), (5, 4), 160, 400),
    (lambda m, x: torch.compile(m.fc, fullgraph=True)(x.relu()), (5, 4), 160, 380),
    # x·Wᵀ as a function of one's own, and the gradient that it states, also the weight's
    (lambda m, x: Product.apply(x, m.fc.weight), (5, 4), 160, 320),
    (lambda m, x: torch.autograd.grad(Product.apply(x.requires_grad_(), m.fc.weight).sum(), x)[0], (5, 4), 480, 0),
    (lambda m, x: torch.vmap(Doubled.apply)(x), (5, 4), 0, 20),
    (lambda m, x: torch.vmap(torch.vmap(m.fc))(x.expand(3, 5, 4)), (5, 4), 480, 1080),
    (lambda m, x: torch.vmap(lambda y, w: y @ w.t(), in_dims=(0, None))(x, m.fc.weight), (5, 4), 160, 320),
    (lambda m, x: torch.vmap(m.fc, chunk_size=2)(x), (5, 4), 160, 360),
    (lambda m, x: torch.utils.checkpoint.checkpoint(m.fc, x, use_reentrant=True), (5, 4), 160, 360),
    (
        lambda m, x: torch.utils.checkpoint.checkpoint_sequential([m.fc, torch.relu], 2, x, use_reentrant=False),
        (5, 4),
        160,
        400,
    ),
    # Forward 160 and 5 · 64, forward again but for the last product, whose result no gradient needs, and two backward.
    (lambda m, x: torch.autograd.grad(checkpointed(m, x.requires_grad_()).sum(), x)[0], (5, 4), 480 + 160 + 480, 0),
    (lambda m, x: torch.func.functional_call(m.fc, dict(m.fc.named_parameters()), (), {"input": x}), (5, 4), 160, 360),
    (lambda m, x: torch.func.functional_call(m.fc, {"weight": m.fc.weight * 2}, (x,)), (5, 4), 160, 392),
    (lambda m, x: torch.func.functional_call(m.fc, {"bias": x.new_zeros(8)}, (x,)), (5, 4), 160, 360),
    # Forward, and of each of five rows eight gradients of 4 · 8.
    (lambda m, x: torch.vmap(torch.func.jacrev(m.fc))(x), (5, 4), 160 + 5 * 8 * 32, 0),
    (lambda m, x: torch.func.vjp(m.fc, x)[1](torch.ones(5, 8, device=x.device))[0], (5, 4), 320, 0),
    # The value's product, the tangent's, and that of the weight's tangent, which is zero and multiplied all the same.
    (lambda m, x: torch.func.jvp(m.fc, (x,), (torch.ones_like(x),))[1], (5, 4), 480, 0),
]


@pytest.mark.parametrize(("forward", "shape", "macs", "flops"), TRANSFORMED)
def test_what_torch_transforms_is_counted(
    forward: Callable[[Any, Tensor], Any], shape: tuple[int, ...], macs: int, flops: int
) -> None:
    found = on_both(Calls(forward, fc=FC), torch.rand(shape))
    assert found.totals.macs == macs
    assert found.totals.flops == flops or not flops


def nested(x: Tensor, layout: torch.layout) -> Tensor:
    return torch.nested.nested_tensor([x[:1], x], layout=layout)


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_nested_tensor_is_refused_with_what_to_do(layout: torch.layout, device: str) -> None:
    inside = Calls(lambda m, x: m.fc(nested(x, layout)), fc=nn.Linear(4, 8))
    with pytest.raises(fwdscope.InputError, match="pad it"):
        fwdscope.inspect(inside, torch.randn(3, 4), device=device)
    with pytest.raises(fwdscope.InputError, match="pad it"):
        fwdscope.inspect(nn.Linear(4, 8), nested(torch.randn(3, 4), layout), device=device)


# --- modules spread over ranks ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def sharded(module: nn.Sequential, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    fully_shard(module[0], mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def parallel(module: nn.Sequential, mesh: Any) -> nn.Module:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    return parallelize_module(module, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def replicated(module: nn.Sequential, mesh: Any) -> nn.Module:
    return nn.parallel.DistributedDataParallel(module)


def scattered(module: nn.Sequential, mesh: Any) -> nn.Module:
    return nn.DataParallel(module)


def fully_sharded(module: nn.Sequential, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(module, device_id=torch.device("cpu"))


def fully_sharded_by_name(module: nn.Sequential, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(module, device_id=torch.device("cpu"), use_orig_params=True)


@pytest.mark.parametrize("spread", [sharded, parallel, replicated, scattered, fully_sharded, fully_sharded_by_name])
def test_a_module_on_several_ranks_is_shown_whole(spread: Callable[..., nn.Module], mesh: Any) -> None:
    module, x = spread(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), mesh), torch.rand(5, 4)
    before = module(x)
    found = on_both(module, x)
    # 4 · 8 + 8 + 8 · 2 + 2; 5 · (32 + 16).
    assert (found.totals.params, found.totals.macs) == (58, 240)
    assert [row.text for row in found.layers] == ["Linear", "ReLU", "Linear"]
    assert any("spread over ranks" in note for note in found.notes) == (spread not in (replicated, scattered))
    assert module(x).equal(before)
    module(x).sum().backward()  # it still trains


@pytest.mark.parametrize("original", [False, True])
def test_a_module_around_sharded_ones_is_shown_whole(original: bool, mesh: Any) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    settings: dict[str, Any] = {"device_id": torch.device("cpu"), "use_orig_params": original}
    inner = FullyShardedDataParallel(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), **settings)
    module, x = nn.Sequential(inner, nn.Linear(8, 2)), torch.rand(5, 4)
    for _ in range(2):
        found = on_both(module, x)
        assert (found.totals.params, found.totals.macs) == (58, 240)
        assert found.layers[0].type == "FullyShardedDataParallel"
        module(x).sum().backward()
    names = {name for name, _ in module.named_parameters()}
    assert names == {"1.weight", "1.bias"} | (
        {f"0._fsdp_wrapped_module.0.{name}" for name in ("weight", "bias")}
        if original
        else {"0._fsdp_wrapped_module._flat_param"}
    )


def test_flat_parameters_of_several_ranks_are_refused_with_what_to_do(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fully_sharded(nn.Sequential(nn.Linear(4, 8)), mesh)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(fwdscope.InputError, match="inspect the module before it is wrapped"):
        fwdscope.inspect(module, torch.rand(5, 4))


def gathered(y: Tensor) -> Tensor:
    from torch import distributed

    pieces = [torch.empty_like(y)]
    distributed.all_gather(pieces, y)
    return pieces[0]


def reduced(y: Tensor) -> Tensor:
    from torch import distributed

    distributed.all_reduce(y)
    return y


def reduced_later(y: Tensor) -> Tensor:
    from torch import distributed

    work = distributed.all_reduce(y, async_op=True)
    assert work is not None
    work.wait()
    return y


@pytest.mark.parametrize("collective", [gathered, reduced, reduced_later])
def test_collectives_move_data(collective: Callable[[Tensor], Tensor], mesh: Any) -> None:
    found = on_both(Calls(lambda m, x: collective(m.fc(x)), fc=nn.Linear(4, 8)), torch.rand(5, 4))
    # 5 · 4 · 8, and 5 · 8 biases.
    assert (found.totals.macs, found.totals.flops, found.uncounted) == (160, 360, ())


FUNCTIONAL: list[Callable[[Any, Tensor, Any], Any]] = [
    lambda f, y, mesh: f.all_reduce(y, "sum", mesh) + 0,
    lambda f, y, mesh: f.wait_tensor(f.all_gather_tensor(y, 0, mesh)) + 0,
    lambda f, y, mesh: f.reduce_scatter_tensor(y, "sum", 0, mesh) + 0,
    lambda f, y, mesh: f.all_to_all_single(y, None, None, mesh) + 0,
]


@pytest.mark.parametrize("collective", FUNCTIONAL)
def test_functional_collectives_and_their_waits_compute_nothing(
    collective: Callable[[Any, Tensor, Any], Any], mesh: Any
) -> None:
    from torch.distributed import _functional_collectives

    module = Calls(lambda m, x: collective(_functional_collectives, m.fc(x), mesh), fc=nn.Linear(4, 8))
    found = on_both(module, torch.rand(5, 4))
    # The last sum of 5 · 8 is there so that the result is a plain tensor.
    assert (found.totals.macs, found.totals.flops, found.uncounted) == (160, 360 + 40, ())


# --- marks for a profiler, and other operators that compute nothing --------------------------------------------------


def marked(m: Any, x: Tensor) -> Any:
    with torch.profiler.record_function("step"):
        return m.fc(x)


def checked(m: Any, x: Tensor) -> Any:
    torch._assert_async(torch.ones((), dtype=torch.bool, device=x.device))
    return m.fc(x)


def sized(m: Any, x: Tensor) -> Any:
    return m.fc(x).view(torch.ops.aten.sym_size.int(x, 0), -1)


@pytest.mark.parametrize("forward", [marked, checked, sized])
def test_bookkeeping_is_counted_and_costs_nothing(forward: Callable[[Any, Tensor], Any]) -> None:
    found = on_both(Calls(forward, fc=nn.Linear(8, 8)), torch.randn(4, 8))
    # 4 · 8 · 8, and 4 · 8 biases.
    assert (found.totals.macs, found.totals.flops, found.uncounted) == (256, 544, ())
