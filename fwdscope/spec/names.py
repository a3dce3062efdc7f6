"""The nearest right name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

# Other frameworks' words for torch's layers and functions; values with a capital are layers.
OTHER_LAYERS = {
    "Dense": "Linear", "FullyConnected": "Linear", "FC": "Linear", "Conv1D": "Conv1d", "Conv2D": "Conv2d", "Conv3D": "Conv3d",
    "Convolution2D": "Conv2d", "Conv2DTranspose": "ConvTranspose2d", "Conv1DTranspose": "ConvTranspose1d",
    "Deconv2d": "ConvTranspose2d", "Deconvolution2D": "ConvTranspose2d", "DepthwiseConv2D": "Conv2d",
    "SeparableConv2D": "Conv2d", "BatchNormalization": "BatchNorm2d", "BatchNorm": "BatchNorm2d",
    "LayerNormalization": "LayerNorm", "GroupNormalization": "GroupNorm", "RMSNormalization": "RMSNorm",
    "MaxPooling1D": "MaxPool1d", "MaxPooling2D": "MaxPool2d", "MaxPooling3D": "MaxPool3d", "MaxPool": "MaxPool2d",
    "AveragePooling2D": "AvgPool2d", "AvgPool": "AvgPool2d", "GlobalAveragePooling2D": "AdaptiveAvgPool2d",
    "GlobalAvgPool2d": "AdaptiveAvgPool2d", "GlobalMaxPooling2D": "AdaptiveMaxPool2d", "ZeroPadding2D": "ZeroPad2d",
    "UpSampling2D": "Upsample", "SpatialDropout2D": "Dropout2d", "MultiHeadAttention": "MultiheadAttention",
    "SimpleRNN": "RNN", "Swish": "SiLU", "Activation": "ReLU", "Lambda": "Identity", "Concatenate": "cat", "Concat": "cat",
    "Add": "+", "Multiply": "*", "Reshape": "reshape", "Permute": "permute", "Input": "inputs", "InputLayer": "inputs",
    "Bidirectional": "LSTM(…, bidirectional=True)", "TimeDistributed": "Linear", "ModuleList": "Sequential",
}  # fmt: skip

OTHER_FUNCTIONS = {
    "concat": "cat", "concatenate": "cat", "expand_dims": "unsqueeze", "einsum_path": "einsum", "conv": "conv2d",
    "dense": "linear", "swish": "silu", "attention": "scaled_dot_product_attention", "sdpa": "scaled_dot_product_attention",
    "dot_product_attention": "scaled_dot_product_attention", "reduce_mean": "mean", "reduce_sum": "sum",
    "reduce_max": "amax", "power": "pow", "multiply": "mul", "add_n": "sum", "upsample": "interpolate",
    "resize": "interpolate", "tile_like": "expand_as",
}  # fmt: skip

OTHER_SETTINGS = {
    "units": ("out_features", "hidden_size"), "filters": ("out_channels",), "strides": ("stride",), "kernel": ("kernel_size",),
    "ksize": ("kernel_size",), "pool_size": ("kernel_size",), "pad": ("padding",), "dilation_rate": ("dilation",),
    "rate": ("p", "dilation"), "use_bias": ("bias",), "epsilon": ("eps",), "output_dim": ("embedding_dim", "out_features"),
    "input_dim": ("num_embeddings", "in_features"), "input_size": ("in_features",), "output_size": ("out_features",),
    "out": ("out_features", "out_channels"), "features": ("out_features", "num_features"), "channels": ("out_channels",),
    "heads": ("num_heads", "nhead"), "n_heads": ("num_heads", "nhead"), "n_head": ("num_heads", "nhead"),
    "num_heads": ("nhead",), "nhead": ("num_heads",), "layers": ("num_layers",), "hidden": ("hidden_size",),
    "hidden_dim": ("hidden_size",), "slope": ("negative_slope",), "alpha": ("negative_slope", "alpha"), "drop": ("p", "dropout"),
    "dropout_rate": ("p", "dropout"), "groups_count": ("groups",), "axis": ("dim",), "axes": ("dim", "dims"),
    "keepdims": ("keepdim",), "perm": ("dims",), "size_factor": ("scale_factor",), "mask": ("attn_mask",), "causal": ("is_causal",),
    "d_ff": ("dim_feedforward",), "dim": ("embedding_dim", "normalized_shape"), "n": ("num_layers",),
}  # fmt: skip


def nearest(name: str, names: Iterable[str], words: Mapping[str, str | tuple[str, ...]] | None = None) -> str | None:
    """The name that was meant, if one can be guessed: the same letters but for case and underscores; another framework's word;
    the nearest by edit distance.
    """
    candidates = list(dict.fromkeys(names))
    folded = _fold(name)
    for candidate in candidates:
        if _fold(candidate) == folded:
            return candidate
    word = (words or {}).get(name, ())
    for meant in (word,) if isinstance(word, str) else word:
        if isinstance(word, str) or meant in candidates:
            return meant
    close = difflib.get_close_matches(name.lower(), [c.lower() for c in candidates], 1, 0.72 if len(name) > 3 else 0.8)
    return next((c for c in candidates if close and c.lower() == close[0]), None)


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def listed(names: Iterable[str], most: int = 8) -> str:
    """A short list of what there is."""
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def suggestion(
    name: str, names: Iterable[str], words: Mapping[str, str | tuple[str, ...]] | None = None, what: str = ""
) -> str:
    """Help for an unknown name: the one that was meant, or what there is."""
    known = list(names)
    if meant := nearest(name, known, words):
        return f"write {meant}"
    return f"there is {what + ' ' if what else ''}{listed(known)}" if known else f"there is no {what}".rstrip()
