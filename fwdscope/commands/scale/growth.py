"""How a network's figures grow with its vars: formulas of the totals and of each row, and what dominates them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fwdscope.commands.scale.interpolation import Figures, Found, Interpolation, Key, VarRange
from fwdscope.commands.scale.probe import ALWAYS, OF_ROWS, TOTALS, KeptRatio, LiveKey, Probe, RowKey
from fwdscope.errors import InputError
from fwdscope.language.names import listed, nearest
from fwdscope.polynomial import Formula, Maximum, Polynomial, is_at_most

if TYPE_CHECKING:
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
}
BYTES = frozenset({"bytes_read", "bytes_written", "kv_cache", "peak_activations", "peak_memory"})
# What the rows of these types do, in words; others go by their type.
_WORDS = {
    "scaled_dot_product_attention": "attention scores",
    "Linear": "projections",
    "linear": "projections",
    "Conv1d": "convolutions",
    "Conv2d": "convolutions",
    "Conv3d": "convolutions",
}
# Vars that are varied if none is named.
_MOST_VARS = 8


@dataclass(frozen=True)
class OffBy:
    """A figure that is no polynomial in a var: values that were tried, and how far off one of a degree is."""

    var: str
    values: tuple[tuple[int, int], ...]
    degree: int
    share: float


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
    # Where it is checked for fewer values than others are: ``T from 2``.
    narrow: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What it is called."""
        return FIGURES[self.name]


@dataclass(frozen=True)
class ScaledRow:
    """A row of the report: how many copies it stands for, and the figures of one; None of what is no polynomial."""

    path: str
    type: str
    depth: int
    has_children: bool
    repeat: Formula | None
    formulas: Mapping[str, Formula | None]


@dataclass(frozen=True)
class ScaledTerm:
    """A term of a figure, what computes it in words, and its share at the spec's own vars."""

    formula: Polynomial
    words: str
    share: float


@dataclass(frozen=True)
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

    def __getitem__(self, name: str) -> Formula:
        """The formula of a figure. Raises KeyError for a figure that there is not, or that has none."""
        if (formula := self.figures[name].formula) is None:
            raise KeyError(f"{name} is no polynomial in {', '.join(self.figures[name].broken)}")
        return formula

    def __call__(self, **values: Any) -> dict[str, Any]:
        """All figures that have formulas, at values of vars; others are the spec's own."""
        at = {**self.base, **values}
        return {name: one.formula(at) for name, one in self.figures.items() if one.formula is not None}

    def __str__(self) -> str:
        return "\n".join(f"{name} = {one.formula}" for name, one in self.figures.items() if one.formula is not None)

    def terms(self, name: str) -> list[ScaledTerm]:
        """The terms of a figure, the largest at the spec's own vars first."""
        formula = self.figures[name].formula
        if not isinstance(formula, Polynomial):
            return []
        whole, makers = formula(self.base) or 1, self._makers(name)
        return [
            ScaledTerm(
                term, self._in_words(next(iter(term.over(tuple(self.base)).terms)), makers), term(self.base) / whole
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
            own = row.formulas.get(name)
            if not row.has_children and above[-1] is not None and isinstance(own, Polynomial) and own.terms:
                found.append((row, above[-1] * own))
        return found

    def _in_words(self, exponents: tuple[int, ...], makers: Sequence[tuple[ScaledRow, Polynomial]]) -> str:
        """What the rows are that add to a term: ``projections in h``."""
        shares = [(row, poly.over(tuple(self.base)).terms.get(exponents, Fraction(0))) for row, poly in makers]
        rows = [row for row, share in sorted(shares, key=lambda one: -abs(one[1])) if share]
        if len(rows) == 1 and "." not in rows[0].path:
            return rows[0].path or rows[0].type
        words = list(dict.fromkeys(_WORDS.get(row.type, row.type) for row in rows))
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
        for one in self.ranges:
            most = max(term.formula.degree(one.name) for term in terms)
            leading = next(term for term in terms if term.formula.degree(one.name) == most)
            if leading is first or most == first.formula.degree(one.name) or leading.formula(self.base) <= 0:
                continue
            # Both are a coefficient times a power of the var.
            ratio = Fraction(first.formula(self.base)) / Fraction(leading.formula(self.base))
            power = most - first.formula.degree(one.name)
            value = next(v for v in _doubling(one.base) if Fraction(v, one.base) ** power > ratio)
            low, high = 1, value
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if Fraction(middle, one.base) ** power >= ratio else (middle + 1, high)
            what = [term.words or str(term.formula) for term in (leading, first)]
            if what[0] == what[1]:
                what = [f"{word} ({term.formula})" for word, term in zip(what, (leading, first), strict=True)]
            yield f"{what[0]} overtake{'' if _is_plural(what[0]) else 's'} {what[1]} from {one.name} = {low:,}"

    def check_values(self, values: Mapping[str, int]) -> list[str]:
        """Where values lie outside those that were checked. Raises InputError for a var that was not varied."""
        known = {one.name: one for one in self.ranges}
        outside = []
        for name, value in values.items():
            if name not in known:
                meant = nearest(name, known)
                help = f"did you mean {meant}?" if meant else f"the formulas are in {listed(known)}"
                raise InputError(f"{name} is not varied; {help}")
            one = known[name]
            if value not in one.choices():
                ends = "" if one.listed else f" from {one.low:,} to {one.high:,}"
                steps = "" if one.step == 1 else f", {steps_text(one)}" if ends else steps_text(one)
                outside.append(f"{name}={value:,} is beyond what was checked: {ends}{steps}".replace(":  ", ": "))
        return outside

    def to_json(self) -> dict[str, Any]:
        """The formulas as data: terms with their coefficients as texts, which may be fractions."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "vars": dict(self.base),
            "checked": {
                one.name: {"from": one.low, "to": one.high, "step": one.step}
                | ({"values": sorted(one.values)} if one.listed else {})
                for one in self.ranges
            },
            "held_out": self.held_out,
            "figures": {
                name: {"value": one.value, "broken": list(one.broken), **_as_json(one.formula)}
                for name, one in self.figures.items()
            },
            "layers": [
                {
                    "path": row.path,
                    "type": row.type,
                    "depth": row.depth,
                    "repeat": _as_json(row.repeat),
                    **{name: _as_json(formula) for name, formula in row.formulas.items()},
                }
                for row in self.rows
            ],
        }

    def dumps(self) -> str:
        """The formulas as JSON."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"


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


def _doubling(base: int) -> Iterator[int]:
    value = base
    while True:
        value *= 2
        yield value


def _is_plural(words: str) -> bool:
    return words.partition(" in ")[0].endswith("s")


def steps_text(one: VarRange) -> str:
    """Which values of a var were checked: ``multiples of 12``, ``T = 4 + multiples of 32``."""
    if one.listed:
        return f"{one.name} = {', '.join(f'{value:,}' for value in sorted(one.values))}"
    rest = one.values[0] % one.step
    return f"{one.name} = {rest} + multiples of {one.step:,}" if rest else f"multiples of {one.step:,}"


def vars_of(target: Target) -> dict[str, int]:
    """The vars of a target that are whole numbers, with their values."""
    if target.is_module:
        return {
            name: int(value) for name, value in {**target.variables, **target.arguments}.items() if _is_whole(value)
        }
    checked, _ = target.load_spec()
    return {name: value for name, value in checked.variables.items() if type(value) is int and value > 0}


def _is_whole(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and value.isdigit())


def chosen_vars(target: Target, names: Sequence[str]) -> dict[str, int]:
    """The vars to grow in, with their values. Raises InputError for one that the target does not have."""
    known = vars_of(target)
    for name in names:
        if name not in known:
            if target.is_module:
                raise InputError(f"{name}: give its present value, as in --set {name}=128 or --arg {name}=4")
            meant = nearest(name, known)
            help = f"did you mean {meant}?" if meant else f"{target.text} has {listed(known) or 'none'}"
            raise InputError(f"{name} is no var of {target.text} that is a whole number above 0; {help}")
    if names:
        return {name: known[name] for name in names}
    if target.is_module:
        return known
    checked, _ = target.load_spec()
    given = {one.name for one in checked.spec.variables if type(getattr(one.value, "value", None)) is int}
    return dict([one for one in known.items() if one[0] in given][:_MOST_VARS])


def grow(
    target: Target,
    names: Sequence[str] = (),
    held_out: int = 6,
    on_progress: Callable[[str], None] = lambda _: None,
    keep: Sequence[KeptRatio] = (),
) -> Scaling:
    """The figures of a target as formulas in vars, where others follow by kept ratios.

    Raises InputError or SpecError where it cannot be built.
    """
    base = chosen_vars(target, names)
    if not base:
        raise InputError(f"{target.text} has no var to grow in: give one, as in --in B, of a spec's vars")
    probe = Probe(target, keep=keep)
    chosen_vars(target, [one.below for one in keep])
    probe.check(base)
    primary, sizes = [*TOTALS, *ALWAYS], vars_of(target).values()
    search = Interpolation(probe, base, primary, held_out, on_progress, sizes)
    found = search.find()
    names_of_all = (*TOTALS, "peak_activations", "peak_memory")
    figures = {name: _figure(name, search, found) for name in names_of_all}
    formulas = dict(found.formulas)
    # What has no formula in some vars may have one in the others.
    bad = {name for key in primary for name in found.broken.get(key, ())}
    if bad and (rest := {name: value for name, value in base.items() if name not in bad}):
        kept = {name: value for name, value in base.items() if name in bad}
        narrower = Interpolation(lambda point: search.at({**kept, **point}), rest, primary, held_out, sizes=sizes)
        others = narrower.find()
        formulas = {**others.formulas, **formulas}
        for name, one in figures.items():
            if one.formula is None:
                figures[name] = replace(_figure(name, narrower, others), broken=one.broken, off=one.off, fixed=kept)
    if figures["active_params"].formula == figures["params"].formula:
        del figures["active_params"]
    if probe.takes_tokens and (cache := _cache(target, base, found, on_progress, keep)) is not None:
        figures["kv_cache"] = cache
    ordered = {name: figures[name] for name in FIGURES if name in figures}
    rows = tuple(_rows(probe.rows, formulas))
    varied = [one.name for one in found.ranges]
    stuck = tuple(name for name in base if name not in varied)
    return Scaling(
        probe.name, target.dtype, base, found.ranges, ordered, rows, len(found.held_out), len(search.known), stuck
    )


def _figure(name: str, search: Interpolation, found: Found) -> ScaledFigure:
    here = search.at(search.base)
    assert here is not None
    if name in ("peak_activations", "peak_memory"):
        return _peak(name, search, found, here)
    formula = found.formulas.get(name)
    if formula is not None:
        ranges = ((one, *one.bounds(name)) for one in found.ranges)
        return ScaledFigure(name, here[name], formula, narrow=_narrower(ranges))
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


def _peak(name: str, search: Interpolation, found: Found, here: Figures) -> ScaledFigure:
    """The most bytes alive at once: the largest of what is alive during each operator."""
    value = here["peak_activations"] + (sum(here[one] for one in ALWAYS) if name == "peak_memory" else 0)
    names = tuple(name for name in search.names if any(name == one.name for one in found.ranges))
    if not all(one in found.formulas for one in ALWAYS):
        return ScaledFigure(name, value, None, names)
    always = sum((found.formulas[one] for one in ALWAYS[1:]), found.formulas[ALWAYS[0]])
    # Layers of their own for each number of layers have no formula each, but together.
    for of_all in (False, True):
        lives = {
            key: formula for key, formula in found.formulas.items() if isinstance(key, LiveKey) and key.of_all == of_all
        }
        if lives and (largest := _largest(lives, search, found)) is not None:
            formula, narrow = largest
            formula = formula + always if name == "peak_memory" else formula
            return ScaledFigure(
                name, value, formula if len(formula.options) > 1 else formula.options[0], narrow=narrow
            )  # fmt: skip
    return ScaledFigure(name, value, None, names)


def _largest(
    lives: Mapping[LiveKey, Polynomial], search: Interpolation, found: Found
) -> tuple[Maximum, tuple[str, ...]] | None:
    """The largest of what is alive during each operator, and where it holds; None if more is alive somewhere."""
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
    options = list(dict.fromkeys(lives.values()))
    kept = list(dict.fromkeys(max(options, key=lambda one: one(point)) for point in points))
    for one in options:
        if not any(one is other or is_at_most(one, other, low) for other in kept):
            kept.append(one)
    formula = Maximum(one for one in kept if not any(two is not one and is_at_most(one, two, low) for two in kept))
    for point in points:
        there = search.at(point)
        if there is not None and there["peak_activations"] != formula(point):
            return None
    return formula, _narrower([(before, now.low, now.high) for before, now in zip(found.ranges, ranges, strict=True)])


def _narrower(ranges: Iterable[tuple[VarRange, int, int]]) -> tuple[str, ...]:
    """The ranges that are smaller than those of most figures."""
    return tuple(
        f"{one.name} from {low:,}{f' to {high:,}' if high < one.high else ''}"
        for one, low, high in ranges
        if (low, high) != (one.low, one.high)
    )


def _is_within(point: Mapping[str, int], ranges: Sequence[VarRange]) -> bool:
    return all(
        point[one.name] in one.values
        if one.listed
        else one.low <= point[one.name] <= one.high and (point[one.name] - one.values[0]) % one.step == 0
        for one in ranges
    )


def _cache(
    target: Target,
    base: Mapping[str, int],
    found: Found,
    on_progress: Callable[[str], None],
    keep: Sequence[KeptRatio],
) -> ScaledFigure | None:
    """The bytes that one earlier position keeps; None of a network that keeps nothing."""
    if target.past or target.is_module:
        return None
    probe = Probe(target._replace(past=1), only="kv_cache", keep=keep)
    if not (probe(base) or {}).get("kv_cache"):
        return None
    search = Interpolation(probe, base, ["kv_cache"], 2, on_progress)
    return _figure("kv_cache", search, search.find(found.ranges))


def _rows(rows: Sequence[RowFigures], formulas: Mapping[Key, Polynomial]) -> Iterator[ScaledRow]:
    numbers: dict[str, int] = {}
    for row in rows:
        numbers[row.path] = number = numbers.get(row.path, -1) + 1
        found = {name: formulas.get(RowKey(row.path, number, name)) for name in OF_ROWS}
        repeat = found.pop("repeat")
        yield ScaledRow(row.path, row.type, row.depth, row.has_children, repeat, found)
