"""The JSON Schema accepts every good spec, and refuses only what the parser refuses too."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from paths import ROOT, TESTS

from fwdscope.language import schema as made
from fwdscope.language.bodies import CONTROL
from fwdscope.language.check import INITIALISERS, check
from fwdscope.language.names import OWN_TENSORS, SERIES
from fwdscope.language.parser import FIGURES, SECTIONS, parse
from fwdscope.language.problems import Source, SpecError
from fwdscope.layers import LAYERS
from fwdscope.layers.base import required_inputs

GOOD = sorted([*ROOT.glob("specs/*.yaml"), *TESTS.glob("language/ok/*.yaml"), *TESTS.glob("specs/networks/*.yaml")])
SCHEMA = made.schema()
VALIDATOR = Draft202012Validator(SCHEMA)

# Every section, every kind of line, both spellings of a number.
WHOLE = """\
version: 1
name: whole
doc: 2015
vars: {B: 2, d: 8, half: d // 2, on_top: true, none: null, eps: 1e-5, kind: 'relu', rows: [1, [2, x]], größe: 3, x: 4}
inputs:
  image: rand(B, 3, 16, 16)
  other: rand(B, d)
defaults:
  - Conv2d(bias=False)
  - ReLU()
blocks:
  Block(width, stride=1):
    - conv = Conv2d(width, 3, stride=stride, padding=1)
    - if: stride > 1
      then:
        - ReLU
      else:
        - Identity
  Join()(x, y):
    - x + y
layers:
  - stem:
      - conv1 = Conv2d(d, 3, padding=1)   -> (B, 8, 16, 16)
      - 0:
          - bn = BatchNorm2d
      - ReLU
  - if: on_top
    then:
      - h = 2 * Block(d)
  - body = Sequential(Block(w) for w in [8, 8])
  - pooled = prev.mean((2, 3))
  - modules:
      shared: Linear(d)
      more: [Linear(d, bias=False) for i in range(2)]
      heads: {a: Linear(d), b: ReLU}
  - for: t in range(3)
    name: rounds
    do:
      - fc = Linear(d)
  - heads.b(heads.a(more[1](more[0](shared(prev)))))
  - while: abs(prev).sum() > 1
    do:
      - prev / 2
    limit: 100
  - branch(prev):
      - Linear(d)
  - y = Join()(prev, other)
  - y * size
init:
  Linear.weight: xavier_uniform()
  bias: zeros()
  conv1.weight: normal(std=0.02)
expect:
  output: (B, 8)
  params: 1_000
  macs: 4.09G
  peak_memory: <= 250 MiB
  latency: "<= 40 ms on cpu"
  layers:
    stem.conv1: {params: 216, output: _}
""".replace("y * size", "y * größe")

GRAPH = """\
inputs: {x: 'rand(2, 3)'}
graph:
  - (out, extra) = fc.chunk(2, -1)
  - both = out + extra
  - fc = Linear(8)(x)
"""

MINIMAL: dict[str, Any] = {"inputs": {"x": "rand(2, 3)"}, "layers": ["fc = Linear(8)"]}


class TextLoader(yaml.SafeLoader):
    """Every scalar stays text, as the language itself reads it."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def readings(text: str) -> list[Any]:
    return [yaml.safe_load(text), yaml.load(text, TextLoader)]


def accepts(spec: Any) -> bool:
    return bool(VALIDATOR.is_valid(spec))


def parser_accepts(text: str) -> bool:
    try:
        check(parse(Source("spec.yaml", text)))
    except SpecError:
        return False
    return True


def written(spec: Any) -> str:
    return str(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False, width=10_000))


@pytest.mark.core
def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(made.dumps()) == SCHEMA
    assert made.dumps().isascii()
    assert (SCHEMA["$schema"], SCHEMA["$id"]) == (made.DIALECT, "urn:fwdscope:spec:1")


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_every_spec_is_accepted(file: Path) -> None:
    for reading in readings(file.read_text(encoding="utf-8")):
        assert [error.message for error in VALIDATOR.iter_errors(reading)] == []


@pytest.mark.parametrize("text", [WHOLE, GRAPH, written(MINIMAL)], ids=["whole", "graph", "minimal"])
def test_schema_and_parser_accept_what_uses_every_section_and_line(text: str) -> None:
    check(parse(Source("spec.yaml", text)))
    for reading in readings(text):
        assert [error.message for error in VALIDATOR.iter_errors(reading)] == []


MISTAKES: dict[str, dict[str, Any]] = {
    "unknown section": {"model": ["ReLU"]},
    "layers and graph": {"graph": ["y = relu(x)"]},
    "neither": {"layers": ...},
    "missing inputs": {"inputs": ...},
    "no inputs": {"inputs": {}},
    "empty inputs": {"inputs": None},
    "inputs as a list": {"inputs": ["x"]},
    "an input as a list": {"inputs": {"x": [2, 3]}},
    "an input that is a number": {"inputs": {"x": 3}},
    "empty layers": {"layers": []},
    "layers without lines": {"layers": None},
    "layers as a mapping": {"layers": {"fc": "Linear(8)"}},
    "layers as a text": {"layers": "Linear(8)"},
    "a colon for the equals sign": {"layers": [{"fc": "Linear(8)"}]},
    "a line that is a list": {"layers": [["Linear(8)", "ReLU"]]},
    "a line that is a number": {"layers": [8]},
    "a line that is empty": {"layers": ["ReLU", None]},
    "a part without lines": {"layers": [{"stem": []}]},
    "two parts in one": {"layers": [{"stem": ["ReLU"], "head": ["ReLU"]}]},
    "a part that is no name": {"layers": [{"a-b": ["ReLU"]}]},
    "for without do": {"layers": [{"for": "t in range(3)"}]},
    "for over nothing": {"layers": [{"for": "t", "do": ["ReLU"]}]},
    "for with else": {"layers": [{"for": "t in range(3)", "do": ["ReLU"], "else": ["ReLU"]}]},
    "if without then": {"layers": [{"if": "True", "else": ["ReLU"]}]},
    "an unknown key beside if": {"layers": [{"if": "True", "then": ["ReLU"], "elif": ["ReLU"]}]},
    "an empty then": {"layers": [{"if": "True", "then": []}]},
    "an if over a list": {"layers": [{"if": ["True"], "then": ["ReLU"]}]},
    "while without do": {"layers": [{"while": "x.sum() > 1", "limit": 10}]},
    "a list as limit": {"layers": [{"while": "x.sum() > 1", "do": ["ReLU"], "limit": [10]}]},
    "a layer that does not exist": {"layers": ["Linaer(8)"]},
    "another framework's layer": {"layers": ["fc = Dense(8)", "2 * Dense(8)"]},
    "modules without layers": {"layers": [{"modules": {}}, "ReLU"]},
    "modules as a list": {"layers": [{"modules": ["Linear(8)"]}, "ReLU"]},
    "modules with a name that is none": {"layers": [{"modules": {"a-b": "Linear(8)"}}, "ReLU"]},
    "lines beside modules": {"layers": [{"modules": {"a": "Linear(8)"}, "do": ["ReLU"]}, "a"]},
    "a loop's name that is none": {"layers": [{"for": "i in range(3)", "name": "a-b", "do": ["ReLU"]}]},
    "version 2": {"version": 2},
    "version as a list": {"version": [1]},
    "a name of several": {"name": ["a", "b"]},
    "keys in doc": {"doc": {"ResNet": "a net"}},
    "vars as a list": {"vars": [{"B": 1}]},
    "empty vars": {"vars": None},
    "a var with keys": {"vars": {"B": {"C": 1}}},
    "a var that is no name": {"vars": {"2d": 1}},
    "a var called prev": {"vars": {"prev": 1}},
    "a var called _": {"vars": {"_": 1}},
    "an input that is no name": {"inputs": {"x": "rand(2, 3)", "y-z": "rand(2)"}},
    "defaults as a mapping": {"defaults": {"Conv2d": "bias=False"}},
    "a default that is no call": {"defaults": ["Conv2d"]},
    "a default by position": {"defaults": ["Conv2d(64)"]},
    "blocks as a list": {"blocks": ["Block"]},
    "a block in small letters": {"blocks": {"block": ["ReLU"]}},
    "a block that is no name": {"blocks": {"Bl-ock": ["ReLU"]}},
    "a block cut at its comma": {"blocks": {"Block(d": None, "k)": ["ReLU"]}},
    "a block without lines": {"blocks": {"Block": []}},
    "a block that is a text": {"blocks": {"Block": "ReLU"}},
    "init as a list": {"init": ["zeros()"]},
    "an initialiser that is no call": {"init": {"fc.weight": "zeros"}},
    "an initialiser that is a number": {"init": {"fc.weight": 0}},
    "an unknown initialiser": {"init": {"fc.weight": "xavier()"}},
    "a glob in init": {"init": {"*.weight": "zeros()"}},
    "expect as a list": {"expect": ["params"]},
    "an unknown figure": {"expect": {"parameters": 32}},
    "a figure that is a list": {"expect": {"params": [32]}},
    "a figure that is none": {"expect": {"params": "many"}},
    "an output that is a number": {"expect": {"output": 8}},
    "an unknown figure of a layer": {"expect": {"layers": {"fc": {"weights": 32}}}},
    "layers of a layer": {"expect": {"layers": {"fc": {"layers": {}}}}},
    "figures without a layer": {"expect": {"layers": {"params": 32}}},
}


@pytest.mark.parametrize("change", MISTAKES.values(), ids=MISTAKES)
def test_schema_and_parser_refuse_a_structural_mistake(change: dict[str, Any]) -> None:
    spec = {key: value for key, value in (MINIMAL | change).items() if value is not ...}
    assert accepts(MINIMAL)
    assert not accepts(spec)
    assert not parser_accepts(written(spec))


GRAPH_MISTAKES: dict[str, Any] = {
    "a line without a name": "relu(x)",
    "a comparison for a name": "x == x",
    "a part": {"stem": ["relu(x)"]},
    "a loop": {"for": "t in range(3)", "do": ["y = relu(x)"]},
    "a list": ["y = relu(x)"],
}


@pytest.mark.parametrize("line", GRAPH_MISTAKES.values(), ids=GRAPH_MISTAKES)
def test_schema_and_parser_refuse_what_has_no_place_in_a_graph(line: Any) -> None:
    spec = {"inputs": MINIMAL["inputs"], "graph": ["z = relu(x)"]}
    assert accepts(spec)
    spec["graph"].append(line)
    assert not accepts(spec)
    assert not parser_accepts(written(spec))


REPLACEMENTS: list[Any] = [None, "", "2 x", 3, [], ["x"], {}, {"x": ["ReLU"]}]


def mutants(spec: Any) -> Iterator[Any]:
    """The spec with one thing in it taken out, renamed, or replaced by something of another kind."""

    def places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            yield (*path, key)
            yield from places(node[key], (*path, key))

    def holder(tree: Any, path: tuple[Any, ...]) -> Any:
        for key in path[:-1]:
            tree = tree[key]
        return tree

    for path in places(spec, ()):
        for replacement in REPLACEMENTS:
            changed = copy.deepcopy(spec)
            holder(changed, path)[path[-1]] = replacement
            yield changed
        without = copy.deepcopy(spec)
        del holder(without, path)[path[-1]]
        yield without
        if isinstance(path[-1], str):
            for name in ("odd", "not a name", "9", "for"):
                renamed = copy.deepcopy(spec)
                inside = holder(renamed, path)
                inside[name] = inside.pop(path[-1])
                yield renamed


@pytest.mark.parametrize("text", [WHOLE, GRAPH], ids=["whole", "graph"])
def test_whatever_the_schema_refuses_the_parser_refuses(text: str) -> None:
    refused = [spec for spec in itertools.islice(mutants(yaml.safe_load(text)), 0, None, 2) if not accepts(spec)]
    assert len(refused) > 20
    assert [written(spec) for spec in refused if parser_accepts(written(spec))] == []


def subschemas(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            if key != "examples":
                yield from subschemas(value, f"{path}/{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from subschemas(value, f"{path}/{i}")


def test_every_section_key_and_figure_is_explained_with_an_example() -> None:
    described = dict(subschemas(SCHEMA))
    expected = {f"/properties/{name}" for name in SECTIONS}
    expected |= {f"/properties/expect/properties/{name}" for name in (*FIGURES, "output", "layers")}
    for i, (word, inside) in enumerate(CONTROL.items(), 1):
        expected |= {f"/$defs/line/anyOf/{i}/properties/{key}" for key in (word, *inside)}
    for path in expected:
        assert described[path]["description"].endswith("."), path
        assert described[path]["examples"], path


def test_the_examples_of_figures_are_figures() -> None:
    properties = SCHEMA["properties"]["expect"]["properties"]
    for name in FIGURES:
        for example in properties[name]["examples"]:
            spec = MINIMAL | {"expect": {name: example}}
            assert parser_accepts(written(spec)), (name, example)


def test_examples_fit_where_they_stand() -> None:
    found = 0
    for path, one in subschemas(SCHEMA):
        alone = Draft202012Validator({**one, "$defs": SCHEMA["$defs"]})
        for value in one.get("examples", ()):
            found += 1
            assert alone.is_valid(value), (path, value)
    assert found > len(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_the_example_of_a_layer_is_a_line_that_passes(name: str) -> None:
    line = made.example(LAYERS[name])
    inputs = required_inputs(LAYERS[name])
    text = written({"inputs": dict.fromkeys(inputs, "rand(2, 3)"), "layers": [line]})
    check(parse(Source("spec.yaml", text)))


def test_hovering_over_a_line_explains_its_layer() -> None:
    def titles(line: str) -> list[str]:
        return [branch["title"] for branch in explaining if Draft202012Validator(branch).is_valid(line)]

    branches = SCHEMA["$defs"]["text"]["anyOf"]
    explaining = [branch for branch in branches if "title" in branch]
    assert titles("h = 3 * Conv2d(64, 3)  -> (B, 64)") == ["Conv2d"]
    assert titles("Conv2d") == ["Conv2d"]
    assert titles("x + Conv2d(64, 3)(x)") == []
    assert titles("ReLU6") == ["ReLU6"]
    assert titles("layer1 = Sequential(Linear(8))") == ["Sequential"]
    conv = next(branch for branch in explaining if branch["title"] == "Conv2d")
    assert conv["description"].startswith("Conv2d(out_channels, kernel_size, *, stride=1, ")


@pytest.mark.core
def test_every_construct_of_the_language_is_offered() -> None:
    assert set(made.CONSTRUCTS) == {SERIES, *OWN_TENSORS}
    offered = {branch.get("title") for branch in SCHEMA["$defs"]["text"]["anyOf"]}
    assert offered - {None} == {*LAYERS, *made.CONSTRUCTS}


def test_initialisers_are_those_of_the_checker() -> None:
    values = SCHEMA["properties"]["init"]["additionalProperties"]
    for name in INITIALISERS:
        assert Draft202012Validator(values).is_valid(f"{name}()")
        assert f"{name}(" in values["description"]
