"""Explains why a module's forward failed: at which layer and line of the user's code, and where the sizes came from.

The forward runs once more on a copy, watched by a :class:`fwdscope.model.trail.Trail`.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import math
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fwdscope.default_dtype import use_default_dtype
from fwdscope.errors import LayerError, ShapeError, Sides
from fwdscope.formula import window_count
from fwdscope.language.problems import Cause, Fix, Problem, Source, Span
from fwdscope.layers import LAYERS, Layer, describe_module, layer_of
from fwdscope.model import shapes
from fwdscope.model.causes import apart_from_others, reworded, shortened
from fwdscope.model.layer_calls import positional_inputs
from fwdscope.model.trail import SizeTrail, Step, Trail, is_leaf
from fwdscope.ops.nested import tensors
from fwdscope.ops.positions import Slide
from fwdscope.ops.watch import watching

_OURS = str(Path(__file__).parents[1])
_TORCH = str(Path(torch.__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
# Operators by the names of the methods that stand for them.
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/", "matmul": "@", "pow": "**"}
MAX_CHANGES_SHOWN = 6


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

    @property
    def text(self) -> str:
        """Its text, without the indent."""
        return linecache.getline(self.file, self.number).strip()

    @property
    def name(self) -> str:
        """The file as a user names it: from the folder where the command runs."""
        path = Path(self.file)
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def explain_failure(
    error: Exception, module: nn.Module, inputs: Mapping[str, Tensor], run: Callable[[Trail], None]
) -> ShapeError | None:
    """What the error of a module's forward means; None if the user's code raised it on purpose.

    ``run`` runs a copy, ``module``, once more under an observer; ``inputs`` are its tensors by name.
    """
    trail, failed = Trail(own_code=_own_line), _FailedCall()
    try:
        with failed, watching(trail.op), torch.no_grad():
            run(trail)
    except Exception as again:
        lines = _user_lines(again)
        # Without an operator or a call of torch's, the arguments are wrong, and Python's own error says so.
        ran = failed.call is not None or trail.last or is_leaf(trail.stack[-1])
        if type(again) is type(error) and ran and not _is_raised_by_user(again):
            return _Failure(again, module, inputs, trail, failed.call, lines).explain()
    return None


class _Failure:
    """A run that failed, and what is known of it."""

    def __init__(
        self,
        error: Exception,
        module: nn.Module,
        inputs: Mapping[str, Tensor],
        trail: Trail,
        call: tuple[str, Sequence[Any], Mapping[str, Any]] | None,
        lines: list[_CodeLine],
    ) -> None:
        self.error, self.module, self.trail = error, module, trail
        # Without one, as of a Sequential of torch's layers, the path alone says where.
        self.line = lines[-1] if lines else None
        self.outer_lines = lines[:-1]
        self.step = trail.stack[-1]
        self.call = call
        self.names = {id(tensor): name for name, tensor in inputs.items()}
        self.names |= {id(p): name for name, p in (*module.named_parameters(), *module.named_buffers())}

    def explain(self) -> ShapeError:
        """The error in our words."""
        fact = self._fact()
        help = fact.help or self._own_tensor_that_fits(fact.sides)
        # Where results are unpacked no call fails: then what the last operator took.
        last = self.trail.last if "unpack" in str(self.error) else ()
        given = list(last) if self.call is None else tensors([*self.call[1:]])
        given = list(self.step.given) if is_leaf(self.step) else given
        ordinals = ("the first", "the second", "the third", "the fourth") if len(given) > 1 else ("its input",)
        texts = {id(x): self.names.get(id(x), text) for x, text in zip(given, ordinals, strict=False)}
        message = fact.message
        for i, key in enumerate(dict.fromkeys(id(x) for x, _ in fact.sides)):
            message = message.replace(f"{{{i}}}", texts.get(key, "the other"))
        if is_leaf(self.step) and self.step.module is not None:
            path = self.step.path or "the module"
            message = f"{path} ({describe_module(self.step.module)}): {_without_type(message, self.step.module)}"
        causes = tuple(dict.fromkeys(self._causes(given, texts, fact)))
        if self.line is None:
            more = [f"  = {text}" for text in (*(cause.text for cause in causes), *([f"help: {help}"] * bool(help)))]
            return ShapeError("\n".join([f"error: {message} [{fact.code}]", *more]))
        source, span = _source(self.line)
        fixes = tuple(dict.fromkeys(self._fixes(fact, self.line)))
        return ShapeError(str(Problem(source, span, fact.code, message, None if fixes else help, causes, fixes)))

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

    def _fact(self) -> LayerError:
        """What is wrong, as a check of ours says it, else torch's sentence."""
        try:
            if is_leaf(self.step) and self.step.module is not None:
                _check_layer(self.step.module, self.step.arguments)
            if self.call is not None:
                name, args, kwargs = self.call
                sign = _OPERATORS.get(name.strip("_").removeprefix("r"), _OPERATORS.get(name.strip("_")))
                if sign is not None and len(args) > 1:
                    shapes.check_operands(sign, *args[:2])
                shapes.check_call(name, args, kwargs)
        except LayerError as fact:
            return fact
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError):
            # The checks are for the calls that a spec allows; of another, torch's own sentence serves.
            pass
        message, help = reworded(str(self.error) or type(self.error).__name__)
        called = self.call[0].strip("_") if self.call is not None and not is_leaf(self.step) else ""
        return LayerError(f"{called}: {message}" if called else message, help)

    # -- where the sizes came from ------------------------------------------------------------------------------------

    def _causes(self, given: Sequence[Tensor], texts: Mapping[int, str], fact: LayerError) -> Iterator[Cause]:
        for x in given[:4]:
            made = self.trail.maker(x)
            by = self._where(made.step) if made is not None else ""
            made_by = self._made_at(self.names[id(x)]) if id(x) in self.names else None
            by = f"{made_by.name}:{made_by.number}  {shortened(made_by.text)}" if made_by is not None else by
            yield self._cause(f"{texts.get(id(x), 'input')} {shapes.shape_text(x)}", by)
        sides = fact.sides or self._sides(given, fact.message)
        trails = apart_from_others(sides, [self.trail.follow(x, dim) for x, dim in sides])
        for trail in trails:
            yield from self._trail(trail, kept=len(sides) == 1)
        for step in self.trail.stack[:0:-1]:
            place = self._made_at(step.path)
            if place is not None:
                yield self._cause(f"{step.path} is made", f"{place.name}:{place.number}  {shortened(place.text)}")
        for frame in [one for one in reversed(self.outer_lines) if "*args" not in one.text]:  # no wrappers
            yield self._cause("called", f"{frame.name}:{frame.number}  {shortened(frame.text)}")

    def _trail(self, trail: SizeTrail, kept: bool) -> Iterator[Cause]:
        windows = trail.windows[:2] if kept or not trail.changes else ()
        changes = (*(one for one in windows if one not in trail.changes), *trail.changes)
        if len(changes) > MAX_CHANGES_SHOWN:
            changes = (*changes[: MAX_CHANGES_SHOWN - 1], changes[-1])
        for change in changes:
            yield self._cause(change.text, self._where(change.step))
        for end in trail.ends:
            name = self.names.get(id(end.tensor))
            if name is not None:
                place = self._made_at(name)
                where = f"{place.name}:{place.number}  {shortened(place.text)}" if place is not None else ""
                yield self._cause(f"{end.tensor.shape[end.dim]} is dimension {end.dim} of {name}", where)

    def _sides(self, given: Sequence[Tensor], message: str) -> Sides:
        squeezed = [side for x in given if (side := self.trail.unsqueezed(x)) is not None]
        if squeezed or self.call is None:
            return tuple(squeezed or [(x, -1) for x in given if x.dim()])
        digits = "".join(c if c.isdigit() else " " for c in message.replace(",", ""))
        numbers = {int(n) for n in digits.split()} - {0, 1}
        return tuple((x, d) for x in given for d, size in enumerate(x.shape) if size in numbers)

    def _cause(self, text: str, where: str) -> Cause:
        return Cause(f"{text}  {where}" if where else text)

    def _where(self, step: Step) -> str:
        """A layer by its path and the line that makes it, or a line of code."""
        if step.module is not None and is_leaf(step):
            place = self._made_at(step.path)
            made = f"  {place.name}:{place.number}" if place is not None else ""
            return f"{step.path}: {describe_module(step.module)}{made}"
        file, _, number = step.text.rpartition(":")
        if not number.isdigit():
            return step.path
        line = _CodeLine(file, int(number), int(number), (0, 0))
        return f"{line.name}:{number}  {shortened(line.text)}"

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
        return _assignment(parent, name, tuple(places)) if name else None

    # -- what would fit -----------------------------------------------------------------------------------------------

    def _fixes(self, fact: LayerError, line: _CodeLine) -> Iterator[Fix]:
        """A line with the size that the layer's input has, or with the input brought to its shape."""
        module = self.step.module
        if module is None or not is_leaf(self.step):
            yield from self._borders(fact.sides, line)
            return
        if _fits_with_batch_first(module, self.step.arguments):
            yield from self._in_constructor("batch_first=True", None, line)
        if not fact.sides:
            return
        (x, dim), *_ = fact.sides
        wanted = getattr(module, "in_features", getattr(module, "in_channels", None))
        if not isinstance(wanted, int) or wanted == x.shape[dim]:
            return
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
            yield from self._in_constructor(str(int(x.shape[dim])), wanted, line)

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

    def _in_constructor(self, right: str, wrong: int | None, line: _CodeLine) -> Iterator[Fix]:
        """The line that makes the layer, with another number in place of a wrong one, or one more argument."""
        place = self._made_at(self.step.path)
        if place is None or place.number != place.end or place.file != line.file:
            return
        if wrong is None:
            if place.text.endswith(")"):
                end = len(place.text)
                yield _fix(place, Span(end - 1, end), f", {right})")
            return
        numbers = [n for n in ast.walk(_expression(place.text)) if isinstance(n, ast.Constant) and n.value == wrong]
        if len(numbers) == 1:
            start, end = numbers[0].col_offset, numbers[0].end_col_offset or 0
            yield _fix(place, Span(start, end), right)


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
            message = f"it was made with {name}={built}, and its input has {size}"
            raise LayerError(message, None, (side,) if side is not None else ())


# --- lines of the user's code -----------------------------------------------------------------------------------------


def _is_code_of(file: str, *folders: str) -> bool:
    return any(file.startswith(folder) for folder in folders) or file.startswith("<")


def _user_lines(error: BaseException) -> list[_CodeLine]:
    """The lines of the user's code that led to an error, or of a library's if there are none."""
    found = [f for f in traceback.extract_tb(error.__traceback__) if not _is_code_of(f.filename, _TORCH, _OURS)]
    found = [f for f in found if not _is_code_of(f.filename, *_LIBRARIES)] or found
    return [
        _CodeLine(f.filename, f.lineno or 1, f.end_lineno or f.lineno or 1, (f.colno or 0, f.end_colno or 0))
        for f in found
    ]


def _is_raised_by_user(error: BaseException) -> bool:
    """Whether the user's code, or a library's, raised the error itself."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return not _is_code_of(last.filename, _TORCH, _OURS) and (last.line or "").startswith(("raise ", "assert "))


def _own_line() -> str:
    """The innermost line of the user's code that runs now, as ``file:line``."""
    frame: FrameType | None = sys._getframe(1)
    first: str = ""
    while frame is not None and frame.f_code is not explain_failure.__code__:
        file = frame.f_code.co_filename
        if not _is_code_of(file, _TORCH, _OURS):
            place = f"{file}:{frame.f_lineno}"
            if not _is_code_of(file, *_LIBRARIES):
                return place
            first = first or place
        frame = frame.f_back
    return first
