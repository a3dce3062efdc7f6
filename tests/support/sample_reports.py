"""Reports made by hand, shaped as a trace of well-known networks makes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fwdscope.report import (
    PHASES,
    Backward,
    Environment,
    LayerRow,
    Moment,
    Phase,
    Promise,
    Report,
    Shape,
    Shortfall,
    TensorInfo,
    Totals,
    TrainingStep,
)

ENVIRONMENT = Environment(fwdscope="0.1.0", python="3.11.9", torch="2.13.0+cpu", platform="linux")


def layer(path: str, text: str, shape: Shape, weights: dict[str, Shape] | None = None, **fields: Any) -> LayerRow:
    """A row of a layer whose parameters are the weights."""
    own = tuple(TensorInfo(name, sizes, "float32") for name, sizes in (weights or {}).items())
    params = sum(math.prod(tensor.shape) for tensor in own)
    given: dict[str, Any] = {
        "path": path,
        "type": text.split(" ")[0],
        "kind": "layer",
        "depth": path.count(".") + 1,
        "text": text,
        "label": path.rpartition(".")[2],
        "output_shapes": (shape,),
        "output_dtypes": ("float32",),
        "params": params,
        "trainable_params": params,
        "parameters": own,
    }
    return costed(LayerRow(**(given | fields)))


_MATRICES = {"Linear", "Conv2d", "LSTMCell"}
_MOVING = {"Flatten", "Embedding", "cat", "unflatten", "transpose", "flatten"}


def costed(row: LayerRow) -> LayerRow:
    """The row with costs, those of matrix products by their formula; of the rest one FLOP for each result."""
    results = sum(map(math.prod, row.output_shapes))
    macs = row.macs or 0
    if row.type in _MATRICES:
        # Each weight meets every result of its feature: results / out · (out · in · kernel).
        out = row.output_shapes[0][1 if row.type == "Conv2d" else -1]
        weights = sum(math.prod(tensor.shape) for tensor in row.parameters if len(tensor.shape) > 1)
        macs = results // out * weights * row.calls
    read = 4 * (results + row.params) * row.calls
    return replace(
        row,
        macs=macs,
        flops=2 * macs + (0 if row.type in _MOVING else results * row.calls),
        bytes_read=read,
        bytes_written=4 * results * row.calls,
        output_bytes=4 * results,
    )


def expression(text: str, depth: int, *shapes: Shape, **fields: Any) -> LayerRow:
    """A row of an expression between layers, without a name."""
    dtypes = ("float32",) * len(shapes)
    function = text.partition("(")[0].rpartition(".")[2]
    given = {"path": "", "type": function, "kind": "expression", "depth": depth, "text": text}
    return costed(LayerRow(**(given | {"output_shapes": shapes, "output_dtypes": dtypes} | fields)))


_ADDING = ("params", "trainable_params", "buffers", "macs", "flops", "bytes_read", "bytes_written")


def around(path: str, text: str, inside: Iterable[LayerRow], **fields: Any) -> list[LayerRow]:
    """A row that contains others, one level up, followed by them; it takes its result and its sums from them."""
    rows = list(inside)
    depth = min(row.depth for row in rows) - 1
    children = [row for row in rows if row.depth == depth + 1]
    sums = {name: sum((getattr(row, name) or 0) * row.repeat for row in children) for name in _ADDING}
    given = {
        "path": path,
        "type": text.split(" ")[-1],
        "kind": "block",
        "depth": depth,
        "text": text,
        "label": path.rpartition(".")[2],
    }
    last = children[-1]
    results = {
        "output_shapes": last.output_shapes,
        "output_dtypes": last.output_dtypes,
        "output_bytes": last.output_bytes,
        "uncounted": tuple(dict.fromkeys(name for row in children for name in row.uncounted)),
    }
    return [LayerRow(**(given | sums | results | fields)), *rows]


def report(name: str, inputs: Iterable[TensorInfo], rows: Iterable[LayerRow], **fields: Any) -> Report:
    """A report whose totals are the sums of its rows."""
    rows = tuple(rows)
    top = [row for row in rows if row.depth == 1]
    sums = {name: sum((getattr(row, name) or 0) * row.repeat for row in top) for name in _ADDING}
    weights, kept = 4 * sums["params"], 4 * sums["buffers"]
    # What one layer reads and makes, at the most.
    peak = 2 * max(row.output_bytes or 0 for row in rows)
    totals = Totals(
        **sums, param_bytes=weights, buffer_bytes=kept, peak_memory=weights + kept + peak, peak_activations=peak
    )
    last = top[-1]
    outputs = tuple(
        TensorInfo("", shape, dtype) for shape, dtype in zip(last.output_shapes, last.output_dtypes, strict=True)
    )
    made = Report(
        name=name,
        inputs=tuple(inputs),
        outputs=outputs,
        layers=rows,
        totals=totals,
        environment=ENVIRONMENT,
        source=f"specs/{name}.yaml",
    )
    return replace(made, **fields)


# --- ResNet-50 -------------------------------------------------------------------------------------------------------


def _conv_bn(path: str, number: str, c_in: int, c_out: int, k: int, side: int, text: str) -> list[LayerRow]:
    shape = (1, c_out, side, side)
    return [
        layer(f"{path}conv{number}", text, shape, {"weight": (c_out, c_in, k, k)}),
        layer(f"{path}bn{number}", "BatchNorm2d", shape, {"weight": (c_out,), "bias": (c_out,)}, buffers=2 * c_out + 1),
    ]


def _bottleneck(path: str, c_in: int, width: int, side: int, stride: int, **fields: Any) -> list[LayerRow]:
    out, before = (1, 4 * width, side, side), side * stride
    depth = path.count(".") + 2
    slash = f" /{stride}" if stride > 1 else ""
    rows = [
        *_conv_bn(f"{path}.", "1", c_in, width, 1, before, "Conv2d 1×1"),
        layer(f"{path}.relu", "ReLU", (1, width, before, before)),
        *_conv_bn(f"{path}.", "2", width, width, 3, side, f"Conv2d 3×3{slash}"),
        layer(f"{path}.relu_2", "ReLU", (1, width, side, side)),
        *_conv_bn(f"{path}.", "3", width, 4 * width, 1, side, "Conv2d 1×1"),
    ]
    if c_in != 4 * width:
        down = [
            layer(f"{path}.downsample.0", f"Conv2d 1×1{slash}", out, {"weight": (4 * width, c_in, 1, 1)}),
            layer(
                f"{path}.downsample.1",
                "BatchNorm2d",
                out,
                {"weight": out[1:2], "bias": out[1:2]},
                buffers=8 * width + 1,
            ),
        ]
        rows += around(f"{path}.downsample", "Sequential", down)
    shortcut = "downsample" if c_in != 4 * width else "x"
    rows += [expression(f"bn3 + {shortcut}", depth, out), layer(f"{path}.relu_3", "ReLU", out)]
    return around(path, "Bottleneck", rows, **fields)


def resnet50(**fields: Any) -> Report:
    """ResNet-50 as of torchvision, 25,557,032 parameters."""
    rows = [
        layer("conv1", "Conv2d 7×7 /2", (1, 64, 112, 112), {"weight": (64, 3, 7, 7)}),
        layer("bn1", "BatchNorm2d", (1, 64, 112, 112), {"weight": (64,), "bias": (64,)}, buffers=129),
        layer("relu", "ReLU", (1, 64, 112, 112)),
        layer("maxpool2d", "MaxPool2d 3×3 /2", (1, 64, 56, 56)),
    ]
    c_in = 64
    for number, (width, copies, side) in enumerate([(64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)], start=1):
        stride = 2 if number > 1 else 1
        first = _bottleneck(f"layer{number}.0", c_in, width, side, stride)
        others = _bottleneck(f"layer{number}.1", 4 * width, width, side, 1)
        label = f"1–{copies - 1}"
        others[0] = replace(others[0], kind="copies", label=label, path=f"layer{number}.{label}", repeat=copies - 1)
        text = f"{copies} × Bottleneck"
        rows += around(f"layer{number}", text, [*first, *others], kind="stack")
        c_in = 4 * width
    rows += [
        layer("adaptiveavgpool2d", "AdaptiveAvgPool2d 1", (1, 2048, 1, 1)),
        layer("flatten", "Flatten", (1, 2048)),
        layer("fc", "Linear", (1, 1000), {"weight": (1000, 2048), "bias": (1000,)}),
    ]
    doc = "He et al. 2015, v1.5 (the stride is in the 3x3), as in torchvision."
    image = TensorInfo("image", (1, 3, 224, 224), "float32", "randn(B, 3, 224, 224)")
    return report("resnet50", [image], rows, **({"doc": doc} | fields))


# --- GPT-2 -----------------------------------------------------------------------------------------------------------


def _linear(path: str, n_in: int, n_out: int, length: int) -> LayerRow:
    return layer(path, "Linear", (1, length, n_out), {"weight": (n_out, n_in), "bias": (n_out,)})


def _norm(path: str, d: int, length: int) -> LayerRow:
    return layer(path, "LayerNorm", (1, length, d), {"weight": (d,), "bias": (d,)})


def gpt2(t: int = 1024, d: int = 768, heads: int = 12, depth: int = 12, vocab: int = 50257, **fields: Any) -> Report:
    """GPT-2, 124,439,808 parameters at its own sizes; twelve equal blocks, the head tied to the token table."""
    heads_shape = (1, heads, t, d // heads)
    attention = [
        _linear("h.0.attn.c_attn", d, 3 * d, t),
        expression("c_attn.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)", 4, *[heads_shape] * 3),
        expression(
            "scaled_dot_product_attention(q, k, v, is_causal=True)",
            4,
            heads_shape,
            input_shapes=(heads_shape,) * 3,
            # heads · T · T · d/heads, for the scores and for the sums of values
            macs=2 * t * t * d,
        ),
        expression("prev.transpose(1, 2).flatten(2)", 4, (1, t, d)),
        _linear("h.0.attn.c_proj", d, d, t),
    ]
    mlp = [
        _linear("h.0.mlp.c_fc", d, 4 * d, t),
        layer("h.0.mlp.gelu", "GELU tanh", (1, t, 4 * d)),
        _linear("h.0.mlp.c_proj", 4 * d, d, t),
    ]
    block = [
        _norm("h.0.ln_1", d, t),
        *around("h.0.attn", "Attention", attention),
        expression("x + attn", 3, (1, t, d), label="mid"),
        _norm("h.0.ln_2", d, t),
        *around("h.0.mlp", "MLP", mlp),
        expression("mid + mlp", 3, (1, t, d)),
    ]
    label = f"0–{depth - 1}"
    copies = around(f"h.{label}", "Block", block, kind="copies", repeat=depth)
    head = expression("linear(ln_f, wte.weight)", 1, (1, t, vocab), reads=("wte.weight",), macs=t * d * vocab)
    rows = [
        layer("wte", "Embedding", (1, t, d), {"weight": (vocab, d)}),
        layer("wpe", "Embedding", (t, d), {"weight": (1024, d)}),
        expression("wte + wpe", 1, (1, t, d)),
        *around("h", f"{depth} × Block", copies, kind="stack"),
        _norm("ln_f", d, t),
        head,
    ]
    tokens = TensorInfo("tokens", (1, t), "int64", "randint(0, vocab, (B, T))")
    return report("gpt2", [tokens], rows, **fields)


# --- small ones ------------------------------------------------------------------------------------------------------


def uncounted(report: Report) -> Report:
    """The same without costs, as a program that does not count writes it."""
    none = dict.fromkeys(("macs", "flops", "bytes_read", "bytes_written"))
    rows = tuple(replace(row, output_bytes=None, uncounted=(), **none) for row in report.layers)
    totals = replace(report.totals, peak_memory=None, peak_activations=None, **none)
    return replace(report, layers=rows, totals=totals, uncounted=())


def mlp(**fields: Any) -> Report:
    """784-128-10, 101,770 parameters."""
    rows = [
        layer("flatten", "Flatten", (32, 784)),
        layer("fc1", "Linear", (32, 128), {"weight": (128, 784), "bias": (128,)}, input_shapes=((32, 784),)),
        layer("relu", "ReLU", (32, 128)),
        layer("fc2", "Linear", (32, 10), {"weight": (10, 128), "bias": (10,)}, input_shapes=((32, 128),)),
    ]
    return report("mlp", [TensorInfo("image", (32, 1, 28, 28), "float32")], rows, **fields)


def trained(scale: int = 1) -> Report:
    """A training step of the MLP, of one stretch for each layer, and one that belongs to none: MiB times ``scale``."""
    base = mlp()
    there = base.totals.param_bytes + base.totals.buffer_bytes + (base.totals.input_bytes or 0)
    # Phase, row, MiB of gradients, of what is saved, and of all else but the weights and the state of 2 MiB.
    flow = (
        *(("forward", row, 0, row, 0) for row in range(4)),
        ("loss", None, 0, 4, 0),
        *(("backward", row, 4 - row, row, 1 if row == 2 else 0) for row in (3, 2, 1)),
        ("optimizer", None, 3, 0, 0),
    )
    state, mega = 2 * scale * 2**20, scale * 2**20
    curve = tuple(
        Moment(phase, row, there + state + mega * (gradients + saved + other), mega * gradients, mega * saved)
        for phase, row, gradients, saved, other in flow
    )
    phases = tuple(
        Phase(name, 10, 20, 30, 40, max(one.memory for one in curve if one.phase == name)) for name in PHASES
    )
    peak = max(curve, key=lambda one: one.memory)
    rows = tuple(replace(row, backward=Backward(5, 6, 7, 8, mega)) for row in base.layers)
    step = TrainingStep(
        "sum of fc2", "adamw", phases, 3 * mega, state, 0, 4 * mega, peak.memory, peak.phase, peak.row,
        peak.gradients, peak.saved, curve,
    )  # fmt: skip
    totals = replace(base.totals, peak_memory=None, peak_activations=None)
    return replace(base, layers=rows, training=step, totals=totals)


def troubled() -> Report:
    """Everything that a report may have to warn of, in one."""
    body = [
        layer(
            "loop.cell", "LSTMCell", (4, 64), {"weight_ih": (256, 32), "weight_hh": (256, 64)}, calls=25, varies=True
        ),
    ]
    rows = [
        layer("emb", "Embedding", (4, 25, 32), {"weight": (1000, 32)}, line=8),
        LayerRow(
            "scale",
            "Parameter",
            "parameter",
            1,
            "Parameter(ones(d))",
            "scale",
            output_shapes=((32,),),
            params=32,
            macs=0,
            flops=0,
            bytes_read=0,
            bytes_written=0,
            output_bytes=128,
        ),
        *around("loop", "for t in range(25)", body, kind="loop"),
        expression(
            "cat([skip, prev], dim=1)", 1, (4, 128), promise=Promise("(B, 96)", held=False, got="(4, 128)"), line=14
        ),
        layer("out", "Linear", (4, 1000), {"weight": (1000, 128)}, line=15),
        layer("emb", "Embedding", (4, 25, 32), call=2, note="indices of a second table would be safer", line=16),
        replace(
            expression("special.zeta(prev, 2)", 1, (4, 1000), line=17),
            flops=0,
            bytes_read=0,
            bytes_written=0,
            uncounted=("aten.special_zeta.default",),
        ),
        LayerRow(
            "", "halve", "loop", 1, "while abs(x).sum() > 1", note="the data decides how often; one round is shown"
        ),
    ]
    return report(
        "seq\x1b[31m2seq",
        [TensorInfo("tokens", (4, 25), "int64")],
        rows,
        notes=("the shape of image was replaced by --input; promises were not checked",),
        shortfalls=(Shortfall("params", "184_320", "184,608", line=21),),
        uncounted=("aten.special_zeta.default",),
    )
