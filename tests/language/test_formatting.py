"""The layout of specs: arrows in one column, calls spaced alike, and nothing else changed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_specs import Made, made_specs
from paths import ROOT
from spec_pieces import FRAGMENTS

from fwdscope.guide import TOPICS, page
from fwdscope.inspection import inspect_spec
from fwdscope.language.check import check
from fwdscope.language.formatting import format_text
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source, SpecError
from fwdscope.language.source import decode
from fwdscope.report import Report
from fwdscope.targets import shipped_specs

OK = [one.read_text(encoding="utf-8") for one in sorted((Path(__file__).parent / "ok").glob("*.yaml"))]
PAGES = [(ROOT / "README.md").read_text(encoding="utf-8"), *map(page, TOPICS)]
EXAMPLES = [text for one in PAGES for text in re.findall(r"```yaml\n(.*?)```", one, re.S)]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
HEAD = "inputs:\n  x: randn(2, 8)\nlayers:\n"


def formatted(text: str) -> str:
    return format_text(Source("net.yaml", text))


def line(text: str) -> str:
    """A line of layers, as it is laid out."""
    after = formatted(f"{HEAD}  - {text}\n")
    assert after.startswith(f"{HEAD}  - ")
    return after[len(HEAD) + 4 : -1]


def tree_of(text: str) -> str:
    """The tree of a text, without places, and without blanks in the texts that it keeps."""
    return re.sub(r"\s|Span\(start=\d+,end=\d+\)", "", re.sub(r"\s", "", repr(parse(Source("net.yaml", text)))))


@pytest.mark.parametrize("file", shipped_specs().values(), ids=lambda one: one.stem)
def test_specs_that_ship_are_laid_out(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert formatted(text) == text


def test_examples_of_the_readme_and_of_the_guide_are_laid_out() -> None:
    assert len(EXAMPLES) > len(TOPICS)
    assert [formatted(text) for text in EXAMPLES] == EXAMPLES


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("conv1=Conv2d(64,3,padding = 1)", "conv1 = Conv2d(64, 3, padding=1)"),
        ("y = relu( x@w+1 )", "y = relu(x @ w + 1)"),
        ("x-1", "x - 1"),
        ("f(-1, - x, *row, * row)", "f(-1, -x, *row, *row)"),
        ("2**-1*d//4%3", "2 ** -1 * d // 4 % 3"),
        ("a<b==c!=d<=e>=f>g", "a < b == c != d <= e >= f > g"),
        ("(1,)", "(1,)"),
        ("( 1 , 2 , )", "(1, 2,)"),
        ("Up (width) ( x,skip )", "Up(width)(x, skip)"),
        ("x . shape [ 1 ]", "x.shape[1]"),
        # What slices have around their colons stays; what is computed in them is spaced.
        ("x[:,1 :3, ...,None]", "x[:, 1 :3, ..., None]"),
        ("x[i+1:]", "x[i + 1:]"),
        ("ys=[i*2  for i in range( 3 )if i>1]", "ys = [i * 2 for i in range(3) if i > 1]"),
        ("a  if  not b else(c)", "a if not b else (c)"),
        ("x  is not None and(y)in z", "x is not None and (y) in z"),
        ("q,k , v=x.chunk(3,-1)", "q, k, v = x.chunk(3, -1)"),
        ("out,(h,c)=LSTM(8)", "out, (h, c) = LSTM(8)"),
        ("3*Block(8)", "3 * Block(8)"),
        ("~mask|other&third", "~mask | other & third"),
        ("x*1e-5+.5e+3-0xE-1", "x * 1e-5 + .5e+3 - 0xE - 1"),
        # Strings stay what they are.
        ("pad(x, 'a,b  =c', mode  = 'reflect' )", "pad(x, 'a,b  =c', mode='reflect')"),
        ("'pad(x, ''a,b'',mode = ''c,d'' )'", "'pad(x, ''a,b'', mode=''c,d'')'"),
        ("\"z = pad( x,mode = 'a,b' )\"", "\"z = pad(x, mode='a,b')\""),
        ("ReLU    # a,b=c", "ReLU    # a,b=c"),
        ("Linear(8)->(2,8)", "Linear(8)    -> (2, 8)"),
        ("größe=Linear(8)(x,naïve=1)", "größe = Linear(8)(x, naïve=1)"),
    ],
)
def test_the_spacing_of_a_line(before: str, after: str) -> None:
    assert line(before) == after
    assert line(after) == after


def test_all_texts_of_a_spec_are_spaced_and_the_rest_stays() -> None:
    before = (
        "# head,of=file\n"
        "doc:   a,b =c\n"
        "vars: {B: 1,d: 2*4,   s: 'a,b'}\n"
        "inputs:\n"
        "   x: randn(B,d)\n"
        "defaults:\n- Linear(bias = False)\n"
        "blocks:\n"
        "  Up(w,n = 2)(x,y):   # two,inputs\n"
        "  - x+y*n*w\n"
        "layers:\n"
        "- modules:\n"
        "    convs: [Linear(d),Linear(d)]\n"
        "    heads: {a: Linear(d,bias=True),b: ReLU}\n"
        "- branch( x ):\n"
        "  - heads.a(convs[0]( prev ))\n"
        "- for: i,j in [(1,2)]\n"
        "  do:\n"
        "  - if: i>j\n"
        "    then: [ReLU,   ReLU]\n"
        "- cat([heads.b(convs[1](x)),\n"
        "   -prev],\n"
        "\n"
        "   dim = -1)\n"
        "init:\n"
        "  bias: normal(mean=0,std = 0.1)\n"
        "expect:\n"
        "  output: (1,16)\n"
        "  macs: 2*d*B\n"
    )
    after = (
        "# head,of=file\n"
        "doc:   a,b =c\n"
        "vars: {B: 1,d: 2 * 4,   s: 'a,b'}\n"
        "inputs:\n"
        "   x: randn(B, d)\n"
        "defaults:\n- Linear(bias=False)\n"
        "blocks:\n"
        "  Up(w, n=2)(x, y):   # two,inputs\n"
        "  - x + y * n * w\n"
        "layers:\n"
        "- modules:\n"
        "    convs: [Linear(d), Linear(d)]\n"
        "    heads: {a: Linear(d, bias=True),b: ReLU}\n"
        "- branch(x):\n"
        "  - heads.a(convs[0](prev))\n"
        "- for: i, j in [(1, 2)]\n"
        "  do:\n"
        "  - if: i > j\n"
        "    then: [ReLU,   ReLU]\n"
        "- cat([heads.b(convs[1](x)),\n"
        "   -prev],\n"
        "\n"
        "   dim=-1)\n"
        "init:\n"
        "  bias: normal(mean=0, std=0.1)\n"
        "expect:\n"
        "  output: (1, 16)\n"
        "  macs: 2 * d * B\n"
    )
    assert formatted(before) == after
    assert formatted(before.replace("\n", "\r\n")) == after.replace("\n", "\r\n")


def test_a_list_of_vars_that_is_one_text_is_spaced() -> None:
    head = "vars:\n  n: [i*2 for i in range(3)]\n  m: [[1,2], [d-1, 3]]\n  d: 3\n"
    assert formatted(head + HEAD + "  - ReLU\n").startswith(
        "vars:\n  n: [i * 2 for i in range(3)]\n  m: [[1,2], [d - 1, 3]]\n  d: 3\n"
    )


def test_a_continued_line_never_begins_with_a_dash_and_a_blank() -> None:
    # YAML would take `- 1` for an item.
    assert line("x\n      -1").endswith("x\n      -1")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # None in one column: four blanks behind the longest line.
        (["Linear(8) -> (2, 8)", "ReLU -> (2, 8)"], ["Linear(8)    -> (2, 8)", "ReLU         -> (2, 8)"]),
        # The column that most have stays, if every line leaves room.
        (
            ["ReLU            -> (2, 8)", "Tanh            -> (2, 8)", "Linear(8) -> (2, 8)"],
            ["ReLU            -> (2, 8)", "Tanh            -> (2, 8)", "Linear(8)       -> (2, 8)"],
        ),
        # Else the longest line decides.
        (
            ["ReLU  -> (2, 8)", "Tanh  -> (2, 8)", "Linear(8) -> (2, 8)"],
            ["ReLU         -> (2, 8)", "Tanh         -> (2, 8)", "Linear(8)    -> (2, 8)"],
        ),
        # A line that ends beyond column 84 moves no other: 4 + 82 characters.
        (["ReLU     -> (2, 8)", f"{'x + ' * 20}11 -> (2, 8)"], ["ReLU     -> (2, 8)", f"{'x + ' * 20}11  -> (2, 8)"]),
        # Comments in one column are in one again; one that stands alone keeps its distance.
        (
            ["Linear(8)->(2, 8)   # a", "ReLU                # b", "Tanh", "x+1 # c"],
            ["Linear(8)    -> (2, 8)   # a", "ReLU                     # b", "Tanh", "x + 1 # c"],
        ),
        (
            ["Linear(8,bias=True)   # a", "ReLU                  # b"],
            ["Linear(8, bias=True)   # a", "ReLU                   # b"],
        ),
        (["Linear( 8 )   # a", "ReLU          # b"], ["Linear(8)     # a", "ReLU          # b"]),
    ],
)  # fmt: skip
def test_arrows_and_comments_stand_in_columns(before: list[str], after: list[str]) -> None:
    text, wanted = (HEAD + "".join(f"  - {one}\n" for one in lines) for lines in (before, after))
    assert formatted(text) == wanted
    assert formatted(wanted) == wanted


def test_a_spec_that_does_not_parse_is_refused_with_its_problems() -> None:
    with pytest.raises(SpecError, match="is never closed"):
        formatted(f"{HEAD}  - Linear(8\n")


# -- properties --------------------------------------------------------------------------------------------------------

# Where blanks may come or go: around signs, behind words that are followed by a blank.
_GAPS = re.compile(r"(?<=[\w)\]'] )(?=[-+*/@=<>(\[])|(?<=[,(\[])(?=[\w'])|(?<=[+*/@=] )(?=\w)|(?= ->)")


@st.composite
def loosely_spaced(draw: st.DrawFn) -> tuple[str, str]:
    """A spec, and the same with more blanks in its lines."""
    text = draw(st.sampled_from([*OK, *EXAMPLES]))
    start = text.index("layers:") if "layers:" in text else len(text)
    # Up to the next section: figures and a mesh are no expressions.
    end = re.compile(r"\n\w|\Z").search(text, start)
    places = [one.start() for one in _GAPS.finditer(text, start, end.start() if end else start)]
    places = [one for one in places if "#" not in text[text.rfind("\n", 0, one) : one]]
    chosen = draw(st.lists(st.sampled_from(places), max_size=12, unique=True)) if places else []
    loose = text
    for place in sorted(chosen, reverse=True):
        loose = f"{loose[:place]}{' ' * draw(st.integers(1, 3))}{loose[place:]}"
    return text, loose


@QUICK
@given(loosely_spaced())
def test_any_spacing_is_laid_out_in_the_same_way(pair: tuple[str, str]) -> None:
    text, loose = pair
    try:
        before = tree_of(loose)
    except SpecError:
        return
    after = formatted(loose)
    assert tree_of(after) == before
    assert formatted(after) == after
    # Line ends and comments are those of the file.
    assert [one.partition("#")[2] for one in after.splitlines()] == [
        one.partition("#")[2] for one in loose.splitlines()
    ]
    assert re.sub(r"[ ]", "", after) == re.sub(r"[ ]", "", loose)
    if before == tree_of(text):
        # But for the column of the arrows, and of comments, which is the file's own.
        squeezed = (re.sub(r" +(?=->|#)", " ", formatted(one)) for one in (text, loose))
        assert next(squeezed) == next(squeezed)


@settings(QUICK, max_examples=12)
@given(made_specs(), st.data())
def test_the_report_stays_the_same(made: Made, data: st.DataObject) -> None:
    lines = made.text.splitlines()
    tight = [re.sub(r"(?<=[\w)]) ?([*+,=]) ?(?=\w)", r"\1", one) if data.draw(st.booleans()) else one for one in lines]
    text = "\n".join([*lines[:5], *tight[5:], ""])

    def report(text: str) -> tuple[object, ...]:
        found: Report = inspect_spec(check(parse(Source("made.yaml", text))))
        rows = [(row.path, row.kind, row.output_shapes, row.params, row.flops, row.line) for row in found.layers]
        return found.totals, rows

    assert report(formatted(text)) == report(text)


def lay_out(data: bytes) -> None:
    """Any bytes are laid out, or refused, in little time; what is laid out stays so."""
    begun = time.process_time()
    try:
        after = format_text(decode(data, "fuzz.yaml"))
    except SpecError:
        after = ""
    took = time.process_time() - begun
    assert took < 1
    if after:
        assert formatted(after) == after


@QUICK
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"\x00")
def test_any_bytes_end_quickly(data: bytes) -> None:
    lay_out(data)


@QUICK
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_pieces_of_specs_are_laid_out_or_refused(text: str) -> None:
    lay_out(text.encode())


@QUICK
@given(st.lists(st.sampled_from([f for f in FRAGMENTS if "\n" not in f and "\r" not in f]), max_size=12).map("".join))
@example("x" + " " * 5000 + "+" * 500 + "x")
@example("-" * 1500 + "x")
def test_one_line_of_anything_is_laid_out_or_refused(text: str) -> None:
    lay_out(f"{HEAD}  - {text}\n".encode())
