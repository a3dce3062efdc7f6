"""The JSON Schema of specs, with which editors complete, explain and check a spec while it is written.

It is made from the parser's own tables. What the schema refuses, the parser refuses too; the parser also refuses much
that the schema accepts (names, settings, shapes).

Values may be JSON types, as most YAML readers give them (``B: 8`` a number), or all text, as the language reads them.
Patterns mean the same in Python and ECMAScript. Keys are checked by ``propertyNames``, since a key such as ``0`` may be
read as a number.
"""

from __future__ import annotations

import json
import types
import typing
from dataclasses import fields
from typing import Annotated, Any, Literal, NamedTuple

from fwdscope.functions.signature import Parameter, Signature
from fwdscope.language.bodies import CONTROL
from fwdscope.language.check import INITIALISERS
from fwdscope.language.names import CONSTRUCTORS, SERIES
from fwdscope.language.parser import FIGURES, LANGUAGE_VERSION, LAYER_FIGURES, RANK_FIGURES, SECTIONS
from fwdscope.language.plan import DIMENSIONS, STYLES
from fwdscope.language.plan_parser import PLAN_LISTS
from fwdscope.layers import LAYERS, Buildable, Layer, page, settings
from fwdscope.layers.base import required_inputs
from fwdscope.settings import LOSSES, TrainingSettings

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = f"urn:fwdscope:spec:{LANGUAGE_VERSION}"

# A letter, digit or _ (ASCII or beyond: ``größe`` is a name); the first character of a name; a capital.
_WORD = r"[^\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_FIRST = r"[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f]"
_CAPITAL = r"[^\x00-\x40\x5b-\x7f]"
_SOMETHING = r"\S"
# What may be around a name without changing its meaning in Python.
_OPEN, _CLOSE = r"^[\s(]*", r"[\s)]*"
_ARGUMENTS_TO_THE_END = r"(?:\([\s\S]*\)[\s)]*)?$"
_NAME = rf"^\s*(?!(?:prev|_)\s*$){_FIRST}{_WORD}*\s*$"
_BLOCK = rf"{_OPEN}{_CAPITAL}{_WORD}*{_CLOSE}{_ARGUMENTS_TO_THE_END}"
_PART = rf"{_OPEN}(?:[0-9]{_WORD}*|{_FIRST}{_WORD}*){_CLOSE}{_ARGUMENTS_TO_THE_END}"
_DEFAULT = rf"{_OPEN}{_FIRST}{_WORD}*{_CLOSE}\(\s*(?:\)|{_FIRST}{_WORD}*\s*=(?!=))"
_PATH = rf"^{_WORD}+(?:\.{_WORD}+)*$"
_INITIALISER = rf"{_OPEN}(?:{'|'.join(INITIALISERS)}){_CLOSE}\("
_LOOP = r"\sin\s"
# The left side of a line and its equals sign; `==` is a comparison.
_TARGET = rf"^(?:{_WORD}|[\s,()])+=(?!=)"
# What comes before a layer type on a line: the line's name, and the number of a stack.
_CALLED = rf"^(?:[^=]*=)?[\s(]*(?:{_WORD}+\s*\*\s*)?"
# The call of something with a capital that is no layer type.
_KNOWN = "|".join((*LAYERS, *CONSTRUCTORS))
_UNKNOWN_LAYER = rf"^(?:[^=(]*=(?!=))?[\s(]*(?:{_WORD}+\s*\*\s*)?(?!(?:{_KNOWN})(?!{_WORD})){_CAPITAL}{_WORD}*\s*\("


def _explained(text: str, *examples: Any) -> Schema:
    return {"description": text} | ({"examples": list(examples)} if examples else {})


# The description and examples of each key.
_HELP: dict[str, Schema] = {
    "version": _explained("The version of the language.", LANGUAGE_VERSION),
    "name": _explained("The model's name. Left out, it is the file's.", "resnet50"),
    "doc": _explained("What the model is and where it comes from.", "He et al. 2015, version 1.5."),
    "vars": _explained(
        "Named numbers, strings, booleans and lists. Each may be an expression over others, in any order. "
        "--set B=8 replaces one.",
        {"B": 1, "d": 768, "heads": 12, "head_dim": "d // heads"},
    ),
    "inputs": _explained(
        "The inputs: a name, and an expression that makes a tensor and so says its shape, dtype and range. "
        "The first one enters the first line. --input image=batch.npy feeds real data.",
        {"image": "randn(B, 3, 224, 224)"},
        {"tokens": "randint(0, vocab, (B, T))"},
    ),
    "defaults": _explained(
        "Layer calls by keyword, whose settings are the defaults of every use of that type.", ["Conv2d(bias=False)"]
    ),
    "blocks": _explained(
        "Reusable parts: Name(settings)(inputs) and a list of lines. Without a second pair of parentheses "
        "there is one input, x. A block is used as a layer is.",
        {"Block(width)": ["conv = Conv2d(width, 3, padding=1)", "x + relu(conv)"]},
    ),
    "layers": _explained(
        "The model: lines run from top to bottom. The line above flows into the next, and is prev in an "
        "expression; the last line's value is the result.",
        ["fc1 = Linear(128)", "ReLU", "fc2 = Linear(10)"],
    ),
    "graph": _explained(
        "Instead of layers: lines in any order, each with a name of its own and its inputs. The "
        "result is the line that no other reads.",
        ["out = h + Linear(64)(h)", "h = relu(x)"],
    ),
    "model": _explained(
        "Instead of layers: a model in code, which is imported (--allow-import). Its arguments may use vars.",
        "ourpackage.models:Detector(width=width)",
        "timm:resnet50",
        "transformers:llama(num_hidden_layers=4)",
    ),
    "init": _explained(
        "How weights are initialised. The key is the end of a path, or a layer type and its tensor; the value a "
        "function of torch.nn.init without the underscore. A path takes precedence over a type, a "
        "longer end over a shorter.",
        {"Linear.weight": "xavier_uniform()", "bias": "zeros()"},
    ),
    "shard": _explained(
        "How layers are split over the ranks of a mesh (--mesh): paths, in which * stands for a name. A Linear is "
        "split by columns (colwise; colwise 3 for q, k and v in one) or rows (rowwise, which adds up partial sums), a "
        "table by rows (vocab), a mixture by experts (expert). With sequence, activations are split by position "
        "between these. The last pattern that matches a layer decides; replicate leaves it whole.",
        {"layers.*.mlp.up": "colwise", "layers.*.mlp.down": "rowwise", "fsdp": ["layers.*"]},
    ),
    "fsdp": _explained("The blocks whose parameters are gathered together.", ["layers.*"]),
    "stages": _explained("The first layer of each stage of a pipeline but the first.", ["layers.16"]),
    "mesh": _explained(
        "The mesh of devices that per_rank under expect is of, as --mesh: ranks of pp, dp, fsdp, ep and tp, the "
        "outermost first.",
        "dp=4,tp=8",
    ),
    "expect": _explained(
        "What fwdscope check checks. A whole number is exact, a rounded one (4.09G) matches values that "
        "round to it; 100 +- 5% is a tolerance, <= 250 MiB a bound. Put '>= 10' in quotes.",
        {"output": "(B, 10)", "params": 101770},
    ),
    "expect.output": _explained(
        "The shape of the result, or a tuple of shapes. _ is any size, or any shape.",
        "(B, 1000)",
        "((B, T, vocab), (2, B, h))",
    ),
    "expect.layers": _explained(
        "Figures or the shape of single layers, by their path.",
        {"layer4.0.conv2": {"macs": "115.6M"}},
        {"backbone.conv1": "(B, 64, 112, 112)"},
    ),
    "expect.per_rank": _explained(
        "Figures of one rank of the mesh of the section mesh, of a forward or (train_…) of the step of training.",
        {"memory": "<= 80 GB"},
    ),
    "expect.params": _explained("Parameters, each counted once however often it is used.", 25557032),
    "expect.trainable_params": _explained("Parameters that are trained.", 25557032),
    "expect.active_params": _explained("Parameters that one position uses: of a mixture's experts, the top k.", "13G"),
    "expect.buffers": _explained("Elements of buffers: running statistics, constants.", 53120),
    "expect.param_bytes": _explained("Bytes of all parameters.", "<= 100 MiB"),
    "expect.buffer_bytes": _explained("Bytes of all buffers.", "<= 1 MiB"),
    "expect.input_bytes": _explained("Bytes of all inputs.", "<= 1 MiB"),
    "expect.macs": _explained("Multiply-accumulates of matrix products and convolutions.", "4.09G"),
    "expect.flops": _explained("2 for each MAC, and 1 for every other arithmetic result.", "8.2G"),
    "expect.bytes_read": _explained("Bytes that operators read: each operand once.", "<= 400 MB"),
    "expect.bytes_written": _explained("Bytes that operators write: each result once.", "<= 200 MB"),
    "expect.peak_memory": _explained("Peak memory during the forward pass.", "<= 250 MiB"),
    "expect.peak_activations": _explained("Peak memory of activations alone.", "<= 50 MiB"),
    "expect.kv_cache": _explained(
        "Bytes that generation keeps of one earlier position, as with --past 1, or of N: past 8k.",
        "128 KiB",
        "<= 1 GiB past 8k",
    ),
    "expect.train_memory": _explained("Peak memory of a training step, as inspect --training finds it.", "<= 80 GiB"),
    "expect.saved_activations": _explained("Bytes saved for the backward when the forward ends.", "<= 20 GiB"),
    "expect.train_flops": _explained("FLOPs of a training step: forward, loss, backward and optimizer.", "24.9G"),
    "expect.training": _explained(
        "The training step that train_memory, saved_activations and train_flops are of.",
        {"optimizer": "sgd:momentum=0.9", "loss": "cross_entropy"},
    ),
    "expect.training.optimizer": _explained("As --optimizer. Left out, it is adamw.", "sgd:momentum=0.9", "adafactor"),
    "expect.training.loss": _explained(
        "As --loss. Left out, it is the network's own, else the sum of its outputs.", "cross_entropy"
    ),
    "expect.training.train_only": _explained("Patterns of the parameters that are trained, as --train-only.", "*lora*"),
    "expect.training.checkpoint": _explained("Patterns of modules that the backward computes again.", "h.*"),
    "expect.training.accumulate": _explained("Micro-batches before the optimizer steps, as --accumulate.", 4),
    "expect.training.autocast": _explained("The dtype that autocast casts to.", "bf16"),
    "expect.training.master_weights": _explained("Whether the optimizer holds float32 copies of weights.", True),
    "expect.latency": _explained("The time of one forward pass, on a device.", "<= 40 ms on cpu"),
    "for": _explained(
        "A loop, unrolled while building. A layer made in a round is that round's own, at conv.0, conv.1; one made "
        "under modules: and called in each round shares its weights.",
        "i in range(3)",
    ),
    "for.name": _explained("The name of the loop, which the paths of its layers begin with: stages.0.conv.", "stages"),
    "modules": _explained(
        "Layers that lines call by name, made once, with the sizes of their first call: a layer, a list of layers, or "
        "layers with names of their own.",
        {"head": "Linear(10)", "convs": "[Conv2d(8, 3) for i in range(3)]"},
    ),
    "if": _explained("A choice made while building, by vars, settings and shapes.", "stride > 1"),
    "while": _explained(
        "A loop that depends on data. A static report shows one round and says so.", "abs(x).sum() > 1"
    ),
    "do": _explained("The lines of a round.", ["h = cell(x[:, t], h)"]),
    "then": _explained("The lines for a true condition.", ["Conv2d(64, 1, stride=stride)"]),
    "else": _explained("The lines for a false condition.", ["Identity"]),
    "limit": _explained("The maximum number of rounds; exceeding it is an error.", 1000),
}


def schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a spec file."""
    sections = _sections()
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "fwdscope spec",
        "description": "A neural network's forward pass: inputs, and the lines that compute on them.",
        "type": "object",
        "properties": {name: sections[name] | _help(name) for name in SECTIONS},
        "oneOf": [{"required": ["inputs", "layers"]}, {"required": ["inputs", "graph"]}, {"required": ["model"]}],
        # Where no line can name a layer with a capital, what is called with one is a layer type.
        "if": {
            "properties": {
                "layers": {"items": {"type": "string", "not": {"pattern": rf"^[^=]*{_CAPITAL}[^=]*=(?!=)"}}},
                "blocks": False,
            }
        },
        "then": {"properties": {"layers": {"items": {"not": {"pattern": _UNKNOWN_LAYER}}}}},
        "additionalProperties": False,
        "$defs": {
            "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
            "line": {"anyOf": [_ref("text"), *map(_control, CONTROL), _modules(), _ref("part")]},
            "text": _text(),
            "part": {
                "description": "A named part, in line: `stem:` and a list below, or `branch(x):` called on a value. "
                "Its layers are at stem.…",
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "propertyNames": {"pattern": _PART, "not": {"enum": [*CONTROL, "modules"]}},
                "additionalProperties": _ref("lines"),
                "examples": [{"stem": ["conv1 = Conv2d(64, 7, stride=2, padding=3)", "ReLU"]}],
            },
            "scalar": {"type": ["string", "number", "boolean", "null"]},
            "expression": {"type": ["string", "number", "boolean", "null"], "pattern": _SOMETHING},
            "variable": {"anyOf": [_ref("scalar"), {"type": "array", "items": _ref("variable")}]},
        },
    }


def dumps() -> str:
    """Return the schema as ASCII text."""
    return json.dumps(schema(), indent=1) + "\n"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _help(key: str) -> Schema:
    name = key.rpartition(".")[2]
    return _HELP.get(key) or _explained(f"The model's {name.replace('_', ' ')}.")


def key_help(key: str) -> str | None:
    """What a key of the language holds: ``expect.params``."""
    return _HELP[key]["description"] if key in _HELP else None


def _sections() -> dict[str, Schema]:
    mapping, text = {"type": "object"}, {"type": "string", "pattern": _SOMETHING}
    forms = ", ".join(f"{name}({', '.join(keywords)})" for name, keywords in INITIALISERS.items())
    initialiser = {"type": "string", "pattern": _INITIALISER} | _explained(
        f"How the tensor is initialised: {forms}.",
        "xavier_uniform()", "kaiming_normal(nonlinearity='relu')", "normal(std=0.02)", "zeros()",
    )  # fmt: skip
    return {
        "version": {"enum": [LANGUAGE_VERSION, str(LANGUAGE_VERSION)]},
        "name": _ref("scalar"),
        "doc": _ref("scalar"),
        "vars": mapping | {"propertyNames": {"pattern": _NAME}, "additionalProperties": _ref("variable")},
        "inputs": mapping
        | {
            "minProperties": 1,
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"type": "string", "pattern": _SOMETHING, "examples": _INPUTS},
        },
        "defaults": {"type": "array", "items": {"type": "string", "pattern": _DEFAULT}},
        "blocks": mapping | {"propertyNames": {"pattern": _BLOCK}, "additionalProperties": _ref("lines")},
        "layers": _ref("lines"),
        "graph": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": _TARGET}},
        "model": {"type": "string", "pattern": rf"^\s*(?:{_WORD}|\.)+:[^\s(]"},
        "init": mapping | {"propertyNames": {"pattern": _PATH}, "additionalProperties": initialiser},
        "shard": mapping
        | {
            "propertyNames": {"pattern": _SOMETHING},
            "properties": {name: {"type": ["array", "string"], "items": text} | _help(name) for name in PLAN_LISTS},
            "additionalProperties": {"type": "string", "pattern": _STYLE},
        },
        "mesh": {
            "type": ["string", "object"],
            "propertyNames": {"enum": list(DIMENSIONS)},
            "additionalProperties": {"type": ["integer", "string"], "minimum": 1},
            "pattern": _MESH,
        },
        "expect": _expectations(),
    }


_STYLE = rf"^\s*({'|'.join(STYLES)})(\s+[1-9][0-9]*)?\s*$"
_MESH = rf"^\s*({'|'.join(DIMENSIONS)})\s*=\s*[0-9]"
_INPUTS = ["randn(B, 3, 224, 224)", "rand(B, 1, 28, 28)", "randint(0, vocab, (B, T))", "zeros(B, d)", "ones(B, d)"]


def _expectations() -> Schema:
    figure = {"type": ["string", "number"], "pattern": "[0-9]|[A-Za-z_] *[-+*/]"}
    figures = {name: figure | _help(f"expect.{name}") for name in FIGURES}
    output = {"output": {"type": "string", "pattern": _SOMETHING} | _help("expect.output")}
    own = {name: figures[name] for name in LAYER_FIGURES}
    one = {"type": "object", "properties": output | own, "additionalProperties": False}
    shape = {"type": "string", "pattern": r"^\s*\("}
    layers = {"layers": {"type": "object", "additionalProperties": {"anyOf": [one, shape]}} | _help("expect.layers")}
    text = {"type": "string", "pattern": _SOMETHING}
    kinds: dict[str, Schema] = {
        "loss": {"enum": list(LOSSES)},
        **{name: {"anyOf": [text, {"type": "array", "items": text}]} for name in ("train_only", "checkpoint")},
        "accumulate": {"type": ["integer", "string"], "pattern": "^[0-9][0-9_]*$", "minimum": 1},
        "master_weights": {"enum": [True, False, "true", "false", "True", "False"]},
    }
    names = [one.name for one in fields(TrainingSettings)]
    settings = {name: kinds.get(name, text) | _help(f"expect.training.{name}") for name in names}
    step = {"type": "object", "properties": settings, "additionalProperties": False} | _help("expect.training")
    of_rank = {"type": "object", "properties": dict.fromkeys(RANK_FIGURES, figure), "additionalProperties": False}
    per_rank = {"per_rank": of_rank | _help("expect.per_rank")}
    properties = output | layers | per_rank | {"training": step} | figures
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _control(word: str) -> Schema:
    inside = CONTROL[word]
    head = _ref("expression") if word != "for" else {"type": "string", "pattern": _LOOP}
    kinds = {"limit": _ref("expression"), "name": {"type": "string", "pattern": _NAME}}
    bodies = {key: (kinds.get(key) or _ref("lines")) | _help(f"for.{key}" if key == "name" else key) for key in inside}
    return {
        "type": "object",
        "properties": {word: head | _help(word)} | bodies,
        "required": [word, inside[0]],
        "additionalProperties": False,
    }


def _modules() -> Schema:
    """Return the schema of ``modules:``. YAML may read a list of layers, which is one text, as a list of pieces."""
    one = {"type": "string", "pattern": _SOMETHING}
    listed = {"type": "array", "minItems": 1}
    named = {"type": "object", "minProperties": 1}
    names = {"propertyNames": {"pattern": _NAME}, "additionalProperties": {"anyOf": [one, listed, named]}}
    return {
        "type": "object",
        "properties": {"modules": named | names | _help("modules")},
        "required": ["modules"],
        "additionalProperties": False,
    }


def _text() -> Schema:
    """Return the schema of a line, with a branch for each layer type that editors can offer and explain.

    The branch that accepts any line comes first, so that a validator need not try the others, and has no description,
    so that an editor shows that of the layer's branch.
    """
    return {
        "title": "line",
        "description": "A layer, a stack, or an expression in PyTorch's words. The line above is prev. A shape after "
        "-> is a promise, which fwdscope check checks.",
        "type": "string",
        "pattern": _SOMETHING,
        "anyOf": [
            {"examples": _ANY_LINES},
            *(_branch(one.__name__, f"{call(one)}\n\n{page(one)}", example(one)) for one in LAYERS.values()),
            *(_branch(name, "\n".join((*one.forms, "", one.doc)), *one.examples) for name, one in CONSTRUCTS.items()),
        ],
    }


_ANY_LINES = [
    "x + prev",
    "h = 3 * Block(d)",
    "q, k, v = prev.chunk(3, dim=-1)",
    "cat([skip, prev], dim=1)",
    "scaled_dot_product_attention(q, k, v, is_causal=True)",
    "fc = Linear(10)   -> (B, 10)",
]


class Construct(NamedTuple):
    """A name with a capital that is not a layer type: its forms, description and examples."""

    forms: tuple[str, ...]
    doc: str
    examples: tuple[str, ...]


_TENSOR_NOTE = "It needs a name, and is not part of the flow: the line below takes the line above."

CONSTRUCTS: dict[str, Construct] = {
    SERIES: Construct(
        (f"{SERIES}(layer, layer, …)", f"{SERIES}(layer for name in table)"),
        "Layers in series, from a list or a table.\n\nStacks and Sequentials inside are flattened: h.0 … h.3.",
        (f"{SERIES}(Linear(128), ReLU, Linear(10))", f"stages = {SERIES}(Stage(*row) for row in table)"),
    ),
    "Parameter": Construct(
        ("name = Parameter(tensor)",), f"A trained tensor.\n\n{_TENSOR_NOTE}", ("scale = Parameter(ones(d))",)
    ),
    "Buffer": Construct(
        ("name = Buffer(tensor)",),
        f"A constant tensor that is saved with the weights and not trained.\n\n{_TENSOR_NOTE}",
        ("table = Buffer(rand(20, 20))",),
    ),
}


def _branch(name: str, description: str, *examples: str) -> Schema:
    return {"title": name, "pattern": rf"{_CALLED}{name}(?!{_WORD})"} | _explained(description, *examples)


# --- a layer's call, as text ------------------------------------------------------------------------------------------


def call(layer: type[Layer]) -> str:
    """Return the form of a layer's call, inferred sizes last: ``Conv2d(out_channels, kernel_size, *, …)(input)``."""
    declared = [s for s in settings(layer) if not s.inferred] + [s for s in settings(layer) if s.inferred]
    parameters = (
        Parameter(s.name, "positional" if s.positional else "keyword", None if s.required else repr(s.default))
        for s in declared
    )
    return f"{layer.__name__}{Signature(tuple(parameters))}{layer.forward}"


def example(layer: type[Layer]) -> str:
    """Return a line with the layer and its required settings: ``Conv2d(64, 3)``, ``Bilinear(128)(input1, input2)``."""
    given = [
        f"{'' if s.positional else f'{s.name}='}{_TYPICAL.get(s.name) or _fitting(s.annotation)}"
        for s in settings(layer)
        if s.required
    ]
    given += [_ALSO[layer.__name__]] if layer.__name__ in _ALSO else []
    inputs = required_inputs(layer)
    called = f"({', '.join(inputs)})" if len(inputs) > 1 else ""
    configured = f"({', '.join(given)})" if given or called else ""
    return f"{layer.__name__}{configured}{called}"


# Settings that have a default but must be given in practice: one of two is required, or the dimension.
_ALSO = {
    "FractionalMaxPool2d": "output_size=7", "FractionalMaxPool3d": "output_size=7", "Softmax": "dim=-1",
    "LogSoftmax": "dim=-1", "Softmin": "dim=-1", "Upsample": "scale_factor=2", "UpsamplingNearest2d": "scale_factor=2",
    "UpsamplingBilinear2d": "scale_factor=2",
}  # fmt: skip

# Typical values; a setting that is not here gets the first value that fits its annotation.
_TYPICAL = {
    "out_features": "128", "out_channels": "64", "kernel_size": "3", "hidden_size": "256", "num_heads": "8",
    "nhead": "8", "num_embeddings": "10_000", "embedding_dim": "512", "num_groups": "32", "num_layers": "6",
    "num_experts": "8", "size": "5", "num_classes": "10", "n_classes": "10_000", "cutoffs": "(100, 1_000)",
    "unflattened_size": "(8, 16)", "encoder_layer": "TransformerEncoderLayer(8)", "expert": "Linear(512)",
    "decoder_layer": "TransformerDecoderLayer(8)", "upscale_factor": "2", "downscale_factor": "2", "groups": "4",
    "norm_type": "2", "output_size": "7", "threshold": "0.1", "value": "0",
}  # fmt: skip


def _fitting(annotation: Any) -> str:
    plain = {int: "1", float: "0.5", bool: "True", str: "'text'", types.NoneType: "None", Any: "1"}
    if annotation in plain:
        return plain[annotation]
    if annotation in (Layer, Buildable):
        return "ReLU"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return repr(arguments[0])
    if origin is tuple:
        items = arguments if arguments[-1] is not ... else arguments[:1] * 2
        return f"({', '.join(map(_fitting, items))}{',' * (len(items) == 1)})"
    if origin is Annotated:
        low = arguments[1].low
        return f"{low:g}" if low else _fitting(arguments[0])
    return _fitting(arguments[0])
