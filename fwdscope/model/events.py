"""Events of a running network, and the protocol of those who observe them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from fwdscope.language import tree
from fwdscope.language.problems import Span
from fwdscope.report import Promise

# A step of a run, or a line, by its path and the number of its call there: runs that take other ways still pair.
StepKey = tuple[str, str, int]


# The type of a step that is a round of a loop, with layers of its own.
ROUND = "round"


def own_work_key(step: StepKey, position: int) -> StepKey:
    """The key of what a step computes itself after so many of the steps inside it."""
    return f"own {position}", step[1], step[2]


class StepCounter:
    """Gives each step of a run its key."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], int] = {}

    def step(self, path: str) -> StepKey:
        """The key of the next layer, block, stack, part, loop or Parameter at a path."""
        return self._next("step", path)

    def line(self, path: str) -> StepKey:
        """The key of the next line at a path."""
        return self._next("line", path)

    def _next(self, kind: str, path: str) -> StepKey:
        call = self._calls[kind, path] = self._calls.get((kind, path), 0) + 1
        return kind, path, call


class StepStart(NamedTuple):
    """The start of a layer, block, stack, part, loop or Parameter.

    ``type`` is the name of its class, ``text`` the text of its row.
    """

    kind: str
    path: str
    type: str
    text: str
    label: str = ""
    span: Span | None = None
    module: nn.Module | None = None


class LineResult(NamedTuple):
    """A line that has run.

    ``arguments`` gives the text of the arguments of its call that are not names; ``reads`` are the paths of parameters
    elsewhere that it reads; ``promise`` says whether its promised shape is right.
    """

    line: tree.Statement
    path: str
    label: str
    arguments: Callable[[], str]
    reads: tuple[str, ...]
    promise: Promise | None


class Observer(Protocol):
    """Receives the events of a run, as :class:`fwdscope.trace.Recorder` does.

    One that :class:`CopyObserver` describes need not see equal copies of a stack run.
    """

    def begin(self, what: StepStart, inputs: Any) -> None:
        """A step starts on these inputs."""

    def end(self, outputs: Any) -> None:
        """The step that started last and is still open ends."""

    def turn(self) -> None:
        """A round of a loop starts."""

    def line(self) -> None:
        """A line starts."""

    def line_end(self, end: LineResult, value: Any) -> None:
        """A line ends with its value."""

    def note(self, text: str) -> None:
        """A note for the reader on the step that is running."""


@runtime_checkable
class CopyObserver(Observer, Protocol):
    """An observer that accepts equal copies of a stack on meta instead of a run of each."""

    repeats: bool

    def is_repeatable(self, x: Tensor, others: Sequence[Tensor], result: Tensor) -> bool:
        """Whether the layer that just ended, called on these, leaves nothing behind but its result."""

    def may_repeat(self, modules: Mapping[nn.Module, nn.Module]) -> bool:
        """Whether a copy would be recorded as the layer that just ended; ``modules`` maps that one's to the copy's."""

    def repeat(self, x: Tensor, result: Tensor, modules: Mapping[nn.Module, nn.Module]) -> Tensor:
        """A copy of the layer that just ended is run on ``x``, the result of that one, and gives what is returned.

        That is ``result``, or a tensor like it.
        """


class BuildObserver(CopyObserver, Protocol):
    """An observer of the very run that makes the layers, which saves a second one."""

    # Whether a second run would be seen otherwise, so that it takes place.
    is_unlike: bool
    # Loops whose rounds are expected to make layers, by the place of their line, and those of them that ran.
    loops: frozenset[Span]
    split: set[Span]

    def paused(self) -> AbstractContextManager[Any]:
        """Ignore operators that run inside: they make or check a layer."""

    def hooked(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Observe the calls of the modules inside a layer of torch's."""

    def add_weights(self, weights: Iterable[Tensor]) -> None:
        """Weights were made."""

    def run_new(
        self,
        module: nn.Module,
        template: Any,
        inputs: tuple[Any, ...],
        keywords: dict[str, Any],
        call: Callable[[], Any],
    ) -> Any:
        """What a block or layer that was just made of a template gives: by ``call``, or as an equal one gave it."""

    def as_weight(self, made: Tensor) -> Tensor:
        """A Parameter or Buffer of the file, from what its expression gives."""
