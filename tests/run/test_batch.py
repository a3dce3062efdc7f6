"""The search for the largest batch that fits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fwdscope.errors import InputError
from fwdscope.run.batch import largest_batch


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
