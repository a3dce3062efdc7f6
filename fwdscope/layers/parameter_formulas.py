"""How many elements each parameter of a layer has, as a formula: ``out_features·in_features``.

A formula is the product of what the dimensions stand for, by the layer type and the parameter's name. Where nothing is
written down of a tensor, it is the product of its sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from fwdscope.formula import Number, Size, multiply

from .base import LAYERS, Layer

# What a dimension stands for: a name, or a formula of names with their numbers.
Factor: TypeAlias = "tuple[str, dict[str, Number]]"
Factors: TypeAlias = Callable[["Layer | None", str, tuple[int, ...]], "Sequence[Factor] | None"]

_KERNEL = {
    1: ("kernel_size",),
    2: ("kernel_height", "kernel_width"),
    3: ("kernel_depth", "kernel_height", "kernel_width"),
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def parameter_formula(type_name: str, layer: Layer | None, name: str, shape: Sequence[int]) -> Size:
    """The number of elements of a parameter, named as in its module: ``weight``, ``weight_ih_l0``."""
    shape = tuple(shape)
    plain = Size(name, multiply(shape) if shape else "1", {})
    factors = _FACTORS.get(type_name, _no_factors)(layer, name, shape)
    if not factors or len(factors) != len(shape):
        return plain
    numbers = {key: value for _, used in factors for key, value in used.items()}
    found = Size(name, "·".join(text for text, _ in factors), numbers)
    return found if found.value == math.prod(shape) else plain


def _named(names: Sequence[str], shape: Sequence[int]) -> list[Factor]:
    return [(name, {name: size}) for name, size in zip(names, shape, strict=True)]


def _no_factors(layer: Layer | None, name: str, shape: tuple[int, ...]) -> Sequence[Factor] | None:
    return None


def _by_name(**names: tuple[str, ...]) -> Factors:
    """Names of the dimensions, for each parameter."""

    def factors(layer: Layer | None, name: str, shape: tuple[int, ...]) -> Sequence[Factor] | None:
        found = names.get(name, ())
        return _named(found, shape) if len(found) == len(shape) else None

    return factors


def _convolution(layer: Layer | None, name: str, shape: tuple[int, ...]) -> Sequence[Factor] | None:
    groups = getattr(layer, "groups", 1)
    if name == "bias":
        return [("out_channels", {"out_channels": shape[0]})]
    if name != "weight" or len(shape) - 2 not in _KERNEL:
        return None
    transposed = layer is not None and type(layer).__name__.startswith("ConvTranspose")
    first, second = ("in_channels", "out_channels") if transposed else ("out_channels", "in_channels")
    inner: Factor = (second, {second: shape[1]})
    if groups != 1:
        inner = (f"({second} / groups)", {second: shape[1] * groups, "groups": groups})
    return [(first, {first: shape[0]}), inner, *_named(_KERNEL[len(shape) - 2], shape[2:])]


def _recurrent(layer: Layer | None, name: str, shape: tuple[int, ...]) -> Sequence[Factor] | None:
    kind = type(layer).__name__.removesuffix("Cell") if layer is not None else ""
    hidden = getattr(layer, "hidden_size", None)
    if kind not in _GATES or hidden is None:
        return None
    gated = (f"{_GATES[kind]}·hidden_size" if _GATES[kind] > 1 else "hidden_size", {"hidden_size": hidden})
    if re.match(r"bias_[ih]h", name):
        return [gated]
    if name.startswith("weight_hr"):
        return _named(("proj_size", "hidden_size"), shape)
    if not re.match(r"weight_[ih]h", name):
        return None
    if name.startswith("weight_hh"):
        state = "proj_size" if getattr(layer, "proj_size", 0) else "hidden_size"
        return [gated, (state, {state: shape[1]})]
    # From the second layer on the inputs are the states of the layer below.
    inputs = "input_size" if re.match(r"weight_ih(_l0|$)", name) else "inputs"
    return [gated, (inputs, {inputs: shape[1]})]


def _attention(layer: Layer | None, name: str, shape: tuple[int, ...]) -> Sequence[Factor] | None:
    if name in ("in_proj_weight", "in_proj_bias"):
        embed = shape[0] // 3
        return [("3·embed_dim", {"embed_dim": embed}), *_named(("embed_dim",) * (len(shape) - 1), shape[1:])]
    names = {
        "out_proj.weight": ("embed_dim", "embed_dim"), "out_proj.bias": ("embed_dim",),
        "q_proj_weight": ("embed_dim", "embed_dim"), "k_proj_weight": ("embed_dim", "kdim"),
        "v_proj_weight": ("embed_dim", "vdim"),
    }.get(name)  # fmt: skip
    return _named(names, shape) if names else None


def _affine(*names: str) -> Factors:
    return _by_name(weight=names, bias=names)


_FACTORS: dict[str, Factors] = {
    "Linear": _by_name(weight=("out_features", "in_features"), bias=("out_features",)),
    "Bilinear": _by_name(weight=("out_features", "in1_features", "in2_features"), bias=("out_features",)),
    "Embedding": _by_name(weight=("num_embeddings", "embedding_dim")),
    "EmbeddingBag": _by_name(weight=("num_embeddings", "embedding_dim")),
    "GroupNorm": _affine("num_channels"),
    "PReLU": _by_name(weight=("num_parameters",)),
    "MultiheadAttention": _attention,
    "LinearCrossEntropyLoss": _by_name(weight=("num_classes", "in_features"), bias=("num_classes",)),
    **{f"{kind}{d}d": _affine("num_features") for kind in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)},
    "SyncBatchNorm": _affine("num_features"),
    **{name: _convolution for name in LAYERS if name.startswith("Conv")},
    **{f"{kind}{cell}": _recurrent for kind in _GATES for cell in ("", "Cell")},
}
