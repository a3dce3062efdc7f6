"""The section ``graph``: lines in any order, sorted by what they read."""

from __future__ import annotations

from fwdscope.spec import expression as ex
from fwdscope.spec import tree
from fwdscope.spec.expression import Name
from fwdscope.spec.flow import Flow
from fwdscope.spec.problems import Cause, Span


class Graphs(Flow):
    """Reads a graph."""

    def graph(self) -> tuple[tree.Line, ...]:
        """The lines of a graph, sorted by what they read."""
        self.in_graph = True
        self.state.prev, self.state.flow = None, frozenset()
        made: dict[str, tree.Statement] = {}
        lines: list[tree.Statement] = []
        for line in self.spec.layers:
            if not isinstance(line, tree.Statement):
                word = line.text.split()[0] + ":" if not isinstance(line, tree.Part) else f"the part {line.name}"
                self.problem(
                    line.span, f"{word} has no place in a graph", "write it under `layers:`, or make it a block", "flow"
                )
                continue
            names = list(ex.targets(line.target))
            if not names:
                self.problem(line.span, "a line of a graph has a name", f"write `name = {line.text}`", "flow")
                continue
            lines.append(line)
            for named in names:
                if named.name in made or self.state.find(named.name):
                    place = made[named.name].span if named.name in made else self.state.find(named.name).span  # type: ignore[union-attr]
                    cause = Cause("first given here", place)
                    self.problem(
                        named.span,
                        f"{named.name} is given twice",
                        "in a graph each name is given once",
                        "name",
                        (cause,),
                    )
                made.setdefault(named.name, line)
        order = self.sorted_lines(lines, made)
        for line in order:
            self.statement(line)
        self.graph_result(order)
        return tuple(order)

    def sorted_lines(self, lines: list[tree.Statement], made: dict[str, tree.Statement]) -> list[tree.Statement]:
        """Lines in an order in which each comes after what it reads; among equals the file's order. A circle is named."""
        order: list[tree.Statement] = []
        state: dict[Span, str] = {}
        path: list[tuple[str, Span]] = []

        def place(line: tree.Statement, name: str) -> None:
            if state.get(line.span) == "done":
                return
            if state.get(line.span) == "open":
                first = next(i for i, (_, span) in enumerate(path) if span == line.span)
                circle = [*(n for n, _ in path[first:]), path[first][0]]
                self.problem(
                    line.span,
                    f"a circle: {' → '.join(circle)}",
                    "each arrow reads the next; let one of them read something else",
                    "flow",
                )
                return
            state[line.span] = "open"
            path.append((name, line.span))
            for used in dict.fromkeys(n.id for n in ex.walk(line.value) if isinstance(n, Name)):
                if used in made:
                    place(made[used], used)
            path.pop()
            state[line.span] = "done"
            order.append(line)

        for line in lines:
            place(line, next(ex.targets(line.target)).name)
        return order

    def graph_result(self, order: list[tree.Statement]) -> None:
        """Exactly one line is read by nothing, and is the result."""
        ends = []
        for line in order:
            definitions = [
                d for (span, _), d in self.body.definitions.items() if line.span.start <= span.start < line.span.end
            ]
            if definitions and all(d.lost for d in definitions):
                ends.append(line)
            else:
                self.report_lost(definitions)
        self.report_lost([d for d in self.body.definitions.values() if d.input])
        if len(ends) > 1:
            names = [next(ex.targets(line.target)).name for line in ends]
            causes = tuple(Cause(name, line.span) for name, line in zip(names, ends, strict=True))
            help = "the result is what no other line reads: let a line read the others, or take them out"
            self.problem(
                ends[0].span, f"{len(ends)} lines are read by nothing: {', '.join(names)}", help, "flow", causes
            )
