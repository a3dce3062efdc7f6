"""The functions an expression may call, as tables: no other name is ever looked up in torch.

A function of ``torch.nn.functional`` takes precedence over one of ``torch`` (``embedding(input, weight)``). Loading the
tables imports no torch; :mod:`fwdscope.functions.resolution` finds the callables.
"""

from __future__ import annotations

import math

from fwdscope.functions.functional import FUNCTIONAL
from fwdscope.functions.vocabulary import Function, tables

_ROWS = """
[joining and splitting] torch
    cat(tensors, dim=0)                             # one after the other along dim
    concat(tensors, dim=0)                          # the same as cat
    concatenate(tensors, dim=0)                     # the same as cat
    stack(tensors, dim=0)                           # side by side along a new dim
    hstack(tensors)                                 # along dimension 1 (0 for vectors)
    vstack(tensors)                                 # along dimension 0, vectors as rows
    dstack(tensors)                                 # along dimension 2
    block_diag(*tensors)                            # matrices along the diagonal, zeros elsewhere
    split(tensor, split_size_or_sections, dim=0)    # pieces of a size, or of the sizes given
    chunk(input, chunks, dim=0)                     # so many pieces
    tensor_split(input, sections, dim=0)            # so many pieces, sizes differing by at most 1
    tensor_split(input, indices, dim=0)
    unbind(input, dim=0)                            # one piece for each index along dim
    meshgrid(*tensors, indexing)                    # grids of coordinates; indexing='ij' or 'xy'
    broadcast_tensors(*tensors)                     # all at their common shape

[shapes] torch
    reshape(input, shape)                           # the same elements in another shape; one size may be −1
    flatten(input, start_dim=0, end_dim=-1)         # dimensions merged into one
    unflatten(input, dim, sizes)                    # one dimension cut into several
    ravel(input)                                    # all dimensions merged
    transpose(input, dim0, dim1)                    # two dimensions swapped
    swapaxes(input, axis0, axis1)                   # the same as transpose
    swapdims(input, dim0, dim1)                     # the same as transpose
    permute(input, dims)                            # dimensions in another order
    movedim(input, source, destination)             # dimensions moved elsewhere
    moveaxis(input, source, destination)            # the same as movedim
    t(input)                                        # a matrix transposed
    adjoint(input)                                  # the last two dimensions transposed, and conjugated
    squeeze(input)                                  # dimensions of size 1 removed
    squeeze(input, dim)
    unsqueeze(input, dim)                           # a dimension of size 1 put in
    broadcast_to(input, size)                       # repeated without a copy
    tile(input, dims)                               # repeated
    repeat_interleave(input, repeats, dim=None)     # each element repeated, next to itself
    flip(input, dims)                               # order reversed
    roll(input, shifts, dims=None)                  # moved along, the end coming back at the front
    rot90(input, k=1, dims=(0, 1))                  # turned by 90°

[choosing] torch
    where(condition, input, other)                  # input where the condition holds, else other
    masked_fill(input, mask, value)                 # value where the mask is True
    gather(input, dim, index)                       # elements at an index along dim
    scatter(input, dim, index, src)                 # elements put at an index along dim
    scatter(input, dim, index, value)
    scatter_add(input, dim, index, src)             # elements added at an index along dim
    scatter_reduce(input, dim, index, src, reduce, *, include_self=True)
        # reduced into: 'sum', 'prod', 'mean', 'amax', 'amin'
    index_select(input, dim, index)                 # slices at an index
    index_add(input, dim, index, source, *, alpha=1)    # slices added at an index
    index_copy(input, dim, index, source)           # slices put at an index
    index_fill(input, dim, index, value)            # a number put at an index
    take_along_dim(input, indices, dim=None)        # elements at the indices that argsort or argmax gives
    narrow(input, dim, start, length)               # a slice
    select(input, dim, index)                       # one slice, its dimension removed
    topk(input, k, dim=-1, largest=True, sorted=True)       # the k largest, and their indices
    sort(input, dim=-1, descending=False)           # in order, and the indices
    sort(input, *, stable, dim=-1, descending=False)
    argsort(input, dim=-1, descending=False)        # the indices that put in order
    tril(input, diagonal=0)                         # the lower triangle, zeros above
    triu(input, diagonal=0)                         # the upper triangle, zeros below
    diag(input, diagonal=0)                         # a diagonal of a matrix, or a matrix with that diagonal
    diagonal(input, offset=0, dim1=0, dim2=1)       # a diagonal
    diag_embed(input, offset=0, dim1=-2, dim2=-1)   # matrices with that diagonal

[creation] torch makes
    tensor(data, *, dtype=None)                     # a tensor of the numbers in a list of lists
    zeros(*size, dtype=None)                        # all 0
    ones(*size, dtype=None)                         # all 1
    full(size, fill_value, *, dtype=None)           # all the same number
    eye(n, *, dtype=None)                           # 1 on the diagonal, else 0
    eye(n, m, *, dtype=None)
    arange(end, *, dtype=None)                      # 0, 1, 2, … up to but without end
    arange(start, end, step=1, *, dtype=None)
    linspace(start, end, steps, *, dtype=None)      # so many equal steps from start to end, both included
    logspace(start, end, steps, base=10.0, *, dtype=None)   # base to the power of linspace
    tril_indices(row, col, offset=0, *, dtype=int64)     # rows and columns of the lower triangle
    triu_indices(row, col, offset=0, *, dtype=int64)     # rows and columns of the upper triangle

[creation] torch makes random
    rand(*size, dtype=None)                         # uniform in [0, 1)
    randn(*size, dtype=None)                        # normal, mean 0, variance 1
    randint(high, size, *, dtype=int64)              # whole numbers from 0, or low, up to but without high
    randint(low, high, size, *, dtype=int64)
    randperm(n, *, dtype=int64)                      # 0 … n − 1 in a random order

[creation] torch
    zeros_like(input, *, dtype=None)                # all 0, of the input's shape
    ones_like(input, *, dtype=None)                 # all 1, of the input's shape
    full_like(input, fill_value, *, dtype=None)     # all the same number, of the input's shape

[creation] torch random
    rand_like(input, *, dtype=None)                 # uniform in [0, 1), of the input's shape
    randn_like(input, *, dtype=None)                # normal, of the input's shape
    randint_like(input, high, *, dtype=None)        # whole numbers, of the input's shape
    randint_like(input, low, high, *, dtype=None)
    bernoulli(input)                                # 1 with the probability that the element gives, else 0
    bernoulli(input, p)
    multinomial(input, num_samples, replacement=False)  # indices drawn with the rows' weights

[element by element] torch gives=like numbers=math
    sqrt(input)     # √x
    exp(input)      # eˣ
    exp2(input)     # 2ˣ
    expm1(input)    # eˣ − 1, exact near 0
    log(input)      # the natural logarithm
    log2(input)     # the logarithm to base 2
    log10(input)    # the logarithm to base 10
    log1p(input)    # log(1 + x), exact near 0
    sin(input)      # the sine of an angle in radians
    cos(input)      # the cosine of an angle in radians
    tan(input)      # the tangent of an angle in radians
    asin(input)     # the angle of a sine
    acos(input)     # the angle of a cosine
    atan(input)     # the angle of a tangent
    atan2(input, other)     # the angle of the point (other, input)
    sinh(input)     # the hyperbolic sine
    cosh(input)     # the hyperbolic cosine
    tanh(input)     # the hyperbolic tangent, between −1 and 1
    asinh(input)    # the inverse of sinh
    acosh(input)    # the inverse of cosh
    atanh(input)    # the inverse of tanh
    erf(input)      # the error function
    erfc(input)     # 1 − erf(x)
    floor(input)    # the whole number below
    ceil(input)     # the whole number above
    trunc(input)    # the whole number towards 0
    isnan(input)    # whether it is not a number
    isinf(input)    # whether it is infinite
    isfinite(input)     # whether it is neither infinite nor NaN
    gcd(input, other)   # the greatest common divisor
    lcm(input, other)   # the least common multiple
    hypot(input, other)     # √(x² + y²)
    fmod(input, other)      # the remainder, with the sign of x

[element by element] torch gives=like numbers=builtins
    abs(input)                          # without the sign
    round(input)         # the nearest whole number, of two the even one
    round(input, *, decimals)
    round(number, ndigits=None, /)

[element by element] torch gives=like numbers=python
    pow(input, exponent)                # x to a power; the same as x ** y

[element by element] torch
    add(input, other, *, alpha=1)       # x + alpha · y
    sub(input, other, *, alpha=1)       # x − alpha · y
    subtract(input, other, *, alpha=1)  # the same as sub
    mul(input, other)                   # x · y
    multiply(input, other)              # the same as mul
    div(input, other)                   # x / y; rounding_mode='floor' or 'trunc'
    div(input, other, *, rounding_mode)
    divide(input, other)                # the same as div
    divide(input, other, *, rounding_mode)
    true_divide(input, other)           # x / y
    floor_divide(input, other)          # x // y
    remainder(input, other)             # x % y, with the sign of y
    neg(input)                          # −x
    negative(input)                     # −x
    square(input)                       # x²
    rsqrt(input)                        # 1 / √x
    reciprocal(input)                   # 1 / x
    sign(input)                         # −1, 0 or 1
    sgn(input)                          # x / |x|, of complex numbers too
    frac(input)                         # what stands behind the point
    logit(input, eps=None)              # log(x / (1 − x))
    erfinv(input)                       # the inverse of erf
    lgamma(input)                       # the logarithm of |Γ(x)|
    digamma(input)                      # the derivative of lgamma
    sinc(input)                         # sin(πx) / πx
    heaviside(input, values)            # 0 below 0, 1 above, values at 0
    clamp(input, min=None, max=None)    # cut off below min and above max
    clip(input, min=None, max=None)     # the same as clamp
    maximum(input, other)               # the larger of two
    minimum(input, other)               # the smaller of two
    lerp(input, end, weight)            # x + weight · (end − x)
    addcmul(input, tensor1, tensor2, *, value=1)    # x + value · tensor1 · tensor2
    addcdiv(input, tensor1, tensor2, *, value=1)    # x + value · tensor1 / tensor2
    logaddexp(input, other)             # log(eˣ + eʸ), stable
    xlogy(input, other)                 # x · log(y), 0 where x is 0
    copysign(input, other)              # |x| with the sign of y
    nan_to_num(input, nan=None, posinf=None, neginf=None)   # NaN and infinities replaced by numbers
    eq(input, other)                    # x == y
    ne(input, other)                    # x != y
    lt(input, other)                    # x < y
    le(input, other)                    # x <= y
    gt(input, other)                    # x > y
    ge(input, other)                    # x >= y
    isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False)  # whether two are nearly equal
    logical_and(input, other)           # both
    logical_or(input, other)            # one or both
    logical_xor(input, other)           # one, not both
    logical_not(input)                  # not
    bitwise_and(input, other)           # x & y
    bitwise_or(input, other)            # x | y
    bitwise_xor(input, other)           # bits that differ
    bitwise_not(input)                  # ~x

[complex numbers] torch
    complex(real, imag)                 # a complex tensor from its parts
    polar(abs, angle)                   # a complex tensor from length and angle
    real(input)                         # the real part
    imag(input)                         # the imaginary part
    angle(input)                        # the angle of complex numbers
    conj(input)                         # the imaginary part negated
    view_as_real(input)                 # complex numbers as a last dimension of 2
    view_as_complex(input)              # a last dimension of 2 as complex numbers

[reductions] torch gives=like numbers=builtins
    max(input)  # the largest; along dim also its index; of two tensors the larger
    max(input, dim, keepdim=False)
    max(input, other)
    max(number, /, *numbers)
    min(input)  # the smallest; along dim also its index; of two tensors the smaller
    min(input, dim, keepdim=False)
    min(input, other)
    min(number, /, *numbers)
    any(input)                                      # whether some are True
    any(input, dim, keepdim=False)
    all(input)                                      # whether all are True
    all(input, dim, keepdim=False)

[reductions] torch gives=like numbers=python
    sum(input, *, dtype=None)                       # the sum, of a list of tensors or numbers too
    sum(input, dim, keepdim=False, *, dtype=None)
    prod(input, *, dtype=None)                      # the product
    prod(input, dim, keepdim=False, *, dtype=None)

[reductions] torch
    mean(input, *, dtype=None)                      # the mean
    mean(input, dim, keepdim=False, *, dtype=None)
    amax(input, dim=(), keepdim=False)              # the largest, without its index
    amin(input, dim=(), keepdim=False)              # the smallest, without its index
    argmax(input, dim=None, keepdim=False)          # the index of the largest
    argmin(input, dim=None, keepdim=False)          # the index of the smallest
    std(input, dim=None, *, correction=1, keepdim=False)    # the standard deviation
    std(input, dim, unbiased=True, keepdim=False)
    std(input, unbiased=True)
    var(input, dim=None, *, correction=1, keepdim=False)    # the variance
    var(input, dim, unbiased=True, keepdim=False)
    var(input, unbiased=True)
    std_mean(input, dim=None, *, correction=1, keepdim=False)   # the standard deviation and the mean
    var_mean(input, dim=None, *, correction=1, keepdim=False)   # the variance and the mean
    median(input)                                   # the median; along dim also its index
    median(input, dim, keepdim=False)
    norm(input, p='fro', dim=None, keepdim=False, *, dtype=None)    # the p-norm
    logsumexp(input, dim, keepdim=False)            # log(sum(exp(x))), stable
    nansum(input, dim=None, keepdim=False, *, dtype=None)       # the sum without NaN
    nanmean(input, dim=None, keepdim=False, *, dtype=None)      # the mean without NaN
    count_nonzero(input, dim=None)                  # how many are not 0
    cumsum(input, dim, *, dtype=None)               # running sums
    cumprod(input, dim, *, dtype=None)              # running products
    cummax(input, dim)                              # running maxima, and their indices
    cummin(input, dim)                              # running minima, and their indices
    logcumsumexp(input, dim)                        # running logsumexp
    diff(input, n=1, dim=-1)                        # differences of neighbours
    trace(input)                                    # the sum of a matrix's diagonal

[Fourier transforms] torch.fft
    fft(input, n=None, dim=-1, norm=None)           # the Fourier transform along one dimension
    ifft(input, n=None, dim=-1, norm=None)          # its inverse
    rfft(input, n=None, dim=-1, norm=None)          # of real numbers: the half without the mirror image
    irfft(input, n=None, dim=-1, norm=None)         # its inverse
    fft2(input, s=None, dim=(-2, -1), norm=None)    # the Fourier transform over two dimensions
    ifft2(input, s=None, dim=(-2, -1), norm=None)   # its inverse
    rfft2(input, s=None, dim=(-2, -1), norm=None)   # of real numbers, over two dimensions
    irfft2(input, s=None, dim=(-2, -1), norm=None)  # its inverse
    fftn(input, s=None, dim=None, norm=None)        # the Fourier transform over all or some dimensions
    ifftn(input, s=None, dim=None, norm=None)       # its inverse
    fftshift(input, dim=None)                       # frequency 0 moved to the middle
    ifftshift(input, dim=None)                      # frequency 0 moved back to the front

[Python's] python gives=number
    len(obj, /)                     # how many elements, or the first size of a tensor
    int(x=0, /)                     # a whole number, cut towards 0
    float(x=0, /)                   # a number with a point
    bool(x=False, /)                # True or False
    str(object='', /)               # a number as text

[Python's] python gives=other
    range(stop, /)                  # 0, 1, … up to but without stop
    range(start, stop, step=1, /)
    list(items=(), /)               # the elements as a list
    tuple(items=(), /)              # the elements as a tuple
    zip(*rows, strict=False)        # the first of each, the second of each, …
    enumerate(items, start=0)       # each with its number
    reversed(items, /)              # from last to first
    sorted(items, /, *, reverse=False)  # numbers in order
"""

_TABLES: tuple[Function, ...] = (*FUNCTIONAL, *tables(_ROWS))
FUNCTIONS: dict[str, Function] = {function.name: function for function in _TABLES}

# Numbers that an expression may name.
CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_OTHERS = ("bool", "complex64", "complex128")

# Names of dtypes, and torch's canonical name for each. ``float`` is float32, as torch.float is; Python's float would be
# float64.
DTYPES: dict[str, str] = {
    **{name: name for name in (*_FLOATS, *_INTEGERS, *_OTHERS)},
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}
