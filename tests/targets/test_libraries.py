"""``transformers:NAME`` and its kind; timm and torchvision are tested by ``tests/benchmarks/library_targets.py``."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner, Result

import fwdscope
from fwdscope.cli import app
from fwdscope.errors import TargetError

transformers = pytest.importorskip("transformers")

# A small one of each kind: text, both ways, two halves, mixture, state space, image, two towers, audio, series.
SMALL = {
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "bert": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "mixtral": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_local_experts": 4,
                "num_attention_heads": 4, "num_key_value_heads": 2},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "vit": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "clip": {"text_config.num_hidden_layers": 1, "vision_config.num_hidden_layers": 1},
    "wav2vec2": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4},
    "patchtst": {"num_hidden_layers": 1, "context_length": 64, "num_input_channels": 3},
}  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


@pytest.mark.parametrize("name", SMALL)
def test_a_model_type_runs_on_inputs_of_its_own_and_is_counted_as_torch_counts_it(name: str) -> None:
    report = fwdscope.inspect(f"transformers:{name}", arguments=SMALL[name], device="meta")
    config = transformers.CONFIG_MAPPING[name]()
    for path, value in SMALL[name].items():
        *above, last = path.split(".")
        setattr(getattr(config, above[0]) if above else config, last, value)
    config = type(config).from_dict({**SMALL[name]}) if not any("." in path for path in SMALL[name]) else config
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config).eval()
        inputs = {one.name: torch.zeros(one.shape, dtype=getattr(torch, one.dtype)) for one in report.inputs}
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("batched_mm")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    assert report.totals.params == sum(p.numel() for p in model.parameters())
    # flop_counter leaves out the convolutions of no model here, and counts 2 FLOPs a MAC.
    assert report.totals.macs == counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("llama", {"input_ids": (1, 32)}),
        ("t5", {"input_ids": (1, 32), "decoder_input_ids": (1, 32)}),
        ("vit", {"pixel_values": (1, 3, 224, 224)}),
        ("clip", {"input_ids": (1, 32), "pixel_values": (1, 3, 224, 224)}),
        ("wav2vec2", {"input_values": (1, 16000)}),
        ("patchtst", {"past_values": (1, 64, 3), "past_observed_mask": (1, 64, 3)}),
    ],
)
def test_the_report_says_what_was_fed(name: str, inputs: dict[str, tuple[int, ...]]) -> None:
    report = fwdscope.inspect(f"transformers:{name}", arguments=SMALL[name], device="meta")
    assert {one.name: one.shape for one in report.inputs} == inputs
    assert [note.count(" = ") for note in report.notes if note.startswith("fed with")] == [len(inputs)]


@pytest.mark.parametrize(
    ("name", "variables", "shape"),
    [("llama", {"B": 3, "T": 50}, (3, 50)), ("vit", {"B": 2}, (2, 3, 224, 224)), ("wav2vec2", {"T": 8000}, (1, 8000))],
)
def test_sizes_of_inputs_are_replaced(name: str, variables: dict[str, int], shape: tuple[int, ...]) -> None:
    report = fwdscope.inspect(f"transformers:{name}", arguments=SMALL[name], variables=variables, device="meta")
    assert report.inputs[0].shape == shape


def test_an_input_is_replaced_and_another_added() -> None:
    options = [option for name, value in SMALL["llama"].items() for option in ("--arg", f"{name}={value}")]
    feeds = ("--input", "input_ids=2,7:int64", "--input", "attention_mask=2,7:int64")
    result = run("transformers:llama", *options, *feeds, "--device", "meta")
    assert result.exit_code == 0, result.stderr
    assert "input_ids (2, 7) int64, attention_mask (2, 7) int64  →  last_hidden_state (2, 7, 32)" in result.stdout


def test_a_class_is_named_or_the_configuration_names_it(tmp_path: Path) -> None:
    small = {**SMALL["llama"], "vocab_size": 100}
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **small})
    )
    head = {"class": "LlamaForCausalLM"}
    reports = [
        fwdscope.inspect("transformers:llama", arguments={**small, **head}, device="meta"),
        fwdscope.inspect(f"transformers:{tmp_path}", device="meta"),
        fwdscope.inspect(f"transformers:{tmp_path / 'config.json'}", device="meta"),
        fwdscope.inspect("transformers:LlamaForCausalLM", arguments=small, device="meta"),
    ]
    assert {report.outputs[0].shape for report in reports} == {(1, 32, 100)}
    assert len({report.totals for report in reports}) == 1
    assert fwdscope.inspect("transformers:llama", arguments=small, device="meta").outputs[0].shape == (1, 32, 32)


def test_fewer_layers_of_a_configuration_have_lists_of_as_many(tmp_path: Path) -> None:
    types = ["sliding_attention", "full_attention"] * 2
    written = {"model_type": "gemma2", **SMALL["llama"], "num_hidden_layers": 4, "layer_types": types, "head_dim": 8,
               "num_key_value_heads": 2, "vocab_size": 100}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(written))
    for count in (4, 2, 6):
        arguments = {"num_hidden_layers": count} if count != 4 else {}
        report = fwdscope.inspect(f"transformers:{tmp_path}", arguments=arguments, device="meta")
        assert sum(row.repeat for row in report.layers if row.type == "Gemma2DecoderLayer") == count


def test_a_mixture_counts_the_experts_that_are_chosen() -> None:
    report = fwdscope.inspect("transformers:mixtral", arguments=SMALL["mixtral"], device="meta")
    experts = next(row for row in report.layers if row.type == "MixtralExperts")
    # 32 tokens, each to 2 of 4 experts: gate and up 32·96, down 48·32
    assert experts.macs == 32 * 2 * (32 * 96 + 48 * 32)


def test_a_small_model_runs_with_numbers() -> None:
    report = fwdscope.inspect("transformers:llama", arguments={**SMALL["llama"], "vocab_size": 100}, device="cpu",
                              latency=False)  # fmt: skip
    assert report.run is not None
    stats = report.outputs[0].stats
    assert stats is not None
    assert stats.std is not None
    assert math.isfinite(stats.std)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("transformers:lama",), "transformers has no lama; did you mean"),
        (("transformers:",), "write transformers:NAME"),
        (
            ("transformers:llama", "--arg", "hiden_size=3"),
            "LlamaConfig has no setting hiden_size; did you mean hidden_size?",
        ),
        (("transformers:clip", "--arg", "text_config.hiden_size=3"), "CLIPTextConfig has no setting hiden_size"),
        (("transformers:llama", "--arg", "class=LlamaForCausalM"), "did you mean LlamaForCausalLM?"),
        (("transformers:none/config.json",), "there is no file none/config.json; nothing is downloaded"),
        (("transformers:meta-llama/Llama-3.2-1B",), "nothing is downloaded"),
        (("transformers:llama", "--set", "Q=3"), "the inputs of transformers:llama have the sizes B, T"),
        (("transformers:llama", "--set", "T=0"), "a size is a whole number above 0"),
        (("transformers:llama", "--arg", "hidden_size=30"), "LlamaConfig cannot be made"),
        (("transformers:llama", "--input", "pixels=3"), "--input pixels: forward takes input_ids"),
        (("timm:resnet50",), "timm:resnet50 needs timm, which is not installed: pip install timm"),
        (("diffusers:unet",), "diffusers:unet needs diffusers, which is not installed: pip install diffusers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    library = arguments[0].partition(":")[0]
    if library in ("timm", "diffusers") and library in sys.modules:
        pytest.skip(f"{library} is installed")
    result = run(*arguments, "--device", "meta")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"model_type": "mine", "auto_map": {"AutoModel": "a.B"}}, "(auto_map), which is not run"),
        ({"model_type": "lama"}, "transformers has no lama"),
        ({"hidden_size": 3}, "transformers has no model without a model_type"),
        ([1], "is no configuration: it is a list"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_of_no_model_is_said(written: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(written))
    (tmp_path / "a.py").write_text("raise SystemExit('code of the checkpoint ran')")
    with pytest.raises(TargetError) as caught:
        fwdscope.inspect(f"transformers:{tmp_path}")
    assert said in str(caught.value)


class Denoiser(nn.Module):
    """What diffusers makes: it needs a latent image, a step, the text, and what stands in a dictionary."""

    def __init__(self, **config: object) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv2d(int(config["in_channels"]), 4, 3)  # type: ignore[call-overload]

    def forward(self, sample, timestep, encoder_hidden_states=None, class_labels=None, added_cond_kwargs=None):  # type: ignore[no-untyped-def]
        added = added_cond_kwargs["text_embeds"].sum(1) + added_cond_kwargs["time_ids"].sum(1)
        return self.conv(sample) * (timestep + added + encoder_hidden_states.sum((1, 2)))[:, None, None, None]

    @classmethod
    def from_config(cls, config: dict[str, object]) -> Denoiser:
        return cls(**config)


def test_a_model_of_diffusers_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("diffusers")
    vars(package).update(__spec__=transformers.__spec__, Denoiser=Denoiser)
    monkeypatch.setitem(sys.modules, "diffusers", package)
    written = {"_class_name": "Denoiser", "in_channels": 4, "sample_size": 16, "cross_attention_dim": 24,
               "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
               "projection_class_embeddings_input_dim": 100}  # fmt: skip
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(written))
    report = fwdscope.inspect(f"diffusers:{tmp_path / 'unet'}", variables={"B": 2}, device="meta")
    assert {one.name: one.shape for one in report.inputs} == {
        "sample": (2, 4, 16, 16),
        "timestep": (2,),
        "encoder_hidden_states": (2, 77, 24),
        'added_cond_kwargs["text_embeds"]': (2, 100 - 6 * 8),
        'added_cond_kwargs["time_ids"]': (2, 6),
    }
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(TargetError, match="is a pipeline; name one of its models"):
        fwdscope.inspect(f"diffusers:{tmp_path}")
    (tmp_path / "unet" / "config.json").write_text(json.dumps({**written, "_class_name": "Nothing"}))
    with pytest.raises(TargetError, match="diffusers has no model Nothing"):
        fwdscope.inspect(f"diffusers:{tmp_path / 'unet'}")


class Net(nn.Module):
    """What timm makes."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.pretrained_cfg = {"input_size": (3, 32, 48)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that answers as timm does."""
    package = ModuleType("timm")
    known = ["resnet50", "resnet18"]
    vars(package).update(
        __spec__=transformers.__spec__,
        is_model=known.__contains__,
        list_models=lambda: known,
        list_pretrained=lambda _: ["resnet50.a1_in1k"],
        model_entrypoint=lambda _: Net,
        create_model=lambda name, **arguments: Net(**arguments),
    )
    monkeypatch.setitem(sys.modules, "timm", package)


@pytest.mark.usefixtures("timm")
def test_a_model_of_timm_gets_an_image_of_its_configuration() -> None:
    for name in ("resnet50", "resnet50.a1_in1k"):
        report = fwdscope.inspect(f"timm:{name}", arguments={"width": 4}, variables={"B": 2, "W": 20}, device="meta")
        assert report.inputs[0].shape == (2, 3, 32, 20)
        assert report.totals.params == 4 * 3 * 3 * 3 + 4
    for name, said in (
        ("resnet5", "did you mean"),
        ("resnet50.a9", "it has resnet50.a1_in1k"),
        ("hf-hub:a/b", "downloaded"),
    ):
        with pytest.raises(TargetError, match=said):
            fwdscope.inspect(f"timm:{name}")
    with pytest.raises(TargetError, match=r"unexpected keyword argument 'wide'; it is Net\(width = 8\)"):
        fwdscope.inspect("timm:resnet50", arguments={"wide": 4})
