"""The forward pass of a spec's network, recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.layers import describe_module
from fwdscope.model.events import Observer, StepStart
from fwdscope.model.modules import Body, Network, Scope, Series
from fwdscope.ops.nested import named
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
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorder.prepared(network))
        for handle in hook_composites(network, recorder):
            stack.callback(handle.remove)
        weights = [tensor for what in ("parameters", "buffers") for _, tensor in named_tensors(network, what)]
        stack.callback(setattr, network.blueprint, "observer", None)
        network.blueprint.observer = recorder
        stack.enter_context(recording(recorder, weights, given))
        value = network(*given)
        outputs = _named_outputs(network, value)
        recorder.finish(network, dict(outputs))
    unused = recorder.unread(named_tensors(network, "parameters"))
    makers = tuple([recorder.maker(tensor) for _, tensor in outputs])
    root, peak, fields = recorder.root, recorder.memory.peak, recorder.fields()
    source = network.spec.source
    return Trace(root, outputs, source, peak, makers, unused, fields, past=recorder.past, step=recorder.step)


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


def _named_outputs(network: Network, value: Any) -> tuple[tuple[str, Tensor], ...]:
    """The results by the names in the last line, or as ``output``; the parts of one result are numbered."""
    last = network.lines[-1]
    match last:
        case tree.PartLine(name=name) | tree.Statement(target=ex.NameTarget(name=name)):
            pass
        case tree.Statement(value=ex.Name(id=name)):
            pass
        case tree.Statement(value=ex.TupleOrList(items=items)) if isinstance(value, tuple | list) and not any(
            isinstance(item, ex.Starred) for item in items
        ):
            written = [item.id if isinstance(item, ex.Name) and item.id != "prev" else None for item in items]
            names = [name or f"output.{i}" for i, name in enumerate(written)]
            return tuple([one for item, name in zip(value, names, strict=True) for one in named(item, name).items()])
        case _:
            name = "output"
    if name == "prev":
        name = "output"
    return tuple(named(value, name).items())
