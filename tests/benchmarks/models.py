"""Inspect every model of torchvision, timm and transformers that can be imported, and print what fails.

Run by hand: python tests/benchmarks/models.py [torchvision] [timm] [transformers] [--every N] [--kept N] [--only NAME]

Models have random weights; nothing is downloaded. Each is built on the meta device and run there plainly, then by
``fwdscope.inspect``. Held against the model itself and against torch's FlopCounterMode: the number of parameters, the
shapes of the outputs, and the MACs (torch counts products and convolutions, two FLOPs for each MAC). A model that does
not run plainly either is not judged. ``--kept N`` takes N small models on the CPU: run, inspect, run, inspect: outputs
are equal, nothing changed, and both reports are the same.

Needed beside what the tests need: torchvision and timm (``pip install --no-deps timm torchvision``).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import fwdscope
from fwdscope.report import Report

# A model and what it is called with.
Call = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]

# What is known to fail, with the reason. Anything else that fails is a fault.
EXPECTED: dict[str, str] = {}


def torchvision_models() -> Iterator[tuple[str, Callable[[], Call]]]:
    """Every model that ``torchvision.models`` lists, at the size it is made for."""
    with contextlib.suppress(Exception):
        import torchvision_ops  # noqa: F401 - lets torchvision import where its binary does not fit torch
    from torchvision import models

    def make(name: str) -> Call:
        kwargs = {"weights_backbone": None} if "weights_backbone" in name or _is_dense(name) else {}
        model = models.get_model(name, weights=None, **kwargs).eval()
        if name in ("raft_large", "raft_small"):
            return model, (torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)), {}
        if any(word in name for word in ("r3d", "mc3", "r2plus1d", "s3d", "mvit", "swin3d")):
            return model, (torch.zeros(1, 3, 16, 224, 224),), {}
        size = 299 if name.startswith("inception") else 224
        if "rcnn" in name or name.startswith(("retinanet", "fcos", "ssd")):
            return model, ([torch.zeros(3, 320, 320)],), {}
        if name == "vit_h_14" or name == "regnet_y_128gf":
            return model, (torch.zeros(1, 3, 224, 224),), {}
        return model, (torch.zeros(1, 3, size, size),), {}

    for name in models.list_models():
        if not name.startswith("quantized"):
            yield f"torchvision:{name}", lambda name=name: make(name)


def _is_dense(name: str) -> bool:
    dense = ("deeplab", "fcn", "lraspp", "rcnn", "retinanet", "fcos", "ssd")
    return any(word in name for word in dense)


def timm_models() -> Iterator[tuple[str, Callable[[], Call]]]:
    """Every model that timm lists, at the size of its default configuration."""
    import timm

    def make(name: str) -> Call:
        model = timm.create_model(name, pretrained=False).eval()
        return model, (torch.zeros(1, *model.default_cfg["input_size"]),), {}

    for name in timm.list_models():
        yield f"timm:{name}", lambda name=name: make(name)


def transformers_models() -> Iterator[tuple[str, Callable[[], Call]]]:
    """The plain model of every configuration that transformers knows, with few layers and a short input."""
    from transformers import CONFIG_MAPPING, AutoModel

    def make(name: str) -> Call:
        config = CONFIG_MAPPING[name]()
        model = AutoModel.from_config(config).eval()
        return model, (), _inputs(model, config)

    for name in CONFIG_MAPPING:
        yield f"transformers:{name}", lambda name=name: make(name)


def _inputs(model: nn.Module, config: Any) -> dict[str, Any]:
    """What a model of transformers is called with, as its main input's name and its configuration say."""
    main = getattr(model, "main_input_name", "input_ids")
    vision = getattr(config, "vision_config", config)
    ids = torch.ones(1, 16, dtype=torch.long)
    inputs: dict[str, Any] = {}
    if main in ("pixel_values", "pixel_values_videos"):
        size = getattr(vision, "image_size", 224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        channels = getattr(vision, "num_channels", 3)
        frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
        shape = (1, channels, height, width) if frames is None else (1, frames, channels, height, width)
        inputs[main] = torch.zeros(shape)
    elif main == "input_values":
        inputs[main] = torch.zeros(1, 16_000)
    elif main == "input_features":
        length = 2 * getattr(config, "max_source_positions", 500)
        inputs[main] = torch.zeros(1, getattr(config, "num_mel_bins", 80), length)
    else:
        inputs[main] = ids
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = ids
    return inputs


LIBRARIES = {"torchvision": torchvision_models, "timm": timm_models, "transformers": transformers_models}


def on_meta(value: Any) -> Any:
    """Inputs with all tensors on meta."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, list | tuple):
        return type(value)(map(on_meta, value))
    return {name: on_meta(item) for name, item in value.items()} if isinstance(value, dict) else value


def _made_on_meta(make: Callable[[], Call]) -> Call:
    """A model on meta; where its constructor looks at numbers, built on the CPU and moved."""
    try:
        with torch.device("meta"):
            model, args, kwargs = make()
    except (NotImplementedError, RuntimeError):
        model, args, kwargs = make()
    return model.to("meta"), args, kwargs


def judged(make: Callable[[], Call]) -> tuple[str, str]:
    """``ok``, ``not judged`` or ``FAILS``, with the reason."""
    try:
        model, args, kwargs = _made_on_meta(make)
        args, kwargs = on_meta(args), on_meta(kwargs)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(*args, **kwargs)
    except Exception as error:
        return "not judged", f"{type(error).__name__}: {error}"
    try:
        report = fwdscope.inspect(model, *args, **kwargs)
    except Exception as error:
        return "FAILS", f"{type(error).__name__}: {error}"
    return _compared(report, model, counter.get_total_flops())


def _compared(report: Report, model: nn.Module, flops: int) -> tuple[str, str]:
    wrong = []
    parameters = sum({id(p): p.numel() for p in model.parameters()}.values())
    if report.totals.params != parameters:
        wrong.append(f"{report.totals.params:,} parameters for {parameters:,}")
    if report.totals.macs is None or abs(report.totals.macs - flops / 2) > 0.001 * flops:
        wrong.append(f"{report.totals.macs:,} MACs, FlopCounterMode {flops / 2:,.0f}")
    if report.uncounted:
        wrong.append(f"no rule for {', '.join(report.uncounted)}")
    top = sum((row.macs or 0) * row.repeat for row in report.layers if row.depth == 1)
    if report.layers and top != report.totals.macs:
        wrong.append(f"top rows sum to {top:,} MACs, not {report.totals.macs:,}")
    return ("FAILS", "; ".join(wrong)) if wrong else ("ok", "")


def kept(make: Callable[[], Call]) -> tuple[str, str]:
    """Run, inspect, run, inspect on the CPU: nothing may change."""
    try:
        torch.manual_seed(0)
        model, args, kwargs = make()
        if sum(p.numel() for p in model.parameters()) > 60_000_000:
            return "not judged", "too large for the CPU"
        with torch.no_grad():
            before = _tensors(model(*args, **kwargs))
    except Exception as error:
        return "not judged", f"{type(error).__name__}: {error}"
    names = {name: (id(t), t.device) for name, t in model.state_dict(keep_vars=True).items()}
    first = fwdscope.inspect(model, *args, **kwargs)
    with torch.no_grad():
        after = _tensors(model(*args, **kwargs))
    second = fwdscope.inspect(model, *args, **kwargs)
    if len(before) != len(after) or not all(torch.equal(x, y) for x, y in zip(before, after, strict=True)):
        return "FAILS", "the outputs changed"
    if {name: (id(t), t.device) for name, t in model.state_dict(keep_vars=True).items()} != names:
        return "FAILS", "the state changed"
    return ("ok", "") if first.layers == second.layers else ("FAILS", "the second report differs from the first")


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, list | tuple) else []


def main() -> None:
    """Go over the models that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("libraries", nargs="*", help="torchvision, timm, transformers; all where none is named")
    parser.add_argument("--every", type=int, default=1, help="take every n-th model")
    parser.add_argument("--kept", type=int, default=0, help="so many models: run, inspect, run, inspect")
    parser.add_argument("--only", default="", help="models whose name holds this")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    counts: dict[str, int] = {}
    start = time.perf_counter()
    for library in asked.libraries or LIBRARIES:
        models = [model for model in LIBRARIES[library]() if asked.only in model[0]]
        step = max(1, len(models) * len(asked.libraries or LIBRARIES) // asked.kept) if asked.kept else asked.every
        for name, make in models[::step]:
            verdict, reason = (kept if asked.kept else judged)(make)
            if verdict == "FAILS" and name in EXPECTED:
                verdict, reason = "expected", EXPECTED[name]
            counts[verdict] = counts.get(verdict, 0) + 1
            if verdict != "ok":
                print(f"{verdict:<10} {name}: {' '.join(reason.split())[:200]}", flush=True)
    print("  ".join(f"{count} {verdict}" for verdict, count in counts.items()), f" {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
