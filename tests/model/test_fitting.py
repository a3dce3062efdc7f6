"""What a layer finds of the inputs of a call is remembered, and never taken for that of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fwdscope.language.check import check
from fwdscope.language.expression import Call
from fwdscope.language.grammar import parse as parsed
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source, Span
from fwdscope.language.source import Text
from fwdscope.layers import LAYERS, LayerError
from fwdscope.model.fitting import fitted
from fwdscope.model.network import Blueprint, Scope
from fwdscope.model.settings import Settings


def test_one_layer_on_inputs_of_one_shape_is_asked_once() -> None:
    layer = LAYERS["Linear"](8)
    fit = fitted(layer, [torch.empty(2, 5, device="meta")])
    assert fitted(layer, [torch.empty(5, 2, device="meta").t()]) is fit
    assert fitted(layer, [torch.empty(2, 6, device="meta")]).sizes == {"in_features": 6}
    assert fitted(LAYERS["Linear"](8), [torch.empty(2, 5, device="meta")]) is not fit


def test_its_modules_have_weights_of_their_own() -> None:
    x = torch.empty(2, 5, device="meta")
    fit = fitted(LAYERS["Linear"](8), [x])
    one, two, three = (fit.build([x]) for _ in range(3))
    assert isinstance(one, nn.Linear)
    assert isinstance(one.weight, nn.Parameter)
    assert len({id(module.weight) for module in (one, two, three)}) == 3
    assert len({module.weight.untyped_storage()._cdata for module in (one, two, three)}) == 3
    one.bias = None
    one.in_features = 7
    assert repr(fit.build([x])) == repr(two) == repr(three)


def test_what_does_not_fit_is_refused_each_time() -> None:
    layer = LAYERS["Linear"](8)
    fitted(layer, [torch.empty(2, 5, device="meta")])
    for _ in range(2):
        with pytest.raises(LayerError):
            fitted(layer, [torch.empty(2, 5, dtype=torch.int64, device="meta")])
        with pytest.raises(LayerError):
            fitted(layer, [])


def test_the_default_dtype_is_that_of_now() -> None:
    layer, x = LAYERS["Linear"](8), torch.empty(2, 5, device="meta")
    fitted(layer, [x])
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(LayerError):
            fitted(layer, [x])
    finally:
        torch.set_default_dtype(torch.float32)


def template(text: str) -> Any:
    """What a layer with its settings is worth."""
    checked = check(parse(Source("net.yaml", "inputs:\n  x: randn(2, 8)\nlayers:\n  - Linear(8)\n")))
    call = parsed(Source("layer", text), Text(text, range(len(text)), len(text)))
    assert isinstance(call, Call)
    return Settings(Scope(Blueprint(checked), Span(0, 0))).template(
        call, call.function.id, call.arguments, call.keywords
    )


def test_layers_of_settings_that_are_alike_are_one_template() -> None:
    assert template("Dropout(0.5)") is template("Dropout(0.5)")
    assert template("Linear(4, bias=False)") is not template("Linear(4)")
    one, two = template("Dropout(1)"), template("Dropout(1.0)")
    assert (type(one.layer.p), type(two.layer.p)) == (int, float)
