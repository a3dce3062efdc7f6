"""Nineteen published networks as specs, compared with the libraries that publish them: counts, keys, outputs.

Transformers is installed with the tests. The other libraries are compared with where they are installed:
``pip install --no-deps torchvision timm diffusers ultralytics effdet torch_geometric`` and what they import.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import TESTS
from torch import Tensor, nn
from torch.testing import assert_close
from zoo import stir

from fwdscope.inspection import META, inspect_spec
from fwdscope.language import load
from fwdscope.model import Network, build
from fwdscope.model.initialise import materialise
from fwdscope.targets import shipped_specs


def spec_of(name: str) -> Path:
    """The spec of a network: ten ship with the package."""
    here = TESTS / "specs" / "networks" / f"{name}.yaml"
    return here if here.exists() else shipped_specs()[name]


# Parameters and MACs at the sizes of each spec, from outside. MACs of a library are those that torch's FlopCounterMode
# counts on meta when its model is run (on this machine with torch 2.13, torchvision 0.29, timm 1.0.31, transformers
# 5.24, diffusers 0.42, ultralytics 8.4, effdet 0.4.1).
PUBLISHED = {
    # torchvision.models.inception_v3 has 27,161,264; its auxiliary classifier, built in training only, 3,326,696.
    # Two images, for the auxiliary classifier's norms.
    "inception_v3": (27_161_264 - 3_326_696, 2 * 5_713_216_096),
    # timm: mixer_b16_224, convmixer_768_32.
    "mlp_mixer": (59_880_472, 12_601_767_936),
    "convmixer": (21_110_248, 20_676_851_712),
    # transformers: T5ForConditionalGeneration, 64 words in and 32 out; keras-hub has the same number.
    "t5_small": (60_506_624, 2_684_354_560),
    # transformers: CLIPModel, of openai/clip-vit-base-patch32.
    "clip": (151_277_313, 7_388_582_400),
    # transformers: WhisperForConditionalGeneration, of openai/whisper-tiny; 64 words. As for DETR: 15,129,452,544, and
    # attention of 384 features in 4 layers each.
    "whisper_tiny": (37_760_640, 15_129_452_544 + 2 * 384 * 4 * (1500**2 + 64**2 + 64 * 1500)),
    # Ultralytics: yolov8.yaml says 3157200 parameters and 8.9 GFLOPS, which count activations too.
    "yolov8n": (3_157_200, 4_371_993_600),
    # torchvision.models.segmentation.deeplabv3_resnet50: 42,004,074 parameters, 178.722 GFLOPS (they are MACs).
    "deeplabv3_resnet50": (42_004_074, 178_721_945_088),
    # diffusers: UNet2DConditionModel(cross_attention_dim=768) on a latent of 64 x 64 and 77 words.
    "stable_diffusion_unet": (859_520_964, 401_636_720_640),
    # transformers: Gemma2ForCausalLM, of google/gemma-2-2b; 64 words.
    "gemma2_2b": (2_614_341_888, 167_738_605_568),
    # transformers: DeepseekV2ForCausalLM, of deepseek-ai/DeepSeek-V2-Lite. A word: 27 attentions of 2048 * 3072
    # + 2048 * 576 + 512 * 4096 + 2048 * 2048, one network of 3 * 2048 * 10944, 26 of a router of 2048 * 64 and 6 + 2
    # experts of 3 * 2048 * 1408, a head of 2048 * 102400. 64 words; scores and sums of 16 heads by 192 and 128.
    "deepseek_v2_lite": (
        15_706_484_224,
        64 * (27 * 13_762_560 + 67_239_936 + 26 * (131_072 + 8 * 8_650_752) + 209_715_200) + 27 * 16 * 64 * 64 * 320,
    ),
    # transformers: MambaForCausalLM, of state-spaces/mamba-130m-hf; 64 words.
    "mamba_130m": (129_135_360, 8_256_798_720),
    # transformers: DetrForObjectDetection, of facebook/detr-resnet-50, an image of 800 x 1066: by FlopCounterMode on a
    # CPU 78,655,872,000, and attention, which that leaves out: 256 features by 2 * (6 * 850**2 + 6 * 100**2
    # + 6 * 100 * 850).
    "detr_resnet50": (41_524_768, 78_655_872_000 + 2 * 256 * 6 * (850**2 + 100**2 + 100 * 850)),
    # PyTorch Geometric: GATConv(1433, 8, heads=8) and GATConv(64, 7). Each word of each paper meets 64 features, then
    # these 7; weighing neighbours is no product of matrices.
    "gat_cora": (92_373, 2708 * (1433 * 64 + 64 * 7)),
    # By the sizes of the paper's appendix. A table of words each; a GRU each way with torch's two biases; keys; start;
    # query and score; the decoder's cell; maxout; output. MACs: of 30 words in, 20 out.
    "bahdanau": (
        2 * 30_000 * 620
        + 2 * (3000 * 1620 + 6000)
        + (2000 * 1000 + 1000)
        + (1000 * 1000 + 1000)
        + (1000 * 1000 + 1000)
        + (3000 * 3620 + 6000)
        + (3620 * 1000 + 1000)
        + (500 * 30_000 + 30_000),
        30 * (2 * 3000 * 1620 + 2000 * 1000)
        + 1000 * 1000
        + 20 * (1000 * 1000 + 30 * 1000 + 30 * 2000 + 3000 * 3620 + 3620 * 1000 + 500 * 30_000),
    ),
    # Published as 595,844 for one network. MACs: of 1024 * 64 points.
    "nerf": (
        595_844,
        1024 * 64 * (63 * 256 + 6 * 256 * 256 + 319 * 256 + 256 * 256 + 256 + 283 * 128 + 128 * 3),
    ),
    # transformers: RwkvForCausalLM, of RWKV/rwkv-4-169m-pile; 64 words.
    "rwkv4_169m": (169_342_464, 8_360_017_920),
    # effdet: EfficientDet(efficientdet_d0).fpn, for an image of 512 x 512.
    "bifpn_d0": (194_361, 136_203_264),
    # A table; a convolution of two samples; 40 layers of two such, one back to the stream, one to 256 skips; two more.
    "wavenet": (
        256 * 32 + (2 * 32 * 32 + 32) + 40 * (2 * (2 * 32 * 32 + 32) + 32 * 33 + 256 * 33) + 2 * 256 * 257,
        4096 * (2 * 32 * 32 + 40 * (4 * 32 * 32 + 32 * 32 + 32 * 256) + 2 * 256 * 256),
    ),
}
MOST_LINES = {"wavenet": 26, "bifpn_d0": 50, "t5_small": 60, "stable_diffusion_unet": 90}


def network(name: str, sizes: str = "") -> Network:
    """A spec at other sizes: ``B=2 depth=3``."""
    return build(load(spec_of(name), variables=dict(size.split("=") for size in sizes.split())))


def test_every_network_of_the_folder_is_compared() -> None:
    here = {path.stem for path in (TESTS / "specs" / "networks").glob("*.yaml")}
    assert here < set(PUBLISHED)
    assert len(PUBLISHED) == 19
    assert set(PUBLISHED) - here <= set(shipped_specs())


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_network_has_the_published_counts(name: str) -> None:
    checked = load(spec_of(name))
    report = inspect_spec(checked)
    assert (report.totals.params, report.totals.macs) == PUBLISHED[name]
    assert report.shortfalls == ()
    assert report.uncounted == ()
    assert all(row.promise is None or row.promise.held for row in report.layers)
    assert checked.notes == ()
    assert re.search(r"\(.*\d{4}", checked.spec.doc or "", re.DOTALL), "who made it, and when"
    named = {one.name for one in checked.spec.expect.figures if one.layer is None}
    assert named == {"params", "macs"}
    assert checked.spec.expect.outputs


@pytest.mark.parametrize("name", sorted(MOST_LINES))
def test_a_network_is_short(name: str) -> None:
    assert len((spec_of(name)).read_text().splitlines()) <= MOST_LINES[name]


def test_ten_networks_have_loops_or_modules() -> None:
    texts = [spec_of(name).read_text() for name in PUBLISHED]
    assert sum(bool(re.search(r"^ *- (for|modules):", text, re.MULTILINE)) for text in texts) >= 10


def test_training_builds_the_auxiliary_classifier_of_inception() -> None:
    report = inspect_spec(load(spec_of("inception_v3")), settings=replace(META, train=True))
    assert report.totals.params == 27_161_264
    assert [one.shape for one in report.outputs] == [(2, 1000), (2, 1000)]


# --- outputs ---------------------------------------------------------------------------------------------------------


def compare(
    name: str,
    library: nn.Module,
    inputs: tuple[Tensor, ...],
    run: Callable[..., Any],
    renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    sizes: str = "",
    tied: tuple[str, ...] = (),
    stirred: float = 0.1,
) -> None:
    """With the weights of a library's model, whose keys it has, a spec gives what that model gives."""
    stir(library.eval(), amount=stirred)
    net = materialise(network(name, sizes), "cpu", seed=0).eval()
    state = renamed(library.state_dict())
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert missing == []
    assert set(unexpected) == set(tied)
    with torch.no_grad():
        ours, theirs = net(*inputs), run(library, *inputs)
    assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert all(one.std() > 1e-3 for one in (ours if isinstance(ours, tuple | list) else [ours]))


def words(high: int, *shape: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(3))


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


def transformer(name: str, **settings: Any) -> nn.Module:
    """A model of transformers, by the name that its class and its configuration share."""
    import transformers

    model, config = name.split("/")
    made = getattr(transformers, config)(use_cache=False, **settings)
    found: nn.Module = getattr(transformers, model)._from_config(made, attn_implementation="eager")
    return found


def test_t5_gives_what_transformers_gives() -> None:
    library = transformer(
        "T5ForConditionalGeneration/T5Config", vocab_size=100, d_model=64, d_kv=8, d_ff=128, num_layers=2, num_heads=8
    )
    compare(
        "t5_small",
        library,
        (words(100, 2, 150), words(100, 2, 140)),  # distances beyond 128 share a bucket
        lambda model, source, target: model(input_ids=source, decoder_input_ids=target).logits,
        tied=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"),
        sizes="B=2 S=150 T=140 vocab=100 d=64 d_ff=128 depth=2",
    )


def test_clip_gives_what_transformers_gives() -> None:
    sizes = {"num_hidden_layers": 2, "hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2}
    library = transformer(
        "CLIPModel/CLIPConfig",
        # Where the number of the last token is 2, the highest one ends a text.
        text_config={**sizes, "vocab_size": 100, "projection_dim": 32, "eos_token_id": 2},
        vision_config={**sizes, "patch_size": 32, "projection_dim": 32},
        projection_dim=32,
    )
    compare(
        "clip",
        library,
        (words(100, 2, 12), image(2, 3, 224, 224)),
        lambda model, tokens, picture: model(input_ids=tokens, pixel_values=picture).logits_per_text,
        sizes="B=2 T=12 vocab=100 depth=2 space=32 d_text=128 d_image=128",
    )


def test_whisper_gives_what_transformers_gives() -> None:
    sizes = {"layers": 2, "attention_heads": 4, "ffn_dim": 256}
    layers = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in sizes.items()}
    library = transformer(
        "WhisperForConditionalGeneration/WhisperConfig", d_model=64, vocab_size=100, pad_token_id=0, **layers
    )
    compare(
        "whisper_tiny",
        library,
        (image(1, 80, 3000), words(100, 1, 9)),
        lambda model, mel, tokens: model(input_features=mel, decoder_input_ids=tokens).logits,
        tied=("proj_out.weight",),
        sizes="T=9 d=64 heads=4 depth=2 vocab=100",
    )


def test_gemma_2_gives_what_transformers_gives() -> None:
    library = transformer(
        "Gemma2ForCausalLM/Gemma2Config",
        vocab_size=100,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=4,
        pad_token_id=0,
    )
    compare(
        "gemma2_2b",
        library,
        (words(100, 2, 11),),
        lambda model, tokens: model(input_ids=tokens).logits,
        tied=("lm_head.weight",),
        sizes="B=2 T=11 vocab=100 d=64 depth=2 heads=4 kv_heads=2 head_dim=16 d_ff=128 window=4",
    )


def test_deepseek_v2_gives_what_transformers_gives() -> None:
    library = transformer(
        "DeepseekV2ForCausalLM/DeepseekV2Config",
        vocab_size=100,
        hidden_size=64,
        intermediate_size=96,
        moe_intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_shared_experts=2,
        n_routed_experts=8,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        kv_lora_rank=32,
        q_lora_rank=None,
        qk_rope_head_dim=8,
        qk_nope_head_dim=16,
        v_head_dim=16,
        n_group=1,
        topk_group=1,
        pad_token_id=0,
    )

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Transformers keeps the experts of a layer in two tensors, the checkpoint in three a expert."""
        found = {}
        for key, value in state.items():
            around, _, which = key.rpartition(".experts.")
            if not around:
                found[key] = value
                continue
            for i, expert in enumerate(value):
                names = ("gate_proj", "up_proj") if which == "gate_up_proj" else (which,)
                for name, part in zip(names, expert.chunk(len(names)), strict=True):
                    found[f"{around}.experts.{i}.{name}.weight"] = part
        return found

    compare(
        "deepseek_v2_lite",
        library,
        (words(100, 2, 11),),
        lambda model, tokens: model(input_ids=tokens).logits,
        renamed,
        sizes="B=2 T=11 vocab=100 d=64 depth=2 heads=4 nope=16 rotated=8 rank=32 d_ff=96 d_expert=24 experts=8 top_k=2",
    )


def test_mamba_gives_what_transformers_gives() -> None:
    library = transformer(
        "MambaForCausalLM/MambaConfig", vocab_size=100, hidden_size=32, num_hidden_layers=2, time_step_rank=48
    )
    compare(
        "mamba_130m",
        library,
        (words(100, 2, 9),),
        lambda model, tokens: model(input_ids=tokens).logits,
        tied=("lm_head.weight",),
        sizes="B=2 T=9 vocab=100 d=32 depth=2",
    )


def test_rwkv_gives_what_transformers_gives() -> None:
    library = transformer(
        "RwkvForCausalLM/RwkvConfig",
        vocab_size=100,
        hidden_size=32,
        attention_hidden_size=32,
        num_hidden_layers=2,
        rescale_every=0,
    )
    compare(
        "rwkv4_169m",
        library,
        (words(100, 2, 9),),
        lambda model, tokens: model(input_ids=tokens).logits,
        sizes="B=2 T=9 vocab=100 d=32 depth=2",
    )


def test_detr_gives_what_transformers_gives() -> None:
    library = transformer(
        "DetrForObjectDetection/DetrConfig", num_labels=91, use_timm_backbone=False, use_pretrained_backbone=False
    )
    # From the names of transformers to those of the published checkpoint.
    names = [
        (r"^model\.backbone\.model\.embedder\.embedder\.convolution", "backbone.0.body.conv1"),
        (r"^model\.backbone\.model\.embedder\.embedder\.normalization", "backbone.0.body.bn1"),
        (r"^model\.backbone\.model\.encoder\.stages\.(\d)\.layers", lambda m: f"backbone.0.body.layer{int(m[1]) + 1}"),
        (r"\.layer\.(\d)\.convolution", lambda m: f".conv{int(m[1]) + 1}"),
        (r"\.layer\.(\d)\.normalization", lambda m: f".bn{int(m[1]) + 1}"),
        (r"\.shortcut\.convolution", ".downsample.0"),
        (r"\.shortcut\.normalization", ".downsample.1"),
        (r"^model\.input_projection", "input_proj"),
        (r"^model\.query_position_embeddings", "query_embed"),
        (r"^model\.decoder\.layernorm", "transformer.decoder.norm"),
        (r"(encoder\.layers\.\d)\.final_layer_norm", r"\1.norm2"),
        (r"(decoder\.layers\.\d)\.final_layer_norm", r"\1.norm3"),
        (r"\.self_attn_layer_norm", ".norm1"),
        (r"\.encoder_attn_layer_norm", ".norm2"),
        (r"\.encoder_attn", ".multihead_attn"),
        (r"\.o_proj", ".out_proj"),
        (r"\.mlp\.fc", ".linear"),
        (r"^model\.(encoder|decoder)", r"transformer.\1"),
        (r"^class_labels_classifier", "class_embed"),
        (r"^bbox_predictor", "bbox_embed"),
    ]

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for key, value in state.items():
            for pattern, ours in names:
                key = re.sub(pattern, ours, key)
            if part := re.search(r"\.([qkv])_proj\.", key):
                joined = key.replace(part[0], ".in_proj_")
                rows = torch.zeros(3, *value.shape) if joined not in found else found[joined].unflatten(0, (3, -1))
                rows["qkv".index(part[1])] = value
                found[joined] = rows.flatten(0, 1)
            elif "num_batches_tracked" not in key:
                found[key] = value
        return found

    compare(
        "detr_resnet50",
        library,
        (image(1, 3, 96, 128),),
        lambda model, pixels: (model(pixels).logits, model(pixels).pred_boxes),
        renamed,
        sizes="height=96 width=128",
    )


def test_inception_and_deeplab_give_what_torchvision_gives() -> None:
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)

    def without_auxiliary(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if not key.startswith("AuxLogits")}

    inception = models.inception_v3(weights=None, init_weights=False)
    compare("inception_v3", inception, (image(2, 3, 299, 299),), nn.Module.__call__, without_auxiliary, stirred=0.01)
    deeplab = models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    both = lambda model, x: (model(x)["out"], model(x)["aux"])  # noqa: E731
    compare("deeplabv3_resnet50", deeplab, (image(1, 3, 520, 520),), both, stirred=0.01)


def test_mixer_and_convmixer_give_what_timm_gives() -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    for name, theirs in (("mlp_mixer", "mixer_b16_224"), ("convmixer", "convmixer_768_32")):
        compare(name, timm.create_model(theirs), (image(1, 3, 224, 224),), nn.Module.__call__, stirred=0.01)


def test_yolo_gives_what_ultralytics_gives() -> None:
    tasks = pytest.importorskip("ultralytics.nn.tasks", exc_type=ImportError)
    library = tasks.DetectionModel("yolov8n.yaml", verbose=False)

    def raw(model: nn.Module, x: Tensor) -> Tensor:
        """Distances by the head's distributions, and classes, before anchors make boxes of them."""
        head, found = model.model[-1], model(x)[1]
        return torch.cat([head.dfl(found["boxes"]).unflatten(1, (4, -1)).squeeze(2), found["scores"].sigmoid()], 1)

    compare("yolov8n", library, (image(1, 3, 640, 640),), raw, stirred=0.01)


def test_the_unet_has_the_keys_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers", exc_type=ImportError)
    with torch.device("meta"):
        library = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    ours = network("stable_diffusion_unet").state_dict()
    assert {key: value.shape for key, value in ours.items()} == {k: v.shape for k, v in library.state_dict().items()}


def test_bifpn_gives_what_effdet_gives() -> None:
    effdet = pytest.importorskip("effdet", exc_type=ImportError)
    library = effdet.EfficientDet(effdet.get_efficientdet_config("efficientdet_d0"), pretrained_backbone=False).fpn
    inputs = (image(1, 40, 64, 64), image(1, 112, 32, 32), image(1, 320, 16, 16))

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a node squeezes is the first that it reads, and there the only one of a stack."""
        return {re.sub(r"(combine\.resample)\.\d", r"\1.0.0", key): value for key, value in state.items()}

    compare("bifpn_d0", library, inputs, lambda model, *maps: tuple(model(list(maps))), renamed)


def test_gat_gives_what_pytorch_geometric_gives() -> None:
    geometric = pytest.importorskip("torch_geometric.nn", exc_type=ImportError)
    library = nn.ModuleDict({"conv1": geometric.GATConv(20, 8, heads=8), "conv2": geometric.GATConv(64, 7)})
    # No paper cites itself, as in Cora: each gets its one edge to itself.
    source = words(50, 90)
    edges = torch.stack([source, (source + 1 + words(40, 90)) % 50])

    def run(model: Any, papers: Tensor, edges: Tensor) -> Tensor:
        found: Tensor = model.conv2(nn.functional.elu(model.conv1(papers, edges)), edges)
        return found

    compare("gat_cora", library, (image(50, 20), edges), run, sizes="nodes=50 words=20 citations=90")


# --- outputs by the papers' equations --------------------------------------------------------------------------------


def made(name: str, sizes: str) -> tuple[Network, dict[str, Tensor]]:
    net = materialise(network(name, sizes), "cpu", seed=0).eval()
    stir(net)
    return net, {key: value.detach() for key, value in net.state_dict().items()}


def test_gat_is_attention_over_the_pairs_that_are_neighbours() -> None:
    net, w = made("gat_cora", "nodes=6 words=5 citations=9")
    papers, edges = image(6, 5), words(6, 2, 9)
    near = torch.eye(6)  # how many edges go from j to i; each node hears itself
    for j, i in edges.T.tolist():
        near[i, j] += 1

    def layer(h: Tensor, name: str) -> Tensor:
        """Equations 3 and 5 of the paper, for all pairs."""
        wh = (h @ w[f"{name}.lin.weight"].T).unflatten(1, w[f"{name}.att_src"].shape[1:])
        asked, told = (wh * w[f"{name}.att_dst"]).sum(-1), (wh * w[f"{name}.att_src"]).sum(-1)
        scores = nn.functional.leaky_relu(asked[:, None] + told[None], 0.2) + near.log()[..., None]
        return torch.einsum("ijh,jhd->ihd", scores.softmax(1), wh).flatten(1) + w[f"{name}.bias"]

    with torch.no_grad():
        assert_close(net(papers, edges), layer(nn.functional.elu(layer(papers, "conv1")), "conv2"))


def test_nerf_is_eight_layers_then_a_density_and_a_colour() -> None:
    net, w = made("nerf", "rays=3 samples=2 W=16")
    points, directions = torch.rand(3, 2, 3), torch.rand(3, 3)

    def waves(x: Tensor, n: int) -> Tensor:
        return torch.cat([x, *(f(2.0**k * x) for k in range(n) for f in (torch.sin, torch.cos))], -1)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    h = place = waves(points, 10)
    for i in range(8):
        h = linear(f"pts_linears.{i}", torch.cat([place, h], -1) if i == 5 else h).relu()
    view = waves(directions / directions.norm(dim=-1, keepdim=True), 4)[:, None].expand(3, 2, 27)
    seen = linear("views_linears.0", torch.cat([linear("feature_linear", h), view], -1)).relu()
    with torch.no_grad():
        assert_close(net(points, directions), (linear("rgb_linear", seen).sigmoid(), linear("alpha_linear", h).relu()))


def test_wavenet_reads_two_samples_a_layer_further_and_further_apart() -> None:
    net, w = made("wavenet", "B=2 T=40 values=11 width=6 skip=5 stacks=2 depth=3")
    sound = words(11, 2, 40)

    def pair(name: str, x: Tensor, apart: int) -> Tensor:
        """The weights of the sample ``apart`` ago and of this one; before the first there is silence."""
        before = torch.cat([torch.zeros(2, apart, x.shape[2]), x], 1)[:, :40]
        old, new = w[f"{name}.weight"].unbind(-1)
        return before @ old.T + x @ new.T + w[f"{name}.bias"]

    def point(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"][..., 0].T + w[f"{name}.bias"]

    x, skips = pair("start", w["embed.weight"][sound], 1), torch.zeros(2, 40, 5)
    for i in range(6):
        at = f"layers.{i}"
        gated = pair(f"{at}.filter", x, 2 ** (i % 3)).tanh() * pair(f"{at}.gate", x, 2 ** (i % 3)).sigmoid()
        x, skips = x + point(f"{at}.dense", gated), skips + point(f"{at}.out", gated)
    expected = point("end.3", point("end.1", skips.relu()).relu())
    with torch.no_grad():
        assert_close(net(sound), expected.mT)


def test_the_decoder_of_bahdanau_looks_at_all_states_before_each_word() -> None:
    net, w = made("bahdanau", "B=2 S=5 T=4 vocab=13 m=6 n=7 aligned=8 maxout=3")
    source, target = words(13, 2, 5), words(13, 2, 4)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(()))

    gru, cell = nn.GRU(6, 7, bidirectional=True, batch_first=True), nn.GRUCell(6 + 14, 7)
    gru.load_state_dict({k.removeprefix("encoder.gru."): v for k, v in w.items() if k.startswith("encoder.gru")})
    cell.load_state_dict({k.removeprefix("cell."): v for k, v in w.items() if k.startswith("cell.")})
    with torch.no_grad():
        h = gru(w["encoder.embed.weight"][source])[0]
        s, logits = linear("start", h[:, 0, 7:]).tanh(), []  # appendix A.2.2
        for y in w["words.weight"][target].unbind(1):
            energies = linear("score", (linear("query", s)[:, None] + linear("keys", h)).tanh())
            c = (energies.softmax(1) * h).sum(1)
            t = linear("readout", torch.cat([s, y, c], -1))
            logits.append(linear("output", torch.stack([t[:, 0::2], t[:, 1::2]]).amax(0)))
            s = cell(torch.cat([y, c], -1), s)
        assert_close(net(source, target), torch.stack(logits, 1))
