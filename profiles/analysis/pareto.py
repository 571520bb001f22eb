"""Every budget from one search: its points, score against cost, and the front among them."""

from __future__ import annotations

from compressor.costs.model_costs import MacsShare, share_macs
from compressor.errors import usage_error
from compressor.evaluation.score import Score
from compressor.saved_run.run_folder import Run
from compressor.search.budgets import DROP, KINDS, MACS, Amount, Prices, pareto_front
from compressor.search.result import SearchResult
from compressor.search.reuse import search_of
from compressor.values import Value

SCHEMA_VERSION = 1


def collect_prices(run: Run, record: SearchResult) -> dict[str, Prices]:
    """Return the prices of layers by the name that ``--cost`` takes: those counted, and those measured for a budget."""
    prices = {name: kind.prices(record) for name, kind in KINDS.items() if kind.prices and name != DROP}
    result = run.manifest.budget
    if result and result.budget.kind not in (*prices, DROP):
        prices[result.budget.kind] = result.prices
    return prices


class ParetoPoint(Value):
    """A subset of layers that the search scored on all its held-out samples.

    Attributes:
        layers: the skipped ones; none of the full model.
        skip: how many they are, or of parts of layers, how many layers they are worth (``count_skipped``).
        value: the score in [0, 1], with the search's adapters, before any recovery.
        drop: the full model's score less this one.
        divergence: from the full model's answers.
        cost: of the model without these layers, by what each saves by itself: exact trims come on top.
        share: of the full model's cost.
        chosen: it is the search's choice for its number of layers.
        asked: that number was asked for, so it was searched with full care.
        front: no point that costs as little is better.
    """

    layers: tuple[str, ...]
    skip: int
    value: float
    drop: float
    divergence: float
    cost: float
    share: float
    chosen: bool
    asked: bool
    front: bool


class OwnResult(Value):
    """The run's own result, after recovery and on the evaluation split: not comparable with the points.

    Attributes:
        cost, share: as counted on the slim model with its exact trims, where they are counted; else as of a point.
        share_by_layers: as of a point.
        macs: with what layers and exact trims save apart.
    """

    layers: tuple[str, ...]
    skip: int
    recover: str
    cost: float
    share: float
    share_by_layers: float
    macs: MacsShare
    full: Score | None
    slim: Score


class ParetoReport(Value):
    """The points of a run's search, sorted by cost, descending; the full model comes first.

    Attributes:
        run: name of its folder.
        cost: what the points cost.
        metric: of the values.
        samples: held-out samples that they are means of.
        own: the run's own result.
    """

    schema_version: int = SCHEMA_VERSION
    run: str
    task: str
    strategy: str
    cost: str
    metric: str
    samples: int
    points: tuple[ParetoPoint, ...]
    own: OwnResult

    @property
    def by_layers(self) -> str:
        """Return the name of the points' costs."""
        return f"{self.cost} by layers"

    @property
    def rows(self) -> tuple[ParetoPoint, ...]:
        """Return the full model, the choice for each number of layers, and the rest of the front, by that number."""
        points = [point for point in self.points if point.chosen or point.front or not point.layers]
        return tuple(sorted(points, key=lambda point: (point.skip, -point.cost)))


def build_pareto(run: Run, cost: str = "macs") -> ParetoReport:
    """Price every point of a run's search; nothing is searched and no model is loaded.

    Args:
        run: any that searched.
        cost: a name of :func:`collect_prices`.

    Raises:
        InputError: the run has no search.
        UsageError: no such cost.
    """
    record, manifest = search_of(run), run.manifest
    prices_by_kind = collect_prices(run, record)
    if cost not in prices_by_kind:
        raise usage_error(
            "unknown-cost",
            f"--cost {cost}",
            f"one of {', '.join(prices_by_kind)}",
            f"--cost {next(iter(prices_by_kind))}",
        )
    prices, plan, costs = prices_by_kind[cost], manifest.plan.layers, manifest.costs
    counted = {MACS: costs.macs, "params": costs.parameters}.get(cost)
    own = Amount(full=counted.full, slim=counted.slim) if counted else prices.predict(plan)
    return ParetoReport(
        run=run.path.name,
        task=manifest.task,
        strategy=record.strategy,
        cost=KINDS[cost].noun,
        metric=record.metric,
        samples=record.samples,
        points=_points(record, prices),
        own=OwnResult(
            layers=plan,
            skip=record.count_skipped(plan),
            recover=manifest.settings.recover,
            cost=own.slim,
            share=own.slim / own.full,
            share_by_layers=prices.without(plan) / prices.full,
            macs=share_macs(costs.macs, costs.trims),
            full=manifest.results.full,
            slim=manifest.results.slim,
        ),
    )


def _points(record: SearchResult, prices: Prices) -> tuple[ParetoPoint, ...]:
    """Return every point and the full model, sorted by cost, descending."""
    with_full = record.model_copy(update={"points": (record.full, *record.points)})
    front, chosen = set(pareto_front(with_full, prices)), {frozenset(layers) for layers in record.chosen.values()}
    points = [
        ParetoPoint(
            layers=point.layers,
            skip=record.count_skipped(point.layers),
            value=point.value,
            drop=record.full.value - point.value,
            divergence=point.divergence,
            cost=prices.without(point.layers),
            share=prices.without(point.layers) / prices.full,
            chosen=frozenset(point.layers) in chosen,
            asked=record.count_skipped(point.layers) in record.sizes,
            front=point in front,
        )
        for point in with_full.points
    ]
    return tuple(sorted(points, key=lambda point: (-point.cost, -point.value)))
