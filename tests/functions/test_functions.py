"""Every listed function and method: found in torch, signed as torch signs it, and giving what its entry says."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from function_examples import CALLS, CallExample

from fwdscope.functions import functions, own_functions, refusals
from fwdscope.functions.functions import FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.signature import Signature
from fwdscope.functions.vocabulary import Function, tables

Given = tuple[str, object]
REQUIRED = object()


each_example = pytest.mark.parametrize("example", CALLS, ids=repr)
each_entry = pytest.mark.parametrize(
    "entry", [*FUNCTIONS.values(), *METHODS.values()], ids=lambda entry: f"{entry.target}.{entry.name}"
)


def leaves(result: Any) -> list[Any]:
    return [leaf for item in result for leaf in leaves(item)] if isinstance(result, tuple | list | range) else [result]


def look(result: Any) -> list[Any]:
    """What is the same on every device: shapes and dtypes, and plain values."""
    return [(tuple(i.shape), i.dtype) if isinstance(i, torch.Tensor) else i for i in leaves(result)]


def draws(example: CallExample) -> bool:
    example.run("cpu")  # which seeds with 0 before the call
    return not torch.equal(torch.get_rng_state(), torch.manual_seed(0).get_state())


@each_example
def test_an_example_fits_its_signature_and_gives_what_its_entry_says_on_every_device(example: CallExample) -> None:
    assert list(example.fit.mismatches) == []
    assert draws(example) == example.entry.random
    result, on_meta = example.run("cpu"), example.run("meta")
    assert look(result) == look(on_meta)
    assert all(leaf.is_meta for leaf in leaves(on_meta) if isinstance(leaf, torch.Tensor))
    args, kwargs = example.arguments("cpu")
    tensors = [isinstance(leaf, torch.Tensor) for leaf in leaves(result)]
    given = any(isinstance(leaf, torch.Tensor) for leaf in leaves([*args, *kwargs.values()]))
    expected = {"tensor": True, "number": False, "like": given, "other": any(tensors)}[example.entry.gives]
    assert tensors
    assert all(found is expected for found in tensors) or example.entry.gives == "other"


def has_names(example: CallExample) -> bool:
    """Whether its arguments may be given by name: not Python's, of numbers or of a list, nor variadic ones."""
    kinds = {p.kind for p in example.fit.signature.parameters}
    args, _ = example.arguments("cpu")
    python = example.entry.numbers is not None and not isinstance(args[0], torch.Tensor)
    return not python and not kinds & {"variadic", "positional-only"}


NAMED = [example for example in CALLS if has_names(example)]


@pytest.mark.parametrize("example", NAMED, ids=repr)
def test_arguments_may_be_given_by_name_and_axis_for_dim(example: CallExample) -> None:
    expected = look(example.run("cpu"))
    assert look(example.run("cpu", by_name=True)) == expected
    if "dim" in example.names:
        assert look(example.run("cpu", by_name=True, axis=True)) == expected


@each_entry
def test_every_overload_has_an_example(entry: Function) -> None:
    fitted = {str(example.fit.signature) for example in CALLS if example.entry == entry}
    # A call of two arguments fits max(input, dim) and max(number, *numbers) alike; the first is what the text shows.
    assert fitted >= {s for s in map(str, entry.overloads) if not s.startswith("(number, /, *")}


# --- signatures against torch's --------------------------------------------------------------------------------------


# What torch dispatches, under a name that has a signature.
DISPATCHED = {f"max_pool{d}d": f"_max_pool{d}d" for d in (1, 2, 3)}
DISPATCHED |= {f"adaptive_max_pool{d}d": f"adaptive_max_pool{d}d_with_indices" for d in (1, 2, 3)}
# Parsed by hand in torch, without schema or signature; the calls by name above hold these.
UNREADABLE = {"tensor", "logsigmoid", "ndimension", "nelement", "new_zeros", "new_ones", "to", "einsum"}
UNREADABLE |= {"float", "double", "half", "bfloat16", "long", "int", "bool"}
# Where ours differs, and why.
STRICTER = {
    ("softmax", "dim"), ("softmin", "dim"), ("log_softmax", "dim"),  # torch guesses one, and warns
    ("one_hot", "num_classes"),  # counted from the data otherwise
    ("grid_sample", "align_corners"), ("affine_grid", "align_corners"),  # torch warns that the default changed
    ("meshgrid", "indexing"), ("cross", "dim"),  # torch warns that the default will change
}  # fmt: skip
# A default that torch writes as None and documents as this.
DOCUMENTED = {("std", "correction"), ("var", "correction"), ("std_mean", "correction"), ("var_mean", "correction")}
# The number by which a schema means torch.int64 (c10/core/ScalarType.h).
SCHEMA_INT64 = 4


def torch_signatures(entry: Function) -> Iterator[list[tuple[str, str, object]]]:
    """(name, kind, default) of every parameter, for each of torch's own overloads."""
    owner = torch.Tensor if entry.target == "torch.Tensor" else importlib.import_module(entry.target)
    found = getattr(owner, DISPATCHED.get(entry.name, entry.name), None) or getattr(owner, entry.name)
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except ValueError:
        prefix = "fft_" if entry.target == "torch.fft" else ""
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{prefix}{entry.name}"):
            yield [
                ("input" if a.name == "self" else a.name, "keyword" if a.kwarg_only else "positional",
                 a.default_value if a.has_default_value() else REQUIRED)
                for a in schema.arguments
            ]  # fmt: skip
        return
    yield [
        ("input" if p.name == "self" else p.name,
         {p.KEYWORD_ONLY: "keyword", p.VAR_POSITIONAL: "variadic"}.get(p.kind, "positional"),
         REQUIRED if p.default is p.empty else p.default)
        for p in parameters
    ]  # fmt: skip


def same_default(ours: str | None, torchs: object) -> bool:
    if ours is None or torchs is REQUIRED:
        return ours is None and torchs is REQUIRED
    if ours == "int64":
        return torchs == SCHEMA_INT64
    value = ast.literal_eval(ours)
    if isinstance(torchs, list | tuple) and not isinstance(value, tuple):
        # One number for all dimensions; an empty list is what the binding makes of None.
        return set(torchs) == {value} if torchs else value is None
    if isinstance(torchs, list):
        torchs = tuple(torchs)
    return value == torchs and isinstance(value, bool) == isinstance(torchs, bool)


def disagreement(entry: Function, ours: Signature, torchs: list[tuple[str, str, object]]) -> str | None:
    """Why a signature of ours is not a part of one of torch's; None where it is."""
    by_name = {name: (kind, default) for name, kind, default in torchs}
    receiver = ["input"] if entry.target == "torch.Tensor" else []
    in_order = [name for name, kind, _ in torchs if kind == "positional" and name not in receiver]
    positional = [p.name for p in ours.by_position]
    variadic = ours.variadic
    if variadic is None and in_order[: len(positional)] != positional:
        return f"by position {positional}, torch {in_order}"
    for parameter in ours.parameters:
        if parameter is variadic:
            continue
        if parameter.name not in by_name:
            return f"torch has no {parameter.name}"
        if (entry.name, parameter.name) in STRICTER | DOCUMENTED:
            continue
        if not same_default(parameter.default, by_name[parameter.name][1]):
            return f"{parameter.name}: {parameter.default} here, {by_name[parameter.name][1]} in torch"
    names = {*receiver, *(p.name for p in ours.parameters)}
    left_out = [
        name for name, kind, default in torchs if default is REQUIRED and kind != "variadic" and name not in names
    ]
    return f"torch demands {left_out}" if left_out and variadic is None else None


READABLE = [
    entry
    for entry in [*FUNCTIONS.values(), *METHODS.values()]
    if entry.target not in ("own", "python") and entry.name not in UNREADABLE
]


@pytest.mark.parametrize("entry", READABLE, ids=lambda entry: f"{entry.target}.{entry.name}")
def test_a_signature_agrees_with_torch(entry: Function) -> None:
    candidates = list(torch_signatures(entry))
    assert candidates
    for text, ours in zip(entry.signatures, entry.overloads, strict=True):
        if "number" in text:
            continue  # Python's own overload
        reasons = [disagreement(entry, ours, one) for one in candidates]
        assert None in reasons, f"{entry.name}{text}: {reasons}"


def test_the_comparison_with_torch_can_fail() -> None:
    softmax = [("input", "positional", REQUIRED), ("dim", "positional", REQUIRED), ("dtype", "keyword", None)]
    entry = Function("f", (), "torch", "", "")
    wrong = ["(dim, input)", "(input, dim=0)", "(input, dim, *, dtype=0)", "(input)", "(input, dim, *, axis=None)"]
    assert all(disagreement(entry, Signature.parse(text), softmax) for text in wrong)
    assert disagreement(entry, Signature.parse("(input, dim, *, dtype=None)"), softmax) is None


# --- the lists themselves --------------------------------------------------------------------------------------------


DANGEROUS = """
    save load compile hub jit export eval exec open import __import__ getattr setattr globals input print from_file
    nonzero unique masked_select bincount item tolist data backward detach manual_seed set_default_dtype no_grad empty
"""


@pytest.mark.parametrize("name", DANGEROUS.split())
def test_what_leaves_the_graph_or_touches_files_is_on_no_list(name: str) -> None:
    assert name not in FUNCTIONS
    assert name not in METHODS
    assert name not in ATTRIBUTES


def test_no_name_is_listed_and_refused() -> None:
    assert not FUNCTIONS.keys() & refusals.EXCLUDED.keys()
    assert not METHODS.keys() & refusals.EXCLUDED_METHODS.keys()
    assert not ATTRIBUTES.keys() & refusals.EXCLUDED_ATTRIBUTES.keys()
    assert set(refusals.OTHER_WORDS.values()) <= FUNCTIONS.keys() | METHODS.keys()
    assert not refusals.OTHER_WORDS.keys() & (FUNCTIONS.keys() | METHODS.keys())
    keywords = {name for entry in [*FUNCTIONS.values(), *METHODS.values()] for name in entry.keywords}
    assert set(refusals.OTHER_KEYWORDS.values()) <= keywords


def test_nothing_listed_acts_in_place_follows_the_mode_or_takes_a_device() -> None:
    forbidden = {"inplace", "out", "training", "device", "generator", "requires_grad", "dropout_p"}
    for entry in [*FUNCTIONS.values(), *METHODS.values()]:
        assert not entry.name.endswith("_")
        assert not forbidden & set(entry.keywords), entry.name


def test_every_entry_says_what_it_computes_in_a_line() -> None:
    for entry in [*FUNCTIONS.values(), *METHODS.values(), *ATTRIBUTES.values()]:
        assert 2 <= len(entry.doc) <= 120, entry.name
        assert not entry.doc.endswith(".")


def test_no_function_stands_on_the_list_twice() -> None:
    assert len(functions._TABLES) == len(FUNCTIONS)


def test_in_place_names_are_refused_with_the_way_to_write_them() -> None:
    assert "x = x.add(…)" in str(refusals.method_refusal("add_"))
    assert "zeros_like(x)" in str(refusals.method_refusal("zero_"))
    assert "relu(…)" in str(refusals.function_refusal("relu_"))
    assert "layer Dropout(p)" in str(refusals.function_refusal("dropout"))
    assert "x.shape[0]" in str(refusals.method_refusal("item"))
    assert refusals.function_refusal("softmx") is None
    assert refusals.method_refusal("__class__") is None


def test_a_row_that_is_none_is_a_fault_of_the_table() -> None:
    with pytest.raises(ValueError, match="not a row of a table"):
        list(tables("[activations] torch\nrelu input  # no parentheses"))
    with pytest.raises(ValueError, match="no heading above relu"):
        list(tables("relu(input)  # max(x, 0)"))


LISTS = ("functions", "methods", "refusals", "resolution", "own_functions", "python_functions")


def imports_torch(statement: str) -> bool:
    program = f"import sys; {statement}; print('torch' in sys.modules)"
    return (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "True\n"
    )


def test_reading_the_lists_and_computing_with_numbers_imports_no_torch() -> None:
    modules = "; ".join(f"from fwdscope.functions import {name}" for name in LISTS)
    assert not imports_torch(
        f"{modules}; from fwdscope.functions.functions import FUNCTIONS; "
        "from fwdscope.functions.methods import METHODS; "
        "[e.overloads for e in [*FUNCTIONS.values(), *METHODS.values()]]; "
        "call = lambda name, *args: resolution.implementation(FUNCTIONS[name])(*args); "
        "call('sqrt', 4); call('max', 1, 2); call('sum', [1, 2]); call('range', 3)"
    )


def test_the_test_of_the_import_can_fail() -> None:
    assert imports_torch(
        "from fwdscope.functions.resolution import implementation; from fwdscope.functions.functions import FUNCTIONS; "
        "implementation(FUNCTIONS['zeros'])(2)"
    )


def test_interleaved_rotary_positions_are_gpt_js() -> None:
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions

    x = torch.randn(2, 3, 7, 16)
    sin, cos = create_sinusoidal_positions(7, 16).split(8, -1)
    expected = apply_rotary_pos_emb(x.transpose(1, 2), sin[None], cos[None]).transpose(1, 2)
    torch.testing.assert_close(own_functions.rope(x, interleaved=True), expected)
