"""The methods and attributes of tensors that an expression may use, as tables.

A method that does the same as the function of its name has the function's signatures, without the tensor. The others
have signatures of their own here: ``x.name(…)`` without the ``x``.
"""

from __future__ import annotations

import re

from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.vocabulary import Function, TensorAttribute, tables

_AS_FUNCTIONS = """
    relu sigmoid softmax log_softmax
    matmul mm bmm mv dot inner outer addmm addmv baddbmm kron
    chunk tensor_split unbind
    flatten unflatten ravel transpose swapaxes swapdims movedim moveaxis t adjoint squeeze unsqueeze broadcast_to
    repeat_interleave rot90
    masked_fill gather scatter scatter_add scatter_reduce index_select index_add index_copy index_fill take_along_dim
    narrow select topk sort argsort tril triu diag diagonal diag_embed
    bernoulli multinomial
    abs sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    erf erfc erfinv floor ceil round trunc frac isnan isinf isfinite isclose gcd lcm hypot fmod remainder pow
    add sub subtract mul multiply div divide true_divide floor_divide neg negative square rsqrt reciprocal sign sgn
    logit lgamma digamma sinc heaviside clamp clip maximum minimum lerp addcmul addcdiv logaddexp xlogy copysign
    nan_to_num eq ne lt le gt ge logical_and logical_or logical_xor logical_not
    bitwise_and bitwise_or bitwise_xor bitwise_not
    angle conj
    max min any all sum prod mean amax amin argmax argmin std var median norm logsumexp nansum nanmean count_nonzero
    cumsum cumprod cummax cummin logcumsumexp diff trace
"""

_ROWS = """
[shapes] torch.Tensor
    split(split_size, dim=0)        # pieces of a size, or of the sizes given
    view(*shape)                    # the same elements in another shape, without a copy; one size may be −1
    reshape(*shape)                 # the same elements in another shape; one size may be −1
    permute(*dims)                  # dimensions in another order
    permute(dims)
    expand(*sizes)                  # dimensions of size 1 repeated without a copy; −1 leaves a size
    repeat(*repeats)                # repeated so many times along each dimension
    tile(*dims)                     # repeated
    flip(*dims)                     # order reversed
    flip(dims)
    roll(shifts, dims=None)         # moved along, the end coming back at the front
    view_as(other)                  # viewed in another tensor's shape
    reshape_as(other)               # reshaped to another tensor's shape
    expand_as(other)                # expanded to another tensor's shape
    unfold(dimension, size, step)   # windows of a size along a dimension, as a new last dimension
    contiguous()                    # laid out in memory in the order of its dimensions
    clone()                         # a copy
    where(condition, other)         # the tensor where the condition holds, else other

[casts] torch.Tensor
    to(dtype)                       # cast to a dtype; x.to(other) to another tensor's
    type_as(other)                  # cast to another tensor's dtype
    float()                         # cast to float32
    double()                        # cast to float64
    half()                          # cast to float16
    bfloat16()                      # cast to bfloat16
    long()                          # cast to int64
    int()                           # cast to int32
    bool()                          # True where not 0

[creation] torch.Tensor
    new_zeros(*size, dtype=None)                # all 0, of the tensor's dtype
    new_ones(*size, dtype=None)                 # all 1, of the tensor's dtype
    new_full(size, fill_value, *, dtype=None)   # all the same number, of the tensor's dtype

[sizes] torch.Tensor gives=number
    size()                          # the shape, or one size of it
    size(dim)
    dim()                           # how many dimensions
    ndimension()                    # how many dimensions
    numel()                         # how many elements
    nelement()                      # how many elements
    is_floating_point()             # whether it holds real numbers
    is_complex()                    # whether it holds complex numbers
"""

_TENSOR = "torch.Tensor"
_TENSOR_FIRST = re.compile(r"\((input|tensor)(, |(?=\)))")


def _of_function(name: str) -> Function:
    """Make the method that does the same as a function: its overloads for a tensor, without the tensor."""
    function = FUNCTIONS[name]
    signatures = tuple(
        f"({text[found.end() :]}" for text in function.signatures if (found := _TENSOR_FIRST.match(text))
    )
    return Function(name, signatures, _TENSOR, function.family, function.doc, random=function.random)


METHODS: dict[str, Function] = {
    function.name: function for function in (*map(_of_function, _AS_FUNCTIONS.split()), *tables(_ROWS))
}

ATTRIBUTES: dict[str, TensorAttribute] = {
    attribute.name: attribute
    for attribute in (
        TensorAttribute("shape", "number", "the sizes of the dimensions; x.shape[1] is a number"),
        TensorAttribute("ndim", "number", "how many dimensions"),
        TensorAttribute("dtype", "number", "the type of the elements"),
        TensorAttribute("T", "tensor", "a matrix transposed"),
        TensorAttribute("mT", "tensor", "the last two dimensions transposed"),
        TensorAttribute("H", "tensor", "a matrix transposed and conjugated"),
        TensorAttribute("mH", "tensor", "the last two dimensions transposed, and conjugated"),
        TensorAttribute("real", "tensor", "the real part"),
        TensorAttribute("imag", "tensor", "the imaginary part"),
    )
}
