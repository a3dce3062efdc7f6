"""The network of a checked spec: of its lines, or the model in code that its section ``model`` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from fwdscope.errors import needs_values
from fwdscope.language import expression as ex
from fwdscope.language.check import Checked
from fwdscope.language.evaluate import evaluate_plain
from fwdscope.model.build import example_inputs
from fwdscope.report import Report
from fwdscope.run.batch import batch_variable, with_variable
from fwdscope.run.placement import ModuleCall
from fwdscope.run.subject import ModuleSubject, SpecSubject, Subject
from fwdscope.settings import Training
from fwdscope.targets import SIZES, Target
from fwdscope.targets.feeds import Feed
from fwdscope.targets.module import forward_names, run_user_code


def subject_of(
    checked: Checked,
    feeds: Mapping[str, Feed] | None = None,
    dtype: str = "float32",
    training: Training = False,
    only_on_meta: bool = False,
    past: int = 0,
) -> Subject:
    """The network of a spec, traced on meta; one in code that needs values on the CPU, unless ``only_on_meta``.

    With this, a network of lines is made faster, and can be run on no device.

    Raises SpecError, and InputError for a model in code.
    """
    model = checked.spec.model
    if model is None:
        return SpecSubject(checked, feeds, dtype, training, None, past, None, only_on_meta)
    subject = run_user_code(model.target, lambda: CodeSubject(checked, feeds or {}, training, {}, only_on_meta, past))
    return subject if dtype == "float32" else subject.cast(dtype)


class CodeSubject(ModuleSubject):
    """A model in code with the inputs, vars and expectations of a spec."""

    def __init__(
        self,
        checked: Checked,
        feeds: Mapping[str, Feed],
        training: Training,
        replaced: Mapping[str, Tensor] | None = None,
        only_on_meta: bool = False,
        past: int = 0,
    ) -> None:
        assert checked.spec.model is not None
        self.checked = checked
        self.feeds = dict(feeds)
        model = checked.spec.model
        arguments = {one.name: evaluate_plain(one.value, checked.variables) for one in model.keywords}
        target = Target(model.target, arguments=arguments)
        if target.is_of_library and not checked.spec.inputs:
            # A var that no argument reads and that is called as a size of inputs is one.
            read = {node.id for one in model.keywords for node in ex.walk(one.value) if isinstance(node, ex.Name)}
            sizes = {name: str(checked.variables[name]) for name in SIZES if name in {*checked.variables} - read}
            target = target._replace(variables=sizes)

        def call(with_numbers: bool) -> ModuleCall:
            loaded = target.load_module(with_numbers, needs_inputs=not checked.spec.inputs)
            if not checked.spec.inputs:
                return ModuleCall(loaded.module, *next(loaded.calls())[:2])
            inputs = example_inputs(checked, "cpu" if with_numbers else "meta")
            for name, feed in self.feeds.items():
                inputs[name] = feed.make_tensor() if with_numbers else feed.make_meta_tensor()
            inputs |= replaced or {}
            # By name where forward has all of these, else by position.
            if set(inputs) <= set(forward_names(loaded.module)):
                return ModuleCall(loaded.module, (), dict(inputs))
            return ModuleCall(loaded.module, tuple(inputs.values()), {})

        try:
            super().__init__(call(False), training, lambda: call(True), only_on_meta, past)
        except Exception as error:
            if only_on_meta or not needs_values(error):
                raise
            super().__init__(call(True), training, lambda: call(True), past=past)
        self.name = checked.spec.name

    def report(self) -> Report:
        """The report of the forward, with what the spec says itself."""
        from fwdscope.commands.check.expectations import with_shortfalls

        report, spec = super().report(), self.checked.spec
        texts = {one.name: one.text for one in spec.inputs} | {n: feed.made_by for n, feed in self.feeds.items()}
        names = [one.name for one in spec.inputs]
        inputs = [
            replace(one, made_by=texts.get(names[i] if i < len(names) else "", one.made_by))
            for i, one in enumerate(report.inputs)
        ]
        report = replace(report, inputs=tuple(inputs), source=spec.source.name, doc=spec.doc)
        return with_shortfalls(self.checked, report, not self.feeds, *self.other_passes(self.checked, report))

    def again(self, training: Training, past: int = 0) -> ModuleSubject:
        """Built again."""
        return CodeSubject(self.checked, self.feeds, training, past=past)

    def resized(self, batch: int, size: int) -> ModuleSubject:
        """By the var that is the batch, or by the first dimension of every input."""
        variable = batch_variable(self.checked, batch)
        if variable is None:
            return super().resized(batch, size)
        return CodeSubject(with_variable(self.checked, variable, size), {}, self.training, past=self.past)
