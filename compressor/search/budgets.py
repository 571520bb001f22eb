"""Budgets: limits on MACs, parameters, latency or lost score, and the points of a search that keep to them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from compressor.costs.model_costs import MacsShare
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
    """Costs in the unit of a budget's kind: MACs, parameters or milliseconds.

    Attributes:
        full: of the full model.
        saved: by skipping each layer, its adapter counted in.
        beside: of what a slim model has and the full one has not: parallel adapters; less than 0 of merged tokens.
    """

    full: float
    saved: Mapping[str, float]
    beside: float = 0.0

    def without(self, layers: Collection[str]) -> float:
        """Predict the cost of the model without ``layers``: the full model's less what each saves by itself."""
        return self.full + self.beside - sum(self.saved[name] for name in layers)

    def predict(self, layers: Collection[str]) -> Amount:
        """Return the cost of the full model and that predicted of the model without ``layers``."""
        return Amount(full=self.full, slim=self.without(layers))


@dataclass(frozen=True)
class BudgetKind:
    """A kind of budget.

    Attributes:
        noun: what is limited, as reports call it.
        example: as a user would type the limit.
        units: suffixes of an absolute limit, the largest first.
        prices: what a search says of the full model and its layers; None where that is measured.
        relative: True where the limit may be a share of the full model's.
    """

    noun: str
    example: str
    units: Mapping[str, float]
    prices: Callable[[SearchResult], Prices] | None
    relative: bool = True


def _macs(search: SearchResult) -> Prices:
    return Prices(full=search.macs, saved=search.macs_saved, beside=search.macs_beside)


def _parameters(search: SearchResult) -> Prices:
    return Prices(full=search.parameters, saved=search.parameters_saved, beside=search.parameters_beside)


KINDS: dict[str, BudgetKind] = {
    MACS: BudgetKind("MACs", "0.8x", COUNTS, _macs),
    "params": BudgetKind("parameters", "0.75x", COUNTS, _parameters),
    "latency": BudgetKind("latency", "0.7x", MILLISECONDS, None),
    DROP: BudgetKind("points lost", "0.5", {"": 1.0}, _macs, relative=False),
}
"""Every kind by the name that ``--max-<name>`` gives it; ``drop`` looks for the fewest MACs that lose no more."""


class Amount(Value):
    """A quantity of the full and of the slim model, in the unit of a budget's kind; of a drop, scores in points."""

    full: float
    slim: float


class Budget(Value):
    """A limit on what the slim model costs, or loses.

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
        """Return the slim model's usage, in the units of ``limit``."""
        if self.kind == DROP:
            return amount.full - amount.slim
        return amount.slim / amount.full if self.relative else amount.slim

    def holds(self, amount: Amount) -> bool:
        """Return True if a slim model keeps to the limit; sums of savings are not rounded as a typed limit is."""
        return self.used(amount) <= self.limit * (1 + 1e-9) + 1e-9

    def text(self, value: float) -> str:
        """Format a value as a user types a limit: 0.8x, 40G, 12.5ms."""
        units = SHARE if self.relative else KINDS[self.kind].units
        suffix = next((unit for unit, factor in units.items() if abs(value) >= factor), list(units)[-1])
        return f"{value / units[suffix]:.3f}".rstrip("0").rstrip(".") + suffix

    def reaching(self, value: float) -> Budget:
        """Return the tightest budget of this kind that :meth:`text` can write and ``value`` keeps to."""
        units = SHARE if self.relative else KINDS[self.kind].units
        step = next((factor for factor in units.values() if value >= factor), min(units.values())) / 1000
        return self.model_copy(update={"limit": math.ceil(value / step) * step})

    def __str__(self) -> str:
        """Return the options as a user types them."""
        words = [f"--max-{self.kind} {self.text(self.limit)}"]
        words += [f"--at {self.at}"] if self.at else []
        words += [f"--runtime {self.runtime}"] if self.runtime else []
        return " ".join(words)


class Try(Value):
    """A model that was recovered and scored to see whether it keeps to ``--max-drop``.

    ``macs`` is its share of the full model's, ``trims`` what exact trims save of those, ``merging`` what merged tokens
    do. ``predicted`` and ``measured`` are points lost on the held-out samples, as the search scored it and after the
    recovery.
    """

    layers: tuple[str, ...]
    macs: float
    trims: float = 0.0
    merging: float = 0.0
    predicted: float
    measured: float
    holds: bool

    @property
    def share(self) -> MacsShare:
        """Return its MACs, those that layers and trims save apart."""
        return MacsShare(left=self.macs, trims=self.trims, merging=self.merging)


class BudgetResult(Value):
    """The result of a budget.

    ``measured`` is the held-out score after recovery for a drop; costs are measured on the finished run by its report.
    ``interval`` is the 95 % interval of what that uses, in the units of the limit, of a latency that was timed again in
    fresh processes; None of all else. ``prices`` are what the prediction was made from, for a drop the MACs.
    """

    budget: Budget
    prices: Prices
    predicted: Amount
    measured: Amount | None = None
    interval: tuple[float, float] | None = None
    tries: tuple[Try, ...] = ()

    @property
    def broken(self) -> bool:
        """Return whether more than the limit was measured."""
        return self.measured is not None and not self.budget.holds(self.measured)

    @property
    def undecided(self) -> bool:
        """Return whether a repetition may decide otherwise."""
        return self.interval is not None and self.interval[0] <= self.budget.limit < self.interval[1]


def parse_budget(kind: str, limit: str | float, at: str | None = None, runtime: str | None = None) -> Budget:
    """Parse a budget as the user typed it.

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


def best_within(budget: Budget, search: SearchResult, prices: Prices, command: str) -> tuple[str, ...]:
    """Return the layers of the best-scored point of a search that keeps to a budget on costs.

    Where no point does, all candidates go, if that is enough.

    Args:
        budget: of any kind but ``drop``.
        search: its points and candidates.
        prices: predict the cost of each point.
        command: what the user would repeat with another budget, for the error.

    Raises:
        UsageError: the full model keeps to the budget as it is.
        CheckFailed: nothing is cheap enough; names the nearest, and the budget it would keep to.
    """
    if budget.holds(whole := prices.predict(())):
        noun = KINDS[budget.kind].noun
        merged = whole.slim < whole.full
        raise usage_error(
            "budget-already-kept",
            f"{budget}: the full model {'with merged tokens ' * merged}has {budget.text(budget.used(whole))} {noun} "
            "already",
            "a budget that something has to go for",
            f"a smaller budget, or --skip {int(not merged)}",
        )
    within = [point for point in search.points if budget.holds(prices.predict(point.layers))]
    if within:
        return min(within, key=lambda point: point.rank_key).layers
    if budget.holds(prices.predict(search.macs_saved)):
        return tuple(search.macs_saved)
    nearest = min(search.points, key=lambda point: (prices.predict(point.layers).slim, *point.rank_key))
    cost = budget.used(prices.predict(nearest.layers))
    raise CheckFailed(
        Problem(
            "budget-out-of-reach",
            f"{budget} cannot be reached: the nearest is {budget.text(cost)} without {summarise(nearest.layers)}, with "
            f"{search.metric} {100 * nearest.value:.2f} on {search.samples:,} held-out samples "
            f"(full model {100 * search.full.value:.2f})",
            f"at most {budget.text(budget.limit)} {KINDS[budget.kind].noun}",
            f"a wider --scope, or {command} {budget.reaching(cost)}",
        )
    )


def describe_drop(points: float) -> str:
    """Say how many points of a score are lost: 0.25 points lost; -0.25 are gained, and what rounds to none is none."""
    if round(points, 2) == 0:
        return "no points lost"
    return f"{abs(points):.2f} points {'lost' if points > 0 else 'gained'}"


def pareto_front(search: SearchResult, prices: Prices) -> tuple[Point, ...]:
    """Return the points of a search that no cheaper one beats, from the largest model to the smallest."""
    front: list[Point] = []
    for point in sorted(search.points, key=lambda point: (prices.without(point.layers), point.rank_key)):
        if not front or point.rank_key < front[-1].rank_key:
            front.append(point)
    return tuple(reversed(front))


def predict_start(front: Sequence[Point], least: float) -> int:
    """Return the index of the smallest model that the search scored at ``least`` or more; 0 where there is none."""
    return max((index for index, point in enumerate(front) if point.value >= least), default=0)


def smallest_that_holds(front: Sequence[Point], start: int, holds: Callable[[Point], bool]) -> Point | None:
    """Walk a Pareto front to the smallest model that holds; None where none does.

    From ``start`` towards smaller models while they hold, else towards larger ones until one does, so that few of them
    are tried.

    Args:
        front: the largest model first.
        start: index of the first point tried.
        holds: fits a point's model and checks its budget.
    """
    if not holds(front[start]):
        for point in reversed(front[:start]):
            if holds(point):
                return point
        return None
    smallest = front[start]
    for point in front[start + 1 :]:
        if not holds(point):
            break
        smallest = point
    return smallest
