"""Formulas of figures that are only evaluated: found where they are polynomials, and none where they are not."""

from __future__ import annotations

import math
import os
import random
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwdscope.commands.scale.evaluations import COST, Key
from fwdscope.commands.scale.interpolation import Found, Interpolation
from fwdscope.polynomial import Maximum, Polynomial, is_at_most, variable

# FWDSCOPE_SCALE=200 tries as many planted figures.
EXAMPLES = int(os.environ.get("FWDSCOPE_SCALE", "25"))


def found(
    figures: dict[str, object],
    thresholds: Sequence[int | str] = (),
    sums: Mapping[Key, Sequence[tuple[Key, Key]]] | None = None,
    **base: int,
) -> Found:
    def sample(at: Mapping[str, int]) -> dict[Key, int] | None:
        values = {name: eval(text, {"max": max, "min": min}, dict(at)) for name, text in figures.items()}  # type: ignore[call-overload]
        return None if None in values.values() else values

    return Interpolation(sample, base, list(figures), thresholds=thresholds, sums=sums).find()


@pytest.mark.core
def test_a_polynomial_is_found_with_its_coefficients() -> None:
    got = found({"f": "7 * d * d * T * depth + 3 * T - 5", "g": "depth * (depth + 1) // 2"}, d=768, T=1024, depth=12)
    d, T, depth = map(variable, ("d", "T", "depth"))  # noqa: N806 - the var's name
    assert got.formulas["f"] == 7 * d * d * T * depth + 3 * T - 5
    assert got.formulas["g"] * 2 == depth * (depth + 1)
    assert str(got.formulas["f"]) == "T·(7d²·depth + 3) − 5"


@pytest.mark.core
def test_a_step_is_found_though_a_quotient_stands_still_between() -> None:
    # 32 · (d // 32) is d at multiples of 32 alone, and from 4,096 to 4,127 the same number: not a constant.
    got = found({"f": "d * 32 * (d // 32)"}, d=4096)
    assert got.formulas["f"] == variable("d") * variable("d")
    assert (got.ranges[0].step, got.ranges[0].low) == (32, 32)


def test_a_var_that_others_are_divided_by_has_negative_powers() -> None:
    got = found({"f": "3 * d * (d // heads) * kv if d % heads == 0 else None"}, d=512, heads=8, kv=2)
    assert str(got.formulas["f"]) == "3d²·kv/heads"
    assert got.formulas["f"](d=512, heads=16, kv=4) == 3 * 512 * 32 * 4


def test_a_var_takes_multiples_of_all_that_divide_it() -> None:
    # As of a projection of heads, which builds where a rest is left over: d = 4,160 is a multiple of 64, not of 128.
    figures = {"f": "kv * heads * (d // heads)", "g": "kv * (d // heads) * d + B"}
    got = found(figures, d=4096, heads=32, kv=8, B=1)  # type: ignore[arg-type]
    choices = {one.name: one.choices() for one in got.ranges}
    assert (max(choices["heads"]), list(choices["d"][:2])) == (128, [128, 256])
    chance = random.Random(0)
    for _ in range(200):
        at = {name: chance.choice(few) for name, few in choices.items()}
        dim = at["d"] // at["heads"]
        assert got.formulas["f"](at) == at["kv"] * at["heads"] * dim, at
        assert got.formulas["g"](at) == at["kv"] * dim * at["d"] + at["B"], at


def test_where_a_var_that_is_compared_with_meets_another_is_seen() -> None:
    # As of `if: i == skip` in a loop of depth rounds: after the last one, what follows reads 63 columns more.
    figures = {"total": "depth * W", "row": "W + 63 * (skip == depth - 1)"}
    got = found(figures, thresholds=[4, "skip"], W=256, depth=11, skip=4)  # type: ignore[arg-type]
    assert got.formulas == {"total": variable("depth") * variable("W")}


def test_a_step_in_two_vars_together_is_seen() -> None:
    # As the expected load of experts, a quarter of B·T tokens: any T with B = 4, multiples of 4 with B = 1.
    got = found({"f": "B * T // 4 * d"}, B=1, T=512, d=64)
    assert {one.name: one.step for one in got.ranges} == {"B": 1, "T": 4, "d": 1}


def test_a_figure_that_is_wrong_at_the_least_values_together_holds_for_greater_ones() -> None:
    # As what is copied unless it has one element: alone, T = 1 and S = 1 are as others.
    got = found({"f": "B * (T * S if T * S > 1 else 5)", "g": "B * T"}, B=3, T=64, S=96)
    assert str(got.formulas["f"]) == "B·T·S"
    assert {one.name: (one.step, one.low, one.bounds("f")[0]) for one in got.ranges} == {
        "B": (1, 1, 3), "T": (1, 1, 64), "S": (1, 1, 96),
    }  # fmt: skip


def test_a_var_that_makes_evaluations_dear_is_not_so_small_that_another_has_no_choice() -> None:
    def sample(at: Mapping[str, int]) -> dict[Key, int] | None:
        cost = 400 * at["experts"]
        return {COST: cost, "f": at["top_k"] * at["B"] + at["experts"]} if at["top_k"] <= at["experts"] else None

    got = Interpolation(sample, {"experts": 6, "top_k": 2, "B": 1}, ["f"], 2).find()
    assert {one.name: (one.low, one.high >= 6) for one in got.ranges} == {
        "experts": (2, True),
        "top_k": (1, True),
        "B": (1, True),
    }
    assert got.formulas["f"](top_k=5, B=7, experts=11) == 46


def test_the_smaller_of_two_in_several_vars_is_no_formula_where_the_other_is() -> None:
    # A latent of 512 is kept, unless keys and values of few small heads are less: with 16 heads from 16 each, with 128
    # each from 2 heads, and not with 2 heads of 16 each.
    got = found({"kept": "B * min(512, 2 * heads * nope) + B", "macs": "B * heads * nope"}, B=3, heads=16, nope=128)
    assert str(got.formulas["kept"]) == "513B"
    low = {one.name: one.bounds("kept")[0] for one in got.ranges}
    assert 2 * low["heads"] * low["nope"] >= 512


def test_what_is_no_polynomial_is_named_with_its_var() -> None:
    got = found({"f": "B * (size // 7) ** 2", "g": "B * 2 ** min(depth, 40)", "h": "3 * B"}, B=1, size=64, depth=3)
    assert set(got.formulas) == {"h"}
    # 64, 128, 192 and 256 over 7 are 9, 18, 27 and 36: not so at 1,024.
    assert got.broken == {"f": ("size",), "g": ("depth",)}


def test_figures_of_which_none_has_a_formula_are_all_named() -> None:
    got = found({"f": "2 ** min(depth, 60) * B"}, B=1, depth=3)
    assert (got.formulas, got.broken) == ({}, {"f": ("depth",)})


def test_a_maximum_far_from_the_values_is_no_wrong_formula() -> None:
    # Up to 12,800 the second alone; the first is the larger in the far corner of B and T, along no axis.
    got = found({"f": "max(B * T, 40_000)"}, B=1, T=512)
    for name, formula in got.formulas.items():
        assert all(formula(B=b, T=t) == max(b * t, 40_000) for b, t in ((48, 8192), (1, 1), (1, 512))), name


def test_a_value_that_the_network_compares_with_bounds_the_range() -> None:
    # Of depth layers one is wider, unless it is the last: what is behind is wider then, at depth = 5 alone.
    got = found({"f": "B * depth", "g": "B * (9 if depth == 5 else 3)"}, [4], B=1, depth=8)
    (depth,) = (one for one in got.ranges if one.name == "depth")
    assert (depth.bounds("f")[0], depth.bounds("g")[0]) == (1, 6)
    # Found at 12, 13 and 192: from 20 on it is not looked at.
    got = found({"g": "B * (9 if depth == 20 else 3)"}, [20], B=1, depth=12)
    (depth,) = (one for one in got.ranges if one.name == "depth")
    assert depth.bounds("g") == (1, 19)
    # Between the values that it was found from, as 12 and 24 for a square, it is none.
    assert found({"g": "B * depth * (9 if depth == 20 else depth)"}, [20], B=1, depth=12).broken == {"g": ("depth",)}


def test_the_formula_of_a_sum_takes_no_points_of_its_own() -> None:
    parts = {"attention": "4 * B * T * T * d", "mlp": "B * T * d * d + d", "head": "B * d * vocab + vocab", "one": "1"}
    figures = {**parts, "n": "depth", "all": "depth * (4*B*T*T*d + B*T*d*d + d) + B * d * vocab + vocab"}
    sums: dict[Key, Sequence[tuple[Key, Key]]] = {"all": [("n", "attention"), ("n", "mlp"), ("one", "head")]}
    base = {"B": 2, "T": 64, "d": 32, "depth": 4, "vocab": 1000}
    apart, together = found(figures, **base), found(figures, sums=sums, **base)
    assert together.formulas == apart.formulas
    assert together.formulas["all"](base) == 4 * (4 * 2 * 64**2 * 32 + 2 * 64 * 32**2 + 32) + 2 * 32 * 1000 + 1000
    # The sum has six terms, no part more than two.
    assert together.evaluations < apart.evaluations - 4
    # What is no sum of the parts is found by itself.
    other = found({**figures, "all": "B * depth * T"}, sums=sums, **base)
    assert str(other.formulas["all"]) == "B·T·depth"


def test_a_large_step_is_not_followed_where_the_next_value_fits() -> None:
    # T, T + 1 and 16 T fit a line, as T + 3 and 1 do.
    values = set()

    def sample(at: Mapping[str, int]) -> dict[Key, int]:
        values.add(at["T"])
        return {"f": 3 * at["T"] + 1}

    Interpolation(sample, {"T": 512}, ["f"], 0).find()
    assert values == {512, 513, 515, 1, 8192}


def test_terms_that_vanish_at_the_first_values_are_found() -> None:
    # Where d = 64, f does not grow with T and B; where T = 32 or B = 3, g is 0.
    figures = {"f": "(d - 64) * T * B + d * d", "g": "(T - 32) * (B - 3) * d", "h": "B * T * d"}
    got = found(figures, d=64, T=32, B=3)  # type: ignore[arg-type]
    d, T, B = map(variable, ("d", "T", "B"))  # noqa: N806
    assert got.formulas == {"f": (d - 64) * T * B + d * d, "g": (T - 32) * (B - 3) * d, "h": B * T * d}


def test_a_rounded_size_takes_few_points() -> None:
    # (1,066 + 22) / 32 are 34 strides: in the width alone there are four terms and more, in the strides two.
    n = "((width + 31) // 32)"
    figures = {"f": f"B * {n} * {n} * d + B * {n} * d * d", "width": "width"}
    got = found(figures, width=1066, d=256, B=3)
    at = {"width": 1066 + 320, "d": 512, "B": 4}
    assert got.formulas["f"](at) == 4 * 44 * 44 * 512 + 4 * 44 * 512 * 512
    assert next(one.step for one in got.ranges if one.name == "width") == 32


def test_figures_that_stand_in_for_others_are_sought_where_those_are_missing() -> None:
    def sample(at: Mapping[str, int]) -> dict[Key, int]:
        layers: dict[Key, int] = {f"layer {i}": at["B"] for i in range(at["depth"])}
        return {"all": at["depth"] * at["B"], "most": at["B"], "peak": max(100, at["B"]), **layers}

    def sought(**base: int) -> set[Key]:
        fixed = {"B": 1, "depth": 12, **base}
        search = Interpolation(
            lambda at: sample({**fixed, **at}), base, ["all"], 2, ignored=["peak"], is_instead=lambda key: key == "most"
        )
        return set(search.find().formulas)

    layers = {f"layer {i}" for i in range(12)}
    assert sought(B=2) == {"all", *layers}
    assert sought(B=2, depth=12) == {"all", "most", *layers}


_TERMS = st.lists(
    st.tuples(st.integers(1, 40), st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 2))),
    min_size=1, max_size=5,
)  # fmt: skip
_PLANTED = st.one_of(
    st.just("0"),
    st.builds("(x // {}) * y".format, st.integers(2, 40)),
    st.builds("-(-y // {})".format, st.integers(2, 9)),
    st.builds("max(x, {}) * n".format, st.integers(1, 3000)),
    st.builds("min(y * n, {})".format, st.integers(1, 9000)),
    st.builds("{} * (y > {})".format, st.integers(1, 9), st.integers(1, 2000)),
    st.builds("max(x * y, {} * n * x)".format, st.integers(1, 900)),
    st.builds("(x * n) % {}".format, st.integers(2, 12)),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(_TERMS, _PLANTED, st.integers(1, 64), st.sampled_from([6, 48, 224, 512, 768]), st.integers(1, 12))
def test_no_wrong_formula_is_given_whatever_is_planted(
    terms: list[tuple[int, tuple[int, ...]]], planted: str, x: int, y: int, n: int
) -> None:
    plain = " + ".join(f"{c} * n**{a} * x**{b} * y**{e}" for c, (a, b, e) in terms)
    base = {"n": n, "x": x * 12, "y": y}
    got = found({"plain": plain, "planted": f"{plain} + {planted}"}, **base)
    assert "plain" in got.formulas
    chance = random.Random(1)
    formula = got.formulas.get("planted")
    wrong = 0
    for _ in range(200 if formula is not None else 0):
        at = {}
        for one in got.ranges:
            choices, (low, high) = one.choices(), one.bounds("planted")
            most = bisect_right(choices, high) - (first := bisect_left(choices, low))
            at[one.name] = choices[first + int(math.exp(chance.uniform(0, math.log(most)))) - 1]
        assert formula is not None
        wrong += formula(at) != eval(f"{plain} + {planted}", {"max": max, "min": min}, at)
    assert not wrong, (str(formula), planted, [(one.name, one.low, one.high, one.step) for one in got.ranges])


# --- formulas --------------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_formulas_are_grouped_for_reading_and_run_as_python() -> None:
    B, T, d, depth = map(variable, ("B", "T", "d", "depth"))  # noqa: N806
    macs = B * T * d * (2 * depth * (T + 6 * d) + 50257)
    assert str(macs) == "B·T·d·(2·depth·(6d + T) + 50257)"
    assert macs.text("latex") == r"B \cdot T \cdot d \cdot (2 \cdot \mathrm{depth} \cdot (6 \cdot d + T) + 50257)"
    at = {"B": 1, "T": 1024, "d": 768, "depth": 12}
    assert eval(macs.text("python"), at) == macs(at) == 145_824_153_600
    assert str(d * (depth * (12 * d + 13) + 51283)) == "d·(depth·(12d + 13) + 51283)"
    assert str((d - T) * (d - T)) == "d·(d − 2T) + T²"


def test_a_formula_takes_arrays_and_keeps_whole_numbers_exact() -> None:
    np = pytest.importorskip("numpy")
    d = variable("d")
    assert (d * d * d)(d=10**9) == 10**27
    assert list((d * d + 1)(d=np.array([2, 3]))) == [5.0, 10.0]
    assert list(Maximum([d * d, 10 * d])(d=np.array([2, 30]))) == [20.0, 900.0]
    with pytest.raises(TypeError, match="d: no value"):
        d()


def test_one_formula_is_nowhere_above_another() -> None:
    d, T = variable("d"), variable("T")  # noqa: N806
    assert is_at_most(d + T, d * T + 1, {"d": 1, "T": 1})  # (d − 1)(T − 1) ≥ 0
    assert not is_at_most(d * T, d + T, {"d": 1, "T": 1})
    assert Maximum([d, T]).text() == "max(d, T)"
    assert str(Maximum([d + 3, T + 3]) + Polynomial(("d",), {(1,): 1})) == "d + 3 + max(d, T)"
