"""The stages of a pipeline: which rows, copies and parameters are in each."""

from __future__ import annotations

from collections.abc import Sequence

from fwdscope.language.names import did_you_mean
from fwdscope.language.plan import Mesh, Plan
from fwdscope.mesh.sharding import ShardError
from fwdscope.trace.rows import RowOperators


class Stages:
    """Where the rows of a rank's recording run. Without pp all are in one stage."""

    def __init__(self, rows: Sequence[RowOperators], plan: Plan, mesh: Mesh) -> None:
        self.number = mesh.size("pp")
        # The rows outside of folded copies, and each of the copies, by path: its row and the number of the copy.
        self.places: dict[str, tuple[int, int]] = {}
        self.folded: dict[int, tuple[int, int]] = {}
        end = 0
        for i, row in enumerate(rows):
            if i >= end and row.times > 1:
                end = i + row.inside + 1
                self.folded |= dict.fromkeys(range(i, end), (i, row.times))
                above, _, first = row.path.rpartition(".")
                numbers = range(int(first), int(first) + row.times) if first.isdigit() else ()
                for copy, path in enumerate([f"{above}.{one}".lstrip(".") for one in numbers] or [row.path]):
                    self.places.setdefault(path, (i, copy))
            elif i >= end:
                self.places.setdefault(row.path, (i, 0))
        self.begins: list[tuple[int, int]] = []
        # The path of the first layer of each stage.
        first = next((row.path for row in rows if not row.inside), "")
        self.paths = [first, *(plan.stages if self.number > 1 else ())]
        if len(self.paths) != self.number and self.number > 1:
            message = f"pp={self.number}: the plan has {len(self.paths)} stages" if plan.stages else ""
            help = "stages: names the first layer of each stage but the first, as [layers.8, layers.16]"
            raise ShardError(message or f"pp={self.number}: the plan has no stages", (*plan.stages, "")[0], help)
        for path in self.paths[1:]:
            if path not in self.places:
                help = did_you_mean(path, self.places, "there are", most=6)
                raise ShardError(f"{path}: no stage can begin here: it is no layer or block of a stack", path, help)
            self.begins.append(self.places[path])
        if self.begins != sorted(set(self.begins)):
            raise ShardError("the stages are not in the order of the forward", self.paths[-1])

    def counts(self, rows: Sequence[RowOperators], index: int) -> list[int]:
        """How many of the equal rows that a row stands for are in each stage."""
        row = rows[index]
        found = [0] * self.number
        outer, copies = self.folded.get(index, (index, 1))
        for copy in range(copies):
            found[self._stage((outer, copy) if copies > 1 else (index, 0))] += row.times // copies
        return found

    def of(self, path: str) -> int:
        """The stage of a parameter or module, by its path."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self._stage(self.places.get(path, (0, 0)))

    def _stage(self, place: tuple[int, int]) -> int:
        return sum(begin <= place for begin in self.begins)
