"""Inspect every model of torchvision, timm and transformers that can be imported, and print what fails.

Run by hand: python tests/benchmarks/models.py [torchvision] [timm] [transformers] [--families] [--every N]
[--only NAME] [--kept N] [--state FILE] [--again]

Models have random weights; nothing is downloaded. Each is built on the meta device and run there plainly, then by
``fwdscope.inspect``. A model that does not run there plainly is built on the CPU, with few layers if its configuration
can be told so, and run there plainly and by ``fwdscope.inspect``, which then decides where. Held against the model
itself and against torch's FLOP counter: the number of parameters, and the MACs (torch counts products and
convolutions, two FLOPs for each MAC). A model that runs plainly with no inputs that are tried is not judged.

``--kept N`` takes N small models on the CPU: run, inspect, run, inspect: outputs are equal, nothing changed, and both
reports are the same. ``--families`` takes one model of each file of timm. With ``--state FILE`` verdicts are kept in a
file, and the models that have one are passed over; ``--again`` only those that are ok.

Needed beside what the tests need: torchvision and timm (``pip install --no-deps timm torchvision pillow``).

With torch 2.13, torchvision 0.29.1, timm 1.0.31 and transformers 5.24 nothing fails: all 121 models of torchvision
and all 1,371 of timm are right, and of 822 types of transformers 647 are; 73 are not built, 102 not judged. Not built
are those whose default configuration lacks something, or that have no model of their own; not judged those that need
inputs which no other has, or are too large for the CPU. ``--kept 110`` finds 77 as they were; 40 are too large or not
run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parents[2]))

with contextlib.suppress(RuntimeError):
    import torchvision_ops  # noqa: F401 - lets torchvision import where its binary does not fit torch
from guessed_inputs import guesses, parts

import fwdscope
from fwdscope.report import Report

# Positional and keyword inputs.
Inputs = tuple[tuple[Any, ...], dict[str, Any]]
# A model, and inputs that it may be called with.
Call = tuple[nn.Module, list[Inputs]]
# Makes a model, with few layers if it can and is asked to.
Make = Callable[[bool], Call]

# What is known to fail, with the reason. Anything else that fails is a fault.
EXPECTED: dict[str, str] = {}

SECONDS_PER_MODEL = 240
# FLOPs, from shapes, of what torch's FLOP counter leaves out: attention and recurrent layers as the CPU runs them, and
# products by groups.
LEFT_OUT = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten.mkldnn_rnn_layer: lambda x, w, v, *_, **__: 2 * math.prod(x[:-1]) * (math.prod(w) + math.prod(v)),
    torch.ops.aten._grouped_mm: lambda x, w, *_, **__: 2 * math.prod(x) * w[-1],
}
MAX_ON_CPU = 400_000_000


def torchvision_models(families: bool) -> Iterator[tuple[str, Make]]:
    """Every model that ``torchvision.models`` lists, at the size it is made for."""
    from torchvision import models

    _run_torchvisions_operators()

    def make(name: str) -> Call:
        kwargs = {"weights_backbone": None} if "weights_backbone" in name or _is_dense(name) else {}
        model = models.get_model(name, weights=None, **kwargs).eval()
        return model, [(_torchvision_inputs(name), {})]

    for name in models.list_models():
        yield f"torchvision:{name}", lambda small, name=name: make(name)


def _run_torchvisions_operators() -> None:
    """Where torchvision's binary does not fit torch, run its operators in Python."""
    from torchvision import extension
    from torchvision.ops.roi_align import _roi_align

    if extension._has_ops():
        return
    extension._has_ops = lambda: True
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.impl("nms", _nms, "CPU")
    library.impl("roi_align", _roi_align, "CPU")
    KEPT.append(library)


# Libraries of operators, which are gone when nothing holds them.
KEPT: list[Any] = []


def _nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for i in scores.argsort(descending=True).tolist():
        others = boxes[kept]
        sides = torch.minimum(others[:, 2:], boxes[i, 2:]) - torch.maximum(others[:, :2], boxes[i, :2])
        shared = sides.clamp(min=0).prod(1)
        if not (shared / (areas[kept] + areas[i] - shared) > threshold).any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


def _is_dense(name: str) -> bool:
    dense = ("deeplab", "fcn", "lraspp", "rcnn", "retinanet", "fcos", "ssd")
    return any(word in name for word in dense)


def _torchvision_inputs(name: str) -> tuple[Any, ...]:
    if name in ("raft_large", "raft_small"):
        return torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)
    if any(word in name for word in ("r3d", "mc3", "r2plus1d", "s3d", "mvit", "swin3d")):
        return (torch.zeros(1, 3, 16, 224, 224),)
    if "rcnn" in name or name.startswith(("retinanet", "fcos", "ssd")):
        return ([torch.zeros(3, 320, 320)],)
    size = 299 if "inception" in name else 224
    return (torch.zeros(1, 3, size, size),)


def timm_models(families: bool) -> Iterator[tuple[str, Make]]:
    """Every model that timm lists, at the size of its default configuration; of each family the first."""
    import timm

    def make(name: str) -> Call:
        model = timm.create_model(name, pretrained=False).eval()
        return model, [((torch.zeros(1, *model.default_cfg["input_size"]),), {})]

    names = timm.list_models()
    if families:
        names = [
            timm.list_models(module=module)[0] for module in timm.list_modules() if timm.list_models(module=module)
        ]
    for name in names:
        yield f"timm:{name}", lambda small, name=name: make(name)


def transformers_models(families: bool) -> Iterator[tuple[str, Make]]:
    """The plain model of every configuration that transformers knows, or where it has none the first with a head."""
    from transformers import CONFIG_MAPPING

    def make(name: str, small: bool) -> Call:
        config = CONFIG_MAPPING[name]()
        if small:
            _make_small(config)
        model = _transformers_class(config)._from_config(config).eval()
        return model, [((), inputs) for inputs in guesses(model, config)]

    for name in CONFIG_MAPPING:
        yield f"transformers:{name}", lambda small, name=name: make(name, small)


def _transformers_class(config: Any) -> Any:
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    mappings = [auto.MODEL_MAPPING] + [getattr(auto, n) for n in dir(auto) if n.startswith("MODEL_FOR_")]
    for mapping in mappings:
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    written = importlib.import_module(type(config).__module__.replace("configuration_", "modeling_"))
    for name, found in vars(written).items():
        if getattr(found, "config_class", None) is type(config) and not name.endswith("PreTrainedModel"):
            return found
    raise LookupError(f"no model for {type(config).__name__}")


def _make_small(config: Any) -> None:
    """Two narrow layers and few words, wherever a configuration names their number."""
    for part in parts(config):
        for name, value in list(vars(part).items()):
            if type(value) is int and name.endswith(("_layers", "n_layer", "depth")) and not name.startswith("num_mtp"):
                vars(part)[name] = min(value, 2)
            elif isinstance(value, list) and name in ("layer_types", "mlp_layer_types"):
                vars(part)[name] = value[-2:]
            elif type(value) is int and name.endswith(("intermediate_size", "ffn_dim", "d_ff")):
                vars(part)[name] = min(value, 512)
            elif name == "vocab_size" and type(value) is int:
                vars(part)[name] = min(value, 4096)
            elif name.endswith("_token_id") and type(value) is int and value >= 4096:
                vars(part)[name] = 4095


LIBRARIES = {"torchvision": torchvision_models, "timm": timm_models, "transformers": transformers_models}


def on_meta(value: Any) -> Any:
    """Inputs with all tensors on meta."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, list | tuple):
        return type(value)(map(on_meta, value))
    return {name: on_meta(item) for name, item in value.items()} if isinstance(value, dict) else value


def _made_on_meta(make: Make, small: bool = False) -> Call:
    """A model on meta; where its constructor looks at numbers, built on the CPU with few layers and moved."""
    try:
        with torch.device("meta"):
            model, calls = make(small)
    except (NotImplementedError, RuntimeError):
        model, calls = make(True)
    return model.to("meta"), on_meta(calls)


class Flops(TorchDispatchMode):
    """Counts by torch's formulas; FlopCounterMode follows modules too, and fails where some of them keep gradients."""

    flops = 0

    def __torch_dispatch__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        elif func.overloadpacket in LEFT_OUT:
            self.flops += LEFT_OUT[func.overloadpacket](*(getattr(value, "shape", None) for value in args))
        return result


def _plain(model: nn.Module, calls: list[Inputs]) -> tuple[Inputs, int]:
    """The first inputs that a model runs with, and the FLOPs that torch counts; raises the first error else."""
    errors: list[Exception] = []
    for inputs in calls:
        try:
            return inputs, _counted(model, inputs)
        except TimeoutError:
            raise
        except Exception as error:
            errors.append(error)
            if "Expected inputs of BF16" in str(error) and hasattr(model, "set_experts_implementation"):
                # torch refuses grouped products of float32 on meta. As many are batched, one for each chosen expert.
                with contextlib.suppress(Exception):
                    model.set_experts_implementation("batched_mm")
                    try:
                        return inputs, _counted(model, inputs)
                    finally:
                        model.set_experts_implementation("grouped_mm")
    raise errors[0] if errors else LookupError(f"no inputs are known for {type(model).__name__}")


def _counted(model: nn.Module, inputs: Inputs) -> int:
    torch.manual_seed(0)
    with torch.no_grad(), Flops() as counter:
        model(*inputs[0], **inputs[1])
    return counter.flops


def judged(make: Make) -> tuple[str, str]:
    """``ok``, ``not judged`` or ``FAILS``, with the reason."""
    try:
        model, calls = _made_on_meta(make)
    except Exception as error:
        return "not built", f"{type(error).__name__}: {error}"
    try:
        inputs, flops = _plain(model, calls)
    except Exception as on_meta_error:
        try:
            torch.manual_seed(0)
            if sum(p.numel() for p in model.parameters()) > MAX_ON_CPU:
                with torch.device("meta"):
                    model = make(True)[0]
                if sum(p.numel() for p in model.parameters()) > MAX_ON_CPU:
                    return "not judged", f"too large for the CPU, and on meta {on_meta_error}"
                model, calls = make(True)
            else:
                model, calls = make(False)
            inputs, flops = _plain(model, calls)
        except Exception as error:
            return "not judged", f"{type(error).__name__}: {error}; on meta {on_meta_error}"
    torch.manual_seed(0)  # what is drawn may decide sizes
    try:
        report = fwdscope.inspect(model, *inputs[0], **inputs[1])
    except Exception as error:
        return "FAILS", f"{type(error).__name__}: {error}"
    return _compared(report, model, flops)


def _compared(report: Report, model: nn.Module, flops: int) -> tuple[str, str]:
    wrong = []
    parameters = sum({id(p): p.numel() for p in model.parameters()}.values())
    if report.totals.params != parameters:
        wrong.append(f"{report.totals.params:,} parameters for {parameters:,}")
    if report.totals.macs is None or abs(report.totals.macs - flops / 2) > 0.001 * flops:
        wrong.append(f"{report.totals.macs:,} MACs, torch's FLOP counter {flops / 2:,.0f}")
    if report.uncounted:
        wrong.append(f"no rule for {', '.join(report.uncounted)}")
    top = sum((row.macs or 0) * row.repeat for row in report.layers if row.depth == 1)
    if report.layers and top != report.totals.macs:
        wrong.append(f"top rows sum to {top:,} MACs, not {report.totals.macs:,}")
    return ("FAILS", "; ".join(wrong)) if wrong else ("ok", f"on {report.device}")


def kept(make: Make) -> tuple[str, str]:
    """Run, inspect, run, inspect on the CPU: nothing may change."""
    try:
        if sum(p.numel() for p in _made_on_meta(make, True)[0].parameters()) > 60_000_000:
            return "not judged", "too large for the CPU"
        torch.manual_seed(0)
        model, calls = make(True)
        (args, kwargs), _ = _plain(model, calls)
        with torch.no_grad():
            torch.manual_seed(0)
            before = _tensors(model(*args, **kwargs))
    except Exception as error:
        return "not judged", f"{type(error).__name__}: {error}"
    names = {name: (id(t), t.device) for name, t in model.state_dict(keep_vars=True).items()}
    first = fwdscope.inspect(model, *args, **kwargs)
    with torch.no_grad():
        torch.manual_seed(0)
        after = _tensors(model(*args, **kwargs))
    second = fwdscope.inspect(model, *args, **kwargs)
    if len(before) != len(after) or not all(map(_equal, before, after)):
        return "FAILS", "the outputs changed"
    if {name: (id(t), t.device) for name, t in model.state_dict(keep_vars=True).items()} != names:
        return "FAILS", "the state changed"
    return ("ok", "") if first.layers == second.layers else ("FAILS", "the second report differs from the first")


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether all numbers are the same; random weights may give numbers that are none."""
    return x.shape == y.shape and bool(((x == y) | ((x != x) & (y != y))).all())


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, list | tuple) else []


class State:
    """The verdicts so far, in a file of a line each: a run that ends in between goes on from there."""

    def __init__(self, path: str, again: bool) -> None:
        self.file = Path(path) if path else None
        self.verdicts: dict[str, tuple[str, str]] = {}
        for line in self.file.read_text().splitlines() if self.file is not None and self.file.exists() else ():
            name, verdict, reason = json.loads(line)
            self.verdicts[name] = verdict, reason
        if again:
            self.verdicts = {name: one for name, one in self.verdicts.items() if one[0] == "ok"}

    def note(self, name: str, verdict: str, reason: str) -> None:
        """Keep a verdict; the one of a model that begins is that the process ended with it."""
        self.verdicts[name] = verdict, reason
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(json.dumps([name, verdict, reason]) + "\n")


def stop_after_too_long(*_: Any) -> None:
    raise TimeoutError(f"took more than {SECONDS_PER_MODEL} s")


def main() -> None:
    """Go over the models that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("libraries", nargs="*", help="torchvision, timm, transformers; all where none is named")
    parser.add_argument("--every", type=int, default=1, help="take every n-th model")
    parser.add_argument("--kept", type=int, default=0, help="so many models: run, inspect, run, inspect")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--families", action="store_true", help="of timm, one model a file")
    parser.add_argument("--state", default="", help="a file that keeps the verdicts")
    parser.add_argument("--again", action="store_true", help="go over those again that were not ok")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGALRM, stop_after_too_long)
    state, counts = State(asked.state, asked.again), dict[str, int]()
    start = time.perf_counter()
    for library in asked.libraries or LIBRARIES:
        models = [model for model in LIBRARIES[library](asked.families) if asked.only in model[0]]
        step = max(1, len(models) * len(asked.libraries or LIBRARIES) // asked.kept) if asked.kept else asked.every
        for name, make in models[::step]:
            if name not in state.verdicts:
                state.note(name, "FAILS", "the process ended")
                signal.alarm(SECONDS_PER_MODEL)
                try:
                    found = (kept if asked.kept else judged)(make)
                except Exception as error:
                    found = "FAILS", f"{type(error).__name__}: {error}"
                signal.alarm(0)
                state.note(name, *found)
            verdict, reason = state.verdicts[name]
            if verdict == "FAILS" and name in EXPECTED:
                verdict, reason = "expected", EXPECTED[name]
            counts[verdict] = counts.get(verdict, 0) + 1
            if verdict != "ok":
                print(f"{verdict:<10} {name}: {' '.join(reason.split())[:300]}", flush=True)
    print("  ".join(f"{count} {verdict}" for verdict, count in counts.items()), f" {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
