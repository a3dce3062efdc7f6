"""Draw the explanation of one layer as text: its inputs, its formulas with numbers, the cost of each operator."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fwdscope.commands.explain import Explanation
from fwdscope.formula import size_lines
from fwdscope.printable import printable
from fwdscope.render.lines import MAX_PROSE, Line, write
from fwdscope.report import Backward, OperatorCost, Shape
from fwdscope.storage import parse_format
from fwdscope.units import byte_size, count_column, exact, shape

COLOURS: Mapping[str, str] = {
    "": "", "name": "bold cyan", "heading": "bold", "dim": "dim", "number": "green", "warning": "red",
}  # fmt: skip
_INDENT = 2
# Sums of more terms are not written out.
_MOST_TERMS = 4
# A name or a description is not cut shorter than this.
_LEAST = 10


def draw(explanation: Explanation, width: int, color: bool, hint: str = "") -> str:
    """Draw an explanation at a width, with ANSI colours if ``color`` is set, and a hint below it."""
    below: list[Line] = [(), ((hint, "dim"),)] if hint else []
    return write([*lines_of(explanation, max(width, 40)), *below], color, COLOURS)


def lines_of(explanation: Explanation, width: int) -> list[Line]:
    """The lines of an explanation, with the styles of :data:`COLOURS`."""
    lines: list[Line] = []
    for block in (_head, _incoming, _results, _weights, _cached, _parts, _operators, _backward, _totals):
        found = list(block(explanation, width))
        lines += [(), *found] if lines and found else found
    return lines


def _head(one: Explanation, width: int) -> Iterator[Line]:
    path, text = printable(one.path), printable(one.text or one.type)
    place = f"{one.source}:{one.line}:{one.column}" if one.line is not None else ""
    text = "" if text == path else text
    title = ((path, "name"), ("  ·  " if path and text else "", "dim"), (text, ""))
    room = width - sum(len(piece) for piece, _ in title) - len(place)
    if room >= _INDENT * bool(place):
        yield (*title, (" " * room if place else "", ""), (place, "dim"))
    else:
        for part, style in ((path, "name"), (text, ""), (place, "dim")):
            yield from _below(part, width, style)
    beside = f"On the same line: {', '.join(one.beside)}" if one.beside else ""
    for sentence, style in ((one.sentence, ""), (one.note or "", "warning"), (beside, "dim")):
        for piece in textwrap.wrap(printable(sentence), min(width, MAX_PROSE)):
            yield ((piece, style),)


def _below(text: str, width: int, style: str, indent: int = 0) -> Iterator[Line]:
    """A text on lines of its own; a word longer than a line is broken."""
    for piece in textwrap.wrap(text, width - indent, break_on_hyphens=False):
        yield ((" " * indent, ""), (piece, style))


def _incoming(one: Explanation, width: int) -> Iterator[Line]:
    if not one.inputs:
        return
    yield (("IN", "heading"),)
    column = max(len(incoming.name) for incoming in one.inputs)
    wide = max(len(shape(incoming.shape)) for incoming in one.inputs)
    for incoming in one.inputs:
        label = f"{incoming.name.ljust(column)}  " if column else ""
        origin = f"from {printable(incoming.source)}" if incoming.source else ""
        sizes = shape(incoming.shape).ljust(wide)
        line: Line = ((" " * _INDENT, ""), (label, "dim"), (sizes, ""), (f"  {incoming.dtype}", "dim"))
        if origin and sum(len(piece) for piece, _ in line) + len(origin) + 2 <= width:
            yield (*line, (f"  {origin}", "dim"))
        else:
            yield line
            yield from _below(origin, width, "dim", 2 * _INDENT)
    if one.sources and any(incoming.source is None for incoming in one.inputs):
        yield from _below(f"from {', '.join(map(printable, one.sources))}", width, "dim", _INDENT)
    if one.reads:
        yield from _below(f"reads {', '.join(map(printable, one.reads))}", width, "dim", _INDENT)


def _results(one: Explanation, width: int) -> Iterator[Line]:
    if not one.outputs:
        return
    yield (("OUT", "heading"),)
    known = {incoming.shape for incoming in one.inputs}
    shown: list[tuple[str, ...]] = []
    for result in one.outputs:
        facts = f"  {result.dtype}  {byte_size(result.bytes)}"
        yield ((" " * _INDENT, ""), (shape(result.shape), "number"), (facts, "dim"))
        lines = tuple(size_lines(result.sizes, result.shape in known)) if result.sizes is not None else ()
        if lines not in shown:
            yield from formulas(lines, width)
        shown.append(lines)


def formulas(texts: Iterable[str], width: int, label: str = "") -> Iterator[Line]:
    """Formulas behind a label, each with its steps on lines of their own if it is too long for one."""
    indent = 2 * _INDENT
    room = max(width - indent - len(label), 20)
    for text in texts:
        for i, line in enumerate([text] if len(text) <= room else _broken(text, room)):
            yield ((" " * indent, ""), (label if i == 0 else " " * len(label), "dim"), (line, ""))


def _broken(text: str, room: int) -> list[str]:
    """The steps of an equation, as many on a line as fit; a step that is too long is broken at its sums."""
    lines: list[str] = []
    for i, step in enumerate(text.split(" = ")):
        piece = f"= {step}" if i else step
        if i > 1 and len(lines[-1]) + 1 + len(piece) <= room:
            lines[-1] += f" {piece}"
        else:
            lines += textwrap.wrap(
                piece, room, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
            ) or [""]
    return lines


def _weights(one: Explanation, width: int) -> Iterator[Line]:
    for title, weights in (("PARAMETERS", one.parameters), ("BUFFERS", one.buffers)):
        if not weights:
            continue
        size = sum(weight.bytes for weight in weights)
        counts = [exact(weight.count.value) for weight in weights]
        whole = exact(sum(weight.count.value for weight in weights))
        terms = f"{' + '.join(counts)} = {whole}" if 1 < len(counts) <= _MOST_TERMS else whole
        yield ((title, "heading"), (f"  {terms}, {byte_size(size)}", "dim"))
        names, shapes = [printable(weight.name) for weight in weights], [shape(weight.shape) for weight in weights]
        column, wide = _room(names), _room(shapes)
        for weight, name, sizes in zip(weights, names, shapes, strict=True):
            line: Line = ((" " * _INDENT, ""), (name.ljust(column), "name"), (f"  {sizes.ljust(wide)}", ""))
            stored = _as_stored(weight.shape, weight.dtype, one.weights_format) if title == "PARAMETERS" else ""
            facts = f"{one.weights_format if stored else weight.dtype}  {byte_size(weight.bytes)}"
            room = width - _INDENT - column - wide - 2 * 2
            frozen = "not trained" if title == "PARAMETERS" and not weight.trainable else ""
            shared = f"shared with {', '.join(map(printable, weight.shared))}" if weight.shared else ""
            remarks = "; ".join(filter(None, (frozen, shared)))
            beside = f"{facts}  {remarks}" if remarks and len(facts) + 2 + len(remarks) <= room else facts
            yield (*line, (f"  {beside}" if len(beside) <= room else "", "dim"))
            yield from _below(remarks if beside == facts else "", width, "dim", 2 * _INDENT)
            if len(weight.shape) > 1 or weight.count.symbols != weight.count.numbers:
                yield from formulas([weight.count.text], width)
            yield from formulas([stored] * bool(stored), width, "bytes  ")


def _as_stored(sizes: Shape, dtype: str, format: str | None) -> str:
    """The bytes of a tensor as stored, with those of its scales, as a formula; empty if it stays as it is."""
    return parse_format(format).formula(sizes, dtype) if format else ""


_KEPT = {
    "past": "of each earlier position",
    "window": "of the last positions",
    "encoder": "of the encoder, once",
    "state": "whatever the positions",
}


def _cached(one: Explanation, width: int) -> Iterator[Line]:
    """What is kept between steps of generation."""
    if not one.cached:
        return
    whole = sum(tensor.nbytes * times for tensor, times in one.cached)
    yield (("CACHE", "heading"), (f"  {exact(whole)} bytes, {byte_size(whole)}", "dim"))
    names, shapes = [tensor.name for tensor, _ in one.cached], [shape(tensor.shape) for tensor, _ in one.cached]
    for (tensor, times), name, sizes in zip(one.cached, names, shapes, strict=True):
        many = f"  × {exact(times)}" * (times > 1)
        line: Line = ((" " * _INDENT, ""), (name.ljust(_room(names)), "name"), (f"  {sizes.ljust(_room(shapes))}", ""))
        stored = _as_stored(tensor.shape, tensor.dtype, one.cache_format) if tensor.kind != "state" else ""
        held = one.cache_format if stored else tensor.dtype
        yield (*line, (f"  {held}  {byte_size(tensor.nbytes)}{many}  {_KEPT[tensor.kind]}", "dim"))
        yield from formulas([stored] * bool(stored), width, "bytes  ")


def _parts(one: Explanation, width: int) -> Iterator[Line]:
    if not one.parts:
        return
    equal = "  figures of one each; × n means n equal steps" if any(part.times > 1 for part in one.parts) else ""
    title = f"INSIDE {printable(one.path)}".rstrip()
    title = title if len(title) + len(equal) <= width else "INSIDE"
    yield ((title, "heading"), (equal if len(title) + len(equal) <= width else "", "dim"))
    # The heading shows how the paths begin.
    within = f"{one.path}."
    names = [printable(part.path.removeprefix(within) or part.text) for part in one.parts]
    times = [f"× {exact(part.times)}" if part.times > 1 else "" for part in one.parts]
    texts = [printable(part.text) if part.path else "" for part in one.parts]
    figures = [
        [title, *count_column([getattr(part, name) for part in one.parts])]
        for title, name in (("params", "params"), ("MACs", "macs"), ("FLOPs", "flops"))
    ]
    columns = [["", *names], ["", *times], ["", *texts]]
    # If there is not enough room, texts are cut first, then names, then the last figures are left out.
    rest = width - _INDENT - _room(columns[1]) - 4
    while len(figures) > 1 and rest - sum(_room(column) + 2 for column in figures) < 2 * _LEAST:
        figures.pop()
    rest -= sum(_room(column) + 2 for column in figures)
    name_room = min(_room(columns[0]), max(rest - min(_LEAST, _room(columns[2])), _LEAST))
    rooms = (name_room, _room(columns[1]), min(_room(columns[2]), max(rest - name_room, 0)))
    for i, (name, many, text) in enumerate(zip(*columns, strict=True)):
        # Padded or cut to the width of the column.
        shown = [
            cell.ljust(room) if len(cell) <= room else f"{cell[: room - 1]}…"[:room]
            for cell, room in zip((name, many, text), rooms, strict=True)
        ]
        aligned = "".join(f"  {column[i]:>{_room(column)}}" for column in figures)
        described = f"  {shown[1]}  {shown[2]}"
        yield ((" " * _INDENT, ""), (shown[0], "name"), (described, "dim"), (aligned, "" if i else "dim"))


def _room(column: Sequence[str]) -> int:
    return max(map(len, column), default=0)


def _operators(one: Explanation, width: int) -> Iterator[Line]:
    shown = {text for result in one.outputs for text in size_lines(result.sizes or ())}
    yield from operators("OPERATORS" if not one.parts else "OPERATORS BETWEEN THEM", one.operators, shown, width)


def _backward(one: Explanation, width: int) -> Iterator[Line]:
    yield from operators("BACKWARD" if not one.parts else "BACKWARD BETWEEN THEM", one.backward_operators, set(), width)


def operators(title: str, some: Sequence[OperatorCost], shown: set[str], width: int) -> Iterator[Line]:
    """Operators under a title, without the formulas of sizes that are ``shown`` above."""
    if some:
        yield ((title, "heading"), ("  by their ATen names", "dim"))
    for one in some:
        yield from operator(one, shown, width)


def operator(one: OperatorCost, shown: set[str], width: int) -> Iterator[Line]:
    """An operator and its arithmetic, without the formulas of sizes that are ``shown`` above."""
    came, went = " ".join(map(shape, one.inputs)), " ".join(map(shape, one.outputs))
    flow = f"{came} → {went}".strip() if one.inputs or one.outputs else ""
    times = f"  × {exact(one.times)}" if one.times > 1 else ""
    for i, text in enumerate(textwrap.wrap(flow, max(width - _INDENT - len(one.name) - len(times) - 2, 30)) or [""]):
        name = one.name if i == 0 else " " * len(one.name)
        yield ((" " * _INDENT, ""), (name, "name"), (f"  {text}", ""), (times if i == 0 else "", "dim"))
    yield from formulas((text for text in one.sizes if text not in shown), width)
    if one.flops is None:
        yield ((" " * 2 * _INDENT, ""), ("not counted: there is no rule for this operator", "warning"))
        return
    if one.macs_formula:
        yield from formulas([one.macs_formula], width, "MACs   ")
    if one.flops_formula:
        yield from formulas([one.flops_formula], width, "FLOPs  ")
    moved = f"{exact(one.bytes_read or 0)} read, {exact(one.bytes_written or 0)} written"
    if one.bytes_read or one.bytes_written:
        nothing = "" if one.flops else "; nothing is computed"
        yield ((" " * 2 * _INDENT, ""), ("bytes  ", "dim"), (moved, ""), (nothing, "dim"))
    elif not one.flops:
        yield ((" " * 2 * _INDENT, ""), ("free: nothing is computed or moved", "dim"))


def backward_facts(one: Backward | None, macs: int) -> Iterator[tuple[str, str]]:
    """What a backward computes, and what is kept for it."""
    if one is None:
        return
    least = "≥ " if one.uncounted else ""
    times = f", {one.macs / macs:.3g} × those of the forward" if macs and not least else ""
    yield "backward", f"{least}{exact(one.macs)} MACs{times}, {exact(one.flops)} FLOPs"
    if one.recomputed_flops:
        again = f"{exact(one.recomputed_macs)} MACs and {exact(one.recomputed_flops)} FLOPs"
        yield "", f"of these {again} compute the forward again"
    yield "", f"{least}{exact(one.bytes_read)} bytes read, {exact(one.bytes_written)} written"
    saved = f"{exact(one.saved_bytes)} bytes, {byte_size(one.saved_bytes)}"
    yield "saved for it", saved if one.saved_bytes else "nothing that an earlier layer does not keep already"
    yield "not counted", ", ".join(one.uncounted)


def _totals(one: Explanation, width: int) -> Iterator[Line]:
    yield (("IN ALL", "heading"),)
    least = "≥ " if one.uncounted else ""
    moved = one.bytes_read + one.bytes_written
    field = " × ".join(map(exact, one.receptive_field or ()))
    calls = f"{exact(one.calls)}; explained is one of them. All together:" if one.calls != 1 else ""
    known = {formula.figure: f" = {formula.text}" for formula in one.formulas}
    moves = f"{least}{exact(one.bytes_read)} read{known.get('bytes_read', '')}", f"{exact(one.bytes_written)} written"
    rows = [
        ("parameters", exact(one.params) + known.get("params", "")),
        ("MACs", f"{least}{exact(one.macs)}{known.get('macs', '')}"),
        ("FLOPs", f"{least}{exact(one.flops)}{known.get('flops', '')}"),
        ("bytes", moves[0] if known else ", ".join(moves)),
        ("", moves[1] + known.get("bytes_written", "") if known else ""),
        ("intensity", f"{one.flops / moved:.3g} FLOPs a byte" if moved else ""),
        ("output", f"{exact(one.output_bytes)} bytes, {byte_size(one.output_bytes)}"),
        *backward_facts(one.backward, one.macs),
        ("receptive field", f"{field} of the input, for each output" if field else ""),
        ("calls", f"{calls} {exact(one.macs_of_calls)} MACs, {exact(one.flops_of_calls)} FLOPs" if calls else ""),
        ("not counted", ", ".join(one.uncounted)),
        ("formulas for", "; ".join(one.checked)),
    ]
    shown = [(name, text) for name, text in rows if text]
    column = max(len(name) for name, _ in shown)
    for name, text in shown:
        pieces = textwrap.wrap(text, max(width - _INDENT - column - 2, 20)) or [""]
        for i, piece in enumerate(pieces):
            label = (name if i == 0 else "").ljust(column)
            yield ((" " * _INDENT, ""), (label, "dim"), (f"  {piece}", "warning" if name == "not counted" else ""))
