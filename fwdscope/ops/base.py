"""Rules: what each operator costs and returns, the formulas of its sizes, and how positions pass through it.

A rule's functions are small and pure, from an :class:`Op` to plain data. The convention of counting is that of the
whole package: a MAC is two FLOPs, every other arithmetic result one, and moving data none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fwdscope.formula import (
    Size,
    Sizes,
    broadcast_sizes,
    double,
    equation,
    evaluate,
    insert_numbers,
    kept_sizes,
    shape_of,
)

from .layout import contiguous, distinct
from .op import Op, Operand
from .positions import Passage, Passing, mix
from .promotion import COMPLEX, DEFAULT, ITEMSIZE


class Term(NamedTuple):
    """A part of an operator's arithmetic: its name, its formula, and the numbers to insert.

    The formula is that of the MACs unless ``macs`` is zero, else that of the FLOPs.
    """

    what: str
    formula: str
    numbers: Mapping[str, int]
    macs: int
    flops: int

    @property
    def flops_formula(self) -> str:
        """The formula of its FLOPs."""
        return double(self.formula) if self.macs else self.formula


def macs(what: str, formula: str, **numbers: int) -> Term:
    """Make a term of multiply-accumulates, two FLOPs each."""
    count = evaluate(formula, numbers)
    # What Term(…) does, without a call of a Python function.
    return tuple.__new__(Term, (what, formula, numbers, count, 2 * count))


def flops(what: str, formula: str, **numbers: int) -> Term:
    """Make a term of other arithmetic results."""
    return tuple.__new__(Term, (what, formula, numbers, 0, evaluate(formula, numbers)))


class Cost(NamedTuple):
    """The cost of one operator: its arithmetic, and the bytes that it reads and writes.

    ``macs`` are the multiply-accumulates of matrix products and convolutions; ``flops`` counts two for each of them,
    and one for every other arithmetic result.
    """

    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    op: Op

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its arithmetic term by term, computed on demand: kept, terms would be most of a long trace."""
        return tuple([term for term in _terms(self.op) or () if term.flops])

    @property
    def formula(self) -> str:
        """The FLOPs in symbols: ``2·M·K·N + M·N``; empty if nothing is computed."""
        return " + ".join(term.flops_formula for term in self.terms)

    @property
    def text(self) -> str:
        """The FLOPs in symbols, with numbers, and the sum: ``2·M·K·N + M·N = 2·4·5·6 + 4·6 = 264``."""
        terms = self.terms
        if not terms:
            return "0"
        numbers = " + ".join(insert_numbers(term.flops_formula, term.numbers) for term in terms)
        return equation(self.formula, numbers, f"{self.flops:,}")


Terms: TypeAlias = "Iterable[Term] | None"
Traffic: TypeAlias = Callable[[Op], tuple[int, int]]
Output: TypeAlias = "Callable[[Op], Results | None]"
# The results of a call; None for one that it was not asked for, as a gradient.
Results: TypeAlias = "tuple[Operand | None, ...]"
ResultSizes: TypeAlias = Sequence[Sequence[Size]]
# How the positions of a call's n-th tensor pass into its results, or into each of them; None where they are mixed.
Window: TypeAlias = "Passing | Callable[[Op, int], Passage | list[Passage] | None]"


class Rule(NamedTuple):
    """All that is known of an operator."""

    # Its arithmetic; None for a call that the rule does not cover.
    terms: Callable[[Op], Terms]
    # Its results, from the arguments; None where torch has to be asked.
    output: Output | None = None
    # The bytes read and written, if not those of every operand and every result.
    traffic: Traffic | None = None
    # The sizes of each result as formulas. What does not give the shape that came out is not shown.
    sizes: Callable[[Op], ResultSizes] | None = None
    window: Window | None = None
    # Whether windows slide over its input, as in a convolution or pooling: without any there are no receptive fields.
    slides: bool = False
    # Whether it computes nothing and touches no memory, as a view.
    free: bool = False
    # The bytes of intermediate results that any way of running it keeps beside its operands and results.
    workspace: Callable[[Op], int] | None = None


RULES: dict[str, Rule] = {}


def register(names: Iterable[str], found: Rule) -> None:
    """Register a rule for operators, of ATen if the name has no namespace."""
    for name in names:
        name = name if "." in name else f"aten.{name}"
        assert name not in RULES, f"{name} has two rules"
        RULES[name] = found


_Function = TypeVar("_Function", bound=Callable[[Op], Terms])


def rule(*names: str, **facts: Any) -> Callable[[_Function], _Function]:
    """Register a function from an operator to its terms, with the other facts of a :class:`Rule`."""

    def decorate(terms: _Function) -> _Function:
        register(names, Rule(terms, **facts))
        return terms

    return decorate


def cost_rule(name: str) -> Callable[[Callable[..., Term | Iterable[Term]]], Callable[..., Term | Iterable[Term]]]:
    """Say what an operator of your own costs: ``@fwdscope.cost_rule("mylib::attention")``.

    The function takes the operator's arguments, tensors as their ``shape`` and ``dtype``, and returns a term of its
    arithmetic or several, each with its formula: ``fwdscope.macs("scores", "B·H·T·S·D", B=…, H=…, T=…, S=…, D=…)``,
    ``fwdscope.flops("softmax", "5·B·H·T·S", …)``. Bytes are those of every operand and result. Explanations show the
    formulas. Raises ValueError if the operator has a rule.
    """
    operator = name.replace("::", ".").split(".")
    if len(operator) != 2:
        raise ValueError(f"{name}: an operator is named by its library: mylib::attention")
    if ".".join(operator) in RULES:
        raise ValueError(f"{name} has a rule already")

    def decorate(terms: Callable[..., Term | Iterable[Term]]) -> Callable[..., Term | Iterable[Term]]:
        def of_op(op: Op) -> Terms:
            found = terms(*op.arguments, **dict(op.keywords))
            return (found,) if isinstance(found, Term) else tuple(found)

        register([".".join(operator)], Rule(of_op))
        return terms

    return decorate


def no_terms(op: Op) -> Terms:
    """The terms of an operator that computes nothing."""
    return ()


def elements(op: Op) -> dict[str, int]:
    """N elements of the first tensor."""
    return {"N": op.operand().numel}


def results(op: Op) -> dict[str, int]:
    """N elements of the result."""
    return {"N": op.output.numel}


def register_formula(
    names: str, what: str, formula: str, numbers: Callable[[Op], dict[str, int]] = results, **facts: Any
) -> None:
    """Register a rule of a single term for several operators, with the other facts of a :class:`Rule`."""
    register(names.split(), Rule(lambda op: (flops(what, formula, **numbers(op)),), **facts))


def find(name: str) -> Rule | None:
    """The rule of an operator. An in-place operator has a rule of its own or that of its out-of-place form."""
    found = RULES.get(name)
    if found is None and name[-1] == "_":
        return RULES.get(name[:-1])
    return found


def cost(op: Op) -> Cost | None:
    """What an operator costs; None if neither a rule nor torch's flop registry knows: uncounted, which is not zero."""
    found = find(op.name)
    if found is not None and found.free:
        return Cost(0, 0, 0, 0, op)
    terms = _terms(op)
    if terms is None:
        return None
    macs = flops = 0
    for term in terms:
        macs += term.macs
        flops += term.flops
    read = written = 0
    if op.outputs and all(0 in x.shape for x in op.outputs):
        pass  # nothing is made, so that nothing is read: an expert without rows
    elif found is not None and found.traffic is not None:
        read, written = found.traffic(op)
    else:
        for shape, _, size, stride in op.operands:
            read += size * distinct(shape, stride)
        for shape, _, size, stride in op.outputs:
            written += size * distinct(shape, stride)
    return Cost(macs, flops, read, written, op)


def _terms(op: Op) -> Terms:
    found = find(op.name)
    if found is not None:
        return found.terms(op)
    from .registered import registered_flops  # only here, for it loads torch

    count = registered_flops(op)
    if count is None:
        return None
    if count % 2:
        return (flops("torch's flop registry", "registered_flops", registered_flops=count),)
    return (macs("torch's flop registry", "registered_products", registered_products=count // 2),)


def infer(op: Op, default_dtype: str = "float32") -> Results | None:
    """The results of an operator, from its arguments alone; None if torch has to be asked.

    ``default_dtype`` is the dtype that integers become where an operator needs floating point. For an in-place operator
    these are the results of its out-of-place form. Invalid arguments give None, so that torch raises its own error.
    """
    found = find(op.name)
    if found is None or found.output is None or (op.keywords and any(key == "out" for key, _ in op.keywords)):
        return None
    outputs = found.output(op)
    if outputs is None:
        return None
    if DEFAULT not in [x.dtype for x in outputs if x is not None]:
        return outputs
    size = ITEMSIZE[default_dtype]
    return tuple([x._replace(dtype=default_dtype, itemsize=size) if x and x.dtype == DEFAULT else x for x in outputs])


def result_sizes(op: Op) -> tuple[Sizes | None, ...]:
    """The sizes of each result of a call as formulas; None where no formula gives the shape that came out."""
    found = find(op.name)
    stated = list(found.sizes(op)) if found is not None and found.sizes is not None else []
    inputs = [x.shape for x in op.operands]
    # Most operators keep the shape of the first operand, broadcast all, or give a single number.
    general: list[Sizes] = [kept_sizes(inputs[0]), broadcast_sizes(*inputs)] if inputs else []
    return tuple(
        next((tuple(sizes) for sizes in [*stated[i : i + 1], *general, ()] if shape_of(sizes) == output.shape), None)
        for i, output in enumerate(op.outputs)
    )


def tensor(shape: Iterable[int], dtype: str, stride: tuple[int, ...] | None = None) -> Operand:
    """Make a result of a shape and dtype, contiguous unless a stride is given."""
    shape = tuple(shape)
    return Operand(shape, dtype, ITEMSIZE[dtype], contiguous(shape) if stride is None else stride)


def like(x: Operand, shape: Iterable[int] | None = None) -> Operand:
    """Make a contiguous result with the dtype of another tensor, and its shape unless one is given."""
    shape = x.shape if shape is None else tuple(shape)
    # What Operand(…) does, without a call of a Python function.
    return tuple.__new__(Operand, (shape, x.dtype, x.itemsize, contiguous(shape)))


def is_dense(*operands: Operand | None) -> bool:
    """Whether all operands are contiguous, so that every kernel makes a contiguous result."""
    given = [x for x in operands if x is not None]
    return [x.stride for x in given] == [contiguous(x.shape) for x in given]


def complex_factor(*operands: Operand | None) -> int:
    """The number of real MACs in a MAC of these operands: four if one of them is complex."""
    return 4 if any(x is not None and x.dtype in COMPLEX for x in operands) else 1


def dimension(dim: int, ndim: int) -> int:
    """A dimension counted from the front."""
    return dim % ndim if ndim else 0


def existing_dimension(dim: Any, ndim: int) -> int | None:
    """The same; None if a tensor of ``ndim`` dimensions has none of this number."""
    return dim % ndim if isinstance(dim, int) and -ndim <= dim < ndim else None


def per_dimension(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """A setting for each dimension; one for all may be given as a number or as a list of one."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * dimensions if len(given) == 1 else given


def rows_along(x: Operand, dim: int) -> dict[str, int]:
    """R rows of n elements along a dimension."""
    n = x.shape[dimension(dim, len(x.shape))] if x.shape else 1
    return {"R": x.numel // n if n else 0, "n": n}


def rows_of(position: int, default: Any = None) -> Callable[[Op], dict[str, int]]:
    """R rows of n elements of the first tensor, along the dimension that an argument names."""
    return lambda op: rows_along(op.operand(), op.at(position, default))


def mix_along(position: int) -> Window:
    """Each result may depend on all places along the dimensions that an argument names; by default the last."""

    def window(op: Op, tensor: int) -> Passage | None:
        dims = op.at(position, -1)
        return mix(len(op.operand().shape), dims if isinstance(dims, tuple) else (dims,)) if tensor == 0 else None

    return window
