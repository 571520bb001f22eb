"""Budgets in the user's words: how small, how fast or how good the slim model has to be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from compressor.errors import CheckFailed, Problem, UsageError, usage_error
from compressor.models.plan import summarise
from compressor.search.result import Point, SearchResult
from compressor.values import Value

SHARE = {"x": 1.0}  # 0.8x is four fifths of the full model's
COUNTS = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}
MILLISECONDS = {"s": 1e3, "ms": 1.0}
QUANTILES = ("p50", "p90", "p99")  # the default is the first one
MACS, DROP = "macs", "drop"


class Prices(Value):
    """What the full model costs, and what skipping each layer saves, its adapter counted in; in the kind's unit."""

    full: float
    saved: Mapping[str, float]

    def without(self, layers: Collection[str]) -> float:
        """Cost of the model without ``layers``, as the sum of what each saves by itself predicts it."""
        return self.full - sum(self.saved[name] for name in layers)


@dataclass(frozen=True)
class Kind:
    """A kind of budget.

    Attributes:
        noun: what is limited, as reports call it.
        example: as a user would type the limit.
        units: suffixes of an absolute limit, the largest first.
        prices: what the record of a search says of the full model and its layers; None where that is measured.
        relative: whether the limit may be a share of the full model's.
    """

    noun: str
    example: str
    units: Mapping[str, float]
    prices: Callable[[SearchResult], Prices] | None
    relative: bool = True


def _macs(record: SearchResult) -> Prices:
    return Prices(full=record.macs, saved=record.macs_saved)


def _parameters(record: SearchResult) -> Prices:
    return Prices(full=record.parameters, saved=record.parameters_saved)


KINDS: dict[str, Kind] = {
    MACS: Kind("MACs", "0.8x", COUNTS, _macs),
    "params": Kind("parameters", "0.75x", COUNTS, _parameters),
    "latency": Kind("latency", "0.7x", MILLISECONDS, None),
    DROP: Kind("points lost", "0.5", {"": 1.0}, _macs, relative=False),
}
"""Every kind by the name that ``--max-<name>`` gives it; ``drop`` looks for the fewest MACs that lose no more."""


class Amount(Value):
    """A quantity of the full and of the slim model, in the unit of a budget's kind; of a drop, scores in points."""

    full: float
    slim: float


class Budget(Value):
    """What the slim model may cost at most, or lose.

    Attributes:
        kind: a key of :data:`KINDS`.
        limit: share of the full model's cost if ``relative``; else MACs, parameters, milliseconds, or points.
        relative: see ``limit``.
        at: quantile of a latency.
        runtime: name of what a latency is measured on; None leaves it to whoever measures.
    """

    kind: str
    limit: float
    relative: bool = False
    at: str | None = None
    runtime: str | None = None

    def used(self, amount: Amount) -> float:
        """What of the limit a slim model uses, to be compared with it."""
        if self.kind == DROP:
            return amount.full - amount.slim
        return amount.slim / amount.full if self.relative else amount.slim

    def holds(self, amount: Amount) -> bool:
        """Whether a slim model keeps to the limit; sums of savings are rounded differently from a typed limit."""
        return self.used(amount) <= self.limit * (1 + 1e-9) + 1e-9

    def text(self, value: float) -> str:
        """A value in the words of the limit: 0.8x, 40G, 12.5ms."""
        units = SHARE if self.relative else KINDS[self.kind].units
        suffix = next((unit for unit, factor in units.items() if abs(value) >= factor), list(units)[-1])
        return f"{value / units[suffix]:.3f}".rstrip("0").rstrip(".") + suffix

    def reaching(self, value: float) -> Budget:
        """The tightest budget of this kind that :meth:`text` can write and ``value`` keeps to."""
        units = SHARE if self.relative else KINDS[self.kind].units
        step = next((factor for factor in units.values() if value >= factor), min(units.values())) / 1000
        return self.model_copy(update={"limit": math.ceil(value / step) * step})

    def __str__(self) -> str:
        """As a user types it."""
        words = [f"--max-{self.kind} {self.text(self.limit)}"]
        words += [f"--at {self.at}"] if self.at else []
        words += [f"--runtime {self.runtime}"] if self.runtime else []
        return " ".join(words)


class Try(Value):
    """A model that was recovered and scored to see whether it keeps to ``--max-drop``.

    ``macs`` is its share of the full model's, ``predicted`` and ``measured`` are points lost on the held-out samples,
    as the search scored it and after the recovery.
    """

    layers: tuple[str, ...]
    macs: float
    predicted: float
    measured: float
    holds: bool


class BudgetResult(Value):
    """What came of a budget.

    ``measured`` is the held-out score after recovery for a drop; costs are measured on the finished run by its report.
    ``prices`` are what the prediction was made from, for a drop the MACs.
    """

    budget: Budget
    prices: Prices
    predicted: Amount
    measured: Amount | None = None
    tries: tuple[Try, ...] = ()


def parse_budget(kind: str, limit: str | float, at: str | None = None, runtime: str | None = None) -> Budget:
    """A budget from what the user typed.

    Args:
        kind: a key of :data:`KINDS`.
        limit: ``0.8x`` of the full model, an absolute ``40G``, ``200M`` or ``40ms``, or points of the metric.
        at: quantile; a latency's default is p50.
        runtime: what a latency is measured on; its name is the caller's to check.

    Raises:
        UsageError: no such limit.
    """
    known = KINDS[kind]
    units = {**(SHARE if known.relative else {}), **known.units}
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)", str(limit).strip())
    if not match or match[2] not in units:
        words = ", ".join(f"N{unit}" for unit in units)
        raise _wrong_limit(kind, limit, f"a number in one of these forms: {words}")
    value, relative = float(match[1]) * units[match[2]], match[2] in SHARE
    if relative and not 0 < value < 1:
        raise _wrong_limit(kind, limit, "more than 0x and less than 1x, which is the full model")
    if not value and kind != DROP:
        raise _wrong_limit(kind, limit, "more than 0")
    latency = known.prices is None
    return Budget(
        kind=kind,
        limit=value,
        relative=relative,
        at=at or QUANTILES[0] if latency else None,
        runtime=runtime if latency else None,
    )


def _wrong_limit(kind: str, limit: str | float, expected: str) -> UsageError:
    return UsageError(Problem("wrong-limit", f"--max-{kind} {limit}", expected, f"--max-{kind} {KINDS[kind].example}"))


def best_within(budget: Budget, record: SearchResult, prices: Prices, command: str) -> tuple[str, ...]:
    """The layers of the best-scored point of a search that keeps to a budget on costs.

    Where no point does, all candidates go, if that is enough.

    Args:
        budget: of any kind but ``drop``.
        record: of the search.
        prices: predict the cost of each point.
        command: what the user would repeat with another budget, for the error.

    Raises:
        UsageError: the full model keeps to the budget as it is.
        CheckFailed: nothing is cheap enough; names the nearest, and the budget it would keep to.
    """

    def predicted(layers: Collection[str]) -> Amount:
        return Amount(full=prices.full, slim=prices.without(layers))

    if budget.holds(whole := predicted(())):
        found = f"{budget}: the full model has {budget.text(budget.used(whole))} {KINDS[budget.kind].noun} already"
        raise usage_error(
            "budget-already-kept", found, "a budget that something has to go for", "a smaller budget, or --skip 1"
        )
    within = [point for point in record.points if budget.holds(predicted(point.layers))]
    if within:
        return min(within, key=lambda point: point.rank_key).layers
    if budget.holds(predicted(record.macs_saved)):
        return tuple(record.macs_saved)
    nearest = min(record.points, key=lambda point: (predicted(point.layers).slim, *point.rank_key))
    cost = budget.used(predicted(nearest.layers))
    raise CheckFailed(
        Problem(
            "budget-out-of-reach",
            f"{budget} cannot be reached: the nearest is {budget.text(cost)} without {summarise(nearest.layers)}, with "
            f"{record.metric} {100 * nearest.value:.2f} on {record.samples:,} held-out samples "
            f"(full model {100 * record.full.value:.2f})",
            f"at most {budget.text(budget.limit)} {KINDS[budget.kind].noun}",
            f"a wider --scope, or {command} {budget.reaching(cost)}",
        )
    )


def pareto_front(record: SearchResult, prices: Prices) -> tuple[Point, ...]:
    """The points of a search that no cheaper one beats, from the largest model to the smallest."""
    front: list[Point] = []
    for point in sorted(record.points, key=lambda point: (prices.without(point.layers), point.rank_key)):
        if not front or point.rank_key < front[-1].rank_key:
            front.append(point)
    return tuple(reversed(front))


def smallest_that_holds(start: int, rungs: int, holds: Callable[[int], bool]) -> int | None:
    """Walk a ladder, largest model first, to its last rung that holds; None where none does.

    From ``start`` it goes down while rungs hold, or up until one does, so that few of them are tried.
    """
    if holds(start):
        return next((rung - 1 for rung in range(start + 1, rungs) if not holds(rung)), rungs - 1)
    return next((rung for rung in reversed(range(start)) if holds(rung)), None)


def predicted_start(rungs: Sequence[Point], least: float) -> int:
    """The smallest rung that the search scored at ``least`` or more; the largest model where there is none."""
    return max((number for number, point in enumerate(rungs) if point.value >= least), default=0)
