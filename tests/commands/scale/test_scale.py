"""``fwdscope scale``: the formulas of networks are those of their papers, and what the command prints."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
import torch
from held_out import wrong_figures
from typer.testing import CliRunner

import fwdscope
from fwdscope.cli import app
from fwdscope.commands.scale import ScaledFigure, Scaling, chosen_vars, grow, layer_formulas
from fwdscope.commands.scale.growth import narrower_bounds
from fwdscope.commands.scale.ranges import VarRange
from fwdscope.errors import InputError
from fwdscope.polynomial import Maximum, Polynomial, variable
from fwdscope.render.scale import render
from fwdscope.settings import TrainingSettings
from fwdscope.targets import Target

B, T, d, depth, d_ff, base, size, hidden, patch = map(
    variable, ("B", "T", "d", "depth", "d_ff", "base", "size", "hidden", "patch")
)


def _over(number: int) -> Polynomial:
    return Polynomial((), {(): Fraction(1, number)})


@cache
def growth(text: str, names: str, depth: int = 0) -> Scaling:
    """With few layers, to be quick, where the number of them is not varied."""
    return grow(Target(text, {"depth": str(depth)} if depth else {}), names.split(","), held_out=2)


def test_gpt2() -> None:
    got = growth("gpt2", "B,T,d,depth")
    # Radford et al. 2019: two tables, and of each block 4d² in the attention and 8d² in the MLP with their biases
    # (4d, 5d) and two norms (4d); one norm behind.
    assert got["params"] == (50257 + 1024) * d + depth * (12 * d * d + 13 * d) + 2 * d
    # A product of d by n on B·T rows takes d·n; scores and their sum of values T² · d each.
    assert got["macs"] == B * T * (depth * (12 * d * d + 2 * T * d) + 50257 * d)
    # Keys and values of a position, in float32.
    assert got["kv_cache"] == 2 * 4 * B * d * depth
    assert got(d=1600, depth=48)["params"] == 48 * (12 * 1600**2 + 13 * 1600) + 51283 * 1600


def test_gpt2_in_words() -> None:
    got = growth("gpt2", "B,T,d,depth")
    first = got.terms("macs")[0]
    assert (str(first.formula), first.words) == ("12B·T·d²·depth", "projections in h")
    # 2·T·d against 12·d² a position.
    assert list(got.crossings("macs")) == ["attention scores in h overtake projections in h from T = 4,608"]


def test_llama() -> None:
    got = growth("llama3_8b", "T,d", 2)
    # Grattafiori et al. 2024: 32 heads share 8 keys and values; SwiGLU has three matrices, and nothing a bias.
    block = 2 * d * d + 2 * d * d * _over(4) + 3 * d * 14_336 + 2 * d
    assert got["params"] == 2 * 128_256 * d + 2 * block + d
    assert got["macs"] == T * (2 * (block - 2 * d + 2 * T * d) + 128_256 * d)
    assert {one.name: one.step for one in got.ranges}["d"] == 64  # rotary pairs in each of 32 heads


def test_mixtral() -> None:
    got = growth("mixtral_8x7b", "d,d_ff", 1)
    attention, expert = 2 * d * d + 2 * d * d * _over(4), 3 * d * d_ff
    # Jiang et al. 2024: of 8 experts a token meets 2; the router has 8 d.
    rest = 2 * 32_000 * d + d
    assert got["params"] == rest + (attention + 8 * expert + 8 * d + 2 * d)
    assert got["active_params"] == rest + (attention + 2 * expert + 8 * d + 2 * d)


def test_vit() -> None:
    got = growth("vit_b_16", "d,patch", 1)
    # Dosovitskiy et al. 2021: an embedding of 3p² by d, a class token, positions of (224 / p)² + 1 tokens.
    tokens = Polynomial(("patch",), {(-2,): 224**2}) + 1
    embedding = 3 * patch * patch * d + d + d + tokens * d
    assert got["params"] == embedding + 12 * d * d + 13 * d + 2 * d + 1000 * (d + 1)


def test_resnet() -> None:
    got = growth("resnet50", "size,base")
    # He et al. 2015, table 1: of each stage 1 × 1, 3 × 3, 1 × 1 with a shortcut in its first block.
    params, macs, place = 149 * base, 147 * base * size * size * _over(4), size * size * _over(16)
    channels = base
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width, out = 2**stage * base, 4 * 2**stage * base
        for block in range(blocks):
            before = place
            if stage and not block:
                place = place * _over(4)
            weights = channels * width, 9 * width * width, width * out
            params += sum(weights, 4 * width + 2 * out)
            # The first 1 × 1 still runs on the larger image.
            macs += weights[0] * before + (weights[1] + weights[2]) * place
            if not block:
                params += channels * out + 2 * out
                macs += channels * out * place
            channels = out
    assert got["params"] == params + channels * 1000 + 1000
    assert got["macs"] == macs + channels * 1000
    assert {one.name: one.step for one in got.ranges}["size"] == 32


def test_lstm() -> None:
    got = growth("lstm", "B,T,d,hidden,depth")
    # Hochreiter and Schmidhuber 1997 as in torch: four gates with two biases; layers above the first read hidden.
    gates = 4 * hidden * (d + hidden) + 4 * hidden * 2 * hidden * (depth - 1)
    assert got["params"] == gates + 8 * hidden * depth
    assert got["macs"] == B * T * gates


def test_transformer() -> None:
    got = growth("transformer_base", "d,d_ff", 1)
    attention, network, norm = 4 * d * d + 4 * d, 2 * d * d_ff + d_ff + d, 2 * d
    # Vaswani et al. 2017: the decoder attends twice, and each part has a norm.
    assert got["params"] == 37_000 * d + (3 * attention + 2 * network + 5 * norm)


def test_the_most_alive_is_the_largest_of_several_steps() -> None:
    got = growth("gpt2", "B,T,d,depth")
    # In a block the stream, its norm and sum, the wide layer of the MLP and its GELU; at the end the logits.
    assert str(got["peak_activations"]) == "8B·T·d + max(201028B·T, 44B·T·d)"
    # With it the weights, and each token as int64.
    assert got["peak_memory"] == got["peak_activations"] + 4 * got["params"] + 8 * B * T


def test_a_var_without_formulas_leaves_them_in_the_others() -> None:
    got = growth("lstm", "B,T")
    assert got["params"] == 5920
    with pytest.raises(InputError, match="d is not varied; the formulas are in B, T"):
        got.check_values({"d": 3})


# --- training steps --------------------------------------------------------------------------------------------------


@cache
def stepped(names: str, depth: int = 0, **settings: object) -> Scaling:
    """GPT-2 on two sequences of 64 tokens."""
    given = {"B": "2", "T": "64", **({"depth": str(depth)} if depth else {})}
    return grow(Target("gpt2", given), names.split(","), held_out=2, training=TrainingSettings.of(settings))


def test_a_training_step_of_gpt2_has_the_formulas_that_its_parts_have() -> None:
    got = stepped("d,depth")
    params = 51_281 * d + depth * (12 * d * d + 13 * d) + 2 * d
    assert got["gradients"] == 4 * params
    # AdamW holds two averages of each parameter, and the number of steps of each tensor: 12 of a block, and 4.
    held = 8 * params + 4 * (12 * depth + 4)
    assert got["optimizer_state"] == held
    # Each float32 of a block once: of d the inputs of two norms, of c_attn and c_fc, q, k and v, and the attention's
    # result, which is c_proj's input: 8; of 4d the inputs of GELU and c_proj. A number a head, and two a norm.
    block = 4 * 128 * ((8 + 2 * 4) * d + 12 + 2 * 2)
    assert next(row for row in got.rows if row.path == "h.0").formulas["saved_bytes"] == block
    # The input of the last norm with two numbers each, that of the product behind it, and the places as int64.
    assert got["saved_activations"] == depth * block + 4 * 128 * (2 * d + 2) + 8 * 64
    # In the optimizer step two of the largest tensor, which is 4d² in an MLP, the logits, the tokens and the loss.
    figure = got.figures["train_memory"]
    assert isinstance(figure.formula, Maximum)
    alive = 8 * params + held + 2 * 4 * 4 * d * d + 4 * 50257 * 128 + 8 * 128 + 4
    assert figure.formula.options[figure.places.index("the optimizer step")] == alive
    # Far from what it was found from, where other operators have the most.
    for at in ({"d": 96, "depth": 3}, {"d": 1536, "depth": 5}):
        report = fwdscope.inspect("gpt2", variables={"B": 2, "T": 64, **at}, training=True, device="meta")
        assert report.training is not None
        assert got(**at)["train_memory"] == report.training.peak_memory


def test_checkpointed_blocks_keep_their_inputs() -> None:
    got = stepped("d", 3, checkpoint="h.*", optimizer="sgd")
    # Of each of three blocks its input; the rest as in the test above.
    assert got["saved_activations"] == 3 * 4 * 128 * d + 4 * 128 * (2 * d + 2) + 8 * 64
    assert got["optimizer_state"] == 0


def test_what_deepseek_keeps_of_a_position_is_its_latent_for_each_sequence() -> None:
    # DeepSeek-AI 2024, table 1: 512 values and a rotated key of 64, in float32 here.
    got = grow(Target("deepseek_v2_lite", {"experts": "2", "top_k": "1", "depth": "1"}), ["B"], held_out=2)
    assert got["kv_cache"] == 4 * (512 + 64) * B


def test_what_many_earlier_positions_keep_has_a_formula_too() -> None:
    # Keys and values of 100 positions, in float32.
    got = grow(Target("gpt2", {"T": "1", "depth": "1"}, past=100), ["B", "d"], held_out=2)
    assert got["kv_cache"] == 100 * 2 * 4 * B * d
    assert got.figures["kv_cache"].title == "KV cache of 100 positions"


_WAVENET = Target("wavenet", {"stacks": "1", "T": "64", "depth": "3"})


@cache
def _small_wavenet() -> Scaling:
    return grow(_WAVENET, ["width", "depth"], held_out=2)


def test_what_wavenet_keeps_has_a_formula_in_all_but_the_number_of_dilations() -> None:
    kept = _small_wavenet().figures["kv_cache"]
    # The inputs of dilations 1, 2 and 4, and one in front of them: 2^depth has no polynomial.
    assert kept.broken == ("depth",)
    assert (kept.formula, kept.fixed) == (4 * 8 * variable("width"), {"depth": 3})


def test_rows_with_formulas_for_one_value_of_a_var_say_so() -> None:
    # What dilations read and write grows as 2^depth: formulas of bytes are those of depth = 3.
    got = _small_wavenet()
    compared, wrong = wrong_figures(got, _WAVENET, 3)
    assert compared
    assert not wrong
    (row,) = (one for one in got.rows if one.path == "layers")
    assert row.formulas["bytes_read"] is not None
    assert row.narrow["bytes_read"] == ("depth = 3",)


@pytest.mark.parametrize(("name", "names"), [("lstm", "B,T,hidden,depth"), ("nerf", "depth,W")])
def test_formulas_are_what_reports_have_at_values_drawn_by_chance(name: str, names: str) -> None:
    # tests/benchmarks/scaling.py does so with all specs, at 20 values each.
    compared, wrong = wrong_figures(growth(name, names), Target(name), 4)
    assert compared > 50
    assert not wrong


# --- models in code --------------------------------------------------------------------------------------------------


def test_vars_of_a_spec_of_a_model_in_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from torch import nn\n\n\n"
        "class Mlp(nn.Sequential):\n    def __init__(self, width, depth):\n"
        "        super().__init__(*(nn.Linear(width, width) for _ in range(depth)), nn.Linear(width, 5))\n"
    )
    (tmp_path / "grown_mlp.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    spec = "vars: {B: 4, width: 8, depth: 3}\ninputs:\n  input: rand(B, width)\n"
    (tmp_path / "grown.yaml").write_text(spec + "model: grown_mlp:Mlp(width=width, depth=depth)\n")
    got = grow(Target(str(tmp_path / "grown.yaml"), allow_import=True), held_out=2)
    width = variable("width")
    assert list(got.base) == ["B", "width", "depth"]
    assert got["params"] == depth * width * (width + 1) + 5 * (width + 1)
    assert got["macs"] == B * width * (depth * width + 5)


def test_settings_of_a_transformers_model() -> None:
    pytest.importorskip("transformers")
    given = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64}
    target = Target("transformers:GPT2LMHeadModel", {"T": "16"}, arguments=given)
    got = grow(target, ["n_embd", "n_layer"], held_out=2)
    d, depth = variable("n_embd"), variable("n_layer")
    # As GPT-2's: two tables, of each block 12d² + 13d, and one norm behind.
    assert got["params"] == (100 + 64) * d + depth * (12 * d * d + 13 * d) + 2 * d
    # What is not given is as its configuration and its inputs have it.
    assert chosen_vars(target, ["T", "B", "n_embd"]) == {"T": 16, "B": 1, "n_embd": 32}
    assert target._replace(arguments={}).own_values(["n_embd", "T"]) == {"n_embd": 768, "T": 16}
    with pytest.raises(InputError, match="n_emb is no size of its inputs, and no setting of its configuration"):
        chosen_vars(target, ["n_emb"])


def test_a_figure_without_a_formula_in_a_var_has_none_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "floor.yaml").write_text(
        "vars: {B: 2, size: 37}\ninputs: {x: 'randn(B, size)'}\nlayers: [Linear(size // 7)]\n"
    )  # fmt: skip
    got = grow(Target(str(tmp_path / "floor.yaml")), ["B", "size"], held_out=2)
    # At 37 five results of 37 products each.
    assert got["macs"] == B * 5 * 37
    assert got.figures["macs"].fixed == {"size": 37}
    assert got(B=3)["macs"] == 3 * 5 * 37
    assert "macs" not in got(size=42)
    assert got.check_values({"size": 42})[0].endswith("a formula for size = 37 alone")
    assert [one.name for one in got.checked] == ["B"]
    assert next(got.off_texts()).startswith("params, MACs, FLOPs, read, written have no formula in size: a polynomial")
    data = got.to_json([{"B": 3}, {"size": 42}])
    assert data["figures"]["macs"]["only"] == {"size": {"from": 37, "to": 37}}
    assert [one["figures"].get("macs") for one in data["at"]] == [3 * 5 * 37, None]
    assert "size" not in render(got, "python").partition("def macs(")[2].partition(")")[0]
    assert "at size = 37" in render(got, "latex")


def test_what_has_formulas_in_few_vars_has_them_at_the_others_own_values(tmp_path: Path) -> None:
    spec = "vars: {B: 2, size: 6, width: 3}\ninputs: {x: 'randn(B, size)'}\nlayers: [Linear(size // 7 + 2 ** width)]\n"
    (tmp_path / "floors.yaml").write_text(spec)
    got = grow(Target(str(tmp_path / "floors.yaml")), ["B", "size", "width"], held_out=2)
    # Neither in size nor, at size = 6, in width: ⌊6 / 7⌋ + 2³ results of 6 products.
    assert got["macs"] == 48 * B
    assert got.figures["macs"].fixed == {"size": 6, "width": 3}


def test_a_formula_that_was_found_in_fewer_vars_holds_where_it_was_checked() -> None:
    shown = VarRange("n", 6, [6, 12, 18], 1, 2, 40)
    listed = VarRange("n", 6, [4, 5, 6], 0, 4, 6, listed=True)
    coarse = VarRange("n", 6, [6, 9, 12], 3, 3, 30)
    for own, right in ((listed, [4, 5, 6]), (coarse, [*range(3, 31, 3)]), (shown, [*range(2, 41)])):
        bounds = narrower_bounds([own], "macs", [shown])
        assert [n for n in shown.choices() if not any(one.excludes(n) for one in bounds)] == right
    (bound,) = narrower_bounds([coarse], "macs", [shown])
    assert bound.text == "n from 3 to 30, multiples of 3"
    assert bound.excludes(torch.tensor([2, 3, 4, 33])).tolist() == [True, False, True, True]
    # As a figure has it, where it has no value.
    figure = ScaledFigure("macs", 12, 2 * variable("n"), bounds=(bound,))
    assert (figure.at({"n": 9}), figure.at({"n": 10})) == (18, None)
    assert figure.limits() == {"n": {"from": 3, "to": 30, "step": 3, "start": 6}}
    # What dominates as n grows is not read off a formula that ends before.
    figure = replace(figure, formula=2 * variable("n") + 51)
    grown = Scaling("x", "float32", {"n": 6}, (shown,), {"macs": figure}, (), 0, 0)
    free = replace(grown, figures={"macs": replace(figure, bounds=())})
    assert [[*one.crossings("macs"), *one.growth_in_words("macs")] for one in (grown, free)] == [
        [],
        ["2n overtakes 51 from n = 26", "as n grows, 2n dominates"],
    ]


def test_a_loop_that_data_decide_is_noted(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(
        "vars: {d: 8}\ninputs: {x: 'randn(2, d)'}\nlayers:\n  - modules: {fc: Linear(d)}\n  - h = fc(x)\n"
        "  - while: h.sum() > 0\n    do:\n      - h = fc(h)\n    limit: 3\n  - h\n"
    )  # fmt: skip
    text = run(str(tmp_path / "loop.yaml"))
    assert "note: line 6: the data decide how often this runs; shown is one round" in text


def test_a_growth_is_short_where_it_is_shown() -> None:
    assert repr(growth("lstm", "B,T")) == "<Scaling of lstm in B, T>"
    with pytest.raises(InputError, match="d is not varied"):
        growth("lstm", "B,T")(d=3)
    with pytest.raises(KeyError, match="mac is no figure; there are params, macs"):
        growth("lstm", "B,T")["mac"]


def test_formulas_take_numbers_as_factors() -> None:
    got, at = growth("gpt2", "B,T,d,depth"), {"B": 1, "T": 64, "d": 768, "depth": 2}
    macs, peak = got["macs"], got["peak_memory"]
    assert (2 * macs / 4)(at) * 2 == macs(at)
    assert (peak / 1024)(at) == Fraction(peak(at), 1024)
    assert (3 * peak - got["params"])(at) == 3 * peak(at) - got["params"](at)
    with pytest.raises(TypeError, match="factors that are numbers from 0 on"):
        peak * -1


def test_the_python_text_takes_arrays() -> None:
    names: dict[str, object] = {}
    got = growth("gpt2", "B,T,d,depth")
    exec(render(got, "python"), names)
    found = names["peak_activations"](T=torch.tensor([64, 4096]), d=torch.tensor([768, 12_288]))  # type: ignore[operator]
    assert found.tolist() == [got["peak_activations"](B=1, T=64, d=768), got["peak_activations"](B=1, T=4096, d=12_288)]


# --- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["scale", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_formulas_terms_rows_and_what_was_checked() -> None:
    text = run("lstm", "--in", "B,T,d,hidden", "--at", "hidden=40", "--at", "d=100000")
    assert "params              5.92 K  = 4·hidden·(3·hidden + d + 4)" in text
    assert "hidden=40" in text
    assert "d=100,000 is beyond what was checked: from 1 to 160" in text
    assert "checked for B from 1 to 48" in text
    # Between its steps a formula may give no whole number.
    text = run("multi_head_attention", "--in", "d", "--at", "d=513")
    assert "d=513 is beyond what was checked: from 8 to 8,192, multiples of 8" in text


def test_the_formats_hold_the_same_formulas() -> None:
    names: dict[str, object] = {}
    exec(run("lstm", "--in", "B,hidden", "--format", "python"), names)
    data = json.loads(run("lstm", "--in", "B,hidden", "--format", "json"))
    assert names["macs"](B=3, hidden=20) == data["figures"]["macs"]["value"]  # type: ignore[operator]
    assert data["figures"]["params"]["terms"] == [
        {"coefficient": "56", "powers": {"hidden": 1}},
        {"coefficient": "12", "powers": {"hidden": 2}},
    ]
    assert r"\text{params} &= 4 \cdot \mathrm{hidden}" in run("lstm", "--in", "B,hidden", "--format", "latex")
    assert "`4·hidden·(3·hidden + 14)`" in run("lstm", "--in", "B,hidden", "--format", "markdown")


def test_a_plot_is_of_the_formula(tmp_path: Path) -> None:
    text = run("lstm", "--in", "B,hidden", "--plot", "hidden")
    # From 4 · 1 · 17 parameters to 4 · 320 · 974.
    assert "1.25 M ┤" in text
    assert "params, both scales logarithmic" in text
    run("lstm", "--in", "B,hidden", "--plot", "hidden", "-o", str(tmp_path / "x.svg"))
    assert "params, both scales" in (tmp_path / "x.svg").read_text().replace("&#160;", " ")


def test_the_command_takes_a_training_step() -> None:
    text = run("lstm", "--in", "B,hidden", "--training", "--optimizer", "sgd")
    # Gradients of 5,920 parameters; after the products T · B · hidden numbers of four gates and two states in each of
    # two layers are kept.
    assert "gradients          23.1 KiB  = 16·hidden·(3·hidden + 14)" in text
    assert "training memory" in text
    assert "--training --optimizer sgd --format python" in text


def test_a_layer_is_explained_in_the_vars_of_its_spec() -> None:
    # Four gates of 20 in two layers on 15 rows, with the biases: as in the paper, above.
    arguments = ["explain", "lstm", "lstm", "--formulas"]
    text = CliRunner().invoke(app, arguments).stdout
    assert "5,920 = 4·hidden·(hidden·(2·depth − 1) + 2·depth + d)" in text
    assert "84,000 = 4B·T·hidden·(hidden·(2·depth − 1) + d)" in text
    data = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    python = {one["figure"]: one["python"] for one in data["formulas"]}
    sizes = {"B": 3, "T": 5, "d": 10, "hidden": 20, "depth": 2}
    assert {name: eval(text, sizes) for name, text in python.items()} == {name: data[name] for name in python}
    assert len(python) == 5
    assert "formulas" not in CliRunner().invoke(app, [*arguments[:3], "--no-formulas"]).stdout


def test_formulas_that_take_long_are_left_out() -> None:
    found = layer_formulas(Target("lstm"), "lstm", 10)
    assert found is None
    with_copies = layer_formulas(Target("gpt2"), "h.5.attn.c_attn", None)
    assert with_copies is not None
    # The same row stands for all blocks; heads, the vocabulary and the number of blocks do not matter.
    assert with_copies.formulas["params"] == 3 * d * d + 3 * d
    assert with_copies.formulas["macs"] == 3 * B * T * d * d


def test_the_page_has_a_chart_of_each_figure_that_a_var_changes(tmp_path: Path) -> None:
    run("lstm", "--in", "B,hidden", "--plot", "hidden", "-o", str(tmp_path / "x.html"))
    packed = re.search(r'id="page-words">([^<]*)<', (tmp_path / "x.html").read_text())
    assert packed is not None
    words = json.loads(zlib.decompress(b64decode(packed[1])))
    assert [one["title"] for one in words["charts"]] == [
        f"{name} against hidden" for name in ("params", "MACs", "peak memory")
    ]
    whole, *terms = words["charts"][0]["lines"]
    # 12h² and 56h add up to the parameters at each size.
    assert [sum(values) for values in zip(*(one["values"] for one in terms), strict=True)] == whole["values"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lstm", "--in", "B", "--optimizer", "sgd"], "--optimizer is of a training step: add --training"),
        (["lstm", "--in", "B", "--training", "--past", "8"], "leave --past out"),
        (["lstm", "--in", "B", "--training", "--optimizer", "sdg"], "there is no optimizer 'sdg'"),
        (["lstm", "--in", "hiden"], "hiden is no var of lstm; did you mean hidden?"),
        (["lstm", "--in", "B", "--at", "T=3"], "T is not varied; the formulas are in B"),
        (["lstm", "--in", "B", "--at", "B=x"], "--at B=x: write a whole number above 0"),
        (["lstm", "--format", "xml"], "unknown format xml"),
        (["lstm", "--in", "B", "--at", "B=1,B=2"], "B is given twice; for several sizes write --at once for each"),
    ],
)
def test_wrong_input_says_what_is_known(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["scale", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_target_without_vars_says_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text("inputs: {x: 'randn(2, 8)'}\nlayers: [Linear(3)]\n")
    with pytest.raises(InputError, match=r"to grow in; name a size in the spec .*`vars: \{B: 1\}`"):
        grow(Target(str(file)))
