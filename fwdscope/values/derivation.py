"""From an element of a tensor back to what computed it: through views and moves to the operator that made the number.

A number that an element-wise operator made becomes a part of the formula that uses it, any other a step of its own.
Where many numbers go in that were computed here, as the terms of a sum, the first one is derived as an example.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from fwdscope.model.events import StepKey
from fwdscope.report.value import (
    Cell,
    Element,
    Equation,
    Grid,
    GridRow,
    Part,
    Subtotal,
    TableRow,
    ValueStep,
    ValueTable,
)
from fwdscope.trace.own_work import operator_name
from fwdscope.values.calls import CallKeeper, Held, Index, KeptCall, is_of, replaced

from .elementwise import ELEMENTWISE
from .quantity import Quantity, atom

# Formulas longer than this are steps of their own.
_LONGEST = 60
# A derivation ends after so many steps; what they rest on has an address.
_MOST_STEPS = 40
# Of many rows, so many at the start and the end are shown, of grids fewer.
_MANY, FEW = (5, 2), (2, 1)

# Operators that give the numbers of an argument, at this position, at the same place.
_SAME = {
    "_to_copy": 0, "clone": 0, "contiguous": 0, "lift_fresh": 0, "detach": 0, "alias": 0, "copy": 1, "copy_": 1,
    "dropout": 0, "native_dropout": 0,
}  # fmt: skip
# Operators that give numbers of these arguments at other places, or numbers of no tensor. Where from is found by
# running them on the numbers of the places.
_MOVES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            "cat", "stack", "repeat", "roll", "flip", "constant_pad_nd", "pixel_shuffle", "pixel_unshuffle", "gather",
            "channel_shuffle", "im2col", "index", "index_select", "index_fill", "masked_fill", "masked_select", "take",
            "tril", "triu", "max_unpool2d", "max_unpool3d", "diag", "diagonal_copy", "rot90", "_unsafe_view",
            "block_diag", "repeat_interleave", "expand_copy", "permute_copy", "view_copy", "unfold_copy",
            *(f"{kind}_pad{d}d" for kind in ("reflection", "replication") for d in (1, 2, 3)),
            *(f"upsample_nearest{d}d" for d in (1, 2, 3)), *(f"_upsample_nearest_exact{d}d" for d in (1, 2, 3)),
        ),
        (0,),
    ),
    "where": (1, 2),
    "index_copy": (0, 3),
    "index_put": (0, 2),
    "scatter": (0, 3),
    "slice_scatter": (0, 1),
    "select_scatter": (0, 1),
    "masked_scatter": (0, 2),
}  # fmt: skip
# Operators that pick numbers along a dimension, and give their indices too.
_PICKS = frozenset(("topk", "sort", "max", "min", "kthvalue", "median", "mode", "cummax", "cummin"))
_MADE = frozenset(
    (
        "zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones",
        "new_full", "new_empty", "fill", "zero", "resize_as", "arange", "linspace", "eye", "scalar_tensor", "rand",
        "randn", "randint", "randint_like", "exponential", "rand_like", "randn_like", "uniform", "normal", "bernoulli",
    )
)  # fmt: skip
# What the parts of an attention do, by their names.
_ROLES = {
    "score": "the query's numbers times the key's, summed",
    "head": "the values of all keys, each times its softmax, summed",
}
# What weighted sums do, by the beginnings of operators' names.
_WEIGHTED = {
    "nll_loss": "the log-probabilities of the labels, each times −1 over their number, or by their classes' weights",
    "upsample": "the neighbours in the input, each times its share",
    "_upsample": "the neighbours in the input, each times its share",
    "fractional_max_pool": "the largest number of its window",
    "_trilinear": "the numbers of the first input, each times those of the second by their weights, summed",
    "col2im": "the numbers of all patches that cover this place, summed",
    "_embedding_bag": "the rows of the bag, each times its share",
}

Rule = Callable[["StepWriter", Index], Quantity]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register how these operators compute an element. A rule adds parts to the step, and returns the last formula."""

    def register(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, made))
        return made

    return register


class Spot(NamedTuple):
    """Where a number comes from: an element with an address, or the result of an operator that computed it."""

    element: Element | None
    call: KeptCall | None = None
    result: int = 0
    at: Index = ()


class Derivation:
    """The steps that led to elements of the tensors that a :class:`CallKeeper` kept."""

    def __init__(self, keeper: CallKeeper, keys: frozenset[StepKey]) -> None:
        self.keeper = keeper
        self.kept = [call for call in keeper.kept if is_of(call.owner, keys)]
        self.outputs = [(node, outputs) for node, outputs in keeper.outputs if is_of(node, keys)]
        self.steps: list[ValueStep] = []
        self.begun: dict[tuple[int, int, Index], Element] = {}
        # Whether some of what the steps rest on was left out.
        self.cut = False
        numbers: dict[str, itertools.count[int]] = {}
        self.names = {}
        for call in self.kept:
            if call.writes and not _moves(call):
                name = operator_name(f"aten.{call.name}").removesuffix("_with_indices").removesuffix("_forward")
                n = next(numbers.setdefault(name, itertools.count(1)))
                self.names[id(call)] = name if n == 1 else f"{name}_{n}"
        for call in self.kept:
            self._name_attention(call)

    def _name_attention(self, call: KeptCall) -> None:
        """Name the parts of an attention that is written out, softmax(query·key)·value, by what they are."""
        if call.name not in ("bmm", "baddbmm") or not call.results[0].values.numel():
            return
        weights, value = (self._maker(held) for held in call.args[-2:])
        scores = self._maker(weights.args[0]) if weights is not None and weights.name == "_softmax" else None
        while scores is not None and scores.name in ELEMENTWISE and scores.name != "baddbmm":
            scores = self._maker(scores.args[0])
        if scores is None or scores.name not in ("bmm", "baddbmm"):
            return
        query, key = (self._maker(held) for held in scores.args[-2:])
        parts = {"query": query, "key": key, "value": value}
        self.names |= {id(scores): "score", id(call): "head"}
        for part in parts.values():
            if part is not None:
                same = [other for other, one in parts.items() if one is part]
                self.names[id(part)] = "/".join(same)

    def _maker(self, held: Held) -> KeptCall | None:
        return self.spot(held, (0,) * held.values.dim()).call if held.values.numel() else None

    def spot(self, held: Held, index: Index) -> Spot:
        """Where an element of a tensor comes from, through views and moves."""
        place = held.place(index)
        for call in reversed(self.kept):
            if call.time >= held.time or not call.writes:
                continue
            for number, one in enumerate(call.results):
                at = one.index_of(place)
                if at is None:
                    continue
                moved = self._moved(call, number, at)
                if isinstance(moved, tuple) and call.name == "topk":
                    self._picked(call, at)
                if isinstance(moved, float):
                    # As it was read: torch itself may write into what it made.
                    return Spot(Element(operator_name(f"aten.{call.name}"), (), float(held.values[index]), "other"))
                return Spot(None, call, number, at) if moved is None else self.spot(*moved)
        return Spot(self._outside(held, index, place))

    def _picked(self, call: KeptCall, at: Index) -> None:
        """Add the step that picks the largest numbers of a row, once."""
        source, dim = call.args[0], _dimension_of(call) % call.args[0].values.dim()
        key = id(call), -1, (*at[:dim], *at[dim + 1 :])
        if key in self.begun:
            return
        size, k = source.values.shape[dim], call.results[0].values.shape[dim]
        row = [(*at[:dim], i, *at[dim + 1 :]) for i in range(size)]
        chosen = [int(call.results[1].values[(*at[:dim], i, *at[dim + 1 :])]) for i in range(k)]
        self.begun[key] = self.element(source, row[chosen[0]])
        writer = StepWriter(self, call)
        rank = {index: f"{i + 1} of {k}" for i, index in enumerate(chosen)}
        columns = writer.elements(source, row), ValueColumn("chosen", lambda i: rank.get(i, ""))
        writer.table("", size, *columns, marked=chosen[0])
        writer.equation("", writer.symbol(self.begun[key]))
        address = Element(
            self.names.get(id(call), "topk"), (*at[:dim], 0, *at[dim + 1 :]), self.begun[key].value, "step"
        )
        self.steps.append(ValueStep("topk", address, f"the {k} largest of {size}", tuple(writer.parts)))

    def _outside(self, held: Held, index: Index, place: tuple[int, int]) -> Element:
        value = float(held.values[index])
        for one in sorted(self.keeper.named, key=lambda one: (one.held.tensor is not held.tensor, not one.is_known)):
            at = one.held.index_of(place)
            if at is None:
                continue
            if one.name:
                is_weight = id(one.held.tensor) in self.keeper.weights
                return Element(one.name, at, value, "parameter" if is_weight else "input")
            if one.maker is not None:
                is_output = one.output is not None and bool(one.maker.path)
                return Element(
                    one.maker.path or one.maker.text, at, value, "layer" if is_output else "other", one.output or 0
                )
        return Element("a number", (), value, "other")

    def _moved(self, call: KeptCall, number: int, at: Index) -> tuple[Held, Index] | float | None:
        """Which element of an argument a result repeats, or the constant that it is; None if it is computed."""
        result = call.results[number]
        if call.name in _MADE:
            return float(result.values[at])
        if call.name in _SAME:
            source = call.args[_SAME[call.name]]
            return (source, broadcast(at, source)) if isinstance(source, Held) else float(result.values[at])
        if number == 0 and call.name in _PICKS and len(call.results) == 2:
            source, dim = call.args[0], _dimension_of(call) % max(1, call.args[0].values.dim())
            keeps = source.values.dim() == result.values.dim()
            where = int(call.results[1].values[at])
            return source, (*at[:dim], where, *at[dim + keeps :])
        if call.name in _MOVES and number == 0:
            sources, places = _places(call)
            position = places[at].item()
            if math.isnan(position):
                return float(result.values[at])
            for source, start in sources:
                if start <= position < start + source.values.numel():
                    flat = int(position) - start
                    return source, tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), source.values.shape))
        return None

    def element(self, held: Held, index: Index) -> Element:
        """The address of an element, or its name here."""
        spot = self.spot(held, index)
        return spot.element or self.name(spot)

    def name(self, spot: Spot) -> Element:
        """The name of what an operator computed: that of the step whose output it is, else of the operator."""
        assert spot.call is not None
        made = spot.call.results[spot.result]
        value, place = float(made.values[spot.at]), made.place(spot.at)
        for node, outputs in self.outputs:
            for number, one in enumerate(outputs):
                if one.time > spot.call.time and (at := one.index_of(place)) is not None:
                    return Element(node.path or node.type, at, value, "step", number)
        return Element(self.names[id(spot.call)], spot.at, value, "step", spot.result)

    def derive(self, held: Held, index: Index) -> Element:
        """The element, with the steps that computed it if an operator here did."""
        spot = self.spot(held, index)
        return spot.element or self.step(spot)

    def step(self, spot: Spot) -> Element:
        """Add the step that computed an element, after those that it rests on."""
        call = spot.call
        assert call is not None
        key = id(call), spot.result, spot.at
        if key in self.begun:
            return self.begun[key]
        element = self.name(spot)
        if len(self.begun) >= _MOST_STEPS:
            self.cut = True
            return element
        self.begun[key] = element
        writer = StepWriter(self, call, spot.result)
        name = operator_name(f"aten.{call.name}").removesuffix("_with_indices").removesuffix("_forward")
        quantity = self._computed(writer, spot)
        if not _is_near(quantity.value, element.value, call.results[spot.result]):
            # A setting that no rule knows: rather nothing than a wrong derivation.
            writer = StepWriter(self, call, spot.result)
            quantity = atom(element.value).noted(f"how {name} computes it is not shown")
        writer.equation("", quantity)
        writer.sentence = _ROLES.get(element.tensor, writer.sentence)
        if writer.has_example:
            writer.sentence += "; one of the numbers that go in is derived above"
        self.steps.append(ValueStep(name, element, writer.sentence, tuple(writer.parts)))
        return element

    def _computed(self, writer: StepWriter, spot: Spot) -> Quantity:
        assert spot.call is not None
        if (made := RULES.get(spot.call.name)) is not None:
            return made(writer, spot.at)
        if spot.call.name in ELEMENTWISE and spot.result == 0:
            return writer.elementwise(spot.at)
        return writer.weighted(spot.at)


class ValueColumn(NamedTuple):
    """A column of a table: its cells, and of numbers what stands for those that are left out."""

    title: str
    cells: Tensor | Callable[[int], Cell]
    summary: Literal["", "sum", "last"] = ""

    def cell(self, i: int) -> Cell:
        """The cell of a row."""
        return float(self.cells[i]) if isinstance(self.cells, Tensor) else self.cells(i)

    def rest(self, start: int, end: int) -> Cell:
        """The cell for rows that are left out."""
        if not self.summary or not isinstance(self.cells, Tensor):
            return None
        return float(self.cells[end - 1] if self.summary == "last" else self.cells[start:end].sum())


class StepWriter:
    """Writes the step of one operator: its parts, and the numbers that its last formula takes."""

    def __init__(self, derivation: Derivation, call: KeptCall, result: int = 0) -> None:
        self.derivation = derivation
        self.call = call
        self.result = result
        self.args = call.args
        self.parts: list[Part] = []
        self.sentence = ""
        # Whether numbers go in of which only one is derived.
        self.has_example = False
        self.operands: dict[tuple[str, Index, int], Element] = {}
        self._symbols: dict[str, tuple[str, Index, int]] = {}

    def argument(self, position: int, name: str = "", default: Any = None) -> Any:
        """An argument by its position, or by its keyword."""
        return self.args[position] if position < len(self.args) else self.call.keywords.get(name, default)

    # --- numbers -----------------------------------------------------------------------------------------------------

    def number(self, held: Held, index: Index) -> Quantity:
        """An element of an argument; with its formula, if an element-wise operator here made it."""
        spot = self.derivation.spot(held, index)
        if spot.call is not None and spot.result == 0 and spot.call.name in ELEMENTWISE:
            inner = StepWriter(self.derivation, spot.call)
            inner._symbols = dict(self._symbols)
            found = inner.elementwise(spot.at)
            near = _is_near(found.value, float(spot.call.results[0].values[spot.at]), spot.call.results[0])
            if len(found.symbols.text) <= _LONGEST and near:
                self.operands.update(inner.operands)
                self._symbols.update(inner._symbols)
                return found
        if spot.call is not None and spot.call.name == "index_add":
            # A mixture of experts adds what each expert gives.
            return self.added(spot.call, spot.at)
        return self.symbol(spot.element or self.derivation.step(spot))

    def added(self, call: KeptCall, at: Index) -> Quantity:
        """What ``index_add`` gives at an index: the terms that were added there."""
        into, dim, places, source = call.args[:4]
        total = self.number(into, at)
        is_empty = total.value == 0 and not total.symbols.text.strip("0.−")
        for k in (places.values == at[dim]).nonzero().flatten().tolist():
            term = self.number(source, (*at[:dim], k, *at[dim + 1 :]))
            total, is_empty = (term if is_empty else total + term), False
        return total

    def symbol(self, element: Element, name: str = "") -> Quantity:
        """An element by its name in formulas."""
        if element.kind == "other" and not element.index:
            return atom(element.value)
        key = element.tensor, element.index, element.output
        self.operands[key] = element
        text = name or (element.tensor.rpartition(".")[2] if element.kind == "parameter" else element.name)
        if self._symbols.setdefault(text, key) != key:
            text += element.indices
        return atom(element.value, text)

    def elementwise(self, at: Index) -> Quantity:
        """What an element-wise operator computes at an index."""
        compute = ELEMENTWISE[self.call.name]
        parameters = inspect.signature(compute).parameters.values()
        names = [one.name for one in parameters if one.kind is not one.VAR_POSITIONAL] or ["x", "y", "z"]

        def given(name: str, value: Any) -> Any:
            if isinstance(value, Held):
                return self.number(value, broadcast(at, value)) if value.values.numel() else None
            return atom(value, name if len(name) > 1 else "") if type(value) in (int, float) else value

        keywords = {name: given(name, value) for name, value in self.call.keywords.items() if name in names}
        made: Quantity = compute(*(given(*one) for one in zip(names, self.args, strict=False)), **keywords)
        return made

    # --- parts -------------------------------------------------------------------------------------------------------

    def equation(self, name: str, quantity: Quantity, symbol: str = "") -> Quantity:
        """Add an equation; the numbers that went in since the one before are its operands."""
        operands, self.operands = tuple(self.operands.values()), {}
        symbols, numbers = quantity.symbols.text, quantity.numbers.text
        self.parts.append(Equation(name, symbols, numbers, quantity.value, operands, quantity.note))
        return atom(quantity.value, symbol or name)

    def table(self, title: str, count: int, *columns: ValueColumn, marked: int | None = None) -> None:
        """Add a table of ``count`` rows; the first column says how many are left out."""
        rows, last = [], -1
        for i in shown_rows(count, marked=marked):
            if i > last + 1:
                left_out = [one.rest(last + 1, i) for one in columns[1:]]
                rows.append(TableRow((f"… {i - last - 1:,} more", *left_out), "rest"))
            rows.append(TableRow(tuple(one.cell(i) for one in columns), "marked" if i == marked else ""))
            last = i
        self.parts.append(ValueTable(title, tuple(one.title for one in columns), tuple(rows)))

    def elements(self, held: Held, indices: Sequence[Index], example: int = 0) -> ValueColumn:
        """A column of elements; of those that are computed here, one is derived."""
        one = self.derivation.derive(held, indices[example])
        self.has_example |= one.kind == "step" and len(indices) > 1
        return ValueColumn(one.name, lambda i: self.derivation.element(held, indices[i]))

    def products(
        self,
        *factors: tuple[Held, Sequence[Index]],
        title: str = "",
        coefficients: Tensor | None = None,
        symbol: str = "",
    ) -> Quantity:
        """Add a table of products of elements, or of coefficients and elements; returns their sum."""
        count = len(factors[0][1])
        if not count:
            return atom(0.0)
        firsts = [self.derivation.derive(held, indices[0]) for held, indices in factors]
        names = [self.symbol(one) for one in firsts]
        if count == 1 and coefficients is None:
            return math.prod(names[1:], start=names[0])
        for one in firsts:
            self.operands.pop((one.tensor, one.index, one.output), None)
        columns = [self.elements(*factor) for factor in factors]
        values = [take(*factor) for factor in factors]
        if coefficients is not None:
            columns.append(ValueColumn("coefficient", coefficients))
            values.append(coefficients)
            symbol = f"coefficient·{names[0].symbols.text}"
        symbol = symbol or "·".join(dict.fromkeys(one.symbols.text for one in names))
        return self.total(title, columns, torch.stack(values).prod(0), f"Σ {symbol}")

    def total(
        self, title: str, columns: Sequence[ValueColumn], terms: Tensor, symbol: str, name: str = "product"
    ) -> Quantity:
        """Add a table of terms with their sum so far; returns their sum."""
        shown = [ValueColumn(name, terms, "sum")] if len(columns) > 1 or name != "product" else []
        self.table(title, len(terms), *columns, *shown, ValueColumn("sum so far", terms.cumsum(0), "last"))
        return atom(float(terms.sum()), symbol)

    def grid(self, held: Held, cells: Sequence[Sequence[Index | None]], marked: tuple[int, int] | None = None) -> Grid:
        """Elements as rows and columns with their indices; None is padding."""
        found = [[None if cell is None else self.derivation.element(held, cell) for cell in row] for row in cells]
        rows = tuple(tuple(None if cell is None else float(held.values[cell]) for cell in row) for row in cells)
        own = 1 if len(found) == 1 else 2  # how many of the indices are those of the rows and columns
        known = [[one if one and one.kind != "other" else None for one in row] for row in found]
        across = [{one.index[-1] for one in column if one} for column in zip(*known, strict=True)]
        down = [{one.index[-own] for one in row if one} if own == 2 else set() for row in known]
        same = {(one.tensor, one.kind, one.output, one.index[:-own]) for row in known for one in row if one}
        if len(same) == 1 and all(len(indices) <= 1 for indices in (*across, *down)):
            tensor, kind, output, before = same.pop()
            sides = [tuple(next(iter(indices), None) for indices in side) for side in (down, across)]
            return Grid(tensor, kind, output, before, rows, sides[0], sides[1], marked)
        name = next((one.tensor for row in found for one in row if one), "padding")
        return Grid(name, "other", 0, (), rows, (None,) * len(rows), (None,) * len(rows[0]), marked)

    def windows(self, lines: Sequence[tuple[Sequence[Grid], float]], what: str) -> float:
        """Add grids line by line with what each gives and the sum so far; some lines of many are left out."""
        running, last = 0.0, -1
        for i in shown_rows(len(lines), *FEW):
            skipped = lines[last + 1 : i]
            if skipped:
                rest = sum(value for _, value in skipped)
                running += rest
                self.parts.append(
                    GridRow((), (Subtotal("together", rest), Subtotal("sum so far", running)), len(skipped))
                )
            running += lines[i][1]
            so_far = (Subtotal("sum so far", running),) if len(lines) > 1 else ()
            self.parts.append(GridRow(tuple(lines[i][0]), (Subtotal(what, lines[i][1]), *so_far)))
            last = i
        return running

    def weighted(self, at: Index) -> Quantity:
        """An operator that is linear in a tensor: the sum of its elements, each times the gradient of the result.

        Of one that is not, what it depends on is named.
        """
        value = float(self.call.results[self.result].values[at])
        known = (words for begin, words in _WEIGHTED.items() if self.call.name.startswith(begin))
        self.sentence = next(known, "numbers of the input, each times its coefficient, summed")
        found = self.gradient(at)
        if found is not None:
            held, gradient = found
            indices = [tuple(index) for index in gradient.nonzero().tolist()]
            coefficients = gradient[tuple(zip(*indices, strict=True))] if indices else torch.zeros(0)
            total = float((take(held, indices) * coefficients).sum()) if indices else 0.0
            if not indices and value == 0:
                self.sentence = "the sum of no numbers"
                return atom(0.0)
            if indices and math.isclose(total, value, rel_tol=1e-4, abs_tol=1e-6):
                if len(set(coefficients.tolist())) == 1 and float(coefficients[0]) == 1.0:
                    return self.products((held, indices))
                return self.products((held, indices), coefficients=coefficients)
            for index in indices[:3]:
                self.symbol(self.derivation.element(held, index))
        self.sentence = ""
        return atom(value).noted(f"how {operator_name(f'aten.{self.call.name}')} computes it is not shown")

    def gradient(self, at: Index) -> tuple[Held, Tensor] | None:
        """The first argument that the result depends on, and the gradient of an element of the result by it."""
        held = next((x for x in _flat(self.args) if isinstance(x, Held) and x.values.is_floating_point()), None)
        # torch has no derivative of the form that runs without gradients.
        name = self.call.name.removesuffix("_forward_only")
        function = self.call.function if name == self.call.name else getattr(torch.ops.aten, name)
        if held is None or function is None:
            return None
        variable = held.values.double().requires_grad_()

        def value(one: Held) -> Tensor:
            return variable if one is held else one.values.double() if one.values.is_floating_point() else one.values

        try:
            with torch.enable_grad():
                made = function(*replaced(self.args, Held, value), **_keywords(self.call, value))
                made = made if isinstance(made, Tensor) else made[self.result]
                gradient = torch.autograd.grad(made[at], variable, allow_unused=True)[0]
        except (RuntimeError, NotImplementedError):  # an operator without a derivative, or not in double precision
            return None
        return (held, gradient.to_dense()) if gradient is not None else None


def _is_near(computed: float, value: float, result: Held) -> bool:
    """Whether a number computed in double precision is what the run gives, but for the rounding of its dtype."""
    rounding = 0.05 if result.values.dtype.itemsize < 4 else 1e-3
    return computed == value or not abs(computed - value) > rounding * max(1.0, abs(value))


class IndexBox(Sequence[Index]):
    """The indices of a part of a tensor, in order: a range along each dimension."""

    def __init__(self, *ranges: range) -> None:
        self.ranges = ranges

    def __len__(self) -> int:
        return math.prod(map(len, self.ranges))

    def __getitem__(self, i: Any) -> Any:
        found = []
        for one in reversed(self.ranges):
            i, rest = divmod(i, len(one))
            found.append(one[rest])
        return tuple(reversed(found))

    def index(self, at: Index, *_: int) -> int:
        """Which of the indices this one is."""
        found = 0
        for one, i in zip(self.ranges, at, strict=True):
            found = found * len(one) + one.index(i)
        return found


def take(held: Held, indices: Sequence[Index]) -> Tensor:
    """Elements of a tensor, in double precision."""
    if isinstance(indices, IndexBox):
        return held.values[tuple(slice(one.start, one.stop) for one in indices.ranges)].flatten().double()
    if not held.values.dim():
        return held.values.double().expand(len(indices))
    return held.values[tuple(torch.tensor(indices, dtype=torch.int64).T)].double()


def broadcast(at: Index, held: Held) -> Index:
    """The index in a tensor that broadcasting repeats at an index of the result."""
    sizes = held.values.shape
    return tuple(0 if size == 1 else i for i, size in zip(at[len(at) - len(sizes) :], sizes, strict=True))


def shown_rows(count: int, first: int = _MANY[0], last: int = _MANY[1], marked: int | None = None) -> list[int]:
    """Which of so many rows to show: all, or the first, the last and the marked one."""
    if count <= first + last + 1:
        return list(range(count))
    return sorted({*range(first), *range(count - last, count), *([marked] if marked is not None else ())})


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        yield from _flat(value) if isinstance(value, list | tuple) else (value,)


def _moves(call: KeptCall) -> bool:
    return call.name in _SAME or call.name in _MOVES or call.name in _MADE


def _dimension_of(call: KeptCall) -> int:
    """The dimension that an operator picks along."""
    position = 2 if call.name in ("topk", "kthvalue") else 1
    dim = call.args[position] if len(call.args) > position else call.keywords.get("dim", -1)
    return int(dim) if isinstance(dim, int) else -1


def _keywords(call: KeptCall, change: Callable[[Any], Any]) -> dict[str, Any]:
    left_out = ("out", "dtype", "device", "layout", "pin_memory")
    kept = {name: value for name, value in call.keywords.items() if name not in left_out}
    return {name: replaced(value, Held, change) for name, value in kept.items()}


def _places(call: KeptCall) -> tuple[list[tuple[Held, int]], Tensor]:
    """The arguments whose numbers an operator moves, each with the first of its places, and the place of each result:
    NaN for a number of no tensor.
    """
    if "places" not in call.memo:
        sources: list[tuple[Held, int]] = []
        end = 1
        for held in _flat(call.args[i] for i in _MOVES[call.name] if i < len(call.args)):
            if isinstance(held, Held):
                sources.append((held, end))
                end += held.values.numel()

        def numbered(shift: int) -> Tensor:
            starts = {id(held): start + shift for held, start in sources}

            def value(one: Held) -> Tensor:
                if id(one) not in starts:
                    return one.values.clone()
                start = starts[id(one)]
                places = torch.arange(start, start + one.values.numel(), dtype=torch.float64)
                return places.reshape(one.values.shape)

            with torch.no_grad():
                args = replaced(call.args, Held, value)
                made: Tensor = call.function(*args, **_keywords(call, value))
            return made

        # What does not move with the numbers is a constant.
        first, second = numbered(0), numbered(end)
        call.memo["places"] = sources, torch.where(second - first == end, first, math.nan)
    found: tuple[list[tuple[Held, int]], Tensor] = call.memo["places"]
    return found
