"""120 faults that people make, seeded in 20 networks, 40 of them in modules too: what is said of each.

``faults.yaml`` says of each what was changed, where a person would mend it, and how. A line is named if its number is
printed: as the place of the error, of a cause or a step of a trail, or of a mend.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from obedience import mended, obeyed

import fwdscope
from fwdscope.inspection import inspect_spec
from fwdscope.language import check_source
from fwdscope.language.problems import Source, SpecError
from fwdscope.report import Report

HERE = Path(__file__).parent
# How many of the 120 specs have their line named, and the share of the mends offered that is right.
NAMED = 114
RIGHT = 0.95

# torch warns of some of the faults (sizes of a loss) and of a mend (padding='same' of an even kernel).
pytestmark = pytest.mark.filterwarnings("ignore:Using:UserWarning")


@dataclass(frozen=True)
class Fault:
    """A file with a fault: lines are numbered from 1; a line of None is left out."""

    network: str
    name: str
    did: str
    path: Path
    change: list[tuple[int, str, str | None]]
    lines: list[int]
    mends: list[dict[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.network}/{self.name}"

    @cached_property
    def right_text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def text(self) -> str:
        lines: list[str | None] = [*self.right_text.splitlines()]
        for number, old, new in self.change:
            line = lines[number - 1] or ""
            assert line.count(old) == 1, f"{self}: line {number} has no {old!r}"
            lines[number - 1] = None if new is None else line.replace(old, new)
        return "".join(f"{line}\n" for line in lines if line is not None)

    def mended_texts(self) -> Iterator[str]:
        """The file with each of the mends that are right: the change taken back, and those of the table."""
        yield self.right_text
        for mend in self.mends:
            yield with_lines(self.text, mend)


def with_lines(text: str, new: dict[int, str]) -> str:
    lines = text.splitlines()
    for number, written in new.items():
        indent = re.match(" *", lines[number - 1])[0]
        lines[number - 1] = "\n".join(indent + line for line in written.splitlines())
    return "".join(f"{line}\n" for line in lines)


def read_faults() -> tuple[list[Fault], list[Fault]]:
    specs, modules = [], []
    for network, faults in yaml.safe_load((HERE / "faults.yaml").read_text(encoding="utf-8")).items():
        for name, fault in faults.items():
            module = fault.pop("module", None)
            specs.append(Fault(network, name, path=HERE / "networks" / f"{network}.yaml", **fault))
            if module:
                path = HERE / "modules" / f"{network}.py"
                modules.append(Fault(network, name, fault["did"], path, **module))
    return specs, modules


SPECS, MODULES = read_faults()

Signature = tuple[Any, ...]


def signature(report: Report) -> Signature:
    """What a mend has to leave alike: the layers with weights, with their parameters and outputs, and the results."""
    layers = [(row.type, row.params, row.output_shapes) for row in report.layers if row.parameters]
    return (*layers, report.totals.params, report.totals.macs, tuple(tensor.shape for tensor in report.outputs))


@cache
def of_spec(text: str, name: str) -> Signature:
    return signature(inspect_spec(check_source(Source(name, text))))


def numbers_in(said: str, name: str) -> set[int]:
    """The numbers of the lines of a file that a text names."""
    return {
        int(number)
        for number in re.findall(rf"{re.escape(name)}:(\d+)|\bline (\d+)", said)
        for number in number
        if number
    }


@dataclass
class Answer:
    """What is said of a fault: the lines named, and of each mend offered whether it is right."""

    said: str
    error: BaseException
    named: bool
    mends: list[bool]


def answer_to(fault: Fault) -> Answer:
    name = fault.path.name
    try:
        of_spec(fault.text, name)
    except SpecError as error:
        offers = [[text] for p in error.problems for text in mended(p)]
        offers += [readings for p in error.problems if (readings := obeyed(p))]
        right = {of_spec(text, name) for text in fault.mended_texts()} if offers else set()
        mends = [any(fits(text, name, right) for text in readings) for readings in offers]
        return Answer(str(error), error, bool(numbers_in(str(error), name) & {*fault.lines}), mends)
    raise AssertionError(f"{fault} is no fault: nothing is said of it")


def fits(text: str, name: str, right: set[Signature]) -> bool:
    """Whether a file can be inspected and makes one of the right networks."""
    try:
        return of_spec(text, name) in right
    except SpecError:
        return False


def load(text: str, path: Path) -> ModuleType:
    path.write_text(text, encoding="utf-8")
    made = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module


def of_module(text: str, path: Path) -> Signature:
    model, inputs = load(text, path).build()
    return signature(fwdscope.inspect(model, *inputs, device="meta"))


def answer_to_module(fault: Fault, folder: Path) -> Answer:
    path = folder / f"{fault.network}_{fault.name.replace('-', '_')}.py"
    try:
        of_module(fault.text, path)
    except Exception as error:
        said = str(error)
        named = bool(numbers_in(said, path.name) & {*fault.lines})
        offers = re.findall(rf"= (?:help: write|  +or) (.+?)  +\S*{path.name}:(\d+)", said)
        right = {of_module(text, path) for text in fault.mended_texts()} if offers else set()
        mends = []
        for written, number in offers:
            try:
                mends.append(of_module(with_lines(fault.text, {int(number): written}), path) in right)
            except Exception:  # a mend that fails in its turn is wrong
                mends.append(False)
        return Answer(said, error, named, mends)
    raise AssertionError(f"{fault} is no fault: nothing is said of it")


@pytest.fixture(scope="module")
def answers_of_modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("modules")
    return {str(fault): answer_to_module(fault, folder) for fault in MODULES}


def missed(answers: dict[str, Answer]) -> str:
    """A table of the faults whose line is not named, for the one who reads a failed test."""
    return "\n".join(f"{fault}: {one.said.splitlines()[0]}" for fault, one in answers.items() if not one.named)


@pytest.mark.core
def test_the_table_holds_120_faults_of_20_networks_and_40_of_modules() -> None:
    assert len({fault.network for fault in SPECS}) == 20
    assert len({str(fault) for fault in SPECS}) == len(SPECS) == 120
    assert len({str(fault) for fault in MODULES} & {str(fault) for fault in SPECS}) == len(MODULES) == 40
    for fault in (*SPECS, *MODULES):
        assert fault.text != fault.right_text
        assert 0 < min(fault.lines) <= max(fault.lines) <= len(fault.text.splitlines())


@pytest.mark.parametrize("network", sorted({fault.network for fault in SPECS}))
def test_a_network_and_each_right_mend_of_it_can_be_inspected(network: str, tmp_path: Path) -> None:
    for fault in SPECS:
        if fault.network == network:
            assert all(of_spec(text, fault.path.name) for text in fault.mended_texts())
    for fault in MODULES:
        if fault.network == network:
            assert all(of_module(text, tmp_path / "made.py") for text in fault.mended_texts())


def test_the_line_of_most_faults_is_named_and_the_mends_offered_are_right() -> None:
    answers = {str(fault): answer_to(fault) for fault in SPECS}
    assert sum(one.named for one in answers.values()) >= NAMED, missed(answers)
    mends = [right for one in answers.values() for right in one.mends]
    wrong = [f"{fault}: {one.said}" for fault, one in answers.items() if not all(one.mends)]
    assert sum(mends) >= RIGHT * len(mends), "\n\n".join(wrong)


def test_every_fault_of_a_module_raises(answers_of_modules: dict[str, Answer]) -> None:
    assert [fault for fault, one in answers_of_modules.items() if not one.said] == []


def test_the_line_of_most_faults_of_modules_is_named(answers_of_modules: dict[str, Answer]) -> None:
    assert all(isinstance(one.error, fwdscope.FwdscopeError) for one in answers_of_modules.values())
    # Where inputs are made, and what a constructor was given, stands in no frame of the forward.
    assert sum(one.named for one in answers_of_modules.values()) >= 36, missed(answers_of_modules)
    mends = [right for one in answers_of_modules.values() for right in one.mends]
    assert sum(mends) >= 0.95 * len(mends) > 0
