"""Inspect models of transformers, timm and torchvision by nothing but their names, and print what fails.

Run by hand: python tests/benchmarks/library_targets.py [transformers] [timm] [torchvision] [--every N] [--only NAME]
[--state FILE] [--again]

Each is what ``fwdscope inspect LIBRARY:NAME`` shows without a run: no error, as many parameters as the module itself
says, and the MACs of torch's FLOP counter (two FLOPs each) on the same module and inputs.

Needed beside what the tests need: torchvision and timm (``pip install --no-deps timm torchvision pillow``).

With torch 2.13, torchvision 0.29.1, timm 1.0.31 and transformers 5.24 no figure is wrong but for the two of
:data:`EXPECTED`: right are all 98 models of timm, one a file; 111 of 121 of torchvision, where ten detectors need its
compiled operators, which this machine lacks; and 644 of 822 types of transformers, of which some 25 run on the CPU, for
they look at values. The other 176 say in one line what they need: a default configuration of theirs lacks something,
there is no model of their own, another package is missing, or they take inputs which no other has.
"""

from __future__ import annotations

import argparse
import collections
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator

import torch
from models import SECONDS_PER_MODEL, Flops, State, on_meta, stop_after_too_long

from fwdscope.inspection import make_subject
from fwdscope.targets import Target
from fwdscope.trace.known_values import KnownValues

# What is known to fail, with the reason. Anything else that fails is a fault.
EXPECTED = {
    "transformers:dots3_note_vision_encoder": "torch itself refuses its grouped products of float32 on meta",
    "transformers:vits": "random durations decide its sizes, drawn anew in each forward",
}


def transformers_names() -> Iterator[str]:
    """Every model type of transformers."""
    from transformers import CONFIG_MAPPING

    yield from CONFIG_MAPPING


def timm_names() -> Iterator[str]:
    """One model of each file of timm."""
    import timm

    for module in timm.list_modules():
        yield from timm.list_models(module=module)[:1]


def torchvision_names() -> Iterator[str]:
    """Every model that torchvision lists."""
    from torchvision import models

    yield from models.list_models()


LIBRARIES: dict[str, Callable[[], Iterator[str]]] = {
    "transformers": transformers_names,
    "timm": timm_names,
    "torchvision": torchvision_names,
}


def judged(text: str) -> tuple[str, str]:
    """``ok`` or ``FAILS``, with the reason; ``needs`` is one line that says what the model needs."""
    try:
        subject = make_subject(Target(text))
    except Exception as error:
        return ("needs" if type(error).__name__ == "TargetError" else "FAILS"), f"{type(error).__name__}: {error}"
    report, module = subject.report(), subject.call.module
    parameters = sum({id(p): p.numel() for p in module.parameters()}.values())
    wrong = [f"{report.totals.params:,} parameters for {parameters:,}"] if report.totals.params != parameters else []
    wrong += [f"no rule for {', '.join(report.uncounted)}"] if report.uncounted else []
    flops = counted(subject.call, subject.device)
    if report.totals.macs is None or abs(report.totals.macs - flops / 2) > 0.001 * flops:
        wrong.append(f"{report.totals.macs:,} MACs, torch's FLOP counter {flops / 2:,.0f}")
    note = next((note for note in report.notes if note.startswith("fed with")), "")
    return ("FAILS", "; ".join(wrong)) if wrong else ("ok", f"on {report.device}, {note}")


def counted(call, device: str) -> int:
    """What torch's FLOP counter counts of a forward on the same inputs."""
    module, args, kwargs = call
    for inner in module.modules():
        # torch refuses grouped products of float32 on meta. As many are batched, one for each chosen expert.
        if hasattr(type(inner), "set_experts_implementation"):
            inner.set_experts_implementation("batched_mm")
    torch.manual_seed(0)
    with torch.no_grad(), Flops() as counter:
        if device == "meta":
            try:
                module.to("meta")(*on_meta(args), **on_meta(kwargs))
                return counter.flops
            except Exception:
                counter.flops = 0
                with KnownValues():
                    module(*args, **kwargs)
                return counter.flops
        module(*args, **kwargs)
    return counter.flops


def main() -> None:
    """Go over the models that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("libraries", nargs="*", help="transformers, timm, torchvision; all if none is named")
    parser.add_argument("--every", type=int, default=1, help="take every n-th model")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--state", default="", help="a file that keeps the verdicts")
    parser.add_argument("--again", action="store_true", help="go over those again that were not ok")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    signal.signal(signal.SIGALRM, stop_after_too_long)
    state, counts = State(asked.state, asked.again), collections.Counter[str]()
    start = time.perf_counter()
    for library in asked.libraries or LIBRARIES:
        texts = [f"{library}:{name}" for name in LIBRARIES[library]()]
        for text in [text for text in texts if asked.only in text][:: asked.every]:
            if text not in state.verdicts:
                state.note(text, "FAILS", "the process ended")
                signal.alarm(SECONDS_PER_MODEL)
                try:
                    found = judged(text)
                except Exception as error:
                    found = "FAILS", f"{type(error).__name__}: {error}"
                signal.alarm(0)
                state.note(text, *found)
            verdict, reason = state.verdicts[text]
            if verdict == "FAILS" and text in EXPECTED:
                verdict, reason = "expected", EXPECTED[text]
            counts[f"{library} {verdict}"] += 1
            if verdict != "ok":
                print(f"{verdict:<6} {text}: {' '.join(reason.split())[:300]}", flush=True)
    print(dict(counts), f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
