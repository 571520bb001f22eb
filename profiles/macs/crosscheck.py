"""MACs counted three ways: on the traced graph, on the operators executed, and by formula."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from compressor.costs.macs import Macs
from compressor.costs.parts import HEAD, PROLOGUE
from compressor.models.steps import StepModel
from profiles.macs.agreement import Agreement, Counts
from profiles.macs.formula import apply_formula, sum_terms


def cross_check(model: StepModel, inputs: Mapping[str, Tensor], executed: Macs) -> Agreement:
    """Count a full, slim or trimmed model again, twice: on the traced graph and by formula.

    Args:
        model: on any device; on the meta device but for its prologue, too.
        inputs: of one forward pass.
        executed: what :func:`compressor.costs.macs.count_macs` returned for these.
    """
    from profiles.macs.traced import count_traced  # fvcore takes a second to import

    traced, terms = count_traced(model, inputs), apply_formula(model, inputs)

    def side_by_side(first: Mapping[str, int], second: Mapping[str, int], third: str) -> tuple[Counts, ...]:
        by_formula = None if terms is None else sum_terms(terms, third)
        names = dict.fromkeys((*first, *second, *(by_formula or ())))
        counts_by_name = (
            Counts(
                name=name,
                fvcore=first.get(name, 0),
                torch=second.get(name, 0),
                formula=None if by_formula is None else by_formula.get(name, 0),
            )
            for name in names
        )
        return tuple(counts for counts in counts_by_name if counts.fvcore or counts.torch or counts.formula)

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


def _steps(macs: Macs) -> dict[str, int]:
    return {PROLOGUE: macs.by_pool[PROLOGUE], **macs.by_step, HEAD: macs.by_pool[HEAD]}


def _operators(macs: Macs) -> tuple[str, ...]:
    return tuple(entry.operator for entry in macs.uncounted)
