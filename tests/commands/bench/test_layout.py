"""The channels-last format of weights and images."""

from __future__ import annotations

import torch

from fwdscope.commands.bench.workload import make_workload
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.run.subject import SpecSubject
from fwdscope.settings import BenchSettings

MIXED = """
inputs: {video: 'randn(1, 3, 4, 8, 8)', image: 'randn(1, 3, 8, 8)'}
layers:
  - v = Conv3d(2, 3)(video)
  - i = Conv2d(2, 3)(image)
  - v.mean() + i
"""


def test_channels_last_converts_images_and_their_weights_but_not_volumes() -> None:
    checked = check(parse(Source("spec.yaml", MIXED)))
    workload = make_workload(SpecSubject(checked), BenchSettings(device="cpu", channels_last=True))
    module, (video, image), _ = workload.ready.call
    assert video.is_contiguous()
    assert image.is_contiguous(memory_format=torch.channels_last)
    weights = dict(module.named_parameters())
    assert weights["v.weight"].is_contiguous()
    assert weights["i.weight"].is_contiguous(memory_format=torch.channels_last)
    assert not weights["i.weight"].is_contiguous()
