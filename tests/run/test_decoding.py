"""A step of generation that runs: with real tensors for earlier positions, by the rule that counts them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

import fwdscope
from fwdscope.errors import InputError
from fwdscope.inspection import make_subject
from fwdscope.run.decoding import _write, with_buffers, with_own_cache
from fwdscope.run.subject import ModuleSubject, Subject
from fwdscope.targets import Target

CPU = torch.device("cpu")
PAST = 6


class Attention(nn.Module):
    """Attention of four heads of 8 that share two of keys and values, written in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.q, self.kv, self.latent = way, nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 6)
        self.up = nn.Linear(6, 64)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).unflatten(-1, (4, 8)).transpose(1, 2)
        if self.way == "latent":
            k, v = self.up(self.latent(x)).unflatten(-1, (4, 16)).transpose(1, 2).chunk(2, -1)
        else:
            k, v = self.kv(x).unflatten(-1, (4, 8)).transpose(1, 2).chunk(2, 1)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        if self.way in ("causal", "latent"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.way == "causal")
        elif self.way == "mask":
            y = F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        else:
            if self.way == "interleaved":
                k, v = (t.repeat_interleave(2, 1) for t in (k, v))
            else:
                k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).reshape(t.shape[0], 4, -1, 8) for t in (k, v))
            scores = q @ k.mT / 8**0.5
            hidden = torch.zeros(mask.shape).masked_fill(~mask, -1e9)
            y = torch.softmax(scores + hidden, -1) @ v
        return y.transpose(1, 2).flatten(2)


def step_of(subject: Subject) -> tuple[fx.GraphModule, tuple[Tensor, ...]]:
    with subject.placed(CPU, 0, {}, False) as call, torch.no_grad():
        return with_buffers(subject, call)


def places_of(step: fx.GraphModule) -> list[Tensor]:
    """Where a step writes its new keys and values, in each of its buffers behind PAST positions."""
    return [getattr(step, node.args[1].target) for node in step.graph.nodes if node.target is _write]


@pytest.mark.parametrize("way", ["causal", "mask", "latent", "interleaved", "expanded"])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (2, 1), (2, 3)])
def test_a_step_gives_what_a_forward_over_all_positions_gives(way: str, batch: int, length: int) -> None:
    module, x = Attention(way).eval(), torch.randn(batch, PAST + length, 32)
    with torch.no_grad():
        whole = module(x)
        step, given = step_of(ModuleSubject((module, (x[:, PAST:],), {}), past=PAST))
        assert len(given) == 1
        places = places_of(step)
        assert len(places) >= (1 if way == "latent" else 2)
        for at in range(0, PAST, length):
            before = [place.clone() for place in places]
            step(x[:, at : at + length].contiguous())
            for place, old in zip(places, before, strict=True):
                if not torch.equal(place, old):  # it is no mask
                    size = place.storage_offset() // PAST  # of one position
                    place.as_strided(place.shape, place.stride(), at * size).copy_(place)
        (last,) = step(x[:, PAST:].contiguous())
    assert torch.allclose(last, whole[:, PAST:], atol=1e-5)


LLAMA = {"d": "64", "heads": "4", "kv_heads": "2", "depth": "2", "d_ff": "128", "vocab": "100", "T": "1"}


def test_a_specs_step_has_the_tensors_that_its_report_counts() -> None:
    subject = make_subject(Target("llama3_8b", LLAMA, past=PAST))
    step, given = step_of(subject)
    assert [tuple(one.shape) for one in given] == [(1, 1)]
    with torch.no_grad():
        (tokens,) = step(*given)
    assert tokens.shape == (1, 1, 100)
    # Keys and values of 2 layers lie in buffers of their own, of one position more.
    buffers = {id(place.untyped_storage()): place.untyped_storage().nbytes() for place in places_of(step)}
    assert sum(buffers.values()) == (subject.report().totals.kv_cache or 0) // PAST * (PAST + 1)
    # Every operator that takes time is of a row of the report.
    steps = {node.step for node in subject.trace.root.nodes()}
    assert all(
        node.meta["step"] in steps for node in step.graph.nodes if node.op == "call_function" and "step" in node.meta
    )


RECURRENT = """
name: recurrent
vars: {B: 2, T: 1, d: 8}
inputs: {x: "randn(B, T, d)"}
layers:
  - conv = Conv1d(d, 3, padding=4, dilation=2)(x.mT)[..., :T]
  - padded = Conv1d(d, 2)(pad(conv, (1, 0))).mT
  - shifted = padded + pad(padded, (0, 0, 1, -1))
  - modules: {mix: Linear(d)}
  - h, ys = zeros(B, d), []
  - for: t in range(T)
    do:
      - h = tanh(mix(cat([shifted[:, t], h], 1)))
      - ys = ys + [h]
  - (stack(ys, 1), h)
"""


def test_steps_of_a_recurrence_give_what_a_forward_over_all_positions_gives(tmp_path: Path) -> None:
    spec = tmp_path / "recurrent.yaml"
    spec.write_text(RECURRENT)
    subject = make_subject(Target(str(spec), past=PAST))
    # 4 inputs behind the dilated convolution, 1 behind the other, 1 of the shift, and the state: all of 8 channels.
    assert subject.report().totals.kv_cache == 2 * 8 * (4 + 1 + 1 + 1) * 4
    x = torch.randn(2, PAST + 2, 8)
    with subject.placed(CPU, 0, {}, False) as call, torch.no_grad():
        step, _ = with_buffers(subject, call)
        weights = call.module.state_dict()
        windows = [getattr(step, node.args[0].target) for node in step.graph.nodes if node.target is _write]
        state = next(one for one in step.buffers() if tuple(one.shape) == (2, 8) and not isinstance(one, nn.Parameter))
        for one in (*windows, state):
            one.zero_()
        found = []
        for t in range(PAST + 2):
            y, h = step(x[:, t : t + 1])
            found.append(y)
            state.copy_(h)
            for one in windows:
                dim = 1 if one.shape[-1] == 8 else 2
                one.copy_(one.roll(-1, dim))
    whole = make_subject(Target(str(spec), {"T": str(PAST + 2)}))
    with whole.placed(CPU, 0, weights, False) as call, torch.no_grad():
        assert torch.allclose(torch.cat(found, 1), call.module(x)[0], atol=1e-5)


def test_what_an_encoder_decides_does_not_run_in_a_step() -> None:
    sizes = {"depth": "1", "vocab": "100", "T": "1", "S": "5"}
    subject = make_subject(Target("t5_small", sizes, past=PAST))
    with subject.placed(CPU, 0, {}, False) as call, torch.no_grad():
        step, given = with_buffers(subject, call)
        whole = call.module(*given)
        result = step(*given)[0]
    products = [node for node in step.graph.nodes if "mm" in str(node.target)]
    # Of the decoder: q, k, v, o of its own attention, q and o of the other, two in its feed-forward, and the head.
    assert len(products) == 4 + 2 + 2 + 1
    assert result.shape == whole.shape


def test_a_networks_own_cache_is_as_long_before_every_step() -> None:
    transformers = pytest.importorskip("transformers")
    del transformers
    small = {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": 100,
        "num_key_value_heads": 2,
    }
    subject = make_subject(Target("transformers:llama", arguments={**small, "intermediate_size": 128}, past=PAST))
    with subject.placed(CPU, 0, {}, False) as call, torch.no_grad():
        call = with_own_cache(call)
        cache = call.kwargs["cache"]
        for _ in range(3):
            call.module(**call.kwargs)
            assert cache.layers[0].keys.shape == (1, 2, PAST + 1, 16)


def test_a_network_that_keeps_nothing_is_not_measured_with_past() -> None:
    with pytest.raises(InputError, match="--past: resnet18 keeps nothing of earlier positions"):
        fwdscope.bench("resnet18", past=PAST, device="cpu")
