"""Explains why a module's forward failed: at which layer and line of the user's code, and where the sizes came from.

The forward runs once more on a copy, watched by a :class:`fwdscope.model.trail.Trail`; an error that says enough, or
is too expensive to reproduce, is explained from its traceback alone (:func:`error_at_line`).
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import math
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fwdscope.default_dtype import use_default_dtype
from fwdscope.errors import LayerError, ShapeError, Sides
from fwdscope.formula import window_count
from fwdscope.language.names import nearest
from fwdscope.language.problems import Cause, Fix, Problem, Source, Span
from fwdscope.layers import LAYERS, Layer, describe_module, layer_of
from fwdscope.model import shapes
from fwdscope.model.causes import MAX_CHARACTERS_OF_OPERAND, apart_from_others, reworded, shortened
from fwdscope.model.layer_calls import positional_inputs
from fwdscope.model.trail import SizeTrail, Step, Trail, is_leaf
from fwdscope.ops.nested import named, tensors
from fwdscope.ops.positions import Slide
from fwdscope.ops.watch import watching

_OURS = str(Path(__file__).parents[1])
_TORCH = str(Path(torch.__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
# Operators by the names of the methods that stand for them.
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "matmul": "@", "pow": "**"}
MAX_CHANGES_SHOWN = 6
# Places behind causes are aligned, but not behind a cause longer than most.
MAX_ALIGNED = 70


class _MisfitError(LayerError):
    """A layer that was made for another size of its input."""

    def __init__(self, setting: str, built: Any, size: int, sides: Sides) -> None:
        message = f"it was made with {setting}={built}, and its input has {size}"
        super().__init__(message, f"{setting}={size} fits, or an input that has {built}", sides)
        self.setting, self.built, self.size = setting, built, size


class _FailedCall(TorchFunctionMode):
    """Remembers the function of torch's that failed, as the user's code or a layer called it."""

    call: tuple[str, Sequence[Any], Mapping[str, Any]] | None = None

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception:
            self.call = getattr(func, "__name__", ""), args, kwargs or {}
            raise


class _CodeLine(NamedTuple):
    """A line of Python, from one place to another."""

    file: str
    number: int
    end: int
    columns: tuple[int, int]
    # The variables of the function there, of a line of a traceback.
    variables: Mapping[str, Any] = MappingProxyType({})

    @property
    def text(self) -> str:
        """Its text, without the indent."""
        return linecache.getline(self.file, self.number).strip()

    @property
    def name(self) -> str:
        """The file as a user names it: from the folder where the command runs."""
        path = Path(self.file)
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name

    @property
    def place(self) -> str:
        """Where it is, and its text."""
        return f"{self.name}:{self.number}  {shortened(self.text)}"

    @property
    def expression(self) -> ast.AST:
        """What was evaluated there, of a line of a traceback."""
        lines = [linecache.getline(self.file, number) for number in range(self.number, self.end + 1)]
        if not lines:
            return ast.Module([], [])
        lines[-1] = lines[-1][: self.columns[1]]
        tree = _expression(f"({''.join(lines)[self.columns[0] :]})")
        return (
            tree.body[0].value
            if isinstance(tree, ast.Module) and tree.body and isinstance(tree.body[0], ast.Expr)
            else tree
        )


def explain_failure(
    error: Exception, module: nn.Module, inputs: Mapping[str, Tensor], run: Callable[[Trail], None]
) -> ShapeError | None:
    """What the error of a module's forward means; None if the user's code raised it on purpose.

    ``run`` runs a copy, ``module``, once more under an observer; ``inputs`` are its tensors by name.
    """
    if _is_raised_by_user(error):
        return None
    trail, failed = Trail(own_code=_own_line), _FailedCall()
    try:
        with failed, watching(trail.op), torch.no_grad():
            run(trail)
    except Exception as again:
        if type(again) is type(error):
            return _Failure(again, module, inputs, trail, failed.call).explain()
    return None


def error_at_line(error: BaseException, message: str, code: str, help: str | None = None) -> ShapeError:
    """An error of a module's forward at the line of the user's code that its traceback names, without a further run."""
    lines, inside = _user_lines(error), _layer_of_traceback(error)
    causes = [(f"in {inside}", "")] if inside and inside not in message else []
    return _error(lines[-1] if lines else None, message, code, [*causes, *_callers(lines[:-1])], help)


def explain_on_device(error: Exception) -> ShapeError | None:
    """What an error that only a run on a device shows means; None if the user's code raised it on purpose, or ours."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    is_call = "func" in frame.f_locals  # a mode of ours calls what torch hands it
    if _is_raised_by_user(error) or (frame.f_code.co_filename.startswith(_OURS) and not is_call):
        return None
    message, help = reworded(str(error) or type(error).__name__)
    if inside := _layer_of_traceback(error):
        message = f"{inside}: {message}"
    return error_at_line(error, message, "device" if "device" in str(error) else "run", help)


def out_of_memory(error: BaseException) -> str:
    """A device's out-of-memory error: what it says, and the line and the layer that asked for the memory."""
    lines, inside = _user_lines(error), _layer_of_traceback(error)
    where = [*[f"at {line.place}" for line in lines[-1:]], *[f"in {inside}"] * bool(inside)]
    text = f"the device ran out of memory: {str(error).strip().splitlines()[0]}"
    return "\n  ".join([text, *where, "use a smaller dtype or smaller inputs"])


def _layer_of_traceback(error: BaseException) -> str:
    """The innermost module that an error was raised in, by its path in the outermost one."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    called = [one for frame in frames if isinstance(one := frame.f_locals.get("self"), nn.Module)]
    paths = {id(inner): path for path, inner in called[0].named_modules() if path} if called else {}
    inner = next((one for one in reversed(called) if id(one) in paths), None)
    return f"{paths[id(inner)]} ({describe_module(inner)})" if inner is not None else ""


def place_of(error: BaseException) -> str:
    """The line of the user's code that led to an error: ``models.py:41``; empty if there is none."""
    lines = _user_lines(error)
    return f"{lines[-1].name}:{lines[-1].number}" if lines else ""


def _error(
    line: _CodeLine | None,
    message: str,
    code: str,
    causes: Sequence[tuple[str, str]],
    help: str | None,
    fixes: tuple[Fix, ...] = (),
) -> ShapeError:
    """The error at a line; without one, as of a Sequential of torch's layers, the path alone says where."""
    column = max((len(text) for text, where in causes if where and len(text) <= MAX_ALIGNED), default=0)
    texts = tuple(f"{text:<{column}}  {where}" if where else text for text, where in dict.fromkeys(causes))
    if line is None:
        more = [f"  = {text}" for text in (*texts, *([f"help: {help}"] * bool(help)))]
        return ShapeError("\n".join([f"error: {message} [{code}]", *more]))
    source, span = _source(line)
    return ShapeError(
        str(Problem(source, span, code, message, None if fixes else help, tuple(map(Cause, texts)), fixes))
    )


def _callers(lines: Sequence[_CodeLine]) -> Iterator[tuple[str, str]]:
    """The lines that called the one that failed, but for wrappers."""
    for line in reversed(lines):
        if "*args" not in line.text:
            yield "called", line.place


class _Failure:
    """A run that failed, and what is known of it."""

    def __init__(
        self,
        error: Exception,
        module: nn.Module,
        inputs: Mapping[str, Tensor],
        trail: Trail,
        call: tuple[str, Sequence[Any], Mapping[str, Any]] | None,
    ) -> None:
        self.error, self.module, self.trail, self.call = error, module, trail, call
        lines = _user_lines(error)
        self.line = lines[-1] if lines else None
        self.outer_lines = lines[:-1]
        self.step = trail.stack[-1]
        self.is_users = self.line is not None and not _is_code_of(self.line.file, *_LIBRARIES)
        # Whether the user's line itself calls the layer or function that failed, rather than code of a library.
        inner = [f.filename for f in traceback.extract_tb(error.__traceback__)]
        inner = [file for file in inner if not _is_code_of(file, _TORCH, _OURS)]
        self.is_direct = self.line is not None and inner[-1] == self.line.file
        self.names = {id(tensor): name for name, tensor in inputs.items()}
        self.names |= {id(p): name for name, p in (*module.named_parameters(), *module.named_buffers())}

    def explain(self) -> ShapeError:
        """The error in our words."""
        fact = self._fact()
        ways = (self._own_tensor_that_fits, self._setting_that_fits, self._multiple_that_fits)
        help = next(filter(None, (fact.help, *(way(fact.sides) for way in ways))), None)
        given, texts = self._operands()
        if (fields := self._fields()) and "takes a tensor as" in fact.message:
            texts = {id(x): name for name, x in fields.items()}
            help = help or f"give one of its tensors: {' or '.join(fields)}"
        message = fact.message
        for i, key in enumerate(dict.fromkeys(id(x) for x, _ in fact.sides)):
            message = message.replace(f"{{{i}}}", texts.get(key, "the other"))
        if self.step.module is not None and (is_leaf(self.step) or isinstance(fact, _WrongCallError)):
            path = self.step.path or "the module"
            message = f"{path} ({describe_module(self.step.module)}): {_without_type(message, self.step.module)}"
        causes = [*self._nones(), *self._causes(given, texts, fact)]
        fixes = tuple(dict.fromkeys(self._fixes(fact, self.line))) if self.line is not None else ()
        return _error(self.line, message, fact.code, causes, help, fixes)

    def _operands(self) -> tuple[list[Tensor], dict[int, str]]:
        """The tensors that the failed call took, and what the user's code calls them, by identity."""
        unpacked = self._unpacked() if "unpack" in str(self.error) and self.call is None else None
        if unpacked is not None:
            return [unpacked[1]], {id(unpacked[1]): unpacked[0]}
        given = tensors([*self.call[1:]]) if self.call is not None else []
        given = list(self.step.given) if is_leaf(self.step) else given
        texts: Sequence[str] = (
            ("the first", "the second", "the third", "the fourth") if len(given) > 1 else ("its input",)
        )
        if self.is_direct and len(found := self._written(len(given))) == len(given):
            texts = [shortened(text, MAX_CHARACTERS_OF_OPERAND) for text in found]
        elif not (self.is_direct or self.call is None or is_leaf(self.step) or _sign(self.call[0])):
            bound = shapes.arguments_by_name(*self.call)
            known = {id(value): name for name, value in bound.items() if isinstance(value, Tensor)}
            texts = [known.get(id(x), text) for x, text in zip(given, texts, strict=False)]
        local = self.line.variables if self.line is not None else {}
        named = {id(value): name for name, value in local.items() if isinstance(value, Tensor)} | self.names
        return given, {id(x): named.get(id(x), text) for x, text in reversed([*zip(given, texts, strict=False)])}

    def _fields(self) -> dict[str, Tensor]:
        """The tensors in the only input of a layer, if it is an object with fields: ``out.logits``."""
        value, *others = self.step.arguments or [None]
        if not is_leaf(self.step) or others or value is None or isinstance(value, Tensor | tuple | list):
            return {}
        written = self._written(1) if self.is_direct else []
        return named(value, shortened(written[0], MAX_CHARACTERS_OF_OPERAND) if written else "input")

    def _unpacked(self) -> tuple[str, Tensor] | None:
        """The tensor whose sizes were unpacked, ``x`` of ``b, t, d = x.shape``; else what the last operator took."""
        assert self.line is not None
        for node in ast.walk(_expression(self.line.text)):
            if isinstance(node, ast.Attribute) and node.attr in ("shape", "size"):
                text = ast.unparse(node.value)
                found = [self.line.variables.get(text), *(self.trail.layers[-1].results if self.trail.layers else ())]
                x = next((value for value in found if isinstance(value, Tensor)), None)
                return (text, x) if x is not None else None
        return ("the last operand", self.trail.last[0]) if self.trail.last else None

    def _written(self, count: int) -> list[str]:
        """The operands of the failed call as the user's line writes them, if they can be found."""
        node = self.line.expression if self.line is not None else ast.Module([], [])
        if isinstance(node, ast.BinOp):
            return [ast.unparse(node.left), ast.unparse(node.right)]
        if not isinstance(node, ast.Call) or (is_leaf(self.step) and self._layer_of(node) is not self.step.module):
            return []
        receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        written = _flat([*node.args, *(keyword.value for keyword in node.keywords)])
        found = [ast.unparse(one) for one in written if not isinstance(one, ast.Constant | ast.UnaryOp)]
        if len(found) == count or is_leaf(self.step):
            return found
        return [ast.unparse(receiver[0]), *found[: count - 1]] if receiver else []

    def _layer_of(self, node: ast.AST) -> nn.Module | None:
        """The layer that a call names, ``self.conv(x)`` or ``conv(x)``."""
        local = self.line.variables if self.line is not None else {}
        if not isinstance(node, ast.Call):
            return None
        if isinstance(node.func, ast.Name):
            return local.get(node.func.id)
        is_own = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self"
        home = local.get("self")
        return home._modules.get(node.func.attr) if is_own and isinstance(home, nn.Module) else None  # type: ignore[attr-defined]

    def _nones(self) -> Iterator[tuple[str, str]]:
        """Why something is None where a tensor goes."""
        if self.line is None or not self.is_direct or not re.search(r"None(Type)?\b", f"{self.error} {self._fact()}"):
            return
        for node in ast.walk(self.line.expression):
            layer = self._layer_of(node)
            if isinstance(layer, nn.Module):
                calls = [one for one in self.trail.layers if one.module is layer]
                if calls and calls[-1] is not self.step and not calls[-1].results:
                    made = f"{calls[-1].path} ({describe_module(layer)}) returned no tensor"
                    yield f"{shortened(ast.unparse(node), MAX_CHARACTERS_OF_OPERAND)}: {made}", _defined(layer)
            elif isinstance(node, ast.Name) and self.line.variables.get(node.id, 0) is None:
                owner = self.line.variables.get("self")
                is_input = isinstance(owner, nn.Module) and node.id in inspect.signature(owner.forward).parameters
                yield f"{node.id} is None", _defined(owner) if is_input else ""

    def _own_tensor_that_fits(self, sides: Sides) -> str | None:
        """The shape of a parameter or buffer of the module's own that would fit: it was made for other sizes."""
        own = {id(tensor) for tensor in (*self.module.parameters(), *self.module.buffers())}
        for x, dim in sides:
            sizes = {int(y.shape[d]) for y, d in sides if y is not x and d == dim}
            if id(x) in own and len(sizes) == 1:
                shape = list(x.shape)
                shape[dim] = sizes.pop()
                made = f"{self.names[id(x)]} is made for {x.shape[dim]}"
                return f"{made}: one of {tuple(shape)} fits, or an input that gives {x.shape[dim]}"
        return None

    def _setting_that_fits(self, sides: Sides) -> str | None:
        """The setting of a layer of the user's that gave one of two sizes, if a library or an input gave the other."""
        if len(sides) != 2:
            return None
        found = []
        for (x, dim), (y, other) in (sides, sides[::-1]):
            change = next(iter(self.trail.follow(x, dim).changes), None)
            if change is not None and change.setting is not None and self._made_at(change.step.path) is not None:
                found.append(f"{change.step.path} with {change.setting}={y.shape[other]} fits")
        return found[0] if len(found) == 1 else None

    def _multiple_that_fits(self, sides: Sides) -> str | None:
        """The sizes of an input that strides divide, where one of them rounds."""
        for x, dim in sides:
            trail = self.trail.follow(x, dim)
            strides = [one.reading.stride for one in trail.changes if isinstance(one.reading, Slide)]
            multiple = math.prod(strides)
            grows = [one for one in trail.changes if not isinstance(one.reading, Slide)]
            if 1 in strides or not all(len(one.before) == 1 and one.after % one.before[0] == 0 for one in grows):
                continue
            for end in trail.ends:
                name, size = self.names.get(id(end.tensor)), int(end.tensor.shape[end.dim])
                if name is not None and (rest := size % multiple):
                    fitting = [n for n in (size - rest, size - rest + multiple) if n]
                    text = " or ".join(map(str, fitting))
                    return f"dimension {end.dim} of {name} must be a multiple of {multiple}: {text} instead of {size}"
        return None

    def _fact(self) -> LayerError:
        """What is wrong, as a check of ours says it, else torch's sentence."""
        if isinstance(self.error, TypeError) and (wrong := _wrong_call(self.step)) is not None:
            return wrong
        if isinstance(self.error, AttributeError) and (name := self.error.name) is not None:
            return self._missing(name, self.error.obj)
        try:
            if is_leaf(self.step) and self.step.module is not None:
                _check_layer(self.step.module, self.step.arguments)
            if self.call is not None:
                name, args, kwargs = self.call
                sign = _sign(name)
                if sign is not None and len(args) > 1:
                    shapes.check_operands(sign, *args[:2])
                shapes.check_call(name, args, kwargs)
        except LayerError as fact:
            return fact
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError):
            # The checks are for the calls that a spec allows; of another, torch's own sentence serves.
            pass
        message, help = reworded(str(self.error) or type(self.error).__name__)
        if not isinstance(self.error, TypeError | ValueError | RuntimeError | IndexError):
            message = f"{type(self.error).__name__}: {message}"
        called = (
            self.call[0].strip("_").replace("getitem", "indexing")
            if self.call is not None and not is_leaf(self.step)
            else ""
        )
        return LayerError(f"{called}: {message}" if called else message, help)

    def _missing(self, name: str, owner: Any) -> LayerError:
        """An attribute that something lacks: a layer that was not made, a method of None."""
        written = (
            [] if self.line is None else [n for n in ast.walk(self.line.expression) if isinstance(n, ast.Attribute)]
        )
        text = next((ast.unparse(node.value) for node in written if node.attr == name), "it")
        if owner is None:
            return LayerError(f"{text} is None, which has no {name}", code="type")
        meant = nearest(name, [one for one in dir(owner) if not one.startswith("_")])
        help = f"did you mean {text}.{meant}?" if meant else None
        return LayerError(f"{text} ({type(owner).__name__}) has no {name}", help, code="name")

    # -- where the sizes came from ------------------------------------------------------------------------------------

    def _causes(self, given: Sequence[Tensor], texts: Mapping[int, str], fact: LayerError) -> Iterator[tuple[str, str]]:
        shows_dtype = len({x.dtype for x in given}) > 1 or "dtype" in fact.message or bool(_DTYPES.search(fact.message))
        for x in given[:4]:
            made = self.trail.maker(x)
            by = self._where(made.step) if made is not None else ""
            made_by = self._made_at(self.names[id(x)]) if id(x) in self.names else None
            by = made_by.place if made_by is not None else by
            dtype = f" {str(x.dtype).removeprefix('torch.')}" if shows_dtype else ""
            yield f"{texts.get(id(x), 'input')} {shapes.shape_text(x)}{dtype}", by
        sides = fact.sides or self._sides(given, fact.message)
        trails = apart_from_others(sides, [self.trail.follow(x, dim) for x, dim in sides])
        for trail in trails:
            yield from self._trail(trail, kept=len(sides) == 1)
        if isinstance(fact, _WrongCallError) and self.step.module is not None:
            yield "its forward", _defined(self.step.module)
        if not is_leaf(self.step) and self.step.path and self.is_users and not self.is_direct:
            yield f"in {self.step.path}", type(self.step.module).__name__
        seen: set[tuple[str, int]] = set()
        for step in self.trail.stack[:0:-1]:
            place = self._made_at(step.path)
            if place is not None and (place.file, place.number) not in seen:
                seen.add((place.file, place.number))
                yield f"{step.path} is made", place.place
        yield from _callers(self.outer_lines)

    def _trail(self, trail: SizeTrail, kept: bool) -> Iterator[tuple[str, str]]:
        windows = trail.windows[:2] if kept or not trail.changes else ()
        changes = (*(one for one in windows if one not in trail.changes), *trail.changes)
        if len(changes) > MAX_CHANGES_SHOWN:
            changes = (*changes[: MAX_CHANGES_SHOWN - 1], changes[-1])
        for change in changes:
            yield change.text, self._where(change.step)
        for end in trail.ends:
            name = self.names.get(id(end.tensor))
            if name is not None:
                place = self._made_at(name)
                size = end.tensor.shape[end.dim]
                yield f"{size} is dimension {end.dim} of {name}", place.place if place is not None else ""

    def _sides(self, given: Sequence[Tensor], message: str) -> Sides:
        squeezed = [side for x in given if (side := self.trail.unsqueezed(x)) is not None]
        if squeezed or self.call is None:
            return tuple(squeezed or [(x, -1) for x in given if x.dim()])
        if _DTYPES.search(message) or "found None" in message:  # no size is wrong
            return ()
        numbers = {int(n) for n in re.findall(r"(?<![\w.])\d+(?![\w.])", message.replace(",", ""))} - {0, 1}
        return tuple((x, d) for x in given for d, size in enumerate(x.shape) if size in numbers)

    def _where(self, step: Step) -> str:
        """A layer by its path and the line that makes it, or a line of code."""
        if step.module is not None and is_leaf(step):
            place = self._made_at(step.path)
            made = f"  {place.name}:{place.number}" if place is not None else ""
            return f"{step.path}: {describe_module(step.module)}{made}"
        file, _, number = step.text.rpartition(":")
        if number.isdigit():
            around = f"{step.path}: " if step.path not in ("", self.step.path) else ""
            return around + _CodeLine(file, int(number), int(number), (0, 0)).place
        return ": ".join(filter(None, [step.path, describe_module(step.module) if step.module is not None else ""]))

    def _made_at(self, path: str) -> _CodeLine | None:
        """The line of a class that makes the module or parameter at a path: ``self.conv = nn.Conv2d(…)``."""
        above, _, name = path.rpartition(".")
        places: list[int] = []
        while name.isdigit():
            places.insert(0, int(name))
            above, _, name = above.rpartition(".")
        try:
            parent: type[nn.Module] = type(self.module.get_submodule(above))
        except AttributeError:
            return None
        found = _assignment(parent, name, tuple(places)) if name else None
        # A library's lines say something only if the whole model is the library's.
        return None if found is None or (self.is_users and _is_code_of(found.file, *_LIBRARIES)) else found

    # -- what would fit -----------------------------------------------------------------------------------------------

    def _fixes(self, fact: LayerError, line: _CodeLine) -> Iterator[Fix]:
        """A line with the size that the layer's input has, or with the input brought to its shape."""
        module = self.step.module
        if module is None or not is_leaf(self.step):
            yield from self._borders(fact.sides, line)
            return
        if _fits_with_batch_first(module, self.step.arguments):
            yield from self._in_constructor("batch_first=True", None, line)
        if not isinstance(fact, _MisfitError):
            return
        if not fact.sides or not isinstance(wanted := fact.built, int):
            return
        (x, dim), *_ = fact.sides
        method = next(
            (f"flatten({d})" for d in range(1, x.dim() - 1) if math.prod(x.shape[d:]) == wanted),
            next((f"transpose({d}, {dim % x.dim()})" for d in range(1, x.dim()) if x.shape[d] == wanted), None)
            if x.dim() == 3
            else None,
        )
        if x.dim() == 4 and x.shape[-1] == wanted and hasattr(module, "in_channels"):
            method = "permute(0, 3, 1, 2)"
        if method is not None:
            yield from self._in_call(method, line)
        elif x.dim() == 2 or not any(isinstance(c.reading, Slide) for c in self.trail.follow(x, dim).changes):
            yield from self._in_constructor(str(int(x.shape[dim])), fact.setting, line)

    def _borders(self, sides: Sides, line: _CodeLine) -> Iterator[Fix]:
        """The line that makes a convolution, padded by half of its kernel where that makes the sizes equal."""
        for x, dim in sides:
            for change in self.trail.follow(x, dim).windows:
                window, others = change.reading, {int(y.shape[d]) for y, d in sides if y is not x and d == dim}
                if not isinstance(window, Slide) or change.after != x.shape[dim] or not window.kernel % 2:
                    continue
                half = window.dilation * (window.kernel - 1) // 2
                size = window_count(change.before[0], window.kernel, window.stride, half, window.dilation)
                if window.padding != half and others == {size}:
                    yield from self._with_padding(change.step.path, half, line)

    def _with_padding(self, path: str, padding: int, line: _CodeLine) -> Iterator[Fix]:
        place = self._made_at(path)
        if place is None or place.number != place.end or place.file != line.file:
            return
        calls = [node for node in ast.walk(_expression(place.text)) if isinstance(node, ast.Call)]
        made = [call for call in calls if ast.unparse(call.func).rpartition(".")[2].startswith("Conv")]
        if len(made) == 1:
            given = [keyword.value for keyword in made[0].keywords if keyword.arg == "padding"] or made[0].args[4:5]
            if given:
                yield _fix(place, Span(given[0].col_offset, given[0].end_col_offset or 0), str(padding))
            else:
                end = made[0].end_col_offset or 0
                yield _fix(place, Span(end - 1, end), f", padding={padding})")

    def _in_call(self, method: str, line: _CodeLine) -> Iterator[Fix]:
        """The line that calls the layer, its argument changed by a method."""
        name = self.step.path.rpartition(".")[2]
        for node in ast.walk(_expression(line.text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                (argument, *_) = node.args
                start, end = argument.col_offset, argument.end_col_offset or 0
                yield _fix(line, Span(start, end), f"{line.text[start:end]}.{method}")

    def _in_constructor(self, right: str, setting: str | None, line: _CodeLine) -> Iterator[Fix]:
        """The line that makes the layer, with another number for a setting, its first, or one more argument."""
        place = self._made_at(self.step.path)
        if place is None or place.number != place.end or place.file != line.file:
            return
        if setting is None:
            if place.text.endswith(")"):
                end = len(place.text)
                yield _fix(place, Span(end - 1, end), f", {right})")
            return
        kind = type(self.step.module).__name__
        calls = [node for node in ast.walk(_expression(place.text)) if isinstance(node, ast.Call)]
        made = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] == kind]
        given = [value for call in made for value in _argument(call, setting)]
        if len(given) == 1 and all(isinstance(n, _ARITHMETIC) for n in ast.walk(given[0])):
            yield _fix(place, Span(given[0].col_offset, given[0].end_col_offset or 0), right)


# What a number is written with.
_ARITHMETIC = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
_DTYPES = re.compile(r"\b(uint8|bool|b?float\d+|int\d+|complex\d+)\b")


def _argument(call: ast.Call, setting: str) -> list[ast.expr]:
    """The argument of a call for a setting that is its first."""
    return [keyword.value for keyword in call.keywords if keyword.arg == setting] or call.args[:1]


def _sign(name: str) -> str | None:
    """The operator that a method stands for: ``+`` of ``__radd__``."""
    return _OPERATORS.get(name.strip("_").removeprefix("r"), _OPERATORS.get(name.strip("_")))


def _flat(written: Sequence[ast.expr]) -> Iterator[ast.expr]:
    for one in written:
        if isinstance(one, ast.List | ast.Tuple):
            yield from _flat(one.elts)
        else:
            yield one


class _WrongCallError(LayerError):
    """A call of a module whose inputs are too many, too few or wrongly named."""


def _wrong_call(step: Step) -> _WrongCallError | None:
    """What does not fit in the call of a module."""
    if step.module is None or not hasattr(step.module, "forward"):
        return None
    args, kwargs = step.arguments, dict[str, Any]()
    if len(args) == 2 and isinstance(args[0], tuple) and isinstance(args[1], dict):
        args, kwargs = args
    signature = inspect.signature(step.module.forward)
    try:
        signature.bind(*args, **kwargs)
        return None
    except TypeError:
        pass
    known = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    places = [p.name for p in known if p.kind is not p.KEYWORD_ONLY]
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    takes = f"it takes {signature.replace(parameters=plain, return_annotation=signature.empty)}"
    for name in kwargs:
        if name not in signature.parameters:
            meant = nearest(name, [p.name for p in known])
            return _WrongCallError(
                f"forward has no input {name}: {takes}", f"did you mean {meant}?" if meant else None, code="call"
            )
    if len(args) > len(places):
        return _WrongCallError(f"forward was given {len(args)} inputs by position: {takes}", code="call")
    if twice := [name for name in places[: len(args)] if name in kwargs]:
        return _WrongCallError(f"forward was given {twice[0]} twice, by position and by name: {takes}", code="call")
    filled = {*places[: len(args)], *kwargs}
    missing = [p.name for p in known if p.default is p.empty and p.name not in filled]
    return _WrongCallError(f"forward was not given {' and '.join(missing)}: {takes}", code="call")


def _defined(module: Any) -> str:
    """Where the forward of a module of the user's is written."""
    code = getattr(getattr(type(module), "forward", None), "__code__", None)
    if code is None or _is_code_of(code.co_filename, _TORCH, *_LIBRARIES):
        return ""
    return _CodeLine(code.co_filename, code.co_firstlineno, code.co_firstlineno, (0, 0)).place


def _assignment(kind: type[nn.Module], name: str, places: tuple[int, ...]) -> _CodeLine | None:
    """The line of a class that sets an attribute, or makes the item of a Sequential in it."""
    code = getattr(kind.__init__, "__code__", None)
    if code is None or _is_code_of(code.co_filename, _TORCH):
        return None
    tree = _parsed(code.co_filename)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Assign) or not code.co_firstlineno <= node.lineno:
            continue
        targets = [one for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Attribute)]
        if any(one.attr == name for one in targets):
            made: ast.expr = node.value
            for place in places:
                items = made.args if isinstance(made, ast.Call) else []
                if place >= len(items) or any(isinstance(item, ast.Starred) for item in items):
                    break
                made = items[place]
            number = made.lineno if places else node.lineno
            return _CodeLine(code.co_filename, number, number, (0, 0))
    return None


def _expression(text: str) -> ast.AST:
    """A line of code, or of the items of a call, which end with a comma."""
    try:
        return ast.parse(text.rstrip(","))
    except SyntaxError:
        return ast.Module([], [])


def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None


def _source(line: _CodeLine) -> tuple[Source, Span]:
    source = Source(line.name, "".join(linecache.getlines(line.file)))
    start, end = (source.offset(number, 1) for number in (line.number, line.end))
    return source, Span(start + line.columns[0], end + line.columns[1])


def _fix(line: _CodeLine, part: Span, new: str) -> Fix:
    """A line with another text in a part of it."""
    source, whole = _source(line)[0], linecache.getline(line.file, line.number)
    start = source.offset(line.number, 1) + len(whole) - len(whole.lstrip())
    text = f"{line.text[: part.start]}{new}{line.text[part.end :]}"
    return Fix(((Span(start + part.start, start + part.end), new),), text)


def _without_type(message: str, module: nn.Module) -> str:
    """A message of a check of a layer, without the name of its type in front."""
    kind = type(module).__name__
    return message.removeprefix(f"{kind}: ").removeprefix(f"{kind}'s ").removeprefix(f"{kind} ")


def _inputs_of(layer: Layer, arguments: Any) -> list[Any]:
    """The inputs of a call as a hook gives them: its arguments, perhaps with its keywords."""
    keywords: dict[str, Any] = {}
    if len(arguments) == 2 and isinstance(arguments[1], dict):
        arguments, keywords = arguments
    return positional_inputs(layer, arguments, keywords)


def _fits_with_batch_first(module: nn.Module, arguments: Any) -> bool:
    """Whether a layer that takes the length first would take these inputs with the batch first."""
    layer = layer_of(module) if getattr(module, "batch_first", None) is False else None
    if layer is None:
        return False
    try:
        type(layer)(**{**vars(layer), "batch_first": True}).check(*_inputs_of(layer, arguments))
    except LayerError:
        return False
    return True


def _check_layer(module: nn.Module, arguments: Any) -> None:
    """Check the inputs of a layer of torch's as a spec's are. Raises LayerError."""
    layer = layer_of(module) if type(module).__name__ in LAYERS else None
    if layer is None:
        return
    given = _inputs_of(layer, arguments)
    weights = next((p for p in module.parameters() if p.is_floating_point()), None)
    with use_default_dtype(weights.dtype) if weights is not None else contextlib.nullcontext():
        layer.check(*given)
    for name, size in layer.infer(*given).items():
        built = getattr(module, name, None)
        if size is not None and built is not None and built != size and (size,) != built:
            side = layer.side_of(name, *given)
            raise _MisfitError(name, built, size, (side,) if side is not None else ())


# --- lines of the user's code -----------------------------------------------------------------------------------------


def _is_code_of(file: str, *folders: str) -> bool:
    return any(file.startswith(folder) for folder in folders) or file.startswith("<")


def _user_lines(error: BaseException) -> list[_CodeLine]:
    """The lines of the user's code that led to an error, or of a library's if there are none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [
        (f, frame)
        for f, frame in zip(traceback.extract_tb(error.__traceback__), frames, strict=True)
        if not _is_code_of(f.filename, _TORCH, _OURS)
    ]
    found = [one for one in found if not _is_code_of(one[0].filename, *_LIBRARIES)] or found
    lines = []
    for f, frame in found:
        first, last = f.lineno or 1, f.end_lineno or f.lineno or 1
        columns = _characters(f.filename, first, f.colno or 0), _characters(f.filename, last, f.end_colno or 0)
        lines.append(_CodeLine(f.filename, first, last, columns, frame.f_locals))
    return lines


def _characters(file: str, line: int, column: int) -> int:
    """The characters before a column, which a traceback counts in bytes."""
    return len(linecache.getline(file, line).encode()[:column].decode(errors="ignore"))


def _is_raised_by_user(error: BaseException) -> bool:
    """Whether the user's code, or a library's, raised the error itself."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if _is_code_of(last.filename, _TORCH, _OURS):
        return False
    begun = linecache.getline(last.filename, last.lineno or 1).encode()[last.colno or 0 :]
    return (last.line or "").startswith(("raise ", "assert ")) or begun.startswith((b"raise ", b"assert "))


def _own_line() -> str:
    """The innermost line of the user's code that runs now, as ``file:line``; empty inside a library's module."""
    frame: FrameType | None = sys._getframe(1)
    first = ""
    while frame is not None and frame.f_code is not explain_failure.__code__:
        file = frame.f_code.co_filename
        if first and frame.f_code is nn.Module._call_impl.__code__:
            return ""
        if not _is_code_of(file, _TORCH, _OURS):
            place = f"{file}:{frame.f_lineno}"
            if not _is_code_of(file, *_LIBRARIES):
                return place
            first = first or place
        frame = frame.f_back
    return first
