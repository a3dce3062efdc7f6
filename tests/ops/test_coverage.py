"""Every operator that a layer or function of the language runs has a rule, and costs the same on a CPU and on meta."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from counting import on_meta, traced
from function_examples import CALLS, CallExample, values
from layer_examples import EXAMPLES, Example
from torch import nn

from fwdscope.ops import FAMILIES, RULES, Op, base, cost

# Layers that ask for values, which meta tensors do not have.
NEED_DATA = {"GaussianNLLLoss", "AdaptiveLogSoftmaxWithLoss", "MixtureOfExperts"}
# Functions that torch computes otherwise on meta, each with the reason.
OTHER_ON_META = {"one_hot": "compares with every class, where a CPU looks at its indices and scatters"}


def modules(example: Example) -> tuple[nn.Module, tuple[Any, ...]]:
    torch.manual_seed(0)
    inputs = example.inputs()
    return example.layer().build(*inputs).eval(), inputs


def uncounted(ops: list[Op]) -> list[str]:
    return sorted({f"{op.name}.{op.overload}" for op in ops if cost(op) is None})


def ops_of(example: Example, device: str) -> list[Op]:
    module, inputs = modules(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return traced(on_meta(module), *on_meta(inputs)) if device == "meta" else traced(module, *inputs)


def runs_on_meta(example: Example) -> bool:
    lengths = example.name == "CTCLoss" and isinstance(example.inputs()[-1], torch.Tensor)
    return example.name not in NEED_DATA and not lengths


ON_META = [example for example in EXAMPLES if runs_on_meta(example)]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_operator_of_a_layer_in_training_has_a_rule(example: Example) -> None:
    module, inputs = modules(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert uncounted(traced(module.train(), *inputs)) == []


def arithmetic(ops: list[Op]) -> Counter[tuple[int, int]]:
    """How often an operator has these MACs and FLOPs; each must have a rule."""
    assert uncounted(ops) == []
    return Counter((c.macs, c.flops) for op in ops if (c := cost(op)) and c.flops)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_layer_costs_the_same_on_meta_and_on_a_cpu(example: Example) -> None:
    found = arithmetic(ops_of(example, "cpu"))
    assert not runs_on_meta(example) or arithmetic(ops_of(example, "meta")) == found


def ops_of_call(call: CallExample, device: str) -> list[Op]:
    values(device)  # the tensors that it names are made before the trace
    return traced(call.run, device)


@pytest.mark.parametrize("call", CALLS, ids=repr)
def test_a_function_costs_the_same_on_meta_and_on_a_cpu(call: CallExample) -> None:
    found = [arithmetic(ops_of_call(call, device)) for device in ("cpu", "meta")]
    assert (found[0] == found[1]) == (call.name not in OTHER_ON_META)


@pytest.mark.core
def test_an_operator_without_a_rule_is_not_zero() -> None:
    op = Op("aten.unheard_of", "default", ())
    assert cost(op) is None


def test_every_family_is_imported() -> None:
    """A family that nobody imports has no rules."""
    files = [file for file in Path(base.__file__).parent.glob("*.py") if file.stem != "base"]
    call = re.compile(r"^ *(@_?\w*rule|register(_formula)?)\(", re.MULTILINE)
    found = {file.stem for file in files if call.search(file.read_text())}
    assert found == {family.__name__.rpartition(".")[2] for family in FAMILIES}


def test_the_names_of_the_rules_are_torchs() -> None:
    """A misspelt name would be a rule that nothing reaches."""
    import torch.distributed._functional_collectives  # defines some of its operators
    import torch.distributed.distributed_c10d

    schemas = {schema.name.replace("::", ".") for schema in torch._C._jit_get_all_schemas()}
    higher_order = {name for name in RULES if name.startswith("higher_order.")}
    assert all(hasattr(torch.ops.higher_order, name.partition(".")[2]) for name in higher_order)
    # ATen's, on sparse tensors.
    sparse = {name for name in RULES if name.startswith("sparse.")}
    assert {f"aten.{name.partition('.')[2]}" for name in sparse} <= schemas
    unknown = set(RULES) - schemas - higher_order - sparse
    assert unknown <= NOT_IN_THIS_BUILD


# torchvision's, which its library declares; and one that torch 2.14 lacks.
NOT_IN_THIS_BUILD = {f"torchvision.{name}" for name in ("deform_conv2d", "_deform_conv2d_backward", "nms", "roi_align")}
NOT_IN_THIS_BUILD |= {"aten.cholesky"}
# Backward operators without a rule, by what they are of.
WITHOUT_A_RULE = {
    "kernels that only other devices or libraries run": """
    _cudnn_attention_backward _efficient_attention_backward _flash_attention_backward batch_norm_backward_elemt
    batch_norm_backward_reduce convolution_backward_overrideable cudnn_affine_grid_generator_backward
    cudnn_grid_sampler_backward lstm_mps_backward miopen_batch_norm_backward miopen_rnn_backward
    mkldnn_adaptive_avg_pool2d_backward mkldnn_linear_backward mkldnn_linear_backward_input
    mkldnn_linear_backward_weights mkldnn_max_pool2d_backward mkldnn_max_pool3d_backward
    mps_convolution_backward mps_convolution_transpose_backward _slow_conv2d_backward
    _grid_sampler_2d_cpu_fallback_backward adaptive_avg_pool3d_backward max_pool2d_backward""",
    "tensors that no row can show": """_nested_select_backward _nested_sum_backward linear_backward matmul_backward
    _sparse_log_softmax_backward_data _sparse_mm_reduce_impl_backward
    _sparse_softmax_backward_data _sparse_sum_backward""",
    "operators whose forward has none": """_segment_reduce_backward _masked_softmax_backward
    _fake_quantize_learnable_per_channel_affine_backward _fake_quantize_learnable_per_tensor_affine_backward""",
    "a second derivative": "glu_backward_jvp",
}


def test_the_backward_of_every_operator_with_a_rule_has_one() -> None:
    names = {name for name in torch._C._dispatch_get_all_op_names() if re.match(r"aten::\w*_backward", name)}
    asked = {name.partition("::")[2].partition(".")[0] for name in names if _is_kernel(name)}
    missing = {name for name in asked if base.find(f"aten.{name}") is None}
    assert missing == {name for names in WITHOUT_A_RULE.values() for name in names.split()}


def _is_kernel(name: str) -> bool:
    """Whether torch runs an operator itself, not as others, which come here one by one."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return not name.endswith("out") and not has_kernel(name, "CompositeImplicitAutograd")
