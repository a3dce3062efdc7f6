"""TF32 and cuDNN's algorithms: set for a while, read, and as before afterwards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fwdscope.device.precision import in_precision, tf32_of


def older(products: bool, convolutions: bool) -> Any:
    """torch.backends before 2.9."""
    cudnn = SimpleNamespace(allow_tf32=convolutions, benchmark=False)
    return SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=products)), cudnn=cudnn)


def test_what_is_computed_in_tf32_has_a_word() -> None:
    found = [tf32_of(older(products, convolutions)) for products in (True, False) for convolutions in (True, False)]
    assert found == ["on", "products", "convolutions", "off"]


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_an_older_torch_is_set_and_as_before_also_after_an_error(wanted: bool, given: bool) -> None:
    backends = older(given, not given)

    def work() -> None:
        with in_precision(wanted, True, backends):
            assert tf32_of(backends) == ("on" if wanted else "off")
            assert backends.cudnn.benchmark
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert tf32_of(backends) == ("products" if given else "convolutions")
    assert not backends.cudnn.benchmark


def settings() -> list[object]:
    places = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]
    found: list[object] = [getattr(place, "fp32_precision", None) for place in places]
    return [*found, torch.backends.cudnn.benchmark]


@pytest.mark.core
def test_this_torch_is_set_and_as_before() -> None:
    before = settings()
    for wanted in (True, False):
        with in_precision(wanted, wanted):
            assert tf32_of() == ("on" if wanted else "off")
            assert torch.backends.cudnn.benchmark is wanted
            # torch.compile asks by the older names, which fail where only the newer ones were set.
            assert torch.get_float32_matmul_precision() == ("high" if wanted else "highest")
            assert torch.backends.cudnn.allow_tf32 is wanted
        assert settings() == before
    with in_precision():
        assert settings() == before
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch has one for all")
def test_where_operators_differ_each_is_as_before() -> None:
    convolution = torch.backends.cudnn.conv
    kept = convolution.fp32_precision
    try:
        # Then torch's setting for all of cuDNN cannot be read.
        convolution.fp32_precision = "ieee"
        before = settings()
        with in_precision(tf32=True):
            assert tf32_of() == "on"
        assert settings() == before
    finally:
        convolution.fp32_precision = kept
