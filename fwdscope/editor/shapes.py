"""The shapes of a spec's lines while it is written: a build of what is right, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fwdscope.editor.document import Document
from fwdscope.language.check import Checked, check_all
from fwdscope.language.lenient import without_problems
from fwdscope.language.problems import Problem, Span, SpecError

if TYPE_CHECKING:
    from fwdscope.commands.annotate.line_shapes import LineCall
    from fwdscope.model import Network
    from fwdscope.report import Report


@dataclass
class LiveBuild:
    """A version of a spec, built as far as it is right.

    ``between`` is called at every line that runs, and may raise to end the build.
    """

    document: Document
    between: Callable[[], None] = lambda: None

    @cached_property
    def checked(self) -> Checked | None:
        """What of the spec can be built; None if that is nothing whose figures would be right."""
        document = self.document
        checked, problems = document.checked, document.problems
        if checked is not None and document.parsed[0] is None:  # lines are left out, and others miss them
            problems = (*problems, *check_all(checked.spec, document.allow_import)[1])
        return without_problems(checked, problems) if checked is not None and problems else checked

    @cached_property
    def _built(self) -> tuple[Network | None, tuple[Problem, ...], Mapping[Span, tuple[LineCall, ...]]]:
        from fwdscope.commands.annotate.line_shapes import LineRecorder
        from fwdscope.extensions import load_rules
        from fwdscope.model.build import build_observed

        if self.checked is None or self.checked.spec.model is not None:
            return None, (), {}
        if self.checked.allow_import:
            load_rules()
        try:
            recorder = LineRecorder(self.checked, self.between)
            network, problems = build_observed(self.checked, recorder)
        except SpecError as error:  # an input that cannot be made
            return None, error.problems, {}
        wrong = [problem.span for problem in (*problems, *network.broken_promises)]
        calls = {
            span: found
            for span, found in recorder.recorded().items()
            if not any(span.start <= one.start and one.end <= span.end for one in wrong)
        }
        return network, problems, calls

    def shapes(self, known: Mapping[str, str], varied: bool = False) -> dict[Span, tuple[str, str]]:
        """The shape of each line that is right, and the line's key in ``known``, which are the texts of before.

        With ``varied`` the vars are varied to find which of them each size follows.
        """
        from fwdscope.commands.annotate import LineShapes, shape_texts

        if self.checked is None:
            return {}
        if self.checked.spec.model is not None:
            return self._expected_shapes()
        return shape_texts(LineShapes(self.checked, self._built[2], self.between), known, varied and self.is_right)

    @cached_property
    def is_right(self) -> bool:
        """Whether nothing is wrong but perhaps promises."""
        return self.document.is_clean and self.checked is not None and not self._built[1]

    def problems(self) -> tuple[Problem, ...]:
        """Problems of shapes, with what made each size and what would fit; none while the text itself has some."""
        from fwdscope.model.build import build_with_problems

        network, problems, _ = self._built
        if not self.document.is_clean or self.checked is None:
            return ()
        if any(problem.code in ("shape", "type") for problem in problems):
            try:
                network, problems = build_with_problems(self.checked)
            except SpecError as error:
                return error.problems
        return tuple(SpecError([*problems, *(network.broken_promises if network is not None else ())]).problems)

    def _expected_shapes(self) -> dict[Span, tuple[str, str]]:
        """Of a model in code, once it was built: the shapes of the layers that the spec expects something of."""
        report = vars(self).get("report")
        if report is None or self.checked is None:
            return {}
        source, expect = self.document.source, self.checked.spec.expect
        shapes = {row.path: row.output_shapes[0] for row in report.layers if len(row.output_shapes) == 1}
        promised = {one.layer for one in expect.outputs}
        found: dict[Span, tuple[str, str]] = {}
        for one in expect.figures:
            if one.place is not None and one.layer is not None and one.layer in {*shapes} - promised:
                line = source.place(one.place.start)[0]
                end = source.offset(line, 1) + len(source.line(line).partition(" #")[0].rstrip())
                found[Span(one.place.start, end)] = str(shapes[one.layer]), one.layer
        return found

    @cached_property
    def report(self) -> Report | None:
        """The report of the spec on meta; None while anything is wrong with it but promises."""
        from fwdscope.inspection import inspect_subject
        from fwdscope.run.model_spec import subject_of
        from fwdscope.run.subject import SpecSubject
        from fwdscope.settings import META

        checked, network = self.checked, self._built[0]
        if checked is None or not self.is_right:
            return None
        if network is None:
            return inspect_subject(lambda: subject_of(checked, only_on_meta=True), META)[0]
        return inspect_subject(lambda: SpecSubject(checked, network=network), META)[0]
