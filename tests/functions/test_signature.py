import pytest

from fwdscope.functions.signature import Mismatch, Parameter, Signature, closest

REDUCTION = Signature.parse("(input, dim=None, *, keepdim=False)")


@pytest.mark.core
@pytest.mark.parametrize(
    "text",
    [
        "()",
        "(input)",
        "(input, dim=None, *, keepdim=False)",
        "(*size, dtype=None)",
        "(equation, *operands)",
        "(number, ndigits=None, /)",
        "(items, /, *, reverse=False)",
        "(a, /, b, *, c)",
        "(input, dims=(-2, -1), norm='ortho', eps=1e-05)",
    ],
)
def test_a_signature_is_written_as_it_was_read(text: str) -> None:
    assert str(Signature.parse(text)) == text


@pytest.mark.parametrize("text", ["input", "(input", "(**kwargs)", "(a): pass\ndef g()", "(1)", ""])
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a signature"):
        Signature.parse(text)


def test_parameters_say_how_they_are_given() -> None:
    assert Signature.parse("(a, /, b, c=1, *rest, d, e=None)").parameters == (
        Parameter("a", "positional-only"),
        Parameter("b", "positional"),
        Parameter("c", "positional", "1"),
        Parameter("rest", "variadic"),
        Parameter("d", "keyword"),
        Parameter("e", "keyword", "None"),
    )


def test_a_default_or_a_star_makes_a_parameter_optional() -> None:
    signature = Signature.parse("(a, b=None, *rest, c, d=0)")
    assert [p.name for p in signature.parameters if p.required] == ["a", "c"]


@pytest.mark.parametrize(
    ("positional", "keywords"),
    [(1, []), (2, []), (0, ["input"]), (1, ["dim", "keepdim"]), (2, ["keepdim"]), (1, ["axis"])],
)
def test_a_call_that_fits_has_no_mismatch(positional: int, keywords: list[str]) -> None:
    assert REDUCTION.bind(positional, keywords) == []


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "positional", "keywords", "expected"),
    [
        ("(input, dim=None)", 3, [], Mismatch("takes at most 2 arguments, found 3", argument=2)),
        ("(input, dim)", 3, [], Mismatch("takes 2 arguments, found 3", argument=2)),
        ("(input)", 2, [], Mismatch("takes 1 argument, found 2", argument=1)),
        ("()", 1, [], Mismatch("takes no arguments, found 1", argument=0)),
        ("(input, *, dim=0)", 2, [], Mismatch("takes 1 argument by position, found 2", argument=1)),
        ("(input, dim=0)", 1, ["axes"], Mismatch("has no keyword 'axes'", keyword="axes")),
        ("(input, other)", 2, ["axis"], Mismatch("has no keyword 'axis'", keyword="axis")),
        ("(number, /)", 1, ["number"], Mismatch("has no keyword 'number'", keyword="number")),
        ("(*size)", 1, ["size"], Mismatch("has no keyword 'size'", keyword="size")),
        ("(input, dim)", 1, [], Mismatch("dim is missing")),
        ("(*tensors, indexing)", 2, [], Mismatch("indexing is missing")),
        ("(input, dim)", 2, ["dim"], Mismatch("dim is given twice", keyword="dim")),
        ("(input, dim)", 1, ["dim", "dim"], Mismatch("dim is given twice", keyword="dim")),
        ("(input, dim)", 1, ["dim", "axis"], Mismatch("dim is given twice (axis is dim)", keyword="axis")),
    ],
)
def test_a_mismatch_says_what_is_wrong_and_which_argument(
    text: str, positional: int, keywords: list[str], expected: Mismatch
) -> None:
    assert Signature.parse(text).bind(positional, keywords) == [expected]


def test_all_mismatches_are_told_at_once() -> None:
    messages = [m.message for m in Signature.parse("(a, b, *, c)").bind(3, ["a", "z"])]
    assert messages == [
        "takes 2 arguments by position, found 3",
        "a is given twice",
        "has no keyword 'z'",
        "c is missing",
    ]


def test_a_starred_argument_leaves_only_the_keywords_to_check() -> None:
    assert REDUCTION.bind(7, ["keepdim", "wide"], starred=True) == [Mismatch("has no keyword 'wide'", keyword="wide")]
    assert Signature.parse("(a, b, c)").bind(1, [], starred=True) == []


def test_of_several_overloads_the_one_that_knows_the_keyword_is_told() -> None:
    overloads = [Signature.parse(text) for text in ("(input)", "(input, dim, keepdim=False)", "(input, other)")]
    fit = closest(overloads, 1, ["keepdim"])
    assert fit.signature == overloads[1]
    assert [m.message for m in fit.mismatches] == ["dim is missing"]
    assert closest(overloads, 2, []).mismatches == ()
