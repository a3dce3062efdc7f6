"""``bench --vs`` by layer, and from Python: :func:`fwdscope.versus`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from known_peaks import remember_peaks
from torch import nn

import fwdscope
from fwdscope.commands.bench.request import modules_in_turn
from fwdscope.render import versus as drawing
from fwdscope.report.versus import LayerTurns, Versus
from fwdscope.settings import BenchSettings


@pytest.fixture(autouse=True)
def _peaks(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(remember_peaks(tmp_path_factory.mktemp("cache"))))


def turns(first: float, second: float, passes: int = 20, noise: float = 0.0) -> LayerTurns:
    """Both vary by a tenth of a percent."""
    times = [(first * (1 + i / 1000 / passes), second * (1 + i / 1000 / passes)) for i in range(passes)]
    return LayerTurns(("a", "a"), "Linear", tuple(times), noise)


@pytest.mark.core
def test_a_layer_differs_beyond_noise_and_one_percent_or_not() -> None:
    assert turns(1.0, 1.1).answer(1) == "slower"
    assert turns(1.0, 0.9).answer(1) == "faster"
    # 0.5 % is within what two copies of one layer differ by.
    assert turns(1.0, 1.005).answer(1) == "cannot tell"
    assert turns(1.0, 1.1, noise=0.2).answer(1) == "cannot tell"
    # A layer that one side alone has.
    assert turns(0.0, 1.0).answer(1) == "slower"


def test_many_layers_need_more_passes() -> None:
    # All n passes on one side: 2 / 2ⁿ is below 1 % from n = 8 on, and below 1 % of a hundredth from n = 15 on.
    assert [turns(1.0, 2.0, n).answer(1) for n in (7, 8)] == ["cannot tell", "slower"]
    assert [turns(1.0, 2.0, n).answer(100) for n in (14, 15)] == ["cannot tell", "slower"]


class Net(nn.Module):
    """A wide layer, a narrow one, and perhaps a further one."""

    def __init__(self, width: int, more: bool = False) -> None:
        super().__init__()
        self.wide = nn.Linear(256, width)
        self.narrow = nn.Linear(width, 8)
        self.more = nn.Sequential(nn.Linear(8, 2048), nn.Tanh()) if more else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.narrow(self.wide(x))
        return x if self.more is None else self.more(x)


@pytest.fixture(scope="module")
def found() -> Versus:
    settings = BenchSettings(device="cpu", threads=1, warmup=1, repeats=20)
    return modules_in_turn((Net(64), Net(2048, more=True)), (torch.randn(16, 256),), {}, settings, ())


def test_two_modules_are_compared_in_all_and_by_layer(found: Versus) -> None:
    assert found.labels == ("Net", "Net")
    assert found.speedup is not None
    assert found.speedup.answer == "slower"
    by_path = {one.paths: one for one in found.layers}
    # 32 times the products; and what A does not have takes no time there.
    assert by_path["wide", "wide"].answer(len(by_path)) == "slower"
    (alone,) = (one for one in found.layers if one.paths[0] is None and one.paths[1] == "more.0")
    assert alone.medians[0] == 0 < alone.medians[1]
    assert all(row.latency is not None for report in found.reports for row in report.layers)


def test_the_comparison_is_kept_and_drawn_with_its_layers(found: Versus) -> None:
    again = Versus.from_json(json.loads(found.dumps()))
    assert again.layers == found.layers
    # A comparison of before layers were timed is read too.
    assert Versus.from_json({k: v for k, v in json.loads(found.dumps()).items() if k != "layers"}).layers == ()
    text = drawing.draw(found, 100)
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["wide"])
    assert line.endswith("more")
    (line,) = (line for line in text.splitlines() if line.split()[:1] == ["more.0"])
    assert line.split()[2] == "—", "A has none"
    assert any(text.startswith("wide is slower in B") for text in drawing.messages(found))
    assert "wide" in found._repr_html_()
    assert found.to_html().startswith("<!doctype html>")
    assert "layers 0 shows all" in drawing.draw(found, 100, layers=1)
    assert "wide" not in drawing.draw(found, 100, layers=0)
    few = replace(found, layers=tuple(replace(one, passes=one.passes[:3]) for one in found.layers))
    assert "too few passes to compare layers" in drawing.draw(few, 100)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(found: Versus, width: int) -> None:
    long = replace(found.layers[0], paths=("a.long.path" * 9, "another.long.path" * 9), passes=((1.0, 2.0),) * 20)
    for line in drawing.draw(replace(found, layers=(long, *found.layers)), width).splitlines():
        assert len(line) <= width, line


def test_a_spec_is_compared_with_itself_changed(tmp_path: Path) -> None:
    found = fwdscope.versus("mlp_mnist", changes={"hidden": 1024}, device="cpu", layers=False, budget=0.1)
    assert found.labels == ("mlp_mnist", "mlp_mnist, hidden=1024")
    assert found.layers == ()
    module, x = nn.Linear(4, 4), torch.ones(1, 4)
    changed = fwdscope.versus(
        module, None, x, changes={"dtype": "bf16", "channels-last": False}, layers=False, budget=0.1
    )
    assert [report.run.dtype for report in changed.reports if report.run] == ["float32", "bfloat16"]
    with pytest.raises(fwdscope.InputError, match="a module has no vars"):
        fwdscope.versus(module, None, x, changes={"hidden": 3})
    with pytest.raises(fwdscope.InputError, match="changes: threads=0"):
        fwdscope.versus(module, None, x, changes={"threads": 0})
    with pytest.raises(TypeError, match="both are paths"):
        fwdscope.versus(module, "mlp_mnist", x)
