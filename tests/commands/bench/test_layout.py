"""Channels last: of weights and images, and of nothing that has no such format."""

from __future__ import annotations

import torch

from fwdscope.commands.bench.subject import subject_of_spec
from fwdscope.language.check import check
from fwdscope.language.parser import parse
from fwdscope.language.problems import Source
from fwdscope.settings import BenchSettings

MIXED = """
inputs: {video: 'randn(1, 3, 4, 8, 8)', image: 'randn(1, 3, 8, 8)'}
layers:
  - v = Conv3d(2, 3)(video)
  - i = Conv2d(2, 3)(image)
  - v.mean() + i
"""


def test_images_and_their_weights_have_their_channels_last_and_volumes_stay_as_they_are() -> None:
    checked = check(parse(Source("spec.yaml", MIXED)))
    subject = subject_of_spec(checked, {}, BenchSettings(device="cpu", channels_last=True))
    video, image = subject.args
    assert video.is_contiguous()
    assert image.is_contiguous(memory_format=torch.channels_last)
    weights = dict(subject.module.named_parameters())
    assert weights["v.weight"].is_contiguous()
    assert weights["i.weight"].is_contiguous(memory_format=torch.channels_last)
    assert not weights["i.weight"].is_contiguous()
