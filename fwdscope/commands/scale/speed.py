"""How many tokens a second a network takes on a device, of one that is built and by formulas.

As ``inspect --on``: by the fused bound, or by the eager estimate (:mod:`fwdscope.report.roofline`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fwdscope.commands.scale.growth import ScaledRow, Scaling
from fwdscope.commands.scale.probe import FusedKey, RowKey
from fwdscope.errors import InputError
from fwdscope.polynomial import Polynomial
from fwdscope.report.roofline import LAUNCH, REACHED_BANDWIDTH, REACHED_FLOPS, estimate, peak_of
from fwdscope.report.throughput import items

if TYPE_CHECKING:
    from fwdscope.report import Peaks, Report

# The work of a row without rows inside, or of what another does beside those: FLOPs, bytes and kernels.
_WORK = ("flops", "bytes_read", "bytes_written", "kernels")


class Speed(NamedTuple):
    """A device by its peaks, and whether the fused bound counts, or the eager estimate."""

    peaks: Peaks
    is_fused: bool = False

    def note(self, past: int | None) -> str:
        """What its tokens a second are."""
        means = "the fused bound, which is the most" if self.is_fused else "the eager estimate, as of inspect --on"
        of = f"of each sequence behind {past:,} positions" if past else "of all sequences"
        return f"tokens/s on {self.peaks.name} in {self.peaks.dtype}: {of}, by {means}"

    def of(self, report: Report) -> float:
        """Tokens a second by a report, behind earlier positions those of each sequence. Raises InputError."""
        one, (number, unit) = estimate(report, self.peaks), items(report) or (0, "")
        seconds = one.seconds if self.is_fused else one.eager_seconds
        if unit != "tokens":
            raise InputError(f"--tokens-per-second: the first input of {report.name} has no tokens")
        if not seconds:
            raise InputError(f"--tokens-per-second: the time on {self.peaks.name} in {report.dtype} is not known")
        return ((report.new_positions or 1) if report.past else number) / seconds


class SpeedFormula:
    """The tokens a second of a network at any values of its vars."""

    def __init__(self, speed: Speed, growth: Scaling, report: Report) -> None:
        self.peaks, self.is_fused = speed.peaks, speed.is_fused
        self.tokens, self.others = growth.others["tokens"], growth.others
        # Beyond which values it is wrong.
        self.bounds = [one for key, many in growth.bounds.items() if _counts(key, self.is_fused) for one in many]
        # How often each work is done, and how many kernels that is.
        self.works: dict[tuple[Polynomial, Polynomial, float | None], Polynomial] = {}
        self.kernels = Polynomial((), {})
        for (times, own), layer in zip(_own_work(growth.rows), report.layers, strict=True):
            flops, read, written, kernels = own
            one = flops, read + written, peak_of(layer, self.peaks)
            if flops.terms or one[1].terms:
                self.works[one] = times + self.works.get(one, 0)
            self.kernels = self.kernels + times * kernels
        self.between = [
            (growth.others[key], growth.others[key._replace(figure="times")])
            for key in growth.others
            if isinstance(key, FusedKey) and key.figure == "size" and key._replace(figure="times") in growth.others
        ]

    def __call__(self, at: Mapping[str, Any]) -> Any:
        """The tokens a second at tensors of values."""
        import torch

        def value(formula: Polynomial) -> torch.Tensor:
            return torch.as_tensor(formula(at), dtype=torch.float64)

        none, bandwidth = torch.zeros((), dtype=torch.float64), self.peaks.bandwidth or float("inf")
        whole, fused = none, none
        for (flops, moved, peak), times in self.works.items():
            arithmetic, many = value(flops) / (peak or float("inf")), value(times)
            traffic = value(moved) / bandwidth / (self.peaks.achieved_bandwidth or REACHED_BANDWIDTH)
            reached = arithmetic / (self.peaks.achieved_flops or REACHED_FLOPS)
            whole, fused = whole + many * torch.maximum(reached, traffic), fused + many * arithmetic
        if not self.is_fused:
            return value(self.tokens) / torch.maximum(whole, LAUNCH * value(self.kernels))
        skipped = self.others.get("skipped_flops")
        fused = fused - (value(skipped) / self.peaks.flops if skipped is not None and self.peaks.flops else 0)
        least, cache = value(self.others["fused_ends"]), self.peaks.cache
        for size, times in self.between if cache is not None else ():
            least = least + 2 * value(times) * torch.clamp(value(size) - float(cache or 0), min=0)
        return value(self.tokens) / torch.maximum(fused, least / bandwidth)


def _counts(key: object, is_fused: bool) -> bool:
    """Whether a formula is a part of the speed."""
    names = (*_WORK, "repeat", "tokens", *(["fused_ends", "skipped_flops"] if is_fused else []))
    return (isinstance(key, FusedKey) and is_fused) or (key.figure if isinstance(key, RowKey) else key) in names


def speed_formula(speed: Speed, growth: Scaling, report: Report) -> SpeedFormula | None:
    """The formula, from the report of the network as it is; None where a part of it has none."""
    parts = [row.formulas.get(name) for row in growth.rows for name in _WORK]
    known = all(isinstance(one, Polynomial) for one in (*parts, *(row.repeat for row in growth.rows)))
    return SpeedFormula(speed, growth, report) if known and {"tokens", "fused_ends"} <= set(growth.others) else None


def _own_work(rows: Sequence[ScaledRow]) -> Iterator[tuple[Polynomial, list[Polynomial]]]:
    """How often each row is done, and what it does beside the rows inside it."""
    above: list[Polynomial] = []
    for index, row in enumerate(rows):
        del above[row.depth - 1 :]
        above.append((above[-1] if above else 1) * row.repeat)  # type: ignore[operator, arg-type]
        own = [row.formulas[name] for name in _WORK]
        for inner in rows[index + 1 :]:
            if inner.depth <= row.depth:
                break
            if inner.depth == row.depth + 1:
                own = [one - inner.repeat * inner.formulas[name] for one, name in zip(own, _WORK, strict=True)]  # type: ignore[operator]
        yield above[-1], own  # type: ignore[misc]
