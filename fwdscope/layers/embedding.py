"""Embeddings: vectors looked up by whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Size, Sizes, kept_size, kept_sizes, set_size

from .base import Count, Layer, dtype_text, is_tensor, shape_text, value_text


class _Table(Layer, abstract=True):
    needs_floats = False
    parameters = "weight (num_embeddings, embedding_dim)"

    num_embeddings: Count
    embedding_dim: Count

    def check_numbers(self, x: Any, label: str) -> None:
        """Reject inputs that are not whole numbers."""
        self.check_tensor(x, label)
        if dtype_text(x) not in ("int64", "int32"):
            message = f"{type(self).__name__} looks up whole numbers (int64 or int32), found {dtype_text(x)} as {label}"
            help = f"make the input with randint(0, {self.num_embeddings}, shape), or cast it: `.long()`"
            raise LayerError(message, help)

    def validate(self, *inputs: Any) -> None:
        self.check_numbers(inputs[0], "input")
        rows, padding_idx = self.num_embeddings, vars(self)["padding_idx"]  # in torch's order only below
        if padding_idx is not None and not -rows <= padding_idx < rows:
            raise LayerError(
                f"padding_idx ({padding_idx}) is no row of a table of {rows}", f"it may be from {-rows} to {rows - 1}"
            )


class Embedding(_Table):
    """A table with a learned vector for each whole number: y[…] = weight[x[…]].

    The first layer of most language models: tokens in, vectors out. Rows are copied, nothing is computed.

    input:   (…), whole numbers from 0 to num_embeddings − 1
    output:  (…, embedding_dim)
    weight:  (num_embeddings, embedding_dim), all of the parameters

    The row padding_idx is zero and is not trained; max_norm limits the norm of the rows that are looked up.
    The weight is often shared with the last layer: linear(x, wte.weight).
    """

    padding_idx: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """A vector for each number."""
        return ((*kept_sizes(inputs[0]), set_size("features", "embedding_dim", self.embedding_dim)),)


class EmbeddingBag(_Table):
    """The sum, mean or maximum of several rows of an Embedding, without storing the rows.

    input:   (B, n), whole numbers: n rows for each of B bags; or (n), split into bags that begin at ``offsets`` (B)
    output:  (B, embedding_dim)
    weight:  (num_embeddings, embedding_dim), all of the parameters

    per_sample_weights, of the input's shape, weigh the rows of a sum. With include_last_offset=True the last offset is
    the input's length.
    """

    forward = "(input, offsets=None, per_sample_weights=None)"

    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    mode: Literal["sum", "mean", "max"] = "mean"
    sparse: bool = False
    include_last_offset: bool = False
    padding_idx: int | None = None

    def validate(self, *inputs: Any) -> None:
        super().validate(*inputs)
        x, offsets, weights = (*inputs, None, None)[:3]
        self.check_dimensions(x, "(B, n)", "(n)")
        if x.dim() == 2 and offsets is not None:
            raise LayerError(
                "EmbeddingBag takes offsets with an input of 1 dimension only", "each row is a bag already"
            )
        if x.dim() == 1:
            self._check_offsets(x, offsets)
        if weights is not None:
            self._check_weights(x, weights)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """A vector for each bag."""
        features = set_size("features", "embedding_dim", self.embedding_dim)
        if len(inputs[0]) == 2:
            return ((kept_size("B", inputs[0][0], "a bag for each row"), features),)
        bags = "offsets − 1" if self.include_last_offset else "offsets"
        return ((Size("B", bags, {"offsets": inputs[1][0]}, "a bag for each offset"), features),)

    def details(self) -> Iterable[str]:
        yield self.mode

    def _check_offsets(self, x: Any, offsets: Any) -> None:
        if offsets is None:
            message = "EmbeddingBag needs offsets with an input of 1 dimension"
            raise LayerError(message, "write EmbeddingBag(…)(input, offsets), or give an input of shape (B, n)")
        self.check_numbers(offsets, "offsets")
        self.check_dimensions(offsets, "(B)", label="offsets")
        if self.include_last_offset and offsets.shape[0] < 1:
            raise LayerError("include_last_offset needs at least one offset, found none")

    def _check_weights(self, x: Any, weights: Any) -> None:
        if self.mode != "sum":
            raise LayerError(f"per_sample_weights need mode='sum', found mode='{self.mode}'", "write mode='sum'")
        if not is_tensor(weights) or weights.shape != x.shape:
            found = shape_text(weights.shape) if is_tensor(weights) else value_text(weights)
            raise LayerError(
                f"per_sample_weights must be a tensor of the input's shape {shape_text(x.shape)}, found {found}"
            )
