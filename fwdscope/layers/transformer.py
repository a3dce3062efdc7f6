"""The transformer of Vaswani et al. 2017: encoder and decoder layers, stacks of them, and the whole network."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Sizes, kept_sizes

from .attention import check_masks
from .base import Buildable, Count, Layer, Probability, inferred, shape_text

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "gelu"] | Buildable


class _Block(Layer, abstract=True):
    dtype_rule = "same"
    shown = "{nhead} heads"

    d_model: Count = inferred(dim=-1)
    nhead: Count
    dim_feedforward: Count = 2048
    dropout: Probability = 0.1
    activation: Activation = "relu"
    layer_norm_eps: float = 1e-5
    batch_first: bool = False
    norm_first: bool = False
    bias: bool = True

    def check_stream(self, x: Any, label: str) -> None:
        """Reject inputs that are not sequences with features that the heads divide."""
        check_sequence(self, x, self.batch_first, label)
        self.check_divisible("d_model", int(x.shape[-1]), "nhead", self.nhead)

    def arguments(self, *inputs: Any) -> dict[str, Any]:
        return super().arguments(*inputs) | built_activation(self.activation, inputs[0], self.dim_feedforward)


def built_activation(activation: Activation, x: Any, width: int) -> dict[str, Any]:
    """The argument for an activation that is a layer: its module, built for the hidden size of the feed-forward."""
    if isinstance(activation, str):
        return {}
    return {"activation": activation.build(x.new_empty((*x.shape[:-1], width)))}


def check_sequence(layer: Layer, x: Any, batch_first: bool, label: str) -> None:
    """Check that x is a sequence of vectors or a batch of them."""
    layer.check_dimensions(x, "(N, T, d)" if batch_first else "(T, N, d)", "(T, d)", label=f"a {label}")


def check_pair(layer: Layer, one: Any, other: Any, batch_first: bool, names: tuple[str, str]) -> None:
    """Check that two sequences have the same features and the same batch."""
    shapes = f"{names[0]} {shape_text(one.shape)} and {names[1]} {shape_text(other.shape)}"
    if one.dim() != other.dim():
        raise LayerError(f"{type(layer).__name__} takes both sequences with a batch or both without, found {shapes}")
    if one.shape[-1] != other.shape[-1]:
        message = f"{type(layer).__name__} takes sequences with the same features, found {shapes}"
        raise LayerError(message, f"a Linear({int(one.shape[-1])}) makes {names[1]} fit")
    across = 0 if batch_first else 1
    if one.dim() == 3 and one.shape[across] != other.shape[across]:
        raise LayerError(f"{shapes} differ in the batch (dimension {across})")


class TransformerEncoderLayer(_Block):
    """Self-attention and a feed-forward network, each with a skip connection and a LayerNorm.

    x = norm1(x + attention(x));  x = norm2(x + linear2(act(linear1(x)))); with norm_first=True the norms come before
    attention and feed-forward: x = x + attention(norm1(x)).

    input → output:  (T, N, d), (N, T, d) with batch_first=True, or (T, d), the same shape
    modules:         self_attn (4d · (d + 1)), linear1 and linear2 (2 · d · f + f + d), norm1 and norm2 (4d),
                     f = dim_feedforward
    masks:           src_mask (T, T), src_key_padding_mask (N, T); True masks out
    activation is 'relu', 'gelu' or a layer, as in GELU(approximate='tanh'). Vaswani et al. 2017.
    """

    forward = "(src, src_mask=None, src_key_padding_mask=None, is_causal=False)"

    def validate(self, *inputs: Any) -> None:
        src, mask, padding, _ = (*inputs, None, None, None)[:4]
        self.check_stream(src, "sequence")
        masks = (("src_mask", mask), ("src_key_padding_mask", padding))
        check_masks(self, masks, src, src, self.batch_first, self.nhead)


class TransformerDecoderLayer(_Block):
    """Self-attention, attention to the encoder's output, and a feed-forward network, each with skip and LayerNorm.

    x = norm1(x + self_attn(x));  x = norm2(x + multihead_attn(x, memory));  x = norm3(x + linear2(act(linear1(x))))

    inputs:   tgt (T, N, d), memory (S, N, d); (N, T, d), (N, S, d) with batch_first=True; or without N
    output:   tgt's shape
    modules:  self_attn and multihead_attn (4d · (d + 1) each), linear1 and linear2 (2 · d · f + f + d),
              norm1 to norm3 (6d), f = dim_feedforward
    masks:    tgt_mask (T, T), memory_mask (T, S), tgt_key_padding_mask (N, T), memory_key_padding_mask (N, S); True
              masks out. Decoding: TransformerDecoderLayer(8)(x, memory, tgt_mask=~causal_mask(T))
    Vaswani et al. 2017.
    """

    forward = (
        "(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, "
        "tgt_is_causal=False, memory_is_causal=False)"
    )

    def validate(self, *inputs: Any) -> None:
        tgt, memory, mask, memory_mask, padding, memory_padding = (*inputs, *(None,) * 6)[:6]
        self.check_stream(tgt, "target")
        check_sequence(self, memory, self.batch_first, "memory")
        check_pair(self, tgt, memory, self.batch_first, ("tgt", "memory"))
        masks = (("tgt_mask", mask), ("tgt_key_padding_mask", padding))
        check_masks(self, masks, tgt, tgt, self.batch_first, self.nhead)
        memory_masks = (("memory_mask", memory_mask), ("memory_key_padding_mask", memory_padding))
        check_masks(self, memory_masks, tgt, memory, self.batch_first, self.nhead)


class _TransformerModule(Layer, abstract=True):
    """A stack of copies of layers given as settings; torch copies one module, so all start with equal weights."""

    def build_kind(self, kind: str, layer: Buildable, *inputs: Any) -> nn.Module:
        """Build the layer. Raises LayerError if its module is not torch's ``kind``, whose keywords it must accept."""
        import torch

        module, expected = layer.build(*inputs), getattr(torch.nn, kind)
        if not issubclass(type(module), expected):
            message = f"{type(self).__name__} takes a {kind}, found a {type(module).__name__}"
            raise LayerError(message, "a stack of other layers is written 6 * Block(…)")
        return module

    def construct(self, **arguments: Any) -> nn.Module:
        """Call torch's class without its warnings about nested tensors."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="enable_nested_tensor is True")
            return super().construct(**arguments)


class _Stack(_TransformerModule, abstract=True):
    shown = "{num_layers} layers"
    # The setting that gives the layer, and how many of its inputs are sequences; each has a mask and a padding mask.
    layer_setting: ClassVar[str]
    sequences: ClassVar[int] = 1

    def validate(self, *inputs: Any) -> None:
        layer = vars(self)[self.layer_setting]
        if isinstance(layer, Layer):
            layer.check(*inputs[: 3 * self.sequences])

    def arguments(self, *inputs: Any) -> dict[str, Any]:
        layer, norm = vars(self)[self.layer_setting], vars(self)["norm"]
        module = self.build_kind(f"{type(self).__name__}Layer", layer, *inputs[: self.sequences])
        built = {self.layer_setting: module, "norm": None if norm is None else norm.build(inputs[0])}
        return super().arguments(*inputs) | built


class TransformerEncoder(_Stack):
    """num_layers copies of an encoder layer in series, and an optional norm at the end.

    TransformerEncoder(TransformerEncoderLayer(8), 6) repeats the layer six times, each copy with its own weights;
    norm=LayerNorm() is applied at the end.

    input → output:  (T, N, d), (N, T, d) with batch_first=True in the layer, or (T, d), the same shape
    parameters:      num_layers times those of the layer, and the norm's
    masks:           mask (T, T), src_key_padding_mask (N, T); True masks out
    Vaswani et al. 2017.
    """

    forward = "(src, mask=None, src_key_padding_mask=None, is_causal=None)"
    layer_setting = "encoder_layer"

    encoder_layer: Buildable
    num_layers: Count
    norm: Buildable | None = None
    enable_nested_tensor: bool = True
    mask_check: bool = True


class TransformerDecoder(_Stack):
    """num_layers copies of a decoder layer in series, and an optional norm at the end.

    TransformerDecoder(TransformerDecoderLayer(8), 6)(x, memory): every copy gets the memory.

    inputs:      tgt (T, N, d), memory (S, N, d); (N, T, d), (N, S, d) with batch_first=True in the layer
    output:      tgt's shape
    parameters:  num_layers times those of the layer, and the norm's
    masks:       as of TransformerDecoderLayer
    Vaswani et al. 2017.
    """

    forward = (
        "(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, "
        "tgt_is_causal=None, memory_is_causal=False)"
    )
    layer_setting = "decoder_layer"
    sequences = 2

    decoder_layer: Buildable
    num_layers: Count
    norm: Buildable | None = None


class Transformer(_TransformerModule):
    """An encoder that reads the source and a decoder that predicts the target; without embeddings and output layer.

    Transformer()(src, tgt) is six encoder layers on src, six decoder layers on tgt that attend to their output, and a
    LayerNorm at the end of both.

    inputs:      src (S, N, d), tgt (T, N, d); (N, S, d), (N, T, d) with batch_first=True; or without N
    output:      tgt's shape
    parameters:  those of encoder and decoder layers, and 4d of the final norms: 44,140,544 for d = 512 and the defaults
    masks:       src_mask (S, S), tgt_mask (T, T), memory_mask (T, S) and padding masks; True masks out
    custom_encoder, a TransformerEncoder, and custom_decoder, a TransformerDecoder, replace the built-in ones.
    Vaswani et al. 2017.
    """

    forward = (
        "(src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None, "
        "tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None, "
        "memory_is_causal=False)"
    )
    dtype_rule = "same"

    d_model: Count = inferred(dim=-1)
    nhead: Count = 8
    num_encoder_layers: Count = 6
    num_decoder_layers: Count = 6
    dim_feedforward: Count = 2048
    dropout: Probability = 0.1
    activation: Activation = "relu"
    custom_encoder: Buildable | None = None
    custom_decoder: Buildable | None = None
    layer_norm_eps: float = 1e-5
    batch_first: bool = False
    norm_first: bool = False
    bias: bool = True

    def validate(self, *inputs: Any) -> None:
        src, tgt, src_mask, tgt_mask, memory_mask, *paddings = (*inputs, *(None,) * 8)[:8]
        for x, label in ((src, "source"), (tgt, "target")):
            check_sequence(self, x, self.batch_first, label)
        check_pair(self, src, tgt, self.batch_first, ("src", "tgt"))
        self.check_divisible("d_model", int(src.shape[-1]), "nhead", self.nhead)
        kinds = (("src", src_mask, src, src), ("tgt", tgt_mask, tgt, tgt), ("memory", memory_mask, tgt, src))
        for (name, mask, query, key), padding in zip(kinds, paddings, strict=True):
            masks = ((f"{name}_mask", mask), (f"{name}_key_padding_mask", padding))
            check_masks(self, masks, query, key, self.batch_first, self.nhead)

    def arguments(self, *inputs: Any) -> dict[str, Any]:
        src, tgt = inputs[:2]
        custom: dict[str, Any] = built_activation(self.activation, src, self.dim_feedforward)
        if self.custom_encoder is not None:
            custom["custom_encoder"] = self.build_kind("TransformerEncoder", self.custom_encoder, src)
        if self.custom_decoder is not None:
            # The encoder keeps the shape of the source.
            custom["custom_decoder"] = self.build_kind("TransformerDecoder", self.custom_decoder, tgt, src)
        return super().arguments(*inputs) | custom

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The target's."""
        return (kept_sizes(inputs[1]),)

    def details(self) -> Iterable[str]:
        yield f"{self.num_encoder_layers}+{self.num_decoder_layers} layers, {self.nhead} heads"
