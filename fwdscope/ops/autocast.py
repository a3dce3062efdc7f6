"""Autocast on meta, where torch's own does nothing: operators run on operands cast by the lists of its CUDA kernels.

The lists are those of ``ATen/autocast_mode.h``. As torch does, a cast of a weight is kept until autocast ends, and
autograd sees every cast. Functions that torch writes in Python are followed to what they call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from fwdscope.errors import StepError
from fwdscope.torch_private import without_functions

from .watch import without_modes_asked

# Cast to the smaller dtype; to float32; given ``dtype=float32``; and cast to the widest dtype of the operands.
_LISTS = (
    """_convolution convolution conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d prelu
    addmm addmv addr matmul einsum mm mv linalg_vecdot linear addbmm baddbmm bmm chain_matmul linalg_multi_dot
    _thnn_fused_lstm_cell _thnn_fused_gru_cell lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell
    _scaled_dot_product_flash_attention scaled_dot_product_attention cudnn_convolution cudnn_convolution_transpose""",
    """acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus layer_norm
    native_layer_norm rms_norm group_norm frobenius_norm nuclear_norm cosine_similarity poisson_nll_loss
    cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss
    margin_ranking_loss multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss
    binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp upsample_nearest1d _upsample_nearest_exact1d
    upsample_nearest2d _upsample_nearest_exact2d upsample_nearest3d _upsample_nearest_exact3d upsample_linear1d
    upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d upsample_bicubic2d _upsample_bicubic2d_aa""",
    "prod softmax log_softmax cumprod cumsum linalg_vector_norm linalg_matrix_norm sum norm",
    "addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add",
)
LOWER, FLOAT32, FLOAT32_RESULT, WIDEST = (frozenset(names.split()) for names in _LISTS)
# What torch refuses.
REFUSED = frozenset({"binary_cross_entropy"})
# Functions that run one of these, or all of a recurrent layer, below what Python sees.
_RUNS = {
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "linalg_matmul"), "matmul"),
    "square": "pow",
    "nll_loss_nd": "nll_loss",
    "linalg_norm": "norm",
    "inner": "tensordot",
    "pairwise_distance": "dist",
}
_REDUCTIONS = ("none", "mean", "sum")
_PYTHON = ("torch.functional", "torch.nn.functional", Tensor.norm.__module__)


@cache
def _operator(func: Any) -> str:
    """The name of the operator that a function of torch's runs."""
    name = getattr(func, "__name__", "")
    if name[:2] == "__":  # an operator of Python's, perhaps with its sides exchanged
        name = name.strip("_")
        name = name[1:] if name in ("rmatmul", "rpow") else name
    name = name.removeprefix("special_")
    return _RUNS.get(name, name)


class Autocast(TorchFunctionMode):
    """Casts operands until it is ended. ``on_weight`` is called with each cast of a parameter."""

    def __init__(self, dtype: torch.dtype, on_weight: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.dtype = dtype
        self.on_weight = on_weight
        self.active = True
        # Casts of weights by their ids, with the weights.
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def end(self) -> None:
        """Cast no more, and let the kept casts go."""
        self.active = False
        self.kept.clear()

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.active or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        if isinstance(func, FunctionType) and func.__module__ in _PYTHON and not func.__closure__:
            with self:
                return without_modes_asked(func)(*args, **kwargs)
        name = _operator(func)
        if name in LOWER:
            args, kwargs = self.cast((args, kwargs), self.dtype)
        elif name in FLOAT32:
            args, kwargs = self.cast((args, kwargs), torch.float32)
        elif name in FLOAT32_RESULT:
            is_given = any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
            if not is_given and self.casts(next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)):
                kwargs = {**kwargs, "dtype": torch.float32}
        elif name in WIDEST:
            found = self.dtypes((args, kwargs))
            args, kwargs = self.cast((args, kwargs), torch.float32 if torch.float32 in found else self.dtype)
        elif name == "cross_entropy_loss":
            return self.cross_entropy(func, *args, **kwargs)
        elif name in REFUSED:
            raise StepError(f"torch's autocast refuses {name}: use binary_cross_entropy_with_logits, without a sigmoid")
        return func(*args, **kwargs)

    def cross_entropy(self, func: Any, x: Tensor, target: Tensor, *settings: Any) -> Any:
        """As torch puts it together: the logarithms in the dtype of the scores, the loss in float32."""
        if x.shape == target.shape:  # probabilities of classes
            return func(x, target, *settings)
        weight, how, ignored, smoothing = settings or (None, 1, -100, 0.0)
        classes = min(1, x.dim() - 1)
        with self:
            logarithms = torch.log_softmax(x, classes, dtype=x.dtype)
            loss = F.nll_loss(logarithms, target, weight, ignore_index=ignored, reduction=_REDUCTIONS[how])
            if smoothing:
                loss = loss * (1 - smoothing) - logarithms.sum(classes).mean() * (smoothing / x.shape[classes])
            return loss

    def casts(self, value: Any) -> bool:
        """Whether a value is a tensor that is cast at all."""
        with without_functions():
            return isinstance(value, Tensor) and value.is_floating_point() and value.dtype is not torch.float64

    def dtypes(self, value: Any) -> set[torch.dtype]:
        """The dtypes of the tensors that are cast."""
        if type(value) in (tuple, list, dict):
            inside = value.values() if type(value) is dict else value
            return {dtype for one in inside for dtype in self.dtypes(one)}
        return {value.dtype} if self.casts(value) else set()

    def cast(self, value: Any, dtype: torch.dtype) -> Any:
        """A value with its tensors cast."""
        if type(value) is dict:
            return {name: self.cast(one, dtype) for name, one in value.items()}
        if type(value) in (tuple, list):
            return type(value)(self.cast(one, dtype) for one in value)
        if not self.casts(value):
            return value
        with without_functions():
            if value.dtype is dtype:
                return value
            if (known := self.kept.get(id(value))) is not None and known[1].dtype is dtype:
                return known[1]
            made = value.to(dtype)
            if isinstance(value, nn.Parameter):
                self.on_weight(made)
            if dtype is self.dtype and value.dtype is torch.float32 and value.requires_grad and value.is_leaf:
                self.kept[id(value)] = value, made
            return made
