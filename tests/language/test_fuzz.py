"""Any bytes give a checked spec, or problems with places inside the file, in little time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from attempts import check_places
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from spec_pieces import FRAGMENTS

from fwdscope.language.check import check
from fwdscope.language.composer import compose
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source, SpecError
from fwdscope.language.source import Scalar, YamlList, YamlMapping, YamlNode, decode
from fwdscope.limits import LIMITS

OK = [path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "ok").glob("*.yaml"))]
ERR = [path.read_bytes() for path in sorted((Path(__file__).parent / "err").glob("*.yaml"))]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def seconds(data: bytes) -> tuple[float, SpecError | None]:
    """Return the time that reading bytes as a spec takes, and the error that it raises."""
    begun = time.process_time()
    try:
        check(parse(decode(data, "fuzz.yaml")))
    except SpecError as error:
        return time.process_time() - begun, error
    return time.process_time() - begun, None


def read(data: bytes) -> None:
    """Read bytes as a spec, and check time, places and messages."""
    took, error = seconds(data)
    # Garbage collection may fall into one reading, but not into each of three.
    assert took < 1 or min(seconds(data)[0] for _ in range(2)) < 1
    if error is not None:
        check_places(error, data)


@QUICK
@given(st.binary(max_size=300))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe")
@example(b"\x00")
@example(b"layers: \xc3")
def test_any_bytes(data: bytes) -> None:
    read(data)


@QUICK
@given(st.text(max_size=200))
@example("inputs: {x: &a *a}\nlayers: *a")
@example("? [a]\n: b")
@example("- " * 200)
@example("[" * 200)
@example("a: " * 70)
@example("--- a\n--- b")
@example("%YAML 1.1\n---\na: b")
def test_any_text(text: str) -> None:
    read(text.encode("utf-8", errors="surrogatepass"))


@QUICK
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_pieces_of_specs(text: str) -> None:
    read(text.encode())


@QUICK
@given(st.lists(st.sampled_from([f for f in FRAGMENTS if "\n" not in f and "\r" not in f]), max_size=12).map("".join))
def test_one_line_of_anything(line: str) -> None:
    read(f"vars: {{d: 8, B: 2}}\ninputs:\n  x: randn(B, d)\n  y: randn(B, d)\nlayers:\n  - {line}\n".encode())


@QUICK
@given(st.data())
def test_specs_with_something_changed(data: st.DataObject) -> None:
    read(changed(data).encode())


def changed(data: st.DataObject) -> str:
    """Return a right spec with some of its text replaced."""
    text = data.draw(st.sampled_from(OK))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(FRAGMENTS)) + text[stop:]
    return text


@QUICK
@given(st.data())
def test_wrong_specs_with_something_changed(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(ERR)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read(bytes(raw))


# --- limits: refused before they cost ------------------------------------------------------------------------------

HEAD = "inputs:\n  x: randn(2, 8)\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "layers:\n" + "  - ReLU\n" * 60_000, "more than 50,000 nodes"),
        ("a:\n" + "".join("  " * i + "- a:\n" for i in range(1, 80)), "nested deeper than 64"),
        (HEAD + f"layers:\n  - {'-' * 1500}x\n", "nested deeper than 64"),
        (HEAD + f"layers:\n  - {'(' * 900}x{')' * 900}\n", "nested deeper than 64"),
        (HEAD + f"layers:\n  - {'(' * 900}x{')' * 900} = ReLU\n", "nested deeper than 64"),
        (HEAD + f"layers:\n  - {'x + ' * 600}x\n", "2,401 characters"),
        (HEAD + f"layers:\n  - {'a, ' * 1000}b = x\n", "characters"),
        (HEAD + "layers:\n  - x + 2 ** 10 ** 9\n", "exponent"),
        (HEAD + "layers:\n  - x + 9 ** 9 ** 9 ** 9\n", "exponent"),
        (HEAD + "layers:\n  - x + len([0] * 10 ** 12)\n", "1,000,000"),
        (HEAD + "layers:\n  - 10000000 * ReLU\n", "a stack of 10,000,000 copies"),
        ("vars:\n  n: range(10 ** 12)\n" + HEAD + "layers:\n  - ReLU\n", "1_000_000"),
        ("vars:\n  n: (0,) * 999999\n  m: n * 999999\n" + HEAD + "layers:\n  - ReLU\n", "1,000,000"),
        ("vars:\n  n: sum(range(1000000)) ** 64 ** 64\n" + HEAD + "layers:\n  - ReLU\n", "2**63"),
    ],
    ids=lambda value: re.sub(r"\s+", " ", value)[:30],
)
def test_specs_beyond_a_limit_are_refused_quickly(text: str, message: str) -> None:
    begun = time.process_time()
    with pytest.raises(SpecError) as error:
        check(parse(Source("large.yaml", text)))
    assert message in str(error.value)
    # Of 50,000 nodes nearly all of the time is the YAML parser's.
    assert time.process_time() - begun < (20 if "nodes" in message else 1)


def test_a_file_too_large_is_refused() -> None:
    with pytest.raises(SpecError, match="larger than 1,048,576 bytes"):
        decode(b"#" * (LIMITS["bytes"] + 1), "large.yaml")
    assert decode(b"#" * LIMITS["bytes"], "large.yaml").text


# A byte order mark is no column, and half of one is wrong at its beginning.
@pytest.mark.parametrize(
    ("data", "place", "byte"),
    [
        ("layers:\n  - größe".encode("latin-1"), "2:7", "0xf6"),
        (b"\xef\xbb\xbfa: \xfft", "1:4", "0xff"),
        (b"\xef\xbb\xffa", "1:1", "0xef"),
    ],
)
def test_bytes_that_are_not_utf_8_have_a_place(data: bytes, place: str, byte: str) -> None:
    with pytest.raises(SpecError) as error:
        decode(data, "latin.yaml")
    assert str(error.value).startswith(f"latin.yaml:{place}: error: byte {byte} is not UTF-8")


@pytest.mark.parametrize(
    "text",
    [
        "vars:\n" + "".join(f"  a{i}: a{i + 1}\n" for i in range(4000)) + "  a4000: 1\n" + HEAD + "layers:\n  - ReLU\n",
        HEAD + "graph:\n" + "".join(f"  - a{i} = relu(a{i + 1})\n" for i in range(2000)) + "  - a2000 = tanh(x)\n",
        HEAD
        + "blocks:\n"
        + "".join(f"  A{i}:\n    - A{i + 1}\n" for i in range(1500))
        + "  A1500:\n    - ReLU\nlayers:\n  - A0\n",
    ],
    ids=["vars", "graph", "blocks"],
)
def test_a_long_chain_of_uses_is_checked(text: str) -> None:
    check(parse(Source("row.yaml", text)))


# --- every character of a scalar knows where it stands ---------------------------------------------------------------

WORDS = st.text(st.sampled_from("abz019 ()[],=+-é漢😀'\"\\#:"), min_size=1, max_size=12)


def scalars(node: YamlNode | None) -> list[Scalar]:
    if isinstance(node, Scalar):
        return [node]
    if isinstance(node, YamlList):
        return [scalar for item in node.items for scalar in scalars(item)]
    if isinstance(node, YamlMapping):
        return [scalar for entry in node.entries for item in entry for scalar in scalars(item)]
    return []


def written(words: list[str], style: str, ends: str) -> str:
    """A list of one scalar, its words on lines of their own, in a style."""
    text = f"{ends}    ".join(words)
    if style == "single":
        text = "'" + text.replace("'", "''") + "'"
    if style == "double":
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"é: 1{ends}layers:{ends}  - {text}{ends}  - end{ends}"


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(WORDS, min_size=1, max_size=4),
    st.sampled_from(["plain", "single", "double"]),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
)
def test_every_character_of_a_scalar_has_its_place_in_the_file(words: list[str], style: str, ends: str) -> None:
    text = written(words, style, ends)
    try:
        reference = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return  # what is no YAML has no scalars
    root, problems = compose(Source("scalar.yaml", text))
    if problems or isinstance(reference, yaml.ScalarNode):
        return  # refused, as an escape or a tag is
    for scalar in scalars(root):
        assert len(scalar.text.offsets) == len(scalar.value)
        before = -1
        for character, offset in zip(scalar.value, scalar.text.offsets, strict=True):
            found = text[offset]
            # A line break is read as a space or as a break; a doubled quote or an escaped character sits at its first.
            assert found == character or (found in "\r\n" and character in " \n") or found == "\\"
            assert scalar.span.start <= offset < scalar.span.end
            assert offset > before
            before = offset


def test_an_escape_is_placed_inside_its_scalar() -> None:
    """Escapes are refused where they stand; their text is placed as a whole, never outside."""
    root, problems = compose(Source("escape.yaml", 'a: "x\\tyz"\n'))
    assert [problem.message for problem in problems] == ["the escape \\t is not part of the language"]
    value = scalars(root)[1]
    assert set(value.text.offsets) == {value.span.start}


@pytest.mark.parametrize("line", ["x if 1if x else 2", "x + 0x1for", "x == '\\d'", "x + 1or 2", "x + 1.5if 1else 2"])
def test_what_python_warns_of_is_not_warned_of(line: str, recwarn: pytest.WarningsRecorder) -> None:
    read(f"inputs:\n  x: randn(2, 8)\nlayers:\n  - {line}\n".encode())
    assert list(recwarn) == []
