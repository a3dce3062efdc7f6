"""What all layer objects share: settings read from type annotations, and the contract of ``validate`` and ``build``.

A layer type is a class that derives from :class:`Layer`, which registers it. It is written like a frozen dataclass:

- its **fields** are the settings, with torch's names, order, types and defaults. A size that follows from the shapes
  (``in_features``) is a field too, marked by ``= inferred(dim=-1)``; it may be given by keyword and is then checked;
- its **annotations** are the validation (:func:`matches` reads them): ``Count``, ``Size2``, ``Probability``,
  ``Literal["zeros", "reflect"]``, ``Buildable``, and unions and tuples of these. They are evaluated on first use;
- its **docstring** is its page in ``fwdscope layers``: the first line says what it computes, the rest gives formula
  and shapes;
- its **forward** is the signature of a call, as text: ``"(query, key, value, attn_mask=None)"``;
- its **validate(*inputs)** rejects the inputs that torch's CPU kernels would reject, with a better message; what all
  layer types reject is in ``check``;
- its **infer(*inputs)** gives the settings marked ``inferred``;
- its **build(*inputs)** makes torch's module for the first call;
- its **output_sizes(inputs, outputs)** are formulas of the sizes of its results, and **parameter_sizes** of those of
  its parameters.

The values of a call are tensors (usually on the meta device), ``None`` and tuples, in the order of ``forward``. torch
is imported only inside methods, so that layer types, their validation and their pages load without it.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import operator
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, FrozenInstanceError
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from fwdscope.default_dtype import default_dtype
from fwdscope.errors import LayerError
from fwdscope.formula import SPATIAL, Shape, Size, Sizes, divisors, kept_size, kept_sizes

if TYPE_CHECKING:
    from torch import Tensor, nn


# --- annotations of settings -----------------------------------------------------------------------------------------


class Range(NamedTuple):
    """Bounds of a number, as metadata of an annotation: ``Annotated[int, Range(low=1)]``."""

    low: float | None = None
    high: float | None = None

    def includes(self, value: float) -> bool:
        """Whether the number lies within the bounds, which belong to the range."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low is None else f"from {self.low:g} to {self.high:g}"


Count = Annotated[int, Range(low=1)]
Whole = Annotated[int, Range(low=0)]
Probability = Annotated[float, Range(low=0, high=1)]
NonNegative = Annotated[float, Range(low=0)]

# One number for all dimensions, or one for each: in a class with ``dimensions`` a tuple has that many items.
PerDimension = Count | tuple[Count, ...]
WholePerDimension = Whole | tuple[Whole, ...]


@typing.runtime_checkable
class Buildable(Protocol):
    """What makes a module for its inputs: a :class:`Layer`, or a block of a spec."""

    def build(self, *inputs: Any) -> nn.Module:
        """Make the module for these inputs."""


_PLAIN = {int: "a whole number", float: "a number", bool: "True or False", str: "a string", types.NoneType: "None"}


def describe(annotation: Any) -> str:
    """An annotation in words, for messages: ``a whole number at least 1, or a tuple of 2, each a string``."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if annotation is Buildable:
        return "a layer, as in ReLU or GELU(approximate='tanh')"
    if annotation is Any:
        return "any value"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return f"{describe(arguments[0])} {arguments[1]}"
    if origin is Literal:
        return " or ".join(repr(value) for value in arguments)
    if origin is tuple:
        if arguments[-1] is ...:
            return f"a tuple, each {describe(arguments[0])}"
        same = len(set(arguments)) == 1
        inside = f"each {describe(arguments[0])}" if same else ", ".join(describe(a) for a in arguments)
        return f"a tuple of {len(arguments)}, {inside}"
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(describe(a) for a in arguments)
    return str(annotation)


def matches(annotation: Any, value: Any) -> bool:
    """Whether a setting's value fits its annotation. A whole number is a number; a boolean is neither."""
    return _matcher(annotation)(value)


def _matcher(annotation: Any) -> Callable[[Any], bool]:
    if annotation is Any:
        return lambda value: True
    if annotation is float:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return lambda value: isinstance(value, annotation)
    if origin is Literal:
        return lambda value: any(value == allowed and type(value) is type(allowed) for allowed in arguments)
    if origin is Annotated:
        fits, bounds = _matcher(arguments[0]), arguments[1]
        return lambda value: fits(value) and bounds.includes(value)
    if origin is tuple and arguments[-1] is ...:
        item = _matcher(arguments[0])
        return lambda value: isinstance(value, tuple | list) and all(map(item, value))
    inner = [_matcher(argument) for argument in arguments]
    if origin is tuple:
        return lambda value: (
            isinstance(value, tuple | list)
            and len(value) == len(inner)
            and all(fits(item) for fits, item in zip(inner, value, strict=True))
        )
    return lambda value: any(fits(value) for fits in inner)


# --- settings and the registry ---------------------------------------------------------------------------------------


class _Inferred(NamedTuple):
    """The default of an inferred setting: the dimension of an input that it is the size of, if it is simply one."""

    dim: int | None
    input: int


def inferred(dim: int | None = None, input: int = 0) -> Any:
    """The default of a size that follows from the inputs, by default from the first; never given by position.

    Without a ``dim``, the layer has an ``infer`` of its own.
    """
    return _Inferred(dim, input)


class Setting(NamedTuple):
    """One setting of a layer type."""

    name: str
    annotation: Any
    default: Any
    positional: bool
    inferred: bool
    fits: Callable[[Any], bool]

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is MISSING

    def mismatch(self, value: Any) -> str | None:
        """What the setting expects, if ``value`` does not fit; else None."""
        return None if self.fits(value) else describe(self.annotation)


LAYERS: dict[str, type[Layer]] = {}

# The words in place of {…} in the page of a family, for one, two and three spatial dimensions.
_WORDS = {
    "d": ("1", "2", "3"),
    "what": ("a sequence", "an image", "a volume"),
    "one": ("sequence", "image", "volume"),
    "x": ("L", "H", "D"),
    "sizes": ("L", "H, W", "D, H, W"),
    "new": ("L'", "H', W'", "D', H', W'"),
    "kernel": ("kernel_size", "k, k", "k, k, k"),
    "taps": ("kernel_size", "k · k", "k³"),
    "sides": ("(left, right)", "(left, right, top, bottom)", "(left, right, top, bottom, front, back)"),
    "padded": (
        "left + L + right",
        "top + H + bottom, left + W + right",
        "front + D + back, top + H + bottom, left + W + right",
    ),
}


def for_dimensions(*dimensions: int) -> Callable[[type[Layer]], type[Layer]]:
    """Make a layer type for each number of dimensions of an abstract class: ``Conv1d``, ``Conv2d`` of ``Conv``.

    The docstring of the class is their page, with the words for each in place of ``{what}``, ``{sizes}``, …; so are
    its ``input_shapes``.
    """

    def make(family: type[Layer]) -> type[Layer]:
        for d in dimensions:
            layer: type[Layer] = types.new_class(f"{family.__name__}{d}d", (family,), {"dimensions": d})
            words = {word: texts[d - 1] for word, texts in _WORDS.items()}
            layer.__doc__, layer.__module__ = page(family).format(**words), family.__module__
            layer.input_shapes = tuple(shape.format(**words) for shape in family.input_shapes)
        return family

    return make


@typing.dataclass_transform(frozen_default=True, field_specifiers=(inferred,))
class Layer:
    """The base of all layer types; the module's docstring says what a subclass states."""

    forward: ClassVar[str] = "(input)"
    # The shapes that the first input may have, "(N, C, L)"; none for any.
    input_shapes: ClassVar[tuple[str, ...]] = ()
    # Whether inputs of whole numbers (token ids, say) are rejected.
    needs_floats: ClassVar[bool] = True
    # Kinds of numbers accepted besides floating-point ones on a CPU; see number_kind.
    other_kinds: ClassVar[tuple[str, ...]] = ()
    # Inputs that may hold whole numbers even so: class indices, lengths, masks.
    integer_inputs: ClassVar[tuple[str, ...]] = ()
    # Inputs that may be numbers, or tuples of them, instead of tensors.
    number_inputs: ClassVar[tuple[str, ...]] = ()
    # The input dtypes that weights of the default dtype accept on a CPU: any, the same, or also float16 and bfloat16.
    dtype_rule: ClassVar[Literal["any", "same", "narrower"]] = "any"
    # What the layer decides from the values of its inputs, if that keeps its module from running on meta tensors.
    data_decide: ClassVar[str | None] = None
    # How the report's type column shows a setting that differs from its default: "groups {groups}", "{nhead} heads".
    shown: ClassVar[str] = ""
    # The names of the dimensions of its parameters: "weight (out_features, in_features); bias (out_features)".
    parameters: ClassVar[str] = ""
    # How many spatial dimensions the layers of a 1d, 2d and 3d family have; tuples of settings have one item for each.
    dimensions: ClassVar[int]
    items_per_dimension: ClassVar[int] = 1

    def __init_subclass__(cls, abstract: bool = False, dimensions: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if dimensions is not None:
            cls.dimensions = dimensions
        if not abstract:
            LAYERS[cls.__name__] = cls

    def __init__(self, *values: Any, **named: Any) -> None:
        """Take the settings as a dataclass does, by position or by name; those with a default are optional."""
        fields = _fields(type(self))
        given = dict(zip(fields.by_position, values, strict=False)) | named
        taken = {**fields.defaults, **given}
        surplus = len(taken) > len(fields.defaults) or len(given) < len(values) + len(named)
        if surplus or any(value is MISSING for value in taken.values()):
            raise TypeError(f"{type(self).__name__} takes {', '.join(fields.defaults)}; found {values} and {named}")
        vars(self).update(taken)

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        """The layer as a spec writes it: ``Conv2d(64, 7, stride=2)``."""
        positional = [repr(getattr(self, s.name)) for s in settings(type(self)) if s.required and s.positional]
        keywords = [
            f"{s.name}={getattr(self, s.name)!r}"
            for s in settings(type(self))
            if not (s.required and s.positional) and getattr(self, s.name) != s.default
        ]
        return f"{type(self).__name__}({', '.join([*positional, *keywords])})"

    def check(self, *inputs: Any) -> None:
        """Reject the inputs that torch's CPU kernels would reject, where meta kernels accept them or explain it badly.

        Raises LayerError. Call it before ``build`` and before each later call while building.
        """
        name, required = type(self).__name__, required_inputs(type(self))
        if len(inputs) < len(required):
            message = f"{name} needs {len(required)} inputs ({', '.join(required)}), found {len(inputs)}"
            raise LayerError(message, f"write {name}(…)({', '.join(required)})")
        for label, value in zip(required, inputs, strict=False):
            if is_tensor(value):
                if self.needs_floats and label not in self.integer_inputs:
                    self.check_floating(value, label if len(required) > 1 else "")
            elif label not in self.number_inputs or not isinstance(value, int | float | tuple | list):
                self.check_tensor(value, label)
        if self.input_shapes:
            self.check_dimensions(inputs[0], *self.input_shapes)
        self.validate(*inputs)

    def validate(self, *inputs: Any) -> None:
        """Reject what this layer type alone rejects. Raises LayerError."""

    def has_weights(self) -> bool:
        """Whether there are weights, for ``dtype_rule``."""
        return True

    def infer(self, *inputs: Any) -> dict[str, Any]:
        """The inferred settings, by name; equal for all calls that one module can take."""
        sources = _fields(type(self)).inferred
        return {name: int(inputs[at.input].shape[at.dim]) for name, at in sources.items() if at.dim is not None}

    def side_of(self, name: str, *inputs: Any) -> tuple[Tensor, int] | None:
        """The input and the dimension of it that an inferred setting is the size of, if it is simply one."""
        source = _fields(type(self)).inferred[name]
        return (inputs[source.input], source.dim) if source.dim is not None else None

    @classmethod
    def sizes_without_settings(cls, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """Formulas of the results' sizes that hold whatever the settings: by default a result like the first input."""
        return (kept_sizes(inputs[0]),)

    def output_sizes(self, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> Sequence[Sizes]:
        """Formulas of the results' sizes, from the shapes of the inputs.

        ``outputs`` are the shapes of the results, for what only the call decides (an ``output_size``).
        """
        return self.sizes_without_settings(inputs, outputs)

    def parameter_sizes(self, name: str, shape: Shape) -> Sequence[Size]:
        """Formulas of the sizes of a parameter, ``weight`` or ``weight_ih_l0``; empty if there are none."""
        found = re.search(rf"(?:^|; ){re.escape(name)} \((.*?)\)", self.parameters)
        names = found[1].split(", ") if found else ()
        return tuple(map(kept_size, names, shape)) if len(names) == len(shape) else ()

    def build(self, *inputs: Any) -> nn.Module:
        """Make torch's module for the inputs of its first call. Raises LayerError."""
        return self.construct(**self.arguments(*inputs))

    def arguments(self, *inputs: Any) -> dict[str, Any]:
        """The arguments of torch's constructor: inferred settings, and those that differ from torch's default.

        Defaults are left out so that an older torch without one of them can still build the layer.
        """
        values, defaults = vars(self), _fields(type(self)).defaults
        found = self.infer(*inputs)
        for name, size in found.items():
            given = freeze(values[name])
            if given is not None and given != size and (given,) != size:
                side = self.side_of(name, *inputs)
                sides = (side,) if side is not None else ()
                raise LayerError(f"{name} is given as {given}, but the input has {size}", None, sides)
        differs = (name for name, default in defaults.items() if default is MISSING or values[name] != default)
        return {name: freeze(values[name]) for name in differs} | {
            name: size for name, size in found.items() if size is not None
        }

    def construct(self, **arguments: Any) -> nn.Module:
        """Call torch's class with this layer's name. Raises LayerError if its constructor fails."""
        import torch

        name = type(self).__name__
        module_type = getattr(torch.nn, name, None)
        if module_type is None:
            raise LayerError(f"torch {torch.__version__} has no {name}", "a newer torch has it")
        try:
            module: nn.Module = module_type(**arguments)
        except (TypeError, ValueError, RuntimeError, AssertionError) as refusal:
            raise LayerError(f"torch {torch.__version__} refuses {name}: {refusal}") from refusal
        return module

    def summary(self) -> str:
        """The layer in a few words, for the report's type column: its name and the settings that matter."""
        return " ".join([type(self).__name__, *self.details()])

    def details(self) -> Iterable[str]:
        """The words of the type column after the name; by default the setting in ``shown``."""
        if found := re.search(r"\{(\w+)\}", self.shown):
            name = found[1]
            value, default = getattr(self, name), _fields(type(self)).defaults[name]
            if default is MISSING or value != default:
                text = self.shown.format(**{name: times_text(value)})
                yield text.removesuffix("s") if value == 1 else text

    # -- checks of inputs ----------------------------------------------------------------------------------------------

    def check_tensor(self, value: Any, label: str) -> None:
        """Check that an input or a state is a tensor."""
        if not is_tensor(value):
            help = "unpack it first: `a, b = …`" if isinstance(value, tuple | list) else None
            raise LayerError(f"{type(self).__name__} takes a tensor as {label}, found {value_text(value)}", help)

    def check_floating(self, x: Tensor, label: str = "") -> None:
        """Check that x has a floating-point dtype, and one that works with the layer's weights."""
        import torch

        name, where = type(self).__name__, f" as {label}" if label else ""
        kind = number_kind(x)
        if kind != "float" and kind not in self.other_kinds:
            way = "take `.real` or `.imag`, or both by view_as_real" if kind == "complex" else "cast it: `.float()`"
            way += "; token ids go through Embedding first" if kind == "int" else ""
            raise LayerError(f"{name} computes on floating-point numbers, found {dtype_text(x)}{where}", way)
        weights = default_dtype()
        accepted = {weights}
        if self.dtype_rule == "narrower" and weights == torch.float32:
            accepted |= {torch.float16, torch.bfloat16}
        if self.dtype_rule != "any" and x.dtype not in accepted and self.has_weights():
            wanted = str(weights).removeprefix("torch.")
            message = f"{name} has weights of {wanted}, found an input of {dtype_text(x)}{where}"
            raise LayerError(message, f"cast it: `.to({wanted})`, or make it with dtype={wanted}")

    def check_dimensions(self, x: Tensor, *shapes: str, label: str = "an input") -> None:
        """Check that x has as many dimensions as one of the shapes, ``"(N, C, L)"``; ``…`` is any number."""
        for shape in shapes:
            sizes = shape.count(",") + (not shape.endswith(",)"))
            if x.dim() == sizes or ("…" in shape and x.dim() >= sizes - 1):
                return
        name = type(self).__name__
        # The same layer for as many dimensions as there are: `BatchNorm1d` of `BatchNorm2d`.
        other = LAYERS.get(re.sub(r"\d(?=d$)", str(max(1, x.dim() - 2)), name), type(self))
        fits = other is not type(self) and (x.dim() > 2 or "(N, C)" in other.input_shapes)
        raise LayerError(
            f"{name} expects {label} of shape {' or '.join(shapes)}, "
            f"found {x.dim()} dimension{'s' * (x.dim() != 1)}: {shape_text(x.shape)}",
            f"{other.__name__} takes such an input" if fits else None,
        )

    def check_spatial(self, x: Tensor) -> None:
        """Check that x is batched (N, C, …) or unbatched (C, …) with the spatial dimensions of the layer."""
        spatial = ", ".join(SPATIAL[self.dimensions])
        self.check_dimensions(x, f"(N, C, {spatial})", f"(C, {spatial})")

    def check_not_empty(self, x: Tensor) -> None:
        """Check that x has channels and positions; only the batch may be empty."""
        if 0 in x.shape[-self.dimensions - 1 :]:
            raise LayerError(f"{type(self).__name__} needs an input that is not empty, found {shape_text(x.shape)}")

    def check_dimension(self, x: Tensor, name: str, dim: int) -> int:
        """Return the dimension ``dim`` of x, counted from the left. Raises LayerError if x does not have it."""
        rank = max(x.dim(), 1)  # a single number counts as one dimension, as in torch
        if not -rank <= dim < rank:
            raise LayerError(
                f"{type(self).__name__} has {name}={dim}, but the input has {x.dim()} dimension"
                f"{'s' * (x.dim() != 1)}: {shape_text(x.shape)}",
                f"{name} may be from {-rank} to {rank - 1}",
            )
        return dim % rank

    def check_divisible(self, what: str, size: int, name: str, divisor: int, other: int = 0) -> None:
        """Check that ``divisor`` divides ``size``.

        The help gives the nearest divisors, which divide an ``other`` size too, and sizes that fit.
        """
        if size % divisor == 0:
            return
        common = math.gcd(size, other)
        fitting = divisors(common)
        near = sorted(
            {max(d for d in fitting if d < divisor), min((d for d in fitting if d > divisor), default=fitting[-1])}
        )
        raise LayerError(
            f"{what} ({size}) is not divisible by {name} ({divisor})",
            f"{name}={' or '.join(map(str, near))} would fit, or "
            f"{' or '.join(str(s) for s in (size - size % divisor, size - size % divisor + divisor) if s)} "
            f"instead of {size}",
        )

    def check_broadcast(self, *shapes: Sequence[int]) -> None:
        """Check that the shapes broadcast, as in an element-wise operator."""
        for sizes in itertools.zip_longest(*map(reversed, shapes), fillvalue=1):
            if len(set(sizes) - {1}) > 1:
                found = " and ".join(shape_text(shape) for shape in shapes)
                raise LayerError(f"{type(self).__name__}: shapes {found} do not fit together")

    @classmethod
    def family(cls) -> str:
        """The family of this layer, as ``fwdscope layers`` groups them: the name of its file."""
        return cls.__module__.rpartition(".")[2]


class _Fields(NamedTuple):
    """The settings that a layer class and its bases declare: their defaults, and which are positional or inferred."""

    defaults: Mapping[str, Any]
    by_position: tuple[str, ...]
    inferred: Mapping[str, _Inferred]


# mypy takes no class with a __hash__ of its own for hashable, so these are dicts and not functools.cache.
_FIELDS: dict[type[Layer], _Fields] = {}
_SETTINGS: dict[type[Layer], tuple[Setting, ...]] = {}


def _fields(layer: type[Layer]) -> _Fields:
    """Read the fields as ``dataclass`` does: those of the bases first, an overridden one in its old place."""
    if layer in _FIELDS:
        return _FIELDS[layer]
    found: dict[str, tuple[Any, bool]] = {}
    for base in reversed(layer.__mro__):
        keyword_only = False
        for name, annotation in inspect.get_annotations(base).items():
            if annotation == "KW_ONLY":
                keyword_only = True
            elif not annotation.startswith("ClassVar"):
                found[name] = getattr(base, name, MISSING), keyword_only
    inferred = {name: default for name, (default, _) in found.items() if isinstance(default, _Inferred)}
    defaults = {name: None if name in inferred else default for name, (default, _) in found.items()}
    by_position = (name for name, (_, keyword_only) in found.items() if not keyword_only and name not in inferred)
    return _FIELDS.setdefault(layer, _Fields(defaults, tuple(by_position), inferred))


def settings(layer: type[Layer]) -> tuple[Setting, ...]:
    """The settings of a layer type, in torch's order.

    If a layer infers a size, only its settings without a default may be given by position; otherwise all may, but for
    those that torch takes by keyword only.
    """
    if layer not in _SETTINGS:
        hints, fields = typing.get_type_hints(layer, include_extras=True), _fields(layer)
        length = getattr(layer, "dimensions", 0) * layer.items_per_dimension
        positional = {n for n in fields.by_position if fields.defaults[n] is MISSING or not fields.inferred}
        found = []
        for name, default in fields.defaults.items():
            annotation = _with_length(hints[name], length)
            is_inferred = name in fields.inferred
            found.append(Setting(name, annotation, default, name in positional, is_inferred, _matcher(annotation)))
        _SETTINGS[layer] = tuple(found)
    return _SETTINGS[layer]


def _with_length(annotation: Any, length: int) -> Any:
    """The annotation, with so many items in tuples of any length; 0 leaves them as they are."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if length and origin is tuple and arguments[-1] is ...:
        return tuple[(arguments[0],) * length]  # type: ignore[misc]  # its length is known at run time only
    if length and origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, (_with_length(argument, length) for argument in arguments))
    return annotation


def page(layer: type[Layer]) -> str:
    """The docstring of a layer type, unindented."""
    return inspect.getdoc(layer) or ""


def freeze(value: Any) -> Any:
    """A list as a tuple, and so what is in it; any other value as it is."""
    return tuple(map(freeze, value)) if isinstance(value, tuple | list) else value


# --- checks ----------------------------------------------------------------------------------------------------------


def input_names(layer: type[Layer]) -> tuple[str, ...]:
    """The names of all inputs of a call, in order."""
    return tuple(part.partition("=")[0] for part in _inputs(layer.forward))


def required_inputs(layer: type[Layer]) -> tuple[str, ...]:
    """The names of the inputs that every call gives."""
    return _required(layer.forward)


@functools.cache
def _inputs(forward: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in forward.strip("()").split(","))


@functools.cache
def _required(forward: str) -> tuple[str, ...]:
    return tuple(part for part in _inputs(forward) if "=" not in part)


def number_kind(x: Tensor) -> str:
    """The kind of numbers in x: ``float``, ``complex``, ``bool``, ``uint8`` (as in images) or ``int``."""
    if x.is_floating_point():
        return "float"
    if x.is_complex():
        return "complex"
    name = dtype_text(x)
    return name if name in ("bool", "uint8") else "int"


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, without importing torch: before its import nothing is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def value_text(value: Any) -> str:
    """A value in words: ``the number 3``, ``a tuple of 2``."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {'tensor' if is_tensor(value) else type(value).__name__}"


def dtype_text(x: Tensor) -> str:
    """The dtype's name without torch's prefix: ``int64``."""
    return str(x.dtype).removeprefix("torch.")


def expand(value: Any, dimensions: int) -> tuple[Any, ...]:
    """One setting for each dimension: ``3`` becomes ``(3, 3)``."""
    return tuple(value) if isinstance(value, tuple | list) else (value,) * dimensions


def times_text(values: Any) -> str:
    """Sizes in words: ``7×7``, ``3``."""
    return "×".join(map(str, values)) if isinstance(values, tuple | list) else str(values)


def shape_text(shape: Iterable[int]) -> str:
    """A shape as Python writes it: ``(1, 3, 224, 224)``."""
    return str(tuple(int(size) for size in shape))
