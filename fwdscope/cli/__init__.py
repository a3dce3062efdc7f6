"""The commands: options in, text out, exit code back. One file a command, named as the command.

Reports go to stdout, problems to stderr. Exit codes: 0 all is well, 1 a check failed, 2 the input is wrong, 3 a bug in
fwdscope. A command's file is imported when the command is used, and imports what it runs in its function, so that help,
``layers``, ``schema`` and spec errors need no torch.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fwdscope.version import __version__

# In the order that help lists them, each with the first line of its own help: to read that of its function would
# import every command.
COMMANDS = {
    "inspect": "Show every layer's shapes, parameters and costs.",
    "view": "Open a report, sweep, check or comparison in the browser.",
    "bench": "Measure how long a forward takes, and where the time goes.",
    "explain": "Show how a layer's shape, parameters and costs are computed, or with --value one number of its output.",
    "check": "Check specs against their promised shapes, expectations and baselines.",
    "diff": "Show what changed between two networks, or in one with other vars.",
    "scale": "Show how costs grow: exact formulas in a network's vars, and what dominates them.",
    "fit": "Find the sizes with which a network meets a budget: which width and depth have 1.3 billion parameters?",
    "annotate": "Write the shape of each line's output behind the line.",
    "format": "Lay out specs: arrows in one column, calls spaced alike.",
    "export": "Write a spec as PyTorch code, as ONNX or as an exported program.",
    "guide": "Explain the language of specs, a page a topic, each with an example that runs.",
    "specs": "List the specs that ship with fwdscope, or print one; each can be named wherever a spec file can.",
    "new": "Write a spec to start from, with the line that lets editors complete and check it.",
    "layers": "List the layers and functions that specs may use, or show one.",
    "devices": "List the devices here, with memory and peak performance.",
    "schema": "Print the JSON Schema of specs, for editors.",
    "lsp": "Serve an editor: problems, shapes and figures of specs while they are written.",
}


def _function(name: str) -> Callable[..., None]:
    """The function of a command: that of the command's name, in the file of that name."""
    function: Callable[..., None] = getattr(importlib.import_module(f"fwdscope.cli.{name}"), name)
    return function


class _CommandGroup(TyperGroup):
    """All commands. Only the one that is used is built: Typer alone would build every option of every command."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        from fwdscope.cli.command import CommandWithDefaults
        from fwdscope.cli.defaults import keys_of

        function = _function(cmd_name)
        keys = keys_of(cmd_name, function.__annotations__)
        epilog = f"Defaults in pyproject.toml, under [tool.fwdscope]: {', '.join(keys)}." if keys else None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        alone.command(cmd_name, cls=CommandWithDefaults, epilog=epilog)(function)
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=_CommandGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Inspect the forward pass of a neural network: every layer's shapes, parameters and costs.",
    epilog=(
        "A first look: fwdscope inspect resnet50   ·   The language: fwdscope guide   ·   "
        "Defaults of options: [tool.fwdscope] in pyproject.toml"
    ),
)


def run() -> int:
    """Run the whole program: parse the arguments, run a command, return its exit code."""
    # A stream that the caller closed is None. One that refuses what is written keeps other files from its descriptor.
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if not hasattr(stream, "reconfigure"):
            continue
        # Reports use characters beyond ASCII: a terminal without them shows question marks, a program reads UTF-8.
        stream.reconfigure(errors="replace", **({} if stream.isatty() else {"encoding": "utf-8", "newline": "\n"}))
    # Warnings of torch and transformers are about their own calls, and silenced by the command line alone.
    warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app(standalone_mode=True, prog_name="fwdscope")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fwdscope {__version__}")
        raise typer.Exit(0)


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of the program itself."""
