"""Layers that leave the same in a record: the first is run and looked at, and the others are not run at all.

Most layers of a network have settings that others have too, and are called on what the others are called on. On meta,
where there are no data, those run the same operators. Their results are made, and the record gets what it would have
got.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor, nn
from torch._C import _len_torch_function_stack
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from fwdscope.layers import describe_module
from fwdscope.model.duplicates import CALLED_BY
from fwdscope.ops import Op
from fwdscope.ops.dispatch import META
from fwdscope.ops.linear import operators
from fwdscope.ops.plain import is_plain, runs_plainly
from fwdscope.trace.forms import INPUT, WEIGHT, Form, Made, Whole
from fwdscope.trace.memory import Mark
from fwdscope.trace.record import Node, Recorder

_MODULE = nn.modules.module
# The hooks that torch runs before and behind every module's own.
_BEFORE_ALL, _AFTER_ALL = _MODULE._global_forward_pre_hooks, _MODULE._global_forward_hooks
_BACKWARD_OF_ALL = _MODULE._global_backward_hooks, _MODULE._global_backward_pre_hooks
# What every module keeps, before what it keeps of its own.
_COMMON = tuple(vars(nn.Module()))
_FIRST = len(_COMMON)
# Settings that are what they say, and nothing else.
_SIMPLE = frozenset((bool, int, float, str, type(None), torch.dtype))
_UNSEEN: Any = object()
# As many of a kind are called without a look at how alike they are, which takes a fifth of what a call takes; but not
# in a network of many layers.
RARE, _MANY = 4, 500


class Before(NamedTuple):
    """How far a record was when a layer was called."""

    flows: int
    live: int
    peak: int


class Forms:
    """The forms of the layers of one run, by all that decides about them. To be made before the run is recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        # How many modes see torch's functions in the run: the recording's own, and those that only say on which device
        # tensors are made. Where there are others, or functions in the place of torch's, no layer is like another.
        around = _get_current_function_mode_stack()
        plain = all(type(mode) is DeviceContext for mode in around) and _has_functions_of_torchs()
        self.modes = len(around) + 1 if plain else -1
        # None where calls that look alike need not be.
        self.known: dict[tuple[Any, ...], Form | None] = {}
        # The forward of each class that was met; None of one that is not torch's own.
        self.kinds: dict[type[nn.Module], Any] = {}
        # How often layers of a class were called on a shape, as far as it is counted, and how many were not looked at.
        self.met: dict[tuple[type[nn.Module], tuple[int, ...]], int] = {}
        self.unlooked = 0

    def key(self, module: nn.Module, x: Any) -> tuple[Any, ...] | None:
        """What decides what a layer runs on an activation; None where there may be more that does.

        That is: a layer of another's making, hooks, settings or weights that are not plain, modes of somebody else's.
        Numbers go with their types, since 1 and 1.0 are equal but promote differently.
        """
        kind, held = type(module), module.__dict__
        names = tuple(held)
        if not self.may_repeat(kind, x) or not _is_plainly_called(held, names) or not _is_undisturbed(self.modes):
            return None
        settings = tuple(held.values())[_FIRST:-1]
        kinds = tuple(map(type, settings))
        key = [
            kind, names[_FIRST:-1], held["training"], torch.get_default_dtype(),
            x.shape, x.stride(), x.dtype, x.requires_grad, len(held["_parameters"]), kinds,
        ]  # fmt: skip
        if _SIMPLE.issuperset(kinds):
            key += settings
            if float in kinds and 0.0 in settings:
                key.append(repr(settings))  # 0.0 and -0.0 are equal, and are not written alike
        elif not _add_settings(key, settings):
            return None
        weights = self.recorder.weights
        for home in (held["_parameters"], held["_buffers"]):
            for name, tensor in home.items():
                if tensor is None:
                    key.append(name)
                elif id(tensor) in weights and is_plain(tensor):
                    key += name, tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad
                else:
                    return None
        return tuple(key)

    def may_repeat(self, kind: type[nn.Module], x: Any) -> bool:
        """Whether a layer of a class of torch's is called on an activation of a shape that others were called on."""
        met = self.recorder.met.get(id(x))
        if type(x) is not Tensor or met is None or met[0][3]() is not x or not self.recorder.memory.follows(x):
            return False
        forward = self.kinds.get(kind, _UNSEEN)
        if forward is _UNSEEN:
            forward = self.kinds[kind] = kind.forward if is_torchs_own(kind) else None
        sight = kind, x.shape
        often = self.met.get(sight, 0)
        if often < RARE and self.unlooked < _MANY and kind is not nn.Linear:  # whose rule is known
            self.met[sight] = often + 1
            self.unlooked += 1
            return False
        # Who puts another forward in a class while it runs wants that to be called.
        return forward is kind.forward and is_plain(x)

    def find(self, key: tuple[Any, ...], module: nn.Module, x: Tensor) -> Form | None:
        """The form of a call; None where it has to be called."""
        form: Form | None = self.known.get(key, _UNSEEN)
        if form is _UNSEEN:
            if not is_torchs_linear(module):
                return None
            form = self.by_rule(module, x)
            if form is not None:
                self.known[key] = form
        return form

    # -- the first of its kind ----------------------------------------------------------------------------------------

    def by_rule(self, module: nn.Module, x: Tensor) -> Form | None:
        """The form of a linear layer whose operators are known; None where it has to be called.

        They are most of the layers of most networks.
        """
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias", _UNSEEN)
        if weight is None or bias is _UNSEEN or (made := operators(x, weight, bias)) is None:
            return None
        records, recorded = self.recorder.records, self.recorder.recorded
        transpose = records.get(id(made.transpose)) or recorded(made.transpose, (), ())
        product = records.get(id(made.product)) or recorded(made.product, (), ())
        said = product.results[0]
        taken = (INPUT, 1) if bias is None else (WEIGHT, INPUT, 1)
        reads = tuple([tensor is weight or tensor is bias for tensor in module._parameters.values()])
        return Form(
            module._get_name(), describe_module(module), [transpose, product],
            ((made.transpose, (WEIGHT,), (1,)), (made.product, taken, (2,))), 2,
            Made(made.shape, made.stride, x.dtype, said, said[2], 2), said[2], reads,
        )  # fmt: skip

    def before(self) -> Before:
        """A layer is going to be called, and looked at."""
        memory = self.recorder.memory
        before = Before(len(self.recorder.flows), memory.live, memory.peak)
        memory.peak = memory.live
        return before

    def after(self, before: Before) -> int:
        """It was called, or failed: the most bytes of activations that were alive while it ran, beyond those before."""
        memory = self.recorder.memory
        own, memory.peak = memory.peak, max(memory.peak, before.peak)
        return own - before.live

    def learn(self, key: tuple[Any, ...], node: Node, x: Tensor, output: Any, before: Before, peak: int) -> None:
        """Keep what a call left in the record."""
        with torch._C.DisableTorchFunction():
            self.known[key] = self.seen(node, x, output, before, peak)

    def seen(self, node: Node, x: Tensor, output: Any, before: Before, peak: int) -> Form | None:
        """The form of a call that just ended; None where it left more than another would leave."""
        recorder, module = self.recorder, node.module
        assert module is not None
        held = [tensor for home in (module._parameters, module._buffers) for tensor in home.values()]
        places: dict[int, int] = {id(ref(tensor)): WEIGHT for tensor in held if tensor is not None}
        places[id(ref(x))] = INPUT
        inside, read = 0, set[int]()
        wiring: list[tuple[Op, tuple[int, ...], tuple[int, ...]]] = []
        for flow in recorder.flows[before.flows :]:
            if isinstance(flow, Whole) or any(id(one) not in places for one in flow.taken):
                return None
            for one in flow.given:
                if id(one) not in places:
                    inside += 1
                    places[id(one)] = inside
            read.update(map(id, flow.taken))
            taken, given = (tuple([places[id(one)] for one in side]) for side in (flow.taken, flow.given))
            wiring.append((flow.op, taken, given))
        made = None if output is x else self.made(x, output, places)
        if (made is None and output is not x) or recorder.memory.live - before.live != (made.nbytes if made else 0):
            return None
        reads = tuple([tensor is not None and id(ref(tensor)) in read for tensor in held])
        return Form(node.type, node.text, node.ops, tuple(wiring), inside, made, peak, reads)

    def made(self, x: Tensor, output: Any, places: Mapping[int, int]) -> Made | None:
        """What is to be asked of torch for such an output; None of one that is not a tensor with a storage its own."""
        if type(output) is not Tensor or not is_plain(output) or not self.recorder.memory.follows(output):
            return None
        shape, stride, storage = output.shape, output.stride(), output.untyped_storage()
        spans = 1 + sum([(size - 1) * step for size, step in zip(shape, stride, strict=True)]) if output.numel() else 0
        whole = spans * output.element_size() == storage.nbytes() and not output.storage_offset()
        place = places.get(id(ref(output)), WEIGHT)
        if not whole or place < 1 or storage._cdata == x.untyped_storage()._cdata:
            return None
        mark = self.recorder.mark(output)
        return Made(shape, stride, output.dtype, mark[:3], storage.nbytes(), place)

    # -- those like it ------------------------------------------------------------------------------------------------

    def fill(self, form: Form, node: Node, module: nn.Module, x: Tensor) -> Tensor:
        """The output of a layer that is not called, and in the record what a call of it would have left."""
        recorder, memory = self.recorder, self.recorder.memory
        mark = recorder.met[id(x)][0]
        if form.peak + memory.live > memory.peak:
            memory.peak = form.peak + memory.live
        result, one = (x, mark) if form.made is None else _new(form.made)
        if form.reads:
            held = (*module._parameters.values(), *module._buffers.values())
            for tensor, read in zip(held, form.reads):  # noqa: B905
                if read and tensor is not None:
                    recorder.read.update(recorder.weights[id(tensor)][1])
        if form.wiring:
            # As Whole(…), which is a function of Python's that does this.
            recorder.flows.append(tuple.__new__(Whole, (form, (mark[3],), (one[3],))))
        memory.meet(result)
        recorder.met[id(result)] = one, node
        node.ops, node.outputs, node.form = form.ops, (one,), form
        return result


def _new(made: Made) -> tuple[Tensor, Mark]:
    """The result of a layer, and its mark."""
    shape, stride, dtype, said, _, _ = made
    with torch._C._DisableTorchDispatch():  # it is made by none of the network's operators
        result = torch.empty_strided(shape, stride, dtype=dtype, device=META)
    return result, tuple.__new__(Mark, (*said, ref(result)))


def _add_settings(key: list[Any], settings: tuple[Any, ...]) -> bool:
    """Add settings to a key, sequences with the types of what they hold; whether all of them are plain."""
    for value in settings:
        kind = type(value)
        if kind is tuple or kind is list:
            kinds = tuple(map(type, value))
            if not _SIMPLE.issuperset(kinds):
                return False
            key += kinds, tuple(value), repr(value) if float in kinds else ""
        elif kind in _SIMPLE:
            key += value, repr(value) if kind is float else ""
        else:
            return False
    return True


def is_torchs_own(kind: type[nn.Module]) -> bool:
    """Whether modules of a class run what torch wrote for it, which looks at settings and weights and nothing else."""
    home = sys.modules.get(kind.__module__)
    own = kind.__module__.startswith("torch.nn.modules.") and getattr(home, kind.__name__, None) is kind
    code = getattr(kind.forward, "__code__", None)
    return own and code is not None and code.co_filename == getattr(home, "__file__", None)


# As torch has it: who puts another in its place wants that to be called.
_LINEAR = torch._C._nn.linear
_FUNCTIONS = tuple((name, value) for name, value in vars(nn.functional).items() if callable(value))


def _has_functions_of_torchs() -> bool:
    """Whether the functions that layers call are those that were there when this was loaded."""
    now = vars(nn.functional)
    return all(now.get(name) is value for name, value in _FUNCTIONS)


def is_torchs_linear(module: nn.Module) -> bool:
    """Whether a module of torch's own forward is its linear layer, and calls torch's own function."""
    return type(module) is nn.Linear and nn.functional.linear is _LINEAR


def _is_plainly_called(held: dict[str, Any], names: tuple[str, ...]) -> bool:
    """Whether nothing runs beside the forward of a module that keeps all this, under these names."""
    if names[:_FIRST] != _COMMON or names[-1] is not CALLED_BY or held["_modules"]:
        return False
    before, behind = held["_forward_pre_hooks"], held["_forward_hooks"]
    return not (before or behind or held["_backward_hooks"] or held["_backward_pre_hooks"])


def _is_undisturbed(modes: int) -> bool:
    """Whether what runs now runs plainly, under so many modes that see functions and without hooks of all modules."""
    if _len_torch_function_stack() != modes or not runs_plainly():
        return False
    return not (_BEFORE_ALL or _AFTER_ALL or any(_BACKWARD_OF_ALL))
