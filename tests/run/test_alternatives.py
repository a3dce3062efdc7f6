"""Training steps that hold less, against the same steps worked out by themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

import fwdscope
from fwdscope.findings import findings
from fwdscope.inspection import inspect_target
from fwdscope.report import LayerRow, Report
from fwdscope.run.alternatives import repeated_blocks
from fwdscope.settings import RunSettings, TrainingSettings
from fwdscope.targets import Target


@pytest.fixture(scope="module")
def report() -> Report:
    return fwdscope.inspect("resnet18", variables={"B": 8}, training=True)


@pytest.mark.parametrize("optimizer", ["adafactor", "momentum", "sgd"])
def test_another_optimizer_holds_what_its_own_step_does(report: Report, optimizer: str) -> None:
    assert report.training is not None
    found = next(one for one in report.training.alternatives if one.option == f"--optimizer {optimizer}")
    step = inspect_target(Target("resnet18", {"B": "8"}), RunSettings(training=TrainingSettings(optimizer=optimizer)))
    other = step[0].training
    assert other is not None
    assert not other.alternatives
    assert (found.peak_memory, found.saved_bytes, found.flops) == (other.peak_memory, other.saved_bytes, other.flops)


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("--checkpoint 'layer?.*'", TrainingSettings(checkpoint=("layer?.*",))),
        ("--autocast bf16", TrainingSettings(autocast="bfloat16")),
    ],
)
def test_less_saved_holds_and_costs_what_its_own_step_does(
    report: Report, option: str, settings: TrainingSettings
) -> None:
    assert report.training is not None
    (found,) = (one for one in report.training.alternatives if one.option == option)
    other = inspect_target(Target("resnet18", {"B": "8"}), RunSettings(training=settings))[0].training
    assert other is not None
    assert (found.peak_memory, found.saved_bytes, found.flops) == (other.peak_memory, other.saved_bytes, other.flops)
    assert found.peak_memory < report.training.peak_memory


def test_findings_name_what_holds_less(report: Report) -> None:
    advice = {finding.advice: finding.text for finding in findings(report)}
    assert advice["--checkpoint 'layer?.*'"].startswith("checkpointing the blocks keeps")
    assert advice["--autocast bf16"].startswith("autocast to bfloat16 keeps")
    # Two numbers a parameter for AdamW, of 46.8 MB each.
    assert "with sgd" in advice["--optimizer NAME"]


def test_a_small_step_is_not_tried_again() -> None:
    step = fwdscope.inspect("mnist_cnn", variables={"B": 1}, training=True).training
    assert step is not None
    assert step.alternatives == ()


def test_blocks_of_alike_stacks_have_one_pattern(report: Report) -> None:
    assert repeated_blocks(report) == ("layer?.*",)
    # Stages in a Sequential, with a block between each two: the blocks in them, not whole stages.
    assert repeated_blocks(fwdscope.inspect("convnext_tiny", training=True)) == ("features.?.*",)

    def renamed(row: LayerRow) -> LayerRow:
        stages = {"layer1": "stem", "layer2": "body", "layer3": "neck", "layer4": "head"}
        first, _, rest = row.path.partition(".")
        return replace(row, path=f"{stages.get(first, first)}.{rest}".rstrip("."))

    other = replace(report, layers=tuple(map(renamed, report.layers)))
    assert repeated_blocks(other) == ("stem.*", "body.*", "neck.*", "head.*")
