"""A target and the options for loading it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from fwdscope import disk
from fwdscope.errors import InputError, MissingTargetError, TargetError
from fwdscope.extensions import import_from_here
from fwdscope.language.names import listed, nearest
from fwdscope.storage import Stored
from fwdscope.targets.revision import read_at_revision, split_revision
from fwdscope.targets.specs import explain_missing_spec, find_spec

if TYPE_CHECKING:
    from fwdscope.language.check import Checked
    from fwdscope.language.plan import Mesh, Plan
    from fwdscope.language.problems import Source
    from fwdscope.report import Report
    from fwdscope.targets.feeds import Feed
    from fwdscope.targets.module import LoadedModel

T = TypeVar("T")

# What a spec from stdin is called.
STDIN = "<stdin>"
# Packages whose models are named as library:name, and the sizes of their inputs: batch, tokens or samples, height,
# width, frames.
LIBRARIES = ("transformers", "timm", "torchvision", "diffusers")
SIZES = ("B", "T", "H", "W", "F")


class Target(NamedTuple):
    """What a command is pointed at: a spec or saved report, perhaps at a revision, or a PyTorch model.

    ``variables`` replace vars of a spec, or sizes of a library's inputs (``--set``); ``inputs`` are the texts of
    ``--input``; ``content`` is that of the spec where it is no file (stdin); ``arguments`` build the model (``--arg``).
    """

    text: str
    variables: Mapping[str, str] = MappingProxyType({})
    inputs: tuple[str, ...] = ()
    dtype: str = "float32"
    allow_import: bool = False
    content: bytes | None = None
    arguments: Mapping[str, Any] = MappingProxyType({})
    # Earlier positions whose keys and values are kept (``--past``).
    past: int = 0
    # How weights and what is kept of earlier positions are stored (``--weights-dtype``, ``--kv-dtype``).
    stored: Stored = Stored()
    # The mesh of devices that it is counted on (``--mesh``), and how it is sharded there (``--shard``): None is as the
    # spec has it, or else proposed, as ``auto`` is.
    mesh: Mesh | None = None
    plan: Plan | Literal["auto"] | None = None

    @property
    def is_report(self) -> bool:
        """Whether it is read as it is, without a forward: a saved report, or a file of weights."""
        return (self.is_checkpoint or (self.revision or (self.text,))[0].endswith(".json")) and not self.is_module

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a file of weights."""
        return self.revision is None and self.text.endswith(
            (".safetensors", ".index.json", ".pt", ".pth", ".bin", ".ckpt")
        )

    @property
    def is_module(self) -> bool:
        """Whether it is a PyTorch model: ``package.module:name``, ``library:name`` or an exported program."""
        on_a_drive = re.match(r"[A-Za-z]:[\\/]", self.text)  # of Windows
        module, colon, _ = self.text.partition(":")
        is_a_file = find_spec(self.text) is not None or Path(module).is_file()  # spec.yaml:12 is no module
        is_named = colon and not on_a_drive and not is_a_file and self.revision is None
        return self.is_program or bool(is_named)

    @property
    def is_program(self) -> bool:
        """Whether it is a program of torch.export."""
        return self.text.endswith(".pt2") and Path(self.text).is_file()

    @property
    def revision(self) -> tuple[str, str] | None:
        """The file and the revision of ``FILE@REV``; None for any other target."""
        return split_revision(self.text)

    def refuse_report(self, help: str) -> None:
        """Raise TargetError with this help if it is a saved report, or if its file is another program's."""
        if self.is_report:
            self._replace(variables={}, inputs=(), arguments={}, dtype="float32").load_report()
            raise TargetError(f"{self.text} is a {'file of weights' if self.is_checkpoint else 'saved report'}{help}")

    def load_report(self) -> Report:
        """The saved report. Raises InputError if the file is not one, or if an option is for specs only."""
        from fwdscope.report import Report

        return load_checkpoints([self])[0] if self.is_checkpoint else self.read_saved(Report.loads)

    def read_saved(self, read: Callable[[str], T]) -> T:
        """What ``read`` makes of the text of the saved file. Raises InputError as :meth:`load_report` does."""
        from fwdscope.language.foreign import recognise
        from fwdscope.report import ReportError

        self._refuse_options("saved report")
        try:
            data = read_at_revision(*self.revision) if self.revision else disk.read_bytes(Path(self.text))
            if what := recognise(BytesIO(data)):
                raise TargetError(f"{self.text}: {what}")
            return read(data.decode("utf-8"))
        except OSError as error:
            raise TargetError(f"{self.text} cannot be read: {error.strerror}") from None
        except ReportError as error:
            raise TargetError(f"{self.text}: {error}") from None
        except UnicodeDecodeError:
            raise TargetError(f"{self.text} is not a report: it is not UTF-8") from None

    def _refuse_options(self, what: str) -> None:
        is_changed = self.dtype != "float32" or self.past or any(self.stored) or self.mesh or self.plan
        if self.variables or self.inputs or self.arguments or is_changed:
            options = "--set, --arg, --input, --dtype, --past, --weights-dtype, --kv-dtype, --mesh and --shard"
            raise InputError(f"{self.text} is a {what}; {options} are for specs and models")

    def read_spec(self) -> Source:
        """The text of the spec. Raises InputError, or SpecError where it is no text of a spec."""
        from fwdscope.language.source import decode, read, refuse_foreign

        if self.arguments:
            raise InputError(f"{self.text} is a spec, whose vars --set replaces; --arg is for PyTorch models")

        data = read_at_revision(*self.revision) if self.revision else self.content
        if data is not None:
            name = self.text if self.revision else STDIN
            refuse_foreign(BytesIO(data), name)
            return decode(data, name)
        path = find_spec(self.text)
        if path is None:
            raise MissingTargetError(explain_missing_spec(self.text))
        try:
            return read(path, self.text if path == Path(self.text) else path.name)
        except OSError as error:
            raise TargetError(f"{self.text} cannot be read: {error.strerror}") from None

    def load_spec(self) -> tuple[Checked, dict[str, Feed]]:
        """The checked spec, and the tensors that replace its inputs. Raises SpecError or InputError."""
        from fwdscope.language import check_source

        checked = check_source(self.read_spec(), self.variables, self.allow_import)
        if self.allow_import:
            import_from_here()
        feeds, names = self._feeds(), [one.name for one in checked.spec.inputs]
        for name in feeds:
            if name not in names:
                meant = nearest(name, names)
                help = f"did you mean {meant}?" if meant else f"there is {listed(names)}"
                raise InputError(f"--input {name}: there is no input {name}; {help}")
        return checked, feeds

    def with_arguments(self, texts: Mapping[str, str]) -> Target:
        """The target with more arguments, given as texts. Raises InputError."""
        if not texts:
            return self
        from fwdscope.targets.arguments import parse_value

        values = {name: parse_value(f"--arg {name}", text) for name, text in texts.items()}
        return self._replace(arguments={**self.arguments, **values})

    def with_value(self, name: str, text: str) -> Target:
        """The target with another value of a var of a spec, of a size of a library's inputs, or of an argument."""
        if self.is_argument(name):
            return self.with_arguments({name: text})
        return self._replace(variables={**self.variables, name: text})

    def is_argument(self, name: str) -> bool:
        """Whether --arg gives a value of that name, and not --set."""
        return self.is_module and not (self.is_of_library and name in SIZES)

    @property
    def is_of_library(self) -> bool:
        """Whether it is ``library:name``, whose inputs are known."""
        return self.is_module and self.text.partition(":")[0] in LIBRARIES

    def load_module(
        self, with_numbers: bool = False, only_on_meta: bool = False, needs_inputs: bool = True
    ) -> LoadedModel:
        """The PyTorch model and what it may be called on, if it ``needs_inputs``. Raises InputError."""
        from fwdscope.extensions import load_rules
        from fwdscope.targets.module import Build, load_module

        load_rules()
        how = Build(self.arguments, with_numbers, only_on_meta, needs_inputs)
        if self.dtype != "float32":
            raise InputError(f"{self.text} has its own dtypes; --dtype is for specs")
        if self.is_program:
            from fwdscope.targets.exported import load_program

            if not self.allow_import:
                raise InputError(f"loading {self.text} may run code that it holds: add --allow-import if you trust it")
            if self.variables or self.arguments:
                raise InputError(
                    f"{self.text} is exported; --set and --arg are for what is built, --input for its inputs"
                )
            return load_program(self.text, self._feeds(), how)
        if self.is_of_library:
            from fwdscope.targets.examples import Sizes
            from fwdscope.targets.libraries import load_from_library

            return load_from_library(self.text, self._feeds(), Sizes(self.variables), how)
        if self.variables:
            raise InputError(f"{self.text} is code of your own; --set is for specs, --arg for its arguments")
        return load_module(self.text, self._feeds(), how)

    def own_values(self, names: Sequence[str] = ()) -> dict[str, int]:
        """The values that a library's model has where none are given, if they are whole numbers.

        ``names`` are sizes of its inputs, and settings of its configuration; without, all of the sizes. Loads torch.
        """
        if not self.is_of_library:
            return {}
        from fwdscope.targets.examples import Sizes
        from fwdscope.targets.libraries import load_from_library
        from fwdscope.targets.module import Build

        sizes = Sizes(self.variables)
        loaded = load_from_library(self.text, self._feeds(), sizes, Build(self.arguments, only_on_meta=True))
        next(loaded.calls(), None)
        values: dict[str, Any] = dict(sizes.asked)
        for name in names:
            if name not in sizes.asked:
                values[name] = getattr(loaded.module, "config", None)
                for part in name.split("."):
                    values[name] = getattr(values[name], part, None)
        return {
            name: value
            for name, value in values.items()
            if (not names or name in names) and type(value) is int and value > 0
        }

    def run_user_code(self, run: Callable[[], T]) -> T:
        """The result of ``run``; what the model of ``package.module:name`` raises becomes a TargetError."""
        if not self.is_module:
            return run()
        from fwdscope.targets.module import run_user_code

        return run_user_code(self.text, run)

    def inputs_without_dtype(self) -> dict[str, str]:
        """The texts of ``--input`` that give a shape alone, by name."""
        found = zip(self.inputs, self._feeds().values(), strict=False)
        return {feed.name: text for text, feed in found if feed.dtype is None}

    def _feeds(self) -> dict[str, Feed]:
        from fwdscope.targets.feeds import parse

        return {feed.name: feed for feed in map(parse, self.inputs)}


def load_checkpoints(targets: Sequence[Target]) -> tuple[Report, ...]:
    """The reports of files of weights, with rows that can be compared. Raises InputError."""
    from fwdscope.targets.checkpoint import read_checkpoints

    for target in targets:
        target._refuse_options("file of weights")
    return read_checkpoints([target.text for target in targets])
