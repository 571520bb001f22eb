"""The three counts of MACs of one forward pass, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import computed_field

from compressor.values import Value

TOLERANCE = 0.01  # of the largest count


class Counts(Value):
    """MACs of one thing: as fvcore counts the traced graph, as PyTorch counts what is executed, and by formula.

    ``formula`` is None where there is none.
    """

    name: str
    fvcore: int
    torch: int
    formula: int | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def apart(self) -> float:
        """Return the largest difference between two of the counts, as a share of the largest count."""
        known = [count for count in (self.fvcore, self.torch, self.formula) if count is not None]
        return (max(known) - min(known)) / max(known) if max(known) else 0.0


class Agreement(Value):
    """The counts of one forward pass, in total, by part, by kind of operator and by step.

    Steps hold their parallel adapters, whose part is another; what costs nothing in any count is left out.
    ``uncounted`` names the operators that each counter adds nothing for.
    """

    total: Counts
    parts: tuple[Counts, ...]
    kinds: tuple[Counts, ...]
    steps: tuple[Counts, ...]
    uncounted: Mapping[str, tuple[str, ...]]

    @property
    def everything(self) -> tuple[Counts, ...]:
        """Return all counts."""
        return (self.total, *self.parts, *self.kinds, *self.steps)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def apart(self) -> float:
        """Return the largest difference among all counts."""
        return max(counts.apart for counts in self.everything)

    @property
    def off(self) -> tuple[Counts, ...]:
        """Return the entries whose counts differ by more than 1 %."""
        return tuple(counts for counts in self.everything if counts.apart > TOLERANCE)


def describe_agreement(agreement: Agreement) -> str:
    """Return the largest difference of the counts as a sentence, and where they differ."""
    if agreement.off:
        names = ", ".join(counts.name for counts in agreement.off)
        return f"the counts differ by more than {TOLERANCE:.0%}, by up to {agreement.apart:.1%}: {names}"
    how_many = "two counts" if agreement.total.formula is None else "three counts"
    how_far = f"within {agreement.apart:.2%}" if agreement.apart else "exactly"
    return f"{how_many} agree {how_far}" + ("; there is no formula" if agreement.total.formula is None else "")
