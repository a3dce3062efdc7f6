"""The section ``graph``: lines in any order, sorted by what they read."""

from __future__ import annotations

from fwdscope.language import expression as ex
from fwdscope.language import tree
from fwdscope.language.expression import Name
from fwdscope.language.flow import Flow
from fwdscope.language.order import sorted_by_use
from fwdscope.language.problems import Cause, Span
from fwdscope.language.scope import NOTHING, Binding


class Graphs(Flow):
    """Reads a graph."""

    def graph(self) -> tuple[tree.Line, ...]:
        """The lines of a graph, sorted by what they read."""
        self.in_graph = True
        self.state.prev, self.state.flow = None, frozenset()
        told = len(self.problems)
        lines, made = self.graph_lines()
        order = self.sorted_lines(lines, made)
        for named in (n for line in order for n in ex.targets(line.target)):
            # What a circle leaves without a value is told once, as the circle.
            self.state.frames[0].setdefault(named.name, Binding("value", named.span, NOTHING))
        for line in order:
            self.statement(line)
        if len(self.problems) == told:
            self.graph_result(order)
        return tuple(order)

    def graph_lines(self) -> tuple[list[tree.Statement], dict[str, tree.Statement]]:
        """The lines that a graph may have, and which makes each name."""
        made: dict[str, tree.Statement] = {}
        lines: list[tree.Statement] = []
        for line in self.spec.layers:
            if not isinstance(line, tree.Statement):
                word = f"the part {line.name}" if isinstance(line, tree.PartLine) else f"{line.text.split()[0]}:"
                help = "write it under `layers:`, or make it a block"
                self.problem(line.span, f"{word} has no place in a graph", help, "flow")
                continue
            names = ex.targets(line.target)
            if not names:
                self.problem(line.span, "a line of a graph has a name", f"write `name = {line.text}`", "flow")
                continue
            twice = [self.given_twice(named, made) for named in names]
            made.update({named.name: line for named in names if named.name not in made})
            if not any(twice):
                lines.append(line)
        return lines, made

    def given_twice(self, named: ex.NameTarget, made: dict[str, tree.Statement]) -> bool:
        """A name that another line, an input or a var has already."""
        binding = self.state.find(named.name)
        if named.name not in made and binding is None:
            return False
        place = made[named.name].span if named.name in made else binding.span if binding else named.span
        what = "first given here" if named.name in made or binding is None else f"the {binding.kind} {named.name}"
        help = "in a graph each name is given once"
        self.problem(named.span, f"{named.name} is given twice", help, "name", (Cause(what, place),))
        return True

    def sorted_lines(self, lines: list[tree.Statement], made: dict[str, tree.Statement]) -> list[tree.Statement]:
        """Lines in an order in which each comes after what it reads; circles are named with their path."""
        by_span = {line.span: line for line in lines}

        def uses(span: Span) -> list[Span]:
            names = dict.fromkeys(n.id for n in ex.walk(by_span[span].value) if isinstance(n, Name) and n.id in made)
            return [made[name].span for name in names if made[name].span in by_span]

        order, circles = sorted_by_use(by_span, uses)
        for circle in circles:
            names = [ex.targets(by_span[span].target)[0].name for span in circle]
            causes = tuple(Cause(f"{a} reads {b}", span) for a, b, span in zip(names, names[1:], circle, strict=False))
            message = f"a circle: {' → '.join(names)}"
            self.problem(circle[0], message, "let one of them read something else", "flow", causes)
        return [by_span[span] for span in order]

    def graph_result(self, order: list[tree.Statement]) -> None:
        """Exactly one line is read by nothing, and is the result."""
        ends = []
        for line in order:
            definitions = [d for d in self.body.definitions.values() if d.line == line.span]
            if definitions and all(d.lost for d in definitions):
                ends.append(line)
            else:
                self.report_lost(definitions)
        self.report_lost(d for d in self.body.definitions.values() if d.input)
        if len(ends) > 1:
            names = [ex.targets(line.target)[0].name for line in ends]
            causes = tuple(Cause(f"{name} = {line.text}", line.span) for name, line in zip(names, ends, strict=True))
            help = "the result is what no other line reads: let a line read the others, or take them out"
            message = f"{len(ends)} lines are read by nothing: {', '.join(names)}"
            self.problem(ends[0].span, message, help, "flow", causes)
