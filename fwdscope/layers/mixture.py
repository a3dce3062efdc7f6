"""A mixture of experts, the one layer here that torch.nn does not have: its cost depends on the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from fwdscope.errors import LayerError
from fwdscope.formula import Shape, Sizes, kept_sizes, set_size

from .base import Buildable, Count, Layer

if TYPE_CHECKING:
    from torch import Tensor, nn

# The buffer of the router's correction bias, named as in DeepSeek's checkpoints.
BIAS = "e_score_correction_bias"


class MixtureOfExperts(Layer):
    """Several networks (experts), of which each position runs through a few, chosen by a learned router.

    The router scores all experts; the top_k best compute, and their outputs are added with weights that are a softmax
    over these k scores: y = Σ over the chosen e of softmax(scores)[e] · expert_e(x).

    input:   (…, d); positions are flattened, so an expert sees (rows, d)
    output:  (…, features of the expert)
    weights: gate.weight (num_experts, d), and those of experts.0, experts.1, …, shared_experts

    shared:          runs for every position, and its output is added
    router:          makes scores of gate(x) by a softmax or a sigmoid
    normalize:       divides the weights of the chosen by their sum; with False, they are the scores
    scale:           multiplies the weights
    groups:          puts the experts into groups, of which a position uses the topk_group best
    correction_bias: adds the buffer gate.e_score_correction_bias to the scores where they choose

    A group is as good as its best score; with correction_bias, as the sum of its two best.

    MixtureOfExperts(Expert(4 * d), 8, top_k=2) has the weights of 8 experts and the work of 2. The data decide
    which position goes where: without data, each expert is counted with its expected load of
    ⌈positions · top_k / num_experts⌉ rows. Shazeer et al. 2017; weighted as in Mixtral (Jiang et al. 2024).

    V2-Lite: MixtureOfExperts(Expert(1408), 64, top_k=6, shared=Expert(2816), normalize=False)
    V3:      MixtureOfExperts(Expert(2048), 256, top_k=8, shared=Expert(2048), router='sigmoid',
             correction_bias=True, groups=8, topk_group=4, scale=2.5)

    In DeepSeek's config, num_experts is n_routed_experts, top_k num_experts_per_tok, router scoring_func, normalize
    norm_topk_prob, scale routed_scaling_factor, groups n_group; the shared network is n_shared_experts times as wide as
    an expert; correction_bias=True is topk_method 'noaux_tc'. DeepSeek-AI 2024 (V2: section 2.2; V3: section 2.1.2).
    """

    dtype_rule = "same"
    input_shapes = ("(…, d)",)

    expert: Buildable
    num_experts: Count
    top_k: Count = 2
    shared: Buildable | None = None
    router: Literal["softmax", "sigmoid"] = "softmax"
    normalize: bool = True
    scale: float = 1.0
    groups: Count = 1
    topk_group: Count = 1
    correction_bias: bool = False

    def validate(self, *inputs: Any) -> None:
        if self.top_k > self.num_experts:
            raise LayerError(f"top_k ({self.top_k}) is more than num_experts ({self.num_experts})")
        if self.topk_group > self.groups:
            raise LayerError(f"topk_group ({self.topk_group}) is more than groups ({self.groups})")
        each, rest = divmod(self.num_experts, self.groups)
        if rest:
            raise LayerError(f"num_experts ({self.num_experts}) do not divide into {self.groups} groups")
        if self.top_k > (some := each * self.topk_group):
            message = f"top_k ({self.top_k}) is more than the {some} experts of topk_group={self.topk_group}"
            raise LayerError(message, f"of {self.groups} groups of {each}, topk_group is how many a position uses")
        if self.groups > 1 and self.correction_bias and each == 1:
            raise LayerError("with correction_bias a group is scored by its two best experts, and has only one")
        rows = inputs[0].reshape(-1, inputs[0].shape[-1])
        for layer, given in ((self.expert, self._load(rows)), (self.shared, rows)):
            if isinstance(layer, Layer):
                layer.check(given)

    def build(self, *inputs: Any) -> nn.Module:
        """Make the router and the experts, for rows of the expected load."""
        import torch

        rows = inputs[0].reshape(-1, inputs[0].shape[-1])
        gate = torch.nn.Linear(int(rows.shape[-1]), self.num_experts, bias=False)
        if self.correction_bias:
            gate.register_buffer(BIAS, torch.zeros(self.num_experts))
        given = self._load(rows)
        experts = torch.nn.ModuleList(self.expert.build(given) for _ in range(self.num_experts))
        shared = self.shared.build(rows) if self.shared is not None else None
        module: nn.Module = _module_type()(gate, experts, shared, self)
        return module

    @classmethod
    def sizes_without_settings(cls, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """The positions of the input, with the features that the experts give."""
        before = len(inputs[0]) - 1
        features = (set_size("features", "expert_features", size) for size in outputs[0][before:])
        return ((*kept_sizes(inputs[0][:before]), *features),)

    def details(self) -> Iterable[str]:
        yield f"{self.top_k} of {self.num_experts}{' + shared' * (self.shared is not None)}"

    def _load(self, rows: Any) -> Any:
        return rows.narrow(0, 0, expected_rows(int(rows.shape[0]), self.top_k, self.num_experts))


# The layer by another name, for its module, which has the same.
_Settings = MixtureOfExperts


def expected_rows(positions: int, top_k: int, num_experts: int) -> int:
    """The rows of one expert if the router spreads them evenly, rounded up."""
    return -(-positions * top_k // num_experts)


def choose(logits: Tensor, bias: Tensor | None, settings: MixtureOfExperts) -> tuple[Tensor, Tensor]:
    """The weights (rows, top_k) and the numbers of the experts that each row runs through, from gate(rows)."""
    # The softmax over all divided by the sum of the chosen is the softmax over the chosen.
    over_chosen = settings.router == "softmax" and settings.normalize and bias is None
    scores = logits if over_chosen else logits.sigmoid() if settings.router == "sigmoid" else logits.softmax(dim=-1)
    choice = scores if bias is None else scores + bias
    if settings.topk_group < settings.groups:
        grouped = choice.unflatten(-1, (settings.groups, -1))
        quality = grouped.amax(dim=-1) if bias is None else grouped.topk(2, dim=-1)[0].sum(dim=-1)
        best = quality.topk(settings.topk_group, dim=-1)[1]
        left_out = quality.new_ones(quality.shape).scatter(-1, best, 0.0).bool()
        choice = grouped.masked_fill(left_out.unsqueeze(-1), -math.inf).flatten(1)
    weights, chosen = choice.topk(settings.top_k, dim=-1)
    if bias is not None:
        weights = scores.gather(-1, chosen)
    if over_chosen:
        weights = weights.softmax(dim=-1)
    elif settings.normalize:
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
    return weights * settings.scale if settings.scale != 1 else weights, chosen


def load(chosen: Tensor, number: int, num_experts: int) -> tuple[Tensor, Tensor]:
    """The rows that an expert gets, and its rank among their choices; the expected number without data.

    Fewer rows than experts reach as many experts, one row each.
    """
    import torch

    if chosen.is_meta:
        is_reached = number < chosen.numel() or chosen.numel() >= num_experts
        count = expected_rows(chosen.shape[0], chosen.shape[1], num_experts) * is_reached
        places = torch.arange(count, device=chosen.device)
        return places, torch.zeros_like(places)
    places, slots = torch.where(chosen == number)
    return places, slots


def check_shape(shared: Tensor, of_experts: Tensor) -> Tensor:
    """The output of the shared network. Raises LayerError if it is not of the experts' shape."""
    if shared.shape != of_experts.shape:
        shapes = f"{tuple(shared.shape)}, and the experts {tuple(of_experts.shape)}"
        raise LayerError(f"MixtureOfExperts: the shared network gives {shapes}", "give both the same width")
    return shared


@cache
def _module_type() -> type[nn.Module]:
    """The module's class, defined on first use since it needs torch."""
    from torch import nn

    class MixtureOfExperts(nn.Module):
        """Runs each row of its input through top_k of the experts."""

        def __init__(
            self, gate: nn.Linear, experts: nn.ModuleList, shared: nn.Module | None, settings: _Settings
        ) -> None:
            super().__init__()
            self.gate = gate
            self.experts = experts
            self.shared_experts = shared
            self.settings = settings
            self.top_k: int = settings.top_k

        def reset_parameters(self) -> None:
            """Set the correction bias to 0; the router and the experts have their own."""
            if (bias := self.gate._buffers.get(BIAS)) is not None:
                bias.zero_()

        def forward(self, input: Tensor) -> Tensor:
            """(…, d) → (…, d_out)."""
            rows = input.reshape(-1, input.shape[-1])
            weights, chosen = choose(self.gate(rows), self.gate._buffers.get(BIAS), self.settings)
            total = self.through_experts(rows, weights, chosen)
            if self.shared_experts is not None:
                total = total + check_shape(self.shared_experts(rows), total)
            return total.reshape(*input.shape[:-1], *total.shape[1:])

        def through_experts(self, rows: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
            """What the chosen experts make of each row, weighted and added up."""
            total: Tensor | None = None
            for number, expert in enumerate(self.experts):
                places, slots = load(chosen, number, len(self.experts))
                if total is not None and places.shape[0] == 0 and not chosen.is_meta:
                    continue
                output = expert(rows.index_select(0, places)) * weights[places, slots].unsqueeze(-1)
                if total is None:
                    total = output.new_zeros(rows.shape[0], *output.shape[1:])
                total = total.index_add(0, places, output)
            assert total is not None, "there is at least one expert"
            return total

        def extra_repr(self) -> str:
            names = ("top_k", "router", "normalize", "scale", "groups", "topk_group")
            return ", ".join(f"{name}={getattr(self.settings, name)!r}" for name in names)

    return MixtureOfExperts
