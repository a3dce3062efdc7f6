"""The forward pass of a spec's network, recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.layers import describe_module
from fwdscope.model.build import named_outputs
from fwdscope.model.events import Observer, StepStart
from fwdscope.model.modules import Body, Network, Scope, Series
from fwdscope.trace.parameters import named_tensors
from fwdscope.trace.record import Recorder, Trace, hook, recording


def trace(
    network: Network, recorder: Recorder | None = None, inputs: Mapping[str, Tensor] | None = None, past: int = 0
) -> Trace:
    """Run a network once and record it, on its example inputs if no others are given.

    With ``past`` it is counted as behind so many earlier positions, which takes a run more.

    Equal copies of a stack are one node, unless ``recorder`` is given: one of a subclass may look at more. The network
    is left as it was, also after an exception.
    """
    if past:
        first = Recorder()
        outputs = trace(network, first, inputs).outputs
        recorder = Recorder(past=first.find_past([tensor for _, tensor in outputs], past))
    recorder = recorder or Recorder(repeats=True)
    given = tuple((inputs or network.example).values())
    recorder.carried = network.blueprint.carried = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorder.prepared(network))
        for handle in hook_composites(network, recorder):
            stack.callback(handle.remove)
        weights = [tensor for what in ("parameters", "buffers") for _, tensor in named_tensors(network, what)]
        stack.callback(setattr, network.blueprint, "observer", None)
        network.blueprint.observer = recorder
        stack.enter_context(recording(recorder, weights, given))
        value = network(*given)
        outputs = named_outputs(network, value)
        recorder.finish(network, dict(outputs))
    unused = recorder.unread(named_tensors(network, "parameters"))
    makers = tuple([recorder.maker(tensor) for _, tensor in outputs])
    root, peak, fields = recorder.root, recorder.memory.peak, recorder.fields()
    source = network.spec.source
    fused = recorder.fused([tensor for _, tensor in outputs])
    return Trace(
        root, outputs, source, peak, makers, unused, fields, past=recorder.past, step=recorder.step,
        lives=tuple(recorder.lives), fused=fused,
    )  # fmt: skip


def hook_composites(network: Network, recorder: Observer) -> Iterator[RemovableHandle]:
    """Hook the modules inside torch's composite layers, whose calls the network does not report itself.

    A block or a series in such a layer, as the expert of a mixture, reports its own calls.
    """
    hooked: set[nn.Module] = set()
    layers = network.blueprint.layers
    for module in list(layers):
        if module in hooked or isinstance(module, Scope):
            continue
        entry, modules = layers[module], dict(module.named_modules())
        for name, inner in modules.items():
            around, _, label = name.rpartition(".")
            if inner is module or inner in hooked or isinstance(modules.get(around), Scope):
                continue
            if inner in layers and not isinstance(inner, Body | Series):
                continue
            hooked.add(inner)
            kind = "block" if isinstance(inner, Body) else "stack" if isinstance(inner, Series) else "layer"
            template = inner.template if isinstance(inner, Body | Series) else None
            text = template.brief if template is not None else describe_module(inner)
            what = StepStart(kind, f"{entry.path}.{name}", inner._get_name(), text, label, entry.span, inner)
            yield from hook(inner, what, recorder)
