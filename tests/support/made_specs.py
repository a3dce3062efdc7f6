"""Specs made by hypothesis: small networks of every form that lines take, over vars of a few sizes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

SIZES = ("d", "2 * d", "d // 2", "5", "k", "d + k")
FLAT = ("ReLU", "Linear({size})", "Linear({size})", "LayerNorm", "Dropout(0.1)", "sin(prev)", "prev * 2 + 1")
IMAGE = ("ReLU", "Conv2d({size}, 3, padding=1)", "Conv2d(2 * k, 1)", "BatchNorm2d", "MaxPool2d(2)", "prev.abs()")


@dataclass(frozen=True)
class Made:
    """A spec's text. ``lines`` are those of ``layers``, without what stands above them."""

    text: str
    lines: tuple[str, ...]


@st.composite
def lines_of_rows(draw: st.DrawFn) -> list[str]:
    """Lines that run on (B, d): every size is that of the last line, so that norms fit."""
    size, lines = "d", []
    for number in range(draw(st.integers(1, 5))):
        made = ("stack", "named", "rounds", "named rounds", "modules", "shared")
        kind = draw(st.sampled_from((*FLAT, *made, "block", "branch", "loop")))
        if "Linear" in kind or kind in made:
            size = draw(st.sampled_from(SIZES))
        match kind:
            case "stack":
                lines.append(f"  - {draw(st.sampled_from(('2', 'n')))} * Linear({size})")
            case "block":
                lines.append(f"  - {draw(st.sampled_from(('', '2 * ', 'n * ')))}Wide({size})")
            case "named":
                lines += [f"  - a{number} = Linear({size})", f"  - relu(a{number}) + a{number}"]
            case "branch":
                lines += ["  - if: B > 2", "    then:", "      - Tanh", "    else:", "      - Sigmoid"]
            case "rounds" | "named rounds":
                name = [f"    name: s{number}"] * (kind == "named rounds")
                lines += [
                    "  - for: i in range(n)",
                    *name,
                    "    do:",
                    f"      - c{number} = Linear({size})",
                    "      - ReLU",
                ]
            case "modules":
                one = f"m{number}: [Linear({size}), Linear({size})]"
                lines += ["  - modules:", f"      {one}", f"  - for: m in m{number}", "    do:", "      - m"]
            case "shared":
                lines += ["  - modules:", f"      f{number}: Linear({size})", f"  - Linear({size})"]
                lines += [f"  - for: i in range({draw(st.sampled_from(('1', 'n')))})", "    do:"]
                lines += ["      - sigmoid(prev)", f"      - f{number}(prev) if i == 0 else f{number}(prev) + 1"]
            case "loop":
                lines += ["  - for: i in range(2)", "    do:", "      - relu(prev) * i"]
            case _:
                lines.append(f"  - {kind.format(size=size)}")
    return lines


@st.composite
def made_specs(draw: st.DrawFn) -> Made:
    """A spec that runs, and that expects nothing."""
    image = draw(st.booleans())
    if image:
        some = draw(st.lists(st.sampled_from(IMAGE), min_size=1, max_size=4).filter(lambda x: x.count(IMAGE[4]) < 3))
        lines = [f"  - {line.format(size=draw(st.sampled_from(SIZES)))}" for line in some]
        lines += draw(st.sampled_from(([], ["  - Flatten", "  - Linear(k)"])))
    else:
        lines = draw(lines_of_rows())
    sizes = [draw(st.integers(low, high)) for low, high in ((1, 4), (2, 4), (1, 3), (1, 3))]
    b, d, k, n = sizes[0], 2 * sizes[1], sizes[2], sizes[3]
    head = f"name: made\nvars: {{B: {b}, d: {d}, k: {k}, n: {n}}}\ninputs:\n"
    head += "  x: rand(B, 3, 8, 4 * k)\n" if image else "  x: rand(B, d)\n"
    blocks = "blocks:\n  Wide(width):\n    - up = Linear(2 * width)\n    - GELU\n    - Linear(width)\n"
    return Made(
        f"{head}{blocks if any('Wide' in line for line in lines) else ''}layers:\n" + "\n".join(lines) + "\n",
        tuple(lines),
    )
