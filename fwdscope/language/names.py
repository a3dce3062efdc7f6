"""Suggests the right name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from fwdscope.functions.refusals import OTHER_KEYWORDS, OTHER_WORDS

# Calls that make a block's own tensors: neither layers nor functions, they need a named line of their own.
OWN_TENSORS = ("Parameter", "Buffer")
SERIES = "Sequential"
CONSTRUCTORS = (SERIES, *OWN_TENSORS)
# True in training mode.
MODE = "training"

# Other names, and the one or ones that each may stand for.
OtherNames = Mapping[str, str | tuple[str, ...]]

# Other frameworks' names of torch's layers, and what to write for them.
OTHER_LAYERS = {
    **dict.fromkeys(("Dense", "FullyConnected", "FC", "TimeDistributed"), "Linear"),
    "Convolution2D": "Conv2d",
    **dict.fromkeys(("DepthwiseConv2D", "SeparableConv2D"), "Conv2d(…, groups=channels)"),
    "Conv1DTranspose": "ConvTranspose1d",
    "Conv3DTranspose": "ConvTranspose3d",
    **dict.fromkeys(("Conv2DTranspose", "Deconv2d", "Deconvolution2D"), "ConvTranspose2d"),
    "Conv": "Conv2d",
    **dict.fromkeys(("BatchNormalization", "BatchNorm", "FrozenBatchNorm2d"), "BatchNorm2d"),
    "LayerNormalization": "LayerNorm",
    "GroupNormalization": "GroupNorm",
    "RMSNormalization": "RMSNorm",
    "MaxPooling1D": "MaxPool1d",
    "MaxPooling3D": "MaxPool3d",
    **dict.fromkeys(("MaxPooling2D", "MaxPool"), "MaxPool2d"),
    "AveragePooling1D": "AvgPool1d",
    **dict.fromkeys(("AveragePooling2D", "AvgPool"), "AvgPool2d"),
    **dict.fromkeys(("GlobalAveragePooling2D", "GlobalAvgPool2d"), "AdaptiveAvgPool2d(1)"),
    "GlobalMaxPooling2D": "AdaptiveMaxPool2d(1)",
    "ZeroPadding2D": "ZeroPad2d",
    "UpSampling2D": "Upsample",
    "SpatialDropout2D": "Dropout2d",
    "SimpleRNN": "RNN",
    "Bidirectional": "LSTM(…, bidirectional=True)",
    "Swish": "SiLU",
    "TransformerBlock": "TransformerEncoderLayer",
    **dict.fromkeys(("Concatenate", "Concat"), "cat([a, b], dim=1)"),
    "Add": "a + b",
    "Multiply": "a * b",
    "Reshape": "x.reshape(…)",
    "Permute": "x.permute(…)",
}

# The same for functions and methods.
OTHER_FUNCTIONS = {
    **OTHER_WORDS,
    "dense": "linear",
    "conv": "conv2d",
    "attention": "scaled_dot_product_attention",
    "sdpa": "scaled_dot_product_attention",
    "add_n": "sum",
    "resize": "interpolate",
}

# The same for settings and keywords: the names it may stand for, of which the layer or function has one.
OTHER_SETTINGS: dict[str, tuple[str, ...]] = {
    # `axes` means `dims`, or `dim` where there is one only.
    **{word: (meant, meant.removesuffix("s")) for word, meant in OTHER_KEYWORDS.items()},
    "units": ("out_features", "hidden_size"),
    "filters": ("out_channels",),
    "kernel": ("kernel_size",),
    "pad": ("padding",),
    "dilation_rate": ("dilation",),
    "rate": ("p", "dilation"),
    **dict.fromkeys(("drop", "dropout_rate"), ("p", "dropout")),
    "use_bias": ("bias",),
    "output_dim": ("embedding_dim", "out_features"),
    "input_dim": ("num_embeddings", "in_features"),
    "input_size": ("in_features",),
    "output_size": ("out_features",),
    "out": ("out_features", "out_channels"),
    "features": ("out_features", "num_features"),
    "channels": ("out_channels",),
    **dict.fromkeys(("heads", "n_heads", "n_head"), ("num_heads", "nhead")),
    "num_heads": ("nhead",),
    "nhead": ("num_heads",),
    **dict.fromkeys(("layers", "n"), ("num_layers",)),
    **dict.fromkeys(("hidden", "hidden_dim"), ("hidden_size",)),
    "slope": ("negative_slope",),
    "alpha": ("negative_slope", "alpha"),
    "axis": ("dim",),
    "perm": ("dims",),
    "mask": ("attn_mask",),
    "causal": ("is_causal",),
    "d_ff": ("dim_feedforward",),
    "dim": ("embedding_dim", "normalized_shape"),
}


def nearest(name: str, names: Iterable[str], words: OtherNames | None = None) -> str | None:
    """Return the name that was probably meant, or None.

    It has the same letters except for case and underscores, or is another framework's name, or is similarly spelled.
    """
    candidates = list(dict.fromkeys(names))
    folded = fold(name)
    if alike := next((candidate for candidate in candidates if fold(candidate) == folded), None):
        return alike
    word = (words or {}).get(name, ())
    for meant in (word,) if isinstance(word, str) else word:
        if isinstance(word, str) or meant in candidates:
            return meant
    # The first letter is seldom wrong, and a longer name that begins with another says more: `arange` is no
    # `rearrange`, `Transformer` no `TransformerBlock`.
    typed, cutoff = name.lower(), 0.72 if 3 < len(name) < 9 else 0.8
    lower = {c.lower(): c for c in reversed(candidates) if c[:1].lower() == typed[:1]}
    close = [c for c in lower if not (typed.startswith(c) and len(typed) - len(c) > 2)]
    spelled = difflib.get_close_matches(typed, close, len(close) or 1, cutoff)
    return lower[min(spelled, key=lambda c: _edits(typed, c))] if spelled else None


def _edits(typed: str, meant: str) -> int:
    """How many letters are wrong, left out, added or swapped with the next one."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, a in enumerate(typed, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(meant, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and a == meant[j - 2] and typed[i - 2] == b:
                row[j] = min(row[j], last[j - 2] + 1)
    return row[-1]


def fold(name: str) -> str:
    """Return a name without what may differ in its spelling: case and underscores."""
    return name.replace("_", "").lower()


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return the first names as text, with the number of the others."""
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def likely(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return names that may be meant: the one with the same letters, else those that contain it, else the nearest."""
    known = sorted(dict.fromkeys(names))
    meant, folded = nearest(name, known), fold(name)
    if meant is not None and fold(meant) == folded:
        return (meant,)
    holding = [one for one in known if folded and folded in fold(one)]
    # Those that start with it come first.
    return tuple(sorted(holding, key=lambda one: not fold(one).startswith(folded))) or ((meant,) if meant else ())


def did_you_mean(name: str, names: Iterable[str], what: str, most: int = 12) -> str:
    """Return help for an unknown name: the likely names, else ``what`` and the first few of all."""
    *others, last = likely(name, names)[:most] or ("",)
    if last:
        return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    known = sorted(dict.fromkeys(names))
    more = f", … {len(known) - most} more" if len(known) > most else ""
    return f"{what} {', '.join(known[:most])}{more}"


def suggestion(name: str, names: Iterable[str], words: OtherNames | None = None, what: str = "one of") -> str:
    """Return help for an unknown name: the name that was probably meant, else ``what`` and the names there are."""
    known = list(names)
    if meant := nearest(name, known, words):
        return f"write `{meant}`"
    return f"{what} {listed(known)}" if known else "there are none"
