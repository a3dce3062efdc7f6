"""Element-wise operators: so many arithmetic results for each element of the result.

Both sides of a choice are counted, as a machine without branches computes them; the choice itself moves data. A complex
result is counted in real arithmetic where that is settled (a product is four products, a sum and a difference) and is
beyond the rule elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .base import Op, Operand, Output, Rule, Terms, flops, register, rule
from .layout import broadcast, elementwise
from .promotion import DEFAULT, ITEMSIZE, Unpromoted, is_complex, is_whole, result_type

# One operator a line: how many results an element takes, and which they are.
UNARY: dict[int, dict[str, str]] = {
    0: {"positive": "nothing"},
    1: {
        **dict.fromkeys(
            "neg abs sign sgn signbit ceil floor round trunc square reciprocal relu logical_not bitwise_not "
            "isnan isinf isposinf isneginf threshold angle conj_physical".split(),
            "one result",
        ),
        **dict.fromkeys(
            "sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh "
            "atanh erf erfc erfinv lgamma digamma polygamma i0 special_i0 special_i0e special_i1 special_i1e "
            "special_ndtri special_log_ndtr special_erfcx special_bessel_j0 special_bessel_j1".split(),
            "one transcendental",
        ),
    },
    2: {
        "frac": "truncation, difference",
        "relu6": "max, min",
        "hardtanh": "max, min",
        "hardshrink": "two comparisons",
        "leaky_relu": "comparison, product",
        "special_entr": "log, product",
        "deg2rad": "product, rounding",
        "rad2deg": "product, rounding",
    },
    3: {"nan_to_num": "three comparisons", "sinc": "·π, sin, quotient"},
    4: {
        "sigmoid": "negation, exp, 1+, 1/",
        "hardsigmoid": "+3, max, min, /6",
        "log_sigmoid_forward": "negation, exp, log1p, negation",
        "mish": "exp, log1p, tanh, product",
        "softshrink": "two comparisons, difference, sum",
        "special_ndtr": "/√2, erf, 1+, ·½",
    },
    5: {"silu": "sigmoid 4, product", "hardswish": "hardsigmoid 4, product"},
}  # fmt: skip
BINARY: dict[int, dict[str, str]] = {
    1: dict.fromkeys(
        "maximum minimum fmax fmin atan2 fmod remainder eq ne lt le gt ge logical_and logical_or logical_xor "
        "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift __and__ __or__ __xor__ __lshift__ "
        "__rshift__ copysign nextafter igamma igammac special_zeta clamp_min clamp_max".split(),
        "one result",
    ),
    2: {
        "xlogy": "log, product",
        "special_xlog1py": "log1p, product",
        "heaviside": "two comparisons",
        "floor_divide": "quotient, rounding",
        "_prelu_kernel": "comparison, product",
    },
    4: {"hypot": "two squares, sum, root"},
    7: {
        "logaddexp": "max, difference, abs, negation, exp, log1p, sum",
        "logaddexp2": "max, difference, abs, negation, exp2, log, sum",
    },
}
# Euclid's algorithm takes as many rounds as the numbers say; one is what all need.
_ROUNDS = {"gcd": (1, "a round of Euclid's algorithm"), "lcm": (3, "a round of Euclid's algorithm, product, quotient")}

# Real arithmetic of a complex element: (a + bi)(c + di) is four products, a difference and a sum.
_COMPLEX = {"add": 2, "sub": 2, "rsub": 2, "neg": 2, "mul": 6, "div": 11, "reciprocal": 6, "abs": 4, "angle": 1,
            "exp": 5, "conj_physical": 1, "sgn": 6, "eq": 3, "ne": 3, "positive": 0, "square": 6}  # fmt: skip

# Operators whose result is true or false, and those that turn whole numbers into floating point.
_BOOLEAN = frozenset(
    "eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf isposinf isneginf signbit".split()
)
_WHOLE_STAYS = frozenset(
    "neg abs sign sgn ceil floor round trunc square relu bitwise_not positive threshold relu6 hardtanh nan_to_num "
    "leaky_relu conj_physical".split()
)
# Operators that torch refuses for whole numbers or true and false, or treats in a way of their own: torch is asked.
_FLOATS_ONLY = frozenset(
    "gelu silu mish hardsigmoid hardswish softplus elu celu leaky_relu hardshrink softshrink log_sigmoid_forward "
    "_prelu_kernel glu rrelu_with_noise lerp frac relu6".split()
)


@dataclass(frozen=True)
class Result:
    """The result of an element-wise operator of its first ``operands`` arguments, all broadcast and promoted."""

    operands: int
    name: str

    def __call__(self, op: Op) -> tuple[Operand, ...] | None:
        """Shape, dtype and strides of the result."""
        values = [value for value in op.arguments[: self.operands] if value is not None]
        tensors = [value for value in values if isinstance(value, Operand)]
        if not tensors or any(isinstance(v, tuple) and not isinstance(v, Operand) for v in values):
            return None
        try:
            dtype = self.dtype(tensors, values)
        except Unpromoted:
            return None
        return made(tensors, dtype)

    def dtype(self, tensors: Iterable[Operand], values: Iterable[object]) -> str:
        """The number type of the result."""
        if any(is_complex(x.dtype) for x in tensors) or any(x.dtype not in ITEMSIZE for x in tensors):
            raise Unpromoted("complex")
        found = result_type(values)
        if self.name in _BOOLEAN:
            return "bool"
        if self.name in _FLOATS_ONLY and is_whole(found):
            raise Unpromoted(self.name)
        if found == "bool" and self.name not in _ON_BOOLEANS:
            raise Unpromoted(self.name)
        if is_whole(found) and self.name in _TO_FLOAT:
            return DEFAULT
        return found


# What true and false may be given to; for all others torch decides, often with an error.
_ON_BOOLEANS = frozenset("add mul maximum minimum bitwise_and bitwise_or bitwise_xor bitwise_not where".split())
_TO_FLOAT = frozenset(
    name for rows in (UNARY, BINARY) for row in rows.values() for name, what in row.items()
    if what == "one transcendental"
) | {"sigmoid", "div", "reciprocal", "atan2", "xlogy", "sinc"} - _FLOATS_ONLY  # fmt: skip


def made(tensors: Iterable[Operand], dtype: str) -> tuple[Operand, ...] | None:
    """The element-wise result of tensors, in a number type."""
    tensors = tuple(tensors)
    first = tensors[0]
    if all(x.shape == first.shape and x.stride == first.stride for x in tensors[1:]):
        shape, tensors = first.shape, (first,)
    else:
        found = broadcast(x.shape for x in tensors)
        if found is None:
            return None
        shape = found
    stride = elementwise(shape, tuple((x.shape, x.stride) for x in tensors))
    return (Operand(shape, dtype, ITEMSIZE[dtype], stride),)


def each(op: Op, count: int, what: str) -> Terms:
    """So many results for each element that comes out."""
    if any(is_complex(x.dtype) for x in op.operands) or (op.outputs and is_complex(op.output.dtype)):
        return _complex(op)
    return (flops(what, f"{count}·N" if count != 1 else "N", N=op.output.numel),)


def _complex(op: Op) -> Terms:
    name = op.name.removeprefix("aten.").rstrip("_")
    if name not in _COMPLEX:
        return None
    complexes = sum(is_complex(x.dtype) for x in op.operands)
    # A real factor or divisor acts on each part by itself.
    alone = complexes == 1 and not isinstance(op.at(1), complex)
    by_parts = alone and (name == "mul" or (name == "div" and is_complex(op.operand(0).dtype)))
    count = 2 if by_parts else _COMPLEX[name]
    return (flops("real arithmetic of complex numbers", f"{count}·N", N=op.output.numel),)


def _table(rows: dict[int, dict[str, str]], operands: int) -> None:
    for count, row in rows.items():
        for name, what in row.items():
            register((name,), Rule(_counter(count, what), _output(name, operands)))


def _counter(count: int, what: str) -> Callable[[Op], Terms]:
    return lambda op: each(op, count, what)


# Of a second result (log_sigmoid_forward's buffer), of other numbers of digits or of real parts torch knows more.
_ASKED = frozenset("log_sigmoid_forward angle polygamma round sgn positive copysign nextafter fmod remainder "
                   "floor_divide heaviside special_zeta igamma igammac special_xlog1py logaddexp logaddexp2 hypot "
                   "bitwise_left_shift bitwise_right_shift frac deg2rad rad2deg nan_to_num special_entr".split())  # fmt: skip


def _output(name: str, operands: int) -> Output | None:
    return None if name in _ASKED or name.startswith(("special_", "__")) else Result(operands, name)


_table(UNARY, 1)
_table(BINARY, 2)


def _scaled(op: Op, position: int) -> int:
    """One product more where alpha is not 1; an overload with a scalar has it by position."""
    return int(op.keyword("alpha", op.at(position, 1)) != 1)


@rule("add", output=Result(2, "add"))
def add(op: Op) -> Terms:
    """A sum, and a product where alpha is given."""
    return each(op, 1 + _scaled(op, 2), "product with alpha, sum" if _scaled(op, 2) else "sum")


@rule("sub", "rsub", output=Result(2, "sub"))
def sub(op: Op) -> Terms:
    """A difference, and a product where alpha is given."""
    return each(op, 1 + _scaled(op, 2), "product with alpha, difference" if _scaled(op, 2) else "difference")


@rule("mul", output=Result(2, "mul"))
def mul(op: Op) -> Terms:
    """A product."""
    return each(op, 1, "product")


def _div_output(op: Op) -> tuple[Operand, ...] | None:
    return None if op.keyword("rounding_mode") is not None else Result(2, "div")(op)


@rule("div", "true_divide", output=_div_output)
def div(op: Op) -> Terms:
    """A quotient, and its rounding where asked for."""
    rounded = op.keyword("rounding_mode") is not None
    return each(op, 1 + rounded, "quotient, rounding" if rounded else "quotient")


@rule("gcd", "lcm")
def euclid(op: Op) -> Terms:
    """The greatest common divisor and the least common multiple, with one round of the loop that the data decide."""
    count, what = _ROUNDS[op.name.removeprefix("aten.").rstrip("_")]
    return each(op, count, what)


def _pow_output(op: Op) -> tuple[Operand, ...] | None:
    whole = any(isinstance(x, Operand) and is_whole(x.dtype) for x in op.arguments)
    return None if whole else Result(2, "pow")(op)


@rule("pow", output=_pow_output)
def power(op: Op) -> Terms:
    """x·x for 2, x·x·x for 3, their inverses, and a transcendental for other exponents, as torch's kernels do."""
    exponent = op.at(1)
    kinds = {0: 0, 1: 0, 2: 1, 3: 2, -1: 1, -2: 2}
    if isinstance(exponent, bool | int | float) and exponent in kinds:
        return each(op, kinds[int(exponent)], {2: "x·x", 3: "x·x·x", -1: "1/x", -2: "1/(x·x)"}.get(int(exponent), ""))
    return each(op, 1, "power")


@rule("gelu", output=Result(1, "gelu"))
def gelu(op: Op) -> Terms:
    """Exact: x/√2, erf, 1+, ·½, ·x. By tanh: x·x·x 2, ·c, +x, ·√(2/π), tanh, 1+, ·½, ·x."""
    if op.keyword("approximate", op.at(1, "none")) == "tanh":
        return each(op, 9, "x·x·x, ·c, +x, ·√(2/π), tanh, 1+, ·½, ·x")
    return each(op, 5, "x/√2, erf, 1+, ·½, ·x")


@rule("softplus", output=Result(1, "softplus"))
def softplus(op: Op) -> Terms:
    """exp and log1p; with a beta a product before and a quotient behind. The threshold only guards overflow."""
    plain = op.at(1, 1) == 1
    return each(op, 2 if plain else 4, "exp, log1p" if plain else "·β, exp, log1p, /β")


@rule("elu", output=Result(1, "elu"))
def elu(op: Op) -> Terms:
    """Comparison and expm1, and a product with each of alpha, scale (SELU's) and input scale that is not 1."""
    factors = sum(op.at(i, 1) != 1 for i in (1, 2, 3))
    return each(op, 2 + factors, "comparison, expm1" + ", product" * factors)


@rule("selu")
def selu(op: Op) -> Terms:
    """Comparison, expm1, and products with alpha and scale."""
    return each(op, 4, "comparison, expm1, ·α, ·scale")


@rule("celu", output=Result(1, "celu"))
def celu(op: Op) -> Terms:
    """Comparison and expm1(x/α)·α."""
    plain = op.at(1, 1) == 1
    return each(op, 2 if plain else 4, "comparison, expm1" if plain else "comparison, x/α, expm1, ·α")


@rule("rrelu_with_noise")
def rrelu(op: Op) -> Terms:
    """A comparison and a product, with a slope that is drawn or the mean one."""
    return each(op, 2, "comparison, product")


def _glu_output(op: Op) -> tuple[Operand, ...] | None:
    x = op.operand()
    dim = op.at(1, -1) % len(x.shape) if x.shape else 0
    if not x.shape or x.shape[dim] % 2 or is_whole(x.dtype):
        return None
    half = x.shape[:dim] + (x.shape[dim] // 2,) + x.shape[dim + 1 :]
    # The halves keep the strides of the whole.
    return made((x._replace(shape=half),), x.dtype)


@rule("glu", output=_glu_output)
def glu(op: Op) -> Terms:
    """For each element of the result: sigmoid 4, and a product."""
    return each(op, 5, "sigmoid 4, product")


@rule("logit")
def logit(op: Op) -> Terms:
    """log(x / (1 - x)), and two comparisons where eps bounds x."""
    bounded = op.at(1) is not None
    return each(op, 5 if bounded else 3, "max, min, 1-x, quotient, log" if bounded else "1-x, quotient, log")


@rule("addcmul", output=Result(3, "add"))
def addcmul(op: Op) -> Terms:
    """A product and a sum, and a product with a value that is not 1."""
    scaled = op.keyword("value", op.at(3, 1)) != 1
    return each(op, 2 + scaled, "product, product, sum" if scaled else "product, sum")


def _addcdiv_output(op: Op) -> tuple[Operand, ...] | None:
    # Whole numbers are refused.
    whole = any(is_whole(x.dtype) for x in op.operands)
    return None if whole else Result(3, "add")(op)


@rule("addcdiv", output=_addcdiv_output)
def addcdiv(op: Op) -> Terms:
    """A quotient and a sum, and a product with a value that is not 1."""
    scaled = op.keyword("value", op.at(3, 1)) != 1
    return each(op, 2 + scaled, "quotient, product, sum" if scaled else "quotient, sum")


def _lerp_output(op: Op) -> tuple[Operand, ...] | None:
    same = len({x.dtype for x in op.operands}) == 1
    return Result(3 if isinstance(op.at(2), Operand) else 2, "lerp")(op) if same else None


@rule("lerp", output=_lerp_output)
def lerp(op: Op) -> Terms:
    """x + w·(y - x)."""
    return each(op, 3, "difference, product, sum")


@rule("clamp", "clip", output=Result(3, "clamp"))
def clamp(op: Op) -> Terms:
    """A max with the lower bound and a min with the upper one, of those that are given."""
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
    except Unpromoted:
        return None
    return made(op.operands, dtype)


@rule("where", output=_where_output)
def where(op: Op) -> Terms:
    """Choosing moves data."""
    return ()


def _masked_fill_output(op: Op) -> tuple[Operand, ...] | None:
    x, mask = op.operand(0), op.operand(1)
    return made((x, mask), x.dtype) if mask.dtype == "bool" and not is_complex(x.dtype) else None


@rule("masked_fill", output=_masked_fill_output)
def masked_fill(op: Op) -> Terms:
    """Choosing moves data."""
    return ()


@rule("polar")
def polar(op: Op) -> Terms:
    """cos, sin, and a product with each."""
    return (flops("cos, sin, two products", "4·N", N=op.output.numel),)


@rule("complex", "_conj_physical")
def parts(op: Op) -> Terms:
    """Laying two parts side by side moves data."""
    return ()
