"""Names of torch and Python that expressions may not use, with the reason and what to write instead.

A name that is neither in a table nor here is unknown; the caller suggests the nearest one.
"""

from __future__ import annotations

_FILES = "a spec reads and writes no files and runs no code"
_DATA = "the shape of its result depends on the data; where(mask, x, 0) keeps the shape"
_LEAVES = "it leaves the graph"
_IN_PLACE = "in place changes what a skip connection holds"
_DROPOUT = "as a function it drops in evaluation too; use the layer"
_NO_MODE = "a report is made without gradients already"


def _each(names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


EXCLUDED: dict[str, str] = {
    **_each("save load compile hub jit export package eval exec open import __import__ input getattr setattr", _FILES),
    **_each("delattr globals locals vars dir breakpoint from_file memmap", _FILES),
    **_each("nonzero argwhere unique unique_consecutive masked_select bincount histc", _DATA),
    "dropout": f"{_DROPOUT} Dropout(p)",
    "dropout1d": f"{_DROPOUT} Dropout1d(p)",
    "dropout2d": f"{_DROPOUT} Dropout2d(p)",
    "dropout3d": f"{_DROPOUT} Dropout3d(p)",
    "alpha_dropout": f"{_DROPOUT} AlphaDropout(p)",
    "feature_alpha_dropout": f"{_DROPOUT} FeatureAlphaDropout(p)",
    "rrelu": "as a function it ignores training and evaluation; use the layer RReLU",
    "batch_norm": "it keeps running statistics; use the layer BatchNorm1d, BatchNorm2d or BatchNorm3d",
    "instance_norm": "use the layer InstanceNorm1d, InstanceNorm2d or InstanceNorm3d",
    "ctc_loss": "use the layer CTCLoss",
    "gaussian_nll_loss": "it looks at its numbers; write ((log(var) + (x - y) ** 2 / var) / 2).mean()",
    "multi_head_attention_forward": "use the layer MultiheadAttention",
    **_each("max_unpool1d max_unpool2d max_unpool3d", "use the layer MaxUnpool1d, MaxUnpool2d or MaxUnpool3d"),
    **_each("lstm gru rnn_tanh rnn_relu", "use the layer LSTM, GRU or RNN"),
    **_each("upsample upsample_nearest upsample_bilinear", "interpolate(x, scale_factor=2) is its name today"),
    **_each("empty empty_like empty_strided", "its numbers are uninitialised; write zeros or rand"),
    **_each("from_numpy as_tensor asarray frombuffer", "write tensor([…]), or make it an input: --input name=file.npy"),
    **_each("item tolist numpy detach", _LEAVES),
    **_each("no_grad enable_grad inference_mode set_grad_enabled", _NO_MODE),
    **_each("manual_seed seed", "the seed is an option of the command: --seed"),
    **_each("set_default_dtype set_default_device device", "dtype and device are options of the command"),
    **_each("map filter", "write a comprehension: [f(t) for t in items]"),
    "divmod": "write a // b and a % b",
    "slice": "write x[a:b]",
    **_each("einops rearrange repeat reduce Rearrange Reduce", "write reshape, permute, expand and mean"),
    "ModuleList": "write each layer on the line that calls it; n alike in series are `n * Linear(8)`",
    "ModuleDict": "write each layer on the line that calls it, with its name: `box = Linear(4)`",
    **_each("ParameterList ParameterDict", "write each on a line of its own: `scale = Parameter(ones(8))`"),
    "LayerNorm2d": "write `prev.permute(0, 2, 3, 1)`, `LayerNorm`, `prev.permute(0, 3, 1, 2)`",
    "Lambda": "write the expression on the line: `prev * 2`",
    "Activation": "write the layer of the activation: `ReLU`, `Tanh`, `Sigmoid`",
    "print": "a report shows every line; name it to find it",
    **_each("dict set frozenset", "a spec has numbers, strings, tuples, lists and tensors; write a tuple"),
    **_each("isinstance type callable hasattr", "a spec has no types to ask for; x.dtype and x.shape are known"),
}

EXCLUDED_METHODS: dict[str, str] = {
    **_each("item tolist numpy", f"{_LEAVES}: the number is known only when data runs; a size is x.shape[0]"),
    "detach": f"{_LEAVES}, and a report is made without gradients already",
    **_each("backward retain_grad register_hook requires_grad", "a spec describes the forward pass"),
    **_each("nonzero argwhere unique unique_consecutive masked_select bincount histc", _DATA),
    **_each("cuda cpu xpu mps pin_memory", "the device is an option of the command: --device"),
    "type": "x.to(float16) casts, x.dtype is the type",
    "apply": "a spec runs no code",
    "map": "a spec runs no code",
    **_each("save load share_memory storage data_ptr untyped_storage set", _FILES),
    "new_empty": "its numbers are uninitialised; write new_zeros",
    "dropout": f"{_DROPOUT} Dropout(p)",
}

EXCLUDED_ATTRIBUTES: dict[str, str] = {
    **_each("data grad grad_fn", f"{_LEAVES}; a report is made without gradients already"),
    **_each("device is_cuda is_meta", "a report is the same on every device; the device is an option of the command"),
    **_each("requires_grad is_leaf", "a report is made without gradients"),
}

# Replacements for in-place methods without an out-of-place form.
_NEW = {"zero": "zeros_like(x)", "fill": "full_like(x, …)", "normal": "randn_like(x)", "uniform": "rand_like(x)"}

# Names in other frameworks, and the ones here.
OTHER_WORDS: dict[str, str] = {
    "swish": "silu",
    "expand_dims": "unsqueeze",
    "reduce_sum": "sum",
    "reduce_mean": "mean",
    "reduce_max": "amax",
    "reduce_min": "amin",
    "reduce_prod": "prod",
    "l2_normalize": "normalize",
    "iota": "arange",
    "power": "pow",
    "batch_matmul": "bmm",
    "top_k": "topk",
    "clip_by_value": "clamp",
    "image_resize": "interpolate",
    "space_to_depth": "pixel_unshuffle",
    "depth_to_space": "pixel_shuffle",
    "dot_product_attention": "scaled_dot_product_attention",
    "softmax_cross_entropy_with_logits": "cross_entropy",
    "mean_squared_error": "mse_loss",
    "negative_log_likelihood": "nll_loss",
    "rotary_embedding": "rope",
    "apply_rotary_pos_emb": "rope",
    "positional_encoding": "sinusoidal",
    "rms_normalize": "rms_norm",
}

# The same for keywords.
OTHER_KEYWORDS: dict[str, str] = {
    "axes": "dims",
    "keepdims": "keepdim",
    "keep_dims": "keepdim",
    "strides": "stride",
    "pool_size": "kernel_size",
    "ksize": "kernel_size",
    "epsilon": "eps",
    "labels": "target",
}


def function_refusal(name: str) -> str | None:
    """Why an expression may not call this function, and what to write instead; None if the name is unknown."""
    if name in EXCLUDED:
        return EXCLUDED[name]
    if _in_place(name):
        return f"{_IN_PLACE}: write {name.rstrip('_')}(…), which gives a new tensor"
    return None


def method_refusal(name: str) -> str | None:
    """Why an expression may not call this method, and what to write instead; None if the name is unknown."""
    if name in EXCLUDED_METHODS:
        return EXCLUDED_METHODS[name]
    if _in_place(name):
        plain = name.rstrip("_")
        return f"{_IN_PLACE}: write {_NEW.get(plain, f'x = x.{plain}(…)')}"
    return None


def _in_place(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")
