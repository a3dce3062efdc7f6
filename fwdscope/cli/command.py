"""One command as it is typed: its defaults, and what to type next where an argument is missing."""

from __future__ import annotations

import shlex
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from fwdscope.cli.boundary import WRONG_INPUT, boundary, complain, tell
from fwdscope.cli.defaults import keys_of
from fwdscope.language.names import listed
from fwdscope.pyproject import KEYS, read_defaults
from fwdscope.targets.specs import explain_missing_spec, find_spec

# What an argument may be, for a command that can be run as it stands.
_EXAMPLES = {"first": "resnet18 resnet50", "name": "model"}
_MOST_LAYERS = 8


class CommandWithDefaults(TyperCommand):
    """A command whose options have defaults in ``pyproject.toml``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; where one is missing, show an example and exit with code 2."""
        parameters = {parameter.name: parameter for parameter in self.params}
        named: dict[str, Any] = {}
        if not ctx.resilient_parsing and not {"-h", "--help"} & set(args):
            given: dict[str, Any] = {}
            boundary(lambda: given.update(read_defaults()))
            named = {KEYS[key][0]: given[key] for key in keys_of(self.name or "", parameters) if key in given}
            ctx.default_map = named
        try:
            rest = super().parse_args(ctx, list(args))
            # Some versions of typer take defaults of options alone from the map.
            ctx.params |= {name: value for name, value in named.items() if not ctx.params.get(name, True)}
            return rest
        except typer.BadParameter as error:
            # Only click's MissingParameter, which typer does not export, has a type of parameter.
            parameter = error.param
            if not hasattr(error, "param_type") or parameter is None or parameter.param_type_name != "argument":
                raise
            _stop(*self._missing(parameter, args, str(ctx.params.get("target", ""))))

    def _missing(self, parameter: Any, args: list[str], target: str) -> list[str]:
        """What is missing, and lines that show what to type."""
        known = [one for one in self.params if one.param_type_name == "argument" and one.required]
        rest = [str(one.name) for one in known[known.index(parameter) :]]
        examples = [_EXAMPLES.get(name, "resnet18") for name in rest if name != "layer"]
        lines = []
        if rest == ["target", "layer"]:
            examples.append("conv1")
        elif rest == ["layer"]:
            from fwdscope.cli.completion import layers_of

            if find_spec(target) is None and not {":", "@"} & set(target):
                return [explain_missing_spec(target)]
            found = layers_of(target)
            lines = [f"layers of {target}: {listed(found, _MOST_LAYERS)}"] if found else []
            examples = found[:1]
            lines.append(f"all of them: {shlex.join(['fwdscope', 'inspect', target])}")
        if examples:
            lines.insert(0, f"for example: {shlex.join(['fwdscope', self.name or '', *args])} {' '.join(examples)}")
        what = (parameter.help or "").rstrip(".")
        shown = parameter.metavar or parameter.name
        return [f"{self.name} needs {shown}: {what[:1].lower()}{what[1:]}", *lines, f"more: fwdscope {self.name} -h"]


def _stop(message: str, *lines: str) -> NoReturn:
    """Print what is wrong and what to type, and exit with code 2."""
    complain(message)
    tell("".join(f"  {line}\n" for line in lines))
    raise typer.Exit(WRONG_INPUT)
