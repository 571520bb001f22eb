"""The tables of ``benchmarks.search.ranking``, of whatever is finished.

python -m benchmarks.search.ranking_report [--work FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import write_section
from benchmarks.search.judge import RECOVERY_RATE, RECOVERY_SAMPLES
from benchmarks.search.models import SETTINGS, WORK
from benchmarks.search.rank_correlation import RESAMPLES, ceiling, estimate, kendall, spearman
from benchmarks.search.ranking import MOST, PLANS, REPEATED, SEEDS, Scored, Searched, Trained
from profiles.formatting import format_bullets, format_markdown_table

FEWEST = 5  # subsets that a correlation is taken over
HEADER = ("score before recovery", "k", "subsets", "Spearman (95 %)", "Kendall (95 %)", "regret, points")
WITHIN, OVER = "within each k", "over all k"


@dataclass(frozen=True)
class Measure:
    """A score that subsets are chosen by.

    Attributes:
        name: in the table.
        rank: larger is better.
        choose: sorts subsets, the best first.
        of_any_size: can be compared between subsets of different sizes.
    """

    name: str
    rank: Callable[[Scored], float]
    choose: Callable[[Scored], tuple[float, ...]]
    of_any_size: bool = True


MEASURES = (
    Measure(
        "closed form, score (auto)",
        lambda subset: subset.closed.score,
        lambda subset: (-subset.closed.score, subset.closed.divergence),
    ),
    Measure(
        "closed form, divergence",
        lambda subset: -subset.closed.divergence,
        lambda subset: (subset.closed.divergence,),
    ),
    Measure(
        "supernet, reward",
        lambda subset: -subset.supernet.loss,  # exp(-loss) has the same order
        lambda subset: (subset.supernet.loss,),
    ),
    Measure(
        "supernet, score",
        lambda subset: subset.supernet.score,
        lambda subset: (-subset.supernet.score, subset.supernet.divergence),
    ),
    Measure("supernet, gates (das)", lambda subset: subset.gates, lambda subset: (-subset.gates,), of_any_size=False),
)


@dataclass(frozen=True)
class Measured:
    """What is there of one data set: searches by size, and the recovered subsets of each seed by their layers."""

    data: str
    searches: dict[int, Searched]
    trained: dict[int, dict[tuple[str, ...], Trained]]

    def of_size(self, size: int) -> list[Scored]:
        """Return the subsets of a size that were searched and recovered."""
        return [subset for subset in self.searches[size].subsets if subset.layers in self.trained[SEEDS[0]]]

    def score(self, layers: tuple[str, ...]) -> float:
        """Return the trained score of a subset."""
        return float(np.mean(self.trained[SEEDS[0]][layers].halves))

    @property
    def sizes(self) -> list[int]:
        """Return the sizes of which enough is there."""
        return [size for size in sorted(self.searches) if len(self.of_size(size)) >= FEWEST]


def read(data: str, home: Path) -> Measured:
    """Read what is finished of a data set."""
    searches = [Searched.model_validate_json(path.read_bytes()) for path in sorted(home.glob("search-*.json"))]
    trained: dict[int, dict[tuple[str, ...], Trained]] = {}
    for seed in SEEDS:
        found = [Trained.model_validate_json(path.read_bytes()) for path in sorted(home.glob(f"*.{seed}.json"))]
        trained[seed] = {one.layers: one for one in found}
    return Measured(data, {search.size: search for search in searches}, trained)


def regret(measured: Measured, size: int, measure: Measure) -> float:
    """Return how many points of trained score the choice lies below the best of the recovered subsets of its size."""
    subsets = measured.of_size(size)
    best = max(measured.score(subset.layers) for subset in subsets)
    return 100 * (best - measured.score(min(subsets, key=measure.choose).layers))


def lines(measured: Measured, measure: Measure) -> list[tuple[str, ...]]:
    """Return the rows of one score: each size, then all sizes together."""
    sizes = measured.sizes
    subsets = [subset for size in sizes for subset in measured.of_size(size)]
    x = np.array([measure.rank(subset) for subset in subsets])
    y = np.array([measured.score(subset.layers) for subset in subsets])
    groups = np.array([len(subset.layers) for subset in subsets])
    regrets = {size: regret(measured, size, measure) for size in sizes}
    mean = f"{np.mean(list(regrets.values())):.2f}"

    def row(name: str, here: np.ndarray, apart: np.ndarray, regret: str) -> tuple[str, ...]:
        both = (str(estimate(statistic, x[here], y[here], apart[here])) for statistic in (spearman, kendall))
        return (measure.name, name, str(here.sum()), *both, regret)

    everything, together = np.ones(len(x), bool), np.zeros(len(x), int)
    rows = [row(str(size), groups == size, groups, f"{regrets[size]:.2f}") for size in sizes]
    if len(sizes) > 1:
        rows.append(row(WITHIN, everything, groups, mean))
        rows += [row(OVER, everything, together, "")] if measure.of_any_size else []
    return rows


def noise(measured: Measured) -> list[str]:
    """Say how high the noise of the trained score lets a correlation with it be."""
    first, second = (measured.trained[seed] for seed in SEEDS)
    both = [layers for layers in second if layers in first]
    if len(both) < FEWEST:
        return []
    halves = [np.array([found[layers].halves for layers in both]) for found in (first, second)]
    groups, said = np.array([len(layers) for layers in both]), []
    for name, apart in ((WITHIN, groups), (OVER, np.zeros(len(both), int))):
        together = np.concatenate(halves, 1)
        found = estimate(lambda x, y, g: ceiling(x[:, :2], x[:, 2:], g), together, together, apart)
        said.append(f"{found} {name}")
    return [
        f"Noise: recovered with a second seed and scored on other halves of the test samples, {len(both)} subsets say "
        f"that no score can correlate with the trained one better than {' and '.join(said)} (95 % intervals)."
    ]


def remarks(measured: Measured) -> list[str]:
    """Say what the figures stand on, and what chance does."""
    searches, plan = measured.searches, PLANS[measured.data]
    by_lot = []
    for size in measured.sizes:
        scores = [100 * measured.score(subset.layers) for subset in measured.of_size(size)]
        by_lot.append(f"{max(scores) - np.mean(scores):.2f} (k = {size}, best {max(scores):.2f} %)")
    tested = {one.samples for found in measured.trained.values() for one in found.values()}
    steps = sorted({search.steps for search in searches.values()})
    return [
        f"{len(measured.trained[SEEDS[0]])} subsets recovered, {len(measured.trained[SEEDS[1]])} of them twice; "
        f"{len(searches)} of {len(plan.sizes)} sizes searched.",
        f"Held out: {max(search.samples for search in searches.values()):,} samples; the loop trains its supernet for "
        f"{' or '.join(map(str, steps))} steps at each k. Test: {', '.join(map(str, tested))} samples.",
        f"A subset drawn by lot lies below the best by a mean of {', '.join(by_lot)} points.",
        *noise(measured),
    ]


def part(measured: Measured) -> list[str]:
    """Return the paragraphs of one data set."""
    table = format_markdown_table(HEADER, [row for measure in MEASURES for row in lines(measured, measure)])
    return [f"### {SETTINGS[measured.data].name}", table, format_bullets(remarks(measured))]


def introduction(found: Sequence[Measured]) -> str:
    """Say what the figures are."""
    steps = "; ".join(
        f"{SETTINGS[one.data].steps} steps of {SETTINGS[one.data].batch_size} for {SETTINGS[one.data].name}"
        for one in found
    )
    return (
        f"All subsets of k layers where there are at most {MOST}, else {MOST} drawn by lot. Before recovery they are "
        f"scored on the same held-out samples, in closed form (each adapter fitted by itself: what `auto` chooses by) "
        f"and in the supernet that the paper's loop has trained at this k (by exp(-loss), its reward, by score, and by "
        f"the sum of the gates of a subset's layers, which it chooses by). "
        f"Then the adapters of every subset are fitted together and trained, the same steps for all ({steps}, at "
        f"{RECOVERY_RATE:g} on at most {RECOVERY_SAMPLES:,} samples), and scored on test samples that no search has "
        f"seen. The tables correlate the two. Intervals are the percentiles of {RESAMPLES:,} bootstrap samples of the "
        f'subsets. "{WITHIN.capitalize()}" compares subsets of one size alone; "{OVER}" also says that fewer layers '
        f"lose less. Regret: how far the trained score of the subset that a score would choose lies below that of the "
        f"best recovered subset of its size, which is partly luck. One subset in {REPEATED} is recovered with a second "
        f"seed, for the noise of the trained score: no correlation with it can be higher than the square root of its "
        f"reliability (covariance of one seed on half of the test samples and the other seed on the other half)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK, help="folder with the results")
    work = parser.parse_args().work
    found = [read(data, work / "ranking" / data) for data in PLANS]
    found = [measured for measured in found if measured.sizes]
    missing = [SETTINGS[data].name for data in PLANS if data not in {measured.data for measured in found}]
    parts = [introduction(found), *(text for measured in found for text in part(measured))]
    parts += [f"Not measured yet: {'; '.join(missing)}."] if missing else []
    write_section("ranking", "Does the ranking of subsets survive recovery training?", "\n\n".join(parts))


if __name__ == "__main__":
    main()
