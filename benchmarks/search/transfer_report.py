"""The tables of ``benchmarks.search.transfer``, of whatever is finished.

python -m benchmarks.search.transfer_report [--work FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np

from benchmarks.results import write_section
from benchmarks.search.measures import DIVERGENCE, MEASURES, SCORE
from benchmarks.search.models import SETTINGS, WORK
from benchmarks.search.transfer import CALIBRATION, SEEDS, SIZES
from profiles.formatting import format_markdown_table

HELD_OUT = (32, 128, 512, 1024)
TASKS = (("scenes", "easyvqa"), ("easyvqa", "scenes"), ("sst2", "trecqa"), ("trecqa", "sst2"))


@dataclass(frozen=True)
class Scores:
    """What held-out samples say of every subset of one size.

    Attributes:
        subsets: the skipped layers.
        values: divergence, loss and score, (subsets, 3, samples).
    """

    subsets: tuple[frozenset[str], ...]
    values: np.ndarray

    def choose(self, samples: int) -> frozenset[str]:
        """Return what ``auto`` would choose of all subsets: the best score, among equal ones the least divergence."""
        means = self.values[:, :, :samples].mean(2, dtype=np.float64)
        divergence, score = (means[:, MEASURES.index(name)] for name in (DIVERGENCE, SCORE))
        return self.subsets[np.lexsort((divergence, -score))[0]]

    def regret(self, subset: frozenset[str]) -> float:
        """Return how many points of score ``subset`` lies below the best."""
        return float(self.regrets[self.subsets.index(subset)])

    @property
    def regrets(self) -> np.ndarray:
        """Return how many points of score each subset lies below the best, (subsets,)."""
        scores = 100 * self.values[:, MEASURES.index(SCORE)].mean(1, dtype=np.float64)
        return scores.max() - scores

    def divergence(self, subset: frozenset[str]) -> float:
        """Return how far ``subset`` diverges from the full model, from 0, the least of all, to 1, their mean."""
        found = self.values[:, MEASURES.index(DIVERGENCE)].mean(1, dtype=np.float64)
        above = found - found.min()
        return float(above[self.subsets.index(subset)] / above.mean()) if above.any() else 0.0


Found = Mapping[tuple[int, int, int], Scores]
"""Of one data set: by size, seed and calibration samples."""


def read(data: str, home: Path) -> Found:
    """Read what is finished of a data set."""
    found = {}
    for seed, samples in product(SEEDS, CALIBRATION):
        path = home / f"{seed}-{samples}.npz"
        if path.exists():
            arrays = np.load(path)
            for size in SIZES[data]:
                subsets = tuple(frozenset(row.tolist()) for row in arrays[f"subsets-{size}"])
                found[size, seed, samples] = Scores(subsets, arrays[f"values-{size}"])
    return found


def moved(pairs: Iterable[tuple[Scores, Scores]]) -> tuple[str, ...]:
    """Return the cells of choices made on the first and used on the second, those of ``MOVED``."""
    shared, regrets, by_lot, apart, size = [], [], [], [], 0
    for here, there in pairs:
        choice = here.choose(here.values.shape[2])
        best, size = there.choose(there.values.shape[2]), len(choice)
        shared.append(len(choice & best))
        regrets.append(there.regret(choice))
        by_lot.append(float(there.regrets.mean()))
        apart.append(there.divergence(choice))
    candidates = len(frozenset().union(*there.subsets))
    return (
        f"{np.mean(shared):.1f} of {size}",
        f"{size * size / candidates:.1f}",
        f"{np.median(regrets):.2f} ({max(regrets):.2f})",
        f"{np.mean(by_lot):.2f}",
        f"{np.median(apart):.2f} ({max(apart):.2f})",
    )


MOVED = (
    "layers in common",
    "by lot",
    "regret, points: median (worst)",
    "by lot",
    "divergence, 0 least to 1 by lot: median (worst)",
)


def between_seeds(found: Mapping[str, Found]) -> str:
    """Return the table of choices of one seed used with another."""
    rows = []
    for data, scores in found.items():
        for size in SIZES[data]:
            seeds = [seed for seed in SEEDS if (size, seed, max(CALIBRATION)) in scores]
            if len(seeds) > 1:
                pairs = [
                    (scores[size, a, max(CALIBRATION)], scores[size, b, max(CALIBRATION)])
                    for a, b in permutations(seeds, 2)
                ]
                rows.append((SETTINGS[data].name, str(size), str(len(pairs)), *moved(pairs)))
    return format_markdown_table(("data", "k", "pairs of seeds", *MOVED), rows)


def between_tasks(found: Mapping[str, Found]) -> str:
    """Return the table of choices made for one task and used for another."""
    rows = []
    for here, there in TASKS:
        for size in SIZES[here]:
            pairs = [
                (found[here][size, a, max(CALIBRATION)], found[there][size, b, max(CALIBRATION)])
                for a, b in product(SEEDS, SEEDS)
                if (size, a, max(CALIBRATION)) in found.get(here, {})
                and (size, b, max(CALIBRATION)) in found.get(there, {})
            ]
            if pairs:
                names = SETTINGS[here].name, SETTINGS[there].name
                rows.append((*names, str(size), str(len(pairs)), *moved(pairs)))
    return format_markdown_table(("chosen on", "used on", "k", "pairs of seeds", *MOVED), rows)


def regrets_by_samples(scores: Found, size: int, calibration: int, held_out: int) -> list[float]:
    """Return the regrets of choices made on few samples, judged by all samples of the other seeds."""
    return [
        scores[size, there, max(CALIBRATION)].regret(scores[size, here, calibration].choose(held_out))
        for here, there in permutations(SEEDS, 2)
        if (size, here, calibration) in scores and (size, there, max(CALIBRATION)) in scores
    ]


def between_amounts(scores: Found, size: int) -> str:
    """Return the table of regrets by calibration samples and held-out samples."""
    most = min(value.values.shape[2] for value in scores.values())
    amounts = [*(samples for samples in HELD_OUT if samples < most), most]
    rows = []
    for calibration in CALIBRATION:
        cells = []
        for held_out in amounts:
            regrets = regrets_by_samples(scores, size, calibration, held_out)
            cells.append(f"{np.mean(regrets):.2f} ({max(regrets):.2f})" if regrets else "")
        rows.append((f"{calibration} to fit on", *cells))
    return format_markdown_table(("", *(f"{samples} held out" for samples in amounts)), rows)


def introduction(found: Mapping[str, Found]) -> str:
    """Say what the figures are, and how much of them is there."""
    done = sum(len({(seed, samples) for _, seed, samples in scores}) for scores in found.values())
    planned = len(SIZES) * len(SEEDS) * len(CALIBRATION)
    missing = f" {planned - done} of {planned} fits are missing." if done < planned else ""
    return (
        f"All subsets of k layers are scored with adapters fitted in closed form, so the best one is known everywhere. "
        f"A choice is the subset of the best score on all held-out samples (at most {max(HELD_OUT):,}), after a fit on "
        f"{max(CALIBRATION)} samples; `auto` looks for the same one with fewer forward passes. A seed draws both kinds "
        f"of samples; the model is the same. Regret: how far the choice's score lies below the best one's where it is "
        f'used; that one is the best on these very samples, which is partly luck. "By lot": what random subsets have. '
        f"Where subsets hardly differ in score, as where most answers are alike, their divergence from the full model "
        f"tells more. Where a data set has fewer held-out samples, all seeds have the same ones.{missing}"
    )


def amounts_of(found: Mapping[str, Found]) -> list[str]:
    """Return the headings and tables of the amounts of samples."""
    parts: list[str] = []
    for data, scores in found.items():
        for size in SIZES[data]:
            parts += [f"{SETTINGS[data].name}, k = {size}:", between_amounts(scores, size)]
    return parts


def sections(found: Mapping[str, Found]) -> Sequence[str]:
    """Return the paragraphs of the report."""
    return [
        introduction(found),
        "### From one seed to another",
        between_seeds(found),
        "### From one task to another",
        "SST-2's and TREC-QA's models are fine-tuned from the same pre-trained weights. Those of the scenes and of "
        "easy-VQA have been trained apart and differ in width: their layers have no more than their places in common.",
        between_tasks(found),
        "### From few samples to many",
        "Mean regret in points (the worst in brackets) of a choice made on few samples, judged by all held-out samples "
        "of the other seeds with adapters fitted on the most.",
        *amounts_of(found),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK, help="folder with the results")
    work = parser.parse_args().work
    found = {data: scores for data in SIZES if (scores := read(data, work / "transfer" / data))}
    write_section("transfer", "Is the choice of layers transferable?", "\n\n".join(sections(found)))


if __name__ == "__main__":
    main()
