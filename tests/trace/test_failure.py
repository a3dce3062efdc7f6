"""A module that fails: what is said of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fwdscope


class Digits(nn.Module):
    """After androidkt.com's page on "mat1 and mat2 shapes cannot be multiplied"."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.out = nn.Linear(1050, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv2(self.conv1(x)).flatten(1))


class Positions(nn.Module):
    """After PyTorch-Pretrained-ViT#28: positions made for a picture of 384."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 64, 16, 16)
        self.cls = nn.Parameter(torch.zeros(1, 1, 64))
        self.pos = nn.Parameter(torch.zeros(1, 24 * 24 + 1, 64))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1) + self.pos


class Pooled(nn.Module):
    """After mmsegmentation#272: a norm behind a pool to 1×1, trained with a batch of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


class Careful(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError("give a batch of pictures")
        return x


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attention(x, x, x, attn_mask=mask)[0]


def said(model: nn.Module, *inputs: Tensor, **options: bool) -> str:
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(model, *inputs, **options)
    assert isinstance(caught.value.__cause__, RuntimeError | ValueError)  # torch's own
    return re.sub(" {2,}", "  ", str(caught.value))  # places are aligned


@pytest.mark.core
def test_a_layer_of_another_size_is_named_with_its_path_the_users_line_and_the_line_that_fits() -> None:
    text = said(Digits(), torch.randn(2, 1, 28, 28))
    assert "out (Linear): it was made with in_features=1050, and its input has 1568 [shape]" in text
    assert "return self.out(self.conv2(self.conv1(x)).flatten(1))" in text
    assert "1568 = 32·7·7" in text  # 28 / 2 / 2 = 7, and conv2 gives 32 channels
    assert "14 became 7: stride 2: ⌊(14 − 2) / 2⌋ + 1  conv2.2: MaxPool2d 2×2" in text
    assert "help: write self.out = nn.Linear(1568, 10)" in text


def test_a_parameter_made_for_another_picture_is_named() -> None:
    text = said(Positions(), torch.randn(2, 3, 224, 224))
    assert "+: sizes differ in dimension 1: torch.cat([self.cls.expand(len(tokens),… has 197, pos has 577" in text
    assert "197 = 1 + 196" in text or "197 = 196 + 1" in text  # 224 / 16 = 14, 14 · 14 = 196
    assert "196 = 14·14" in text
    assert "self.pos = nn.Parameter(" in text
    assert "help: pos is made for 577: one of (1, 197, 64) fits, or an input that gives 577" in text


def test_a_norm_of_a_single_value_says_what_would_fit() -> None:
    text = said(Pooled(), torch.randn(1, 8, 6, 6), train=True)
    assert "pool.2 (BatchNorm2d): in training a batch of 1 has" in text
    assert "help: " in text


def test_a_padding_mask_given_as_an_attention_mask_is_said_in_our_words() -> None:
    text = said(Masked(), torch.randn(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool))
    assert "attention (MultiheadAttention" in text
    assert "attn_mask must have the shape (5, 5) or (4, 5, 5), found (2, 5)" in text
    assert "help: a mask of (batch, positions) is a key_padding_mask" in text


def test_what_the_users_code_raises_is_left_as_it_is() -> None:
    class Terse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.relu()
            if y.dim() != 4: raise ValueError("give a batch of pictures")  # fmt: skip # noqa: E701
            return y

    for module in (Careful(), Terse()):
        with pytest.raises(ValueError, match="give a batch of pictures") as caught:
            fwdscope.inspect(module, torch.randn(3))
        assert type(caught.value) is ValueError


def test_a_model_that_failed_is_as_it_was_and_runs_on_inputs_that_fit() -> None:
    model = Positions()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    said(model, torch.randn(2, 3, 224, 224))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model(torch.randn(1, 3, 384, 384)).shape == (1, 577, 64)


def test_an_operator_between_layers_names_what_made_both_sides() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 8, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return x + y

    text = said(Residual(), torch.randn(1, 4, 6, 6))
    assert "+: sizes differ in dimension 1: x has 4, y has 8" in text
    assert "out_channels sets 8  conv: Conv2d 3×3" in text


@pytest.mark.parametrize(
    ("layer", "x", "words"),
    [
        # torch on a CPU: "mat1 and mat2 must have the same dtype, but got Float and Half"; its meta kernels run it
        (nn.Linear(4, 4).half(), torch.randn(2, 4), "0 (Linear): has weights of float16, found an input of float32"),
        (nn.Linear(4, 4, bias=False).double(), torch.randn(2, 4), "has weights of float64, found an input of float32"),
        (nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8).half(), "has weights of float32, found an input of float16"),
        (nn.Embedding(4, 4), torch.randn(2, 4), "looks up whole numbers (int64 or int32), found float32"),
    ],
)
def test_dtypes_that_do_not_mix_are_said_of_the_layer(layer: nn.Module, x: Tensor, words: str) -> None:
    assert words in said(nn.Sequential(layer), x)


def test_a_target_that_does_not_fit_its_loss_is_said_in_our_words() -> None:
    class Loss(nn.Module):
        def forward(self, scores: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(scores, target)

    text = said(Loss(), torch.randn(2, 3, 4), torch.zeros(2, 5, dtype=torch.int64))
    assert "the target has the shape (2, 5), expected (2, 4): classes stand in dimension 1 of the input" in text


def test_the_report_up_to_the_failing_layer_comes_with_the_error() -> None:
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(Digits(), torch.randn(2, 1, 28, 28))
    report = caught.value.partial
    assert report is not None
    shapes = {row.path: row.output_shapes for row in report.layers}
    assert shapes["conv2"] == ((2, 32, 7, 7),)
    assert shapes["out"] == ()
    # 14² · 25 · 1 · 16 · 4 and 14² · 25 · 16 · 32 for two pictures: conv1 on 28², conv2 on 14²
    assert report.totals.macs == 2 * (28**2 * 25 * 16 + 14**2 * 25 * 16 * 32)


def test_an_operand_that_is_none_is_said() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
            return x.relu() + y

    assert "+ takes tensors and numbers, found Tensor and NoneType" in said_of_type(Sum(), torch.randn(2), None)


def said_of_type(model: nn.Module, *inputs: Tensor | None) -> str:
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(model, *inputs)
    assert isinstance(caught.value.__cause__, TypeError)
    return str(caught.value)


def test_lines_of_a_caller_are_not_taken_for_the_models() -> None:
    """A Sequential of torch's has no code of the user's: no line of this file is named."""
    text = said(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2)), torch.randn(3, 4))
    assert "2 (Linear): it was made with in_features=9, and its input has 8" in text
    assert "out_features sets 8  0: Linear" in text
    assert "test_failure.py" not in text


# --- what only a run on a device shows ------------------------------------------------------------------------------

# A call that fails as torch does, whose frames are not the user's.
FAILS = compile("def fails(text):\n    raise RuntimeError(text)", "<torch>", "exec")


class FailsOnDevice(nn.Module):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.text = text

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if x.device.type != "meta":
            namespace: dict[str, Any] = {}
            exec(FAILS, namespace)
            namespace["fails"](self.text)
        return y


class Around(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([inner])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[0](x)


@pytest.mark.parametrize(
    "text",
    [
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
        "Expected all tensors to be on the same device, but got x is on cuda:0, different from other tensors on cpu (",
        "Unhandled FakeTensor Device Propagation for aten.mul.Tensor, found two different devices cuda:0, cpu",
    ],
)
def test_tensors_on_two_devices_are_said_at_the_users_line(text: str) -> None:
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(Around(FailsOnDevice(text)), torch.randn(2, 4), device="cpu")
    said = str(caught.value)
    assert "error: blocks.0 (FailsOnDevice): tensors on cuda:0 and cpu do not mix [device]" in said
    assert 'namespace["fails"](self.text)' in said
    assert re.search(r"called +\S*test_failure.py:\d+  return self.blocks\[0\]\(x\)", said)
    assert "register_buffer" in said
    # 2 · 4 · 4: the report on meta
    assert caught.value.partial.totals.macs == 32


@pytest.mark.parametrize("way", ["inspect", "bench"])
def test_memory_that_ran_out_is_said_with_the_line_and_the_layer(way: str) -> None:
    model = Around(FailsOnDevice("CUDA out of memory. Tried to allocate 20.00 GiB."))
    with pytest.raises(fwdscope.RunError) as caught:
        getattr(fwdscope, way)(model, torch.randn(2, 4), device="cpu")
    assert "the device ran out of memory: CUDA out of memory. Tried to allocate 20.00 GiB." in str(caught.value)
    assert re.search(r"at \S*test_failure.py:\d+  namespace", str(caught.value))
    assert "in blocks.0 (FailsOnDevice)" in str(caught.value)


def test_memory_that_ran_out_where_values_decide_is_said_too() -> None:
    class Huge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.repeat(10**7, 10**7) if float(x.sum()) < 1e9 else x

    with pytest.raises(fwdscope.ShapeError, match=r"test_failure.py:\d+:\d+: error: the device ran out of memory: "):
        fwdscope.inspect(Huge(), torch.ones(2, 4))


# --- values that decide ---------------------------------------------------------------------------------------------


class Looks(nn.Module):
    def __init__(self, out: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.out = nn.Linear(out, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        if float(y.sum()) > 1e9:
            y = y / 2
        return self.out(y)


def test_the_line_that_looks_at_a_value_is_named() -> None:
    x = torch.randn(2, 4)
    (note,) = fwdscope.inspect(Looks(), x).notes
    assert re.fullmatch(
        r"not run on meta, since the forward needs values at \S*test_failure.py:\d+: Tensor.item.*", note
    )
    for model, given, help in (
        (Looks(), x, "leave --device meta out, or give --device cpu"),
        (Looks().to("meta"), x.to("meta"), "give it inputs and weights on the CPU"),
    ):
        with pytest.raises(fwdscope.ShapeError) as caught:
            fwdscope.inspect(model, given, device="meta" if given is x else "auto")
        assert "if float(y.sum()) > 1e9:" in str(caught.value)
        assert help in str(caught.value)
        shapes = {row.path: row.output_shapes for row in caught.value.partial.layers}
        assert shapes["fc"] == ((2, 4),)


def test_a_model_that_runs_where_it_lives_fails_with_the_same_words() -> None:
    model = Looks(5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    text = said(model, torch.randn(2, 4))
    assert "out (Linear): it was made with in_features=5, and its input has 4" in text
    assert "out_features sets 4  fc: Linear" in text
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(model, torch.randn(2, 4))
    assert (caught.value.device, caught.value.partial.device) == ("cpu", "cpu")
    # 2 · 4 · 4, of fc alone
    assert caught.value.partial.totals.macs == 32
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# --- calls ----------------------------------------------------------------------------------------------------------


class Called(nn.Module):
    def forward(self, x: Tensor, mask: Tensor, *, scale: float = 1.0) -> Tensor:
        return x * mask * scale


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        (1, {}, "forward was not given mask: it takes (x, mask, *, scale=1.0)"),
        (0, {}, "forward was not given x and mask"),
        (3, {}, "forward was given 3 inputs by position"),
        (2, {"mask": 1}, "forward was given mask twice, by position and by name"),
        (1, {"msak": 1}, "forward has no input msak"),
        (2, {"scalee": 1}, "did you mean scale?"),
    ],
)
def test_a_call_that_does_not_fit_forward_says_what_it_takes(args: int, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(fwdscope.ShapeError) as caught:
        fwdscope.inspect(Called(), *[torch.ones(2)] * args, **kwargs)
    assert f"the module (Called): {words}" in str(caught.value) or f"help: {words}" in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError)


# --- what would fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "help"),
    [
        ((2, 10, 8, 12), "8·12 must be 100, and is 96"),
        ((2, 10, 4, 12), "25 fits in place of 12"),
        # 2000 / (10 · 100), where 2000 / (3 · 100) and 2000 / (3 · 10) are no whole numbers
        ((3, 10, 100), "2 fits in place of 3"),
    ],
)
def test_a_view_says_what_would_fill_it(sizes: tuple[int, ...], help: str) -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu().view(sizes)

    assert f"help: {help}" in said(Views(), torch.randn(2, 10, 100))


def test_a_number_that_is_written_as_a_product_is_mended() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(num_features=4 * 4)
            self.out = nn.Linear(3 * (2 + 1), 9)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x)

    assert "help: write self.out = nn.Linear(8, 9)" in said(Head(), torch.randn(2, 8))
