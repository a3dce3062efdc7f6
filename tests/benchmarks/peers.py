"""What well-known counters say of small modules, and how long they take, beside fwdscope and the right values.

Run by hand: python tests/benchmarks/peers.py [--installed DIRECTORY] [--only WORD] [--no-counts] [--no-times]

Installs the counters into a directory of their own, which is removed at the end; ``--installed`` names one to keep.
Prints the tables of the README's "Why trust these numbers". A counter meets each module in a process of its own, since
some leave torch patched after an error.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alternating import FWDSCOPE, IMPORT_TORCH, ROOT, measure_in_turn

PEERS = ("torchinfo==1.8.0", "fvcore==0.1.5.post20221221", "ptflops==0.7.5", "torchlens==2.36.1", "torchscan==0.2.0")
# What they need; not torch, whose version stays.
NEEDED = (
    "numpy",
    "iopath",
    "yacs",
    "termcolor",
    "tabulate",
    "portalocker",
    "graphviz",
    "safetensors",
    "tqdm",
    "pillow",
)

# MACs, parameters (None: it counts none), and whether the counter itself says that something is missing.
Answer = tuple[int | None, int | None, bool]


# --- what each counter says, as its documentation asks it ------------------------------------------------------------


def _fwdscope(model: Any, inputs: tuple[Any, ...]) -> Answer:
    import fwdscope

    report = fwdscope.inspect(model, *inputs)
    return report.totals.macs, report.totals.params, bool(report.uncounted)


def _flop_counter_mode(model: Any, inputs: tuple[Any, ...]) -> Answer:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() // 2, None, False


def _torchinfo(model: Any, inputs: tuple[Any, ...]) -> Answer:
    from torchinfo import summary

    found = summary(model, input_data=inputs, verbose=0, device=inputs[0].device)
    return found.total_mult_adds, found.total_params, False


def _fvcore(model: Any, inputs: tuple[Any, ...]) -> Answer:
    from fvcore.nn import FlopCountAnalysis, parameter_count

    found = FlopCountAnalysis(model, inputs).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(found.total()), parameter_count(model)[""], bool(found.unsupported_ops())


def _ptflops(model: Any, inputs: tuple[Any, ...]) -> Answer:
    import inspect

    from ptflops import get_model_complexity_info

    # One tensor is passed by position, several by keyword.
    names = inspect.signature(model.forward).parameters
    given = inputs[0] if len(inputs) == 1 else dict(zip(names, inputs, strict=False))
    macs, params = get_model_complexity_info(
        model, (1,), print_per_layer_stat=False, as_strings=False, input_constructor=lambda _: given
    )
    return macs, params, False


def _torchlens(model: Any, inputs: tuple[Any, ...]) -> Answer:
    import torchlens

    trace = torchlens.trace(model, inputs)
    return int(trace.total_macs_forward), trace.num_params, bool(trace.unknown_flop_ops)


def _torchscan(model: Any, inputs: tuple[Any, ...]) -> Answer:
    from torchscan import crawl_module

    totals = crawl_module(model, args=inputs)["totals"]
    macs = totals["macs"]
    return macs["known_value"], totals["parameters"]["value"], macs["status"] != "complete"


def _none(model: Any, inputs: tuple[Any, ...]) -> Answer:
    """What the others are given: the model, built, without a counter."""
    return 0, None, False


COUNTERS = {
    "fwdscope": _fwdscope,
    "FlopCounterMode": _flop_counter_mode,
    "torchinfo": _torchinfo,
    "fvcore": _fvcore,
    "ptflops": _ptflops,
    "torchlens": _torchlens,
    "torchscan": _torchscan,
}


def ask(counter: str, name: str, device: str) -> dict[str, Any]:
    """What a counter says of a module on a device, or what it raised. Runs in a process of its own."""
    import torch
    from small_modules import MODELS, MODULES

    module = next(one for one in (*MODULES, *MODELS) if one.name == name)
    said = io.StringIO()
    with torch.device(device), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        torch.manual_seed(0)
        model, inputs = module.make().eval(), module.example()
        try:
            macs, params, incomplete = COUNTERS.get(counter, _none)(model, inputs)
        except Exception as error:
            return {"error": type(error).__name__, "text": str(error)}
    if macs is None:
        return {"error": "None", "text": said.getvalue()}
    return {"macs": macs, "params": params, "incomplete": incomplete}


# --- the tables ------------------------------------------------------------------------------------------------------


def _asked(counter: str, name: str, device: str, installed: str) -> dict[str, Any]:
    command = (sys.executable, __file__, "--ask", counter, name, device)
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(installed), check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"error": "ended", "text": done.stderr[-500:]}


def _environment(installed: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), installed)), "PYTHONWARNINGS": "ignore"}


def _cell(answer: dict[str, Any], module: Any) -> str:
    if "error" in answer:
        return answer["error"]
    right = answer["macs"] == module.macs
    cell = "✓" if right else f"{answer['macs']:,}"
    if answer["params"] not in (None, module.params):
        cell += f", {answer['params']:,} params"
    return cell + (" †" if answer["incomplete"] and not right else "")


def print_counts(installed: str, only: str) -> None:
    """What each counter says of each module, beside what is right."""
    from small_modules import MODULES

    modules = [module for module in MODULES if only in module.name]
    pairs = [(module, counter) for module in modules for counter in COUNTERS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(lambda pair: _asked(pair[1], pair[0].name, "cpu", installed), pairs))
    print(f"| module | MACs | parameters | {' | '.join(COUNTERS)} |")
    print("| --- " * (len(COUNTERS) + 3) + "|")
    for i, module in enumerate(modules):
        cells = [_cell(answer, module) for answer in answers[i * len(COUNTERS) : (i + 1) * len(COUNTERS)]]
        if cells[1] != "✓":  # torch's own counter sees other kernels on meta
            on_meta = _cell(_asked("FlopCounterMode", module.name, "meta", installed), module)
            cells[1] += f" ({on_meta} on meta)" * (on_meta != cells[1])
        print(f"| {module.name} | {module.derivation} = {module.macs:,} | {module.params:,} | {' | '.join(cells)} |")
    print()
    for (module, counter), answer in zip(pairs, answers, strict=True):
        if "error" in answer:
            last = answer["text"].strip().splitlines()[-1:] or [""]
            print(f"{counter} on {module.name}: {answer['error']}: {last[0][:200]}", file=sys.stderr)


def print_times(installed: str) -> None:
    """The times of whole processes, as ratios to ``import torch`` in the same run."""
    from small_modules import MODELS

    commands, devices, cells = {"torch": IMPORT_TORCH}, {}, {}
    for model in MODELS:
        for counter in COUNTERS:
            # On meta, which is faster, if it says the same there.
            said = {device: _asked(counter, model.name, device, installed) for device in ("meta", "cpu")}
            device = "meta" if said["meta"].get("macs") in (model.macs, said["cpu"].get("macs", "")) else "cpu"
            devices[counter, model.name], cells[counter, model.name] = device, _cell(said[device], model)
            commands[f"{counter} {model.name}"] = (sys.executable, __file__, "--ask", counter, model.name, device)
        for device in ("meta", "cpu"):
            commands[f"{device} {model.name}"] = (sys.executable, __file__, "--ask", "none", model.name, device)
    commands["command"] = (*FWDSCOPE, "inspect", "resnet50", "--device", "meta", "--no-cache")
    found = measure_in_turn(commands, 3, PYTHONPATH=_environment(installed)["PYTHONPATH"])
    print(f"| whole process, × `import torch` | model alone | {' | '.join(COUNTERS)} |")
    print("| --- " * (len(COUNTERS) + 2) + "|")
    for model in MODELS:
        alone = {device: found[f"{device} {model.name}"].seconds / found["torch"].seconds for device in ("meta", "cpu")}
        row = [", ".join(f"{ratio:.2f} on {device}" for device, ratio in alone.items())]
        for counter in COUNTERS:
            ratio = found[f"{counter} {model.name}"].seconds / found["torch"].seconds
            said = cells[counter, model.name]
            row.append(f"{ratio:.2f} on {devices[counter, model.name]}" + f" ({said})" * (said != "✓"))
        print(f"| {model.name} | {' | '.join(row)} |")
    command = found["command"].seconds / found["torch"].seconds
    print(f"\n`fwdscope inspect resnet50 --device meta`, from a spec: {command:.2f}")


def main() -> None:
    """Answer for one counter and module if asked to, else install the counters and print the tables."""
    if sys.argv[1:2] == ["--ask"]:
        warnings.simplefilter("ignore")
        print(json.dumps(ask(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--installed", default="", help="a directory for the counters, kept for the next run")
    parser.add_argument("--only", default="", help="modules whose name holds this")
    parser.add_argument("--no-counts", action="store_true", help="print the times only")
    parser.add_argument("--no-times", action="store_true", help="print what is counted only")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        installed = asked.installed or temporary
        if not (Path(installed) / "torchinfo").exists():
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed)
            subprocess.run((*pip, *PEERS, *NEEDED), check=True)
        if not asked.no_counts:
            print_counts(installed, asked.only)
        if not asked.no_times:
            print_times(installed)


if __name__ == "__main__":
    main()
