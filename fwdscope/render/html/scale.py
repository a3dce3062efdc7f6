"""The page of a network's growth: its formulas, what dominates them, and a chart of each figure against each var."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fwdscope import units
from fwdscope.commands.scale import BYTES, OffBy, ScaledFigure, Scaling, range_text
from fwdscope.polynomial import Maximum
from fwdscope.printable import printable
from fwdscope.render import scale as drawn
from fwdscope.render.html.page import page

# The lines of a chart beside the whole, and the points of each.
_MOST_LINES, _POINTS = 4, 48
_MOST_TERMS = 6
# The figures at the head.
_AT_HEAD = ("params", "macs", "flops", "kv_cache", "peak_memory", "train_flops", "saved_activations", "train_memory")


def render(growth: Scaling, places: Sequence[Mapping[str, int]] = (), plots: Sequence[str] = ()) -> str:
    """The page; ``places`` are values to evaluate at beside the spec's, ``plots`` the vars of the charts, or all."""
    by_term = drawn.by_term(growth)
    dominant = [f"{growth.figures[name].title}: {text}" for name in by_term for text in growth.crossings(name)]
    words = {
        "name": printable(growth.name),
        "facts": "  ·  ".join([growth.dtype, *drawn.facts(growth), f"in {', '.join(growth.base)}"]),
        "vars": ", ".join(f"{name} = {value:,}" for name, value in growth.base.items()),
        "figures": [_figure(growth, one, places) for one in growth.figures.values()],
        "places": [", ".join(f"{n} = {v:,}" for n, v in place.items()) for place in places],
        "terms": [
            {
                "title": growth.figures[name].title,
                "terms": [
                    {"formula": str(one.formula), "share": float(one.share), "words": one.words}
                    for one in growth.terms(name)[:_MOST_TERMS]
                ],
                "more": max(0, len(growth.terms(name)) - _MOST_TERMS),
                "grows": list(growth.growth_in_words(name)),
            }
            for name in by_term
            if len(growth.terms(name)) > 1
        ],
        "charts": [
            chart
            for var in plots or [one.name for one in growth.ranges]
            for name in drawn.PLOTTED
            if name in growth.figures and (chart := _chart(growth, growth.figures[name], var))
        ],
        "columns": list(drawn.columns_of_rows(growth).values()),
        "rows": [
            {
                "path": printable(row.path) or row.type,
                "depth": row.depth,
                "copies": "" if row.repeat == 1 else f"× {row.repeat if row.repeat is not None else '?'}",
                "formulas": [drawn.formula_of_row(row, name) for name in drawn.columns_of_rows(growth)],
            }
            for row in growth.rows
            if drawn.costs_anything(row)
        ],
        "ranges": [range_text(one) for one in growth.checked],
        "checked": drawn.checked_text(growth),
        "messages": [
            *({"level": "note", "text": text} for text in [*dominant, *drawn.moves(growth)]),
            *({"level": "warning", "text": text} for text in _warnings(growth, places)),
        ],
    }
    return page("scale", growth.name, growth.dumps(places), words)


def _figure(growth: Scaling, one: ScaledFigure, places: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """A figure's values and formulas, each of the largest of several with where it is reached."""
    options = one.formula.options if isinstance(one.formula, Maximum) else (one.formula,)
    values = [drawn.text_at(growth, one, place) for place in places]
    texts = [str(option) for option in options] if one.formula is not None else [drawn.no_formula(one)]
    where = [*one.places, *[""] * len(options)] if len(options) > 1 else [""]
    return {
        "title": one.title,
        "head": one.name in _AT_HEAD,
        "values": [drawn.figure_text(one.name, one.value), *values],
        "formulas": [{"text": text, "where": at} for text, at in zip(texts, where, strict=False)],
        "limits": drawn.limits(growth, one),
        "known": one.formula is not None,
    }


def _chart(growth: Scaling, one: ScaledFigure, var: str) -> dict[str, Any] | None:
    """A figure against a var: by its formula with its largest terms, or where it has none as it was evaluated."""
    points = drawn.values_along(growth, one, var, _POINTS)
    if len({value for _, value in points}) < 2:
        return None
    sizes = [size for size, _ in points]
    lines = [{"name": one.title, "values": [float(value) for _, value in points]}]
    off = next((off for off in one.off if off.var == var), None)
    terms = [] if off else [term for term in growth.terms(one.name) if term.formula(growth.base) > 0]
    words = [term.words for term in terms]
    for term in terms[:_MOST_LINES] if len(terms) > 1 else ():
        values = [float(term.formula({**growth.base, var: size})) for size in sizes]
        name = term.words if words.count(term.words) == 1 else ""
        lines.append({"name": name or f"{term.words} {term.formula}".strip(), "values": values})
    about = str(one.formula) if one.formula is not None and not isinstance(one.formula, Maximum) else ""
    crossing = [text for text in growth.crossings(one.name) if f" from {var} = " in text]
    return {
        "title": f"{one.title} against {var}",
        "about": f"No formula in {var}{_far(off)}" if off else "; ".join(crossing) or about,
        "var": var,
        "bytes": one.name in BYTES,
        "here": growth.base[var],
        "sizes": sizes,
        "dotted": off is not None,
        "lines": lines,
    }


def _far(off: OffBy) -> str:
    """How far off a polynomial is."""
    return f": a polynomial of degree {off.degree} is off by up to {units.share(off.share)}" if off.share else ""


def _warnings(growth: Scaling, places: Sequence[Mapping[str, int]]) -> Iterator[str]:
    yield from dict.fromkeys(text for place in places for text in growth.check_values(place))
    yield from growth.off_texts()
    for name in growth.fixed:
        yield drawn.stays(growth, name)
    yield from growth.notes
