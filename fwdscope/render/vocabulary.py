"""What a spec may use, as text: the list of everything, and a page for each name.

A text is laid out once, as lines of words with a style (:data:`Line`), so that it is the same with colours and without.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fwdscope.functions import own_functions as own
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import function_refusal, method_refusal
from fwdscope.functions.vocabulary import Function
from fwdscope.language.check import INITIALISERS
from fwdscope.language.names import OTHER_FUNCTIONS, OTHER_LAYERS, nearest
from fwdscope.language.problems import width as cells
from fwdscope.language.schema import CONSTRUCTS, call, example
from fwdscope.layers import LAYERS, Layer, Setting, describe, page, settings
from fwdscope.layers.base import input_names
from fwdscope.render.lines import write

Style = Literal["", "name", "heading", "dim", "code"]
# Pieces of a line, each with its style.
Line = tuple[tuple[str, Style], ...]

_INDENT = 2
# Docstrings are written to this width; a line that was filled up to it goes on in the next one.
_WRITTEN_WIDTH = 100
_COLOURS: Mapping[str, str] = {"": "", "name": "bold cyan", "heading": "bold", "dim": "dim", "code": "green"}
_GIVES = {
    "tensor": "",
    "number": "It gives a number, never a tensor.",
    "like": "It takes tensors and plain numbers, and gives what it takes.",
    "other": "It gives a collection of what it was given.",
}


@dataclass(frozen=True)
class Entry:
    """A name of the vocabulary: what it is, where it belongs, and what it does in one line."""

    name: str
    kind: str
    family: str
    doc: str

    def tells_of(self, word: str) -> bool:
        """Whether a word to look for stands in it."""
        return any(word.lower() in text.lower() for text in (self.name, self.family, self.doc))


# The parts of the list, in order, and what each says at its head.
_PARTS = {
    "layer": ("layers", "a line calls one: Conv2d(64, 3, padding=1)"),
    "construct": ("containers and tensors", ""),
    "own function": ("functions of fwdscope's own", ""),
    "function": ("functions", "torch's and Python's, in any expression: cat([x, y], dim=1)"),
    "method": ("methods of tensors", "x.flatten(1)"),
    "attribute": ("attributes of tensors", "x.shape[1]"),
    "number": ("numbers", ""),
    "dtype": ("dtypes", "x.to(float16), zeros(3, dtype=int64)"),
    "initialiser": ("initialisers", "in the section init: Linear.weight: xavier_uniform()"),
}


@cache
def entries() -> tuple[Entry, ...]:
    """Everything that has a page, part after part, in the order of the lists. A name may stand in several parts."""
    return (
        *(Entry(name, "layer", layer.family(), _first_line(page(layer))) for name, layer in LAYERS.items()),
        *(Entry(name, "construct", "", _first_line(one.doc)) for name, one in CONSTRUCTS.items()),
        *(Entry(f.name, "own function", "", f.doc) for f in FUNCTIONS.values() if f.target == "own"),
        *(Entry(f.name, "function", f.family, f.doc) for f in FUNCTIONS.values() if f.target != "own"),
        *(Entry(f.name, "method", f.family, f.doc) for f in METHODS.values()),
        *(Entry(one.name, "attribute", "", one.doc) for one in ATTRIBUTES.values()),
        *(Entry(name, "number", "", _NUMBERS.get(name, str(value))) for name, value in CONSTANTS.items()),
        *(Entry(name, "dtype", "", _dtype(name, meant)) for name, meant in DTYPES.items()),
        *(
            Entry(name, "initialiser", "", f"torch.nn.init.{name}_({', '.join(INITIALISERS[name])})")
            for name in INITIALISERS
        ),
    )


_NUMBERS = {"inf": "infinity", "nan": "not a number"}


def _dtype(name: str, meant: str) -> str:
    return f"torch.{name}" if name == meant else f"the same as {meant}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def listing(filter: str | None, width: int, color: bool) -> str:
    """Everything that a spec may use, or what speaks of a word, a line each. Raises LookupError where nothing does."""
    chosen = [entry for entry in entries() if filter is None or entry.tells_of(filter)]
    if not chosen:
        raise LookupError(f"nothing speaks of {filter}")
    return write([*_introduction(chosen, filter), *_parts(chosen, width, filter is None)], color, _COLOURS)


def page_of(name: str, width: int, color: bool) -> str:
    """The page of a name: settings or signatures, what it does, a line with it.

    A word that is no name lists what speaks of it. Raises LookupError with what is left out and why, or with the name
    that was meant.
    """
    bare = re.sub(r"\(.*", "", name).rpartition(".")[2] or name  # nn.Linear, x.view(…)
    if found := [entry for entry in entries() if entry.name == bare]:
        return write(_pages(found, width), color, _COLOURS)
    if refusal := function_refusal(bare) or method_refusal(bare):
        raise LookupError(f"{bare} is left out: {refusal}")
    meant = nearest(bare, [entry.name for entry in entries()], OTHER_FUNCTIONS | OTHER_LAYERS)
    certain = meant is not None and (bare in OTHER_LAYERS or _folded(meant) == _folded(bare))
    if not certain and any(entry.tells_of(bare) for entry in entries()):
        return listing(bare, width, color)
    help = f"did you mean {meant}?" if meant else "`fwdscope layers` lists what there is"
    raise LookupError(f"there is no {name}; {help}")


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


# --- the list ---------------------------------------------------------------------------------------------------------


def _introduction(chosen: list[Entry], filter: str | None) -> Iterator[Line]:
    if filter is not None:
        yield (("what speaks of ", ""), (filter, "name"))
        return
    counts = {kind: sum(entry.kind.endswith(kind) for entry in chosen) for kind in ("layer", "function", "method")}
    yield ((f"{', '.join(f'{count} {kind}s' for kind, count in counts.items())} that a spec may use.", ""),)
    for command, what in (("Conv2d", "shows one with its settings"), ("pool", "lists what speaks of a word")):
        yield (("  ", ""), (f"fwdscope layers {command:6}", "code"), (f"  {what}", ""))


def _parts(chosen: list[Entry], width: int, whole: bool) -> Iterator[Line]:
    for kind, (title, hint) in _PARTS.items():
        inside = [entry for entry in chosen if entry.kind == kind]
        if not inside:
            continue
        yield ()
        yield ((title.upper(), "heading"), (f"  {hint}" if hint else "", "dim"))
        if kind == "method" and whole:
            alike = [entry for entry in inside if _as_function(entry)]
            inside = [entry for entry in inside if not _as_function(entry)]
            yield from _like_functions(alike, width)
        for family in dict.fromkeys(entry.family for entry in inside):
            if family:
                yield ()
                yield ((f"{' ' * _INDENT}{family}", "heading"),)
            yield from _rows([entry for entry in inside if entry.family == family], width)


def _as_function(entry: Entry) -> bool:
    """Whether a method does what the listed function of its name does."""
    return entry.name in FUNCTIONS and FUNCTIONS[entry.name].doc == entry.doc


def _like_functions(methods: list[Entry], width: int) -> Iterator[Line]:
    yield ((f"{' ' * _INDENT}as the functions of these names, x.name(…) for name(x, …):", "dim"),)
    for text in _wrapped("  ".join(entry.name for entry in methods), width, 2 * _INDENT):
        yield ((text, "name"),)


def _rows(family: list[Entry], width: int) -> Iterator[Line]:
    """A line for each entry; other names of one (``concat`` of ``cat``) stand beside it."""
    names = {entry.name for entry in family}
    others: dict[str, list[str]] = {}
    for entry in family:
        if (main := _same_as(entry)) in names and main is not None:
            others.setdefault(main, []).append(entry.name)
    shown = [entry for entry in family if _same_as(entry) not in names]
    labels = {entry.name: ", ".join([entry.name, *others.get(entry.name, ())]) for entry in shown}
    column = min(30, max(map(len, labels.values())))
    for entry in shown:
        label = labels[entry.name].ljust(column)
        left = 2 * _INDENT
        yield (
            (" " * left, ""),
            (label, "name"),
            (f"  {_cut(entry.doc.removesuffix('.'), width - left - len(label) - 2)}", ""),
        )


def _same_as(entry: Entry) -> str | None:
    found = re.fullmatch(r"the same as (\w+)", entry.doc)
    return found[1] if found else None


def _cut(text: str, width: int) -> str:
    """The text in so many columns: up to the end of a clause where that tells enough, else with an ellipsis."""
    if cells(text) <= width:
        return text
    clause = max((m.start() for m in re.finditer(r"[.;:] ", text[: width + 1])), default=0)
    if clause >= 0.4 * width:
        return text[:clause]
    words = text[: max(width - 1, 1)].rpartition(" ")[0] or text[: max(width - 1, 1)]
    return words.rstrip(" ,;:") + "…"


# --- a page -----------------------------------------------------------------------------------------------------------


def _pages(found: list[Entry], width: int) -> Iterator[Line]:
    functions = [entry for entry in found if entry.kind == "function"]
    for i, entry in enumerate(found):
        if i:
            yield ()
        if entry.kind == "method" and functions and _as_function(entry):
            yield (("as a method", "heading"),)
            yield from _overloads(METHODS[entry.name], f"x.{entry.name}", width)
            continue
        yield ((entry.name, "name"), (f"  {entry.kind}{f', {entry.family}' if entry.family else ''}", "dim"))
        yield ()
        yield from _BODIES[entry.kind](entry, width)
    if related := _related(found):
        yield ()
        label = "see also  "
        first, *rest = _wrapped(label + ", ".join(related), width, 0, len(label), keep=True)
        yield ((label, "heading"), (first.removeprefix(label), ""))
        yield from (((line, ""),) for line in rest)


def _layer(entry: Entry, width: int) -> Iterator[Line]:
    layer = LAYERS[entry.name]
    yield from _signature(_call_without_inferred(layer), width)
    yield ()
    yield from _prose(page(layer), width)
    if settings(layer):
        yield ()
        yield (("settings", "heading"), (f"  {_how_given(layer)}", "dim"))
        yield from _settings(settings(layer), width)
        if any(s.inferred for s in settings(layer)):
            yield (("inferred: read from the input; given by keyword, it is checked", "dim"),)
    yield ()
    yield (("example", "heading"), ("  ", ""), (example(layer), "code"))


def _call_without_inferred(layer: type[Layer]) -> str:
    """The call as people write it; what is inferred stands in the table of settings."""
    text = call(layer)
    for setting in settings(layer):
        if setting.inferred:
            text = re.sub(rf"(?:, (?:\*, )?|(?<=\()(?:\*, )?){setting.name}=None(?=[,)])", "", text, count=1)
    return text.replace("(, ", "(", 1)


def _how_given(layer: type[Layer]) -> str:
    positional = [s.name for s in settings(layer) if s.positional]
    if len(positional) == len(settings(layer)):
        return ""
    return f"by position: {', '.join(positional)}; the others by keyword" if positional else "each by keyword"


def _settings(rows: Iterable[Setting], width: int) -> Iterator[Line]:
    shown = [(s.name, _default(s), describe(s.annotation)) for s in rows]
    names = max(len(name) for name, _, _ in shown)
    defaults = min(12, max(len(default) for _, default, _ in shown))
    for name, default, kind in shown:
        left = _INDENT + names + 2 + max(defaults, len(default)) + 2
        first, *rest = textwrap.wrap(kind, max(width - left, 20))
        style: Style = "dim" if default == "inferred" else "code"
        yield ((f"  {name.ljust(names)}", "name"), (f"  {default.ljust(defaults)}  ", style), (first, ""))
        for text in rest:
            yield ((" " * (_INDENT + names + 2 + defaults + 2) + text, ""),)


def _default(setting: Setting) -> str:
    if setting.inferred:
        return "inferred"
    return "required" if setting.required else repr(setting.default)


def _function(entry: Entry, width: int) -> Iterator[Line]:
    function = FUNCTIONS[entry.name]
    yield from _overloads(function, function.name, width)
    yield ()
    long = (getattr(own, function.name).__doc__ or "") if function.target == "own" else function.doc
    yield from _prose(textwrap.dedent(f"    {long}"), width)
    yield from _remarks(function, width)


def _method(entry: Entry, width: int) -> Iterator[Line]:
    method = METHODS[entry.name]
    yield from _overloads(method, f"x.{method.name}", width)
    yield ()
    yield from _prose(method.doc, width)
    yield from _remarks(method, width)


def _overloads(function: Function, name: str, width: int) -> Iterator[Line]:
    for signature in function.overloads:
        yield from _signature(f"{name}{signature}", width)


def _remarks(function: Function, width: int) -> Iterator[Line]:
    remarks = [
        _GIVES[function.gives],
        "It draws random numbers." if function.random else "",
        "axis= is another name for dim=." if "dim" in function.keywords else "",
    ]
    home = {"own": "", "python": ""}.get(function.target, f"It is {function.target}.{function.name}.")
    if text := " ".join(filter(None, [home, *remarks])):
        yield ()
        yield from _prose(text, width, "dim")


def _attribute(entry: Entry, width: int) -> Iterator[Line]:
    yield ((f"{' ' * _INDENT}x.{entry.name}", "code"),)
    yield ()
    yield from _prose(entry.doc, width)
    if remark := _GIVES[ATTRIBUTES[entry.name].gives]:
        yield from _prose(remark, width, "dim")


def _construct(entry: Entry, width: int) -> Iterator[Line]:
    one = CONSTRUCTS[entry.name]
    for form in one.forms:
        yield from _signature(form, width)
    yield ()
    yield from _prose(one.doc, width)
    for line in one.examples:
        yield ()
        yield (("example", "heading"), ("  ", ""), (line, "code"))


def _initialiser(entry: Entry, width: int) -> Iterator[Line]:
    yield from _signature(f"{entry.name}({', '.join(INITIALISERS[entry.name])})", width)
    yield ()
    example = f"`Linear.weight: {entry.name}({'…' if INITIALISERS[entry.name] else ''})`"
    yield from _prose(f"How a tensor begins, in the section init: {example}. It is torch.nn.init.{entry.name}_.", width)


def _word(entry: Entry, width: int) -> Iterator[Line]:
    yield from _prose(entry.doc, width)


_BODIES = {
    "layer": _layer, "construct": _construct, "own function": _function, "function": _function, "method": _method,
    "attribute": _attribute, "number": _word, "dtype": _word, "initialiser": _initialiser,
}  # fmt: skip


def _related(found: list[Entry]) -> list[str]:
    """Names that differ in case, underscores or the number of dimensions, and then those of the same family."""
    own_names = {entry.name for entry in found}

    def stem(name: str) -> str:
        return re.sub(r"\d+d$", "", _folded(name)).removesuffix("loss")

    stems = {stem(name) for name in own_names}
    alike = [entry.name for entry in entries() if stem(entry.name) in stems]
    kin = [e.name for e in entries() for f in found if e.family and (e.kind, e.family) == (f.kind, f.family)]
    near = [name for name in dict.fromkeys(alike) if name not in own_names]
    return near or [name for name in dict.fromkeys(kin) if name not in own_names][:8]


# --- words into lines -------------------------------------------------------------------------------------------------


def _signature(text: str, width: int) -> Iterator[Line]:
    """A call, broken behind commas, its further lines under the first parenthesis where there is room."""
    hang = _INDENT + text.index("(") + 1 if "(" in text else _INDENT
    hang = hang if hang < width // 2 else 2 * _INDENT + _INDENT
    for line in _wrapped(text, width, _INDENT, hang):
        yield ((line, "code"),)


# `input:   `, `input → output:  `, `weights: `: what stands behind it goes on under its first word.
_LABEL = re.compile(r"(?:[a-z][a-z ]{0,11}|[\w ]+ → [\w ]+):\s+")
# `y[i, j] = …`, `h = …`
_FORMULA = re.compile(r"[^\s.]+(?:, [^\s.]+)* = ")


def _prose(text: str, width: int, style: Style = "") -> Iterator[Line]:
    """A docstring in so many columns: what its author broke for lack of room is joined, tables and formulas stay."""
    for line in _unwrapped(text.replace("``", "`").splitlines()):
        indent = len(line) - len(line.lstrip())
        hang = 2 * _INDENT if _FORMULA.match(line) else _hang(line)
        for piece in _wrapped(line.strip(), width, indent, min(hang, width // 2), keep=True) or [""]:
            yield ((piece, style),)


def _hang(line: str) -> int:
    """Where the text of a line goes on below it: under what stands behind a label, else where the line begins."""
    label = _LABEL.match(line)
    return len(label[0]) if label else len(line) - len(line.lstrip())


def _unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Lines as they were before they were broken at the width that docstrings have."""
    pending, last = "", ""
    for line in lines:
        first = line.strip().partition(" ")[0]
        indent = len(line) - len(line.lstrip())
        full = len(last) + 1 + len(first) > _WRITTEN_WIDTH
        if first and full and indent == _hang(last) and not _LABEL.match(line):
            pending = f"{pending} {line.strip()}"
        else:
            yield from [pending] if last or pending else []
            if not line.strip():
                yield ""
            pending = line
        last = line
    yield from [pending] if pending.strip() else []


def _wrapped(text: str, width: int, indent: int, hang: int | None = None, keep: bool = False) -> list[str]:
    """The text broken at spaces; ``keep`` leaves the space inside it, which may align a table."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if hang is None else hang),
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=not keep,
        drop_whitespace=True,
    )


# --- for programs -----------------------------------------------------------------------------------------------------


def as_json() -> str:
    """The whole vocabulary as data, in ASCII whatever the terminal's encoding is."""
    data = {
        "layers": [_layer_data(layer) for layer in LAYERS.values()],
        "constructs": [{"name": name, "forms": one.forms, "doc": one.doc} for name, one in CONSTRUCTS.items()],
        "functions": [_function_data(function) for function in FUNCTIONS.values()],
        "methods": [_function_data(method) for method in METHODS.values()],
        "attributes": [{"name": a.name, "gives": a.gives, "doc": a.doc} for a in ATTRIBUTES.values()],
        "constants": list(CONSTANTS),
        "dtypes": DTYPES,
        "initialisers": [{"name": name, "settings": names} for name, names in INITIALISERS.items()],
    }
    return json.dumps(data, indent=1) + "\n"


def _layer_data(layer: type[Layer]) -> dict[str, Any]:
    return {
        "name": layer.__name__,
        "family": layer.family(),
        "doc": page(layer),
        "call": call(layer),
        "example": example(layer),
        "inputs": input_names(layer),
        "settings": [
            {
                "name": s.name,
                "type": describe(s.annotation),
                "required": s.required,
                # As a spec writes it.
                "default": None if s.required else repr(s.default),
                "positional": s.positional,
                "inferred": s.inferred,
            }
            for s in settings(layer)
        ],
    }


def _function_data(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "family": function.family,
        "doc": function.doc,
        "signatures": [str(signature) for signature in function.overloads],
        "module": function.target,
        "gives": function.gives,
        "random": function.random,
    }
