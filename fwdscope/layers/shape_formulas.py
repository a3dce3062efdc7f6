"""The shape of each layer type's results as formulas: ``fwdscope explain`` prints them with the numbers put in.

A formula is a function of the layer object, the shapes of the tensors that came in and those that came out (for what
only the call says, such as an ``output_size``), and gives a tuple of sizes for each result. What is printed for a call
is first held against the shapes that came out (:func:`layer_shapes`), so that nothing untrue is ever shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fwdscope.formula import (
    SPATIAL,
    Shape,
    Size,
    Sizes,
    broadcast_sizes,
    count_windows,
    kept_size,
    kept_sizes,
    multiply,
    regroup,
    set_size,
    shape_of,
    span_windows,
)

from .base import LAYERS, Layer, expand


@dataclass(frozen=True)
class Call:
    """One call of a layer: its settings, and the shapes of the tensors that went in and came out."""

    layer: Any
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]

    @property
    def x(self) -> Shape:
        """The first input's shape."""
        return self.inputs[0]


Formula: TypeAlias = Callable[[Call], Sequence[Sizes]]
FORMULAS: dict[str, Formula] = {}


def _formula(*names: str) -> Callable[[Formula], Formula]:
    """Register a formula for layer types; ``Conv1d-3d`` stands for the three of a family."""

    def decorate(formula: Formula) -> Formula:
        for name in names:
            base = name.removesuffix("1d-3d")
            for one in [name] if base == name else [f"{base}{d}d" for d in (1, 2, 3) if f"{base}{d}d" in LAYERS]:
                assert one in LAYERS, one
                assert one not in FORMULAS, f"{one} has two formulas"
                FORMULAS[one] = formula
        return formula

    return decorate


# Types whose shapes follow from those that came in, whatever the settings: torch keeps theirs in modules inside.
WITHOUT_SETTINGS = frozenset({
    "TransformerEncoderLayer", "TransformerDecoderLayer", "TransformerEncoder", "TransformerDecoder", "Transformer",
    "MixtureOfExperts",
})  # fmt: skip


def layer_shapes(
    type_name: str, layer: Layer | None, inputs: Sequence[Shape], outputs: Sequence[Shape]
) -> tuple[Sizes | None, ...]:
    """For each result the formulas of its sizes; None where there are none that give the shape that came out.

    ``layer`` is None where a module does not keep its settings.
    """
    formula = FORMULAS.get(type_name)
    found: Sequence[Sizes] = ()
    if formula is not None and inputs and (layer is not None or type_name in WITHOUT_SETTINGS):
        found = formula(Call(layer, tuple(inputs), tuple(outputs)))
    padded = [*found, *[None] * len(outputs)]
    return tuple(
        sizes if sizes is not None and shape_of(sizes) == shape else None
        for sizes, shape in zip(padded, outputs, strict=False)
    )


# --- shapes that stay ------------------------------------------------------------------------------------------------

_LEADING = {1: ("N",), 2: ("N", "C"), 3: ("N", "C", "L"), 4: ("N", "C", "H", "W"), 5: ("N", "C", "D", "H", "W")}


@_formula(
    *(name for name, layer in LAYERS.items() if layer.family() in ("activation", "normalization", "dropout")
      and name != "GLU"),
    "Identity", "ChannelShuffle", "TransformerEncoderLayer", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerDecoder",
)  # fmt: skip
def _same(call: Call) -> Sequence[Sizes]:
    return (kept_sizes(call.x),)


@_formula("Transformer")
def _transformer(call: Call) -> Sequence[Sizes]:
    # What comes out is as long as the target.
    return (kept_sizes(call.inputs[1]),)


@_formula("GLU")
def _glu(call: Call) -> Sequence[Sizes]:
    sizes, dim = list(kept_sizes(call.x)), call.layer.dim % len(call.x)
    sizes[dim] = Size(f"size_{dim}", f"size_{dim} / 2", sizes[dim].numbers, "one half gates the other")
    return (tuple(sizes),)


@_formula("MixtureOfExperts")
def _mixture(call: Call) -> Sequence[Sizes]:
    before = len(call.x) - 1
    features = (set_size("features", "expert_features", size) for size in call.outputs[0][before:])
    return ((*kept_sizes(call.x[:before]), *features),)


# --- linear maps and tables ------------------------------------------------------------------------------------------


@_formula("Linear", "Bilinear")
def _linear(call: Call) -> Sequence[Sizes]:
    return ((*kept_sizes(call.x[:-1]), set_size("features", "out_features", call.layer.out_features)),)


@_formula("Embedding")
def _embedding(call: Call) -> Sequence[Sizes]:
    return ((*kept_sizes(call.x), set_size("features", "embedding_dim", call.layer.embedding_dim)),)


@_formula("EmbeddingBag")
def _embedding_bag(call: Call) -> Sequence[Sizes]:
    features = set_size("features", "embedding_dim", call.layer.embedding_dim)
    if len(call.x) == 2:
        return ((kept_size("B", call.x[0], "a bag for each row"), features),)
    offsets = call.inputs[1][0]
    last = "offsets − 1" if call.layer.include_last_offset else "offsets"
    return ((Size("B", last, {"offsets": offsets}, "a bag for each offset"), features),)


# --- windows ---------------------------------------------------------------------------------------------------------


def _front(call: Call, dimensions: int, channels: Size | None = None) -> Sizes:
    """Batch, where there is one, and channels: the input's own unless others are given."""
    batch = (kept_size("N", call.x[0]),) if len(call.x) == dimensions + 2 else ()
    return (*batch, channels or kept_size("C", call.x[-dimensions - 1]))


def _spatial(call: Call, dimensions: int) -> list[tuple[str, int]]:
    return list(zip(SPATIAL[dimensions], call.x[-dimensions:], strict=True))


@_formula("Conv1d-3d")
def _convolution(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, call.layer.dimensions
    front = _front(call, dimensions, set_size("C", "out_channels", layer.out_channels))
    if layer.padding == "same":
        return ((*front, *(kept_size(n, s, "padding='same' keeps it") for n, s in _spatial(call, dimensions))),)
    pads = 0 if layer.padding == "valid" else layer.padding
    columns = zip(*(layer.each(v) for v in (layer.kernel_size, layer.stride, pads, layer.dilation)), strict=True)
    sizes = [count_windows(*at, *of) for at, of in zip(_spatial(call, dimensions), columns, strict=True)]
    return ((*front, *sizes),)


@_formula("ConvTranspose1d-3d")
def _transposed(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, call.layer.dimensions
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding)
    columns = zip(*map(layer.each, settings), strict=True)
    sizes = [span_windows(*at, *of) for at, of in zip(_spatial(call, dimensions), columns, strict=True)]
    wanted = call.outputs[0][-dimensions:]
    if shape_of(sizes) != wanted:
        sizes = [
            set_size(s.name, "output_size", n, "asked for by the call") for s, n in zip(sizes, wanted, strict=True)
        ]
    return ((*_front(call, dimensions, set_size("C", "out_channels", layer.out_channels)), *sizes),)


def _asked_for(sizes: Sequence[Size], wanted: Shape) -> list[Size]:
    return [set_size(s.name, "output_size", n, "asked for by the call") for s, n in zip(sizes, wanted, strict=True)]


@_formula("MaxPool1d-3d", "AvgPool1d-3d", "LPPool1d-3d")
def _pool(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, call.layer.dimensions
    padding, dilation = getattr(layer, "padding", 0), getattr(layer, "dilation", 1)
    stride = layer.kernel_size if layer.stride is None else layer.stride
    columns = zip(*map(layer.each, (layer.kernel_size, stride, padding, dilation)), strict=True)
    at = zip(_spatial(call, dimensions), columns, strict=True)
    sizes = [count_windows(n, s, k, st, p, d, layer.ceil_mode) for (n, s), (k, st, p, d) in at]
    return [(*_front(call, dimensions), *sizes)] * len(call.outputs)


@_formula("AdaptiveMaxPool1d-3d", "AdaptiveAvgPool1d-3d", "FractionalMaxPool1d-3d")
def _adaptive(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, call.layer.dimensions
    at = _spatial(call, dimensions)
    if layer.output_size is not None:
        wanted = zip(at, layer.each(layer.output_size), strict=True)
        sizes = [kept_size(n, s) if w is None else set_size(n, "output_size", w) for (n, s), w in wanted]
    else:
        ratios = zip(at, layer.each(layer.output_ratio), strict=True)
        sizes = [Size(n, f"⌊{n}·output_ratio⌋", {n: s, "output_ratio": ratio}) for (n, s), ratio in ratios]
    return [(*_front(call, dimensions), *sizes)] * len(call.outputs)


@_formula("MaxUnpool1d-3d")
def _unpool(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, call.layer.dimensions
    stride = layer.kernel_size if layer.stride is None else layer.stride
    columns = zip(*map(layer.each, (layer.kernel_size, stride, layer.padding)), strict=True)
    sizes = [
        span_windows(*at, k, s, p, 1, 0) for at, (k, s, p) in zip(_spatial(call, dimensions), columns, strict=True)
    ]
    wanted = call.outputs[0][-dimensions:]
    if shape_of(sizes) != wanted:
        sizes = [
            set_size(s.name, "output_size", n, "asked for by the call") for s, n in zip(sizes, wanted, strict=True)
        ]
    return ((*_front(call, dimensions), *sizes),)


@_formula(*(name for name, layer in LAYERS.items() if layer.family() == "padding"))
def _padded(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, call.layer.dimensions
    around = expand(layer.padding, 2 * dimensions)
    before, names = len(call.x) - dimensions, SPATIAL[dimensions]
    sizes = []
    for i, (name, size) in enumerate(zip(names, call.x[before:], strict=True)):
        first = 2 * (dimensions - 1 - i)
        numbers = {name: size, "before": around[first], "after": around[first + 1]}
        sizes.append(Size(name, f"{name} + before + after", numbers))
    leading = ("N", "C")[-before:] if before <= 2 else ()
    front = tuple(map(kept_size, leading, call.x)) if leading else kept_sizes(call.x[:before])
    return ((*front, *sizes),)


# --- layers that move values -----------------------------------------------------------------------------------------


@_formula("Flatten")
def _flatten(call: Call) -> Sequence[Sizes]:
    first, last = (dim % max(len(call.x), 1) for dim in (call.layer.start_dim, call.layer.end_dim))
    merged = Size("features", multiply(call.x[first : last + 1]), {}, f"dimensions {first} to {last} as one")
    return ((*kept_sizes(call.x[:first]), merged, *kept_sizes(call.x[last + 1 :], last + 1)),)


@_formula("Unflatten")
def _unflatten(call: Call) -> Sequence[Sizes]:
    dim = call.layer.dim % len(call.x)
    wanted = call.outputs[0][dim : dim + len(call.layer.unflattened_size)]
    cut = [Size(f"part_{i}", formula) for i, formula in enumerate(regroup([call.x[dim]], wanted))]
    return ((*kept_sizes(call.x[:dim]), *cut, *kept_sizes(call.x[dim + 1 :], dim + 1)),)


def _blocks(call: Call, sizes: Sequence[int]) -> str:
    """The number of windows over an image, as a product over its dimensions."""
    layer = call.layer
    settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    columns = zip(*(expand(value, 2) for value in settings), strict=True)
    return "·".join(
        f"({count_windows(name, size, *of).with_numbers})" for name, size, of in zip("HW", sizes, columns, strict=True)
    )


@_formula("Unfold")
def _unfold(call: Call) -> Sequence[Sizes]:
    *front, channels, height, width = call.x
    kernel = expand(call.layer.kernel_size, 2)
    numbers = {"C": channels, "kernel_height": kernel[0], "kernel_width": kernel[1]}
    rows = Size("rows", "C·kernel_height·kernel_width", numbers, "the values of a window")
    columns = Size("L", _blocks(call, (height, width)), {}, "windows")
    return ((*(kept_size("N", size) for size in front), rows, columns),)


@_formula("Fold")
def _fold(call: Call) -> Sequence[Sizes]:
    *front, rows, _ = call.x
    kernel, wanted = expand(call.layer.kernel_size, 2), expand(call.layer.output_size, 2)
    numbers = {"rows": rows, "kernel_height": kernel[0], "kernel_width": kernel[1]}
    channels = Size("C", "rows / (kernel_height·kernel_width)", numbers)
    return ((*(kept_size("N", size) for size in front), channels, *map(set_size, "HW", ("output_size",) * 2, wanted)),)


@_formula("PixelShuffle")
def _shuffle(call: Call) -> Sequence[Sizes]:
    *front, channels, height, width = call.x
    r = {"r": call.layer.upscale_factor}
    return ((
        *kept_sizes(front),
        Size("C", "C / (r·r)", {"C": channels, **r}, "r is upscale_factor"),
        Size("H", "H·r", {"H": height, **r}),
        Size("W", "W·r", {"W": width, **r}),
    ),)  # fmt: skip


@_formula("PixelUnshuffle")
def _unshuffle(call: Call) -> Sequence[Sizes]:
    *front, channels, height, width = call.x
    r = {"r": call.layer.downscale_factor}
    return ((
        *kept_sizes(front),
        Size("C", "C·r·r", {"C": channels, **r}, "r is downscale_factor"),
        Size("H", "H / r", {"H": height, **r}),
        Size("W", "W / r", {"W": width, **r}),
    ),)  # fmt: skip


@_formula("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d")
def _upsampled(call: Call) -> Sequence[Sizes]:
    layer, dimensions = call.layer, len(call.x) - 2
    at = _spatial(call, dimensions)
    if layer.size is not None:
        sizes = [set_size(n, "size", w) for (n, _), w in zip(at, expand(layer.size, dimensions), strict=True)]
    else:
        factors = expand(layer.scale_factor, dimensions)
        sizes = [_scaled(n, s, factor) for (n, s), factor in zip(at, factors, strict=True)]
    return ((*_front(call, dimensions), *sizes),)


def _scaled(name: str, size: int, factor: float) -> Size:
    if factor == int(factor):
        return Size(name, f"{name}·scale_factor", {name: size, "scale_factor": int(factor)})
    return Size(name, f"⌊{name}·scale_factor⌋", {name: size, "scale_factor": factor})


# --- sequences and attention -----------------------------------------------------------------------------------------


@_formula("RNN", "LSTM", "GRU")
def _recurrent(call: Call) -> Sequence[Sizes]:
    layer, directions = call.layer, 1 + call.layer.bidirectional
    names = ("N", "L") if layer.batch_first else ("L", "N")
    steps = [kept_size(name, size) for name, size in zip(names if len(call.x) == 3 else "L", call.x[:-1], strict=True)]
    width = getattr(layer, "proj_size", 0) or layer.hidden_size
    name = "proj_size" if getattr(layer, "proj_size", 0) else "hidden_size"
    features = Size("features", f"directions·{name}", {"directions": directions, name: width})
    if directions == 1:
        features = set_size("features", name, width)
    front = (
        Size("layers", "num_layers·directions", {"num_layers": layer.num_layers, "directions": directions}),
        *(size for size in steps if size.name == "N"),
    )
    states = [(*front, set_size("features", name, width))]
    if len(call.outputs) > 2:
        states.append((*front, set_size("features", "hidden_size", layer.hidden_size)))
    return ((*steps, features), *states)


@_formula("RNNCell", "LSTMCell", "GRUCell")
def _cell(call: Call) -> Sequence[Sizes]:
    batch = tuple(kept_size("N", size) for size in call.x[:-1])
    return [(*batch, set_size("features", "hidden_size", call.layer.hidden_size))] * len(call.outputs)


@_formula("MultiheadAttention")
def _attention(call: Call) -> Sequence[Sizes]:
    layer, query = call.layer, call.x
    key = call.inputs[1] if len(call.inputs) > 1 else query
    heads = layer.num_heads
    split = Size("features", "num_heads·head_dim", {"num_heads": heads, "head_dim": query[-1] // heads})
    batched = len(query) == 3
    names = (("N", "L") if layer.batch_first else ("L", "N")) if batched else ("L",)
    found: list[Sizes] = [(*map(kept_size, names, query), split)]
    if len(call.outputs) > 1:
        found.append(_weights(call, query, key, batched))
    return found


def _weights(call: Call, query: Shape, key: Shape, batched: bool) -> Sizes:
    """The attention weights: the mean of the heads, or each head's."""
    layer, along = call.layer, 1 if call.layer.batch_first and batched else 0
    extra = int(layer.add_bias_kv) + int(layer.add_zero_attn)
    source = kept_size("S", key[along])
    if extra:
        source = Size("S", "S + added", {"S": key[along], "added": extra}, "add_bias_kv, add_zero_attn: a key each")
    batch = (kept_size("N", query[1 - along]),) if batched else ()
    heads = (set_size("heads", "num_heads", layer.num_heads),) if len(call.outputs[1]) == len(batch) + 3 else ()
    return (*batch, *heads, kept_size("L", query[along]), source)


# --- distances and losses --------------------------------------------------------------------------------------------


@_formula("CosineSimilarity")
def _cosine(call: Call) -> Sequence[Sizes]:
    common = broadcast_sizes(*call.inputs[:2])
    dim = call.layer.dim % len(common)
    return ((*common[:dim], *common[dim + 1 :]),)


@_formula("PairwiseDistance")
def _distance(call: Call) -> Sequence[Sizes]:
    common = broadcast_sizes(*call.inputs[:2])
    return ((*common[:-1], *((set_size("last", "one", 1, "keepdim=True"),) * call.layer.keepdim)),)


@_formula(*(name for name, layer in LAYERS.items() if layer.family() == "loss"))
def _loss(call: Call) -> Sequence[Sizes]:
    """A number where the loss is reduced to one; else a value for each element, row or sample."""
    if call.outputs[-1] == ():
        return [() if shape == () else kept_sizes(call.x[: len(shape)]) for shape in call.outputs]
    name, shape = type(call.layer).__name__, call.outputs[0]
    if name in ("CrossEntropyLoss", "NLLLoss"):
        return (kept_sizes((*call.x[:-1][:1], *call.x[2:]) if len(call.x) > 1 else ()),)
    if len(shape) == len(call.x):
        return (broadcast_sizes(*call.inputs),)
    return (kept_sizes(call.x[: len(shape)]),)
