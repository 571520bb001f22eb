"""MACs counted three ways: on the traced graph, on the operators executed, and by formula."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import computed_field
from torch import Tensor

from compressor.models.macs import Macs
from compressor.models.parts import HEAD, PROLOGUE
from compressor.models.steps import StepModel
from compressor.values import Value
from profiles.macs.formula import formula, sums

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
        """Largest difference between two of the counts, as a share of the largest count."""
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
        """All counts."""
        return (self.total, *self.parts, *self.kinds, *self.steps)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def apart(self) -> float:
        """The largest disagreement, wherever it is."""
        return max(counts.apart for counts in self.everything)

    @property
    def off(self) -> tuple[Counts, ...]:
        """What the counts differ on by more than 1 %."""
        return tuple(counts for counts in self.everything if counts.apart > TOLERANCE)


def agreement(model: StepModel, inputs: Mapping[str, Tensor], executed: Macs) -> Agreement:
    """Count a full, slim or trimmed model again, twice: on the traced graph and by formula.

    Args:
        model: on any device; on the meta device but for its prologue, too.
        inputs: of one forward pass.
        executed: what :func:`compressor.models.macs.count_macs` returned for these.
    """
    from profiles.macs.traced import count_traced  # fvcore takes a second to import

    traced, terms = count_traced(model, inputs), formula(model, inputs)

    def side_by_side(first: Mapping[str, int], second: Mapping[str, int], third: str) -> tuple[Counts, ...]:
        known = None if terms is None else sums(terms, third)
        names = dict.fromkeys((*first, *second, *(known or ())))
        every = (
            Counts(
                name=name,
                fvcore=first.get(name, 0),
                torch=second.get(name, 0),
                formula=None if known is None else known.get(name, 0),
            )
            for name in names
        )
        return tuple(counts for counts in every if counts.fvcore or counts.torch or counts.formula)

    return Agreement(
        total=Counts(
            name="total",
            fvcore=traced.total,
            torch=executed.total,
            formula=None if terms is None else sum(term.macs for term in terms),
        ),
        parts=side_by_side(traced.by_pool, executed.by_pool, "part"),
        kinds=side_by_side(traced.by_kind, executed.by_kind, "kind"),
        steps=side_by_side(_steps(traced), _steps(executed), "step"),
        uncounted={"fvcore": _operators(traced), "torch": _operators(executed)},
    )


def sentence(found: Agreement) -> str:
    """How far the counts agree, or on what they do not."""
    if found.off:
        names = ", ".join(counts.name for counts in found.off)
        return f"the counts differ by more than {TOLERANCE:.0%}, by up to {found.apart:.1%}: {names}"
    how_many = "two counts" if found.total.formula is None else "three counts"
    how_far = f"within {found.apart:.2%}" if found.apart else "exactly"
    return f"{how_many} agree {how_far}" + ("; there is no formula" if found.total.formula is None else "")


def _steps(found: Macs) -> dict[str, int]:
    return {PROLOGUE: found.by_pool[PROLOGUE], **found.by_step, HEAD: found.by_pool[HEAD]}


def _operators(found: Macs) -> tuple[str, ...]:
    return tuple(entry.operator for entry in found.uncounted)
