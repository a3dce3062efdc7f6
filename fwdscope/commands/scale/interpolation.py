"""Finds exact polynomials for figures that can only be evaluated, and says of what is none that it is none.

A figure is taken along each var alone first (``probing.py``): which steps it may take (``d // heads`` stands still
between multiples), its degree, and how far that holds. Then the vars are joined one by one, with the terms found so
far as the only unknowns (``joining.py``). A formula counts only if it is exact at points that it was not made from,
near and far, with all vars changed (``proof.py``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fwdscope.commands.scale.evaluations import COST, Evaluations, Key, Sampler
from fwdscope.commands.scale.joining import Joining, Sums
from fwdscope.commands.scale.probing import Probing
from fwdscope.commands.scale.proof import Proof
from fwdscope.commands.scale.ranges import VarRange
from fwdscope.polynomial import Polynomial


@dataclass(frozen=True)
class Found:
    """What was found: formulas by figure, and for each that has none the vars in which it is none."""

    ranges: tuple[VarRange, ...]
    formulas: Mapping[Key, Polynomial]
    broken: Mapping[Key, tuple[str, ...]]
    # The points that formulas were checked at and not made from.
    held_out: tuple[Mapping[str, int], ...]
    evaluations: int


class Interpolation(Evaluations):
    """Figures of a network as polynomials in vars.

    ``primary`` are the figures that decide which degrees, steps and ranges are checked: others are parts of them.
    ``held_out`` is how many points formulas are checked at, besides the corners of the ranges. ``sums`` are figures
    that may be sums of others, each as often as one more says. With ``thresholds``, values and vars, the network may
    compare others. Of ``ignored`` figures no formulas are sought, as the
    largest of several has none; nor of those that others are instead of (``is_instead``) if all networks have these.
    Those that are shown are checked at the corners of their own ranges, others at those that they share.
    """

    def __init__(
        self,
        sample: Sampler,
        base: Mapping[str, int],
        primary: Sequence[Key],
        held_out: int = 6,
        on_progress: Callable[[str], None] = lambda _: None,
        sizes: Iterable[int] = (),
        thresholds: Iterable[int | str] = (),
        sums: Sums | None = None,
        ignored: Collection[Key] = (),
        is_instead: Callable[[Key], bool] = lambda _: False,
        is_shown: Callable[[Key], bool] = lambda _: True,
    ) -> None:
        super().__init__(sample, base, on_progress)
        self.primary, self.number, self.sums = tuple(primary), held_out, sums or {}
        self.random, self.is_shown = random.Random(0), is_shown
        sought = [i for i, key in enumerate(self.keys) if key != COST and key not in ignored]
        self.own = [i for i in sought if not is_instead(self.keys[i])]
        self.instead = [i for i in sought if is_instead(self.keys[i])]
        limits = [*thresholds]
        self.compared = [one for one in limits if isinstance(one, str) and one in self.base]
        self.sizes, self.limits = {*sizes}, [one for one in limits if isinstance(one, int)]
        # How the other vars are while one is probed.
        self.anchor: Mapping[str, int] = self.base

    def find(self) -> Found:
        """Formulas of all figures."""
        main = [self.numbers[key] for key in self.primary if key in self.numbers]
        probing = Probing(self, main, self.own, self.sizes, self.limits)
        try:
            return self._find(probing)
        finally:
            self.anchor = probing.anchor

    def _find(self, probing: Probing) -> Found:
        probing.choose_small()
        anchor = dict(probing.anchor)
        ranges, alone = probing.probe_all()
        if probing.free(alone, anchor):
            ranges, alone = probing.probe_all()
        if self.instead and self.have_others():
            probing.anchor, probing.live = dict(anchor), [*self.own, *self.instead]
            ranges, alone = probing.probe_all()
        keys = [self.keys[i] for i in probing.live]
        keys = [key for key in keys if all(key in one.degrees or key in one.broken for one in ranges)]
        broken = {key: (*alone, *(one.name for one in ranges if key in one.broken)) for key in keys}
        joined = [key for key, names in broken.items() if not names]
        joining = Joining(self, probing.anchor, self.sums)
        formulas = joining.join(ranges, joined)
        proof = Proof(self, self.primary, probing.anchor, probing.dear, self.number, self.random, self.is_shown)
        proof.share_steps(formulas, ranges)
        proof.meet(ranges, self.compared)
        points = proof.hold_out(ranges, formulas, self.number)
        self.row(points[-1])
        # Terms that vanish at the first values are seen at the second.
        primary = {*self.primary, *self.sums, *(key for parts in self.sums.values() for part in parts for key in part)}
        if missed := primary.intersection(joined) & (proof.wrong(formulas, ranges, []) | ({*joined} - formulas.keys())):
            formulas |= joining.join(ranges, [key for key in joined if key in missed], 1)
        held_out, wrong = proof.check(ranges, formulas, points)
        broken |= dict.fromkeys(wrong, self.names)
        formulas = {key: formula for key, formula in formulas.items() if key not in wrong}
        none = {key: names for key, names in broken.items() if key not in formulas}
        return Found(tuple(ranges), formulas, none, held_out, len(self.known))
