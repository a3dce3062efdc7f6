"""What a spec may use, as text: the list of everything, and a page for each name."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from fwdscope.functions import own_functions as own
from fwdscope.functions.functions import CONSTANTS, DTYPES, FUNCTIONS
from fwdscope.functions.methods import ATTRIBUTES, METHODS
from fwdscope.functions.refusals import function_refusal, method_refusal
from fwdscope.functions.vocabulary import Function
from fwdscope.guide import topic_of
from fwdscope.language.check import INITIALISERS
from fwdscope.language.names import OTHER_FUNCTIONS, OTHER_LAYERS, nearest
from fwdscope.language.schema import CONSTRUCTS, call, example
from fwdscope.layers import LAYERS, Layer, Setting, describe, page, settings
from fwdscope.layers.base import input_names
from fwdscope.render.guide import guide_page
from fwdscope.render.lines import Line, cells, write
from fwdscope.render.table import GAP, Cell, Column, lay_out

_INDENT = 2
# Docstrings are written to this width; a line that was filled up to it continues in the next one.
_WRITTEN_WIDTH = 100
_MARKDOWN_WIDTH = 88
# Styles.
_NAME, _HEADING, _CODE = "bold cyan", "bold", "green"
_GIVES = {
    "tensor": "",
    "number": "It gives a number, never a tensor.",
    "like": "It takes tensors and plain numbers, and gives what it takes.",
    "other": "It gives a collection of its arguments.",
}


class Entry(NamedTuple):
    """A name of the vocabulary: its kind, its family, and what it does in one line."""

    name: str
    kind: str
    family: str
    doc: str

    def mentions(self, word: str) -> bool:
        """Whether a search for a word finds it."""
        return any(word.lower() in text.lower() for text in (self.name, self.family, self.doc))


# The parts of the list, in order, each with its title and a hint.
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
_COUNTED = ("layer", "function", "method")
_NUMBERS = {"inf": "infinity", "nan": "not a number"}


@cache
def entries_of(name: str) -> tuple[Entry, ...]:
    """What has the page of a name."""
    return tuple(entry for entry in entries() if entry.name == name)


@cache
def entries() -> tuple[Entry, ...]:
    """Everything that has a page, part after part, in the order of the lists. A name may be in several parts."""
    initialisers = {name: f"torch.nn.init.{name}_({', '.join(names)})" for name, names in INITIALISERS.items()}
    return (
        *(Entry(name, "layer", layer.family(), page(layer).partition("\n")[0]) for name, layer in LAYERS.items()),
        *(Entry(name, "construct", "", one.doc.partition("\n")[0]) for name, one in CONSTRUCTS.items()),
        *(Entry(f.name, "own function", "", f.doc) for f in FUNCTIONS.values() if f.target == "own"),
        *(Entry(f.name, "function", f.family, f.doc) for f in FUNCTIONS.values() if f.target != "own"),
        *(Entry(f.name, "method", f.family, f.doc) for f in METHODS.values()),
        *(Entry(one.name, "attribute", "", one.doc) for one in ATTRIBUTES.values()),
        *(Entry(name, "number", "", _NUMBERS.get(name, str(value))) for name, value in CONSTANTS.items()),
        *(
            Entry(name, "dtype", "", f"torch.{name}" if name == meant else f"the same as {meant}")
            for name, meant in DTYPES.items()
        ),
        *(Entry(name, "initialiser", "", doc) for name, doc in initialisers.items()),
    )


@cache
def markdown_of(entry: Entry) -> str:
    """The page of an entry as Markdown: its calls, what it does, and the rest of it with its columns."""
    lines = [line.rstrip() for line in write(_page(entry, _MARKDOWN_WIDTH), color=False).split("\n")]
    rest = lines.index("") if entry.kind not in ("number", "dtype") else 0
    called, text = "\n".join(line.removeprefix("  ") for line in lines[:rest]), lines[rest + (rest > 0) :]
    end = text.index("") if "" in text else len(text)
    summary = re.sub(r"(`[^`]*`)|([*_<\[\]])", lambda one: one[1] or f"\\{one[2]}", " ".join(text[:end]))
    aligned = "\n".join(text[end + 1 :]).strip("\n")
    kind = f"*{entry.kind}{f', {entry.family}' if entry.family else ''}*"
    parts = [called and f"```python\n{called}\n```", f"{summary}  \n{kind}" if summary else kind]
    return "\n\n".join(filter(None, [*parts, aligned and f"```text\n{aligned}\n```"]))


def listing(filter: str | None, width: int, color: bool) -> str:
    """Everything that a spec may use, or what mentions a word, a line each. Raises LookupError if nothing does."""
    chosen = [entry for entry in entries() if filter is None or entry.mentions(filter)]
    if not chosen:
        raise LookupError(f"nothing mentions {filter}")
    return write(_listing(chosen, filter, width), color)


def page_of(name: str, width: int, color: bool) -> str:
    """The page of a name: settings or signatures, what it does, an example.

    A word that is no name lists what mentions it. Raises LookupError, with the reason if the name is left out, or with
    a similar name.
    """
    bare = re.sub(r"\(.*", "", name).rpartition(".")[2] or name  # nn.Linear, x.view(…)
    if found := entries_of(bare):
        return write(_pages(found, width), color)
    if topic := topic_of(bare):
        return guide_page(topic, width, color)
    if refusal := function_refusal(bare) or method_refusal(bare):
        raise LookupError(f"{bare} is left out: {refusal}")
    meant = nearest(bare, [entry.name for entry in entries()], OTHER_FUNCTIONS | OTHER_LAYERS)
    certain = meant is not None and (bare in OTHER_LAYERS or _folded(meant) == _folded(bare))
    if not certain and any(entry.mentions(bare) for entry in entries()):
        return listing(bare, width, color)
    help = f"did you mean {meant}?" if meant else "`fwdscope layers` lists what there is"
    raise LookupError(f"there is no {name}; {help}")


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _listing(chosen: list[Entry], filter: str | None, width: int) -> Iterator[Line]:
    if filter is not None:
        yield (("what mentions ", ""), (filter, _NAME))
    else:
        counts = (f"{sum(entry.kind.endswith(kind) for entry in chosen)} {kind}s" for kind in _COUNTED)
        yield ((f"{', '.join(counts)} that a spec may use.", ""),)
        for command, what in (("Conv2d", "shows one with its settings"), ("pool", "lists what mentions a word")):
            yield (("  ", ""), (f"fwdscope layers {command:6}", _CODE), (f"  {what}", ""))
    for kind, (title, hint) in _PARTS.items():
        inside = [entry for entry in chosen if entry.kind == kind]
        if not inside:
            continue
        yield ()
        yield ((title.upper(), _HEADING), (f"  {hint}" if hint else "", "dim"))
        if kind == "method" and filter is None:
            yield ((f"{' ' * _INDENT}as the functions of these names, x.name(…) for name(x, …):", "dim"),)
            names = "  ".join(entry.name for entry in inside if _as_function(entry))
            yield from (((text, _NAME),) for text in _wrapped(names, width, 2 * _INDENT))
            inside = [entry for entry in inside if not _as_function(entry)]
        for family in dict.fromkeys(entry.family for entry in inside):
            if family:
                yield ()
                yield ((f"{' ' * _INDENT}{family}", _HEADING),)
            yield from _rows([entry for entry in inside if entry.family == family], width)


def _as_function(entry: Entry) -> bool:
    """Whether a method does what the listed function of its name does."""
    return entry.name in FUNCTIONS and FUNCTIONS[entry.name].doc == entry.doc


def _rows(family: list[Entry], width: int) -> Iterator[Line]:
    """A line for each entry, with its other names (``concat`` of ``cat``)."""
    others: dict[str, list[str]] = {entry.name: [] for entry in family}
    shown = []
    for entry in family:
        same = re.fullmatch(r"the same as (\w+)", entry.doc)
        if same and same[1] in others:
            others[same[1]].append(entry.name)
        else:
            shown.append(entry)
    labels = [", ".join([entry.name, *others[entry.name]]) for entry in shown]
    room = width - 2 * _INDENT - max(map(len, labels)) - GAP
    docs = [_cut(entry.doc.removesuffix("."), room) for entry in shown]
    table = lay_out(
        [Column("", [Cell(label, style=_NAME) for label in labels], "name"), Column("", docs, "doc")], width
    )
    yield from (((" " * 2 * _INDENT, ""), *table.row(index)) for index in range(len(shown)))


def _cut(text: str, width: int) -> str:
    """The text in so many columns: up to the end of a clause if enough remains, else with an ellipsis."""
    if cells(text) <= width:
        return text
    clause = max((m.start() for m in re.finditer(r"[.;:] ", text[: width + 1])), default=0)
    if clause >= 0.4 * width:
        return text[:clause]
    words = text[: max(width - 1, 1)].rpartition(" ")[0] or text[: max(width - 1, 1)]
    return words.rstrip(" ,;:") + "…"


def _pages(found: Sequence[Entry], width: int) -> Iterator[Line]:
    functions = [entry for entry in found if entry.kind == "function"]
    for i, entry in enumerate(found):
        if i:
            yield ()
        if entry.kind == "method" and functions and _as_function(entry):
            yield (("as a method", _HEADING),)
            for signature in _overloads(METHODS[entry.name]):
                yield from _signature(signature, width)
            continue
        yield ((entry.name, _NAME), (f"  {entry.kind}{f', {entry.family}' if entry.family else ''}", "dim"))
        yield ()
        yield from _page(entry, width)
    if related := _related(found):
        yield ()
        label = "see also  "
        first, *rest = _wrapped(label + ", ".join(related), width, 0, len(label), keep=True)
        yield ((label, _HEADING), (first.removeprefix(label), ""))
        yield from (((line, ""),) for line in rest)


def _page(entry: Entry, width: int) -> Iterator[Line]:
    return _layer(entry, width) if entry.kind == "layer" else _body(entry, width)


def _layer(entry: Entry, width: int) -> Iterator[Line]:
    layer = LAYERS[entry.name]
    yield from _signature(_call_without_inferred(layer), width)
    yield ()
    yield from _prose(page(layer), width)
    if rows := settings(layer):
        yield ()
        positional = ", ".join(row.name for row in rows if row.positional)
        how = f"  by position: {positional}; the others by keyword" if positional else "  each by keyword"
        yield (("settings", _HEADING), ("" if all(row.positional for row in rows) else how, "dim"))
        yield from _settings(rows, width)
        if any(row.inferred for row in rows):
            yield (("inferred: read from the input; given by keyword, it is checked", "dim"),)
    yield ()
    yield (("example", _HEADING), ("  ", ""), (example(layer), _CODE))


def _call_without_inferred(layer: type[Layer]) -> str:
    """The call as people write it, without the settings that are inferred."""
    text = call(layer)
    for setting in settings(layer):
        if setting.inferred:
            text = re.sub(rf"(?:, (?:\*, )?|(?<=\()(?:\*, )?){setting.name}=None(?=[,)])", "", text, count=1)
    return text.replace("(, ", "(", 1)


def _settings(rows: Sequence[Setting], width: int) -> Iterator[Line]:
    names = [Cell(s.name, style=_NAME) for s in rows]
    defaults = [
        Cell("inferred", style="dim")
        if s.inferred
        else Cell("required" if s.required else repr(s.default), style=_CODE)
        for s in rows
    ]
    columns = [Column("", names, "name"), Column("", defaults, "default")]
    left = _INDENT + lay_out(columns, width).width + GAP
    kinds = [textwrap.wrap(describe(s.annotation), max(width - left, 20)) for s in rows]
    table = lay_out([*columns, Column("", [kind[0] for kind in kinds], "kind")], width)
    for index, (_, *rest) in enumerate(kinds):
        yield ((" " * _INDENT, ""), *table.row(index))
        yield from (((" " * left + text, ""),) for text in rest)


def _overloads(function: Function) -> list[str]:
    receiver = "x." if METHODS.get(function.name) is function else ""
    return [f"{receiver}{function.name}{signature}" for signature in function.overloads]


def _body(entry: Entry, width: int) -> Iterator[Line]:
    """The signatures of what is no layer, what it does, remarks and examples."""
    signatures: Iterable[str] = ()
    examples: Iterable[str] = ()
    remarks: list[str] = []
    doc = entry.doc
    match entry.kind:
        case "attribute":
            signatures, remarks = [f"x.{entry.name}"], [_GIVES[ATTRIBUTES[entry.name].gives]]
        case "construct":
            one = CONSTRUCTS[entry.name]
            signatures, doc, examples = one.forms, one.doc, one.examples
        case "initialiser":
            signatures = [f"{entry.name}({', '.join(INITIALISERS[entry.name])})"]
            use = f"`Linear.weight: {entry.name}({'…' if INITIALISERS[entry.name] else ''})`"
            doc = f"The initial value of a tensor, in the section init: {use}. It is torch.nn.init.{entry.name}_."
        case "own function" | "function" | "method":
            function = (METHODS if entry.kind == "method" else FUNCTIONS)[entry.name]
            signatures = _overloads(function)
            if entry.kind == "own function":
                doc = textwrap.dedent(f"    {getattr(own, function.name).__doc__ or ''}")
            remarks = [
                "" if function.target in ("own", "python") else f"It is {function.target}.{function.name}.",
                _GIVES[function.gives],
                "It draws random numbers." if function.random else "",
                "axis= is another name for dim=." if "dim" in function.keywords else "",
            ]
    for signature in signatures:
        yield from _signature(signature, width)
    if signatures:
        yield ()
    yield from _prose(doc, width)
    if any(remarks):
        yield ()
        yield from _prose(" ".join(filter(None, remarks)), width, "dim")
    for line in examples:
        yield from ((), (("example", _HEADING), ("  ", ""), (line, _CODE)))


def _related(found: Sequence[Entry]) -> list[str]:
    """Names that differ in case, underscores or the number of dimensions, and then those of the same family."""
    own_names = {entry.name for entry in found}

    def stem(name: str) -> str:
        return re.sub(r"\d+d$", "", _folded(name)).removesuffix("loss")

    stems = {stem(name) for name in own_names}
    alike = [entry.name for entry in entries() if stem(entry.name) in stems]
    kin = [e.name for e in entries() for f in found if e.family and (e.kind, e.family) == (f.kind, f.family)]
    near = [name for name in dict.fromkeys(alike) if name not in own_names]
    return near or [name for name in dict.fromkeys(kin) if name not in own_names][:8]


def _signature(text: str, width: int) -> Iterator[Line]:
    """A call, broken behind commas, its further lines under the first parenthesis where there is room."""
    hang = _INDENT + text.index("(") + 1 if "(" in text else _INDENT
    hang = hang if hang < width // 2 else 2 * _INDENT + _INDENT
    yield from (((line, _CODE),) for line in _wrapped(text, width, _INDENT, hang))


# `input:   `, `input → output:  `, `weights: `: the text after it continues under its first word.
_LABEL = re.compile(r"(?:[a-z][a-z ]{0,11}|[\w ]+ → [\w ]+):\s+")
# `y[i, j] = …`, `h = …`
_FORMULA = re.compile(r"[^\s.]+(?:, [^\s.]+)* = ")


def _prose(text: str, width: int, style: str = "") -> Iterator[Line]:
    """A docstring wrapped again to so many columns; its tables and formulas keep their lines."""
    for line in _unwrapped(text.replace("``", "`").splitlines()):
        indent = len(line) - len(line.lstrip())
        hang = 2 * _INDENT if _FORMULA.match(line) else _hang(line)
        for piece in _wrapped(line.strip(), width, indent, min(hang, width // 2), keep=True) or [""]:
            yield ((piece, style),)


def _hang(line: str) -> int:
    """The column at which a line continues below: that of the text after a label, else where the line begins."""
    label = _LABEL.match(line)
    return len(label[0]) if label else len(line) - len(line.lstrip())


def _unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Lines as they were before they were broken at the width of docstrings."""
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
    """The text broken at spaces; ``keep`` leaves runs of spaces, which may align a table."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if hang is None else hang),
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=not keep,
    )


def as_json() -> str:
    """The whole vocabulary as data, in ASCII whatever the terminal's encoding is."""
    data = {
        "layers": [
            {
                "name": layer.__name__,
                "family": layer.family(),
                "doc": page(layer),
                "call": call(layer),
                "example": example(layer),
                "inputs": input_names(layer),
                "settings": [
                    {
                        "name": setting.name,
                        "type": describe(setting.annotation),
                        "required": setting.required,
                        # As a spec writes it.
                        "default": None if setting.required else repr(setting.default),
                        "positional": setting.positional,
                        "inferred": setting.inferred,
                    }
                    for setting in settings(layer)
                ],
            }
            for layer in LAYERS.values()
        ],
        "constructs": [{"name": name, "forms": one.forms, "doc": one.doc} for name, one in CONSTRUCTS.items()],
        **{
            kind: [
                {
                    "name": function.name,
                    "family": function.family,
                    "doc": function.doc,
                    "signatures": [str(signature) for signature in function.overloads],
                    "module": function.target,
                    "gives": function.gives,
                    "random": function.random,
                }
                for function in table.values()
            ]
            for kind, table in (("functions", FUNCTIONS), ("methods", METHODS))
        },
        "attributes": [{"name": a.name, "gives": a.gives, "doc": a.doc} for a in ATTRIBUTES.values()],
        "constants": list(CONSTANTS),
        "dtypes": DTYPES,
        "initialisers": [{"name": name, "settings": names} for name, names in INITIALISERS.items()],
    }
    return json.dumps(data, indent=1) + "\n"
