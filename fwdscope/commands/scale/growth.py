"""How a network's figures grow with its vars: formulas of the totals and of each row, and what dominates them."""

from __future__ import annotations

import functools
import itertools
import json
import operator
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fwdscope.commands.scale.evaluations import Figures, Key
from fwdscope.commands.scale.interpolation import Found, Interpolation
from fwdscope.commands.scale.probe import (
    ALWAYS,
    IN_STEP,
    OF_BACKWARD,
    OF_ROWS,
    OF_STEP,
    TOTALS,
    FusedKey,
    KeptRatio,
    LiveKey,
    Probe,
    RowKey,
    sums_of,
)
from fwdscope.commands.scale.ranges import VarRange
from fwdscope.errors import InputError
from fwdscope.garbage_collection import without_garbage_collection
from fwdscope.language import expression as ex
from fwdscope.language.names import listed, nearest
from fwdscope.language.tree import expressions, statements
from fwdscope.polynomial import Formula, Maximum, Polynomial, largest_of
from fwdscope.units import share

if TYPE_CHECKING:
    from fwdscope.language.check import Checked
    from fwdscope.settings import TrainingSettings
    from fwdscope.targets import Target
    from fwdscope.trace.rows import RowFigures

# The figures, with their titles; bytes and not counts are those of ``BYTES``.
FIGURES = {
    "params": "params",
    "active_params": "active params",
    "macs": "MACs",
    "flops": "FLOPs",
    "bytes_read": "read",
    "bytes_written": "written",
    "kv_cache": "KV cache a position",
    "peak_activations": "peak activations",
    "peak_memory": "peak memory",
    "train_flops": "FLOPs of a step",
    "saved_activations": "saved activations",
    "gradients": "gradients",
    "optimizer_state": "optimizer state",
    "train_memory": "training memory",
}
_COUNTS = frozenset({"params", "active_params", "macs", "flops", "train_flops"})
BYTES = frozenset(FIGURES) - _COUNTS
# The figures that are the largest of several, with those that are alive throughout.
_PEAKS = {"peak_activations": (), "peak_memory": ALWAYS, "train_memory": IN_STEP}
# What the rows of these types do, in words; others go by their type.
_WORDS = {
    "scaled_dot_product_attention": "attention scores",
    "Linear": "projections",
    "linear": "projections",
    "Conv1d": "convolutions",
    "Conv2d": "convolutions",
    "Conv3d": "convolutions",
}
# What a figure is called in rows.
_OF_ROW = {"saved_activations": "saved_bytes"}
# Vars that are varied if none is named.
_MOST_VARS = 8


class Bound(NamedTuple):
    """The values of a var that a formula holds for, where others hold for more.

    They are ``start`` and what is multiples of ``step`` away, or if there are such, ``values``.
    """

    var: str
    low: int
    high: int
    text: str
    step: int = 1
    start: int = 0
    values: tuple[int, ...] = ()

    def excludes(self, value: Any) -> Any:
        """Whether the formula does not hold for a value; of an array for each."""
        outside = (value < self.low) | (value > self.high)
        if self.step > 1:
            outside = outside | ((value - self.start) % self.step != 0)
        if self.values:
            outside = outside | functools.reduce(operator.and_, [value != one for one in self.values])
        return outside


@dataclass(frozen=True)
class OffBy:
    """A figure that is no polynomial in a var: values that were tried, and how far off one of a degree is."""

    var: str
    values: tuple[tuple[int, int], ...]
    degree: int
    share: float


def title_of(name: str, past: int = 0) -> str:
    """What a figure is called, behind so many earlier positions."""
    return f"KV cache of {past:,} position{'s' * (past != 1)}" if past and name == "kv_cache" else FIGURES[name]


@dataclass(frozen=True)
class ScaledFigure:
    """A figure of the whole network: its value at the spec's own vars, and its formula.

    ``broken`` are the vars in which it has none.
    """

    name: str
    value: int
    formula: Formula | None
    broken: tuple[str, ...] = ()
    off: tuple[OffBy, ...] = ()
    # Vars that the formula holds for one value of, since it has none in them.
    fixed: Mapping[str, int] = field(default_factory=dict)
    # Where it is checked for fewer values than others are.
    bounds: tuple[Bound, ...] = ()
    # Of the largest of several, during which step each is reached: ``backward of h.0.attn``.
    places: tuple[str, ...] = ()
    # The earlier positions that it is behind, if they are given.
    past: int = 0

    @property
    def title(self) -> str:
        """What it is called."""
        return title_of(self.name, self.past)

    def at(self, values: Mapping[str, Any]) -> Any:
        """Its value at values of all vars; None where it has no formula there, or none that was checked."""
        beyond = [one.excludes(values[one.var]) for one in self.all_bounds if one.var in values]
        if self.formula is None or any(one if isinstance(one, bool) else one.any() for one in beyond):
            return None
        return self.formula(values)

    @property
    def all_bounds(self) -> list[Bound]:
        """Its bounds, and the vars that it has a formula for one value of."""
        return [*self.bounds, *(Bound(var, value, value, f"{var} = {value:,}") for var, value in self.fixed.items())]

    def limits(self) -> dict[str, dict[str, Any]]:
        """Of each var for which it is checked for fewer values than others are, these, as data."""
        found: dict[str, dict[str, Any]] = {}
        for one in self.all_bounds:
            ends = {"from": one.low, **({"to": one.high} if one.high < sys.maxsize else {})}
            step = {"step": one.step, "start": one.start} if one.step > 1 else {}
            found[one.var] = {"values": list(one.values)} if one.values else {**ends, **step}
        return found


@dataclass(frozen=True)
class ScaledRow:
    """A row of the report: how many copies it stands for, and the figures of one; None of what is no polynomial."""

    path: str
    type: str
    depth: int
    has_children: bool
    repeat: Formula | None
    formulas: Mapping[str, Formula | None]
    # By figure where it is checked for fewer values than others are: ``T from 2``.
    narrow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScaledTerm:
    """A term of a figure, what computes it in words, and its share at the spec's own vars."""

    formula: Polynomial
    words: str
    share: float


@dataclass(frozen=True, repr=False)
class Scaling:
    """The figures of a network as formulas in its vars."""

    name: str
    dtype: str
    base: Mapping[str, int]
    ranges: tuple[VarRange, ...]
    figures: Mapping[str, ScaledFigure]
    rows: tuple[ScaledRow, ...]
    # How many points with all vars changed the formulas were checked at.
    held_out: int
    evaluations: int
    # Vars with one value that can be built.
    fixed: tuple[str, ...] = ()
    # What the loss and the optimizer of a training step are.
    step: tuple[str, ...] = ()
    # Why nothing is kept in generation.
    no_cache: str = ""
    # Formulas of what no report has as a figure.
    others: Mapping[Any, Polynomial] = field(default_factory=dict, repr=False)
    # By figure, and by :class:`RowKey`, the bounds of vars beyond which formulas are wrong.
    bounds: Mapping[Any, tuple[Bound, ...]] = field(default_factory=dict, repr=False)
    # What a report of the network notes, as that the data decide how often a loop runs.
    notes: tuple[str, ...] = ()
    # Whether there was time to find all formulas.
    is_whole: bool = True
    # Figures at the values of vars where the network was built.
    samples: Sequence[tuple[Mapping[str, int], Mapping[Any, int]]] = field(default=(), repr=False)

    def __getitem__(self, name: str) -> Formula:
        """The formula of a figure. Raises KeyError for a figure that there is not, or that has none."""
        if name not in self.figures:
            raise KeyError(f"{name} is no figure; there are {', '.join(self.figures)}")
        if (formula := self.figures[name].formula) is None:
            raise KeyError(f"{name} is no polynomial in {', '.join(self.figures[name].broken)}")
        return formula

    def __call__(self, **values: Any) -> dict[str, Any]:
        """All figures that have formulas, at values of vars; others are the spec's own.

        Raises InputError for a var that was not varied.
        """
        check_varied(values, self.base)
        at = {**self.base, **values}
        found = {name: one.at(at) for name, one in self.figures.items()}
        return {name: value for name, value in found.items() if value is not None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name} in {', '.join(self.base)}>"

    def __str__(self) -> str:
        return "\n".join(f"{name} = {one.formula}" for name, one in self.figures.items() if one.formula is not None)

    @property
    def checked(self) -> list[VarRange]:
        """The ranges of the vars that a formula is in."""
        formulas = [one for one in self.figures.values() if one.formula is not None]
        return [one for one in self.ranges if any(one.name not in figure.fixed for figure in formulas)]

    def has_formula_in(self, var: str) -> bool:
        """Whether some figure has a formula for several values of a var."""
        return any(one.formula is not None and var not in one.fixed for one in self.figures.values())

    def is_fixed(self, name: str) -> bool:
        """Whether a figure has a formula for one value of a var alone that has others."""
        return name in self.figures and any(var not in self.fixed for var in self.figures[name].fixed)

    def terms(self, name: str) -> list[ScaledTerm]:
        """The terms of a figure, the largest at the spec's own vars first."""
        formula = self.figures[name].formula
        if not isinstance(formula, Polynomial):
            return []
        whole, makers = formula(self.base) or 1, self._makers(name)
        return [
            ScaledTerm(
                term,
                # What no row does is done by the optimizer and the loss.
                self._in_words(name, next(iter(term.over(tuple(self.base)).terms)), makers)
                or "optimizer" * (name == "train_flops"),
                term(self.base) / whole,
            )
            for term in formula.parts(self.base)
        ]

    def _makers(self, name: str) -> list[tuple[ScaledRow, Polynomial]]:
        """The rows without rows inside, each with all that its copies add to a figure."""
        found: list[tuple[ScaledRow, Polynomial]] = []
        above: list[Polynomial | None] = []
        for row in self.rows:
            del above[row.depth - 1 :]
            repeat = row.repeat if isinstance(row.repeat, Polynomial) else None
            around = above[-1] if above else Polynomial(tuple(self.base), {(0,) * len(self.base): 1})
            above.append(None if around is None or repeat is None else around * repeat)
            own = row.formulas.get(_OF_ROW.get(name, name))
            if not row.has_children and above[-1] is not None and isinstance(own, Polynomial) and own.terms:
                found.append((row, above[-1] * own))
        return found

    def _in_words(self, figure: str, exponents: tuple[int, ...], makers: Sequence[tuple[ScaledRow, Polynomial]]) -> str:
        """What the rows are that add to a term: ``projections in h``."""
        shares = [(row, poly.over(tuple(self.base)).terms.get(exponents, Fraction(0))) for row, poly in makers]
        rows = [row for row, share in sorted(shares, key=lambda one: -abs(one[1])) if share]
        if len(rows) <= 2 and not any("." in row.path for row in rows):
            return ", ".join(row.path or row.type for row in rows)
        # What no layer does multiplies activations.
        kinds = (_WORDS.get(row.type, "products of activations" if row.type.islower() else row.type) for row in rows)
        words = list(dict.fromkeys(kinds if figure == "macs" else (_WORDS.get(row.type, row.type) for row in rows)))
        # Where they all are: of copies in a stack, the stack.
        paths = [list(itertools.takewhile(lambda name: not name.isdigit(), row.path.split(".")[:-1])) for row in rows]
        shared = [pieces[0] for pieces in itertools.takewhile(lambda same: len(set(same)) == 1, zip(*paths))]  # noqa: B905
        place = f" in {'.'.join(shared)}" if shared else ""
        return listed(words, 2) + place if words else ""

    def crossings(self, name: str) -> Iterator[str]:
        """What dominates a figure as each var grows, and from where on, in words."""
        terms = self.terms(name)
        if len(terms) < 2:
            return
        first = terms[0]
        for one in self._growing(name):
            leading = self._leading(terms, one.name)
            most = leading.formula.degree(one.name)
            if leading is first or most == first.formula.degree(one.name) or leading.formula(self.base) <= 0:
                continue
            # Both are a coefficient times a power of the var.
            ratio = Fraction(first.formula(self.base)) / Fraction(leading.formula(self.base))
            power = most - first.formula.degree(one.name)
            high = next(v for v in _doubling(one.base) if Fraction(v, one.base) ** power > ratio)
            value = bisect_left(range(high + 1), ratio, key=partial(_raised, one.base, power))
            what = [term.words or str(term.formula) for term in (leading, first)]
            if what[0] == what[1]:
                what = [f"{word} ({term.formula})" for word, term in zip(what, (leading, first), strict=True)]
            beyond = f", beyond the {one.high:,} that was checked" * (value > one.high)
            verb = "overtake" if _is_plural(what[0]) else "overtakes"
            yield f"{what[0]} {verb} {what[1]} from {one.name} = {value:,}{beyond}"

    def _growing(self, name: str) -> list[VarRange]:
        """The vars in which a figure's formula is not known to end before others'."""
        ends = {one.var for one in self.figures[name].all_bounds if one.high < sys.maxsize}
        return [one for one in self.ranges if one.name not in ends]

    def _leading(self, terms: Sequence[ScaledTerm], var: str) -> ScaledTerm:
        """The largest of the terms that grow most with a var."""
        return max(terms, key=lambda term: term.formula.degree(var))

    def growth_in_words(self, name: str) -> Iterator[str]:
        """For each power of vars what grows most with them: ``as T grows: attention scores in h (T²)``."""
        terms = self.terms(name)
        found: dict[tuple[str, str], list[str]] = {}
        for one in self._growing(name):
            most = max((term.formula.degree(one.name) for term in terms), default=0)
            if most < 1:
                continue
            alike = [term for term in terms if term.formula.degree(one.name) == most]
            words = alike[0].words or str(alike[0].formula)
            words = (
                "all terms grow alike"
                if len(alike) == len(terms)
                else f"{words} dominate{'' if _is_plural(words) else 's'}"
            )
            power = "" if most == 1 else f" ({Polynomial((one.name,), {(most,): 1})})"
            found.setdefault((words, power), []).append(one.name)
        for (words, power), names in found.items():
            yield f"as {listed(names)} grow{'s' * (len(names) == 1)}, {words}{power}"

    def moves(self, name: str) -> Iterator[str]:
        """Where the largest of several is reached, and from which value of each var on elsewhere."""
        figure = self.figures[name]
        if not isinstance(figure.formula, Maximum) or not figure.places:
            return
        options, places = figure.formula.options, figure.places

        def at(values: Mapping[str, int]) -> str:
            return places[options.index(figure.formula.largest(values))]  # type: ignore[union-attr]

        def moved(name: str, value: int) -> bool:
            return at({**self.base, name: value}) != here

        here = at(self.base)
        yield f"reached in {here}"
        found: dict[str, list[str]] = {}
        for one in self.ranges:
            choices = one.choices()
            above = choices[bisect_right(choices, one.base) :]
            steps = [2**i - 1 for i in range(len(above).bit_length()) if 2**i <= len(above)]
            high = next((step for step in steps if moved(one.name, above[step])), None)
            if high is None:
                continue
            values = above[: high + 1]
            first = bisect_left(values, True, key=partial(moved, one.name))
            there = at({**self.base, one.name: above[first]})
            found.setdefault(there, []).append(f"{one.name} = {above[first]:,}")
        for there, texts in found.items():
            yield f"from {' or '.join(texts)} on in {there}"

    def off_texts(self) -> Iterator[str]:
        """Which figures have no formula in a var, and how far off a polynomial is at most."""
        for var in dict.fromkeys(off.var for one in self.figures.values() for off in one.off):
            shown = [(one.title, off) for one in self.figures.values() for off in one.off if off.var == var]
            title, worst = max(shown, key=lambda pair: pair[1].share)
            text = f"{listed(title for title, _ in shown)} ha{'s' if len(shown) == 1 else 've'} no formula in {var}"
            far = f": a polynomial of degree {worst.degree} is off by up to {share(worst.share)}"
            yield text + (far + f" ({title})" * (len(shown) > 1)) * bool(worst.share)

    def check_values(self, values: Mapping[str, int]) -> list[str]:
        """Where values lie outside those that were checked. Raises InputError for a var that was not varied."""
        known = {one.name: one for one in self.ranges}
        check_varied(values, known)
        outside = []
        for name, value in values.items():
            one = known[name]
            fixed = [figure.title for figure in self.figures.values() if figure.fixed.get(name, value) != value]
            if fixed:
                outside.append(f"{listed(fixed)}: a formula for {name} = {self.base[name]:,} alone")
            elif value not in one.choices():
                ends = "" if one.listed else f" from {one.low:,} to {one.high:,}"
                steps = "" if one.step == 1 else f", {steps_text(one)}" if ends else steps_text(one)
                outside.append(f"{name}={value:,} is beyond what was checked: {ends}{steps}".replace(":  ", ": "))
            bounds: dict[str, list[str]] = {}
            for figure in self.figures.values():
                for bound in figure.bounds:
                    if bound.var == name and bound.excludes(value):
                        bounds.setdefault(bound.text, []).append(figure.title)
            outside += [f"{listed(titles)}: a formula for {text} alone" for text, titles in bounds.items()]
        return outside

    def to_json(self, places: Sequence[Mapping[str, int]] = ()) -> dict[str, Any]:
        """The formulas as data: terms with their coefficients as texts, which may be fractions.

        ``places`` are values of vars to evaluate at too.
        """
        at = [{"vars": dict(one), "figures": _numbers(self(**one)), "beyond": self.check_values(one)} for one in places]
        return {
            "name": self.name,
            "dtype": self.dtype,
            **({"training": {"loss": self.step[0], "optimizer": self.step[1]}} if self.step else {}),
            "notes": list(self.notes),
            "vars": dict(self.base),
            "checked": {
                one.name: {"from": one.low, "to": one.high, "step": one.step}
                | ({"values": sorted(one.values)} if one.listed else {})
                for one in self.ranges
            },
            "held_out": self.held_out,
            "figures": {
                name: {
                    "value": one.value,
                    "broken": list(one.broken),
                    "only": one.limits(),
                    **_as_json(one.formula),
                }
                for name, one in self.figures.items()
            },
            **({"at": at} if at else {}),
            "layers": [
                {
                    "path": row.path,
                    "type": row.type,
                    "depth": row.depth,
                    "repeat": _as_json(row.repeat),
                    **{
                        name: {**_as_json(formula), **({"only": row.narrow[name]} if name in row.narrow else {})}
                        for name, formula in row.formulas.items()
                    },
                }
                for row in self.rows
            ],
        }

    def dumps(self, places: Sequence[Mapping[str, int]] = ()) -> str:
        """The formulas as JSON, and figures at values of vars."""
        return json.dumps(self.to_json(places), indent=1, ensure_ascii=False) + "\n"


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    # Between the steps of a formula its value may be a fraction.
    return {name: value if isinstance(value, int) else float(value) for name, value in figures.items()}


def _as_json(formula: Formula | None) -> dict[str, Any]:
    if formula is None:
        return {"formula": None}
    options = formula.options if isinstance(formula, Maximum) else (formula,)
    terms = [
        [
            {"coefficient": str(c), "powers": {n: e for n, e in zip(one.names, powers, strict=True) if e}}
            for powers, c in one.terms.items()
        ]
        for one in options
    ]
    return {
        "formula": formula.text("python"),
        ("max" if len(options) > 1 else "terms"): terms if len(options) > 1 else terms[0],
    }


def _raised(base: int, power: int, value: int) -> Fraction:
    return Fraction(value, base) ** power


def _doubling(base: int) -> Iterator[int]:
    value = base
    while True:
        value *= 2
        yield value


def _is_plural(words: str) -> bool:
    what = words.partition(" in ")[0]
    return what.endswith("s") or ", " in what


def steps_text(one: VarRange) -> str:
    """Which values of a var were checked: ``multiples of 12``, ``T = 4 + multiples of 32``."""
    if one.listed:
        return f"{one.name} = {', '.join(f'{value:,}' for value in sorted(one.values))}"
    rest = one.values[0] % one.step
    return f"{one.name} = {rest} + multiples of {one.step:,}" if rest else f"multiples of {one.step:,}"


def range_text(one: VarRange) -> str:
    """For which values of a var the formulas were checked."""
    ends = f"{one.name} from {one.low:,} to {one.high:,}"
    return steps_text(one) if one.listed else ends if one.step == 1 else f"{ends}, {steps_text(one)}"


def vars_of(target: Target) -> dict[str, int]:
    """The vars of a target that are whole numbers, with their values."""
    if target.is_module:
        return {
            name: int(value) for name, value in {**target.variables, **target.arguments}.items() if _is_whole(value)
        }
    checked, _ = target.load_spec()
    return {name: value for name, value in checked.variables.items() if type(value) is int and value > 0}


def thresholds(checked: Checked) -> list[int | str]:
    """What a spec's lines compare with: whole numbers as constants or values of vars, and the vars that decide them."""
    bodies = (checked.spec.layers, *(block.body for block in checked.spec.blocks))
    lines = itertools.chain.from_iterable(map(statements, bodies))
    nodes = (node for line in lines for one in expressions(line) for node in ex.walk(one))
    inside = [node for one in nodes if isinstance(one, ex.Compare) for node in ex.walk(one)]
    constants = [node.value for node in inside if isinstance(node, ex.Constant)]
    of_vars = {one.name: one.value for one in checked.spec.variables}
    names, waiting = dict[str, None](), [node.id for node in inside if isinstance(node, ex.Name)]
    while waiting:
        if (name := waiting.pop()) in of_vars and name not in names:
            names[name] = None
            waiting += [node.id for node in ex.walk(of_vars[name]) if isinstance(node, ex.Name)]
    values = {value for value in (*constants, *map(checked.variables.get, names)) if type(value) is int}
    return [*sorted(values), *names]


def _is_whole(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isdigit())


def check_varied(names: Iterable[str], known: Collection[str]) -> None:
    """Raise InputError for a var that is not among those that formulas are in."""
    for name in names:
        if name not in known:
            meant = nearest(name, known)
            help = f"did you mean {meant}?" if meant else f"the formulas are in {listed(known)}"
            raise InputError(f"{name} is not varied; {help}")


def chosen_vars(target: Target, names: Sequence[str], option: str = "") -> dict[str, int]:
    """The vars to grow in, with their values. Raises InputError for one that the target does not have."""
    known, lead = vars_of(target), f"{option}: " if option else ""
    if target.is_module and (not known or not known.keys() >= set(names)):
        known |= target.own_values([name for name in names if name not in known])
    for name in names:
        if name not in known:
            if target.is_module:
                no = "is no size of its inputs, and no setting of its configuration that is a whole number"
                reason = f"{name} {no}" if target.is_of_library else f"{name} has no value"
                raise InputError(f"{lead}{target.text}: {reason}; give the present one, as in --arg {name}=4")
            meant = nearest(name, known)
            help = f"did you mean {meant}?" if meant else f"those of {target.text} are {listed(known) or 'none'}"
            checked, _ = target.load_spec()
            what = "is" if name in checked.variables else "is no var"
            value = (
                f" {checked.variables[name]!r}, not a whole number above 0" if what == "is" else f" of {target.text}"
            )
            raise InputError(f"{lead}{name} {what}{value}; {help}")
    if names:
        return {name: known[name] for name in names}
    if target.is_module:
        return known
    checked, _ = target.load_spec()
    given = {one.name for one in checked.spec.variables if type(getattr(one.value, "value", None)) is int}
    return dict([one for one in known.items() if one[0] in given][:_MOST_VARS])


class _TimeIsUp(Exception):  # noqa: N818
    """No more networks are built for formulas."""


def _help(target: Target) -> str:
    """What to write where a target has no var."""
    if target.is_module:
        return "give the present value of a size or an argument, as in --set B=1 or --arg depth=4"
    return "name a size in the spec and write it in its inputs, as in `vars: {B: 1}` and `randn(B, 3)`"


@without_garbage_collection()
def grow(
    target: Target,
    names: Sequence[str] = (),
    held_out: int = 6,
    on_progress: Callable[[str], None] = lambda _: None,
    keep: Sequence[KeptRatio] = (),
    training: TrainingSettings | None = None,
    times: bool = False,
    only: Collection[str] = (),
    until: float | None = None,
) -> Scaling:
    """The figures of a target as formulas in vars, where others follow by kept ratios.

    Also those of a ``training`` step, and what decides its ``times``. With ``only`` some figures are wanted, and rows
    only for ``times``, which takes fewer networks. At the time ``until`` no further formulas are sought.
    Raises InputError or SpecError where it cannot be built.
    """
    base = chosen_vars(target, names)
    if not base:
        raise InputError(f"{target.text} has no var that is a whole number above 0 to grow in; {_help(target)}")
    probe = Probe(target, training or False, keep=keep, times=times)
    probe.check(base)
    peaks = ["peak_activations", "peak_memory"] if training is None else ["train_memory"]
    names_of_all = [name for name in (*TOTALS, *(OF_STEP if training else ()), *peaks) if not only or name in only]
    primary: list[Key] = [*TOTALS, *ALWAYS, *((*OF_STEP, *IN_STEP) if training else ("kv_cache",))]
    is_alive = not only
    if only:
        # What is alive was written.
        always = {part for name in names_of_all if name in _PEAKS for part in (*_PEAKS[name], "bytes_written")}
        primary, is_alive = [key for key in primary if key in only or key in always] or ["params"], bool(always)
        if times:
            primary += ["flops", "bytes_read", "bytes_written", "fused_ends", "tokens"]

    def is_wanted(key: Key) -> bool:
        if isinstance(key, RowKey):
            # Totals are sums of rows.
            return times or key.figure == "repeat" or key.figure in primary
        return is_alive if isinstance(key, LiveKey) else times if isinstance(key, FusedKey) else True

    def sample(values: Mapping[str, int]) -> Figures | None:
        if until is not None and time.perf_counter() > until and tuple(values.items()) not in probe.known:
            raise _TimeIsUp
        there = probe(values)
        return {key: n for key, n in there.items() if is_wanted(key)} if there and only else there

    sizes = vars_of(target).values()
    compared = [] if target.is_module else thresholds(target.load_spec()[0])
    others = {key for key in probe(base) or () if isinstance(key, str)} - {*primary, *(only or ())}
    ignored = [*_PEAKS, *(others if only and not times else ())]
    sums = sums_of(probe.rows)

    def interpolation(sample: Callable[[Mapping[str, int]], Figures | None], base: Mapping[str, int]) -> Interpolation:
        # Layers of their own for each number of layers have no formula each, but together.
        return Interpolation(
            sample, base, primary, held_out, on_progress, sizes, compared, sums=sums, ignored=ignored,
            is_instead=lambda key: isinstance(key, LiveKey) and bool(key.of_all),
            is_shown=lambda key: not isinstance(key, LiveKey),
        )  # fmt: skip

    cache = ["kv_cache"] * ("kv_cache" in (probe(base) or ()) and (not only or "kv_cache" in only))
    names_of_all += cache
    search, found = interpolation(sample, base), Found((), {}, {}, (), 0)
    figures: dict[str, ScaledFigure] = {}
    formulas: dict[Key, Polynomial] = {}
    fixed: dict[Key, tuple[Bound, ...]] = {}
    is_whole = True
    try:
        found = search.find()
        figures, formulas = _figures(names_of_all, search, found), dict(found.formulas)
        _find_in_fewer_vars(search, found, figures, formulas, fixed, interpolation)
        if not only and figures["active_params"].formula == figures["params"].formula:
            del figures["active_params"]
    except _TimeIsUp:
        is_whole = False
        here = search.known[tuple(base.values())] or {}
        for name in names_of_all:
            figures.setdefault(name, ScaledFigure(name, here.get(name, 0), None, tuple(base)))
    varied = [one.name for one in found.ranges]
    stuck = tuple(name for name in base if name not in varied and (is_whole or varied))
    ordered = {name: replace(figures[name], past=target.past) for name in FIGURES if name in figures}
    kept = [key for key in formulas if not isinstance(key, LiveKey)]
    bounds = {key: narrow for key in kept if (narrow := fixed.get(key) or narrower_bounds(found.ranges, key))}
    rows = () if only and not times else tuple(
        _rows(probe.rows, formulas, (*OF_ROWS, *(OF_BACKWARD if training else ())), _without(bounds, stuck))
    )  # fmt: skip
    apart = {key: formula for key, formula in formulas.items() if not isinstance(key, RowKey | LiveKey)}
    return Scaling(
        probe.name, target.dtype, base, found.ranges, ordered, rows, len(found.held_out), len(search.known), stuck,
        probe.step, probe.no_cache or "", apart,
        bounds,
        probe.notes, is_whole,
        [(dict(zip(search.names, place, strict=True)), there) for place, there in search.known.items() if there],
    )  # fmt: skip


def _find_in_fewer_vars(
    search: Interpolation,
    found: Found,
    figures: dict[str, ScaledFigure],
    formulas: dict[Key, Polynomial],
    fixed: dict[Key, tuple[Bound, ...]],
    interpolation: Callable[[Callable[[Mapping[str, int]], Figures | None], Mapping[str, int]], Interpolation],
) -> None:
    """Add what has no formula in some vars and one in the others, for one value of these (``fixed``)."""
    base, kept, broken = search.base, dict[str, int](), found.broken
    while bad := [broken[key] for key in search.primary if key not in formulas and broken.get(key)]:
        # What has formulas in most vars is not held to one value of others' vars.
        kept |= {name: base[name] for name in base if name in min(bad, key=len)}
        if not (rest := {name: value for name, value in base.items() if name not in kept}):
            return
        narrower = interpolation(lambda point, at=dict(kept): search.at({**at, **point}), rest)  # type: ignore[misc]
        others = narrower.find()
        at = [Bound(name, value, value, f"{name} = {value:,}") for name, value in kept.items()]
        new = others.formulas.keys() - formulas.keys()
        fixed |= {key: (*narrower_bounds(others.ranges, key, found.ranges), *at) for key in new}
        formulas |= {key: formula for key, formula in others.formulas.items() if key not in formulas}
        broken = others.broken
        without = [name for name, one in figures.items() if one.formula is None]
        for name, one in _figures(without, narrower, others, found.ranges).items():
            was = figures[name]
            figures[name] = replace(one, broken=was.broken, off=was.off, fixed=dict(kept) if one.formula else {})


def _without(bounds: Mapping[Key, tuple[Bound, ...]], names: Collection[str]) -> dict[Key, tuple[Bound, ...]]:
    """The bounds of other vars."""
    left = {key: tuple(one for one in many if one.var not in names) for key, many in bounds.items()}
    return {key: many for key, many in left.items() if many}


def _figures(
    names: Iterable[str], search: Interpolation, found: Found, shown: Sequence[VarRange] = ()
) -> dict[str, ScaledFigure]:
    """Figures by their names, with where they hold if not in the ranges ``shown``, or those found."""
    figures: dict[str, ScaledFigure] = {}
    for name in names:
        figures[name] = _figure(name, search, found, shown or found.ranges, figures.get("peak_activations"))
    return figures


def _figure(
    name: str, search: Interpolation, found: Found, shown: Sequence[VarRange], most: ScaledFigure | None = None
) -> ScaledFigure:
    # ``most`` are the peak activations, where they are known.
    here = search.at(search.base)
    assert here is not None
    if name in _PEAKS:
        return _peak(name, search, found, here, shown, most)
    formula = found.formulas.get(name)
    if formula is not None:
        return ScaledFigure(name, here[name], formula, bounds=narrower_bounds(found.ranges, name, shown))
    broken = found.broken.get(name, tuple(search.names))
    off = tuple(_off(name, search, one) for one in found.ranges if name in one.broken)
    return ScaledFigure(name, here[name], None, broken, off)


def _off(name: str, search: Interpolation, one: VarRange) -> OffBy:
    """How far a polynomial of the usual degree is off at the values of a var that were tried."""
    values = sorted(
        (place[search.names.index(one.name)], figures[name])
        for place, figures in search.known.items()
        if figures is not None
        and all(v == search.anchor[n] for n, v in zip(search.names, place, strict=True) if n != one.name)
    )
    if len(values) < 3:
        return OffBy(one.name, tuple(values), 0, 0.0)
    degree = min(max(one.degree, 1), len(values) - 2)
    picked = [values[round(i * (len(values) - 1) / degree)] for i in range(degree + 1)]
    worst = 0.0
    for x, y in values:
        fitted = Fraction(0)
        for i, (xi, yi) in enumerate(picked):
            product = Fraction(yi)
            for j, (xj, _) in enumerate(picked):
                if j != i:
                    product *= Fraction(x - xj, xi - xj)
            fitted += product
        worst = max(worst, abs(float(fitted - y)) / y if y else 0.0)
    return OffBy(one.name, tuple(values), degree, worst)


def _peak(
    name: str,
    search: Interpolation,
    found: Found,
    here: Figures,
    shown: Sequence[VarRange],
    most: ScaledFigure | None = None,
) -> ScaledFigure:
    """The most bytes alive at once: the largest of what is alive during each operator."""
    parts, is_memory = _PEAKS[name], name == "peak_memory"
    value = here["peak_activations"] + sum(here[one] for one in parts) if is_memory else here[name]
    names = tuple(name for name in search.names if any(name == one.name for one in found.ranges))
    if not all(one in found.formulas for one in parts):
        return ScaledFigure(name, value, None, names)
    always = sum((found.formulas[one] for one in parts), Polynomial(search.names, {}))
    if is_memory:
        most = most or _peak("peak_activations", search, found, here, shown)
        return replace(most, name=name, value=value, formula=None if most.formula is None else most.formula + always)
    # Layers of their own for each number of layers have no formula each, but together.
    for of_all in (False, True):
        lives = {
            key: formula
            for key, formula in found.formulas.items()
            if isinstance(key, LiveKey) and bool(key.of_all) == of_all
        }
        if lives and (largest := _largest(name, always, lives, search, found, shown)) is not None:
            formula, bounds = largest
            first = {life: key for key, life in reversed(lives.items())}
            keys = {always + life: key for life, key in first.items()}
            at = tuple(_place_of(keys[one], name == "train_memory") for one in formula.options)
            return ScaledFigure(
                name, value, formula if len(formula.options) > 1 else formula.options[0], bounds=bounds, places=at
            )  # fmt: skip
    return ScaledFigure(name, value, None, names)


def _place_of(key: LiveKey, is_training: bool) -> str:
    """During which step so much is alive."""
    place = key.path or key.operator.removeprefix("aten.")
    return "the optimizer step" if key.phase == "optimizer" else f"the {key.phase} of {place}" if is_training else place


def _largest(
    name: str,
    always: Polynomial,
    lives: Mapping[LiveKey, Polynomial],
    search: Interpolation,
    found: Found,
    shown: Sequence[VarRange],
) -> tuple[Maximum, tuple[Bound, ...]] | None:
    """The largest of what is alive during each operator and ``always``, and where it holds.

    None if it is not what the network has at a point.
    """
    # Where all of them hold: a stack of one copy keeps less alive.
    ranges = [
        replace(
            one,
            low=max(one.bounds(key)[0] for key in lives),
            high=min(one.bounds(key)[1] for key in lives),
        )
        for one in found.ranges
    ]
    low = {one.name: one.low for one in ranges}
    places = [dict(zip(search.names, place, strict=True)) for place in search.known]
    points = [point for point in places if _is_within(point, ranges)]
    options = [always + one for one in dict.fromkeys(lives.values())]
    spread = [{**search.base, **{one.name: search.random.choice(_apart(one)) for one in ranges}} for _ in range(60)]
    kept = largest_of(options, low, [search.base, *points, *spread])
    formula = Maximum(sorted(kept, key=lambda one: -one(search.base)))
    for point in points:
        there = search.at(point)
        if there is not None and there[name] != formula(point):
            return None
    return formula, tuple(_narrower(((one, one.low, one.high) for one in ranges), shown))


def _apart(one: VarRange) -> list[int]:
    """Choices of a var over all of its range, each about twice the one before."""
    choices = one.choices()
    return [choices[min(2**i, len(choices)) - 1] for i in range(len(choices).bit_length() + 1)]


def narrower_bounds(ranges: Sequence[VarRange], key: Key, shown: Sequence[VarRange] = ()) -> tuple[Bound, ...]:
    """Where a figure's ranges are smaller than those ``shown``, or than those of most."""
    return tuple(_narrower(((one, *one.bounds(key)) for one in ranges), shown or ranges))


def _narrower(own: Iterable[tuple[VarRange, int, int]], shown: Iterable[VarRange]) -> Iterator[Bound]:
    """Where ranges, each from one value to another, are smaller than others of the same vars."""
    whole = {one.name: one for one in shown}
    for one, first, last in own:
        more = whole.get(one.name, one)
        low, high = max(first, more.low), min(last, more.high)
        if more is one and (low, high) == (more.low, more.high):
            continue
        if one.listed or more.listed:
            fewer, others = (one.choices(), more.choices()) if one.listed else (more.choices(), one.choices())
            kept = [value for value in fewer if value in others and low <= value <= high]
            if len(kept) < len(more.choices()):
                text = f"{one.name} = {', '.join(f'{value:,}' for value in kept)}"
                yield Bound(one.name, low, high, text, values=tuple(kept))
            continue
        is_as_fine = more.step % one.step == 0 and (more.values[0] - one.values[0]) % one.step == 0
        if is_as_fine and (low, high) == (more.low, more.high):
            continue
        text = f"{one.name} from {low:,}{f' to {high:,}' if high < more.high else ''}"
        yield Bound(
            one.name,
            low if low > more.low else 0,
            high if high < more.high else sys.maxsize,
            text if is_as_fine else f"{text}, {steps_text(one)}",
            1 if is_as_fine else one.step,
            0 if is_as_fine else one.values[0],
        )


def _is_within(point: Mapping[str, int], ranges: Sequence[VarRange]) -> bool:
    return all(
        point[one.name] in one.values
        if one.listed
        else one.low <= point[one.name] <= one.high and (point[one.name] - one.values[0]) % one.step == 0
        for one in ranges
    )


def _rows(
    rows: Sequence[RowFigures],
    formulas: Mapping[Key, Polynomial],
    names: Sequence[str],
    bounds: Mapping[Key, tuple[Bound, ...]],
) -> Iterator[ScaledRow]:
    numbers: dict[str, int] = {}
    for row in rows:
        numbers[row.path] = number = numbers.get(row.path, -1) + 1
        found = {name: formulas.get(RowKey(row.path, number, name)) for name in names}
        repeat = found.pop("repeat")
        narrow = {
            name: tuple(one.text for one in bounds[key])
            for name in names
            if (key := RowKey(row.path, number, name)) in bounds
        }
        yield ScaledRow(row.path, row.type, row.depth, row.has_children, repeat, found, narrow)
