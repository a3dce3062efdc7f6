"""One example or more of every layer type: settings, the sizes that it must infer, and inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fwdscope.layers import LAYERS


@dataclass(frozen=True)
class Example:
    """A layer's settings, the sizes it must infer under torch's names, and a function that makes its inputs."""

    name: str
    inputs: Callable[[], tuple[Any, ...]]
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)
    # torch's module, where its arguments are not those of the layer: layers as settings, weights.
    reference: Callable[[], nn.Module] | None = None

    def layer(self) -> Any:
        return LAYERS[self.name](**self.settings)

    def torch_module(self) -> nn.Module:
        if self.reference is not None:
            return self.reference()
        return getattr(nn, self.name)(**self.sizes, **self.settings)

    def __str__(self) -> str:
        return repr(self.layer())


def whole(*shape: int, high: int = 3, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.randint(0, high, shape, dtype=dtype)


def signs(*shape: int) -> Tensor:
    return torch.randint(0, 2, shape) * 2.0 - 1


def of(*shapes: tuple[int, ...]) -> Callable[[], tuple[Any, ...]]:
    return lambda: tuple(torch.rand(*shape) for shape in shapes)


IMAGE, SEQUENCE, VOLUME = of((2, 4, 8, 8)), of((2, 4, 8)), of((2, 4, 6, 6, 6))
BY_DIMENSION = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}


def by_dimension(name: str, *settings: dict[str, Any], **sizes: Any) -> list[Example]:
    """The 1d, 2d and 3d types of a family, each on a batch and on a single sample."""
    return [
        Example(f"{name}{d}d", made, given, sizes)
        for d, inputs in BY_DIMENSION.items()
        for given in settings
        for made in (inputs, unbatched(inputs))
        if f"{name}{d}d" in LAYERS
    ]


def unbatched(inputs: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    return lambda: tuple(x[0] for x in inputs())


def elementwise(*names: str) -> list[Example]:
    return [Example(name, of((3, 4))) for name in names]


def unpool(d: int) -> Example:
    # Unpooling reads where MaxPool found its values; on meta the places do not matter.
    shape = (2, 4, *(3,) * d)
    return Example(f"MaxUnpool{d}d", lambda: (torch.rand(shape), whole(*shape)), {"kernel_size": 2})


WINDOWS = [
    *by_dimension(
        "Conv",
        {"out_channels": 6, "kernel_size": 3},
        {"out_channels": 8, "kernel_size": 3, "stride": 2, "padding": 1, "groups": 4, "bias": False},
        {"out_channels": 2, "kernel_size": 3, "padding": "same", "dilation": 2, "padding_mode": "circular"},
        {"out_channels": 2, "kernel_size": 2, "padding": 1, "padding_mode": "reflect"},
        in_channels=4,
    ),
    *by_dimension(
        "ConvTranspose",
        {"out_channels": 6, "kernel_size": 2, "stride": 2},
        {"out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
        in_channels=4,
    ),
    Example(
        "ConvTranspose2d",
        lambda: (torch.rand(2, 4, 8, 8), [16, 16]),
        {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1},
        {"in_channels": 4},
    ),
    *by_dimension("MaxPool", {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    *by_dimension("MaxPool", {"kernel_size": 2, "return_indices": True, "dilation": 2}),
    *by_dimension("AvgPool", {"kernel_size": 2}, {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    *by_dimension("LPPool", {"norm_type": 2, "kernel_size": 2}),
    *by_dimension("AdaptiveMaxPool", {"output_size": 3}, {"output_size": 3, "return_indices": True}),
    *by_dimension("AdaptiveAvgPool", {"output_size": 3}),
    Example("AdaptiveAvgPool2d", IMAGE, {"output_size": (3, None)}),
    *by_dimension("FractionalMaxPool", {"kernel_size": 2, "output_size": 3}, {"kernel_size": 2, "output_ratio": 0.5}),
    *(unpool(d) for d in (1, 2, 3)),
]
PADS = [
    *by_dimension("ConstantPad", {"padding": 2, "value": 1.5}, {"padding": -1, "value": 0.0}),
    *by_dimension("ZeroPad", {"padding": 2}),
    *by_dimension("ReflectionPad", {"padding": 2}),
    *by_dimension("ReplicationPad", {"padding": 2}),
    *by_dimension("CircularPad", {"padding": 2}),
    Example("ZeroPad2d", IMAGE, {"padding": (0, 1, 2, 3)}),
]
ACTIVATIONS = [
    *elementwise("CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity"),
    *elementwise("LeakyReLU", "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid"),
    *elementwise("Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"),
    Example("GELU", of((3, 4)), {"approximate": "tanh"}),
    Example("PReLU", of((3, 4)), {"num_parameters": 4}),
    Example("Threshold", of((3, 4)), {"threshold": 0.1, "value": 20.0}),
    *(Example(name, of((3, 4)), {"dim": -1}) for name in ("Softmax", "LogSoftmax", "Softmin")),
    Example("Softmax2d", IMAGE),
]
NORMS = [
    Example("BatchNorm1d", of((3, 4)), sizes={"num_features": 4}),
    Example("BatchNorm1d", SEQUENCE, {"affine": False}, {"num_features": 4}),
    Example("BatchNorm2d", IMAGE, {"momentum": None}, {"num_features": 4}),
    Example("BatchNorm3d", VOLUME, {"track_running_stats": False}, {"num_features": 4}),
    Example("SyncBatchNorm", IMAGE, sizes={"num_features": 4}),
    *by_dimension("InstanceNorm", {}, {"affine": True, "track_running_stats": True}, num_features=4),
    Example("LayerNorm", of((2, 3, 8)), sizes={"normalized_shape": 8}),
    Example("LayerNorm", of((2, 3, 8)), {"normalized_shape": (3, 8), "bias": False}),
    Example("RMSNorm", of((2, 3, 8)), sizes={"normalized_shape": 8}),
    Example("RMSNorm", of((2, 3, 8)), {"normalized_shape": [3, 8]}),
    Example("GroupNorm", IMAGE, {"num_groups": 2}, {"num_channels": 4}),
    Example("LocalResponseNorm", IMAGE, {"size": 3}),
    Example("CrossMapLRN2d", IMAGE, {"size": 3}),
]
DROPOUTS = [
    *elementwise("Dropout", "AlphaDropout", "FeatureAlphaDropout"),
    *(Example(f"Dropout{d}d", inputs) for d, inputs in BY_DIMENSION.items()),
]
TABLES = [
    Example("Embedding", lambda: (whole(2, 5),), {"num_embeddings": 3, "embedding_dim": 4}),
    Example(
        "Embedding",
        lambda: (whole(2, 5, dtype=torch.int32),),
        {"num_embeddings": 9, "embedding_dim": 4, "padding_idx": -1},
    ),
    Example("EmbeddingBag", lambda: (whole(2, 5),), {"num_embeddings": 3, "embedding_dim": 4}),
    Example(
        "EmbeddingBag",
        lambda: (whole(6), torch.tensor([0, 2, 2]), torch.rand(6)),
        {"num_embeddings": 3, "embedding_dim": 4, "mode": "sum"},
    ),
]


def recurrent() -> list[Example]:
    made = []
    for name in ("RNN", "LSTM", "GRU"):
        state = torch.rand if name != "LSTM" else lambda *shape: (torch.rand(*shape), torch.rand(*shape))
        two = {"hidden_size": 5, "num_layers": 2, "bidirectional": True, "batch_first": True}
        made += [
            Example(name, of((7, 2, 4)), {"hidden_size": 5}, {"input_size": 4}),
            Example(name, of((7, 4)), {"hidden_size": 5, "bias": False}, {"input_size": 4}),
            Example(name, lambda state=state: (torch.rand(2, 7, 4), state(4, 2, 5)), two, {"input_size": 4}),
            Example(f"{name}Cell", of((2, 4)), {"hidden_size": 5}, {"input_size": 4}),
            Example(
                f"{name}Cell", lambda state=state: (torch.rand(4), state(5)), {"hidden_size": 5}, {"input_size": 4}
            ),
        ]
    made.append(Example("LSTM", of((7, 2, 4)), {"hidden_size": 5, "proj_size": 3}, {"input_size": 4}))
    made.append(Example("RNN", of((7, 2, 4)), {"hidden_size": 5, "nonlinearity": "relu"}, {"input_size": 4}))
    return made


def transformers() -> list[Example]:
    encoder, decoder = LAYERS["TransformerEncoderLayer"], LAYERS["TransformerDecoderLayer"]
    small = {"nhead": 2, "dim_feedforward": 6}
    mask = lambda: torch.zeros(5, 5, dtype=torch.bool)  # noqa: E731
    return [
        Example("MultiheadAttention", of(*((5, 2, 8),) * 3), {"num_heads": 2}, {"embed_dim": 8}),
        Example(
            "MultiheadAttention",
            of((2, 5, 8), (2, 3, 6), (2, 3, 4)),
            {"num_heads": 2, "batch_first": True},
            {"embed_dim": 8, "kdim": 6, "vdim": 4},
        ),
        Example(
            "MultiheadAttention",
            lambda: (torch.rand(5, 8), torch.rand(5, 8), torch.rand(5, 8), None, False, mask()),
            {"num_heads": 4, "add_bias_kv": True, "add_zero_attn": True},
            {"embed_dim": 8},
        ),
        Example("TransformerEncoderLayer", lambda: (torch.rand(5, 2, 8), mask()), small, {"d_model": 8}),
        Example(
            "TransformerEncoderLayer",
            of((2, 5, 8)),
            small | {"activation": LAYERS["GELU"](approximate="tanh"), "batch_first": True, "bias": False},
            reference=lambda: nn.TransformerEncoderLayer(
                8, 2, 6, activation=nn.GELU(approximate="tanh"), batch_first=True, bias=False
            ),
        ),
        Example("TransformerDecoderLayer", of((5, 2, 8), (3, 2, 8)), small | {"norm_first": True}, {"d_model": 8}),
        Example(
            "TransformerEncoder",
            of((2, 5, 8)),
            {"encoder_layer": encoder(**small, batch_first=True), "num_layers": 2, "norm": LAYERS["LayerNorm"]()},
            reference=lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), 2, norm=nn.LayerNorm(8)
            ),
        ),
        Example(
            "TransformerDecoder",
            of((5, 2, 8), (3, 2, 8)),
            {"decoder_layer": decoder(**small), "num_layers": 3},
            reference=lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 6), 3),
        ),
        Example(
            "Transformer",
            of((5, 2, 8), (4, 2, 8)),
            {"nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 2, "dim_feedforward": 6, "activation": "gelu"},
            {"d_model": 8},
        ),
        Example(
            "Transformer",
            of((5, 2, 8), (4, 2, 8)),
            {"nhead": 2, "custom_encoder": LAYERS["TransformerEncoder"](encoder(**small), 1), "num_decoder_layers": 1},
            reference=lambda: nn.Transformer(
                8,
                2,
                num_decoder_layers=1,
                custom_encoder=nn.TransformerEncoder(
                    nn.TransformerEncoderLayer(8, 2, 6), 1, enable_nested_tensor=False
                ),
            ),
        ),
    ]


SHAPES = [
    Example("Linear", of((2, 3, 8)), {"out_features": 5}, {"in_features": 8}),
    Example("Linear", of((8,)), {"out_features": 5, "bias": False}, {"in_features": 8}),
    Example("Bilinear", of((2, 3), (2, 4)), {"out_features": 5}, {"in1_features": 3, "in2_features": 4}),
    Example("Flatten", IMAGE),
    Example("Flatten", IMAGE, {"start_dim": 2, "end_dim": 3}),
    Example("Unflatten", of((2, 12)), {"dim": 1, "unflattened_size": (3, -1)}),
    Example("Fold", of((2, 12, 12)), {"output_size": (4, 5), "kernel_size": 2}),
    Example("Unfold", IMAGE, {"kernel_size": (2, 3), "padding": 1, "stride": 2}),
    Example("PixelShuffle", IMAGE, {"upscale_factor": 2}),
    Example("PixelUnshuffle", IMAGE, {"downscale_factor": 2}),
    Example("ChannelShuffle", IMAGE, {"groups": 2}),
    Example("Upsample", SEQUENCE, {"size": 11}),
    Example("Upsample", IMAGE, {"scale_factor": (1.5, 2), "mode": "bilinear", "align_corners": True}),
    Example("UpsamplingNearest2d", IMAGE, {"scale_factor": 2}),
    Example("UpsamplingBilinear2d", IMAGE, {"size": (3, 5)}),
    Example("CosineSimilarity", of((2, 8), (2, 8))),
    Example("PairwiseDistance", of((2, 8), (2, 8)), {"keepdim": True}),
]


def weighted(name: str, inputs: Callable[[], tuple[Any, ...]], **weights: tuple[float, ...]) -> Example:
    reference = lambda: getattr(nn, name)(**{key: torch.tensor(w) for key, w in weights.items()})  # noqa: E731
    return Example(name, inputs, weights, reference=reference)


CLASSES = lambda: (torch.rand(3, 4), whole(3))  # noqa: E731
PAIR = of((3, 4), (3, 4))
LOSSES = [
    *(Example(name, PAIR) for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "BCELoss", "PoissonNLLLoss")),
    *(Example(name, PAIR) for name in ("BCEWithLogitsLoss", "MultiLabelSoftMarginLoss")),
    Example("L1Loss", PAIR, {"reduction": "none"}),
    Example("KLDivLoss", PAIR, {"reduction": "batchmean"}),
    *(Example(name, lambda: (torch.rand(3, 4), signs(3, 4))) for name in ("HingeEmbeddingLoss", "SoftMarginLoss")),
    Example("GaussianNLLLoss", of((3, 4), (3, 4), (3, 4))),
    Example("GaussianNLLLoss", of((3, 4), (3, 4), (3, 1)), {"full": True}),
    *(Example(name, CLASSES) for name in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")),
    Example("CrossEntropyLoss", lambda: (torch.rand(2, 4, 5, 6), whole(2, 5, 6)), {"reduction": "none"}),
    Example("CrossEntropyLoss", PAIR, {"label_smoothing": 0.1}),
    weighted("CrossEntropyLoss", CLASSES, weight=(1.0, 2.0, 3.0, 0.5)),
    weighted("NLLLoss", CLASSES, weight=(1.0, 2.0, 3.0, 0.5)),
    weighted("MultiMarginLoss", CLASSES, weight=(1.0, 2.0, 3.0, 0.5)),
    weighted("MultiLabelSoftMarginLoss", PAIR, weight=(1.0, 2.0, 3.0, 0.5)),
    weighted("BCELoss", PAIR, weight=(1.0, 2.0, 3.0, 0.5)),
    weighted("BCEWithLogitsLoss", PAIR, weight=(1.0, 2.0, 3.0, 0.5), pos_weight=(2.0, 2.0, 1.0, 1.0)),
    Example("MultiLabelMarginLoss", lambda: (torch.rand(3, 4), whole(3, 4))),
    Example("MarginRankingLoss", lambda: (torch.rand(3), torch.rand(3), signs(3))),
    Example("CosineEmbeddingLoss", lambda: (torch.rand(3, 4), torch.rand(3, 4), signs(3))),
    Example("TripletMarginLoss", of(*((3, 4),) * 3)),
    Example("TripletMarginWithDistanceLoss", of(*((3, 4),) * 3)),
    Example(
        "TripletMarginWithDistanceLoss",
        of(*((3, 4),) * 3),
        {"distance_function": LAYERS["CosineSimilarity"]()},
        reference=lambda: nn.TripletMarginWithDistanceLoss(distance_function=nn.CosineSimilarity()),
    ),
    Example("CTCLoss", lambda: (torch.rand(6, 2, 4).log_softmax(-1), whole(2, 3) + 1, (6, 6), (3, 3))),
    Example("CTCLoss", lambda: (torch.rand(6, 2, 4), whole(2, 3) + 1, torch.tensor([6, 6]), torch.tensor([3, 3]))),
    Example(
        "AdaptiveLogSoftmaxWithLoss",
        lambda: (torch.rand(3, 16), whole(3, high=10)),
        {"n_classes": 10, "cutoffs": (3, 6), "head_bias": True},
        {"in_features": 16},
    ),
    Example("LinearCrossEntropyLoss", lambda: (torch.rand(3, 8), whole(3)), {"num_classes": 5}, {"in_features": 8}),
]
EXPERTS = {"expert": LAYERS["Linear"](4), "num_experts": 4}
MIXTURES = [
    Example("MixtureOfExperts", of((2, 3, 8)), EXPERTS),
    Example("MixtureOfExperts", of((2, 3, 8)), EXPERTS | {"shared": LAYERS["Linear"](4), "groups": 2, "scale": 2.5}),
    Example("MixtureOfExperts", of((3, 8)), EXPERTS | {"router": "sigmoid", "correction_bias": True}),
]

EXAMPLES = [
    *WINDOWS,
    *PADS,
    *ACTIVATIONS,
    *NORMS,
    *DROPOUTS,
    *TABLES,
    *recurrent(),
    *transformers(),
    *SHAPES,
    *LOSSES,
    *MIXTURES,
]
