"""The table of ``benchmarks.search.strategies``: every strategy and every k, over the seeds that are done.

python -m benchmarks.search.strategies_report [--work FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, median, stdev

from benchmarks.results import write_section
from benchmarks.search.judge import RECOVERY_RATE, RECOVERY_SAMPLES, TEST_SAMPLES
from benchmarks.search.models import SETTINGS, WORK
from benchmarks.search.published import PUBLISHED
from benchmarks.search.strategies import DATA, ROWS, SEEDS, Row
from compressor.search.select_layers import CALIBRATION_SAMPLES, HELD_OUT_SAMPLES
from compressor.search.strategies import DEFAULT, STRATEGIES, TRANSFER
from profiles.formatting import format_markdown_table

NAMES = {
    DEFAULT: "auto (default)",
    TRANSFER: "das (the paper)",
    PUBLISHED: "the public code's loop",
    "random": "random (Table B)",
}
TARGET, PRICE = 0.3, 0.1  # points of regret; share of the published loop's forward passes
LEAST_GAIN = 0.005  # of trained recovery over plain removal, to say what share of it something keeps

Figure = Callable[[Row], float]


def regret(row: Row) -> float:
    """Points of the held-out score that the choice lies below the best of all subsets."""
    return 100 * (row.best - row.held_out)


def spread(rows: Sequence[Row], figure: Figure) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    values = [100 * figure(row) for row in rows]
    return f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def line(strategy: str, rows: Sequence[Row], loop: Sequence[Row]) -> tuple[str, ...]:
    """One strategy at one k."""
    asked, others = fmean(row.asked for row in rows), fmean(row.others for row in rows)
    share = asked / fmean(row.asked for row in loop)
    regrets = [regret(row) for row in rows]
    return (
        NAMES.get(strategy, strategy),
        f"{median(regrets):.2f} ({max(regrets):.2f})",
        f"{median(row.rank for row in rows):.0f} of {rows[0].subsets}",
        spread(rows, lambda row: row.removed),
        spread(rows, lambda row: row.fitted),
        spread(rows, lambda row: row.trained),
        f"{asked:,.0f}",
        f"{share:.1%}",
        f"{others:,.0f}",
        f"{fmean(row.seconds for row in rows):.0f}",
    )


HEADER = (
    "strategy",
    "regret, points: median (worst)",
    "rank",
    "test after removal, %",
    "closed form, %",
    "trained, %",
    "forwards for this k",
    "of das",
    "for other k",
    "seconds",
)


def of(rows: Sequence[Row], strategy: str) -> list[Row]:
    """The rows of one strategy, by seed."""
    return sorted((row for row in rows if row.strategy == strategy), key=lambda row: row.seed)


def table(rows: Sequence[Row], strategies: Sequence[str] = tuple(STRATEGIES)) -> str:
    """Every strategy at one k of one data set."""
    loop = of(rows, TRANSFER)
    return format_markdown_table(HEADER, [line(name, of(rows, name), loop) for name in strategies])


def against(rows: Sequence[Row]) -> list[str]:
    """What the table says of the default strategy's targets, and where it does not win."""
    ours, paper = of(rows, DEFAULT), of(rows, TRANSFER)
    loop = fmean(row.asked for row in paper)
    cost = fmean(row.asked for row in ours) / loop
    everything = fmean(row.asked + row.others for row in ours) / loop
    regrets, theirs = median(map(regret, ours)), median(map(regret, paper))
    said = [
        f"Median regret {regrets:.2f} points, {'within' if regrets <= TARGET else 'above'} the target of {TARGET}; "
        f"das {theirs:.2f}{', which is lower' if theirs < regrets else ''}.",
        f"Price for this k: {cost:.1%} of das's forward passes, {'within' if cost <= PRICE else 'above'} a tenth; with "
        f"every other k {everything:.1%}.",
    ]
    for name, figure in (("closed form", lambda row: row.fitted), ("trained", lambda row: row.trained)):
        means = {other: 100 * fmean(map(figure, of(rows, other))) for other in STRATEGIES}
        ours_mean = means[DEFAULT]
        better = [f"{other} ({value - ours_mean:+.2f})" for other, value in means.items() if value > ours_mean]
        said.append(f"Test, {name}: " + (f"better than the default: {', '.join(better)}" if better else "none better"))
    gains = [(row.fitted - row.removed) / (row.trained - row.removed) for row in rows if gained(row)]
    if gains:
        said.append(
            f"Closed form keeps a median of {median(gains):.0%} of what training regains over plain removal "
            f"({len(gains)} of {len(rows)} choices, where that is at least {100 * LEAST_GAIN:.1f} points)."
        )
    return said


def gained(row: Row) -> bool:
    """Whether training regains enough to take a share of."""
    return row.trained - row.removed >= LEAST_GAIN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK, help="folder with the rows")
    work = parser.parse_args().work
    files = [path for name in DATA for path in sorted(work.glob(f"{name}-*-*.json"))]
    rows = [row for path in files for row in ROWS.validate_json(path.read_bytes())]
    parts = []
    for (data, skip), found in groupby(
        sorted(rows, key=lambda row: (row.data, row.skip)), key=lambda row: (row.data, row.skip)
    ):
        same = list(found)
        seeds = sorted({row.seed for row in same})
        full = spread(of(same, DEFAULT), lambda row: row.full)
        parts += [
            f"### {data}, k = {skip}",
            f"Full model {full} % on the test samples; seeds {', '.join(map(str, seeds))}.",
            table(same),
            "\n".join(f"- {sentence}" for sentence in against(same)),
        ]
    planned = len(SEEDS) * sum(len(SETTINGS[name].sizes) for name in DATA)
    parts.append(f"{planned - len(files)} of {planned} runs are missing." if len(files) < planned else "")
    write_section("strategies", "Strategies: regret and price", "\n\n".join([introduction(), *filter(None, parts)]))


def introduction() -> str:
    """What the figures are."""
    steps = "; ".join(
        f"{setting.steps} steps of {setting.batch_size} for {setting.name}"
        for setting in (SETTINGS[name] for name in DATA)
    )
    return (
        f"Regret and rank: the held-out score of a choice, with adapters fitted in closed form, against that of all "
        f"subsets of k layers on the same samples (at most {HELD_OUT_SAMPLES}). The best of hundreds is partly luck. "
        f"Test: at most {TEST_SAMPLES} samples that no search has seen, the same for all: after plain removal, with "
        f"the closed form of {CALIBRATION_SAMPLES} samples, and after training from there ({steps}, at "
        f"{RECOVERY_RATE:g} on {RECOVERY_SAMPLES} samples); mean ± standard deviation over seeds. Forwards: passes "
        f"of the full model on one sample that the search costs, encoding and fitting included; a training sample "
        f"counts twice what it runs forward. das is the paper's loop as `das compress --strategy das` runs it, with "
        f"encoders cached and one held-out batch for each reward: 3 epochs of search. "
        f'"For other k" is what a search adds to answer for every other number of layers. Seconds are of one thread on '
        f"a busy machine: read them as orders of magnitude. The held-out score with closed-form adapters is what all "
        f"but das choose by; the trained column favours nobody."
    )


if __name__ == "__main__":
    main()
