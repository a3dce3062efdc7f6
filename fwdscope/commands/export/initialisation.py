"""Writes the section ``init`` of a spec as lines of a constructor."""

from __future__ import annotations

from fwdscope.commands.export.constructor import Constructor


def initialisation(network: Constructor) -> list[tuple[int, str, str]]:
    """Return the lines, with their depth and comment. What wins comes last: paths over types, longer ends of paths."""
    lines: list[tuple[int, str, str]] = []
    for one in sorted(network.module.spec.init, key=lambda one: (not one.key[:1].isupper(), one.key.count("."))):
        kind, _, tensor = one.key.rpartition(".")
        by_type = kind[:1].isupper() and "." not in kind
        given = [network.constant(node) for node in one.call.arguments]
        given += [f"{k.name}={network.constant(k.value)}" for k in one.call.keywords]
        name = network.module.source[one.call.function.span]
        arguments = ", ".join([f"layer.{tensor}" if by_type else "parameter", *given])
        found = ("layer in self.modules()", f"type(layer) is nn.{kind} and layer.{tensor} is not None")
        named = ("name, parameter in self.named_parameters()", f'f".{{name}}".endswith(".{one.key}")')
        loop, test = found if by_type else named
        lines += [(0, f"for {loop}:", network.module.comment(one.span)), (1, f"if {test}:", "")]
        lines.append((2, f"nn.init.{name}_({arguments})", ""))
    return lines
