"""Element-wise operators: a number of arithmetic results for each element of the output.

Both sides of a choice are counted, as a machine without branches computes them; the choice itself moves data. Complex
results are counted in real arithmetic (a product is four products, a difference and a sum) where :data:`_COMPLEX` has
them, and are not counted elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from functools import partial

from .base import Output, Rule, Terms, complex_factor, flops, like, no_terms, register, register_formula
from .base import rule as any_rule
from .layout import broadcast, elementwise
from .op import Op, Operand
from .positions import Passing
from .promotion import DEFAULT, ITEMSIZE, UnpromotedError, is_complex, is_floating, is_whole, result_type

rule = partial(any_rule, window=Passing.BROADCAST)


class Numbers(Enum):
    """Which dtypes an operator takes and returns. For others, torch is asked."""

    SAME = auto()  # integers stay integers
    ALL = auto()  # so do booleans
    FLOAT = auto()  # integers and booleans become floating point
    FLOATS = auto()  # only floating point
    BOOLEAN = auto()  # the result is boolean
    ALIKE = auto()  # floating point, all of one dtype


_SAME, _ALL, _FLOAT, _FLOATS, _BOOLEAN, _ALIKE = Numbers


# -- what they return -------------------------------------------------------------------------------------------------


def _promoted(operands: int, numbers: Numbers, is_stated: Callable[[Op], bool] = lambda op: True) -> Output:
    """The result of an element-wise operator of its first ``operands`` arguments, broadcast and promoted."""

    def output(op: Op) -> tuple[Operand, ...] | None:
        values = [value for value in op.arguments[:operands] if value is not None]
        tensors = [value for value in values if isinstance(value, Operand)]
        if not tensors or not is_stated(op):
            return None
        try:
            found = result_type(values)
        except UnpromotedError:
            return None
        if is_complex(found) or (numbers is _ALIKE and any(x.dtype != found for x in tensors)):
            return None
        if numbers is _BOOLEAN:
            return elementwise_result(tensors, "bool")
        if numbers is _FLOAT and not is_floating(found):
            return elementwise_result(tensors, DEFAULT)
        taken = is_floating(found) or numbers is _ALL or (numbers is _SAME and found != "bool")
        return elementwise_result(tensors, found) if taken else None

    return output


def elementwise_result(tensors: Iterable[Operand], dtype: str) -> tuple[Operand, ...] | None:
    """The element-wise result of tensors, of a dtype; None if they do not broadcast."""
    layouts = tuple({(x.shape, x.stride): None for x in tensors})
    shape = layouts[0][0] if len(layouts) == 1 else broadcast([own for own, _ in layouts])
    return None if shape is None else (Operand(shape, dtype, ITEMSIZE[dtype], elementwise(shape, layouts)),)


# -- what they compute ------------------------------------------------------------------------------------------------

# Real arithmetic of a complex element: (a + bi)(c + di) is four products, a difference and a sum; a quotient is six of
# these, three for |z|² and two divisions; a power of e is exp, cos, sin and two products.
_COMPLEX = {"add": 2, "sub": 2, "rsub": 2, "neg": 2, "mul": 6, "square": 6, "div": 11, "reciprocal": 6, "abs": 4,
            "sgn": 6, "angle": 1, "exp": 5, "eq": 3, "ne": 3, "conj_physical": 1, "positive": 0}  # fmt: skip


def each(op: Op, count: int, what: str) -> Terms:
    """A term of ``count`` results for each element of the output."""
    if complex_factor(*op.operands, op.output) == 1:
        return (flops(what, f"{count}·N" if count != 1 else "N", N=op.output.numel),)
    name = op.name.removeprefix("aten.").rstrip("_")
    if name not in _COMPLEX:
        return None
    # A real factor or divisor acts on each part by itself.
    alone = sum(is_complex(x.dtype) for x in op.operands) == 1 and not isinstance(op.at(1), complex)
    by_parts = alone and (name == "mul" or (name == "div" and is_complex(op.operand(0).dtype)))
    count = 2 if by_parts else _COMPLEX[name]
    return (flops("real arithmetic of complex numbers", f"{count}·N", N=op.output.numel),)


def _table(operands: int, count: int, what: str, names: str, numbers: Numbers | Output | None) -> None:
    """Register operators of so many arguments; ``numbers`` may be their results, and torch is asked without any."""

    def terms(op: Op) -> Terms:
        return each(op, count, what)

    output = _promoted(operands, numbers) if isinstance(numbers, Numbers) else numbers
    register(names.split(), Rule(terms, output, window=Passing.BROADCAST))


_TRANSCENDENTAL = "one transcendental"

_table(1, 0, "nothing", "positive", None)
_table(1, 1, "one result", "neg abs sign ceil floor trunc square relu threshold", _SAME)
_table(1, 1, "one result", "bitwise_not", _ALL)
_table(1, 1, "one result", "logical_not isnan isinf isposinf isneginf signbit", _BOOLEAN)
_table(1, 1, "one result", "reciprocal", _FLOAT)
_table(1, 1, "one result", "round sgn angle conj_physical", None)
_table(1, 1, _TRANSCENDENTAL, "sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan", _FLOAT)
_table(1, 1, _TRANSCENDENTAL, "sinh cosh tanh asinh acosh atanh erf erfc erfinv lgamma digamma", _FLOAT)
_table(1, 1, _TRANSCENDENTAL, "polygamma i0 special_i0 special_i0e special_i1 special_i1e special_ndtri", None)
_table(1, 1, _TRANSCENDENTAL, "special_log_ndtr special_erfcx special_bessel_j0 special_bessel_j1", None)
_table(1, 2, "truncation, difference", "frac", None)
_table(1, 2, "max, min", "relu6 hardtanh", _FLOATS)
_table(1, 2, "two comparisons", "hardshrink", _FLOATS)
_table(1, 2, "comparison, product", "leaky_relu", _FLOATS)
_table(1, 2, "comparison, product", "rrelu_with_noise", None)
_table(1, 2, "log, product", "special_entr", None)
_table(1, 1, "product", "deg2rad rad2deg", None)
_table(1, 3, "three comparisons", "nan_to_num", None)
_table(1, 3, "·π, sin, quotient", "sinc", _FLOAT)
_table(1, 4, "negation, exp, 1+, 1/", "sigmoid", _FLOAT)
_table(1, 4, "+3, max, min, /6", "hardsigmoid", _FLOATS)
_table(1, 4, "negation, exp, log1p, negation", "log_sigmoid_forward", None)
_table(1, 4, "exp, log1p, tanh, product", "mish", _FLOATS)
_table(1, 4, "two comparisons, difference, sum", "softshrink", _FLOATS)
_table(1, 4, "/√2, erf, 1+, ·½", "special_ndtr", None)
_table(1, 4, "comparison, expm1, ·α, ·scale", "selu", None)
_table(1, 5, "sigmoid 4, product", "silu", _FLOATS)
_table(1, 5, "hardsigmoid 4, product", "hardswish", _FLOATS)

_table(2, 1, "product", "mul", _ALL)
_table(2, 1, "comparison", "maximum minimum", _ALL)
_table(2, 1, "comparison", "clamp_min clamp_max", _SAME)
_table(2, 1, "comparison", "fmax fmin", None)
_table(2, 1, "comparison", "eq ne lt le gt ge", _BOOLEAN)
_table(2, 1, "logic", "logical_and logical_or logical_xor", _BOOLEAN)
_table(2, 1, "logic", "bitwise_and bitwise_or bitwise_xor", _ALL)
_table(2, 1, "one result", "bitwise_left_shift bitwise_right_shift copysign nextafter", None)
_table(2, 1, "one result", "__and__ __or__ __xor__ __lshift__ __rshift__ __iand__ __ior__ __ixor__", None)
_table(2, 1, "remainder", "fmod remainder", _SAME)
_table(2, 1, _TRANSCENDENTAL, "atan2", _FLOAT)
_table(2, 1, _TRANSCENDENTAL, "igamma igammac special_zeta", None)
_table(2, 2, "log, product", "xlogy", _FLOAT)
_table(2, 2, "log1p, product", "special_xlog1py", None)
_table(2, 2, "two comparisons", "heaviside", _ALIKE)
_table(2, 2, "quotient, rounding", "floor_divide", _SAME)
_table(2, 2, "comparison, product", "_prelu_kernel", _FLOATS)
# The number of rounds of Euclid's algorithm depends on the data; one is the least.
_table(2, 1, "a round of Euclid's algorithm", "gcd", None)
_table(2, 3, "a round of Euclid's algorithm, product, quotient", "lcm", None)
_table(2, 4, "two squares, sum, root", "hypot", _FLOATS)
_table(2, 7, "max, difference, abs, negation, exp, log1p, sum", "logaddexp", None)
_table(2, 7, "max, difference, abs, negation, exp2, log, sum", "logaddexp2", None)


@rule("add", output=_promoted(2, _ALL))
@rule("sub", "rsub", output=_promoted(2, _SAME))
def add(op: Op) -> Terms:
    """A sum or difference, and a product with an alpha that is not 1; an overload with a scalar has it by position."""
    what = "sum" if op.name in ("aten.add", "aten.add_") else "difference"
    scaled = op.keyword("alpha", op.at(2, 1)) != 1
    return each(op, 1 + scaled, f"product with alpha, {what}" if scaled else what)


@rule("div", "true_divide", output=_promoted(2, _FLOAT, lambda op: op.keyword("rounding_mode") is None))
def div(op: Op) -> Terms:
    """A quotient, and its rounding if there is a mode."""
    rounded = op.keyword("rounding_mode") is not None
    return each(op, 1 + rounded, "quotient, rounding" if rounded else "quotient")


@rule("pow", output=_promoted(2, _FLOATS, lambda op: not any(is_whole(x.dtype) for x in op.operands)))
def power(op: Op) -> Terms:
    """x·x for 2, x·x·x for 3, their inverses, and a transcendental for other exponents, as torch's kernels do."""
    exponent = op.at(1)
    kinds = {0: 0, 1: 0, 2: 1, 3: 2, -1: 1, -2: 2}
    if isinstance(exponent, bool | int | float) and exponent in kinds:
        return each(op, kinds[int(exponent)], {2: "x·x", 3: "x·x·x", -1: "1/x", -2: "1/(x·x)"}.get(int(exponent), ""))
    return each(op, 1, "power")


def _either(name: str, is_plain: Callable[[Op], bool], plain: tuple[int, str], other: tuple[int, str]) -> None:
    """Register an operator of one argument that computes one of two things, by its settings."""

    def terms(op: Op) -> Terms:
        return each(op, *(plain if is_plain(op) else other))

    register((name,), Rule(terms, _promoted(1, _FLOATS), window=Passing.BROADCAST))


@rule("elu", output=_promoted(1, _FLOATS))
def elu(op: Op) -> Terms:
    """Comparison and expm1, and a product with each of alpha, scale (SELU's) and input scale that is not 1."""
    factors = sum(op.at(i, 1) != 1 for i in (1, 2, 3))
    return each(op, 2 + factors, "comparison, expm1" + ", product" * factors)


def _glu_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    dim = op.at(1, -1) % len(x.shape) if x.shape else 0
    if not x.shape or x.shape[dim] % 2 or is_whole(x.dtype):
        return None
    half = (*x.shape[:dim], x.shape[dim] // 2, *x.shape[dim + 1 :])
    # The halves keep the strides of the whole.
    return elementwise_result((x._replace(shape=half),), x.dtype)


_table(1, 5, "sigmoid 4, product", "glu", _glu_output)


_either(
    "gelu", lambda op: op.keyword("approximate", op.at(1, "none")) != "tanh",
    (5, "x/√2, erf, 1+, ·½, ·x"), (9, "x·x·x, ·c, +x, ·√(2/π), tanh, 1+, ·½, ·x"),
)  # fmt: skip
# The threshold only guards overflow.
_either("softplus", lambda op: op.at(1, 1) == 1, (2, "exp, log1p"), (4, "·β, exp, log1p, /β"))
_either("celu", lambda op: op.at(1, 1) == 1, (2, "comparison, expm1"), (4, "comparison, x/α, expm1, ·α"))
# With an eps, x is bounded.
_either("logit", lambda op: op.at(1) is None, (3, "1-x, quotient, log"), (5, "max, min, 1-x, quotient, log"))


# torch refuses to divide whole numbers here.
@rule("addcdiv", output=_promoted(3, _ALL, lambda op: not any(is_whole(x.dtype) for x in op.operands)))
@rule("addcmul", output=_promoted(3, _ALL))
def addcmul(op: Op) -> Terms:
    """A product or quotient and a sum, and a product with a value that is not 1."""
    what, scaled = "quotient" if "div" in op.name else "product", op.keyword("value", op.at(3, 1)) != 1
    return each(op, 2 + scaled, f"{what}, product, sum" if scaled else f"{what}, sum")


_table(3, 3, "difference, product, sum", "lerp",
       lambda op: _promoted(3 if isinstance(op.at(2), Operand) else 2, _ALIKE)(op))  # fmt: skip


@rule("clamp", "clip", output=_promoted(3, _SAME, lambda op: any(bound is not None for bound in op.arguments[1:3])))
def clamp(op: Op) -> Terms:
    """A max with the lower bound and a min with the upper one, if they are given."""
    given = sum(op.keyword(name, op.at(i)) is not None for i, name in ((1, "min"), (2, "max")))
    return each(op, given, "max, min" if given == 2 else "a comparison")


def _where_output(op: Op) -> tuple[Operand, ...] | None:
    condition, *sides = op.arguments
    if op.overload != "self" or not isinstance(condition, Operand) or condition.dtype != "bool":
        return None
    if any(isinstance(x, Operand) and is_complex(x.dtype) for x in sides):
        return None
    try:
        dtype = result_type(sides)
    except UnpromotedError:
        return None
    return elementwise_result(op.operands, dtype)


def _masked_fill_output(op: Op) -> tuple[Operand, ...] | None:
    x, mask = op.operand(0), op.operand(1)
    shape = broadcast((x.shape, mask.shape))
    # Row by row whatever the tensors are: torch fills a contiguous copy.
    return None if shape is None or mask.dtype != "bool" else (like(x, shape),)


register(("where",), Rule(no_terms, _where_output, window=Passing.BROADCAST))
register(("masked_fill",), Rule(no_terms, _masked_fill_output, window=Passing.BROADCAST))
register(("complex", "_conj_physical"), Rule(no_terms, window=Passing.BROADCAST))
# What forward-mode gradients are decomposed into.
register_formula("prims.add prims.sub prims.mul prims.div prims.neg prims.exp prims.tanh prims.sqrt", "result", "N")
register_formula("ldexp", "power, product", "2·N", window=Passing.BROADCAST)
register_formula("polar", "cos, sin, two products", "4·N", window=Passing.BROADCAST)
