"""Checks the section ``graph``, whose lines come in any order, and sorts them by what they read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Name
from fwdscope.language.flow_checker import FlowChecker
from fwdscope.language.problems import Cause, Span
from fwdscope.language.scope import NOTHING, Binding, CheckContext

K = TypeVar("K", bound=Hashable)


class GraphSorter:
    """Checks a graph and brings its lines into running order."""

    def __init__(self, context: CheckContext, flow: FlowChecker) -> None:
        self.context = context
        self.flow = flow

    def sort(self) -> tuple[tree.Line, ...]:
        """Return the lines of the graph, each after the lines that it reads."""
        context = self.context
        context.in_graph = True
        context.state.prev, context.state.flow = None, frozenset()
        reported = len(context.problems)
        order = self._sort_lines(*self._graph_lines())
        for named in (n for line in order for n in ex.targets(line.target)):
            # A circle leaves names without a value. It is reported once, as the circle.
            context.state.frames[0].setdefault(named.name, Binding("value", named.span, NOTHING))
        for line in order:
            self.flow.check_statement(line)
        if len(context.problems) == reported and not context.spec.broken:
            self._check_result(order)
        context.in_graph = False
        return tuple(order)

    def _graph_lines(self) -> tuple[list[tree.Statement], dict[str, tree.Statement]]:
        """Return the lines that a graph may have, and the line that defines each name."""
        report = self.context.report
        defined: dict[str, tree.Statement] = {}
        lines: list[tree.Statement] = []
        for line in self.context.spec.layers:
            if not isinstance(line, tree.Statement):
                word = f"the part {line.name}" if isinstance(line, tree.PartLine) else f"{line.text.split()[0]}:"
                help = "write it under `layers:`, or make it a block"
                report(line.span, f"{word} is not allowed in a graph", help, "flow")
                continue
            if isinstance(line.value, ex.Unparsed):
                continue
            names = ex.targets(line.target)
            if not names:
                report(line.span, "a line of a graph needs a name", f"write `name = {line.text}`", "flow")
                continue
            taken = [self._is_taken(named, defined) for named in names]
            defined.update({named.name: line for named in names if named.name not in defined})
            if not any(taken):
                lines.append(line)
        return lines, defined

    def _is_taken(self, named: ex.NameTarget, defined: dict[str, tree.Statement]) -> bool:
        """Whether another line, an input or a var has this name already, which is reported."""
        binding, first = self.context.state.find(named.name), defined.get(named.name)
        if first is not None:
            cause = Cause("first used here", first.span)
        elif binding is not None:
            cause = Cause(f"the {binding.kind} {named.name}", binding.span)
        else:
            return False
        help = "in a graph each name is defined once"
        self.context.report(named.span, f"{named.name} is given twice", help, "name", (cause,))
        return True

    def _sort_lines(self, lines: list[tree.Statement], defined: dict[str, tree.Statement]) -> list[tree.Statement]:
        """Sort lines by what they read; report circles with their path."""
        by_span = {line.span: line for line in lines}

        def uses(span: Span) -> list[Span]:
            nodes = ex.walk(by_span[span].value)
            names = dict.fromkeys(n.id for n in nodes if isinstance(n, Name) and n.id in defined)
            return [defined[name].span for name in names if defined[name].span in by_span]

        order, circles = sort_by_use(by_span, uses)
        for circle in circles:
            names = [ex.targets(by_span[span].target)[0].name for span in circle]
            causes = tuple(Cause(f"{a} reads {b}", span) for a, b, span in zip(names, names[1:], circle, strict=False))
            message = f"these lines depend on themselves: {' → '.join(names)}"
            self.context.report(circle[0], message, "let one of them read something else", "flow", causes)
        return [by_span[span] for span in order]

    def _check_result(self, order: list[tree.Statement]) -> None:
        """Check that exactly one line is read by no other: the result."""
        definitions = self.context.body.definitions.values()
        ends = []
        for line in order:
            own = [d for d in definitions if d.line == line.span]
            if own and all(d.unread for d in own):
                ends.append(line)
            else:
                self.flow.report_unread(own)
        self.flow.report_unread(d for d in definitions if d.input)
        if len(ends) > 1:
            names = [ex.targets(line.target)[0].name for line in ends]
            causes = tuple(Cause(f"{name} = {line.text}", line.span) for name, line in zip(names, ends, strict=True))
            help = "the result is the line that no other reads: let a line read the others, or remove them"
            message = f"no line reads {', '.join(names[:-1])} or {names[-1]}"
            self.context.report(ends[0].span, message, help, "flow", causes)


def sort_by_use(items: Iterable[K], uses: Callable[[K], Iterable[K]]) -> tuple[list[K], list[list[K]]]:
    """Return all items, each after those it uses and otherwise in the given order, and the circles among them.

    A circle is a path that ends where it starts; no two share an item. There is no recursion, since a file may have
    50,000 items in a row.
    """
    order: list[K] = []
    circles: list[list[K]] = []
    done: dict[K, bool] = {}
    for start in items:
        path = [] if start in done else [(start, iter(uses(start)))]
        done.setdefault(start, False)
        while path:
            item, rest = path[-1]
            for used in rest:
                if used not in done:
                    done[used] = False
                    path.append((used, iter(uses(used))))
                    break
                if not done[used]:
                    names = [name for name, _ in path]
                    circles.append([*names[names.index(used) :], used])
            else:
                path.pop()
                done[item] = True
                order.append(item)
    # The first circle of each group that shares items.
    kept: list[list[K]] = []
    seen: set[K] = set()
    for circle in circles:
        if not seen & set(circle):
            seen.update(circle)
            kept.append(circle)
    return order, kept
