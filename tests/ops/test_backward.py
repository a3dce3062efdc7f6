"""Gradients taken inside a forward: every backward operator counts as its rule says, alike on a CPU and on meta."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from counting import on_meta
from function_examples import CALLS, CallExample
from layer_examples import EXAMPLES
from test_coverage import modules, runs_on_meta
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._pytree import tree_map

from fwdscope.ops import Cost, Op, Operand, cost, infer
from fwdscope.ops.base import tensor
from fwdscope.ops.dispatch import operand, read
from fwdscope.ops.nested import tensors
from fwdscope.ops.watch import watching

# --- FLOPs of one backward operator ----------------------------------------------------------------------------------

X, Y = torch.rand(4, 6), torch.rand(4, 6)
IMAGE, SIGNAL, VOLUME = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 5), torch.rand(1, 2, 3, 3, 3)
CLASSES = torch.tensor([0, 5, 2, 1])
GRID = torch.rand(2, 5, 7, 2)
IDS, OFFSETS, TABLE = torch.tensor([1, 2, 3, 1, 4]), torch.tensor([0, 2]), torch.rand(10, 3)
LOG_PROBABILITIES, TARGETS = torch.rand(7, 2, 5).log_softmax(-1), torch.tensor([[1, 2, 3], [2, 2, 4]])

# What is computed, from what, and the FLOPs of the operator that its name holds.
GRADIENTS: list[tuple[str, Callable[..., Tensor], tuple[Tensor, ...], int]] = [
    # 24 elements, six results each: difference, two comparisons, two products and a quotient or a third product
    ("smooth_l1_loss", F.smooth_l1_loss, (X, Y), 6 * 24),
    ("smooth_l1_loss", lambda x, y: F.smooth_l1_loss(x, y, reduction="none", beta=0.5), (X, Y), 6 * 24),
    ("huber_loss", lambda x, y: F.huber_loss(x, y, delta=2.0), (X, Y), 6 * 24),
    ("mse_loss", F.mse_loss, (X, Y), 3 * 24),
    # z = exp(-x·y) is three, 1 + z, three products and a quotient
    ("soft_margin_loss", lambda x: F.soft_margin_loss(x, Y), (X,), 8 * 24),
    # six and the division by 24; with weights and a sum six and a product
    ("binary_cross_entropy", lambda x, y: F.binary_cross_entropy(x, y), (X, Y), 7 * 24),
    ("binary_cross_entropy", lambda x, y: F.binary_cross_entropy(x, y, X, reduction="sum"), (X, Y), 7 * 24),
    # five for each of five classes that are not the right one of four rows, and a product for each element
    ("multi_margin_loss", lambda x: F.multi_margin_loss(x, CLASSES), (X,), 5 * 4 * 5 + 24),
    ("multi_margin_loss", lambda x: F.multi_margin_loss(x, CLASSES, p=2), (X,), 6 * 4 * 5 + 24),
    ("multilabel_margin_loss", lambda x: F.multilabel_margin_loss(x, torch.zeros(4, 6).long()), (X,), 5 * 4 * 5 + 24),
    # 2·3 + 1 labels with blanks: 2 · 7 · 7 backward variables of 13, and where they meet the forward ones 9; then six
    # for each of 7 · 2 · 5 probabilities
    ("_ctc_loss", lambda p: F.ctc_loss(p, TARGETS, (7, 7), (3, 3)), (LOG_PROBABILITIES,), 22 * 2 * 7 * 7 + 6 * 70),
    # 2 · 3 · 10, of two products and two sums
    ("upsample_linear1d", lambda x: F.interpolate(x, scale_factor=2, mode="linear"), (SIGNAL,), 4 * 60),
    # 2 · 3 · 8 · 8: two products along the height, four along the width, four sums
    ("upsample_bilinear2d", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (IMAGE,), 10 * 384),
    # four products, then sixteen, and sixteen sums
    ("upsample_bicubic2d", lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), (IMAGE,), 36 * 384),
    # 2 · 6³: 2 + 4 + 8 products, 8 sums
    ("upsample_trilinear3d", lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), (VOLUME,), 22 * 432),
    ("upsample_nearest2d", lambda x: F.interpolate(x, scale_factor=2), (IMAGE,), 384),
    ("_upsample_nearest_exact1d", lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"), (SIGNAL,), 60),
    # From 4 × 4 to 2 × 2, a filter of 2·⌈1·2⌉ + 1 = 5 taps. Along the height 6 channels · 2 · 2 · 5 taps, then along
    # the width 6 · 4 · 2 · 5, a product and a sum each.
    (
        "_upsample_bilinear2d_aa",
        lambda x: F.interpolate(x, (2, 2), mode="bilinear", antialias=True),
        (IMAGE,),
        2 * (6 * 2 * 2 * 5 + 6 * 4 * 2 * 5),
    ),
    ("reflection_pad2d", lambda x: F.pad(x, (1, 1, 1, 1), "reflect"), (IMAGE,), 2 * 3 * 6 * 6),
    ("replication_pad1d", lambda x: F.pad(x, (2, 1), "replicate"), (SIGNAL,), 2 * 3 * 8),
    ("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, 2), (IMAGE,), 2 * 3 * 4),
    ("fractional_max_pool2d", lambda x: F.fractional_max_pool2d(x, 2, 2), (IMAGE,), 2 * 3 * 4),
    ("unfold", lambda x: x.unfold(1, 2, 1), (X,), 4 * 5 * 2),
    # For 4 · 3 pairs of width 6: four results of a distance of 1 or 2, six of the largest, eight else and a power each.
    ("_cdist", lambda x, y: torch.cdist(x, y[:3]), (X, Y), 4 * 12 * 6),
    ("_cdist", lambda x, y: torch.cdist(x, y[:3], 1.0), (X, Y), 4 * 12 * 6),
    ("_cdist", lambda x, y: torch.cdist(x, y[:3], float("inf")), (X, Y), 6 * 12 * 6),
    ("_cdist", lambda x, y: torch.cdist(x, y[:3], 3.0), (X, Y), 8 * 12 * 6 + 12),
    # 4 · 3 / 2 pairs, each gradient added to two rows
    ("_pdist", F.pdist, (X,), 5 * 6 * 6),
    ("_prelu_kernel", lambda x, w: F.prelu(x, w[0, :6]), (X, Y), 3 * 24),
    ("rrelu_with_noise", lambda x: F.rrelu(x, training=True), (X,), 24),
    ("logit", torch.logit, (X,), 3 * 24),
    ("logit", lambda x: torch.logit(x, 1e-3), (X,), 5 * 24),
    # 2 · 35 points of two coordinates of three results, and four weights of 2 · 2 differences and four products; for
    # 3 · 70 results and four corners a product and a sum, and for each dimension two products and a sum; two scales.
    ("grid_sampler_2d", lambda x, g: F.grid_sample(x, g), (IMAGE, GRID), 70 * (6 + 8 + 2) + 210 * 4 * (2 + 2 * 3)),
    ("grid_sampler_2d", lambda x, g: F.grid_sample(x, g, mode="nearest"), (IMAGE, GRID), 70 * 6 + 210),
    # Five rows of three; a mean is a quotient of each of two bags, a largest row gets all of a bag's.
    ("_embedding_bag", lambda t: F.embedding_bag(IDS, t, OFFSETS, mode="sum"), (TABLE,), 15),
    ("_embedding_bag", lambda t: F.embedding_bag(IDS, t, OFFSETS, mode="mean"), (TABLE,), 15 + 6),
    ("_embedding_bag", lambda t: F.embedding_bag(IDS, t, OFFSETS, mode="max"), (TABLE,), 6),
    # 16 weights and 4 norms
    (
        "_weight_norm_interface",
        lambda v, g: torch._weight_norm(v, g),
        (torch.rand(4, 4), torch.rand(4, 1)),
        5 * 16 + 16,
    ),
    ("native_dropout", lambda x: torch.native_dropout(x, 0.5, True)[0], (X,), 2 * 24),
]


def backward(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], names: str) -> list[Cost | None]:
    """The costs of the operators of this name that run when the gradients of all inputs are taken."""
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(*leaves)
        records = []
        with watching(lambda record, arguments, found: records.append(record)):
            torch.autograd.grad(result.sum(), [x for x in leaves if x.requires_grad])
    assert all(record.cost is not None for record in records)
    return [cost(record.op) for record in records if record.op.name == f"aten.{names}_backward"]


@pytest.mark.parametrize(("name", "function", "inputs", "flops"), GRADIENTS)
def test_the_flops_of_a_backward_operator(
    name: str, function: Callable[..., Tensor], inputs: tuple[Tensor, ...], flops: int
) -> None:
    found = backward(function, inputs, name)[0]  # that of the first input, where each has its own
    assert found is not None
    assert found.flops == flops


# --- layers, as one would train them ---------------------------------------------------------------------------------

# The input gets no gradient, as in training.
LAYERS: list[tuple[nn.Module, tuple[int, ...], int]] = [
    # 2 · 24 · (4 + 6), and as many for both weights
    (nn.LSTMCell(4, 6), (2, 4), 2 * 480),
    # 2 · 4 · 3 · 9 and 2 · 12 · 2; the weights' gradients, and that of what goes into the last layer
    (nn.Sequential(nn.Conv1d(3, 4, 3), nn.PReLU(), nn.Flatten(), nn.Linear(12, 2)), (2, 3, 5), 2 * 216 + 3 * 48),
    # 3 heads of 4 · 4 scores of width 2: two products of 96 MACs forward, four backward; 3 · 4 · 6 · 6 and 4 · 6 · 6
    # MACs of the layers around, their weights' gradients, and the gradient of what goes into the last one.
    (nn.MultiheadAttention(6, 3, batch_first=True), (1, 4, 6), 96 * 6 + 2 * 432 + 3 * 144),
]


@pytest.mark.parametrize(("layer", "shape", "macs"), LAYERS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_macs_of_a_layer_and_its_gradients(
    layer: nn.Module, shape: tuple[int, ...], macs: int, device: str
) -> None:
    assert macs_with_gradients(layer, shape, device) == macs


def test_onednn_takes_the_gradient_of_the_input_too() -> None:
    # Six steps of 24 · (4 + 6) gates, and each product twice backward.
    assert macs_with_gradients(nn.LSTM(4, 6, batch_first=True), (2, 3, 4), "cpu") == 3 * 1440


def macs_with_gradients(layer: nn.Module, shape: tuple[int, ...], device: str) -> int:
    module, x = copy.deepcopy(layer).to(device), torch.rand(shape, device=device)
    given = (x, x, x) if isinstance(layer, nn.MultiheadAttention) else (x,)
    records = []
    with watching(lambda record, arguments, found: records.append(record)):
        result = module(*given)
        result = result[0] if isinstance(result, tuple) else result
        torch.autograd.grad(result.sum(), list(module.parameters()))
    assert all(record.cost is not None for record in records)
    return sum(record.figures[0] for record in records)


# Kernels of CUDA alone, by the shapes that torch would give them.
def shaped(*shape: int) -> Operand:
    return tensor(shape, "float32")


def test_cudnns_recurrent_layers_take_each_product_twice() -> None:
    # Two layers of an LSTM, six steps of two: 24 · (4 + 6) and 24 · (6 + 6) weights.
    weights = tuple(w for inputs in (4, 6) for w in (shaped(24, inputs), shaped(24, 6), shaped(24), shaped(24)))
    states = shaped(2, 2, 6)
    output = shaped(6, 2, 6)
    head = (shaped(6, 2, 4), weights, 4, shaped(1), states, states, output, output, None, None)
    found = cost(Op("aten._cudnn_rnn_backward", "default", (*head, 2, 6, 0, 2)))
    assert found is not None
    assert found.macs == 2 * 12 * (240 + 288)
    # For each of 12 steps and two layers 23 of six units, and sums of 24 biases over the steps.
    assert found.flops == 2 * found.macs + 2 * (23 * 12 * 6 + 11 * 24)


def test_a_fused_cell_and_cudnns_batch_norm() -> None:
    state, gates = shaped(5, 6), shaped(5, 24)
    lstm = cost(Op("aten._thnn_fused_lstm_cell_backward_impl", "default", (state, None, state, state, gates, True)))
    gru = cost(Op("aten._thnn_fused_gru_cell_backward", "default", (state, shaped(5, 30), True)))
    norm = cost(Op("aten.cudnn_batch_norm_backward", "default", (shaped(2, 3, 4), shaped(2, 3, 4), shaped(3))))
    assert lstm is not None
    assert gru is not None
    assert norm is not None
    # 23 and 16 for each of 5 · 6, and sums of 24 and 18 biases over five; nine for each of 24 elements, three weights.
    assert (lstm.flops, gru.flops, norm.flops) == (23 * 30 + 4 * 24, 16 * 30 + 4 * 18, 9 * 24 + 3)


# --- every layer and function ----------------------------------------------------------------------------------------


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Many small operators take longer on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def with_gradients(value: Any) -> Any:
    """A value with tensors of its own that take gradients, where torch has any."""

    def leaf(x: Any) -> Any:
        takes = isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())
        return x.detach().clone().requires_grad_() if takes else x

    return tree_map(leaf, value)


def costs_of_backward(run: Callable[[], Any], spread: bool = False) -> tuple[int, int]:
    """The MACs and FLOPs of a backward. Each operator has a rule; where that states the results, they are torch's.

    The gradient of the result is one number that is ``spread``, or a tensor of its own.
    """
    found = []
    stated: list[Any] = []

    def state(func: Any, args: Any, kwargs: Any) -> None:
        stated.append(infer(read(func, args, kwargs, None)))

    def look(record: Any, arguments: Any, result: Any) -> None:
        assert record.cost is not None, f"no rule for {record.op.name}"
        found.append(record.figures)
        results, made = stated.pop() if stated else None, [result] if isinstance(result, Tensor) else result
        if results is not None and not record.op.in_place and record.op.name.endswith("_backward"):
            for one, x in zip(results, made, strict=True):
                assert (one is None) == (x is None), record.op
                # The stride of a dimension of size 1 addresses nothing.
                if x is not None and 1 not in x.shape:
                    assert operand(x) == one, record.op

    with warnings.catch_warnings(), watching(is_training=True):
        warnings.simplefilter("ignore")
        outputs = [x for x in tensors(run()) if x.requires_grad]
        whole = [x.abs() if x.is_complex() else x for x in outputs]
        loss = sum(x.sum() if spread else x.square().sum() for x in whole)
    if isinstance(loss, Tensor):
        with watching(look, before=state, is_training=True):
            loss.backward()
    return sum(one[0] for one in found), sum(one[1] for one in found)


@pytest.mark.usefixtures("_one_thread")
def test_the_backward_of_every_layer_is_counted_alike_on_meta_and_on_a_cpu() -> None:
    for example in EXAMPLES:
        module, inputs = modules(example)

        def found(module: nn.Module, inputs: tuple[Any, ...], takes_all: bool, spread: bool = False) -> tuple[int, int]:
            module.zero_grad()
            given = with_gradients(inputs) if takes_all else (with_gradients(inputs[0]), *inputs[1:])
            return costs_of_backward(lambda: module.train()(*given), spread)

        takes_all = "Loss" not in example.name  # a loss's targets take none
        found(module, inputs, takes_all, spread=True)
        costs = found(module, inputs, takes_all)
        if runs_on_meta(example) and example.settings.get("momentum", 0) is not None:  # which asks for a number
            assert found(on_meta(module), on_meta(inputs), takes_all) == costs, example


# What has no gradient in torch, as a whole or of one argument.
WITHOUT_GRADIENT = ("bernoulli", "floor_divide", "heaviside")
FIRST_ALONE = ("nll_loss", "soft_margin_loss", "binary_cross_entropy_with_logits")


def backward_of_call(call: CallExample, device: str) -> tuple[int, int]:
    args, kwargs = call.arguments(device)
    if call.name in FIRST_ALONE:
        args[0] = with_gradients(args[0])
    else:
        args, kwargs = with_gradients((args, kwargs))
    call.arguments = lambda _: (args, kwargs)  # type: ignore[method-assign]
    try:
        return costs_of_backward(lambda: call.run(device))
    finally:
        del call.arguments


@pytest.mark.usefixtures("_one_thread")
def test_the_backward_of_every_function_is_counted_alike_on_meta_and_on_a_cpu() -> None:
    for call in CALLS:
        if call.name not in WITHOUT_GRADIENT:
            assert backward_of_call(call, "meta") == backward_of_call(call, "cpu"), call.text
