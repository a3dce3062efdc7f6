"""The search for the largest batch that fits, and specs with other values of vars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fwdscope.errors import InputError
from fwdscope.language import check_source
from fwdscope.language.check import Checked, check
from fwdscope.language.expression import Constant
from fwdscope.language.problems import Source, SpecError
from fwdscope.run.batch import largest_batch, with_variable
from fwdscope.targets import Target


def steps(n: int) -> int:
    """Activations that overtake an optimizer's state at 40, in blocks of 512 bytes."""
    return max(100_000, 20_000 + -(-2_000 * n // 512) * 512)


MEMORIES: dict[str, tuple[Callable[[int], int], int]] = {
    "linear": (lambda n: 1_000 + 37 * n, 30),
    "flat at first": (lambda n: max(5_000_000, 1_000 * n), 60),
    "in steps": (steps, 60),
    "faster than linear": (lambda n: 50 + n * n, 60),
    "slower than linear": (lambda n: int(1_000 * n**0.9), 60),
}


@pytest.mark.parametrize("free", [90_000, 1_000_000, 6_543_210, 10**9])
@pytest.mark.parametrize("start", [1, 3, 4096])
@pytest.mark.parametrize("name", MEMORIES)
def test_the_batch_fits_and_the_next_one_does_not(name: str, start: int, free: int) -> None:
    memory, most = MEMORIES[name]
    seen: list[int] = []

    def peak(n: int) -> int:
        seen.append(n)
        return memory(n)

    found = largest_batch(free, peak, start)
    assert memory(found) <= free or found == 0
    assert memory(found + 1) > free
    # Both sides were looked at, nothing twice, and not much else.
    assert {found or 1, found + 1} <= set(seen)
    assert len(set(seen)) == len(seen) <= most


def test_a_line_is_found_in_four_looks() -> None:
    seen: list[int] = []
    assert largest_batch(1_000, lambda n: seen.append(n) or 100 + 9 * n) == 100  # type: ignore[func-returns-value]
    assert seen == [1, 2, 100, 101]


def test_a_batch_that_is_known_not_to_fit_is_not_looked_at() -> None:
    assert largest_batch(1_000, lambda n: 100 + 9 * n, 1, 50) == 49
    assert largest_batch(100, lambda n: 100 + 9 * n, 1, 50) == 0


def test_memory_that_does_not_grow_is_said_to() -> None:
    with pytest.raises(InputError, match="its memory does not grow with the batch"):
        largest_batch(1_000, lambda n: 100)


# The first block and what uses it rest on d and on what follows from it, the second on nothing.
BLOCKS = """
vars: {B: 2, d: 8, half: 8 // d * d, unused: 1}
inputs: {x: "randn(B, d)"}
blocks:
  Divided:
    - Linear(64 // d)
    - prev + 1 / half
  Plain(width=4):
    - Linear(width * x.shape[0])
    - Divided
layers:
  - Plain
"""


@pytest.mark.parametrize("name", ["", "moe_small", "wavenet"])
def test_a_spec_with_another_var_is_checked_as_a_file_that_has_it(name: str) -> None:
    """Blocks that do not mention a var that changed are not checked again."""
    checked = Target(name).load_spec()[0] if name else check_source(Source("x.yaml", BLOCKS))

    def found(of: Callable[[], Checked]) -> object:
        try:
            return of()
        except SpecError as error:
            return error.problems

    for var in checked.spec.variables:
        for value in (0, 3, checked.variables[var.name]):
            changed = var.replace(value=Constant(var.value.span, value))
            spec = replace(
                checked.spec, variables=tuple([changed if one is var else one for one in checked.spec.variables])
            )
            again = found(lambda value=value, var=var: with_variable(checked, var.name, value))
            assert again == found(lambda spec=spec: check(spec)), (var.name, value)
