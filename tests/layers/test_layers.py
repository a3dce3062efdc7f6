"""Every layer type against torch's own module: settings, shapes, dtypes, parameters, and its page."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from layer_examples import EXAMPLES, Example
from torch import Tensor, nn

from fwdscope.errors import LayerError
from fwdscope.layers import LAYERS, Layer, describe_module, matches, page, settings
from fwdscope.layers.base import input_names, required_inputs

# torch.nn's modules that are no layer type, each with the reason.
NOT_LAYERS = {
    "Module": "the base of all",
    "Container": "a deprecated name of Module",
    "Sequential": "the language's own: Sequential(…), 3 * Block",
    "ModuleList": "the language's own: stacks and parts",
    "ModuleDict": "the language's own: parts",
    "ParameterList": "the language's own: Parameter",
    "ParameterDict": "the language's own: Parameter",
    "RNNBase": "the base of RNN, LSTM and GRU",
    "RNNCellBase": "the base of the cells",
    "DataParallel": "spreads a model over devices, computes nothing",
    "NLLLoss2d": "a deprecated name of NLLLoss",
}
# Arguments of torch's constructors that are no settings, each with the reason.
OMITTED = {
    "device": "the device is the run's, not the layer's",
    "dtype": "the dtype is the model's, not the layer's",
    "inplace": "the language has nothing in place: it would change what a skip holds",
    "size_average": "deprecated: reduction says it",
    "reduce": "deprecated: reduction says it",
    "min_value": "deprecated: min_val",
    "max_value": "deprecated: max_val",
    "process_group": "a spec describes one process",
    "_weight": "private: weights come from init or from a file",
    "_freeze": "private",
    "_random_samples": "private",
    "options": "an object that says how the loss is cut into chunks, not what it computes",
}
# Defaults that differ from torch's, each with the reason.
OTHER_DEFAULTS = {
    "activation": "torch's is the function relu, ours its name",
    "d_model": "inferred",
}
# RNN, LSTM and GRU take *args and **kwargs; these are the signatures that torch documents.
RECURRENT = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
BY_HAND = {
    "RNN": {"num_layers": 1, "nonlinearity": "tanh", **RECURRENT},
    "LSTM": {**RECURRENT, "proj_size": 0},
    "GRU": RECURRENT,
}

OURS = {"MixtureOfExperts"}
TYPES = sorted(LAYERS)


def torch_modules() -> set[str]:
    return {
        name
        for name, value in vars(nn).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and not name.startswith("Lazy")
    }


def constructor(name: str) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(getattr(nn, name).__init__).parameters
    varying = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {k: p for k, p in parameters.items() if k != "self" and p.kind not in varying and k not in OMITTED}


# --- the vocabulary --------------------------------------------------------------------------------------------------


@pytest.mark.core
def test_every_module_of_torch_nn_is_a_layer_type_or_has_a_reason() -> None:
    assert torch_modules() - set(LAYERS) == set(NOT_LAYERS)
    # What an older torch lacks is an error there, which says that a newer one has it.
    newer = {"LinearCrossEntropyLoss"} if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13) else set()
    assert set(LAYERS) - torch_modules() == OURS | newer


def test_every_layer_type_has_an_example() -> None:
    assert {example.name for example in EXAMPLES} == set(LAYERS)


@pytest.mark.parametrize("name", [name for name in TYPES if name not in OURS and name not in BY_HAND])
def test_settings_have_torchs_names_order_and_defaults(name: str) -> None:
    expected = constructor(name)
    ours = settings(LAYERS[name])
    assert [s.name for s in ours] == list(expected)
    for setting in ours:
        parameter = expected[setting.name]
        if setting.inferred or setting.name in OTHER_DEFAULTS:
            continue
        assert setting.required == (parameter.default is parameter.empty), setting.name
        if not setting.required:
            assert setting.default == parameter.default, setting.name
            assert type(setting.default) is type(parameter.default) or isinstance(setting.default, int | float)


@pytest.mark.parametrize("name", BY_HAND)
def test_recurrent_settings_are_those_that_torch_documents(name: str) -> None:
    ours = settings(LAYERS[name])
    assert [s.name for s in ours] == ["input_size", "hidden_size", *BY_HAND[name]]
    assert {s.name: s.default for s in ours[2:]} == BY_HAND[name]


@pytest.mark.parametrize("name", [name for name in TYPES if name not in OURS])
def test_positions_are_torchs_and_end_where_a_size_is_inferred(name: str) -> None:
    ours = settings(LAYERS[name])
    positional = [s.name for s in ours if s.positional]
    if any(s.inferred for s in ours):
        assert positional == [s.name for s in ours if s.required and not _keyword_only(name, s.name)]
    else:
        assert positional == [s.name for s in ours if not _keyword_only(name, s.name)]


def _keyword_only(name: str, setting: str) -> bool:
    parameter = inspect.signature(getattr(nn, name).__init__).parameters.get(setting)
    return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY


def test_defaults_match_their_own_annotations() -> None:
    for setting in (setting for name in TYPES for setting in settings(LAYERS[name])):
        if not setting.required and not setting.inferred:
            assert setting.mismatch(setting.default) is None, setting.name


@pytest.mark.core
def test_a_setting_of_the_wrong_type_is_described_in_words() -> None:
    by_name = {s.name: s for s in settings(LAYERS["Conv2d"])}
    assert by_name["kernel_size"].mismatch((3, 3)) is None
    assert by_name["kernel_size"].mismatch(0) == (
        "a whole number at least 1, or a tuple of 2, each a whole number at least 1"
    )
    assert by_name["padding_mode"].mismatch("mirror") == "'zeros' or 'reflect' or 'replicate' or 'circular'"
    assert by_name["bias"].mismatch(1) == "True or False"
    assert not matches(by_name["out_channels"].annotation, True)


@pytest.mark.parametrize("name", [name for name in TYPES if name not in OURS])
def test_inputs_have_torchs_names_and_order(name: str) -> None:
    parameters = inspect.signature(getattr(nn, name).forward).parameters
    theirs = [p for p in parameters.values() if p.name != "self"]
    # PoissonNLLLoss and RMSNorm call their input otherwise; AdaptiveLogSoftmaxWithLoss puts an underscore behind.
    renamed = {"log_input": "input", "x": "input", "input_": "input", "target_": "target"}
    assert list(input_names(LAYERS[name])) == [renamed.get(p.name, p.name) for p in theirs]
    assert list(required_inputs(LAYERS[name])) == [renamed.get(p.name, p.name) for p in theirs if p.default is p.empty]


@pytest.mark.parametrize("name", TYPES)
def test_every_layer_has_a_page(name: str) -> None:
    layer = LAYERS[name]
    assert "__doc__" in vars(layer), "the page must be the layer's own"
    text = page(layer)
    first, *rest = text.splitlines()
    assert first.endswith((".", ":")) or "=" in first
    assert len(first) > 15
    assert any("→" in line or "input" in line for line in [first, *rest]), "the page gives shapes"
    assert not text.startswith(f"{name}(")


def test_loading_the_vocabulary_does_not_load_torch() -> None:
    code = (
        "import sys, fwdscope.layers as l; [l.settings(t) for t in l.LAYERS.values()]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what is built ---------------------------------------------------------------------------------------------------


def run(module: nn.Module, inputs: tuple[Any, ...]) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and dtypes of all results."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(tuple(x.shape), x.dtype) for x in flat(module.eval()(*inputs))]


def flat(value: Any) -> list[Tensor]:
    if isinstance(value, tuple | list):
        return [x for item in value for x in flat(item)]
    return [value] if isinstance(value, Tensor) else []


def weights(module: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(value.shape), value.dtype) for name, value in module.state_dict().items()}


def quietly(make: Any, *arguments: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments)


COMPARED = [e for e in EXAMPLES if e.name not in OURS]
ONE_OF_EACH = list({e.name: e for e in reversed(COMPARED)}.values())


@pytest.mark.parametrize("example", ONE_OF_EACH, ids=str)
def test_a_layer_is_torchs_module_with_its_weights_and_shapes(example: Example) -> None:
    layer = example.layer()
    with torch.device("meta"):
        inputs = example.inputs()
        layer.check(*inputs)
        ours = layer.build(*inputs)
        theirs = quietly(example.torch_module)
        assert type(ours) is type(theirs)
        assert weights(ours) == weights(theirs)
        assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
        if layer.data_decide is None:
            assert run(ours, inputs) == run(theirs, inputs)


@pytest.mark.parametrize("example", COMPARED, ids=str)
def test_a_layer_computes_what_torchs_module_computes(example: Example) -> None:
    inputs = example.inputs()
    ours, theirs = example.layer().build(*inputs).eval(), quietly(example.torch_module).eval()
    assert type(ours) is type(theirs)
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        mine = flat(ours(*inputs))
        torch.manual_seed(0)
        for a, b in zip(mine, flat(theirs(*inputs)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.sizes], ids=str)
def test_an_inferred_size_may_be_given_and_is_checked(example: Example) -> None:
    inputs = example.inputs()
    given = LAYERS[example.name](**example.settings, **example.sizes)
    assert weights(given.build(*inputs)) == weights(example.layer().build(*inputs))
    for name, size in example.sizes.items():
        wrong = LAYERS[example.name](**example.settings, **{name: size + 1})
        with pytest.raises(LayerError, match=f"{name} is given as {size + 1}, but the input has ") as error:
            wrong.build(*inputs)
        assert error.value.help is None  # without the size, another network would be built in silence


@pytest.mark.parametrize("name", sorted({e.name for e in EXAMPLES if LAYERS[e.name].data_decide}))
def test_what_decides_by_data_cannot_run_on_meta(name: str) -> None:
    refused = 0
    for example in (e for e in EXAMPLES if e.name == name):
        with torch.device("meta"):
            inputs = example.inputs()
            try:
                example.layer().build(*inputs)(*inputs)
            except (RuntimeError, NotImplementedError):
                refused += 1
    assert refused


def test_the_type_column_is_short_and_begins_with_the_name() -> None:
    for example in EXAMPLES:
        summary = example.layer().summary()
        assert summary.split()[0] == example.name
        assert len(summary) <= 40


SUMMARIES = {
    "Conv2d 7×7 /2": LAYERS["Conv2d"](64, 7, stride=2, padding=3),
    "Conv2d 3×3 groups 32": LAYERS["Conv2d"](32, 3, groups=32),
    "Conv2d 3×1 /2×1 dilation 2": LAYERS["Conv2d"](32, (3, 1), stride=(2, 1), dilation=2),
    "Conv1d 3": LAYERS["Conv1d"](8, 3),
    "MaxPool2d 3×3 /2": LAYERS["MaxPool2d"](3, stride=2, padding=1),
    "MaxPool2d 2×2": LAYERS["MaxPool2d"](2, 2),
    "AdaptiveAvgPool2d → 1×1": LAYERS["AdaptiveAvgPool2d"](1),
    "Dropout 0.1": LAYERS["Dropout"](0.1),
    "Dropout 0.5": LAYERS["Dropout"](),
    "LSTM 2 layers, bidirectional": LAYERS["LSTM"](8, num_layers=2, bidirectional=True),
    "GELU tanh": LAYERS["GELU"]("tanh"),
    "ReLU": LAYERS["ReLU"](),
    "Softmax dim -1": LAYERS["Softmax"](-1),
    "MultiheadAttention 8 heads": LAYERS["MultiheadAttention"](8, batch_first=True),
    "Embedding": LAYERS["Embedding"](50257, 768),
    "Linear": LAYERS["Linear"](10, bias=False),
    "GroupNorm 32 groups": LAYERS["GroupNorm"](32),
    "Upsample ×2 bilinear": LAYERS["Upsample"](scale_factor=2, mode="bilinear"),
    "TransformerEncoder 6 layers": LAYERS["TransformerEncoder"](LAYERS["TransformerEncoderLayer"](8), 6),
    "MixtureOfExperts 2 of 8": LAYERS["MixtureOfExperts"](LAYERS["Linear"](4), 8),
    "ZeroPad2d 1,1,2,2": LAYERS["ZeroPad2d"]((1, 1, 2, 2)),
    "LeakyReLU 0.2": LAYERS["LeakyReLU"](0.2),
}


@pytest.mark.core
@pytest.mark.parametrize("summary", SUMMARIES)
def test_the_type_column_names_what_matters(summary: str) -> None:
    assert SUMMARIES[summary].summary() == summary


# --- the dataclasses -------------------------------------------------------------------------------------------------


def test_modules_of_equal_settings_that_are_not_alike_have_words_of_their_own() -> None:
    modules = [nn.LeakyReLU(slope) for slope in (0.0, -0.0, 0, 0.0)]
    assert [describe_module(one).split()[1] for one in modules] == ["0.0", "-0.0", "0", "0.0"]


def test_layers_are_values_that_compare_and_cannot_change() -> None:
    conv = LAYERS["Conv2d"](64, 7, stride=2)
    assert conv == LAYERS["Conv2d"](64, 7, stride=2)
    assert hash(conv) == hash(LAYERS["Conv2d"](64, 7, stride=2))
    assert conv != LAYERS["Conv2d"](64, 7)
    assert LAYERS["ReLU"]() != LAYERS["ReLU6"]()
    with pytest.raises(AttributeError):
        conv.stride = 1  # type: ignore[attr-defined]


@pytest.mark.core
def test_a_layer_shows_itself_as_a_spec_writes_it() -> None:
    assert repr(LAYERS["Conv2d"](64, 7, stride=2)) == "Conv2d(64, 7, stride=2)"
    assert repr(LAYERS["Linear"](10, in_features=4)) == "Linear(10, in_features=4)"
    assert repr(LAYERS["TransformerEncoder"](LAYERS["TransformerEncoderLayer"](8), 6)) == (
        "TransformerEncoder(TransformerEncoderLayer(8), 6)"
    )


def test_a_family_is_the_name_of_its_file() -> None:
    families = {layer.family() for layer in LAYERS.values()}
    assert LAYERS["AdaptiveAvgPool2d"].family() == LAYERS["MaxPool2d"].family() == "pooling"
    assert LAYERS["CrossEntropyLoss"].family() == "loss"
    assert len(families) == 15


def test_a_layer_that_torch_does_not_have_yet_is_said() -> None:
    class NotYet(Layer, abstract=True):
        """A layer of a torch to come."""

    with pytest.raises(LayerError, match="has no NotYet"):
        NotYet().build()


def test_what_torchs_constructor_refuses_becomes_a_layer_error() -> None:
    with pytest.raises(LayerError, match=r"refuses Hardtanh: .*max_val"):
        LAYERS["Hardtanh"](1.0, -1.0).build()


# --- weights that are settings ---------------------------------------------------------------------------------------


def test_weights_of_a_loss_come_back_after_the_meta_device() -> None:
    loss = LAYERS["CrossEntropyLoss"](weight=(1.0, 2.0, 3.0, 0.5))
    with torch.device("meta"):
        module = loss.build(torch.rand(3, 4), torch.zeros(3, dtype=torch.int64))
    assert module.weight.is_meta
    module.to_empty(device="cpu")
    module.reset_parameters()
    assert module.weight.tolist() == [1.0, 2.0, 3.0, 0.5]


def test_a_copy_of_a_loss_fills_its_own_weights() -> None:
    loss = LAYERS["CrossEntropyLoss"](weight=(1.0, 2.0))
    module = loss.build(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64))
    twin = copy.deepcopy(module)
    for each in (module, twin):
        each.weight.zero_()
    twin.reset_parameters()
    assert (module.weight.tolist(), twin.weight.tolist()) == ([0.0, 0.0], [1.0, 2.0])


def test_cross_entropy_is_stable_for_large_scores() -> None:
    scores = torch.tensor([[1000.0, -1000.0], [-1000.0, 1000.0]])
    module = LAYERS["CrossEntropyLoss"](reduction="none").build(scores, torch.tensor([0, 0]))
    assert module(scores, torch.tensor([0, 0])).tolist() == [0.0, 2000.0]


# --- mixture of experts ----------------------------------------------------------------------------------------------


def test_a_mixture_is_the_weighted_sum_of_the_experts_chosen() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 5, 8)
    module = LAYERS["MixtureOfExperts"](LAYERS["Linear"](4), 6, top_k=2).build(x)
    rows = x.reshape(-1, 8)
    scores, chosen = module.gate(rows).topk(2)
    dense = torch.stack([expert(rows) for expert in module.experts], dim=1)
    expected = (dense.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4)) * scores.softmax(-1).unsqueeze(-1)).sum(1)
    torch.testing.assert_close(module(x), expected.reshape(2, 5, 4))


def test_a_mixture_with_experts_that_nobody_chose_runs() -> None:
    x = torch.rand(1, 8)
    layer = LAYERS["MixtureOfExperts"](LAYERS["Linear"](4), 6, top_k=1)
    assert layer.build(x)(x).shape == (1, 4)
    assert layer.build(x)(x[:0]).shape == (0, 4)


def test_a_mixture_has_all_weights_and_costs_its_expected_load_on_meta() -> None:
    seen: list[int] = []
    with torch.device("meta"):
        x = torch.rand(2, 5, 8)
        module = LAYERS["MixtureOfExperts"](LAYERS["Linear"](4), 8, top_k=2).build(x)
        for expert in module.experts:
            expert.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[0]))
        assert module(x).shape == (2, 5, 4)
    assert sum(p.numel() for p in module.parameters()) == 8 * 8 + 8 * (8 * 4 + 4)
    assert seen == [3] * 8  # ⌈10 · 2 / 8⌉
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"gate", "experts"}


def test_transformer_states_its_parameters() -> None:
    with torch.device("meta"):
        x = torch.rand(3, 1, 512)
        count = sum(p.numel() for p in LAYERS["Transformer"]().build(x, x).parameters())
    assert f"{count:,} for d = 512" in page(LAYERS["Transformer"])


def test_the_opposite_meaning_of_masks_is_on_the_page() -> None:
    text = page(LAYERS["MultiheadAttention"])
    assert "opposite of scaled_dot_product_attention" in text
    assert "~causal_mask(T)" in text
