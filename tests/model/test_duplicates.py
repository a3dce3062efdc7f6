"""Layers of equal settings are duplicates of one that never runs."""

from __future__ import annotations

import pytest
import torch

from fwdscope.layers import LAYERS
from fwdscope.model.duplicates import built


class TestDuplicates:
    """Layers of equal settings are duplicates of one that never runs."""

    def test_two_layers_share_nothing_that_can_change(self) -> None:
        with torch.device("meta"):
            one, two = (built(LAYERS["BatchNorm2d"](), [torch.empty(1, 8, 4, 4)]) for _ in range(2))
        assert one is not two
        for name, tensor in one.state_dict(keep_vars=True).items():
            other = two.state_dict(keep_vars=True)[name]
            assert tensor is not other
            assert tensor.untyped_storage()._cdata != other.untyped_storage()._cdata
            assert (type(tensor), tensor.shape, tensor.dtype) == (type(other), other.shape, other.dtype)
            assert tensor.requires_grad == other.requires_grad
        one.eval()
        one.register_buffer("extra", None)
        one.register_forward_hook(lambda *_: None)
        assert two.training
        assert "extra" not in two._buffers
        assert not two._forward_hooks

    def test_settings_that_are_equal_but_not_alike_are_told_apart(self) -> None:
        x = torch.empty(1, 8, device="meta")
        with torch.device("meta"):
            one, two = (built(LAYERS["Dropout"](p), [x]) for p in (1, 1.0))
        assert (type(one.p), type(two.p)) == (int, float)

    def test_the_default_dtype_is_that_of_now(self) -> None:
        x = torch.empty(1, 8, device="meta")
        with torch.device("meta"):
            single = built(LAYERS["Linear"](8), [x])
            torch.set_default_dtype(torch.float64)
            try:
                double = built(LAYERS["Linear"](8), [x])
            finally:
                torch.set_default_dtype(torch.float32)
        assert (single.weight.dtype, double.weight.dtype) == (torch.float32, torch.float64)

    @pytest.mark.parametrize("name", ["LSTM", "MultiheadAttention", "Linear", "Conv2d", "BatchNorm1d"])
    def test_a_duplicate_is_as_its_constructor_makes_it(self, name: str) -> None:
        x = torch.empty(2, 8, 8, device="meta")
        settings, inputs = {
            "LSTM": ((4,), [x]), "MultiheadAttention": ((2,), [x, x, x]), "Linear": ((4,), [x]),
            "Conv2d": ((4, 3), [x[None]]), "BatchNorm1d": ((), [x]),
        }[name]  # fmt: skip
        layer = LAYERS[name](*settings)
        with torch.device("meta"):
            made, again = layer.build(*inputs), [built(layer, inputs) for _ in range(2)][1]
        assert repr(made) == repr(again)
        assert list(made.state_dict()) == list(again.state_dict())
        assert vars(made).keys() == vars(again).keys()
