"""What a module may need besides torch, as text: functions of the language, and the mixture of experts."""

from __future__ import annotations

SOURCES = {
    "causal_mask": '''
def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """True where the query of a row may attend to the key of a column."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
''',
    "rope": '''
def rope(
    input: Tensor, theta: float = 10_000, offset: int = 0, interleaved: bool = False
) -> Tensor:
    """Rotate pairs of features, of both halves or of neighbours, by their position."""
    length, dim = input.shape[-2:]
    positions = torch.arange(offset, offset + length, device=input.device).float()
    exponents = torch.arange(0, dim, 2, device=input.device).float() / dim
    angles = torch.outer(positions, 1.0 / theta**exponents)
    if interleaved:
        angles = angles.repeat_interleave(2, dim=-1)
        turned = torch.stack((-input[..., 1::2], input[..., ::2]), dim=-1).flatten(-2)
    else:
        angles = torch.cat((angles, angles), dim=-1)
        first, second = input.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
    return input * angles.cos().to(input.dtype) + turned * angles.sin().to(input.dtype)
''',
    "sinusoidal": '''
def sinusoidal(
    length: int, dim: int, theta: float = 10_000, device: torch.device | None = None
) -> Tensor:
    """Positions as sines in even columns and cosines in odd ones."""
    exponents = torch.arange(0, dim, 2, device=device).float() / dim
    angles = torch.outer(
        torch.arange(length, device=device).float(), 1.0 / theta**exponents
    )
    table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    return table.to(torch.get_default_dtype())
''',
    "MixtureOfExperts": '''
class MixtureOfExperts(nn.Module):
    """Run each position through the top_k experts that a learned router chooses."""

    def __init__(
        self,
        in_features: int,
        expert: Callable[[], nn.Module],
        num_experts: int,
        top_k: int = 2,
        shared: nn.Module | None = None,
        router: str = "softmax",
        normalize: bool = True,
        scale: float = 1.0,
        groups: int = 1,
        topk_group: int = 1,
        correction_bias: bool = False,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(in_features, num_experts, bias=False)
        if correction_bias:
            bias = torch.zeros(num_experts)
            self.gate.register_buffer("e_score_correction_bias", bias)
        self.experts = nn.ModuleList([expert() for _ in range(num_experts)])
        self.shared_experts = shared
        self.top_k = top_k
        self.router = router
        self.normalize = normalize
        self.scale = scale
        self.groups = groups
        self.topk_group = topk_group
        self.correction_bias = correction_bias

    def choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The weights and numbers of the experts for each row, (rows, top_k)."""
        is_sigmoid = self.router == "sigmoid"
        scores = logits.sigmoid() if is_sigmoid else logits.softmax(dim=-1)
        choice = scores
        if self.correction_bias:
            choice = scores + self.gate.get_buffer("e_score_correction_bias")
        if self.topk_group < self.groups:
            grouped = torch.unflatten(choice, -1, (self.groups, -1))
            quality = grouped.amax(dim=-1)
            if self.correction_bias:
                quality = grouped.topk(2, dim=-1)[0].sum(dim=-1)
            best = quality.topk(self.topk_group, dim=-1)[1]
            left_out = torch.ones_like(quality).scatter(-1, best, 0.0).bool()
            choice = grouped.masked_fill(left_out.unsqueeze(-1), -math.inf).flatten(1)
        chosen = choice.topk(self.top_k, dim=-1)[1]
        weights = scores.gather(-1, chosen)
        if self.normalize:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        return weights * self.scale, chosen

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, input.shape[-1])
        weights, chosen = self.choose(self.gate(rows))
        outputs = []
        for number, expert in enumerate(self.experts):
            places, slots = torch.where(chosen == number)
            output: Tensor = expert(rows.index_select(0, places))
            outputs.append((places, output * weights[places, slots].unsqueeze(-1)))
        total = outputs[0][1].new_zeros(rows.shape[0], outputs[0][1].shape[-1])
        for places, output in outputs:
            total = total.index_add(0, places, output)
        if self.shared_experts is not None:
            total = total + self.shared_experts(rows)
        return total.reshape(*input.shape[:-1], total.shape[-1])
''',
}
