"""What layers refuse: type, settings, inputs, and the message and the help that say it, word for word."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fwdscope.layers import LAYERS


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


INT, BOOL = torch.int64, torch.bool
ENCODER = LAYERS["TransformerEncoderLayer"]

REFUSALS: list[tuple[str, dict[str, Any], tuple[Any, ...], str, str | None]] = [
    # dtypes
    (
        "Linear",
        {"out_features": 3},
        (meta(2, 4, dtype=INT),),
        "Linear computes on floating-point numbers, found int64",
        "cast it: `.float()`; token ids go through Embedding first",
    ),
    (
        "Conv2d",
        {"out_channels": 3, "kernel_size": 3},
        (meta(2, 4, 5, 5, dtype=torch.uint8),),
        "Conv2d computes on floating-point numbers, found uint8",
        "cast it: `.float()`",
    ),
    (
        "Linear",
        {"out_features": 3},
        (meta(2, 4, dtype=torch.complex64),),
        "Linear computes on floating-point numbers, found complex64",
        "take `.real` or `.imag`, or both by view_as_real",
    ),
    (
        "Linear",
        {"out_features": 3},
        (meta(2, 4, dtype=torch.float64),),
        "Linear has weights of float32, found an input of float64",
        "cast it: `.to(float32)`, or make it with dtype=float32",
    ),
    (
        "Embedding",
        {"num_embeddings": 10, "embedding_dim": 4},
        (meta(2, 4),),
        "Embedding looks up whole numbers (int64 or int32), found float32 as input",
        "make the input with randint(0, 10, shape), or cast it: `.long()`",
    ),
    # inputs
    (
        "MultiheadAttention",
        {"num_heads": 8},
        (meta(5, 2, 8),),
        "MultiheadAttention needs 3 inputs (query, key, value), found 1",
        "write MultiheadAttention(…)(query, key, value)",
    ),
    ("Linear", {"out_features": 3}, (7,), "Linear takes a tensor as input, found the number 7", None),
    ("Linear", {"out_features": 3}, (None,), "Linear takes a tensor as input, found None", None),
    # dimensions
    (
        "Conv2d",
        {"out_channels": 3, "kernel_size": 3},
        (meta(2, 4),),
        "Conv2d expects an input of shape (N, C, H, W) or (C, H, W), found 2 dimensions: (2, 4)",
        None,
    ),
    (
        "BatchNorm2d",
        {},
        (meta(2, 4, 8),),
        "BatchNorm2d expects an input of shape (N, C, H, W), found 3 dimensions: (2, 4, 8)",
        "BatchNorm1d takes such an input",
    ),
    (
        "Linear",
        {"out_features": 3},
        (meta(),),
        "Linear expects an input of shape (…, in_features), found 0 dimensions: ()",
        None,
    ),
    (
        "LSTM",
        {"hidden_size": 3, "batch_first": True},
        (meta(4),),
        "LSTM expects an input of shape (N, L, H_in) or (L, H_in), found 1 dimension: (4,)",
        None,
    ),
    (
        "Flatten",
        {"start_dim": 3},
        (meta(2, 4),),
        "Flatten has start_dim=3, but the input has 2 dimensions: (2, 4)",
        "start_dim may be from -2 to 1",
    ),
    (
        "Softmax",
        {"dim": 2},
        (meta(2, 4),),
        "Softmax has dim=2, but the input has 2 dimensions: (2, 4)",
        "dim may be from -2 to 1",
    ),
    (
        "LayerNorm",
        {"normalized_shape": (2, 3, 4)},
        (meta(3, 4),),
        "LayerNorm normalizes the last 3 dimensions, found 2: (3, 4)",
        None,
    ),
    # convolutions
    (
        "Conv2d",
        {"out_channels": 3, "kernel_size": 7, "padding": 0},
        (meta(1, 3, 5, 5),),
        "kernel 7×7 is larger than the input 5×5",
        "a larger input, a smaller kernel or 1 more padding would fit",
    ),
    (
        "Conv2d",
        {"out_channels": 3, "kernel_size": 5, "padding": (0, 1), "dilation": 3},
        (meta(1, 3, 5, 5),),
        "kernel 5×5 with dilation 3 (13×13) is larger than the padded input 5×7",
        "a larger input, a smaller kernel or 4 more padding would fit",
    ),
    (
        "Conv2d",
        {"out_channels": 32, "kernel_size": 3, "groups": 5},
        (meta(1, 24, 9, 9),),
        "the input's number of channels (24) is not divisible by groups (5)",
        "groups=4 or 8 would fit, or 20 or 25 instead of 24",
    ),
    (
        "Conv2d",
        {"out_channels": 30, "kernel_size": 3, "groups": 4},
        (meta(1, 24, 9, 9),),
        "out_channels (30) is not divisible by groups (4)",
        "groups=3 or 6 would fit, or 28 or 32 instead of 30",
    ),
    (
        "Conv2d",
        {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": "same"},
        (meta(1, 3, 9, 9),),
        "padding='same' needs a stride of 1, found stride=2",
        "write the padding as a number: kernel_size // 2 halves the size at stride=2",
    ),
    (
        "Conv1d",
        {"out_channels": 3, "kernel_size": 3, "padding": 4, "padding_mode": "reflect"},
        (meta(1, 3, 4),),
        "reflection padding of 4 does not fit an input of size 4",
        "the padding may be at most 3 here",
    ),
    (
        "ConvTranspose2d",
        {"out_channels": 3, "kernel_size": 3, "stride": 2, "output_padding": 2},
        (meta(1, 3, 4, 4),),
        "output_padding (2) must be smaller than the stride (2) or the dilation (1)",
        "output_padding may be at most 1 here",
    ),
    (
        "ConvTranspose2d",
        {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1},
        (meta(1, 3, 8, 8), (17, 17)),
        "output_size 17×17 is out of reach",
        "it may be from 15×15 to 16×16 for this input",
    ),
    (
        "ConvTranspose1d",
        {"out_channels": 3, "kernel_size": 2, "padding": 3},
        (meta(1, 3, 4),),
        "an input of 4 gives an output of -1",
        "write a smaller padding",
    ),
    (
        "ConvTranspose2d",
        {"out_channels": 3, "kernel_size": 2},
        (meta(1, 3, 8, 8), 9),
        "ConvTranspose2d takes a tuple of sizes as output_size, found the number 9",
        "write output_size=x.shape[2:], or (h, w) in numbers",
    ),
    (
        "Conv2d",
        {"out_channels": 3, "kernel_size": 1, "padding": 1},
        (meta(1, 3, 0, 8),),
        "Conv2d needs an input that is not empty, found (1, 3, 0, 8)",
        None,
    ),
    # pooling
    (
        "MaxPool2d",
        {"kernel_size": 3, "padding": 2},
        (meta(1, 3, 9, 9),),
        "padding (2) is more than half the kernel (3)",
        "the padding may be at most 1 here",
    ),
    (
        "MaxPool2d",
        {"kernel_size": 7},
        (meta(1, 3, 5, 5),),
        "kernel 7×7 is larger than the input 5×5",
        "fewer poolings or strides above leave a larger input; AdaptiveAvgPool2d takes any size",
    ),
    (
        "AvgPool3d",
        {"kernel_size": 4, "padding": 1},
        (meta(1, 3, 3, 5, 5),),
        "kernel 4×4×4 is larger than the input 3×5×5",
        "fewer poolings or strides above leave a larger input; AdaptiveAvgPool3d takes any size",
    ),
    (
        "FractionalMaxPool2d",
        {"kernel_size": 2},
        (meta(1, 3, 9, 9),),
        "FractionalMaxPool2d takes one of output_size and output_ratio, found neither",
        "write FractionalMaxPool2d(2, output_ratio=0.7)",
    ),
    (
        "MaxUnpool2d",
        {"kernel_size": 2},
        (meta(1, 3, 4, 4), meta(1, 3, 4, 4)),
        "MaxUnpool2d takes indices of int64, found float32",
        "take them from MaxPool2d(…, return_indices=True)",
    ),
    (
        "MaxUnpool2d",
        {"kernel_size": 2},
        (meta(1, 3, 4, 4), meta(1, 3, 4, 4, dtype=INT), (10, 8)),
        "output_size 10×8 is out of reach",
        "it may be from 7×7 to 9×9 for this input",
    ),
    # padding
    (
        "ReflectionPad2d",
        {"padding": 4},
        (meta(1, 3, 4, 9),),
        "ReflectionPad2d takes 4 values from an input of size 4",
        "the padding may be at most 3 here",
    ),
    (
        "ZeroPad1d",
        {"padding": -3},
        (meta(1, 3, 4),),
        "ZeroPad1d cuts a size of 4 to -2",
        "use a smaller negative padding",
    ),
    # norms
    (
        "GroupNorm",
        {"num_groups": 32},
        (meta(1, 48, 4, 4),),
        "num_channels (48) is not divisible by num_groups (32)",
        "num_groups=24 or 48 would fit, or 32 or 64 instead of 48",
    ),
    (
        "InstanceNorm2d",
        {},
        (meta(1, 3, 1, 1),),
        "InstanceNorm2d normalizes over positions, found a single one: (1, 3, 1, 1)",
        "LayerNorm and GroupNorm normalize over channels",
    ),
    (
        "LayerNorm",
        {"normalized_shape": (4, 8)},
        (meta(2, 3, 8),),
        "normalized_shape is given as (4, 8), but the input has (3, 8)",
        None,  # leaving it out would build another network
    ),
    # activations
    ("GLU", {}, (meta(2, 5),), "GLU halves dimension -1, which has an odd size (5)", "4 or 6 would fit"),
    (
        "PReLU",
        {"num_parameters": 3},
        (meta(2, 4, 5),),
        "PReLU has 3 slopes, but the input has 4 channels: (2, 4, 5)",
        "num_parameters may be 1 or 4 here",
    ),
    # embeddings
    (
        "Embedding",
        {"num_embeddings": 10, "embedding_dim": 4, "padding_idx": 10},
        (meta(2, dtype=INT),),
        "padding_idx (10) is no row of a table of 10",
        "it may be from -10 to 9",
    ),
    (
        "EmbeddingBag",
        {"num_embeddings": 10, "embedding_dim": 4},
        (meta(6, dtype=INT),),
        "EmbeddingBag needs offsets with an input of 1 dimension",
        "write EmbeddingBag(…)(input, offsets), or give an input of shape (B, n)",
    ),
    (
        "EmbeddingBag",
        {"num_embeddings": 10, "embedding_dim": 4},
        (meta(2, 3, dtype=INT), None, meta(2, 3)),
        "per_sample_weights need mode='sum', found mode='mean'",
        "write mode='sum'",
    ),
    # recurrent
    (
        "LSTM",
        {"hidden_size": 5, "batch_first": True},
        (meta(2, 7, 4), (meta(2, 1, 5), meta(1, 2, 5))),
        "LSTM's h must have the shape (1, 2, 5), found (2, 1, 5)",
        "the sizes are (num_layers · directions, batch, hidden), the batch second also with batch_first",
    ),
    (
        "LSTM",
        {"hidden_size": 5},
        (meta(7, 2, 4), meta(1, 2, 5)),
        "LSTM takes two states as hx, found a tensor",
        "write LSTM(…)(x, (h, c))",
    ),
    (
        "LSTM",
        {"hidden_size": 5, "proj_size": 5},
        (meta(7, 2, 4),),
        "proj_size (5) must be smaller than hidden_size (5)",
        None,
    ),
    (
        "GRUCell",
        {"hidden_size": 5},
        (meta(2, 4), meta(3, 5)),
        "GRUCell's hx must have the shape (2, 5), found (3, 5)",
        None,
    ),
    ("GRU", {"hidden_size": 5}, (meta(0, 2, 4),), "GRU needs a sequence of at least one step, found (0, 2, 4)", None),
    # attention
    (
        "MultiheadAttention",
        {"num_heads": 12},
        (meta(5, 2, 512),) * 3,
        "embed_dim (512) is not divisible by num_heads (12)",
        "num_heads=8 or 16 would fit, or 504 or 516 instead of 512",
    ),
    (
        "MultiheadAttention",
        {"num_heads": 2},
        (meta(2, 5, 8), meta(3, 6, 8), meta(3, 6, 8)),
        "query (2, 5, 8) and key (3, 6, 8) differ in the batch (dimension 1): 5 and 6",
        "write batch_first=True if the batch comes first",
    ),
    (
        "MultiheadAttention",
        {"num_heads": 2},
        (meta(5, 2, 8), meta(6, 2, 8), meta(7, 2, 8)),
        "key (6, 2, 8) and value (7, 2, 8) must have the same length",
        "they may only differ in the last dimension",
    ),
    (
        "MultiheadAttention",
        {"num_heads": 2},
        (meta(5, 2, 8), meta(5, 2, 8), meta(5, 2, 8), None, False, meta(4, 4, dtype=BOOL)),
        "MultiheadAttention's attn_mask must have the shape (5, 5) or (4, 5, 5), found (4, 4)",
        None,
    ),
    (
        "MultiheadAttention",
        {"num_heads": 2},
        (meta(5, 2, 8), meta(5, 2, 8), meta(5, 2, 8), None, False, None, True, True),
        "is_causal=True needs attn_mask",
        "write attn_mask=~causal_mask(T)",
    ),
    (
        "TransformerEncoderLayer",
        {"nhead": 2},
        (meta(5, 2, 8), meta(5, 5, dtype=INT)),
        "TransformerEncoderLayer takes src_mask as booleans or floating-point numbers, found int64",
        "cast it: `.bool()`; True masks a position out",
    ),
    (
        "TransformerDecoderLayer",
        {"nhead": 2},
        (meta(5, 2, 8), meta(3, 2, 6)),
        "TransformerDecoderLayer takes sequences with the same features, found tgt (5, 2, 8) and memory (3, 2, 6)",
        "a Linear(8) makes memory fit",
    ),
    (
        "TransformerEncoder",
        {"encoder_layer": ENCODER(3), "num_layers": 2},
        (meta(5, 2, 8),),
        "d_model (8) is not divisible by nhead (3)",
        "nhead=2 or 4 would fit, or 6 or 9 instead of 8",
    ),
    (
        "TransformerEncoder",
        {"encoder_layer": LAYERS["Linear"](8), "num_layers": 2},
        (meta(5, 2, 8),),
        "TransformerEncoder takes a TransformerEncoderLayer, found a Linear",
        "a stack of other layers is written 6 * Block(…)",
    ),
    (
        "TransformerEncoderLayer",
        {"nhead": 2},
        (meta(5, 2, 8), True),
        "TransformerEncoderLayer takes a tensor as src_mask, found True",
        None,
    ),
    # shapes
    (
        "Unflatten",
        {"dim": 1, "unflattened_size": (3, 5)},
        (meta(2, 12),),
        "dimension 1 has size 12, which is not 3×5 = 15",
        None,
    ),
    (
        "PixelShuffle",
        {"upscale_factor": 3},
        (meta(1, 16, 4, 4),),
        "the input's channels (16) are not divisible by upscale_factor² (9)",
        "9 or 18 channels would fit",
    ),
    (
        "Fold",
        {"output_size": 4, "kernel_size": 2},
        (meta(1, 12, 8),),
        "an image of 4×4 has 3×3 = 9 windows, found 8 columns",
        None,
    ),
    (
        "Upsample",
        {"scale_factor": 2, "mode": "bilinear"},
        (meta(1, 3, 4),),
        "mode='bilinear' is for inputs (N, C, H, W), found (1, 3, 4)",
        "write mode='linear' or mode='nearest'",
    ),
    (
        "Upsample",
        {"scale_factor": 0.1},
        (meta(1, 3, 4, 4),),
        "Upsample of an input 4×4 gives 0×0",
        "write a larger scale_factor",
    ),
    (
        "Bilinear",
        {"out_features": 3},
        (meta(2, 4), meta(3, 4)),
        "Bilinear's inputs differ before the last dimension: (2, 4) and (3, 4)",
        None,
    ),
    (
        "CosineSimilarity",
        {},
        (meta(2, 4), meta(3, 4)),
        "CosineSimilarity: shapes (2, 4) and (3, 4) do not fit together",
        None,
    ),
    # losses
    (
        "CrossEntropyLoss",
        {},
        (meta(2, 5, 10), meta(2, 5, dtype=INT)),
        "CrossEntropyLoss takes a class for each of the input's (2, 5, 10) scores: a target (2, 10), found (2, 5)",
        "the classes stand in dimension 1: transpose(1, 2) brings (N, T, C) to (N, C, T)",
    ),
    (
        "CrossEntropyLoss",
        {},
        (meta(2, 5), meta(2)),
        "CrossEntropyLoss takes class indices of int64 as target, found float32",
        "make it with randint(0, classes, shape), or cast it: `.long()`",
    ),
    (
        "CrossEntropyLoss",
        {"weight": (1.0, 2.0)},
        (meta(2, 5), meta(2, dtype=INT)),
        "CrossEntropyLoss has 2 numbers as weight for 5 classes",
        None,
    ),
    (
        "BCEWithLogitsLoss",
        {},
        (meta(2, 1), meta(2)),
        "BCEWithLogitsLoss takes a target of the input's shape (2, 1), found (2,)",
        None,
    ),
    (
        "AdaptiveLogSoftmaxWithLoss",
        {"n_classes": 10, "cutoffs": (6, 3)},
        (meta(2, 16), meta(2, dtype=INT)),
        "cutoffs (6, 3) must rise and stay below n_classes (10)",
        None,
    ),
    # mixture
    (
        "MixtureOfExperts",
        {"expert": LAYERS["Linear"](4), "num_experts": 2, "top_k": 3},
        (meta(2, 8),),
        "top_k (3) is more than num_experts (2)",
        None,
    ),
    (
        "MixtureOfExperts",
        {"expert": LAYERS["Linear"](4), "num_experts": 4, "topk_group": 2},
        (meta(2, 8),),
        "topk_group (2) is more than groups (1)",
        None,
    ),
    (
        "MixtureOfExperts",
        {"expert": LAYERS["Linear"](4), "num_experts": 4, "groups": 3},
        (meta(2, 8),),
        "num_experts (4) do not divide into 3 groups",
        None,
    ),
    (
        "MixtureOfExperts",
        {"expert": LAYERS["Linear"](4), "num_experts": 4, "top_k": 3, "groups": 2},
        (meta(2, 8),),
        "top_k (3) is more than the 2 experts of topk_group=1",
        "of 2 groups of 2, topk_group is how many a position uses",
    ),
    (
        "MixtureOfExperts",
        {"expert": LAYERS["Linear"](4), "num_experts": 4, "groups": 4, "topk_group": 2, "correction_bias": True},
        (meta(2, 8),),
        "with correction_bias a group is scored by its two best experts, and has only one",
        None,
    ),
]
