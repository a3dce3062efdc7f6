"""The memory of torch's fused path of attention for inference, which is not what the trace runs.

Without gradients, in evaluation mode, ``nn.MultiheadAttention`` of one input may run as one kernel, which keeps q, k, v
and the scores of all heads. The trace runs its operators one by one, with ``scaled_dot_product_attention``, whose
kernels never write the scores. (Conditions and buffers as in torch/nn/modules/activation.py and
aten/src/ATen/native/transformers/attention.cpp.)
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fwdscope import units
from fwdscope.trace import Node, Trace


def notes_on_fused_attention(trace: Trace) -> Iterator[str]:
    """A note on the attention whose fused path needs the most memory, if that is more than what is counted."""
    found = [(size, node) for node in trace.root.nodes() if (size := fused_size(node)) is not None]
    if not found:
        return
    size, node = max(found, key=lambda one: one[0])
    counted = node.peak - node.live
    if size > counted:
        yield (
            f"{node.path or node.type}: the fused attention that torch uses for inference keeps all scores: "
            f"{units.byte_size(size)}, not {units.byte_size(counted)} as counted here"
        )


def fused_size(node: Node) -> int | None:
    """Bytes of activations in the fused path of an attention; None where torch does not take it."""
    module = node.module
    if type(module) is not nn.MultiheadAttention or len(node.inputs) != 3:
        return None
    is_excluded = module.training or not module.batch_first or module.num_heads % 2 or module.add_zero_attn
    has_no_bias = module.in_proj_weight is None or module.in_proj_bias is None
    if is_excluded or has_no_bias or module.bias_k is not None or module.bias_v is not None:
        return None
    x = node.inputs[0]
    if any(other.ref is not x.ref for other in node.inputs) or len(x.shape) != 3:
        return None
    batch, length, width = x.shape
    itemsize = x.nbytes // max(1, batch * length * width)
    elements = 3 * batch * length * width + batch * module.num_heads * length * length
    if len(node.outputs) > 1:  # the weights too, averaged over the heads, and then both results are new
        elements += batch * length * length + batch * length * width
    return int(elements * itemsize)
