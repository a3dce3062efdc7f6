"""The commands: options in, text out, exit code back. One file a command; this one puts them together.

Reports go to stdout, problems to stderr. Exit codes: 0 fine, 1 something fell short, 2 the input is wrong, 3 a defect
of ours. torch is loaded by what needs it, never by these files: help, ``layers``, ``schema`` and every spec error come
at once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from fwdscope.cli.annotate import annotate
from fwdscope.cli.bench import bench
from fwdscope.cli.check import check
from fwdscope.cli.devices import devices
from fwdscope.cli.diff import diff
from fwdscope.cli.explain import explain
from fwdscope.cli.inspect import inspect
from fwdscope.cli.layers import layers
from fwdscope.cli.schema import schema
from fwdscope.cli.specs import specs
from fwdscope.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Inspect the forward pass of a neural network: every layer's shapes and parameters, from a YAML spec.",
    epilog="A first look: fwdscope inspect resnet50   ·   The layers there are: fwdscope layers",
)
# In the order that help lists them.
for command in (inspect, bench, explain, check, diff, annotate, devices, specs, layers, schema):
    app.command()(command)


def run() -> int:
    """The whole program: parse the arguments, run a command, give its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # The report draws with signs beyond ASCII; a pipe whose locale has none shows them as question marks rather
        # than fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # torch's warnings are about its own calls, not about what is inspected. Only this process may silence them.
    warnings.simplefilter("ignore")
    try:
        app(standalone_mode=True)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fwdscope {__version__}")
        raise typer.Exit(0)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of the program itself."""
