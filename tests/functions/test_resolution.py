"""What functions and methods stand for: of tensors, of plain numbers, and ours."""

import inspect
import math
from typing import Any

import pytest
import torch
from torch import nn

from fwdscope.errors import LayerError
from fwdscope.functions import own_functions
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.resolution import attribute, dtype_of, implementation, method


def run(name: str, *args: Any, **kwargs: Any) -> Any:
    return implementation(FUNCTIONS[name])(*args, **kwargs)


@pytest.mark.core
def test_numbers_are_computed_by_python_and_tensors_by_torch() -> None:
    x = torch.tensor([1.0, 4.0])
    assert run("sqrt", 4) == 2.0
    assert type(run("sqrt", 4)) is float
    assert torch.equal(run("sqrt", x), torch.tensor([1.0, 2.0]))
    assert (run("max", 1, 8 // 4), run("max", [3, 5]), run("round", 2.5), run("floor", 2.7)) == (2, 5, 2, 2)
    assert run("max", x).item() == 4
    assert run("max", x, dim=0).indices.item() == 1
    assert run("abs", -3) == 3
    assert run("any", [False, 0]) is False
    assert torch.equal(run("round", torch.tensor([0.5, 1.5])), torch.tensor([0.0, 2.0]))


def test_the_sum_of_a_list_of_tensors_adds_one_to_the_next_and_no_zero() -> None:
    added: list[str] = []

    class Count(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            added.append(str(func))
            return func(*args, **(kwargs or {}))

    x = torch.ones(2)
    with Count():
        total = run("sum", [x, x, x])
    assert torch.equal(total, torch.tensor([3.0, 3.0]))
    assert added == ["aten.add.Tensor"] * 2


@pytest.mark.parametrize(
    ("name", "help"),
    [("int", "x.long()"), ("float", "x.float()"), ("bool", "where(condition, a, b)"), ("str", "x.shape")],
)
def test_a_number_is_not_made_of_a_tensor(name: str, help: str) -> None:
    with pytest.raises(LayerError, match="leaves the graph") as caught:
        run(name, torch.ones(1))
    assert help in str(caught.value.help)


def test_python_functions_give_lists_that_may_be_read_twice() -> None:
    assert run("zip", (1, 2), "ab") == [(1, "a"), (2, "b")]
    assert run("enumerate", ["a"], start=3) == [(3, "a")]
    assert run("reversed", (1, 2, 3)) == [3, 2, 1]
    assert run("sorted", (2, 3, 1), reverse=True) == [3, 2, 1]
    assert [tuple(row.shape) for row in run("list", torch.ones(2, 3))] == [(3,), (3,)]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("range", (1_000_001,)),
        ("range", (10**30,)),
        ("list", (torch.empty(2_000_000, device="meta"),)),
        ("zip", (torch.empty(2_000_000, device="meta"), [1])),
        ("unbind", (torch.empty(10**12, device="meta"),)),
        ("split", (torch.empty(10**12, device="meta"), 2)),
        ("chunk", (torch.empty(10**12, device="meta"), 10**9)),
        ("tensor_split", (torch.empty(3, device="meta"), 10**9)),
    ],
)
def test_what_would_be_too_long_a_list_is_refused_before_it_is_made(name: str, args: tuple[Any, ...]) -> None:
    # Of tensors fewer: making a million takes ten seconds.
    most = "1_000_000" if name == "range" else "10_000"
    with pytest.raises(LayerError, match=f"beyond the limit of {most}$"):
        run(name, *args)


def test_methods_that_cut_are_bounded_as_the_functions_are() -> None:
    long = torch.empty(4, 10**12, device="meta")
    with pytest.raises(LayerError, match="beyond the limit"):
        method(METHODS["split"])(long, split_size=3, dim=1)
    assert len(method(METHODS["split"])(long, 3)) == 2
    assert len(method(METHODS["chunk"])(long, 10**9)) == 4


def test_powers_and_products_of_numbers_stay_small() -> None:
    assert (run("pow", 2, 10), run("pow", 2.0, -0.5), run("prod", [2, 3])) == (1024, 2**-0.5, 6)
    with pytest.raises(LayerError, match="exponent 65 is beyond the limit of 64"):
        run("pow", 10, 65)
    with pytest.raises(LayerError, match=r"not below 2\^63"):
        run("prod", [2**32, 2**32])


def test_to_casts_and_moves_nowhere() -> None:
    to = method(METHODS["to"])
    x = torch.ones(2)
    assert to(x, torch.float16).dtype is torch.float16
    assert to(x, torch.ones(1, dtype=torch.int64)).dtype is torch.int64
    with pytest.raises(LayerError, match="takes a dtype, found 'cuda'"):
        to(x, "cuda")


def test_attributes_of_tensors() -> None:
    x = torch.ones(2, 3, dtype=torch.complex64)
    found = {name: attribute(entry, x) for name, entry in ATTRIBUTES.items()}
    assert {name: entry.gives == "tensor" for name, entry in ATTRIBUTES.items()} == {
        name: isinstance(value, torch.Tensor) for name, value in found.items()
    }
    assert found["shape"] == (2, 3)
    assert found["mT"].shape == (3, 2)
    with pytest.raises(LayerError, match="T transposes a matrix, found 3 dimensions"):
        attribute(ATTRIBUTES["T"], torch.ones(1, 2, 3))


def test_names_of_dtypes_are_torchs_own() -> None:
    # ``float`` is torch.float, which is float32, where Python's float would be float64.
    assert dtype_of("float") is torch.float
    assert {name: dtype_of(name) for name in DTYPES} == {name: getattr(torch, name) for name in DTYPES}
    assert all(math.isfinite(CONSTANTS[name]) for name in ("pi", "e"))


# --- ours ------------------------------------------------------------------------------------------------------------


def test_sinusoidal_is_the_formula_of_the_transformer() -> None:
    table = run("sinusoidal", 50, 6)
    assert table.shape == (50, 6)
    for t in (0, 7, 49):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)  # Vaswani et al. 2017, section 3.5
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoidal_wants_an_even_dim() -> None:
    with pytest.raises(LayerError, match="dim must be even, since features form pairs; found 7") as caught:
        run("sinusoidal", 4, 7)
    assert caught.value.help == "6 and 8 would fit"


@pytest.mark.parametrize(("theta", "offset"), [(10_000, 0), (500_000, 0), (10_000, 17)])
def test_rope_turns_as_transformers_llama_does(theta: float, offset: int) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    # head_dim = 64 / 4 = 16
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_theta=float(theta))
    q, k = torch.randn(2, 2, 4, 9, 16)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(offset, offset + 9)[None])
    for ours, theirs in zip((q, k), apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(run("rope", ours, theta=theta, offset=offset), theirs, atol=1e-6, rtol=0)


def test_rope_keeps_lengths_and_sees_only_distances() -> None:
    q, k = torch.randn(2, 1, 8).double()
    turned = [[run("rope", x, offset=t) for t in (0, 3, 5)] for x in (q, k)]
    torch.testing.assert_close(turned[0][1].norm(), q.norm())
    # ⟨R₃q, R₅k⟩ = ⟨R₀q, R₂k⟩: the score depends on 5 − 3 alone (Su et al. 2021).
    torch.testing.assert_close(
        (turned[0][1] * turned[1][2]).sum(), (q * run("rope", k, offset=2)).sum(), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(4), r"expects an input of shape \(…, T, head_dim\), found \(4,\)"),
        (torch.ones(2, 3), "head_dim must be even"),
        (torch.ones(2, 4, dtype=torch.int64), "floating-point numbers, found int64"),
    ],
)
def test_rope_says_what_does_not_fit(x: torch.Tensor, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        run("rope", x)


def test_rope_keeps_half_precision() -> None:
    assert run("rope", torch.ones(3, 4, dtype=torch.bfloat16)).dtype is torch.bfloat16


@pytest.mark.core
def test_causal_mask_is_true_where_attention_may_look() -> None:
    assert run("causal_mask", 3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    q = torch.randn(1, 2, 5, 4)
    masked = nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=run("causal_mask", 5))
    torch.testing.assert_close(masked, nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True))


def test_multihead_attention_reads_a_mask_the_other_way_round_and_the_page_says_so() -> None:
    x, layer = torch.randn(1, 5, 8), nn.MultiheadAttention(8, 2, batch_first=True).eval()
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    expected = layer(x, x, x, attn_mask=causal)[0]
    torch.testing.assert_close(layer(x, x, x, attn_mask=~run("causal_mask", 5))[0], expected)
    assert "~causal_mask(T)" in FUNCTIONS["causal_mask"].doc
    assert "MultiheadAttention" in str(inspect.getdoc(own_functions.causal_mask))
